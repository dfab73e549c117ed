"""Where the network of a training looks in patches, and whether it looks to where the cell goes.

    patches, rows --read ahead--> mean 0, sd 1 --> network of the training --> Grad-CAM, integrated gradients
                                                                                           |
    cell A: frames .6 .7 . .8  -> .7                                                       |
    cell B: frames .5 .5       -> .5   mean over cells <--- share of a map ahead of the centroid

All of it in float32: a gradient is a small difference, for which bf16 has too few bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..files import DataError
from ..screens.networks import rebuilt
from ..screens.reading import ahead
from ..training import make_fabric
from .augmentation import normalised
from .evaluation import Estimate, over_sequences
from .labels import MODES, UNKNOWN
from .networks import build
from .saliency import front_share, grad_cam, incompleteness, integrated_gradients
from .training import read

if TYPE_CHECKING:
    import pandas as pd


def maps(
    patches: ArrayLike,
    rows: ArrayLike,
    trained: Mapping[str, Any],
    mode: str = MODES[1],
    *,
    n_steps: int = 32,
    batch_size: int = 32,
    device: str = "auto",
) -> dict[str, NDArray[np.float32]]:
    """What speaks for a mode in patches, with dropout off.

    Args:
        patches: `(N, C, s, s)` of any real type, as `patches.load` gives them; read a batch at a time.
        rows: `(k,)` rows of them, in any order; or a mask of all of them.
        trained: `architecture` and `model.*`, as `training.train` returns them.
        mode: For which evidence is shown, one of `labels.MODES`.
        n_steps: Of `saliency.integrated_gradients`, whose baseline is 0: every channel at its patch's mean.
        batch_size: Patches, and passes, at once.
        device: As `training.make_fabric`.

    Returns:
        `cams` `(k, s, s)` of `saliency.grad_cam`; `gradients` `(k, C, s, s)` of `saliency.integrated_gradients`;
        `incompleteness` `(k,)`, by how much the sum of a patch's gradients misses the difference of logits.

    Raises:
        ValueError: `n_steps` or `batch_size` below 1; another mode.
        IndexError: No such row.
        DataError: Patches of another number of channels than the network's, or too small; pixels that are not finite.
    """
    if n_steps < 1 or batch_size < 1:
        raise ValueError(f"expected n_steps and batch_size of 1 or more, got {n_steps} and {batch_size}")
    if mode not in MODES:
        raise ValueError(f"mode: expected {' or '.join(MODES)}, got {mode!r}")
    (n, *shape), asked = np.shape(patches), np.asarray(rows)
    if asked.ndim != 1 or (asked.size and asked.min() < 0):
        raise IndexError(f"rows: expected positions (k,) from 0 to {n - 1} or a mask of {n} rows, got {asked}")
    own = np.arange(n)[asked if asked.size else slice(0)]
    fabric = make_fabric(device)
    network = rebuilt(trained, build).to(fabric.device)
    if len(shape) != 3 or shape[0] != network.n_channels or min(shape[1:]) < network.smallest_px:
        raise DataError(
            f"patches: the network was trained on {network.n_channels} channels and takes {network.smallest_px} px or "
            f"more, found (C, s, s) = {tuple(shape)}; cut patches of the same channels"
        )
    of = {
        "cams": np.zeros((len(own), *shape[1:]), np.float32),
        "gradients": np.zeros((len(own), *shape), np.float32),
        "incompleteness": np.zeros(len(own), np.float32),
    }
    starts = range(0, len(own), batch_size)
    for first, pixels in zip(starts, ahead(lambda k: read(patches, own[k : k + batch_size]), starts), strict=True):
        x = normalised(pixels.to(fabric.device).float())
        gradients = integrated_gradients(network, x, mode, n_steps=n_steps, batch_size=batch_size)
        found: dict[str, torch.Tensor] = {
            "cams": grad_cam(network, x, mode, batch_size=batch_size),
            "gradients": gradients,
            "incompleteness": incompleteness(network, x, gradients, mode),
        }
        for name, values in found.items():
            of[name][first : first + len(x)] = values.cpu().numpy()
    return of


def ahead_of(
    maps_: ArrayLike, directions: ArrayLike, cells: ArrayLike, n_resamples: int = 2000, seed: int = 0
) -> Estimate:
    """How much of its maps lies ahead of a cell, each cell counted once: the mean over cells of their frames' mean.

    Args:
        maps_: `(n, H, W)`, 0 or more, as `saliency.front_share` takes them.
        directions: `(n, 2)` of `motion.directions`. Frames without one are left out, and so are those whose cell stands
            still or whose map is 0.
        cells: `(n,)` cell of each frame.
        n_resamples: Resamples of whole cells.
        seed: Of the resamples.

    Returns:
        The share in [0, 1], 0.5 where nothing is looked at more than the rest, with its 95 % interval, and the frames
        and cells that count; NaN where none does, no interval where one cell does.

    Raises:
        ValueError: Lengths differ; a map below 0.
    """
    import pandas as pd

    share, groups = front_share(maps_, directions), np.asarray(cells).astype(str)
    if groups.shape != share.shape:
        raise ValueError(f"cells: expected one for each of {len(share)} maps, got {groups.shape}")
    counted = np.isfinite(share)
    frames = pd.DataFrame({"cell": groups[counted], "ahead": share[counted]})
    table = frames.groupby("cell").mean()
    found = over_sequences(table, ("ahead",), n_resamples, seed).iloc[0]
    return Estimate(float(found["value"]), float(found["low"]), float(found["high"]), len(frames), len(table))


def chosen(frames: pd.DataFrame, directions: NDArray[np.float64], per_cell: int) -> pd.DataFrame:
    """Some frames of each cell to show, evenly over those that are followed by a known motion.

    Args:
        frames: With `cell` and `row` (of the points), in the order in which they are to be shown.
        directions: `(n_points, 2)` of `motion.directions`.
        per_cell: At most so many of each cell.
    """
    moving = frames[np.isfinite(directions[frames["row"].to_numpy()]).all(1)]
    places = [
        own[np.unique(np.linspace(0, len(own) - 1, per_cell + 2).round().astype(int)[1:-1])]
        for own in moving.groupby("cell", sort=False).indices.values()
    ]
    return moving.iloc[np.sort(np.concatenate(places))] if places else moving


def front_shares(
    frames: pd.DataFrame, patches: ArrayLike, trained: Mapping[str, Any], directions: NDArray[np.float64],
    n_resamples: int = 2000, seed: int = 0, device: str = "auto", most: int = 120,
) -> dict[str, Estimate]:  # fmt: skip
    """How much of both maps lies ahead, over frames of known mode and over those of each mode.

    Args:
        frames: Of one network (`scoring.of_network`): `row`, `cell`, `label`.
        patches: As `maps`.
        trained: As `maps`.
        directions: `(n_points, 2)` of `motion.directions`.
        n_resamples: As `ahead_of`.
        seed: As `ahead_of`.
        device: As `maps`.
        most: Frames, evenly chosen from first to last where there are more.

    Returns:
        Of `ahead_of`, by what the map is and which frames are meant; what rests on no cell is left out.
    """
    known = frames[(frames["label"] != UNKNOWN) & np.isfinite(directions[frames["row"].to_numpy()]).all(1)]
    own = known.iloc[np.unique(np.linspace(0, len(known) - 1, min(most, len(known))).round().astype(int))]
    rows = own["row"].to_numpy()
    found = maps(patches, rows, trained, device=device)
    shown = {"Grad-CAM": found["cams"], "integrated gradients": np.abs(found["gradients"]).sum(1)}
    masks = {"": np.ones(len(own), bool)} | {f", {mode}": (own["label"] == mode).to_numpy() for mode in MODES}
    shares = {
        what + words: ahead_of(values[mask], directions[rows][mask], own["cell"].to_numpy()[mask], n_resamples, seed)
        for what, values in shown.items() for words, mask in masks.items()
    }  # fmt: skip
    return {what: share for what, share in shares.items() if share.n_cells}


def missed(found: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
    """By which share of the difference of logits the sum of integrated gradients misses it.

    Args:
        found: Of `maps`.

    Returns:
        `(k,)`, 0 where the rule is exact; NaN where the logits do not differ.
    """
    off = np.asarray(found["incompleteness"], np.float64)
    ought = np.asarray(found["gradients"], np.float64).sum((1, 2, 3)) - off
    return np.abs(off) / np.where(ought == 0, np.nan, np.abs(ought))
