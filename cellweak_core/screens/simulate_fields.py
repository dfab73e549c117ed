"""A screen's images that are made: whole fields in BBBC021's own layout, with every cell's place known.

```
cells of `draw`, put at random places --x light that falls off (plate, channel)--> camera of the batch
Week1/Week1_1/A01_s1_w1UUID.tif (DAPI), _w2 (tubulin), _w4 (actin)                    uint16, a file for each channel
BBBC021_v1_image.csv: where they lie, plate, well, compound, concentration;  BBBC021_v1_moa.csv: mechanisms
```
What `fields.read_fields` and `fields.cut_crops` are to find again: where the nuclei are, and how the light fell.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellweak_core.files import atomic_path
from cellweak_core.tables import write_csv

from .checks import require_plan
from .profiles import BBBC021
from .simulate import (
    DRAWN,
    LEAST_PX,
    PROPERTIES,
    SPREAD,
    Floats,
    Plan,
    camera,
    draw,
    effects_of_wells,
    exposed,
    wells_of,
)

if TYPE_CHECKING:
    import pandas as pd

# As BBBC021 names its channels and numbers their files, in the order of `simulate.CHANNELS`.
FILES = {"DAPI": "w1", "Tubulin": "w2", "Actin": "w4"}
WELL = {
    "plate": "Image_Metadata_Plate_DAPI", "well": "Image_Metadata_Well_DAPI", "replicate": "Replicate",
    "compound": "Image_Metadata_Compound", "concentration": "Image_Metadata_Concentration",
}  # fmt: skip
TRIES = 200  # for a place that is free


class FieldPlan(NamedTuple):
    """How large the fields of a simulated screen are.

    Attributes:
        height_px: Of a field (1024 in BBBC021).
        width_px: Of a field (1280 in BBBC021).
        sites: Fields of each well.
        apart_px: Least distance of two nuclei's middles; fewer cells where there is no room for all.
        fall_off: Share of the light that is lost at the side farthest from its middle.
    """

    height_px: int = 256
    width_px: int = 320
    sites: int = 4
    apart_px: float = 34.0
    fall_off: float = 0.6


class FieldTruth(NamedTuple):
    """What is true of simulated fields.

    Attributes:
        cells: A row for each cell whose nucleus has its middle in the field: plate, well, batch, replicate, compound,
            concentration, moa, control, site, x and y of the nucleus (px), and its `PROPERTIES`.
        light: For each plate, `(3, H, W)` float32: the light of each channel, 1 where it is brightest.
    """

    cells: pd.DataFrame
    light: dict[str, Floats]


# Nuclei of 21 px, as MCF7 has them at BBBC021's 0.65 um a pixel.
FEW_WELLS = Plan(n_mechanisms=2, compounds=2, doses=1, batches=2, replicates=1, cells=30, controls=2, size_px=80)


def simulate_fields(
    folder: str | Path,
    plan: Plan = FEW_WELLS,
    field_plan: FieldPlan = FieldPlan(),  # noqa: B008 - a tuple of numbers
    seed: int = 0,
) -> FieldTruth:
    """Writes a screen as `fields.read_fields` reads it; one field in memory at a time.

    Args:
        folder: Where to; the tables come last, so that a killed call leaves none.
        plan: Wells and cells, as `simulate_screen`, but `cells` are those of each field, on average (cells at its sides
            show in part), and `size_px` is the box in which a cell is drawn; its nucleus has about 0.135 of it as
            radius.
        field_plan: Size of the fields and how they are lit.
        seed: Of everything.

    Returns:
        What was drawn.

    Raises:
        ValueError: A count below 1 or not whole, a number below 0 or NaN, cells of fewer than 32 px, fields smaller
            than a cell, no light left at the sides; names each.
        FullDiskError: No room for the images.
    """
    import pandas as pd
    import tifffile

    _check(plan, field_plan)
    root = Path(folder)
    wells = pd.DataFrame(wells_of(plan))
    effects = effects_of_wells(plan, wells, seed)
    wells = wells.drop(columns=DRAWN)
    names = {what: wells[what].unique() for what in ("batch", "plate")}
    cameras = {b: camera(plan.batch_effect, 3, _rng(seed, 4, k)) for k, b in enumerate(names["batch"])}
    light = {p: _light_of_plate(field_plan, _rng(seed, 6, k)) for k, p in enumerate(names["plate"])}
    images, cells = list[dict[str, object]](), list[pd.DataFrame]()
    for k, (_, known) in enumerate(wells.iterrows()):
        of_well = effects[k] + _rng(seed, 1, k).normal(0, SPREAD / 4, len(PROPERTIES))
        place = f"{known['batch']}/{known['plate']}"
        (root / place).mkdir(parents=True, exist_ok=True)
        for site in range(1, field_plan.sites + 1):
            rng = _rng(seed, 3, k, site)
            centres = _positions(plan, field_plan, rng)
            properties = of_well + rng.normal(0, SPREAD, (len(centres), len(PROPERTIES)))
            drawn = _composed(draw(properties, plan.size_px, rng), centres, field_plan)
            row: dict[str, object] = {"TableNumber": 1, "ImageNumber": len(images) + 1}
            seen = _through_camera(drawn, light[known["plate"]], cameras[known["batch"]], rng)
            for (channel, number), plane in zip(FILES.items(), seen, strict=True):
                name = f"{known['well']}_s{site}_{number}{str(uuid.UUID(bytes=rng.bytes(16), version=4)).upper()}.tif"
                with atomic_path(root / place / name) as part, part.open("wb") as file:
                    tifffile.imwrite(file, plane)
                row |= {f"Image_FileName_{channel}": name, f"Image_PathName_{channel}": place}
            images.append(row | {new: known[name] for name, new in WELL.items()})
            own = pd.DataFrame(properties, columns=list(PROPERTIES)).assign(x=centres[:, 0], y=centres[:, 1], site=site)
            own = own[own["x"].between(0, field_plan.width_px - 1) & own["y"].between(0, field_plan.height_px - 1)]
            cells.append(own.assign(**{name: known[name] for name in map(str, wells)}))
    write_csv(wells[["compound", "concentration", "moa"]].drop_duplicates(), root / BBBC021.format("moa"))
    write_csv(pd.DataFrame(images), root / BBBC021.format("image"))
    table = pd.concat(cells, ignore_index=True)
    return FieldTruth(table[[*map(str, wells), "site", "x", "y", *PROPERTIES]], light)


def _rng(*of: int) -> np.random.Generator:
    return np.random.default_rng(of)


def _check(plan: Plan, field_plan: FieldPlan) -> None:
    require_plan(plan, "plan", {"size_px": LEAST_PX})
    require_plan(field_plan, "fields", {"height_px": plan.size_px, "width_px": plan.size_px})
    if field_plan.fall_off >= 1:
        raise ValueError(f"fields: fall_off is {field_plan.fall_off}, expected a share of the light below 1")


def _positions(plan: Plan, field_plan: FieldPlan, rng: np.random.Generator) -> NDArray[np.float64]:
    """`(n, 2)` x, y of nuclei, none nearer to another than it may be, up to half a cell outside the field."""
    half = plan.size_px / 2
    shape = np.array([field_plan.width_px, field_plan.height_px])
    n = round(plan.cells * float(np.prod(shape + plan.size_px) / np.prod(shape)))
    found = np.empty((0, 2))
    for _ in range(TRIES * n):
        if len(found) == n:
            break
        one = rng.uniform(-half, shape + half - 1)
        if not len(found) or np.hypot(*(found - one).T).min() >= field_plan.apart_px:
            found = np.concatenate([found, one[None]])
    return found


def _composed(drawn: Floats, centres: NDArray[np.float64], field_plan: FieldPlan) -> Floats:
    """Light of the cells at their places, `(3, H, W)`; where two overlap it adds up."""
    from scipy.ndimage import shift

    size = drawn.shape[2]
    out = np.zeros((3, field_plan.height_px + 2 * size, field_plan.width_px + 2 * size), np.float32)
    # the middle of a drawn cell lies between pixels
    corners = centres - (size - 1) / 2 + size
    whole = np.floor(corners).astype(int)
    for cell, (x, y), (dx, dy) in zip(drawn, whole.tolist(), (corners - whole).tolist(), strict=True):
        out[:, y : y + size, x : x + size] += shift(cell, (0, dy, dx), order=1)
    return out[:, size:-size, size:-size]


def _light_of_plate(field_plan: FieldPlan, rng: np.random.Generator) -> Floats:
    """`(3, H, W)`, 1 at a middle of each channel's own, and falling with the distance's square to the farthest side."""
    y, x = np.mgrid[: field_plan.height_px, : field_plan.width_px].astype(np.float32)
    planes = []
    for _ in range(3):
        px, py = rng.uniform(0.2, 0.8, 2) * (field_plan.width_px, field_plan.height_px)
        square = (x - px) ** 2 + (y - py) ** 2
        planes.append(1 - field_plan.fall_off * square / square.max())
    return np.stack(planes).astype(np.float32)


def _through_camera(
    cells: Floats, light: Floats, how: tuple[Floats, Floats, float], rng: np.random.Generator
) -> NDArray[np.uint16]:
    """What the camera of the batch makes of a field; the background is lit as the cells are."""
    from scipy.ndimage import gaussian_filter

    gain, background, blur = how
    return exposed((gaussian_filter(cells, (0, blur, blur)) * gain + background) * light, rng)
