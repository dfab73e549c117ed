"""One model from cells to a file of representations, as a task for `parallel.map_runs`.

    cells that train --`training.train`--> weights (safetensors) --encode all cells, by shards--> codes (Parquet)

It lies apart from what scores and judges, so that a change there leaves finished trainings valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..files import sha256
from ..screens.crops import load_crops
from ..screens.exports import write_cells
from .encoding import encode, save_weights
from .training import train
from .variants import COMMON

CODE = "code"  # before the numbers of a code in the files' columns
CURVES = (
    "step", "discriminator_loss", "generator_loss", "encoder_loss", "penalty", "real_loss", "k", "convergence",
    "reconstruction_loss", "divergence", "diversity_step", "diversity",
)  # fmt: skip
FACTS = ("steps", "seconds", "collapsed_at", "diverged_at")
SHARD_CELLS = 20_000


def learn(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Train one model and encode every cell with it.

    Args:
        run: Of `training.train`; and `weights` and `codes`, where the files go.
        shared: As `training.train`.
        checkpoint: As `training.train`.

    Returns:
        `files`: the weights, then the codes of all cells in their order (columns `Metadata_*` and code_0, code_1 ...,
        see `screens.exports.write_cells`), and their `sha256`; those of `CURVES` that the model has, and `FACTS`;
        `parameters`: weights of each of its networks.
    """
    trained = train({name: value for name, value in run.items() if name in {"model", *COMMON}}, shared, checkpoint)
    files = [save_weights(run["weights"], trained)]
    crops = load_crops(shared["folder"], **shared["reading"])
    stem = Path(run["codes"])
    for first in range(0, len(crops), SHARD_CELLS):
        rows = np.arange(first, min(first + SHARD_CELLS, len(crops)))
        codes = encode(crops, rows, trained, device=run["device"], precision=run["precision"])
        path = stem.with_name(f"{stem.name}_{first:09d}.parquet")
        files.append(write_cells(path, crops.cells.iloc[rows], {CODE: codes}))
    return {
        **{name: trained[name] for name in (*CURVES, *FACTS) if name in trained},
        "files": [str(one) for one in files],
        "sha256": [sha256(one) for one in files],
        "parameters": _parameters(trained),
    }


def _parameters(trained: Mapping[str, Any]) -> dict[str, int]:
    """Weights of each network of a model, without the moving statistics of its normalisations."""
    from ..screens.networks import rebuilt
    from .networks import build

    return {name: sum(p.numel() for p in one.parameters()) for name, one in rebuilt(trained, build).items()}
