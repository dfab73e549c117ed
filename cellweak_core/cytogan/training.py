"""Trainings of the wing's models on single cells, as tasks for `parallel.map_runs`.

    cells --shuffle, read ahead--> brighten, [-1, 1] --> step (D, G, E) --> curves, diversity, alarms
                                                           | every so often
                                                           checkpoint: weights, optimisers, curves, random states

What a step draws depends on the seed and on what was drawn before it, all of which the checkpoint holds: a training
that was killed ends on the CPU with the same weights, bit for bit.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..files import CellweakWarning, DataError
from ..screens.crops import Crops, load_crops
from ..screens.networks import MODEL
from ..screens.reading import ahead
from ..training import make_fabric, random_source, run_steps
from .conditions import compounds_of, conditions
from .networks import prior
from .reading import Shuffled, prepared, require_contrast
from .steps import Parts, assembled, evaluating, step
from .variants import ADVERSARIAL, architecture_of, settings
from .watching import StoppedError, Watch, pairwise_distance

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Train one model.

    Args:
        run: `model`, one of `variants.MODELS`, and any names of `variants.COMMON`.
        shared: `folder` (of `load_crops`), `reading` (its options), `digest` of the crops; `rows` (n,) of the cells
            that train, all where it is missing.
        checkpoint: Where `training.run_steps` saves.

    Returns:
        `model.*` (weights of all networks) and `architecture` (see `networks.build`); curves, each point the mean of
        `log_every` steps: `step`, and by model `discriminator_loss`, `generator_loss`, `encoder_loss`, `penalty` (the
        discriminator's loss is without it), `real_loss`, `k`, `convergence`, `reconstruction_loss`, `divergence`;
        `diversity_step` and `diversity` (of generated cells as a share of real ones', see `watching`); facts:
        `settings`, `steps` (done), `seconds` (all calls together), `collapsed_at` and `diverged_at` (step, or None).

    Raises:
        ValueError: As `variants.settings`, `networks.build`.
        DataError: As `load_crops`; crops that are not square; cells that are all alike.

    Warns:
        CellweakWarning: Fewer cells than a batch; an offset below the cells; a training that stops early.
    """
    chosen = settings(run)
    fabric = make_fabric(chosen["device"], chosen["precision"])
    with torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []):
        return _trained(chosen, shared, fabric, checkpoint)


def _trained(
    chosen: dict[str, Any], shared: Mapping[str, Any], fabric: Fabric, checkpoint: Path
) -> dict[str, Any]:
    crops = load_crops(shared["folder"], **shared["reading"])
    rows = np.asarray(shared["rows"], np.int64) if "rows" in shared else np.arange(len(crops))
    require_contrast(crops, rows, chosen["scaling"])
    architecture = architecture_of(chosen, crops.channels, crops.size[0], compounds_of(crops.cells))
    # What cannot be told is said before anything is learnt
    treatments = crops.cells.iloc[rows].drop_duplicates(["compound", "concentration"])
    conditions(treatments, chosen["conditions"], architecture["compounds"])
    size_px, device = architecture["size_px"], fabric.device
    torch.manual_seed(chosen["seed"])  # of weights and noise; `train` gives the caller's state back
    parts = assembled(chosen, architecture, fabric)
    networks = parts.networks
    watch = Watch(chosen, chosen["kind"] in ADVERSARIAL)
    watch.keep(0, networks)

    n = chosen["batch_size"] * chosen["critic_steps"]
    if len(rows) < n:
        warnings.warn(
            f"{crops.name}: {len(rows)} cells and {n} in a step, so that some come more than once in each; lower "
            "batch_size",
            CellweakWarning,
            stacklevel=3,
        )
    order, batches = Shuffled(rows, chosen["seed"]), None

    def read(i: int) -> tuple[Tensor, Tensor | None]:
        own = order.take(i * n, n)
        return torch.from_numpy(crops.checked(own)), told(crops, own, architecture)

    looked_at = Shuffled(rows, chosen["seed"] + 1).take(0, chosen["n_checked"])
    real, of_real = _looked_at(crops, looked_at, architecture, device)

    def one(i: int) -> dict[str, Tensor]:
        nonlocal batches
        if batches is None:
            batches = ahead(read, range(i, chosen["steps"]))
        for name, optimiser in parts.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = chosen[f"lr_{name}"] * chosen["decay"] ** (i // chosen["decay_every"])
        pixels, condition = next(batches)
        values = step(
            parts,
            prepared(pixels.to(device), size_px, chosen["scaling"]),
            None if condition is None else condition.to(device),
        )
        watch.seen(i + 1, values)
        if (i + 1) % chosen["check_every"] == 0 or i + 1 == chosen["steps"]:
            watch.look(i + 1, networks, _diversity(parts, real, of_real))
        return {}

    try:
        run_steps(
            one,
            chosen["steps"],
            state={"networks": networks, "balance": parts.balance, "watch": watch, **parts.optimisers},
            checkpoint=checkpoint,
            every=chosen["checkpoint_every"],
            version=checkpoint.stem + json.dumps([architecture, chosen], sort_keys=True),
            desc=chosen["model"],
        )
    except StoppedError:
        if watch.facts["diverged_at"]:
            networks.load_state_dict(watch.kept)
    stopped = {name: watch.facts[name] or None for name in ("collapsed_at", "diverged_at")}
    return {
        "architecture": architecture,
        "settings": chosen,
        "steps": stopped["collapsed_at"] or stopped["diverged_at"] or chosen["steps"],
        "seconds": watch.state_dict()["seconds"],
        **stopped,
        **{name: np.asarray(values) for name, values in watch.curves.items()},
        **{MODEL + name: value.detach().cpu() for name, value in networks.state_dict().items()},
    }


def _looked_at(
    crops: Crops, rows: NDArray[np.int64], architecture: Mapping[str, Any], device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Mean distance of two real cells, and their conditions."""
    pixels = torch.from_numpy(crops.checked(rows)).to(device)
    distance = pairwise_distance(prepared(pixels, architecture["size_px"], architecture["scaling"]))
    if not distance > 0:
        raise DataError(f"{crops.name}: {len(rows)} cells, drawn by chance, are all alike; nothing to learn of them")
    condition = told(crops, rows, architecture)
    return distance, None if condition is None else condition.to(device)


def told(crops: Crops, rows: NDArray[np.int64], architecture: Mapping[str, Any]) -> Tensor | None:
    """What a model is told of some cells, as `conditions.conditions`, on the CPU; None for nothing."""
    found = conditions(crops.cells.iloc[rows], architecture["conditions"], architecture["compounds"])
    return None if found is None else torch.from_numpy(found)


def _diversity(parts: Parts, real: Tensor, condition: Tensor | None) -> Tensor | None:
    """Mean distance of two generated cells of a fixed set, as a share of `real`."""
    kind, n = parts.settings["kind"], parts.settings["n_checked"]
    if kind == "autoencoder":
        return None
    z = prior(kind, n, parts.settings["noise"], "cpu", random_source(parts.settings["seed"])).to(parts.fabric.device)
    return pairwise_distance(generated(parts.networks, z, condition, parts.fabric)) / real


def generated(networks: nn.ModuleDict, z: Tensor, condition: Tensor | None, fabric: Fabric) -> Tensor:
    """Cells of noise, in evaluation, float32 in [-1, 1]; the networks' modes are put back."""
    network: Any = networks["generator"] if "generator" in networks else networks["autoencoder"]
    given = (z,) if condition is None else (z, condition)
    with evaluating(network, fabric):
        return (network(*given) if "generator" in networks else network.decode(*given)).float()
