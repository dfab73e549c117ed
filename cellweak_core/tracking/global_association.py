"""Tracklets joined over the whole movie at once: one integer programme over all that may have happened to them.

    tracklets  A: frames 0-9   B: 11-20   C: 11-20   D: 5
    hypotheses initiation(A) termination(B) translation(A -> B) division(A -> B, C) false positive(D) ...

Every tracklet has a beginning and an end, and exactly one accepted hypothesis explains each of them; the accepted ones
have the largest sum of log likelihoods. Rebuilt from the description in Bise, Yin & Kanade, "Reliable cell tracking by
global data association", ISBI 2011. No code of the authors was used.

Simplified: likelihoods use distance and area only, where the original also compares appearance; a division needs two
tracklets that begin after one that ends, since the original's mitosis detector is another paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Tracklets:
    """Stretches of tracks without a doubtful link; all arrays have one row for each.

    Args:
        first_frame: `(n,)` int.
        last_frame: `(n,)` int.
        first_xy: `(n, 2)` position in the first frame, px.
        last_xy: `(n, 2)` position in the last frame, px.
        first_area: `(n,)` area in the first frame, px.
        last_area: `(n,)` area in the last frame, px.
    """

    first_frame: Array
    last_frame: Array
    first_xy: Array
    last_xy: Array
    first_area: Array
    last_area: Array

    def __len__(self) -> int:
        """Number of tracklets."""
        return len(self.first_frame)


class Hypothesis(NamedTuple):
    """What may have happened: `ends` and `beginnings` are the tracklets it explains, `gain` its log likelihood."""

    kind: str
    ends: tuple[int, ...]
    beginnings: tuple[int, ...]
    gain: float


def hypotheses(
    tracklets: Tracklets,
    n_frames: int,
    shape: tuple[int, int],
    max_distance_px: float = 40.0,
    max_gap: int = 4,
    distance_scale_px: float = 15.0,
    time_scale: float = 2.0,
    border_scale_px: float = 15.0,
    unexplained: float = 0.02,
    false_share: float = 0.3,
    division_share: float = 0.05,
) -> list[Hypothesis]:
    """All hypotheses of a set of tracklets (Bise 2011, Sec. 2.2).

    Log likelihoods, with `P_TP(X) = 1 - P_FP(X)`, each tracklet's share of it given half to what explains its beginning
    and half to what explains its end:

    - false positive: `P_FP(X) = false_share ^ |X|`, |X| frames;
    - initiation: `max(exp(-t / time_scale), exp(-b / border_scale_px), unexplained)`, t frames after the movie's first
      and b px from the border; termination likewise, before its last;
    - translation: `exp(-d / distance_scale_px) * min(s, s') / max(s, s')` of distance d and areas s, s';
    - division: `division_share * exp(-(d1 + d2) / (2 distance_scale_px)) * min(s1, s2) / max(s1, s2)`; both daughters
      begin at once, in the frame after the mother's last.

    Args:
        tracklets: The tracklets.
        n_frames: Frames of the movie.
        shape: `(Y, X)` of a frame.
        max_distance_px: Longest translation or division.
        max_gap: A translation leads at most this many frames ahead; 1 closes no gap.
        distance_scale_px: See above.
        time_scale: See above.
        border_scale_px: See above.
        unexplained: Likelihood of appearing or vanishing in the middle.
        false_share: Likelihood that a single detection is false.
        division_share: Likelihood of a division beside that of a translation.

    Returns:
        Initiation, termination and false positive of each tracklet, then what joins tracklets.

    Raises:
        ValueError: a likelihood that is not between 0 and 1, or a scale that is not positive.
    """
    from scipy.spatial import cKDTree

    likelihoods = {"unexplained": unexplained, "false_share": false_share, "division_share": division_share}
    for name, p in likelihoods.items():
        if not 0 < p < 1:
            raise ValueError(f"{name}: expected a likelihood between 0 and 1, both excluded, got {p}")
    scales = {"distance_scale_px": distance_scale_px, "time_scale": time_scale, "border_scale_px": border_scale_px}
    for name, scale in scales.items():
        if not scale > 0:
            raise ValueError(f"{name}: expected a positive scale, got {scale}")
    n = len(tracklets)
    length = tracklets.last_frame - tracklets.first_frame + 1
    log_false = length * np.log(false_share)
    half_true = 0.5 * np.log1p(-np.exp(log_false))

    def alone(frames_away: Array, xy: Array) -> Array:
        size = np.array(shape[::-1])
        border_px = np.clip(np.minimum(xy, size - 1 - xy).min(1, initial=np.inf), 0, None)
        p = np.maximum(np.exp(-frames_away / time_scale), np.exp(-border_px / border_scale_px))
        return np.log(np.maximum(p, unexplained)) + half_true

    begins = alone(tracklets.first_frame, tracklets.first_xy)
    stops = alone(n_frames - 1 - tracklets.last_frame, tracklets.last_xy)
    found = []
    for i in range(n):
        found.append(Hypothesis("initiation", (), (i,), float(begins[i])))
        found.append(Hypothesis("termination", (i,), (), float(stops[i])))
        found.append(Hypothesis("false positive", (i,), (i,), float(log_false[i])))
    if not n:
        return found
    beginning_of = cKDTree(tracklets.first_xy)
    for i, near in enumerate(beginning_of.query_ball_point(tracklets.last_xy, max_distance_px)):
        later = np.array(sorted(near), np.int64)
        ahead = tracklets.first_frame[later] - tracklets.last_frame[i]
        later, ahead = later[(ahead >= 1) & (ahead <= max_gap)], ahead[(ahead >= 1) & (ahead <= max_gap)]
        distance = np.linalg.norm(tracklets.first_xy[later] - tracklets.last_xy[i], axis=1)
        area, own = tracklets.first_area[later], tracklets.last_area[i]
        gain = np.log(np.minimum(area, own) / np.maximum(area, own)) - distance / distance_scale_px + half_true[i]
        found += [
            Hypothesis("translation", (i,), (int(j),), float(g + half_true[j]))
            for j, g in zip(later, gain, strict=True)
        ]
        daughters = np.flatnonzero(ahead == 1)
        for a, b in ((a, b) for k, a in enumerate(daughters) for b in daughters[k + 1 :]):
            likeness = min(area[a], area[b]) / max(area[a], area[b])
            shared = np.log(division_share * likeness) - (distance[a] + distance[b]) / (2 * distance_scale_px)
            true = half_true[i] + half_true[later[a]] + half_true[later[b]]
            found.append(Hypothesis("division", (i,), (int(later[a]), int(later[b])), float(shared + true)))
    return found


def best_explanation(choices: list[Hypothesis], n: int) -> list[Hypothesis]:
    """The hypotheses that explain every end and every beginning once, with the largest sum of gains.

    Solves `max gain' x` subject to `C x = 1`, x binary, by scipy's HiGHS.

    Args:
        choices: From `hypotheses`.
        n: Number of tracklets.

    Raises:
        RuntimeError: no solution, which false positives alone would be.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csc_array

    if n == 0:
        return []
    rows = [(*h.ends, *(n + j for j in h.beginnings)) for h in choices]
    columns = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    flat = np.concatenate([np.array(r, np.int64) for r in rows])
    table = csc_array((np.ones(len(flat)), (flat, columns)), shape=(2 * n, len(rows)))
    gain = np.array([h.gain for h in choices])
    answer = milp(-gain, integrality=1, bounds=Bounds(0, 1), constraints=LinearConstraint(table, 1, 1))
    if answer.x is None:
        raise RuntimeError(f"global association of {n} tracklets: {answer.message}")
    return [h for h, x in zip(choices, answer.x, strict=True) if x > 0.5]
