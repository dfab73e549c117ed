"""What a conditional model is told of a cell: its concentration, or its compound and concentration.

    concentration c --> log(1 + c)            compound --> one of n, in the order of their names

Source: Sec. 4 of the final paper's code: the concentration as a number, the compound as one of all.
Deviation: conditional cytogan models are told log(1 + concentration), as doses span five decades; the authors' are
told the concentration itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..files import DataError

if TYPE_CHECKING:
    import pandas as pd


def compounds_of(cells: pd.DataFrame) -> tuple[str, ...]:
    """Names of all compounds, controls' too, in order."""
    return tuple(sorted(cells["compound"].astype(str).unique()))


def conditions(cells: pd.DataFrame, kind: str, compounds: Sequence[str] = ()) -> NDArray[np.float32] | None:
    """Numbers that a model is told of each cell.

    Args:
        cells: Columns compound and concentration (0 or above).
        kind: "none", "concentration" or "both".
        compounds: Those that the model knows, for "both".

    Returns:
        `(n, 1)`, or `(n, 1 + n_compounds)` with the concentration first; None for "none".

    Raises:
        DataError: A concentration that is missing or below 0; a compound that the model does not know.
        ValueError: Another kind.
    """
    if kind == "none":
        return None
    if kind not in ("concentration", "both"):
        raise ValueError(f"kind: expected none, concentration or both, got {kind!r}")
    dose = cells["concentration"].to_numpy(float)
    wrong = ~(np.isfinite(dose) & (dose >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        at = cells.index[row]
        raise DataError(f"cells: row {at}, concentration {dose[row]}, expected 0 or above for a conditional model")
    told = np.log1p(dose)[:, None].astype(np.float32)
    if kind == "concentration":
        return told
    names = cells["compound"].astype(str).to_numpy()
    strange = sorted(set(names) - set(compounds))
    if strange:
        raise DataError(
            f"cells: compound {strange[0]!r} is none of the {len(compounds)} that this model was trained with"
        )
    one_of = names[:, None] == np.asarray(list(compounds), object)
    return np.concatenate([told, one_of.astype(np.float32)], 1)
