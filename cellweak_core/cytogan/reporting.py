"""From scores, samples and measured changes to rows of the one schema, with intervals over seeds and resamples.

    marks (seeds, treatments): 1 right, 0 wrong, -1 not asked --resample whole compounds, and seeds--> Table 1
    quality of each seed's sample, with draws                  --resample seeds, take their draws----> Generated

Rows and columns have the names of the published table where it has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..uncertainty import drawn_seeds, group_weights, percentile_interval
from .latent import Floats
from .quality import METRICS, SHIFTED

Row = dict[str, Any]
Entries = Sequence[Mapping[str, Any]]
COLUMNS = {"compounds": "MOA accuracy", "treatments": "NSC"}
ENDINGS = {"none": "", "whitening": ", whitened", "TVN": ", TVN"}
CHANCE = "chance"
ALIKE, MISSED = 0.3, 0.05  # diversity and recall below which a model's cells are remarked on
UNITS = {"copies": "fraction", "precision": "fraction", "recall": "fraction", "mechanisms reached": "fraction"}
MEANS = {
    "Frechet distance": "in the embedding network's features, units of the training cells' SD; lower is nearer",
    "kernel distance": "cubic kernel, unbiased, in the embedding network's features, units of the training cells' SD",
    "precision": "share of cells among the training cells",
    "recall": "share of training cells among these cells",
    "mechanisms reached": "share of mechanisms among the nearest training cells",
    "nearer than held out": "chance to lie nearer to a training cell than a held-out cell does; 0.5 without copying",
    "copies": "share nearer to a training cell than 95 % of held-out cells; 0.05 without copying",
    "diversity": "mean distance of two cells over that of two held-out cells",
}


def score_draws(
    right: NDArray[np.int8], compounds: Sequence[object], over: str, n_resamples: int, seed: int, stream: int = 0
) -> tuple[float, Floats]:
    """Accuracy, mean over seeds, and in resamples of whole compounds and of seeds.

    Args:
        right: `(n_seeds, n)` 1 right, 0 wrong, -1 not asked, of treatments.
        compounds: `(n,)` of each.
        over: "treatments", or "compounds": the plain mean of each compound's accuracy, as CytoGAN counts.
        n_resamples: How many.
        seed: The same compounds are drawn for every call with it.
        stream: The same seeds are drawn for every call with it and as many seeds.

    Returns:
        The accuracy in [0, 1], and `(n_resamples,)`; NaN with nothing asked.

    Raises:
        ValueError: Another word, other shapes, seeds that were not asked the same treatments.
    """
    if over not in COLUMNS:
        raise ValueError(f"over: expected one of {', '.join(COLUMNS)}, got {over!r}")
    marks, names = np.asarray(right), np.asarray(compounds, object).astype(str)
    if marks.ndim != 2 or marks.shape[1:] != names.shape:
        raise ValueError(f"right: expected (n_seeds, {len(names)}), got {marks.shape}")
    asked = marks[0] >= 0
    if not ((marks >= 0) == asked).all():
        raise ValueError("right: the seeds were not asked the same treatments")
    if not asked.any():
        return float("nan"), np.full(n_resamples, np.nan)
    _, compound = np.unique(names[asked], return_inverse=True)
    member = np.eye(compound.max() + 1)[compound]
    of_compound, n_of = marks[:, asked] @ member, member.sum(0)
    if over == "compounds":
        of_compound, n_of = of_compound / n_of, np.ones_like(n_of)
    weights = group_weights(np.arange(len(n_of)), n_resamples, seed)
    n_seeds = len(marks)
    seeds = drawn_seeds(n_seeds, n_resamples, seed, stream)
    drawn = (seeds / n_seeds @ of_compound * weights).sum(1) / (weights @ n_of)
    return float(of_compound.sum() / n_of.sum() / n_seeds), drawn


def table_1_rows(scored: Entries, n_resamples: int = 2000, seed: int = 0, item: str = "Table 1") -> list[Row]:
    """MOA accuracy (over compounds) and NSC (over treatments) of every model, in per cent.

    Args:
        scored: What `mechanisms.moa_scores` returned, with `model`, `seed` and `how`.
        n_resamples: Of the intervals.
        seed: Of the resamples.
        item: The published item.

    Returns:
        One row for each model, way and count; at the end those of `CHANCE`.
    """
    out, groups = list[Row](), dict[tuple[str, str], list[Mapping[str, Any]]]()
    for one in scored:
        groups.setdefault((one["model"], one["how"]), []).append(one)
    for (model, how), own in groups.items():
        right = np.stack([np.asarray(one["right"]) for one in own])
        names = own[0]["treatments"]["compound"]
        n_of = _asked(right[0], names)
        for over, column in COLUMNS.items():
            value, drawn = score_draws(right, names, over, n_resamples, seed)
            correct = (right == 1).sum() / len(own)
            cells = f"{own[0]['cells']} cells; " if own[0].get("cells") else ""
            note = f"{cells}{correct:.1f} of {n_of['treatments']} treatments right, counted over {over}; {_seeds(own)}"
            low, high = percentile_interval(drawn)
            out.append(_percent(item, model, column + ENDINGS[how], value, low, high, n_of[over], note))
    if not scored:
        return out
    first = next((one for one in scored if one["how"] == "none"), scored[0])
    n_of = _asked(np.asarray(first["right"]), first["treatments"]["compound"])
    for over, column in COLUMNS.items():
        by_lot = first["chance" if over == "treatments" else "chance_over_compounds"]
        note = "a neighbour drawn by lot among the allowed"
        out.append(_percent(item, CHANCE, column, by_lot, np.nan, np.nan, n_of[over], note))
    return out


def difference(
    scored: Entries, first: tuple[str, str], second: tuple[str, str], over: str, n_resamples: int = 2000, seed: int = 0
) -> Row:
    """What one model and way gains over another, paired by compound, in percentage points.

    Args:
        scored: As `table_1_rows`.
        first: Model and way, such as ("LSGAN", "whitening").
        second: As `first`.
        over: "compounds" or "treatments".
        n_resamples: Of the interval; each has the same compounds on both sides, and seeds of each side's own.
        seed: Of the resamples.

    Raises:
        KeyError: Nothing of this name was scored.
        ValueError: Not the same treatments in the same order.
    """
    sides = list[tuple[float, Floats]]()
    names, rights = list[Any](), list[NDArray[np.int8]]()
    for stream, (model, how) in enumerate((first, second)):
        own = [one for one in scored if (one["model"], one["how"]) == (model, how)]
        if not own:
            raise KeyError(f"{model}, {how}: was not scored")
        rights.append(np.stack([np.asarray(one["right"]) for one in own]))
        names.append((own[0]["treatments"]["compound"], own[0]["treatments"]["concentration"]))
        # of one model both ways have the same networks: the same seeds are drawn too
        sides.append(score_draws(rights[-1], names[-1][0], over, n_resamples, seed, stream * (first[0] != second[0])))
    if names[0] != names[1] or not np.array_equal(rights[0][0] >= 0, rights[1][0] >= 0):
        raise ValueError(f"{first[0]} and {second[0]}: expected the same treatments in the same order")
    low, high = percentile_interval(sides[0][1] - sides[1][1])
    n = _asked(rights[0][0], names[0][0])[over]
    words = [model + ENDINGS[how] for model, how in (first, second)]
    note = "95 % by resampling compounds, the same on both sides, and seeds"
    row = _percent("Difference", " - ".join(words), COLUMNS[over], sides[0][0] - sides[1][0], low, high, n, note)
    return row | {"unit": "percentage points"}


PAIRS = (
    (("LSGAN", "whitening"), ("LSGAN", "none")),
    (("LSGAN", "TVN"), ("LSGAN", "none")),
    (("LSGAN", "none"), ("LSGAN, untrained", "none")),
    (("LSGAN", "TVN"), ("LSGAN, untrained", "TVN")),
    (("LSGAN", "none"), ("VAE", "none")),
    (("LSGAN", "none"), ("DCGAN", "none")),
    (("LSGAN", "TVN"), ("weakly supervised CNN", "TVN")),
    (("CellProfiler", "none"), ("LSGAN", "none")),
    (("CellProfiler", "TVN"), ("LSGAN", "TVN")),
)  # what the paper says of them, and whether learning to draw teaches anything at all


def difference_rows(scored: Entries, n_resamples: int = 2000, seed: int = 0) -> list[Row]:
    """`difference` of each of `PAIRS` that was scored, over compounds and over treatments."""
    there = {(one["model"], one["how"]) for one in scored}
    return [
        difference(scored, *pair, over, n_resamples, seed) for pair in PAIRS if set(pair) <= there for over in COLUMNS
    ]


def generated_rows(judged: Entries, seed: int = 0) -> list[Row]:
    """Item "Generated": each model's samples, mean over its seeds, as `quality` counts them.

    Args:
        judged: What `quality.quality` returned, with `model` and `seed`.
        seed: Of the resamples of seeds.
    """
    out, groups = list[Row](), dict[str, list[Mapping[str, Any]]]()
    for one in judged:
        groups.setdefault(one["model"], []).append(one)
    for model, own in groups.items():
        for name in (metric for metric in METRICS if metric in own[0]):
            draws = np.stack([np.asarray(one[f"{name}|draws"], float) for one in own])
            n_seeds, n_resamples = draws.shape
            picked = drawn_seeds(n_seeds, n_resamples, seed)
            low, high = percentile_interval((picked.T * draws).sum(0) / n_seeds)
            value = float(np.mean([one[name] for one in own]))
            if name in SHIFTED:  # their draws are shifted to the value, and cut off at the end of their range
                low, high = min(low, value), max(high, value)
            several, drawn = n_seeds > 1, f"95 % by {n_resamples} resamples of cells"
            over = f"mean over {n_seeds} seeds; {drawn} and seeds" if several else f"one seed; {drawn}"
            out.append({
                "item": "Generated", "row": model, "column": name, "value": value, "low": low, "high": high,
                "n": int(own[0]["n"]), "unit": UNITS.get(name, ""), "note": f"{MEANS[name]}; n cells; {over}",
            })  # fmt: skip
    return out


def doubtful(judged: Entries) -> list[str]:
    """A sentence for each model whose cells are nearly all alike, or among whose cells hardly any real one lies.

    Args:
        judged: As `generated_rows`.
    """
    out, groups = list[str](), dict[str, list[Mapping[str, Any]]]()
    for one in judged:
        groups.setdefault(one["model"], []).append(one)
    for model, own in groups.items():
        varied, reached = (float(np.mean([one[name] for one in own])) for name in ("diversity", "recall"))
        if varied < ALIKE:
            out.append(f"{model}: its cells differ by {varied:.0%} of what real ones differ by: nearly one cell.")
        elif reached < MISSED:
            out.append(f"{model}: {reached:.0%} of the real cells lie among its cells: few kinds, or no real ones.")
    return out


def _asked(marks: NDArray[np.int8], compounds: Sequence[object]) -> dict[str, int]:
    """How many treatments and compounds were asked."""
    names = [str(name) for name, mark in zip(compounds, marks, strict=True) if mark >= 0]
    return {"treatments": len(names), "compounds": len(set(names))}


def _seeds(own: Sequence[object]) -> str:
    if len(own) > 1:
        return f"mean over {len(own)} seeds; 95 % by resampling compounds and seeds"
    return "one seed; 95 % by resampling compounds"


def _percent(
    item: str, row: str, column: str, value: float, low: float, high: float, n: int, note: str
) -> Row:  # fmt: skip
    if not np.isfinite(value):
        note = f"no treatment has a partner of its mechanism; {note}"
    return {"item": item, "row": row, "column": column, "value": 100 * value, "low": 100 * low, "high": 100 * high,
            "n": n, "unit": "percent", "note": note}  # fmt: skip
