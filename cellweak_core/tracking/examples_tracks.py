"""Tracks to look at: strips of frames around many cells, a division, and trajectories of a whole test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .compared import compare_tracks
from .comparison import Found
from .evaluation import LINK_GATE_PX
from .places import Box, at_border, crowd, cut, divisions, square

SIDE_PX = 160  # of the squares that strips show
STEP = 4  # frames between those shown, at most: cells shall be recognised from one to the next


def strip(
    found: Found, test: str, methods: Sequence[str], seed: int = 0, n: int = 5, truth: bool = True
) -> dict[str, Any]:
    """Figs. 6 and 7: the square of a test where most cells are, in the middle of the sequence.

    Args:
        found: Of a comparison.
        test: The test's name.
        methods: Those that are there are shown, in this order.
        seed: Of the trainings.
        n: Frames.
        truth: Whether the true tracks are a row of their own where they are known, and any method is there.

    Returns:
        `images`, `frames` their numbers, and `rows` {method: tracks}, all in the square's pixels.
    """
    data = found.split.tests[test]
    middle = (len(data.source) - 1) / 2
    reach = min(middle, STEP * (n - 1) / 2)
    frames = np.unique(np.linspace(middle - reach, middle + reach, n).round().astype(int)).tolist()
    box = square(crowd(data, frames[len(frames) // 2], SIDE_PX), data.source.shape, SIDE_PX)
    return _strip(found, test, methods, seed, frames, box, truth)


def division(
    found: Found, methods: Sequence[str] = ("BF", "Ours"), seed: int = 0, side_px: int = 96
) -> dict[str, Any] | str:
    """Fig. 10: a true division, the last method's finding it and the first's missing it where there is such a one.

    Args:
        found: Of a comparison.
        methods: As `strip`.
        seed: Of the trainings.
        side_px: Of the square.

    Returns:
        As `strip`, with `title`; or why there is none.
    """
    tried: list[tuple[Any, ...]] = []
    for test, data in found.split.tests.items():
        true = divisions(data.points if data.linked else None)
        if not true:
            continue
        by_method = {m: _recovered(found, test, m, seed) for m in methods if (m, test, seed, 1) in found.tracks}
        for (t, mother), xy in true.items():
            if len(xy) < 2 or not 1 <= t < len(data.source):
                continue
            seen = [(t, mother) in by_method[m] for m in methods if m in by_method]
            rank = (at_border(xy.mean(0), data.source.shape, side_px / 4), not (seen and seen[-1] and not seen[0]))
            tried.append((*rank, not any(seen), len(tried), test, t, xy.mean(0)))
    if not tried:
        return "No division in the frames of these tests."
    *_, test, t, xy = min(tried, key=lambda one: one[:4])
    source = found.split.tests[test].source
    frames = list(range(max(0, t - 2), min(t + 3, len(source))))
    shown = _strip(found, test, methods, seed, frames, square(xy, source.shape, side_px), True)
    return {**shown, "title": f"{test}: a cell divides between frames {source.numbers[t - 1]} and {source.numbers[t]}"}


def trajectories(found: Found, test: str, method: str = "Ours", seed: int = 0, n: int = 5) -> dict[str, Any] | str:
    """Fig. 11: the tracks of a test, its last frame, and an enlarged square over time.

    Returns:
        `image`, `tracks` with frames numbered as in the files, `images`, `frames` and `rows` as `strip`, `box` its
        square (top, bottom, left, right); or why there is nothing.
    """
    if (method, test, seed, 1) not in found.tracks:
        return f"No tracks by {method} in this run."
    data = found.split.tests[test]
    side = min(SIDE_PX, min(data.source.shape) // 2)
    middle = len(data.source) // 2
    box = square(crowd(data, middle, side), data.source.shape, side)
    first = max(0, middle - STEP * (n - 1) // 2)
    frames = np.unique(np.linspace(first, min(len(data.source) - 1, first + STEP * (n - 1)), n).round().astype(int))
    last = len(data.source) - 1
    tracks = _numbered(found.tracks[method, test, seed, 1][0], data.source.numbers)
    inset = _strip(found, test, [method], seed, frames.tolist(), box, False)
    return {**inset, "image": data.source[last], "tracks": tracks, "box": box}


def _strip(
    found: Found, test: str, methods: Sequence[str], seed: int, frames: Sequence[int], box: Box, truth: bool
) -> dict[str, Any]:
    data = found.split.tests[test]
    tables = {m: found.tracks[m, test, seed, 1][0] for m in methods if (m, test, seed, 1) in found.tracks}
    if truth and data.linked and data.points is not None and tables:
        tables = {"truth": data.points, **tables}
    numbers = data.source.numbers
    return {
        "images": [cut(data.source[t], box) for t in frames],
        "rows": {m: _numbered(moved(tracks, box), numbers) for m, tracks in tables.items()},
        "frames": [numbers[t] for t in frames],
    }


def _numbered(tracks: pd.DataFrame, numbers: Sequence[int]) -> pd.DataFrame:
    """Frames by the numbers of their files, as everything shown."""
    return tracks.assign(frame=np.asarray(numbers)[tracks["frame"].to_numpy(int)])


def _recovered(found: Found, test: str, method: str, seed: int) -> set[tuple[int, int]]:
    """First frame and mother of the true divisions of which a method has the links to both daughters."""
    truth = found.split.tests[test].points
    assert truth is not None
    both = compare_tracks(truth, found.tracks[method, test, seed, 1][0], LINK_GATE_PX, None, 10.0, 1, False)
    true = both.truth
    rows = np.flatnonzero(true.divided & both.recovered)
    mothers = true.ids[true.cell[true.previous[rows]]]
    ends, counts = np.unique(np.stack([true.frame[rows], mothers], 1), axis=0, return_counts=True)
    return {(int(t), int(mother)) for (t, mother), n in zip(ends, counts, strict=True) if n > 1}


def moved(tracks: pd.DataFrame, box: Box) -> pd.DataFrame:
    """Tracks in a square's own pixels, those outside left out."""
    top, bottom, left, right = box
    inside = tracks["x"].between(left, right - 1) & tracks["y"].between(top, bottom - 1)
    part = tracks[inside]
    return part.assign(x=part["x"] - left, y=part["y"] - top)
