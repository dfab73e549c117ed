"""Setting (b) read back from the rows of any results.json, as tables for a reader."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from .weak import interval_texts

READABLE = {"day": "test day", "n_labels": "labels", "n": "images", "n_groups": "embryos", "n_runs": "trainings"}


def readable(comparison: pd.DataFrame) -> pd.DataFrame:
    """A table of `weak.weak_comparison` with columns named for a reader, numbers of a kind side by side."""
    named = comparison.assign(day=comparison["day"].replace("all", "mean of the days"))
    counts = [c for c in ("n_runs", "n_labels", "n", "n_groups") if c in named]
    metrics = [c for c in named if c not in ("method", "day", *counts)]
    return named[["method", "day", *metrics, *counts]].rename(columns=READABLE)


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


def weak_counts(rows: pd.DataFrame) -> str:
    """What stands behind setting (b)'s numbers, for a caption: images, embryos and trainings, from the rows' notes."""
    part = rows[(rows["item"] == "Setting (b)") & rows["column"].str.startswith("AUROC @ ")]
    days = part["column"].str.extract(r", test day (.+)")[0]
    embryos = part["note"].str.extract(r"over (\d+) embryos")[0]
    trainings = part["note"].str.extract(r"mean of (\d+) trainings")[0].dropna().astype(int)
    at = dict.fromkeys(days.dropna())
    for day in at:
        row = part[days == day].iloc[0]
        at[day] = f"{int(row['n'])} images of {embryos[row.name]} embryos on {day}"
    counts = sorted(set(trainings))
    means = f"means of {' or '.join(map(str, counts))} trainings" if counts else "one training each"
    return f"n = {', '.join(map(str, at.values()))}; {means}; brackets: 95 % over embryos"


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


class Estimate(NamedTuple):
    """A number with its 95 % interval (NaN: none)."""

    value: float
    low: float
    high: float


def difference(one: Estimate, other: Estimate) -> Estimate:
    """One minus the other, with an interval from their two intervals, as if they were independent.

    Source: Zou and Donner 2008 ("method of variance estimates recovery"). Where the two were measured on the same
    embryos, as here, what both share cancels in the difference and the interval is too wide: it never makes a
    difference clear that is not.

    >>> difference(Estimate(0.9, 0.87, 0.94), Estimate(0.8, 0.76, 0.83))  # .03 and .03, .04 and .04 by Pythagoras
    Estimate(value=0.1, low=0.058, high=0.157)
    """
    value = one.value - other.value
    low = value - float(np.hypot(one.value - one.low, other.high - other.value))
    high = value + float(np.hypot(one.high - one.value, other.value - other.low))
    return Estimate(*(round(x, 3) for x in (value, low, high)))


def estimate_text(gain: Estimate, form: str, unit: str = "") -> str:
    """The estimate with its interval in brackets, `form` as of format specifications.

    >>> estimate_text(Estimate(0.1, -0.02, 0.2), "+.2f")
    '+0.10 (-0.02 to +0.20)'
    """
    interval = f" ({gain.low:{form}} to {gain.high:{form}})" if np.isfinite(gain.low) else " (no interval)"
    return f"{gain.value:{form}}{unit}{interval}"


def weak_gains(rows: pd.DataFrame, metric: str = "AUROC", over: str = "conventional") -> pd.DataFrame:
    """What each method of setting (b) gains over one of them, by share of the labels, averaged over the test days.

    Args:
        rows: Rows of any results.json.
        metric: A name of `evaluation.METRICS`.
        over: The method that the others are set against.

    Returns:
        One row per other method: method, then one column per share, "+0.012 (-0.020 to +0.044)"; see `difference`.
    """
    end = ", mean of the test days"
    part = rows[
        (rows["item"] == "Setting (b)")
        & rows["column"].str.startswith(f"{metric} @ ")
        & rows["column"].str.endswith(end)
    ]
    shares = list(dict.fromkeys(part["column"].str.removeprefix(f"{metric} @ ").str.removesuffix(end)))
    shares.sort(key=lambda share: -float(share.removesuffix(" %")))
    of = {(r["row"], r["column"]): Estimate(r["value"], r["low"], r["high"]) for r in part.to_dict("records")}
    lines = []
    for method in dict.fromkeys(part["row"]):
        line = {"method": method}
        for share in shares:
            mine, base = (of.get((name, f"{metric} @ {share}{end}")) for name in (method, over))
            line[f"@ {share}"] = estimate_text(difference(mine, base), "+.3f") if mine and base else "not run"
        if method != over:
            lines.append(line)
    return pd.DataFrame(lines, columns=["method", *(f"@ {share}" for share in shares)])
