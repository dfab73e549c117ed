"""t-SNE and UMAP: groups stay together, one seed gives one picture, few cells and broken ones are decided."""

from collections.abc import Callable

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from cellweak_core.embeddings import projection
from cellweak_core.files import DataError

Method = Callable[..., np.ndarray]
# UMAP is compiled when it is first used
UMAP = pytest.param(projection.umap, marks=pytest.mark.slow)
METHODS = pytest.mark.parametrize("method", [projection.tsne, UMAP])


def groups(n: int = 20, d: int = 6, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(k), n)
    return rng.normal(size=(k, d))[labels] * 8 + rng.normal(size=(k * n, d)), labels


@METHODS
def test_groups_lie_together_and_a_seed_is_a_picture(method: Method) -> None:
    features, labels = groups()
    before = features.copy()
    points = method(features, seed=0)
    assert points.shape == (60, 2)
    assert points.dtype == np.float64
    assert np.array_equal(features, before)
    distance = np.linalg.norm(points[:, None] - points, axis=2) + np.diag([np.inf] * len(points))
    assert (labels[distance.argmin(1)] == labels).mean() > 0.95
    assert np.array_equal(points, method(features, seed=0))


@METHODS
@pytest.mark.parametrize("n", [3, 4, 7])
def test_few_cells_are_laid_out(method: Method, n: int) -> None:
    points = method(np.random.default_rng(0).normal(size=(n, 5)), seed=0)
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()


@METHODS
def test_one_feature_is_enough_and_copies_of_cells_do_no_harm(method: Method) -> None:
    points = method(np.array([[0.0], [0.0], [1.0], [5.0], [9.0]]), seed=0)
    assert points.shape == (5, 2)
    assert np.isfinite(points).all()


@METHODS
def test_what_cannot_be_laid_out_is_refused(method: Method) -> None:
    with pytest.raises(DataError, match="2 cells, expected 3 or more"):
        method(np.eye(2), seed=0)
    broken = np.eye(5)
    broken[3, 1] = np.nan
    with pytest.raises(DataError, match="row 3, feature 1"):
        method(broken, seed=0)
    with pytest.raises(DataError, match="all 6 cells are alike"):
        method(np.ones((6, 3)), seed=0)
    with pytest.raises(ValueError, match=r"expected numbers \(n, n_features\)"):
        method(np.ones(6), seed=0)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="perplexity"):
        projection.tsne(np.eye(5), seed=0, perplexity=0)
    with pytest.raises(ValueError, match="n_neighbours"):
        projection.umap(np.eye(5), seed=0, n_neighbours=1)


def test_many_features_go_through_principal_components() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 4)) @ rng.normal(size=(4, 200))
    kept = projection._principal(features - features.mean(0), 4, seed=0)
    assert kept.shape == (30, 4)
    # four dimensions are all there is: no distance is lost
    before, after = (np.linalg.norm(x[:, None] - x, axis=2) for x in (features, kept))
    assert np.allclose(before, after, atol=1e-8)


def test_tsne_is_the_same_on_any_number_of_threads() -> None:
    features, _ = groups(40)
    with threadpool_limits(2):
        two = projection.tsne(features, seed=3, max_iter=250)
    with threadpool_limits(1):
        one = projection.tsne(features, seed=3, max_iter=250)
    assert np.array_equal(one, two)


@METHODS
def test_a_large_offset_does_not_hide_the_cells(method: Method) -> None:
    features, labels = groups()
    points = method(features * 1e-3 + 1e6, seed=0)  # in float32 all cells would be the same one
    distance = np.linalg.norm(points[:, None] - points, axis=2) + np.diag([np.inf] * len(points))
    assert (labels[distance.argmin(1)] == labels).mean() > 0.95
