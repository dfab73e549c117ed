"""How simulated cells move: as their shape said some frames before, and off the border and each other.

    cycle of a discontinuous cell    drive  0 --front advances, tail holds--> 1 --tail lets go--> 0
    its speed, `lead_frames` later          rest                              leap                rest
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .simulate import Plan

Array = NDArray[np.float64]
NEAR_PX = 3  # no cell comes nearer to the border


class Walk(NamedTuple):
    """Cells of one film over time, `(n, T)` each; `xy` is `(n, T + 1, 2)`, the centroids.

    `drive` is the shape that sets the speed `lead_frames` later, `phase` that of the cycle, from 0 at rest.
    """

    mode: Array
    phase: Array
    drive: Array
    heading: Array
    xy: Array


def walk(modes: Array, plan: Plan, rng: np.random.Generator) -> Walk:
    """Cells of a film that go where their shape pointed, and keep off the border and each other.

    Args:
        modes: `(n, T)` 0 for continuous, 1 for discontinuous.
        plan: Of the films.
        rng: Of the film.
    """
    n, lead, size = len(modes), plan.lead_frames, plan.field_px
    modes = np.concatenate([np.repeat(modes[:, :1], lead, 1), modes], 1)  # shapes before the film move its first frames
    total = modes.shape[1]
    rate = np.exp(rng.normal(0, 0.12, (n, 1)) + rng.normal(0, 0.15, (n, total))) / plan.period_frames
    phase = (rng.uniform(0, 1, (n, 1)) + rate.cumsum(1)) % 1
    # A slow rise while the front advances on a tail that holds, a quick fall when it lets go.
    stretched = 0.5 - 0.5 * np.cos(np.pi * np.where(phase < 0.65, phase / 0.65, (1 - phase) / 0.35))
    drive = np.where(modes > 0, stretched, np.clip(0.5 + 0.2 * wandering(n, total, 0.8, rng), 0, 1))
    pace = plan.speed * plan.size_px * np.exp(rng.normal(0, 0.25, (n, 1)))
    # Both have the same mean: drive is 1/2 on average for the one, its cube 5/16 for the other.
    step = pace * np.where(modes > 0, 0.25 + 2.4 * drive**3, 0.8 + 0.4 * drive)
    turn = np.where(modes > 0, 0.13, 0.07) * rng.standard_normal((n, total))
    turn += np.where((modes > 0) & (phase < rate), rng.normal(0, 0.45, (n, total)), 0)  # a new front after each leap
    shiver = 0.002 * plan.size_px * rng.standard_normal((n, total, 2))

    at, heading = _places(n, plan, rng), rng.uniform(-np.pi, np.pi, n)
    headings, places = np.empty((n, total)), np.empty((n, total + 1, 2))
    for t in range(total):
        headings[:, t], places[:, t] = heading, at
        if t >= lead:
            moved = step[:, t - lead, None] * _way(headings[:, t - lead]) + shiver[:, t]
            at = np.clip(at + moved, NEAR_PX, size - 1 - NEAR_PX)
        heading = heading + _steered(at, heading, lead * pace, plan) + turn[:, t]
    places[:, total] = at
    return Walk(modes[:, lead:], phase[:, lead:], drive[:, lead:], headings[:, lead:], places[:, lead:])


def _steered(at: Array, heading: Array, ahead_px: Array, plan: Plan) -> Array:
    """`(n,)` how far fronts turn from the border and from neighbours, seen from where the cell will soon be."""
    margin, reach, far = min(0.42 * plan.size_px, 0.4 * plan.field_px), 0.6 * plan.size_px, plan.field_px - 1
    soon = at + ahead_px * _way(heading)
    off = np.clip((margin - soon) / margin, 0, 1.5) - np.clip((margin - (far - soon)) / margin, 0, 1.5)
    apart = at[:, None] - at
    distance = np.linalg.norm(apart, axis=2, keepdims=True)
    off += (apart / np.maximum(distance, 1) * np.clip(1 - distance / reach, 0, 1)).sum(1)
    wanted = _way(heading) + 3 * off
    bend = (np.arctan2(wanted[:, 1], wanted[:, 0]) - heading + np.pi) % (2 * np.pi) - np.pi
    return np.asarray(np.clip(0.4 * bend, -0.6, 0.6))


def _way(heading: Array) -> Array:
    """`(n, 2)` of length 1."""
    return np.column_stack([np.cos(heading), np.sin(heading)])


def _places(n: int, plan: Plan, rng: np.random.Generator) -> Array:
    """`(n, 2)` where cells begin, each the farthest of 20 places from those before."""
    edge = 0.3 * min(plan.size_px, plan.field_px)
    places = rng.uniform(edge, plan.field_px - 1 - edge, (n, 20, 2))
    for k in range(1, n):
        distance = np.linalg.norm(places[k, :, None] - places[:k, 0], axis=2).min(1)
        places[k, 0] = places[k, distance.argmax()]
    return places[:, 0]


def wandering(n: int, total: int, stays: float, rng: np.random.Generator) -> Array:
    """`(n, total)` noise of variance 1 whose correlation from frame to frame is `stays`."""
    out = rng.standard_normal((n, total))
    for t in range(1, total):
        out[:, t] = stays * out[:, t - 1] + np.sqrt(1 - stays**2) * out[:, t]
    return out
