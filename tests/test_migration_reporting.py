"""Rows of the one schema: names as the published table has them, numbers as they were computed, notes that say how."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellweak_core import published, side_by_side
from cellweak_core.migration import calibration, evaluation, reporting
from cellweak_core.results import Results

C, D, U = "continuous", "discontinuous", "unknown"


def known_and_unknown() -> pd.DataFrame:
    rng, rows = np.random.default_rng(0), []
    for cell in range(9):
        for frame in range(12):
            mode = (C, D, C if frame < 6 else D)[cell % 3]
            mode = U if frame == 3 and cell in (1, 2) else mode
            target = {C: 0.2, D: 0.8, U: np.nan}[mode]
            spread = rng.uniform(0.02, 0.4)
            mean = np.clip((0.5 if mode == U else target) + spread * rng.normal(), 0, 1)
            rows.append((f"f/{cell}", frame, mode, target, mean, spread**2))
    return pd.DataFrame(rows, columns=["cell", "frame", "mode", "target", "mean", "epistemic"])


def sequences(seed: int = 0) -> pd.DataFrame:
    table = known_and_unknown()
    mean = np.clip(table["mean"] + 0.1 * np.random.default_rng(seed).normal(size=len(table)), 0, 1)
    return evaluation.per_sequence(mean, table["target"], table["mode"], table["cell"])


def test_fig_1a_and_the_abstract_stand_beside_the_paper(tmp_path: Path) -> None:
    tables = {"vgg16": sequences(0), "resnet50": sequences(1), "densenet121": sequences(2)}
    results = Results("migration", tmp_path, {}, 0, "simulated")
    rows = reporting.fig_1a_rows(tables, 300)
    for row in rows:
        results.add(**row)
    printed = published.load("migration")
    keys = {tuple(one) for one in printed[["item", "row", "column", "unit"]].to_numpy()}
    assert {(one["item"], one["row"], one["column"], one["unit"]) for one in rows} == {
        key for key in keys if key[0] in ("Fig. 1a left", "Fig. 1a right", "Abstract")
    }
    found = results.rows.set_index(["item", "row", "column"])
    own = tables["densenet121"]
    for column, short in (("TP rate", "TP"), ("Uncertain rate", "Uncertain"), ("FN rate", "FN")):
        one = found.loc[("Fig. 1a right", "DenseNet", column)]
        assert one["value"] == pytest.approx(100 * own[short].mean())
        assert f"sd {100 * own[short].std():.2f}" in one["note"]
        assert one["low"] <= one["value"] <= one["high"]
        assert one["n"] == 9
    assert "n counts sequences; 106 frames" in one["note"]
    mse = found.loc[("Fig. 1a left", "VGG16", "MSE")]
    assert mse["value"] == pytest.approx(tables["vgg16"]["MSE"].mean())
    assert found.loc[("Abstract", "DenseNet", "sensitivity"), "value"] == pytest.approx(100 * own["TP"].mean())
    beside = side_by_side.beside_paper(results.rows, "migration", "Fig. 1a right", digits=2).set_index("method")
    assert beside.loc["DenseNet", "TP rate"].startswith("87.91 | ")
    abstract = side_by_side.beside_paper(results.rows, "migration", "Abstract", digits=2).set_index("method")
    assert abstract.loc["DenseNet", "false negative rate"].startswith("1.26 | ")


def test_other_networks_keep_their_names_and_the_abstract_is_densenets() -> None:
    rows = reporting.fig_1a_rows({"resnet18": sequences(), "mine": sequences(1)}, 20)
    assert {one["row"] for one in rows} == {"Resnet18", "mine"}
    assert "Abstract" not in {one["item"] for one in rows}
    assert reporting.fig_1a_rows({}) == []


def test_differences_are_paired_by_sequence() -> None:
    tables = {"resnet18": sequences(0), "vgg16": sequences(1).sample(frac=1, random_state=0)}
    mse, rate = reporting.difference_rows(tables, "resnet18", 500)
    assert mse["row"] == rate["row"] == "Resnet18 - VGG16"
    assert mse["value"] == pytest.approx(tables["resnet18"]["MSE"].mean() - tables["vgg16"]["MSE"].mean())
    assert rate["value"] == pytest.approx(100 * (tables["resnet18"]["TP"].mean() - tables["vgg16"]["TP"].mean()))
    shifted = sequences(0).assign(MSE=lambda one: one["MSE"] + 0.01)
    exact = reporting.difference_rows({"a": sequences(0), "b": shifted}, "a", 50)[0]
    assert (exact["low"], exact["value"], exact["high"]) == pytest.approx((-0.01, -0.01, -0.01))
    with pytest.raises(ValueError, match="a and b: expected the same sequences"):
        reporting.difference_rows({"a": sequences(), "b": sequences()[1:]}, "a")


def test_the_three_cells_have_the_papers_names() -> None:
    printed = published.load("migration")
    for item in ("Fig. 1b", "Fig. 1c"):
        rows = [reporting.cell_row("densenet121", mode, [0.2, 0.3, 0.7], item) for mode in (C, D, "switching")]
        names = printed[(printed["item"] == item) & (printed["column"] == "prediction")]
        assert [one["row"] for one in rows] == names["row"].tolist()
        assert {one["unit"] for one in rows} == set(names["unit"])
    assert (rows[0]["low"], rows[0]["value"], rows[0]["high"], rows[0]["n"]) == (0.2, pytest.approx(0.4), 0.7, 3)


def test_the_drafts_table(tmp_path: Path) -> None:
    table = known_and_unknown()
    found = evaluation.per_mode(*(table[c] for c in ("mean", "target", "mode", "cell", "frame")), n_resamples=50)
    rows = reporting.per_mode_rows("resnet18", found)
    printed = published.load("migration")
    draft = printed[printed["item"] == reporting.DRAFT]
    assert [one["row"].replace("Resnet18", "draft model") for one in rows] == draft["row"].tolist()
    assert [[one["column"], one["unit"]] for one in rows] == draft[["column", "unit"]].to_numpy().tolist()
    assert "an interpretation" in rows[-1]["note"]
    assert "n counts sequences; 2 frames" in rows[-1]["note"]
    results = Results("migration", tmp_path, {}, 0, "simulated")
    for row in rows:
        results.add(**row)
    assert len(results.rows) == 8
    none = evaluation.per_mode([0.2], [0.1], [C], ["a"], [0], 10)
    wide = reporting.beside_draft({"resnet18": found, "vgg16": none})
    assert wide.loc[0].tolist()[:3] == ["Continuous", "MAE", "0.247 ± 0.097"]
    assert wide.loc[3, "draft model"] == "0.129 ± 0.005"
    one = found[(found["mode"] == "Switching") & (found["column"] == "MSE")].iloc[0]
    interval = f"[{one['low']:.3f}, {one['high']:.3f}]"
    assert wide.loc[5, "Resnet18"] == f"{one['value']:.3f} ± {one['sd']:.3f} {interval}"
    assert wide.loc[6, "VGG16"] == "-"
    assert wide["n"].tolist() == found["n"].tolist()
    assert wide.columns[-1] == "n"
    few = reporting.per_mode_rows("x", none)
    assert {one["row"] for one in few} == {"x, Continuous"}
    assert few[0]["note"] == "one sequence, no interval; n counts sequences; 1 frame"


def test_rows_beyond_the_paper_fit_the_schema(tmp_path: Path) -> None:
    table = known_and_unknown()
    table = table[table["mode"] != U].reset_index(drop=True)
    error = (table["mean"] - table["target"]).abs()
    wrong = evaluation.outcomes(table["mean"], table["mode"]) != "TP"
    cells, epistemic = table["cell"], table["epistemic"]
    correlation = calibration.spearman(error, epistemic, cells, 50)
    referred = {
        "MSE": calibration.referral(error**2, epistemic, cells, n_resamples=50),
        "wrong": calibration.referral(wrong, epistemic, cells, n_resamples=50),
    }
    covered = calibration.coverage(table["target"], table["mean"], epistemic, cells, n_resamples=50)
    told = evaluation.auroc(epistemic, wrong, cells, 50)
    tells, intervals = {"AUROC, wrong frames": told}, {"epistemic": covered}
    rows = reporting.uncertainty_rows("resnet18", correlation, tells, referred, intervals)
    samples = np.random.default_rng(0).random((40, len(table)))
    settled = calibration.stability(samples, [1, 5, 20], 2)
    rows += reporting.samples_rows("resnet18", settled, len(table))
    what = "discontinuous from continuous"
    modes = {("resnet18", what): evaluation.auroc(table["mean"], table["mode"] == D, cells, 50),
             ("area", what): evaluation.auroc([0.1] * 4, [True] * 4, list("aabb"), 50)}  # fmt: skip
    rows += reporting.auroc_rows(modes)
    results = Results("migration", tmp_path, {}, 0, "simulated")
    for row in rows:
        results.add(**row)
    found = results.rows.set_index(["item", "row", "column"])
    assert found.loc[("Uncertainty", "Resnet18", "Spearman, error and uncertainty"), "value"] == correlation.value
    assert found.loc[("Uncertainty", "Resnet18", "AUROC, wrong frames"), "high"] == told.high
    curve = referred["wrong"].curve.set_index(referred["wrong"].curve["kept"].round(2))
    kept = found.loc[("Uncertainty", "Resnet18", "wrong, 80 % kept")]
    assert (kept["value"], kept["low"]) == (curve.loc[0.8, "value"], curve.loc[0.8, "low"])
    assert f"by lot {wrong.mean():.3g}" in kept["note"]
    assert found.loc[("Uncertainty", "Resnet18", "referral gain, MSE"), "value"] == referred["MSE"].share.value
    assert found.loc[("Uncertainty", "Resnet18", "covered at 95 %, epistemic"), "value"] == pytest.approx(
        100 * covered["covered"].iloc[-1]
    )
    assert found.loc[("Uncertainty", "Resnet18", "miscalibration, epistemic"), "value"] == pytest.approx(
        np.mean(np.abs(covered["covered"] - covered["nominal"]))
    )
    assert found.loc[("Samples", "Resnet18", "epistemic @ T 5"), "value"] == settled.loc[1, "epistemic"]
    assert found.loc[("Samples", "Resnet18", "other range @ T 1"), "value"] == 100 * settled.loc[0, "other range"]
    assert "not defined" in found.loc[("Samples", "Resnet18", "rank correlation @ T 1"), "note"]
    error = found.loc[("Samples", "Resnet18", "mean error @ T 20")]
    assert error["value"] == settled.loc[2, "mean error"]
    assert error["note"].startswith("standard error of one set's mean")
    assert "; two sets of T samples each, mean over orders; " in error["note"]
    assert "one class or one value only" in found.loc[("AUROC", "area", "discontinuous from continuous"), "note"]
    assert (found["n"] > 0).all()
    assert found["note"].str.contains("n counts frames").all()
    assert reporting.uncertainty_rows("resnet18") == []
