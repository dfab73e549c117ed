"""The fully supervised network of Table 2: a crop at seven sizes, each with convolutions of its own (M-CNN).

    crop --max pooling--> side / f^k, k = 0 .. 6 --> 3 x conv 5x5 --max pooling--> (.., g, g) --+
                          finest: 16 filters ... coarsest: 64                                  +--> conv 1x1, 1024
    --> max pooling 2 --> fc 512 (the features) --> classes                          seven of them

Source: Godinez et al. 2017 (Bioinformatics 33:2010), whose layers stand in a supplement; their numbers here are those
of the re-implementation by Hofmarcher et al. 2019 (ml-jku/hti-cnn @a58b89e, `models.py`): widths, kernels, pooling,
Xavier's weights, no normalisation, no dropout.
Deviation: the fully supervised network (M-CNN) reads crops of cells; its paper reads whole fields, whose sizes are
halved six times (f = 2, from 1280 to 20 px). A crop of 68 px would come down to a single pixel; so f is such that the
coarsest of the seven sizes is 8 px (f = 1.43 for 68 px), and 2 again from 512 px on.
So f is no whole number, and pooling windows overlap by a pixel where they must.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

N_SCALES = 7
COARSEST_PX = 8
WIDTHS = (1, 1, 1, 2, 2, 2, 4)  # of the pathways, finest first, in units of `width`


def sides_px(size_px: int) -> tuple[int, ...]:
    """The seven sides at which a crop is read, finest first.

    Args:
        size_px: Side of the crop.

    Raises:
        ValueError: A crop of fewer than 16 px, in which there are no seven sizes.
    """
    if size_px < 2 * COARSEST_PX:
        raise ValueError(f"size_px: expected crops of {2 * COARSEST_PX} px or more, got {size_px}")
    last = N_SCALES - 1
    coarsest = max(COARSEST_PX, math.ceil(size_px / 2**last))
    return tuple(round(size_px * (coarsest / size_px) ** (k / last)) for k in range(N_SCALES))


class MultiScaleCNN(nn.Module):
    """Seven pathways, merged.

    Args:
        n_channels: Of the crops.
        n_classes: Mechanisms or treatments.
        size_px: Side of the crops.
        width: Filters of the finest three pathways; the next three have twice as many, the coarsest four times.
        merged: Filters of the 1x1 convolution.
        hidden: Numbers of a crop's features.

    Attributes:
        sides_px: As `sides_px`.

    Raises:
        ValueError: A number below 1; crops of fewer than 16 px.
    """

    def __init__(
        self,
        n_channels: int,
        n_classes: int,
        size_px: int,
        width: int = 16,
        merged: int = 1024,
        hidden: int = 512,
    ) -> None:
        super().__init__()
        given = {"n_channels": n_channels, "n_classes": n_classes, "width": width, "merged": merged, "hidden": hidden}
        for name, value in given.items():
            if value < 1:
                raise ValueError(f"{name}: expected 1 or more, got {value}")
        self.n_channels, self.size_px, self.sides_px = n_channels, size_px, sides_px(size_px)
        self.pathways = nn.ModuleList(_pathway(n_channels, width * times) for times in WIDTHS)
        self.merge = nn.Conv2d(width * sum(WIDTHS), merged, 1)
        self.fc1 = nn.Linear(merged * (self.sides_px[-1] // 2) ** 2, hidden)
        self.fc2 = nn.Linear(hidden, n_classes)
        self.apply(_xavier)

    def features(self, x: Tensor) -> Tensor:
        """The numbers before the classes.

        Args:
            x: `(n, n_channels, size_px, size_px)` float, in [-1, 1].

        Returns:
            `(n, hidden)`, 0 or above.

        Raises:
            ValueError: Crops of another shape.
        """
        _check(x, self.n_channels, self.size_px)
        grid = self.sides_px[-1]
        seen = [
            F.adaptive_max_pool2d(pathway(F.adaptive_max_pool2d(x, side)), grid)  # (n, width of the pathway, g, g)
            for side, pathway in zip(self.sides_px, self.pathways, strict=True)
        ]
        merged = F.max_pool2d(F.relu(self.merge(torch.cat(seen, 1))), 2)  # (n, merged, g / 2, g / 2)
        return F.relu(self.fc1(merged.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the classes, `(n, n_classes)`; see `features`."""
        return self.fc2(self.features(x))


def _check(x: Tensor, n_channels: int, size_px: int) -> None:
    if x.shape[1:] != (n_channels, size_px, size_px):
        raise ValueError(f"x: expected (n, {n_channels}, {size_px}, {size_px}), got {tuple(x.shape)}")


def _pathway(n_channels: int, width: int) -> nn.Sequential:
    """Three 5x5 convolutions that keep the size."""
    layers = list[nn.Module]()
    for before in (n_channels, width, width):
        layers += [nn.Conv2d(before, width, 5, padding=2), nn.ReLU()]
    return nn.Sequential(*layers)


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
