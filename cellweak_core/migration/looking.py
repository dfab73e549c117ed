"""Where the network of a training looks in patches, and whether it looks to where the cell goes.

    patches, rows --read ahead--> mean 0, sd 1 --> network of the training --> Grad-CAM, integrated gradients
                                                                                           |
    cell A: frames .6 .7 . .8  -> .7                                                       |
    cell B: frames .5 .5       -> .5   mean over cells <--- share of a map ahead of the centroid

All of it in float32: a gradient is a small difference, for which bf16 has too few bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

MAPS = ("Grad-CAM", "integrated gradients")
OUTLINE = "the cell's outline"


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


def maps_by_part(
    patches: ArrayLike, frames: pd.DataFrame, trained_of: Callable[[str], Mapping[str, Any]], device: str = "auto"
) -> dict[str, NDArray[np.float32]]:  # fmt: skip
    """`maps` of frames, each by a network that never saw it.

    Args:
        patches: As `maps`.
        frames: `row` and `part` of each.
        trained_of: By the part of a frame, see `saving.never_saw`.
        device: As `maps`.

    Returns:
        As `maps`, in the order of the frames.
    """
    n, shape = len(frames), np.shape(patches)[1:]
    out = {
        "cams": np.zeros((n, *shape[1:]), np.float32), "gradients": np.zeros((n, *shape), np.float32),
        "incompleteness": np.zeros(n, np.float32),
    }  # fmt: skip
    for part in dict.fromkeys(frames["part"]):
        at = np.flatnonzero(frames["part"] == part)
        found = maps(patches, frames["row"].to_numpy()[at], trained_of(part), device=device)
        for name, values in found.items():
            out[name][at] = values
    return out


def over_cells(values: ArrayLike, cells: ArrayLike, n_resamples: int = 2000, seed: int = 0) -> Estimate:
    """The mean over cells of the mean of each cell's frames, each cell counted once.

    Args:
        values: `(n,)` of each frame; NaN is left out.
        cells: `(n,)` cell of each frame.
        n_resamples: Resamples of whole cells.
        seed: Of the resamples.

    Returns:
        The mean with its 95 % interval, and the frames and cells that count; NaN where none does, no interval where one
        cell does.

    Raises:
        ValueError: Lengths differ.
    """
    import pandas as pd

    of, groups = np.asarray(values, float), np.asarray(cells).astype(str)
    if groups.shape != of.shape:
        raise ValueError(f"cells: expected one for each of {len(of)} maps, got {groups.shape}")
    counted = np.isfinite(of)
    frames = pd.DataFrame({"cell": groups[counted], "value": of[counted]})
    table = frames.groupby("cell").mean()
    found = over_sequences(table, ("value",), n_resamples, seed).iloc[0]
    return Estimate(float(found["value"]), float(found["low"]), float(found["high"]), len(frames), len(table))


def ahead_of(
    maps_: ArrayLike, directions: ArrayLike, cells: ArrayLike, n_resamples: int = 2000, seed: int = 0
) -> Estimate:
    """How much of its maps lies ahead of a cell: `over_cells` of `saliency.front_share`.

    Args:
        maps_: `(n, H, W)`, 0 or more, as `saliency.front_share` takes them.
        directions: `(n, 2)` of `motion.directions`. Frames without one are left out, and so are those whose cell stands
            still or whose map is 0.
        cells: `(n,)` cell of each frame.
        n_resamples: As `over_cells`.
        seed: As `over_cells`.

    Raises:
        ValueError: Lengths differ; a map below 0.
    """
    return over_cells(front_share(maps_, directions), cells, n_resamples, seed)


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
    frames: pd.DataFrame, patches: ArrayLike, trained_of: Callable[[str], Mapping[str, Any]],
    directions: NDArray[np.float64], n_resamples: int = 2000, seed: int = 0, device: str = "auto", most: int = 120,
) -> dict[str, Estimate]:  # fmt: skip
    """How much of both maps lies ahead, beside how much of the cell itself does, over frames of known mode.

    A cell that is broader in front has more of its outline ahead of its centroid, and so has any map that is of the
    cell: what counts is the difference to the cell's own outline.

    Args:
        frames: Of one network (`scoring.of_network`): `row`, `cell`, `label`, `part`.
        patches: As `maps`.
        trained_of: By the part of a frame ("test", "fold 0" ...): a network that never saw it.
        directions: `(n_points, 2)` of `motion.directions`.
        n_resamples: As `over_cells`.
        seed: As `over_cells`.
        device: As `maps`.
        most: Frames, evenly chosen from first to last where there are more.

    Returns:
        Of `over_cells`, by what is meant: "the cell's outline", both maps, both minus the outline, and both for the
        frames of each mode; what rests on no cell is left out.
    """
    from .shapes import foreground

    known = frames[(frames["label"] != UNKNOWN) & np.isfinite(directions[frames["row"].to_numpy()]).all(1)]
    own = known.iloc[np.unique(np.linspace(0, len(known) - 1, min(most, len(known))).round().astype(int))]
    rows, cells = own["row"].to_numpy(), own["cell"].to_numpy()
    of = {what: np.full(len(own), np.nan) for what in (OUTLINE, *MAPS)}
    if len(own):
        found = maps_by_part(patches, own, trained_of, device)
        for what, values in zip(MAPS, (found["cams"], np.abs(found["gradients"]).sum(1)), strict=True):
            of[what] = front_share(values, directions[rows])
        masks = foreground(np.stack([np.asarray(patches[row]) for row in rows.tolist()]))  # type: ignore[index]
        of[OUTLINE] = front_share(masks.astype(float), directions[rows])
    for what in MAPS:
        of[f"{what} minus outline"] = of[what] - of[OUTLINE]
        for mode in MODES:
            of[f"{what}, {mode}"] = np.where(own["label"] == mode, of[what], np.nan)
    shares = {what: over_cells(values, cells, n_resamples, seed) for what, values in of.items()}
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
