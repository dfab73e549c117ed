"""Films of migrating cells that are made: adhesions, actin and membrane from above, with every mode and step known.

    mode --> cycle: protrude ... retract --drive(t)--> form(t) --stains, camera--> frames (T, C, H, W)
                                            \\--speed, direction of frame t + lead--> x, y

Taken from no paper: a stand-in for the H1299 cells of Gupta et al. 2020, whose images were not published. A continuous
cell has a broad lamella and moves steadily; a discontinuous one is stretched between a narrow front and a thin tail,
rests, and leaps when the tail lets go. Both are as large, as bright and on average as fast, and shape comes before
motion: what a static frame tells is form, and what it tells is the future.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellweak_core.screens.checks import require_plan

from .data import Films
from .labels import MODES, UNKNOWN
from .simulate_motion import Walk, walk, wandering
from .simulate_shapes import CHANNELS, REACH, Floats, fitted, forms, stains

TRUTH = ("true_mode", "phase", "drive", "heading", "true_speed")  # columns of points that no real film has
LEAST = {"n_frames": 6, "field_px": 48, "size_px": 32, "lead_frames": 0, "period_frames": 3}
RADIUS = 0.215  # of the disc of a cell's area, in windows
WHITE = 1500.0  # counts of a cell of mean brightness, on a camera of 12 bits
Array = NDArray[np.float64]


class Plan(NamedTuple):
    """How many cells are filmed, and how they look and move.

    The paper's size is about n_cells=137, n_frames=100, field_px=512, size_px=227: 11 GB of frames.

    Attributes:
        n_cells: With points and labels.
        n_frames: Of each film.
        field_px: Side of the frames.
        size_px: Side of the windows that will be cut; cells are about half as long.
        cells_per_film: At most; films have 1 to this many.
        discontinuous: Share of the cells.
        switching: Share of the cells that change mode once; the rest are continuous.
        unknown: Share of the frames, at random, that the expert cannot tell, beside those round a switch.
        lead_frames: Frames from shape to motion: the shape of frame t moves the cell from t + lead to t + lead + 1.
        period_frames: Mean length of a cycle of protrusion and retraction.
        speed: Mean distance from frame to frame, in windows.
        clarity: How well shape shows the mode, 1 for well and 0 for not at all.
        neighbours: Mean number of further cells in a film, which nobody marked.
        staining: Spread of the cells' brightness in each channel, of its logarithm.
        noise: Of the camera, 1 for that of a confocal microscope; 0 for none.
        background: Light beside the cells, and how it differs from film to film, 1 for usual.
        annotation_px: Error of the marked centroids, standard deviation along each axis.
    """

    n_cells: int = 24
    n_frames: int = 16
    field_px: int = 96
    size_px: int = 64
    cells_per_film: int = 3
    discontinuous: float = 0.4
    switching: float = 0.125
    unknown: float = 0.05
    lead_frames: int = 2
    period_frames: float = 7.0
    speed: float = 0.023
    clarity: float = 1.0
    neighbours: float = 0.4
    staining: float = 0.3
    noise: float = 1.0
    background: float = 1.0
    annotation_px: float = 0.3


def simulate(plan: Plan = Plan(), seed: int = 0) -> Films:  # noqa: B008 - a tuple of numbers
    """Films in memory.

    Args:
        plan: Their size.
        seed: Of everything.

    Returns:
        Films uint16 `(n_frames, 3, field_px, field_px)`. Beside the usual columns `points` has `TRUTH`: `true_mode`;
        `phase` of the cycle, 0 to 1, NaN where the cell is continuous; `drive`, 0 to 1, how far a discontinuous cell is
        stretched or how broad the other's lamella is; `heading` of its front, radians from +x to +y; `true_speed`,
        px to the next frame.

    Raises:
        ValueError: A number out of range, or numbers that exclude each other; names each.
    """
    _require(plan)
    rng = np.random.default_rng([seed, 1])
    kinds = _kinds(plan, rng)
    frames, tables = dict[str, NDArray[np.uint16]](), list[pd.DataFrame]()
    films = list(_dealt(kinds, plan, rng))
    for k, film in enumerate(films):
        name = f"film{k + 1:0{len(str(len(films)))}d}"
        rng = np.random.default_rng([seed, 2, k])
        modes = np.concatenate([film, _modes(rng.integers(0, 2, rng.poisson(plan.neighbours)), plan, rng)])
        cells = walk(modes, plan, rng)
        frames[name] = _camera(_drawn(cells, plan, rng), plan, rng)
        tables.append(_points(name, cells, len(film), plan, rng))
    points = pd.concat(tables, ignore_index=True)
    digest = hashlib.sha256(points.to_csv().encode())
    for film_frames in frames.values():
        digest.update(film_frames.tobytes())
    return Films(frames, CHANNELS, points, "simulated films", digest.hexdigest())


def _require(plan: Plan) -> None:
    """Refuse plans that cannot be."""
    require_plan(plan, "plan", LEAST)
    wrong = [
        f"{name} is {value:g}, expected a share of at most {most:g}"
        for name, most in (("discontinuous", 1), ("switching", 1), ("unknown", 0.9), ("clarity", 1), ("speed", 0.2))
        if (value := getattr(plan, name)) > most
    ]
    if plan.discontinuous + plan.switching > 1:
        wrong.append(
            f"discontinuous and switching are {plan.discontinuous + plan.switching:g} of the cells together, "
            "expected at most 1"
        )
    if plan.size_px > plan.field_px:
        wrong.append(f"size_px is {plan.size_px}, expected at most field_px, {plan.field_px}")
    if plan.lead_frames >= plan.n_frames:
        wrong.append(f"lead_frames is {plan.lead_frames}, expected less than n_frames, {plan.n_frames}")
    if wrong:
        raise ValueError(f"plan: {'; '.join(wrong)}")


def _kinds(plan: Plan, rng: np.random.Generator) -> Array:
    """`(n_cells, T)` modes of all cells, 0 for continuous; see `_modes`."""
    changing = round(plan.switching * plan.n_cells)
    stretched = min(round(plan.discontinuous * plan.n_cells), plan.n_cells - changing)
    kind = np.repeat([2, 1, 0], [changing, stretched, plan.n_cells - changing - stretched])
    return _modes(rng.permutation(kind), plan, rng)


def _modes(kind: NDArray[np.int64], plan: Plan, rng: np.random.Generator) -> Array:
    """`(n, T)` 0 for continuous and 1 for discontinuous, for kinds 0, 1, and 2 that changes once, either way.

    The frame of the switch is the first of the new mode, in the middle half of the film.
    """
    n, last = len(kind), plan.n_frames
    switch = rng.integers(max(2, last // 4), max(3, last - last // 4), n)
    changes = kind == 2
    first = np.where(changes, changes.cumsum() % 2, kind)[:, None]  # as many from the one mode as from the other
    after = changes[:, None] & (np.arange(last) >= switch[:, None])
    return np.where(after, 1 - first, first).astype(float)


def _dealt(kinds: Array, plan: Plan, rng: np.random.Generator) -> Iterator[Array]:
    """The cells of each film."""
    start = 0
    while start < len(kinds):
        end = start + int(rng.integers(1, plan.cells_per_film + 1))
        yield kinds[start:end]
        start = end


def _drawn(cells: Walk, plan: Plan, rng: np.random.Generator) -> Floats:
    """`(T, 3, H, W)` light of all cells, without noise."""
    from scipy.ndimage import gaussian_filter

    n, total = cells.drive.shape
    radius_px = RADIUS * plan.size_px * np.exp(rng.normal(0, 0.1, (n, 1)) + 0.03 * wandering(n, total, 0.8, rng))
    half = int(np.ceil(REACH * radius_px.max() * 0.88))
    side = plan.field_px + 2 * half + 2
    spot = RADIUS * plan.size_px / 14  # px of a texture's grain
    textures = [
        (grain / grain.std()).astype(np.float32)
        for grain in (gaussian_filter(rng.standard_normal((side, side)), spot * sd) for sd in (0.75, 1.35))
    ]
    own = np.stack([wandering(n, total, 0.92, rng) for _ in range(8)], 2)
    own = 0.75 * own + 0.66 * rng.standard_normal((n, 1, 8))  # partly a cell's for good
    # A mode shows within about three frames of its beginning, and better in some cells than in others.
    smooth = np.stack([np.convolve(np.pad(m, 1, "edge"), [0.25, 0.5, 0.25], "valid") for m in cells.mode])
    clear = plan.clarity * np.clip(rng.normal(0.88, 0.2, (n, 1)), 0.2, 1)
    look = 0.5 + (smooth - 0.5) * clear
    gain = np.exp(rng.normal(0, plan.staining, (n, 3))).astype(np.float32)

    canvas = np.zeros((total, 3, side, side), np.float32)
    window = np.arange(-half, half + 1)
    cell, frame = (a.ravel() for a in np.indices((n, total)))
    every = max(1, 400_000 // len(window) ** 2)  # pixels at a time
    for start in range(0, len(cell), every):
        c, t = cell[start : start + every], frame[start : start + every]
        form = forms(look[c, t].astype(np.float32), cells.drive[c, t].astype(np.float32), own[c, t].astype(np.float32))
        radius, u0, v0 = fitted(form)
        to = cells.heading[c, t].astype(np.float32)[:, None, None]
        xy = cells.xy[c, t]
        corner = np.rint(xy).astype(int)
        dx, dy = ((window - (xy - corner)[:, [axis], None]).astype(np.float32) for axis in (0, 1))
        scale = radius / radius_px[c, t].astype(np.float32)[:, None, None]
        dx, dy = dx.reshape(len(c), 1, -1) * scale, dy.reshape(len(c), -1, 1) * scale
        u, v = dx * np.cos(to) + dy * np.sin(to) + u0, dy * np.cos(to) - dx * np.sin(to) + v0
        places = [(slice(y, y + len(window)), slice(x, x + len(window))) for x, y in (corner + 1).tolist()]
        fine, coarse = (np.stack([texture[place] for place in places]) for texture in textures)
        light = stains(u, v, form, 0.6 * scale, (fine, coarse)) * gain[c][:, :, None, None]
        for one, k, place in zip(light, t.tolist(), places, strict=True):
            canvas[(k, slice(None), *place)] += one
    return canvas[:, :, half + 1 : -half - 1, half + 1 : -half - 1]


def _camera(light: Floats, plan: Plan, rng: np.random.Generator) -> NDArray[np.uint16]:
    """What the film's microscope makes of it: blur, gain, haze, bleaching, shot and read noise; uint16 of 12 bits."""
    from scipy.ndimage import gaussian_filter

    total, n_channels, size, _ = light.shape
    blur = plan.size_px / 64 * rng.uniform(0.4, 0.8)
    gain = np.exp(rng.normal(0, 0.2, (n_channels, 1, 1)))
    haze = gaussian_filter(rng.standard_normal((n_channels, size, size)), (0, size / 6, size / 6), mode="reflect")
    haze = haze / haze.std((1, 2), keepdims=True)
    dark = 0.07 * plan.background * np.exp(rng.normal(0, 0.3, (n_channels, 1, 1)) + 0.25 * haze)
    bleached = np.exp(-rng.uniform(0, 0.2) * np.arange(total) / total)[:, None, None, None]
    gain, dark, bleached = (factor.astype(np.float32) for factor in (gain, dark, bleached))
    seen = gaussian_filter(light, (0, 0, blur, blur)) * bleached * gain + dark
    noise = rng.standard_normal(seen.shape, dtype=np.float32) * np.sqrt(0.006 * seen + 0.0004)
    return np.rint(np.clip((seen + plan.noise * noise) * WHITE + 100, 0, 4095)).astype(np.uint16)


def _points(name: str, cells: Walk, n: int, plan: Plan, rng: np.random.Generator) -> pd.DataFrame:
    """The first `n` cells of a film as an expert marks them, and the truth."""
    total = plan.n_frames
    mode = cells.mode[:n].astype(int)
    switch = np.pad(mode[:, 1:] != mode[:, :-1], ((0, 0), (1, 1)))
    doubt = switch[:, 1:] | switch[:, :-1] | (rng.uniform(size=mode.shape) < plan.unknown)
    names = np.array(MODES)[mode]
    marked = cells.xy[:n, :total] + rng.normal(0, plan.annotation_px, (n, total, 2))
    steps = np.linalg.norm(np.diff(cells.xy[:n], axis=1), axis=2)
    width = len(str(plan.cells_per_film))
    return pd.DataFrame({
        "sequence": name,
        "cell": np.repeat([f"{name}/{k + 1:0{width}d}" for k in range(n)], total),
        "frame": np.tile(np.arange(total), n),
        "x": np.clip(marked[..., 0], 0, plan.field_px - 1).ravel(),
        "y": np.clip(marked[..., 1], 0, plan.field_px - 1).ravel(),
        "label": np.where(doubt, UNKNOWN, names).ravel(),
        "true_mode": names.ravel(),
        "phase": np.where(mode > 0, cells.phase[:n], np.nan).ravel(),
        "drive": cells.drive[:n].ravel(),
        "heading": ((cells.heading[:n] + np.pi) % (2 * np.pi) - np.pi).ravel(),
        "true_speed": steps.ravel(),
    })  # fmt: skip
