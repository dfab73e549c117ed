"""Metrics against scikit-learn, intervals over embryos, the metadata baseline, augmentation, and indices by epoch."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn import metrics as sk

from cellweak_core.rosettes.augmentation import relight, strong, warp
from cellweak_core.rosettes.detectors import Epochs
from cellweak_core.rosettes.evaluation import (
    METRICS,
    bootstrap_metrics,
    curve_metrics,
    interval_rows,
    majority_rate,
    metadata_baseline,
    metadata_features,
    metrics,
    result_rows,
    weighted_metrics,
    with_intervals,
)
from cellweak_core.training import random_source

Array = NDArray[Any]


def case(n: int, seed: int, decimals: int = 1) -> tuple[Array, Array]:
    """Scores with ties, and their classes."""
    rng = np.random.default_rng(seed)
    target = np.r_[0, 1, rng.integers(0, 2, n - 2)]
    return np.clip(rng.normal(0.4 + 0.2 * target, 0.2), 0, 1).round(decimals), target


# --- metrics


@pytest.mark.parametrize("decimals", [1, 9])
def test_metrics_are_scikit_learns(decimals: int) -> None:
    scores, target = case(60, 0, decimals)
    weights = np.random.default_rng(1).integers(0, 4, (25, 60)).astype(float)
    got = weighted_metrics(scores, target, weights, threshold=0.55, balanced_threshold=0.45)
    for b, w in enumerate(weights):
        called = scores > 0.55
        expected = (
            sk.roc_auc_score(target, scores, sample_weight=w),
            sk.average_precision_score(target, scores, sample_weight=w),
            sk.balanced_accuracy_score(target, scores > 0.45, sample_weight=w),
            sk.accuracy_score(target, called, sample_weight=w),
            sk.precision_score(target, called, sample_weight=w),
            sk.recall_score(target, called, sample_weight=w),
        )
        np.testing.assert_allclose([got[m][b] for m in METRICS], expected, rtol=1e-12, err_msg=str(b))


def test_auroc_by_pairs() -> None:
    scores, target = case(30, 3)
    wins = [(p > n) + (p == n) / 2 for p in scores[target == 1] for n in scores[target == 0]]
    assert metrics(scores, target)["AUROC"] == pytest.approx(np.mean(wins))


def test_metrics_by_hand() -> None:
    got = metrics([0.9, 0.8, 0.6, 0.2], [1, 0, 1, 0])
    expected = {"AUROC": 3 / 4, "average precision": (1 + 2 / 3) / 2, "balanced accuracy": 3 / 4}
    assert got == pytest.approx(expected | {"accuracy": 3 / 4, "precision": 2 / 3, "recall": 1})
    assert list(got) == list(METRICS)
    at_the_threshold = metrics([0.5, 0.5], [1, 0])  # is not above it
    assert (at_the_threshold["recall"], at_the_threshold["balanced accuracy"]) == (0, 0.5)


scored = arrays(np.float64, 12, elements=st.integers(0, 20).map(lambda k: k / 20))
classes = arrays(np.int64, 12, elements=st.integers(0, 1))
counts = arrays(np.int64, 12, elements=st.integers(0, 3))


def assert_equal(a: dict[str, Any], b: dict[str, Any]) -> None:
    for name in METRICS:
        np.testing.assert_allclose(a[name], b[name], atol=1e-12, err_msg=name)


@given(scored, classes, counts, st.permutations(range(12)))
def test_the_order_of_images_does_not_matter(s: Array, y: Array, w: Array, order: list[int]) -> None:
    assert_equal(weighted_metrics(s, y, w), weighted_metrics(s[order], y[order], w[order]))


@given(scored, classes, counts)
def test_a_weight_is_a_repetition(s: Array, y: Array, w: Array) -> None:
    again = [np.repeat(v, w) for v in (s, y)]
    assert_equal(weighted_metrics(s, y, w), weighted_metrics(*again, np.ones((1, w.sum()))))


@given(scored, classes)
def test_ranks_are_what_counts_for_auroc_and_average_precision(s: Array, y: Array) -> None:
    assume(0 < y.sum() < 12)
    plain, bent, turned = metrics(s, y), metrics(np.expm1(3 * s), y), metrics(-s, y)
    for name in ("AUROC", "average precision"):
        assert bent[name] == pytest.approx(plain[name])
        assert 0 <= plain[name] <= 1
    assert turned["AUROC"] == pytest.approx(1 - plain["AUROC"])
    assert metrics(1 - s, 1 - y)["AUROC"] == pytest.approx(plain["AUROC"])


def test_chance_and_perfection() -> None:
    target = np.array([0, 0, 0, 1])
    constant, perfect = metrics(np.full(4, 0.7), target), metrics(target, target)
    assert constant["AUROC"] == 0.5
    assert constant["average precision"] == target.mean()
    assert set(perfect.values()) == {1.0}


def undefined(got: dict[str, float]) -> set[str]:
    return {name for name, value in got.items() if math.isnan(value)}


def test_what_is_undefined() -> None:
    ranked = {"AUROC", "average precision", "balanced accuracy"}
    assert undefined(metrics([0.2, 0.9], [0, 0])) == {*ranked, "recall"}
    assert undefined(metrics([0.2, 0.9], [1, 1])) == {"AUROC", "balanced accuracy"}
    assert undefined(metrics([0.2, 0.3], [0, 1])) == {"precision"}
    assert undefined(metrics([], [])) == set(METRICS)
    resampled = weighted_metrics([0.2, 0.9], [0, 1], [[1, 1], [2, 0], [0, 0]])
    assert np.isnan(resampled["AUROC"]).tolist() == [False, True, True]
    assert resampled["accuracy"][:2].tolist() == [1, 1]


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scores \(3,\), target \(2,\), weights \(1, 2\)"):
        metrics([0.1, 0.2, 0.3], [0, 1])
    with pytest.raises(ValueError, match="1 of 3 are NaN: a training diverged"):
        metrics([0.1, math.nan, 0.3], [0, 1, 1])


# --- intervals


def test_intervals_are_those_of_resampled_embryos_averaged_over_trainings() -> None:
    scores, target = case(40, 5)
    runs = np.stack([scores, np.clip(scores + np.random.default_rng(0).normal(0, 0.1, 40), 0, 1)])
    groups = np.repeat(list("abcdefgh"), 5)
    frame = with_intervals(runs, target, groups, n_resamples=200, seed=3).set_index("metric")
    draws = np.random.default_rng(3).multinomial(8, np.full(8, 1 / 8), 200)
    means = []
    for draw in draws:
        index = np.concatenate([np.tile(np.arange(5 * g, 5 * g + 5), k) for g, k in enumerate(draw)])
        means.append(np.mean([sk.roc_auc_score(target[index], run[index]) for run in runs]))
    single = [sk.roc_auc_score(target, run) for run in runs]
    row = frame.loc["AUROC"]
    assert row["value"] == pytest.approx(np.mean(single))
    assert row["sd"] == pytest.approx(np.std(single, ddof=1))
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert row[["n", "n_groups", "n_runs"]].tolist() == [40, 8, 2]
    assert list(frame.index) == list(METRICS)


def test_one_embryo_has_no_spread_and_one_training_no_deviation() -> None:
    scores, target = case(10, 1)
    frame = with_intervals(scores, target, ["e"] * 10, n_resamples=20)
    pd.testing.assert_series_equal(frame["low"], frame["value"], check_names=False)
    pd.testing.assert_series_equal(frame["high"], frame["value"], check_names=False)
    assert frame["sd"].isna().all()


def test_days_are_averaged_with_equal_weight() -> None:
    days = []
    for seed, n in ((0, 20), (1, 50)):
        scores, target = case(n, seed)
        days.append(bootstrap_metrics(np.stack([scores, scores**2]), target, np.arange(n) // 4, n_resamples=50))
    frame = interval_rows(days, {"n": 70, "n_groups": 18, "n_runs": 2}).set_index("metric")
    assert frame.loc["AUROC", "value"] == pytest.approx(np.mean([d["AUROC"][0].mean() for d in days]))
    drawn = (days[0]["AUROC"][1] + days[1]["AUROC"][1]) / 2
    assert frame.loc["AUROC", "low"] == pytest.approx(np.quantile(drawn, 0.025))
    assert frame.loc["AUROC", "sd"] == pytest.approx(0, abs=1e-12)  # both trainings rank alike


def test_rows_for_the_results_say_how_they_were_made() -> None:
    frame = with_intervals([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1], list("aabb"), n_resamples=20)
    rows = {r["column"]: r for r in result_rows(frame, "Fig. 10", "GAN", "20 %", "simulated")}
    assert set(rows) == {f"{m} @ 20 %" for m in METRICS}
    assert rows["AUROC @ 20 %"]["value"] == 0.75
    assert rows["AUROC @ 20 %"]["n"] == 4
    assert "95 % bootstrap over 2 embryos; simulated" in rows["AUROC @ 20 %"]["note"]
    assert "undefined (0/0)" in rows["precision @ 20 %"]["note"]
    assert "undefined" not in rows["recall @ 20 %"]["note"]


def test_majority_rate() -> None:
    assert majority_rate([0, 0, 0, 1]) == majority_rate([1, 1, 1, 0]) == 0.75
    assert math.isnan(majority_rate([]))


def test_curves_by_hand() -> None:
    probabilities = np.array([[[0.9, 0.1, 0.6, 0.4], [0.1, 0.2, 0.3, 0.4]]])  # one network, two evaluations
    got = curve_metrics(probabilities, [1, 0, 0, 1])
    np.testing.assert_allclose(got["accuracy"], [[0.5, 0.5]])
    np.testing.assert_allclose(got["precision"], [[0.5, np.nan]])
    np.testing.assert_allclose(got["recall"], [[0.5, 0]])
    assert np.isnan(curve_metrics(probabilities, [0, 0, 0, 0])["recall"]).all()
    assert np.isnan(curve_metrics(np.zeros((2, 0)), [])["accuracy"]).all()


# --- metadata


def test_metadata_of_images() -> None:
    images = np.zeros((3, 4, 4), np.uint8)
    images[1], images[2, :, :2] = 200, 100
    table = pd.DataFrame({"slice": [9.0, np.nan, 11.0], "minute": [np.nan] * 3})
    features = metadata_features(images, table)
    assert list(features) == ["mean", "sd", "90th percentile", "slice"]
    assert features["mean"].tolist() == [0, 200, 50]
    assert features["sd"].tolist() == [0, 0, 50]
    assert features["slice"].tolist() == [9, 10, 11]


def test_metadata_baseline_learns_brightness_and_nothing_from_the_test_labels() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 80)
    images = np.clip(rng.normal(80 + 40 * target, 10)[:, None, None] + np.zeros((1, 8, 8)), 0, 255).astype(np.uint8)
    table = pd.DataFrame({"slice": rng.integers(9, 14, 80).astype(float), "minute": np.full(80, np.nan)})
    features = metadata_features(images, table)
    train, test = np.arange(50), np.arange(50, 80)
    scores = metadata_baseline(features, target, train, test, 0)
    assert sk.roc_auc_score(target[test], scores) > 0.9
    other = np.r_[target[:50], 1 - target[50:]]
    np.testing.assert_array_equal(metadata_baseline(features, other, train, test, 0), scores)


# --- augmentation


@pytest.mark.parametrize("change", [warp, relight, strong])
def test_augmentation_is_that_of_its_seed_and_leaves_its_input(change: Any) -> None:  # noqa: ANN401
    images = 255 * torch.rand(3, 1, 16, 16, generator=random_source(0))
    before, state = images.clone(), torch.get_rng_state()
    first, same, other = (change(images, random_source(s)) for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])
    assert first.shape == images.shape
    assert torch.isfinite(first).all()
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert change(images[:0], random_source(0)).shape == (0, 1, 16, 16)
    assert change(images[:1], random_source(0)).shape == (1, 1, 16, 16)


def test_warp_invents_no_grey_level() -> None:
    images = 50 + 150 * torch.rand(20, 1, 32, 32, generator=random_source(3))
    moved = warp(images, random_source(4))
    for image, was in zip(moved, images, strict=True):
        assert was.min() - 1e-3 <= image.min()
        assert image.max() <= was.max() + 1e-3
    assert warp(images.double(), random_source(4)).dtype == torch.float64


def test_warp_without_strength_turns_and_flips_only() -> None:
    """A disc with one bright spot: the disc stays, the spot keeps its distance from the centre."""
    y, x = torch.meshgrid(torch.arange(65) - 32.0, torch.arange(65) - 32.0, indexing="ij")
    disc = 100.0 * (x**2 + y**2 < 20**2)
    spot = 100 * torch.exp(-((x - 12) ** 2 + (y - 3) ** 2) / 8)
    images = (disc + spot).expand(12, 1, 65, 65)
    moved = warp(images, random_source(0), strength=0)
    torch.testing.assert_close(moved.mean((1, 2, 3)), images.mean((1, 2, 3)), rtol=0.01, atol=0)
    at = [divmod(int(i), 65) for i in moved.flatten(1).argmax(1)]
    radii = [math.hypot(r - 32, c - 32) for r, c in at]
    assert radii == pytest.approx([math.hypot(12, 3)] * 12, abs=1.5)
    assert len(set(at)) > 6  # at any angle
    handed = warp(torch.stack([x, y])[None].expand(40, 2, 65, 65), random_source(1), strength=0)
    right, down = handed[..., 32, 40] - handed[..., 32, 24], handed[..., 40, 32] - handed[..., 24, 32]
    sign = (right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0]) / 256
    torch.testing.assert_close(sign.abs(), torch.ones(40), atol=0.05, rtol=0)
    assert 8 < (sign < 0).sum() < 32  # about half are mirrored


def test_relight_without_strength_is_the_image() -> None:
    images = 255 * torch.rand(3, 1, 8, 8, generator=random_source(0)).clamp_min(1e-2)
    torch.testing.assert_close(relight(images, random_source(1), strength=0), images)


def test_relight_keeps_the_order_of_grey_levels_roughly() -> None:
    ramp = torch.linspace(10, 245, 32).expand(30, 1, 32, 32).contiguous()
    lit = relight(ramp, random_source(2))
    columns = lit.mean((1, 2))
    assert torch.corrcoef(torch.stack([columns.mean(0), ramp[0, 0, 0]]))[0, 1] > 0.98
    assert lit.std(0).mean() > 5  # and images differ
    assert lit.min() > -60
    assert lit.max() < 255 * 2.5


# --- epochs


@pytest.mark.parametrize(("n", "batch"), [(10, 3), (10, 10), (4, 7), (1, 5), (6, 1)])
def test_every_index_comes_once_per_epoch(n: int, batch: int) -> None:
    epochs = Epochs(n, batch, random_source(0))
    drawn = [epochs.next() for _ in range(3 * n)]
    assert all(len(d) == batch for d in drawn)
    stream = torch.cat(drawn)[: 3 * batch * n]
    for epoch in stream.split(n):
        assert sorted(epoch.tolist()) == list(range(n))
    if n > 4:
        assert not torch.equal(stream[:n], stream[n : 2 * n])


def test_epochs_go_on_where_they_were_saved() -> None:
    source = random_source(0)
    epochs = Epochs(7, 3, source)
    for _ in range(4):
        epochs.next()
    state, place = {k: v.clone() for k, v in epochs.state_dict().items()}, source.get_state()
    rest = [epochs.next().tolist() for _ in range(6)]
    other_source = random_source(9)
    other = Epochs(7, 3, other_source)
    other.load_state_dict(state)
    other_source.set_state(place)
    assert [other.next().tolist() for _ in range(6)] == rest


@pytest.mark.parametrize(("n", "batch"), [(0, 3), (3, 0)])
def test_no_label_is_no_epoch(n: int, batch: int) -> None:
    with pytest.raises(ValueError, match="at least one label"):
        Epochs(n, batch, random_source(0))
