"""How a simulated migrating cell looks from above: its outline, and light in adhesions, actin and membrane.

    Continuous                Discontinuous, stretched     just retracted
       .-----.
      /       \\                       .-.                    .--.
    <| lamella |            tail ======( )===>             -( )  >        front at u > 0; u along, v across
      \\       /                       '-'                    '--'
       '-----'
    `Form` --outline--> signed distance --stains--> (n, 3, s, s), each channel of mean 1 over the cell

A cell's area and mean light are set from outside, so that neither tells its mode; a retracted discontinuous cell looks
much like a continuous one, as it would to a person. Lengths are in units of the radius of a disc of the cell's area
unless they say px.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
CHANNELS = ("adhesions", "actin", "membrane")
REACH = 3.4  # half the side of the square in which a cell is drawn; longer tails are not grown
BLEND = 0.12  # over which parts of a cell merge


class Form(NamedTuple):
    """The parts of n outlines, each `(n, 1, 1)`; see `forms`.

    Attributes:
        front: Middle of the lamella, ahead of the body's.
        depth: Half the lamella's extent along the cell.
        breadth: And across it.
        tail: Length, from the body's middle.
        thick: Half the tail's width at the body.
        bend: Sideways drift of the tail's tip.
        lobe: Length of a second protrusion.
        side: Its angle to the front, radians.
        waves: `(n, 1, 1, 3)` phases of the outline's unevenness, radians.
        mode: 0 for a continuous look, 1 for a discontinuous one.
    """

    front: Floats
    depth: Floats
    breadth: Floats
    tail: Floats
    thick: Floats
    bend: Floats
    lobe: Floats
    side: Floats
    waves: Floats
    mode: Floats


def forms(mode: Floats, drive: Floats, own: Floats) -> Form:
    """The look of cells from what they are.

    Args:
        mode: `(n,)` 0 for continuous, 1 for discontinuous; between, a cell that changes or that shows it badly.
        drive: `(n,)` 0 to 1: how broad a continuous cell's lamella is, how far a discontinuous one is stretched.
        own: `(n, 8)` what is the cell's own, about standard normal.

    Returns:
        Their parts.
    """
    m, d = mode[:, None, None], drive[:, None, None]
    n = np.moveaxis(own, 1, 0)[:, :, None, None]

    def mixed(continuous: Floats, discontinuous: Floats) -> Floats:
        return (1 - m) * continuous + m * discontinuous

    return Form(
        front=mixed(0.45 + 0.15 * d + 0.06 * n[0], 0.65 + 0.5 * d + 0.1 * n[0]),
        depth=mixed(0.5 + 0.04 * n[1], 0.5 + 0.1 * d + 0.05 * n[1]),
        breadth=np.maximum(mixed(0.95 + 0.45 * d + 0.12 * n[2], 0.78 - 0.36 * d + 0.12 * n[2]), 0.2),
        tail=np.clip(mixed(1.1 + 0.22 * n[3], 1.15 + 1.35 * d + 0.22 * n[3]), 0.7, 3),
        thick=np.maximum(mixed(0.42 + 0.05 * n[4], 0.3 + 0.04 * n[4]), 0.12),
        bend=mixed(0.12 * n[5], 0.3 * n[5]),
        lobe=np.clip(mixed(0.55 + 0.2 * n[6], 0.75 + 0.35 * n[6]), 0.2, 1.5),
        side=np.clip(0.9 * n[7], -2.2, 2.2),
        waves=np.float32(2) * own[:, None, None, :3] + own[:, None, None, 4:7],
        mode=m,
    )


def outline(u: Floats, v: Floats, form: Form) -> Floats:
    """Signed distance to the outline, below 0 inside; near the outline only, further off it is of the right sign.

    Args:
        u: `(n, s, s)` along the cell from its body's middle, the front ahead.
        v: And across.
        form: Of the n cells.
    """

    def ellipse(x: Floats, y: Floats, a: Floats | float, b: Floats | float) -> Floats:
        radius = np.hypot(x / a, y / b)
        return radius * (radius - 1) / np.maximum(np.hypot(x / a**2, y / b**2), 1e-6)

    along = np.clip(-u / form.tail, 0, 1)
    behind = np.maximum(-u - form.tail, 0) + np.maximum(u, 0)
    tail = np.hypot(v - form.bend * along**2, behind) - (0.07 + form.thick * (1 - along) ** 1.2)
    x, y = u * np.cos(form.side) + v * np.sin(form.side), v * np.cos(form.side) - u * np.sin(form.side)
    lobe = np.hypot(x - np.clip(x, 0, form.lobe), y) - 0.24
    # Parts as far apart as their blend merge with webs between them, as membranes do.
    parts = (ellipse(u, v, 0.72, 0.62), ellipse(u - form.front, v, form.depth, form.breadth), tail, lobe)
    whole = -BLEND * np.log(sum(np.exp(np.clip(-part / BLEND, -60, 60)) for part in parts))
    angle = np.arctan2(v, u)
    uneven = sum(np.sin(k * angle + form.waves[..., i]) for i, k in enumerate((5, 8, 13)))
    return np.asarray(whole + 0.025 * uneven, np.float32)


def fitted(form: Form) -> tuple[Floats, Floats, Floats]:
    """Size and centroid of outlines, by counting on a coarse grid.

    Returns:
        Radius of the disc of the same area, centroid along and across, each `(n, 1, 1)`, in the units of `form`.
    """
    v, u = np.meshgrid(*[np.linspace(-REACH, REACH, 56, dtype=np.float32)] * 2, indexing="ij")
    inside = (outline(u[None], v[None], form) < 0).astype(np.float32)
    count = inside.sum((1, 2), keepdims=True)
    radius = np.sqrt(count * (2 * REACH / 55) ** 2 / np.pi)
    return radius, (inside * u).sum((1, 2), keepdims=True) / count, (inside * v).sum((1, 2), keepdims=True) / count


def stains(u: Floats, v: Floats, form: Form, soft: Floats, spots: tuple[Floats, Floats]) -> Floats:
    """Light of cells in `CHANNELS`, without noise.

    Args:
        u: `(n, s, s)` along the cell.
        v: And across.
        form: Of the n cells.
        soft: `(n, 1, 1)` width of an edge.
        spots: Two textures `(n, s, s)` about standard normal, fine and coarse. They lie still under the moving cell,
            as adhesions do.

    Returns:
        `(n, 3, s, s)` float32, each channel of mean 1 over its cell.
    """
    distance = outline(u, v, form)
    fine, coarse = spots
    m = form.mode
    inside = _step(-distance / soft)
    front, rear = _step((u - 0.25) / 0.12), _step((-u - 0.8) / 0.12)
    radius = np.hypot(u / 0.42, v / 0.36)
    nucleus, dome = _step((1 - radius) / 0.12), np.exp(-0.16 * radius**2)
    edge = np.exp(-((distance / 0.1) ** 2))
    # Many small adhesions in a band behind a broad front; few and large ones at the tip and down the tail.
    band = np.exp(-(((distance + 0.22) / 0.16) ** 2))
    small = np.exp(1.3 * fine - 0.8) * band * (0.15 + front)
    large = np.exp(1.6 * coarse - 1.2) * (band * front + 0.7 * rear + 0.12)
    adhesions = 0.12 + 0.3 * dome * (1 - nucleus) + 1.6 * ((1 - m) * small + m * large)
    # Transverse arcs that follow the front; stress fibres along a stretched cell.
    arcs = (0.5 + 0.5 * np.cos(distance * (2 * np.pi / 0.27) + fine)) * front
    fibres = (0.5 + 0.5 * np.cos(v * (2 * np.pi / 0.3) + 0.8 * coarse)) * (1 - front)
    actin = 0.2 + (1 - 0.7 * nucleus) * (0.5 * arcs + 0.35 * fibres) + edge * (0.25 + 1.3 * front)
    membrane = 0.4 + 1.1 * dome * (1 + 0.2 * fine) * (1 - 0.65 * nucleus) + 0.5 * edge
    light = inside[:, None] * np.stack([adhesions, actin, membrane], 1)
    return np.asarray(light * (inside.sum((1, 2)) / light.sum((2, 3)).T).T[:, :, None, None], np.float32)


def _step(x: Floats) -> Floats:
    """0 below, 1 above."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))), np.float32)
