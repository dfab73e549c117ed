"""Cells of a simulated embryo: balls that crowd an ellipsoid, divide, and now and then gather to a rosette.

The tissue is the additively weighted Voronoi mesh of the balls: a point belongs to the cell of least
`g_i(p) = |p - s_i| - r_i` (centre s_i, radius r_i), which gives curved faces, unlike the power mesh's flat ones.

```
   \\  1 /        five or more cells at one distance g from a point c meet there:
 2  \\  /  5      s_i = c + (r_i + gap) (cos a_i, sin a_i, 0),  a_i round the circle
-----c-----      so g_i(c) = gap for every member i, and the others are kept at g(c) > gap
 3  / \\  4
```

Units: pixels (x, y, z alike) and minutes. The axis z looks into the depth; the embryo's middle is the origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KINDS = ("rosette", "four_way", "partial")
_RISE = 4.0  # minutes in which cells gather, and disperse
_CLEARANCE = 7.0  # how much farther than the members (in g) other cells are kept from a rosette's centre


@dataclass(frozen=True)
class Cells:
    """The cells of one embryo at one minute.

    Attributes:
        centres: float32 (n, 3), x, y, z.
        radii: float32 (n,).
        membrane: float32 (n,), relative brightness of the cell's membrane.
        cytoplasm: float32 (n,), relative brightness inside.
        axes: the embryo's half axes (3,).
        angle: of its long axis to x, radians.
    """

    centres: np.ndarray
    radii: np.ndarray
    membrane: np.ndarray
    cytoplasm: np.ndarray
    axes: np.ndarray
    angle: float


@dataclass
class _Gathering:
    """Cells that come to one point, stay, and part again."""

    start: float
    stay: float
    centre: np.ndarray
    n: int
    peak: float  # 1: they truly meet
    gap: float
    jitter: np.ndarray
    members: np.ndarray | None = None
    angles: np.ndarray | None = None

    def pull(self, minute: float) -> float:
        """0 before and after, `peak` while they stay, smooth between."""
        since = minute - self.start
        ramp = np.clip(min(since, 2 * _RISE + self.stay - since) / _RISE, 0, 1)
        return float(self.peak * ramp * ramp * (3 - 2 * ramp))


def grow(
    minutes: np.ndarray,
    depths_px: tuple[float, float],
    rng: np.random.Generator,
    *,
    n_cells: tuple[float, float] = (58, 165),
    first_last: tuple[float, float] = (61, 110),
    gatherings: float = 1.0,
) -> list[Cells]:
    """Lets one embryo develop.

    Args:
        minutes: increasing, the minutes to keep.
        depths_px: least and greatest depth z at which rosettes are centred.
        rng: of everything.
        n_cells: at the minutes `first_last`, growing exponentially between.
        first_last: see `n_cells`.
        gatherings: expected number of rosettes over `first_last`; four-way and partial ones come on top.

    Returns:
        The cells at each of `minutes`.
    """
    minutes = np.asarray(minutes, float)
    axes = np.array([118.0, 78.0, 75.0]) * rng.uniform(0.92, 1.08) * rng.uniform(0.96, 1.04, 3)
    angle = float(rng.uniform(0, np.pi))
    shift = rng.normal(0, 4)  # embryos are not quite of one age
    first, last = first_last
    rate = np.log(n_cells[1] / n_cells[0]) / (last - first)

    def wanted(minute: float) -> float:
        return n_cells[0] * np.exp(rate * (minute - first + shift))

    begin = int(np.floor(minutes.min())) - 6
    n = max(24, round(wanted(begin)))
    volume = axes.prod()
    share = rng.lognormal(0, 0.25, n)
    radii = (0.80 * volume * share / share.sum()) ** (1 / 3)
    centres = _in_ellipsoid(n, axes, rng)
    membrane, cytoplasm = rng.lognormal(0, 0.16, n), rng.normal(1, 0.10, n)
    events = _events(first, last, axes, depths_px, gatherings, rng)
    for _ in range(30):
        centres = _relax(centres, radii, axes)
    kept: list[Cells] = []
    minute = float(begin)
    for keep in minutes:
        while minute < keep:
            minute += 1
            gathered = [e.members for e in events if e.members is not None and e.pull(minute) > 0]
            n_new = max(0, round(wanted(minute)) - len(radii))
            mothers = _mothers(radii, gathered, n_new, rng)
            centres, radii = _divide(centres, radii, mothers, rng)
            membrane = np.concatenate([membrane, membrane[mothers] * rng.lognormal(0, 0.08, len(mothers))])
            cytoplasm = np.concatenate([cytoplasm, cytoplasm[mothers] + rng.normal(0, 0.04, len(mothers))])
            centres = centres + rng.normal(0, 0.5, centres.shape)
            for _ in range(2):
                centres = _relax(centres, radii, axes)
            centres = _gather(centres, radii, events, minute)
        f32 = np.float32
        kept.append(
            Cells(
                centres.astype(f32),
                radii.astype(f32),
                membrane.astype(f32),
                cytoplasm.astype(f32),
                axes.astype(f32),
                angle,
            )
        )
    return kept


def _mothers(radii: np.ndarray, gathered: list[np.ndarray], n: int, rng: np.random.Generator) -> np.ndarray:
    """Which cells divide: the large ones, and none that is in a rosette."""
    chance = radii**6
    if gathered:
        chance[np.concatenate(gathered)] = 0
    n = min(n, int((chance > 0).sum()))
    return rng.choice(len(radii), n, replace=False, p=chance / chance.sum()) if n else np.zeros(0, int)


def _divide(
    centres: np.ndarray, radii: np.ndarray, mothers: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Each mother becomes two cells of half her volume, side by side and rather within the plane."""
    axis = rng.normal(size=(len(mothers), 3)) * [1, 1, 0.6]
    axis *= (0.55 * radii[mothers] / np.linalg.norm(axis, axis=1))[:, None]
    centres, radii = centres.copy(), radii.copy()
    radii[mothers] *= 0.5 ** (1 / 3)
    daughters = centres[mothers] + axis
    centres[mothers] -= axis
    return np.concatenate([centres, daughters]), np.concatenate([radii, radii[mothers]])


def _in_ellipsoid(n: int, axes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    points = rng.normal(size=(n, 3))
    points *= (rng.uniform(0, 1, n) ** (1 / 3) / np.linalg.norm(points, axis=1))[:, None]
    return points * axes * 0.85


def _relax(centres: np.ndarray, radii: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """One step: overlapping balls push each other apart, and the shell pushes them in."""
    apart = centres[:, None] - centres[None]
    distance = np.sqrt((apart * apart).sum(-1)) + 1e-6
    overlap = np.maximum(0, 0.97 * (radii[:, None] + radii[None]) - distance)
    np.fill_diagonal(overlap, 0)
    moved = centres + 0.25 * np.einsum("ij,ijk->ik", overlap / distance, apart)
    inner = axes - 0.9 * radii[:, None]
    beyond = np.sqrt(((moved / inner) ** 2).sum(1))
    return moved / np.maximum(1, beyond)[:, None]


def _events(
    first: float, last: float, axes: np.ndarray, depths: tuple[float, float], rosettes: float, rng: np.random.Generator
) -> list[_Gathering]:
    """When and where cells gather: later is likelier, as in the real labels (mean minute 90 against 85)."""
    events = []
    for kind, expected in zip(KINDS, (rosettes, 2.5, 3.5), strict=True):
        for _ in range(rng.poisson(expected)):
            z = rng.uniform(*depths)
            section = axes[:2] * np.sqrt(max(0.2, 1 - (z / axes[2]) ** 2))
            radius, turn = 0.68 * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
            centre = np.array([section[0] * radius * np.cos(turn), section[1] * radius * np.sin(turn), z])
            n = 4 if kind == "four_way" else int(rng.choice([5, 6, 7, 8], p=[0.45, 0.35, 0.15, 0.05]))
            events.append(
                _Gathering(
                    start=first - 10 + (last - first) * rng.uniform() ** 0.8,
                    stay=rng.uniform(6, 14),
                    centre=centre,
                    n=n,
                    peak=rng.uniform(0.4, 0.75) if kind == "partial" else 1.0,
                    gap=rng.uniform(-1.0, 2.0),
                    jitter=rng.uniform(-0.22, 0.22, n),
                )
            )
    return events


def _gather(centres: np.ndarray, radii: np.ndarray, events: list[_Gathering], minute: float) -> np.ndarray:
    """Moves the members of each gathering toward their ring, and others out of its centre."""
    centres = centres.copy()
    taken: set[int] = set()
    for event in events:
        pull = event.pull(minute)
        if pull <= 0:
            continue
        if event.members is None or event.angles is None:
            apart = centres - event.centre
            far = np.linalg.norm(apart * [1, 1, 1.5], axis=1) - 0.5 * radii
            far[list(taken)] = np.inf
            event.members = np.argsort(far)[: event.n]
            bearing = np.arctan2(apart[event.members, 1], apart[event.members, 0])
            event.members = event.members[np.argsort(bearing)]
            even = 2 * np.pi * (np.arange(event.n) + event.jitter) / event.n
            # turn the ring so that the cells have the least way to go
            event.angles = even + np.angle(np.exp(1j * (np.sort(bearing) - even)).mean())
        members, angles = event.members, event.angles
        if taken.intersection(members.tolist()):
            continue
        taken.update(members.tolist())
        reach = radii[members] + event.gap
        ring = np.stack([reach * np.cos(angles), reach * np.sin(angles), np.zeros(len(reach))], 1)
        centres[members] += pull * (event.centre + ring - centres[members])
        others = np.setdiff1d(np.arange(len(radii)), members)
        apart = centres[others] - event.centre
        distance = np.linalg.norm(apart, axis=1) + 1e-6
        lacking = np.maximum(0, radii[others] + event.gap + _CLEARANCE - distance)
        centres[others] += apart * (pull * lacking / distance)[:, None]
    return centres
