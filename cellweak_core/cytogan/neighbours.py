"""The real cells nearest to generated ones: copies of the training set, and the mechanisms that are reached.

    generated --nearest--> training cell     as near as held-out real cells are?   nearer: it has learnt them by heart
                       --> its mechanism     do all occur, as among held-out real cells?   fewer: modes are missing
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import DataError
from ..screens.checks import names
from .evaluation import Floats, of_one_space

NEAR_PERCENTILE = 5.0


def nearest_cells(queries: ArrayLike, cells: ArrayLike, k: int = 1) -> tuple[NDArray[np.int64], Floats]:
    """The `k` nearest cells of each query by Euclidean distance; `screens.matching.nearest` is by angle.

    Args:
        queries: `(n, d)`.
        cells: `(m, d)`, m of `k` or more.
        k: How many.

    Returns:
        Rows of `cells` and distances, `(n, k)` each, nearest first.

    Raises:
        DataError: Fewer than `k` cells, no query, another number of features, values that are not finite.
        ValueError: `k` below 1.
    """
    from sklearn.neighbors import NearestNeighbors

    y, x = of_one_space(cells, queries, least=1)
    if k < 1:
        raise ValueError(f"k: expected 1 or more, got {k}")
    if len(y) < k:
        raise DataError(f"cells: {len(y)}, expected {k} or more to have so many neighbours")
    middle = y.mean(0)  # distances come from products: near 0 they lose fewer digits
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(y - middle)
    rows = search.kneighbors(x - middle, return_distance=False).astype(np.int64)
    return rows, np.stack([np.linalg.norm(x - y[rows[:, j]], axis=1) for j in range(k)], axis=1)


def memorised(training: ArrayLike, held_out: ArrayLike, generated: ArrayLike) -> dict[str, Any]:
    """Do generated cells lie nearer to training cells than real cells that the networks never saw?

    The distances to the nearest training cell of both are compared by ranks (Mann and Whitney), as Meehan et al. 2020
    do, but over the whole space at once and not in each of its parts. Blurred cells lie nearer to all others
    than sharp ones: nearer alone is no proof of copying, so look at the sheet of nearest cells too.

    Args:
        training: `(n, d)`, of the cells that the networks were trained on.
        held_out: `(h, d)`, of real cells that they were not; of other wells, or they share their neighbours.
        generated: `(m, d)`.

    Returns:
        `nearer`: chance that a generated cell is nearer than a held-out one, ties half; 0.5 without copying, 1 if all
        are nearer. `p`: of the one-sided test that they are not nearer. `near`: the distance that 95 % of the held-out
        ones have at least; `copies`: share of generated cells below it, 0.05 without copying. To the nearest training
        cell: `distance` `(m,)`, `held_out_distance` `(h,)`, and `row` `(m,)`, which it is.

    Raises:
        DataError: As `nearest_cells`.
    """
    from scipy.stats import mannwhitneyu

    rows, found = nearest_cells(generated, training)
    of_held_out = nearest_cells(held_out, training)[1][:, 0]
    distance = found[:, 0]
    test = mannwhitneyu(distance, of_held_out, alternative="less")
    near = float(np.percentile(of_held_out, NEAR_PERCENTILE))
    return {
        "nearer": 1 - float(test.statistic) / (len(distance) * len(of_held_out)),
        "p": float(test.pvalue),
        "near": near,
        "copies": float((distance < near).mean()),
        "distance": distance,
        "held_out_distance": of_held_out,
        "row": rows[:, 0],
    }


def nearer(distance: Floats, held_out: Floats, weights: Floats, held_out_weights: Floats) -> Floats:
    """`memorised`'s chance in resamples of both.

    Args:
        distance: `(m,)` of generated cells.
        held_out: `(h,)`.
        weights: `(B, m)` how often each counts.
        held_out_weights: `(B, h)`.

    Returns:
        `(B,)`; NaN where one side is empty.
    """
    order = np.argsort(held_out, kind="stable")
    below = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(held_out_weights[:, order], axis=1)], axis=1)
    total = below[:, -1]
    first, last = (np.searchsorted(held_out[order], distance, side) for side in ("left", "right"))
    farther = total[:, None] - (below[:, first] + below[:, last]) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights * farther).sum(1) / (weights.sum(1) * total)


def mechanisms_reached(
    mechanisms: ArrayLike, rows: NDArray[np.int64], weights: ArrayLike | None = None
) -> Any:  # noqa: ANN401 - a float, or an array of one for each resample
    """Share of the training cells' mechanisms that occur among the nearest training cells.

    Beside it stands that of as many held-out real cells: rare mechanisms are missed by chance too.

    Args:
        mechanisms: `(n,)` of the training cells; None or NaN where not known, which counts for nothing.
        rows: `(m,)` each cell's nearest training cell.
        weights: `(B, m)` how often each counts, or None.

    Returns:
        In [0, 1]; `(B,)` with weights.

    Raises:
        DataError: No mechanism is known.
        IndexError: No such row.
    """
    codes, known = _codes(mechanisms)
    near = codes[rows][:, None] == np.arange(len(known))
    return float(near.any(0).mean()) if weights is None else (np.asarray(weights, float) @ near > 0).mean(1)


def _codes(mechanisms: ArrayLike) -> tuple[NDArray[np.int64], list[str]]:
    import pandas as pd

    found = np.asarray(mechanisms, object)
    texts = np.where(pd.isna(found), "", found)
    codes, known = pd.factorize(names(texts, "mechanisms", len(texts)), sort=True)
    if "" in known:  # sorted first
        codes, known = codes - 1, known[1:]
    if not len(known):
        raise DataError("mechanisms: none is known; give one for each training cell")
    return codes.astype(np.int64), [str(one) for one in known]
