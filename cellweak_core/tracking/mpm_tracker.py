"""Tracks from motion-and-position maps (MPM), frame by frame: only the last frame's map is held.

    map of (t-2, t-1): magnitude           map of (t-1, t): peaks, each with a vector back in time
         .  o  o  .     <-- climb --  x  <----- vector -----  o    position of frame t
            |___ nearest position of frame t-1, within 10 px: the same cell; two peaks on one: a division

Source: Hayashida et al. 2020 (MPM), Sec. 3.3; Nishimura et al. 2020, Sec. 3.4; steps and thresholds from the authors'
`CMP_predict.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .linking import assign
from .peaks import MPM_THRESHOLD, mpm_peaks
from .tracks import Floats, Ints, links_table, tracks_table

if TYPE_CHECKING:
    import pandas as pd

LINKINGS = ("nearest", "assignment")


def climb(magnitude: NDArray[np.floating], columns: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Steepest ascent over the four neighbours, all starts at once, until no neighbour is larger.

    Args:
        magnitude: `(H, W)`.
        columns: `(n,)` x of the starts, inside the map.
        rows: `(n,)` y of the starts.

    Returns:
        x and y of the tops, `(n,)` each.
    """
    columns, rows = columns.copy(), rows.copy()
    height, width = magnitude.shape
    moving = np.arange(len(columns))
    dx, dy = np.array([[0, 0, 0, -1, 1], [0, 1, -1, 0, 0]])  # staying first: a draw is no ascent
    while len(moving):
        x = np.clip(columns[moving, None] + dx, 0, width - 1)
        y = np.clip(rows[moving, None] + dy, 0, height - 1)
        best = magnitude[y, x].argmax(1)
        at = np.arange(len(moving))
        columns[moving], rows[moving] = x[at, best], y[at, best]
        moving = moving[best > 0]
    return columns, rows


class MpmTracker:
    """Tracks a sequence of motion-and-position maps that come one after another.

    Deviation: peaks and previous positions keep their fractions (the authors cut them to whole pixels, which moves
    every position by half a pixel up and left); a start outside the image is refused (theirs wraps round to the
    opposite border); the smoothing sees nothing beyond the border (theirs sees the mirror image, which draws a cell
    5 px away onto the border); all eight neighbours of a peak are compared (MPM's code leaves one out); two peaks of
    the first map that come from one place are daughters (theirs writes the mother twice).

    Args:
        first_frame: Number of the frame before the first update's.
        threshold: Smoothed magnitude of a peak, and magnitude at the top of a climb, must exceed this.
        smooth_px: Standard deviation of the smoothing before peaks are looked for.
        z: The third component the maps were made with, px.
        max_distance_px: A climb must end nearer than this to a position of the frame before.
        min_start: A climb is not begun where the last map's magnitude is below.
        linking: "nearest": each peak takes the nearest position, many to one (the paper's); "assignment": linear
            assignment, at most two peaks to one position.
        merge_px: Two peaks of the first map whose earlier positions are nearer than this are daughters of one cell.

    Raises:
        ValueError: An unknown linking.
    """

    def __init__(
        self,
        first_frame: int = 0,
        *,
        threshold: float = MPM_THRESHOLD,
        smooth_px: float = 5.0,
        z: float = 5.0,
        max_distance_px: float = 10.0,
        min_start: float = 0.1,
        linking: str = "nearest",
        merge_px: float = 5.0,
    ) -> None:
        if linking not in LINKINGS:
            raise ValueError(f"linking: expected one of {', '.join(LINKINGS)}, got {linking!r}")
        self.threshold, self.smooth_px, self.z = threshold, smooth_px, z
        self.max_distance_px, self.min_start = max_distance_px, min_start
        self.linking, self.merge_px = linking, merge_px
        self.frames = [int(first_frame)]
        self.points = [np.empty((0, 2))]  # (n, 2) x, y of each frame
        self.links = list[Floats]()  # (k, 4) from, to, score, start magnitude of each pair of frames
        self.magnitude: NDArray[np.float32] | None = None  # of the last map

    def update(self, frame: int, magnitude_map: ArrayLike, vector_map: ArrayLike) -> None:
        """Go on by one frame; the first call also places the cells of `first_frame`.

        Args:
            frame: Its number, after the last one's.
            magnitude_map: `(H, W)`: how likely a cell is here, the vectors' length for an MPM.
            vector_map: `(3, H, W)`, channels y, x, z: where from, in direction.

        Raises:
            ValueError: Frames out of order, maps of other shapes, values that are not finite; names the frame.
        """
        from scipy.ndimage import gaussian_filter

        # A copy: it is kept, and a caller may use its array again.
        magnitude, vectors = np.asarray(magnitude_map).astype(np.float32), np.asarray(vector_map)
        if frame <= self.frames[-1]:
            raise ValueError(f"frame: expected a number after {self.frames[-1]}, got {frame}")
        shape = magnitude.shape if self.magnitude is None else self.magnitude.shape
        if magnitude.ndim != 2 or magnitude.shape != shape or vectors.shape != (3, *shape):
            raise ValueError(f"frame {frame}: expected a magnitude map {shape} and vectors {(3, *shape)}, "
                             f"got {magnitude.shape} and {vectors.shape}")  # fmt: skip
        if not np.isfinite(magnitude).all():
            raise ValueError(f"frame {frame}: {np.sum(~np.isfinite(magnitude))} pixels of the map are not finite")
        smooth = gaussian_filter(magnitude, self.smooth_px, mode="constant") if self.smooth_px > 0 else magnitude
        found = mpm_peaks(vectors, self.threshold, self.smooth_px, self.z, magnitude=smooth)
        columns, rows = _pixels(found.positions)
        score = magnitude[rows, columns].astype(float)
        if self.magnitude is None:
            self.points[0], links = self._first(found.previous, score, shape)
        else:
            links = self._linked(found.previous, score)
        self.frames.append(int(frame))
        self.points.append(found.positions)
        self.links.append(links)
        self.magnitude = magnitude

    def _first(self, previous: Floats, score: Floats, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
        """Positions of the first frame, where the peaks of the first map come from, and the links to these."""
        from scipy.spatial import cKDTree

        inside = np.flatnonzero(_inside(previous, shape))
        near = cKDTree(previous[inside]).query_pairs(self.merge_px, output_type="ndarray") if len(inside) else []
        mother_of = np.arange(len(inside))
        free = np.full(len(inside), True)
        for i, j in sorted(near, key=lambda p: float(np.linalg.norm(previous[inside[p[0]]] - previous[inside[p[1]]]))):
            if free[i] and free[j]:  # two daughters, never three
                free[[i, j]], mother_of[max(i, j)] = False, min(i, j)
        mothers, from_index = np.unique(mother_of, return_inverse=True)
        sums = np.zeros((len(mothers), 2))
        np.add.at(sums, from_index, previous[inside])
        points = sums / np.bincount(from_index, minlength=len(mothers))[:, None]
        return points, np.column_stack([from_index, inside, score[inside], score[inside]]).astype(float)

    def _linked(self, previous: Floats, score: Floats) -> Floats:
        """Links `(k, 4)` from the last frame's positions to the peaks that come from `previous`."""
        from scipy.spatial import cKDTree

        assert self.magnitude is not None
        last = self.points[-1]
        peak = np.flatnonzero(_inside(previous, self.magnitude.shape))
        columns, rows = _pixels(previous[peak])
        start = self.magnitude[rows, columns].astype(float)
        good = start >= self.min_start
        peak, start = peak[good], start[good]
        columns, rows = climb(self.magnitude, columns[good], rows[good])
        good = self.magnitude[rows, columns] > self.threshold
        peak, start, top = peak[good], start[good], np.column_stack([columns, rows])[good].astype(float)
        if not len(last) or not len(peak):
            return np.empty((0, 4))
        if self.linking == "assignment":
            from_index, to, _ = assign(last, top, self.max_distance_px, max_daughters=2)
        else:
            distance, nearest = cKDTree(last).query(top, distance_upper_bound=self.max_distance_px)
            to = np.flatnonzero(np.isfinite(distance))
            from_index = nearest[to]
        return np.column_stack([from_index, peak[to], score[peak[to]], start[to]]).astype(float)

    def tracks(self) -> pd.DataFrame:
        """All tracks so far (see `tracks_table`); `score` is the magnitude at the peak, a link's confidence."""
        rows = [
            (a, b, link[:, 0].astype(np.int64), link[:, 1].astype(np.int64), link[:, 2])
            for a, b, link in zip(self.frames, self.frames[1:], self.links, strict=False)
        ]
        rank = np.concatenate([np.empty(0), *(link[:, 3] for link in self.links)])
        return tracks_table(self.points, links_table(rows), self.frames, rank)

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on from here: arrays and plain values."""
        return {
            "options": {name: getattr(self, name) for name in _OPTIONS},
            "frames": list(self.frames),
            "n_points": [len(p) for p in self.points],
            "n_links": [len(k) for k in self.links],
            "points": np.concatenate(self.points),
            "links": np.concatenate([np.empty((0, 4)), *self.links]),
            "magnitude": np.empty((0, 0), np.float32) if self.magnitude is None else self.magnitude,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a state of a tracker with the same options.

        Raises:
            ValueError: The state is of other options.
        """
        options = {name: getattr(self, name) for name in _OPTIONS}
        if state["options"] != options:
            raise ValueError(f"state: expected one with the options {options}, got {state['options']}")
        self.frames = [int(f) for f in state["frames"]]
        points, links = np.asarray(state["points"]).astype(float), np.asarray(state["links"]).astype(float)
        self.points = np.split(points, np.cumsum(state["n_points"])[:-1])
        self.links = np.split(links, np.cumsum(state["n_links"])[:-1]) if state["n_links"] else []
        magnitude = np.asarray(state["magnitude"]).astype(np.float32)
        self.magnitude = magnitude if magnitude.size else None


_OPTIONS = ("threshold", "smooth_px", "z", "max_distance_px", "min_start", "linking", "merge_px")


def _pixels(points: Floats) -> tuple[Ints, Ints]:
    """Columns and rows of the pixels in which points `(n, 2)` lie."""
    columns, rows = np.rint(points).astype(np.int64).T
    return columns, rows


def _inside(points: Floats, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    x, y = points.T
    return (x >= -0.5) & (x < shape[1] - 0.5) & (y >= -0.5) & (y < shape[0] - 0.5)
