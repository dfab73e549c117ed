"""GDA: cells restored from the optics of phase contrast, and tracks found by global data association.

    frame --restored--> cells bright on 0 --threshold, split--> detections --sure links--> tracklets --> tracks

Rebuilt from the descriptions in Bise, Yin & Kanade, "Reliable cell tracking by global data association", ISBI 2011, and
Yin, Kanade & Chen, Medical Image Analysis 16 (2012), see `segmentation` and `global_association`, where the simplified
parts are listed. No code of the authors was used.

Simplified: a tracklet goes on where two detections are each other's nearest within a gate. Positions in the gaps that
the global step closes are interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..regions import Regions, split
from .global_association import Hypothesis, Tracklets, best_explanation, hypotheses
from .segmentation import Frames, contrast, phase_contrast_psf, restored, tune
from .tracks import LINK_COLUMNS, tracks_table

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
GRID = {"threshold": (0.06, 0.09, 0.12, 0.15, 0.18), "smoothing_px": (4.0, 6.0, 8.0), "split_px": (6, 10)}


def segment_gda(
    image: Array,
    threshold: float = 0.12,
    smoothing_px: float = 6.0,
    split_px: int = 8,
    min_area_px: int = 60,
    ring_cycles_per_px: float = 0.03,
    smoothness: float = 0.1,
    sparseness: float = 0.1,
) -> Regions:
    """Cells of one frame.

    Args:
        image: `(Y, X)` in [0, 1].
        threshold: Of the smoothed object, in units of contrast.
        smoothing_px: Standard deviation of the Gaussian over the restored object.
        split_px: Least distance of the middles of two cells that touch.
        min_area_px: Smaller regions are dropped.
        ring_cycles_per_px: See `segmentation.phase_contrast_psf`.
        smoothness: See `segmentation.restored`.
        sparseness: See `segmentation.restored`.
    """
    from scipy.ndimage import gaussian_filter

    found = restored(contrast(image), phase_contrast_psf(ring_cycles_per_px), smoothness, sparseness)
    height = gaussian_filter(found, smoothing_px)
    return split(height > threshold, height, split_px, min_area_px)


@dataclass(frozen=True)
class Detections:
    """All detections of a movie, ordered by frame: `frame` (n,) int, `xy` (n, 2) px, `area` (n,) px."""

    frame: Array
    xy: Array
    area: Array


def sure_links(detections: Detections, max_distance_px: float) -> Array:
    """The next detection of each, where there is no doubt.

    Two detections of consecutive frames are linked when each is the other's nearest within the gate, unless another
    cell appears within the gate of the earlier one: it may have divided, which is for the programme to decide.

    Args:
        detections: `n` detections.
        max_distance_px: The gate.

    Returns:
        `(n,)` int64 rows of `detections`, -1 for none.
    """
    from scipy.spatial import cKDTree

    following = np.full(len(detections.frame), -1, np.int64)
    last = int(detections.frame.max(initial=-1))
    bounds = np.searchsorted(detections.frame, np.arange(last + 2))
    for t in range(last):
        here, there = np.arange(bounds[t], bounds[t + 1]), np.arange(bounds[t + 1], bounds[t + 2])
        if not len(here) or not len(there):
            continue
        before, after = cKDTree(detections.xy[here]), cKDTree(detections.xy[there])
        distance, forth = after.query(detections.xy[here])
        _, back = before.query(detections.xy[there])
        sure = (back[forth] == np.arange(len(here))) & (distance < max_distance_px)
        appears = np.ones(len(there), bool)
        appears[forth[sure]] = False
        near = before.query_ball_point(detections.xy[there[appears]], max_distance_px)
        sure[[i for some in near for i in some]] = False
        following[here[sure]] = there[forth[sure]]
    return following


def tracklets_of(detections: Detections, following: Array) -> tuple[Tracklets, list[list[int]]]:
    """Tracklets and, for each, its detections in the order of frames."""
    begins = np.ones(len(following), bool)
    begins[following[following >= 0]] = False
    members = []
    for start in np.flatnonzero(begins):
        one = [int(start)]
        while following[one[-1]] >= 0:
            one.append(int(following[one[-1]]))
        members.append(one)
    first = np.array([one[0] for one in members], np.int64)
    last = np.array([one[-1] for one in members], np.int64)
    d = detections
    return Tracklets(d.frame[first], d.frame[last], d.xy[first], d.xy[last], d.area[first], d.area[last]), members


def explained_tracks(
    detections: Detections,
    members: list[list[int]],
    accepted: list[Hypothesis],
    n_frames: int,
    distance_scale_px: float,
) -> pd.DataFrame:
    """The tracks that accepted hypotheses make of tracklets, gaps filled along straight lines.

    Args:
        detections: The detections.
        members: From `tracklets_of`.
        accepted: From `best_explanation`.
        n_frames: Frames of the movie.
        distance_scale_px: The score of a link over a distance d is `exp(-d / distance_scale_px)`.
    """
    import pandas as pd

    frame, xy = [int(t) for t in detections.frame], list(detections.xy)
    links: list[tuple[int, int, float]] = []

    def link(a: int, b: int) -> None:
        steps, score = frame[b] - frame[a], float(np.exp(-np.linalg.norm(xy[b] - xy[a]) / distance_scale_px))
        for k in range(1, steps):
            frame.append(frame[a] + k)
            xy.append(xy[a] + (xy[b] - xy[a]) * k / steps)
        chain = [a, *range(len(frame) - steps + 1, len(frame)), b]
        links.extend((p, q, score) for p, q in pairwise(chain))

    kept = set(range(len(members))) - {h.ends[0] for h in accepted if h.kind == "false positive"}
    for i in sorted(kept):
        for a, b in pairwise(members[i]):
            link(a, b)
    for h in accepted:
        if h.kind in ("translation", "division"):
            for j in h.beginnings:
                link(members[h.ends[0]][-1], members[j][0])
    dropped = {one for i in set(range(len(members))) - kept for one in members[i]}
    per_frame: list[list[Array]] = [[] for _ in range(n_frames)]
    row = {}
    for node, t in enumerate(frame):
        if node not in dropped:
            row[node] = len(per_frame[t])
            per_frame[t].append(xy[node])
    rows = [(frame[a], frame[b], row[a], row[b], score) for a, b, score in links]
    types = dict.fromkeys(LINK_COLUMNS[:4], np.int64) | {"score": float}
    return tracks_table(per_frame, pd.DataFrame(rows, columns=list(LINK_COLUMNS)).astype(types))


def tune_gda(
    source: Frames, points: pd.DataFrame, grid: Mapping[str, Sequence[Any]] | None = None, max_frames: int = 3
) -> dict[str, Any]:
    """Arguments of `track_gda` whose cells agree best with annotated positions, see `segmentation.tune`."""
    return tune(segment_gda, source, points, grid or GRID, max_frames)


def track_gda(
    source: Frames,
    sure_distance_px: float = 15.0,
    distance_scale_px: float = 15.0,
    association: Mapping[str, Any] | None = None,
    **segmentation: Any,  # noqa: ANN401 - each has its own type
) -> pd.DataFrame:
    """Tracks of restored cells by global association; frames are read once, only detections are kept.

    Args:
        source: The frames.
        sure_distance_px: Longest link inside a tracklet.
        distance_scale_px: See `global_association.hypotheses`.
        association: Its other likelihoods.
        segmentation: Arguments of `segment_gda`, such as `tune_gda` returns.

    Returns:
        Columns frame, id, x, y, parent, score.
    """
    frames, positions, areas = [], [np.empty((0, 2))], [np.empty(0)]
    shape = (0, 0)
    for t in range(len(source)):
        image = source[t]
        shape, cells = image.shape, segment_gda(image, **segmentation)
        frames += [t] * len(cells)
        positions.append(cells.centres)
        areas.append(cells.areas)
    detections = Detections(np.array(frames, np.int64), np.concatenate(positions), np.concatenate(areas))
    tracklets, members = tracklets_of(detections, sure_links(detections, sure_distance_px))
    options = dict(association or {}) | {"distance_scale_px": distance_scale_px}
    choices = hypotheses(tracklets, len(source), shape, **options)
    accepted = best_explanation(choices, len(tracklets))
    return explained_tracks(detections, members, accepted, len(source), distance_scale_px)
