"""Codes to scores, and generators to samples that are judged: tasks for `parallel.map_runs`.

    codes of all cells (Parquet) --> `mechanisms.moa_scores`, each way                                     Table 1
    weights --noise--> cells --CNN--> features --`quality`, `memorised`--> beside held-out real cells      Generated
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..screens.crops import Crops
from .conditions import conditions
from .encoding import generate, inputs, load_weights, noise
from .evaluation import standardised
from .learning import CODE
from .mechanisms import HOW, moa_scores
from .neighbours import nearest_cells
from .quality import quality
from .reference import Floats, features_of

if TYPE_CHECKING:
    import pandas as pd

KEPT = 100  # generated cells that stay as pictures
N_NEAREST = 3


def read_codes(files: Sequence[str | Path]) -> tuple[NDArray[np.float64], pd.DataFrame]:
    """Codes `(n, d)` and the cells' table, of the files that `learning.learn` wrote."""
    import pandas as pd

    table = pd.concat([pd.read_parquet(one) for one in files], ignore_index=True)
    own = [name for name in map(str, table) if name.startswith(f"{CODE}_")]
    cells = table.drop(columns=own)
    return table[own].to_numpy(float), cells.rename(columns=lambda name: name.removeprefix("Metadata_"))


def scores_of(features: ArrayLike, cells: pd.DataFrame) -> dict[str, Any]:
    """`moa_scores` in each way of `HOW`, as a result of `map_runs` may hold it."""
    found = {how: moa_scores(features, cells, how) for how in HOW}
    return {how: {**one, "right": np.asarray(one["right"]).tolist()} for how, one in found.items()}


def score(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Scores of one model's codes.

    Args:
        run: `files` and their `sha256`, of `learning.learn`, the codes only.
        shared: Nothing.
        checkpoint: Not used, it takes seconds.

    Returns:
        As `scores_of`.
    """
    return scores_of(*read_codes(run["files"]))


def conditions_like(
    crops: Crops, rows: NDArray[np.int64], trained: Mapping[str, Any], n: int, seed: int
) -> NDArray[np.float32] | None:
    """What n generated cells are told: the conditions of n cells drawn from `rows`; None of an unconditional model."""
    of = trained["architecture"]
    drawn = np.random.default_rng(seed).choice(rows, n)
    return conditions(crops.cells.iloc[drawn], of["conditions"], of["compounds"])


def real_features(
    crops: Crops, rows: NDArray[np.int64], trained: Mapping[str, Any], cnn: Mapping[str, Any], layer: str, side_px: int,
    device: str, batch_size: int = 256,
) -> Floats:  # fmt: skip
    """The CNN's features of real cells as a model sees them, `(n, d)`.

    Args:
        crops: The screen.
        rows: `(n,)` cells.
        trained: Any model of the run: all see cells alike.
        cnn: As `reference.features_of`.
        layer: As `reference.features_of`.
        side_px: As `reference.features_of`.
        device: As `reference.features_of`.
        batch_size: Cells at a time.
    """
    parts = list[Floats]()
    for start in range(0, len(rows), batch_size):
        seen = inputs(crops, rows[start : start + batch_size], trained)
        parts.append(features_of(seen, cnn, layer, side_px, device=device))
    return np.concatenate(parts)


def judge(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """A sample of one generator.

    Args:
        run: `weights` (file) and its `sha256`, `told` (what each generated cell is told, or None), `n`, `n_resamples`,
            `seed`, `layer`, `side_px` and `device`.
        shared: `training` and `held_out`, features of real cells; `mechanisms` (None where not known) and `groups` of
            the training cells; `architecture` and `model.*`: the CNN.
        checkpoint: Not used, it takes seconds.

    Returns:
        What `quality` returns; `images` (`KEPT`, C, s, s), the first of the sample, as float32 in [-1, 1]; of the whole
        sample `distance` (n,) to the nearest training cell, in units of the training cells' standard deviation, and
        `held_out_distance` (h,) of real cells; of those kept `row` and `near_distance` (`KEPT`, 3), the nearest ones.
    """
    trained = load_weights(run["weights"])
    images = generate(trained, noise(trained, run["n"], run["seed"]), run["told"], device=run["device"])
    made = features_of(images, shared, run["layer"], run["side_px"], device=run["device"])
    training, held_out = (np.asarray(shared[name]) for name in ("training", "held_out"))
    found = quality(
        training, held_out, made, shared["mechanisms"] or None, groups=shared["groups"], seed=run["seed"],
        n_resamples=run["n_resamples"],
    )  # fmt: skip
    real, others, sample = standardised(training, held_out, made)  # as `quality` does
    near, away = nearest_cells(sample, real, N_NEAREST)
    return found | {
        "images": images[:KEPT], "distance": away[:, 0], "row": near[:KEPT], "near_distance": away[:KEPT],
        "held_out_distance": nearest_cells(others, real)[1][:, 0],
    }  # fmt: skip
