"""Trackers that users would pick today, on our detections: laptrack (Fukai and Kawaguchi 2023, Bioinformatics)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .tracks import checked_detections, links_table, tracks_table

if TYPE_CHECKING:
    import pandas as pd


def laptrack_tracks(
    detections: Sequence[ArrayLike],
    max_distance_px: float = 15.0,
    frames: Sequence[int] | None = None,
    *,
    splitting_px: float | None = None,
    gap_closing_px: float | None = None,
    gap_frames: int = 2,
) -> pd.DataFrame:
    """Tracks by laptrack: assignment frame to frame, then of track ends to track starts (gaps and divisions).

    Costs are squared distances, as laptrack's defaults; merging is off, because cells do not merge.

    Args:
        detections: For each frame `(n, 2)` x, y in px.
        max_distance_px: Longest link between neighbouring frames (laptrack's default).
        frames: Frame numbers, increasing; None for 0, 1, ... Neighbours in this list are one step apart.
        splitting_px: Farthest that a daughter begins from its mother; None for `max_distance_px`, 0 allows none.
        gap_closing_px: Longest link over a gap; None for `max_distance_px`, 0 closes none.
        gap_frames: Steps that a link over a gap may span; 1 closes none over a missing detection.

    Returns:
        The tracks (see `tracks_table`), without rows in gaps; `score` is 1 - d / (its kind of link's longest distance).

    Raises:
        ImportError: laptrack is not installed; says how to install it.
        ValueError: See `checked_detections`.
    """
    try:
        laptrack = import_module("laptrack")
    except ImportError as error:
        raise ImportError(
            "laptrack is not installed: pip install 'cellweak[peers]', or compare without the method 'laptrack'"
        ) from error

    numbers, arrays = checked_detections(detections, frames)
    split_px = max_distance_px if splitting_px is None else splitting_px
    gap_px = max_distance_px if gap_closing_px is None else gap_closing_px
    tracker = laptrack.LapTrack(
        cutoff=max_distance_px**2,
        gap_closing_cutoff=gap_px**2 or False,
        gap_closing_max_frame_count=gap_frames,
        splitting_cutoff=split_px**2 or False,
        merging_cutoff=False,
    )
    rows = []
    if any(len(a) for a in arrays):  # it cannot take a sequence without cells
        tree = tracker.predict(arrays)
        for (a, i), (b, j) in sorted(tree.edges()):
            distance = float(np.linalg.norm(arrays[a][i] - arrays[b][j]))
            split = tree.out_degree((a, i)) > 1
            longest = max(max_distance_px if b - a == 1 else gap_px, split_px if split else 0)
            one = np.array([i], np.int64), np.array([j], np.int64), np.array([1 - distance / longest])
            rows.append((numbers[a], numbers[b], *one))
    return tracks_table(arrays, links_table(rows), numbers)
