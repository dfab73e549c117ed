"""The target maps: where cells are, where they came from, and what is not to be learnt from.

    positions of a frame   --> likelihood map: a Gaussian on each cell, the larger where two meet
    links t -> t+1         --> motion-and-position map: the same Gaussian at t+1, carrying a vector to the cell at t
    cells of unknown past  --> discs, left out of the loss

Source: Nishimura et al. 2020 (WSCTBFP), Sec. 3.1 and 3.4; Hayashida et al. 2020 (MPM); kernel sizes from the authors'
code (`cmp_gen_pseudo.py`, `cmp_gen_from_gt.py`). Maps are drawn on any device from positions relative to the map, all
cells of a batch at once; whole frames go through tiles, so that each tile sees its own few cells only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

KERNEL_REACH_PX = 50  # the authors cut their motion kernels here
KINDS = ("peak", "parallel")
_TILE_PX = 128
_LAST_VISIBLE = 5.7  # standard deviations: a Gaussian beyond is below 1e-7


def draw_likelihood(points: Tensor, shape: tuple[int, int], sigma_px: float) -> Tensor:
    """Likelihood maps: at each pixel the largest exp(-d^2 / 2 sigma^2) over the cells.

    Args:
        points: `(B, n, 2)` float32 x, y in px of the map, in or outside it; rows of infinity are no cell.
        shape: Height and width of the map.
        sigma_px: The Gaussian's standard deviation.

    Returns:
        `(B, H, W)` float32 in [0, 1], 1 at a cell on a pixel's centre.
    """
    dx2, dy2 = _squared_offsets(points, shape)
    nearest = points.new_full((len(points), *shape), torch.inf)
    for k in range(points.shape[1]):
        torch.minimum(nearest, dy2[:, k, :, None] + dx2[:, k, None, :], out=nearest)
    return torch.exp(nearest / (-2 * sigma_px**2))


def draw_motion(pairs: Tensor, shape: tuple[int, int], sigma_px: float, z: float, kind: str = "peak") -> Tensor:
    """Motion-and-position maps (MPM): at each pixel the vector of the nearest cell, as long as its Gaussian.

    v(p) = G(p) u(p), G(p) = exp(-|p - c1|^2 / 2 sigma^2) and u = (c0 - p, z) / ||(c0 - p, z)|| ("peak": every pixel
    points at the previous position) or (c0 - c1, z) / ||.|| ("parallel": Hayashida 2020). Of several cells the nearest
    draws; at exactly equal distances their vectors are averaged. Nothing is drawn more than 50 px from c1 in x or y.

    Args:
        pairs: `(B, n, 4)` float32 x0, y0, x1, y1: the cell at t and at t+1; rows of infinity are no cell.
        shape: Height and width of the map.
        sigma_px: The Gaussian's standard deviation (6 in the paper).
        z: The third component before normalising, px (5 in the paper).
        kind: "peak" or "parallel".

    Returns:
        `(B, 3, H, W)` float32, channels y, x, z.

    Raises:
        ValueError: An unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    n_maps, n_cells = pairs.shape[:2]
    if not n_cells:
        return pairs.new_zeros(n_maps, 3, *shape)
    dx2, dy2 = _squared_offsets(pairs[..., 2:], shape, KERNEL_REACH_PX)
    nearest = pairs.new_full((n_maps, *shape), torch.inf)
    owner = torch.zeros(n_maps, *shape, dtype=torch.long, device=pairs.device)
    shared = torch.zeros(n_maps, *shape, dtype=torch.bool, device=pairs.device)
    for k in range(n_cells):
        d2 = dy2[:, k, :, None] + dx2[:, k, None, :]
        closer = d2 < nearest
        shared = (shared & ~closer) | (d2 == nearest)
        owner = torch.where(closer, k, owner)
        nearest = torch.where(closer, d2, nearest)
    where = torch.arange(n_maps, device=pairs.device)[:, None, None]
    y = torch.arange(shape[0], device=pairs.device, dtype=pairs.dtype)[:, None]
    x = torch.arange(shape[1], device=pairs.device, dtype=pairs.dtype)
    unit = _directions(pairs[where, owner], x, y, z, kind)  # (B, H, W, 3)
    b, row, column = (shared & torch.isfinite(nearest)).nonzero(as_tuple=True)
    if len(b):  # a few pixels half-way between two cells
        tied = (dy2[b, :, row] + dx2[b, :, column] == nearest[b, row, column, None]).to(pairs.dtype)  # (ties, n)
        each = _directions(pairs[b], column[:, None].to(x), row[:, None].to(y), z, kind)  # (ties, n, 3)
        unit[b, row, column] = (torch.nan_to_num(each) * tied[..., None]).sum(1) / tied.sum(1, keepdim=True)
    length = torch.exp(nearest / (-2 * sigma_px**2))
    return (torch.where(length[..., None] > 0, unit, 0) * length[..., None]).movedim(-1, 1)


def draw_discs(points: Tensor, shape: tuple[int, int], radius_px: float) -> Tensor:
    """Whether a pixel lies within `radius_px` of a cell, `(B, H, W)` bool; `points` as in `draw_likelihood`."""
    dx2, dy2 = _squared_offsets(points, shape)
    inside = torch.zeros(len(points), *shape, dtype=torch.bool, device=points.device)
    for k in range(points.shape[1]):
        inside |= dy2[:, k, :, None] + dx2[:, k, None, :] <= radius_px**2
    return inside


def likelihood_maps(
    points_per_frame: Sequence[NDArray[np.floating]], shape: tuple[int, int], sigma_px: float = 9.0
) -> NDArray[np.float32]:
    """Likelihood maps of whole frames (see `draw_likelihood`).

    Deviation: values below 1e-7 may be zero.

    Args:
        points_per_frame: One `(n, 2)` array of x, y in px for each frame; n may be 0.
        shape: Height and width of a frame.
        sigma_px: The Gaussian's standard deviation; 9 px is what the names of the authors' weights imply.

    Returns:
        `(n_frames, H, W)` in [0, 1].
    """
    reach = _LAST_VISIBLE * sigma_px
    out = np.zeros((len(points_per_frame), *shape), np.float32)
    for frame, points in enumerate(points_per_frame):
        for rows, columns, near in _tiles(np.reshape(points, (-1, 2)), shape, reach):
            size = rows.stop - rows.start, columns.stop - columns.start
            out[frame, rows, columns] = draw_likelihood(near, size, sigma_px)[0].numpy()
    return out


def motion_maps(
    pairs: NDArray[np.floating],
    shape: tuple[int, int],
    sigma_px: float = 6.0,
    z: float = 5.0,
    kind: str = "peak",
) -> NDArray[np.float32]:
    """The motion-and-position map of one pair of frames (see `draw_motion`).

    Args:
        pairs: `(n, 4)` x0, y0, x1, y1 in px; n may be 0. The daughters of a division share x0, y0.
        shape: Height and width of a frame.
        sigma_px: The Gaussian's standard deviation.
        z: The third component before normalising, px.
        kind: "peak" or "parallel".

    Returns:
        `(3, H, W)`, channels y, x, z.

    Raises:
        ValueError: An unknown kind.
    """
    out = np.zeros((3, *shape), np.float32)
    # Ends first, so that the tiles choose by them.
    flipped = np.reshape(pairs, (-1, 4))[:, [2, 3, 0, 1]]
    for rows, columns, near in _tiles(flipped, shape, KERNEL_REACH_PX):
        size = rows.stop - rows.start, columns.stop - columns.start
        out[:, rows, columns] = draw_motion(near[..., [2, 3, 0, 1]], size, sigma_px, z, kind)[0].numpy()
    return out


def disc_mask(points: NDArray[np.floating], shape: tuple[int, int], radius_px: float) -> NDArray[np.bool_]:
    """Whether a pixel of a frame lies within `radius_px` of one of the cells `(n, 2)` x, y: `(H, W)`."""
    out = np.zeros(shape, np.bool_)
    for rows, columns, near in _tiles(np.reshape(points, (-1, 2)), shape, radius_px):
        size = rows.stop - rows.start, columns.stop - columns.start
        out[rows, columns] = draw_discs(near, size, radius_px)[0].numpy()
    return out


def true_pairs(points: pd.DataFrame, interval: int = 1) -> pd.DataFrame:
    """Where each cell was `interval` frames earlier, daughters pointing at their mother's position.

    Args:
        points: Table with frame, id, x, y and parent (-1 = none; on every row of a daughter or on its first only).
        interval: Frames between the two positions, at least 1.

    Returns:
        Table frame (the earlier one), interval, x0, y0 (then), x1, y1 (at frame + interval). A cell without a row
        in the earlier frame is replaced by the nearest ancestor that has one, and is left out where none has.

    Raises:
        ValueError: An interval below 1, or lineages that run in a circle.
    """
    if interval < 1:
        raise ValueError(f"interval: expected at least 1 frame, got {interval}")
    import pandas as pd

    columns = [points[name].to_numpy() for name in ("frame", "id", "x", "y", "parent")]
    cells = list(zip(*(column.tolist() for column in columns), strict=True))
    then = {(frame, cell): (x, y) for frame, cell, x, y, _ in cells}
    parents = {cell: parent for _, cell, _, _, parent in cells if parent >= 0}
    rows = []
    for frame, cell, x, y, _ in cells:
        start, before, seen = frame - interval, cell, {cell}
        while (start, before) not in then and before in parents:
            before = parents[before]
            if before in seen:
                raise ValueError(f"parent: cell {before} is its own ancestor; correct the column 'parent'")
            seen.add(before)
        if (start, before) in then:
            rows.append((start, interval, *then[start, before], x, y))
    table = pd.DataFrame(rows, columns=["frame", "interval", "x0", "y0", "x1", "y1"])
    return table.astype({"frame": "int64", "interval": "int64"} | dict.fromkeys(["x0", "y0", "x1", "y1"], "float64"))


def _squared_offsets(points: Tensor, shape: tuple[int, int], reach: float = torch.inf) -> tuple[Tensor, Tensor]:
    """Squared distance of the columns and of the rows to each cell, `(B, n, W)` and `(B, n, H)`."""
    offsets = []
    for axis, size in ((0, shape[1]), (1, shape[0])):
        d = torch.arange(size, device=points.device, dtype=points.dtype) - points[..., axis, None]
        offsets.append(torch.where(d.abs() <= reach, d.square(), torch.inf))
    return offsets[0], offsets[1]


def _directions(pairs: Tensor, x: Tensor, y: Tensor, z: float, kind: str) -> Tensor:
    """Unit vectors (y, x, z), `(..., 3)`, of pairs `(..., 4)` at pixels x, y."""
    x0, y0, x1, y1 = pairs.unbind(-1)
    dy, dx = (y0 - y, x0 - x) if kind == "peak" else (y0 - y1, x0 - x1)
    vector = torch.stack([dy, dx, torch.full_like(dy, z)], -1)
    return vector / vector.norm(dim=-1, keepdim=True)


def _tiles(
    points: NDArray[np.floating], shape: tuple[int, int], reach_px: float
) -> list[tuple[slice, slice, Tensor]]:
    """Rows, columns and the cells `(1, n, .)` that reach into it, relative to it, of each tile that has any."""
    height, width = shape
    found = []
    for top in range(0, height, _TILE_PX):
        for left in range(0, width, _TILE_PX):
            bottom, right = min(top + _TILE_PX, height), min(left + _TILE_PX, width)
            near = (
                (points[:, 0] >= left - reach_px)
                & (points[:, 0] <= right - 1 + reach_px)
                & (points[:, 1] >= top - reach_px)
                & (points[:, 1] <= bottom - 1 + reach_px)
            )
            if near.any():
                origin = np.tile([left, top], points.shape[1] // 2)
                cells = torch.from_numpy((points[near] - origin).astype(np.float32))[None]
                found.append((slice(top, bottom), slice(left, right), cells))
    return found
