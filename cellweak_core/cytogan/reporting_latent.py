"""Rows of the one schema for Figs. 2 and 3 and for "spot the real cell": what noise space and its cells are like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..uncertainty import percentile_interval
from .latent import Direction
from .reporting import Row

if TYPE_CHECKING:
    import pandas as pd


def smoothness_rows(model: str, steps: Mapping[str, ArrayLike]) -> list[Row]:
    """Fig. 2: the longest step between two pictures on the way over the mean step; 1 is as even as can be.

    Args:
        model: Whose cells.
        steps: By way, `(n_pairs, n_steps)`: of `latent.step_lengths`.
    """
    out = list[Row]()
    for way, lengths in steps.items():
        ratio = np.asarray(lengths, float).max(1) / np.asarray(lengths, float).mean(1)
        low, high = percentile_interval(ratio)
        note = "longest step between neighbouring pictures over the mean step; low and high: 95 % of pairs; n pairs"
        out.append({"item": "Fig. 2", "row": model, "column": f"longest step, {way}", "value": float(ratio.mean()),
                    "low": low, "high": high, "n": len(ratio), "unit": "", "note": note})  # fmt: skip
    return out


def fig_2_rows(model: str, norms: pd.DataFrame) -> list[Row]:
    """Fig. 2: the shortest noise vector on each way, over the length of its ends, mean over pairs.

    Args:
        model: Whose noise.
        norms: Of `latent.path_norms`.
    """
    out = list[Row]()
    for way, own in norms.groupby("way", sort=False):
        pairs = own.groupby("pair")
        ends = pairs["norm"].agg(["first", "last"]).mean(axis=1)
        ratio = (pairs["norm"].min() / ends).to_numpy(float)
        low, high = percentile_interval(ratio)
        note = "least length on the way over the mean length of its ends; low and high: 95 % of pairs; n pairs"
        out.append({"item": "Fig. 2", "row": model, "column": f"least norm, {way}", "value": float(ratio.mean()),
                    "low": low, "high": high, "n": len(ratio), "unit": "fraction", "note": note})  # fmt: skip
    return out


def fig_3_rows(model: str, found: Direction, means: pd.DataFrame) -> list[Row]:
    """Fig. 3: what a direction's R2 is, and what it changes, in standard deviations.

    Args:
        model: Whose noise.
        found: Of `latent.direction`.
        means: Of `changes.mean_changes`, along this direction and by chance.
    """
    name = f"{found.name} by {found.way}"
    note = f"of held-out noise vectors; n noise vectors, a quarter held out; SD {found.sd:.3g}"
    out: list[Row] = [
        {"item": "Fig. 3", "row": model, "column": f"{name}: R2", "value": found.r2, "n": found.n, "unit": "",
         "note": note if np.isfinite(found.r2) else f"one value held out only; {note}"}
    ]  # fmt: skip
    for one in means.to_dict("records"):
        along = name if one["along"] == found.name else f"{name}, by chance"
        note = "change in SD over samples, mean over base vectors; 95 % by resampling them; n base vectors"
        out.append({
            "item": "Fig. 3", "row": model, "column": f"{along}, {one['strength']:+.2g}: {one['property']}",
            **{key: one[key] for key in ("value", "low", "high")}, "n": int(one["n"]), "unit": "SD",
            "note": note if one["n"] else f"not measured: no nucleus was found; {note}",
        })  # fmt: skip
    return out


def spotting_row(model: str, answer: Mapping[str, float]) -> Row:
    """How a reader did at "spot the real cell".

    Args:
        model: Whose cells were shown.
        answer: Of `spotting.taken_for_real`.
    """
    note = f"one reader; {100 * answer['found']:.0f} % of the real cells were found; 95 % by Wilson"
    value, low, high = (100 * answer[name] for name in ("value", "low", "high"))
    return {
        "item": "Final text", "row": model, "column": "fakes taken for real", "value": value, "low": low, "high": high,
        "n": int(answer["n"]), "unit": "percent", "note": note,
    }  # fmt: skip
