"""Trainings of networks on treatments, whose wings say which network: tasks for `parallel.map_runs`.

    classes, each as often as another --> cells --> rescale, shift, flip, turn --> network --> cross-entropy
                                              mixup: two cells and two classes in one
                                              recurrent: t cells of one treatment, one answer

Source: Caicedo et al. 2018, Sec. 4.2 and 4.3; DeepProfiler of the paper's week for optimiser, schedule and batches.
What a step draws depends on the seed and the step alone, so that batches are read ahead, and a training that goes on
after a kill draws what it would have drawn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..training import derived_seed, learning_rate, make_fabric, random_source, run_steps, with_defaults
from .crops import Crops, load_crops, rescaled
from .networks import MODEL
from .reading import ahead, crops_ahead
from .sampling import BalancedSampler, augmented, mixed_up, partners

if TYPE_CHECKING:
    from lightning_fabric import Fabric

KINDS = ("baseline", "recurrent", "mixup", "autoencoder", "multiscale")
PAIRS = ("batch", "plate", "any")
DEFAULTS: dict[str, Any] = {
    "kind": "baseline",
    "width": 64,  # channels of the first stage
    "batch_size": 128,  # crops per step; of sets, sets times t
    "steps": 30_000,
    "lr": 1e-3,  # Adam; falls tenfold at 40, 70 and 90 % of the steps
    "alpha": 0.2,  # mixup: lambda ~ Beta(alpha, alpha)
    "pairs": "batch",  # mixup: of another "batch" or "plate" (the paper's words), or "any" (the authors' code)
    "t": 5,  # recurrent: cells of a set
    "most_shift": 0.3,  # of the side, see `screens.sampling.augmented`
    "checkpoint_every": 250,  # steps
    "log_every": 10,  # steps
    "seed": 0,
    "device": "auto",
    "precision": "bf16-mixed",
}


def train(
    run: Mapping[str, Any],
    shared: Mapping[str, Any],
    checkpoint: Path,
    *,
    architecture: Callable[[str, Crops, int, int], dict[str, Any]],
    build: Callable[[Mapping[str, Any]], nn.Module],
) -> dict[str, Any]:
    """Train one network.

    Args:
        run: Any of `DEFAULTS`; the others are taken from there.
        shared: `folder` (of `load_crops`), `reading` (its options), `digest` of the crops; `labels` (n,) class of each
            cell, -1 for those that do not train; `checked` (n,) the class of the cells of held-out replicates, -1 for
            all others; `n_classes`; `batch` or `plate` (n,), numbers of each cell's, as `pairs` names one.
        checkpoint: Where `training.run_steps` saves.
        architecture: The network's description by kind (of `KINDS`), crops, number of classes and width.
        build: A network by its description.

    Returns:
        `model.*` (weights), `architecture`, `loss` and `step` (n_logged,); `auxiliary_correct` and `auxiliary_total`,
        the cells of held-out replicates whose treatment is told (0 of 0 for an autoencoder).

    Raises:
        ValueError: An unknown name or word in `run`.
        DataError: As `load_crops`; no cell to train on.
    """
    run = _settings(run)
    fabric = make_fabric(run["device"], run["precision"])
    with torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []):
        return _trained(run, shared, fabric, checkpoint, architecture, build)


def _trained(
    run: dict[str, Any],
    shared: Mapping[str, Any],
    fabric: Fabric,
    checkpoint: Path,
    architecture: Callable[[str, Crops, int, int], dict[str, Any]],
    build: Callable[[Mapping[str, Any]], nn.Module],
) -> dict[str, Any]:
    crops = load_crops(shared["folder"], **shared["reading"])
    labels = np.asarray(shared["labels"])
    groups = None if run["pairs"] == "any" else np.asarray(shared[run["pairs"]])
    n_classes, kind, t = int(shared["n_classes"]), run["kind"], int(run["t"])
    sampler = BalancedSampler(labels)
    of = architecture(kind, crops, n_classes, run["width"])
    torch.manual_seed(run["seed"])  # of the weights and of dropout; `train` gives the caller's state back
    network = build(of)
    network = network.to(fabric.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), run["lr"], fused=fabric.device.type == "cuda" or None)

    def drawn(i: int) -> tuple[Tensor, Tensor]:
        """The crops of step i as they lie on the disk, and their classes."""
        source = random_source(derived_seed(run["seed"], i, 0))
        if kind == "recurrent":
            rows, classes = sampler.draw_sets(max(1, run["batch_size"] // t), t, source)
        else:
            rows, classes = sampler.draw(run["batch_size"], source)
        if kind == "mixup" and groups is not None:
            # The second of each pair, behind the first ones.
            other = partners(rows, groups, sampler, source)
            rows, classes = np.concatenate([rows, other]), np.concatenate([classes, labels[other]])
        return torch.from_numpy(crops.checked(rows.ravel())), torch.from_numpy(classes)

    def loss_of(i: int, pixels: Tensor, classes: Tensor) -> Tensor:
        device = fabric.device
        varied = random_source(derived_seed(run["seed"], i, 2), device)
        x = augmented(rescaled(pixels.to(device)), varied, run["most_shift"])
        target = functional.one_hot(classes.to(device), n_classes).float()
        if kind == "mixup":
            n = run["batch_size"]
            other = (x[n:], target[n:]) if groups is not None else None
            x, target = mixed_up(x[:n], target[:n], run["alpha"], np.random.default_rng([run["seed"], i, 1]), other)
        x = x.contiguous(memory_format=torch.channels_last)
        x = x.unflatten(0, (-1, t)) if kind == "recurrent" else x
        with fabric.autocast():
            out = network(x)
        if kind == "autoencoder":
            return functional.mse_loss(out.float(), x.float())
        return functional.cross_entropy(out.float(), target)

    batches = None

    def step(i: int) -> dict[str, Tensor]:
        nonlocal batches
        if batches is None:
            batches = ahead(drawn, range(i, run["steps"]))
        for group in optimiser.param_groups:
            group["lr"] = run["lr"] * learning_rate(i, run["steps"], "fractions")
        loss = loss_of(i, *next(batches))
        optimiser.zero_grad()
        fabric.backward(loss)
        optimiser.step()
        return {"loss": loss.detach()}

    history = run_steps(
        step,
        run["steps"],
        state={"network": network, "optimiser": optimiser},
        checkpoint=checkpoint,
        every=run["checkpoint_every"],
        log_every=run["log_every"],
        version=checkpoint.stem + json.dumps([of, run], sort_keys=True),
        desc=kind,
    )
    checked = np.asarray(shared["checked"]) if kind != "autoencoder" else np.full(len(crops), -1)
    predicted = classes_of(network.eval(), crops, np.flatnonzero(checked >= 0), t, fabric.device)
    return {
        "architecture": of,
        "step": np.asarray(history.get("step", [])),
        "loss": np.asarray(history.get("loss", [])),
        "auxiliary_correct": int((predicted == checked[checked >= 0]).sum()),
        "auxiliary_total": len(predicted),
        **{MODEL + name: value.detach().cpu() for name, value in network.state_dict().items()},
    }


@torch.no_grad()
def classes_of(
    network: nn.Module, crops: Crops, rows: NDArray[np.int64], t: int, device: torch.device, batch_size: int = 256
) -> NDArray[np.int64]:
    """The class that a trained network gives to each single cell, `(n,)`; the recurrent one sees the cell t times."""
    out = [np.zeros(0, np.int64)]
    for x in crops_ahead(crops, rows, batch_size, device):
        if getattr(network, "recurrent", None) is not None:
            x = x[:, None].expand(-1, t, -1, -1, -1)
        out.append(network(x).argmax(1).cpu().numpy())
    return np.concatenate(out)


def _settings(run: Mapping[str, Any]) -> dict[str, Any]:
    settings = with_defaults(run, DEFAULTS)
    if settings["kind"] not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {settings['kind']!r}")
    if settings["pairs"] not in PAIRS:
        raise ValueError(f"pairs: expected one of {', '.join(PAIRS)}, got {settings['pairs']!r}")
    return settings
