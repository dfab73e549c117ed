"""Metrics of the rosette class, with intervals that resample embryos, and the metadata-only baseline.

Precision and recall are of the ROSETTE class, as the paper's text says. The authors' recorded ones are of the other
class: their label map counts rosette as class 0, and TensorFlow's metrics take class 1 as positive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ..uncertainty import group_weights, percentile_interval

Floats = NDArray[np.float64]
METRICS = ("AUROC", "average precision", "balanced accuracy", "accuracy", "precision", "recall")


def weighted_metrics(
    scores: ArrayLike, target: ArrayLike, weights: ArrayLike, threshold: float = 0.5, balanced_threshold: float = 0.5
) -> dict[str, Floats]:
    """All metrics of one set of scores under many weightings at once (one weighting per bootstrap resample).

    AUROC counts ties half; average precision is the step-wise sum over thresholds, as scikit-learn's. A metric whose
    class is absent (0/0) is NaN; precision without any prediction of a rosette is NaN too.

    Args:
        scores: `(N,)` rosette probabilities.
        target: `(N,)` 1 rosette, 0 other.
        weights: `(B, N)` how often each image counts.
        threshold: An image is called a rosette above it, for accuracy, precision and recall.
        balanced_threshold: The same for balanced accuracy.

    Returns:
        `(B,)` for each name of `METRICS`.

    Raises:
        ValueError: Lengths differ, or a score is not a number.
    """
    s, y, w = np.asarray(scores, float), np.asarray(target), np.atleast_2d(np.asarray(weights, float))
    if not s.shape == y.shape == w.shape[1:]:
        raise ValueError(f"scores {s.shape}, target {y.shape}, weights {w.shape}: expected (N,), (N,), (B, N)")
    if np.isnan(s).any():
        raise ValueError(
            f"scores: {np.isnan(s).sum()} of {len(s)} are NaN: a training diverged; lower its learning rate"
        )
    levels, inverse = np.unique(s, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.searchsorted(inverse[order], np.arange(len(levels)))
    positive = np.add.reduceat((w * (y == 1))[:, order], starts, axis=1)  # (B, levels), by rising score
    negative = np.add.reduceat((w * (y == 0))[:, order], starts, axis=1)
    n_pos, n_neg = positive.sum(1), negative.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        below = np.cumsum(negative, 1) - negative / 2
        auroc = (positive * below).sum(1) / (n_pos * n_neg)
        hits, alarms = np.cumsum(positive[:, ::-1], 1), np.cumsum(negative[:, ::-1], 1)
        step_precision = np.nan_to_num(hits / (hits + alarms))
        average = (positive[:, ::-1] * step_precision).sum(1) / n_pos
        called = s > threshold
        true_pos, false_pos = (w * (called & (y == 1))).sum(1), (w * (called & (y == 0))).sum(1)
        called_b = s > balanced_threshold
        sensitivity = (w * (called_b & (y == 1))).sum(1) / n_pos
        specificity = (w * (~called_b & (y == 0))).sum(1) / n_neg
        values = (
            auroc,
            average,
            (sensitivity + specificity) / 2,
            (true_pos + n_neg - false_pos) / (n_pos + n_neg),
            true_pos / (true_pos + false_pos),
            true_pos / n_pos,
        )
    return dict(zip(METRICS, values, strict=True))


def metrics(
    scores: ArrayLike, target: ArrayLike, threshold: float = 0.5, balanced_threshold: float = 0.5
) -> dict[str, float]:
    """`weighted_metrics` of the images as they are, each counted once."""
    ones = np.ones((1, len(np.asarray(target))))
    return {k: float(v[0]) for k, v in weighted_metrics(scores, target, ones, threshold, balanced_threshold).items()}


def bootstrap_metrics(
    scores: ArrayLike,
    target: ArrayLike,
    groups: ArrayLike,
    *,
    threshold: float = 0.5,
    balanced_threshold: float = 0.5,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[Floats, Floats]]:
    """Every metric of each training, and its mean over trainings in resamples of whole embryos.

    In each resample the same embryos are drawn for all trainings, so that the spread of the second array is that of
    the averaged number.

    Args:
        scores: `(S, N)` rosette probabilities of S trainings, or `(N,)`.
        target: `(N,)` 1 rosette, 0 other.
        groups: `(N,)` embryo of each image.
        threshold: See `weighted_metrics`.
        balanced_threshold: See `weighted_metrics`.
        n_resamples: Bootstrap resamples.
        seed: Of the resamples.

    Returns:
        metric: (values `(S,)`, resampled means `(n_resamples,)`).
    """
    runs = np.atleast_2d(np.asarray(scores, float))
    weights = group_weights(groups, n_resamples, seed)
    point = [metrics(run, target, threshold, balanced_threshold) for run in runs]
    drawn = [weighted_metrics(run, target, weights, threshold, balanced_threshold) for run in runs]
    return {m: (np.array([p[m] for p in point]), np.mean([d[m] for d in drawn], 0)) for m in METRICS}


def with_intervals(scores: ArrayLike, target: ArrayLike, groups: ArrayLike, **options: Any) -> pd.DataFrame:  # noqa: ANN401
    """Every metric, averaged over trainings, with a 95 % interval from resampling whole embryos.

    Args:
        scores: See `bootstrap_metrics`.
        target: See `bootstrap_metrics`.
        groups: See `bootstrap_metrics`.
        **options: See `bootstrap_metrics`.

    Returns:
        One row per metric: metric, value, low, high, sd (over trainings), n (images), n_groups, n_runs.
    """
    runs = np.atleast_2d(np.asarray(scores, float))
    counts = {"n": runs.shape[1], "n_groups": len(np.unique(np.asarray(groups))), "n_runs": len(runs)}
    found = bootstrap_metrics(runs, target, groups, **options)
    return interval_rows([found], counts)


def interval_rows(by_day: Sequence[Mapping[str, tuple[Floats, Floats]]], counts: Mapping[str, int]) -> pd.DataFrame:
    """Rows as `with_intervals` has them, averaged over the test days; embryos were resampled within each day.

    Args:
        by_day: `bootstrap_metrics` of each test day (or of one), with equally many trainings and resamples.
        counts: n, n_groups and n_runs, to stand in every row.
    """
    rows = []
    for metric in METRICS:
        values = np.mean([day[metric][0] for day in by_day], 0)
        low, high = percentile_interval(np.mean([day[metric][1] for day in by_day], 0))
        sd = values.std(ddof=1) if len(values) > 1 else np.nan
        rows.append({"metric": metric, "value": values.mean(), "low": low, "high": high, "sd": sd, **counts})
    return pd.DataFrame(rows)


def majority_rate(target: ArrayLike) -> float:
    """Accuracy of always naming the commoner class; NaN of no image."""
    labels = np.asarray(target, float)
    rate = float(labels.mean()) if len(labels) else float("nan")
    return max(rate, 1 - rate)


def curve_metrics(probabilities: ArrayLike, target: ArrayLike, threshold: float = 0.5) -> dict[str, Floats]:
    """Accuracy, precision and recall of the rosette class along a training (Fig. 9).

    Args:
        probabilities: `(..., N)` rosette probabilities.
        target: `(N,)`.
        threshold: Above it an image is called a rosette.

    Returns:
        Arrays `(...)`; precision is NaN where nothing is called a rosette.
    """
    called, y = np.asarray(probabilities) > threshold, np.asarray(target) == 1
    hits = (called & y).sum(-1)
    with np.errstate(invalid="ignore"):
        accuracy = (called == y).sum(-1) / y.size
        return {"accuracy": accuracy, "precision": hits / called.sum(-1), "recall": hits / y.sum()}


METADATA = ("mean", "sd", "90th percentile", "slice", "minute")


def metadata_features(images: NDArray[np.uint8], table: pd.DataFrame) -> pd.DataFrame:
    """What is known of an image without looking for rosettes: brightness, contrast, slice and minute.

    Columns that the data set does not know (all NaN) are left out; single gaps take the column's median.
    """
    flat = images.reshape(len(images), -1)
    values: dict[str, Any] = {"mean": flat.mean(1), "sd": flat.std(1), "90th percentile": np.percentile(flat, 90, 1)}
    frame = pd.DataFrame({**values, "slice": table["slice"].to_numpy(), "minute": table["minute"].to_numpy()})
    frame = frame.dropna(axis="columns", how="all")
    return frame.fillna(frame.median())


def metadata_baseline(
    features: pd.DataFrame, target: NDArray[np.int64], train: NDArray[np.int64], test: NDArray[np.int64], seed: int
) -> Floats:
    """Rosette probability of the test images from the metadata alone, by logistic regression, `(n_test,)`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(random_state=seed, max_iter=1000))
    values = features.to_numpy()
    model.fit(values[train], target[train])
    return model.predict_proba(values[test])[:, 1]


def result_rows(frame: pd.DataFrame, item: str, row: str, condition: str, note: str) -> list[Mapping[str, Any]]:
    """Rows for `Results.add` from `with_intervals`, columns named "<metric> @ <condition>"."""
    return [
        {
            "item": item,
            "row": row,
            "column": f"{r['metric']} @ {condition}",
            **{name: r[name] for name in ("value", "low", "high")},
            "n": int(r["n"]),
            "unit": "fraction",
            "note": (
                f"mean of {r['n_runs']} trainings (sd {r['sd']:.3f}); "
                f"95 % bootstrap over {r['n_groups']} embryos; {note}"
                + ("; undefined (0/0): no image of a class, or none called a rosette" if np.isnan(r["value"]) else "")
            ),
        }
        for r in frame.to_dict("records")
    ]
