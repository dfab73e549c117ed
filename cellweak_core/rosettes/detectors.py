"""Setting (b), weak labels: an image is labelled, its window is not; pooled window scores learn from it alone.

    image --normalise--> window network over the whole image --> logits 13x13 --pool--> image logit --> loss
                                                                     |
                                                              heat map of Fig. 11
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..images import augment, scale_to_unit, standardise
from ..training import average_into, learning_rate, make_fabric, random_source, run_steps, shared_tensor
from .augmentation import strong
from .classifiers import classifier, started
from .context import ContextNet
from .networks import Classifier
from .pooling import pool
from .splits import subset
from .wgan import part

NETWORKS = ("window", "image", "context")
AUGMENTATIONS = ("none", "authors", "strong")
NORMALISATIONS: dict[str, Callable[[Tensor], Tensor]] = {"standardise": standardise, "unit": scale_to_unit}


class WindowScores(nn.Module):
    """Any of the networks as a map of window logits.

    Args:
        network: `Classifier` run densely ("window") or on the whole image ("image"), or `ContextNet`.
        dense: Whether a `Classifier` is run densely.
    """

    def __init__(self, network: nn.Module, dense: bool) -> None:
        super().__init__()
        self.network, self.dense = network, dense

    def forward(self, x: Tensor) -> Tensor:
        """Window logits `(N, h, w)` of images `(N, 1, H, W)`; the 128-px network has one window, `(N, 1, 1)`."""
        if not isinstance(self.network, Classifier):
            return self.network(x)
        if self.dense:
            return self.network.dense(x)
        logits = self.network(x)
        return (logits[:, 1] - logits[:, 0])[:, None, None]


def build_detector(run: Mapping[str, Any], discriminator: Mapping[str, Tensor] | None = None) -> WindowScores:
    """The untrained detector of a run.

    Args:
        run: `network`: "window" (the paper's 32-px network over the whole image), "image" (the authors' 128-px
            network: five convolutions) or "context" (`ContextNet`); its sizes; `start`: "random" or "wgan"; `seed`.
        discriminator: State of a trained discriminator of the same sizes, for the start "wgan".

    Raises:
        ValueError: An unknown network, or a WGAN start for a network that is no discriminator's twin.
    """
    torch.manual_seed(run["seed"])
    if run["network"] == "context":
        if run["start"] == "wgan":
            raise ValueError("start: the context network is no discriminator's twin; give it start='random'")
        return WindowScores(ContextNet(run["context_width"], run["context_dropout"]), dense=False)
    if run["network"] not in NETWORKS:
        raise ValueError(f"network: expected one of {', '.join(NETWORKS)}, got {run['network']!r}")
    if run["network"] == "image":
        # As wide as the authors' at width 32: five convolutions, four times the fc1 units.
        run = {**run, "n_convs": 5, "fc": 4 * run["fc"]}
    network = started(run, "wgan", discriminator or {}, run["seed"]) if run["start"] == "wgan" else classifier(run)
    return WindowScores(network, dense=run["network"] == "window")


def _augmented(images: Tensor, how: str, source: torch.Generator) -> Tensor:
    if how == "none":
        return images.float()
    if how == "authors":
        return augment(images, source, rot90=True)
    if how == "strong":
        return strong(images, source)
    raise ValueError(f"augmentation: expected one of {', '.join(AUGMENTATIONS)}, got {how!r}")


@torch.no_grad()
def window_logits(
    model: nn.Module, images: NDArray[np.uint8] | Tensor, normalise: str, batch: int = 64, n_turns: int = 1
) -> Tensor:
    """Heat maps: the window logits of each image, dropout off.

    Args:
        model: A `WindowScores`.
        images: `(N, H, W)` uint8.
        normalise: A name of `NORMALISATIONS`.
        batch: Images at a time, which bounds the memory.
        n_turns: Mean over this many of the eight turns and flips of the image (1 or 8), each map turned back.

    Returns:
        `(N, h, w)` float32 on the CPU.
    """
    device = next(model.parameters()).device
    model.eval()
    maps = []
    for chunk in shared_tensor(images)[:, None].split(batch):
        x = NORMALISATIONS[normalise](chunk.to(device))
        total = torch.zeros(())
        for k in range(n_turns):
            turned = torch.rot90(x.flip(3) if k >= 4 else x, k % 4, (2, 3))
            back = torch.rot90(model(turned.contiguous(memory_format=torch.channels_last)), -(k % 4), (1, 2))
            total = total + (back.flip(2) if k >= 4 else back).float().cpu()
        maps.append(total / n_turns)
    return torch.cat(maps)


def image_probability(maps: Tensor, run: Mapping[str, Any]) -> Tensor:
    """Rosette probability of each image, `(N,)`, from its window logits `(N, h, w)` by the run's pooling."""
    return pool(maps, run["pooling"], run["sharpness"]).sigmoid()


def train_detector(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Train one weak detector on some folds' image labels, score the others; a task for `parallel.map_runs`.

    Binary cross-entropy on the pooled logit, AdamW, an exponential moving average of weights and statistics.

    Args:
        run: See `build_detector`; `test_fold` (the fold to score; all others train), `fraction, seed, steps,
            batch_size, lr, lr_factor, steps_factor, weight_decay, schedule, average (decay of the moving average),
            augmentation, normalise, pooling, sharpness, n_turns, device, precision, keep_weights`.
        shared: `images` (N, H, W) uint8, `target` (N,), `fold` (N,) int, `discriminator<fold>.*` or
            `discriminator.*` for the start "wgan", `start.*` for a start from given weights.
        checkpoint: Where `training.run_steps` saves.

    Returns:
        `probability` (n_test,) by `test_index` (n_test,), `n_labels`, `prior` (rosette share of the labels used),
        `loss` (steps,), and with keep_weights `model.*` and the test images' `maps` (n_test, h, w).
    """
    fabric = make_fabric(run["device"], run["precision"])
    target, fold = np.asarray(shared["target"]), np.asarray(shared["fold"])
    images = shared_tensor(shared["images"])
    test = np.flatnonzero(fold == run["test_fold"])
    train = np.flatnonzero((fold != run["test_fold"]) & (fold >= 0) & (target >= 0))
    if set(target[train].tolist()) != {0, 1}:
        raise ValueError(f"fold: outside test fold {run['test_fold']}, expected labels of both classes to train on")
    chosen = subset(train, pd.DataFrame({"target": target}), run["fraction"], run["seed"])
    discriminator = part(shared, f"discriminator{run['test_fold']}") or part(shared, "discriminator")
    run = {**run, "image_size": images.shape[-1]} if run["network"] == "image" else run
    network = build_detector(run, discriminator)
    if run["start"] == "given":
        network.load_state_dict(part(shared, "start"))
    network = network.to(fabric.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    averaged = copy.deepcopy(network)
    rate, steps = run["lr"] * run.get("lr_factor", 1.0), max(1, round(run["steps"] * run.get("steps_factor", 1.0)))
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=run["weight_decay"])
    choose, vary = random_source(run["seed"]), random_source(run["seed"], fabric.device)
    x_train = images[torch.from_numpy(chosen)][:, None].to(fabric.device)
    y_train = torch.as_tensor(target[chosen], dtype=torch.float32).to(fabric.device)
    epochs = Epochs(len(chosen), run["batch_size"], choose)
    normalise = NORMALISATIONS[run["normalise"]]

    def step(i: int) -> dict[str, Tensor]:
        for group in optimiser.param_groups:
            group["lr"] = rate * learning_rate(i, steps, run["schedule"])
        batch = epochs.next().to(fabric.device)
        x = normalise(_augmented(x_train[batch], run["augmentation"], vary))
        with fabric.autocast():
            maps = network(x.contiguous(memory_format=torch.channels_last))
        loss = F.binary_cross_entropy_with_logits(
            pool(maps.float(), run["pooling"], run["sharpness"]), y_train[batch]
        )
        optimiser.zero_grad()
        fabric.backward(loss)
        optimiser.step()
        average_into(averaged, network, min(run["average"], (i + 1) / (i + 10)))
        return {"loss": loss.detach()}

    state = {
        "network": network,
        "averaged": averaged,
        "optimiser": optimiser,
        "choose": choose,
        "vary": vary,
        "epochs": epochs,
    }
    version = checkpoint.stem
    history = run_steps(step, steps, state=state, checkpoint=checkpoint, version=version, desc="detector")
    maps = window_logits(averaged, images[torch.from_numpy(test)], run["normalise"], n_turns=run["n_turns"])
    result: dict[str, Any] = {
        "probability": image_probability(maps, run),
        "test_index": test,
        "n_labels": len(chosen),
        "prior": float(target[chosen].mean()),
        "loss": np.asarray(history["loss"]),
    }
    if run["keep_weights"]:
        result |= {f"model.{name}": value for name, value in averaged.state_dict().items()} | {"maps": maps}
    return result


class Epochs(nn.Module):
    """Batches of indices without replacement, epoch after epoch; a module so that checkpoints carry its place.

    A batch may span two epochs, so that all batches are equally large (labels fewer than a batch repeat in it).
    """

    waiting: Tensor

    def __init__(self, n: int, batch: int, source: torch.Generator) -> None:
        super().__init__()
        if n < 1 or batch < 1:
            raise ValueError(f"n and batch: expected at least one label and one image per batch, got {n} and {batch}")
        self.n, self.batch, self.source = n, batch, source
        self.register_buffer("waiting", torch.full((n + batch,), -1, dtype=torch.long))

    def next(self) -> Tensor:
        """The next batch's indices, `(batch,)`."""
        queue = self.waiting[self.waiting >= 0]
        while len(queue) < self.batch:
            queue = torch.cat([queue, torch.randperm(self.n, generator=self.source)])
        self.waiting.fill_(-1)
        rest = queue[self.batch :]
        self.waiting[: len(rest)] = rest
        return queue[: self.batch]


def restored(run: Mapping[str, Any], result: Mapping[str, Any]) -> WindowScores:
    """The trained detector of a result that kept its weights, in evaluation mode."""
    state = part(result, "model")
    if run["network"] == "image":
        # Its size is that of the images it was trained on: fc1 sees the last convolution's channels, side by side.
        places = state["network.fc1.weight"].shape[1] // len(state["network.trunk.norms.4.beta"])
        run = {**run, "image_size": math.isqrt(places) * 2**5}
    model = build_detector({**run, "start": "random"})
    model.load_state_dict(state)
    return model.eval()
