"""Setting (a), the paper's own: labelled windows, many small networks trained side by side.

    member 0: start random, 100 % of the labels, seed 0 \\
    member 1: start wgan,   100 % of the labels, seed 0  >  one stacked network, one optimiser step for all
    member 2: start random,  20 % of the labels, seed 0 /

The networks are independent: each has its own weights, moving statistics, labels, batches and dropout; only the
arithmetic is shared (`torch.func.vmap`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from ..images import augment, scale_to_unit
from ..training import make_fabric, random_source, run_steps, shared_tensor
from .networks import Classifier, Discriminator
from .splits import subset
from .transfer import transfer
from .wgan import part

STARTS = {"random": "conventional", "wgan": "GAN"}  # start -> the paper's name of the classifier


def classifier(run: Mapping[str, Any], slope: float = 0.01) -> Classifier:
    """An untrained classifier of a run's sizes (`width, image_size, n_convs, fc, dropout, bn_momentum`)."""
    return Classifier(
        run["width"], run["image_size"], run["n_convs"], run["fc"], slope, run["dropout"], run["bn_momentum"]
    )


def started(run: Mapping[str, Any], start: str, discriminator: Mapping[str, Tensor], seed: int) -> Classifier:
    """An untrained classifier with its start: random, or the WGAN discriminator's features.

    Args:
        run: Sizes, and `transfer`, the rule of `transfer.transfer`.
        start: "random" or "wgan".
        discriminator: The trained discriminator's state, used by "wgan".
        seed: Of the random weights; equal seeds give both starts the same random rest.

    Raises:
        ValueError: Another start, or no discriminator to start from.
    """
    if start not in STARTS:
        raise ValueError(f"start: expected one of {', '.join(STARTS)}, got {start!r}")
    torch.manual_seed(seed)
    model = classifier(run)
    if start == "wgan":
        if not discriminator:
            raise ValueError("start: 'wgan' needs the trained discriminator's state, got none; train the WGAN first")
        source = Discriminator(
            run["width"], run["image_size"], run["n_convs"], run["fc"], bn_momentum=run["bn_momentum"]
        )
        source.load_state_dict(dict(discriminator))
        transfer(source, model, run["transfer"])
    return model


class Ensemble(nn.Module):
    """K independent networks of one architecture, run as one batch.

    Args:
        models: The networks; they are copied.
    """

    def __init__(self, models: Sequence[Classifier]) -> None:
        super().__init__()
        params, buffers = stack_module_state(list(models))
        self.members = len(models)
        self.names = (tuple(params), tuple(buffers))
        for name, value in params.items():
            self.register_parameter(self._flat(name), nn.Parameter(value.detach().clone()))
        for name, value in buffers.items():
            self.register_buffer(self._flat(name), value.detach().clone())
        # Kept out of the module tree: it lends its forward pass, its weights are never used.
        self.__dict__["base"] = copy.deepcopy(models[0]).to("meta")

    @staticmethod
    def _flat(name: str) -> str:
        return name.replace(".", "__")

    def stacked(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Parameters and buffers by their names in one network, each with a leading axis of members."""
        params, buffers = ({name: getattr(self, self._flat(name)) for name in names} for names in self.names)
        return params, buffers

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(K, N, 2)`.

        Args:
            x: `(K, N, 1, H, W)`, each member's own images, or `(N, 1, H, W)`, the same for all.
        """
        base: Classifier = self.__dict__["base"].train(self.training)

        def one(params: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Tensor:
            return functional_call(base, (params, buffers), (images,))

        params, buffers = self.stacked()
        if self.members == 1:  # nothing to batch, and vmap's grouped convolutions are slower than plain ones
            first = ({k: v[0] for k, v in params.items()}, {k: v[0] for k, v in buffers.items()})
            return one(*first, x[0] if x.ndim == 5 else x)[None]
        return vmap(one, in_dims=(0, 0, 0 if x.ndim == 5 else None), randomness="different")(params, buffers, x)

    def member(self, k: int) -> dict[str, Tensor]:
        """One network's state dict."""
        params, buffers = self.stacked()
        return {name: value[k].detach().clone() for name, value in {**params, **buffers}.items()}


@torch.no_grad()
def scored(model: Ensemble, images: Tensor, batch: int = 512) -> Tensor:
    """Rosette probability of each test window for each member, `(K, N)`, dropout off, moving statistics."""
    model.eval()
    parts = [model(scale_to_unit(chunk)).softmax(-1)[..., 1] for chunk in images.split(batch)]
    model.train()
    return torch.cat(parts, 1)


def train_classifiers(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Train an ensemble of window classifiers; a task for `parallel.map_runs`.

    Softmax cross-entropy, Adam, no class weights, each batch drawn from the member's own labels with replacement,
    the authors' augmentation (flips, brightness, contrast).

    Args:
        run: The sizes; `starts, fractions, seeds` (one entry per member); `steps, batch_size, lr, transfer,
            eval_every, device, keep_weights` (positions of the members whose weights to return).
        shared: `train_images` (n, H, W) uint8, `train_target` (n,), `test_images`, `test_target`, and
            `discriminator.*`, the trained discriminator's state.
        checkpoint: Where `training.run_steps` saves.

    Returns:
        `probabilities` (K, n_test) at the end; `curve_step` (E,), `curve_probabilities` (K, E, n_test);
        `n_labels` (K,); `member<k>.*`: weights of the members asked for.
    """
    fabric = make_fabric(run["device"])
    discriminator = part(shared, "discriminator")
    members = [
        started(run, start, discriminator, seed) for start, seed in zip(run["starts"], run["seeds"], strict=True)
    ]
    target = np.asarray(shared["train_target"])
    known = pd.DataFrame({"target": target})
    subsets = [
        subset(np.arange(len(target)), known, fraction, seed)
        for fraction, seed in zip(run["fractions"], run["seeds"], strict=True)
    ]
    k, batch = len(members), run["batch_size"]
    table = torch.zeros(k, max(map(len, subsets)), dtype=torch.long)
    for row, chosen in zip(table, subsets, strict=True):
        row[: len(chosen)] = torch.from_numpy(chosen)
    sizes = torch.tensor([len(s) for s in subsets])
    images = shared_tensor(shared["train_images"])[:, None].to(fabric.device)
    labels = shared_tensor(target).long().to(fabric.device)
    test = shared_tensor(shared["test_images"])[:, None].to(fabric.device)

    torch.manual_seed(run["seeds"][0])  # dropout
    model = Ensemble(members).to(fabric.device).train()
    optimiser = torch.optim.Adam(model.parameters(), run["lr"])
    choose = random_source(run["seeds"][0])
    vary = random_source(run["seeds"][0], fabric.device)
    n_evaluations = -(-run["steps"] // run["eval_every"])
    curve = Curve(k, n_evaluations, len(test))

    def step(i: int) -> dict[str, Tensor]:
        drawn = (torch.rand(k, batch, generator=choose) * sizes[:, None]).long()
        chosen = table.gather(1, drawn).flatten().to(fabric.device)
        x = scale_to_unit(augment(images[chosen], vary)).view(k, batch, *images.shape[1:])
        with fabric.autocast():
            logits = model(x)
            # Summed over members: their gradients never meet, so that each gets its own mean.
            loss = F.cross_entropy(logits.flatten(0, 1), labels[chosen], reduction="none").view(k, batch).mean(1)
        optimiser.zero_grad()
        fabric.backward(loss.sum())
        optimiser.step()
        if (i + 1) % run["eval_every"] == 0 or i + 1 == run["steps"]:
            curve.add(i + 1, scored(model, test))
        return {"loss": loss.mean().detach()}

    state: dict[str, Any] = {"model": model, "optimiser": optimiser, "choose": choose, "vary": vary, "curve": curve}
    history = run_steps(
        step, run["steps"], state=state, checkpoint=checkpoint, version=checkpoint.stem, desc="classifiers"
    )
    result: dict[str, Any] = {
        "probabilities": curve.values[:, -1],
        "curve_step": curve.steps,
        "curve_probabilities": curve.values,
        "n_labels": sizes,
        "loss": np.asarray(history["loss"]),
    }
    for m in run["keep_weights"]:
        result |= {f"member{m}.{name}": value for name, value in model.member(m).items()}
    return result


class Curve(nn.Module):
    """Test probabilities at each evaluation; a module so that checkpoints carry it."""

    steps: Tensor
    values: Tensor
    filled: Tensor

    def __init__(self, members: int, evaluations: int, n_test: int) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(evaluations, dtype=torch.long))
        self.register_buffer("values", torch.zeros(members, evaluations, n_test))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    def add(self, step: int, probabilities: Tensor) -> None:
        """Append the probabilities `(members, n_test)` after `step` steps."""
        at = int(self.filled)
        self.steps[at], self.values[:, at] = step, probabilities.detach().cpu()
        self.filled += 1
