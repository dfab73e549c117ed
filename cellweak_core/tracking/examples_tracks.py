"""Tracks to look at: strips of frames around many cells, and around a division."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .comparison import Found
from .examples import Box, cut, daughters, square

SIDE_PX = 240  # of the squares that strips show


def strip(found: Found, test: str, methods: Sequence[str], seed: int = 0, n: int = 5) -> dict[str, Any]:
    """Figs. 6 and 7: `images`, `rows` {method: tracks} and `frames` of a test, all in one square.

    Args:
        found: Of a comparison.
        test: The test's name.
        methods: Those that are there are shown, in this order.
        seed: Of the trainings.
        n: Frames, spread over the sequence.
    """
    data = found.split.tests[test]
    frames = np.unique(np.linspace(0, len(data.source) - 1, n).round().astype(int)).tolist()
    height, width = data.source.shape
    box = square((width / 2, height / 2), data.source.shape, SIDE_PX)
    rows = {m: found.tracks[m, test, seed, 1][0] for m in methods if (m, test, seed, 1) in found.tracks}
    return {
        "images": [cut(data.source[t], box) for t in frames],
        "rows": {m: moved(tracks, box) for m, tracks in rows.items()},
        "frames": frames,
    }


def division(found: Found, methods: Sequence[str], seed: int = 0, side_px: int = 80) -> dict[str, Any] | str:
    """Fig. 10: the same around the first division of a test that lies well inside its frames, or why there is none."""
    for test, data in found.split.tests.items():
        born = daughters(data.points if data.linked else None)
        for t in sorted(born):
            xy = born[t].mean(0)
            inside = min(*xy, data.source.shape[1] - xy[0], data.source.shape[0] - xy[1]) > side_px / 3
            if len(born[t]) < 2 or not 2 <= t < len(data.source) - 2 or not inside:
                continue
            box = square(xy, data.source.shape, side_px)
            frames = list(range(t - 2, min(t + 3, len(data.source))))
            rows = {m: found.tracks[m, test, seed, 1][0] for m in methods if (m, test, seed, 1) in found.tracks}
            return {
                "images": [cut(data.source[k], box) for k in frames],
                "rows": {m: moved(tracks, box) for m, tracks in rows.items()},
                "frames": frames,
            }
    return "No division of a cell inside the frames in this data."


def moved(tracks: pd.DataFrame, box: Box) -> pd.DataFrame:
    """Tracks in a square's own pixels, those outside left out."""
    top, bottom, left, right = box
    inside = tracks["x"].between(left, right - 1) & tracks["y"].between(top, bottom - 1)
    part = tracks[inside]
    return part.assign(x=part["x"] - left, y=part["y"] - top)
