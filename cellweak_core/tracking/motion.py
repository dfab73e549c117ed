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


@dataclass(frozen=True)
class Motion:
    """How the cells of a culture move and divide; the defaults are fitted to sequence 9 of Ker et al. 2018.

    Attributes:
        speed_px: root mean square speed, pixels per 5 minutes.
        persistence: steps of 5 minutes after which the velocity's correlation has fallen to 1/e.
        spread: standard deviation of the logarithm of a cell's speed.
        wobble_px: scale of the independent steps (Student's t with 2 degrees of freedom), pixels.
        contact_px: cells nearer to each other than this push each other apart, the harder the nearer.
        division_rate: divisions per cell and 5 minutes.
    """

    speed_px: float = 1.42
    persistence: float = 30.0
    spread: float = 0.33
    wobble_px: float = 0.2
    contact_px: float = 30.0
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
    size = np.array([shape[1], shape[0]], float)
    xy = place(shape, n_cells, motion.contact_px, rng)
    n = len(xy)
    speed = rng.normal(0, motion.spread, n)
    velocity = rng.normal(0, motion.speed_px / np.sqrt(2), (n, 2))
    angle = np.arctan2(velocity[:, 1], velocity[:, 0])
    clock = _clocks(n, motion.division_rate, 0, rng)  # steps until the cell divides
    age = np.full(n, 1000)
    cell = np.arange(n)
    parents = [-1] * n
    keep = np.exp(-1 / motion.persistence)
    slow = np.exp(-1 / 150)  # speeds forget over half a day
    walks = Walks([], [], [], [], [], [], np.zeros(0, np.int64))
    for step in range((n_frames - 1) * every + 1):
        if step:
            clock, age = clock - 1, age + 1
            for i in np.flatnonzero(clock <= 0):
                axis = angle[i] + np.pi / 2 + rng.normal(0, 0.5)
                apart = np.array([np.cos(axis), np.sin(axis)])
                half = np.clip(rng.normal(5.8, 0.8), 4, 8)
                pair = np.array([apart, -apart])
                xy = np.concatenate([xy, xy[i] + half * pair])
                outward = motion.speed_px * rng.lognormal(-0.1, 0.3, (2, 1))
                velocity = np.concatenate([velocity, pair * outward])
                angle = np.concatenate([angle, [axis, axis + np.pi]])
                speed = np.concatenate([speed, np.repeat(speed[i], 2) + rng.normal(0, 0.1, 2)])
                cell = np.concatenate([cell, len(parents) + np.arange(2)])
                parents += [int(cell[i])] * 2
                clock = np.concatenate([clock, _clocks(2, motion.division_rate, 120, rng)])
                age = np.concatenate([age, [0, 0]])
            stays = clock > 0
            xy, velocity, angle, speed = xy[stays], velocity[stays], angle[stays], speed[stays]
            cell, clock, age = cell[stays], clock[stays], age[stays]
            n = len(cell)
            speed = slow * speed + np.sqrt(1 - slow**2) * rng.normal(0, motion.spread, n)
            kick = rng.normal(0, motion.speed_px / np.sqrt(2), (n, 2))
            # one unit of speed for all here; each cell's own factor applies to the step, so that it may change
            velocity = keep * velocity + np.sqrt(1 - keep**2) * kick
            pace = np.exp(speed - motion.spread**2)  # mean square 1
            pace *= np.where(clock <= ROUND_STEPS, 0.3, 1.0) * np.clip((age + 1) / 6, 0, 1)
            wobble = np.clip(motion.wobble_px * rng.standard_t(2, (n, 2)), -15, 15)
            xy = xy + velocity * pace[:, None] + wobble
            xy = xy + _push(xy, 1 - np.exp(-age / 12), motion.contact_px)  # sisters cling at first
            velocity = np.where((xy < -MARGIN_PX) | (xy > size + MARGIN_PX), -velocity, velocity)
            xy = np.clip(xy, -MARGIN_PX, size + MARGIN_PX)
            heading = np.arctan2(velocity[:, 1], velocity[:, 0])
            turn = (heading - angle + np.pi / 2) % np.pi - np.pi / 2  # an axis has no front
            eager = np.clip(np.hypot(*velocity.T) / motion.speed_px, 0, 1.5)
            angle = angle + 0.08 * eager * turn + rng.normal(0, 0.03, n)
        if step % every == 0:
            before = np.clip((ROUND_STEPS - clock) / 2, 0, 1)
            after = 0.95 * np.exp(-age / 6)
            walks.cell.append(cell)
            walks.xy.append(xy)
            walks.angle.append(angle)
            walks.roundness.append(np.maximum(before, after))
            walks.youth.append(np.exp(-age / 12))
            walks.time.append(step)
    return replace(walks, parent=np.array(parents, np.int64))


def annotate(walks: Walks, shape: tuple[int, int]) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """What an annotator of the image sees of the walks.

    A cell that leaves the image and comes back is a new cell: nobody could know it.

    Args:
        walks: of `walk`.
        shape: of the image, (Y, X) pixels.

    Returns:
        The table frame, id, x, y, parent (on every row of a daughter; -1 where the mother was not seen in the frame
        before), sorted by frame and id; and per frame the places in `walks` of its rows, in the table's order.
    """
    height, width = shape
    known: dict[int, int] = {}  # cell -> id in the frame before
    parent_of: dict[int, int] = {}
    seen_before: set[int] = set()
    rows, places = [], []
    following = 1
    for frame, (cell, xy) in enumerate(zip(walks.cell, walks.xy, strict=True)):
        inside = (xy >= 0).all(1) & (xy[:, 0] <= width - 1) & (xy[:, 1] <= height - 1)
        now: dict[int, int] = {}
        for i in np.flatnonzero(inside):
            number = int(cell[i])
            if number in known:
                now[number] = known[number]
            else:
                now[number] = following
                mother = int(walks.parent[number])
                born_here = number not in seen_before and mother in known
                parent_of[following] = known[mother] if born_here else -1
                following += 1
            rows.append((frame, now[number], xy[i, 0], xy[i, 1], parent_of[now[number]]))
        places.append(np.flatnonzero(inside))
        seen_before.update(cell.tolist())
        known = now
    table = pd.DataFrame(rows, columns=["frame", "id", "x", "y", "parent"])
    kinds = {"frame": "int64", "id": "int64", "x": "float64", "y": "float64", "parent": "int64"}
    return table.astype(kinds), places


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


def _clocks(n: int, rate: float, least: int, rng: np.random.Generator) -> np.ndarray:
    if rate <= 0:
        return np.full(n, 10**9)
    return least + np.ceil(rng.exponential(1 / rate, n)).astype(np.int64)


def _push(xy: np.ndarray, strength: np.ndarray, contact_px: float) -> np.ndarray:
    """The step by which cells in contact give way to each other, up to 1 px times both cells' strength (n,)."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(xy).query_pairs(contact_px, output_type="ndarray") if len(xy) > 1 else np.zeros((0, 2), int)
    shift = np.zeros_like(xy)
    if len(pairs):
        between = xy[pairs[:, 0]] - xy[pairs[:, 1]]
        gap = np.maximum(np.hypot(*between.T), 1e-6)[:, None]
        both = strength[pairs].prod(1)[:, None]
        force = both * (1 - gap / contact_px) * between / gap
        np.add.at(shift, pairs[:, 0], force)
        np.add.at(shift, pairs[:, 1], -force)
    return shift
