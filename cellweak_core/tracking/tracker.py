"""A trained tracker on new images, and what it leaves: tracks for tables, napari, the Cell Tracking Challenge, a video.

    weights/mpm.safetensors + frames --one pair at a time--> tracks.csv  man_track.txt  napari_tracks.npy  tracks.gif

The file of the weights holds the settings that go with them (`settings_text`): frames in another light, or peaks above
another threshold, would be another tracker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..files import DataError, atomic_path
from .exports import napari_tracks, write_ctc, write_tracks, write_video
from .frames import FrameSource
from .inference import predict
from .light import EvenSource
from .mpm_tracking import track_mpm
from .networks import UNet

if TYPE_CHECKING:
    import pandas as pd

WEIGHTS, SETTINGS = "mpm.safetensors", "settings"


def load_tracker(weights: str | Path, device: str = "auto") -> UNet:
    """The MPM network of an earlier run.

    Args:
        weights: Its output folder, the folder `weights` in it, or the file.
        device: As `training.make_fabric`.

    Raises:
        DataError: No such file, or one that holds another network; says what was looked for.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from ..training import make_fabric

    path = _weights_file(weights)
    try:
        state = load_file(path)
        net = UNet(2, 3, state["out.weight"].shape[1])
        net.load_state_dict(state)
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        why = str(error).splitlines()[0]
        raise DataError(f"{path}: not the weights of an MPM network (2 frames to 3 channels): {why}") from None
    return net.eval().to(make_fabric(device).device)


def _weights_file(weights: str | Path) -> Path:
    given = Path(weights).expanduser()
    tried = [given, given / WEIGHTS, given / "weights" / WEIGHTS]
    path = next((p for p in tried if p.is_file()), None)
    if path is None:
        raise DataError(
            f"weights {given}: no {WEIGHTS} (looked at {', '.join(map(str, tried))}); give the output folder of a "
            "`cellweak run tracking`"
        )
    return path


def settings_text(source: FrameSource, **settings: float | str) -> dict[str, str]:
    """What is kept beside the weights, as the metadata of `Results.weights`: see `settled`.

    Args:
        source: The frames trained on. Their white level is kept, too, since another film of the same microscope may
            be darker; it goes for films of the same type of pixels only.
        settings: By the names of the chapter's parameters.
    """
    raw = source.whole if isinstance(source, EvenSource) else source
    kept = {**settings, "white_level": float(raw.scale), "pixels": str(raw.dtype)}
    return {SETTINGS: json.dumps(kept, sort_keys=True)}


def settled(
    asked: Mapping[str, Any], defaults: Mapping[str, Any], weights: str | Path, source: FrameSource
) -> dict[str, Any]:
    """Settings to track new frames with: what differs from the default was asked for, the rest is as in training.

    Args:
        asked: By the names of the chapter's parameters.
        defaults: Theirs.
        weights: As `load_tracker`.
        source: The new frames as they are.

    Returns:
        The settings of `asked`; its own where the file has none.

    Raises:
        DataError: As `load_tracker`.
    """
    from safetensors import SafetensorError, safe_open

    path = _weights_file(weights)
    try:
        with safe_open(path, "np") as file:
            kept = json.loads((file.metadata() or {}).get(SETTINGS, "{}"))
    except (SafetensorError, ValueError) as error:
        raise DataError(f"{path}: not the weights of an MPM network: {error}") from None
    if kept.get("pixels") != str(source.dtype):
        kept.pop("white_level", None)
    return {k: kept.get(k, v) if v == defaults[k] else v for k, v in asked.items()}


def weights_of(result: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a training's result under the names of the network's own parts, to be kept as `WEIGHTS`."""
    return {k.removeprefix("model."): torch.as_tensor(v) for k, v in result.items() if k.startswith("model.")}


def weights_digest(net: UNet) -> str:
    """SHA-256 over the network's weights, so that a checkpoint of another network is not gone on from."""
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def track_sequence(
    net: UNet,
    source: FrameSource,
    checkpoint: Path | None = None,
    *,
    tile_px: int = 0,
    precision: str = "32-true",
    data_digest: str = "",
    **options: Any,  # noqa: ANN401 - those of MpmTracker
) -> pd.DataFrame:
    """Tracks of a whole sequence, two frames in memory at a time; a killed call goes on from its checkpoint.

    Args:
        net: Of `load_tracker` or a training.
        source: The frames.
        checkpoint: See `track_mpm`.
        tile_px: See `inference.predict`; 0 takes whole frames.
        precision: "32-true" or "bf16-mixed".
        data_digest: Of the frames, for the checkpoint.
        options: Of `MpmTracker`.

    Returns:
        The tracks; frames are indices of `source`.
    """
    pair = partial(_pair_map, net, source, tile_px, precision)
    version = f"{data_digest}{weights_digest(net)}{tile_px}{precision}"
    return track_mpm(range(len(source)), pair, checkpoint, version=version, desc="tracking", **options)


def _pair_map(net: UNet, source: FrameSource, tile_px: int, precision: str, k: int) -> NDArray[np.float32]:
    return predict(net, np.stack([source[k - 1], source[k]]), tile_px=tile_px, precision=precision)


def export(
    tracks: pd.DataFrame,
    source: FrameSource,
    out: Path,
    *,
    label_images: bool = False,
    radius_px: float = 8.0,
    video: bool = True,
) -> list[Path]:
    """Writes the tracks in every form.

    Args:
        tracks: Of `track_sequence`.
        source: The frames they were made from.
        out: Folder.
        label_images: Also write the challenge's label images, discs of `radius_px`.
        radius_px: Of a cell in them, px.
        video: Also write the video.

    Returns:
        What was written: `tracks.csv` (frames numbered as their files), the challenge's files in `ctc/`,
        `napari_tracks.npy` (ID, T, Y, X), `tracks.gif`.
    """
    written = [write_tracks(tracks, out / "tracks.csv", source.numbers)]
    with atomic_path(out / "napari_tracks.npy") as part, part.open("wb") as file:
        np.save(file, napari_tracks(tracks))
    written.append(out / "napari_tracks.npy")
    write_ctc(tracks, source.shape, out / "ctc", radius_px, label_images, n_frames=len(source))
    written.append(out / "ctc")
    if video:
        written.append(write_video(source, tracks, out / "tracks.gif"))
    return written
