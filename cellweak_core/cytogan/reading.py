"""Cells from the disk to what these networks take: shuffled, resized, each channel brightened.

    step i --seed--> rows of the epoch's shuffle --read ahead--> pixels --resize, scale--> (n, C, s, s) in [-1, 1]
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..files import CellweakWarning, DataError
from ..screens.crops import Crops, rescaled

FAINT = 0.5  # of the brightest pixel: where half of the cells have no darker pixel, an offset hides what there is
LOOKED_AT = 256  # cells


class Shuffled:
    """Rows of each step: all cells in a random order, then all in another, and so on.

    What a step gets depends on the seed and the step alone. Of fewer cells than a batch some come twice in one.

    Args:
        rows: `(n,)` cells, n of 1 or more.
        seed: Of the orders.
    """

    def __init__(self, rows: NDArray[np.int64], seed: int) -> None:
        self.rows, self.seed = rows, seed
        self._epoch, self._order = -1, rows

    def take(self, start: int, n: int) -> NDArray[np.int64]:
        """Rows `start` to `start + n` of the endless sequence."""
        out = np.empty(n, np.int64)
        done, length = 0, len(self.rows)
        while done < n:
            epoch, at = divmod(start + done, length)
            if epoch != self._epoch:
                self._epoch = epoch
                self._order = self.rows[np.random.default_rng([self.seed, epoch]).permutation(length)]
            part = self._order[at : at + n - done]
            out[done : done + len(part)] = part
            done += len(part)
        return out


def prepared(pixels: Tensor, size_px: int, scaling: str = "maximum") -> Tensor:
    """Pixels as the networks take them.

    Source: Sec. 3 ("normalize the luminance of each channel"); the authors' code divides each channel of each cell by
    its maximum, and the networks see 2 x - 1.

    Args:
        pixels: `(n, C, H, W)`, 0 or above, of any type; left alone.
        size_px: Side to resize to (bilinear, without aliasing), before brightness is scaled.
        scaling: "maximum": from [0, maximum] to [-1, 1]; "range": from [minimum, maximum], for crops with an offset.

    Returns:
        `(n, C, size_px, size_px)` float32 in [-1, 1], channels last in memory; a channel of one value all over, bright
        or dark, is -1.
    """
    x = pixels.to(torch.float32, memory_format=torch.channels_last)
    constant = _constant(x)
    if x.shape[2:] != (size_px, size_px):
        x = F.interpolate(x, (size_px, size_px), mode="bilinear", antialias=True)
        constant |= _constant(x)
    if scaling == "range":
        x = x - x.amin((2, 3), keepdim=True)
    return torch.where(constant, -1.0, rescaled(x)).contiguous(memory_format=torch.channels_last)


def _constant(x: Tensor) -> Tensor:
    return x.amin((2, 3), keepdim=True) == x.amax((2, 3), keepdim=True)


def require_contrast(crops: Crops, rows: NDArray[np.int64], scaling: str) -> None:
    """Look at some cells before hours are spent on them.

    Warns:
        CellweakWarning: Half of the cells have no pixel darker than half of their brightest: an offset lies below them.

    Raises:
        DataError: Crops that are not square, no cells, cells without any contrast, pixels that are no light (as
            `Crops.checked`).
    """
    height, width = crops.size
    if height != width:
        raise DataError(f"{crops.name}: crops of {height} x {width} px, expected square ones; cut or pad them")
    if not len(rows):
        raise DataError(f"{crops.name}: no cells to work on")
    pixels = crops.checked(rows[:: max(1, len(rows) // LOOKED_AT)][:LOOKED_AT])
    low, high = pixels.min((2, 3)).astype(float), pixels.max((2, 3)).astype(float)
    seen = high > low
    if not seen.any():
        raise DataError(f"{crops.name}: {len(low)} cells looked at, each of one value all over; nothing to learn")
    for k, name in enumerate(crops.channels):
        share = low[seen[:, k], k] / high[seen[:, k], k]
        if scaling == "maximum" and len(share) and np.median(share) > FAINT:
            warnings.warn(
                f"{crops.name}, {name}: the darkest pixel of a cell has {np.median(share):.0%} of the brightest one's "
                "light, so that networks see hardly any contrast; take the offset off, or use scaling='range'",
                CellweakWarning,
                stacklevel=2,
            )
