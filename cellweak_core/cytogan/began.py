"""BEGAN: a discriminator that is an autoencoder, with a generator like its decoder.

    z (n, 100) --fc, elu--> s/8 x s/8 x 128 --4 stages of 2 conv 3x3, enlarged between--> conv 3x3, tanh --> G(z)
    x --noise--> 4 stages of 3 conv 3x3 (64, 128, 256, 384), each halves --fc--> code (n, 100) --> like G, linear

Source: Berthelot et al. 2017; filters of the authors' code, whose encoder takes out the noise that it is given
("denoising"). No batch normalisation anywhere.
Deviation: a conditional cytogan BEGAN is told its condition in the generator and in the decoder, beside the code, so
that encoding needs none; the place in the authors' code changed from version to version.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..screens.networks import require_images
from .layers import Condition, EnlargedConv, InputNoise, divided, flat, glorot, scaled, unflat

DECODER_FILTERS = 128  # of every convolution of generator and decoder
ENCODER_FILTERS = (64, 128, 256, 384)


class _Decoder(nn.Module):
    """Numbers to images, without the last non-linearity."""

    def __init__(self, n_channels: int, size_px: int, n_numbers: int, width: float) -> None:
        super().__init__()
        (self.filters,) = scaled([DECODER_FILTERS], width)
        n, self.side = self.filters, divided(size_px, 8, "this generator")
        self.dense = nn.Linear(n_numbers, n * self.side**2)
        self.convs = nn.ModuleList(
            nn.Conv2d(n, n, 3, padding=1) if k % 2 or k == 0 else EnlargedConv(n, n, 3) for k in range(8)
        )
        self.last = nn.Conv2d(n, n_channels, 3, padding=1)

    def forward(self, numbers: Tensor, bent: bool) -> Tensor:
        x = self.dense(numbers)
        x = unflat(F.elu(x) if bent else x, self.filters, self.side)
        for conv in self.convs:
            x = F.elu(conv(x))
        return self.last(x)


class BoundaryGenerator(nn.Module):
    """Noise to images; arguments as `networks.Generator`."""

    def __init__(
        self, n_channels: int, size_px: int, width: float = 1.0, noise: int = 100, condition: Condition | None = None
    ) -> None:
        super().__init__()
        self.condition = condition or Condition()
        self.decoder = _Decoder(n_channels, size_px, noise + self.condition.n_out, width)
        self.apply(glorot)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Images `(n, n_channels, size_px, size_px)` in [-1, 1] of noise `(n, noise)`."""
        return torch.tanh(self.decoder(self.condition(z, condition), bent=True))


class AutoencodingDiscriminator(nn.Module):
    """Images to images, by way of a code; what it cannot repeat is not real.

    Args:
        n_channels: Of the images.
        size_px: Their side, a multiple of 16.
        width: Filters as a multiple of the published ones.
        latent: Numbers of the code.
        input_noise: Standard deviation, while training; what is to be repeated has none.
        condition: Shared with the generator.

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
        side = divided(size_px, 16, "this discriminator")
        self.shape = (n_channels, size_px)
        self.condition, self.input_noise = condition or Condition(), InputNoise(input_noise)
        convs = list[nn.Conv2d]()
        channels = (n_channels, *scaled(ENCODER_FILTERS, width))
        for a, b in pairwise(channels):
            convs += [nn.Conv2d(a, b, 3, stride=2, padding=1), *(nn.Conv2d(b, b, 3, padding=1) for _ in range(2))]
        self.convs = nn.ModuleList(convs)
        self.latent = nn.Linear(channels[-1] * side**2, latent)
        self.decoder = _Decoder(n_channels, size_px, latent + self.condition.n_out, width)
        self.apply(glorot)

    def encode(self, x: Tensor) -> Tensor:
        """The code, `(n, latent)`; arguments and errors as `networks.Discriminator.encode`."""
        require_images(x, *self.shape)
        x = self.input_noise(x)
        for conv in self.convs:
            x = F.elu(conv(x))
        return self.latent(flat(x))

    def decode(self, code: Tensor, condition: Tensor | None = None) -> Tensor:
        """Images of codes `(n, latent)`, about in [-1, 1]."""
        return self.decoder(self.condition(code, condition), bent=False)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The images as their codes have them, of the shape of `x`."""
        return self.decode(self.encode(x), condition)
