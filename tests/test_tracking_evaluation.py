"""Pooling, counting and difficulty, on hand-drawn films."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cellweak_core.tracking import tracking_scores
from cellweak_core.tracking.comparison import Found
from cellweak_core.tracking.data import TrackingData
from cellweak_core.tracking.evaluation import (
    Film,
    by_difficulty,
    counted,
    detections,
    differences,
    lineage_of,
    link_difficulty,
    pooled,
    scores,
)
from cellweak_core.tracking.frames import ArraySource
from cellweak_core.tracking.intervals import bootstrap_scores
from cellweak_core.tracking.reporting import detection_rows, difference_rows
from cellweak_core.tracking.splits import Split


def cells(rows: list[tuple[int, int, float, float, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["frame", "id", "x", "y", "parent"])


# A (1) and B (2) in frames 0-3; C (3) in 0-1 divides into D (4) and E (5) in 2-3, as in the chapter's known answers.
TRUTH = cells(
    [(t, 1, 10, 10 + t, -1) for t in range(4)]
    + [(t, 2, 60, 10 + t, -1) for t in range(4)]
    + [(t, 3, 110, 10 + t, -1) for t in (0, 1)]
    + [(t, 4, 105, 10 + t, 3) for t in (2, 3)]
    + [(t, 5, 115, 10 + t, 3) for t in (2, 3)]
)


def test_one_film_scores_as_itself() -> None:
    truth, tracks, _ = pooled([Film(TRUTH, TRUTH, range(4), "a")])
    scores = tracking_scores(truth, tracks)
    assert (scores["n_links_found"], scores["n_links"]) == (11, 11)


def test_two_films_add_their_counts_and_no_link_joins_them() -> None:
    swapped = TRUTH.copy()
    late = swapped["frame"] >= 2
    swapped.loc[late, "id"] = swapped.loc[late, "id"].replace({1: 2, 2: 1})
    truth, tracks, _ = pooled([Film(TRUTH, TRUTH, range(4), "a"), Film(TRUTH, swapped, range(4), "a")])
    scores = tracking_scores(truth, tracks)
    assert (scores["n_links_found"], scores["n_links"]) == (20, 22)  # 11/11 and 9/11
    assert scores["te_micro"] == pytest.approx((14 + 10) / 28)


def test_every_second_frame_is_a_film_of_neighbours() -> None:
    films = [Film(TRUTH, TRUTH[TRUTH["frame"].isin(frames)], frames, "a") for frames in ((0, 2), (1, 3))]
    scores = tracking_scores(*pooled(films)[:2])
    # in each: A, B and the two daughters
    assert (scores["n_links"], scores["n_links_found"]) == (8, 8)
    assert scores["n_parent_links"] == 4


def test_a_mother_outside_the_film_is_no_parent() -> None:
    truth, _, _ = pooled([Film(TRUTH, TRUTH[TRUTH["frame"] >= 2], (2, 3), "a")])
    assert set(truth["parent"]) == {-1}


def test_lineages_keep_one_name_in_all_films() -> None:
    _, _, groups = pooled([Film(TRUTH, TRUTH, range(4), "a"), Film(TRUTH, TRUTH, (0, 2), "a")])
    assert sorted(set(groups.values())) == ["a: 1", "a: 2", "a: 3"]
    assert lineage_of(TRUTH) == {1: 1, 2: 2, 3: 3, 4: 3, 5: 3}


def test_intervals_of_copies_are_as_wide_as_of_one() -> None:
    lost = TRUTH[TRUTH["id"] != 2]
    one = pooled([Film(TRUTH, lost, range(4), "a")])
    many = pooled([Film(TRUTH, lost, range(4), "a")] * 5)
    wide, same = (
        bootstrap_scores(truth, tracks, 400, 0, groups=groups).set_index("metric").loc["aa"]
        for truth, tracks, groups in (one, many)
    )
    assert wide["n_groups"] == same["n_groups"] == 3
    assert (wide["low"], wide["high"]) == pytest.approx((same["low"], same["high"]))
    assert wide["low"] < wide["value"] < wide["high"]


def test_counts_become_shares_with_intervals() -> None:
    one = counted(np.array([[8, 2, 0], [6, 0, 4]], float), ["t0", "t1"], 200, 0)
    assert one["precision"] == pytest.approx(14 / 16)
    assert one["recall"] == pytest.approx(14 / 18)
    assert one["f1"] == pytest.approx(28 / 34)
    assert one["n"] == 18
    assert one["recall_low"] == pytest.approx(0.6)
    assert one["recall_high"] == pytest.approx(1.0)


def test_difficulty_is_displacement_over_the_nearest_neighbour() -> None:
    truth = cells([(0, 1, 0, 0, -1), (0, 2, 10, 0, -1), (1, 1, 5, 0, -1), (1, 2, 10, 2, -1)])
    links = link_difficulty(truth, truth)
    assert links["difficulty"].tolist() == pytest.approx([0.5, 0.2])
    assert links["id"].tolist() == [1, 2]
    assert not links["divided"].any()
    assert links["recovered"].all()


def test_difficulty_marks_divisions_and_what_was_lost() -> None:
    followed = TRUTH.assign(id=TRUTH["id"].replace({4: 3}), parent=-1)  # D goes on as C, E comes from nowhere
    links = link_difficulty(TRUTH, followed)
    assert links["divided"].sum() == 2
    assert links.loc[links["divided"], "recovered"].sum() == 1
    assert links.loc[~links["divided"], "recovered"].all()


@pytest.fixture
def found() -> Found:
    lost = TRUTH[TRUTH["id"] != 2].assign(parent=-1)  # B is not found; D and E come from nowhere
    film = TrackingData(ArraySource(np.zeros((4, 64, 128), np.uint8), "made"), TRUTH, True, "made")
    found = Found(Split("made", film, {"test": film}))
    found.tracks |= {("Ours", "test", 0, 1): [lost], ("Ours", "test", 1, 1): [TRUTH]}
    found.tracks |= {("assignment", "test", s, 1): [TRUTH.assign(parent=-1)] for s in (0, 1)}  # but divisions
    return found


def test_differences_are_those_of_the_scores_on_the_same_cells(found: Found) -> None:
    table = differences([(found, "test")], "Ours", "assignment", [0, 1], 1, 500, 0).set_index("metric")
    # Of 22 links Ours has 6 and 11, assignment 9 twice; of 28 positions Ours covers 10 and 14, assignment 14 twice.
    assert table.loc["aa", "value"] == pytest.approx((17 - 18) / 22)
    assert table.loc["te_micro", "value"] == pytest.approx(-4 / 28)
    assert (table["n"].tolist(), table["n_groups"].tolist()) == ([22, 28], [3, 3])
    # A and the family of C are equal in TE, B loses 4 of 8: so no resample has a gain.
    assert table.loc["te_micro", "low"] < table.loc["te_micro", "high"] == 0
    nothing = differences([(found, "test")], "Ours", "Ours", [0, 1], 1, 500, 0)
    assert nothing[["value", "low", "high"]].to_numpy().tolist() == [[0, 0, 0], [0, 0, 0]]
    (aa, te) = difference_rows({"every frame": ([(found, "test")], 1)}, [("Ours", "assignment")], [0, 1], 500, 0)
    assert (aa["row"], aa["column"], aa["n"]) == ("Ours minus assignment", "every frame, AA", 22)
    assert te["value"] == pytest.approx(-4 / 28)


def part_annotated(found: Found, annotated: tuple[int, ...], tracks: pd.DataFrame) -> Found:
    film = found.split.tests["test"]
    assert film.points is not None
    part = replace(film, points=film.points[film.points["frame"].isin(annotated)], annotated=annotated)
    one = Found(Split("made", part, {"test": part}))
    one.tracks["Ours", "test", 0, 1] = [tracks]
    one.detections["detector", "test", 0, 0] = tracks
    return one


def test_frames_that_nobody_annotated_are_not_scored(found: Found) -> None:
    ghost = pd.DataFrame({"frame": [2, 3], "id": 90, "x": 100.0, "y": 50.0, "parent": -1})
    for annotated, seen in (((0, 1, 2, 3), True), ((0, 1), False)):
        one = part_annotated(found, annotated, pd.concat([TRUTH, ghost]))
        table = scores([(one, "test")], "Ours", [0], 1, 50, 0).set_index("metric")
        assert table.loc["aa", "value"] == 1
        assert (table.loc["link_precision", "value"] < 1) == (table.loc["detection_f1", "value"] < 1) == seen
        assert (detections([(one, "test")], "detector", [0], 0, 50, 0)["precision"] < 1) == seen


def test_no_link_is_scored_over_a_frame_that_nobody_annotated(found: Found) -> None:
    one = part_annotated(found, (0, 1, 3), TRUTH.replace({"id": {1: 2, 2: 1}}))
    table = scores([(one, "test")], "Ours", [0], 1, 50, 0).set_index("metric")
    assert (table.loc["aa", "n"], table.loc["te_micro", "n"]) == (3, 10)  # A, B and C from 0 to 1; none to 3


def test_without_a_frame_to_score_there_is_no_number(found: Found) -> None:
    one = part_annotated(found, (), TRUTH)
    assert np.isnan(detections([(one, "test")], "detector", [0], 0, 50, 0)["f1"])
    assert list(detection_rows({"c": [(one, "test")]}, [0], [], 50, 0)) == []


def test_links_recovered_by_difficulty_are_counted_per_bin_with_intervals_over_lineages(found: Found) -> None:
    table = by_difficulty([(found, "test")], ["Ours"], [0, 1], 1, [0, 0.1, 10], 200, 0)
    # A seed has 9 links within cells, of 1 px each: 7 with neighbours beyond 45 px, D's and E's with one at 10 px.
    assert table["n"].tolist() == [14, 4, 4]
    assert table["recovered"].tolist() == pytest.approx([11 / 14, 1.0, 0.5])
    assert table["daughters"].tolist() == [False, False, True]
    assert table["n_groups"].tolist() == [3, 1, 1]
    first = table.iloc[0]
    assert first["low"] < first["recovered"] < first["high"]
    assert table.loc[1, "low"] == table.loc[1, "high"] == 1.0  # one lineage only: nothing varies
