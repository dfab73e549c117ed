"""The cells of the chapter: a person's crops or fields, or a simulated screen; which train, and how they are shown.

    data_dir   crops + table, or fields --`screens.opening`--> Crops
    nothing    a chemical screen is drawn --> crops in the output folder --> Crops
    replicates held out --> cells that no network sees: what generated cells are compared with
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..files import DataError
from ..screens import labels
from ..screens.crops import Crops, load_crops
from ..screens.opening import described, drawn, kind_of
from ..screens.simulate import Plan, simulate_screen
from .pictures import colour_channels
from .reading import require_contrast
from .refusals import DIVISOR, LEAST_PX, has_mechanisms, require_cells

if TYPE_CHECKING:
    import pandas as pd

PIXELS_AT_A_TIME = 1024  # crops


def simulated(out: str | Path, plan: Plan, seed: int) -> tuple[Crops, dict[str, Any]]:
    """A chemical screen, drawn and laid on the disk as anyone's would be.

    Returns:
        The crops, and the options to open them again.
    """
    return drawn(simulate_screen(plan, seed), Path(out) / "work" / "screen")


def require_pixels(data_dir: str | Path) -> None:
    """Refuse profiles: there are no cells in them to learn to draw.

    Raises:
        DataError: They are.
    """
    if (kind := kind_of(data_dir)) in ("profiles", "constructs"):
        raise DataError(f"{data_dir}: {kind} have no pixels; this chapter needs crops of cells, or fields")


def side_of(crops: Crops, size_px: int = 0) -> int:
    """Side that the networks work at.

    Args:
        crops: Square ones.
        size_px: Asked for; 0 takes the largest multiple of 16 that the crops have, but at least 32.

    Raises:
        DataError: Crops that are not square.
    """
    height, width = crops.size
    if height != width:
        raise DataError(f"{crops.name}: crops of {height} x {width} px, expected square ones; cut or pad them")
    return size_px or max(LEAST_PX, height - height % DIVISOR)


def held_out_cells(cells: pd.DataFrame, held_out: Sequence[object]) -> NDArray[np.bool_]:
    """Cells of the replicates that are held out, `(n,)`: they train nothing.

    Raises:
        DataError: No such replicate, or no column replicate; no treated cell is left to train on.
    """
    labels.treatment_labels(cells, held_out)  # refuses what cannot be
    return labels.held_out_cells(cells, held_out)


def overview(crops: Crops, held: NDArray[np.bool_], side_px: int) -> pd.DataFrame:
    """What there is, in a row.

    Args:
        crops: The screen.
        held: `(n,)` cells that train nothing.
        side_px: That the networks work at.
    """
    import pandas as pd

    treated = crops.cells[~crops.control]
    mechanisms = treated["moa"].nunique() if "moa" in treated else 0
    return pd.DataFrame([{
        "cells": len(crops), "of controls": int(crops.control.sum()), "train": int((~held).sum()),
        "held out": int(held.sum()), "compounds": treated["compound"].nunique(),
        "treatments": len(treated.groupby(["compound", "concentration"])), "mechanisms": mechanisms,
        "plates": crops.cells["plate"].nunique(), "batches": crops.cells["batch"].nunique(),
        "channels": ", ".join(crops.channels), "px": f"{crops.size[0]}", "networks at": f"{side_px} px",
    }])  # fmt: skip


def named(channels: Sequence[str]) -> bool:
    """Whether channels are named DNA, actin and tubulin, so that the properties of Fig. 3 can be measured."""
    return colours_of(channels, "draft") == "draft"


def colours_of(channels: Sequence[str], mapping: str) -> str:
    """The mapping of `pictures.rgb` that these channels can have: the one asked for, or their order.

    Raises:
        ValueError: Another mapping.
    """
    try:
        colour_channels(channels, mapping)
    except DataError:
        return "in order"
    return mapping


def check(
    data_dir: str | Path,
    *,
    channels: Sequence[str] = (),
    controls: Sequence[str] = ("DMSO",),
    axes: str = "",
    held_out: Sequence[object] = ("2",),
    size_px: int = 0,
    scaling: str = "maximum",
    models: Sequence[str] = (),
) -> Iterator[str]:
    """Reads a screen's tables and all of its pixels, and says what is there and what the chapter would do.

    Args:
        data_dir: As `screens.opening.load`.
        channels: As `screens.opening.load`.
        controls: As `screens.opening.load`.
        axes: As `screens.opening.load`.
        held_out: As `held_out_cells`.
        size_px: As `side_of`.
        scaling: As `reading.prepared`.
        models: As `require_cells`.

    Yields:
        Lines for people.

    Raises:
        DataError: As those.
    """
    from ..screens.fields import read_fields

    require_pixels(data_dir)
    if kind_of(data_dir) == "fields":
        fields, names = read_fields(Path(data_dir), controls=controls)
        yield f"{Path(data_dir).name}: {len(fields)} fields of {fields['plate'].nunique()} plates, {', '.join(names)}"
        return
    crops = load_crops(data_dir, channels=channels, controls=controls, axes=axes)
    yield from described(crops)
    side = side_of(crops, size_px)
    yield f"networks work at {side} px" + ("" if side == crops.size[0] else f", resized from {crops.size[0]}")
    held = held_out_cells(crops.cells, held_out)
    require_cells(crops, models)
    require_contrast(crops, np.flatnonzero(~held), scaling)
    for first in range(0, len(crops), PIXELS_AT_A_TIME):
        crops.checked(np.arange(first, min(first + PIXELS_AT_A_TIME, len(crops))))
    yield f"{int((~held).sum())} cells train, {int(held.sum())} are held out to compare generated ones with"
    if not has_mechanisms(crops):
        yield "no mechanism is known (column moa): cells can be generated, but Table 1 not asked"
    if not named(crops.channels):
        yield "no channels named DNA, actin and tubulin (-p channels): no Fig. 3, colours in the channels' order"
    yield f"digest {crops.digest}"
