"""Trains every variant at every seed, embeds the whole screen with each, and scores the features.

    variants x seeds --train--> embed all cells (Parquet) --> score --> right or wrong, per treatment

Each step is a task of `parallel.map_runs`: results are files, a killed call goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import atomic_path, sha256
from ..parallel import map_runs
from ..results import file_slug
from ..screens.crops import Crops, load_crops
from ..screens.labels import Labels
from ..screens.learning import DEFAULTS
from ..screens.networks import load_weights as read_weights
from ..screens.networks import save_weights as write_weights
from . import evaluation
from .embedding import require_unchanged, restored, shard_runs, untrained, write_shard
from .training import train
from .variants import CNNS, CODE, UNTRAINED

WEIGHTS = "weights.safetensors"


def learn(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Train one network (or none) and embed every cell with it, as a task of `parallel.map_runs`.

    Args:
        run: Of `training.train`, or `kind` "untrained"; and `layers`, `embed_batch`, `out`, `name`, `tag` (of all that
            the features depend on, so that other settings go to another folder), `keep` (whether its weights are saved
            there too).
        shared: As `training.train`.
        checkpoint: As `training.train`.

    Returns:
        `files` and their `sha256`; `auxiliary_correct`, `auxiliary_total`; `loss`, `step`; `cells_per_s` of embedding
        all layers, from the disk to the disk, beside whatever else ran then.
    """
    settings = {name: value for name, value in run.items() if name in DEFAULTS}
    crops = load_crops(shared["folder"], **shared["reading"])
    if run["kind"] == UNTRAINED:
        trained: dict[str, Any] = untrained(len(crops.channels), run["seed"], run["width"])
        trained |= {"auxiliary_correct": 0, "auxiliary_total": 0, "loss": np.zeros(0), "step": np.zeros(0)}
    else:
        trained = train(settings, shared, checkpoint)
    own = Path(run["out"]) / f"{run['name']}_{run['tag']}"
    if run["keep"]:
        named = {**shared["reading"], "channels": list(crops.channels)}
        save_weights(own / WEIGHTS, trained, named, shared["classes"])
    network, done, start = restored(trained), list[dict[str, Any]](), time.perf_counter()
    given = (run["layers"], run["embed_batch"], run["device"], run["precision"])
    for one in shard_runs(shared["folder"], own, *given):
        part = load_crops(shared["folder"], **shared["reading"], only=one["only"]) if one["only"] else crops
        done.append(write_shard(one, part, network))
    speed = len(crops) / (time.perf_counter() - start)
    kept = ("auxiliary_correct", "auxiliary_total", "loss", "step")
    found = {"files": [one["file"] for one in done], "sha256": [one["sha256"] for one in done]}
    return {name: trained[name] for name in kept} | found | {"cells_per_s": speed}


def save_weights(path: Path, trained: Mapping[str, Any], reading: Mapping[str, Any], classes: Sequence[str]) -> Path:
    """A trained network as one safetensors file, with what is needed to use it on new cells in its header."""
    known = {"architecture": trained["architecture"], "reading": dict(reading), "classes": list(classes)}
    return write_weights(path, trained, known)


def load_weights(path: str | Path) -> dict[str, Any]:
    """What `save_weights` wrote: `architecture`, `model.*`, `reading`, `classes`.

    Raises:
        DataError: Not there, or no such file.
    """
    return read_weights(path, ("architecture", "reading", "classes"), "embeddings")


def compare(
    crops: Crops,
    variants: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    labels: Labels,
    out: Path,
    *,
    layers: Sequence[str],
    reading: Mapping[str, Any] | None = None,
    transforms: Sequence[str] = evaluation.TRANSFORMS,
    embed_batch: int = 128,
    n_jobs: int = 1,
    ask: str = "mechanisms",
    ranked: tuple[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Train, embed and score.

    Args:
        crops: On the disk (`load_crops`, or `write_crops` first).
        variants: Name -> settings of `training.train` (`kind`, and what differs), or `{"kind": "untrained"}`.
        seeds: One network of each variant for every seed.
        labels: Of `screens.labels.treatment_labels`.
        out: Folder for features, weights of the first seed and finished work.
        layers: Of the CNNs; other networks have one, "code".
        reading: Options that the crops were loaded with.
        transforms: Of `evaluation.TRANSFORMS`.
        embed_batch: Crops at a time when embedding.
        n_jobs: Networks at a time.
        ask: "mechanisms" (NSC and NSCB) or "genes" (replicate and gene accuracy).
        ranked: The layer (of CNNs; of others their own) and the transform of which mean average precision is taken.

    Returns:
        For each variant and seed: `variant`, `seed`, what `learn` returned, and `score`.

    Raises:
        RuntimeError: As `map_runs`; finished networks are kept.
    """
    import pandas as pd

    shared = {
        "folder": str(crops.root.absolute()),
        "reading": dict(reading or {}),
        "digest": crops.digest,
        "labels": labels.train,
        "checked": labels.checked,
        "n_classes": len(labels.classes),
        "classes": list(labels.classes),
        "batch": pd.factorize(crops.cells["batch"])[0],
        "plate": pd.factorize(crops.cells["plate"])[0],
    }
    runs, own_layers = list[dict[str, Any]](), list[list[str]]()
    for seed in seeds:
        for name, settings in variants.items():
            wanted = list(layers) if settings["kind"] in CNNS else [CODE]
            if settings["kind"] == "recurrent":
                wanted = [layer for layer in wanted if layer != "embedding"]
            own_layers.append(wanted)
            run = {**settings, "seed": int(seed), "name": f"{file_slug(name)}_seed{seed}", "keep": seed == seeds[0]}
            run |= {"layers": wanted, "embed_batch": embed_batch}
            told = json.dumps([run, crops.digest, labels.train.tolist()], sort_keys=True)
            tag = hashlib.sha256(told.encode()).hexdigest()[:8]
            runs.append(run | {"tag": tag, "out": str(Path(out).absolute())})
    learnt = map_runs(learn, runs, folder=Path(out) / "work", shared=shared, n_jobs=n_jobs, desc="networks")
    for one in learnt:
        require_unchanged([Path(file) for file in one["files"]], one["sha256"], Path(out) / "work")
    for run in runs:
        if run["keep"]:  # under the name alone: those of this call, whatever others lie there
            with atomic_path(Path(out) / f"{run['name']}.safetensors") as part:
                shutil.copyfile(Path(out) / f"{run['name']}_{run['tag']}" / WEIGHTS, part)
    asked = [
        {"files": one["files"], "sha256": one["sha256"], "layers": wanted, "transforms": list(transforms)}
        | {"ranked": [ranked[0] if ranked[0] in wanted else wanted[0], ranked[1]] if ranked else []}
        for one, wanted in zip(learnt, own_layers, strict=True)
    ]
    mark = evaluation.score_genes if ask == "genes" else evaluation.score
    scored = map_runs(mark, asked, folder=Path(out) / "work", n_jobs=n_jobs, desc="scores")
    names = [name for _ in seeds for name in variants]
    return [
        {"variant": name, "seed": run["seed"], "layers": wanted, **one, "score": marks}
        for name, run, wanted, one, marks in zip(names, runs, own_layers, learnt, scored, strict=True)
    ]


def entry(variant: str, files: Sequence[Path], layer: str, ask: str = "mechanisms", ranked: str = "") -> dict[str, Any]:
    """Features that no training of `compare` gave, scored, in the form of its entries.

    Args:
        variant: Name.
        files: As `embedding.embed` leaves them.
        layer: Of the features.
        ask: As `compare`.
        ranked: The transform after which mean average precision is taken; "" for none.
    """
    mark = evaluation.score_genes if ask == "genes" else evaluation.score
    texts = [str(one) for one in files]
    run: dict[str, Any] = {"files": texts, "layers": [layer], "transforms": list(evaluation.TRANSFORMS)}
    return {
        "variant": variant, "seed": 0, "layers": [layer], "files": texts, "sha256": [sha256(one) for one in files],
        "auxiliary_correct": 0, "auxiliary_total": 0, "score": mark(run | {"ranked": [layer, ranked]}, {}, Path()),
    }  # fmt: skip
