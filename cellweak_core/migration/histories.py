"""What the trainings were: curves for the figure, and steps, sizes and speed as rows of the one schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .evaluation import Estimate, over_sequences
from .motion import MEASURES
from .reporting import NAMES, RATES, UNITS, Row

if TYPE_CHECKING:
    import pandas as pd

LINES = {"loss": "training batch", "validation_loss": "held-out fold"}


def curves_of(learnt: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Curves of all trainings, as `curves.training_curves` takes them.

    Args:
        learnt: Of `comparison.compare`.

    Returns:
        Columns panel (a network), line, step, value (log-cosh error), fold.
    """
    import pandas as pd

    tables = [
        pd.DataFrame({
            "panel": NAMES.get(one["network"], one["network"]), "line": line, "step": np.asarray(one["step"]),
            "value": np.asarray(one[key]), "fold": one["fold"],
        })
        for key, line in LINES.items() for one in learnt
    ]  # fmt: skip
    found = pd.concat(tables, ignore_index=True)
    rank = {name: k for k, name in enumerate(dict.fromkeys(found["panel"]))}
    return found.sort_values("panel", key=lambda c: c.map(rank), kind="stable", ignore_index=True)


def training_rows(learnt: Sequence[Mapping[str, Any]], n_samples: int) -> list[Row]:
    """Item "Training": a row for each network, over its folds.

    Args:
        learnt: Of `comparison.compare`.
        n_samples: T.
    """
    out = list[Row]()
    for network in dict.fromkeys(one["network"] for one in learnt):
        own = [one for one in learnt if one["network"] == network]
        steps, batch_size = own[0]["steps"], own[0]["batch_size"]
        seconds = np.array([one["seconds"] for one in own], float)
        predicted = np.array([one["seconds_predicting"] for one in own], float)
        drawn = sum(len(one["rows"]) * n_samples + np.asarray(one.get("few_samples", ())).size for one in own)
        numbers = {
            "weights learnt": (own[0]["parameters"], "", "numbers that are learnt"),
            "steps": (steps, "steps", f"of {batch_size} frames"),
            "frames trained on": (np.mean([one["n_trained"] for one in own]), "frames", "mean over folds"),
            "seconds": (seconds.sum(), "s", "all folds, beside other trainings where n_jobs is above 1"),
            "frames trained, per second": (steps * batch_size * len(own) / seconds.sum(), "frames/s", "over all folds"),
            "passes predicted, per second": (drawn / predicted.sum(), "passes/s", "one frame and sample each"),
        }  # fmt: skip
        out += [
            {"item": "Training", "row": NAMES.get(network, network), "column": column, "value": float(value),
             "n": len(own), "unit": unit, "note": f"{note}; n counts folds"}
            for column, (value, unit, note) in numbers.items()
        ]  # fmt: skip
    return out


def fold_rows(tables: Mapping[str, pd.DataFrame], n_resamples: int = 2000, seed: int = 0) -> list[Row]:
    """Item "Cross-validation": the cells that train, each predicted by the network of the fold that it is not in.

    Args:
        tables: Of `evaluation.per_sequence`, by network.
        n_resamples: Resamples of whole sequences.
        seed: Of the resamples.
    """
    out = list[Row]()
    for network, table in tables.items():
        for one in over_sequences(table, ("MSE", *RATES), n_resamples, seed).to_dict("records"):
            scale = 100.0 if one["column"] in RATES else 1.0
            out.append({
                "item": "Cross-validation", "row": NAMES.get(network, network),
                "column": RATES.get(one["column"], one["column"]), "n": int(one["n"]),
                **{key: scale * one[key] for key in ("value", "low", "high")},
                "unit": "percent" if one["column"] in RATES else UNITS["MSE"],
                "note": f"mean over sequences, sd {scale * one['sd']:.4g}; 95 % by resampling sequences; n counts them",
            })  # fmt: skip
    return out


def agreement_rows(found: Mapping[str, float]) -> list[Row]:
    """Item "Motion": modes from motion beside an expert's.

    Args:
        found: Of `supervision.agreement`.
    """
    rows: list[Row] = [{
        "item": "Motion", "row": "modes from motion", "column": "kappa", "value": found["kappa"], "n": int(found["n"]),
        "unit": "", "note": "Cohen's, with the labels, on frames where both are known; n counts frames; no interval",
    }]  # fmt: skip
    note = "of the labels' modes, above .5 where it goes as modes from motion take it; n counts frames; no interval"
    rows += [
        {"item": "Motion", "row": name, "column": "AUROC", "value": found[name], "n": int(found[f"n {name}"]),
         "unit": "", "note": note}
        for name in MEASURES
    ]  # fmt: skip
    return rows


def front_row(network: str, what: str, one: Estimate) -> Row:
    """Item "Looking": the share of a map that lies ahead of the centroid.

    Args:
        network: A key of `reporting.NAMES`.
        what: "Grad-CAM" or "integrated gradients", and of which frames.
        one: Of `looking.ahead_of`.
    """
    return {
        "item": "Looking", "row": NAMES.get(network, network), "column": what, "value": one.value, "low": one.low,
        "high": one.high, "n": one.n_cells, "unit": "fraction",
        "note": f"share ahead of the centroid, or a difference of two; {one.n_frames} frames; 95 % by resampling "
                "cells; n counts cells",
    }  # fmt: skip


def settled_table(tables: Mapping[str, pd.DataFrame], digits: int = 4) -> pd.DataFrame:
    """What T samples are worth, to read: a line for each T.

    Args:
        tables: Of `calibration.stability`, by network.
        digits: Of the standard error.

    Returns:
        "T", and for each network the standard error of the mean and the share of frames whose range two sets of T
        samples disagree on, text; empty without tables.
    """
    import pandas as pd

    if not tables:
        return pd.DataFrame({"T": []})
    out = {"T": [f"{T:.0f}" for T in next(iter(tables.values()))["T"]]}
    for network, table in tables.items():
        name = NAMES.get(network, network)
        out[f"{name}: error of the mean"] = [f"{value:.{digits}f}" for value in table["mean error"]]
        out[f"{name}: other range"] = [f"{100 * value:.1f} %" for value in table["other range"]]
    return pd.DataFrame(out)
