"""Setting (b) from start to scores: the simulated start, every method's trainings, and what is scored beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..parallel import map_runs
from ..training import random_source
from ..uncertainty import mc_dropout
from .data import RosetteData
from .detectors import NORMALISATIONS, image_probability, restored, train_detector, window_logits
from .evaluation import metadata_features
from .pretraining import train_on_simulation
from .simulate import simulate
from .weak import WEAK_METHODS, Result, Run, WeakScores, weak_runs

SIMULATION_ONLY = "simulation only, no labels"
TEACHER_SEED, TEACHER_DAYS = 1000, 3  # other embryos than a simulated data set's own, on days of several brightness


def simulated_start(
    common: Run,
    minutes: Sequence[int] | NDArray[np.int64],
    slices: Sequence[int],
    image_size: int,
    n_embryos: int,
    steps: int,
    seed: int,
    folder: Path,
) -> Result:
    """The context network trained on simulated embryos, where every rosette's place is known.

    Args:
        common: What all runs of setting (b) share.
        minutes: Simulated time points of each embryo.
        slices: Simulated slices of each time point.
        image_size: Side of the images in px.
        n_embryos: Simulated embryos.
        steps: Training steps.
        seed: The chapter's seed.
        folder: Where the result is kept.

    Returns:
        `start.*`, the weights, and `loss`.
    """
    teacher = simulate(n_embryos, minutes, slices, image_size, seed + TEACHER_SEED, n_days=TEACHER_DAYS)
    run = {**common, **WEAK_METHODS["context"], "seed": seed, "steps": steps}
    shared = {"images": teacher.images, "centres": [centres.tolist() for centres in teacher.truth or []]}
    [start] = map_runs(train_on_simulation, [run], folder=folder, shared=shared, desc="simulated start")
    return start


def compare(
    labelled: RosetteData,
    days: Sequence[str],
    shared: Mapping[str, Any],
    common: Run,
    methods: Sequence[str],
    fractions: Sequence[float],
    seeds: Sequence[int],
    start: Result,
    folder: Path,
    n_jobs: int,
    mc_passes: int,
) -> tuple[WeakScores, list[Run], list[Result]]:
    """Train every method on every fraction of the labels and score the days it has not seen.

    Beside the methods stand the metadata-only baseline, the simulated start before any label, and two ensembles of the
    last method: the mean over its trainings, and Monte Carlo dropout (with all labels).

    Args:
        labelled: Labelled images.
        days: Test days, in the order of their folds.
        shared: Images, targets, folds and the discriminator's state, see `detectors.train_detector`.
        common: What all runs share.
        methods: Names of `weak.WEAK_METHODS`; the last one's weights are kept.
        fractions: Shares of the training labels.
        seeds: One training each.
        start: Of `simulated_start`.
        folder: Where the results are kept.
        n_jobs: Trainings at a time.
        mc_passes: Passes of Monte Carlo dropout; 0 leaves it out.

    Returns:
        The scores, and the runs and results behind them.

    Raises:
        ValueError: A method that there is not.
    """
    unknown = sorted(set(methods) - set(WEAK_METHODS))
    if unknown or not methods:
        raise ValueError(f"weak_methods: expected names of {', '.join(WEAK_METHODS)}; got {list(methods)}")
    chosen, best = {name: WEAK_METHODS[name] for name in methods}, methods[-1]
    all_shared = {**shared, **{k: v for k, v in start.items() if k.startswith("start.")}}
    runs = weak_runs(common, chosen, fractions, seeds, len(days), keep=[best])
    results = map_runs(train_detector, runs, folder=folder, shared=all_shared, n_jobs=n_jobs, desc="weak detectors")
    scores = WeakScores(labelled, days)
    scores.add_results(chosen, runs, results)
    scores.add_metadata(metadata_features(labelled.images, labelled.table), fractions, seeds)
    _add_simulation_only(scores, labelled, common, fractions, seeds[0], start)
    scores.add_ensemble(best, f"{best}, mean of trainings")
    for run, result in zip(runs, results, strict=True):
        if run["keep_weights"] and mc_passes:
            images = labelled.images[scores.test(run["test_fold"])]
            probability = dropout_probability(run, result, images, mc_passes)
            name = f"{best}, Monte Carlo dropout"
            scores.add(name, run["fraction"], run["test_fold"], probability, result["prior"], result["n_labels"])
    return scores, runs, list(results)


def _add_simulation_only(
    scores: WeakScores, labelled: RosetteData, common: Run, fractions: Sequence[float], seed: int, start: Result
) -> None:
    run = {**common, **WEAK_METHODS["context"], "seed": seed}
    model = restored(run, {k.replace("start.", "model.", 1): v for k, v in start.items()})
    for fold in range(len(scores.days)):
        images = labelled.images[scores.test(fold)]
        maps = window_logits(model, images, run["normalise"], n_turns=run["n_turns"])
        for fraction in fractions:
            scores.add(SIMULATION_ONLY, float(fraction), fold, image_probability(maps, run), 0.5, 0)


@torch.no_grad()
def dropout_probability(
    run: Run, result: Result, images: NDArray[np.uint8], n_passes: int, batch: int = 64
) -> NDArray[np.float32]:
    """Rosette probability averaged over passes with dropout on, without turns, `(N,)`.

    Args:
        run: Of a detector.
        result: Its result, with weights.
        images: `(N, H, W)` uint8.
        n_passes: Passes, T.
        batch: Images at a time.
    """
    model = restored(run, result)
    torch.manual_seed(int(torch.randint(2**31, (), generator=random_source(run["seed"]))))
    out = []
    for chunk in torch.as_tensor(np.array(images))[:, None].split(batch):
        maps = mc_dropout(model, NORMALISATIONS[run["normalise"]](chunk), n_passes)
        out.append(torch.stack([image_probability(one, run) for one in maps]).mean(0))
    return torch.cat(out).numpy()
