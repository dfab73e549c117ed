"""How simulated cells move, meet, divide, enter and leave.

```
place --> positions in a domain wider than the image --step, step, ...--> Walks --annotate--> frame, id, x, y, parent
```

A cell's velocity is an Ornstein-Uhlenbeck process (a persistent random walk) whose speed wanders slowly from cell to
cell and hour to hour, which gives steps a heavy tail; small independent steps are added, as of a body that wobbles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

STEP_MIN = 5.0  # one step of the walk, minutes: the interval of the C2C12 sequences
MARGIN_PX = 90  # cells are simulated this far outside the image
ROUND_STEPS = 5  # a cell rounds up over this many steps before it divides
_CYCLE_STEPS = 120  # from birth to the next division, at least
_MOOD_STEPS = 150  # over which a cell's own pace is forgotten
_GROWN = 1000  # age of the cells of frame 0


@dataclass(frozen=True)
class Motion:
    """How the cells of a culture move and divide; the defaults are fitted to sequence 9 of Ker et al. 2018.

    Attributes:
        speed_px: root mean square speed, pixels per 5 minutes.
        persistence: steps of 5 minutes after which the velocity's correlation has fallen to 1/e.
        spread: standard deviation of the logarithm of a cell's speed.
        wobble_px: scale of the independent steps (Student's t with 2 degrees of freedom), pixels.
        contact_px: cells nearer to each other than this push each other apart, the harder the nearer.
        division_rate: divisions per grown cell and 5 minutes; daughters wait for 10 hours at least.
    """

    speed_px: float = 1.4
    persistence: float = 30.0
    spread: float = 0.33
    wobble_px: float = 0.2
    contact_px: float = 37.0
    division_rate: float = 0.0029


@dataclass(frozen=True)
class Walks:
    """Where every simulated cell is at each frame; one entry of every list per frame, cells in one order.

    Attributes:
        cell: int (n,), the number of a cell; daughters get new numbers.
        xy: float (n, 2), pixels of the image; outside it, too.
        angle: float (n,), direction of the long axis, radians.
        roundness: float (n,), 0 a spread cell to 1 a sphere in mitosis.
        youth: float (n,), 1 at birth, fading to 0 within hours.
        time: steps of 5 minutes since frame 0.
        parent: int (all cells,), the mother's number or -1.
    """

    cell: list[np.ndarray]
    xy: list[np.ndarray]
    angle: list[np.ndarray]
    roundness: list[np.ndarray]
    youth: list[np.ndarray]
    time: list[int]
    parent: np.ndarray


def walk(
    n_frames: int, shape: tuple[int, int], n_cells: int, motion: Motion, rng: np.random.Generator, every: int = 1
) -> Walks:
    """Lets cells walk.

    Args:
        n_frames: to record.
        shape: of the image, (Y, X) pixels.
        n_cells: inside the image in frame 0; as many per area around it.
        motion: of the culture.
        rng: of everything.
        every: steps of 5 minutes from frame to frame.

    Returns:
        The cells of each frame.
    """
    crowd = _Crowd.at(place(shape, n_cells, motion.contact_px, rng), motion, rng)
    parents = [-1] * len(crowd.number)
    walks = Walks([], [], [], [], [], [], np.zeros(0, np.int64))
    for step in range((n_frames - 1) * every + 1):
        if step:
            crowd = _divide(crowd, parents, motion, rng)
            _advance(crowd, shape, motion, rng)
        if step % every == 0:
            before = np.clip((ROUND_STEPS - crowd.clock) / 2, 0, 1)
            after = 0.95 * np.exp(-crowd.age / 6)
            walks.cell.append(crowd.number)
            walks.xy.append(crowd.xy)
            walks.angle.append(crowd.angle)
            walks.roundness.append(np.maximum(before, after))
            walks.youth.append(_youth(crowd.age))
            walks.time.append(step)
    return replace(walks, parent=np.array(parents, np.int64))


def annotate(walks: Walks, shape: tuple[int, int]) -> pd.DataFrame:
    """What an annotator of the image sees of the walks.

    A cell that leaves the image and comes back is a new cell: nobody could know it.

    Args:
        walks: of `walk`.
        shape: of the image, (Y, X) pixels.

    Returns:
        Columns frame, id, x, y, parent (on every row of a daughter; -1 where the mother was not seen in the frame
        before), sorted by frame and id.
    """
    height, width = shape
    known: dict[int, int] = {}  # cell -> id in the frame before
    parents: list[int] = [-1]  # by id, from 1 on
    lived: set[int] = set()
    rows = []
    for frame, (cell, xy) in enumerate(zip(walks.cell, walks.xy, strict=True)):
        inside = (xy >= 0).all(1) & (xy[:, 0] <= width - 1) & (xy[:, 1] <= height - 1)
        now: dict[int, int] = {}
        for i in np.flatnonzero(inside):
            number = int(cell[i])
            if number in known:
                now[number] = known[number]
            else:
                now[number] = len(parents)
                mother = int(walks.parent[number])
                parents.append(known.get(mother, -1) if number not in lived else -1)
            rows.append((frame, now[number], xy[i, 0], xy[i, 1], parents[now[number]]))
        lived.update(cell.tolist())
        known = now
    kinds = {"frame": "int64", "id": "int64", "x": "float64", "y": "float64", "parent": "int64"}
    table = pd.DataFrame(rows, columns=list(kinds)).astype(kinds)
    return table.sort_values(["frame", "id"], ignore_index=True)


def place(shape: tuple[int, int], n_cells: int, apart_px: float, rng: np.random.Generator) -> np.ndarray:
    """Places cells in crowds and gaps, not nearer than `apart_px` as far as there is room.

    Args:
        shape: of the image, (Y, X) pixels.
        n_cells: inside the image; the margin around it gets as many per area.
        apart_px: smallest distance.
        rng: of places.

    Returns:
        Float (n, 2), x and y, the first n_cells inside the image.
    """
    height, width = shape
    low, high = np.array([-MARGIN_PX, -MARGIN_PX]), np.array([width + MARGIN_PX, height + MARGIN_PX])
    outside = round(n_cells * ((high - low).prod() / (width * height) - 1))
    waves = rng.normal(0, 1 / 180, (6, 2))  # radians per pixel: crowds some hundred pixels across
    phases = rng.uniform(0, 2 * np.pi, 6)
    found = np.zeros((n_cells + outside, 2))
    n, apart, tries = 0, apart_px, 0
    while n < len(found):
        tries += 1
        at = rng.uniform(0, [width - 1, height - 1]) if n < n_cells else rng.uniform(low, high)
        if n >= n_cells and 0 <= at[0] <= width - 1 and 0 <= at[1] <= height - 1:
            continue
        crowd = np.exp(0.3 * np.sin(waves @ at + phases).sum())
        if rng.uniform() * 3 > crowd:
            continue
        if n and np.square(found[:n] - at).sum(1).min() < (apart * rng.uniform(0.5, 1.2)) ** 2:
            apart *= 0.998  # gives way where the cells do not fit
            continue
        found[n] = at
        n += 1
    return found


@dataclass
class _Crowd:
    """The state of all cells: arrays with a row per cell, never changed in place."""

    number: np.ndarray
    xy: np.ndarray
    velocity: np.ndarray  # (n, 2), pixels per step, before the cell's own pace
    pace: np.ndarray  # logarithm of the cell's factor on its speed
    angle: np.ndarray
    clock: np.ndarray  # steps until the cell divides
    age: np.ndarray  # steps since birth

    @classmethod
    def at(cls, xy: np.ndarray, motion: Motion, rng: np.random.Generator) -> _Crowd:
        """Grown cells at these places."""
        n = len(xy)
        velocity = rng.normal(0, motion.speed_px / np.sqrt(2), (n, 2))
        angle = np.arctan2(velocity[:, 1], velocity[:, 0])
        pace = rng.normal(0, motion.spread, n)
        return cls(np.arange(n), xy, velocity, pace, angle, _clocks(n, motion, 0, rng), np.full(n, _GROWN))


def _divide(crowd: _Crowd, parents: list[int], motion: Motion, rng: np.random.Generator) -> _Crowd:
    """One step later; two daughters stand for each cell whose clock has run down."""
    crowd = replace(crowd, clock=crowd.clock - 1, age=crowd.age + 1)
    rows = [{name: getattr(crowd, name)[crowd.clock > 0] for name in _Crowd.__dataclass_fields__}]
    for i in np.flatnonzero(crowd.clock <= 0):
        axis = crowd.angle[i] + np.pi / 2 + rng.normal(0, 0.5)
        pair = np.array([[np.cos(axis), np.sin(axis)], [-np.cos(axis), -np.sin(axis)]])
        rows.append(
            {
                "number": len(parents) + np.arange(2),
                "xy": crowd.xy[i] + np.clip(rng.normal(5.8, 0.8), 4, 8) * pair,
                "velocity": motion.speed_px * rng.lognormal(-0.1, 0.3, (2, 1)) * pair,
                "pace": crowd.pace[i] + rng.normal(0, 0.1, 2),
                "angle": np.array([axis, axis + np.pi]),
                "clock": _clocks(2, motion, _CYCLE_STEPS, rng),
                "age": np.zeros(2, np.int64),
            }
        )
        parents += [int(crowd.number[i])] * 2
    return _Crowd(**{name: np.concatenate([row[name] for row in rows]) for name in rows[0]})


def _advance(crowd: _Crowd, shape: tuple[int, int], motion: Motion, rng: np.random.Generator) -> None:
    """Moves and turns all cells by one step."""
    n = len(crowd.number)
    keep, slow = np.exp(-1 / motion.persistence), np.exp(-1 / _MOOD_STEPS)
    crowd.pace = slow * crowd.pace + np.sqrt(1 - slow**2) * rng.normal(0, motion.spread, n)
    kick = rng.normal(0, motion.speed_px / np.sqrt(2), (n, 2))
    velocity = keep * crowd.velocity + np.sqrt(1 - keep**2) * kick
    pace = np.exp(crowd.pace - motion.spread**2)  # mean square 1
    pace *= np.where(crowd.clock <= ROUND_STEPS, 0.3, 1.0) * np.clip((crowd.age + 1) / 6, 0, 1)
    wobble = np.clip(motion.wobble_px * rng.standard_t(2, (n, 2)), -15, 15)
    xy = crowd.xy + velocity * pace[:, None] + wobble
    xy = xy + push(xy, 1 - _youth(crowd.age), motion.contact_px)  # sisters cling to each other at first
    low, high = -MARGIN_PX, np.array([shape[1], shape[0]]) + MARGIN_PX
    crowd.velocity = np.where((xy < low) | (xy > high), -velocity, velocity)
    crowd.xy = np.clip(xy, low, high)
    heading = np.arctan2(velocity[:, 1], velocity[:, 0])
    turn = (heading - crowd.angle + np.pi / 2) % np.pi - np.pi / 2  # an axis has no front
    eager = np.clip(np.hypot(*velocity.T) / max(motion.speed_px, 1e-6), 0, 1.5)
    crowd.angle = crowd.angle + 0.08 * eager * turn + rng.normal(0, 0.03, n)


def push(xy: np.ndarray, strength: np.ndarray, contact_px: float) -> np.ndarray:
    """The step by which cells in contact give way: along their line, s_i s_j (1 - d / contact) pixels from each other.

    Args:
        xy: float (n, 2), pixels.
        strength: s, float (n,), 0 to 1.
        contact_px: d below which there is contact.

    Returns:
        float (n, 2), pixels.
    """
    from scipy.spatial import cKDTree

    pairs = cKDTree(xy).query_pairs(contact_px, output_type="ndarray") if len(xy) > 1 else np.zeros((0, 2), int)
    between = xy[pairs[:, 0]] - xy[pairs[:, 1]]
    gap = np.maximum(np.hypot(*between.T), 1e-6)[:, None]
    force = strength[pairs].prod(1)[:, None] * (1 - gap / contact_px) * between / gap
    shift = np.zeros_like(xy)
    np.add.at(shift, pairs[:, 0], force)
    np.add.at(shift, pairs[:, 1], -force)
    return shift


def _clocks(n: int, motion: Motion, least: int, rng: np.random.Generator) -> np.ndarray:
    if motion.division_rate <= 0:
        return np.full(n, 10**9)
    return least + np.ceil(rng.exponential(1 / motion.division_rate, n)).astype(np.int64)


def _youth(age: np.ndarray) -> np.ndarray:
    return np.exp(-age / 12)
