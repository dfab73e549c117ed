"""Two models without an adversary: the variational autoencoder that the GANs are compared with, and a plain one.

    VAE: x --3 x (conv 3x3, ReLU, max of 2x2)--> mean and log sd (n, 256) --> mean + sd e --3 x (enlarge, conv 3x3)--> x
    autoencoder: x --fc, ReLU--> code (n, 32) --fc--> x

Source: the authors' code (vae.py, ae.py); Kingma and Welling 2014. Inside, pixels lie in [0, 1] and outputs are
sigmoids; crops come and go in [-1, 1] as in all models.
Deviation: the cytogan VAE draws its code with the whole of its standard deviation, as its equations have it; the
authors' code with a tenth, of which their KL divergence does not know (`noise_sd` 0.1).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..screens.networks import require_images
from .layers import EnlargedConv, divided, flat, glorot, scaled, unflat

FILTERS = (128, 64, 32)


class VariationalAutoencoder(nn.Module):
    """Images to a normal distribution of codes, and codes to images.

    Args:
        n_channels: Of the images.
        size_px: Their side, a multiple of 8.
        width: Filters as a multiple of the published ones.
        latent: Numbers of the code.
        noise_sd: What the code's standard deviation is multiplied by when it is drawn.

    Raises:
        ValueError: Another side.
    """

    def __init__(
        self, n_channels: int, size_px: int, width: float = 1.0, latent: int = 256, noise_sd: float = 1.0
    ) -> None:
        super().__init__()
        self.shape, self.side = (n_channels, size_px), divided(size_px, 8, "this autoencoder")
        self.noise_sd = noise_sd
        a, b, self.inner = scaled(FILTERS, width)
        self.convs = nn.ModuleList(nn.Conv2d(m, n, 3, padding=1) for m, n in ((n_channels, a), (a, b), (b, self.inner)))
        n = self.inner * self.side**2
        self.mean, self.log_sd = nn.Linear(n, latent), nn.Linear(n, latent)
        self.dense = nn.Linear(latent, n)
        self.up = nn.ModuleList([EnlargedConv(self.inner, b, 3), EnlargedConv(b, a, 3), EnlargedConv(a, n_channels, 3)])
        self.apply(glorot)

    def distribution(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the standard deviation of the code, `(n, latent)` each.

        Args:
            x: `(n, n_channels, size_px, size_px)` in [-1, 1].

        Raises:
            ValueError: Images of another shape.
        """
        require_images(x, *self.shape)
        x = (x + 1) / 2
        for conv in self.convs:
            x = F.max_pool2d(F.relu(conv(x)), 2)
        x = flat(x)
        return self.mean(x), self.log_sd(x)

    def encode(self, x: Tensor) -> Tensor:
        """The mean, as `distribution`."""
        return self.distribution(x)[0]

    def decode(self, code: Tensor) -> Tensor:
        """Images `(n, n_channels, size_px, size_px)` in [-1, 1] of codes `(n, latent)`."""
        x = unflat(self.dense(code), self.inner, self.side)
        for conv in self.up[:-1]:
            x = F.relu(conv(x))
        return torch.tanh(self.up[-1](x) / 2)  # 2 sigmoid - 1

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images repeated from a code that is drawn (the mean itself in evaluation), its mean and log sd."""
        mean, log_sd = self.distribution(x)
        mean, log_sd = mean.float(), log_sd.float()
        drawn = mean + self.noise_sd * log_sd.exp() * torch.randn_like(mean) if self.training else mean
        return self.decode(drawn), mean, log_sd


class Autoencoder(nn.Module):
    """Two dense layers; arguments as `VariationalAutoencoder`, of any side."""

    def __init__(self, n_channels: int, size_px: int, latent: int = 32) -> None:
        super().__init__()
        self.shape = (n_channels, divided(size_px, 1, "this autoencoder"))
        n = n_channels * size_px**2
        self.code, self.dense = nn.Linear(n, latent), nn.Linear(latent, n)
        self.apply(glorot)

    def encode(self, x: Tensor) -> Tensor:
        """The code, `(n, latent)`, 0 or above; arguments as `VariationalAutoencoder.distribution`."""
        require_images(x, *self.shape)
        return F.relu(self.code(flat((x + 1) / 2)))

    def decode(self, code: Tensor) -> Tensor:
        """Images in [-1, 1] of codes `(n, latent)`."""
        return unflat(torch.tanh(self.dense(code) / 2), *self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """The images as their codes have them."""
        return self.decode(self.encode(x))
