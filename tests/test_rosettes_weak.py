"""Setting (b): folds, the list of runs, scores by day against scikit-learn, tables for reading."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from cellweak_core.rosettes.data import RosetteData
from cellweak_core.rosettes.evaluation import METRICS, metadata_baseline
from cellweak_core.rosettes.splits import subset
from cellweak_core.rosettes.weak import (
    METADATA,
    WEAK_METHODS,
    WeakScores,
    folds_by_day,
    interval_texts,
    kept,
    weak_comparison,
    weak_runs,
    with_parts,
)

PRIORS = (0.3, 0.6)  # of the training labels, one per test day


def table(days: Sequence[str], target: Sequence[int], embryos: Sequence[str] | None = None) -> pd.DataFrame:
    group = [f"{d}_{e}" for d, e in zip(days, embryos or ["a"] * len(days), strict=True)]
    return pd.DataFrame({"day": days, "target": target, "group": group})


def data_of(frame: pd.DataFrame) -> RosetteData:
    return RosetteData(np.zeros((len(frame), 2, 2), np.uint8), frame, "rosette", "hand-made", "")


def two_days(n: int = 24, seed: int = 0) -> RosetteData:
    """Images of two days in turn, six embryos a day, every seventh image unlabelled."""
    rng = np.random.default_rng(seed)
    target = np.where(np.arange(n) % 7 == 6, -1, rng.integers(0, 2, n))
    target[:4] = 0, 0, 1, 1  # both classes on both days
    return data_of(table(["d2", "d1"] * (n // 2), target.tolist(), [str(k % 12) for k in range(n)]))


@pytest.fixture
def filled() -> tuple[WeakScores, dict[tuple[str, int], np.ndarray]]:
    """Two trainings of one method on each of two days."""
    scores, rng, given = WeakScores(two_days(48), ["d1", "d2"]), np.random.default_rng(1), {}
    for fold in (0, 1):
        for run in range(2):
            given[("one", fold), run] = score = rng.uniform(size=len(scores.test(fold)))
            scores.add("one", 1.0, fold, score, PRIORS[fold], 10 + 5 * fold)
    return scores, given


# --- folds


def test_a_fold_is_the_place_of_its_day() -> None:
    frame = table(["d3", "d1", "d2", "d1", "d9"], [1, 0, 1, -1, -1])
    fold, days = folds_by_day(frame)
    assert days == ["d1", "d2", "d3"]  # d9 has no label
    assert fold.tolist() == [2, 0, 1, -1, -1]


def test_days_that_are_not_tested_only_train() -> None:
    fold, days = folds_by_day(table(["d3", "d1", "d2", "d1"], [1, 0, 1, 1]), ["d3", "d2"])
    assert days == ["d3", "d2"]
    assert fold.tolist() == [0, 2, 1, 2]


def test_a_day_named_twice_is_tested_once() -> None:
    fold, days = folds_by_day(table(["d2", "d1"], [1, 0]), ["d2", "d2"])
    assert days == ["d2"]
    assert fold.tolist() == [0, 1]


def test_folds_that_cannot_be_made_say_why() -> None:
    frame = table(["d1", "d2", "d3"], [1, 0, -1])
    with pytest.raises(ValueError, match=r"test_days: no labelled image of d3, d4; the days are d1, d2"):
        folds_by_day(frame, ["d4", "d1", "d3"])
    with pytest.raises(ValueError, match=r"every labelled image is of the day \['d1'\]: give groups.csv more days"):
        folds_by_day(frame[:1])


@given(
    days=st.lists(st.sampled_from(["d1", "d2", "d3"]), min_size=8, max_size=40),
    labels=st.lists(st.sampled_from([-1, 0, 1]), min_size=40, max_size=40),
    embryos=st.lists(st.sampled_from("abc"), min_size=40, max_size=40),
)
def test_test_images_share_no_day_and_no_embryo_with_the_training(
    days: list[str], labels: list[int], embryos: list[str]
) -> None:
    days, labels = ["d1", "d2", *days], [0, 1, *labels[: len(days)]]
    data = data_of(table(days, labels, embryos[:1] * 2 + embryos[: len(days) - 2]))
    fold, tested = folds_by_day(data.table)
    scores = WeakScores(data, tested)
    for k in range(len(tested)):
        test = scores.test(k)
        np.testing.assert_array_equal(test, np.flatnonzero(fold == k))  # as `train_detector` finds them
        train = np.flatnonzero((fold != k) & (fold >= 0))
        assert (data.table["target"].to_numpy()[test] >= 0).all()
        for column in ("day", "group"):
            assert not set(data.table[column].iloc[test]) & set(data.table[column].iloc[train])
    assert sum(len(scores.test(k)) for k in range(len(tested))) == sum(t >= 0 for t in labels)


# --- runs and results


def test_every_method_fraction_seed_and_day_is_run_once() -> None:
    runs = weak_runs({"steps": 3, "network": "?"}, WEAK_METHODS, [0.2, 1], [7, 8], 3, keep=["context"])
    assert len(runs) == len(WEAK_METHODS) * 2 * 2 * 3
    assert all(run["steps"] == 3 for run in runs)
    blocks = [runs[k : k + 12] for k in range(0, len(runs), 12)]
    for block, changes in zip(blocks, WEAK_METHODS.values(), strict=True):  # as `add_results` reads them
        assert all(run.items() >= changes.items() for run in block)
        assert [(r["fraction"], r["seed"], r["test_fold"]) for r in block] == [
            (f, s, k) for f in (1.0, 0.2) for s in (7, 8) for k in range(3)
        ]
    assert [r["start"] for r in runs if r["keep_weights"]] == ["random"] * 6
    assert all(r["network"] == "context" and r["fraction"] == 1.0 for r in runs if r["keep_weights"])


def test_kept_finds_the_fold_and_seed() -> None:
    runs = weak_runs({}, {"a": {}, "b": {}}, [1.0, 0.5], [3, 4], 2, keep=["b"])
    results: list[dict[str, Any]] = [{"number": k} for k in range(len(runs))]
    found = kept(runs, results, fold=1, seed=4)
    run = runs[found["number"]]
    assert (run["test_fold"], run["seed"], run["fraction"], run["keep_weights"]) == (1, 4, 1.0, True)
    assert found["number"] >= len(runs) // 2  # of the method b
    without = weak_runs({}, {"b": {}}, [0.5], [3], 2, keep=["b"])
    with pytest.raises(ValueError, match=r"fold 1 and seed 3 kept its weights: include 1.0 in weak_fractions"):
        kept(without, results[:2], fold=1, seed=3)


def results_of(runs: list[dict[str, Any]], scores: WeakScores) -> list[dict[str, Any]]:
    """A result per run whose probabilities tell the run's number."""
    return [
        {
            "test_index": torch.from_numpy(scores.test(run["test_fold"])),
            "probability": torch.full((len(scores.test(run["test_fold"])),), number / 100),
            "prior": 0.25,
            "n_labels": number,
        }
        for number, run in enumerate(runs)
    ]


def test_results_find_their_method_fraction_and_day() -> None:
    data = two_days()
    scores = WeakScores(data, folds_by_day(data.table)[1])
    methods: dict[str, dict[str, Any]] = {"a": {}, "b": {}}
    runs = weak_runs({}, methods, [1.0, 0.5], [3, 4], 2)
    results = results_of(runs, scores)
    scores.add_results(methods, runs, results)
    for number, run in enumerate(runs):
        by_fold = scores.scores["ab"[number // 8], run["fraction"]]
        np.testing.assert_allclose(by_fold[run["test_fold"]][run["seed"] - 3], number / 100)
    assert {len(one) for by_fold in scores.scores.values() for one in by_fold} == {2}
    results[3] = {**results[3], "test_index": results[3]["test_index"].flip(0)}
    with pytest.raises(ValueError, match="the test images differ"):
        scores.add_results(methods, runs, results)


def test_metadata_learn_from_the_labels_that_the_networks_have() -> None:
    data = two_days(48)
    features = pd.DataFrame({"mean": np.random.default_rng(2).normal(size=48)})
    scores = WeakScores(data, ["d1", "d2"])
    scores.add_metadata(features, [0.5], [3, 4])
    target = data.table["target"].to_numpy()
    fold, _ = folds_by_day(data.table)
    for k in (0, 1):
        train = np.flatnonzero((fold != k) & (fold >= 0) & (target >= 0))  # as `train_detector`
        for at, seed in enumerate((3, 4)):
            chosen = subset(train, pd.DataFrame({"target": target}), 0.5, seed)
            expected = metadata_baseline(features, target, chosen, np.flatnonzero(fold == k), seed)
            np.testing.assert_array_equal(scores.scores[METADATA, 0.5][k][at], expected)
        assert scores.n_labels[METADATA, 0.5, k] == len(chosen)
        assert scores.priors[METADATA, 0.5, k] == target[chosen].mean()


# --- evaluation


def test_scores_are_scikit_learns_per_day_and_averaged(filled: Any) -> None:  # noqa: ANN401
    scores, given = filled
    frame = scores.evaluate(n_resamples=50).set_index(["day", "metric"])
    target = scores.target
    by_day = {}
    for fold, day in enumerate(scores.days):
        y = target[scores.test(fold)]
        runs = [given[("one", fold), run] for run in (0, 1)]
        by_day[day] = {
            "AUROC": [sk.roc_auc_score(y, s) for s in runs],
            "average precision": [sk.average_precision_score(y, s) for s in runs],
            "balanced accuracy": [sk.balanced_accuracy_score(y, s > PRIORS[fold]) for s in runs],
            "accuracy": [sk.accuracy_score(y, s > 0.5) for s in runs],
            "precision": [sk.precision_score(y, s > 0.5) for s in runs],
            "recall": [sk.recall_score(y, s > 0.5) for s in runs],
        }
    assert set(by_day["d1"]) == set(METRICS)
    for metric in METRICS:
        for day, expected in by_day.items():
            row = frame.loc[(day, metric)]
            assert row["value"] == pytest.approx(np.mean(expected[metric]))
            assert row["sd"] == pytest.approx(np.std(expected[metric], ddof=1))
            assert row["low"] <= row["value"] <= row["high"]
        both = np.mean([by_day["d1"][metric], by_day["d2"][metric]], 0)  # per training
        assert frame.loc[("all", metric), "value"] == pytest.approx(both.mean())
        assert frame.loc[("all", metric), "sd"] == pytest.approx(both.std(ddof=1))
    plain = np.mean([sk.balanced_accuracy_score(target[scores.test(0)], given[("one", 0), r] > 0.6) for r in (0, 1)])
    assert abs(frame.loc[("d1", "balanced accuracy"), "value"] - plain) > 0.01  # the other day's threshold would show


def test_counts_of_a_day_and_of_all(filled: Any) -> None:  # noqa: ANN401
    scores, _ = filled
    frame = scores.evaluate(n_resamples=10).groupby("day").first()
    labelled = scores.table[scores.target >= 0]
    for day, n_labels in (("d1", 10), ("d2", 15)):
        part = labelled[labelled["day"] == day]
        row = frame.loc[day]
        assert (row["n"], row["n_groups"], row["n_labels"]) == (len(part), part["group"].nunique(), n_labels)
    every = frame.loc["all"]
    assert (every["n"], every["n_groups"]) == (len(labelled), labelled["group"].nunique())
    assert every["n_labels"] == 12  # the days' mean, rounded
    assert (frame["n_runs"] == 2).all()


def test_an_ensemble_is_the_mean_probability(filled: Any) -> None:  # noqa: ANN401
    scores, given = filled
    scores.add_ensemble("one", "one, mean of 2")
    frame = scores.evaluate(n_resamples=10)
    for fold, day in enumerate(scores.days):
        mean = (given[("one", fold), 0] + given[("one", fold), 1]) / 2
        np.testing.assert_allclose(scores.scores["one, mean of 2", 1.0][fold], [mean])
        row = frame[(frame["method"] == "one, mean of 2") & (frame["day"] == day)].set_index("metric")
        y = scores.target[scores.test(fold)]
        assert row.loc["AUROC", "value"] == pytest.approx(sk.roc_auc_score(y, mean))
        expected = sk.balanced_accuracy_score(y, mean > PRIORS[fold])  # the threshold of its members
        assert row.loc["balanced accuracy", "value"] == pytest.approx(expected)
        assert row["n_runs"].tolist() == [1] * len(METRICS)
        assert row["sd"].isna().all()


def test_a_day_without_its_trainings_is_named() -> None:
    scores = WeakScores(two_days(), ["d1", "d2"])
    scores.add("one", 0.2, 1, np.zeros(len(scores.test(1))), 0.5, 3)
    with pytest.raises(ValueError, match=r"one, 0.2 of the labels: expected as many trainings .* d1: 0, d2: 1"):
        scores.evaluate(10)


# --- for reading


def evaluated() -> pd.DataFrame:
    rows = [
        {"method": m, "fraction": f, "n_labels": 9, "day": d, "metric": metric, "value": v, "low": v - 0.1,
         "high": v + 0.1, "sd": 0.0, "n": 5, "n_groups": 2, "n_runs": 3}
        for m, v in (("zeta", 0.5), ("alpha", 0.75))
        for f in (1.0, 0.2)
        for d in ("d1", "d2", "all")
        for metric in METRICS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_comparison_has_a_row_per_method_and_day_in_the_order_of_the_methods() -> None:
    wide = weak_comparison(evaluated(), 0.2)
    assert list(wide.columns) == ["method", "day", "n_labels", "n", "n_groups", "n_runs", *METRICS[:4]]
    assert wide["method"].tolist() == ["zeta"] * 3 + ["alpha"] * 3
    assert wide["day"].tolist() == ["all", "d1", "d2"] * 2
    assert wide["AUROC"].tolist() == ["0.500 (0.400 to 0.600)"] * 3 + ["0.750 (0.650 to 0.850)"] * 3
    assert list(weak_comparison(evaluated(), 1.0, ["recall"]).columns)[6:] == ["recall"]


def test_a_share_without_scores_is_named() -> None:
    with pytest.raises(ValueError, match=r"no scores of AUROC.* with 0.1 of the labels, only with 0.2, 1"):
        weak_comparison(evaluated(), 0.1)


def test_undefined_values_and_intervals_are_said_so() -> None:
    nan = float("nan")
    frame = pd.DataFrame({"value": [0.5, 0.5, nan], "low": [0.25, nan, nan], "high": [0.75, nan, nan]})
    assert interval_texts(frame) == ["0.500 (0.250 to 0.750)", "0.500 (no interval)", "undefined"]


def test_embryos_of_one_day_are_dealt_to_parts() -> None:
    frame = table(["d1"] * 8, [1, 0, 1, 0, 1, 0, 1, 0]).assign(group=["a", "a", "b", "b", "c", "c", "d", "d"])
    data = RosetteData(np.zeros((8, 32, 32), np.uint8), frame, "rosette", "one day", "")
    parts = with_parts(data, 0)
    assert sorted(set(parts.table["day"])) == ["d1, part 1", "d1, part 2"]
    assert (parts.table.groupby("group")["day"].nunique() == 1).all()
    assert (parts.table.groupby("day")["target"].nunique() == 2).all()
    fold, days = folds_by_day(parts.table)
    assert set(fold) == {0, 1}
    assert days == ["d1, part 1", "d1, part 2"]
    two = RosetteData(data.images, frame.assign(day=["d1", "d2"] * 4), "rosette", "two days", "")
    assert with_parts(two, 0) is two
