"""Every model at every seed: trained and its codes scored, beside the references.

    models x seeds --learn--> weights, codes --score--> Table 1, beside the CNN and CellProfiler's measurements

Each step is a task of `parallel.map_runs`: results are files, a killed call goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import DataError, atomic_path, sha256
from ..parallel import map_runs
from ..results import file_slug
from ..screens.crops import Crops
from .judging import score, scores_of
from .learning import learn
from .reference import CELLPROFILER, CNN, cnn_features, measured
from .refusals import has_mechanisms
from .variants import ADVERSARIAL, MODELS, settings

Entry = dict[str, Any]
NAMES = {
    "dcgan": "DCGAN", "wgan": "WGAN", "lsgan": "LSGAN", "began": "BEGAN", "bigan": "BiGAN", "vae": "VAE",
    "autoencoder": "autoencoder", "c-lsgan": "C-LSGAN", "c-wgan": "C-WGAN", "c-began": "C-BEGAN",
}  # fmt: skip
UNTRAINED = "LSGAN, untrained"
WEIGHTS = "weights"


def wanted(
    models: Sequence[str],
    common: Mapping[str, Any],
    *,
    steps: int,
    steps_began: int,
    batch_size: int = 0,
    lr_discriminator: float = 0.0,
    lr_generator: float = 0.0,
    lr_began: float = 0.0,
    critic_steps: int = 1,
) -> dict[str, dict[str, Any]]:
    """Settings of each model, by its name in the tables, and of an LSGAN that learns nothing: the floor.

    Args:
        models: Of `variants.MODELS`.
        common: Of `variants.COMMON`, for all.
        steps: Of each model but the BEGANs.
        steps_began: Of these.
        batch_size: Real cells of a step; 0, or a larger one than a model's own, leaves it its own.
        lr_discriminator: Of all but the BEGANs, the VAE and the autoencoder; 0 leaves each its own.
        lr_generator: The same; of a BiGAN's encoder too.
        lr_began: Of both networks of the BEGANs; 0 leaves each its own.
        critic_steps: Of the WGANs.

    Raises:
        ValueError: As `variants.settings`; a number of steps below 1.
    """
    if min(steps, steps_began) < 1:
        raise ValueError(f"steps: expected 1 or more, got {steps} and {steps_began} of BEGAN")
    found = dict[str, dict[str, Any]]()
    for model in models:
        own = settings({"model": model})
        kind = own["kind"]
        run = {"model": model, **common, "steps": int(steps_began if kind == "began" else steps)}
        run["batch_size"] = min(batch_size, own["batch_size"]) or own["batch_size"]
        lr = {"discriminator": lr_discriminator, "generator": lr_generator, "encoder": lr_generator}
        if kind == "began":
            lr = {"discriminator": lr_began, "generator": lr_began}
        # rates that a model has not stay 0
        run |= {f"lr_{name}": one for name, one in lr.items() if one and own[f"lr_{name}"] and kind in ADVERSARIAL}
        if kind == "wgan":
            run["critic_steps"] = critic_steps
        # a short run has its first steps too, in which nothing is learnt
        run["collapse_after"] = min(own["collapse_after"], run["steps"] // 2)
        found[NAMES[model]] = run
    if "lsgan" in models:
        found[UNTRAINED] = found[NAMES["lsgan"]] | {"steps": 0}
    for run in found.values():
        settings(run)
    return found


def compare(
    crops: Crops,
    models: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    rows: NDArray[np.int64],
    out: Path,
    *,
    reading: Mapping[str, Any] | None = None,
    n_jobs: int = 1,
) -> list[Entry]:
    """Train every model at every seed, and encode all cells with each.

    Args:
        crops: On the disk (`load_crops`, or `write_crops` first).
        models: Of `wanted`.
        seeds: One training each.
        rows: Cells that train.
        out: Folder of weights, codes and finished work. The first seed's weights lie there under the model's name.
        reading: Options that the crops were opened with.
        n_jobs: Trainings at a time.

    Returns:
        For each seed and model: `model`, `seed`, `scores` (see `judging.scores_of`; empty where no mechanism is known),
        `weights`, `codes` (files), and what `learning.learn` returned.

    Raises:
        RuntimeError: As `map_runs`; finished trainings are kept.
        DataError: A file of a finished training is gone or another.
    """
    shared = {
        "folder": str(crops.root.absolute()), "reading": dict(reading or {}), "digest": crops.digest, "rows": rows,
    }  # fmt: skip
    runs, out = list[dict[str, Any]](), out.absolute()
    for seed in seeds:
        for name, chosen in models.items():
            run = {**chosen, "seed": int(seed)}
            told = json.dumps([run, crops.digest, rows.tolist()], sort_keys=True)
            stem = f"{file_slug(name)}_seed{seed}_{hashlib.sha256(told.encode()).hexdigest()[:8]}"
            runs.append(run | {
                WEIGHTS: str(out / "all" / f"{stem}.safetensors"), "codes": str(out / "codes" / stem)
            })  # fmt: skip
    # the longest first, so that no core is left with one at the end
    order = sorted(range(len(runs)), key=lambda k: -_effort(runs[k]))
    done = map_runs(
        learn, [runs[k] for k in order], folder=out / "work", shared=shared, n_jobs=n_jobs, desc="models"
    )  # fmt: skip
    learnt = [done[order.index(k)] for k in range(len(runs))]
    _require_unchanged(learnt, out / "work")
    asked = [{"files": one["files"][1:], "sha256": one["sha256"][1:]} for one in learnt]
    scored = [Entry() for _ in asked]
    if has_mechanisms(crops):
        scored = map_runs(score, asked, folder=out / "work", n_jobs=n_jobs, desc="scores")
    names = [name for _ in seeds for name in models]
    for name, run, one in zip(names, runs, learnt, strict=True):
        if run["seed"] == seeds[0]:
            with atomic_path(out / f"{file_slug(name)}.safetensors") as part:
                shutil.copyfile(one["files"][0], part)
    return [
        {"model": name, "seed": run["seed"], "settings": run, "cells": len(crops), **one, "scores": marks,
         WEIGHTS: one["files"][0], "codes": one["files"][1:]}
        for name, run, one, marks in zip(names, runs, learnt, scored, strict=True)
    ]  # fmt: skip


def references(
    crops: Crops,
    cnn: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    layer: str,
    measured_rows: NDArray[np.int64] | None,
    out: Path,
    *,
    device: str = "auto",
    precision: str = "bf16-mixed",
    n_jobs: int = 1,
) -> list[Entry]:
    """The rows that Table 1's are held against, in the form of `compare`'s entries.

    Args:
        crops: The screen.
        cnn: Of `reference.cnns`, or one of `reference.given_cnn`.
        seeds: Of `cnn`.
        layer: Of the CNN.
        measured_rows: Cells for CellProfiler's measurements, controls among them; None leaves the row out.
        out: Folder of finished work.
        device: As `training.make_fabric`.
        precision: As `reference.cnn_features`.
        n_jobs: As `reference.measured`.
    """
    found = list[Entry]()
    for seed, one in zip(seeds, cnn, strict=True):
        values = cnn_features(crops, one, layer, device, precision)
        found.append({"model": CNN, "seed": seed, "cells": len(crops), "scores": scores_of(values, crops.cells)})
    if measured_rows is not None:
        values_of = measured(crops, measured_rows, out, n_jobs)
        marks = scores_of(values_of, crops.cells.iloc[measured_rows])
        found.append({"model": CELLPROFILER, "seed": seeds[0], "cells": len(measured_rows), "scores": marks})
    return found


def scored(entries: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """Entries as `reporting.table_1_rows` takes them: one for each way."""
    return [
        {"model": one["model"], "seed": one["seed"], "how": how, "cells": one.get("cells"), **marks}
        for one in entries
        for how, marks in one["scores"].items()
    ]


def _effort(run: Mapping[str, Any]) -> float:
    kind, batch = MODELS[run["model"]]["kind"], run.get("batch_size", MODELS[run["model"]].get("batch_size", 64))
    each = {"began": 6.0, "bigan": 3.0, "vae": 0.3, "autoencoder": 0.2}.get(kind, 1.0)
    return each * run["steps"] * batch


def _require_unchanged(learnt: Sequence[Mapping[str, Any]], work: Path) -> None:
    for one in learnt:
        for file, own in zip(one["files"], one["sha256"], strict=True):
            if not Path(file).is_file() or sha256(Path(file)) != own:
                raise DataError(f"{file}: gone or changed since it was made; delete {work} to train anew")
