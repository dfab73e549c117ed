"""Simulated embryos with labelled membranes, laid out like the images of Wang et al.

```
mesh.grow --> cells of an embryo, minute by minute --optics.view--> planes z-1, z, z+1 of a window, without noise
    --noise--> raw --3-D median, contrast window--> image;   junctions.find_rosettes --> centres, label
```

`Optics` says how near the defaults come to the released images. Rosettes are later than the rest here as there
(mean minute 88 against 80; 90 against 85 in the released labels): time alone gives an AUROC of about .67.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from cellweak_core.images import ball, median_of, to_8_bit
from cellweak_core.rosettes.data import COLUMNS, RosetteData, crop_windows
from cellweak_core.rosettes.junctions import find_rosettes
from cellweak_core.rosettes.mesh import Cells, grow
from cellweak_core.rosettes.optics import Optics, view
from cellweak_core.rosettes.statistics import distance, statistics

__all__ = ["Optics", "distance", "labelled_windows", "simulate", "statistics"]

DAYS = ("20170711", "20170715", "20170720", "20170722", "20170725", "20170728")
_BLACK, _PER_LEVEL = 2500.0, 1700.0 / 256  # the authors' contrast window (2500, 4200)
_MIDDLE_SLICE = 15  # of 30 slices


def simulate(
    n_embryos: int = 12,
    minutes: Iterable[float] = range(61, 111, 5),
    slices: Iterable[float] = range(9, 14),
    image_size: int = 128,
    seed: int = 0,
    *,
    n_days: int = 3,
    rosettes_per_embryo: float = 1.0,
    near_misses: Literal["unlabelled", "non_rosette"] = "unlabelled",
    optics: Optics | None = None,
    margin_px: int = 8,
    strong_fraction: float = 0.22,
    keep_raw: bool = True,
    keep_mesh: bool = True,
) -> RosetteData:
    """Simulates a data set: embryos over days, minutes and slices, one image at a random place of each slice.

    The paper's size is 45 embryos, minutes range(61, 111), slices range(9, 14): 11,250 images.

    Args:
        n_embryos: spread evenly over the days.
        minutes: at which images are taken.
        slices: of a 30-slice stack.
        image_size: side of the images, pixels; 32 or more.
        seed: of everything.
        n_days: days of recording, each with its own brightness; 1 to 6.
        rosettes_per_embryo: expected number that form within the 50 minutes 61..110.
        near_misses: images in which five cells nearly meet, or a rosette lies near the border, are left unlabelled,
            as an expert leaves doubtful ones; or they are "non_rosette".
        optics: microscope and stain; the defaults match the released images.
        margin_px: a rosette nearer to the border than this does not count.
        strong_fraction: share of images shown with a narrower contrast window, as 22% of the released ones are.
        keep_raw: keep the raw images, 2 bytes a pixel.
        keep_mesh: keep the meshes, 2 bytes a pixel.

    Returns:
        Images labelled "rosette", "non_rosette" or "" with raw images, rosette centres and mesh.
    """
    minutes, slices = np.array(list(minutes), float), np.array(list(slices), float)
    if not 1 <= n_days <= len(DAYS):
        raise ValueError(f"n_days: expected 1 to {len(DAYS)}, given {n_days}.")
    if n_embryos < 1 or not len(minutes) or not len(slices):
        raise ValueError(f"nothing to simulate: {n_embryos} embryos, {len(minutes)} minutes, {len(slices)} slices.")
    if (np.diff(minutes) <= 0).any():
        raise ValueError(f"minutes: expected increasing, given {minutes.tolist()}.")
    if image_size < 32:
        raise ValueError(f"image_size: expected at least 32, given {image_size}.")
    if near_misses not in ("unlabelled", "non_rosette"):
        raise ValueError(f'near_misses: expected "unlabelled" or "non_rosette", given {near_misses!r}.')
    optics = optics or Optics()
    shape = (n_embryos * len(minutes) * len(slices), image_size, image_size)
    images = np.zeros(shape, np.uint8)
    raw = np.zeros(shape, np.uint16) if keep_raw else None
    mesh = np.zeros(shape, np.int16) if keep_mesh else None
    truth, meeting = [], []
    rows: list[tuple] = []
    depths = (slices - _MIDDLE_SLICE) * optics.slice_px
    day_gain = np.random.default_rng([seed, 1]).normal(1, 0.05, n_days)
    for e in range(n_embryos):
        rng = np.random.default_rng([seed, 2, e])
        day, stage, k = e % n_days, e // n_days // 3 + 1, e // n_days % 3 + 1
        embryo = f"{DAYS[day]}_s{stage}_emb{k}"
        gain = day_gain[day] * rng.normal(1, 0.08)
        stages = grow(minutes, (depths.min(), depths.max()), rng, gatherings=rosettes_per_embryo)
        for minute, cells in zip(minutes.tolist(), stages, strict=True):
            for number, depth in zip(slices.tolist(), depths.tolist(), strict=True):
                i = len(rows)
                images[i], counts, numbers, spread, levels = _shoot(
                    cells, depth, image_size, optics, gain, strong_fraction, rng
                )
                if raw is not None:
                    raw[i] = counts
                if mesh is not None:
                    mesh[i] = numbers
                centres, n_cells, near_miss = find_rosettes(numbers, spread, levels, margin_px)
                truth.append(centres)
                meeting.append(n_cells)
                label, target = ("rosette", 1) if len(centres) else ("non_rosette", 0)
                if near_miss and not len(centres) and near_misses == "unlabelled":
                    label, target = "", -1
                file = f"simulated_{DAYS[day]}_s{stage}_t{minute:03.0f}_emb{k}_slice{number:02.0f}.png"
                rows.append((file, label, target, "", DAYS[day], embryo, minute, number, embryo))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    digest = hashlib.sha256(images.tobytes() + table[["file", "label"]].to_csv().encode()).hexdigest()
    return RosetteData(images, table, "rosette", "simulated", digest, raw=raw, truth=truth, cells=meeting, mesh=mesh)


def _shoot(
    cells: Cells,
    depth: float,
    size: int,
    optics: Optics,
    gain: float,
    strong_fraction: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One image at a random place in the embryo's bounding box: denoised, raw, mesh, its spread, noise-free levels."""
    a, b = cells.axes[:2]
    cos, sin = np.cos(cells.angle), np.sin(cells.angle)
    # boxes drawn by hand leave some room
    half = np.array([np.hypot(a * cos, b * sin), np.hypot(a * sin, b * cos)]) + 2
    corner = -half + rng.uniform(0, 1, 2) * (2 * half - size)  # an image larger than the box contains it
    planes = depth + np.array([-1, 0, 1]) * optics.slice_px
    levels, mesh, spread = view(cells, (float(corner[0]), float(corner[1])), planes, size, optics, rng)
    clean = levels[1].copy()
    square = np.arange(size, dtype=np.float32)
    for _ in range(rng.poisson(0.35)):  # debris and polar bodies: bright and round, no rosettes
        x, y = rng.uniform(0, size, 2)
        spot = np.exp(-0.5 * (np.square(square[:, None] - y) + np.square(square - x)) / rng.uniform(1, 3) ** 2)
        levels += np.float32(rng.uniform(20, 90)) * spot
    levels *= np.float32(gain * max(0.4, rng.normal(1, 0.13)))
    # the ball of radius 2 reaches two planes up and down with one voxel each: the planes next to them stand in
    stack = levels[[0, 0, 1, 2, 2]]
    noise = rng.standard_normal(stack.shape, dtype=np.float32)
    # Poisson noise in its Gaussian limit
    noise *= np.sqrt(np.maximum(stack, 0) / optics.photons_per_level + optics.read_noise**2)
    counts = np.clip(_BLACK + (stack + noise) * _PER_LEVEL, 0, 65535).astype(np.uint16)
    padded = np.pad(counts, ((0, 0), (2, 2), (2, 2)), mode="edge")
    views = [padded[2 + dz, 2 + dy : 2 + dy + size, 2 + dx : 2 + dx + size] for dz, dy, dx in ball(2).tolist()]
    low, high = 0.0, 256.0
    if rng.uniform() < strong_fraction:
        low, high = rng.uniform(15, 35), rng.uniform(170, 220)
    image = to_8_bit(median_of(views), (_BLACK + low * _PER_LEVEL, _BLACK + high * _PER_LEVEL))
    return image, counts[2], mesh, spread, clean


def labelled_windows(
    data: RosetteData, n_rosette: int, n_other: int, size: int = 32, seed: int = 0, *, off_centre_px: int | None = None
) -> RosetteData:
    """Small labelled windows, as the paper's 78 rosette and about 200 non-rosette crops of 32x32.

    Args:
        data: simulated, with `truth`.
        n_rosette: windows with a rosette's centre in their central part.
        n_other: windows without a rosette centre, from labelled images, at least half of each inside the embryo.
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
    _, h, w = data.images.shape
    reach = size // 8 if off_centre_px is None else off_centre_px
    positives = []
    for i, centres in enumerate(data.truth):
        for x, y in centres:
            dx, dy = rng.integers(-reach, reach + 1, 2)
            left, top = int(x) - size // 2 + dx, int(y) - size // 2 + dy
            if 0 <= left <= w - size and 0 <= top <= h - size:
                positives.append((i, left, top))
    if len(positives) < n_rosette:
        raise ValueError(
            f"n_rosette: {n_rosette} asked for, {len(positives)} rosettes lie far enough inside; simulate more."
        )
    corners = [positives[k] for k in rng.permutation(len(positives))[:n_rosette]]
    labelled = np.flatnonzero(data.table["target"].to_numpy() >= 0)
    tries = 0
    while len(corners) < n_rosette + n_other:
        tries += 1
        if tries > 200 * (n_other + 1) or not len(labelled):
            raise ValueError(
                f"n_other: no {n_other} windows without a rosette were found; ask for fewer or smaller ones."
            )
        i, left, top = int(rng.choice(labelled)), int(rng.integers(w - size + 1)), int(rng.integers(h - size + 1))
        x, y = data.truth[i].T
        if ((x >= left) & (x < left + size) & (y >= top) & (y < top + size)).any():
            continue
        if data.mesh is not None and (data.mesh[i, top : top + size, left : left + size] >= 0).mean() < 0.5:
            continue
        corners.append((i, left, top))
    at = np.array(corners, int).reshape(-1, 3)
    source = data.take(at[:, 0])
    table = source.table.copy()
    table["target"] = (np.arange(len(at)) < n_rosette).astype(int)
    others = sorted(set(data.table["label"]) - {data.positive_class, ""}) or ["non_rosette"]
    table["label"] = np.where(table["target"] == 1, data.positive_class, others[0])
    truth, meeting = [], []
    for i, left, top in at.tolist():
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
