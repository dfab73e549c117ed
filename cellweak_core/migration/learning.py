"""One network on one fold: trained, and every frame that it never learnt from predicted; a task for `map_runs`.

    folds but k --train--> weights --T passes--> frames of fold k and of the test (unknown ones too): mean, variances

It lies apart from what scores and draws, so that a change there leaves finished trainings valid.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import sha256
from ..screens.networks import MODEL, save_weights
from .patches import load
from .prediction import predict
from .splits import TEST, sides
from .training import DEFAULTS, train

OWN = ("weights", "n_samples", "n_stability", "n_few")  # of a run, beside the training's
PARTS = ("mean", "epistemic", "aleatoric")


def learn(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Train one network and predict what it never saw.

    Args:
        run: Of `training.train`; and `weights`, the file to write, `n_samples` (T), `n_stability` (samples of a few
            frames, 0 for none) and `n_few` (how many these are at most).
        shared: As `training.train`.
        checkpoint: As `training.train`.

    Returns:
        `rows` (n,) of the patches that were held out, `part` (n,) -1 for the test, or the fold; `mean`, `epistemic`,
        `aleatoric` (n,); `samples` (T, n), float32; `few_rows` and `few_samples` of some held-out frames of known mode,
        where asked for; `step`, `loss`, `validation_loss`; `n_trained`, `n_validated`, `seconds` and
        `seconds_predicting`; `architecture`, `parameters` (how many weights); `file` and `sha256` of the weights.
    """
    began = time.perf_counter()
    trained = train({name: run[name] for name in run if name in DEFAULTS}, shared, checkpoint)
    seconds = time.perf_counter() - began
    file = save_weights(run["weights"], trained, {"architecture": trained["architecture"]})
    patches, points = load(shared["folder"])
    where = sides(shared["fold_of"], points["cell"])
    rows = np.flatnonzero((where == TEST) | ((where == run["fold"]) & (run["fold"] >= 0)))
    settings: dict[str, Any] = {"device": run["device"], "precision": run["precision"], "seed": run["seed"]}
    found = predict(patches, rows, trained, run["n_samples"], keep=True, **settings)
    out = {
        **{name: trained[name] for name in ("step", "loss", "validation_loss", "n_trained", "n_validated")},
        "architecture": trained["architecture"], "parameters": parameters_of(trained),
        "rows": rows, "part": where[rows], **{name: found[name] for name in PARTS},
        "samples": found["samples"].astype(np.float32),
        "seconds": seconds, "file": str(file), "sha256": sha256(file),
    }  # fmt: skip
    if run["n_stability"]:
        few = some(rows[np.isfinite(np.asarray(shared["targets"])[rows])], run["n_few"])
        drawn = predict(patches, few, trained, run["n_stability"], keep=True, **settings)
        out |= {"few_rows": few, "few_samples": drawn["samples"].astype(np.float32)}
    out["seconds_predicting"] = time.perf_counter() - began - seconds
    return out


def some(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of the rows, evenly from first to last, which are sorted by cell and frame."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]


def parameters_of(trained: Mapping[str, Any]) -> int:
    """How many numbers a network learns, without the moving statistics of its normalisations."""
    still = ("running_mean", "running_var", "num_batches_tracked")
    return sum(
        int(np.prod(np.shape(value))) for name, value in trained.items()
        if name.startswith(MODEL) and not name.endswith(still)
    )  # fmt: skip


def pooled(means: ArrayLike, epistemics: ArrayLike, aleatorics: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Several networks' predictions as those of all their samples together, each network having as many.

    Args:
        means: `(K, n)` of K networks.
        epistemics: `(K, n)` variances.
        aleatorics: `(K, n)`.

    Returns:
        `mean`, `epistemic` (the mean of the variances and the variance of the means), `aleatoric`; `(n,)`.
    """
    mean, inner, noise = (np.asarray(one, np.float64) for one in (means, epistemics, aleatorics))
    between = (mean - mean[:1]).var(0)  # of equal means 0, which their rounded mean would hide
    return {"mean": mean.mean(0), "epistemic": inner.mean(0) + between, "aleatoric": noise.mean(0)}
