"""New films, predicted by networks of an earlier run: nothing is trained.

    films --patches of the networks' size--> every fold's network, shard by shard --pooled--> the points, with modes
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..files import sha256
from ..parallel import map_runs
from . import patches
from .data import Films
from .evaluation import outcomes
from .labels import MODES
from .learning import PARTS, pooled
from .prediction import predict
from .saving import load_weights, require_same

if TYPE_CHECKING:
    import pandas as pd

SHARD = 2000  # frames that are predicted at a time
BETWEEN = "uncertain"


def predict_films(
    films: Films, weights: str | Path, out: Path, *, n_samples: int = 50, device: str = "auto",
    precision: str = "bf16-mixed", seed: int = 0, n_jobs: int = 1,
) -> pd.DataFrame:  # fmt: skip
    """Predict all frames of films with trained networks; what is done is not done again.

    Args:
        films: New ones, of the channels that the networks learnt from.
        weights: Of `save_weights`.
        out: Folder for patches and finished work.
        n_samples: T, of each fold's network.
        device: As `training.make_fabric`.
        precision: As `prediction.predict`.
        seed: Of the masks.
        n_jobs: Shards at a time.

    Returns:
        The points with `mean`, `epistemic`, `aleatoric`, `says` and, where films have labels, `outcome`;
        `.attrs["patches"]` is the folder of their patches.

    Raises:
        DataError: As `load_weights`, `require_same` and the films.
    """
    trained = load_weights(weights)
    require_same(trained, films, weights)
    cutting = {name: trained[name] for name in ("size_px", "border", "downsample")}
    folder, digest = patches.kept(films, out / "patches", **cutting)
    common = {
        "file": str(Path(weights).absolute()), "sha256": sha256(weights), "n_samples": n_samples, "device": device,
        "precision": precision, "seed": seed,
    }  # fmt: skip
    n = len(films.points)
    spans = [(first, min(first + SHARD, n)) for first in range(0, n, SHARD)]
    runs = [
        {**common, "fold": fold, "first": first, "last": last}
        for fold in range(trained["n_folds"]) for first, last in spans
    ]  # fmt: skip
    shared = {"folder": str(folder.absolute()), "digest": digest}
    done = map_runs(predict_shard, runs, folder=out / "work", shared=shared, n_jobs=n_jobs, desc="frames")
    by_fold = [done[k * len(spans) : (k + 1) * len(spans)] for k in range(trained["n_folds"])]
    values = pooled(*([np.concatenate([np.asarray(o[name]) for o in own]) for own in by_fold] for name in PARTS))
    table = films.points.assign(**values)
    table["says"] = says(table["mean"].to_numpy())
    table.attrs["patches"] = folder
    if films.labelled:
        table["outcome"] = outcomes(table["mean"].to_numpy(), table["label"].to_numpy())
    return table


def predict_shard(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Predict some rows with a trained network; a task for `map_runs`.

    Args:
        run: `file` of `products.save_weights` and its `sha256`, `fold`; `first` and `last` row; `n_samples`, `device`,
            `precision`, `seed`.
        shared: `folder` of `patches.load`, and its `digest`.
        checkpoint: Not used: a shard is done or not.

    Returns:
        `mean`, `epistemic` and `aleatoric` (n,).
    """
    trained = load_weights(run["file"])["networks"][run["fold"]]
    pixels, _ = patches.load(shared["folder"])
    settings: dict[str, Any] = {name: run[name] for name in ("device", "precision", "seed")}
    return predict(pixels, np.arange(run["first"], run["last"]), trained, run["n_samples"], **settings)


def says(mean: ArrayLike) -> list[str]:
    """The mode of each prediction, `BETWEEN` where it is neither."""
    named = {"TP": MODES[1], "FN": MODES[0], "Uncertain": BETWEEN}
    values = np.asarray(mean)
    return [named[one] for one in outcomes(values, [MODES[1]] * len(values))]
