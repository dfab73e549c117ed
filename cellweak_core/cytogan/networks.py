"""The DCGAN family: one generator and one discriminator for DCGAN, LSGAN and WGAN, and the builder of all models.

    z (n, 100) --fc, BN--> s/8 x s/8 x 256 --3 x (enlarge, conv 5x5, BN)--> s x s x 32 --conv 5x5, tanh--> G(z)
    x --noise--> conv 5x5: 32 --> 64, s/2 --> 128, s/4 --> 256, s/8 --fc--> latent (n, 100) --fc--> score
                                                                            E(x), the representation

Source: Sec. 3 and 4 ("add a hidden layer to the end of the discriminator"); filters, strides and normalisation of the
authors' code, 4,875,267 and 4,764,681 parameters at 96 px and three channels. The latent layer is linear, so that the
decision is linear in the representation.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..screens.networks import require_images
from .began import AutoencodingDiscriminator, BoundaryGenerator
from .bigan import FILTERS, Encoder, JointDiscriminator
from .layers import (
    SLOPE,
    Condition,
    EnlargedConv,
    InputNoise,
    batch_norm,
    divided,
    flat,
    glorot,
    halving,
    scaled,
    unflat,
)
from .variational import Autoencoder, VariationalAutoencoder

FAMILY = ("dcgan", "lsgan", "wgan")
KINDS = (*FAMILY, "began", "bigan", "vae", "autoencoder")


class Generator(nn.Module):
    """Noise to images.

    Args:
        n_channels: Of the images.
        size_px: Their side, a multiple of 8.
        width: Filters as a multiple of the published ones.
        noise: Numbers of a noise vector.
        filters: Of the dense layer and the convolutions but the last.
        condition: Shared with the discriminator.

    Raises:
        ValueError: Another side.
    """

    def __init__(
        self,
        n_channels: int,
        size_px: int,
        width: float = 1.0,
        noise: int = 100,
        filters: tuple[int, ...] = (256, 128, 64, 32),
        condition: Condition | None = None,
    ) -> None:
        super().__init__()
        self.side = divided(size_px, 8, "this generator")
        self.condition = condition or Condition()
        channels = scaled(filters, width)
        self.first = channels[0]
        n = self.first * self.side**2
        self.dense, self.norm = nn.Linear(noise + self.condition.n_out, n), batch_norm(n, of_pixels=False)
        self.convs = nn.ModuleList(EnlargedConv(a, b, 5) for a, b in pairwise(channels))
        self.norms = nn.ModuleList(batch_norm(b) for b in channels[1:])
        self.last = nn.Conv2d(channels[-1], n_channels, 5, padding=2)
        self.apply(glorot)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Images `(n, n_channels, size_px, size_px)` in [-1, 1].

        Args:
            z: `(n, noise)`; when training n is 2 or more, as one image has no spread to be normalised by.
            condition: See `Condition`.
        """
        x = F.leaky_relu(self.norm(self.dense(self.condition(z, condition))), SLOPE)
        x = unflat(x, self.first, self.side)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), SLOPE)
        return torch.tanh(self.last(x))


class Discriminator(nn.Module):
    """Images to a score, by way of the latent layer that represents them.

    Padding is the same on both sides; the authors' framework pads one pixel less before than behind where it halves.

    Args:
        n_channels: Of the images.
        size_px: Their side, a multiple of 8.
        width: Filters as a multiple of the published ones.
        latent: Numbers of the representation.
        input_noise: Standard deviation, while training.
        condition: Shared with the generator; put behind the latent numbers, which do not depend on it.

    Raises:
        ValueError: Another side.
    """

    def __init__(
        self,
        n_channels: int,
        size_px: int,
        width: float = 1.0,
        latent: int = 100,
        input_noise: float = 0.1,
        condition: Condition | None = None,
    ) -> None:
        super().__init__()
        side = divided(size_px, 8, "this discriminator")
        self.shape = (n_channels, size_px)
        self.condition = condition or Condition()
        channels = (n_channels, *scaled((32, 64, 128, 256), width))
        self.input_noise = InputNoise(input_noise)
        self.convs = halving(channels)
        self.latent = nn.Linear(channels[-1] * side**2, latent)
        self.score = nn.Linear(latent + self.condition.n_out, 1)
        self.apply(glorot)

    def encode(self, x: Tensor) -> Tensor:
        """The representation, `(n, latent)`.

        Args:
            x: `(n, n_channels, size_px, size_px)` in [-1, 1].

        Raises:
            ValueError: Images of another shape.
        """
        require_images(x, *self.shape)
        x = self.input_noise(x)
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
        return self.latent(flat(x))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Scores `(n,)`, unbounded: a logit, a least-squares score or a critic's, by the loss."""
        return self.score(self.condition(self.encode(x), condition))[:, 0]


def build(architecture: Mapping[str, Any]) -> nn.ModuleDict:
    """The networks of a model by their description, as `training.train` returns it.

    Args:
        architecture: `kind` (one of `KINDS`), `n_channels`, `size_px`, `width`, `latent`, `noise`, `input_noise`,
            `noise_sd` (of a VAE's code), `n_conditions` and `embedding` (see `layers.Condition`); others are let be.

    Returns:
        `generator` and `discriminator`, of a BiGAN `encoder` too; of a VAE or an autoencoder `autoencoder`.

    Raises:
        ValueError: An unknown kind; a side, a latent size or a condition that it cannot have.
    """
    of, kind = architecture, architecture.get("kind")
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    images: dict[str, Any] = {name: of[name] for name in ("n_channels", "size_px", "width")}
    condition = Condition(of["n_conditions"], of["embedding"])
    if condition.n_conditions and kind not in (*FAMILY, "began"):
        raise ValueError(f"conditions: expected 'none' of {kind}, which is not told any")
    critic: dict[str, Any] = {**images, "latent": of["latent"], "input_noise": of["input_noise"]}
    if kind == "vae":
        own = VariationalAutoencoder(**images, latent=of["latent"], noise_sd=of["noise_sd"])
        return nn.ModuleDict({"autoencoder": own})
    if kind == "autoencoder":
        return nn.ModuleDict({"autoencoder": Autoencoder(of["n_channels"], of["size_px"], of["latent"])})
    if kind == "began":
        return nn.ModuleDict({
            "generator": BoundaryGenerator(**images, noise=of["noise"], condition=condition),
            "discriminator": AutoencodingDiscriminator(**critic, condition=condition),
        })
    if kind == "bigan":
        if of["latent"] != of["noise"]:
            raise ValueError(f"latent: a BiGAN encodes its noise, expected {of['noise']}, got {of['latent']}")
        return nn.ModuleDict({
            "generator": Generator(**images, noise=of["noise"], filters=FILTERS),
            "encoder": Encoder(**critic),
            "discriminator": JointDiscriminator(**critic),
        })
    return nn.ModuleDict({
        "generator": Generator(**images, noise=of["noise"], condition=condition),
        "discriminator": Discriminator(**critic, condition=condition),
    })


def prior(kind: str, n: int, d: int, device: torch.device | str, source: torch.Generator | None = None) -> Tensor:
    """Noise `(n, d)` as a model is trained on it: N(0, 1); of a BiGAN uniform in [0, 1), as the authors' code has it.

    Args:
        kind: One of `KINDS`.
        n: Noise vectors.
        d: Numbers of each.
        device: Where to.
        source: Of the numbers; torch's own where None.
    """
    draw = torch.rand if kind == "bigan" else torch.randn
    return draw(n, d, generator=source, device=device)
