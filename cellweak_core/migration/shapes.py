"""Plain shape, as a yardstick: what area and elongation of a cell alone tell of its mode, without a network.

    patch --smoothed gradient--> log, Otsu, holes filled --> seeds --watershed--> cell in the middle --> area, ...
    area, elongation, ... --standardised--> logistic regression on the other folds' cells --> P(discontinuous)

Taken from no paper. One way for fluorescence and phase contrast, as it looks for where the light changes, up or down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import DataError
from .splits import MIDDLE, NONE, TEST
from .training import read

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MEASURES = ("area", "perimeter", "eccentricity", "elongation", "solidity", "extent")
LOGARITHMIC = ("area", "perimeter", "elongation")  # positive and skewed
# In windows, whose sides go by the length of a cell
SMOOTHING = 1 / 42  # standard deviation of the Gaussian
SEED = 1 / 16  # of pixels at least this deep: gradients blur a cell's edge, and bridge gaps between neighbours
NEAR = 1 / 8  # from the middle, where the cell was marked, to the region
SMALLEST, LARGEST = 1 / 256, 0.95  # area, in those of the window
FAINT = 0.08  # gradient that counts as none, in root mean squares


def foreground(patches: ArrayLike) -> Bools:
    """The cell in the middle of each patch.

    The gradient of each smoothed channel, over its own root mean square, is averaged over channels, and Otsu's
    threshold of its logarithm parts even background from all else, with a seam outside a cell's edge. What lies deep
    inside is the seed of a cell; a watershed on the gradient from the seeds and from the background ends on the edges.
    The cell is that of the seed nearest to the middle; cells that touch are one. Lines at the border that only repeat
    the image's edge (`patches.cut`) are left out.

    Args:
        patches: `(n, C, s, s)` of any real type.

    Returns:
        `(n, s, s)`; all False where no cell is found: nothing but one grey, a region that is nowhere near the middle,
        of a few pixels, or all of the window.

    Raises:
        ValueError: Other axes, or patches that are not square.
        DataError: Pixels that are not finite.
    """
    pixels = np.asarray(patches)
    if pixels.ndim != 4 or pixels.shape[2] != pixels.shape[3]:
        raise ValueError(f"patches: expected (n, C, s, s), got {pixels.shape}")
    if not (finite := np.isfinite(pixels).all((1, 2, 3))).all():
        raise DataError(f"patches: {(~finite).sum()} of {len(pixels)} have pixels that are not finite; repair them")
    out = np.zeros((len(pixels), *pixels.shape[2:]), bool)
    for mask, patch in zip(out, pixels, strict=True):
        mask[:] = _cell(patch.astype(np.float64))
    return out


def measures(patches: ArrayLike, rows: ArrayLike, batch_size: int = 256) -> pd.DataFrame:
    """Shape of the cell in the middle of each patch, as `skimage.measure.regionprops` has it.

    Args:
        patches: `(N, C, s, s)` of any real type, as `patches.load` gives them; read a batch at a time.
        rows: `(n,)` rows of them, in any order; or a mask of all of them.
        batch_size: Patches in memory at a time.

    Returns:
        A row for each of `rows`: area (px^2), perimeter (px), eccentricity, elongation (major over minor axis of the
        ellipse with the region's moments), solidity (area over that of the convex hull), extent (over that of the
        bounding box); NaN where `foreground` finds no cell.

    Raises:
        ValueError: As `foreground`; `batch_size` below 1.
        IndexError: No such row.
        DataError: Pixels that are not finite; names the first row.
    """
    import pandas as pd

    if batch_size < 1:
        raise ValueError(f"batch_size: expected 1 or more, got {batch_size}")
    shape, asked = np.shape(patches), np.asarray(rows)
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError(f"patches: expected (n, C, s, s), got {shape}")
    own = np.arange(shape[0])[asked if asked.size else asked.astype(np.int64)]
    out = np.full((len(own), len(MEASURES)), np.nan)
    for first in range(0, len(own), batch_size):
        masks = foreground(read(patches, own[first : first + batch_size]).numpy())
        for k in np.flatnonzero(masks.any((1, 2))).tolist():
            out[first + k] = _measured(masks[k])
    return pd.DataFrame(out, columns=list(MEASURES))


def held_out(
    table: pd.DataFrame, targets: ArrayLike, fold_of: ArrayLike, columns: Sequence[str] = MEASURES
) -> Floats:
    """Probability that a frame is discontinuous, by a logistic regression that never saw its cell.

    `P = 1 / (1 + exp(-(w . z + b)))`, z the measures at mean 0 and standard deviation 1 over the frames that it learns
    from, gaps filled with their medians, both modes of equal weight, and an L2 penalty of scikit-learn's usual
    strength. Of the positive and skewed measures in `LOGARITHMIC` z is that of the logarithm.

    Args:
        table: `(n,)` rows of `measures`, or of other numbers of each frame.
        targets: `(n,)` in [0, 1], NaN where the mode is unknown; above 0.5 is discontinuous.
        fold_of: `(n,)` of `splits.sides`: fold from 0, -1 test, -2 in no part.
        columns: Which of the table's measures.

    Returns:
        `(n,)`: a row of a fold by the model of the other folds, a test row by the mean over the folds' models, each of
        which learnt from the folds other than its own and never from test rows; NaN for rows in no part.

    Raises:
        ValueError: Lengths differ, no such column, targets outside [0, 1].
        DataError: A model would have no row to learn from, or those of one mode only.
    """
    wanted, parts = np.asarray(targets, np.float64), np.asarray(fold_of)
    n = len(table)
    if wanted.shape != (n,) or parts.shape != (n,):
        raise ValueError(f"expected targets and fold_of of each of {n} rows, got {wanted.shape} and {parts.shape}")
    if (wanted < 0).any() or (wanted > 1).any():
        raise ValueError(f"targets: expected 0 to 1, or NaN, got {np.nanmin(wanted):g} to {np.nanmax(wanted):g}")
    if n and (parts.dtype.kind not in "iu" or parts.min() < NONE):
        raise ValueError(f"fold_of: expected whole numbers from {NONE} on (splits.sides), got {np.unique(parts)[:5]}")
    if missing := [name for name in columns if name not in table]:
        raise ValueError(f"columns: the table has no {', '.join(missing)}; it has {', '.join(map(str, table))}")
    values = _logarithms(table, columns)
    folds = np.unique(parts[parts >= 0]).tolist()
    if not folds:
        raise DataError("fold_of: no row is in a fold, so that there is none to learn from (splits.grouped)")
    out, tested = np.full(n, np.nan), parts == TEST
    of_test = np.zeros((len(folds), int(tested.sum())))
    for k, fold in enumerate(folds):
        held, learns = parts == fold, (parts >= 0) & (parts != fold) & np.isfinite(wanted)
        model = _fitted(values[learns], wanted[learns] > MIDDLE, fold)
        out[held] = model.predict_proba(values[held])[:, 1]
        if tested.any():
            of_test[k] = model.predict_proba(values[tested])[:, 1]
    out[tested] = of_test.mean(0)
    return out


def _cell(patch: Floats) -> Bools:
    """Mask `(s, s)` of a patch `(C, s, s)`."""
    from scipy.ndimage import binary_fill_holes, distance_transform_edt, label
    from skimage.filters import threshold_otsu
    from skimage.segmentation import watershed

    size = patch.shape[-1]
    out = np.zeros((size, size), bool)
    rows, columns = _seen(patch)
    gradient = _gradient(patch[:, rows, columns], max(1.0, SMOOTHING * size))
    if not gradient.any():
        return out
    y, x = np.indices(out.shape) - size // 2
    away = np.hypot(y, x)[rows, columns]
    levels = np.log(gradient + FAINT)
    mask = binary_fill_holes(levels > threshold_otsu(levels))
    even, _ = label(~mask)
    inside = even == even.flat[away.argmin()]
    # even plasma of a cell that the window cuts is no hole; it has the middle and, unlike background, one side at most
    sides = (inside[0], inside[-1], inside[:, 0], inside[:, -1])
    if not mask.flat[away.argmin()] and sum(side.any() for side in sides) <= 1:
        mask |= inside
    # a cell that goes on beyond the window is as deep at its border as inside
    seeds, n = label(distance_transform_edt(mask) > SEED * size)
    if not n or mask.all():
        return out
    nearest = seeds.flat[np.where(seeds, away, np.inf).argmin()]
    cell = _smoothed(binary_fill_holes(watershed(gradient, np.where(mask, seeds, n + 1)) == nearest))
    if SMALLEST <= cell.sum() / size**2 <= LARGEST and away[cell].min() <= NEAR * size:
        out[rows, columns] = cell
    return out


def _gradient(patch: Floats, sd_px: float) -> Floats:
    """Magnitude `(h, w)` of the gradients of smoothed channels, the mean over those that are not constant."""
    from scipy.ndimage import gaussian_filter

    found = []
    for channel in patch:
        # in any unit alike; and the rounded mean of a constant would have gradients
        if channel.size and (low := channel.min()) < (high := channel.max()):
            x = (channel - low) / (high - low)
            one = np.hypot(*(gaussian_filter(x, sd_px, order=order) for order in ((0, 1), (1, 0))))
            found.append(one / np.sqrt(np.square(one).mean()))
    return np.mean(found, axis=0) if found else np.zeros(patch.shape[1:])


def _seen(patch: Floats) -> list[slice]:
    """Rows and columns of a patch `(C, s, s)` without those at the border that repeat the next one inside.

    Lines of one grey stay: they are dark background, and so are those beyond an image where they are not its edge's.
    """
    found = []
    for lines in (patch.transpose(1, 0, 2), patch.transpose(2, 0, 1)):
        changes = np.flatnonzero((lines[1:] != lines[:-1]).any((1, 2)))
        first, last = (changes[0], changes[-1] + 1) if len(changes) else (0, -1)
        grey = (lines[[0, -1]] == lines[[0, -1], :, :1]).all((1, 2))
        found.append(slice(0 if grey[0] else int(first), len(lines) if grey[1] else int(last) + 1))
    return found


def _smoothed(cell: Bools) -> Bools:
    """Without threads of one or two pixels, and what hung on them."""
    from scipy.ndimage import binary_opening, label

    opened = binary_opening(np.pad(cell, 2, mode="edge"))[2:-2, 2:-2] & cell
    parts, n = label(opened)
    return parts == np.bincount(parts.ravel())[1:].argmax() + 1 if n else opened


def _measured(mask: Bools) -> list[float]:
    from skimage.measure import regionprops

    (region,) = regionprops(mask.astype(np.uint8))
    elongation = region.axis_major_length / region.axis_minor_length
    return [float(elongation if name == "elongation" else region[name]) for name in MEASURES]


def _logarithms(table: pd.DataFrame, columns: Sequence[str]) -> Floats:
    """`(n, len(columns))`, `LOGARITHMIC` ones by their logarithm."""
    values = table[list(columns)].to_numpy(np.float64, copy=True)
    for k, name in enumerate(columns):
        if name in LOGARITHMIC:
            values[:, k] = np.log(np.where(values[:, k] > 0, values[:, k], np.nan))
    return values


def _fitted(values: Floats, discontinuous: Bools, fold: int) -> Pipeline:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not len(values):
        raise DataError(f"fold {fold}: no row of another fold has a target to learn from; label frames of more cells")
    if discontinuous.all() or not discontinuous.any():
        has = "discontinuous" if discontinuous[0] else "continuous"
        raise DataError(f"fold {fold}: all frames of the other folds are {has}; label cells of the other mode too")
    model = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(class_weight="balanced", max_iter=1000),
    )
    return model.fit(values, discontinuous)
