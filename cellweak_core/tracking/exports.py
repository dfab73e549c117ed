"""Tracks for other programs: a CSV, napari's arrays, the Cell Tracking Challenge's files, a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellweak_core.tables import write_csv
from cellweak_core.tracking.ctc_writing import write_ctc
from cellweak_core.tracking.videos import write_video

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["napari_graph", "napari_tracks", "write_ctc", "write_tracks", "write_video"]

COLUMNS = ("frame", "id", "x", "y", "parent", "score")


def write_tracks(tracks: pd.DataFrame, path: str | Path, numbers: Sequence[int] | None = None) -> Path:
    """Writes tracks as CSV, whole or not at all; `points.read_points` reads it.

    Args:
        tracks: columns frame (index), id, x, y and perhaps parent (-1 = none), score (NaN on a track's first row).
        path: the file.
        numbers: the frames' numbers in their file names (`FrameSource.numbers`), written instead of indices.

    Returns:
        The path. Columns frame, id, x, y, parent, score, sorted by frame and id; positions to 0.001 px.

    Raises:
        ValueError: a column is missing, or a frame has no number.
    """
    missing = [name for name in COLUMNS[:4] if name not in tracks]
    if missing:
        raise ValueError(f"tracks: columns {missing} are missing, expected {', '.join(COLUMNS)}")
    written = tracks.assign(
        **{name: value for name, value in (("parent", -1), ("score", np.nan)) if name not in tracks}
    )[list(COLUMNS)].sort_values(["frame", "id"], ignore_index=True)
    if numbers is not None:
        frame = written["frame"].to_numpy(np.int64)
        if len(frame) and not 0 <= frame.min() <= frame.max() < len(numbers):
            raise ValueError(f"tracks: frames {frame.min()} to {frame.max()}, and {len(numbers)} frames have a number")
        written["frame"] = np.asarray(numbers, np.int64)[frame]
    written[["x", "y"]] = written[["x", "y"]].astype(float).round(3)
    written["score"] = written["score"].astype(float).round(6)
    return write_csv(written, path)


def napari_tracks(tracks: pd.DataFrame) -> np.ndarray:
    """Tracks as the array of a napari layer: `viewer.add_tracks(napari_tracks(t), graph=napari_graph(t))`.

    Args:
        tracks: columns frame, id, x, y.

    Returns:
        float64 (N, 4) of ID, T, Y, X, sorted by ID and then T, as napari asks for.
    """
    rows = tracks[["id", "frame", "y", "x"]].to_numpy(np.float64)
    return rows[np.lexsort((rows[:, 1], rows[:, 0]))]


def napari_graph(tracks: pd.DataFrame) -> dict[int, list[int]]:
    """Divisions as napari's tracks layer takes them: each daughter's id with her mother's in a list."""
    if "parent" not in tracks:
        return {}
    daughters = tracks[tracks["parent"] >= 0].drop_duplicates("id")
    there = set(tracks["id"].tolist())
    pairs = zip(daughters["id"].tolist(), daughters["parent"].tolist(), strict=True)
    return {int(cell): [int(parent)] for cell, parent in pairs if parent in there}
