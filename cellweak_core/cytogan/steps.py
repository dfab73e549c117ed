"""One training step of each model.

    noise --G in evaluation--> fakes --+
                                       +--> one step of D on both     fresh noise --G--> D --> one step of G
                          real cells --+

Source: the authors' code, models/gan.py: the fakes that train D come from the generator's moving statistics, those that
train G from their own batch's.
Deviation: the cytogan WGAN mixes each real with a generated cell in one proportion (Gulrajani et al. 2017); the
authors' code draws a proportion for every pixel, which leaves the line between the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..gan import (
    critic_loss,
    cross_entropy_discriminator_loss,
    generator_loss,
    gradient_penalty,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    non_saturating_generator_loss,
    smoothed_labels,
)
from . import losses
from .networks import build, prior

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Values = dict[str, Tensor]


class Balance(nn.Module):
    """BEGAN's k, which moves with every step."""

    k: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("k", torch.tensor(losses.K_LEAST))


@dataclass(frozen=True)
class Parts:
    """What a step works with.

    Attributes:
        settings: Of `variants.settings`.
        networks: Of `networks.build`, training, on the device.
        optimisers: One for each network, under its name.
        balance: Of a BEGAN; of others it stays.
        fabric: For the device and the precision.
    """

    settings: dict[str, Any]
    networks: nn.ModuleDict
    optimisers: dict[str, torch.optim.Optimizer]
    balance: Balance
    fabric: Fabric

    def noise(self, n: int) -> Tensor:
        """Fresh noise, `(n, d)`."""
        return prior(self.settings["kind"], n, self.settings["noise"], self.fabric.device)

    def labels(self, n: int) -> Tensor:
        """Of n real cells, smoothed."""
        return smoothed_labels(n, self.settings["label_low"], self.fabric.device)

    def update(self, name: str, loss: Tensor) -> None:
        """One step of one network; no gradient is computed for the weights of the others."""
        optimiser, own = self.optimisers[name], list(self.networks[name].parameters())
        optimiser.zero_grad()
        self.fabric.backward(loss, inputs=own)
        optimiser.step()

    def inferred(self, name: str, *given: Tensor | None) -> Tensor:
        """A network's output in evaluation, float32, which teaches it nothing."""
        network = self.networks[name]
        with evaluating(network, self.fabric):
            return network(*given).float()


@contextmanager
def evaluating(network: nn.Module, fabric: Fabric) -> Iterator[None]:
    """A network in evaluation, without gradients and in the fabric's precision; its mode is put back."""
    training = network.training
    network.eval()
    with torch.no_grad(), fabric.autocast():
        yield
    network.train(training)


def assembled(settings: Mapping[str, Any], architecture: Mapping[str, Any], fabric: Fabric) -> Parts:
    """Networks with fresh weights, channels last on the device, and their optimisers.

    Args:
        settings: Of `variants.settings`.
        architecture: Of `variants.architecture_of`.
        fabric: For the device and the precision.

    Raises:
        ValueError: As `networks.build`; a learning rate that is not above 0.
    """
    device, optimisers = fabric.device, dict[str, torch.optim.Optimizer]()
    networks = build(architecture).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, network in networks.items():
        rate = settings[f"lr_{name}"]
        if not rate > 0:
            raise ValueError(f"lr_{name}: expected above 0, got {rate}")
        betas, fused = (settings["beta1"], 0.999), device.type in ("cpu", "cuda") or None
        optimisers[name] = torch.optim.Adam(network.parameters(), rate, betas, fused=fused)
    own = {**settings, "noise": architecture["noise"]}
    return Parts(own, networks.train(), optimisers, Balance().to(device), fabric)


def step(parts: Parts, real: Tensor, condition: Tensor | None = None) -> Values:
    """One step of all networks of a model.

    Args:
        parts: Changed: weights, optimisers, k.
        real: `(critic_steps * n, C, H, W)` in [-1, 1]; the discriminator sees n in each of its steps, the generator
            makes n.
        condition: `(critic_steps * n, n_conditions)`, or None.

    Returns:
        What to log, scalars on the device.
    """
    kind = parts.settings["kind"]
    if kind in ("vae", "autoencoder"):
        return _autoencoder(parts, real)
    values: Values = {}
    train_discriminator = {"began": _boundary_discriminator, "bigan": _joint_discriminator}.get(kind, _discriminator)
    times = parts.settings["critic_steps"]
    told = [None] * times if condition is None else condition.chunk(times)
    for own, its in zip(real.chunk(times), told, strict=True):
        values = train_discriminator(parts, own, its)
    train_generator = {"began": _boundary_generator, "bigan": _joint_generator}.get(kind, _generator)
    return values | train_generator(parts, real[-len(real) // times :], told[-1])


def _discriminator(parts: Parts, real: Tensor, condition: Tensor | None) -> Values:
    kind, discriminator = parts.settings["kind"], parts.networks["discriminator"]
    fake = parts.inferred("generator", parts.noise(len(real)), condition)
    both = None if condition is None else torch.cat([condition, condition])
    with parts.fabric.autocast():
        scores = discriminator(torch.cat([fake, real]), both).float()
    of_fake, of_real = scores.chunk(2)
    if kind == "wgan":
        loss = critic_loss(of_real, of_fake)
        with parts.fabric.autocast():
            penalty = gradient_penalty(lambda x: discriminator(x, condition).float(), real, fake)
        parts.update("discriminator", loss + parts.settings["penalty_weight"] * penalty)
        return {"discriminator_loss": loss.detach(), "penalty": penalty.detach()}
    of_both = cross_entropy_discriminator_loss if kind == "dcgan" else least_squares_discriminator_loss
    loss = of_both(of_real, of_fake, parts.labels(len(real)))
    parts.update("discriminator", loss)
    return {"discriminator_loss": loss.detach()}


def _generator(parts: Parts, real: Tensor, condition: Tensor | None) -> Values:
    with parts.fabric.autocast():
        fake = parts.networks["generator"](parts.noise(len(real)), condition)
        scores = parts.networks["discriminator"](fake, condition).float()
    of_fake = {"dcgan": non_saturating_generator_loss, "lsgan": least_squares_generator_loss, "wgan": generator_loss}
    loss = of_fake[parts.settings["kind"]](scores)
    parts.update("generator", loss)
    return {"generator_loss": loss.detach()}


def _boundary_discriminator(parts: Parts, real: Tensor, condition: Tensor | None) -> Values:
    gamma, k = parts.settings["gamma"], parts.balance.k
    fake = parts.inferred("generator", parts.noise(len(real)), condition)
    both = None if condition is None else torch.cat([condition, condition])
    with parts.fabric.autocast():
        repeated = parts.networks["discriminator"](torch.cat([fake, real]), both)
    of_fake, of_real = (
        losses.l1_reconstruction(x, again.float()) for x, again in zip((fake, real), repeated.chunk(2), strict=True)
    )
    loss = losses.boundary_discriminator_loss(of_real, of_fake, k.clone())
    parts.update("discriminator", loss)
    of_real, of_fake = of_real.detach(), of_fake.detach()
    k.copy_(losses.next_k(k, of_real, of_fake, gamma, parts.settings["gain"]))
    measure = losses.convergence_measure(of_real, of_fake, gamma)
    return {"discriminator_loss": loss.detach(), "real_loss": of_real, "k": k.clone(), "convergence": measure}


def _boundary_generator(parts: Parts, real: Tensor, condition: Tensor | None) -> Values:
    with parts.fabric.autocast():
        fake = parts.networks["generator"](parts.noise(len(real)), condition)
        repeated = parts.networks["discriminator"](fake, condition)
    loss = losses.l1_reconstruction(fake.float(), repeated.float())
    parts.update("generator", loss)
    return {"generator_loss": loss.detach()}


def _joint_discriminator(parts: Parts, real: Tensor, _: Tensor | None) -> Values:
    z = parts.noise(len(real))
    fake, code = parts.inferred("generator", z), parts.inferred("encoder", real)
    with parts.fabric.autocast():
        logits = parts.networks["discriminator"](torch.cat([fake, real]), torch.cat([z, code])).float()
    of_fake, of_real = logits.chunk(2)
    loss = cross_entropy_discriminator_loss(of_real, of_fake, parts.labels(len(real)))
    parts.update("discriminator", loss)
    return {"discriminator_loss": loss.detach()}


def _joint_generator(parts: Parts, real: Tensor, _: Tensor | None) -> Values:
    z, discriminator = parts.noise(len(real)), parts.networks["discriminator"]
    with parts.fabric.autocast():
        of_fake = discriminator(parts.networks["generator"](z), z).float()
    loss = non_saturating_generator_loss(of_fake)
    parts.update("generator", loss)
    with parts.fabric.autocast():
        of_real = discriminator(real, parts.networks["encoder"](real)).float()
    of_encoder = losses.encoder_loss(of_real)
    parts.update("encoder", of_encoder)
    return {"generator_loss": loss.detach(), "encoder_loss": of_encoder.detach()}


def _autoencoder(parts: Parts, real: Tensor) -> Values:
    with parts.fabric.autocast():
        out = parts.networks["autoencoder"](real)
    if parts.settings["kind"] == "autoencoder":
        loss = losses.squared_error(real, out.float())
        parts.update("autoencoder", loss)
        return {"reconstruction_loss": loss.detach()}
    repeated, mean, log_sd = out
    error, divergence = losses.squared_error(real, repeated.float()), losses.kl_divergence(mean, log_sd)
    parts.update("autoencoder", error + divergence)
    return {"reconstruction_loss": error.detach(), "divergence": divergence.detach()}
