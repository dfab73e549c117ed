"""Error against uncertainty, intervals, referral and stability: literal evaluations, scipy, known answers by hand."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import norm, spearmanr

from cellweak_core.migration import calibration
from cellweak_core.uncertainty import group_weights


def made(n_cells: int = 8, n: int = 7, seed: int = 0, ties: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Error that grows with uncertainty, uncertainty, and cells of unequal size."""
    rng = np.random.default_rng(seed)
    cells = np.concatenate([np.full(n + k % 3, f"c{k}") for k in range(n_cells)])
    uncertainty = rng.random(len(cells))
    uncertainty = np.round(uncertainty, 1) if ties else uncertainty
    return rng.random(len(cells)) * (0.2 + uncertainty), uncertainty, cells


def literal_resamples(cells: np.ndarray, n_resamples: int, seed: int) -> list[np.ndarray]:
    """Rows of each resample, as often as they are drawn."""
    return [np.repeat(np.arange(len(cells)), w.astype(int)) for w in group_weights(cells, n_resamples, seed)]


def test_bins_hold_equally_many_frames() -> None:
    error, uncertainty, cells = made(10, 7)
    found = calibration.error_by_uncertainty(error, uncertainty, cells, 5, 80, 2)
    order = np.argsort(uncertainty)
    assert found["n"].sum() == len(cells)
    assert found["n"].max() - found["n"].min() <= 1
    at = 0
    for one in found.to_dict("records"):
        rows = order[at : at + int(one["n"])]
        at += int(one["n"])
        assert one["error"] == pytest.approx(np.mean(error[rows]))
        assert one["uncertainty"] == pytest.approx(np.mean(uncertainty[rows]))
        drawn = [np.mean(error[own[np.isin(own, rows)]]) for own in literal_resamples(cells, 80, 2)]
        assert [one["low"], one["high"]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist())


def test_equal_uncertainties_share_a_bin() -> None:
    found = calibration.error_by_uncertainty([0, 1, 2, 3], [5, 5, 5, 7], list("abcd"), 4, 10)
    assert found[["uncertainty", "error", "n"]].to_numpy().tolist() == [[5, 1, 3], [7, 3, 1]]
    constant = calibration.error_by_uncertainty([0, 1], [5, 5], list("aa"), 10, 10)
    assert constant[["uncertainty", "error", "n"]].to_numpy().tolist() == [[5, 0.5, 2]]
    assert constant["low"].isna().all()  # one cell
    with pytest.raises(ValueError, match="n_bins: expected 1"):
        calibration.error_by_uncertainty([0], [5], ["a"], 0)


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_is_scipys_in_every_resample(ties: bool) -> None:
    error, uncertainty, cells = made(9, 5, 3, ties)
    found = calibration.spearman(error, uncertainty, cells, 60, 4)
    assert found.value == pytest.approx(spearmanr(error, uncertainty).statistic, rel=1e-12)
    drawn = [spearmanr(error[own], uncertainty[own]).statistic for own in literal_resamples(cells, 60, 4)]
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), rel=1e-9)
    assert (found.n_frames, found.n_cells) == (len(cells), 9)


def test_spearman_known_answers() -> None:
    x = np.arange(6.0)
    assert calibration.spearman(x, np.exp(x), list("aabbcc"), 20).value == pytest.approx(1)
    assert calibration.spearman(x, -(x**3), list("aabbcc"), 20).value == pytest.approx(-1)
    assert np.isnan(calibration.spearman(x, np.ones(6), list("aabbcc"), 20).value)


def test_coverage_is_counted() -> None:
    rng = np.random.default_rng(0)
    mean, variance, cells = rng.random(60), rng.random(60) ** 2, np.repeat(list("abcdefghijkl"), 5)
    targets = rng.random(60)
    found = calibration.coverage(targets, mean, variance, cells, [0.3, 0.9], 50, 1)
    for one in found.to_dict("records"):
        z = norm.ppf((1 + one["nominal"]) / 2)
        inside = [abs(y - m) <= z * v**0.5 for y, m, v in zip(targets, mean, variance, strict=True)]
        assert one["covered"] == pytest.approx(sum(inside) / 60)
        drawn = [np.mean(np.array(inside)[own]) for own in literal_resamples(cells, 50, 1)]
        assert [one["low"], one["high"]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist())
    by_hand = abs(0.3 - found["covered"][0]) + abs(0.9 - found["covered"][1])
    assert calibration.miscalibration(found) == pytest.approx(by_hand / 2)


def test_intervals_of_the_true_spread_keep_their_word() -> None:
    rng = np.random.default_rng(1)
    n = 20000
    mean, sd = rng.random(n), rng.uniform(0.01, 0.2, n)
    targets = mean + sd * rng.normal(size=n)
    cells = np.arange(n) // 10
    true = calibration.coverage(targets, mean, sd**2, cells, n_resamples=20)
    assert np.abs(true["covered"] - true["nominal"]).max() < 0.015
    assert calibration.miscalibration(true) < 0.01
    half = calibration.coverage(targets, mean, sd**2 / 4, cells, n_resamples=20)
    expected = 2 * norm.cdf(norm.ppf((1 + half["nominal"]) / 2) / 2) - 1
    assert np.abs(half["covered"] - expected).max() < 0.015
    samples = mean + sd * rng.normal(size=(400, n))
    drawn = calibration.sample_coverage(targets, samples, cells, [0.5, 0.9], 20)
    assert drawn["covered"].tolist() == pytest.approx([0.5, 0.9], abs=0.015)


def test_coverage_of_samples_by_hand() -> None:
    samples = np.tile(np.linspace(0, 1, 5)[:, None], (1, 3))  # the central half is .25 to .75
    found = calibration.sample_coverage([0.2, 0.25, 0.6], samples, list("abc"), [0.5], 10)
    assert found["covered"].tolist() == pytest.approx([2 / 3])
    zero = calibration.coverage([0.5, 0.5], [0.5, 0.4], [0, 0], list("ab"), [0.9], 10)
    assert zero["covered"].tolist() == [0.5]  # no spread holds only what is met exactly


def test_coverage_refuses() -> None:
    ok = ([0.1], [0.2], [0.1], ["a"])
    with pytest.raises(ValueError, match="levels: expected numbers between 0 and 1"):
        calibration.coverage(*ok, [1.0])
    with pytest.raises(ValueError, match=r"variance: expected 0 or more, got -0\.1"):
        calibration.coverage([0.1], [0.2], [-0.1], ["a"])
    with pytest.raises(ValueError, match="targets: 1 of 1 are not numbers; leave frames of unknown mode out"):
        calibration.coverage([np.nan], [0.2], [0.1], ["a"])
    with pytest.raises(ValueError, match=r"mean \(2,\)"):
        calibration.coverage([0.1], [0.2, 0.3], [0.1], ["a"])
    with pytest.raises(ValueError, match=r"samples: expected \(T, 1\), got \(4, 2\)"):
        calibration.sample_coverage([0.1], np.zeros((4, 2)), ["a"])
    with pytest.raises(ValueError, match="keep=True"):
        calibration.sample_coverage([0.1], [0.3], ["a"])
    with pytest.raises(ValueError, match="one frame or more"):
        calibration.spearman([], [], [])


def literal_kept(error: np.ndarray, uncertainty: np.ndarray, fraction: float) -> float:
    """Mean error of the most certain, the last one in part."""
    order = np.argsort(uncertainty, kind="stable")
    room, total = fraction * len(error), 0.0
    for row in order:
        part = min(1.0, max(0.0, room))
        total += part * error[row]
        room -= part
    return total / (fraction * len(error))


def test_the_referral_curve_is_the_literal_one() -> None:
    error, uncertainty, cells = made(8, 6, 5)
    fractions = [0.1, 0.35, 0.5, 0.8, 1.0]
    found = calibration.referral(error, uncertainty, cells, fractions, 60, 1)
    resamples = literal_resamples(cells, 60, 1)
    for one in found.curve.to_dict("records"):
        assert one["value"] == pytest.approx(literal_kept(error, uncertainty, one["kept"]))
        assert one["perfect"] == pytest.approx(literal_kept(error, error, one["kept"]))
        assert one["random"] == pytest.approx(error.mean())
        drawn = [literal_kept(error[own], uncertainty[own], one["kept"]) for own in resamples]
        assert [one["low"], one["high"]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist())
    heights = (found.curve["random"] - found.curve["value"]).tolist()
    area = sum((b - a) * (left + right) / 2 for a, b, left, right in
               zip(fractions[:-1], fractions[1:], heights[:-1], heights[1:], strict=True))  # fmt: skip
    assert found.area.value == pytest.approx(area)
    most = np.trapezoid(found.curve["random"] - found.curve["perfect"], fractions)
    assert found.share.value == pytest.approx(area / most)
    assert found.area.low < found.area.value < found.area.high
    assert 0 < found.share.value < 1


def test_referral_by_hand() -> None:
    wrong = np.array([0, 0, 0, 1, 1])
    right_order = calibration.referral(wrong, [1, 2, 3, 4, 5], list("abcde"), [0.2, 0.6, 0.8, 1], 50)
    assert right_order.curve["value"].tolist() == pytest.approx([0, 0, 0.25, 0.4])
    assert right_order.share.value == pytest.approx(1)
    worst = calibration.referral(wrong, [5, 4, 3, 2, 1], list("abcde"), [0.2, 0.6, 0.8, 1], 50)
    assert worst.curve["value"].tolist() == pytest.approx([1, 2 / 3, 0.5, 0.4])
    assert worst.area.value < 0
    blind = calibration.referral(wrong, np.ones(5), list("abcde"), [0.2, 0.6, 1], 50)
    assert blind.curve["value"].tolist() == pytest.approx([0.4] * 3)
    assert blind.share.value == pytest.approx(0)
    equal = calibration.referral(np.ones(4), [1, 2, 3, 4], list("abcd"), n_resamples=20)
    assert equal.area.value == pytest.approx(0)
    assert np.isnan(equal.share.value)


def test_frames_of_one_uncertainty_are_kept_by_lot() -> None:
    error, uncertainty = np.array([0.1, 0.9, 0.3, 0.6]), np.array([1.0, 2.0, 2.0, 2.0])
    found = calibration.referral(error, uncertainty, list("abcd"), [0.25, 0.5, 0.75, 1], 20)
    orders = [[0, *rest] for rest in permutations([1, 2, 3])]
    literal = [np.mean([error[order[:k]].mean() for order in orders]) for k in (1, 2, 3, 4)]
    assert found.curve["value"].tolist() == pytest.approx(literal)


@pytest.mark.parametrize("fractions", [[], [0, 0.5], [0.5, 0.5], [0.5, 1.1]])
def test_referral_refuses_other_fractions(fractions: list[float]) -> None:
    with pytest.raises(ValueError, match="fractions: expected rising numbers"):
        calibration.referral([0.1], [0.1], ["a"], fractions)


def range_of(y: float) -> int:
    return 0 if y <= 0.4 else 2 if y >= 0.6 else 1


def test_stability_is_the_literal_one() -> None:
    rng = np.random.default_rng(0)
    samples = np.clip(rng.uniform(0, 1, 15) + rng.uniform(0.01, 0.3, 15) * rng.normal(size=(13, 15)), 0, 1)
    found = calibration.stability(samples, [1, 4, 6, 7, 50], n_orders=3, seed=7)
    assert found["T"].tolist() == [1, 4, 6]
    orders = np.random.default_rng(7)
    squares, sums = np.zeros((3, 2)), np.zeros((3, 3))
    for _ in range(3):
        order = orders.permutation(13)
        for row, count in enumerate((1, 4, 6)):
            means, variances = [], []
            for part in (samples[order[:count]], samples[order[count : 2 * count]]):
                m = [sum(part[:, i]) / count for i in range(15)]
                means.append(m)
                variances.append([sum((y - m[i]) ** 2 for y in part[:, i]) / count for i in range(15)])
            for column, pair in enumerate((means, variances)):
                squares[row, column] += sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) / 15 / 2
            sums[row] += [
                np.mean(variances), spearmanr(*variances).statistic if count > 1 else np.nan,
                np.mean([range_of(a) != range_of(b) for a, b in zip(*means, strict=True)]),
            ]  # fmt: skip
    assert found.iloc[:, 1:].to_numpy() == pytest.approx(
        np.hstack([np.sqrt(squares / 3), sums / 3]), nan_ok=True, abs=1e-12
    )
    assert max(calibration.COUNTS) == 100


def test_the_borders_of_the_ranges_belong_to_the_modes() -> None:
    # 0.4 and 0.6 belong to the modes: only of the third frame one sample is uncertain and the other not
    found = calibration.stability([[0.4, 0.6, 0.45], [0.2, 0.8, 0.2]], [1], n_orders=5)
    assert found.loc[0, "other range"] == pytest.approx(1 / 3)


def test_the_error_of_independent_samples_is_the_standard_error() -> None:
    samples = 0.5 + 0.1 * np.random.default_rng(0).normal(size=(80, 4000))
    found = calibration.stability(samples, [10, 40, 41], n_orders=10).set_index("T")
    assert found.index.tolist() == [10, 40]
    for count, one in found.iterrows():
        # at half of the samples too, where the difference to all samples would be smaller by sqrt 2
        assert one["mean error"] == pytest.approx(0.1 / count**0.5, rel=0.02)
        # the plain variance of T normal samples: (T - 1) / T of the true one, itself of variance 2 (T - 1) / T^2 var^2
        assert one["epistemic"] == pytest.approx(0.01 * (count - 1) / count, rel=0.01)
        assert one["epistemic error"] == pytest.approx(0.01 * (2 * (count - 1)) ** 0.5 / count, rel=0.03)
        # frames that all are as uncertain have no order that two sets could agree on
        assert abs(one["rank correlation"]) < 0.05
    assert found.loc[40, "other range"] == 0 < found.loc[10, "other range"]


def test_samples_of_zero_and_one_by_hand() -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(0.05, 0.95, 4000)
    samples = rng.random((60, 4000)) < p
    found = calibration.stability(samples, [1, 30], n_orders=10).set_index("T")
    for count in (1, 30):
        assert found.loc[count, "mean error"] == pytest.approx(np.sqrt(np.mean(p * (1 - p)) / count), rel=0.02)
    assert found.loc[1, "other range"] == pytest.approx(np.mean(2 * p * (1 - p)), rel=0.03)
    assert found.loc[1, ["epistemic", "epistemic error"]].tolist() == [0, 0]
    assert np.isnan(found.loc[1, "rank correlation"])


def test_sets_of_unlike_frames_agree_on_their_order() -> None:
    sd = np.geomspace(1e-3, 0.3, 200)
    found = calibration.stability(0.5 + sd * np.random.default_rng(0).normal(size=(100, 200)), [2, 50], 10)
    assert found["rank correlation"].is_monotonic_increasing
    assert found["rank correlation"][1] > 0.99


def test_equal_samples_have_no_error_and_too_few_are_refused() -> None:
    found = calibration.stability(np.tile([0.25, 0.5, 0.75], (8, 1)), [1, 4])
    assert found[["mean error", "epistemic error", "epistemic", "other range"]].to_numpy().tolist() == [[0] * 4] * 2
    assert found["rank correlation"].isna().all()
    with pytest.raises(ValueError, match=r"expected some of 1 to 1, half of the samples, .*, got \[2\] and 20"):
        calibration.stability([[0.1], [0.2], [0.3]], [2])
    with pytest.raises(ValueError, match=r"1 order or more, got \[1\] and 0"):
        calibration.stability([[0.1], [0.2]], [1], 0)
    with pytest.raises(ValueError, match="expected 2 or more of each frame"):
        calibration.stability([[0.1, 0.2]])
    with pytest.raises(ValueError, match="finite numbers"):
        calibration.stability([[np.nan]])
