"""Trainings of the migration networks on weakly labelled patches, as tasks for `parallel.map_runs`.

    both modes alike often --> patches, read ahead --> one of 72 variants --> mean 0, sd 1 --> network --> sigmoid
                                                                                                             |
    rows: the folds but one (the test set never)               filters: Gaussian prior            log-cosh <-- ramp

Source: Gupta et al. 2020, Sec. 2 and 3: Adam, an initial learning rate of 0.01, batches of 32, log-cosh, L2 on
convolutions. What a step draws depends on the seed and the step alone: a training that was killed ends on the CPU with
the same weights, bit for bit.
Deviation: a migration batch is balanced by drawing both modes alike often; the authors balance the modes in each fold,
which leaves one mode the larger.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..files import DataError
from ..screens.networks import MODEL
from ..screens.reading import ahead
from ..screens.sampling import BalancedSampler
from ..training import derived_seed, learning_rate, make_fabric, random_source, run_steps, with_defaults
from .augmentation import augmented, normalised
from .dropout import Masks, sampling
from .losses import log_cosh, parameter_groups
from .networks import DEFAULTS as ARCHITECTURE
from .networks import build
from .splits import require_apart

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DEFAULTS: dict[str, Any] = {
    "network": "densenet121",  # of networks.NETWORKS
    **ARCHITECTURE,  # width, dropout, growth, cap
    "fold": 0,  # that validates; -1 trains on all folds and validates on none
    "steps": 3000,
    "batch_size": 32,
    "lr": 0.01,  # Adam
    "schedule": "fractions",  # of training.SCHEDULES: a tenth after 40, 70 and 90 % of the steps
    "weight_decay": 2e-4,  # of filters, see losses.parameter_groups; the authors' l2(1e-4)
    "balanced": True,  # both modes alike often in a batch, however many rows each has
    "augmented": True,
    "n_validated": 256,  # rows of the fold, at most, that validate, the same each time
    "checkpoint_every": 250,  # steps
    "log_every": 50,  # steps
    "seed": 0,
    "device": "auto",
    "precision": "bf16-mixed",
}

# Where the authors' code departs from the text (anindgupta/Cell-migration-ISBI20 @2df59ad): rates by stage,
# batches of 16. Its DenseNet minimises another loss (MAE + 2.05 Huber), its VGG drops out in the first block only.
AUTHORS: dict[str, dict[str, Any]] = {
    "resnet18": {"dropout": 0.05, "growth": 0.02, "cap": 0.13, "batch_size": 16, "lr": 1e-5},
    "densenet40": {"dropout": 0.05, "growth": 0.01, "cap": 0.09, "batch_size": 16, "lr": 2e-3},
}


def train(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Train one network.

    Args:
        run: Any of `DEFAULTS`; the others are taken from there.
        shared: `folder` of `patches.load`, and its `digest`; row for row `fold_of` (n,), 0 or above for those that
            train or validate (see `splits.grouped`), and `targets` (n,) in [0, 1], NaN for those that do neither.
        checkpoint: Where `training.run_steps` saves.

    Returns:
        `model.*` (weights) and `architecture` (see `networks.build`); `step`, `loss` and `validation_loss` (n_logged,):
        the log-cosh error of a step's batch, and of the fold's rows, in one pass with dropout on, NaN without rows;
        `n_trained` and `n_validated`, rows of each.

    Raises:
        ValueError: An unknown name or word in `run`; as `networks.build`.
        DataError: A cell in two parts (`splits.require_apart`); columns of another length than the patches; no row to
            train on, or of one mode only; targets outside of [0, 1]; pixels that are not finite.
    """
    settings = _settings(run)
    fabric = make_fabric(settings["device"], settings["precision"])
    with torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []):
        return _trained(settings, shared, fabric, checkpoint)


def _trained(run: dict[str, Any], shared: Mapping[str, Any], fabric: Fabric, checkpoint: Path) -> dict[str, Any]:
    from .patches import load

    patches, points = load(shared["folder"])
    targets, device, seed = np.asarray(shared["targets"], np.float64), fabric.device, run["seed"]
    training, validating = rows_of(shared["fold_of"], targets, run["fold"], len(patches))
    require_apart(shared["fold_of"], points["cell"])
    labels = np.full(len(patches), -1)
    labels[training] = targets[training] > 0.5 if run["balanced"] else 0
    sampler = BalancedSampler(labels)
    of = {"network": run["network"], "n_channels": int(patches.shape[1]), **{name: run[name] for name in ARCHITECTURE}}
    torch.manual_seed(seed)  # of weights and dropout; `train` gives the caller's state back
    network = build(of).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    groups = parameter_groups(network, run["weight_decay"])
    optimiser = torch.optim.Adam(groups, run["lr"], fused=device.type == "cuda" or None)

    if len(validating) > run["n_validated"]:
        validating = np.sort(np.random.default_rng([seed, 1]).permutation(validating)[: run["n_validated"]])

    def drawn(i: int) -> tuple[Tensor, Tensor]:
        rows, _ = sampler.draw(run["batch_size"], random_source(derived_seed(seed, i, 0)))
        return read(patches, rows), torch.from_numpy(targets[rows]).float()

    def validated() -> float:
        found = list[Tensor]()
        masks = Masks(derived_seed(seed, 0, 2), device)
        with torch.no_grad(), sampling(network, masks), fabric.autocast():
            for first in range(0, len(validating), run["batch_size"]):
                masks.draw([0])
                x = normalised(read(patches, validating[first : first + run["batch_size"]]).to(device).float())
                found.append(network(x.contiguous(memory_format=torch.channels_last)).float())
        if not found:
            return float("nan")
        target = torch.from_numpy(targets[validating]).float().to(device)
        return float(log_cosh(torch.cat(found).sigmoid(), target))

    batches = None

    def step(i: int) -> dict[str, Tensor | float]:
        nonlocal batches
        if batches is None:
            batches = ahead(drawn, range(i, run["steps"]))
        for group in optimiser.param_groups:
            group["lr"] = run["lr"] * learning_rate(i, run["steps"], run["schedule"])
        pixels, target = next(batches)
        x = pixels.to(device).float()
        if run["augmented"]:
            x = augmented(x, random_source(derived_seed(seed, i, 1), device))
        x = normalised(x).contiguous(memory_format=torch.channels_last)
        with fabric.autocast():
            logits = network(x)
        loss = log_cosh(logits.float().sigmoid(), target.to(device))
        optimiser.zero_grad()
        fabric.backward(loss)
        optimiser.step()
        logged = i % run["log_every"] == 0 or i == run["steps"] - 1
        return {"loss": loss.detach(), "validation_loss": validated() if logged else float("nan")}

    history = run_steps(
        step,
        run["steps"],
        state={"network": network, "optimiser": optimiser},
        checkpoint=checkpoint,
        every=run["checkpoint_every"],
        log_every=run["log_every"],
        version=checkpoint.stem + json.dumps([of, run, shared.get("digest", "")], sort_keys=True),
        desc=f"{run['network']}, fold {run['fold']}",
    )
    return {
        "architecture": of,
        **{name: np.asarray(history.get(name, [])) for name in ("step", "loss", "validation_loss")},
        "n_trained": len(training),
        "n_validated": len(validating),
        **{MODEL + name: value.detach().cpu() for name, value in network.state_dict().items()},
    }


def rows_of(
    fold_of: ArrayLike, targets: ArrayLike, fold: int, n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows that train, and those that validate.

    Args:
        fold_of: `(n,)`; 0 or above is a fold, all below (the test set, rows without a target) is left out.
        targets: `(n,)` in [0, 1]; NaN is left out.
        fold: That validates; below 0 none does.
        n: Patches.

    Raises:
        DataError: Of `train`.
    """
    of, y = np.asarray(fold_of), np.asarray(targets, np.float64)
    if of.shape != (n,) or y.shape != (n,):
        raise DataError(
            f"fold_of and targets: expected one for each of {n} patches, got {of.shape} and {y.shape}; cut the patches "
            "of the same table of points"
        )
    own = (of >= 0) & ~np.isnan(y)
    if ((y[own] < 0) | (y[own] > 1)).any():
        raise DataError(f"targets: expected 0 (continuous) to 1, found {np.nanmin(y[own])} to {np.nanmax(y[own])}")
    training = np.flatnonzero(own & ((of != fold) | (fold < 0)))
    n_discontinuous = int((y[training] > 0.5).sum())
    if not 0 < n_discontinuous < len(training):
        raise DataError(
            f"fold {fold}: {len(training)} frames train, {n_discontinuous} of them discontinuous; both modes are "
            "needed: label more cells, or take fewer folds"
        )
    return training, np.flatnonzero(own & (of == fold) & (fold >= 0))


def read(patches: ArrayLike, rows: ArrayLike) -> Tensor:
    """Patches of some rows, `(k, C, s, s)` of their own type, on the CPU.

    Raises:
        DataError: Pixels that are not finite; names the first row.
    """
    pixels = np.ascontiguousarray(patches[rows])  # type: ignore[index, call-overload]
    if pixels.dtype.kind == "f" and not (finite := np.isfinite(pixels).all((1, 2, 3))).all():
        row = np.asarray(rows)[~finite][0]
        raise DataError(f"patches: row {row} has pixels that are not finite (NaN or infinite); repair the frame")
    return torch.from_numpy(pixels)


def _settings(run: Mapping[str, Any]) -> dict[str, Any]:
    settings = with_defaults(run, DEFAULTS)
    for name in ("steps", "batch_size"):
        if settings[name] < 1:
            raise ValueError(f"{name}: expected 1 or more, got {settings[name]}")
    return settings
