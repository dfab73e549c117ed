"""Cells of the run's generators: some to look at, and a sample of each that is judged beside held-out real cells.

    weights --noise--> pictures;   cells --code--> cells repeated
    weights --`judging.judge`, all in one CNN's features--> Generated, beside as many real cells that did not train
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..parallel import map_runs
from ..screens.crops import Crops
from ..screens.networks import MODEL
from .comparison import WEIGHTS, Entry
from .encoding import generate, load_weights, noise, reconstruct
from .judging import conditions_like, judge, real_features
from .networks import FAMILY
from .quality import HELD_OUT, quality
from .variants import MODELS

NORMAL = (*FAMILY, "began", "vae")  # kinds whose noise is N(0, 1)
MOST_RESAMPLES = 200  # of a sample's cells; each measures all distances anew
MOST_COMPARED = 4000  # real cells, trained on or held out, that generated ones are compared with


def samples(
    entries: Sequence[Mapping[str, Any]], crops: Crops, rows: NDArray[np.int64], n: int, seed: int, device: str = "auto"
) -> dict[str, NDArray[np.float32]]:
    """Some cells of the first seed's generators, by model, `(n, C, s, s)` in [-1, 1].

    Args:
        entries: Of `compare`.
        crops: The screen.
        rows: Cells whose conditions generated ones are told.
        n: Cells of each.
        seed: Of the noise.
        device: As `training.make_fabric`.
    """
    found = dict[str, NDArray[np.float32]]()
    for one in entries:
        if one["steps"] and one["model"] not in found and MODELS[one["settings"]["model"]]["kind"] != "autoencoder":
            trained = load_weights(one[WEIGHTS])
            told = conditions_like(crops, rows, trained, n, seed)
            found[one["model"]] = generate(trained, noise(trained, n, seed), told, device=device)
    return found


def first_of(entries: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, Any] | None]:
    """The first generator whose noise is normal and that is told nothing: that of Figs. 2 and 3 and of "spot the cell".

    Args:
        entries: Of `compare`.

    Returns:
        Its name and its weights; "" and None where there is none, as of BiGANs, autoencoders and conditional models.
    """
    for one in entries:
        trained = load_weights(one[WEIGHTS]) if one["steps"] else {}
        of = trained.get("architecture", {})
        if of and of["kind"] in NORMAL and of["conditions"] == "none":
            return one["model"], trained
    return "", None


def repeated(
    entries: Sequence[Mapping[str, Any]], crops: Crops, rows: NDArray[np.int64], device: str = "auto"
) -> dict[str, NDArray[np.float32]]:
    """Some cells as the codes of the first seed's BEGANs, BiGAN, VAE and autoencoder have them, by model."""
    found = dict[str, NDArray[np.float32]]()
    for one in entries:
        if one["steps"] and one["model"] not in found and MODELS[one["settings"]["model"]]["kind"] not in FAMILY:
            found[one["model"]] = reconstruct(crops, rows, load_weights(one[WEIGHTS]), device=device)
    return found


def judged(
    entries: Sequence[Mapping[str, Any]],
    crops: Crops,
    rows: NDArray[np.int64],
    held: NDArray[np.int64],
    cnn: Mapping[str, Any],
    layer: str,
    out: Path,
    *,
    n: int = 0,
    n_resamples: int = 100,
    seed: int = 0,
    device: str = "auto",
    n_jobs: int = 1,
) -> list[Entry]:
    """A sample of every generator and, first, the held-out real cells, all of one size, judged in one feature space.

    Args:
        entries: Of `compare`; those that generate nothing, or learnt nothing, are left out.
        crops: The screen.
        rows: Cells that trained; of more than `MOST_COMPARED` a sample.
        held: Cells that did not, of other wells; the same.
        cnn: The feature space.
        layer: Of the CNN.
        out: Folder of finished work.
        n: Generated cells of each; 0 for as many as real ones are held out.
        n_resamples: Of the intervals.
        seed: Of noise and resamples.
        device: As `training.make_fabric`.
        n_jobs: Generators at a time.

    Returns:
        As `judging.judge`, and `model`, `seed`; of the held-out cells what `quality` gives. Row numbers are those of
        the screen.
    """
    import pandas as pd

    asked = [one for one in entries if one["steps"] and MODELS[one["settings"]["model"]]["kind"] != "autoencoder"]
    if not asked:
        return []
    rng, cells = np.random.default_rng(seed), crops.cells
    some, others = (np.sort(rng.permutation(one)[:MOST_COMPARED]) for one in (rows, held))
    first = load_weights(asked[0][WEIGHTS], crops)
    # the CNN learnt at the crops' own size
    side = crops.size[0]
    real, apart = (real_features(crops, one, first, cnn, layer, side, device) for one in (some, others))
    own = cells.iloc[some]
    # a control has none to be reached
    of_treated = own["moa"].mask(own["control"]) if "moa" in own else pd.Series(dtype=object)
    moa: list[Any] = [None if pd.isna(one) else str(one) for one in of_treated]
    moa = moa if any(moa) else []
    wells = (own["plate"].astype(str) + " " + own["well"].astype(str)).tolist()
    size = n or len(others)
    runs = list[dict[str, Any]]()
    for one in asked:
        told = conditions_like(crops, some, load_weights(one[WEIGHTS]), size, seed)
        runs.append({
            "weights": one[WEIGHTS], "sha256": one["sha256"][0], "n": size, "n_resamples": n_resamples, "seed": seed,
            "layer": layer, "side_px": side, "device": device, "told": None if told is None else told.tolist(),
        })  # fmt: skip
    space = {name: value for name, value in cnn.items() if name.startswith(MODEL) or name == "architecture"}
    shared = {"training": real, "held_out": apart, "mechanisms": moa, "groups": wells, **space}
    done = map_runs(judge, runs, folder=out / "work", shared=shared, n_jobs=n_jobs, desc="generated cells")
    floor = quality(
        real, apart, apart, moa or None, groups=wells, n=min(size, len(apart)), n_resamples=n_resamples, seed=seed
    )
    return [
        {"model": HELD_OUT, "seed": seed, **floor},
        *({"model": one["model"], "seed": one["seed"], **sample, "row": some[np.asarray(sample["row"])]}
          for one, sample in zip(asked, done, strict=True)),
    ]  # fmt: skip
