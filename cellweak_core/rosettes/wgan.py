"""Step one of the paper: a Wasserstein GAN learns what unlabelled windows look like."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..gan import critic_loss, generator_loss, gradient_penalty
from ..images import scale_to_unit
from ..training import make_fabric, random_source, run_steps, shared_tensor
from .networks import Discriminator, Generator


def unlabelled_patches(images: NDArray[np.uint8], size: int, how: str, seed: int) -> NDArray[np.uint8]:
    """The WGAN's training windows.

    Args:
        images: `(N, H, W)` unlabelled images.
        size: Side of a window in px.
        how: "random": one window at a random place of every image (the text, Sec. 2.1.2: 11,250 of them); "tiles": all
            windows that tile the image (the authors' `preprocess/cut_image.py`: 180,000 of them).
        seed: Seed of the random places.

    Returns:
        `(M, size, size)` uint8.

    Raises:
        ValueError: An unknown way, or images smaller than the window.
    """
    n, height, width = images.shape
    if min(height, width) < size:
        raise ValueError(f"images: expected at least {size}x{size} px for windows of {size}, got {height}x{width}")
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    if how == "random":
        rng = np.random.default_rng(seed)
        tops = rng.integers(0, height - size + 1, n)
        lefts = rng.integers(0, width - size + 1, n)
        return windows[np.arange(n), tops, lefts]
    if how == "tiles":
        return windows[:, ::size, ::size].reshape(-1, size, size)
    raise ValueError(f"how: expected 'random' or 'tiles', got {how!r}")


def build(run: Mapping[str, Any]) -> tuple[Generator, Discriminator]:
    """Generator and discriminator of a run's sizes (`width, image_size, n_convs, fc, noise, bn_momentum`)."""
    generator = Generator(run["width"], run["image_size"], run["noise"], run["bn_momentum"])
    discriminator = Discriminator(
        run["width"], run["image_size"], run["n_convs"], run["fc"], bn_momentum=run["bn_momentum"]
    )
    return generator, discriminator


def train_wgan(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Train the WGAN with gradient penalty (Eq. 2); a task for `parallel.map_runs`.

    One critic step per generator step, Adam with beta1 = .5, L2 weight decay, as the authors' `train.py:35-68`; the
    paper gives none of these.

    Args:
        run: The sizes (see `build`) and `seed, steps, batch_size, lr_generator, lr_discriminator, beta1,
            penalty_weight, weight_decay, device, precision`.
        shared: `patches`, `(M, size, size)` uint8.
        checkpoint: Where `training.run_steps` saves.

    Returns:
        `generator.*` and `discriminator.*` (the trained states), `step, generator_loss, discriminator_loss, penalty`
        (curves: `(steps,)`; the discriminator's without its penalty, as Fig. 3d).
    """
    fabric = make_fabric(run["device"], run["precision"])
    torch.manual_seed(run["seed"])
    generator, discriminator = (network.to(fabric.device) for network in build(run))
    source = random_source(run["seed"], fabric.device)
    options: dict[str, Any] = {"betas": (run["beta1"], 0.999), "weight_decay": run["weight_decay"]}
    adam_g = torch.optim.Adam(generator.parameters(), run["lr_generator"], **options)
    adam_d = torch.optim.Adam(discriminator.parameters(), run["lr_discriminator"], **options)
    patches = shared_tensor(shared["patches"])[:, None]
    batch = run["batch_size"]

    def noise() -> Tensor:
        return torch.randn(batch, run["noise"], generator=source, device=fabric.device)

    def step(_: int) -> dict[str, Tensor]:
        chosen = torch.randint(len(patches), (batch,), generator=source, device=fabric.device)
        real = scale_to_unit(patches[chosen.cpu()].to(fabric.device))
        with fabric.autocast():
            with torch.no_grad():  # the critic's step teaches the generator nothing
                fake = generator(noise())
            loss_d = critic_loss(discriminator(real), discriminator(fake))
            penalty = gradient_penalty(discriminator, real, fake, source)
        adam_d.zero_grad()
        fabric.backward(loss_d + run["penalty_weight"] * penalty)
        adam_d.step()
        with fabric.autocast():
            loss_g = generator_loss(discriminator(generator(noise())))
        adam_g.zero_grad()
        fabric.backward(loss_g)
        adam_g.step()
        return {
            "generator_loss": loss_g.detach(),
            "discriminator_loss": loss_d.detach(),
            "penalty": penalty.detach(),
        }

    state = {
        "generator": generator,
        "discriminator": discriminator,
        "adam_g": adam_g,
        "adam_d": adam_d,
        "source": source,
    }
    version = checkpoint.stem  # the file's name is the digest of parameters, data and code
    history = run_steps(step, run["steps"], state=state, checkpoint=checkpoint, version=version, desc="WGAN")
    result: dict[str, Any] = {name: np.asarray(values) for name, values in history.items()}
    result |= {f"generator.{k}": v for k, v in generator.state_dict().items()}
    result |= {f"discriminator.{k}": v for k, v in discriminator.state_dict().items()}
    return result


def part(result: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The state dict stored under `prefix.` in a result."""
    return {k.removeprefix(f"{prefix}."): v for k, v in result.items() if k.startswith(f"{prefix}.")}


@torch.no_grad()
def generate(generator: Generator, n: int, seed: int) -> NDArray[np.uint8]:
    """Generated windows as grey images, `(n, size, size)` uint8 (Fig. 3a); moving statistics, as at test time."""
    generator.eval()
    z = torch.randn(n, generator.noise, generator=random_source(seed))
    return ((generator(z)[:, 0] * 128 + 128).round().clamp(0, 255)).to(torch.uint8).numpy()
