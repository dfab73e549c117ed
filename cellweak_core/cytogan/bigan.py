"""BiGAN: an encoder that is trained against the same discriminator as the generator.

    z --G--> G(z) --+--> (G(z), z) --\\
                                      D --> which of the two is it?
    x --E--> E(x) --+--> (x, E(x)) --/

Source: Donahue et al. 2017; filters, dropout and the noise, uniform in [0, 1), of the authors' code.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..screens.networks import require_images
from .layers import SLOPE, InputNoise, batch_norm, divided, flat, glorot, halving, scaled

FILTERS = (128, 64, 32, 16)  # of generator, encoder and discriminator alike
DENSE = (1024, 1024, 256)
DROPOUT = 0.5


class Encoder(nn.Module):
    """Images to codes; arguments and errors as `networks.Discriminator`."""

    def __init__(
        self, n_channels: int, size_px: int, width: float = 1.0, latent: int = 100, input_noise: float = 0.1
    ) -> None:
        super().__init__()
        self.shape, side = (n_channels, size_px), divided(size_px, 8, "this encoder")
        self.input_noise = InputNoise(input_noise)
        channels = scaled(FILTERS, width)
        self.convs = halving((n_channels, *channels))
        self.norms = nn.ModuleList(batch_norm(n) for n in channels)
        self.latent = nn.Linear(channels[-1] * side**2, latent)
        self.apply(glorot)

    def forward(self, x: Tensor) -> Tensor:
        """The code, `(n, latent)`; batches that train need two images or more only at a side of 8."""
        require_images(x, *self.shape)
        x = self.input_noise(x)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), SLOPE)
        return self.latent(flat(x))


class JointDiscriminator(nn.Module):
    """Pairs of image and code to a logit: 1 for a real image with its encoded code, 0 for a code with its picture."""

    def __init__(
        self, n_channels: int, size_px: int, width: float = 1.0, latent: int = 100, input_noise: float = 0.1
    ) -> None:
        super().__init__()
        self.shape, side = (n_channels, size_px), divided(size_px, 8, "this discriminator")
        self.input_noise, self.dropout = InputNoise(input_noise), nn.Dropout(DROPOUT)
        channels = scaled(FILTERS, width)
        self.convs = halving((n_channels, *channels))
        units = (channels[-1] * side**2 + latent, *scaled(DENSE, width))
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(units))
        self.score = nn.Linear(units[-1], 1)
        self.apply(glorot)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Logits `(n,)` of images `(n, n_channels, size_px, size_px)` and codes `(n, latent)`."""
        require_images(x, *self.shape)
        x = self.input_noise(x)
        for conv in self.convs:
            x = self.dropout(F.leaky_relu(conv(x), SLOPE))
        x = flat(x)
        x = torch.cat([x, code.to(x.dtype)], 1)
        for dense in self.dense:
            x = self.dropout(F.leaky_relu(dense(x), SLOPE))
        return self.score(x)[:, 0]
