"""Verdicts on the claims, from rows made by hand; the chapter's sentences against the recorded rows."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from cellweak_core import published
from cellweak_core.results import load_results
from cellweak_core.rosettes.overviews import Estimate, difference, estimate_text, weak_gains, with_window_run
from cellweak_core.rosettes.verdicts import CLAIMS, claims, trainings_difference

RECORDED = Path(__file__).resolve().parents[1] / "book" / "recorded"
GAN, PLAIN = "GAN-based classifier", "Conventional classifier"


def row(
    item: str, name: str, column: str, value: float, low: float = math.nan, high: float = math.nan, note: str = ""
) -> dict[str, Any]:
    return {"item": item, "row": name, "column": column, "value": value, "low": low, "high": high, "note": note}


def spread(name: str, share: str, values: list[float]) -> dict[str, Any]:
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    note = f"mean ± 1 sd of {len(values)} trainings; n counts test windows"
    return row("Fig. 10", name, f"accuracy @ {share}", mean, mean - sd, mean + sd, note)


def weak(name: str, share: str, value: float, low: float, high: float) -> dict[str, Any]:
    return row("Setting (b)", name, f"AUROC @ {share}, mean of the test days", value, low, high)


def verdict(rows: list[dict[str, Any]], of: int) -> str:
    return claims({"run": pd.DataFrame(rows)})["run"].iloc[of]


# --- differences


def test_a_difference_of_two_equal_intervals_is_wider_by_root_two() -> None:
    found = difference(Estimate(0.9, 0.88, 0.92), Estimate(0.9, 0.88, 0.92))
    assert found == pytest.approx((0, -0.02 * 2**0.5, 0.02 * 2**0.5), abs=5e-4)


def test_a_difference_from_two_intervals_covers_that_of_independent_samples() -> None:
    """Two normal means: the exact interval of their difference."""
    one, other, se = 0.8, 0.7, (0.02, 0.03)
    given = (Estimate(m, m - 1.96 * s, m + 1.96 * s) for m, s in zip((one, other), se, strict=True))
    half = 1.96 * math.hypot(*se)
    assert difference(*given) == pytest.approx((0.1, 0.1 - half, 0.1 + half), abs=5e-4)


@pytest.mark.parametrize(("n", "m"), [(6, 6), (8, 3)])
def test_a_difference_of_trainings_is_welchs(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    one, other = rng.normal(90, 2, n), rng.normal(88, 4, m)
    found = trainings_difference(*(pd.Series(spread("x", "20 %", list(v))) for v in (one, other)))
    low, high = ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert found == pytest.approx((one.mean() - other.mean(), low, high))


def test_one_training_gives_no_interval_and_equal_trainings_a_point() -> None:
    single = pd.Series(row("Fig. 10", GAN, "accuracy @ 20 %", 80.0, note="mean of 1 trainings"))
    assert math.isnan(trainings_difference(single, single).low)
    same = pd.Series(spread(GAN, "20 %", [80.0, 80.0]))
    assert trainings_difference(same, same) == (0, 0, 0)
    assert estimate_text(Estimate(0.5, math.nan, math.nan), "+.1f", " points") == "+0.5 points (no interval)"


def test_gains_over_the_conventional_start() -> None:
    rows = [
        weak("conventional", "100 %", 0.9, 0.88, 0.92),
        weak("conventional", "20 %", 0.8, 0.77, 0.83),
        weak("GAN", "20 %", 0.9, 0.86, 0.94),
        weak("GAN", "100 %", 0.9, 0.88, 0.92),
        weak("context", "20 %", 0.7, 0.7, 0.7),
        row("Setting (b)", "GAN", "AUROC @ 20 %, test day d1", 0.1),
        row("Setting (b)", "GAN", "accuracy @ 20 %, mean of the test days", 0.1),
    ]
    table = weak_gains(pd.DataFrame(rows))
    assert table.to_numpy().tolist() == [
        ["GAN", "+0.000 (-0.028 to +0.028)", "+0.100 (+0.050 to +0.150)"],
        ["context", "not run", "-0.100 (-0.130 to -0.070)"],
    ]
    assert list(table.columns) == ["method", "@ 100 %", "@ 20 %"]
    without = weak_gains(pd.DataFrame(rows[2:]))
    assert (without[["@ 100 %", "@ 20 %"]] == "not run").all(axis=None)


# --- claims


def test_every_claim_says_that_a_run_lacks_its_numbers() -> None:
    table = claims({"empty": pd.DataFrame(columns=["item", "row", "column", "value", "low", "high", "note"])})
    assert len(table) == len(CLAIMS)
    assert set(table["empty"]) == {"not in this run"}


@pytest.mark.parametrize(("gan", "said"), [(0.2, "as claimed"), (0.4, "not as claimed")])
def test_filters_and_clusters(gan: float, said: str) -> None:
    column, clusters = "sd of the conv1 weights", "tight clusters in the t-SNE of the fc1 weights"
    rows = [row("Fig. 5a", PLAIN, column, 0.3), row("Fig. 5b", GAN, column, gan)]
    assert verdict(rows, 0) == f"{gan:.3f} against 0.300: {said} (one training each)"
    rows = [row("Fig. 6a", PLAIN, clusters, 2), row("Fig. 6b", GAN, clusters, 4 - 10 * gan)]
    assert verdict(rows, 1) == f"{4 - 10 * gan:.0f} against 2: not as claimed (one training each)"
    assert "3 against 2: as claimed" in verdict([rows[0], row("Fig. 6b", GAN, clusters, 3)], 1)


@pytest.mark.parametrize(
    ("larger", "said"), [(3, "larger in 3 of 3 layers: as claimed"), (1, "larger in 1 of 3 layers: in part"),
                         (0, "larger in 0 of 3 layers: not as claimed")]
)  # fmt: skip
def test_activations(larger: int, said: str) -> None:
    rows = [
        row("Fig. 8", f"Trained {name}", f"mean activation of conv{k + 1}", value)
        for k in range(3)
        for name, value in (("conventional classifier", 0.5), ("GAN-based classifier", 0.6 if k < larger else 0.4))
    ]
    assert verdict(rows, 2) == f"{said} (one training each)"


@pytest.mark.parametrize(
    ("gan", "alike", "better"),
    [
        ([81.0, 79, 80, 80], "no difference seen", "not clear"),
        ([90.0, 91, 89, 90], "not as claimed", "as claimed"),
        ([70.0, 71, 69, 70], "not as claimed", "not as claimed"),
    ],
)
def test_accuracies(gan: list[float], alike: str, better: str) -> None:
    rows = [spread(n, s, v) for s in ("100 %", "20 %") for n, v in ((GAN, gan), (PLAIN, [80.0, 81, 79, 80]))]
    assert verdict(rows, 3).endswith(f": {alike}")
    assert verdict(rows, 4).endswith(f": {better}")
    assert verdict(rows, 3).startswith(f"{np.mean(gan) - 80:+.1f} points (")


def test_image_labels_and_chance() -> None:
    rows = [
        weak(n, s, v, v - 0.01, v + 0.01) for s in ("100 %", "20 %") for n, v in (("GAN", 0.9), ("conventional", 0.8))
    ]
    assert verdict(rows, 5) == "AUROC +0.100 (+0.086 to +0.114): not as claimed"
    assert verdict(rows, 6) == "AUROC +0.100 (+0.086 to +0.114): as claimed"
    assert verdict(rows, 9) == "AUROC 0.90 (0.89 to 0.91), by chance 0.50: above chance"
    hits = [row("Fig. 11", GAN, "most probable window holds a centre", 0.4, 0.3, 0.5)]
    assert verdict(hits, 7) == "not in this run"
    for chance, said in ((0.2, "above chance"), (0.4, "not clear"), (0.6, "below chance")):
        found = verdict([*hits, row("Fig. 11", GAN, "any window holds a centre", chance)], 7)
        assert found == f"share 0.40 (0.30 to 0.50), by chance {chance:.2f}: {said}"
    assert "not clear" in verdict([row("Fig. 11", GAN, "AUROC of the most probable window", 0.6, 0.4, 0.8)], 8)


def test_what_stands_for_the_paper_is_printed_there() -> None:
    paper = published.load("rosettes", kind="result")
    printed = {f"{value:g}" for value in paper["value"].dropna()}
    numbers = {n for _, text, _ in CLAIMS for n in re.findall(r"\d[\d.]*", text)}
    assert numbers
    assert numbers <= printed


# --- the chapter's sentences on the recorded run


@pytest.fixture(scope="module")
def recorded() -> pd.DataFrame:
    return with_window_run(*(load_results(RECORDED / name)[0] for name in ("rosettes-real", "rosettes-windows")))


def gains(rows: pd.DataFrame) -> dict[tuple[str, str], Estimate]:
    table = weak_gains(rows).set_index("method")
    return {
        (str(method), share): Estimate(*(float(x) for x in re.findall(r"[-+][\d.]+", text)))
        for method, line in table.iterrows()
        for share, text in line.items()
        if text != "not run"
    }  # type: ignore[misc]


def test_the_chapters_sentences_on_setting_b(recorded: pd.DataFrame) -> None:
    gain = gains(recorded)
    for share in ("@ 100 %", "@ 20 %", "@ 10 %", "@ 2 %"):  # what the WGAN's start adds is not clear
        assert gain["GAN", share].low < 0 < gain["GAN", share].high
    assert gain["GAN", "@ 20 %"].value > 0
    assert gain["context", "@ 100 %"].low < 0  # the paper's network is no worse with all labels
    for method in ("context", "context, simulated start"):  # with fewer labels wider views gain more
        assert gain[method, "@ 100 %"].value < gain[method, "@ 20 %"].value < gain[method, "@ 10 %"].value
        assert gain[method, "@ 20 %"].low > 0
    assert gain["context, simulated start", "@ 100 %"].value < 0.03
    value = recorded.set_index(["row", "column"])["value"]
    end = ", mean of the test days"
    few, full = value["context, simulated start", f"AUROC @ 10 %{end}"], value["conventional", f"AUROC @ 100 %{end}"]
    assert abs(few - full) < 0.01
    assert value["GAN", f"AUROC @ 100 %{end}"] > value["metadata only", f"AUROC @ 100 %{end}"] + 0.15
    assert value["authors' 128-px network", f"AUROC @ 100 %{end}"] < value["metadata only", f"AUROC @ 100 %{end}"]
    ensemble, one = (value[f"context, simulated start{name}"] for name in (", Monte Carlo dropout", ""))
    assert ensemble[f"AUROC @ 100 %{end}"] <= one[f"AUROC @ 100 %{end}"]


def test_the_chapters_sentences_on_the_claims(recorded: pd.DataFrame) -> None:
    said = claims({"run": recorded})["run"]
    assert "not as claimed" in said[0]
    assert "not as claimed" in said[1]
    assert said[2].startswith("larger in 1 of 3 layers")
    value = recorded[recorded["item"] == "Fig. 10"].set_index(["row", "column"])["value"]
    ahead = {
        f: value[GAN, f"accuracy @ {f} %"] - value[PLAIN, f"accuracy @ {f} %"] for f in (100, 80, 60, 40, 20, 10, 2)
    }
    assert ahead.pop(2) < 0
    assert all(0 < points < 3.1 for points in ahead.values())
    assert sum(points > 0.95 for points in ahead.values()) > len(ahead) / 2
