"""Two coordinates for every cell, to look at: t-SNE and UMAP.

    (n, d) --PCA where d is large--> (n, 50) --t-SNE--> (n, 2)
    (n, d) --UMAP--> (n, 2)

Neither keeps distances: who lies beside whom may be read, how far apart two groups lie may not. Columns are taken as
they are; features in different units (CellProfiler's) are standardised before, `screens.standardize`.

Source: t-SNE of single cells, Caicedo et al. 2018, Fig. 6 (settings not printed); UMAP, McInnes et al. 2018. Both start
from the first two principal components, which keeps more of the large structure than a random start (Kobak and
Linderman 2021).
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellweak_core.files import DataError
from cellweak_core.screens.checks import matrix

Points = NDArray[np.float64]
FEWEST = 3  # cells: two always lie on a line


def tsne(
    features: ArrayLike, seed: int, perplexity: float = 30.0, n_components: int = 50, max_iter: int = 1000
) -> Points:
    """t-SNE by scikit-learn, on one thread: the same numbers on every number of cores.

    Args:
        features: `(n, d)`, a row for each cell.
        seed: Of everything.
        perplexity: About how many neighbours a cell has; at most a third of the other cells.
        n_components: Principal components that are kept first where there are more features than these.
        max_iter: Steps of the descent, 250 or more.

    Returns:
        `(n, 2)` float64, no unit.

    Raises:
        ValueError: Not a table of numbers; a perplexity that is not above 0.
        DataError: Fewer than three cells, values that are not finite, all cells alike.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if not perplexity > 0:
        raise ValueError(f"perplexity: expected more than 0, got {perplexity}")
    x = _checked(features)
    with threadpool_limits(1):
        x = _principal(x, n_components, seed)
        fitted = min(perplexity, max(1.0, (len(x) - 1) / 3))
        points = TSNE(perplexity=fitted, init="pca", random_state=seed, max_iter=max_iter).fit_transform(x)
    return np.asarray(points, np.float64)


def umap(features: ArrayLike, seed: int, n_neighbours: int = 15, min_dist: float = 0.1) -> Points:
    """UMAP by umap-learn, Euclidean, on one thread.

    Args:
        features: `(n, d)`, a row for each cell.
        seed: Of everything.
        n_neighbours: Of each cell; at most all the others there are.
        min_dist: How close two points may lie in the picture, 0 to 1.

    Returns:
        `(n, 2)` float64, no unit.

    Raises:
        ValueError: Not a table of numbers; fewer than two neighbours.
        DataError: As `tsne`; umap-learn is not installed.
    """
    if n_neighbours < 2:
        raise ValueError(f"n_neighbours: expected 2 or more, got {n_neighbours}")
    x = _checked(features)
    try:
        with warnings.catch_warnings():
            # it says that TensorFlow is missing, which only its parametric form needs
            warnings.simplefilter("ignore", ImportWarning)
            from umap import UMAP
    except ImportError as error:
        raise DataError("umap: umap-learn is not installed; pip install umap-learn, or take t-SNE") from error
    model = UMAP(
        n_neighbors=min(n_neighbours, len(x) - 1), min_dist=min_dist, init="pca", random_state=seed, n_jobs=1
    )  # fmt: skip
    return np.asarray(model.fit_transform(x), np.float64)


def _checked(features: ArrayLike) -> Points:
    x = matrix(features, "features")
    if len(x) < FEWEST:
        raise DataError(f"features: {len(x)} cells, expected {FEWEST} or more to lay out")
    if not x.shape[1] or not np.ptp(x, axis=0).any():
        raise DataError(f"features: all {len(x)} cells are alike; there is nothing to lay out")
    # both methods work in float32, where a large common offset would leave no digits for differences
    x = x - x.mean(0)
    # both start from two components
    return x if x.shape[1] > 1 else np.hstack([x, np.zeros_like(x)])


def _principal(x: Points, n_components: int, seed: int) -> Points:
    """The first principal components, where there are more features than these; else the features."""
    from sklearn.decomposition import PCA

    if x.shape[1] <= n_components:
        return x
    return np.asarray(PCA(min(n_components, len(x)), random_state=seed).fit_transform(x))
