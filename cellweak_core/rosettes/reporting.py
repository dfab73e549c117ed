"""The chapter's numbers as rows of the one schema, under the paper's own items, rows and columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..markdown import counted
from ..uncertainty import group_weights, percentile_interval
from .classifiers import STARTS
from .detection import at_rosettes
from .evaluation import bootstrap_metrics
from .windows import by_fraction, final

Row = dict[str, Any]
PAPER_NAMES = {"conventional": "Conventional classifier", "GAN": "GAN-based classifier"}
METRIC_NAMES = ("accuracy", "precision", "recall")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def recorded_losses(published: pd.DataFrame, item: str) -> pd.DataFrame:
    """The authors' recorded WGAN losses of Fig. 3c or 3d: columns step, value."""
    part = published[(published["item"] == item) & (published["kind"] == "recorded")].copy()
    part["step"] = part["column"].str.extract(r"step (\d+)").astype(float)
    return part[["step", "value"]].dropna().sort_values("step", ignore_index=True)


def printed_accuracy(published: pd.DataFrame) -> pd.DataFrame:
    """The points of Fig. 10 that the paper prints: columns percent (of the labels), half_width, value, low, high.

    "more than 40 %" stands in the middle of 40 to 100, with half of that range as its half_width.
    """
    part = published[(published["item"] == "Fig. 10") & published["value"].notna()].copy()
    found = part["column"].str.extract(r"@ (>?)(\d+) %")
    least, above = found[1].astype(float), found[0] == ">"
    part["percent"] = least.where(~above, (least + 100) / 2)
    part["half_width"] = ((100 - least) / 2).where(above, 0.0)
    return part.dropna(subset=["percent"])[["percent", "half_width", "value", "low", "high"]].reset_index(drop=True)


def wgan_rows(steps: NDArray[Any], generator: NDArray[Any], discriminator: NDArray[Any], seed: int) -> Iterator[Row]:
    """Figs. 3c and 3d: the losses at the steps the authors recorded, and at the end."""
    wanted = [s for s in (1, 100, 1000, 5000, 10000, 20000, 50000, 80000, 100000) if s < steps[-1]]
    for item, row, values in (
        ("Fig. 3c", "WGAN generator", generator),
        ("Fig. 3d", "WGAN discriminator", discriminator),
    ):
        for step in [*wanted, int(steps[-1])]:
            near = values[(steps > step - 25) & (steps <= step + 25)]
            note = f"mean of the {len(near)} steps around it, one run, seed {seed}; without the gradient penalty"
            yield {
                "item": item,
                "row": row,
                "column": f"loss @ step {step}",
                "value": float(near.mean()),
                "n": len(near),
                "unit": "loss",
                "note": note,
            }


def classifier_rows(
    sd: Mapping[str, float], clusters: Mapping[str, NDArray[Any]], activations: pd.DataFrame, seed: int
) -> Iterator[Row]:
    """Figs. 5, 6 and 8: filter spread, clusters of the fc1 weights, mean activations."""
    panels = {"conventional": "a", "GAN": "b"}
    for name, panel in panels.items():
        yield {
            "item": f"Fig. 5{panel}",
            "row": PAPER_NAMES[name],
            "column": "sd of the conv1 weights",
            "value": sd[name],
            "n": 1,
            "unit": "weight",
            "note": f"one training with all labels, seed {seed}; n counts trainings",
        }
        label = clusters[name]
        yield {
            "item": f"Fig. 6{panel}",
            "row": PAPER_NAMES[name],
            "column": "tight clusters in the t-SNE of the fc1 weights",
            "value": float(label.max() + 1),
            "n": len(label),
            "unit": "clusters",
            "note": "HDBSCAN groups of at least 5 % of the points, where the paper counts by eye; n counts points",
        }
    for r in activations.to_dict("records"):
        yield {
            "item": "Fig. 8",
            "row": r["state"],
            "column": f"mean activation of {r['layer']}",
            "value": r["mean"],
            "n": int(r["n"]),
            "unit": "activation",
            "note": f"trained with a fifth of the labels, seed {seed}; n counts test windows",
        }


def window_rows(table: pd.DataFrame, n_test: int, how: str) -> Iterator[Row]:
    """Figs. 9 and 10, setting (a): mean over trainings, low..high = mean ± 1 sd, precision and recall of rosettes.

    Args:
        table: Of `windows.window_table`.
        n_test: Test windows.
        how: Where windows and labels come from, for the note.
    """
    last = final(table)
    for item, fraction in (("Fig. 9a", 1.0), ("Fig. 9b", 0.2)):
        for name in STARTS.values():
            part = last[(last["classifier"] == name) & (last["fraction"] == fraction)]
            for metric in METRIC_NAMES:
                yield _spread(item, PAPER_NAMES[name], metric, part[metric], n_test, how)
    for r in by_fraction(table).to_dict("records"):
        part = last[(last["classifier"] == r["classifier"]) & (last["fraction"] == r["fraction"])]["accuracy"]
        row = PAPER_NAMES[r["classifier"]]
        yield _spread("Fig. 10", row, f"accuracy @ {_percent(r['fraction'])}", part, n_test, how)
    gan = last[last["classifier"] == "GAN"]
    above = gan[gan["fraction"] > 0.4]["accuracy"]
    yield _spread("Fig. 10", PAPER_NAMES["GAN"], "accuracy @ >40 %", above, n_test, how)
    few, full = (gan[gan["fraction"] == f]["accuracy"] for f in (0.2, 1.0))
    yield _spread("Abstract", PAPER_NAMES["GAN"], "accuracy @ 20 %", few, n_test, how)
    for item in ("Abstract", "Text 3.3"):
        yield {
            "item": item,
            "row": PAPER_NAMES["GAN"],
            "column": "accuracy @ 20 % relative to @ 100 %",
            "value": 100 * float(few.mean() / full.mean()),
            "n": n_test,
            "unit": "percent",
            "note": f"ratio of two means of {len(few)} trainings; n counts test windows; {how}",
        }


def _spread(item: str, row: str, column: str, values: pd.Series, n: int, how: str) -> Row:
    defined = 100 * values.dropna()
    mean, sd = float(defined.mean()), float(defined.std(ddof=1)) if len(defined) > 1 else float("nan")
    spread = np.isfinite(sd)
    missing = f", {len(values) - len(defined)} undefined (no rosette called)" if len(values) > len(defined) else ""
    note = f"mean ± 1 sd of {len(defined)} trainings{missing}; n counts test windows; {how}"
    return {
        "item": item,
        "row": row,
        "column": column,
        "value": mean,
        "low": mean - sd if spread else None,
        "high": mean + sd if spread else None,
        "n": n,
        "unit": "percent",
        "note": note,
    }


def weak_rows(evaluated: pd.DataFrame) -> Iterator[Row]:
    """Setting (b): every metric by method, fraction and test day, with intervals over embryos."""
    for r in evaluated.to_dict("records"):
        day = "mean of the test days" if r["day"] == "all" else f"test day {r['day']}"
        if not np.isfinite(r["value"]):
            continue  # 0/0, precision where nothing is called a rosette: no number enters the table
        runs = "one training" if r["n_runs"] == 1 else f"mean of {r['n_runs']} trainings"
        sd = f" (sd {r['sd']:.3f})" if np.isfinite(r["sd"]) else ""
        yield {
            "item": "Setting (b)",
            "row": r["method"],
            "column": f"{r['metric']} @ {_percent(r['fraction'])}, {day}",
            "value": r["value"],
            "low": r["low"] if np.isfinite(r["low"]) else None,
            "high": r["high"] if np.isfinite(r["high"]) else None,
            "n": int(r["n"]),
            "unit": "fraction",
            "note": (
                f"{runs} on {r['n_labels']} labels{sd}; "
                f"95 % bootstrap over {r['n_groups']} embryos; n counts test images"
            ),
        }


def scan_rows(
    maps: Sequence[NDArray[Any]],
    target: NDArray[np.int64],
    groups: NDArray[Any],
    centres: Sequence[NDArray[Any]] | None,
    n_resamples: int,
    seed: int,
) -> Iterator[Row]:
    """Fig. 11 as numbers: is an image's most probable window at a rosette, and does it tell the classes apart?

    Args:
        maps: Window probabilities of each scanned image, `(ny, nx)`.
        target: `(N,)` 1 rosette, 0 other.
        groups: `(N,)` embryo of each image.
        centres: x, y of each image's rosettes, px, where they are known.
        n_resamples: Bootstrap resamples of the embryos.
        seed: Of the resamples.
    """
    row = {"item": "Fig. 11", "row": PAPER_NAMES["GAN"], "unit": "fraction"}
    how = f"95 % bootstrap over {{}} embryos; n counts {{}}; one classifier with all labels, seed {seed}"
    highest = np.array([float(each.max()) for each in maps])
    values, draws = bootstrap_metrics(highest, target, groups, n_resamples=n_resamples, seed=seed)["AUROC"]
    if np.isfinite(values[0]):
        low, high = percentile_interval(draws)
        note = how.format(len(np.unique(groups)), "test images")
        column = "AUROC of the most probable window"
        yield {**row, "column": column, "value": float(values[0]), **_ends(low, high), "n": len(maps), "note": note}
    with_one = np.flatnonzero(target == 1).tolist()
    if centres is None or not with_one:
        return
    hit, chance = at_rosettes([maps[i] for i in with_one], [centres[i] for i in with_one])
    weights = group_weights(groups[with_one], n_resamples, seed)
    low, high = percentile_interval((weights * hit).sum(1) / weights.sum(1))
    note = how.format(len(np.unique(groups[with_one])), "rosette images of the test day")
    column = "most probable window holds a centre"
    yield {**row, "column": column, "value": float(hit.mean()), **_ends(low, high), "n": len(hit), "note": note}
    note = "mean share of windows that hold a rosette's centre; n counts rosette images of the test day"
    yield {**row, "column": "any window holds a centre", "value": float(chance.mean()), "n": len(hit), "note": note}


def _ends(low: float, high: float) -> dict[str, float | None]:
    return {"low": low, "high": high} if np.isfinite(low) and np.isfinite(high) else {"low": None, "high": None}


def recorded_classes(published: pd.DataFrame, batch: str = "32_batch3") -> pd.DataFrame:
    """The authors' recorded accuracy, and precision and recall under their true name, with all and a fifth of labels.

    Returns:
        One row per model, test day and ratio; columns such as "accuracy @ 20 %", "recall of non-rosette @ 20 %".
    """
    part = published[published["item"] == f"Recorded runs {batch}"]
    wide = part.pivot(index="row", columns="column", values="value")
    columns = [f"{m} @ {f}" for f in ("100 %", "20 %") for m in ("accuracy", *_OTHER_CLASS)]
    return wide[columns].rename_axis(columns=None).reset_index().rename(columns={"row": "recorded run"})


def recorded_gains(published: pd.DataFrame, batch: str = "32_batch3") -> pd.DataFrame:
    """What the GAN start gained in the authors' recorded accuracies: GAN minus conventional per test set and share.

    Returns:
        One row per test set; columns "@ 100 %" and "@ 20 %" as "difference (standard error)", the error from the two
        recorded standard deviations and the number of runs.
    """
    part = published[published["item"] == f"Recorded runs {batch}"].copy()
    part[["model", "test set"]] = part["row"].str.split(", test ", n=1, expand=True)
    rows = []
    for test_set, group in part.groupby("test set", sort=False):
        row = {"test set": test_set}
        for share in ("100 %", "20 %"):
            at = group[group["column"] == f"accuracy @ {share}"].set_index("model")
            gan, plain = at.loc["GAN-transfer"], at.loc["conventional"]
            variances = [((one["high"] - one["low"]) / 2) ** 2 / one["n"] for one in (gan, plain)]
            row[f"@ {share}"] = f"{gan['value'] - plain['value']:+.3f} ({sum(variances) ** 0.5:.3f})"
        rows.append(row)
    return pd.DataFrame(rows)


_OTHER_CLASS = ("precision of non-rosette", "recall of non-rosette")


def beside_paper(rows: pd.DataFrame) -> pd.DataFrame:
    """What the paper prints beside this run's, for reading; settings of other sections are left to the scoreboard.

    Each count stands with what it counts: the paper's are trainings, this run's mostly test windows.
    """
    from ..results import beside_paper as joined
    from ..tables import format_value

    both = joined(rows, "rosettes")
    both = both[both["value_paper"].notna()]
    texts = {}
    for side in ("paper", "run"):
        columns = [f"{name}_{side}" for name in ("value", "low", "high", "unit", "n", "note")]
        texts[side] = [
            format_value(value, low, high, unit) + counted(n, note) if pd.notna(value) else "not in this run"
            for value, low, high, unit, n, note in both[columns].itertuples(index=False)
        ]
    return (
        both[["item", "row", "column"]]
        .assign(paper=texts["paper"], run=texts["run"])
        .rename(columns={"paper": "the paper", "run": "this run"})
    )


def majority_rows(rate: Mapping[str, float], n_test: Mapping[str, int]) -> Iterator[Row]:
    """Accuracy of always naming the commoner class, by test day."""
    for day, value in rate.items():
        yield {
            "item": "Setting (b)",
            "row": "majority class",
            "column": f"accuracy, test day {day}",
            "value": value,
            "n": n_test[day],
            "unit": "fraction",
            "note": "always the commoner class; n counts test images",
        }
