"""The tasks of a comparison, each a run of `parallel.map_runs`: train, propagate, detect, tune a baseline, track.

    shared:  images of every part ("train", tests) as PART.images, positions as points.NAME, links as pairs.NAME and
             ignored.NAME, trained networks as NETWORK:architecture, NETWORK:model.*, tuned baselines as TUNED:*
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from ..training import shared_tensor
from .agraph import fit_agraph, track_agraph
from .association import associate, gate_px
from .cell_motion import track_cell_motion
from .fogbank import track_fogbank, tune_fogbank
from .frames import ArraySource
from .gda import track_gda, tune_gda
from .inference import predict, restored
from .mpm_tracking import track_mpm
from .peaks import EARLIER_THRESHOLD, peaks
from .propagation import propagate
from .pseudo import pseudo_labels
from .tracks import TRACK_COLUMNS
from .training import train_cmf, train_codetection, train_detector, train_mpm

TRAININGS = {"codetection": train_codetection, "detector": train_detector, "mpm": train_mpm, "cmf": train_cmf}
BASELINES: dict[str, tuple[Callable[..., dict[str, Any]], Callable[..., pd.DataFrame]]] = {
    "A-Graph": (fit_agraph, track_agraph),
    "Fogbank": (tune_fogbank, track_fogbank),
    "GDA": (tune_gda, track_gda),
}
Run = Mapping[str, Any]


def train(run: Run, shared: Run, checkpoint: Path) -> dict[str, Any]:
    """Train one network.

    Args:
        run: `what` (a key of `TRAININGS`), `points` (a name in `shared`), for MPM and CMF `pairs` (a name) and `masked`
            (whether cells of unknown past are left out of the loss); all else as `training.DEFAULTS`.
        shared: `train.images`, `train.frames` (those that are annotated), `points.NAME` (n, 3), `pairs.NAME` (n, 6),
            `ignored.NAME` (m, 4).
        checkpoint: Where the training saves.

    Returns:
        See `training.train_codetection`.
    """
    settings = {k: v for k, v in run.items() if k not in ("what", "points", "pairs", "masked")}
    given = {name: shared[f"train.{name}"] for name in ("images", "frames")}
    given["points"] = shared[f"points.{run['points']}"]
    if "pairs" in run:
        given["pairs"] = shared[f"pairs.{run['pairs']}"]
        if run["masked"]:
            given["ignored"] = shared[f"ignored.{run['pairs']}"]
    return TRAININGS[run["what"]](settings, given, checkpoint)


def network(shared: Run, name: str, device: str = "auto") -> nn.Module:
    """The trained network of that name among the shared values, on the device, in evaluation mode."""
    from ..training import make_fabric

    prefix = f"{name}:"
    stored = {k.removeprefix(prefix): v for k, v in shared.items() if k.startswith(prefix)}
    weights = {k: shared_tensor(v) if k.startswith("model.") else v for k, v in stored.items()}
    return restored(weights).to(make_fabric(device).device)


def unit_frames(images: NDArray[Any]) -> ArraySource:
    """Shared images as frames in [0, 1]."""
    return ArraySource(images, white_level=float(np.iinfo(images.dtype).max) if images.dtype.kind == "u" else 1.0)


def propagate_pairs(run: Run, shared: Run, checkpoint: Path) -> dict[str, Any]:
    """Backward-and-forward propagation of some pairs of frames.

    Args:
        run: `part`, `network`, `interval`, `frames` (the earlier ones), `smooth_px` (see `peaks`), `device`.
        shared: See this module's drawing.
        checkpoint: Not used; a run is a few pairs.

    Returns:
        `earlier` and `later` (n, 3) frame of the pair, x, y: the peaks of L_t and L_t+1; `links` (k, 5) frame of the
        pair, index in each, score, state; `pairs` (n, 6) and `ignored` (m, 4): the pseudo-labels.
    """
    source, net = unit_frames(shared[f"{run['part']}.images"]), network(shared, run["network"], run["device"])
    interval, smooth_px = run["interval"], run["smooth_px"]
    rows: dict[str, list[NDArray[Any]]] = {name: [] for name in ("earlier", "later", "links", "pairs", "ignored")}
    for t in run["frames"]:
        pair = np.stack([source[t], source[t + interval]])
        maps = predict(net, pair)
        before, after = peaks(maps[0], EARLIER_THRESHOLD, smooth_px=smooth_px), peaks(maps[1], smooth_px=smooth_px)
        found = propagate(net, pair, before, after, gate=gate_px(interval))  # type: ignore[arg-type]
        links = associate(found.candidates, found.scores, len(before), len(after))
        labels = pseudo_labels(links, before, after, t, interval)
        ends = np.stack([links.from_index, links.to_index, links.score, links.state], 1)
        for name, values in (("earlier", before), ("later", after), ("links", ends)):
            rows[name].append(np.insert(values, 0, t, axis=1))
        rows["pairs"].append(labels.pairs)
        rows["ignored"].append(labels.ignored)
    widths = {"earlier": 3, "later": 3, "links": 5, "pairs": 6, "ignored": 4}
    return {name: np.concatenate([np.zeros((0, widths[name])), *values]) for name, values in rows.items()}


def detect(run: Run, shared: Run, checkpoint: Path) -> dict[str, Any]:
    """Cells of every frame that the network sees: by co-detection the later frame of each pair, and frame 0.

    Args:
        run: `part`, `network`, `interval` (0 for a single-frame detector), `smooth_px`, `device`.
        shared: See this module's drawing.
        checkpoint: Not used.

    Returns:
        `found` (n, 3) frame, x, y. Co-detection: frames from `interval` on; at interval 1 frame 0 from L_t as well.
    """
    source, net = unit_frames(shared[f"{run['part']}.images"]), network(shared, run["network"], run["device"])
    interval, smooth_px = run["interval"], run["smooth_px"]
    rows = [np.zeros((0, 3))]
    for t in range(len(source) - interval):
        frames = np.stack([source[t], source[t + interval]]) if interval else source[t][None]
        maps = predict(net, frames)
        seen = [(t + interval, maps[-1])]
        if interval == 1 and t == 0:
            seen.insert(0, (0, maps[0]))
        rows += [np.insert(peaks(one, smooth_px=smooth_px), 0, at, axis=1) for at, one in seen]
    return {"found": np.concatenate(rows)}


def tune(run: Run, shared: Run, checkpoint: Path) -> dict[str, Any]:
    """Arguments of a classical baseline from the training frames and positions; arrays and plain numbers.

    Args:
        run: `method`, a key of `BASELINES`, and `points`.
        shared: `train.images`, `points.NAME`.
        checkpoint: Not used.
    """
    points = pd.DataFrame(np.asarray(shared[f"points.{run['points']}"]), columns=["frame", "x", "y"])
    points["frame"] = points["frame"].astype(int)
    fit = BASELINES[run["method"]][0]
    return dict(fit(unit_frames(shared["train.images"]), points))


def track(run: Run, shared: Run, checkpoint: Path) -> dict[str, Any]:
    """Tracks of every `interval`-th frame by one method.

    Args:
        run: `part`, `method` ("MPM", "CMF" or a key of `BASELINES`), `network` or `tuned`, `interval`, `offset`,
            `smooth_px` (of CMF's peaks), `mpm_smooth_px`, `mpm_threshold`, `linking` (of MPM), `z`, `device`.
        shared: See this module's drawing.
        checkpoint: Where MPM's tracking saves.

    Returns:
        `tracks` (n, 6): `TRACK_COLUMNS`, frames numbered as in the part.
    """
    images, interval = shared[f"{run['part']}.images"], run["interval"]
    numbers = list(range(run["offset"], len(images), interval))
    source = unit_frames(np.asarray(images)[numbers])
    steps = range(len(numbers))
    if run["method"] in BASELINES:
        prefix = f"{run['tuned']}:"
        given = {k.removeprefix(prefix): v for k, v in shared.items() if k.startswith(prefix)}
        given = {k: np.asarray(v) if isinstance(v, torch.Tensor) else v for k, v in given.items()}
        tracks = BASELINES[run["method"]][1](source, **given)
    elif run["method"] == "CMF":
        net = network(shared, run["network"], run["device"])
        pair = lru_cache(maxsize=1)(partial(_pair, net, source))
        options = {"z": run["z"], "smooth_px": run["smooth_px"]}
        # The position of frame k comes from the pair that ends there, of frame 0 from the pair of it with itself.
        tracks = track_cell_motion(steps, lambda k: pair(k)[0], lambda k: pair(k)[1:], **options)
    else:
        net = network(shared, run["network"], run["device"])
        tracks = track_mpm(
            steps, partial(_pair, net, source), checkpoint,
            z=run["z"], smooth_px=run["mpm_smooth_px"], threshold=run["mpm_threshold"], linking=run["linking"],
        )  # fmt: skip
    tracks["frame"] = np.asarray(numbers)[tracks["frame"].to_numpy()]
    return {"tracks": tracks[list(TRACK_COLUMNS)].to_numpy(float)}


def _pair(net: nn.Module, source: ArraySource, k: int) -> NDArray[np.float32]:
    return predict(net, np.stack([source[max(k - 1, 0)], source[k]]))
