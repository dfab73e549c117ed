"""Curves, and rows of trainings, folds, agreement and maps: all by hand."""

import numpy as np
import pandas as pd
import pytest

from cellweak_core.migration import calibration, histories
from cellweak_core.migration.evaluation import Estimate

LEARNT = [
    {"network": network, "fold": fold, "step": [10, 20], "loss": [0.5 + fold, 0.4],
     "validation_loss": [0.6, 0.3 + fold],
     "seconds": 10.0 * (1 + fold), "seconds_predicting": 4.0, "rows": np.arange(3 + fold), "parameters": 77 + k,
     "n_trained": 8 + 2 * fold, "steps": 60, "batch_size": 4,
     **({"few_samples": np.zeros((5, 2))} if fold == 0 else {})}
    for fold in (0, 1) for k, network in enumerate(("densenet121", "mine"))
]  # fmt: skip


def test_curves_have_a_panel_for_each_network_and_a_line_for_each_fold() -> None:
    found = histories.curves_of(LEARNT)
    assert list(dict.fromkeys(found["panel"])) == ["DenseNet", "mine"]
    assert (found["panel"] != found["panel"].shift()).sum() == 2  # one block each
    for panel in ("DenseNet", "mine"):
        own = found[found["panel"] == panel]
        assert list(own[["line", "fold", "step", "value"]].itertuples(index=False, name=None)) == [
            ("training batch", 0, 10, 0.5), ("training batch", 0, 20, 0.4),
            ("training batch", 1, 10, 1.5), ("training batch", 1, 20, 0.4),
            ("held-out fold", 0, 10, 0.6), ("held-out fold", 0, 20, 0.3),
            ("held-out fold", 1, 10, 0.6), ("held-out fold", 1, 20, 1.3),
        ]  # fmt: skip


def test_rows_of_trainings_by_hand() -> None:
    rows = pd.DataFrame(histories.training_rows(LEARNT, n_samples=3))
    assert set(rows["item"]) == {"Training"}
    assert set(rows["n"]) == {2}
    for name, weights in (("DenseNet", 77), ("mine", 78)):
        values = rows[rows["row"] == name].set_index("column")["value"].to_dict()
        assert values == pytest.approx({
            "weights learnt": weights, "steps": 60, "frames trained on": 9, "seconds": 30,
            "frames trained, per second": 60 * 4 * 2 / 30,
            # 3 + 4 frames of three samples each, and 5 samples of two more
            "passes predicted, per second": (7 * 3 + 10) / 8,
        })  # fmt: skip
    assert rows["note"].str.endswith("n counts folds").all()


def test_rows_of_folds_by_hand() -> None:
    table = pd.DataFrame({
        "cell": list("ab"), "n": [4, 4], "MSE": [0.1, 0.3], "TP": [0.5, 1.0], "Uncertain": [0.5, 0.0], "FN": [0.0, 0.0],
    })  # fmt: skip
    rows = histories.fold_rows({"densenet121": table, "mine": table[:1]}, 400)
    assert [one["item"] for one in rows] == ["Cross-validation"] * 8
    assert [one["row"] for one in rows] == ["DenseNet"] * 4 + ["mine"] * 4
    assert [one["column"] for one in rows] == ["MSE", "TP rate", "Uncertain rate", "FN rate"] * 2
    assert [one["value"] for one in rows] == pytest.approx([0.2, 75, 25, 0, 0.1, 50, 50, 0])
    assert [one["unit"] for one in rows[:2]] == ["squared label", "percent"]
    assert [one["n"] for one in rows] == [2] * 4 + [1] * 4
    mse, tp = rows[:2]
    assert (mse["low"], mse["high"], tp["low"], tp["high"]) == pytest.approx((0.1, 0.3, 50, 100))
    assert "sd 0.1414;" in mse["note"]
    assert "sd 35.36;" in tp["note"]
    assert np.isnan([rows[4]["low"], rows[4]["high"]]).all()


def test_rows_of_agreement_and_of_maps() -> None:
    own = {"n": 40, "kappa": 0.3, "speed": 0.6, "n speed": 50, "persistence": 0.7, "n persistence": 51,
           "burstiness": 0.8, "n burstiness": 52}  # fmt: skip
    rows = histories.agreement_rows(own)
    assert [(one["item"], one["row"], one["column"], one["value"], one["n"]) for one in rows] == [
        ("Motion", "modes from motion", "kappa", 0.3, 40), ("Motion", "speed", "AUROC", 0.6, 50),
        ("Motion", "persistence", "AUROC", 0.7, 51), ("Motion", "burstiness", "AUROC", 0.8, 52),
    ]  # fmt: skip
    row = histories.front_row("densenet121", "Grad-CAM", Estimate(0.6, 0.5, 0.7, 40, 9))
    assert [row[key] for key in ("item", "row", "column", "value", "low", "high", "n", "unit")] == [
        "Looking", "DenseNet", "Grad-CAM", 0.6, 0.5, 0.7, 9, "fraction"
    ]  # fmt: skip
    assert "; 40 frames;" in row["note"]


def test_what_samples_are_worth_as_text() -> None:
    one = pd.DataFrame({"T": [5, 50], "mean error": [0.05, 0.01234], "other range": [0.125, 0.0]})
    found = histories.settled_table({"densenet121": one, "mine": one.assign(**{"mean error": [0.1, 0.2]})}, digits=3)
    assert found.to_dict("list") == {
        "T": ["5", "50"],
        "DenseNet: error of the mean": ["0.050", "0.012"], "DenseNet: other range": ["12.5 %", "0.0 %"],
        "mine: error of the mean": ["0.100", "0.200"], "mine: other range": ["12.5 %", "0.0 %"],
    }  # fmt: skip
    assert histories.settled_table({}).to_dict("list") == {"T": []}
    drawn = calibration.stability(np.random.default_rng(0).random((20, 3)))
    assert histories.settled_table({"mine": drawn})["T"].tolist() == [str(n) for n in drawn["T"]]
