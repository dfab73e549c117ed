"""Tracks from two separate maps: where cells are, and how they moved (cell motion field, CMF).

    position map of frame t       --> peaks -----+
    motion map of (t-1, t)  at the peaks --> earlier positions --> assignment to the peaks of frame t-1

Source: Hayashida and Bise 2019 (reference 13 of Nishimura 2020), as the two papers describe it: no code was published.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .linking import assign
from .peaks import LATER_THRESHOLD, peaks
from .tracks import Floats, links_table, tracks_table

if TYPE_CHECKING:
    import pandas as pd


def earlier_positions(points: Floats, motion_map: ArrayLike, z: float = 5.0, min_length: float = 0.1) -> Floats:
    """Where cells were one frame earlier, by the motion map at their positions.

    Args:
        points: `(n, 2)` x, y in px, inside the map.
        motion_map: `(3, H, W)`, channels y, x, z, a direction in space and time (see `maps.motion_maps`), or
            `(2, H, W)`, the displacement to the earlier position along y and x in px.
        z: The third component that the directions were made with, px.
        min_length: Of a direction; where it is shorter, or does not lead back in time, the map says nothing about the
            cell, which is taken to stand still.

    Returns:
        `(n, 2)` x, y.

    Raises:
        ValueError: Another shape, or a vector that is not finite.
    """
    motion = np.asarray(motion_map)
    if motion.ndim != 3 or motion.shape[0] not in (2, 3):
        raise ValueError(f"motion_map: expected (3, H, W) or (2, H, W), got {motion.shape}")
    columns, rows = np.rint(points).astype(np.int64).T
    vectors = motion[:, rows, columns].astype(float)  # (2 or 3, n)
    if not np.isfinite(vectors).all():
        raise ValueError(f"motion_map: {np.sum(~np.isfinite(vectors).all(0))} of {len(points)} vectors are not finite")
    step = vectors[1::-1].T  # (n, 2) x, y
    if len(vectors) == 3:
        told = (np.linalg.norm(vectors, axis=0) >= min_length) & (vectors[2] > 0)
        step = np.where(told[:, None], z * step / np.where(told, vectors[2], 1)[:, None], 0)
    return points + step


def track_cell_motion(
    frames: Sequence[int],
    position: Callable[[int], ArrayLike],
    motion: Callable[[int], ArrayLike],
    *,
    threshold: float = LATER_THRESHOLD,
    min_distance_px: int = 2,
    smooth_px: float = 0.0,
    z: float = 5.0,
    max_distance_px: float = 10.0,
    max_daughters: int = 2,
) -> pd.DataFrame:
    """Track a sequence by separate position and motion maps, holding the maps of one frame at a time.

    Each peak is moved to where the motion map says that it was, and assigned to the peaks of the frame before by linear
    assignment. The two papers name no division rule for CMF; here a cell may have two daughters.
    With a `CmfNet`: `predict_frame_map(net.position, source, k)`, `predict_pair_maps(net.motion, source, k - 1, k)`.

    Args:
        frames: Numbers of the frames, increasing, at any step.
        position: `position(k)` gives the likelihood map `(H, W)` in [0, 1] of `frames[k]`, k = 0, 1, ...
        motion: `motion(k)` gives the motion map of the pair `frames[k - 1]`, `frames[k]`, k = 1, 2, ...; see
            `earlier_positions`. It is asked for only where both frames have cells.
        threshold: Of the peaks, a share of 1.
        min_distance_px: Half the side of the square in which a peak is the largest.
        smooth_px: Standard deviation of a Gaussian over the position map, for narrow networks' rough ones; see `peaks`.
        z: The third component that the motion map's directions were made with, px.
        max_distance_px: Between the moved peak and one of the frame before.
        max_daughters: 2 allows divisions, 1 does not.

    Returns:
        The tracks (see `tracks_table`); `score` is 1 - d / max_distance_px of the moved peak.

    Raises:
        ValueError: Maps of the wrong shape or not finite; frames out of order.
    """
    detections, rows = list[Floats](), []
    for k in range(len(frames)):
        detections.append(peaks(np.asarray(position(k)), threshold, min_distance_px, smooth_px))
        if k and len(detections[k]) and len(detections[k - 1]):
            then = earlier_positions(detections[k], motion(k), z)
            from_index, to_index, distance = assign(detections[k - 1], then, max_distance_px, max_daughters)
            rows.append((int(frames[k - 1]), int(frames[k]), from_index, to_index, 1 - distance / max_distance_px))
    return tracks_table(detections, links_table(rows), frames)
