"""A start from simulated embryos: there every rosette's place is known, and not one real label is spent.

simulated image --context network--> logits 16x16  <-- rosette centre near / far from each cell of the map
                                          |
                                        pool  <--  rosette anywhere in the image
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..images import standardise
from ..training import make_fabric, random_source, run_steps, shared_tensor
from .augmentation import relight, warp
from .detectors import average_into, build_detector, learning_rate
from .pooling import pool

NEAR_PX, BLUR_PX = 6.0, 6.0  # within NEAR of a centre a cell of the map is positive, beyond about 2 * BLUR negative


def centre_maps(truth: Sequence[NDArray[Any]], size: int) -> NDArray[np.float32]:
    """Where the rosettes are: a Gaussian of `BLUR_PX` at every centre, `(N, size, size)`, 1 at the centres.

    Args:
        truth: Per image the centres `(k, 2)` as (x, y) in px.
        size: Side of the images in px.
    """
    at = np.arange(size)
    maps = np.zeros((len(truth), size, size), np.float32)
    for image, centres in zip(maps, truth, strict=True):
        for x, y in np.asarray(centres, float).reshape(-1, 2):
            square = (at[None] - x) ** 2 + (at[:, None] - y) ** 2
            np.maximum(image, np.exp(-square / (2 * BLUR_PX**2)), out=image)
    return maps


def place_loss(logits: Tensor, maps: Tensor) -> Tensor:
    """Cross-entropy at the cells of the map that surely hold a rosette's centre, and at those that surely do not.

    Args:
        logits: `(N, h, w)`.
        maps: `(N, 1, H, W)` of `centre_maps`.

    Returns:
        A scalar: the positives' mean weighs .3 (they are few and the simulator's), the negatives' 1.
    """
    peak = F.adaptive_max_pool2d(maps, logits.shape[1:])[:, 0]
    near = (peak > float(np.exp(-(NEAR_PX**2) / (2 * BLUR_PX**2)))).to(logits)
    far = (peak < float(np.exp(-2.0))).to(logits)
    loss_near, loss_far = F.softplus(-logits) * near, F.softplus(logits) * far
    return 0.3 * loss_near.sum() / (near.sum() + 4) + loss_far.sum() / far.sum().clamp_min(1)


def train_on_simulation(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Train the context network on simulated images with known rosette places; a task for `parallel.map_runs`.

    Args:
        run: As `detectors.train_detector`'s, of which `steps, batch_size, lr, weight_decay, average, seed` count.
        shared: `images` (N, H, W) uint8 and `centres`, a list of `[[x, y], ...]` per image.
        checkpoint: Where `training.run_steps` saves.

    Returns:
        `start.*`, the averaged weights, and `loss` (steps,).
    """
    import copy

    fabric = make_fabric(run["device"], run["precision"])
    images = shared_tensor(shared["images"])[:, None]
    maps = torch.from_numpy(centre_maps([np.asarray(c, float) for c in shared["centres"]], images.shape[-1]))[:, None]
    network = build_detector({**run, "start": "random"}).to(fabric.device).train()
    averaged = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), run["lr"], weight_decay=run["weight_decay"])
    choose, vary = random_source(run["seed"]), random_source(run["seed"], fabric.device)

    def step(i: int) -> dict[str, Tensor]:
        for group in optimiser.param_groups:
            group["lr"] = run["lr"] * learning_rate(i, run["steps"], "cosine")
        batch = torch.randint(len(images), (run["batch_size"],), generator=choose)
        # Image and map go through one warp as two channels, so that centres stay on their rosettes.
        moved = warp(torch.cat([images[batch].float(), maps[batch]], 1).to(fabric.device), vary)
        x, centres = relight(moved[:, :1], vary), moved[:, 1:]
        with fabric.autocast():
            logits = network(standardise(x).contiguous(memory_format=torch.channels_last)).float()
        there = (centres.flatten(1).amax(1) > float(np.exp(-(NEAR_PX**2) / (2 * BLUR_PX**2)))).float()
        whole = F.binary_cross_entropy_with_logits(pool(logits, run["pooling"], run["sharpness"]), there)
        loss = place_loss(logits, centres) + whole
        optimiser.zero_grad()
        fabric.backward(loss)
        optimiser.step()
        average_into(averaged, network, min(run["average"], (i + 1) / (i + 10)))
        return {"loss": loss.detach()}

    state: dict[str, Any] = {"network": network, "averaged": averaged, "optimiser": optimiser}
    state |= {"choose": choose, "vary": vary}
    version = checkpoint.stem
    history = run_steps(step, run["steps"], state=state, checkpoint=checkpoint, version=version, desc="simulated start")
    result: dict[str, Any] = {f"start.{name}": value for name, value in averaged.state_dict().items()}
    return result | {"loss": np.asarray(history["loss"])}
