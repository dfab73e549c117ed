"""Squares of an image and the positions in them: what `examples` and `examples_tracks` choose by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .data import TrackingData
from .evaluation import DETECTION_GATE_PX

Array = NDArray[Any]
Box = tuple[int, int, int, int]  # top, bottom, left, right, px


def square(xy: Sequence[float] | Array, shape: tuple[int, int], side: int, multiple: int = 1) -> Box:
    """A square around x, y inside the image, smaller in small images.

    With `multiple` its corner lies at multiples of that, for which it may grow a little to the left and above.
    """
    spans = []
    for centre, size in ((xy[1], shape[0]), (xy[0], shape[1])):
        length = min(side, size)
        start = int(np.clip(round(float(centre)) - length // 2, 0, size - length))
        spans += [start // multiple * multiple, start + length]
    return spans[0], spans[1], spans[2], spans[3]


def cut(image: Array, box: Box) -> Array:
    """The square of an image `(..., H, W)`, an array of its own."""
    top, bottom, left, right = box
    return image[..., top:bottom, left:right].copy()


def divisions(points: pd.DataFrame | None) -> dict[tuple[int, int], Array]:
    """The daughters' first positions `(n, 2)` by their first frame and their mother's id."""
    if points is None or "parent" not in points:
        return {}
    first = points.sort_values("frame").drop_duplicates("id")
    born: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for t, mother, x, y in first.loc[first["parent"] >= 0, ["frame", "parent", "x", "y"]].to_numpy(float):
        born.setdefault((int(t), int(mother)), []).append((x, y))
    return {key: np.array(xy) for key, xy in born.items()}


def at_border(xy: Array, shape: tuple[int, int], border_px: float) -> bool:
    """Whether x, y lies nearer than that to the image's border."""
    return bool(min(xy[0], xy[1], shape[1] - 1 - xy[0], shape[0] - 1 - xy[1]) < border_px)


def positions(points: pd.DataFrame, t: int) -> Array:
    """`(n, 2)` x, y of the cells of frame t."""
    return points.loc[points["frame"] == t, ["x", "y"]].to_numpy(float)


def inside(xy: Array, box: Box) -> Array:
    """The positions in a square, counted from its corner."""
    top, bottom, left, right = box
    at = xy - np.array([left, top])
    return at[((at >= -0.5) & (at < [right - left - 0.5, bottom - top - 0.5])).all(1)]


def distance(xy: Sequence[float] | Array, others: Array | Sequence[Array] | None) -> float:
    """From x, y to the nearest of others, px; infinite without any."""
    if others is None or not len(others):
        return float("inf")
    return float(np.linalg.norm(np.asarray(others) - np.asarray(xy), axis=1).min())


def errors(true: Array, cells: Array) -> Array:
    """Positions of missed and of false cells, those within the gate being matched one to one."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    cost = cdist(true, cells)
    i, j = linear_sum_assignment(np.minimum(cost, 2 * DETECTION_GATE_PX))
    near = cost[i, j] < DETECTION_GATE_PX
    return np.concatenate([np.delete(true, i[near], axis=0), np.delete(cells, j[near], axis=0)])


def crowd(data: TrackingData, t: int, side: int) -> Array:
    """The cell with most others in a square around it, or the middle of the image."""
    xy = np.zeros((0, 2)) if data.points is None else positions(data.points, t)
    if not len(xy):
        return np.array(data.source.shape[::-1]) / 2
    counts = (np.abs(xy[:, None] - xy) < side / 2).all(2).sum(1)
    return xy[int(counts.argmax())]
