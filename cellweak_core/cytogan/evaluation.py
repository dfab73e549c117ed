"""How near generated cells are to real ones, in whatever space their features are given.

    real (n, d), generated (m, d) --> Frechet distance, kernel distance    one number for both failings
                                  --> precision: is a generated cell among the real ones?
                                      recall: is a real cell among the generated ones?

The features are those of a network trained on cells, not of Inception: these are no FID and no KID, and compare only
within one feature space. Both distances see how many cells there are (Frechet's falls as they grow), so every number
stands beside that of as many real cells held out, see `quality`.

Each function takes `weights` too, how often each cell counts in each of B resamples, and then returns `(B,)`.

MONAI has the Frechet distance with a matrix square root that needs an epsilon where there are fewer cells than
features; here it is the tests' oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import DataError
from ..screens.checks import matrix

Floats = NDArray[np.float64]
WORKING_MIB = 128  # of distances or kernel values at a time


def frechet_distance(
    real: ArrayLike, generated: ArrayLike, real_weights: ArrayLike | None = None,
    generated_weights: ArrayLike | None = None,
) -> Any:  # noqa: ANN401 - a float, or an array of one for each resample
    """Squared 2-Wasserstein distance of the two normal distributions with the samples' means and covariances.

    `|m_r - m_g|^2 + tr(S_r + S_g - 2 (S_r S_g)^(1/2))`; Heusel et al. 2017, Eq. 6, where the features are Inception's.
    With `S = A A'` and `T = B B'` the trace of the root is the sum of the singular values of `A' B`: no root is taken
    of a matrix that may be singular, so there may be fewer cells than features.

    Args:
        real: `(n, d)`, n of 2 or more.
        generated: `(m, d)`, m of 2 or more.
        real_weights: `(B, n)` whole numbers, or None.
        generated_weights: `(B, m)`; both or neither.

    Returns:
        A float of 0 or more; `(B,)` with weights, NaN where a resample has fewer than two cells.

    Raises:
        DataError: Fewer than two cells, another number of features, values that are not finite.
        ValueError: Other axes, or one of the two weights.
    """
    x, y = of_one_space(real, generated)
    weights = _weights(real_weights, generated_weights, len(x), len(y))
    if weights is None:
        return _frechet(x, y)
    pairs = zip(*(one.astype(int) for one in weights), strict=True)
    return np.array([_frechet(np.repeat(x, a, axis=0), np.repeat(y, b, axis=0)) for a, b in pairs])


def _frechet(x: Floats, y: Floats) -> float:
    if min(len(x), len(y)) < 2:
        return float("nan")
    moved = float(np.square(x.mean(0) - y.mean(0)).sum())
    a, b = ((one - one.mean(0)) / np.sqrt(len(one) - 1) for one in (x, y))
    spread = float(np.square(a).sum() + np.square(b).sum())
    # many cells come down to a triangle with the same covariance
    a, b = (np.asarray(np.linalg.qr(one, mode="r")) if len(one) > one.shape[1] else one for one in (a, b))
    return max(0.0, moved + spread - 2 * float(np.linalg.svdvals(a @ b.T).sum()))


def kernel_distance(
    real: ArrayLike, generated: ArrayLike, real_weights: ArrayLike | None = None,
    generated_weights: ArrayLike | None = None,
) -> Any:  # noqa: ANN401 - a float, or an array of one for each resample
    """Squared maximum mean discrepancy, unbiased, with the kernel `(x.y / d + 1)^3`.

    `mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{ij} k(x_i, y_j)`; Gretton et al. 2012, Eq. 3;
    the kernel of Bińkowski et al. 2018 (KID). Of all pairs, where they average over subsets. The kernel is not free of
    the features' units; `standardised` brings them to the real cells'.

    Args:
        real: `(n, d)`, n of 2 or more.
        generated: `(m, d)`, m of 2 or more.
        real_weights: `(B, n)`, or None. A cell that was drawn twice makes no pair with itself.
        generated_weights: `(B, m)`; both or neither.

    Returns:
        A float about 0 for two samples of one distribution, below 0 by chance too; `(B,)` with weights.

    Raises:
        DataError, ValueError: As `frechet_distance`.
    """
    x, y = of_one_space(real, generated)
    weights = _weights(real_weights, generated_weights, len(x), len(y))
    a, b = (np.ones((1, len(x))), np.ones((1, len(y)))) if weights is None else weights
    with np.errstate(invalid="ignore", divide="ignore"):
        own = [
            _kernel_sums(one, one, w, w, itself=False) / (w.sum(1) ** 2 - np.square(w).sum(1))
            for one, w in ((x, a), (y, b))
        ]
        found = own[0] + own[1] - 2 * _kernel_sums(x, y, a, b, itself=True) / (a.sum(1) * b.sum(1))
    return float(found[0]) if weights is None else found


def _kernel_sums(x: Floats, y: Floats, a: Floats, b: Floats, itself: bool) -> Floats:
    """`sum_ij a_i b_j k(x_i, y_j)` in each resample, a block of x at a time; without i = j where not `itself`."""
    out = np.zeros(len(a))
    step = max(1, int(WORKING_MIB * 2**20 / 8 / len(y)))
    for start in range(0, len(x), step):
        rows = np.arange(start, min(start + step, len(x)))
        kernel = (x[rows] @ y.T / x.shape[1] + 1) ** 3
        if not itself:
            kernel[np.arange(len(rows)), rows] = 0
        out += np.einsum("bi,bi->b", a[:, rows], b @ kernel.T)
    return out


def precision_recall(real: ArrayLike, generated: ArrayLike, k: int = 3) -> tuple[float, float]:
    """Share of generated cells among the real ones, and of real cells among the generated ones.

    Kynkäänniemi et al. 2019, Eq. 1 and 2: a cell is among others where it lies no farther from one of them than that
    one's k-th nearest other. A generator that repeats a few good cells has precision without recall.

    Args:
        real: `(n, d)`.
        generated: `(m, d)`.
        k: Neighbours; 3 in the paper. Both samples have more cells than that.

    Returns:
        Precision and recall, in [0, 1].

    Raises:
        DataError: As `frechet_distance`; not more than `k` cells.
        ValueError: `k` below 1.
    """
    return float(among(generated, real, k).mean()), float(among(real, generated, k).mean())


def among(queries: ArrayLike, points: ArrayLike, k: int = 3) -> NDArray[np.bool_]:
    """Whether each query lies no farther from some point than that point's `k`-th nearest other point.

    Args:
        queries: `(n, d)`.
        points: `(m, d)`, m above `k`.
        k: Neighbours.

    Returns:
        `(n,)`.

    Raises:
        DataError, ValueError: As `precision_recall`.
    """
    from sklearn.neighbors import NearestNeighbors

    x, y = of_one_space(queries, points, least=1)
    if k < 1:
        raise ValueError(f"k: expected 1 or more, got {k}")
    if len(y) <= k:
        raise DataError(f"expected more than {k} cells to have a {k}-th nearest other, got {len(y)}")
    radii = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(y).kneighbors()[0][:, -1]
    return np.concatenate(list(_reduced(x, y, lambda distances, _: (distances <= radii).any(1))))


def diversity(values: ArrayLike, weights: ArrayLike | None = None) -> Any:  # noqa: ANN401 - as `frechet_distance`
    """Mean Euclidean distance of two different cells; 0 where a generator makes one cell only.

    Args:
        values: `(n, d)`, n of 2 or more; features, or images `(n, C, H, W)`.
        weights: `(B, n)`, or None. A cell that was drawn twice makes no pair with itself.

    Returns:
        A float; `(B,)` with weights, NaN where a resample has one cell only.

    Raises:
        DataError: Fewer than two cells, values that are not finite.
        ValueError: Other axes, also of the weights.
    """
    images = np.asarray(values)
    x = matrix(images.reshape(len(images), -1) if images.ndim > 2 else images, "values")
    if len(x) < 2:
        raise DataError(f"values: {len(x)} cells, expected two or more to differ")
    w = np.ones((1, len(x))) if weights is None else np.asarray(weights, float)
    if w.ndim != 2 or w.shape[1] != len(x):
        raise ValueError(f"weights: expected (B, {len(x)}), got {w.shape}")
    x = x - x.mean(0)

    def summed(distances: Floats, start: int) -> Floats:
        rows = np.arange(len(distances))
        distances[rows, start + rows] = 0  # not exactly so where they come from products
        return (w[:, start + rows] * (w @ distances.T)).T

    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.concatenate(list(_reduced(x, x, summed))).sum(0) / (w.sum(1) ** 2 - np.square(w).sum(1))
    return float(found[0]) if weights is None else found


def standardised(real: ArrayLike, *others: ArrayLike) -> list[Floats]:
    """Features in units of the real cells' standard deviation about their mean; a constant one is only centred.

    Args:
        real: `(n, d)`.
        others: `(m, d)` each.

    Returns:
        Real and others so, in order.
    """
    x = matrix(real, "real")
    if not len(x):
        raise DataError("real: no cells to standardise by")
    mean, deviation = x.mean(0), x.std(0)
    scale = np.where(deviation > 1e-12 * np.abs(x).max(0), deviation, 1)
    return [(matrix(one, "features", n_features=x.shape[1]) - mean) / scale for one in (x, *others)]


def _reduced(x: Floats, y: Floats, reduce: Callable[[Floats, int], Any]) -> Iterator[Any]:
    """`reduce(distances of some rows of x to all of y, first row)`, block by block: memory stays bounded."""
    from sklearn.metrics import pairwise_distances_chunked

    yield from pairwise_distances_chunked(x, y, reduce_func=reduce, working_memory=WORKING_MIB)


def of_one_space(real: ArrayLike, generated: ArrayLike, least: int = 2) -> tuple[Floats, Floats]:
    """Two samples as float64.

    Raises:
        DataError: Not the same features, fewer than `least` cells, values that are not finite.
    """
    x, y = matrix(real, "real"), matrix(generated, "generated")
    if x.shape[1] != y.shape[1] or not x.shape[1]:
        raise DataError(f"expected the same features of both, got {x.shape[1]} and {y.shape[1]}; one feature space")
    if min(len(x), len(y)) < least:
        raise DataError(f"expected {least} or more cells on each side, got {len(x)} and {len(y)}")
    return x, y


def _weights(
    first: ArrayLike | None, second: ArrayLike | None, n: int, m: int
) -> tuple[Floats, Floats] | None:  # fmt: skip
    if first is None and second is None:
        return None
    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != n or b.shape != (len(a), m):
        raise ValueError(f"weights: expected (B, {n}) and (B, {m}), got {a.shape} and {b.shape}")
    return a, b
