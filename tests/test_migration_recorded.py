"""The chapter's sentences on the recorded runs hold in their rows."""

from pathlib import Path

import pandas as pd
import pytest

from cellweak_core.results import load_results

BOOK = Path(__file__).resolve().parents[1] / "book"
MODES, TELLS = "shape, logistic regression", "discontinuous from continuous"
GAIN, DOUBT = f"gain over {MODES}", "AUROC, frames not TP"


def rows_of(name: str) -> pd.DataFrame:
    return load_results(BOOK / "recorded" / name)[0].set_index(["item", "row", "column"]).sort_index()


@pytest.fixture(scope="module")
def runs() -> dict[str, pd.DataFrame]:
    return {"bursts": rows_of("migration-t98g"), "speed": rows_of("migration-t98g-speed")}


@pytest.fixture(scope="module")
def text() -> str:
    whole = (BOOK / "migration.md").read_text(encoding="utf-8")
    return " ".join(whole.split("What it says:")[1].split("## What differs")[0].split())


def said(row: pd.Series, digits: int = 3) -> str:
    """A value with its interval as the page has it: .655 [.566, .735]."""
    numbers = [f"{row[name]:.{digits}f}".replace("0.", ".", 1) for name in ("value", "low", "high")]
    return f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"


@pytest.mark.parametrize(
    ("run", "key"),
    [
        ("bursts", ("AUROC", "VGG16", TELLS)), ("bursts", ("AUROC", "DenseNet", TELLS)),
        ("bursts", ("AUROC", "Resnet50", TELLS)), ("bursts", ("AUROC", MODES, TELLS)),
        ("bursts", ("AUROC", "VGG16", GAIN)), ("speed", ("AUROC", "VGG16", TELLS)),
        ("speed", ("AUROC", "DenseNet", TELLS)), ("speed", ("AUROC", "Resnet50", TELLS)),
        ("speed", ("AUROC", MODES, TELLS)), ("speed", ("AUROC", "DenseNet", GAIN)),
        ("bursts", ("Fig. 1a left", "VGG16", "MSE")), ("bursts", ("Fig. 1a left", "DenseNet", "MSE")),
        ("speed", ("Fig. 1a left", "VGG16", "MSE")), ("speed", ("Fig. 1a left", "DenseNet", "MSE")),
        ("bursts", ("Uncertainty", "DenseNet", DOUBT)),
        ("bursts", ("Uncertainty", "DenseNet", f"{DOUBT}, by mean (1 - mean)")),
        ("bursts", ("Uncertainty", "DenseNet", "gain of the epistemic variance")),
        ("bursts", ("Uncertainty", "DenseNet", "AUROC, FN among TP and FN")),
        ("speed", ("Uncertainty", "DenseNet", "AUROC, FN among TP and FN")),
        ("bursts", ("Looking", "DenseNet", "the cell's outline")),
        *((run, ("Looking", "DenseNet", f"{what} minus outline"))
          for run in ("bursts", "speed") for what in ("Grad-CAM", "integrated gradients")),
        ("bursts", ("Looking", "DenseNet", "Grad-CAM")), ("bursts", ("Looking", "DenseNet", "integrated gradients")),
    ],
)  # fmt: skip
def test_each_number_and_its_interval_are_the_runs(
    run: str, key: tuple[str, str, str], runs: dict[str, pd.DataFrame], text: str
) -> None:
    assert said(runs[run].loc[key]) in text


def test_what_is_said_of_several_rows(runs: dict[str, pd.DataFrame], text: str) -> None:
    gains = [runs[run].loc[("AUROC", network, GAIN)] for run in runs for network in ("VGG16", "Resnet50", "DenseNet")]
    above = [gain for gain in gains if gain["low"] > 0]
    assert (len(above), len(gains)) == (1, 6)
    assert "one of six intervals" in text
    for run in runs.values():
        assert run.loc[("Fig. 1a left", "always .5", "MSE"), "value"] == 0.25
        own = run.xs(("Uncertainty", "gain of the epistemic variance"), level=("item", "column"))
        assert (own["high"] < 0).all()
    covered = runs["bursts"].xs(("Uncertainty", "covered at 95 %, epistemic"), level=("item", "column"))["value"]
    assert f"hold {covered.min():.1f} to {covered.max():.1f} %" in text
    right = runs["bursts"].loc[("Fig. 1a right", "DenseNet", "TP rate"), "value"]
    assert f"{right:.2f} %" in text
    wrong = runs["bursts"].loc[("Fig. 1a right", "DenseNet", "FN rate"), "value"]
    assert f"{wrong:.2f} %" in text
    for run in runs.values():
        errors = run.xs(("Samples", "mean error @ T 50"), level=("item", "column"))
        assert f"{errors['value'].min():.3f} to {errors['value'].max():.3f}".replace("0.", ".") in text
        assert set(errors["n"]) == {40}
        other = run.xs(("Samples", "other range @ T 50"), level=("item", "column"))["value"]
        assert f"{other.min():.0f} to {other.max():.0f} %" in text
    assert f"with {runs['bursts'].loc[('Motion', 'speed', 'AUROC'), 'value']:.3f}".replace("0.", ".") in text
    assert runs["bursts"].loc[("AUROC", "VGG16", TELLS), "n"] == 994
    assert runs["speed"].loc[("AUROC", "VGG16", TELLS), "n"] == 1825
