"""Cells are the peaks of a map.

Source: Nishimura et al. 2020 (WSCTBFP), Sec. 3.2; thresholds and steps from the authors' code (`utils/local_maxima`,
`backward_propagation.py`, `CMP_predict.py`) and from Hayashida et al. 2020 (MPM), `mpm_track_parts.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LATER_THRESHOLD = 125 / 255  # peaks of L_t+1, whose past is looked for, and of single-frame detection
EARLIER_THRESHOLD = 80 / 255  # candidates in L_t
MPM_THRESHOLD = 0.1


def peaks(
    likelihood: NDArray[np.floating],
    threshold: float = LATER_THRESHOLD,
    min_distance_px: int = 2,
    smooth_px: float = 0.0,
) -> NDArray[np.float64]:
    """Centroids of the local maxima of a likelihood map.

    The map is clamped to [0, 1] and quantised to 8 bits, as in the authors' code: a pixel is a maximum when nothing
    within `min_distance_px` (a square) is larger and it is above the threshold; touching maxima are one cell.
    Deviation: maxima near the border count too. The map can be smoothed first: that of a narrow or briefly trained
    network is rough, and every bump would be a cell.

    Args:
        likelihood: `(H, W)`, a network's output or a target.
        threshold: Share of 1 that a peak must exceed.
        min_distance_px: Half the side of the square.
        smooth_px: Standard deviation of a Gaussian over the map; 0 leaves it as it is, like the authors.

    Returns:
        `(n, 2)` x, y in px, in the order of rows, then columns, of each cell's first maximum.

    Raises:
        ValueError: Not one map, or NaN in it.
    """
    from scipy.ndimage import gaussian_filter, maximum_filter

    _check_map(likelihood)
    if not likelihood.size:
        return np.zeros((0, 2))
    values = np.clip(likelihood, 0, 1)
    if smooth_px > 0:
        values = gaussian_filter(values.astype(np.float32), smooth_px, mode="nearest")
    levels = (values * 255).astype(np.uint8)
    highest = maximum_filter(levels, size=2 * min_distance_px + 1, mode="constant")
    return _centroids((levels == highest) & (levels > threshold * 255))


class MpmPeaks(NamedTuple):
    """Cells of a motion-and-position map: where they are, where they were, how sure the map is."""

    positions: NDArray[np.float64]  # (n, 2) x, y at t+1
    previous: NDArray[np.float64]  # (n, 2) x, y at t, unbounded
    magnitudes: NDArray[np.float64]  # (n,) of the smoothed map


def smoothed_magnitude(motion: NDArray[np.floating], smooth_px: float = 5.0) -> NDArray[np.float32]:
    """The length of a map's vectors `(3, H, W)` under a Gaussian of `smooth_px`, `(H, W)`; 0 leaves it as it is."""
    from scipy.ndimage import gaussian_filter

    if motion.ndim != 3 or motion.shape[0] != 3:
        raise ValueError(f"motion: expected (3, H, W), got {motion.shape}")
    length = np.sqrt((motion.astype(np.float32) ** 2).sum(0))
    _check_map(length)
    return gaussian_filter(length, smooth_px, mode="constant") if smooth_px > 0 and length.size else length


def mpm_peaks(
    motion: NDArray[np.floating],
    threshold: float = MPM_THRESHOLD,
    smooth_px: float = 5.0,
    z: float = 5.0,
    magnitude: NDArray[np.floating] | None = None,
) -> MpmPeaks:
    """The cells of a motion-and-position map and their previous positions.

    Magnitude, smoothed; local maxima among the eight neighbours; centroids of touching ones; the vector v at the
    centroid's pixel p says where the cell was: p + z (v_x, v_y) / v_z.
    Deviation: the previous position is not cut to whole pixels.

    Args:
        motion: `(3, H, W)`, channels y, x, z.
        threshold: What a peak's smoothed magnitude must exceed (.1; Hayashida 2020: .3).
        smooth_px: Standard deviation of the smoothing (5; Hayashida 2020: 3).
        z: The third component the maps were made with, px.
        magnitude: `smoothed_magnitude(motion, smooth_px)` where it is at hand.

    Returns:
        Positions, previous positions and magnitudes, in the order of `peaks`.

    Raises:
        ValueError: Not one map, or NaN in it.
    """
    from scipy.ndimage import maximum_filter

    height = smoothed_magnitude(motion, smooth_px) if magnitude is None else magnitude
    if not height.size:
        return MpmPeaks(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
    found = _centroids((height == maximum_filter(height, size=3, mode="constant")) & (height > threshold))
    columns, rows = np.rint(found).astype(int).T
    vy, vx, vz = motion[:, rows, columns].astype(np.float64)
    # A vector that lies flat, or points into the future, has no place to point at: at most 50 z away.
    steep = np.maximum(vz, np.maximum(np.hypot(vx, vy) / 50, np.finfo(np.float64).tiny))
    previous = np.stack([columns + z * vx / steep, rows + z * vy / steep], 1)
    return MpmPeaks(found, previous, height[rows, columns].astype(np.float64))


def _check_map(values: NDArray[np.floating]) -> None:
    if values.ndim != 2:
        raise ValueError(f"map: expected (H, W), got {values.shape}")
    if np.isnan(values).any():
        raise ValueError("map: expected numbers, found NaN")


def _centroids(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean x, y of each group of touching pixels (eight neighbours), `(n, 2)`."""
    from scipy.ndimage import label

    labels, n = label(mask, np.ones((3, 3), np.int8))
    rows, columns = np.nonzero(mask)
    groups = labels[rows, columns] - 1
    counts = np.bincount(groups, minlength=n)
    sums = (np.bincount(groups, weights, minlength=n) for weights in (columns, rows))
    return np.stack([total / counts for total in sums], 1) if n else np.zeros((0, 2))
