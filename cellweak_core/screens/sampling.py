"""Which cells a training step sees, and how they are varied.

    classes, each as often as another --> cells of it, with replacement --> rescale --> shift, flip, quarter turn

Source: DeepProfiler of the paper's week (dataset/image_dataset.py, imaging/augmentations.py); Caicedo et al. 2018.
Deviation: cells are drawn straight from their class; the authors draw images of a class, then cells of the image, and
mix them in queues, because reading a field was dear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cellweak_core.files import DataError
from cellweak_core.images import quarter_turned

if TYPE_CHECKING:
    import pandas as pd


class BalancedSampler:
    """Draws rows so that every class is as likely as another, however many cells it has.

    Args:
        labels: `(n,)` class of each cell, whole numbers; below 0 is never drawn.

    Attributes:
        classes: `(k,)` the classes, rising.

    Raises:
        ValueError: No cell of any class.
    """

    def __init__(self, labels: ArrayLike) -> None:
        own = np.asarray(labels, np.int64)
        order = np.argsort(own, kind="stable")
        order = order[own[order] >= 0]
        if not len(order):
            raise ValueError("labels: expected at least one cell of a class (0 or above)")
        self.classes, first = np.unique(own[order], return_index=True)
        self._rows = np.split(order, first[1:])

    def draw(self, n: int, source: torch.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`n` rows with replacement, and the class of each."""
        u = torch.rand((2, n), generator=source, dtype=torch.float64).numpy()
        k = (u[0] * len(self.classes)).astype(np.int64)
        rows = np.array([self._rows[c][int(v * len(self._rows[c]))] for c, v in zip(k, u[1], strict=True)], np.int64)
        return rows, self.classes[k]

    def draw_sets(self, n: int, size: int, source: torch.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`n` sets of `size` cells of one class each, for the recurrent network: rows `(n, size)`, classes `(n,)`."""
        k = torch.randint(len(self.classes), (n,), generator=source).numpy()
        u = torch.rand((n, size), generator=source, dtype=torch.float64).numpy()
        own: Sequence[NDArray[np.int64]] = [self._rows[c] for c in k]
        rows = np.stack([r[(v * len(r)).astype(np.int64)] for r, v in zip(own, u, strict=True)])
        return rows, self.classes[k]


def partners(
    rows: ArrayLike, groups: ArrayLike, sampler: BalancedSampler, source: torch.Generator, tries: int = 1000
) -> NDArray[np.int64]:
    """A second cell for each, of another group, to be mixed with: drawn class by class like the first.

    Caicedo et al. 2018, Sec. 4.3, mix cells "from different batches or replicates"; the authors' code drew any two.

    Args:
        rows: `(m,)` cells.
        groups: `(n,)` batch, or plate, of every cell.
        sampler: Of all cells.
        source: Of the draw.
        tries: Draws for each cell before giving up, 1 or more.

    Returns:
        `(m,)` rows.

    Raises:
        DataError: No cell of another group in all tries: as good as all cells that train are of one.
    """
    own, of = np.asarray(rows, np.int64), np.asarray(groups)
    found, missing = np.full(len(own), -1, np.int64), np.arange(len(own))
    for _ in range(tries):
        drawn, _ = sampler.draw(len(missing), source)
        fits = of[drawn] != of[own[missing]]
        found[missing[fits]] = drawn[fits]
        missing = missing[~fits]
        if not len(missing):
            return found
    raise DataError(
        f"mixup: no cell of another group than {of[own[missing[0]]]!s} was found in {tries} draws; cells that train "
        "must be of two batches (or replicates) at least, or mix any two"
    )


def some_cells(cells: pd.DataFrame, most: int, seed: int, controls: int = 0) -> NDArray[np.int64]:
    """A sample that is spread: as many cells of each treatment on each plate as of another, as far as there are.

    Args:
        cells: Of the screen.
        most: Treated cells, at most.
        seed: Of the draw.
        controls: Control cells, at most, as many of each plate.

    Returns:
        Rows, rising.
    """
    rng, control, rows = np.random.default_rng(seed), cells["control"].to_numpy(bool), list[NDArray[np.int64]]()
    for mask, n in ((~control, most), (control, controls)):
        at = np.flatnonzero(mask)
        groups = cells.iloc[at].groupby(["compound", "concentration", "plate"], sort=True).indices
        drawn = [rng.permutation(own).tolist() for own in groups.values()]
        # the first of every group, then the second ...; who comes first among groups is drawn too
        order = sorted((k, rng.random(), row) for own in drawn for k, row in enumerate(own))
        rows.append(at[[row for _, _, row in order[:n]]])
    return np.sort(np.concatenate(rows)).astype(np.int64)


def augmented(crops_nchw: Tensor, source: torch.Generator, most_shift: float = 0.3) -> Tensor:
    """Each crop shifted, flipped and turned its own way, on its device.

    Rows and columns shift by up to `most_shift` of the side, in a random direction; what comes in is 0, the middle grey
    of crops in [-1, 1]. Then left-right at random, then a multiple of 90 degrees (the paper says rotations, the code
    has these).

    Args:
        crops_nchw: `(n, C, H, W)`, square.
        source: On the crops' device; all randomness comes from it.
        most_shift: Share of the side, 0 to 1.

    Returns:
        The same shape and type.

    Raises:
        ValueError: Crops that are not square.
    """
    n, _, height, width = crops_nchw.shape
    if height != width:
        raise ValueError(f"crops_nchw: expected square crops, got {height}x{width}")
    device = crops_nchw.device
    u = torch.rand((4, n), generator=source, device=device)
    shift = ((2 * u[:2] - 1) * most_shift * width).round().long()
    at = torch.arange(width, device=device)
    y, x = (at[None] - shift[k][:, None] for k in (0, 1))  # where a pixel of the result comes from
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
    one = torch.arange(n, device=device)[:, None, None]
    moved = crops_nchw.permute(0, 2, 3, 1)[one, y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None]]
    moved = (moved * inside[..., None]).permute(0, 3, 1, 2)
    moved = torch.where((u[2] < 0.5)[:, None, None, None], moved.flip(3), moved)
    return quarter_turned(moved, (4 * u[3]).long())


def mixed_up(
    crops_nchw: Tensor,
    targets: Tensor,
    alpha: float,
    source: np.random.Generator,
    other: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018; Caicedo et al. 2018, Eq. 2): x = l x1 + (1 - l) x2, y likewise, l ~ Beta(alpha, alpha).

    The paper's text calls alpha what is drawn; it is the parameter of what is drawn. Each pair has its own l.

    Args:
        crops_nchw: `(n, C, H, W)` float.
        targets: `(n, n_classes)` float, rows of sum 1.
        alpha: Above 0; 0 leaves both as they are.
        source: Of the l and the permutation.
        other: The second of each pair, crops and targets of the same shapes; None takes the batch in another order.

    Returns:
        Mixed crops and targets.

    Raises:
        ValueError: alpha below 0, or another number of targets than of crops.
    """
    if alpha < 0 or len(crops_nchw) != len(targets):
        raise ValueError(f"expected alpha of 0 or more and as many targets as crops, got {alpha}, {len(targets)}")
    if not alpha:
        return crops_nchw, targets
    n, device = len(crops_nchw), crops_nchw.device
    weight = torch.from_numpy(source.beta(alpha, alpha, n).astype(np.float32)).to(device)
    if other is None:
        order = torch.from_numpy(source.permutation(n)).to(device)
        other = crops_nchw[order], targets[order]
    w, v = weight[:, None, None, None], weight[:, None]
    return w * crops_nchw + (1 - w) * other[0], v * targets + (1 - v) * other[1]
