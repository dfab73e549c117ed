"""Distances of generated from real cells: known answers, literal second implementations, MONAI and scipy as oracles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg, stats

from cellweak_core.cytogan import evaluation, neighbours
from cellweak_core.cytogan.evaluation import frechet_distance, kernel_distance, precision_recall
from cellweak_core.files import DataError

SEEDS = st.integers(0, 2**31 - 1)


def cells(n: int, d: int, seed: int, mean: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, scale, (n, d))


def exactly(n: int, mean: np.ndarray, root: np.ndarray) -> np.ndarray:
    """A sample whose mean is `mean` and whose covariance is `root' root` to rounding."""
    x = cells(n, len(mean), 0)
    x = np.linalg.qr(x - x.mean(0))[0] * np.sqrt(n - 1)
    return x @ root + mean


def turned(d: int, seed: int) -> np.ndarray:
    return np.linalg.qr(cells(d, d, seed))[0]


def test_frechet_distance_of_gaussians_in_closed_form() -> None:
    a = exactly(50, np.array([1.0, 0.0, 2.0]), np.diag([1.0, 2.0, 0.5]))
    b = exactly(80, np.array([0.0, 0.0, 4.0]), np.diag([3.0, 2.0, 1.0]))
    # axes apart, each adds its own: (m - m')^2 + (s - s')^2
    assert frechet_distance(a, b) == pytest.approx((1 + 0 + 4) + (4 + 0 + 0.25), abs=1e-10)
    assert frechet_distance(a[:, :1], b[:, :1]) == pytest.approx(1 + 4, abs=1e-10)


def test_frechet_distance_is_the_equation() -> None:
    x, y = cells(40, 4, 1) @ cells(4, 4, 2), cells(30, 4, 3, 1.0) @ cells(4, 4, 4)
    s, t = np.cov(x.T), np.cov(y.T)
    literal = sum((x[:, k].mean() - y[:, k].mean()) ** 2 for k in range(4))
    literal += sum(s[k, k] + t[k, k] - 2 * linalg.sqrtm(s @ t)[k, k].real for k in range(4))
    assert frechet_distance(x, y) == pytest.approx(literal, rel=1e-9)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MONAI asks scipy's sqrtm in a way of before
def test_frechet_distance_is_monai_s() -> None:
    import torch
    from monai.metrics.fid import get_fid_score

    x, y = cells(60, 5, 5) @ cells(5, 5, 6), cells(90, 5, 7, 0.5)
    theirs = get_fid_score(torch.from_numpy(y), torch.from_numpy(x))
    assert frechet_distance(x, y) == pytest.approx(float(theirs), rel=1e-8)


def test_frechet_distance_of_fewer_cells_than_features() -> None:
    x, y = cells(5, 40, 1), cells(7, 40, 2)
    s, t = np.cov(x.T), np.cov(y.T)
    values, vectors = np.linalg.eigh(s)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    of_both = np.sqrt(np.linalg.eigvalsh(root @ t @ root).clip(0)).sum()
    literal = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(s) + np.trace(t) - 2 * of_both
    assert frechet_distance(x, y) == pytest.approx(literal, rel=1e-6)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-10)


@given(seed=SEEDS, n=st.integers(2, 30), m=st.integers(2, 30), d=st.integers(1, 8))
def test_frechet_distance_is_symmetric_and_knows_no_axes(seed: int, n: int, m: int, d: int) -> None:
    x, y = cells(n, d, seed, 1.0), cells(m, d, seed + 1, scale=2.0)
    found = frechet_distance(x, y)
    assert found > 0
    assert frechet_distance(y, x) == pytest.approx(found, rel=1e-8)
    turn = turned(d, seed)
    assert frechet_distance(x @ turn + 3, y @ turn + 3) == pytest.approx(found, rel=1e-6)
    assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-9 * np.square(x).sum())


def test_kernel_distance_is_the_equation() -> None:
    x, y = cells(6, 3, 1), cells(5, 3, 2, 1.0)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((sum(a[k] * b[k] for k in range(3)) / 3 + 1) ** 3)

    def own(z: np.ndarray) -> float:
        pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
        return sum(kernel(z[i], z[j]) for i, j in pairs) / len(pairs)

    across = sum(kernel(a, b) for a in x for b in y) / 30
    assert kernel_distance(x, y) == pytest.approx(own(x) + own(y) - 2 * across, rel=1e-12)


def test_kernel_distance_is_monai_s_of_the_kernel_s_own_features() -> None:
    import torch
    from monai.metrics.mmd import compute_mmd

    def lifted(z: np.ndarray) -> torch.Tensor:  # (v, w)^3 is the product of their triple tensor products
        v = np.concatenate([z / np.sqrt(z.shape[1]), np.ones((len(z), 1))], axis=1)
        return torch.from_numpy(np.einsum("ni,nj,nk->nijk", v, v, v).reshape(len(z), -1))

    x, y = cells(12, 4, 1), cells(12, 4, 2, 0.5)
    assert kernel_distance(x, y) == pytest.approx(float(compute_mmd(lifted(x), lifted(y), None)), rel=1e-10)


def test_kernel_distance_is_unbiased_in_blocks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = [kernel_distance(cells(8, 3, 2 * k), cells(8, 3, 2 * k + 1)) for k in range(400)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / 20
    assert min(draws) < 0 < max(draws)
    x, y = cells(90, 3, 1), cells(70, 3, 2)
    whole = kernel_distance(x, y), evaluation.diversity(x), evaluation.among(x, y)
    monkeypatch.setattr(evaluation, "WORKING_MIB", 0.005)
    assert kernel_distance(x, y) == pytest.approx(whole[0], rel=1e-12)
    assert evaluation.diversity(x) == pytest.approx(whole[1], rel=1e-12)
    assert np.array_equal(evaluation.among(x, y), whole[2])


def test_weights_are_repeats() -> None:
    x, y = cells(6, 2, 1), cells(7, 2, 2, 1.0)
    a = np.array([[1, 1, 1, 1, 1, 1], [2, 0, 1, 0, 3, 0]])
    b = np.array([[1, 1, 1, 1, 1, 1, 1], [0, 2, 2, 0, 1, 1, 1]])
    found = frechet_distance(x, y, a, b)
    again = frechet_distance(x[[0, 0, 2, 4, 4, 4]], y[[1, 1, 2, 2, 4, 5, 6]])
    assert found == pytest.approx([frechet_distance(x, y), again], rel=1e-10)
    kernels = kernel_distance(x, y, a, b)
    assert kernels[0] == pytest.approx(kernel_distance(x, y), rel=1e-12)
    k = ((x @ x.T) / 2 + 1) ** 3
    pairs = [(a[1, i] * a[1, j], k[i, j]) for i in range(6) for j in range(6) if i != j]
    own = sum(w * value for w, value in pairs) / sum(w for w, _ in pairs)
    other, across = ((y @ y.T) / 2 + 1) ** 3, ((x @ y.T) / 2 + 1) ** 3
    pairs = [(b[1, i] * b[1, j], other[i, j]) for i in range(7) for j in range(7) if i != j]
    own += sum(w * value for w, value in pairs) / sum(w for w, _ in pairs)
    assert kernels[1] == pytest.approx(own - 2 * (a[1] @ across @ b[1]) / (a[1].sum() * b[1].sum()), rel=1e-10)
    assert np.isnan(frechet_distance(x, y, np.eye(6)[:1], b[:1])).all()
    assert np.isnan(kernel_distance(x, y, np.eye(6)[:1], b[:1])).all()
    with pytest.raises(ValueError, match=r"expected \(B, 6\) and \(B, 7\)"):
        frechet_distance(x, y, a, a)


def test_precision_and_recall_by_hand() -> None:
    real = np.array([[0.0], [1.0], [2.0], [10.0]])
    generated = np.array([[0.5], [2.9], [4.0], [5.0], [30.0]])
    # k = 1: real radii 1, 1, 1, 8; generated radii 2.4, 1.1, 1, 1, 25
    assert precision_recall(real, generated, k=1) == (pytest.approx(4 / 5), 1.0)
    # without the far one, whose ball takes in all
    assert precision_recall(real, generated[:4], k=1) == (1.0, pytest.approx(3 / 4))


def test_precision_and_recall_literally() -> None:
    real, generated = cells(30, 3, 1), cells(25, 3, 2, 0.5)

    def literal(queries: np.ndarray, points: np.ndarray, k: int) -> float:
        inside = 0
        for q in queries:
            for i, p in enumerate(points):
                others = sorted(np.sqrt(((p - o) ** 2).sum()) for j, o in enumerate(points) if j != i)
                if np.sqrt(((q - p) ** 2).sum()) <= others[k - 1]:
                    inside += 1
                    break
        return inside / len(queries)

    assert precision_recall(real, generated) == (literal(generated, real, 3), literal(real, generated, 3))


def test_a_generator_of_few_good_cells_has_precision_without_recall() -> None:
    real = cells(200, 4, 1)
    collapsed = np.repeat(real[:1], 50, axis=0) + cells(50, 4, 2, scale=1e-3)
    precision, recall = precision_recall(real, collapsed)
    assert precision == 1.0
    assert recall < 0.02
    assert evaluation.diversity(collapsed) < 0.01 * evaluation.diversity(real)
    with pytest.raises(DataError, match="more than 3 cells"):
        precision_recall(real[:3], real)
    with pytest.raises(ValueError, match="k: expected 1 or more"):
        precision_recall(real, real, 0)


def test_diversity_is_the_mean_distance_of_two() -> None:
    x = cells(9, 12, 1).astype(np.float32)
    literal = np.mean([np.sqrt(((x[i] - x[j]) ** 2).sum()) for i in range(9) for j in range(9) if i != j])
    assert evaluation.diversity(x) == pytest.approx(literal, rel=1e-5)
    assert evaluation.diversity(x.reshape(9, 3, 2, 2)) == evaluation.diversity(x)
    assert evaluation.diversity(np.full((4, 3), 7.0)) == 0
    with pytest.raises(DataError, match="two or more"):
        evaluation.diversity(x[:1])


def test_bad_features_are_refused_in_words() -> None:
    x = cells(5, 3, 1)
    for function in (frechet_distance, kernel_distance, precision_recall, neighbours.nearest_cells):
        with pytest.raises(DataError, match=r"same features of both, got [23] and [23]"):
            function(x, x[:, :2])
        with pytest.raises(DataError, match="not numbers"):
            function(x, np.where(x == x[0, 0], np.nan, x))
        with pytest.raises(DataError, match="or more cells on each side"):
            function(x, x[:0])


def test_standardised_by_the_real_cells() -> None:
    x = np.concatenate([cells(20, 2, 1, 5.0, 3.0), np.full((20, 1), 4.0)], axis=1)
    own, other = evaluation.standardised(x, x[:3] + 1)
    assert own[:, :2].mean(0) == pytest.approx([0, 0], abs=1e-12)
    assert own[:, :2].std(0) == pytest.approx([1, 1])
    assert np.array_equal(own[:, 2], np.zeros(20))
    assert other == pytest.approx((x[:3] + 1 - x.mean(0)) / np.array([*x[:, :2].std(0), 1.0]))


def test_nearest_cells_literally() -> None:
    cells_, queries = cells(40, 5, 1, 100.0), cells(11, 5, 2, 100.0)
    rows, distances = neighbours.nearest_cells(queries, cells_, k=4)
    for q, found, at in zip(queries, rows, distances, strict=True):
        away = np.sqrt(((cells_ - q) ** 2).sum(1))
        assert found.tolist() == np.argsort(away)[:4].tolist()
        assert at == pytest.approx(np.sort(away)[:4])
    copies = neighbours.nearest_cells(cells_[[3, 7]], cells_)
    assert copies[0][:, 0].tolist() == [3, 7]
    assert copies[1].tolist() == [[0.0], [0.0]]
    with pytest.raises(DataError, match="expected 41 or more"):
        neighbours.nearest_cells(queries, cells_, k=41)


def test_copies_are_found_and_honest_cells_are_not() -> None:
    training, held_out, honest = cells(300, 6, 1), cells(200, 6, 2), cells(250, 6, 3)
    fair = neighbours.memorised(training, held_out, honest)
    assert fair["nearer"] == pytest.approx(0.5, abs=0.07)
    assert fair["copies"] == pytest.approx(0.05, abs=0.05)
    assert fair["p"] > 0.01
    copied = neighbours.memorised(training, held_out, training[:50] + cells(50, 6, 4, scale=0.01))
    assert copied["nearer"] > 0.99
    assert copied["copies"] == 1.0
    assert copied["p"] < 1e-10
    assert copied["row"].tolist() == list(range(50))
    far = neighbours.memorised(training, held_out, honest + 10)
    assert far["nearer"] < 0.01
    assert far["p"] > 0.99


def test_the_chance_of_being_nearer_literally_and_in_resamples() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 9).astype(float), rng.integers(0, 6, 7).astype(float)  # with ties
    literal = np.mean([1.0 if i < j else 0.5 if i == j else 0.0 for i in a for j in b])
    ones = np.ones((1, 9)), np.ones((1, 7))
    assert neighbours.nearer(a, b, *ones) == pytest.approx([literal])
    assert 1 - stats.mannwhitneyu(a, b).statistic / 63 == pytest.approx(literal)
    v, w = rng.integers(0, 3, (4, 9)), rng.integers(0, 3, (4, 7))
    for k in range(4):
        own = [neighbours.nearer(np.repeat(a, v[k]), np.repeat(b, w[k]), np.ones((1, v[k].sum())),
                                 np.ones((1, w[k].sum())))[0]]  # fmt: skip
        assert neighbours.nearer(a, b, v[k : k + 1], w[k : k + 1]) == pytest.approx(own)
    assert np.isnan(neighbours.nearer(a, b, np.zeros((1, 9)), np.ones((1, 7)))).all()


def test_mechanisms_among_the_nearest_cells() -> None:
    moa = np.array(["X", "X", "Y", None, "Z", float("nan")], object)
    rows = np.array([0, 1, 1, 3])
    assert neighbours.mechanisms_reached(moa, rows) == pytest.approx(1 / 3)
    assert neighbours.mechanisms_reached(moa, np.array([0, 2, 4])) == 1.0
    weights = np.array([[1, 0, 0, 1], [0, 0, 0, 2]])
    assert neighbours.mechanisms_reached(moa, rows, weights) == pytest.approx([1 / 3, 0])
    with pytest.raises(DataError, match="none is known"):
        neighbours.mechanisms_reached([None, None], rows[:1])
