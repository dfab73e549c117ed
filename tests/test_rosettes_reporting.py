"""The chapter's numbers as rows, and the tables that set them beside the paper and its records."""

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellweak_core import published
from cellweak_core.rosettes.evaluation import METRICS, with_intervals
from cellweak_core.rosettes.overviews import readable, weak_counts, weak_overview, with_window_run
from cellweak_core.rosettes.reporting import (
    beside_paper,
    classifier_rows,
    printed_accuracy,
    recorded_classes,
    recorded_gains,
    recorded_losses,
    scan_rows,
    weak_rows,
    wgan_rows,
    window_rows,
)
from cellweak_core.rosettes.weak import weak_comparison
from cellweak_core.tables import rows_frame

Rows = dict[tuple[str, str, str], dict[str, Any]]


def keyed(rows: Any) -> Rows:  # noqa: ANN401
    """Rows by their place; a second row at one place is an error."""
    listed = list(rows)
    found = {(r["item"], r["row"], r["column"]): r for r in listed}
    assert len(found) == len(listed)
    return found


def framed(rows: Rows) -> pd.DataFrame:
    """The rows as `Results` keeps them: the one schema's checks pass."""
    return rows_frame([{"chapter": "rosettes", "data": "hand-made", **r} for r in rows.values()])


@pytest.fixture(scope="module")
def paper() -> pd.DataFrame:
    return published.load("rosettes")


def trainings() -> pd.DataFrame:
    """Three trainings of each classifier and share, by their last accuracies; an earlier step that must not count."""
    last = {
        ("GAN", 1.0): (0.8, 0.9, 1.0), ("GAN", 0.6): (0.6, 0.7, 0.8), ("GAN", 0.4): (0.5, 0.5, 0.5),
        ("GAN", 0.2): (0.5, 0.6, 0.7), ("conventional", 1.0): (0.7, 0.8, 0.9), ("conventional", 0.6): (0.5, 0.6, 0.7),
        ("conventional", 0.4): (0.4, 0.5, 0.6), ("conventional", 0.2): (0.3, 0.4, 0.5),
    }  # fmt: skip
    rows = []
    for (name, fraction), accuracies in last.items():
        for seed, a in enumerate(accuracies):
            undefined = name == "conventional" and fraction == 0.2 and seed == 0
            row = {"classifier": name, "fraction": fraction, "seed": seed, "n_labels": int(100 * fraction)}
            rows.append({**row, "step": 10, "accuracy": 0.01, "precision": 0.01, "recall": 0.01})
            precision = math.nan if undefined else a - 0.1
            rows.append({**row, "step": 20, "accuracy": a, "precision": precision, "recall": a / 2})
    return pd.DataFrame(rows)


# --- setting (a)


def test_window_rows_by_hand() -> None:
    rows = keyed(window_rows(trainings(), 55, "ready windows"))
    gan, plain = "GAN-based classifier", "Conventional classifier"
    expected = {
        ("Fig. 9a", gan, "accuracy"): (90, 80, 100),
        ("Fig. 9a", gan, "precision"): (80, 70, 90),
        ("Fig. 9a", gan, "recall"): (45, 40, 50),
        ("Fig. 9a", plain, "accuracy"): (80, 70, 90),
        ("Fig. 9b", gan, "accuracy"): (60, 50, 70),
        ("Fig. 9b", plain, "recall"): (20, 15, 25),
        ("Fig. 10", gan, "accuracy @ 100 %"): (90, 80, 100),
        ("Fig. 10", gan, "accuracy @ 40 %"): (50, 50, 50),
        ("Fig. 10", plain, "accuracy @ 20 %"): (40, 30, 50),
        # six trainings above 40 %: .6 .7 .8 .8 .9 1.0, mean .8, variance .1 / 5
        ("Fig. 10", gan, "accuracy @ >40 %"): (80, 80 - 100 * 0.02**0.5, 80 + 100 * 0.02**0.5),
        ("Abstract", gan, "accuracy @ 20 %"): (60, 50, 70),
    }
    for key, (value, low, high) in expected.items():
        row = rows[key]
        assert (row["value"], row["low"], row["high"]) == pytest.approx((value, low, high)), key
    for item in ("Abstract", "Text 3.3"):
        row = rows[item, gan, "accuracy @ 20 % relative to @ 100 %"]
        assert row["value"] == pytest.approx(100 * 0.6 / 0.9)
        assert "low" not in row
    assert len(rows) == 2 * 2 * 3 + 2 * 4 + 1 + 1 + 2
    for row in rows.values():
        assert row["unit"] == "percent"
        assert row["n"] == 55
        assert "n counts test windows" in row["note"]
        assert row["note"].endswith("ready windows")
    assert "mean ± 1 sd of 6 trainings;" in rows["Fig. 10", gan, "accuracy @ >40 %"]["note"]
    assert len(framed(rows)) == len(rows)


def test_undefined_precision_is_left_out_and_said_so() -> None:
    row = keyed(window_rows(trainings(), 55, "how"))["Fig. 9b", "Conventional classifier", "precision"]
    assert row["value"] == pytest.approx(35)  # .3 and .4; the third called no rosette
    assert "of 2 trainings, 1 undefined (no rosette called);" in row["note"]
    table = trainings().assign(precision=math.nan)
    rows = keyed(window_rows(table, 55, "how"))
    empty = rows["Fig. 9a", "GAN-based classifier", "precision"]
    assert math.isnan(empty["value"])
    assert (empty["low"], empty["high"]) == (None, None)
    assert len(framed(rows)) == len(rows)


def test_one_training_has_no_interval() -> None:
    rows = keyed(window_rows(trainings().query("seed == 1"), 55, "how"))
    row = rows["Fig. 9a", "GAN-based classifier", "accuracy"]
    assert (row["value"], row["low"], row["high"]) == (pytest.approx(90), None, None)
    assert framed(rows)["low"].isna().sum() == len(rows) - 1  # two shares above 40 % still spread


def test_wgan_rows_are_means_around_the_recorded_steps() -> None:
    steps = np.arange(1, 301, dtype=float)
    rows = keyed(wgan_rows(steps, 2 * steps, -steps, 4))
    assert [k[2] for k in rows if k[0] == "Fig. 3c"] == ["loss @ step 1", "loss @ step 100", "loss @ step 300"]
    assert rows["Fig. 3c", "WGAN generator", "loss @ step 1"]["value"] == 2 * np.mean(range(1, 27))
    assert rows["Fig. 3c", "WGAN generator", "loss @ step 100"]["value"] == 2 * np.mean(range(76, 126))
    assert rows["Fig. 3d", "WGAN discriminator", "loss @ step 300"]["value"] == -np.mean(range(276, 301))
    assert rows["Fig. 3d", "WGAN discriminator", "loss @ step 300"]["n"] == 25
    assert "mean of the 50 steps" in rows["Fig. 3d", "WGAN discriminator", "loss @ step 100"]["note"]
    assert {r["unit"] for r in rows.values()} == {"loss"}
    assert len(framed(rows)) == 6


def inside() -> Rows:
    activations = pd.DataFrame({"state": ["Random initialisation"], "layer": ["conv2"], "mean": [0.25], "n": [7]})
    label = {"conventional": np.full(9, -1), "GAN": np.array([0, 1, 2, -1])}
    return keyed(classifier_rows({"conventional": 0.3, "GAN": 0.1}, label, activations, 5))


def test_classifier_rows_by_hand() -> None:
    rows = inside()
    clusters = "tight clusters in the t-SNE of the fc1 weights"
    found = {key: (r["value"], r["n"], r["unit"]) for key, r in rows.items()}
    assert found == {
        ("Fig. 5a", "Conventional classifier", "sd of the conv1 weights"): (0.3, 1, "weight"),
        ("Fig. 5b", "GAN-based classifier", "sd of the conv1 weights"): (0.1, 1, "weight"),
        ("Fig. 6a", "Conventional classifier", clusters): (0, 9, "clusters"),
        ("Fig. 6b", "GAN-based classifier", clusters): (3, 4, "clusters"),
        ("Fig. 8", "Random initialisation", "mean activation of conv2"): (0.25, 7, "activation"),
    }
    assert len(framed(rows)) == 5


# --- the paper and its records


def test_beside_paper_has_every_printed_number_and_this_runs(paper: pd.DataFrame) -> None:
    rows = window_rows(trainings(), 55, "ready windows")
    table = beside_paper(framed({**keyed(rows), **inside()})).set_index(["item", "row", "column"])
    printed = paper[(paper["kind"] == "result") & paper["value"].notna()]
    assert len(table) == len(printed) == 11
    for r in printed.to_dict("records"):
        assert f"{r['value']:g}" in table.loc[(r["item"], r["row"], r["column"]), "the paper"]
    gan = "GAN-based classifier"
    sd, clusters = "sd of the conv1 weights", "tight clusters in the t-SNE of the fc1 weights"
    ratio, windows = "accuracy @ 20 % relative to @ 100 %", "(n = 55 test windows)"
    expected = {
        ("Fig. 5a", "Conventional classifier", sd): ("0.285 weight", "0.300 weight (n = 1 training)"),
        ("Fig. 5b", gan, sd): ("0.192 weight", "0.100 weight (n = 1 training)"),
        ("Fig. 6b", gan, clusters): ("3 clusters", "3 clusters (n = 4 points)"),
        ("Fig. 9a", gan, "accuracy"): ("86 %", f"90 [80, 100] % {windows}"),
        ("Fig. 9b", gan, "accuracy"): ("82 %", f"60 [50, 70] % {windows}"),
        ("Fig. 10", gan, "accuracy @ 100 %"): ("84 [80, 88] % (n = 20 runs)", f"90 [80, 100] % {windows}"),
        ("Fig. 10", gan, "accuracy @ >40 %"): ("80 [75.5, 84.5] % (n = 20 runs)", f"80 [65.9, 94.1] % {windows}"),
        ("Fig. 10", gan, "accuracy @ 20 %"): ("76 [69, 83] % (n = 20 runs)", f"60 [50, 70] % {windows}"),
        ("Abstract", gan, "accuracy @ 20 %"): ("80 %", f"60 [50, 70] % {windows}"),
        ("Abstract", gan, ratio): ("90 %", f"66.7 % {windows}"),
        ("Text 3.3", gan, ratio): ("90 %", f"66.7 % {windows}"),
    }
    whole = table.map(lambda text: re.sub(r"\.0+\b", "", text))  # 90 may be 90.0, by rounding
    for key, (left, right) in expected.items():
        assert (whole.loc[key, "the paper"], whole.loc[key, "this run"]) == (left, right), key


def test_a_printed_number_that_the_run_lacks_is_said_so() -> None:
    table = beside_paper(framed(inside())).set_index(["item", "row", "column"])
    assert table.loc[("Fig. 9a", "GAN-based classifier", "accuracy"), "this run"] == "not in this run"
    assert not table["the paper"].str.contains("not in").any()


def test_recorded_losses_are_the_files(paper: pd.DataFrame) -> None:
    generator = recorded_losses(paper, "Fig. 3c")
    assert generator["step"].tolist() == [1, 100, 1000, 5000, 10000, 20000, 50000, 80000, 100000]
    assert generator["value"].tolist() == [-0.54, -8.85, -9.92, -10.09, -9.88, -9.37, -7.35, -6.23, -5.45]
    assert recorded_losses(paper, "Fig. 3d")["value"].iloc[1] == 5.21


def test_printed_points_of_figure_10(paper: pd.DataFrame) -> None:
    # 84 +- 4 with all labels, 80 +- 4.5 with more than 40 % of them, 76 +- 7 with a fifth
    expected = pd.DataFrame(
        {
            "percent": [100.0, 70, 20],
            "half_width": [0.0, 30, 0],
            "value": [84.0, 80, 76],
            "low": [80.0, 75.5, 69],
            "high": [88.0, 84.5, 83],
        }
    )
    pd.testing.assert_frame_equal(printed_accuracy(paper), expected)


def test_recorded_gain_by_hand(paper: pd.DataFrame) -> None:
    gains = recorded_gains(paper).set_index("test set")
    assert len(gains) == 6
    # Test d1, 1:1, all labels: GAN .8822, conventional .8803, their sds over 20 runs from the table itself.
    at = paper[(paper["item"] == "Recorded runs 32_batch3") & (paper["column"] == "accuracy @ 100 %")].set_index("row")
    gan, plain = at.loc["GAN-transfer, test d1 (2017-07-11), 1:1"], at.loc["conventional, test d1 (2017-07-11), 1:1"]
    assert (gan["value"], plain["value"], plain["n"]) == (0.8822, 0.8803, 20)
    assert "sd 0.0292" in plain["note"]
    error = math.sqrt(float(gan["note"].split("sd ")[2].split(";")[0]) ** 2 / 20 + 0.0292**2 / 20)
    assert gains.loc["d1 (2017-07-11), 1:1", "@ 100 %"] == f"+0.002 ({error:.3f})" == "+0.002 (0.010)"
    assert gains.loc["d2 (2017-07-15), 1:1", "@ 100 %"].startswith("-0.014")  # .9350 - .9487
    assert gains.loc["d1 (2017-07-11), 1:1", "@ 20 %"].startswith("+0.014")  # .8268 - .8128


def test_the_chapters_sentence_on_the_recorded_gains(paper: pd.DataFrame) -> None:
    """A fifth of the labels: no gain is clear of its error. All labels: ahead on some days, behind on others."""
    split = recorded_gains(paper).set_index("test set").map(lambda text: [float(x.strip("()")) for x in text.split()])
    few = [difference / error for difference, error in split["@ 20 %"]]
    full = [difference / error for difference, error in split["@ 100 %"]]
    assert max(map(abs, few)) < 2
    assert max(full) > 2
    assert min(full) < -2


def test_recorded_precision_and_recall_are_named_by_their_class(paper: pd.DataFrame) -> None:
    table = recorded_classes(paper)
    assert list(table.columns) == ["recorded run"] + [
        f"{m} @ {f}"
        for f in ("100 %", "20 %")
        for m in ("accuracy", "precision of non-rosette", "recall of non-rosette")
    ]
    assert len(table) == 12
    assert table.notna().all(axis=None)
    row = table.set_index("recorded run").loc["conventional, test d1 (2017-07-11), 1:1"]
    assert row.tolist() == [0.8803, 0.8974, 0.8608, 0.8128, 0.8812, 0.735]
    recorded = paper[(paper["kind"] == "recorded") & paper["column"].str.contains("precision|recall")]
    assert len(recorded) > 0
    assert recorded["column"].str.contains("of non-rosette").all()


# --- setting (b)


def evaluated(**changes: Any) -> pd.DataFrame:  # noqa: ANN401
    rows = [
        {"method": m, "fraction": f, "n_labels": 9, "day": d, "metric": metric, "value": 0.5, "low": 0.25, "high": 0.75,
         "sd": 0.125, "n": 8, "n_groups": 2, "n_runs": 3, **changes}
        for m in ("zeta", "alpha")
        for f in (1.0, 0.07)
        for d in ("d1", "all")
        for metric in METRICS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_weak_rows_say_what_they_are() -> None:
    rows = keyed(weak_rows(evaluated()))
    assert len(rows) == 2 * 2 * 2 * len(METRICS)
    row = rows["Setting (b)", "zeta", "AUROC @ 7 %, test day d1"]
    assert {k: row[k] for k in ("value", "low", "high", "n", "unit")} == {
        "value": 0.5, "low": 0.25, "high": 0.75, "n": 8, "unit": "fraction",
    }  # fmt: skip
    note = "mean of 3 trainings on 9 labels (sd 0.125); 95 % bootstrap over 2 embryos; n counts test images"
    assert row["note"] == note
    assert ("Setting (b)", "alpha", "recall @ 100 %, mean of the test days") in rows
    assert len(framed(rows)) == len(rows)


def test_weak_rows_without_a_value_or_an_interval() -> None:
    frame = evaluated(n_runs=1, sd=math.nan)
    frame.loc[frame["metric"] == "precision", ["value", "low", "high"]] = math.nan
    frame.loc[frame["metric"] == "AUROC", ["low", "high"]] = math.nan
    rows = keyed(weak_rows(frame))
    assert not any("precision @" in column and "average" not in column for _, _, column in rows)
    row = rows["Setting (b)", "zeta", "AUROC @ 100 %, test day d1"]
    assert (row["value"], row["low"], row["high"]) == (0.5, None, None)
    assert row["note"].startswith("one training on 9 labels; 95 %")
    assert len(framed(rows)) == 2 * 2 * 2 * (len(METRICS) - 1)
    wide = weak_overview(framed(rows))
    assert wide.iloc[0, 1] == "0.500 (no interval)"


def test_the_overview_turns_rows_into_a_table() -> None:
    rows = framed(keyed(weak_rows(evaluated().query("not (method == 'alpha' and fraction == 0.07)"))))
    majority = rows.iloc[:1].assign(row="majority class", column="accuracy, test day d1")  # of no share of the labels
    rows = pd.concat([rows, majority], ignore_index=True)
    text = "0.500 (0.250 to 0.750)"
    for metric in ("AUROC", "accuracy"):  # and not the balanced accuracy
        wide = weak_overview(rows, metric)
        conditions = [f"{share} %, {day}" for share in (100, 7) for day in ("mean of the test days", "test day d1")]
        assert list(wide.columns) == ["method", *conditions]
        lines = [["zeta", *[text] * 4], ["alpha", text, text, "not run", "not run"]]
        commoner = [["majority class", *["0.500"] * 4]] if metric == "accuracy" else []
        assert wide.to_numpy().tolist() == lines + commoner


def test_window_networks_of_a_second_run_replace_the_first() -> None:
    first = framed(keyed(weak_rows(evaluated().replace({"zeta": "GAN", "alpha": "context"}))))
    second = first.assign(value=0.9)
    both = with_window_run(first, second)
    assert set(both.loc[both["row"] == "GAN", "value"]) == {0.9}
    assert set(both.loc[both["row"] == "context", "value"]) == {0.5}
    assert len(both) == len(first)


def test_a_caption_says_what_stands_behind_the_numbers() -> None:
    frame = pd.concat([evaluated(), evaluated(day="d2", n=6, n_groups=4, n_runs=1)])
    counts = weak_counts(framed(keyed(weak_rows(frame.drop_duplicates(["method", "fraction", "day", "metric"])))))
    expected = "n = 8 images of 2 embryos on d1, 6 images of 4 embryos on d2; means of 3 trainings"
    assert counts == f"{expected}; brackets: 95 % over embryos"


def test_tables_shown_have_columns_for_a_reader() -> None:
    wide = weak_comparison(evaluated(), 1.0)
    shown = readable(wide)
    assert list(shown.columns) == [
        "method", "test day", *METRICS[:4], "trainings", "labels", "images", "embryos",
    ]  # fmt: skip
    assert set(shown["test day"]) == {"d1", "mean of the days"}
    assert set(wide["day"]) == {"d1", "all"}  # what was given is as it was


# --- Fig. 11 as numbers


def scanned() -> tuple[list[np.ndarray], np.ndarray, np.ndarray, list[np.ndarray]]:
    """Six images of three embryos, 25 windows each of 32 px over 48 px; rosettes in the first four."""
    rng = np.random.default_rng(0)
    maps = [rng.uniform(0, 0.5, (5, 5)) for _ in range(6)]
    for k, at in enumerate([(0, 0), (0, 0), (4, 4), (0, 0)]):
        maps[k][at] = 0.9 - k / 10
    centres = [np.array([[5.0, 5.0]]), np.array([[10.0, 3.0]]), np.array([[40.0, 40.0]]), np.array([[45.0, 45.0]])]
    target, groups = np.array([1, 1, 1, 1, 0, 0]), np.array(list("aabbcc"))
    return maps, target, groups, [*centres, np.zeros((0, 2)), np.zeros((0, 2))]


def test_scan_rows_by_hand() -> None:
    maps, target, groups, centres = scanned()
    rows = keyed(scan_rows(maps, target, groups, centres, 200, 3))
    at = {column: row for (_, _, column), row in rows.items()}
    hit, chance = at["most probable window holds a centre"], at["any window holds a centre"]
    assert (hit["value"], hit["n"]) == (0.75, 4)  # the fourth looks into the wrong corner
    assert (hit["low"], hit["high"]) == (0.5, 1.0)  # embryo b alone, embryo a alone
    # 2 x 2 of 25 windows begin at or before (5, 5), 3 x 1 before (10, 3); 2 x 2 reach past (40, 40), one (45, 45)
    assert chance["value"] == pytest.approx((4 + 3 + 4 + 1) / 25 / 4)
    auroc = at["AUROC of the most probable window"]
    expected = with_intervals([m.max() for m in maps], target, groups, n_resamples=200, seed=3).set_index("metric")
    assert (auroc["value"], auroc["low"]) == (expected.loc["AUROC", "value"], expected.loc["AUROC", "low"])
    assert (auroc["value"], auroc["n"]) == (1.0, 6)
    assert "over 3 embryos; n counts test images" in auroc["note"]
    assert "over 2 embryos; n counts rosette images" in hit["note"]
    assert len(framed(rows)) == 3


def test_scan_rows_without_places_or_without_a_class() -> None:
    maps, target, groups, centres = scanned()
    assert [r["column"] for r in scan_rows(maps, target, groups, None, 50, 0)] == ["AUROC of the most probable window"]
    assert [*scan_rows(maps[4:], target[4:], groups[4:], centres[4:], 50, 0)] == []
    only = keyed(scan_rows(maps[:2], target[:2], groups[:2], centres[:2], 50, 0))
    assert [column for _, _, column in only] == ["most probable window holds a centre", "any window holds a centre"]
