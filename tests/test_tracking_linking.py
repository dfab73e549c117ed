"""Links and tracks: assignment against the dense solver, hand-drawn cells of known tracks, chained pairs, laptrack."""

import itertools
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from cellweak_core.tracking.linking import PairLinks, assign, chain, link_frames
from cellweak_core.tracking.peers import laptrack_tracks
from cellweak_core.tracking.tracks import TRACK_COLUMNS, links_table, split_frames, tracks_table

Array = NDArray[np.float64]
Link = tuple[int, int, int, int, float]
NONE = np.empty((0, 2))


def links(*rows: Link) -> pd.DataFrame:
    """Links one by one: frame_from, frame_to, from_index, to_index, score."""
    return links_table([(a, b, np.array([i]), np.array([j]), np.array([s])) for a, b, i, j, s in rows])


def listed(tracks: pd.DataFrame, *columns: str) -> list[tuple[object, ...]]:
    return list(tracks[list(columns)].itertuples(index=False, name=None))


def sum_of_costs(previous: Array, current: Array, pairs: list[tuple[int, int]], gate: float) -> float:
    """The definition: squared distances of the links, and the gate squared for each current point without one."""
    total = sum(float(np.sum((previous[i] - current[j]) ** 2)) for i, j in pairs)
    return total + (len(current) - len(pairs)) * gate**2


# --- assignment


@pytest.mark.parametrize("daughters", [1, 2])
@pytest.mark.parametrize("seed", range(8))
def test_assignment_costs_what_the_dense_solver_finds(seed: int, daughters: int) -> None:
    random = np.random.default_rng(seed)
    previous, current = random.uniform(0, 60, (17, 2)), random.uniform(0, 60, (20, 2))
    gate = 12.0
    i, j, d = assign(previous, current, gate, daughters)
    slots = np.repeat(previous, daughters, axis=0)
    dense = np.minimum(cdist(slots, current) ** 2 - gate**2, 0)
    rows, columns = linear_sum_assignment(dense)
    expected = dense[rows, columns].sum() + len(current) * gate**2
    assert sum_of_costs(previous, current, list(zip(i, j, strict=True)), gate) == pytest.approx(expected, rel=1e-12)
    assert np.unique(j).tolist() == j.tolist()
    assert np.bincount(i).max() <= daughters
    assert (d < gate).all()
    np.testing.assert_allclose(d, np.linalg.norm(previous[i] - current[j], axis=1))


def test_assignment_is_the_best_of_all_there_are() -> None:
    random = np.random.default_rng(3)
    previous, current, gate = random.uniform(0, 10, (4, 2)), random.uniform(0, 10, (4, 2)), 6.0
    best = np.inf
    for partners in itertools.product(range(-1, 4), repeat=4):  # of each current point; -1 is none
        pairs = [(i, j) for j, i in enumerate(partners) if i >= 0]
        taken = [i for i, _ in pairs]
        if len(set(taken)) == len(taken) and all(np.linalg.norm(previous[i] - current[j]) < gate for i, j in pairs):
            best = min(best, sum_of_costs(previous, current, pairs, gate))
    i, j, _ = assign(previous, current, gate)
    assert sum_of_costs(previous, current, list(zip(i, j, strict=True)), gate) == pytest.approx(best)


@given(st.integers(0, 10**6), st.floats(0, 6.28), st.floats(-500, 500))
def test_assignment_moves_with_the_image(seed: int, angle: float, shift: float) -> None:
    random = np.random.default_rng(seed)
    previous, current = random.uniform(0, 50, (9, 2)), random.uniform(0, 50, (7, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    order = random.permutation(7)
    i, j, _ = assign(previous, current, 15.0)
    k, m, _ = assign(previous @ turn + shift, current[order] @ turn + shift, 15.0)
    assert set(zip(i, j, strict=True)) == set(zip(k, order[m], strict=True))


def test_assignment_prefers_both_cells_over_the_nearest_pair() -> None:
    # Greedy takes 0-1 (3 px) and leaves the others 13 px apart.
    i, j, _ = assign(np.array([[0.0, 0], [8, 0]]), np.array([[5.0, 0], [13, 0]]), 14.0)
    assert (i.tolist(), j.tolist()) == ([0, 1], [0, 1])


@pytest.mark.parametrize(("previous", "current"), [(NONE, NONE), (NONE, np.ones((2, 2))), (np.ones((2, 2)), NONE)])
def test_nothing_to_assign(previous: Array, current: Array) -> None:
    i, j, d = assign(previous, current, 10.0)
    assert len(i) == len(j) == len(d) == 0
    assert i.dtype == j.dtype == np.int64


def test_a_gate_is_exclusive_and_positive() -> None:
    assert len(assign(np.zeros((1, 2)), np.array([[3.0, 4.0]]), 5.0)[0]) == 0
    assert len(assign(np.zeros((1, 2)), np.array([[3.0, 4.0]]), 5.001)[0]) == 1
    assert len(assign(np.zeros((1, 2)), np.zeros((1, 2)), 5.0)[0]) == 1  # no distance is a distance
    with pytest.raises(ValueError, match="max_distance_px: expected a positive number"):
        assign(NONE, NONE, 0.0)
    with pytest.raises(ValueError, match="max_daughters"):
        assign(NONE, NONE, 1.0, 0)


# --- frame to frame


def test_two_cells_cross_and_keep_their_ids() -> None:
    # They pass each other at y = 0 and y = 6; at each step their own new position is the nearer one.
    left, right = [(x, 0.0) for x in (0, 4, 8, 12)], [(x, 6.0) for x in (12, 8, 4, 0)]
    detections = [np.array([a, b][:: 1 - 2 * (t % 2)]) for t, (a, b) in enumerate(zip(left, right, strict=True))]
    tracks = link_frames(detections, 10.0)
    ways = {i: listed(g, "x", "y") for i, g in tracks.groupby("id")}
    assert sorted(ways.values()) == sorted([left, right])
    assert tracks["score"].isna().sum() == 2
    np.testing.assert_allclose(tracks["score"].dropna(), 1 - 4 / 10)


def test_two_cells_that_jump_too_far_are_swapped() -> None:
    tracks = link_frames([[(0, 0), (6, 0)], [(7, 0), (-1, 0)]], 10.0)  # each meant to pass the other
    assert listed(tracks, "frame", "id", "x") == [(0, 1, 0.0), (0, 2, 6.0), (1, 1, -1.0), (1, 2, 7.0)]


def test_a_division_leaves_one_daughter_alone() -> None:
    tracks = link_frames([[(10, 10)], [(8, 10), (13, 10)]], 10.0)
    assert listed(tracks, "frame", "id", "x", "parent") == [(0, 1, 10.0, -1), (1, 1, 8.0, -1), (1, 2, 13.0, -1)]


def test_a_missed_detection_and_an_empty_frame_end_tracks() -> None:
    missed = link_frames([[(0, 0), (50, 0)], [(50, 1)], [(0, 2), (50, 2)]], 10.0)
    assert listed(missed, "frame", "id") == [(0, 1), (0, 2), (1, 2), (2, 2), (2, 3)]
    empty = link_frames([[(0, 0)], NONE, [(0, 0)]], 10.0)
    assert listed(empty, "frame", "id", "parent") == [(0, 1, -1), (2, 2, -1)]
    first = link_frames([[], [(0, 0)], [(1, 0)]], 10.0)
    assert listed(first, "frame", "id") == [(1, 1), (2, 1)]


@pytest.mark.parametrize("detections", [[], [NONE], [[], [], []]])
def test_no_cells_at_all(detections: list[Array]) -> None:
    tracks = link_frames(detections, 10.0)
    assert tuple(tracks.columns) == TRACK_COLUMNS
    assert len(tracks) == 0
    assert tracks.dtypes.astype(str).tolist() == ["int64", "int64", "float64", "float64", "int64", "float64"]


def test_one_frame_is_one_row_for_each_cell() -> None:
    tracks = link_frames([[(3, 4), (5, 6)]], 10.0)
    assert listed(tracks, "frame", "id", "x", "y", "parent") == [(0, 1, 3.0, 4.0, -1), (0, 2, 5.0, 6.0, -1)]
    assert tracks["score"].isna().all()


def test_frames_may_be_steps_apart() -> None:
    tracks = link_frames([[(0, 0)], [(1, 0)], [(2, 0)]], 10.0, frames=[700, 705, 710])
    assert listed(tracks, "frame", "id") == [(700, 1), (705, 1), (710, 1)]


def test_bad_detections_name_their_frame() -> None:
    with pytest.raises(ValueError, match=r"detections of frame 7: expected \(n, 2\) x, y, got \(1, 3\)"):
        link_frames([[(0, 0)], [(1, 2, 3)]], 10.0, frames=[5, 7])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="detections of frame 1: row 1 is not finite"):
        link_frames([[(0, 0)], [(0, 0), (np.nan, 1)]], 10.0)
    with pytest.raises(ValueError, match="frames: expected increasing numbers"):
        link_frames([[(0, 0)], [(0, 0)]], 10.0, frames=[3, 3])
    with pytest.raises(ValueError, match="frames: expected one number for each of 2 arrays, got 1"):
        link_frames([[(0, 0)], [(0, 0)]], 10.0, frames=[3])


def test_nothing_given_is_changed_and_the_same_comes_out_twice() -> None:
    random = np.random.default_rng(0)
    detections = [random.uniform(0, 100, (30, 2)) for _ in range(4)]
    before = [d.copy() for d in detections]
    first, second = link_frames(detections, 20.0), link_frames(detections, 20.0)
    pd.testing.assert_frame_equal(first, second)
    for a, b in zip(detections, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_table_becomes_frames() -> None:
    table = pd.DataFrame({"frame": [2, 0, 2], "x": [1.0, 2.0, 3.0], "y": [4.0, 5.0, 6.0]}, index=[5, 5, 9])
    frames, detections = split_frames(table)
    assert frames == [0, 2]
    assert [d.tolist() for d in detections] == [[[2, 5]], [[1, 4], [3, 6]]]
    frames, detections = split_frames(table, [1, 2, 3])
    assert [d.shape for d in detections] == [(0, 2), (2, 2), (0, 2)]


@pytest.mark.parametrize(("interval", "gate", "least"), [(1, 20.0, 0.9998), (5, 40.0, 0.997), (9, 60.0, 0.992)])
def test_real_cells_are_followed_on_their_true_positions(interval: int, gate: float, least: float) -> None:
    path = Path(os.environ.get("CELLWEAK_DATA", "")) / "tracking" / "c2c12_bmp2_seq9_full_tracks.csv.gz"
    if not path.is_file():
        pytest.skip("no real tracks: set CELLWEAK_DATA")
    truth = pd.read_csv(path)
    truth = truth[(truth["frame"] > 580) & ((truth["frame"] - 581) % interval == 0)]
    frames, detections = split_frames(truth)
    tracks = link_frames(detections, gate, frames)
    both = truth.merge(tracks, on=["frame", "x", "y"], suffixes=("", "_found")).sort_values(["id", "frame"])
    assert len(both) == len(truth)
    goes_on = (both["id"].diff() == 0) & (both["frame"].diff() == interval)
    kept = (both["id_found"].diff() == 0)[goes_on]
    assert len(kept) > 4000
    assert kept.mean() >= least


# --- the tracks that links make


def test_a_division_gives_new_ids_and_a_parent_on_every_row() -> None:
    # C divides into D and E; the cell beside it goes on.
    detections = [[(0, 0), (50, 0)], [(0, 1), (50, 1)], [(-5, 2), (5, 2), (50, 2)], [(-6, 3), (6, 3), (50, 3)]]
    table = links(
        (0, 1, 0, 0, 0.9), (0, 1, 1, 1, 0.8), (1, 2, 0, 0, 0.7), (1, 2, 0, 1, 0.6), (1, 2, 1, 2, 0.5),
        (2, 3, 0, 0, 0.4), (2, 3, 1, 1, 0.3), (2, 3, 2, 2, 0.2),
    )  # fmt: skip
    tracks = tracks_table(detections, table)
    assert listed(tracks, "frame", "id", "x", "parent") == [
        (0, 1, 0.0, -1), (0, 2, 50.0, -1), (1, 1, 0.0, -1), (1, 2, 50.0, -1),
        (2, 2, 50.0, -1), (2, 3, -5.0, 1), (2, 4, 5.0, 1), (3, 2, 50.0, -1), (3, 3, -6.0, 1), (3, 4, 6.0, 1),
    ]  # fmt: skip
    # A daughter's first row bears the score of the link from its mother; only 1 and 2 have a row no link led to.
    np.testing.assert_allclose(tracks["score"], [np.nan, np.nan, 0.9, 0.8, 0.5, 0.7, 0.6, 0.2, 0.4, 0.3])


def test_of_three_the_two_of_highest_rank_are_daughters() -> None:
    detections = [[(0, 0)], [(1, 0), (2, 0), (3, 0)]]
    table = links((0, 1, 0, 0, 0.9), (0, 1, 0, 1, 0.8), (0, 1, 0, 2, 0.7))
    by_score = tracks_table(detections, table)
    assert listed(by_score, "id", "x", "parent") == [(1, 0.0, -1), (2, 1.0, 1), (3, 2.0, 1), (4, 3.0, -1)]
    by_rank = tracks_table(detections, table, rank=[0.1, 0.3, 0.2])
    assert listed(by_rank, "id", "x", "parent") == [(1, 0.0, -1), (2, 1.0, -1), (3, 2.0, 1), (4, 3.0, 1)]
    assert np.isnan(by_rank["score"][1])


def test_links_may_leave_out_frames() -> None:
    tracks = tracks_table([[(0, 0)], [], [(1, 0)]], links((10, 14, 0, 0, 0.5)), frames=[10, 12, 14])
    assert listed(tracks, "frame", "id") == [(10, 1), (14, 1)]


def followed(detections: list[Array], table: pd.DataFrame) -> dict[tuple[int, int], tuple[int, int]]:
    """A second, slow way: walk every detection back to the start of its track; ids by order of the starts."""
    back = {(r.frame_to, r.to_index): (r.frame_from, r.from_index) for r in table.itertuples()}
    ways = {node: [k for k, v in back.items() if v == node] for node in back.values()}

    def start(node: tuple[int, int]) -> tuple[int, int]:
        while node in back and len(ways[back[node]]) == 1:
            node = back[node]
        return node

    nodes = [(t, i) for t, d in enumerate(detections) for i in range(len(d))]
    ids = {node: k + 1 for k, node in enumerate(n for n in nodes if start(n) == n)}
    found = {}
    for node in nodes:
        first = start(node)
        found[node] = ids[first], ids[start(back[first])] if first in back else -1
    return found


@pytest.mark.parametrize("seed", range(5))
def test_tracks_equal_a_walk_along_the_links(seed: int) -> None:
    random = np.random.default_rng(seed)
    detections = [random.uniform(0, 9, (random.integers(0, 9), 2)) for _ in range(12)]
    rows = []
    for t in range(1, 12):
        free = [(u, i) for u in (t - 2, t - 1) if u >= 0 for i in range(len(detections[u])) for _ in range(2)]
        for j in random.permutation(len(detections[t])):
            if free and random.random() < 0.8:
                u, i = free.pop(random.integers(len(free)))
                rows.append((u, t, i, int(j), float(random.random())))
    taken = [r[:1] + r[2:3] for r in rows]
    rows = [r for k, r in enumerate(rows) if taken[:k].count(taken[k]) < 2]
    table = links(*rows)
    expected = followed(detections, table)
    tracks = tracks_table(detections, table)
    at = {(d[0], d[1]): (t, i) for t, ds in enumerate(detections) for i, d in enumerate(ds.tolist())}
    assert {at[r.x, r.y]: (r.id, r.parent) for r in tracks.itertuples()} == expected


def test_more_frames_change_no_id() -> None:
    random = np.random.default_rng(1)
    detections = [random.uniform(0, 60, (12, 2)) for _ in range(9)]
    long, short = link_frames(detections, 25.0), link_frames(detections[:5], 25.0)
    pd.testing.assert_frame_equal(long[long["frame"] < 5], short)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((0, 1, 0, 3, 1.0), "row 1: there is no detection 3 in frame 1"),
        ((0, 2, 0, 0, 1.0), "row 1: there is no detection 0 in frame 2"),
        ((0, 1, -1, 0, 1.0), "row 1: there is no detection -1 in frame 0"),
        ((1, 0, 0, 0, 1.0), "row 1: expected frame_to after frame_from"),
        ((0, 1, 0, 0, 1.0), "row 1: a second link to detection 0 of frame 1"),
    ],
)
def test_links_that_cannot_be(row: Link, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tracks_table([[(0, 0)], [(0, 0)]], links((0, 1, 0, 0, 1.0), row))


# --- pairs chained


Row = tuple[int, int, float]


def pair(a: int, b: int, points_a: object, points_b: object, *rows: Row, drop: object = ()) -> PairLinks:
    i, j, score = np.array(rows, float).reshape(-1, 3).T
    ends = np.array(points_a, float), np.array(points_b, float)
    return PairLinks(a, b, *ends, i.astype(int), j.astype(int), score, np.array(drop, int))


def test_pairs_are_chained_where_their_detections_meet() -> None:
    first = pair(0, 5, [(0, 0), (50, 0)], [(52, 0), (2, 0)], (0, 1, 0.9), (1, 0, 0.8))
    # The same cells, found a little elsewhere and in another order, and one that the first pair had not found.
    second = pair(5, 10, [(3, 1), (53, 1), (90, 0)], [(4, 0), (54, 0), (91, 0)], (0, 0, 0.7), (1, 1, 0.6), (2, 2, 0.5))
    tracks = chain([first, second])
    assert listed(tracks, "frame", "id", "x") == [
        (0, 1, 0.0), (0, 2, 50.0), (5, 1, 2.0), (5, 2, 52.0), (10, 1, 4.0), (10, 2, 54.0), (10, 3, 91.0),
    ]  # fmt: skip
    np.testing.assert_allclose(tracks["score"], [np.nan, np.nan, 0.9, 0.8, 0.7, 0.6, np.nan])
    kept = chain([first, second], keep_missed=True)
    assert listed(kept[kept["id"] == 3], "frame", "x") == [(5, 90.0), (10, 91.0)]
    assert len(kept) == len(tracks) + 1


def test_a_detection_farther_than_the_gate_is_another_cell() -> None:
    pairs = [pair(0, 1, [(0, 0)], [(0, 0)], (0, 0, 1.0)), pair(1, 2, [(0, 11)], [(0, 11)], (0, 0, 1.0))]
    assert listed(chain(pairs), "frame", "id") == [(0, 1), (1, 1), (2, 2)]
    assert listed(chain(pairs, max_distance_px=12.0), "frame", "id") == [(0, 1), (1, 1), (2, 1)]


def test_a_detection_without_a_link_onward_is_not_matched() -> None:
    # At (1, 0) the second pair has a nearer detection, which it did not associate.
    pairs = [pair(0, 1, [(0, 0)], [(0, 0)], (0, 0, 1.0)), pair(1, 2, [(1, 0), (4, 0)], [(4, 0)], (1, 0, 1.0))]
    assert listed(chain(pairs), "frame", "id") == [(0, 1), (1, 1), (2, 1)]


def test_low_confidence_detections_are_left_out() -> None:
    pairs = [pair(0, 1, [(0, 0), (30, 0)], [(60, 0), (0, 0), (30, 0)], (0, 1, 0.9), drop=[0])]
    assert listed(chain(pairs), "frame", "id", "x") == [(0, 1, 0.0), (1, 1, 0.0), (1, 2, 30.0)]


def test_an_association_is_chained_by_its_confident_links() -> None:
    association = pytest.importorskip("cellweak_core.tracking.association")
    found = np.array([[0, 0], [1, 1], [2, 2]])  # in the later frame, in the earlier one
    points = np.array([[0.0, 0], [40, 0], [80, 0]])
    later = np.vstack([points, [[120.0, 0]]])
    one = PairLinks.confident((0, 5), points, later, association.associate(found, np.array([0.9, 0.4, 0.6]), 3, 4))
    tracks = chain([one])
    assert listed(tracks, "frame", "id", "x") == [(0, 1, 0.0), (0, 2, 80.0), (5, 1, 0.0), (5, 2, 80.0), (5, 3, 120.0)]
    np.testing.assert_allclose(tracks["score"][2:], [0.9, 0.6, np.nan])


def test_chains_of_nothing() -> None:
    assert len(chain([])) == 0
    empty = pair(1, 2, NONE, NONE)
    tracks = chain([pair(0, 1, [(0, 0)], [(0, 0)], (0, 0, 1.0)), empty, pair(2, 3, [(0, 0)], [(0, 0)], (0, 0, 1.0))])
    assert listed(tracks, "frame", "id") == [(0, 1), (1, 1), (3, 2)]
    apart = chain([pair(0, 1, [(0, 0)], [(0, 0)], (0, 0, 1.0)), pair(4, 5, [(0, 0)], [(0, 0)], (0, 0, 1.0))])
    assert listed(apart, "frame", "id") == [(0, 1), (1, 1), (4, 2), (5, 2)]


def test_pairs_that_cannot_be_chained() -> None:
    one = pair(0, 1, [(0, 0)], [(0, 0)], (0, 0, 1.0))
    with pytest.raises(ValueError, match="pair 0-1: expected pairs in the order of frames"):
        chain([one, one])
    with pytest.raises(ValueError, match="pair 1-1"):
        chain([pair(1, 1, [(0, 0)], [(0, 0)])])
    with pytest.raises(ValueError, match="pair 0-1: expected each row of points_from at most once"):
        chain([pair(0, 1, [(0, 0)], [(0, 0), (1, 0)], (0, 0, 1.0), (0, 1, 1.0))])


# --- laptrack


def test_laptrack_finds_a_division() -> None:
    pytest.importorskip("laptrack")
    detections = [
        [(10, 10), (50, 50)],
        [(10, 11), (50, 51)],
        [(4, 11), (16, 11), (50, 52)],
        [(3, 11), (17, 11), (50, 53)],
    ]
    tracks = laptrack_tracks(detections, 15.0, frames=[0, 5, 10, 15])
    rows = {(r.frame, r.x): (r.id, r.parent) for r in tracks.itertuples()}
    mother = rows[0, 10][0]
    assert rows[5, 10] == (mother, -1)
    assert rows[10, 4][1] == rows[10, 16][1] == rows[15, 17][1] == mother
    assert len({mother, rows[10, 4][0], rows[10, 16][0]}) == 3
    assert rows[0, 50] == rows[15, 50]
    assert tracks["score"].dropna().between(0, 1).all()
    without = laptrack_tracks(detections, 15.0, splitting_px=0)
    assert (without["parent"] == -1).all()
    assert without["id"].nunique() == 3


def test_laptrack_closes_a_gap() -> None:
    pytest.importorskip("laptrack")
    detections = [[(10, 10), (90, 10)], [(10, 11)], [(10, 12), (90, 12)]]
    tracks = laptrack_tracks(detections, 15.0)
    assert listed(tracks, "frame", "id", "x") == [(0, 1, 10.0), (0, 2, 90.0), (1, 1, 10.0), (2, 1, 10.0), (2, 2, 90.0)]
    assert laptrack_tracks(detections, 15.0, gap_closing_px=0)["id"].nunique() == 3
    assert laptrack_tracks(detections, 15.0, gap_frames=1)["id"].nunique() == 3


@pytest.mark.parametrize(
    ("detections", "n_rows"),
    [([], 0), ([NONE], 0), ([NONE, NONE], 0), ([[(1, 1)]], 1), ([NONE, [(1, 1)]], 1), ([[(1, 1)], NONE, [(2, 1)]], 2)],
)
def test_laptrack_takes_frames_without_cells(detections: list[Array], n_rows: int) -> None:
    pytest.importorskip("laptrack")
    assert len(laptrack_tracks(detections)) == n_rows


def test_laptrack_that_is_not_installed_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "laptrack", None)
    with pytest.raises(ImportError, match=r"laptrack is not installed: pip install 'cellweak\[peers\]'"):
        laptrack_tracks([[(0, 0)]])
