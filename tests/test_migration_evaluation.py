"""Verdicts, errors per sequence and mode, and AUROC over cells: literal evaluations and known answers by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cellweak_core.migration import evaluation
from cellweak_core.uncertainty import group_weights

C, D, U = "continuous", "discontinuous", "unknown"


def frames(n_cells: int = 6, n_frames: int = 9, seed: int = 0) -> dict[str, Any]:
    """Cells of all kinds: continuous, discontinuous, switching, with unknown frames, one wholly unknown."""
    rng, rows = np.random.default_rng(seed), []
    for cell in range(n_cells):
        for frame in range(n_frames):
            mode = (C, D, C if frame < 4 else D, U)[cell % 4]
            mode = U if frame in (2, 5) and cell == 1 else mode
            target = {C: rng.uniform(0, 0.4), D: rng.uniform(0.6, 1), U: np.nan}[mode]
            rows.append((f"film/{cell}", frame, mode, target, rng.uniform(0, 1)))
    table = pd.DataFrame(rows, columns=["cell", "frame", "mode", "target", "mean"])
    return {"mean": table["mean"].to_numpy(), "targets": table["target"].to_numpy(),
            "modes": table["mode"].to_numpy(), "cells": table["cell"].to_numpy()}  # fmt: skip


def numbers_of(table: dict[str, Any]) -> np.ndarray:
    return np.concatenate([np.arange((table["cells"] == c).sum()) for c in dict.fromkeys(table["cells"])])


def test_verdicts_and_the_decided_boundaries() -> None:
    mean = [0, 0.4, 0.4001, 0.5, 0.5999, 0.6, 1]
    assert evaluation.outcomes(mean, [C] * 7).tolist() == ["TP", "TP", *["Uncertain"] * 3, "FN", "FN"]
    assert evaluation.outcomes(mean, [D] * 7).tolist() == ["FN", "FN", *["Uncertain"] * 3, "TP", "TP"]
    assert evaluation.outcomes(mean, [U] * 7).tolist() == [""] * 7
    single = np.float32([0.4, 0.6])
    assert float(single[0]) > 0.4  # what a comparison in float64 would see
    assert evaluation.outcomes(single, [C, D]).tolist() == ["TP", "TP"]
    assert evaluation.outcomes([], []).tolist() == []


@pytest.mark.parametrize(
    ("mean", "modes", "message"),
    [([0.1, np.nan], [C, C], "1 of 2 predictions are not in"), ([1.2], [C], "1 of 1"), ([0.1], [C, D], "mean .1,."),
     ([0.1], ["fast"], "expected continuous, discontinuous or unknown, got fast"), ([[0.1]], [[C]], "numbers .n,.")],
)  # fmt: skip
def test_verdicts_refuse(mean: list[float], modes: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluation.outcomes(mean, modes)


def test_modes_of_cells() -> None:
    found = evaluation.mode_of_cells([D, U, C, C, D, U], ["b", "b", "a", "s", "s", "u"])
    assert found == {"b": D, "a": C, "s": "switching", "u": U}


def test_sequences_are_the_literal_ones() -> None:
    table = frames()
    epistemic = np.random.default_rng(1).random(len(table["mean"]))
    found = evaluation.per_sequence(**table, epistemic=epistemic)
    assert found["cell"].tolist() == [f"film/{k}" for k in (0, 1, 2, 4, 5)]  # 3 is wholly unknown
    assert found["mode"].tolist() == [C, D, "switching", C, D]
    for one in found.to_dict("records"):
        squares, absolutes, uncertain, counts = [], [], [], {"TP": 0, "FN": 0, "Uncertain": 0}
        for y, target, mode, cell, own in zip(*table.values(), epistemic, strict=True):
            if cell != one["cell"] or mode == U:
                continue
            squares.append((y - target) ** 2)
            absolutes.append(abs(y - target))
            uncertain.append(own)
            if 0.4 < y < 0.6:
                counts["Uncertain"] += 1
            else:
                counts["TP" if (y <= 0.4) == (mode == C) else "FN"] += 1
        assert one["n"] == len(squares) == (7 if one["cell"] == "film/1" else 9)
        assert one["MSE"] == pytest.approx(np.mean(squares), rel=1e-12)
        assert one["MAE"] == pytest.approx(np.mean(absolutes), rel=1e-12)
        assert one["epistemic"] == pytest.approx(np.mean(uncertain), rel=1e-12)
        for name, count in counts.items():
            assert one[name] == pytest.approx(count / len(squares))
        assert one["TP"] + one["FN"] + one["Uncertain"] == pytest.approx(1)


def test_sequences_by_hand() -> None:
    found = evaluation.per_sequence([0.1, 0.5, 0.9, 0.9], [0.3, 0.1, 0.2, 1.0], [C, C, C, D], ["a", "a", "a", "b"])
    assert found.loc[0, ["n", "MAE", "MSE", "TP", "Uncertain", "FN"]].tolist() == pytest.approx(
        [3, (0.2 + 0.4 + 0.7) / 3, (0.04 + 0.16 + 0.49) / 3, 1 / 3, 1 / 3, 1 / 3]
    )
    assert found.loc[1, ["n", "MSE", "TP", "Uncertain", "FN"]].tolist() == pytest.approx([1, 0.01, 1, 0, 0])


def test_sequences_refuse() -> None:
    table = frames()
    given = {name: np.array(one) for name, one in table.items()}
    with pytest.raises(ValueError, match="row 1 is of known mode and has the target nan"):
        evaluation.per_sequence([0.1, 0.2], [0.1, np.nan], [C, C], ["a", "a"])
    with pytest.raises(ValueError, match=r"target 1.5, expected 0 to 1 \(2 such rows\)"):
        evaluation.per_sequence([0.1, 0.2], [1.5, -1], [C, C], ["a", "a"])
    with pytest.raises(ValueError, match="every frame is of unknown mode"):
        evaluation.per_sequence([0.1], [np.nan], [U], ["a"])
    with pytest.raises(ValueError, match=r"epistemic \(3,\)"):
        evaluation.per_sequence(**table, epistemic=np.zeros(3))
    for name, one in table.items():
        assert pd.Series(one).equals(pd.Series(given[name])), name


def test_means_over_sequences_and_their_resamples() -> None:
    table = evaluation.per_sequence(**frames(23))
    found = evaluation.over_sequences(table, n_resamples=400, seed=3)
    assert found["column"].tolist() == ["MSE", "TP", "Uncertain", "FN"]
    assert found["value"][1:].sum() == pytest.approx(1)
    drawn = group_weights(np.arange(len(table)), 400, 3)
    for one in found.to_dict("records"):
        values = table[one["column"]].tolist()
        n = len(values)
        middle = sum(values) / n
        assert one["value"] == pytest.approx(middle)
        assert one["sd"] == pytest.approx((sum((v - middle) ** 2 for v in values) / (n - 1)) ** 0.5)
        means = [np.mean(np.repeat(values, w.astype(int))) for w in drawn]
        assert [one["low"], one["high"]] == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist())
        assert one["n"] == n
    single = evaluation.over_sequences(table[:1], ["MSE"])
    assert single.loc[0, ["value", "n"]].tolist() == [table["MSE"][0], 1]
    assert single[["sd", "low", "high"]].isna().all(axis=None)
    assert evaluation.over_sequences(table[:0], ["MSE"])[["value", "low"]].isna().all(axis=None)


def test_targets_of_unknown_frames_lie_between_their_neighbours() -> None:
    nan = np.nan
    # rows in no order: frames 0..5 of a are nan .2 nan nan .8 nan, of b nan only
    found = evaluation.interpolated(
        [nan, nan, 0.8, nan, 0.2, nan, nan], list("aaaaaab"), [0, 2, 4, 3, 1, 5, 0]
    )  # fmt: skip
    assert found[:6] == pytest.approx([0.2, 0.4, 0.8, 0.6, 0.2, 0.8])
    assert np.isnan(found[6])


def test_errors_by_mode_are_the_literal_ones() -> None:
    table = frames(7)
    found = evaluation.per_mode(**table, frames=numbers_of(table), n_resamples=50).set_index(["mode", "column"])
    filled = evaluation.interpolated(table["targets"], table["cells"], numbers_of(table))
    cells_of = {"Continuous": (0, 4), "Discontinuous": (1, 5), "Switching": (2, 6), "Unknown": (1,)}
    for mode, cells in cells_of.items():
        per_cell, count = [], 0
        for cell in cells:
            own = table["cells"] == f"film/{cell}"
            own &= (table["modes"] == U) == (mode == "Unknown")
            per_cell.append(np.abs(table["mean"] - filled)[own])
            count += own.sum()
        for name, power in (("MAE", 1), ("MSE", 2)):
            values = [np.mean(one**power) for one in per_cell]
            one = found.loc[(mode, name)]
            assert one["value"] == pytest.approx(np.mean(values)), (mode, name)
            assert (one["n"], one["n_frames"]) == (len(cells), count)
    none = evaluation.per_mode([0.2], [0.1], [C], ["a"], [0], 10).set_index(["mode", "column"])
    assert none.loc[("Unknown", "MAE"), "n"] == 0
    assert np.isnan(none.loc[("Switching", "MSE"), "value"])


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_is_scikit_learns_in_every_resample(ties: bool) -> None:
    rng = np.random.default_rng(2)
    cells = np.repeat([f"c{k}" for k in range(12)], 8)
    positive = rng.random(96) < 0.4
    scores = positive * 0.3 + rng.random(96)
    scores = np.round(scores, 1) if ties else scores
    value, drawn = evaluation.auroc_draws(scores, positive, cells, 60, 5)
    assert value == pytest.approx(roc_auc_score(positive, scores), rel=1e-12)
    weights = group_weights(cells, 60, 5)
    literal = [roc_auc_score(positive, scores, sample_weight=w) for w in weights]
    assert drawn == pytest.approx(np.array(literal), rel=1e-9)
    assert all(np.array_equal(a, b) for a, b in zip(evaluation.cell_weights(cells, 60, 5), weights, strict=True))
    found = evaluation.auroc(scores, positive, cells, 60, 5)
    assert found == evaluation.Estimate(value, *np.quantile(drawn, [0.025, 0.975]), 96, 12)


def test_auroc_known_answers_and_refusals() -> None:
    assert evaluation.auroc([0.1, 0.2, 0.9], [False, False, True], list("abc")).value == 1
    assert evaluation.auroc([0.5, 0.5], [False, True], list("ab")).value == 0.5
    assert np.isnan(evaluation.auroc([0.5, 0.6], [True, True], list("ab")).value)
    one_cell = evaluation.auroc([0.1, 0.9], [False, True], ["a", "a"])
    assert (one_cell.value, one_cell.n_cells) == (1, 1)
    assert np.isnan(one_cell.low)
    with pytest.raises(ValueError, match="scores: 1 of 2 are not numbers"):
        evaluation.auroc([np.nan, 0.1], [True, False], list("ab"))
    with pytest.raises(ValueError, match=r"positive \(1,\)"):
        evaluation.auroc([0.1, 0.2], [True], list("ab"))
    with pytest.raises(ValueError, match="at least one"):
        evaluation.auroc([], [], [])


def test_a_gain_is_paired() -> None:
    rng = np.random.default_rng(0)
    cells, positive = np.repeat(np.arange(10), 6), rng.random(60) < 0.5
    scores = rng.random(60) + 0.5 * positive
    same = evaluation.auroc_gain(scores, 3 * scores + 1, positive, cells, 100)
    assert same[:3] == (0, 0, 0)
    worse = rng.random(60)
    gain = evaluation.auroc_gain(scores, worse, positive, cells, 100)
    assert gain.value == pytest.approx(roc_auc_score(positive, scores) - roc_auc_score(positive, worse))
    assert gain.low < gain.value < gain.high


@given(st.permutations(list(range(24))))
def test_the_order_of_frames_does_not_matter(order: list[int]) -> None:
    table = frames(3, 8)
    shuffled = {name: one[order] for name, one in table.items()}
    first, second = (evaluation.per_sequence(**one).set_index("cell").sort_index() for one in (table, shuffled))
    pd.testing.assert_frame_equal(first, second)


def test_only_pairs_of_one_part_are_compared() -> None:
    scores, positive = [0.1, 0.2, 0.8, 0.9, 0.85], [False, True, False, True, True]
    parts, cells = ["a", "a", "b", "b", "b"], list("vwxyz")
    # of part a (0.2, 0.1), of part b (0.9, 0.8) and (0.85, 0.8): all in order, while 0.2 is below 0.8
    assert evaluation.auroc(scores, positive, cells, 20, parts=parts).value == 1
    assert evaluation.auroc(scores, positive, cells, 20).value == pytest.approx(5 / 6)
    gain = evaluation.auroc_gain(scores, scores[::-1], positive, cells, 20, parts=parts)
    assert gain.value == pytest.approx(1 - 1 / 3)
    assert np.isnan(evaluation.auroc(scores[:2], positive[1::-1], cells[:2], 20, parts=["a", "b"]).value)
