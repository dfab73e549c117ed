"""A window network with more context than the paper's: small, residual, fully convolutional.

    128x128 -> conv5 s2 -> 64x64 -> residual s2, residual -> 32x32 -> residual s2, residual -> 16x16 -> 1x1 conv
            24 filters             48                                96                       one logit per 8x8 px

Not in the paper: it is what gained most on embryos of a day never seen (see the chapter's comparison).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.01  # of the leaky ReLU, as the paper's classifier


class Residual(nn.Module):
    """Two 3x3 convolutions with batch normalisation beside a shortcut (average pooled where the stride is 2)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(channels_in, channels_out, 1, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels_in, H, W)` to `(N, channels_out, H / stride, W / stride)`."""
        y = self.norm2(self.conv2(F.leaky_relu(self.norm1(self.conv1(x)), SLOPE)))
        return F.leaky_relu(y + self.shortcut(x), SLOPE)


class ContextNet(nn.Module):
    """Rosette logit of every 8x8 px of an image, each seeing the 89x89 px around it.

    Args:
        width: Filters of the first convolution; doubled twice.
        dropout: Share of the last feature maps dropped in training.
    """

    stride = 8

    def __init__(self, width: int = 24, dropout: float = 0.3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.LeakyReLU(SLOPE)
        )
        self.stages = nn.Sequential(
            Residual(width, 2 * width, 2),
            Residual(2 * width, 2 * width, 1),
            Residual(2 * width, 4 * width, 2),
            Residual(4 * width, 4 * width, 1),
        )
        self.dropout = nn.Dropout2d(dropout)
        self.logit = nn.Conv2d(4 * width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(N, H / 8, W / 8)` of images `(N, 1, H, W)`."""
        return self.logit(self.dropout(self.stages(self.stem(x))))[:, 0]
