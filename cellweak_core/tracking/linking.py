"""Plain frame-to-frame assignment of detections, and tracks from links that were made pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .tracks import Floats, Ints, checked_detections, links_table, tracks_table

if TYPE_CHECKING:
    import pandas as pd

    from .association import Links


@dataclass(frozen=True)
class PairLinks:
    """The links of one pair of frames, between detections that were made for this pair.

    Args:
        frame_from: Number of the earlier frame.
        frame_to: Number of the later frame.
        points_from: `(n, 2)` x, y in the earlier frame, px.
        points_to: `(m, 2)` x, y in the later frame, px.
        from_index: `(k,)` rows of `points_from`, each at most once.
        to_index: `(k,)` rows of `points_to`, each at most once.
        score: `(k,)` confidence of each link.
        dropped_to: Rows of `points_to` that become no part of any track (low confidence, "state 2").
    """

    frame_from: int
    frame_to: int
    points_from: Floats
    points_to: Floats
    from_index: Ints
    to_index: Ints
    score: Floats
    dropped_to: Ints | tuple[()] = ()

    @classmethod
    def confident(cls, frames: tuple[int, int], points_from: Floats, points_to: Floats, links: Links) -> PairLinks:
        """The confident links (state 1) of an association; cells of a doubtful link (state 2) join no track."""
        sure = links.state == 1
        ends = links.from_index[sure], links.to_index[sure], links.score[sure]
        return cls(*frames, points_from, points_to, *ends, np.flatnonzero(links.state_t1 == 2))


def assign(
    previous: Floats, current: Floats, max_distance_px: float, max_daughters: int = 1
) -> tuple[Ints, Ints, Floats]:
    """Linear assignment of two sets of points: minimum of sum d², where a point left alone costs the gate squared.

    So a link is made wherever it lowers the sum; it never forces the rest into farther partners, as the maximum number
    of links would. Only pairs within the gate are stored: time and memory grow with the cells, not with their square.

    Args:
        previous: `(m, 2)` x, y of the earlier frame.
        current: `(n, 2)` x, y of the later frame.
        max_distance_px: Links are shorter than this.
        max_daughters: How many current points one previous point may have.

    Returns:
        Rows of `previous`, rows of `current` (increasing) and distances in px, each `(k,)`.

    Raises:
        ValueError: A gate that is not positive, or `max_daughters` below 1.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching
    from scipy.spatial import cKDTree

    if not 0 < max_distance_px < np.inf:
        raise ValueError(f"max_distance_px: expected a positive number of px, got {max_distance_px}")
    if max_daughters < 1:
        raise ValueError(f"max_daughters: expected at least 1, got {max_daughters}")
    n = len(current)
    nothing = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    if not n or not len(previous):
        return nothing
    near = cKDTree(current).sparse_distance_matrix(cKDTree(previous), max_distance_px, output_type="ndarray")
    near = near[near["v"] < max_distance_px]
    if not len(near):
        return nothing
    n_slots = len(previous) * max_daughters
    row = np.repeat(near["i"], max_daughters)
    column = (near["j"][:, None] * max_daughters + np.arange(max_daughters)).ravel()
    # Each current point also has a place of its own, where it stays without a partner. Costs are shifted by one gate,
    # which changes no minimum, because a stored zero would be taken for a missing pair.
    gate = max_distance_px**2
    cost = np.concatenate([np.repeat(near["v"] ** 2, max_daughters), np.full(n, gate)]) + gate
    places = np.concatenate([row, np.arange(n)]), np.concatenate([column, n_slots + np.arange(n)])
    matrix = coo_array((cost, places), shape=(n, n_slots + n)).tocsr()
    rows, columns = min_weight_full_bipartite_matching(matrix)
    linked = columns < n_slots
    to_index, from_index = rows[linked].astype(np.int64), (columns[linked] // max_daughters).astype(np.int64)
    return from_index, to_index, np.linalg.norm(previous[from_index] - current[to_index], axis=1)


def link_frames(
    detections: Sequence[ArrayLike], max_distance_px: float, frames: Sequence[int] | None = None
) -> pd.DataFrame:
    """Plain frame-to-frame linear assignment: no motion model, no divisions, no gaps.

    Args:
        detections: For each frame `(n, 2)` x, y in px; empty frames end every track.
        max_distance_px: Longest link.
        frames: Frame numbers, increasing; None for 0, 1, ... Neighbours in this list are linked, whatever their step.

    Returns:
        The tracks (see `tracks_table`); `score` is 1 - d / max_distance_px.

    Raises:
        ValueError: See `checked_detections` and `assign`.
    """
    numbers, arrays = checked_detections(detections, frames)
    rows = []
    for k in range(1, len(numbers)):
        from_index, to_index, distance = assign(arrays[k - 1], arrays[k], max_distance_px)
        rows.append((numbers[k - 1], numbers[k], from_index, to_index, 1 - distance / max_distance_px))
    return tracks_table(arrays, links_table(rows), numbers)


def chain(
    pairs: Sequence[PairLinks], max_distance_px: float = 10.0, keep_missed: bool = False
) -> pd.DataFrame:
    """Tracks from links that were made pair by pair, each pair with its own detections ("BF" of Table 4).

    The detections of the later frame of one pair are matched with those of the same frame in the next pair by linear
    assignment; a match hands its id on along the next pair's link, and every other detection of a later frame begins a
    track (Nishimura 2020, Sec. 4; `local2global_traject.py`). Only detections that a link leaves can be matched.

    Deviation: a linked detection whose other end has no match gets an id of its own; the authors' script leaves it the
    row's number in the pair, which another track may bear.

    Args:
        pairs: In the order of frames; one whose earlier frame is no earlier pair's later frame begins tracks anew.
        max_distance_px: Farther than this, two detections of one frame are different cells.
        keep_missed: Whether a detection of a pair's earlier frame that a link leaves and no track reaches is added to
            the tracks, so that its link is kept; the authors' script keeps the later end only.

    Returns:
        The tracks (see `tracks_table`); positions are those of the pair in which a frame is the later one. Of a frame
        that is none's (the first), only the detections that a link leaves are kept, as by the authors' script.

    Raises:
        ValueError: Pairs that go back in time or share a later frame, or a detection with two links.
    """
    detections = dict[int, Floats]()
    rows = list[tuple[int, int, Ints, Ints, Floats]]()
    for pair in pairs:
        leaving = np.asarray(pair.from_index, np.int64)
        name = f"pair {pair.frame_from}-{pair.frame_to}"
        if pair.frame_to <= pair.frame_from or pair.frame_to in detections:
            raise ValueError(f"{name}: expected pairs in the order of frames, each with a later frame of its own")
        if len(np.unique(leaving)) < len(leaving):
            raise ValueError(f"{name}: expected each row of points_from at most once in from_index")
        wanted = np.asarray(pair.points_from, float).reshape(-1, 2)
        if pair.frame_from not in detections:
            detections[pair.frame_from] = wanted[leaving]
            reached = link = np.arange(len(leaving))
        else:
            there, wanted = detections[pair.frame_from], wanted[leaving]
            reached, link, _ = assign(there, wanted, max_distance_px)
            if keep_missed:
                missed = np.setdiff1d(np.arange(len(leaving)), link)
                detections[pair.frame_from] = np.concatenate([there, wanted[missed]])
                reached = np.concatenate([reached, len(there) + np.arange(len(missed))])
                link = np.concatenate([link, missed])
        points = np.asarray(pair.points_to, float).reshape(-1, 2)
        kept = np.setdiff1d(np.arange(len(points)), np.asarray(pair.dropped_to, np.int64))
        row_of = np.full(len(points), -1)
        row_of[kept] = np.arange(len(kept))
        detections[pair.frame_to] = points[kept]
        to_index, score = row_of[np.asarray(pair.to_index, np.int64)[link]], np.asarray(pair.score, float)[link]
        good = to_index >= 0
        rows.append((pair.frame_from, pair.frame_to, reached[good], to_index[good], score[good]))
    numbers = sorted(detections)
    return tracks_table([detections[f] for f in numbers], links_table(rows), numbers)
