"""AA, TE, links and detections: known answers, literal loops, traccuracy, what may not matter, and bad tables."""

import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from cellweak_core import tracking
from cellweak_core.files import DataError
from cellweak_core.tracking.intervals import families
from cellweak_core.tracking.lineages import read_lineages
from cellweak_core.tracking.matching import match_positions
from cellweak_core.tracking.scores import detection_scores, link_scores, tracking_scores

COLUMNS = ["frame", "id", "x", "y", "parent"]
SEQUENCE_9 = Path(os.environ.get("CELLWEAK_DATA", "")) / "tracking" / "c2c12_bmp2_seq9_full_tracks.csv.gz"


def table(*cells: tuple) -> pd.DataFrame:
    """A table from (id, frames, x, parent): each cell stays at (x, 50)."""
    rows = [(frame, i, float(x), 50.0, parent) for i, frames, x, parent in cells for frame in frames]
    kinds = {"frame": "int64", "id": "int64", "x": "float64", "y": "float64", "parent": "int64"}
    return pd.DataFrame(rows, columns=COLUMNS).astype(kinds)


def positions(*rows: tuple[int, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["frame", "x", "y"]).astype({"frame": "int64", "x": "float64", "y": "float64"})


A, B, C, D, E = 1, 2, 3, 4, 5
TRUTH = table(
    (A, range(4), 0, -1), (B, range(4), 100, -1), (C, (0, 1), 200, -1), (D, (2, 3), 190, C), (E, (2, 3), 210, C)
)  # fmt: skip
SWAP = [(11, (0, 1), 0, -1), (11, (2, 3), 100, -1), (12, (0, 1), 100, -1), (12, (2, 3), 0, -1)]
FAMILY = [(13, (0, 1), 200, -1), (14, (2, 3), 190, 13), (15, (2, 3), 210, 13)]
A_AND_B = [(11, range(4), 0, -1), (12, range(4), 100, -1)]
KNOWN = {  # the case: tracks, AA, AA of the same cell only, TE micro, TE macro
    "perfect": ([*A_AND_B, *FAMILY], 11 / 11, 9 / 9, 1.0, 1.0),
    "A and B swap": ([*SWAP, *FAMILY], 9 / 11, 7 / 9, 10 / 14, 0.8),
    "the mother's id goes on": ([*A_AND_B, (13, range(2), 200, -1), (13, (2, 3), 190, -1), (15, (2, 3), 210, -1)],
                                10 / 11, 9 / 9, 1.0, 1.0),
    "E never detected": ([*A_AND_B, *FAMILY[:2]], 9 / 11, 8 / 9, 12 / 14, 0.8),
    "A missing, then a new id": ([(11, (0, 1), 0, -1), (16, (3,), 0, -1), A_AND_B[1], *FAMILY],
                                 9 / 11, 7 / 9, 12 / 14, 0.9),
}  # fmt: skip


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


# ---- literal evaluations -------------------------------------------------------------------------------------------


def slow_matching(truth: np.ndarray, found: np.ndarray, gate: float, most: bool) -> list[tuple[int, int]]:
    """One frame, dense: every pair outside the gate forbidden; without a partner at the cost of the gate, or never."""
    if not len(truth) or not len(found):
        return []
    n, m = len(truth), len(found)
    distance = np.linalg.norm(truth[:, None] - found[None], axis=2)
    cost = np.full((n, m + n), 1e9)
    cost[:, :m] = np.where(distance <= gate, distance, 1e9)
    cost[np.arange(n), m + np.arange(n)] = 1e5 if most else gate
    return [(i, j) for i, j in zip(*linear_sum_assignment(cost), strict=True) if j < m]


def slow_scores(truth: pd.DataFrame, tracks: pd.DataFrame, gate: float, most: bool = False) -> dict[str, float]:
    """Facts, one observation at a time."""
    match = {}
    for frame in truth["frame"].unique():
        a, b = truth[truth["frame"] == frame], tracks[tracks["frame"] == frame]
        pairs = slow_matching(a[["x", "y"]].to_numpy(), b[["x", "y"]].to_numpy(), gate, most)
        match |= {(a["id"].iloc[i], frame): b["id"].iloc[j] for i, j in pairs}
    parents = dict(zip(tracks["id"], tracks["parent"], strict=True))
    frames = {i: sorted(of["frame"]) for i, of in truth.groupby("id")}
    same = [(i, s, i, t) for i, fs in frames.items() for s, t in pairwise(fs) if t == s + 1]
    mothers = {i: p for i, p in zip(truth["id"], truth["parent"], strict=True) if p >= 0}
    division = [(p, fs[0] - 1, i, fs[0]) for i, fs in frames.items() for p in [mothers.get(i)]
                if p is not None and fs[0] - 1 in frames[p]]  # fmt: skip

    def ends(link: tuple) -> tuple:
        return match.get((link[0], link[1])), match.get((link[2], link[3]))

    found_same = sum(a is not None and a == b for a, b in map(ends, same))
    found_division = 0
    heirs = set()
    for link in division:
        a, b = ends(link)
        if a is None or b is None:
            continue
        if parents[b] == a:
            found_division += 1
        elif a == b and link[0] not in heirs:
            heirs.add(link[0])
            found_division += 1
    best = {i: max([0, *(sum(match.get((i, t)) == k for t in fs) for k in parents)]) for i, fs in frames.items()}
    return {
        "n_links": len(same) + len(division),
        "n_parent_links": len(division),
        "n_same_cell_links_found": found_same,
        "n_parent_links_found": found_division,
        "n_matched": len(match),
        "n_covered": sum(best.values()),
        "te_macro": float(np.mean([best[i] / len(fs) for i, fs in frames.items()])),
    }


def lineage(seed: int, n_frames: int = 7, n_cells: int = 6, size_px: float = 90.0) -> pd.DataFrame:
    """Crowded random walks with divisions and gaps."""
    random = np.random.default_rng(seed)
    rows, alive, fresh = [], {i + 1: (random.uniform(0, size_px, 2), -1) for i in range(n_cells)}, n_cells + 1
    for frame in range(n_frames):
        for i, (xy, parent) in list(alive.items()):
            if random.random() > 0.05:
                rows.append((frame, i, *xy, parent))
            alive[i] = xy + random.normal(0, 4, 2), parent
            if random.random() < 0.12 and any(row[1] == i for row in rows):
                del alive[i]
                alive |= {fresh + k: (xy + random.normal(0, 6, 2), i) for k in range(2)}
                fresh += 2
    return pd.DataFrame(rows, columns=COLUMNS)


def tracker(truth: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Tracks of that truth with errors of every kind."""
    random = np.random.default_rng(seed + 1000)
    tracks = truth[random.random(len(truth)) > 0.1].reset_index(drop=True)
    tracks[["x", "y"]] += random.normal(0, 4, (len(tracks), 2))
    ids = truth["id"].unique()
    for _ in range(4):
        a, b = random.choice(ids, 2)
        later = tracks["frame"] >= random.integers(0, 7)
        of_a, of_b = later & (tracks["id"] == a), later & (tracks["id"] == b)
        tracks.loc[of_a, "id"], tracks.loc[of_b, "id"] = b, a
    tracks["parent"] = tracks.groupby("id")["parent"].transform("last")
    tracks.loc[(tracks["id"] % 5 == 0) | (tracks["parent"] == tracks["id"]), "parent"] = -1
    noise = [(random.integers(0, 7), 900 + k, *random.uniform(0, 90, 2), -1) for k in range(5)]
    return pd.concat([tracks, pd.DataFrame(noise, columns=COLUMNS)], ignore_index=True)


@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([5.0, 20.0, 60.0]))
def test_the_scores_are_the_literal_ones(seed: int, most: bool, gate: float) -> None:
    truth = lineage(seed)
    tracks = tracker(truth, seed)
    scores = tracking_scores(truth, tracks, gate, most_matches=most)
    expected = slow_scores(truth, tracks, gate, most)
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    for tp, fp, fn, name in (("link_tp", "link_fp", "link_fn", "link"),
                             ("detection_tp", "detection_fp", "detection_fn", "detection")):  # fmt: skip
        precision, recall = scores[f"{name}_precision"], scores[f"{name}_recall"]
        assert scores[tp] + scores[fn] == scores["n_links" if name == "link" else "n_observations"]
        assert scores[tp] + scores[fp] == scores["n_predicted_links" if name == "link" else "n_found"]
        if precision + recall > 0:
            assert scores[f"{name}_f1"] == pytest.approx(2 * precision * recall / (precision + recall))


@given(st.integers(0, 2**31), st.booleans())
def test_matching_is_the_dense_assignment(seed: int, most: bool) -> None:
    random = np.random.default_rng(seed)
    n, m = random.integers(0, 40, 2)
    frame, found_frame = random.integers(0, 3, n), random.integers(0, 3, m)
    xy, found = random.uniform(0, 60, (n, 2)), random.uniform(0, 60, (m, 2))
    match = match_positions(frame, xy, found_frame, found, 15.0, most)
    expected = np.full(n, -1)
    for t in range(3):
        a, b = np.flatnonzero(frame == t), np.flatnonzero(found_frame == t)
        for i, j in slow_matching(xy[a], found[b], 15.0, most):
            expected[a[i]] = b[j]
    np.testing.assert_array_equal(match, expected)
    assert len(np.unique(match[match >= 0])) == (match >= 0).sum()


def slow_detections(truth: pd.DataFrame, found: pd.DataFrame, gate: float, shape: tuple[int, int]) -> list[int]:
    """The authors' way: maximise the sum of exp(-0.01 d) within the gate, then drop lone points on the border."""
    tp = fp = fn = 0
    for frame in set(truth["frame"]) | set(found["frame"]):
        a, b = (t.loc[t["frame"] == frame, ["x", "y"]].to_numpy() for t in (truth, found))
        d = np.linalg.norm(a[:, None] - b[None], axis=2)
        gain = np.where(d <= gate, np.exp(-0.01 * d), 0)
        pairs = [(i, j) for i, j in zip(*linear_sum_assignment(gain, maximize=True), strict=True) if gain[i, j] > 0]
        tp += len(pairs)
        for points, matched, missed in ((a, {i for i, _ in pairs}, True), (b, {j for _, j in pairs}, False)):
            for k, (x, y) in enumerate(points):
                inside = 10 <= x <= shape[1] - 10 and 10 <= y <= shape[0] - 10
                fn += k not in matched and inside and missed
                fp += k not in matched and inside and not missed
    return [tp, fp, fn]


@given(st.integers(0, 2**31))
def test_detections_are_those_of_the_authors_rule(seed: int) -> None:
    truth = lineage(seed)[["frame", "x", "y"]]
    found = tracker(lineage(seed), seed)[["frame", "x", "y"]]
    scores = detection_scores(truth, found, 10.0, image_shape=(90, 80))
    assert [scores[name] for name in ("tp", "fp", "fn")] == slow_detections(truth, found, 10.0, (90, 80))
    assert scores["n_exempt"] == scores["n_truth"] + scores["n_found"] - 2 * scores["tp"] - scores["fp"] - scores["fn"]


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


# ---- links of pairs ------------------------------------------------------------------------------------------------


def some_links(*rows: tuple) -> pd.DataFrame:
    names = ["frame_from", "frame_to", "from_index", "to_index", "state"]
    return pd.DataFrame(rows, columns=names).astype("int64")


def points(*x: float) -> np.ndarray:
    return np.array([(value, 50.0) for value in x]).reshape(-1, 2)


def test_links_by_hand() -> None:
    """Frames 1 and 2 of TRUTH: A and B go on, C divides; D and E must be found once, through their mother."""
    before, after = points(1, 101, 199, 150), points(2, 102, 189, 211, 150)
    perfect = some_links((1, 2, 0, 0, 1), (1, 2, 1, 1, 1), (1, 2, 2, 3, 1))
    scores = link_scores(TRUTH, {1: before}, {2: after}, perfect)
    assert (scores["tp"], scores["fp"], scores["fn"], scores["f1"]) == (3, 0, 0, 1.0)
    wrong = some_links((1, 2, 0, 1, 1), (1, 2, 1, 0, 1), (1, 2, 3, 4, 1), (1, 2, 2, 2, 2))
    scores = link_scores(TRUTH, {1: before}, {2: after}, wrong)
    assert (scores["tp"], scores["fp"], scores["fn"]) == (0, 3, 3)  # the link of low confidence is no prediction
    assert (scores["n_links"], scores["n_exempt"], scores["n_pairs"]) == (4, 1, 1)
    sure = link_scores(TRUTH, {1: before}, {2: after}, wrong.drop(columns="state"))
    assert (sure["tp"], sure["fp"], sure["fn"]) == (1, 3, 2)
    border = link_scores(TRUTH, {1: before}, {2: after}, wrong, image_shape=(100, 155))
    assert border["fp"] == 2  # 150-150 is unmatched and on the border; the swapped ones are false even there
    nothing = link_scores(TRUTH, {1: before}, {2: after}, wrong.iloc[:0])
    assert math.isnan(nothing["precision"])
    assert (nothing["recall"], nothing["f1"], nothing["fn"]) == (0, 0, 3)


def test_links_over_an_interval_and_several_pairs() -> None:
    before = {0: points(0, 100, 200), 1: points(100, 0, 200)}
    after = {2: points(190, 0, 100), 3: points(0, 100)}
    links = some_links((0, 2, 0, 1, 1), (0, 2, 1, 2, 1), (0, 2, 2, 0, 1), (1, 3, 1, 0, 1), (1, 3, 0, 0, 1))
    scores = link_scores(TRUTH, before, after, links, interval=2)
    assert (scores["tp"], scores["fp"], scores["fn"], scores["n_pairs"]) == (4, 1, 2, 2)
    assert link_scores(TRUTH, {}, {}, links.iloc[:0])["n_pairs"] == 0
    empty = link_scores(TRUTH, {0: np.empty((0, 2))}, {1: []}, links.iloc[:0])
    assert empty["fn"] == 3


def slow_links(truth: pd.DataFrame, pairs: list[tuple], links: pd.DataFrame, size: float) -> list[int]:
    """`check_associate` of the authors, one predicted link at a time."""
    tp = fp = fn = 0
    for t, before, t1, after in pairs:
        gt, gt1 = truth[truth["frame"] == t].to_numpy(), truth[truth["frame"] == t1].to_numpy()
        of, of1 = (
            {j: i for i, j in slow_matching(g[:, 2:4], p, 20.0, most=True)} for g, p in ((gt, before), (gt1, after))
        )
        true_ids = (set(gt[:, 1]) & set(gt1[:, 1])) | (set(gt[:, 1]) & set(gt1[:, 4]))
        predicted = links[(links["frame_from"] == t) & (links["state"] == 1)]
        for a, b in predicted[["from_index", "to_index"]].to_numpy():
            if a in of and b in of1:
                if gt[of[a]][1] in (gt1[of1[b]][1], gt1[of1[b]][4]):
                    tp += 1
                    true_ids.remove(gt[of[a]][1])
                else:
                    fp += 1
            else:
                both = np.array([before[a], after[b]])
                fp += not np.any((both < 10) | (both > size - 10))
        fn += len(true_ids)
    return [tp, fp, fn]


@given(st.integers(0, 2**31), st.sampled_from([1, 2, 3]))
def test_links_are_those_of_the_authors_script(seed: int, interval: int) -> None:
    random = np.random.default_rng(seed)
    truth = lineage(seed)
    found = {t: of[["x", "y"]].to_numpy() for t, of in tracker(truth, seed).groupby("frame")}
    found = {t: found.get(t, np.empty((0, 2))) for t in range(7)}
    rows = []
    for t in range(7 - interval):
        distance = np.linalg.norm(found[t][:, None] - found[t + interval][None], axis=2)
        linked = zip(*linear_sum_assignment(distance), strict=True)
        rows += [(t, t + interval, i, j, random.integers(1, 3)) for i, j in linked]
    links = some_links(*rows)
    before = {t: found[t] for t in range(7 - interval)}
    scores = link_scores(truth, before, found, links, interval, image_shape=(90, 90))
    pairs = [(t, found[t], t + interval, found[t + interval]) for t in before]
    assert [scores[name] for name in ("tp", "fp", "fn")] == slow_links(truth, pairs, links, 90)


def test_bad_links() -> None:
    good = some_links((0, 1, 0, 0, 1))
    frames = {0: points(0)}, {1: points(0)}
    with pytest.raises(ValueError, match="links, row 0: there is no detection 3 in frame 0"):
        link_scores(TRUTH, *frames, good.assign(from_index=3))
    with pytest.raises(ValueError, match="there is no detection 0 in frame 9"):
        link_scores(TRUTH, *frames, good.assign(frame_to=9))
    with pytest.raises(ValueError, match="detections_to: no frame 2, 2 after 0"):
        link_scores(TRUTH, *frames, good, interval=2)
    with pytest.raises(ValueError, match="interval: expected at least 1"):
        link_scores(TRUTH, *frames, good, interval=0)
    with pytest.raises(ValueError, match=r"columns \['to_index'\] are missing"):
        link_scores(TRUTH, *frames, good.drop(columns="to_index"))
    with pytest.raises(ValueError, match="row 0 is not finite"):
        link_scores(TRUTH, {0: points(np.nan)}, frames[1], good)
    crossed = some_links((0, 2, 0, 0, 1))
    with pytest.raises(ValueError, match="links, row 0: frame_to is not 1 after frame_from"):
        link_scores(TRUTH, {0: points(0), 1: points(0)}, {1: points(0), 2: points(0)}, crossed)


# ---- what may not matter -------------------------------------------------------------------------------------------


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


# ---- bad tables ----------------------------------------------------------------------------------------------------


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


# ---- traccuracy ----------------------------------------------------------------------------------------------------


def edge_statistics(truth: pd.DataFrame, tracks: pd.DataFrame, gate: float) -> dict[str, float]:
    networkx, traccuracy = pytest.importorskip("networkx"), pytest.importorskip("traccuracy")
    from traccuracy.matchers import PointMatcher
    from traccuracy.metrics import BasicMetrics

    graphs = []
    for rows in (truth, tracks):
        rows = rows.sort_values(["frame", "id"], ignore_index=True)
        at = {(i, t): k for k, (i, t) in enumerate(zip(rows["id"], rows["frame"], strict=True))}
        born = rows.groupby("id")["frame"].min()
        graph = networkx.DiGraph()
        for k, (t, i, x, y, parent) in enumerate(rows[COLUMNS].itertuples(index=False)):
            graph.add_node(k, t=t, x=x, y=y)
            before = at.get((parent if born[i] == t else i, t - 1))
            if before is not None:
                graph.add_edge(before, k)
        graphs.append(traccuracy.TrackingGraph(graph, location_keys=("x", "y")))
    results, _ = traccuracy.run_metrics(*graphs, PointMatcher(gate), [BasicMetrics()])
    return results[0]["results"]


def same_as_traccuracy(truth: pd.DataFrame, tracks: pd.DataFrame, gate: float = 20.0) -> None:
    expected, scores = edge_statistics(truth, tracks, gate), tracking_scores(truth, tracks, gate)
    for kind, name in (("Edge", "link"), ("Node", "detection")):
        assert scores[f"{name}_tp"] == expected[f"True Positive {kind}s"]
        assert scores[f"{name}_fp"] == expected[f"False Positive {kind}s"]
        assert scores[f"{name}_fn"] == expected[f"False Negative {kind}s"]
        assert scores[f"{name}_recall"] == pytest.approx(expected[f"{kind} Recall"])


@pytest.mark.parametrize("case", KNOWN)
def test_known_answers_as_traccuracy(case: str) -> None:
    same_as_traccuracy(TRUTH, table(*KNOWN[case][0]))


@given(st.integers(0, 2**31))
def test_edges_and_nodes_as_traccuracy(seed: int) -> None:
    truth = lineage(seed)
    same_as_traccuracy(truth, tracker(truth, seed))


def test_real_tracks_as_traccuracy() -> None:
    if not os.environ.get("CELLWEAK_DATA") or not SEQUENCE_9.is_file():
        pytest.skip("no real tracks: set CELLWEAK_DATA")
    truth = pd.read_csv(SEQUENCE_9)[COLUMNS]
    perfect = tracking_scores(truth, truth)
    assert (perfect["aa"], perfect["te_micro"], perfect["link_f1"], perfect["n_observations"]) == (1, 1, 1, 85576)
    truth = truth[truth["frame"].between(540, 600)]  # in frame 557 two cells have one position
    truth = truth.assign(parent=truth["parent"].where(truth["parent"].isin(truth["id"]), -1))
    tracks = truth.copy()
    tracks[["x", "y"]] += np.random.default_rng(0).normal(0, 5, (len(tracks), 2))
    same_as_traccuracy(truth, tracks[np.random.default_rng(1).random(len(tracks)) > 0.05])


# ---- intervals -----------------------------------------------------------------------------------------------------


def test_families_are_connected_through_parents() -> None:
    truth = table((7, (0, 1), 0, -1), (3, (2,), 0, 7), (9, (2, 3), 9, 7), (4, (4,), 9, 9), (5, range(3), 100, -1))
    family, n = families(read_lineages(truth, "truth"))
    names = dict(zip([3, 4, 5, 7, 9], family.tolist(), strict=True))
    assert n == 2
    assert names[3] == names[4] == names[7] == names[9] != names[5]


def test_intervals_hold_the_values_and_are_those_of_their_seed() -> None:
    truth = lineage(5, n_cells=12, size_px=200)
    tracks = tracker(truth, 5)
    table_ = tracking.bootstrap_scores(truth, tracks, 200, seed=3, image_shape=(200, 200))
    assert table_.columns.tolist() == ["metric", "value", "low", "high", "n", "n_groups"]
    assert table_["metric"].tolist() == ["aa", "aa_same_cell", "te_micro", "link_recall", "link_precision", "link_f1",
                                         "detection_precision", "detection_recall", "detection_f1"]  # fmt: skip
    scores = tracking_scores(truth, tracks, image_shape=(200, 200))
    assert table_["value"].tolist() == pytest.approx([scores[name] for name in table_["metric"]])
    assert (table_["low"] < table_["value"]).all()
    assert (table_["value"] < table_["high"]).all()
    by = table_.set_index("metric")
    assert by.loc["aa", "n"] == scores["n_links"]
    assert by.loc["te_micro", "n"] == scores["n_observations"]
    assert by.loc["link_precision", "n"] == scores["link_tp"] + scores["link_fp"]
    assert by.loc["aa", "n_groups"] == families(read_lineages(truth, "truth"))[1]
    assert by.loc["detection_f1", "n_groups"] == 7
    pd.testing.assert_frame_equal(table_, tracking.bootstrap_scores(truth, tracks, 200, seed=3, image_shape=(200, 200)))
    other = tracking.bootstrap_scores(truth, tracks, 200, seed=4, image_shape=(200, 200))
    assert not table_["low"].equals(other["low"])


def test_a_resample_is_a_table_with_families_repeated() -> None:
    """Two families, one found and one lost: AA of a resample is the weighted share of links, by hand."""
    truth = table((1, range(4), 0, -1), (2, range(2), 100, -1), (3, (2, 3), 100, 2))
    tracks = table((1, range(4), 0, -1))
    by = tracking.bootstrap_scores(truth, tracks, 400, level=0.99).set_index("metric")
    assert by.loc["aa", "value"] == 3 / 6
    assert (by.loc["aa", "low"], by.loc["aa", "high"]) == (0, 1)  # both draws are of one family in half the resamples
    assert by.loc["aa", "n_groups"] == 2


def test_intervals_of_too_little() -> None:
    one = table((1, range(3), 0, -1))
    by = tracking.bootstrap_scores(one, one, 20).set_index("metric")
    assert by.loc["aa", "value"] == 1
    assert math.isnan(by.loc["aa", "low"])  # one family says nothing about others
    assert by.loc["detection_f1", "low"] == 1
    nothing = tracking.bootstrap_scores(one.iloc[:0], one.iloc[:0], 20)
    assert nothing[["value", "low", "high"]].isna().all(axis=None)
    assert (nothing["n_groups"] == 0).all()
    with pytest.raises(ValueError, match="n_resamples: expected at least 1"):
        tracking.bootstrap_scores(one, one, 0)


# ---- the wing's own names ------------------------------------------------------------------------------------------


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
