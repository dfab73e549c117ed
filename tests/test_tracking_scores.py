"""AA, TE and detections: known answers, hand-drawn cases, what may not matter, bad tables, and the wing's names."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracking_lineages import A_AND_B, COLUMNS, FAMILY, KNOWN, SWAP, TRUTH, A, D, lineage, table, tracker

from cellweak_core import tracking
from cellweak_core.files import DataError
from cellweak_core.tracking.matching import match_positions
from cellweak_core.tracking.scores import detection_scores, link_scores, tracking_scores


@pytest.mark.parametrize("case", KNOWN)
def test_known_answers(case: str) -> None:
    cells, aa, aa_same_cell, te_micro, te_macro = KNOWN[case]
    scores = tracking_scores(TRUTH, table(*cells), max_distance_px=20.0)
    assert scores["aa"] == pytest.approx(aa, abs=1e-12)
    assert scores["aa_same_cell"] == pytest.approx(aa_same_cell, abs=1e-12)
    assert scores["te_micro"] == pytest.approx(te_micro, abs=1e-12)
    assert scores["te_macro"] == pytest.approx(te_macro, abs=1e-12)
    assert scores["link_recall"] == pytest.approx(aa, abs=1e-12)  # an edge is missed where AA misses it
    sizes = ("n_cells", "n_observations", "n_links", "n_same_cell_links", "n_parent_links", "n_links_over_gaps")
    assert [scores[n] for n in sizes] == [5, 14, 11, 9, 2, 0]
    assert scores["n_links_found"] == round(11 * aa) == scores["link_tp"]
    assert scores["n_same_cell_links_found"] == round(9 * aa_same_cell)
    assert scores["n_covered"] == round(14 * te_micro)


def test_a_parent_on_the_first_row_only_is_enough() -> None:
    first = TRUTH.assign(parent=TRUTH["parent"].where(~TRUTH.duplicated("id"), -1))
    empty = TRUTH.assign(parent=TRUTH["parent"].astype(float).where(TRUTH["parent"] >= 0))
    zeros = TRUTH.assign(parent=TRUTH["parent"].where(TRUTH["parent"] >= 0, 0))
    nullable = TRUTH.convert_dtypes().assign(parent=TRUTH["parent"].astype("Int64").where(TRUTH["parent"] >= 0))
    expected = tracking_scores(TRUTH, TRUTH)
    for truth in (first, empty, zeros, nullable):
        assert tracking_scores(truth, truth) == expected
    assert expected["n_parent_links_found"] == 2
    assert expected["aa"] == 1


def test_no_parents_no_parent_links() -> None:
    truth = TRUTH.drop(columns="parent")
    scores = tracking_scores(truth, TRUTH)
    assert (scores["n_links"], scores["n_parent_links"], scores["aa"]) == (9, 0, 1.0)
    assert scores["link_fp"] == 2  # the divisions of the tracks join true cells that are not known to be related
    assert scores["link_precision"] == 9 / 11


def test_a_merge_and_a_track_that_goes_on_with_the_wrong_cell() -> None:
    """Cells 1 and 2 come within 8 px; the tracker sees one of them from frame 2 on, under the other's id."""
    truth = table((1, range(5), 0, -1), (2, range(5), 8, -1))
    tracks = table((7, (0, 1), 0, -1), (8, range(2), 8, -1), (8, range(2, 5), 1, -1))
    scores = tracking_scores(truth, tracks)
    assert scores["n_links"] == 8
    assert scores["n_links_found"] == 4  # 0-1 of both; then 2-3 and 3-4 of cell 1 under the id 8; 1-2 is lost
    assert scores["te_micro"] == (3 + 2) / 10
    assert (scores["link_tp"], scores["link_fp"], scores["link_fn"]) == (4, 1, 4)
    assert (scores["detection_tp"], scores["detection_fp"], scores["detection_fn"]) == (7, 0, 3)


def test_links_join_consecutive_frames_only() -> None:
    gap = table((1, (0, 1, 3, 4), 0, -1), (2, range(5), 100, -1), (3, (5, 6), 200, 1), (4, (5, 6), 300, 2))
    scores = tracking_scores(gap, gap)
    assert scores["n_links"] == 2 + 4 + 1 + 1 + 2  # daughters 3 and 4 start right after frame 4
    assert scores["n_links_over_gaps"] == 1
    late = gap.assign(frame=gap["frame"] + 2 * (gap["id"] == 3))  # two frames after her mother's last
    scores = tracking_scores(late, late)
    assert (scores["n_parent_links"], scores["n_links_over_gaps"], scores["aa"]) == (1, 2, 1.0)


def test_frames_left_out_keep_their_numbers_or_get_new_ones() -> None:
    thin = TRUTH.assign(frame=TRUTH["frame"] * 5)
    swap = table(*KNOWN["A and B swap"][0])
    scores = tracking_scores(thin, swap.assign(frame=swap["frame"] * 5), frame_step=5)
    assert scores == tracking_scores(TRUTH, swap)
    with pytest.raises(ValueError, match="set frame_step=5"):
        tracking_scores(thin, thin)
    with pytest.raises(ValueError, match=r"frame_step=2: tracks has rows in frames 0 and 1"):
        tracking_scores(TRUTH.assign(frame=TRUTH["frame"] * 2), TRUTH, frame_step=2)
    with pytest.raises(ValueError, match="truth has frame 0 and tracks frame 1"):
        tracking_scores(thin, thin.assign(frame=thin["frame"] + 1), frame_step=5)
    with pytest.raises(ValueError, match="frame_step: expected at least 1"):
        tracking_scores(TRUTH, TRUTH, frame_step=0)


def test_a_daughter_that_goes_on_under_the_mothers_id_counts_once() -> None:
    """A mother that is still there, and two daughters that start in different frames."""
    truth = table((1, (0, 1, 2), 0, -1), (2, (1, 2, 3), 30, 1), (3, (3,), 60, 1))
    same = table((9, (0,), 0, -1), (9, (1,), 30, -1), (8, (1,), 0, -1))
    assert tracking_scores(truth, same)["n_parent_links_found"] == 1
    # the track 9 stands for the mother in frames 0 and 2 and for a daughter in frames 1 and 3
    weaving = table((9, (0,), 0, -1), (9, (1,), 30, -1), (9, (2,), 0, -1), (9, (3,), 60, -1))
    assert tracking_scores(truth, weaving)["n_parent_links_found"] == 1


def test_a_division_found_a_frame_early_or_late() -> None:
    truth = table((1, range(3), 0, -1), (2, range(3, 6), -12, 1), (3, range(3, 6), 12, 1))
    first = (2, (2,), 0, 1), (3, (2,), 500, 1)  # the daughters' tracks start where the mother still is
    early = table((1, range(2), 0, -1), *first, (2, range(3, 6), -12, 1), (3, range(3, 6), 12, 1))
    scores = tracking_scores(truth, early)
    # of the mother 0-1; then 2-3 under the track of cell 2, as her own; 3-4 and 4-5 of both daughters
    assert (scores["n_links_found"], scores["n_links"]) == (1 + 1 + 4, 8)
    assert scores["link_tp"] == 7  # the edge 1-2 of the mother is there, though her track divides on it
    late = table((1, range(3), 0, -1), (1, (3,), -12, -1), (2, (4, 5), -12, 1), (3, (4, 5), 12, 1))
    scores = tracking_scores(truth, late)
    assert scores["n_links_found"] == 2 + 1 + 1 + 1  # of the mother, to cell 2 as her own track, 4-5 of both
    assert scores["link_fp"] == 1  # from frame 3, where the track is cell 2's, to cell 3
    assert scores["link_tp"] == 6  # the edge of cell 2 from 3 to 4, where its track divides, is right


def test_tracks_may_name_a_parent_that_is_gone() -> None:
    tracks = table(*A_AND_B, (14, (2, 3), 190, 13), (15, (2, 3), 210, 15))
    scores = tracking_scores(TRUTH, tracks)
    assert (scores["n_links_found"], scores["n_predicted_links"]) == (8, 8)


def test_the_gate_is_inclusive() -> None:
    truth, away = table((1, (0, 1), 0, -1)), table((1, (0, 1), 12, -1)).assign(y=66.0)  # 12, 16, 20
    assert tracking_scores(truth, away)["aa"] == 1
    assert tracking_scores(truth, away, 19.999)["aa"] == 0
    assert detection_scores(truth, away, 20.0)["tp"] == 2


def test_the_two_matching_rules() -> None:
    """A-a 1 px, A-b 19, B-a 19, B-b 37: a third rule would take A-a and leave it, or both long pairs."""
    truth, tracks = table((1, (0, 1), 0, -1), (2, (0, 1), 18, -1)), table((1, (0, 1), -1, -1), (2, (0, 1), -19, -1))
    nearest, most = tracking_scores(truth, tracks), tracking_scores(truth, tracks, most_matches=True)
    assert (nearest["n_matched"], most["n_matched"]) == (2, 4)
    assert (nearest["n_links_found"], most["n_links_found"]) == (1, 2)
    assert detection_scores(truth, tracks, 20.0)["tp"] == 4


def test_nothing_predicted_and_nothing_there() -> None:
    nothing = TRUTH.iloc[:0]
    scores = tracking_scores(TRUTH, nothing)
    zeros = ("aa", "aa_same_cell", "te_micro", "te_macro", "link_recall", "link_f1", "detection_recall", "detection_f1")
    assert all(scores[name] == 0 for name in zeros)
    assert math.isnan(scores["link_precision"])
    assert math.isnan(scores["detection_precision"])
    scores = tracking_scores(nothing, TRUTH)
    assert all(math.isnan(scores[name]) for name in ("aa", "aa_same_cell", "te_micro", "te_macro", "link_recall"))
    assert (scores["link_f1"], scores["detection_precision"], scores["detection_fp"]) == (0, 0, 14)
    scores = tracking_scores(nothing, pd.DataFrame(columns=COLUMNS))
    counted = {name for name in scores if name.startswith("n_") or name[-3:] in ("_tp", "_fp", "_fn")}
    assert all(math.isnan(scores[name]) for name in scores.keys() - counted)
    assert not any(scores[name] for name in counted)
    scores = tracking_scores(TRUTH[TRUTH["frame"] == 0], TRUTH[TRUTH["frame"] == 0])  # one frame: cells, no links
    assert math.isnan(scores["aa"])
    assert scores["te_macro"] == 1


def test_frames_that_only_one_side_has() -> None:
    extra = table((9, (4, 5), 0, -1))
    more = pd.concat([TRUTH, extra])
    assert tracking_scores(TRUTH, more)["detection_fp"] == 2
    scores = tracking_scores(more, TRUTH)
    assert (scores["detection_fn"], scores["link_fn"], scores["te_micro"]) == (2, 1, 14 / 16)


def test_the_border_exempts_false_links_and_lone_positions() -> None:
    shape = (100, 250)
    tracks = table(*A_AND_B, *FAMILY, (20, (0, 1), 245, -1), (21, (0, 1), 150, -1), (22, (0, 1), 240, -1))
    free = tracking_scores(TRUTH, tracks)
    assert (free["link_fp"], free["detection_fp"]) == (3, 6)
    scores = tracking_scores(TRUTH, tracks, image_shape=shape)
    # A is at x = 0, matched, and counts; 245 is within 10 px of the border; 240 is not
    assert (scores["link_fp"], scores["detection_fp"], scores["link_tp"]) == (2, 4, 11)
    lost = tracking_scores(TRUTH, table(A_AND_B[1], *FAMILY), image_shape=shape)
    assert (lost["link_fn"], lost["detection_fn"]) == (3, 0)  # missed links count on the border, positions do not
    swapped = tracking_scores(TRUTH, table(*SWAP, *FAMILY), image_shape=shape)
    assert swapped["link_fp"] == 2  # both ends matched: false wherever they lie


def positions(*rows: tuple[int, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["frame", "x", "y"]).astype({"frame": "int64", "x": "float64", "y": "float64"})


def test_detections_by_hand() -> None:
    truth = positions((0, 50, 50), (0, 80, 50), (0, 5, 50), (2, 50, 50))
    found = positions((0, 53, 54), (0, 80, 61), (0, 98, 50), (1, 50, 50))
    scores = detection_scores(truth, found, image_shape=(100, 100))
    assert scores == {"precision": 1 / 3, "recall": 1 / 3, "f1": 1 / 3, "tp": 1, "fp": 2, "fn": 2, "n_truth": 4,
                      "n_found": 4, "n_exempt": 2}  # fmt: skip
    free = detection_scores(truth, found)
    assert (free["tp"], free["fp"], free["fn"], free["n_exempt"]) == (1, 3, 3, 0)
    assert math.isnan(detection_scores(truth, found.iloc[:0])["precision"])
    assert math.isnan(detection_scores(truth.iloc[:0], found.iloc[:0])["f1"])


@given(st.integers(0, 2**31))
def test_names_order_and_place_change_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = lineage(seed)
    tracks = tracker(truth, seed)
    expected = tracking_scores(truth, tracks)
    assert tracking_scores(truth.sample(frac=1, random_state=1), tracks.sample(frac=1, random_state=2)) == expected

    new = {i: 10**12 + k for k, i in enumerate(random.permutation(2000).tolist())} | {-1: -1}
    renamed = [t.assign(id=t["id"].map(new), parent=t["parent"].map(new)) for t in (truth, tracks)]
    assert tracking_scores(*renamed) == expected
    moved = [t.assign(x=t["x"] + 4096, y=t["y"] - 512, frame=t["frame"] + 3) for t in (truth, tracks)]
    assert tracking_scores(*moved) == pytest.approx(expected)
    mirrored = [t.assign(x=t["y"], y=-t["x"]) for t in (truth, tracks)]
    assert tracking_scores(*mirrored) == pytest.approx(expected)


def test_rows_in_any_order_even_where_assignments_are_equal() -> None:
    """Two cells at one place: the sums of both assignments are the same, and the table's order does not decide."""
    truth = table((1, range(3), 50, -1), (2, range(3), 50, -1))
    tracks = table((1, range(3), 45, -1), (2, range(3), 58, -1))
    expected = tracking_scores(truth, tracks)
    for seed in range(6):
        shuffled = (t.sample(frac=1, random_state=seed) for t in (truth, tracks))
        assert tracking_scores(*shuffled) == expected


def test_inputs_stay_as_they_are() -> None:
    truth, tracks = TRUTH.copy(), table(*KNOWN["A and B swap"][0]).assign(score=0.5)
    before = truth.copy(), tracks.copy()
    first = tracking_scores(truth, tracks)
    tracking.bootstrap_scores(truth, tracks, 10)
    detection_scores(truth, tracks)
    pd.testing.assert_frame_equal(truth, before[0])
    pd.testing.assert_frame_equal(tracks, before[1])
    assert tracking_scores(truth, tracks) == first
    assert all(type(value) in (int, float) for value in first.values())


def test_bad_truth_is_named() -> None:
    twice = pd.concat([TRUTH, TRUTH.iloc[[2]]], ignore_index=True)
    with pytest.raises(DataError, match=r"truth, rows 2 and 14: id 1 twice in frame 2"):
        tracking_scores(twice, TRUTH)
    with pytest.raises(DataError, match=r"tracks, rows 2 and 14: id 1 twice in frame 2"):
        tracking_scores(TRUTH, twice)
    with pytest.raises(DataError, match=r"row 10 \(frame 2, id 4, parent 77\): the parent has no row"):
        tracking_scores(TRUTH.assign(parent=TRUTH["parent"].where(TRUTH["id"] != D, 77)), TRUTH)
    with pytest.raises(DataError, match=r"row 0 \(frame 0, id 1, parent 1\): a cell is not its own parent"):
        tracking_scores(TRUTH.assign(parent=TRUTH["parent"].where(TRUTH["id"] != A, A)), TRUTH)
    with pytest.raises(DataError, match="if 0 means none, write -1"):
        tracking_scores(TRUTH.assign(id=TRUTH["id"] - 1, parent=0), TRUTH)
    with pytest.raises(DataError, match=r"row 11 \(frame 3, id 4, parent 1\): other rows of this cell name another"):
        tracking_scores(TRUTH.assign(parent=TRUTH["parent"].where(TRUTH.index != 11, A)), TRUTH)
    with pytest.raises(DataError, match=r"truth: column 'id' is missing"):
        tracking_scores(TRUTH.drop(columns="id"), TRUTH)
    with pytest.raises(DataError, match=r"tracks: columns \['x'\] are missing"):
        tracking_scores(TRUTH, TRUTH.drop(columns="x"))
    with pytest.raises(DataError, match=r"truth, row 3 \(frame 3\): position \[nan, 50.0\]"):
        tracking_scores(TRUTH.assign(x=TRUTH["x"].where(TRUTH.index != 3)), TRUTH)
    with pytest.raises(DataError, match=r"row 1, column 'frame': expected a whole number, found 1.5"):
        tracking_scores(TRUTH.assign(frame=TRUTH["frame"] * 1.5), TRUTH)
    with pytest.raises(DataError, match="column 'id': expected whole numbers"):
        tracking_scores(TRUTH.assign(id="a"), TRUTH)


def test_a_mother_before_the_first_frame_is_no_mother() -> None:
    cut = TRUTH[TRUTH["frame"] >= 2]
    scores = tracking_scores(cut, cut)
    assert (scores["n_parent_links"], scores["n_links"], scores["aa"]) == (0, 4, 1.0)


@pytest.mark.parametrize("gate", [0, -1.0, math.inf, math.nan])
def test_bad_gates(gate: float) -> None:
    with pytest.raises(ValueError, match="max_distance_px: expected a positive number"):
        tracking_scores(TRUTH, TRUTH, gate)


def test_bad_borders() -> None:
    with pytest.raises(ValueError, match="border_px: expected 0 px or more"):
        detection_scores(TRUTH, TRUTH, border_px=-1)
    with pytest.raises(ValueError, match=r"image_shape: expected \(Y, X\)"):
        detection_scores(TRUTH, TRUTH, image_shape=(0, 5))


def test_the_scores_are_the_wings_and_submodules_come_when_touched() -> None:
    assert tracking.tracking_scores is tracking_scores
    assert tracking.link_scores is link_scores
    assert tracking.detection_scores is detection_scores
    assert tracking.matching.match_positions is match_positions
    assert set(tracking.__all__) <= set(dir(tracking))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tracking.nonsense


def test_importing_the_wing_imports_nothing_heavy() -> None:
    code = "import sys, cellweak_core.tracking; print([m for m in ('torch', 'pandas', 'scipy') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
