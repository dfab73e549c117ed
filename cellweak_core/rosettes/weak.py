"""Setting (b) as a list of runs: methods x fractions x seeds x test days; its scores by day as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .data import RosetteData
from .evaluation import METRICS, bootstrap_metrics, interval_rows, metadata_baseline
from .splits import embryo_folds, subset

Run = dict[str, Any]
Result = Mapping[str, Any]

# Setting (b): what each method changes. The sizes and the training length are the chapter's parameters.
WEAK_METHODS: dict[str, Run] = {
    # Deviation: no dropout after fc1 here. Half of the units of every window dropped, the pooled logit of a few hundred
    # images learns late (400 steps on the released images, seed 0: AUROC .86 and .82 with, .95 and .93 without).
    "conventional": {"network": "window", "start": "random", "dropout": 0.0, "steps_factor": 1.5},
    "GAN": {"network": "window", "start": "wgan", "dropout": 0.0, "steps_factor": 1.5},
    "authors' 128-px network": {
        "network": "image",
        "start": "random",
        "augmentation": "none",
        "normalise": "unit",
        "schedule": "constant",
        "average": 0.0,
        "weight_decay": 0.0,
        "n_turns": 1,
        "lr_factor": 0.1,
        "steps_factor": 0.5,  # by then its training loss is zero
    },
    "context": {"network": "context", "start": "random", "augmentation": "strong"},
    "context, simulated start": {"network": "context", "start": "given", "augmentation": "strong", "lr_factor": 0.5},
}
METADATA = "metadata only"


def with_parts(data: RosetteData, seed: int, n_parts: int = 2) -> RosetteData:
    """Data of several days as they are; data of one day with its embryos dealt to parts that stand in for days.

    Args:
        data: Labelled images.
        seed: Of the dealing, see `splits.embryo_folds`.
        n_parts: Parts of a single day.

    Returns:
        The data, `day` reading "20170711, part 1" where there was one day only, in ready windows too (by embryo; the
        windows of other embryos keep their day and only train).
    """
    days = set(data.table["day"])
    if len(days) > 1:
        return data
    names = np.array([f"{next(iter(days))}, part {k + 1}" for k in range(n_parts)])
    table = data.table.assign(day=names[embryo_folds(data.table, n_parts, seed)])
    windows = data.windows
    if windows is not None:
        part = dict(zip(table["group"], table["day"], strict=True))
        dealt = [part.get(group, day) for group, day in zip(windows.table["group"], windows.table["day"], strict=True)]
        windows = replace(windows, table=windows.table.assign(day=dealt))
    return replace(data, table=table, windows=windows)


def folds_by_day(table: pd.DataFrame, test_days: Sequence[str] = ()) -> tuple[NDArray[np.int64], list[str]]:
    """Each labelled image's fold: the position of its day in the list of days; -1 for unlabelled images.

    Args:
        table: Of a `RosetteData`.
        test_days: Days to test, in this order; the others only train (folds after them). Empty: every day.

    Returns:
        `(N,)` folds, and the days to test, whose positions are their folds.

    Raises:
        ValueError: A test day without labelled images; fewer than two days.
    """
    days = sorted({str(day) for day in table["day"][table["target"] >= 0]})
    unknown = sorted(set(test_days) - set(days))
    if unknown:
        raise ValueError(f"test_days: no labelled image of {', '.join(unknown)}; the days are {', '.join(days)}")
    if len(days) < 2:
        raise ValueError(f"splits are by day and every labelled image is of the day {days}: give groups.csv more days")
    tested = list(dict.fromkeys(test_days)) or days
    position = {day: i for i, day in enumerate([*tested, *(d for d in days if d not in tested)])}
    fold = [position[str(d)] if t >= 0 else -1 for d, t in zip(table["day"], table["target"], strict=True)]
    return np.array(fold), tested


def weak_runs(
    common: Run,
    methods: Mapping[str, Run],
    fractions: Sequence[float],
    seeds: Sequence[int],
    n_folds: int,
    keep: Sequence[str] = (),
) -> list[Run]:
    """Setting (b): every method, fraction, seed and test day. `keep` names methods whose weights are returned."""
    return [
        {**common, **changes, "fraction": f, "seed": s, "test_fold": k, "keep_weights": name in keep and f == 1.0}
        for name, changes in methods.items()
        for f in sorted(map(float, fractions), reverse=True)
        for s in seeds
        for k in range(n_folds)
    ]


def kept(runs: Sequence[Run], results: Sequence[Result], fold: int, seed: int) -> Result:
    """The result that kept its weights and heat maps, of a test day's fold and a seed.

    Raises:
        ValueError: None did.
    """
    for run, result in zip(runs, results, strict=True):
        if run["keep_weights"] and (run["test_fold"], run["seed"]) == (fold, seed):
            return result
    raise ValueError(f"no detector of fold {fold} and seed {seed} kept its weights: include 1.0 in weak_fractions")


class WeakScores:
    """Scores of setting (b), by method, fraction and test day, and the tables made of them.

    Args:
        data: The labelled images.
        days: The test days, in the order of their folds.
    """

    def __init__(self, data: RosetteData, days: Sequence[str]) -> None:
        self.table, self.days = data.table, list(days)
        self.target = data.table["target"].to_numpy()
        self.group = data.table["group"].to_numpy(dtype=str)
        self.scores: dict[tuple[str, float], list[list[NDArray[np.float64]]]] = {}
        # By test day too: every day leaves other training labels, with another share of rosettes.
        self.priors: dict[tuple[str, float, int], float] = {}
        self.n_labels: dict[tuple[str, float, int], int] = {}

    def test(self, fold: int) -> NDArray[np.int64]:
        """Positions of a test day's images."""
        return np.flatnonzero((self.table["day"] == self.days[fold]).to_numpy() & (self.target >= 0))

    def add(self, method: str, fraction: float, fold: int, probability: Any, prior: float, n_labels: int) -> None:  # noqa: ANN401
        """Keep one training's probabilities of a test day's images, in the order of `test`."""
        key = (method, fraction)
        self.scores.setdefault(key, [[] for _ in self.days])[fold].append(np.asarray(probability, float))
        self.priors[*key, fold], self.n_labels[*key, fold] = float(prior), int(n_labels)

    def add_results(self, methods: Mapping[str, Run], runs: Sequence[Run], results: Sequence[Result]) -> None:
        """Keep the results of `weak_runs`."""
        per_method = len(runs) // len(methods)
        for i, (run, result) in enumerate(zip(runs, results, strict=True)):
            if not np.array_equal(result["test_index"].numpy(), self.test(run["test_fold"])):
                raise ValueError("results and data do not belong together: the test images differ")
            key = (list(methods)[i // per_method], run["fraction"], run["test_fold"])
            self.add(*key, result["probability"], result["prior"], result["n_labels"])

    def add_metadata(self, features: pd.DataFrame, fractions: Sequence[float], seeds: Sequence[int]) -> None:
        """Train and keep the metadata-only baseline on the same labels as the networks."""
        for fraction in fractions:
            for seed in seeds:
                for fold in range(len(self.days)):
                    test = self.test(fold)
                    train = np.setdiff1d(np.flatnonzero(self.target >= 0), test)
                    chosen = subset(train, self.table, fraction, seed)
                    score = metadata_baseline(features, self.target, chosen, test, seed)
                    self.add(METADATA, float(fraction), fold, score, self.target[chosen].mean(), len(chosen))

    def add_ensemble(self, method: str, name: str) -> None:
        """Keep the mean probability of a method's trainings as a method of its own."""
        for fraction in [f for m, f in self.scores if m == method]:
            for fold, runs in enumerate(self.scores[method, fraction]):
                prior, n_labels = self.priors[method, fraction, fold], self.n_labels[method, fraction, fold]
                self.add(name, fraction, fold, np.mean(runs, 0), prior, n_labels)

    def evaluate(self, n_resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
        """Every metric of every method, fraction and test day, and averaged over the days ("all").

        Accuracy, precision and recall call an image a rosette above .5; balanced accuracy above the share of rosettes
        in the training labels of that test day, since classes are not weighted.

        Returns:
            Columns method, fraction, n_labels (for "all" the days' mean, rounded), day, metric, value, low, high, sd,
            n, n_groups, n_runs.

        Raises:
            ValueError: A method has not been trained equally often, and at least once, for every test day.
        """
        frames = []
        for (method, fraction), by_fold in self.scores.items():
            if len({len(runs) for runs in by_fold}) > 1:
                trained = ", ".join(f"{day}: {len(runs)}" for day, runs in zip(self.days, by_fold, strict=True))
                given = f"{method}, {fraction:g} of the labels"
                raise ValueError(f"{given}: expected as many trainings for every day, got {trained}")
            labels = [self.n_labels[method, fraction, fold] for fold in range(len(by_fold))]
            found, every = [], {"n": 0, "n_groups": 0, "n_runs": len(by_fold[0]), "n_labels": round(np.mean(labels))}
            for fold, runs in enumerate(by_fold):
                test = self.test(fold)
                groups = self.group[test]
                draws = bootstrap_metrics(
                    np.stack(runs),
                    self.target[test],
                    groups,
                    balanced_threshold=self.priors[method, fraction, fold],
                    n_resamples=n_resamples,
                    seed=seed + fold,
                )
                counts = {"n": len(test), "n_groups": len(np.unique(groups)), "n_runs": len(runs)}
                counts["n_labels"] = labels[fold]
                frames.append(
                    interval_rows([draws], counts).assign(method=method, fraction=fraction, day=self.days[fold])
                )
                found.append(draws)
                every["n"] += counts["n"]
                every["n_groups"] += counts["n_groups"]
            frames.append(interval_rows(found, every).assign(method=method, fraction=fraction, day="all"))
        frame = pd.concat(frames, ignore_index=True)
        order = ["method", "fraction", "n_labels", "day", "metric", "value", "low", "high", "sd"]
        return frame[[*order, "n", "n_groups", "n_runs"]]


def weak_comparison(evaluated: pd.DataFrame, fraction: float, metrics: Sequence[str] = METRICS[:4]) -> pd.DataFrame:
    """One row per method and test day, one column per metric as "value (low to high)", for reading.

    Raises:
        ValueError: No scores with this share of the labels.
    """
    part = evaluated[(evaluated["fraction"] == fraction) & evaluated["metric"].isin(metrics)].copy()
    if part.empty:
        there = ", ".join(f"{f:g}" for f in sorted(set(evaluated["fraction"])))
        asked = f"{', '.join(metrics)} with {fraction:g} of the labels"
        raise ValueError(f"fraction: no scores of {asked}, only with {there}")
    part["text"] = interval_texts(part)
    index = ["method", "day", "n_labels", "n", "n_groups", "n_runs"]
    wide = part.pivot(index=index, columns="metric", values="text")[list(metrics)].reset_index()
    order = {m: i for i, m in enumerate(dict.fromkeys(evaluated["method"]))}
    wide = wide.sort_values(["method", "day"], key=lambda c: c.map(order) if c.name == "method" else c)
    return wide.rename_axis(columns=None).reset_index(drop=True)


def interval_texts(frame: pd.DataFrame) -> list[str]:
    """Columns value, low, high for reading: "0.812 (0.700 to 0.900)"; no interval, or no value (0/0), is said so."""
    texts = []
    for value, low, high in frame[["value", "low", "high"]].astype(float).itertuples(index=False):
        if not np.isfinite(value):
            texts.append("undefined")
        elif not (np.isfinite(low) and np.isfinite(high)):
            texts.append(f"{value:.3f} (no interval)")
        else:
            texts.append(f"{value:.3f} ({low:.3f} to {high:.3f})")
    return texts
