"""Every network on every fold, and the predictions of frames that none of the predicting networks learnt from.

    networks x folds --learning.learn--> weights, predictions --pooled over folds--> one table of frames

Each is a task of `parallel.map_runs`: results are files, a killed call goes on where it was.
Deviation: the migration paper does not say which of the five folds' networks is tested; here all of a kind predict the
test cells, T samples each, and their samples are pooled: the epistemic variance also has what the folds disagree on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import DataError, sha256
from ..parallel import map_runs
from .evaluation import outcomes
from .learning import PARTS, learn, pooled
from .splits import TEST
from .training import AUTHORS

if TYPE_CHECKING:
    import pandas as pd

Entry = dict[str, Any]
N_FEW = 24  # frames of which many samples are drawn


def steps_of(epochs: int, steps: int, batch_size: int, fold_of: ArrayLike, targets: ArrayLike, n_folds: int) -> int:
    """Training steps: those given, or so many that each training frame comes `epochs` times, in one of its variants.

    Args:
        epochs: 0 for `steps`.
        steps: Taken where there are no epochs.
        batch_size: Frames of a step.
        fold_of: Of `splits.grouped`.
        targets: NaN where a frame does not train.
        n_folds: One of which does not train.
    """
    if not epochs:
        return steps
    n = ((np.asarray(fold_of) >= 0) & np.isfinite(np.asarray(targets, float))).sum() * (n_folds - 1) / n_folds
    return max(1, int(np.ceil(epochs * n / batch_size)))


def compare(
    folder: Path,
    digest: str,
    fold_of: NDArray[np.int64],
    targets: NDArray[np.float64],
    networks: Sequence[str],
    run: Mapping[str, Any],
    out: Path,
    *,
    n_samples: int = 50,
    n_stability: int = 200,
    preset: str = "",
    epochs: int = 0,
    n_jobs: int = 1,
) -> list[Entry]:
    """Train every network on every fold, and predict its held-out frames.

    Args:
        folder: Of `patches.load`.
        digest: Of the patches (`patches.digest`).
        fold_of: Of `splits.grouped`.
        targets: `(n,)`, see `supervision.supervised`.
        networks: Of `networks.NETWORKS`.
        run: Of `training.DEFAULTS`, for all.
        out: Folder of weights and finished work.
        n_samples: T.
        n_stability: Samples of a few frames, drawn from the first fold's networks; 0 for none.
        epochs: Instead of the run's steps, see `steps_of`.
        preset: "authors" takes `training.AUTHORS` for the networks that are there.
        n_jobs: Trainings at a time.

    Returns:
        For each network and fold: `network`, `fold`, `steps`, `batch_size`, and what `learning.learn` returned.

    Raises:
        RuntimeError: As `map_runs`; finished trainings are kept.
        DataError: A file of a finished training is gone or another.
    """
    shared = {"folder": str(folder.absolute()), "digest": digest, "fold_of": fold_of, "targets": targets}
    n_folds, runs = int(fold_of.max()) + 1, list[dict[str, Any]]()
    told = json.dumps([digest, hashlib.sha256(fold_of.tobytes() + targets.tobytes()).hexdigest()])
    for network in networks:
        for fold in range(n_folds):
            one = {**run, **(AUTHORS.get(network, {}) if preset else {}), "network": network, "fold": fold}
            one["steps"] = steps_of(epochs, run["steps"], one["batch_size"], fold_of, targets, n_folds)
            key = hashlib.sha256((json.dumps(one, sort_keys=True) + told).encode()).hexdigest()[:8]
            own = {"n_samples": n_samples, "n_stability": 0 if fold else n_stability, "n_few": N_FEW}
            runs.append(one | own | {"weights": str(out.absolute() / "folds" / f"{network}_{fold}_{key}.safetensors")})
    done = map_runs(learn, runs, folder=out / "work", shared=shared, n_jobs=n_jobs, desc="networks")
    for one in done:
        if not Path(one["file"]).is_file() or sha256(one["file"]) != one["sha256"]:
            raise DataError(f"{one['file']}: gone or changed since it was made; delete {out / 'work'} to train anew")
    told_of = ("network", "fold", "steps", "batch_size")
    return [{**{name: a[name] for name in told_of}, **b} for a, b in zip(runs, done, strict=True)]


def frames_of(learnt: Sequence[Mapping[str, Any]], points: pd.DataFrame, targets: ArrayLike) -> pd.DataFrame:
    """Held-out predictions of all networks, frame by frame.

    Args:
        learnt: Of `compare`.
        points: With labels, row for row as the patches.
        targets: `(n,)`.

    Returns:
        One row for each network and held-out frame, test cells first: `network`, `part` ("test" or "fold 0" ...),
        `row` (of the points), sequence, cell, frame, x, y, label, `target`, `mean`, `epistemic`, `aleatoric`, and
        `outcome` ("" where the label is unknown).
    """
    import pandas as pd

    wanted, tables = np.asarray(targets, float), list[pd.DataFrame]()
    for network in dict.fromkeys(one["network"] for one in learnt):
        own = [one for one in learnt if one["network"] == network]
        parts = list[tuple[str, NDArray[np.int64], Mapping[str, NDArray[np.float64]]]]()
        tested = [_of(one, TEST) for one in own]
        rows = tested[0]["row"]
        if len(rows):
            parts.append(("test", rows, pooled(*([one[name] for one in tested] for name in PARTS))))
        for one in own:
            found = _of(one, one["fold"])
            parts.append((f"fold {one['fold']}", found["row"], found))
        for part, places, values in parts:
            table = points.iloc[places].reset_index(drop=True)
            table.insert(0, "row", places)
            table.insert(0, "part", part)
            table.insert(0, "network", network)
            table["target"] = wanted[places]
            for name in PARTS:
                table[name] = values[name]
            table["outcome"] = outcomes(table["mean"].to_numpy(), table["label"].to_numpy())
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def tested(frames: pd.DataFrame) -> pd.DataFrame:
    """The frames that the paper's tables are of: those of the test cells; without any, all, each by its own fold."""
    own = frames[frames["part"] == "test"]
    return own if len(own) else frames


def samples_of(learnt: Sequence[Mapping[str, Any]], network: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows `tested` would give of a network, and all samples `(T K, n)` of the K networks that predict them.

    Without test cells K is 1, as each fold's frames have one network, and the folds stand side by side.
    """
    own = [one for one in learnt if one["network"] == network]
    parts = [TEST] * len(own) if (np.asarray(own[0]["part"]) == TEST).any() else [one["fold"] for one in own]
    chosen = [np.flatnonzero(np.asarray(one["part"]) == part) for one, part in zip(own, parts, strict=True)]
    rows = [np.asarray(one["rows"])[at] for one, at in zip(own, chosen, strict=True)]
    drawn = [np.asarray(one["samples"], float)[:, at] for one, at in zip(own, chosen, strict=True)]
    if parts[0] == TEST:
        return rows[0], np.concatenate(drawn)
    return np.concatenate(rows), np.concatenate(drawn, 1)


def _of(one: Mapping[str, Any], part: int) -> dict[str, Any]:
    at = np.flatnonzero(np.asarray(one["part"]) == part)
    return {"row": np.asarray(one["rows"])[at], **{name: np.asarray(one[name], float)[at] for name in PARTS}}
