"""The chapter's rows and tables: errata computed from what is printed, columns, and cells for reading."""

import numpy as np
import pandas as pd
import pytest
from tracking_lineages import KNOWN, TRUTH, table

from cellweak_core import published, side_by_side
from cellweak_core.results import Results
from cellweak_core.tracking import reporting
from cellweak_core.tracking.data import TrackingData
from cellweak_core.tracking.frames import ArraySource
from cellweak_core.tracking.scores import tracking_scores
from cellweak_core.tracking.simulate import simulate
from cellweak_core.tracking.splits import Split


def test_printed_averages_that_do_not_follow() -> None:
    table = reporting.table_1_averages(published.load("tracking"))
    found = {(m, k): round(v, 4) for m, k, v in table[["method", "metric", "mean of the columns"]].to_numpy()}
    assert found[("GDA", "AA")] == 0.8495
    assert found[("GDA", "TE")] == 0.7160
    assert found[("Ours", "TE")] == 0.8890
    assert set(found) == {("GDA", "AA"), ("GDA", "TE"), ("Ours", "TE"), ("Ours w/o ml", "TE"), ("CMF", "TE")}


def test_copied_precision_row_and_what_recall_and_f1_imply() -> None:
    table = reporting.table_3_precision(published.load("tracking"))
    assert (table["printed precision, 25 min"] == table["printed F1, 5 min"]).all()
    implied = dict(zip(table["column"], table["implied precision, 25 min"], strict=True))
    known = [0.998, 0.987, 0.993, 0.967, 0.925, 0.960]
    assert [implied[c] for c in reporting.CONDITION_COLUMNS] == pytest.approx(known, abs=2e-3)


@pytest.mark.parametrize(("precision", "recall"), [(0.9, 0.5), (0.3, 0.99), (1.0, 1.0)])
def test_implied_precision_inverts_f1(precision: float, recall: float) -> None:
    f1 = 2 * precision * recall / (precision + recall)
    assert reporting.implied_precision(recall, f1) == pytest.approx(precision)


def test_a_table_beside_the_paper(tmp_path) -> None:  # noqa: ANN001
    results = Results("tracking", tmp_path, {}, 0, "simulated")
    results.add("Table 5", "Ours", "AA", 0.5, n=10, unit="fraction", low=0.4, high=0.6, note="x")
    results.add("Table 5", "assignment", "AA", 0.25, n=12, unit="fraction")
    table = side_by_side.beside_paper(results.rows, "tracking", "Table 5").set_index("method")
    assert table.index.tolist() == ["A-Graph", "Fogbank", "GDA", "Ours", "assignment", "n"]
    assert table.columns.tolist() == ["AA", "TE"]
    assert table.loc["Ours", "AA"] == "0.857 | 0.500 [0.400, 0.600]"
    assert table.loc["GDA", "TE"] == "0.527 | -"
    assert table.loc["assignment", "AA"] == "- | 0.250"
    assert table.loc["n"].tolist() == ["10 to 12", ""]


def test_wide_keeps_order_and_leaves_gaps_empty() -> None:
    rows = pd.DataFrame(
        {
            "item": ["Peers"] * 3 + ["Table 1"],
            "row": ["b", "b", "a", "a"],
            "column": ["x", "y", "y", "x"],
            "value": [0.1, 0.2, 0.3, 0.9],
            "low": [0.0, np.nan, np.nan, np.nan],
            "high": [0.2, np.nan, np.nan, np.nan],
            "n": [7, 8, 8, 9],
        }
    )
    table = side_by_side.wide(rows, "Peers")
    assert table.to_numpy().tolist() == [["b", "0.100 [0.000, 0.200]", "0.200"], ["a", "", "0.300"], ["n", "7", "8"]]


def test_sequences_says_what_is_known() -> None:
    data = simulate("BMP2", 3, 64, 0, n_cells=4)
    assert data.points is not None
    table = reporting.sequences([Split("s", data, {"other": data})])
    assert table["sequence"].tolist() == ["training", "test: other"]
    assert table["positions"].tolist() == [str(len(data.points))] * 2


@pytest.mark.parametrize(("interval", "name"), [(1, "5 min"), (5, "25 min"), (9, "45 min")])
def test_intervals_are_named_as_the_paper_names_them(interval: int, name: str) -> None:
    assert reporting.interval_name(interval) == name


def test_detectors_f1_is_the_mean_over_seeds() -> None:
    found = {"tp": [8, 6, 5], "fp": [2, 4, 0], "fn": [2, 4, 5]}
    counts = pd.DataFrame({"split": "a", "flatten_px": [0, 0, 60], "seed": [0, 1, 0], **found})
    table = reporting.detector_f1(counts)
    assert table["F1 (sd)"].tolist() == ["0.700 (0.141)", "0.667 (nan)"]  # .8 and .6; 10 / 15
    assert table["n, true cells of all seeds"].tolist() == [20, 10]
    assert table["seeds"].tolist() == [2, 1]


NEW_FRAMES = ArraySource(np.zeros((4, 100, 220), np.uint8), "new")


def new_rows(tracks: pd.DataFrame, data: TrackingData) -> dict[str, tuple[float, int]]:
    """Value and n by column."""
    rows = list(reporting.new_sequence_rows(tracks, data))
    assert {(row["item"], row["row"]) for row in rows} == {("New frames", "Ours")}
    return {row["column"]: (row["value"], row["n"]) for row in rows}


@pytest.mark.parametrize("case", KNOWN)
def test_new_frames_are_counted_and_scored_where_links_are_known(case: str) -> None:
    cells, aa, _, te, _ = KNOWN[case]
    tracks = table(*cells)
    rows = new_rows(tracks, TrackingData(NEW_FRAMES, TRUTH, True, "new"))
    assert rows.pop("tracks") == (len({cell[0] for cell in cells}), 4)
    assert rows.pop("positions") == (len(tracks), 4)
    assert rows["AA"] == (pytest.approx(aa), 11)
    assert rows["TE"] == (pytest.approx(te), 14)
    scores = tracking_scores(TRUTH, tracks, image_shape=NEW_FRAMES.shape)
    assert rows == {
        "AA": (scores["aa"], scores["n_links"]),
        "TE": (scores["te_micro"], scores["n_observations"]),
        "link precision": (scores["link_precision"], scores["link_tp"] + scores["link_fp"]),
        "link recall": (scores["link_recall"], scores["n_links"]),
        "link F1": (scores["link_f1"], scores["n_links"]),
        "detection F1": (scores["detection_f1"], scores["n_observations"]),
    }


@pytest.mark.parametrize("points", [None, TRUTH[["frame", "x", "y"]]], ids=["no positions", "positions alone"])
def test_new_frames_are_only_counted_where_links_are_not_known(points: pd.DataFrame | None) -> None:
    rows = new_rows(TRUTH, TrackingData(NEW_FRAMES, points, False, "new"))
    assert rows == {"tracks": (5, 4), "positions": (14, 4)}


def test_in_new_frames_that_nobody_annotated_tracks_are_counted_but_not_scored() -> None:
    rows = new_rows(TRUTH, TrackingData(NEW_FRAMES, TRUTH[TRUTH["frame"] < 2], True, "new"))
    assert rows["positions"] == (14, 4)
    assert rows["detection F1"] == (1.0, 6)  # A, B and C twice
    assert rows["link precision"] == (1.0, 3)


def test_of_new_frames_without_links_there_is_no_precision() -> None:
    rows = new_rows(TRUTH[TRUTH["frame"] == 1], TrackingData(NEW_FRAMES, TRUTH, True, "new"))
    assert rows["AA"] == (0.0, 11)
    assert "link precision" not in rows  # 0/0


def test_scores_of_each_seed_are_a_column_each_in_the_order_given() -> None:
    scores = pd.DataFrame({
        "method": ["Ours", "BF", "Ours", "BF", "Ours"], "interval": [5, 5, 1, 1, 1], "seed": [1, 1, 0, 0, 1],
        "aa": [0.5, 0.25, 1.0, 0.125, 0.75], "link_precision": [0.9, 0.8, 1.0, 0.6, 0.75],
    })  # fmt: skip
    table = reporting.by_seed(scores)
    assert table.columns.tolist() == [
        "AA (precision)", "every 5. frame, seed 1", "every frame, seed 0", "every frame, seed 1"
    ]  # fmt: skip
    assert table.iloc[0].tolist() == ["Ours", "0.500 (0.900)", "1.000 (1.000)", "0.750 (0.750)"]
    assert table.iloc[1, :3].tolist() == ["BF", "0.250 (0.800)", "0.125 (0.600)"]
    assert table.iloc[1].isna().tolist() == [False, False, False, True]
