"""Phase-contrast and nuclear fluorescence images of simulated cells.

```
cells --shape--> phase shift psi (Y, X) --optics: |i t + u - k h*u|^2, u = exp(i psi) - 1--> grey levels --> noise
```

The phase plate passes a share of the diffracted light too, that of low spatial frequency: h is a wide Gaussian
(Yin, Kanade and Chen 2012). This one term makes the bright halo around every cell, and the cosine in u makes thin
cells dark and thick, rounded ones bright.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TIP_PX = 1.0  # half width of a process at its tip
_REACH_PX = 110


@dataclass(frozen=True)
class Look:
    """How the cells of a culture look; the defaults are fitted to sequence 9 of Ker et al. 2018.

    Attributes:
        length_px: half length of the body.
        width_px: half width of the body.
        reach_px: median length of the processes, from the cell's centre.
        processes: mean number of processes beside the two at the ends.
        body: phase shift of the body, radians.
        lamella: phase shift of the flat sheet around it, radians.
        contrast: factor on all phase shifts.
    """

    length_px: float = 11.0
    width_px: float = 6.5
    reach_px: float = 24.0
    processes: float = 1.0
    body: float = 0.34
    lamella: float = 0.05
    contrast: float = 1.0


@dataclass(frozen=True)
class Camera:
    """Microscope and camera.

    Attributes:
        transmission: amplitude t that the phase plate lets pass of the direct light.
        halo_px: standard deviation of h, pixels.
        halo: k, the share of the diffracted light of low frequency that passes the plate.
        blur_px: standard deviation of the point spread function, pixels.
        noise: standard deviation of the noise at grey level 80; it grows as the square root of the level.
        debris: specks per 100,000 square pixels.
        floaters: bright floating particles per 100,000 square pixels.
        background: grey levels p0 + p1 u + p2 v + p3 u^2 + p4 u v + p5 v^2, u and v from -1/2 to 1/2 over the sensor.
        sensor: of the whole camera, (Y, X) pixels; smaller images are windows of it.
    """

    transmission: float = 0.6
    halo_px: float = 7.0
    halo: float = 0.9
    blur_px: float = 0.8
    noise: float = 1.2
    debris: float = 8.0
    floaters: float = 0.7
    background: tuple[float, float, float, float, float, float] = (84.2, 24.0, 10.7, -42.5, 0.0, -11.7)
    sensor: tuple[int, int] = (1040, 1392)


@dataclass(frozen=True)
class Individuals:
    """What tells one cell from another; arrays with one row per cell. Angles in radians, lengths in pixels."""

    length: np.ndarray
    width: np.ndarray
    body: np.ndarray
    reach: np.ndarray  # (n, 5), 0 where a cell has fewer processes
    direction: np.ndarray  # (n, 5), from the long axis
    bend: np.ndarray  # (n, 5)
    rhythm: np.ndarray  # (n, 5), radians per step of 5 minutes
    start: np.ndarray  # (n, 5)
    sheet: np.ndarray  # (n, 4): place along the axis, half length, half width, phase shift
    nucleus: np.ndarray  # (n, 5): shift along and across, half length, half width, brightness
    texture: np.ndarray  # (n, 2) places in the texture


def individuals(n: int, look: Look, rng: np.random.Generator) -> Individuals:
    """Draws n cells of a culture."""
    size = rng.lognormal(0, 0.2, n)
    stretch = rng.lognormal(0, 0.15, n)
    length = look.length_px * size * stretch
    width = look.width_px * size / stretch
    has = np.concatenate([rng.uniform(size=(n, 2)) < 0.9, rng.uniform(size=(n, 3)) < look.processes / 3], axis=1)
    reach = np.where(has, look.reach_px * rng.lognormal(0, 0.45, (n, 5)), 0)
    reach[:, 2:] *= 0.8
    direction = np.concatenate([rng.normal([0, np.pi], 0.3, (n, 2)), rng.uniform(0, 2 * np.pi, (n, 3))], axis=1)
    sheet = np.stack(
        [
            rng.normal(0, 0.5, n) * length,
            length * rng.lognormal(0.25, 0.3, n),
            width * rng.lognormal(0.6, 0.3, n),
            look.contrast * look.lamella * rng.lognormal(0, 0.6, n),
        ],
        axis=1,
    )
    nucleus = np.stack(
        [
            rng.normal(0, 2.0, n),
            rng.normal(0, 1.0, n),
            np.clip(0.6 * length, 4.5, 9),
            np.clip(0.75 * width, 3.5, 7),
            rng.lognormal(0, 0.25, n),
        ],
        axis=1,
    )
    return Individuals(
        length, width, look.contrast * look.body * rng.lognormal(0, 0.3, n), reach, direction,
        rng.normal(0, 0.35, (n, 5)), rng.uniform(0.02, 0.12, (n, 5)), rng.uniform(0, 2 * np.pi, (n, 5)),
        sheet, nucleus, rng.integers(0, 256, (n, 2)),
    )  # fmt: skip


def texture(rng: np.random.Generator, side: int = 256) -> np.ndarray:
    """Grain of the cytoplasm, float32 (side, side), mean 0 and standard deviation 1, periodic."""
    from scipy.ndimage import gaussian_filter

    white = rng.standard_normal((side, side), dtype=np.float32)
    grain = gaussian_filter(white, 1.2, mode="wrap") * 3 + gaussian_filter(white[::-1], 3.0, mode="wrap") * 6
    return (grain - grain.mean()) / grain.std()


def draw_cells(
    phase: np.ndarray,
    nuclei: np.ndarray | None,
    numbers: np.ndarray,
    xy: np.ndarray,
    angle: np.ndarray,
    roundness: np.ndarray,
    time: float,
    cells: Individuals,
    grain: np.ndarray,
) -> None:
    """Adds cells to a phase map, and their nuclei to a fluorescence image, both in place.

    Args:
        phase: float32 (Y, X), phase shift in radians.
        nuclei: float32 (Y, X), light of the nuclei, or None.
        numbers: int (n,), rows of `cells`.
        xy: float (n, 2), centres in pixels, also outside the image.
        angle: float (n,), direction of the long axis, radians.
        roundness: float (n,), 0 to 1.
        time: steps of 5 minutes, for the slow dance of the processes.
        cells: of `individuals`.
        grain: of `texture`.
    """
    height, width = phase.shape
    near = ((xy > -_REACH_PX) & (xy < np.array([width, height]) + _REACH_PX)).all(1)
    for i in np.flatnonzero(near):
        one = int(numbers[i])
        arms = _arms(cells, one, float(roundness[i]), time)
        cos, sin = float(np.cos(angle[i])), float(np.sin(angle[i]))
        box = _box(arms, cells, one, xy[i], cos, sin, phase.shape)
        if box is None:
            continue
        rows, columns = box
        dx = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(xy[i, 0])
        dy = (np.arange(rows.start, rows.stop, dtype=np.float32) - np.float32(xy[i, 1]))[:, None]
        along = dx * np.float32(cos) + dy * np.float32(sin)
        across = dy * np.float32(cos) - dx * np.float32(sin)
        shift, light = _one_cell(along, across, arms, cells, one, float(roundness[i]), grain, nuclei is not None)
        phase[rows, columns] += shift
        if nuclei is not None and light is not None:
            nuclei[rows, columns] += light


def develop(phase: np.ndarray, background: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """The camera's picture of a phase map.

    Args:
        phase: float32 (Y, X), radians.
        background: float32 (Y, X), grey levels of the empty field.
        camera: microscope and camera.
        rng: of the noise.

    Returns:
        uint8 (Y, X).
    """
    from scipy.ndimage import gaussian_filter

    t = np.float32(camera.transmission)
    real, imaginary = np.cos(phase) - 1, np.sin(phase)
    real -= np.float32(camera.halo) * gaussian_filter(real, camera.halo_px, truncate=3)
    imaginary -= np.float32(camera.halo) * gaussian_filter(imaginary, camera.halo_px, truncate=3)
    level = np.square(real)
    level += np.square(t - imaginary)
    level = gaussian_filter(level, camera.blur_px, truncate=3)
    level *= background / t**2
    noise = rng.standard_normal(phase.shape, dtype=np.float32)
    noise *= np.sqrt(np.maximum(level, 0) * np.float32(camera.noise**2 / 80))
    return np.clip(np.rint(level + noise), 0, 255).astype(np.uint8)


def develop_nuclei(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The fluorescence channel: blurred nuclei on a background, with shot noise; uint8 (Y, X)."""
    from scipy.ndimage import gaussian_filter

    level = 18 + 110 * gaussian_filter(light, 1.6, truncate=3)
    level += np.sqrt(level) * np.float32(0.45) * rng.standard_normal(light.shape, dtype=np.float32)
    return np.clip(np.rint(level), 0, 255).astype(np.uint8)


def illumination(shape: tuple[int, int], camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Grey levels of the empty field, float32 (Y, X); an image smaller than the sensor is a random window of it."""
    sides = []
    for length, sensor in zip(shape, camera.sensor, strict=True):
        whole = max(length, sensor)
        first = rng.uniform(0, whole - length)
        sides.append((np.arange(length) + first) / whole - 0.5)
    v, u = sides[0][:, None], sides[1][None]
    p = camera.background
    field = p[0] + p[1] * u + p[2] * v + p[3] * u * u + p[4] * u * v + p[5] * v * v
    return np.maximum(field, 1).astype(np.float32)


def debris(shape: tuple[int, int], camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Phase shift of specks and left-behind fibres that stay where they are, float32 (Y, X), radians."""
    phase = np.zeros(shape, np.float32)
    area = shape[0] * shape[1] / 1e5
    for _ in range(rng.poisson(camera.debris * area)):
        _blob(
            phase,
            rng.uniform(0, shape[1]),
            rng.uniform(0, shape[0]),
            rng.lognormal(0.5, 0.35),
            rng.lognormal(-0.9, 0.5),
        )
    return phase


def floaters(phase: np.ndarray, at: np.ndarray, size: np.ndarray) -> None:
    """Adds floating particles, pairs of small bright spheres, to a phase map in place."""
    for (x, y, turn), radius in zip(at.tolist(), size.tolist(), strict=True):
        for sign in (-1, 1):
            _blob(phase, x + sign * radius * np.cos(turn), y + sign * radius * np.sin(turn), radius, 2.6)


def _blob(phase: np.ndarray, x: float, y: float, radius: float, height: float) -> None:
    reach = int(np.ceil(radius * 2.5)) + 1
    top, left = max(int(y) - reach, 0), max(int(x) - reach, 0)
    rows, columns = slice(top, max(int(y) + reach + 1, 0)), slice(left, max(int(x) + reach + 1, 0))
    yy, xx = np.ogrid[rows, columns]
    part = phase[rows, columns]
    yy, xx = yy[: part.shape[0]], xx[:, : part.shape[1]]
    part += (height * np.exp(-np.square((np.square(yy - y) + np.square(xx - x)) / radius**2))).astype(np.float32)


def _arms(cells: Individuals, one: int, roundness: float, time: float) -> np.ndarray:
    """Processes as tapered segments in the cell's frame: float32 (s, 6) x0, y0, x1, y1, half width at both ends."""
    spread = 1 - roundness
    rows = []
    for k in range(5):
        swing = np.sin(cells.rhythm[one, k] * time + cells.start[one, k])
        reach = cells.reach[one, k] * (0.8 + 0.3 * swing) * spread
        if reach < 4:
            continue
        angle = cells.direction[one, k] + 0.25 * swing
        bend = cells.bend[one, k]
        wide = 0.5 * cells.width[one]
        middle = 0.5 * reach * np.array([np.cos(angle - bend), np.sin(angle - bend)])
        tip = reach * np.array([np.cos(angle), np.sin(angle)])
        half = 0.35 * wide + 0.6
        rows.append((0, 0, *middle, wide, half))
        rows.append((*middle, *tip, half, TIP_PX))
    return np.array(rows, np.float32).reshape(-1, 6)


def _box(
    arms: np.ndarray, cells: Individuals, one: int, xy: np.ndarray, cos: float, sin: float, shape: tuple[int, int]
) -> tuple[slice, slice] | None:
    """Rows and columns of the image that the cell reaches, or None."""
    radius = max(cells.length[one], cells.sheet[one, 1] + abs(cells.sheet[one, 0]), cells.sheet[one, 2]) + 4
    ends = np.concatenate([arms[:, 2:4], [[0, 0]]])
    x, y = ends[:, 0] * cos - ends[:, 1] * sin, ends[:, 0] * sin + ends[:, 1] * cos
    left, right = xy[0] + min(x.min() - 5, -radius), xy[0] + max(x.max() + 5, radius)
    top, bottom = xy[1] + min(y.min() - 5, -radius), xy[1] + max(y.max() + 5, radius)
    columns = slice(max(int(left), 0), min(int(right) + 1, shape[1]))
    rows = slice(max(int(top), 0), min(int(bottom) + 1, shape[0]))
    return (rows, columns) if columns.start < columns.stop and rows.start < rows.stop else None


def _one_cell(
    along: np.ndarray,
    across: np.ndarray,
    arms: np.ndarray,
    cells: Individuals,
    one: int,
    roundness: float,
    grain: np.ndarray,
    with_nucleus: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Phase shift of one cell, and light of its nucleus, on the pixels (along, across) of its own frame."""
    ball = 7.5
    length = (1 - roundness) * cells.length[one] + roundness * ball
    width = (1 - roundness) * cells.width[one] + roundness * ball
    side = len(grain)
    pick = grain[
        (across.astype(np.int16) + cells.texture[one, 0]) % side,
        (along.astype(np.int16) + cells.texture[one, 1]) % side,
    ]
    square = np.square(along / length) + np.square(across / width)
    total = np.exp(np.minimum((1 - np.sqrt(square)) * width / 2, 20))
    for x0, y0, x1, y1, r0, r1 in arms.tolist():
        x, y = x1 - x0, y1 - y0
        px, py = along - x0, across - y0
        s = np.clip((px * x + py * y) / (x * x + y * y), 0, 1)
        gap = np.sqrt(np.square(px - s * x) + np.square(py - s * y)) - (r0 + (r1 - r0) * s)
        total += np.exp(np.minimum(gap * -0.5, 20))
    depth = 2 * np.log(total)  # a smooth union: pixels from the outline, positive inside
    cover = 1 / (1 + np.exp(np.clip(-2 * depth, -30, 30)))
    body = cells.body[one] * (1 - roundness)
    dome = np.maximum(1 - square, 0)
    shift = cover * (0.35 + 0.4 * (1 - np.exp(np.minimum(-depth / 4, 0))) + 0.35 * dome)
    shift *= body * (1 + 0.18 * pick)
    at, half_long, half_wide, thin = cells.sheet[one].tolist()
    sheet = np.square((along - at) / half_long) + np.square(across / half_wide) + 0.25 * pick
    shift += thin * (1 - roundness) / (1 + np.exp(np.clip((sheet - 1) * 8, -30, 30)))
    n = cells.nucleus[one].tolist()
    core = np.sqrt(np.square((along - n[0]) / n[2]) + np.square((across - n[1]) / n[3]))
    shift -= 0.25 * body * np.exp(-np.square(core / 0.7)) * (1 - 0.8 * (pick > 1.2))
    if roundness > 0:
        shift += 2.4 * roundness * np.sqrt(np.maximum(1 - square, 0)) * (1 + 0.05 * pick)
    light = None
    if with_nucleus:
        light = n[4] * (1 + roundness) * (1 + 0.1 * pick) / (1 + np.exp(np.clip((core - 1) * 6, -30, 30)))
        light = light.astype(np.float32)
    return shift.astype(np.float32), light
