"""Tracks from detections and the links between them: ids, divisions, parents.

    frame   0          1          2         a link leads from a detection to one of a later frame:
            a -------- b ---+---- c         one way on is the same cell, two are a division, and every
          id 1       id 1   +---- d         detection has at most one way back
                                  ids 2, 3, parent 1
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LINK_COLUMNS = ("frame_from", "frame_to", "from_index", "to_index", "score")
TRACK_COLUMNS = ("frame", "id", "x", "y", "parent", "score")


def split_frames(points: pd.DataFrame, frames: Sequence[int] | None = None) -> tuple[list[int], list[Floats]]:
    """A table of positions as one array per frame.

    Args:
        points: Columns frame, x, y, in any order of rows.
        frames: The frames wanted, those without a position included; None for every frame that has one.

    Returns:
        The frame numbers and, for each, `(n, 2)` x, y in the order of the table's rows.
    """
    of = points["frame"].to_numpy(np.int64)
    order = np.argsort(of, kind="stable")
    of, xy = of[order], points[["x", "y"]].to_numpy(float)[order]
    wanted = np.unique(of) if frames is None else np.asarray(frames, np.int64)
    starts, stops = np.searchsorted(of, wanted), np.searchsorted(of, wanted, side="right")
    return wanted.tolist(), [xy[a:b] for a, b in zip(starts, stops, strict=True)]


def checked_detections(
    detections: Sequence[ArrayLike], frames: Sequence[int] | None = None
) -> tuple[list[int], list[Floats]]:
    """Frame numbers and one finite float64 `(n, 2)` array for each frame; an empty sequence is no detection.

    Raises:
        ValueError: Frames that do not increase or are not as many as the arrays, another shape, or a position that is
            not finite; names the frame.
    """
    numbers = list(range(len(detections))) if frames is None else [int(f) for f in frames]
    if len(numbers) != len(detections):
        raise ValueError(f"frames: expected one number for each of {len(detections)} arrays, got {len(numbers)}")
    if any(b <= a for a, b in pairwise(numbers)):
        raise ValueError(f"frames: expected increasing numbers, got {numbers[:10]}")
    arrays = []
    for number, points in zip(numbers, detections, strict=True):
        array = np.asarray(points, float)
        array = array.reshape(0, 2) if array.size == 0 else array
        if array.ndim != 2 or array.shape[1] != 2:
            raise ValueError(f"detections of frame {number}: expected (n, 2) x, y, got {array.shape}")
        if not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array).all(1))[0])
            raise ValueError(f"detections of frame {number}: row {row} is not finite: {array[row].tolist()}")
        arrays.append(array)
    return numbers, arrays


def links_table(rows: Sequence[tuple[int, int, Ints, Ints, Floats]]) -> pd.DataFrame:
    """A table of links from one tuple (frame_from, frame_to, from_index, to_index, score) for each pair of frames."""
    import pandas as pd

    sizes = [len(row[2]) for row in rows]
    ints, floats = np.empty(0, np.int64), np.empty(0)
    return pd.DataFrame(
        {
            "frame_from": np.repeat(np.array([row[0] for row in rows], np.int64), sizes),
            "frame_to": np.repeat(np.array([row[1] for row in rows], np.int64), sizes),
            "from_index": np.concatenate([ints, *(row[2] for row in rows)]).astype(np.int64),
            "to_index": np.concatenate([ints, *(row[3] for row in rows)]).astype(np.int64),
            "score": np.concatenate([floats, *(row[4] for row in rows)]).astype(float),
        }
    )


def tracks_table(
    detections: Sequence[ArrayLike],
    links: pd.DataFrame,
    frames: Sequence[int] | None = None,
    rank: ArrayLike | None = None,
) -> pd.DataFrame:
    """Tracks with ids and parents from detections and the links between them.

    A detection with one link onward is followed by the same cell; with two it divides, both daughters get new ids and
    its id as parent; of three or more the two of highest rank are the daughters and the others begin tracks without a
    parent (facts of the authors' code: `CMP_predict.py`, division part). Ids count from 1 in the order of frames, then
    of detections, so that more frames never change those given.

    Args:
        detections: For each frame `(n, 2)` x, y in px.
        links: `LINK_COLUMNS`; indices are rows of the two frames' arrays.
        frames: Frame numbers of `detections`, increasing; None for 0, 1, ...
        rank: For each link, what decides between more than two daughters; None for the score.

    Returns:
        One row for each detection, ordered by frame and id: frame, id, x, y, parent (-1 = none, on every row of a
        daughter) and score, the confidence of the link that led to the row: NaN where none did, on a daughter's first
        row that of the link from its mother.

    Raises:
        ValueError: A link to an unknown frame or detection, back in time, or a second one to the same detection.
    """
    import pandas as pd

    numbers, arrays = checked_detections(detections, frames)
    counts = np.array([len(a) for a in arrays], np.int64)
    first = np.concatenate([[0], np.cumsum(counts)])
    n = int(first[-1])
    source, target = _nodes(links, numbers, counts, first)
    score = links["score"].to_numpy(float)
    order = np.lexsort((np.arange(len(links)), -(score if rank is None else np.asarray(rank, float)), source))
    source, target, score = source[order], target[order], score[order]
    new = np.concatenate([[True], source[1:] != source[:-1]])[: len(source)]
    place = np.arange(len(source)) - np.maximum.accumulate(np.where(new, np.arange(len(source)), 0))
    source, target, score = source[place < 2], target[place < 2], score[place < 2]

    came_from, n_ways, led = np.full(n, -1), np.bincount(source, minlength=n), np.full(n, np.nan)
    came_from[target], led[target] = source, score
    mother = np.where((came_from >= 0) & (n_ways[came_from] > 1), came_from, -1) if n else came_from
    starts = (came_from < 0) | (mother >= 0)
    ids = np.where(starts, np.cumsum(starts), 0)
    for k in range(len(numbers)):  # links lead forward, so every earlier detection has its id
        rows = np.arange(first[k], first[k + 1])
        rows = rows[~starts[rows]]
        ids[rows] = ids[came_from[rows]]
    parents = np.full(int(starts.sum()) + 1, -1)
    divided = mother >= 0
    parents[ids[divided]] = ids[mother[divided]]
    xy = np.concatenate([np.empty((0, 2)), *arrays])
    table = pd.DataFrame(
        {
            "frame": np.repeat(np.array(numbers, np.int64), counts),
            "id": ids.astype(np.int64),
            "x": xy[:, 0],
            "y": xy[:, 1],
            "parent": parents[ids].astype(np.int64),
            "score": led,
        }
    )
    return table.sort_values(["frame", "id"], ignore_index=True)


def _nodes(links: pd.DataFrame, numbers: Sequence[int], counts: Ints, first: Ints) -> tuple[Ints, Ints]:
    """The links' two ends as rows of all detections one frame after another."""
    ends = []
    known = np.array(numbers, np.int64)
    for frame_column, index_column in (("frame_from", "from_index"), ("frame_to", "to_index")):
        frame, index = links[frame_column].to_numpy(np.int64), links[index_column].to_numpy(np.int64)
        at = np.searchsorted(known, frame).clip(max=max(0, len(known) - 1))
        bad = known[at] != frame if len(known) else np.full(len(frame), True)
        if not bad.any():
            bad = (index < 0) | (index >= counts[at])
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(f"links, row {row}: there is no detection {index[row]} in frame {frame[row]}")
        ends.append(first[at] + index)
    source, target = ends
    backward = links["frame_to"].to_numpy() <= links["frame_from"].to_numpy()
    if backward.any():
        raise ValueError(f"links, row {int(backward.argmax())}: expected frame_to after frame_from")
    seen, times = np.unique(target, return_counts=True)
    if (times > 1).any():
        row = int(np.flatnonzero(target == seen[times > 1][0])[1])
        raise ValueError(f"links, row {row}: a second link to detection {links['to_index'].iloc[row]} "
                         f"of frame {links['frame_to'].iloc[row]}")  # fmt: skip
    return source, target
