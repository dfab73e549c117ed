"""The chapter's numbers as rows of the one schema, under the paper's own items, rows and columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .classifiers import STARTS
from .weak import interval_texts
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
            format_value(value, low, high, unit) + _counted(n, note) if pd.notna(value) else "not in this run"
            for value, low, high, unit, n, note in both[columns].itertuples(index=False)
        ]
    return (
        both[["item", "row", "column"]]
        .assign(paper=texts["paper"], run=texts["run"])
        .rename(columns={"paper": "the paper", "run": "this run"})
    )


def _counted(n: Any, note: str) -> str:  # noqa: ANN401 - an integer or a table's missing value
    what = re.search(r"n counts ([^;]+)", note)
    if pd.isna(n):
        return ""
    return f" (n = {int(n)} {what.group(1)})" if what else f" (n = {int(n)})"


def weak_overview(rows: pd.DataFrame, metric: str = "AUROC") -> pd.DataFrame:
    """Setting (b) from the rows of any results.json: methods down, shares of the labels and test days across.

    Args:
        rows: Rows of the one schema.
        metric: A name of `evaluation.METRICS`; with "accuracy" a last row says what naming the commoner class gets.
    """
    own = rows[rows["item"] == "Setting (b)"]
    part = own[own["column"].str.startswith(f"{metric} @ ")].copy()
    part["condition"] = part["column"].str.removeprefix(f"{metric} @ ")
    part["text"] = interval_texts(part)
    wide = part.pivot(index="row", columns="condition", values="text")
    methods, conditions = (list(dict.fromkeys(part[c])) for c in ("row", "condition"))
    conditions.sort(key=lambda c: (-float(c.split(" %")[0]), "mean" not in c))
    wide = wide.loc[methods, conditions].rename_axis(columns=None).reset_index().rename(columns={"row": "method"})
    rates = own[own["row"] == "majority class"]
    if metric == "accuracy" and len(rates):
        at = dict(zip(rates["column"].str.removeprefix("accuracy, "), rates["value"], strict=True))
        mean = {"mean of the test days": sum(at.values()) / len(at)}
        last = {c: f"{({**at, **mean})[c.split(', ', 1)[1]]:.3f}" for c in conditions}
        wide = pd.concat([wide, pd.DataFrame([{"method": "majority class", **last}])], ignore_index=True)
    return wide.fillna("not run")


def with_window_run(rows: pd.DataFrame, window_rows: pd.DataFrame) -> pd.DataFrame:
    """A recorded run whose window networks of setting (b) are those of a second one, which trained them to the end.

    Args:
        rows: Of the first run.
        window_rows: Of the second; only its methods "conventional" and "GAN" are taken.
    """
    again = ("conventional", "GAN")
    first = rows[~((rows["item"] == "Setting (b)") & rows["row"].isin(again))]
    second = window_rows[(window_rows["item"] == "Setting (b)") & window_rows["row"].isin(again)]
    return pd.concat([second, first], ignore_index=True)


def claims(rows: pd.DataFrame) -> pd.DataFrame:
    """The paper's first two claims as numbers of a run: conventional beside GAN, and which way the difference goes.

    Args:
        rows: Of a run.

    Returns:
        Columns "the paper says", "conventional", "GAN", "seen here".
    """
    values = {(r, c): v for r, c, v in rows[["row", "column", "value"]].itertuples(index=False)}
    plain, gan, out = "Conventional classifier", "GAN-based classifier", []

    def add(says: str, column: str, rows: tuple[str, str], seen: str, unseen: str, higher: bool) -> None:
        pair = tuple(values.get((row, column)) for row in rows)
        if pair[0] is None or pair[1] is None:
            return
        as_said = (pair[1] > pair[0]) if higher else (pair[1] < pair[0])
        out.append(
            {"the paper says": says, "conventional": pair[0], "GAN": pair[1], "seen here": seen if as_said else unseen}
        )

    trained = ("Trained conventional classifier", "Trained GAN-based classifier")
    add("smoother filters (smaller sd)", "sd of the conv1 weights", (plain, gan), "smaller", "not smaller", False)
    clusters = "tight clusters in the t-SNE of the fc1 weights"
    add("clustered fc1 weights", clusters, (plain, gan), "more clusters", "not more", True)
    for k in (1, 2, 3):
        column = f"mean activation of conv{k}"
        add(f"larger activations, conv{k}", column, trained, "larger", "not larger", True)
    for share in ("100 %", "20 %"):
        says = "as accurate with all labels" if share == "100 %" else "more accurate with a fifth (%)"
        add(says, f"accuracy @ {share}", (plain, gan), "GAN ahead", "GAN not ahead", True)
    return pd.DataFrame(out, columns=["the paper says", "conventional", "GAN", "seen here"])


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
