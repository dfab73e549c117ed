"""Simulated embryos with labelled membranes, laid out like the images of Wang et al."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd

from cellweak_core.images import ball, median_of, to_8_bit
from cellweak_core.rosettes.data import COLUMNS, RosetteData, crop_windows
from cellweak_core.rosettes.mesh import Cells, grow
from cellweak_core.rosettes.optics import Optics, view

DAYS = ("20170711", "20170715", "20170720", "20170722", "20170725", "20170728")
MEETING_RADIUS_PX = 3.0  # cells within this of a point meet there
_BLACK, _PER_LEVEL = 2500.0, 1700.0 / 256  # the authors' contrast window (2500, 4200)
_MIDDLE_SLICE = 15  # of 30 slices


def simulate(
    n_embryos: int = 12,
    minutes: np.ndarray | range = range(61, 111, 5),
    slices: np.ndarray | range = range(9, 14),
    image_size: int = 128,
    seed: int = 0,
    *,
    n_days: int = 3,
    rosettes_per_embryo: float = 6.0,
    optics: Optics | None = None,
    margin_px: int = 8,
    strong_fraction: float = 0.22,
) -> RosetteData:
    """Simulates a labelled data set.

    Args:
        n_embryos: spread evenly over the days.
        minutes: at which images are taken.
        slices: of a 30-slice stack.
        image_size: side of the images, pixels.
        seed: of everything.
        n_days: days of recording, each with its own brightness.
        rosettes_per_embryo: expected number that form within the 50 minutes 61..110.
        optics: microscope and stain.
        margin_px: a rosette nearer to the border than this does not count.
        strong_fraction: share of images shown with a narrower contrast window, as 22% of the released ones are.

    Returns:
        Every image labelled "rosette" or "non_rosette", with raw images, rosette centres and mesh.
    """
    minutes = np.asarray(list(minutes), float)
    slices = np.asarray(list(slices), float)
    if not 1 <= n_days <= len(DAYS):
        raise ValueError(f"n_days: expected 1 to {len(DAYS)}, given {n_days}.")
    if n_embryos < 1 or not len(minutes) or not len(slices):
        raise ValueError(f"nothing to simulate: {n_embryos} embryos, {len(minutes)} minutes, {len(slices)} slices.")
    if image_size < 16:
        raise ValueError(f"image_size: expected at least 16, given {image_size}.")
    optics = optics or Optics()
    n = n_embryos * len(minutes) * len(slices)
    images = np.zeros((n, image_size, image_size), np.uint8)
    raw = np.zeros((n, image_size, image_size), np.uint16)
    mesh = np.zeros((n, image_size, image_size), np.int16)
    truth, cells_at, rows = [], [], []
    depths = (slices - _MIDDLE_SLICE) * optics.slice_px
    day_gain = np.random.default_rng([seed, 1]).normal(1, 0.05, n_days)
    i = 0
    for e in range(n_embryos):
        rng = np.random.default_rng([seed, 2, e])
        day = e % n_days
        gain = day_gain[day] * rng.normal(1, 0.06)
        embryo = f"{DAYS[day]}_s{e // n_days // 3 + 1}_emb{e // n_days % 3 + 1}"
        stages = grow(minutes, (depths.min(), depths.max()), rng, gatherings=rosettes_per_embryo)
        for minute, cells in zip(minutes, stages, strict=True):
            for number, depth in zip(slices, depths, strict=True):
                images[i], raw[i], mesh[i], centres, meeting = _shoot(
                    cells, depth, image_size, optics, gain, strong_fraction, margin_px, rng
                )
                truth.append(centres)
                cells_at.append(meeting)
                file = (
                    f"simulated_{DAYS[day]}_s{e // n_days // 3 + 1}_t{minute:03.0f}_emb{e // n_days % 3 + 1}"
                    f"_slice{number:02.0f}.png"
                )
                rosette = len(centres) > 0
                rows.append(
                    (file, "rosette" if rosette else "non_rosette", int(rosette), "", DAYS[day], embryo, minute, number, embryo)
                )
                i += 1
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    digest = hashlib.sha256(images.tobytes() + "\n".join(table["file"]).encode()).hexdigest()
    return RosetteData(images, table, "rosette", "simulated", digest, None, raw, truth, cells_at, mesh)


def _shoot(
    cells: Cells,
    depth: float,
    size: int,
    optics: Optics,
    gain: float,
    strong_fraction: float,
    margin: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One image at a random place in the embryo's bounding box: denoised, raw, mesh, rosette centres, their cells."""
    a, b = cells.axes[:2]
    cos, sin = np.cos(cells.angle), np.sin(cells.angle)
    half = np.array([np.hypot(a * cos, b * sin), np.hypot(a * sin, b * cos)])
    corner = -half + rng.uniform(0, 1, 2) * np.maximum(0, 2 * half - size)
    planes = depth + np.array([-1, 0, 1]) * optics.slice_px
    levels, mesh, spread = view(cells, (float(corner[0]), float(corner[1])), planes, size, optics, rng)
    for _ in range(rng.poisson(0.35)):  # debris and polar bodies: bright, round, and no rosette
        x, y = rng.uniform(0, size, 2)
        square = np.arange(size, dtype=np.float32)
        spot = np.exp(-0.5 * (np.square(square[:, None] - y) + np.square(square[None] - x)) / rng.uniform(1, 3) ** 2)
        levels += np.float32(rng.uniform(20, 90)) * spot
    levels *= np.float32(gain * rng.normal(1, 0.1))
    # the ball of radius 2 reaches two planes up and down with one voxel each: the planes next to them stand in
    stack = levels[[0, 0, 1, 2, 2]]
    noise = rng.standard_normal(stack.shape, dtype=np.float32)
    noise *= np.sqrt(np.maximum(stack, 0) / optics.photons_per_level + optics.read_noise**2)
    counts = np.clip(_BLACK + (stack + noise) * _PER_LEVEL, 0, 65535).astype(np.uint16)
    padded = np.pad(counts, ((0, 0), (2, 2), (2, 2)), mode="edge")
    views = [padded[2 + dz, 2 + dy : 2 + dy + size, 2 + dx : 2 + dx + size] for dz, dy, dx in ball(2).tolist()]
    low, high = 0.0, 256.0
    if rng.uniform() < strong_fraction:
        low, high = rng.uniform(15, 35), rng.uniform(170, 220)
    image = to_8_bit(median_of(views), (_BLACK + low * _PER_LEVEL, _BLACK + high * _PER_LEVEL))
    centres, meeting = find_rosettes(mesh, spread, margin)
    return image, counts[2], mesh, centres, meeting


def find_rosettes(mesh: np.ndarray, spread: np.ndarray, margin_px: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """The points where five or more cells of a mesh meet.

    Args:
        mesh: int (H, W), cell numbers, -1 outside.
        spread: float (H, W), g of the fifth nearest cell less g of the nearest; its minima are the places looked at.
        margin_px: from the border.

    Returns:
        centres: float (k, 2), x and y in pixels, at least 10 px apart.
        cells: int (k,), how many cells lie within `MEETING_RADIUS_PX`, five or more.
    """
    inner = spread[margin_px : spread.shape[0] - margin_px, margin_px : spread.shape[1] - margin_px]
    ys, xs = np.nonzero(inner < 2 * MEETING_RADIUS_PX)
    order = np.argsort(inner[ys, xs], kind="stable")
    offsets = ball(MEETING_RADIUS_PX)
    dy, dx = offsets[offsets[:, 0] == 0][:, 1:].T
    centres: list[tuple[float, float]] = []
    meeting: list[int] = []
    while len(order):
        y, x = ys[order[0]] + margin_px, xs[order[0]] + margin_px
        near = np.unique(mesh[np.clip(y + dy, 0, len(mesh) - 1), np.clip(x + dx, 0, mesh.shape[1] - 1)])
        count = int((near >= 0).sum())
        if count >= 5:
            centres.append((float(x), float(y)))
            meeting.append(count)
        away = 10 if count >= 5 else 2
        far = np.hypot(ys[order] + margin_px - y, xs[order] + margin_px - x) >= away
        order = order[far]
    return np.array(centres, np.float32).reshape(-1, 2), np.array(meeting, int)


def labelled_windows(
    data: RosetteData, n_rosette: int, n_other: int, size: int = 32, seed: int = 0, *, off_centre_px: int | None = None
) -> RosetteData:
    """Small labelled windows, as the paper's 78 rosette and about 200 non-rosette crops of 32x32.

    Args:
        data: simulated, with `truth`.
        n_rosette: windows with a rosette's centre in their central part.
        n_other: windows without any rosette centre, at least half of them embryo.
        size: side, pixels.
        seed: of places.
        off_centre_px: how far a rosette's centre may lie from the window's, at most; size / 8 by default.

    Returns:
        `RosetteData` of n_rosette + n_other images (size, size); `truth` in the windows' coordinates.

    Raises:
        ValueError: no truth, or fewer places than windows asked for.
    """
    if data.truth is None or data.cells is None:
        raise ValueError("data: rosette centres are needed, and only simulated data have them.")
    rng = np.random.default_rng(seed)
    n, h, w = data.images.shape
    reach = size // 8 if off_centre_px is None else off_centre_px
    positives = []
    for i, centres in enumerate(data.truth):
        for x, y in centres:
            dx, dy = rng.integers(-reach, reach + 1, 2)
            left, top = int(x) - size // 2 + dx, int(y) - size // 2 + dy
            if 0 <= left <= w - size and 0 <= top <= h - size:
                positives.append((i, left, top))
    if len(positives) < n_rosette:
        raise ValueError(f"n_rosette: {n_rosette} asked for, {len(positives)} rosettes lie far enough inside; simulate more.")
    corners = [positives[k] for k in rng.permutation(len(positives))[:n_rosette]]
    tries = 0
    while len(corners) < n_rosette + n_other:
        tries += 1
        if tries > 200 * (n_other + 1):
            raise ValueError(f"n_other: no {n_other} windows without a rosette were found; ask for fewer or smaller ones.")
        i, left, top = int(rng.integers(n)), int(rng.integers(w - size + 1)), int(rng.integers(h - size + 1))
        x, y = data.truth[i].T
        if ((x >= left) & (x < left + size) & (y >= top) & (y < top + size)).any():
            continue
        if data.mesh is not None and (data.mesh[i, top : top + size, left : left + size] >= 0).mean() < 0.5:
            continue
        corners.append((i, left, top))
    at = np.array(corners, int).reshape(-1, 3)
    source = data.take(at[:, 0])
    table = source.table.copy()
    table["target"] = np.arange(len(at)) < n_rosette
    table["target"] = table["target"].astype(int)
    others = sorted(set(data.table["label"]) - {data.positive_class, ""}) or ["non_rosette"]
    table["label"] = np.where(table["target"] == 1, data.positive_class, others[0])
    truth, meeting = [], []
    for (i, left, top), _ in zip(at.tolist(), range(len(at)), strict=True):
        moved = data.truth[i] - np.array([left, top], np.float32)
        within = ((moved >= 0) & (moved < size)).all(1)
        truth.append(moved[within])
        meeting.append(data.cells[i][within])
    images = crop_windows(data.images, at, size)
    return replace(
        source,
        images=images,
        table=table,
        name=f"{data.name}, windows",
        digest=hashlib.sha256(data.digest.encode() + at.tobytes()).hexdigest(),
        windows=None,
        raw=None if data.raw is None else crop_windows(data.raw, at, size),
        mesh=None if data.mesh is None else crop_windows(data.mesh, at, size),
        truth=truth,
        cells=meeting,
    )
