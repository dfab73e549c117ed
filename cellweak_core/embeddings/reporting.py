"""From scored networks to rows of the one schema: means over seeds, with intervals over compounds and seeds.

    marks (seeds, treatments): 1 right, 0 wrong, -1 not asked --resample whole compounds, and seeds--> 95 % interval
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..files import DataError
from ..screens.aggregation import treatment_profiles
from ..uncertainty import group_weights, percentile_interval
from .evaluation import METRICS

Scored = Sequence[Mapping[str, Any]]
HOW = "mean over seeds; 95 % by resampling compounds (or genes) and seeds"


class Marks(NamedTuple):
    """What was right, for each seed.

    Attributes:
        right: `(n_seeds, n)` 1 right, 0 wrong, -1 not asked, of treatments (or wells, or variants).
        compounds: `(n,)` what is resampled as a whole: the compound of each (or variant, or gene).
    """

    right: NDArray[np.int8]
    compounds: NDArray[np.object_]


def marks_of(scored: Scored, variant: str, layer: str, transform: str, metric: str) -> Marks:
    """The marks of one variant's networks, a row for each seed.

    Raises:
        KeyError: Nothing of this name was scored.
        DataError: The transform could not be made, such as one batch without controls; says why.
    """
    own = [one["score"] for one in scored if one["variant"] == variant]
    key = f"{layer}|{transform}|{metric}"
    if own and (why := own[0].get(f"{layer}|{transform}|error")):
        raise DataError(f"{variant}, layer {layer}, transform {transform}: {why}")
    if not own or key not in own[0]:
        raise KeyError(f"{variant}: {key} was not scored")
    compounds = np.asarray(json.loads(own[0][f"groups.{metric}"]), object)
    return Marks(np.stack([np.asarray(one[key]) for one in own]), compounds)


def accuracy(marks: Marks, n_resamples: int, seed: int) -> dict[str, float]:
    """Share of right treatments among those asked, mean over seeds.

    Returns:
        `value`, `low`, `high` (shares), `correct` (mean over seeds, may be fractional) and `n`, treatments asked.
    """
    means = _resampled(marks, n_resamples, seed)
    right = marks.right[:, marks.right[0] >= 0]
    value = float(right.mean()) if right.size else float("nan")
    low, high = percentile_interval(means)
    return {"value": value, "low": low, "high": high, "correct": float(right.sum(1).mean()), "n": right.shape[1]}


def difference(first: Marks, second: Marks, n_resamples: int, seed: int) -> dict[str, float]:
    """First minus second, on the treatments that both were asked; the same compounds in each resample.

    Returns:
        As `accuracy`, without `correct`.

    Raises:
        ValueError: Not the same treatments in the same order.
    """
    if not np.array_equal(first.compounds, second.compounds):
        raise ValueError("marks: expected the same treatments in the same order")
    both = (first.right[0] >= 0) & (second.right[0] >= 0)
    a, b = (Marks(np.where(both, one.right, -1), one.compounds) for one in (first, second))
    means = _resampled(a, n_resamples, seed) - _resampled(b, n_resamples, seed)
    low, high = percentile_interval(means)
    value = float(a.right[:, both].mean() - b.right[:, both].mean()) if both.any() else float("nan")
    return {"value": value, "low": low, "high": high, "n": int(both.sum())}


def _resampled(marks: Marks, n_resamples: int, seed: int) -> NDArray[np.float64]:
    """Accuracies of resamples: whole compounds (by `seed`, the same for every call) and, of their own, seeds."""
    asked = marks.right[0] >= 0
    n_seeds = len(marks.right)
    if not asked.any():
        return np.full(n_resamples, np.nan)
    weights = group_weights(marks.compounds[asked], n_resamples, seed)  # (resamples, treatments)
    rng = np.random.default_rng([seed, n_seeds, int(marks.right.sum()) % 2**31])
    drawn = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), n_resamples) / n_seeds
    per_treatment = drawn @ marks.right[:, asked]  # (resamples, treatments)
    return (weights * per_treatment).sum(1) / weights.sum(1)


def auxiliary(scored: Scored, variant: str) -> tuple[float, float, float, int]:
    """Accuracy of the auxiliary task on held-out cells: mean, lowest and highest over seeds, and cells (0: none)."""
    own = [one for one in scored if one["variant"] == variant]
    shares = [one["auxiliary_correct"] / one["auxiliary_total"] for one in own if one["auxiliary_total"]]
    if not shares:
        return float("nan"), float("nan"), float("nan"), 0
    return float(np.mean(shares)), min(shares), max(shares), int(own[0]["auxiliary_total"])


def gene_rows(
    scored: Scored, rows: Mapping[str, tuple[str, str, str]], item: str, n_resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Table 1: replicate and gene accuracy of methods, in per cent; arguments as `table_rows`."""
    out = list[dict[str, Any]]()
    for name, (variant, layer, transform) in rows.items():
        for metric, column in (("replicate", "Replicate Acc."), ("gene", "Gene Acc.")):
            marks = marks_of(scored, variant, layer, transform, metric)
            one = accuracy(marks, n_resamples, seed)
            whole = "variants" if metric == "replicate" else "genes"
            how = f"mean over {len(marks.right)} seeds; 95 % by resampling {whole} and seeds"
            note = f"{one['correct']:.1f} of {one['n']} right; {layer}, transform {transform}; {how}"
            out.append(_row(item, name, column, one, note))
    return out


def table_rows(
    scored: Scored, rows: Mapping[str, tuple[str, str, str]], item: str, n_resamples: int, seed: int, note: str = ""
) -> list[dict[str, Any]]:
    """NSC, NSCB and Drop of methods, in per cent.

    Args:
        scored: Of `comparison.compare`.
        rows: Name in the table -> variant, layer, transform.
        item: The published item.
        n_resamples: Of the intervals.
        seed: Of the resamples.
        note: Put before each row's own.
    """
    out = list[dict[str, Any]]()
    for name, (variant, layer, transform) in rows.items():
        all_marks = {metric: marks_of(scored, variant, layer, transform, metric) for metric in METRICS}
        how = f"{note}{layer}, transform {transform}, {len(all_marks['NSC'].right)} seeds, {HOW}"
        for metric, marks in all_marks.items():
            one = accuracy(marks, n_resamples, seed)
            out.append(_row(item, name, metric, one, f"{one['correct']:.1f} of {one['n']} right; {how}"))
        drop = difference(all_marks["NSCB"], all_marks["NSC"], n_resamples, seed)
        whole = {m: accuracy(marks, 1, seed)["value"] for m, marks in all_marks.items()}
        drop["value"] = whole["NSCB"] - whole["NSC"]
        note_drop = f"NSCB minus NSC, interval on the {drop['n']} treatments that both ask; {how}"
        out.append(_row(item, name, "Drop", drop, note_drop) | {"unit": "percentage points"})
    return out


def difference_rows(
    scored: Scored, pairs: Sequence[tuple[str, str]], layer: str, transform: str, n_resamples: int, seed: int
) -> list[dict[str, Any]]:
    """What a variant gains over another, NSC and NSCB, in percentage points."""
    out = list[dict[str, Any]]()
    for first, second in pairs:
        for metric in METRICS:
            a, b = (marks_of(scored, name, layer, transform, metric) for name in (first, second))
            one = difference(a, b, n_resamples, seed)
            note = f"{layer}, transform {transform}, {len(a.right)} and {len(b.right)} seeds, {HOW}, paired by compound"
            out.append(_row("Difference", f"{first} - {second}", metric, one, note) | {"unit": "percentage points"})
    return out


def layer_rows(
    scored: Scored, variant: str, layers: Sequence[str], transforms: Sequence[str], n_resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Fig. 7: NSC and NSCB by layer, with and without the transforms."""
    out = list[dict[str, Any]]()
    for layer in layers:
        for transform in transforms:
            for metric in METRICS:
                marks = marks_of(scored, variant, layer, transform, metric)
                one = accuracy(marks, n_resamples, seed)
                note = f"{one['correct']:.1f} of {one['n']} right; {variant}, {len(marks.right)} seeds, {HOW}"
                out.append(_row("Fig. 7", layer, f"{metric}, {transform}", one, note))
    return out


def regularization_rows(
    scored: Scored,
    levels: Mapping[str, str],
    layer: str,
    transform: str,
    item: str,
    n_resamples: int,
    seed: int,
    metric: str = "NSCB",
) -> list[dict[str, Any]]:
    """Fig. 5: the main goal's accuracy and the auxiliary task's by level of regularisation.

    Args:
        scored: Of `comparison.compare`.
        levels: Name in the figure -> variant.
        layer: Of the features.
        transform: Of the profiles.
        item: "Fig. 5b".
        n_resamples: Of the intervals.
        seed: Of the resamples.
        metric: The main goal: "NSCB", or "gene".
    """
    out = list[dict[str, Any]]()
    for name, variant in levels.items():
        marks = marks_of(scored, variant, layer, transform, metric)
        note = f"{layer}, transform {transform}, {len(marks.right)} seeds, {HOW}"
        out.append(_row(item, name, metric, accuracy(marks, n_resamples, seed), note))
        mean, low, high, n = auxiliary(scored, variant)
        if n:
            held = {"value": mean, "low": low, "high": high, "n": n}
            note = f"{n} cells of held-out replicates; {len(marks.right)} seeds, low and high: lowest and highest seed"
            out.append(_row(item, name, "auxiliary accuracy", held, note))
    return out


def _row(item: str, row: str, column: str, one: Mapping[str, float], note: str) -> dict[str, Any]:
    percent = {name: 100 * one[name] for name in ("value", "low", "high")}
    return {"item": item, "row": row, "column": column, **percent, "n": int(one["n"]), "unit": "percent", "note": note}


def shares_over_compounds(marks: Marks) -> NDArray[np.float64]:
    """CytoGAN's count: the plain mean over compounds of each compound's share of right treatments, for each seed."""
    asked = marks.right[0] >= 0
    names = np.unique(marks.compounds[asked].astype(str))
    per = [marks.right[:, asked][:, marks.compounds[asked] == name].mean(1) for name in names]
    return np.mean(per, axis=0) if per else np.full(len(marks.right), np.nan)



def dimension_rows(scored: Scored, rows: Mapping[str, tuple[str, str, str]], item: str) -> list[dict[str, Any]]:
    """Dim. of Table 2: numbers in a cell's features; arguments as `table_rows`."""
    import pyarrow.parquet as pq

    out = list[dict[str, Any]]()
    for name, (variant, layer, _) in rows.items():
        file = next((one["files"][0] for one in scored if one["variant"] == variant and one.get("files")), None)
        if file is None:
            continue  # it tells mechanisms and has no features
        size = sum(column.rpartition("_")[0] == layer for column in pq.read_schema(file).names)
        fact = {"value": size, "low": None, "high": None, "n": 1, "unit": "features", "note": layer}
        out.append({"item": item, "row": name, "column": "Dim.", **fact})
    return out


def precision_rows(
    scored: Scored, name: str, variant: str, layer: str, transform: str, seed: int
) -> list[dict[str, Any]]:
    """Mean average precision of mechanisms as copairs defines it (item Precision), mean over seeds."""
    from . import classical, evaluation

    found: dict[str, list[dict[str, Any]]] = {}
    for one in scored:
        if one["variant"] != variant or not one.get("files"):
            continue
        values, sites = evaluation.site_profiles([Path(file) for file in one["files"]], layer)
        treatments, table = treatment_profiles(evaluation.transformed(values, sites, transform), sites, "median")
        for row in classical.precision_rows(name, treatments, table, seed):
            found.setdefault(row["column"], []).append(row)
    out = []
    for rows in found.values():
        values_of = [row["value"] for row in rows]
        spread = f"; {len(rows)} seeds from {min(values_of):.3f} to {max(values_of):.3f}; first seed: {rows[0]['note']}"
        out.append(rows[0] | {"value": float(np.mean(values_of)), "note": f"{layer}, transform {transform}{spread}"})
    return out
