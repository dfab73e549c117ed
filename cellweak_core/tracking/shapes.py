"""Shapes of simulated cells: spindles, compact and flat cells, and what they look like when they divide.

```
Look --individuals--> Individuals --draw_cells--> canvas (3, Y, X): phase shift, glow at the rim, light of the nucleus
```

A cell's outline is a smooth union of an ellipse and of tapering, bent processes, which sway slowly; all is drawn on
the pixels of the cell's own box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PHASE, GLOW, NUCLEI = 0, 1, 2  # layers of a canvas
_REACH_PX = 130  # cells this far outside the image are not drawn
_ARMS = 5
_BALL_PX = 6.5  # radius of a cell in mitosis
_SOFT_PX = 2.4  # over which processes melt into the body


@dataclass(frozen=True)
class Look:
    """How the cells of a culture look; the defaults are fitted to sequence 9 of Ker et al. 2018.

    Attributes:
        shares: of spindle-shaped, compact and flat cells.
        size: factor on all lengths of a cell.
        elongation: factor on a cell's length over its width, and on its processes.
        contrast: factor on the phase shifts.
        glow: factor on the light at the rim.
    """

    shares: tuple[float, float, float] = (0.5, 0.28, 0.22)
    size: float = 1.0
    elongation: float = 1.0
    contrast: float = 1.0
    glow: float = 1.0


@dataclass(frozen=True)
class _Kind:
    """Medians of one kind of cell: half length and width, reach of processes (pixels), their number beside two."""

    length: float
    width: float
    reach: float
    more: float
    body: float  # phase shift, radians
    sheet: float  # phase shift of the flat sheet around the body
    glow: float  # light at the rim, share of the background's


_KINDS = (
    _Kind(13.0, 6.0, 44.0, 0.8, 0.195, 0.02, 0.30),
    _Kind(10.5, 7.2, 19.0, 0.5, 0.24, 0.01, 0.48),
    _Kind(16.0, 10.5, 46.0, 2.4, 0.12, 0.06, 0.14),
)


@dataclass(frozen=True)
class Individuals:
    """What tells one cell from another: arrays with a row per cell; angles in radians, lengths in pixels.

    Attributes:
        length: half length of the body.
        width: half width of the body.
        body: phase shift of the body, radians.
        glow: light at the rim, share of the background's.
        arms: (n, 5, 5) reach (0 where there is no process), direction, bend, rhythm per step, start.
        sheet: (n, 4) place along the axis, half length, half width, phase shift.
        nucleus: (n, 5) shift along and across, half length, half width, brightness.
        grain: (n, 2) places in the texture.
        lit: direction from which the rim is brightest.
    """

    length: np.ndarray
    width: np.ndarray
    body: np.ndarray
    glow: np.ndarray
    arms: np.ndarray
    sheet: np.ndarray
    nucleus: np.ndarray
    grain: np.ndarray
    lit: np.ndarray


def individuals(n: int, look: Look, rng: np.random.Generator) -> Individuals:
    """Draws n cells of a culture."""
    kind = rng.choice(3, n, p=np.array(look.shares) / sum(look.shares))
    length, width, reach, more, body, sheet, glow = (
        np.array([getattr(one, name) for one in _KINDS])[kind] for name in _Kind.__dataclass_fields__
    )
    size = look.size * np.clip(rng.lognormal(0, 0.22, n), 0.65, 1.45)
    stretch = np.sqrt(look.elongation) * rng.lognormal(0, 0.1, n)
    length, width = length * size * stretch, width * size / stretch
    arms = np.zeros((n, _ARMS, 5))
    arms[..., 0] = (reach * look.size * look.elongation)[:, None] * rng.lognormal(0, 0.55, (n, _ARMS))
    arms[:, :2, 0] *= rng.uniform(size=(n, 2)) < 0.92
    arms[:, 2:, 0] *= 0.8 * (rng.uniform(size=(n, _ARMS - 2)) < more[:, None] / 3)
    arms[:, :2, 1] = rng.normal([0, np.pi], 0.25, (n, 2))
    arms[:, 2:, 1] = rng.uniform(0, 2 * np.pi, (n, _ARMS - 2))
    arms[..., 2] = rng.normal(0, 0.25, (n, _ARMS))
    arms[..., 3] = rng.uniform(0.02, 0.1, (n, _ARMS))
    arms[..., 4] = rng.uniform(0, 2 * np.pi, (n, _ARMS))
    sheets = np.stack(
        [
            rng.normal(0, 0.5, n) * length,
            length * rng.lognormal(0.3, 0.3, n),
            width * rng.lognormal(0.6, 0.3, n),
            look.contrast * sheet * np.clip(rng.lognormal(0, 0.5, n), 0.4, 1.8),
        ],
        axis=1,
    )
    nucleus = np.stack(
        [
            rng.normal(0, 1.5, n),
            rng.normal(0, 1.0, n),
            np.clip(0.62 * length, 4.5, 8.5),
            np.clip(0.72 * width, 3.2, 6.5),
            rng.lognormal(0, 0.25, n),
        ],
        axis=1,
    )
    return Individuals(
        length=length,
        width=width,
        body=look.contrast * body * rng.lognormal(0, 0.25, n),
        glow=look.glow * glow * np.minimum(rng.lognormal(0, 0.5, n), 1.6),
        arms=arms,
        sheet=sheets,
        nucleus=nucleus,
        grain=rng.integers(0, 256, (n, 2)),
        lit=rng.uniform(0, 2 * np.pi, n),
    )


def texture(rng: np.random.Generator, side: int = 256) -> np.ndarray:
    """Grain of the cytoplasm, float32 (side, side), mean 0 and standard deviation 1, periodic."""
    from scipy.ndimage import gaussian_filter

    white = rng.standard_normal((side, side), dtype=np.float32)
    grain = gaussian_filter(white, 1.2, mode="wrap") * 3 + gaussian_filter(white[::-1], 3.0, mode="wrap") * 6
    return (grain - grain.mean()) / grain.std()


def draw_cells(
    canvas: np.ndarray,
    numbers: np.ndarray,
    xy: np.ndarray,
    angle: np.ndarray,
    roundness: np.ndarray,
    youth: np.ndarray,
    time: float,
    cells: Individuals,
    grain: np.ndarray,
) -> None:
    """Adds cells to a canvas, in place.

    Args:
        canvas: float32 (3, Y, X): phase shift in radians, glow as a share of the background, light of the nuclei.
        numbers: int (n,), rows of `cells`.
        xy: float (n, 2), centres in pixels, also outside the image.
        angle: float (n,), direction of the long axis, radians.
        roundness: float (n,), 0 to 1 in mitosis.
        youth: float (n,), 1 at birth, when a cell has half its mother's volume, to 0.
        time: steps of 5 minutes, for the slow dance of the processes.
        cells: of `individuals`.
        grain: of `texture`.
    """
    height, width = canvas.shape[1:]
    near = ((xy > -_REACH_PX) & (xy < np.array([width, height]) + _REACH_PX)).all(1)
    for i in np.flatnonzero(near):
        one = int(numbers[i])
        arms = _arms(cells, one, float(roundness[i]), time)
        cos, sin = float(np.cos(angle[i])), float(np.sin(angle[i]))
        rows, columns = _box(arms, cells, one, xy[i], cos, sin, (height, width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        dx = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(xy[i, 0])
        dy = (np.arange(rows.start, rows.stop, dtype=np.float32) - np.float32(xy[i, 1]))[:, None]
        larger = 1 / (1 - 0.21 * float(youth[i]))  # a smaller cell is drawn on a wider grid
        cos, sin = cos * larger, sin * larger
        along = dx * np.float32(cos) + dy * np.float32(sin)
        across = dy * np.float32(cos) - dx * np.float32(sin)
        phase, glow, light = _one_cell(along, across, arms, cells, one, float(roundness[i]), grain)
        part = canvas[:, rows, columns]
        part[PHASE] += phase
        part[GLOW] = np.maximum(part[GLOW], glow)  # touching cells share one rim
        part[NUCLEI] += light


def _arms(cells: Individuals, one: int, roundness: float, time: float) -> np.ndarray:
    """Processes as tapered segments in the cell's frame: float (s, 6) x0, y0, x1, y1, half width at both ends."""
    rows = []
    for k, (reach, direction, bend, rhythm, start) in enumerate(cells.arms[one].tolist()):
        swing = float(np.sin(rhythm * time + start))
        reach *= (0.85 + 0.25 * swing) * (1 - roundness)
        if reach < 4:
            continue
        turn = direction + 0.2 * swing
        base = cells.width[one] * (0.8 if k < 2 else 0.55)
        elbow = 0.35 * base + 0.4
        middle = 0.45 * reach * np.cos(turn - bend), 0.45 * reach * np.sin(turn - bend)
        tip = reach * np.cos(turn), reach * np.sin(turn)
        rows.append((0.0, 0.0, *middle, base, elbow))
        rows.append((*middle, *tip, elbow, 0.7))
    return np.array(rows, float).reshape(-1, 6)


def _box(
    arms: np.ndarray, cells: Individuals, one: int, xy: np.ndarray, cos: float, sin: float, shape: tuple[int, int]
) -> tuple[slice, slice]:
    """Rows and columns of the image that the cell reaches; empty where it reaches none."""
    radius = max(cells.length[one], cells.sheet[one, 1] + abs(cells.sheet[one, 0]), cells.sheet[one, 2], _BALL_PX) + 9
    ends = np.concatenate([arms[:, 2:4], [[0, 0]]])
    x, y = ends[:, 0] * cos - ends[:, 1] * sin, ends[:, 0] * sin + ends[:, 1] * cos
    left, right = xy[0] + min(x.min() - 8, -radius), xy[0] + max(x.max() + 8, radius)
    top, bottom = xy[1] + min(y.min() - 8, -radius), xy[1] + max(y.max() + 8, radius)
    columns = slice(max(int(left), 0), min(int(right) + 1, shape[1]))
    return slice(max(int(top), 0), min(int(bottom) + 1, shape[0])), columns


def _one_cell(
    along: np.ndarray,
    across: np.ndarray,
    arms: np.ndarray,
    cells: Individuals,
    one: int,
    roundness: float,
    grain: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Phase shift, glow and light of one cell, float32 (h, w), on the pixels (along, across) of its own frame."""
    spread = 1 - roundness
    length = spread * cells.length[one] + roundness * _BALL_PX * 1.1
    width = spread * cells.width[one] + roundness * _BALL_PX * 0.95
    side = len(grain)
    first, second = cells.grain[one].tolist()
    pick = grain[(across.astype(np.int16) + first) % side, (along.astype(np.int16) + second) % side]
    square = np.square(along / length) + np.square(across / width)
    radius = np.sqrt(square)
    total = np.exp(np.minimum((1 - radius) * (width / _SOFT_PX), 20))
    for x0, y0, x1, y1, r0, r1 in arms.tolist():
        x, y = x1 - x0, y1 - y0
        px, py = along - x0, across - y0
        s = np.clip((px * x + py * y) * (1 / (x * x + y * y)), 0, 1)
        gap = np.sqrt(np.square(px - s * x) + np.square(py - s * y)) - (r0 + (r1 - r0) * s)
        total += np.exp(np.minimum(gap * (-1 / _SOFT_PX), 20))
    depth = _SOFT_PX * np.log(np.maximum(total, 1e-20))  # pixels from the outline, positive inside
    body = cells.body[one] * spread
    cover = _step(2 * depth)
    thick = 1 - np.exp(np.minimum(depth / -3, 0))
    phase = cover * (0.3 + 0.5 * thick + 0.3 * np.maximum(1 - square, 0)) * (body * (1 + 0.15 * pick))
    at, half_long, half_wide, thin = cells.sheet[one].tolist()
    if thin > 0:
        sheet = np.sqrt(np.square((along - at) / half_long) + np.square(across / half_wide)) + 0.06 * pick
        phase += (thin * spread) * _step(12 * (1 - sheet))
    n = cells.nucleus[one].tolist()
    core = np.sqrt(np.square((along - n[0]) / n[2]) + np.square((across - n[1]) / n[3]))
    phase -= (0.3 * body) * np.exp(-np.square(core / 0.75)) * np.where(pick > 1.1, -1, 1)  # light, dark nucleoli
    phase += (0.15 * body) * np.exp(-np.square((core - 1) / 0.2))
    outside = np.exp(-np.square((depth + 3.5) / 3.0))  # a rim some pixels outside the outline
    lit = float(cells.lit[one])
    facing = 1 + (along * (0.6 * np.cos(lit)) + across * (0.6 * np.sin(lit))) / (np.abs(along) + np.abs(across) + 1)
    near = outside * np.exp(-np.square(np.maximum(radius - 1.3, 0) * 1.5))  # not along the processes
    glow = near * facing * (cells.glow[one] * spread)
    if roundness > 0:
        phase += (0.22 * roundness) * np.sqrt(np.maximum(1 - square, 0)) * (1 + 0.4 * pick)
        glow += (1.3 * roundness**2) * near * (0.5 + 0.5 * facing)
    light = (n[4] * (1 + roundness)) * (1 + 0.1 * pick) * _step(6 * (1 - core))
    return phase, glow, light


def _step(x: np.ndarray) -> np.ndarray:
    """Logistic function."""
    return 1 / (1 + np.exp(np.clip(-x, -30, 30)))
