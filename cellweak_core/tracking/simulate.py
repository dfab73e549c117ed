"""Simulated phase-contrast sequences of C2C12 cells, with every position, lineage and nucleus known.

```
motion.walk --> Walks --phase.draw_cells, develop--> images (T, Y, X)
                  \\----motion.annotate------------> points: frame, id, x, y, parent
```

The four culture conditions of Nishimura 2020, Fig. 5 differ in density, shape, contrast, motility and division rate.
"BMP2" is fitted to the sequence on which the paper trains (F0009 of Ker et al. 2018; the paper counts it to BMP2, its
folder is named "FGF2,BMP2"): `tracking.statistics` measures both, and the tests hold them side by side. No sequence of
the others was at hand: FGF2 makes cells more, smaller, faster and sooner to divide, control cells are fewer and longer,
FGF2+BMP2 lies between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from cellweak_core.tracking.motion import MARGIN_PX, STEP_MIN, Motion, Walks, annotate, walk
from cellweak_core.tracking.phase import Camera, blob, debris, develop, develop_nuclei, illumination
from cellweak_core.tracking.shapes import GLOW, NUCLEI, PHASE, Look, draw_cells, individuals, texture

if TYPE_CHECKING:
    from cellweak_core.tracking.data import TrackingData

CONDITIONS = ("Control", "FGF2", "BMP2", "FGF2+BMP2")


@dataclass(frozen=True)
class Culture:
    """One culture condition.

    Attributes:
        density: cells per square pixel in frame 0.
        motion: how the cells move and divide.
        look: how they look.
    """

    density: float = 1.57e-4
    motion: Motion = field(default_factory=Motion)
    look: Look = field(default_factory=Look)


CULTURES = {
    "Control": Culture(
        1.1e-4,
        Motion(speed_px=1.3, division_rate=0.0020),
        Look(shares=(0.75, 0.1, 0.15), size=1.1, elongation=1.35, contrast=0.85, glow=0.8),
    ),
    "FGF2": Culture(
        2.6e-4,
        Motion(speed_px=1.9, persistence=20.0, division_rate=0.0042, contact_px=30.0),
        Look(shares=(0.6, 0.35, 0.05), size=0.82, elongation=1.1, contrast=0.8, glow=0.8),
    ),
    "BMP2": Culture(),
    "FGF2+BMP2": Culture(
        2.1e-4,
        Motion(speed_px=1.65, division_rate=0.0036, contact_px=33.0),
        Look(shares=(0.5, 0.35, 0.15), size=0.9, contrast=0.9, glow=0.9),
    ),
}


def simulate(
    condition: str,
    n_frames: int,
    size: int | Sequence[int],
    seed: int,
    interval_min: float = 5.0,
    n_cells: int | None = None,
    *,
    division_rate: float | None = None,
    camera: Camera | None = None,
) -> TrackingData:
    """Simulates a sequence.

    Args:
        condition: one of `CONDITIONS`; "BMP2" is fitted to sequence 9 of Ker et al. 2018.
        n_frames: 1 or more.
        size: side of a square image or (Y, X), pixels; 32 or more.
        seed: of everything.
        interval_min: between frames, a multiple of 5 minutes.
        n_cells: inside the image in frame 0; by default the condition's density.
        division_rate: divisions per grown cell and 5 minutes instead of the condition's.
        camera: microscope; the defaults match sequence 9.

    Returns:
        Frames uint8, points with id and parent, and the channel of the nuclei.

    Raises:
        ValueError: a condition that is not there, or numbers out of range.
    """
    from cellweak_core.tracking.data import TrackingData
    from cellweak_core.tracking.frames import ArraySource

    if condition not in CULTURES:
        raise ValueError(f"condition: expected one of {', '.join(CONDITIONS)}, given {condition!r}.")
    shape = (int(size), int(size)) if isinstance(size, int | np.integer) else tuple(int(side) for side in size)
    if len(shape) != 2 or min(shape) < 32:
        raise ValueError(f"size: expected one side or (Y, X) of 32 pixels or more, given {size}.")
    if n_frames < 1:
        raise ValueError(f"n_frames: expected 1 or more, given {n_frames}.")
    every = round(interval_min / STEP_MIN)
    if every < 1 or abs(every * STEP_MIN - interval_min) > 1e-9:
        raise ValueError(f"interval_min: expected a multiple of {STEP_MIN:g} minutes, given {interval_min}.")
    culture = CULTURES[condition]
    motion = culture.motion if division_rate is None else replace(culture.motion, division_rate=division_rate)
    if motion.division_rate < 0:
        raise ValueError(f"division_rate: expected 0 or more, given {division_rate}.")
    n = round(culture.density * shape[0] * shape[1]) if n_cells is None else int(n_cells)
    if n < 0:
        raise ValueError(f"n_cells: expected 0 or more, given {n_cells}.")
    walks = walk(n_frames, shape, n, motion, np.random.default_rng([seed, 1]), every)
    points = annotate(walks, shape)
    images, lights = _film(walks, shape, culture.look, camera or Camera(), seed)
    name = f"simulated {condition}"
    return TrackingData(
        source=ArraySource(images, name),
        points=points,
        linked=True,
        name=name,
        nuclei=ArraySource(lights, f"{name}, nuclei"),
    )


def _film(walks: Walks, shape: tuple[int, int], look: Look, camera: Camera, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Phase contrast and nuclei of every frame, uint8 (T, Y, X) each."""
    rng = np.random.default_rng([seed, 2])
    cells = individuals(len(walks.parent), look, rng)
    grain = texture(rng)
    background = illumination(shape, camera, rng)
    still = debris(shape, camera, rng)
    area = (shape[0] + 2 * MARGIN_PX) * (shape[1] + 2 * MARGIN_PX) / 1e5
    drifting = rng.poisson(camera.floaters * area)
    at = rng.uniform(-MARGIN_PX, [shape[1] + MARGIN_PX, shape[0] + MARGIN_PX], (drifting, 2))
    turn, radius = rng.uniform(0, np.pi, drifting), rng.uniform(2.0, 4.0, drifting)
    images = np.zeros((len(walks.time), *shape), np.uint8)
    lights = np.zeros_like(images)
    for frame, time in enumerate(walks.time):
        noise = np.random.default_rng([seed, 3, frame])
        canvas = np.zeros((3, *shape), np.float32)
        canvas[PHASE] = still
        draw_cells(
            canvas, walks.cell[frame], walks.xy[frame], walks.angle[frame], walks.roundness[frame],
            walks.youth[frame], time, cells, grain,
        )  # fmt: skip
        at = at + rng.normal(0, 0.7, at.shape)
        turn = turn + rng.normal(0, 0.15, drifting)
        half = radius[:, None] * np.column_stack([np.cos(turn), np.sin(turn)])
        for ball, size_px in zip(np.concatenate([at - half, at + half]), np.tile(radius, 2), strict=True):
            blob(canvas[PHASE], ball, 0.6 * size_px, 0.5)
            blob(canvas[GLOW], ball, 1.2 * size_px, 1.0)
        images[frame] = develop(canvas[PHASE], canvas[GLOW], background, camera, noise)
        lights[frame] = develop_nuclei(canvas[NUCLEI], noise)
    return images, lights
