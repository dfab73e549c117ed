"""A convolutional autoencoder: features that no label has touched, the unsupervised row of Table 2.

    crop (n, C, s, s) --4 x conv 4x4, stride 2--> (n, 8 width, s/16, s/16) --fc--> code (n, 256)
    code --fc--> (n, 8 width, s/16, s/16) --4 x (to the encoder's size, conv 3x3)--> crop (n, C, s, s)

Source: Caicedo et al. 2018, Table 2 name "Autoencoders" and cite Pawlowski's thesis of 2016, of which no code is
public.
Deviation: the autoencoder of the embeddings chapter is a plain one, with batch normalisation, as its source has no
public code; its code has as many numbers as the paper's features.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from ..screens.networks import require_images

N_STEPS = 4
LEAST_PX = 2 ** (N_STEPS + 1)  # the innermost layer is 2x2: a batch of one still has a spread to be normalised by
SLOPE = 0.2  # of the leaky ReLUs


class Autoencoder(nn.Module):
    """Encoder and decoder.

    Args:
        n_channels: Of the crops.
        size_px: Side of the crops, 32 or more; even or odd.
        width: Filters of the first convolution; each further one doubles them.
        code: Numbers of a crop's code.

    Raises:
        ValueError: A number below 1; crops of fewer than 32 px.
    """

    def __init__(self, n_channels: int, size_px: int, width: int = 32, code: int = 256) -> None:
        super().__init__()
        for name, value in {"n_channels": n_channels, "width": width, "code": code}.items():
            if value < 1:
                raise ValueError(f"{name}: expected 1 or more, got {value}")
        if size_px < LEAST_PX:
            raise ValueError(f"size_px: expected crops of {LEAST_PX} px or more, got {size_px}")
        self.n_channels, self.size_px = n_channels, size_px
        self.sides_px = [size_px // 2**k for k in range(N_STEPS + 1)]  # a stride of 2 leaves the floor of the half
        widths = [n_channels, *(width * 2**k for k in range(N_STEPS))]
        self.inner = (widths[-1], self.sides_px[-1], self.sides_px[-1])
        n = widths[-1] * self.sides_px[-1] ** 2
        self.down = nn.ModuleList(_block(nn.Conv2d(a, b, 4, 2, 1, bias=False)) for a, b in pairwise(widths))
        self.to_code, self.from_code = nn.Linear(n, code), nn.Linear(code, n)
        # Enlarged and convolved: transposed convolutions leave a chequered pattern, worst at odd sides.
        back = widths[::-1]
        self.up = nn.ModuleList(_block(nn.Conv2d(a, b, 3, 1, 1, bias=False)) for a, b in pairwise(back[:-1]))
        # No tanh behind it, though crops lie in [-1, 1]: most pixels are at -1, and in two trainings of three a
        # tanh stuck there for good.
        self.last = nn.Conv2d(width, n_channels, 3, padding=1)

    def encode(self, x: Tensor) -> Tensor:
        """The code of crops.

        Args:
            x: `(n, n_channels, size_px, size_px)` float, in [-1, 1].

        Returns:
            `(n, code)`.

        Raises:
            ValueError: Crops of another shape.
        """
        require_images(x, self.n_channels, self.size_px)
        for block in self.down:
            x = block(x)
        return self.to_code(x.flatten(1))

    def decode(self, code: Tensor) -> Tensor:
        """Crops of codes `(n, code)`: `(n, n_channels, size_px, size_px)`, about in [-1, 1]."""
        x = F.leaky_relu(self.from_code(code), SLOPE).unflatten(1, self.inner)
        for side, block in zip(self.sides_px[-2::-1], [*self.up, self.last], strict=True):
            x = block(F.interpolate(x, size=(side, side), mode="nearest"))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """The crops as their codes have them; of the shape of `x`, see `encode`."""
        return self.decode(self.encode(x))


def _block(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.LeakyReLU(SLOPE))
