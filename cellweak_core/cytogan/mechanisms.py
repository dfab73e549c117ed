"""From representations of cells to the score of Table 1: is the nearest treatment of the same mechanism?

    cells (n, d) --(none | whitening)--> mean --> treatments --match--> NSC: over treatments, and over compounds
                 --mean--> sites --TVN--> mean --> treatments

Source: Sec. 4 (MOA classification); the authors' metrics/profiling.py, which whitens single cells on the controls and
takes the unweighted mean over compounds of each compound's accuracy. The others of Table 1 count treatments: the two
are not the same number, so both are given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..screens.aggregation import aggregate, treatment_profiles
from ..screens.checks import codes, matrix
from ..screens.matching import match_treatments
from ..screens.whitening import TVN

if TYPE_CHECKING:
    import pandas as pd

HOW = ("none", "whitening", "TVN")
SITE = ("plate", "well", "site")
AUTHORS_REGULARIZATION = 1e-6  # metrics/profiling.py: diag(1 / sqrt(s + 1e-6))


def moa_scores(features: ArrayLike, cells: pd.DataFrame, how: str = "none") -> dict[str, Any]:
    """NSC of representations of single cells: another compound's treatment, nearest by cosine, decides.

    Args:
        features: `(n, d)`, a row for each cell.
        cells: Row for row: compound, concentration, batch, control (bool), moa; plate, well (and site) for "TVN".
        how: "none". "whitening": the authors', of single cells on the controls, `V diag(1 / sqrt(s + 1e-6))` without
            turning back; where the controls are fewer than the features, the directions that they do not vary in get
            a weight of 1,000. "TVN": of sites, with regularisation 1, as Ando et al. 2017.

    Returns:
        `accuracy`: NSC over treatments. `accuracy_over_compounds`: as CytoGAN counts. `correct`, `total`: treatments.
        `chance` and `chance_over_compounds`: the same of a neighbour drawn by lot among the allowed. Row for row of
        the treatments: `right` int8 (1, 0, -1 not asked) and `predicted`, mechanisms or None; `treatments`: compound,
        concentration, moa, n (cells, or sites) of each.

    Raises:
        ValueError: Another way; shapes that do not go together.
        DataError: Columns missing or empty, fewer than two controls to whiten on, no treatment with a mechanism, values
            that are not finite, a treatment whose mean is 0 all over.
    """
    if how not in HOW:
        raise ValueError(f"how: expected one of {', '.join(HOW)}, got {how!r}")
    values, rows = matrix(features, "features", len(cells)), cells.reset_index(drop=True)
    if how == "TVN":
        values, rows = aggregate(values, rows, [name for name in SITE if name in rows])
    if how != "none":
        control = rows["control"].to_numpy(bool)
        regularization = AUTHORS_REGULARIZATION if how == "whitening" else 1.0
        values = TVN(regularization).fit(values[control]).transform(values)
    profiles, table = treatment_profiles(values, rows, "mean")
    found = match_treatments(profiles, table)
    over_treatments, over_compounds = chance(table)
    kept = ("accuracy", "accuracy_over_compounds", "correct", "total", "right")
    columns = ["compound", "concentration", "moa", "n"]
    return {
        **{name: found[name] for name in kept},
        "chance": over_treatments,
        "chance_over_compounds": over_compounds,
        "predicted": found["predicted"].tolist(),
        "treatments": table[columns].to_dict("list"),
    }


def chance(table: pd.DataFrame) -> tuple[float, float]:
    """What a neighbour drawn by lot among the allowed would score: over treatments, and over compounds.

    Args:
        table: A row for each treatment, compound and moa.

    Returns:
        Two shares; NaN where no treatment is asked.
    """
    compound, moa = codes(table, "compound"), codes(table, "moa")
    apart = compound[:, None] != compound
    alike = (moa[:, None] == moa) & apart
    asked = alike.any(1)  # and only these are neighbours, as in `match_treatments`
    if not asked.any():
        return float("nan"), float("nan")
    shares: NDArray[np.float64] = alike[asked].sum(1) / apart[np.ix_(asked, asked)].sum(1)
    of_compound = np.bincount(compound[asked], shares) / np.maximum(1, np.bincount(compound[asked]))
    return float(shares.mean()), float(of_compound[np.unique(compound[asked])].mean())
