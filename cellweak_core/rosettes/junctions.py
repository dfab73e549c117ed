"""Where five or more cells of a mesh meet: the ground truth of simulated rosettes.

```
  rosette            near miss: left unlabelled       usual tissue
  \\ | /               \\   /                            \\     /
   \\|/                 \\_/__                            \\___/
  --*--                 / \\                             /   \\
   / \\                 /   \\                           /     \\
```
"""

from __future__ import annotations

import numpy as np

MEETING_RADIUS_PX = 2.5  # cells within this of a point meet there
NEAR_MISS_PX = 3.5  # five cells within this, but not within MEETING_RADIUS_PX: neither rosette nor clearly none
VISIBLE_LEVELS = 60.0  # a meeting point outshines its surroundings by this: membranes lying flat show no rosette
SPOKE_PX = 7.0  # cells that meet must reach this far out, or a cluster of specks would be a rosette


def find_rosettes(
    mesh: np.ndarray, spread: np.ndarray, levels: np.ndarray | None = None, margin_px: int = 8
) -> tuple[np.ndarray, np.ndarray, bool]:
    """The points of a mesh where five or more cells meet, like the spokes of a wheel.

    A cell meets at a point if it comes within `MEETING_RADIUS_PX` of it and reaches out to `SPOKE_PX`.

    Args:
        mesh: int (H, W), cell numbers, -1 outside.
        spread: float (H, W), g of the fifth nearest cell less g of the nearest: only where it is small is looked at.
        levels: float (H, W), the picture without noise: a rosette outshines its surroundings by `VISIBLE_LEVELS`, a
            near miss by a third of that; None leaves that out.
        margin_px: a rosette nearer to the border is a near miss.

    Returns:
        centres: float (k, 2), x and y in pixels, at least 10 px apart.
        cells: int (k,), how many cells meet there, five or more.
        near_miss: some other point has five such cells within `NEAR_MISS_PX`.
    """
    h, w = mesh.shape
    ys, xs = np.nonzero(spread < 2 * NEAR_MISS_PX)
    order = np.argsort(spread[ys, xs], kind="stable")
    ys, xs = ys[order], xs[order]

    def around(offsets: np.ndarray, plane: np.ndarray = mesh) -> np.ndarray:
        return plane[np.clip(ys[:, None] + offsets[:, 0], 0, h - 1), np.clip(xs[:, None] + offsets[:, 1], 0, w - 1)]

    near = around(_disc(0, NEAR_MISS_PX))
    some = _distinct(near) >= 5
    ys, xs, near = ys[some], xs[some], near[some]
    if not len(ys):
        return np.zeros((0, 2), np.float32), np.zeros(0, int), False
    rim = around(_disc(SPOKE_PX - 0.5, SPOKE_PX + 0.5))
    near_spokes = _distinct(np.where((near[:, :, None] == rim[:, None]).any(2), near, -1))
    close = around(_disc(0, MEETING_RADIUS_PX))
    meeting = _distinct(np.where((close[:, :, None] == rim[:, None]).any(2), close, -1))
    inner = (xs >= margin_px) & (xs < w - margin_px) & (ys >= margin_px) & (ys < h - margin_px)
    seen = doubtful = np.ones(len(xs), bool)
    if levels is not None:
        above = around(_disc(0, 1.5), levels).mean(1) - np.quantile(around(_disc(0, 10), levels), 0.3, axis=1)
        seen, doubtful = above > VISIBLE_LEVELS, above > VISIBLE_LEVELS / 3
    chosen: list[int] = []
    for i in np.flatnonzero((meeting >= 5) & inner & seen).tolist():
        if all(np.hypot(xs[i] - xs[j], ys[i] - ys[j]) >= 10 for j in chosen):
            chosen.append(i)
    away = np.ones(len(xs), bool)
    for j in chosen:
        away &= np.hypot(xs - xs[j], ys - ys[j]) >= 10
    near_miss = bool((away & doubtful & ((near_spokes >= 5) | ~inner)).any())
    return np.stack([xs[chosen], ys[chosen]], 1).astype(np.float32), meeting[chosen], near_miss


def _disc(inner: float, outer: float) -> np.ndarray:
    """Offsets (K, 2), y and x, at a distance from inner to outer."""
    reach = int(np.ceil(outer))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    radius = np.hypot(y, x)
    return np.argwhere((radius >= inner) & (radius <= outer)) - reach


def _distinct(numbers: np.ndarray) -> np.ndarray:
    """How many different cells each row (n, k) names; -1 is no cell."""
    ranked = np.sort(numbers, axis=1)
    return ((ranked[:, 1:] != ranked[:, :-1]) & (ranked[:, 1:] >= 0)).sum(1) + (ranked[:, 0] >= 0)
