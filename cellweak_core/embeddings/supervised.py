"""The fully supervised row of Table 2: a network that is told mechanisms, and asked for those of cells it never saw.

    NSC     compounds dealt into folds      |  train on the others  -->  softmax of the fold's cells  --+
    NSCB    each batch, and all compounds   |                                                           |
            that lie in it, left out                mean over a treatment's cells --> most likely mechanism

The other rows ask which treatment is nearest by its features. This network names mechanisms itself, so that "not the
same compound" and "nor the same batch" say what it may not have been trained on.

Source: Caicedo et al. 2018, Table 2, after Godinez et al. 2017 (the network is `multiscale.MultiScaleCNN`).
Asked are the treatments that the other rows ask, and those alone train: as there, a treatment that no other could match
is neither query nor candidate. A mechanism that no cell of a training has cannot be told by it: its treatments are
wrong, not skipped. This happens in NSCB, where a compound that lies in several batches is left out with each of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..parallel import map_runs
from ..screens.aggregation import TREATMENT, treatment_profiles
from ..screens.crops import Crops, load_crops
from ..screens.learning import DEFAULTS
from ..screens.matching import match_treatments
from ..screens.reading import crops_ahead
from ..training import make_fabric
from .embedding import restored
from .evaluation import METRICS, SITE, described
from .training import train

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]
VARIANT = "CNNs"
LAYER = "mechanisms"


class Fold(NamedTuple):
    """One training.

    Attributes:
        train: `(n,)` the cells that it sees.
        told: `(n,)` the cells whose mechanism it is asked for.
    """

    train: Mask
    told: Mask


class Asked(NamedTuple):
    """The treatments of a screen, and which of them a metric asks.

    Attributes:
        table: A row for each treatment, as `screens.aggregation.treatment_profiles`.
        treatment: `(n,)` the row of each cell, -1 for controls and cells of no known mechanism.
        asked: `(n_treatments,)` those with a possible partner.
    """

    table: pd.DataFrame
    treatment: NDArray[np.int64]
    asked: Mask

    @property
    def cells(self) -> Mask:
        """Cells of treatments that are asked, `(n,)`."""
        return (self.treatment >= 0) & self.asked[self.treatment]


def asked_of(cells: pd.DataFrame, metric: str) -> Asked:
    """Which treatments a metric asks, in the order of `evaluation.score`.

    Args:
        cells: The screen's.
        metric: "NSC" or "NSCB".

    Raises:
        DataError: As `treatment_profiles` and `match_treatments`.
    """
    import pandas as pd

    by = [name for name in SITE if name in cells]
    sites = cells.groupby(by, sort=False, dropna=False).head(1)
    _, table = treatment_profiles(np.zeros((len(sites), 1)), sites)
    # Who is asked depends on the table alone; any features do.
    found = match_treatments(np.ones((len(table), 1)), table, METRICS[metric])
    names = list(TREATMENT)
    rows = pd.MultiIndex.from_frame(table[names]).get_indexer(pd.MultiIndex.from_frame(cells[names]))
    known = ~cells["control"].to_numpy(bool) & cells["moa"].notna().to_numpy()
    return Asked(table, np.where(known, rows, -1), found["neighbour"] >= 0)


def folds_by_compound(cells: pd.DataFrame, n_folds: int = 5, seed: int = 0, asked: Mask | None = None) -> list[Fold]:
    """Each compound in one fold, with all its cells; a mechanism's compounds dealt one by one, each to the next fold.

    So a mechanism of two compounds or more is never told by a network that saw none of it. As many folds as compounds
    leave out one at a time.

    Args:
        cells: `compound`, `moa` (of a compound with several, the first one counts here), `control`.
        n_folds: Trainings; fewer where there are fewer compounds.
        seed: Of the order in which compounds are dealt.
        asked: `(n,)` cells that train and are told; all treated cells of a known mechanism by default.

    Raises:
        ValueError: Fewer than two folds.
    """
    import pandas as pd

    if n_folds < 2:
        raise ValueError(f"n_folds: expected 2 or more, got {n_folds}")
    own = _treated(cells) if asked is None else asked
    compounds = cells.loc[own, ["compound", "moa"]].drop_duplicates("compound")
    compounds = compounds.iloc[np.random.default_rng(seed).permutation(len(compounds))]
    mechanism, _ = pd.factorize(compounds["moa"])
    in_turn = compounds["compound"].iloc[np.argsort(mechanism, kind="stable")]
    fold = cells["compound"].map(dict(zip(in_turn, np.arange(len(in_turn)) % n_folds, strict=True))).to_numpy()
    return [Fold(own & (fold != k), own & (fold == k)) for k in range(min(n_folds, len(in_turn)))]


def folds_by_batch(cells: pd.DataFrame, asked: Mask | None = None) -> list[Fold]:
    """A fold for each batch; its training sees neither the batch nor, in others, any compound that lies in it.

    Args:
        cells: `compound`, `batch`, `moa`, `control`.
        asked: As `folds_by_compound`.

    Returns:
        In the order of the batches' names; one in which nothing is asked has no fold. A `train` may be empty: every
        compound lies in that batch.
    """
    treated = _treated(cells)
    own = treated if asked is None else asked
    batch, compound = cells["batch"].astype(str).to_numpy(object), cells["compound"]
    folds = list[Fold]()
    for name in sorted(set(batch[own])):
        inside = batch == name
        lies_in_it = compound.isin(compound[inside & treated]).to_numpy()
        folds.append(Fold(own & ~inside & ~lies_in_it, own & inside))
    return folds


def _treated(cells: pd.DataFrame) -> Mask:
    return ~cells["control"].to_numpy(bool) & cells["moa"].notna().to_numpy()


def folds_of(cells: pd.DataFrame, metric: str, n_folds: int, seed: int, asked: Mask) -> list[Fold]:
    """The trainings that a metric needs."""
    return folds_by_compound(cells, n_folds, seed, asked) if metric == "NSC" else folds_by_batch(cells, asked)


def tell(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Train without one fold and tell its cells' mechanisms, as a task of `parallel.map_runs`.

    Args:
        run: Of `training.train`; `metric`, `n_folds`, and `fold`, which one.
        shared: `folder` (of `load_crops`), `reading`, `digest` of the crops.
        checkpoint: As `training.train`.

    Returns:
        `softmax` `(n_treatments, n_mechanisms)` float64, mean over the treatment's cells in this fold, 0 for treatments
        that have none and mechanisms that did not train (in the order of their names); `cells` `(n_treatments,)`, how
        many; `loss`, `step`.
    """
    import pandas as pd

    crops = load_crops(shared["folder"], **shared["reading"])
    question = asked_of(crops.cells, run["metric"])
    fold = folds_of(crops.cells, run["metric"], run["n_folds"], run["seed"], question.cells)[run["fold"]]
    mechanisms, of_treatment = np.unique(question.table["moa"].to_numpy(str), return_inverse=True)
    # Classes are those that train: the network has no output for others, so it cannot name them by chance.
    classes, labels = np.unique(of_treatment[question.treatment[fold.train]], return_inverse=True)
    trains = np.full(len(crops), -1)
    trains[fold.train] = labels
    known = {"labels": trains, "checked": np.full(len(crops), -1), "n_classes": len(classes)}
    groups = {name: pd.factorize(crops.cells[name])[0] for name in ("batch", "plate")}
    settings = {name: value for name, value in run.items() if name in DEFAULTS}
    trained = train(settings, {**shared, **known, **groups}, checkpoint)
    rows = np.flatnonzero(fold.told)
    said = probabilities(restored(trained), crops, rows, run.get("device", "auto"))
    softmax, n_cells = np.zeros((len(question.table), len(mechanisms))), np.zeros(len(question.table), np.int64)
    treatment = question.treatment[rows]
    np.add.at(softmax, (treatment[:, None], classes), said)
    np.add.at(n_cells, treatment, 1)
    softmax /= np.maximum(n_cells, 1)[:, None]
    return {"softmax": softmax, "cells": n_cells, "loss": trained["loss"], "step": trained["step"]}


@torch.inference_mode()
def probabilities(
    network: nn.Module, crops: Crops, rows: NDArray[np.int64], device: str = "auto", batch_size: int = 128
) -> NDArray[np.float64]:
    """The softmax of each cell, `(n, n_classes)`, in float32.

    Args:
        network: In evaluation mode, gives logits.
        crops: The screen.
        rows: `(n,)` cells, one at least.
        device: As `training.make_fabric`.
        batch_size: Crops at a time.
    """
    where = make_fabric(device).device
    network = network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    said = [network(x).double().softmax(1).cpu() for x in crops_ahead(crops, rows, batch_size, where)]
    return torch.cat(said).numpy()


def supervised_scores(
    crops: Crops,
    settings: Mapping[str, Any],
    seeds: Sequence[int],
    out: Path,
    n_folds: int = 5,
    n_jobs: int = 1,
    reading: Mapping[str, Any] | None = None,
    variant: str = VARIANT,
) -> list[dict[str, Any]]:
    """NSC and NSCB of the fully supervised network, in the form of `comparison.compare`.

    Args:
        crops: On the disk (`load_crops`, or `write_crops` first).
        settings: Of `training.train`; the kind is "multiscale".
        seeds: Of the trainings, and of the dealing of compounds.
        out: Folder for finished work.
        n_folds: Of NSC; NSCB has a training for each batch.
        n_jobs: Networks at a time.
        reading: Options that the crops were loaded with.
        variant: What the entries are called.

    Returns:
        For each seed `variant`, `seed`, `layers` (one, "mechanisms"), `auxiliary_correct` and `auxiliary_total` (0: no
        auxiliary task), and `score` as `evaluation.score` returns it, transform "none". A treatment of several batches
        is the mean over all its cells, each told by the network that left out the cell's batch.

    Raises:
        ValueError: An unknown setting, another kind; fewer than two folds.
        DataError: As `asked_of`.
        RuntimeError: As `map_runs`; finished networks are kept.
    """
    unknown = sorted(set(settings) - set(DEFAULTS))
    if unknown:
        raise ValueError(f"settings: unknown {', '.join(unknown)}; expected any of {', '.join(DEFAULTS)}")
    if settings.get("kind", "multiscale") != "multiscale":
        raise ValueError(f"settings: expected kind 'multiscale', got {settings['kind']!r}")
    questions = {metric: asked_of(crops.cells, metric) for metric in METRICS}
    runs = list[dict[str, Any]]()
    for seed in map(int, seeds):
        for metric, question in questions.items():
            folds = folds_of(crops.cells, metric, n_folds, seed, question.cells)
            own = {**settings, "kind": "multiscale", "seed": seed, "metric": metric}
            own["n_folds"] = n_folds if metric == "NSC" else 0  # another number of folds leaves NSCB's networks valid
            # Without a cell to train on there is no network: all that it would be asked for is wrong.
            runs += [own | {"fold": k} for k, fold in enumerate(folds) if fold.train.any()]
    shared = {"folder": str(crops.root.absolute()), "reading": dict(reading or {}), "digest": crops.digest}
    told = map_runs(tell, runs, folder=Path(out) / "work", shared=shared, n_jobs=n_jobs, desc="supervised networks")
    entries = list[dict[str, Any]]()
    for seed in map(int, seeds):
        score = dict[str, Any]()
        for metric, question in questions.items():
            own_parts = [
                one for run, one in zip(runs, told, strict=True) if (run["seed"], run["metric"]) == (seed, metric)
            ]
            score |= _scored(question, own_parts, metric)
        held = {"auxiliary_correct": 0, "auxiliary_total": 0}
        entries.append({"variant": variant, "seed": seed, "layers": [LAYER], **held, "score": score})
    return entries


def _scored(question: Asked, told: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """The marks of one metric, from the parts of all its folds."""
    table = question.table
    truth = table["moa"].to_numpy(str).astype(object)
    mechanisms = np.unique(truth.astype(str))
    total = np.zeros((len(table), len(mechanisms)))
    for one in told:
        total += np.asarray(one["softmax"]) * np.asarray(one["cells"])[:, None]
    predicted, able = np.full(len(table), None, object), total.any(1)
    predicted[able] = mechanisms[total[able].argmax(1)]
    key = f"{LAYER}|none|{metric}"
    right = np.where(question.asked, predicted == truth, -1).astype(np.int8)
    return described(table) | {key: right, f"{key}|predicted": json.dumps(predicted.tolist())}
