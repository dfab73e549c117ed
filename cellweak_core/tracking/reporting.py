"""Rows and tables of the chapter: the paper's items under their own names, each number with its n and interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import evaluation
from .comparison import Found
from .data import TrackingData
from .scores import tracking_scores
from .splits import Split

Row = dict[str, Any]
Parts = Sequence[tuple[Found, str]]

BMP2_COLUMNS = ("BMP2 sparse", "BMP2 medium", "BMP2 dense")
CONDITION_COLUMNS = (*BMP2_COLUMNS, "Control", "FGF2", "FGF2+BMP2")
TABLE_1 = ("BMP2", "FGF2", "Control", "FGF2+BMP2")  # the paper's order
INTERVAL_NAMES = {1: "5 min", 5: "25 min"}
SUPERVISION = {
    "A-Graph": "positions", "Fogbank": "none (tuned on positions)", "GDA": "none (tuned on positions)",
    "Ours w/o ml": "positions", "Ours": "positions", "BF": "positions", "CMF": "links", "MPM": "links",
    "assignment": "positions", "laptrack": "positions",
}  # fmt: skip
TABLE_5 = ("A-Graph", "Fogbank", "GDA", "Ours", "assignment", "laptrack")  # the last two are not the paper's


def _how(table: Mapping[str, Any], what: str) -> str:
    spread = ""
    if np.isfinite(table["sd_seeds"]):
        spread = f"; sd over {int(table['n_seeds'])} seeds {table['sd_seeds']:.3f}"
    return f"95 % bootstrap over {int(table['n_groups'])} {what}{spread}"


def score_rows(
    parts: Parts, method: str, seeds: Sequence[int], interval: int, n_resamples: int, seed: int
) -> dict[str, Row]:
    """AA, TE, precision, recall and F1 of links, and F1 of detections of one method, by metric."""
    table = evaluation.scores(parts, method, seeds, interval, n_resamples, seed)
    by_metric: dict[str, dict[str, Any]] = {r["metric"]: r for r in table.to_dict("records")}  # type: ignore[misc]
    rows = {}
    for name, metric, what, counted in (
        ("AA", "aa", "lineages", "true links"),
        ("TE", "te_micro", "lineages", "true positions"),
        ("link precision", "link_precision", "frames", "links of the tracks"),
        ("link recall", "link_recall", "lineages", "true links"),
        ("link F1", "link_f1", "frames", "true links"),
        ("detection F1", "detection_f1", "frames", "true positions"),
    ):
        one = by_metric[metric]
        if not np.isfinite(one["value"]):
            continue  # 0/0: no number
        rows[name] = {
            "value": float(one["value"]),
            "low": _finite(one["low"]),
            "high": _finite(one["high"]),
            "n": int(one["n"]),
            "unit": "fraction",
            "note": f"{_how(one, what)}; n counts {counted}",
        }
    return rows


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def tracking_rows(
    item: str,
    columns: Mapping[str, Parts],
    methods: Mapping[str, str],
    seeds: Sequence[int],
    interval: int,
    n_resamples: int,
    seed: int,
    average: Sequence[str] = (),
    metrics: Sequence[str] = ("AA", "TE"),
) -> Iterator[Row]:
    """Rows of a table of tracking scores.

    Args:
        item: The published item.
        columns: For each column's name its tests; an empty name stands for none (Table 5).
        methods: For each row's name the method.
        seeds: Of the trainings.
        interval: Frames between tracked ones.
        n_resamples: Bootstrap resamples.
        seed: Of the draws.
        average: Columns whose plain mean is the column "Average".
        metrics: Names in `score_rows`.
    """
    for row, method in methods.items():
        found: dict[str, list[Row]] = {metric: [] for metric in metrics}
        for column, parts in columns.items():
            rows = score_rows(parts, method, seeds, interval, n_resamples, seed)
            for metric in metrics:
                if metric in rows:
                    name = f"{column}, {metric}" if column else metric
                    yield {"item": item, "row": row, "column": name, **rows[metric]}
                    if column in average:
                        found[metric].append(rows[metric])
        for metric, values in found.items():
            if average and len(values) == len(average):
                yield {
                    "item": item, "row": row, "column": f"Average, {metric}",
                    "value": float(np.mean([v["value"] for v in values])), "n": len(values), "unit": "fraction",
                    "note": "mean of the columns; n counts conditions",
                }  # fmt: skip


def detection_rows(
    columns: Mapping[str, Parts], seeds: Sequence[int], intervals: Sequence[int], n_resamples: int, seed: int
) -> Iterator[Row]:
    """Table 2: detection F1 of the single-frame detector and of co-detection at each interval."""
    networks = [("Nishimura 2019", "detector", 0)]
    networks += [(f"Ours ({interval_name(d)})", "codetection", d) for d in intervals]
    for row, network, interval in networks:
        for column, parts in columns.items():
            one = evaluation.detections(parts, network, seeds, interval, n_resamples, seed)
            if np.isfinite(one["f1"]):
                counted = _counted(one, "f1", "true positions")
                yield {"item": "Table 2", "row": row, "column": f"{column}, F1", **counted}


def association_rows(
    columns: Mapping[str, Parts], seeds: Sequence[int], intervals: Sequence[int], n_resamples: int, seed: int
) -> Iterator[Row]:
    """Table 3: precision, recall and F1 of propagation's links at each interval."""
    for interval in intervals:
        for column, parts in columns.items():
            one = evaluation.associations(parts, seeds, interval, n_resamples, seed)
            for name, key in (("precision", "precision"), ("recall", "recall"), ("F1", "f1")):
                if np.isfinite(one[key]):
                    row = {"item": "Table 3", "row": f"BF-prop ({interval_name(interval)})"}
                    yield {**row, "column": f"{column}, {name}", **_counted(one, key, "true links")}


def interval_name(interval: int) -> str:
    """As the paper prints it: 5 min for neighbouring frames; other sequences may have another clock."""
    return INTERVAL_NAMES.get(interval, f"{5 * interval} min")


def _counted(one: Mapping[str, float], key: str, what: str) -> Row:
    note = f"95 % bootstrap over {one['n_groups']:.0f} frames; n counts {what}"
    low, high = _finite(one[f"{key}_low"]), _finite(one[f"{key}_high"])
    return {"value": one[key], "low": low, "high": high, "n": int(one["n"]), "unit": "fraction", "note": note}


def table_1_averages(published: pd.DataFrame) -> pd.DataFrame:
    """Erratum: Table 1's printed averages beside the means of the printed columns, where they differ by over .0006."""
    part = published[published["item"] == "Table 1"]
    rows = []
    for method, group in part.groupby("row", sort=False):
        values = dict(zip(group["column"], group["value"], strict=True))
        for metric in ("AA", "TE"):
            mean = float(np.mean([values[f"{condition}, {metric}"] for condition in TABLE_1]))
            printed = values[f"Average, {metric}"]
            if abs(mean - printed) > 0.0006:
                rows.append({"method": method, "metric": metric, "printed": printed, "mean of the columns": mean})
    return pd.DataFrame(rows)


def implied_precision(recall: float, f1: float) -> float:
    """P from R and F1 = 2 P R / (P + R)."""
    return f1 * recall / (2 * recall - f1)


def table_3_precision(published: pd.DataFrame) -> pd.DataFrame:
    """Erratum: Table 3's 25-minute precision, the 5-minute F1 it copies, and what recall and F1 imply."""
    part = published[published["item"] == "Table 3"]
    values = {(r, c): v for r, c, v in part[["row", "column", "value"]].itertuples(index=False)}
    short, long = "BF-prop (5 min)", "BF-prop (25 min)"
    return pd.DataFrame(
        {
            "column": column,
            "printed precision, 25 min": values[long, f"{column}, precision"],
            "printed F1, 5 min": values[short, f"{column}, F1"],
            "implied precision, 25 min": implied_precision(
                values[long, f"{column}, recall"], values[long, f"{column}, F1"]
            ),
        }
        for column in CONDITION_COLUMNS
    )


def table_1_columns(found: Found) -> dict[str, Parts]:
    """Table 1's columns: the three BMP2 tests together, and one test for each other condition."""
    groups = {"BMP2": BMP2_COLUMNS, "FGF2": ("FGF2",), "Control": ("Control",), "FGF2+BMP2": ("FGF2+BMP2",)}
    return {name: [(found, test) for test in tests] for name, tests in groups.items()}


def columns(found: Sequence[Found], condition: str) -> dict[str, dict[str, Parts]]:
    """The columns of Tables 1 to 4: the paper's on simulated data, one called `condition` on a real sequence.

    Args:
        found: Of the linked splits; several splits of one sequence are pooled.
        condition: Name of the real sequence's column.

    Returns:
        "Table 1" and "Tables 2 to 4", each a mapping from column to tests; empty without results.
    """
    if not found:
        return {"Table 1": {}, "Tables 2 to 4": {}}
    tests = found[0].split.tests
    if all(name in tests for name in CONDITION_COLUMNS):
        single: dict[str, Parts] = {name: [(found[0], name)] for name in CONDITION_COLUMNS}
        return {"Table 1": table_1_columns(found[0]), "Tables 2 to 4": single}
    every: Parts = [(one, test) for one in found for test in one.split.tests]
    return {"Table 1": {condition: every}, "Tables 2 to 4": {condition: every}}


def sequences(parts: Sequence[Split]) -> pd.DataFrame:
    """What is trained on and tested, one row per sequence, for reading."""
    rows = []
    for part in parts:
        for role, data in [("training", part.train), *((f"test: {name}", test) for name, test in part.tests.items())]:
            points, (height, width) = data.points, data.source.shape
            row = {"split": part.name, "sequence": role, "frames": len(data.source), "size, px": f"{width}x{height}"}
            row["positions"] = "none" if points is None else f"{len(points)}"
            if points is not None and data.linked:
                first = points.drop_duplicates("id")
                row |= {"cells": f"{len(first)}", "daughters": f"{int((first['parent'] >= 0).sum())}"}
            rows.append(row)
    return pd.DataFrame(rows).fillna("not known")


def new_sequence_rows(tracks: pd.DataFrame, data: TrackingData) -> Iterator[Row]:
    """What a trained tracker found in new frames; scores where the links are known."""
    n_frames = len(data.source)
    for column, value in (("tracks", tracks["id"].nunique()), ("positions", len(tracks))):
        yield {"item": "New frames", "row": "Ours", "column": column, "value": float(value), "n": n_frames,
               "unit": column, "note": "by the given weights; n counts frames"}  # fmt: skip
    if data.points is not None and data.linked:
        film = evaluation.Film(data.points, tracks, data.annotated, data.name, step=1)
        truth, found, _ = evaluation.pooled([film])
        scores = tracking_scores(truth, found, image_shape=data.source.shape)
        links_made = scores["link_tp"] + scores["link_fp"]
        for column, key, n, counted in (
            ("AA", "aa", scores["n_links"], "true links"),
            ("TE", "te_micro", scores["n_observations"], "true positions"),
            ("link precision", "link_precision", links_made, "links of the tracks"),
            ("link recall", "link_recall", scores["n_links"], "true links"),
            ("link F1", "link_f1", scores["n_links"], "true links"),
            ("detection F1", "detection_f1", scores["n_observations"], "true positions"),
        ):  # fmt: skip
            if np.isfinite(scores[key]):
                yield {"item": "New frames", "row": "Ours", "column": column, "value": scores[key], "n": int(n),
                       "unit": "fraction", "note": f"by the given weights; n counts {counted}"}  # fmt: skip


def difference_rows(
    columns: Mapping[str, tuple[Parts, int]],
    pairs: Sequence[tuple[str, str]],
    seeds: Sequence[int],
    n_resamples: int,
    seed: int,
) -> Iterator[Row]:
    """AA and TE of one method minus those of another, on the same cells.

    Args:
        columns: For each column's name its tests and the frames between tracked ones.
        pairs: Methods, and what is subtracted.
        seeds: Of the trainings.
        n_resamples: Bootstrap resamples.
        seed: Of the draws.
    """
    for method, over in pairs:
        for column, (parts, interval) in columns.items():
            table = evaluation.differences(parts, method, over, seeds, interval, n_resamples, seed)
            for one in table.to_dict("records"):
                if np.isfinite(one["value"]):
                    name = {"aa": "AA", "te_micro": "TE"}[one["metric"]]
                    yield {"item": "Difference", "row": f"{method} minus {over}", "column": f"{column}, {name}",
                           "value": one["value"], "low": _finite(one["low"]), "high": _finite(one["high"]),
                           "n": int(one["n"]), "unit": "fraction",
                           "note": f"paired; 95 % bootstrap over {one['n_groups']} lineages; n counts true "
                           + ("links" if name == "AA" else "positions")}  # fmt: skip


def difficulty_rows(table: pd.DataFrame) -> Iterator[Row]:
    """Links recovered by bin of displacement over nearest neighbour's distance, see `evaluation.by_difficulty`."""
    for one in table.to_dict("records"):
        if one["n"]:
            where = "divisions" if one["daughters"] else f"displacement {one['low_edge']:g} to {one['high_edge']:g}"
            yield {"item": "Gain", "row": one["method"], "column": f"{where}, interval {one['interval']}",
                   "value": one["recovered"], "low": _finite(one["low"]), "high": _finite(one["high"]),
                   "n": int(one["n"]), "unit": "fraction",
                   "note": "share of true links recovered; displacement in units of the nearest neighbour's distance; "
                   f"95 % bootstrap over {one['n_groups']} lineages; n counts true links, of all seeds"}  # fmt: skip


def by_seed(scores: pd.DataFrame) -> pd.DataFrame:
    """AA and precision of links of each seed for reading, from columns method, interval, seed, aa, link_precision."""
    text = [f"{aa:.3f} ({precision:.3f})" for aa, precision in zip(scores["aa"], scores["link_precision"], strict=True)]
    every = {1: "every frame"} | {int(d): f"every {d}. frame" for d in scores["interval"] if d != 1}
    columns = [f"{every[d]}, seed {s}" for d, s in zip(scores["interval"], scores["seed"], strict=True)]
    table = scores.assign(text=text, column=columns).pivot(index="method", columns="column", values="text")
    return table.loc[list(dict.fromkeys(scores["method"])), list(dict.fromkeys(columns))].rename_axis(
        columns=None
    ).reset_index().rename(columns={"method": "AA (precision)"})


def detector_f1(counts: pd.DataFrame) -> pd.DataFrame:
    """F1 of detectors by split and light for reading, from columns split, flatten_px, seed, tp, fp, fn."""
    whole = 2 * counts["tp"] + counts["fp"] + counts["fn"]
    table = counts.assign(f1=2 * counts["tp"] / whole, n=counts["tp"] + counts["fn"]).groupby(["split", "flatten_px"])
    found = table.agg(f1=("f1", "mean"), sd=("f1", "std"), seeds=("seed", "nunique"), n=("n", "sum")).reset_index()
    text = [f"{f1:.3f} ({sd:.3f})" for f1, sd in zip(found["f1"], found["sd"], strict=True)]
    columns = {"n": "n, true cells of all seeds", "split": "trained to tested"}
    return found.assign(f1=text).drop(columns="sd").rename(columns={"f1": "F1 (sd)", **columns})
