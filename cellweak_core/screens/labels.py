"""Treatments as labels: which cells train which class, and which held-out ones check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..files import DataError
from .metadata import as_text

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Labels:
    """What trains and what is asked.

    Attributes:
        train: `(n,)` class of each cell that trains, -1 for all others.
        checked: `(n,)` class of each cell of a held-out replicate, -1 for all others.
        classes: Names of the classes, in order.
    """

    train: NDArray[np.int64]
    checked: NDArray[np.int64]
    classes: tuple[str, ...]


def treatment_labels(
    cells: pd.DataFrame, held_out: Sequence[object] = (), column: str = "", among: NDArray[np.bool_] | None = None
) -> Labels:
    """Each treatment (compound and concentration) is a class; controls are none.

    Args:
        cells: The screen's cells.
        held_out: Values of the column `replicate` whose cells do not train, but check (DeepProfiler's configuration
            trains on replicates 1 and 3 and checks on 2); none: all cells train and none are checked.
        column: The class's name in another column instead.
        among: `(n,)` the cells that may train or check; None for all.

    Returns:
        The labels. A treatment that lies in held-out replicates only is a class that no cell trains; its cells are not
        checked.

    Raises:
        DataError: Replicates are to be held out and there is no such column, or no such replicate; nothing trains.
    """
    import pandas as pd

    control = cells["control"].to_numpy(bool)
    name = cells[column] if column else cells["compound"] + " " + cells["concentration"].map("{:g}".format)
    codes, classes = pd.factorize(name.where(~control if among is None else ~control & among), sort=True)
    held = held_out_cells(cells, held_out)
    trains = np.where(held, -1, codes)
    if not (trains >= 0).any():
        hint = "hold fewer replicates out (-p held_out '[]')" if held.any() else "all cells are controls (-p controls)"
        raise DataError(f"cells: no treated cell is left to train on; {hint}")
    seen = np.isin(codes, trains[trains >= 0])
    return Labels(trains, np.where(held & seen & (codes >= 0), codes, -1), tuple(map(str, classes)))


def held_out_cells(cells: pd.DataFrame, held_out: Sequence[object]) -> NDArray[np.bool_]:
    """Cells of the replicates that are held out, `(n,)`; a cell of unknown replicate is not.

    Args:
        cells: As `treatment_labels`.
        held_out: As `treatment_labels`.

    Raises:
        DataError: Replicates are to be held out and there is no such column, or no such replicate.
    """
    if not held_out:
        return np.zeros(len(cells), bool)
    if "replicate" not in cells:
        raise DataError(
            "cells: no column replicate, of which some are to be held out; add it, or hold none out (-p held_out '[]')"
        )
    replicate = as_text(cells["replicate"])
    held = replicate.isin([str(one) for one in held_out]).to_numpy(bool)
    if not held.any():
        known = ", ".join(sorted(replicate.dropna().unique()))
        raise DataError(f"cells: no replicate {', '.join(map(str, held_out))} to hold out; found {known}")
    return held
