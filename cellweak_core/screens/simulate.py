"""A screen that is made: cells whose look depends on mechanism, compound, dose, batch and place, all of it known.

    mechanism --direction in `PROPERTIES`--> compound (a little its own) x dose --> each cell, with its own spread
    batch: gain, background and blur of each channel;  field: light that falls off to the side        (not biology)
    properties --draw--> DNA, tubulin, actin (N, C, H, W) uint16

Taken from no paper: a stand-in that lets the chapters run anywhere. A method that finds mechanisms must see shape,
texture and intensity here, and must not see the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .checks import require_plan
from .crops import Crops

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float32]
CHANNELS = ("DNA", "tubulin", "actin")
# Logarithms of factors, so that 0 is a control cell and effects add.
PROPERTIES = (
    "nucleus size", "nucleus elongation", "chromatin grain", "DNA light", "fragments", "cell size", "cell roughness",
    "tubulin light", "tubulin fibres", "tubulin focus", "actin light", "actin fibres", "actin rim",
)  # fmt: skip
DRAWN = ["mechanism", "nth compound", "dose"]  # columns of `wells_of` that are for drawing only
SPREAD = 0.22  # of single cells around their well, in the same units
WHITE = 40_000.0
COLUMNS = 24  # of a plate, as that of 384 wells
LEAST_PX = 32  # of a crop's side: less does not show a cell's texture


class Plan(NamedTuple):
    """How large a simulated screen is.

    Attributes:
        n_mechanisms: Of the treatments.
        compounds: Of each mechanism.
        doses: Concentrations of each compound; the highest has the whole effect.
        batches: Weeks; the compounds of a mechanism are dealt out over them, a compound is in one.
        replicates: Plates of each batch; each holds a well of each of its treatments.
        cells: Of each well.
        controls: Control wells of each plate.
        size_px: Side of the crops.
        effect: Length of a mechanism's effect at the highest dose, in units of the cells' spread times 10.
        batch_effect: Size of gains, backgrounds and light, 1 for that of a careful laboratory.
        together: Compounds of a mechanism that share a batch; from 2 on, batch and mechanism are confounded as in real
            screens, and NSC is easier than NSCB.
    """

    n_mechanisms: int = 6
    compounds: int = 3
    doses: int = 2
    batches: int = 3
    replicates: int = 2
    cells: int = 12
    controls: int = 4
    size_px: int = 64
    effect: float = 1.0
    batch_effect: float = 1.0
    together: int = 1


def simulate_screen(plan: Plan = Plan(), seed: int = 0) -> Crops:  # noqa: B008 - a tuple of numbers
    """Crops of a whole screen, in memory.

    Args:
        plan: Its size.
        seed: Of everything.

    Returns:
        Crops NCHW, uint16. Beside the usual columns `cells` has each cell's true `PROPERTIES`.

    Raises:
        ValueError: A count below 1 or not whole, crops below 32 px, an effect below 0 or NaN; names each.
    """
    import pandas as pd

    require_plan(plan, "plan", {"size_px": LEAST_PX})
    wells = pd.DataFrame(wells_of(plan))
    effects = effects_of_wells(plan, wells, seed)
    wells = wells.drop(columns=DRAWN).assign(site=1)
    return image_wells(wells, effects, plan.cells, plan.size_px, plan.batch_effect, seed, "simulated screen")


def image_wells(
    wells: pd.DataFrame,
    effects: NDArray[np.float64],
    cells: int,
    size_px: int,
    batch_effect: float,
    seed: int,
    name: str,
) -> Crops:
    """Crops of the cells of wells whose effects are given: each cell drawn, then seen by its batch's camera.

    Args:
        wells: A row for each: plate, well, batch and what else its cells are to have.
        effects: `(n_wells, 13)`, row for row: where in `PROPERTIES` the well's cells lie around.
        cells: Of each well.
        size_px: Side of the crops.
        batch_effect: As `Plan`.
        seed: Of cells, drawing and cameras.
        name: Of the data set.

    Returns:
        As `simulate_screen`.
    """
    import pandas as pd

    repeated = wells.index.repeat(cells)
    rows, at = wells.loc[repeated].reset_index(drop=True), effects[np.repeat(np.arange(len(wells)), cells)]
    rng = np.random.default_rng([seed, 1])
    names, well = np.unique(rows["plate"] + rows["well"], return_inverse=True)
    of_well = rng.normal(0, SPREAD / 4, (len(names), len(PROPERTIES)))[well]
    properties = at + of_well + rng.normal(0, SPREAD, (len(rows), len(PROPERTIES)))
    drawn = [
        draw(properties[k : k + 256], size_px, np.random.default_rng([seed, 3, k])) for k in range(0, len(rows), 256)
    ]
    batch, rng = rows["batch"].to_numpy(str), np.random.default_rng([seed, 4])
    seen = _through_cameras(np.concatenate(drawn), batch, batch_effect, rng)
    table = pd.concat([rows, pd.DataFrame(properties, columns=list(PROPERTIES))], axis=1)
    return Crops([seen], "NCHW", CHANNELS, table, name)


def letters(k: int) -> str:
    """The `k`-th of A, B ... Z, AA, AB ..., from 0 on."""
    return (letters(k // 26 - 1) if k >= 26 else "") + chr(ord("A") + k % 26)


def well_name(k: int) -> str:
    """The `k`-th well from 0 on, row by row, of a plate of 24 columns and as many rows as it takes: A01, A02 ..."""
    row, column = divmod(k, COLUMNS)
    return f"{letters(row)}{column + 1:02d}"


def wells_of(plan: Plan) -> list[dict[str, object]]:
    """A row for each well, plate by plate, with columns for `DRAWN`: the mechanism is -1 for controls."""
    rows = list[dict[str, object]]()
    for batch in range(plan.batches):
        treatments = [
            (m, c, d) for m in range(plan.n_mechanisms) for c in range(plan.compounds) for d in range(plan.doses)
            if (m + c // plan.together) % plan.batches == batch
        ]  # fmt: skip
        for plate in range(plan.replicates):
            wells = [(-1, 0, 0)] * plan.controls + treatments
            for k, (m, c, d) in enumerate(wells):
                rows.append({
                    "plate": f"Week{batch + 1}_{plate + 1}", "well": well_name(k),
                    "batch": f"Week{batch + 1}", "replicate": plate + 1,
                    "compound": "DMSO" if m < 0 else f"compound {m + 1}{letters(c).lower()}",
                    "concentration": 0.0 if m < 0 else 10.0 ** (d - plan.doses + 1),
                    "moa": "DMSO" if m < 0 else f"mechanism {m + 1}", "control": m < 0,
                    "mechanism": m, "nth compound": c, "dose": 0.0 if m < 0 else (d + 1) / plan.doses,
                })  # fmt: skip
    return rows


def effects_of_wells(plan: Plan, wells: pd.DataFrame, seed: int) -> NDArray[np.float64]:
    """`(n_wells, 13)`, see `PROPERTIES`: of each well's mechanism and compound, by its dose; 0 for controls."""
    effects = _effects(plan, np.random.default_rng([seed, 2]))
    at = np.array([effects[m, c] for m, c in zip(wells["mechanism"], wells["nth compound"], strict=True)])
    return at * wells["dose"].to_numpy()[:, None]


def directions(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """`(n, 13)` of length 1; orthogonal as long as there are any, so that no two effects are alike by chance."""
    d = len(PROPERTIES)
    return np.concatenate([np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(-(-n // d))])[:n]


def _effects(plan: Plan, rng: np.random.Generator) -> NDArray[np.float64]:
    """`(n_mechanisms + 1, compounds, properties)`; the last, which -1 finds, is the controls': none."""
    d = len(PROPERTIES)
    main = directions(plan.n_mechanisms, rng)
    own = rng.normal(0, 0.25 / np.sqrt(d), (plan.n_mechanisms, plan.compounds, d))
    effects = 10 * SPREAD * plan.effect * (main[:, None] + own) / 2
    return np.concatenate([effects, np.zeros((1, plan.compounds, d))])


def draw(properties: NDArray[np.float64], size_px: int, rng: np.random.Generator) -> Floats:
    """Light of cells in three channels.

    Args:
        properties: `(n, 13)`, see `PROPERTIES`.
        size_px: Side of the crops.
        rng: Of shapes, directions and grain.

    Returns:
        `(n, 3, size_px, size_px)` float32, about 0 to 1, without noise.
    """
    from scipy.ndimage import gaussian_filter

    n = len(properties)
    factor = np.exp(np.clip(properties, -1.2, 1.2)).astype(np.float32)[:, :, None, None]
    f = dict(zip(PROPERTIES, np.moveaxis(factor, 1, 0), strict=True))
    half = size_px / 2
    y, x = ((np.mgrid[:size_px, :size_px] - half + 0.5) / half).astype(np.float32)
    x, y = np.broadcast_to(x, (n, size_px, size_px)), np.broadcast_to(y, (n, size_px, size_px))

    def own(low: float, high: float) -> Floats:
        return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

    def grain(sd_px: float) -> Floats:
        noise = gaussian_filter(rng.standard_normal((n, size_px, size_px), dtype=np.float32), (0, sd_px, sd_px))
        return noise / noise.std((1, 2), keepdims=True)

    def edge(distance: Floats, width: float) -> Floats:
        return (1 / (1 + np.exp(np.clip(distance / width, -30, 30)))).astype(np.float32)

    turn = own(0, 2 * np.pi)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    angle, radius = np.arctan2(across, along), np.hypot(along, across)
    long = np.sqrt(f["nucleus elongation"]) * 1.12
    nucleus = np.hypot(along / long, across * long) - 0.27 * np.sqrt(f["nucleus size"])
    dna = edge(nucleus, 0.03) * np.exp(0.16 * f["chromatin grain"] * grain(size_px / 40))
    for _ in range(3):  # fragments: small bodies beside the nucleus, the brighter the more of the property
        away, direction = own(0.36, 0.5), own(0, 2 * np.pi)
        spot = np.hypot(along - away * np.cos(direction), across - away * np.sin(direction)) - 0.05
        dna = dna + np.clip(f["fragments"] - 1.25, 0, 1.5) * edge(spot, 0.02)
    outline = 1 + 0.09 * f["cell roughness"] * sum(
        own(0.3, 1) * np.cos(k * angle + own(0, 2 * np.pi)) for k in (2, 3, 5, 7)
    )
    rim = radius - 0.68 * np.sqrt(f["cell size"]) * outline
    inside = edge(rim, 0.04)
    course = own(0, 2 * np.pi)
    rays = np.sin(11 * angle + course + 3 * grain(size_px / 12))
    tubulin = inside * np.exp(-1.4 * f["tubulin focus"] * radius) * (1 + 0.3 * f["tubulin fibres"] * rays).clip(0)
    stripes = np.sin(22 * (across * np.cos(course) + along * np.sin(course)) + 1.5 * grain(size_px / 10))
    actin = inside * 0.3 * (1 + 0.45 * f["actin fibres"] * stripes).clip(0)
    actin = actin + 0.3 * f["actin rim"] * np.exp(-((rim / 0.06) ** 2)).astype(np.float32)
    light = [0.55 * f["DNA light"] * dna, 0.8 * f["tubulin light"] * tubulin, 0.8 * f["actin light"] * actin]
    return np.stack(light, 1).astype(np.float32)


def camera(size: float, n_channels: int, rng: np.random.Generator) -> tuple[Floats, Floats, float]:
    """What is a batch's own: gain and background of each channel, both `(C, 1, 1)`, and blur, px.

    Args:
        size: As `Plan.batch_effect`.
        n_channels: C.
        rng: Of the batch.
    """
    gain = np.exp(rng.normal(0, 0.25 * size, (n_channels, 1, 1))).astype(np.float32)
    background = (0.03 * np.exp(rng.normal(0, 0.4 * size, (n_channels, 1, 1)))).astype(np.float32)
    return gain, background, 0.5 + 0.4 * size * rng.uniform()


def exposed(level: Floats, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Light, about 0 to 1, as a camera counts it: with shot noise, uint16."""
    noise = np.sqrt(level.clip(0)) * 0.02 * rng.standard_normal(level.shape, dtype=np.float32)
    return np.rint(np.clip((level + noise) * WHITE, 0, 65535)).astype(np.uint16)


def _through_cameras(
    light: Floats, batch: NDArray[np.str_], size: float, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """What the camera of each batch makes of it: blur, gain, background, light that falls off, shot noise; uint16."""
    from scipy.ndimage import gaussian_filter

    _, n_channels, _, width = light.shape
    out = np.empty(light.shape, np.uint16)
    slope = np.linspace(-0.5, 0.5, width, dtype=np.float32)
    for name in np.unique(batch):
        rows = np.flatnonzero(batch == name)
        gain, background, blur = camera(size, n_channels, rng)
        fall = rng.normal(0, 0.15 * size, (len(rows), 1, 1, 1)).astype(np.float32)  # where in its field a cell lies
        seen = gaussian_filter(light[rows], (0, 0, blur, blur)) * gain * (1 + fall * slope) + background
        out[rows] = exposed(seen, rng)
    return out
