"""Whitening whitens, and is what pycytominer and a literal evaluation say; CORAL aligns second moments."""

import numpy as np
import pandas as pd
import pytest

from cellweak_core.files import DataError
from cellweak_core.screens import CORAL, TVN


def correlated(n: int, d: int, seed: int = 0, mean: float = 1e4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * 10.0 ** rng.uniform(-2, 2, d) + mean


@pytest.mark.parametrize("form", ["pca", "zca"])
def test_the_controls_covariance_becomes_the_identity(form: str) -> None:
    controls = correlated(300, 12)
    white = TVN(0.0, form).fit(controls).transform(controls)
    np.testing.assert_allclose(np.cov(white.T), np.eye(12), atol=1e-5)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-5)


@pytest.mark.parametrize("form", ["pca", "zca"])
def test_with_fewer_controls_than_features_it_is_the_identity_where_they_vary(form: str) -> None:
    controls = correlated(8, 20, mean=100.0)
    white = TVN(0.0, form).fit(controls).transform(controls)
    values = np.linalg.eigvalsh(np.cov(white.T))
    np.testing.assert_allclose(values[-7:], 1, atol=1e-5)
    np.testing.assert_allclose(values[:-7], 0, atol=1e-5)


@pytest.mark.parametrize("n", [6, 40])
@pytest.mark.parametrize("form", ["pca", "zca"])
def test_it_is_the_papers_formula(form: str, n: int) -> None:
    controls, profiles = correlated(n, 9, mean=3.0), correlated(5, 9, 1, mean=3.0)
    mean = [sum(controls[i, k] for i in range(n)) / n for k in range(9)]
    covariance = np.zeros((9, 9))
    for row in controls:
        covariance += np.outer(row - mean, row - mean) / (n - 1)
    values, vectors = np.linalg.eigh(covariance)
    weights = vectors @ np.diag(1 / np.sqrt(np.maximum(values, 0) + 1.0))
    if form == "zca":
        weights = weights @ vectors.T
    found, expected = TVN(1.0, form).fit(controls).transform(profiles), (profiles - mean) @ weights
    # Eigenvectors have no sign and no order, and in a null space no direction: angles and lengths are what counts.
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, rtol=1e-6, atol=1e-6)
    if form == "zca":
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("form", "method"), [("pca", "PCA"), ("zca", "ZCA")])
def test_pycytominer_says_the_same(form: str, method: str) -> None:
    operations = pytest.importorskip("pycytominer.operations")
    controls, profiles = correlated(200, 6, mean=50.0), correlated(30, 6, 2, mean=50.0)
    theirs = operations.Spherize(epsilon=1e-12, center=True, method=method)  # added to deviations, not to variances
    names = list("abcdef")
    expected = theirs.fit(pd.DataFrame(controls, columns=names)).transform(pd.DataFrame(profiles, columns=names))
    found = TVN(0.0, form).fit(controls).transform(profiles)
    gram = np.asarray(expected, float)
    np.testing.assert_allclose(found @ found.T, gram @ gram.T, rtol=1e-6, atol=1e-6 * (gram**2).sum(1).max())


def test_constant_features_stay_and_do_no_harm() -> None:
    controls = np.concatenate([correlated(50, 4), np.full((50, 2), 7.0)], 1)
    profiles = np.concatenate([correlated(3, 4, 1), np.full((3, 2), 9.0)], 1)
    white = TVN(1.0).fit(controls).transform(profiles)
    assert np.isfinite(white).all()
    # a shift of 2 in a direction without variance counts 2 / sqrt(0 + 1)
    none = TVN(1.0).fit(controls).transform(np.concatenate([profiles[:, :4], np.full((3, 2), 7.0)], 1))
    np.testing.assert_allclose((white**2).sum(1) - (none**2).sum(1), 8.0, rtol=1e-6)
    dropped = TVN(0.0).fit(controls).transform(profiles)
    assert np.isfinite(dropped).all()
    assert np.linalg.matrix_rank(dropped) <= 4


@pytest.mark.parametrize("constant", [0.1, 12345.678])
def test_constants_that_round_are_dropped_all_the_same(constant: float) -> None:
    rng = np.random.default_rng(0)
    controls = np.concatenate([rng.normal(size=(50, 2)), np.full((50, 1), constant)], 1)
    assert np.abs(TVN(0.0).fit(controls).transform([[0, 0, constant + 2]])).max() < 10
    all_alike = np.full((50, 3), constant)
    assert (TVN(0.0).fit(all_alike).transform(all_alike + 1) == 0).all()


def test_what_whitening_cannot_take() -> None:
    fitted = TVN().fit(correlated(5, 3))
    with pytest.raises(ValueError, match="form: expected one of pca, zca"):
        TVN(form="svd")
    with pytest.raises(ValueError, match="regularization: expected 0 or above, got -1"):
        TVN(-1)
    with pytest.raises(RuntimeError, match="call fit"):
        TVN().transform(np.ones((2, 3)))
    with pytest.raises(DataError, match="4 features, fitted on 3"):
        fitted.transform(np.ones((2, 4)))
    with pytest.raises(DataError, match="1 profiles, expected two or more"):
        TVN().fit(np.ones((1, 3)))
    with pytest.raises(DataError, match="controls: 1 values are not numbers, the first in row 0, feature 2"):
        TVN().fit([[1.0, 2.0, np.nan], [1.0, 2.0, 3.0]])


BATCHES = np.array(["w1"] * 40 + ["w2"] * 60)


def test_coral_gives_every_batch_the_second_moments_of_all() -> None:
    controls = correlated(100, 5, mean=0.5)
    controls[:40] *= 3
    aligned = CORAL(1e-9).fit(controls, BATCHES).transform(controls, BATCHES)
    everywhere = controls.T @ controls / 100
    for batch in ("w1", "w2"):
        own = aligned[BATCHES == batch]
        np.testing.assert_allclose(own.T @ own / len(own), everywhere, rtol=1e-5, atol=1e-5 * everywhere.max())


def test_coral_is_the_notebooks_formula() -> None:
    from scipy.linalg import fractional_matrix_power, sqrtm

    controls, profiles = correlated(100, 4, mean=0.1) / 50, correlated(7, 4, 1, mean=0.1) / 50
    found = CORAL(1.0).fit(controls, BATCHES).transform(profiles, ["w2"] * 7)
    moments = [x.T @ x / len(x) + np.eye(4) for x in (controls[40:], controls)]
    expected = profiles @ fractional_matrix_power(moments[0], -0.5) @ sqrtm(moments[1])
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_what_coral_cannot_take() -> None:
    fitted = CORAL().fit(correlated(100, 3), BATCHES)
    with pytest.raises(ValueError, match="regularization: expected above 0"):
        CORAL(0.0)
    with pytest.raises(RuntimeError, match="call fit"):
        CORAL().transform(np.ones((2, 3)), ["w1", "w1"])
    with pytest.raises(DataError, match="batch w3: no controls there"):
        fitted.transform(np.ones((2, 3)), ["w1", "w3"])
    with pytest.raises(ValueError, match=r"batches: expected \(2,\)"):
        fitted.transform(np.ones((2, 3)), ["w1"])
    with pytest.raises(DataError, match="batches: row 1 has none"):
        fitted.transform(np.ones((2, 3)), ["w1", np.nan])
    with pytest.raises(DataError, match="no profiles"):
        CORAL().fit(np.ones((0, 3)), [])
