"""What a run leaves beside its numbers, and what its figures are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import atomic_path
from ..plotting import mosaic
from ..results import file_slug
from ..screens.crops import Crops
from ..screens.exports import write_cells
from . import figures
from .encoding import encode, generate, inputs, noise
from .latent import linear, path_norms, slerp, step_lengths
from .learning import CODE, SHARD_CELLS
from .pictures import rgb

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

WAYS = {"slerp": slerp, "linear": linear}
N_PAIRS = 10  # of noise vectors whose ways are measured; the first is shown
N_SHOWN = 10  # cells on a way, as in the final paper's Fig. 3


def write_codes(
    folder: Path, crops: Crops, trained: Mapping[str, Any], device: str = "auto", precision: str = "bf16-mixed"
) -> list[Path]:
    """Encode every cell with a trained model into Parquet, a shard at a time; a shard that is there is left alone.

    Args:
        folder: For the files.
        crops: Of the channels and the size that the model was trained on.
        trained: Of `encoding.load_weights`.
        device: As `encoding.encode`.
        precision: As `encoding.encode`.

    Returns:
        The files, in the order of the cells.
    """
    import hashlib

    from ..screens.networks import weights_of

    told = hashlib.sha256(crops.digest.encode())
    for name, value in weights_of(trained).items():
        told.update(name.encode() + value.contiguous().numpy().tobytes())
    written = []
    for first in range(0, len(crops), SHARD_CELLS):
        path = folder / f"{told.hexdigest()[:8]}_{first:09d}.parquet"
        if not path.is_file():
            rows = np.arange(first, min(first + SHARD_CELLS, len(crops)))
            codes = encode(crops, rows, trained, device=device, precision=precision)
            write_cells(path, crops.cells.iloc[rows], {CODE: codes})
        written.append(path)
    return written


def ways(
    trained: Mapping[str, Any], channels: Sequence[str], mapping: str, seed: int, device: str = "auto"
) -> tuple[dict[str, NDArray[np.uint8]], pd.DataFrame, dict[str, NDArray[np.float64]]]:
    """Fig. 2: both ways between pairs of noise vectors.

    Returns:
        Pictures of the first pair and the lengths on the ways of `N_PAIRS`, as `figures.interpolation` takes them; and
        by way the steps between neighbouring pictures of all pairs, `(N_PAIRS, N_SHOWN - 1)`.
    """
    z = noise(trained, 2 * N_PAIRS, seed + 2).astype(float)
    firsts, seconds, t = z[:N_PAIRS], z[N_PAIRS:], np.linspace(0, 1, N_SHOWN)
    rows, steps = dict[str, NDArray[np.uint8]](), dict[str, NDArray[np.float64]]()
    for name, way in WAYS.items():
        made = [generate(trained, way(*ends, t), device=device) for ends in zip(firsts, seconds, strict=True)]
        rows[name] = rgb(made[0], channels, mapping)
        steps[name] = np.stack([step_lengths(one) for one in made])
    return rows, path_norms(firsts, seconds, np.linspace(0, 1, 21)), steps


def nearest(
    sample: Mapping[str, Any], crops: Crops, trained: Mapping[str, Any], mapping: str, n: int = 6
) -> Figure:  # fmt: skip
    """Generated cells and the training cells nearest to each.

    Args:
        sample: Of `generating.judged`.
        crops: The screen.
        trained: Any model of the run: all see cells alike.
        mapping: As `pictures.rgb`.
        n: Generated cells.
    """
    rows = np.asarray(sample["row"])[:n]
    near = rgb(inputs(crops, rows.ravel(), trained), crops.channels, mapping)
    made = rgb(np.asarray(sample["images"])[:n], crops.channels, mapping)
    typical = float(np.median(np.asarray(sample["held_out_distance"])))
    away = np.asarray(sample["near_distance"])[:n]
    return figures.nearest(made, near.reshape(*rows.shape, *near.shape[1:]), away, typical)


def predictions(entry: Mapping[str, Any]) -> dict[str, tuple[list[Any], list[Any]]]:
    """True and predicted mechanisms of one model's treatments, as they are and with TVN, for the figure of both."""
    return {
        title: (entry["scores"][how]["treatments"]["moa"], entry["scores"][how]["predicted"])
        for title, how in (("as they are", "none"), ("TVN", "TVN"))
    }


def write_sheets(
    folder: Path, made: Mapping[str, ArrayLike], real: ArrayLike, channels: Sequence[str], mapping: str
) -> list[str]:
    """A PNG for each generator: its cells, and real ones under them behind a white line.

    Returns:
        The files' names.
    """
    from matplotlib.image import imsave

    below, names = mosaic(rgb(real, channels, mapping), 12), list[str]()
    for model, cells in made.items():
        above = mosaic(rgb(cells, channels, mapping), 12)
        line = np.full((4, above.shape[1], 3), 255, np.uint8)
        path = folder / f"{file_slug(model)}.png"
        with atomic_path(path) as part:
            imsave(part, np.concatenate([above, line, below[:, : above.shape[1]]]), format="png")
        names.append(f"{folder.name}/{path.name}")
    return names
