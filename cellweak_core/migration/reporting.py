"""The chapter's numbers as rows of the one schema, under the paper's own items, rows and columns where it has them.

    per_sequence ----> Fig. 1a left, right; Abstract       per_mode --> the draft's table
    calibration  ----> Uncertainty, Samples                auroc -----> AUROC
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..published import load
from .calibration import Referral, miscalibration
from .evaluation import Estimate, over_sequences
from .labels import MODES, SWITCHING

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
NAMES = {
    "vgg16": "VGG16", "resnet50": "Resnet50", "densenet121": "DenseNet", "resnet18": "Resnet18",
    "densenet40": "DenseNet40",
}  # fmt: skip
BEST = "DenseNet"  # of which the abstract and Figs. 1b and 1c are
RATES = {"TP": "TP rate", "Uncertain": "Uncertain rate", "FN": "FN rate"}
ABSTRACT = {"TP": "sensitivity", "FN": "false negative rate"}
CELLS = {MODES[0]: "cell C", MODES[1]: "cell D", SWITCHING: "cell C/D"}
DRAFT = "Recorded runs draft model"
UNITS = {"MAE": "label", "MSE": "squared label"}
SAMPLES = {
    "mean error": ("probability", "standard error of one set's mean: root mean square difference over sqrt 2"),
    "epistemic error": (
        "squared probability", "standard error of one set's variance: root mean square difference over sqrt 2",
    ),
    "epistemic": ("squared probability", "mean over frames and both sets"),
    "rank correlation": ("", "Spearman's, of the two sets' epistemic variances"),
    "other range": ("percent", "of the frames, on whose range the two sets disagree"),
}


def fig_1a_rows(tables: Mapping[str, pd.DataFrame], n_resamples: int = 2000, seed: int = 0) -> list[Row]:
    """Fig. 1a, and the abstract's two numbers: means over test sequences, intervals by resampling them.

    Args:
        tables: Of `evaluation.per_sequence`, by network (a key of `NAMES`, or a name that stays as it is).
        n_resamples: Resamples of whole sequences.
        seed: Of the resamples.
    """
    left, right, abstract = list[Row](), list[Row](), list[Row]()
    for network, table in tables.items():
        name = NAMES.get(network, network)
        frames = _many(int(table["n"].sum()), "frame")
        for one in over_sequences(table, ("MSE", *RATES), n_resamples, seed).to_dict("records"):
            share = one["column"] in RATES
            scale = 100.0 if share else 1.0
            note = f"{_over_sequences(one['n'], scale * one['sd'], 2 if share else 4)}; {frames}"
            numbers = {key: scale * one[key] for key in ("value", "low", "high")}
            row = {"row": name, **numbers, "n": int(one["n"]), "note": note}
            if not share:
                left.append({"item": "Fig. 1a left", "column": "MSE", "unit": UNITS["MSE"], **row})
                continue
            right.append({"item": "Fig. 1a right", "column": RATES[one["column"]], "unit": "percent", **row})
            if name == BEST and one["column"] in ABSTRACT:
                abstract.append({"item": "Abstract", "column": ABSTRACT[one["column"]], "unit": "percent", **row})
    return [*left, *right, *abstract]


def difference_rows(
    tables: Mapping[str, pd.DataFrame], first: str, n_resamples: int = 2000, seed: int = 0
) -> list[Row]:  # fmt: skip
    """MSE and TP rate of one network minus those of each other, paired by sequence.

    Args:
        tables: As `fig_1a_rows`, all of the same sequences.
        first: Which network.
        n_resamples: As `fig_1a_rows`.
        seed: As `fig_1a_rows`.

    Raises:
        KeyError: The first is not there.
        ValueError: Networks that were not tested on the same sequences.
    """
    one, out = tables[first].set_index("cell"), list[Row]()
    for network, table in tables.items():
        if network == first:
            continue
        other = table.set_index("cell")
        if set(other.index) != set(one.index):
            raise ValueError(f"{first} and {network}: expected the same sequences")
        gain = one[["MSE", "TP"]] - other.loc[one.index, ["MSE", "TP"]]
        for found in over_sequences(gain, ("MSE", "TP"), n_resamples, seed).to_dict("records"):
            share = found["column"] == "TP"
            out.append({
                "item": "Difference", "row": f"{NAMES.get(first, first)} - {NAMES.get(network, network)}",
                "column": RATES["TP"] if share else "MSE", "n": int(found["n"]),
                **{key: (100.0 if share else 1.0) * found[key] for key in ("value", "low", "high")},
                "unit": "percentage points" if share else UNITS["MSE"],
                "note": "mean over sequences, each with itself; 95 % by resampling sequences; n counts sequences",
            })  # fmt: skip
    return out


def cell_row(network: str, mode: str, mean: ArrayLike, item: str = "Fig. 1b") -> Row:
    """Figs. 1b and 1c: what was predicted for a cell that is shown.

    Args:
        network: As `fig_1a_rows`.
        mode: Of the cell: continuous, discontinuous or switching.
        mean: `(n,)` predictions of the frames that are shown.
        item: "Fig. 1b" or "Fig. 1c".

    Raises:
        KeyError: Another mode.
    """
    values = np.asarray(mean, float)
    return {
        "item": item, "row": f"{NAMES.get(network, network)}, {CELLS[mode]}", "column": "prediction",
        "value": float(values.mean()), "low": float(values.min()), "high": float(values.max()), "n": len(values),
        "unit": "probability", "note": "mean over the frames shown; low and high: the extremes; n counts frames",
    }  # fmt: skip


def per_mode_rows(network: str, table: pd.DataFrame) -> list[Row]:
    """The draft's table of absolute and squared errors by mode.

    Args:
        network: As `fig_1a_rows`.
        table: Of `evaluation.per_mode`; modes without a sequence have no row.
    """
    out = list[Row]()
    for one in table[table["n"] > 0].to_dict("records"):
        target = "; targets interpolated between known frames, an interpretation" if one["mode"] == "Unknown" else ""
        out.append({
            "item": DRAFT, "row": f"{NAMES.get(network, network)}, {one['mode']}", "column": one["column"],
            **{key: one[key] for key in ("value", "low", "high")}, "n": int(one["n"]), "unit": UNITS[one["column"]],
            "note": f"{_over_sequences(one['n'], one['sd'], 4)}; {_many(one['n_frames'], 'frame')}{target}",
        })  # fmt: skip
    return out


def beside_draft(tables: Mapping[str, pd.DataFrame], digits: int = 3) -> pd.DataFrame:
    """The draft's table to read: a line for each mode and error, the draft model's numbers, then each network's.

    Args:
        tables: Of `evaluation.per_mode`, by network.
        digits: Behind the point.

    Returns:
        `mode`, `error`, `draft model`, and a column for each network; text "mean ± sd over sequences [95 %]",
            "-" for none; last `n`, how many sequences.
    """
    import pandas as pd

    printed = load("migration")
    printed = printed[printed["item"] == DRAFT]
    out = list[Row]()
    for row in printed.to_dict("records"):
        mode, error = row["row"].removeprefix("draft model, "), row["column"]
        line: Row = {"mode": mode, "error": error}
        line["draft model"] = _plus_minus(row["value"], (row["high"] - row["low"]) / 2, digits)
        for network, table in tables.items():
            own = table[(table["mode"] == mode) & (table["column"] == error)].iloc[0]
            text = _plus_minus(own["value"], own["sd"], digits)
            if np.isfinite([own["low"], own["high"]]).all():
                text += f" [{own['low']:.{digits}f}, {own['high']:.{digits}f}]"
            line[NAMES.get(network, network)] = text
            line["n"] = max(int(own["n"]), line.get("n", 0))
        out.append({name: line[name] for name in sorted(line, key=lambda name: name == "n")})  # n last
    return pd.DataFrame(out)


def auroc_rows(found: Mapping[tuple[str, str], Estimate], words: str = "0.5 is chance") -> list[Row]:
    """Item "AUROC": how well a mode is told, by networks and baselines.

    Args:
        found: Of `evaluation.auroc` or `auroc_gain`, by (network, baseline or difference; what is told), such as
            ("resnet18", "discontinuous from continuous").
        words: What the notes say first; of a gain "paired by frame".
    """
    return [
        _estimate("AUROC", row, column, one, "", f"{words}; 95 % by resampling cells; n counts frames")
        for (row, column), one in found.items()
    ]  # fmt: skip


def uncertainty_rows(
    network: str,
    correlation: Estimate | None = None,
    wrong: Mapping[str, Estimate] | None = None,
    referred: Mapping[str, Referral] | None = None,
    intervals: Mapping[str, pd.DataFrame] | None = None,
    kept: Sequence[float] = (0.5, 0.8),
    reliability: pd.DataFrame | None = None,
) -> list[Row]:
    """Item "Uncertainty": whether the epistemic variance says where the network errs.

    Args:
        network: As `fig_1a_rows`.
        correlation: Of `calibration.spearman`, absolute error with epistemic variance.
        wrong: Of `evaluation.auroc`, by what is told from what: wrong frames by epistemic variance, and the like; what
            rests on no frame has no row.
        referred: Of `calibration.referral`, by what the error is: "MSE", or "not TP" (1 where a frame is not TP).
        intervals: Of `calibration.coverage`, by what the interval is of, such as "epistemic".
        reliability: Of `scoring.Worth`.
        kept: Fractions at which the referral curves have a row; those the curve does not have are left out.
    """
    name, out = NAMES.get(network, network), list[Row]()
    by_cells = "95 % by resampling cells; n counts frames"
    if correlation is not None:
        out.append(_estimate("Uncertainty", name, "Spearman, error and uncertainty", correlation, "", by_cells))
    for column, told in (wrong or {}).items():
        if not told.n_frames:  # no frame is sure of a mode
            continue
        out.append(_estimate("Uncertainty", name, column, told, "", f"0.5 is chance, 0 of a gain; {by_cells}"))
    for what, one in (referred or {}).items():
        curve = one.curve
        note = f"0 by lot, 1 perfect; {by_cells}"
        out.append(_estimate("Uncertainty", name, f"referral gain, {what}", one.share, "", note))
        for fraction in kept:
            for at in np.flatnonzero(np.isclose(curve["kept"], fraction)):
                row = curve.iloc[at]
                ends = Estimate(row["value"], row["low"], row["high"], one.share.n_frames, one.share.n_cells)
                note = f"of the surest frames; by lot {row['random']:.3g}, perfect {row['perfect']:.3g}; {by_cells}"
                unit = UNITS["MSE"] if what == "MSE" else "fraction"
                out.append(_estimate("Uncertainty", name, f"{what}, {100 * fraction:.0f} % kept", ends, unit, note))
    if reliability is not None:
        bins, n = reliability, int(reliability["n"].sum())
        error = float(((bins["uncertainty"] - bins["error"]).abs() * bins["n"]).sum() / n)
        out.append({
            "item": "Uncertainty", "row": name, "column": "calibration error", "value": error, "n": n,
            "unit": "fraction", "note": f"expected calibration error: mean distance of prediction and share of "
            f"discontinuous frames, {len(bins)} bins of equally many; n counts frames; no interval",
        })  # fmt: skip
    for what, table in (intervals or {}).items():
        out.append({
            "item": "Uncertainty", "row": name, "column": f"miscalibration, {what}", "value": miscalibration(table),
            "n": int(table["n"].max()), "unit": "fraction",
            "note": f"mean distance of covered from nominal share, {len(table)} levels; n counts frames; no interval",
        })  # fmt: skip
        for level in table[np.isclose(table["nominal"], 0.95)].to_dict("records"):
            out.append({
                "item": "Uncertainty", "row": name, "column": f"covered at 95 %, {what}", "n": int(level["n"]),
                **{key: 100 * level[own] for key, own in (("value", "covered"), ("low", "low"), ("high", "high"))},
                "unit": "percent", "note": "of targets; 95 % by resampling cells; n counts frames",
            })  # fmt: skip
    return out


def samples_rows(network: str, table: pd.DataFrame, n_frames: int) -> list[Row]:
    """Item "Samples": how mean and epistemic variance settle with T.

    Args:
        network: As `fig_1a_rows`.
        table: Of `calibration.stability`.
        n_frames: Frames that were sampled.
    """
    out = list[Row]()
    for one in table.to_dict("records"):
        for column, (unit, what) in SAMPLES.items():
            value = (100.0 if unit == "percent" else 1.0) * one[column]
            undefined = "" if np.isfinite(value) else "; not defined where the variance is 0 everywhere"
            out.append({
                "item": "Samples", "row": NAMES.get(network, network), "column": f"{column} @ T {one['T']:.0f}",
                "value": value, "n": n_frames, "unit": unit,
                "note": f"{what}; two sets of T samples each, mean over orders; n counts frames{undefined}",
            })  # fmt: skip
    return out


def _estimate(item: str, row: str, column: str, one: Estimate, unit: str, note: str) -> Row:
    undefined = "" if np.isfinite(one.value) else "; not defined: one class or one value only"
    return {
        "item": item, "row": NAMES.get(row, row), "column": column, "value": one.value, "low": one.low,
        "high": one.high, "n": one.n_frames, "unit": unit,
        "note": f"{note}; {_many(one.n_cells, 'cell')}{undefined}",
    }  # fmt: skip


def _many(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _over_sequences(n: int, sd: float, digits: int) -> str:
    if n < 2:
        return "one sequence, no interval; n counts sequences"
    return f"mean over sequences, sd {sd:.{digits}f}; 95 % by resampling sequences; n counts sequences"


def _plus_minus(value: float, sd: float, digits: int) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.{digits}f}" + (f" ± {sd:.{digits}f}" if np.isfinite(sd) else "")

