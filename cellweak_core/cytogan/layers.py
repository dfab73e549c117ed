"""What the networks of this wing are put together from.

    nearest x2, then a convolution:   ab --> aabb --*--> four kernels, one for each place in the doubled pixel
                                      cd     aabb                 |
                                             ccdd        ab --> * each of them --> interleaved: the same numbers
                                             ccdd        cd
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of the leaky ReLUs
EMBEDDING = 16  # numbers that a condition with compounds is embedded in


class InputNoise(nn.Module):
    """Adds N(0, sd) to what a network is trained on, and nothing to what it encodes.

    Deviation: the cytogan networks see no noise when they encode or are tested; the authors' noise stayed on, so that
    their representations changed from call to call.
    """

    def __init__(self, sd: float = 0.1) -> None:
        super().__init__()
        self.sd = sd

    def forward(self, x: Tensor) -> Tensor:
        """`x`, with noise while training."""
        return x + self.sd * torch.randn_like(x) if self.training and self.sd else x


class EnlargedConv(nn.Conv2d):
    """A convolution of images enlarged twice by their nearest pixels, computed at their own size.

    Every output pixel sees a few whole input pixels: the kernel's weights on one of them add up, and there are four
    ways of adding, one for each place in the doubled pixel. A 5x5 kernel becomes four of 3x3, one of 3x3 four of 2x2,
    on a quarter of the pixels: 2.8 and 2.3 times fewer multiplications; the weights, and the result but for rounding,
    are the plain one's.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        kernel_size: 3 or 5; the output has twice the input's side.

    Raises:
        ValueError: Another kernel.
    """

    sums: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        if kernel_size not in (3, 5):
            raise ValueError(f"kernel_size: expected 3 or 5, got {kernel_size}")
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        # Of 2x2 kernels those of the second place look one pixel further on.
        self.shift = int(kernel_size == 3)
        # sums[p, a, u]: whether tap u of the output pixel 2 i + p falls into the input pixel i + a - 1 + shift p
        sums = torch.zeros(2, (kernel_size + 1) // 2, kernel_size)
        for place in (0, 1):
            for tap in range(kernel_size):
                sums[place, (place + tap - kernel_size // 2) // 2 + 1 - self.shift * place, tap] = 1
        self.register_buffer("sums", sums, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, out_channels, 2 H, 2 W)` of `(n, in_channels, H, W)`."""
        with torch.autocast(x.device.type, enabled=False):  # weights are added before they are rounded
            kernels = torch.einsum("pau,qbv,oiuv->pqoiab", self.sums, self.sums, self.weight).flatten(0, 2)
            bias = None if self.bias is None else self.bias.repeat(4)
        height, width = x.shape[2:]
        places = F.conv2d(x, kernels, bias, padding=1).unflatten(1, (2, 2, self.out_channels)).permute(0, 4, 5, 1, 2, 3)
        rows = [slice(self.shift * p, self.shift * p + height) for p in (0, 1)]
        columns = [slice(self.shift * q, self.shift * q + width) for q in (0, 1)]
        # (n, H, W, C) of each place, put side by side and below each other: channels last, as they came
        doubled = [torch.stack([places[:, rows[p], columns[q], p, q] for q in (0, 1)], 3) for p in (0, 1)]
        return torch.stack(doubled, 2).reshape(-1, 2 * height, 2 * width, self.out_channels).permute(0, 3, 1, 2)


class Condition(nn.Module):
    """What a conditional network is told beside its noise or image: numbers as they are, or embedded by 16 units.

    Source: the authors' code: compound and concentration go through a dense layer with ReLU that generator and
    discriminator share, a concentration alone does not.

    Args:
        n_conditions: Numbers of a cell's condition; 0 where there is none.
        embedding: Units; 0 passes the numbers on.
    """

    def __init__(self, n_conditions: int = 0, embedding: int = 0) -> None:
        super().__init__()
        self.n_conditions = n_conditions
        self.embed = nn.Linear(n_conditions, embedding) if n_conditions and embedding else None
        self.n_out = (embedding or n_conditions) if n_conditions else 0

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """`(n, d)` numbers with the condition behind them, `(n, d + n_out)`.

        Args:
            x: `(n, d)`.
            condition: `(n, n_conditions)`, or None where there is none.

        Raises:
            ValueError: A condition of another shape, or none where one is needed.
        """
        if not self.n_conditions:
            if condition is not None:
                raise ValueError("condition: this model was built without one, got one")
            return x
        if condition is None or condition.shape != (len(x), self.n_conditions):
            found = "none" if condition is None else tuple(condition.shape)
            raise ValueError(f"condition: expected ({len(x)}, {self.n_conditions}), got {found}")
        told = condition if self.embed is None else F.relu(self.embed(condition))
        return torch.cat([x, told.to(x.dtype)], 1)


def flat(x: Tensor) -> Tensor:
    """`(n, H W C)` of `(n, C, H, W)`, pixel by pixel as in the authors' framework: no copy of channels-last images."""
    return x.permute(0, 2, 3, 1).flatten(1)


def unflat(x: Tensor, n_channels: int, side: int) -> Tensor:
    """`flat` undone: `(n, n_channels, side, side)`, channels last in memory."""
    return x.unflatten(1, (side, side, n_channels)).permute(0, 3, 1, 2)


def scaled(filters: Sequence[int], width: float) -> tuple[int, ...]:
    """Filters of a network that is `width` times as wide as the published one, at least one each."""
    if not width > 0:
        raise ValueError(f"width: expected above 0, got {width}")
    return tuple(max(1, round(width * n)) for n in filters)


def halving(channels: Sequence[int]) -> nn.ModuleList:
    """5x5 convolutions from each number of channels to the next, of which all but the first halve the side."""
    return nn.ModuleList(
        nn.Conv2d(a, b, 5, stride=1 if k == 0 else 2, padding=2) for k, (a, b) in enumerate(pairwise(channels))
    )


def batch_norm(n: int, of_pixels: bool = True) -> nn.Module:
    """The authors' batch normalisation: momentum 0.9 of the old statistics, which torch calls 0.1, and epsilon 1e-3."""
    return nn.BatchNorm2d(n, eps=1e-3) if of_pixels else nn.BatchNorm1d(n, eps=1e-3)


def glorot(module: nn.Module) -> None:
    """Start as in the authors' framework: Glorot's uniform weights and biases of 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def divided(size_px: int, by: int, model: str) -> int:
    """`size_px / by`.

    Raises:
        ValueError: It is no whole number; names the nearest side that will do.
    """
    if size_px < by or size_px % by:
        near = max(by, round(size_px / by) * by)
        raise ValueError(f"size_px: {model} needs a multiple of {by} px, got {size_px}; resize to {near}?")
    return size_px // by
