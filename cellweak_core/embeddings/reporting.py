"""From scored networks to rows of the one schema: means over seeds, with intervals over compounds and seeds.

    marks (seeds, treatments): 1 right, 0 wrong, -1 not asked --resample whole compounds, and seeds--> 95 % interval
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..files import DataError
from ..uncertainty import drawn_seeds, group_weights, percentile_interval
from .evaluation import METRICS, RANKED
from .ranking import Ranks, ranking, ranking_difference

Scored = Sequence[Mapping[str, Any]]
Row = dict[str, Any]
Floats = NDArray[np.float64]


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
    found = _scores(scored, variant, layer, transform, metric)
    return Marks(np.stack([np.asarray(one[f"{layer}|{transform}|{metric}"]) for one in found]), _groups(found, metric))


def _scores(scored: Scored, variant: str, layer: str, transform: str, metric: str) -> list[Mapping[str, Any]]:
    own = [one["score"] for one in scored if one["variant"] == variant]
    why = next((one[key] for one in own if (key := f"{layer}|{transform}|error") in one), None)
    if why:
        raise DataError(f"{variant}, layer {layer}, transform {transform}: {why}")
    key = f"{layer}|{transform}|{metric}"
    if not own or not all(key in one for one in own):
        raise KeyError(f"{variant}: {key} was not scored")
    return own


def _groups(found: Sequence[Mapping[str, Any]], metric: str) -> NDArray[np.object_]:
    return np.asarray(json.loads(found[0][f"groups.{metric}"]), object)


def accuracy(marks: Marks, n_resamples: int, seed: int) -> dict[str, float]:
    """Share of right treatments among those asked, mean over seeds.

    Returns:
        `value`, `low`, `high` (shares), `correct` (mean over seeds, may be fractional) and `n`, treatments asked.
    """
    right = marks.right[:, marks.right[0] >= 0]
    value = float(right.mean()) if right.size else float("nan")
    low, high = percentile_interval(resampled(marks, n_resamples, seed))
    return {"value": value, "low": low, "high": high, "correct": float(right.sum(1).mean()), "n": right.shape[1]}


def difference(first: Marks, second: Marks, n_resamples: int, seed: int) -> dict[str, float]:
    """First minus second of two sets of networks, on the treatments that both were asked.

    Each resample has the same compounds on both sides, and seeds of each side's own.

    Returns:
        As `accuracy`, without `correct`.

    Raises:
        ValueError: Not the same treatments in the same order.
    """
    if not np.array_equal(first.compounds, second.compounds):
        raise ValueError("marks: expected the same treatments in the same order")
    both = (first.right[0] >= 0) & (second.right[0] >= 0)
    a, b = (Marks(np.where(both, one.right, -1), one.compounds) for one in (first, second))
    low, high = percentile_interval(resampled(a, n_resamples, seed) - resampled(b, n_resamples, seed, 1))
    value = float(a.right[:, both].mean() - b.right[:, both].mean()) if both.any() else float("nan")
    return {"value": value, "low": low, "high": high, "n": int(both.sum())}


def drop(nsc: Marks, nscb: Marks, n_resamples: int, seed: int) -> dict[str, float]:
    """NSCB minus NSC of the same networks, each over all that it asks, as the paper subtracts them.

    Each resample has the same compounds and the same seeds on both sides.

    Returns:
        As `difference`; `n` is NSCB's.
    """
    low, high = percentile_interval(resampled(nscb, n_resamples, seed) - resampled(nsc, n_resamples, seed))
    whole = [one.right[:, one.right[0] >= 0] for one in (nscb, nsc)]
    value = float(whole[0].mean() - whole[1].mean()) if all(one.size for one in whole) else float("nan")
    return {"value": value, "low": low, "high": high, "n": whole[0].shape[1]}


def resampled(marks: Marks, n_resamples: int, seed: int, stream: int = 0) -> Floats:
    """Accuracies of resamples of compounds and seeds, `(n_resamples,)`; NaN where nobody who was drawn was asked.

    Args:
        marks: Of one set of networks.
        n_resamples: How many.
        seed: The same compounds are drawn for every call with it: of all compounds, also those that were not asked.
        stream: The same seeds are drawn for every call with it and as many networks.
    """
    asked, n_seeds = marks.right[0] >= 0, len(marks.right)
    weights = group_weights(marks.compounds, n_resamples, seed)[:, asked]
    shares = drawn_seeds(n_seeds, n_resamples, seed, stream) / n_seeds
    right = shares @ marks.right[:, asked]  # (n_resamples, treatments)
    with np.errstate(invalid="ignore"):
        return (weights * right).sum(1) / weights.sum(1)


def auxiliary(scored: Scored, variant: str) -> tuple[float, float, float, int]:
    """Accuracy of the auxiliary task on held-out cells: mean, lowest and highest over seeds, and cells (0: none)."""
    own = [one for one in scored if one["variant"] == variant]
    shares = [one["auxiliary_correct"] / one["auxiliary_total"] for one in own if one["auxiliary_total"]]
    if not shares:
        return float("nan"), float("nan"), float("nan"), 0
    return float(np.mean(shares)), min(shares), max(shares), int(own[0]["auxiliary_total"])


def table_rows(
    scored: Scored, rows: Mapping[str, tuple[str, str, str]], item: str, n_resamples: int, seed: int
) -> list[Row]:
    """NSC, NSCB and Drop of methods, in per cent.

    Args:
        scored: Of `comparison.compare`.
        rows: Name in the table -> variant, layer, transform.
        item: The published item.
        n_resamples: Of the intervals.
        seed: Of the resamples.
    """
    out = list[Row]()
    for name, (variant, layer, transform) in rows.items():
        marks = {metric: marks_of(scored, variant, layer, transform, metric) for metric in METRICS}
        how = _how(scored, variant, layer, transform)
        for metric, one in marks.items():
            found, over = accuracy(one, n_resamples, seed), float(shares_over_compounds(one).mean())
            right = f"{found['correct']:.1f} of {found['n']} right, over compounds {100 * over:.1f} %"
            out.append(_row(item, name, metric, found, f"{right}; {how}"))
        fallen = drop(marks["NSC"], marks["NSCB"], n_resamples, seed)
        note = f"NSCB minus NSC, each over all it asks; {how}"
        out.append(_row(item, name, "Drop", fallen, note) | {"unit": "percentage points"})
    return out


def gene_rows(
    scored: Scored, rows: Mapping[str, tuple[str, str, str]], item: str, n_resamples: int, seed: int
) -> list[Row]:
    """Table 1: replicate and gene accuracy of methods, in per cent; arguments as `table_rows`."""
    out = list[Row]()
    for name, (variant, layer, transform) in rows.items():
        for metric, column in (("replicate", "Replicate Acc."), ("gene", "Gene Acc.")):
            one = accuracy(marks_of(scored, variant, layer, transform, metric), n_resamples, seed)
            whole = "variants" if metric == "replicate" else "genes"
            note = f"{one['correct']:.1f} of {one['n']} right; {_how(scored, variant, layer, transform, whole)}"
            out.append(_row(item, name, column, one, note))
    return out


def fact_rows(
    scored: Scored, rows: Mapping[str, tuple[str, str, str]], item: str, n: int, of: str = "cells"
) -> list[Row]:
    """Dim. and Speed of Table 2: numbers in a cell's features, and cells embedded a second.

    Args:
        scored: As `table_rows`.
        rows: As `table_rows`; a method that has no features (it tells mechanisms) or no speed has no such row.
        item: As `table_rows`.
        n: Of the screen: its cells, or what else `of` names.
        of: What `n` counts.
    """
    import pyarrow.parquet as pq

    out = list[Row]()
    for name, (variant, layer, _) in rows.items():
        own = [one for one in scored if one["variant"] == variant and (one.get("files") or "n_features" in one)]
        if not own:
            continue
        size = own[0].get("n_features")
        if size is None:
            size = sum(column.rpartition("_")[0] == layer for column in pq.read_schema(own[0]["files"][0]).names)
        fact = {"item": item, "row": name, "n": own[0].get("cells", n)}
        out.append(fact | {"column": "Dim.", "value": size, "unit": "features", "note": f"{layer}; n {of}"})
        speeds = [one["cells_per_s"] for one in own if "cells_per_s" in one]
        if speeds:
            note = f"all layers at once, from the crops' file to Parquet, beside the run's other networks; n {of}"
            out.append(fact | {"column": "Speed", "value": float(np.mean(speeds)), "unit": "cells/s", "note": note})
    return out


def precision_rows(
    scored: Scored, rows: Mapping[str, tuple[str, str, str]], n_resamples: int, seed: int
) -> list[Row]:
    """Mean average precision of mechanisms as copairs defines it (item Precision); arguments as `table_rows`."""
    out = list[Row]()
    for name, (variant, layer, transform) in rows.items():
        for metric in RANKED:
            if (ranks := _ranks(scored, variant, layer, transform, metric)) is not None:
                note = f"n treatments; {_how(scored, variant, layer, transform)}"
                one = ranking(ranks, n_resamples, seed)
                out.append({"item": "Precision", "row": name, "column": metric, **one, "unit": "", "note": note})
    return out


def _ranks(scored: Scored, variant: str, layer: str, transform: str, metric: str) -> Ranks | None:
    """None: it tells mechanisms and has no ranks, or nobody can be asked."""
    try:
        found = _scores(scored, variant, layer, transform, metric)
    except KeyError:
        return None
    precision = np.stack([np.asarray(one[f"{layer}|{transform}|{metric}"]) for one in found])
    moa = np.asarray(json.loads(found[0]["treatments"])["moa"], object)
    return Ranks(precision, moa, _groups(found, metric))


def difference_rows(
    scored: Scored, pairs: Sequence[tuple[str, str]], layer: str, transform: str, n_resamples: int, seed: int
) -> list[Row]:
    """What a variant gains over another: NSC and NSCB in percentage points, mean average precision as it is."""
    out = list[Row]()
    for first, second in pairs:
        for metric in METRICS:
            a, b = (marks_of(scored, name, layer, transform, metric) for name in (first, second))
            one = difference(a, b, n_resamples, seed)
            note = f"{_how(scored, first, layer, transform)}, paired by compound"
            out.append(_row("Difference", f"{first} - {second}", metric, one, note) | {"unit": "percentage points"})
        for metric in RANKED:
            ranks = [_ranks(scored, name, layer, transform, metric) for name in (first, second)]
            if ranks[0] is not None and ranks[1] is not None:
                one = ranking_difference(ranks[0], ranks[1], n_resamples, seed)
                note = f"n treatments; {_how(scored, first, layer, transform)}, paired by compound"
                row = {"item": "Precision", "row": f"{first} - {second}", "column": metric, "unit": ""}
                out.append(row | one | {"note": note})
    return out


def layer_rows(
    scored: Scored, variant: str, layers: Sequence[str], transforms: Sequence[str], n_resamples: int, seed: int
) -> list[Row]:
    """Fig. 7: NSC and NSCB by layer, with and without the transforms."""
    out = list[Row]()
    for layer in layers:
        for transform in transforms:
            for metric in METRICS:
                one = accuracy(marks_of(scored, variant, layer, transform, metric), n_resamples, seed)
                note = f"{one['correct']:.1f} of {one['n']} right; {variant}, {_how(scored, variant, layer, transform)}"
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
) -> list[Row]:
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
    out = list[Row]()
    for name, variant in levels.items():
        marks = marks_of(scored, variant, layer, transform, metric)
        whole = "genes" if metric == "gene" else "compounds"
        note = _how(scored, variant, layer, transform, whole)
        out.append(_row(item, name, metric, accuracy(marks, n_resamples, seed), note))
        mean, low, high, n = auxiliary(scored, variant)
        if n:
            held = {"value": mean, "low": low, "high": high, "n": n}
            note = f"{n} cells of held-out replicates; {len(marks.right)} seeds, low and high: lowest and highest seed"
            out.append(_row(item, name, "auxiliary accuracy", held, note))
    return out


def _how(scored: Scored, variant: str, layer: str, transform: str, whole: str = "compounds") -> str:
    """What a number is of, and how its interval was made."""
    own = [one for one in scored if one["variant"] == variant]
    cells = f", {own[0]['cells']} cells of the screen" if "cells" in own[0] else ""
    seeds = f"mean over {len(own)} seeds" if len(own) > 1 else "one seed"
    over = f"{whole} and seeds" if len(own) > 1 else whole
    return f"{layer}, transform {transform}{cells}; {seeds}; 95 % by resampling {over}"


def _row(item: str, row: str, column: str, one: Mapping[str, float], note: str) -> Row:
    percent = {name: 100 * one[name] for name in ("value", "low", "high")}
    return {"item": item, "row": row, "column": column, **percent, "n": int(one["n"]), "unit": "percent", "note": note}


def shares_over_compounds(marks: Marks) -> Floats:
    """CytoGAN's count: the plain mean over compounds of each compound's share of right treatments, for each seed."""
    asked = marks.right[0] >= 0
    names = np.unique(marks.compounds[asked].astype(str))
    per = [marks.right[:, asked][:, marks.compounds[asked] == name].mean(1) for name in names]
    return np.mean(per, axis=0) if per else np.full(len(marks.right), np.nan)
