"""Rows of the chapter: means and intervals against a literal evaluation."""

import json
from typing import Any

import numpy as np
import pytest

from cellweak_core.embeddings import reporting
from cellweak_core.embeddings.ranking import Ranks, ranking, ranking_difference
from cellweak_core.embeddings.reporting import Marks, accuracy, difference, drop, resampled

COMPOUNDS = np.array(["a", "a", "b", "c", "c"], object)
RIGHT = np.array([[1, 0, 1, -1, -1], [1, 1, 0, -1, -1]], np.int8)


def scored() -> list[dict[str, Any]]:
    rng, out = np.random.default_rng(0), []
    compounds = json.dumps([f"c{k // 2}" for k in range(20)])
    groups = {"groups.NSC": compounds, "groups.NSCB": compounds}
    for variant, share in (("one", 0.4), ("two", 0.8)):
        for seed in range(3):
            marks = {f"res4a|TVN|{m}": (rng.random(20) < share).astype(np.int8) for m in ("NSC", "NSCB")}
            marks["res4a|TVN|NSCB"][:4] = -1
            held = {"auxiliary_correct": seed + 1, "auxiliary_total": 10}
            out.append({"variant": variant, "seed": seed, **held, "score": marks | groups})
    return out


def test_accuracy_is_the_mean_over_seeds_and_asked_treatments() -> None:
    found = accuracy(Marks(RIGHT, COMPOUNDS), 4000, 0)
    assert found["value"] == pytest.approx(4 / 6)
    assert found["correct"] == 2.0
    assert found["n"] == 3
    # Literally: two compounds drawn with replacement, two seeds drawn with replacement.
    rng, values = np.random.default_rng(1), []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(COMPOUNDS == name) for name in rng.choice(["a", "b"], 2)])
        values.append(RIGHT[rng.choice(2, 2)][:, rows].mean())
    low, high = np.percentile(values, [2.5, 97.5])
    assert found["low"] == pytest.approx(low, abs=0.02)
    assert found["high"] == pytest.approx(high, abs=0.02)


def test_difference_is_paired_by_compound() -> None:
    same = difference(Marks(RIGHT[:1], COMPOUNDS), Marks(RIGHT[:1], COMPOUNDS), 200, 0)
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    less = Marks(np.array([[1, 0, -1, 0, 0]], np.int8), COMPOUNDS)
    found = difference(Marks(RIGHT[:1], COMPOUNDS), less, 200, 0)
    assert found["n"] == 2  # asked of both
    assert found["value"] == 0
    with pytest.raises(ValueError, match="same treatments"):
        difference(less, Marks(RIGHT, COMPOUNDS[::-1]), 10, 0)


def test_seeds_are_drawn_apart_from_compounds() -> None:
    """Were both drawn by one stream, a resample would hold each compound as often as the seed that knows it."""
    names = np.array([f"c{k}" for k in range(8)], object)
    values = resampled(Marks(np.eye(8, dtype=np.int8), names), 4000, 0)
    assert values.mean() == pytest.approx(1 / 8, abs=0.005)
    assert not np.array_equal(values, resampled(Marks(np.eye(8, dtype=np.int8), names), 4000, 0, 1))


def test_a_drop_is_paired_by_compound_and_seed() -> None:
    names = np.array([f"c{k // 2}" for k in range(12)], object)
    right = (np.random.default_rng(3).random((3, 12)) < 0.5).astype(np.int8)
    same = drop(Marks(right, names), Marks(right, names), 300, 0)
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    fewer = right.copy()
    fewer[:, 8:] = -1
    found = drop(Marks(right, names), Marks(fewer, names), 300, 0)
    assert found["n"] == 8
    assert found["value"] == pytest.approx(right[:, :8].mean() - right.mean())
    assert found["low"] < found["value"] < found["high"]


def test_ranking_is_the_mean_over_mechanisms_then_seeds() -> None:
    moa = np.array(["m", "m", "m", "n", "o"], object)
    precision = np.array([[0.2, 0.4, 0.6, 1.0, np.nan], [0.0, 0.2, 0.4, 0.5, np.nan]])
    found = ranking(Ranks(precision, moa, COMPOUNDS), 500, 0)
    assert found["n"] == 4
    assert found["value"] == pytest.approx(((0.4 + 1.0) / 2 + (0.2 + 0.5) / 2) / 2)
    assert 0 <= found["low"] < found["value"] < found["high"] <= 1
    nobody = ranking(Ranks(np.full((2, 5), np.nan), moa, COMPOUNDS), 50, 0)
    assert nobody["n"] == 0
    assert np.isnan([nobody["value"], nobody["low"]]).all()


def test_a_difference_of_rankings_is_paired_by_compound() -> None:
    moa = np.array(["m", "m", "m", "n", "n"], object)
    one = Ranks(np.array([[0.2, 0.4, 0.6, 1.0, 0.1]]), moa, COMPOUNDS)
    more = Ranks(one.precision + 0.25, moa, COMPOUNDS)
    found = ranking_difference(more, one, 300, 0)
    assert (found["value"], found["low"], found["high"]) == pytest.approx((0.25, 0.25, 0.25))
    assert found["n"] == 5


def test_nothing_asked_has_no_number() -> None:
    found = accuracy(Marks(np.full((2, 3), -1, np.int8), COMPOUNDS[:3]), 50, 0)
    assert np.isnan([found["value"], found["low"], found["high"]]).all()
    assert found["n"] == 0


def test_rows_of_the_table() -> None:
    all_scored = scored()
    rows = reporting.table_rows(all_scored, {"Two": ("two", "res4a", "TVN")}, "Table 2", 200, 0)
    value = {row["column"]: row for row in rows}
    own = [one["score"] for one in all_scored if one["variant"] == "two"]
    nsc = 100 * np.mean([one["res4a|TVN|NSC"] for one in own])
    nscb = 100 * np.mean([one["res4a|TVN|NSCB"][4:] for one in own])
    assert value["NSC"]["value"] == pytest.approx(nsc)
    assert value["NSCB"]["value"] == pytest.approx(nscb)
    assert value["Drop"]["value"] == pytest.approx(nscb - nsc)
    assert (value["NSC"]["n"], value["NSCB"]["n"], value["Drop"]["n"]) == (20, 16, 16)
    assert value["NSC"]["low"] < nsc < value["NSC"]["high"]
    gain = reporting.difference_rows(all_scored, [("two", "one")], "res4a", "TVN", 500, 0)
    less = 100 * np.mean([one["score"]["res4a|TVN|NSC"] for one in all_scored[:3]])
    assert gain[0]["value"] == pytest.approx(nsc - less)
    assert gain[0]["low"] > 0
    levels = reporting.regularization_rows(all_scored, {"none": "one"}, "res4a", "TVN", "Fig. 5b", 200, 0)
    assert [row["column"] for row in levels] == ["NSCB", "auxiliary accuracy"]
    assert (levels[1]["value"], levels[1]["low"], levels[1]["high"]) == pytest.approx((20, 10, 30))
    by_layer = reporting.layer_rows(all_scored, "one", ["res4a"], ["TVN"], 200, 0)
    assert [row["column"] for row in by_layer] == ["NSC, TVN", "NSCB, TVN"]
    with pytest.raises(KeyError, match="pool5"):
        reporting.marks_of(all_scored, "one", "pool5", "TVN", "NSC")


def test_cytogans_count_weighs_compounds_alike() -> None:
    assert reporting.shares_over_compounds(Marks(RIGHT, COMPOUNDS)) == pytest.approx([(0.5 + 1) / 2, (1 + 0) / 2])
