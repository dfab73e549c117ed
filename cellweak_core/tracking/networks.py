"""The networks of the tracking paper: the co-detection CNN and the U-Net of detector, MPM and motion field.

    frame t   --enc0--enc1--+                          +--up3_t--up4_t--out_t-->   L_t
                            +--down2--3--4--up1--up2---+
    frame t+1 --enc0--enc1--+                          +--up3_tn--up4_tn--out_tn--> L_t+1
       (the encoder is shared)      (common part)            (a decoder of its own for each frame)

Source: Nishimura et al. 2020 (WSCTBFP), Sec. 3.1 and Fig. 3; layer widths from the authors' code (naivete5656/WSCTBFP
@74c5604, `networks/CoDetectionCNN.py`, `networks/UNet.py`): 13,855,362 and 13,394,883 parameters at width 64.
Deviation: bilinear up-sampling has `align_corners=False`. With the authors' `True` the grid of an up-sampled map is
stretched by its size, so that no window of an image could give the values of the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 16  # four halvings: heights, widths and window origins are multiples of it


class DoubleConv(nn.Sequential):
    """Twice: 3x3 convolution with a bias, batch normalisation, ReLU (out of place, so that it can be guided)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )


class Down(nn.Sequential):
    """2x2 max pooling, then a `DoubleConv`: `(N, in, H, W)` -> `(N, out, H/2, W/2)`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.MaxPool2d(2), DoubleConv(in_channels, out_channels))


class Up(nn.Module):
    """Bilinear x2, concatenated behind the skip, then a `DoubleConv`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = DoubleConv(in_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """`x` (N, C, H/2, W/2) and `skip` (N, in - C, H, W) -> (N, out, H, W)."""
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.conv(torch.cat([skip, x], 1))


class CoDetectionNet(nn.Module):
    """Likelihood maps of two frames from the pair of images.

    Deviation: the two frames go through the shared encoder as one batch, so that batch normalisation in training uses
    the statistics of both frames together (the authors normalise, and update the statistics, frame by frame).

    Args:
        width: Channels of the first convolution; 64 in the paper.

    Raises:
        ValueError: A width below 2 or odd.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        w = _checked_width(width)
        self.width = w
        self.enc0 = DoubleConv(1, w)
        self.enc1 = Down(w, 2 * w)
        self.down2 = Down(4 * w, 4 * w)
        self.down3 = Down(4 * w, 8 * w)
        self.down4 = Down(8 * w, 8 * w)
        self.up1 = Up(16 * w, 4 * w)
        self.up2 = Up(8 * w, 2 * w)
        self.up3_t, self.up3_tn = Up(4 * w, w), Up(4 * w, w)
        self.up4_t, self.up4_tn = Up(2 * w, w // 2), Up(2 * w, w // 2)
        self.out_t, self.out_tn = nn.Conv2d(w // 2, 1, 1), nn.Conv2d(w // 2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Linear maps of a batch of pairs.

        Args:
            x: `(N, 2, H, W)` in [0, 1], channel 0 = frame t, 1 = frame t+1; H and W multiples of 16 (see `padded`).

        Returns:
            `(N, 2, H, W)`, channel 0 = L_t, 1 = L_t+1, not clamped.

        Raises:
            ValueError: Another shape.
        """
        _check_input(x, 2)
        n = len(x)
        fine = self.enc0(torch.cat([x[:, :1], x[:, 1:]]))  # (2N, w, H, W), frame t first
        half = self.enc1(fine)  # (2N, 2w, H/2, W/2)
        quarter = self.down2(torch.cat([half[:n], half[n:]], 1))  # (N, 4w, H/4, W/4)
        eighth = self.down3(quarter)
        common = self.up2(self.up1(self.down4(eighth), eighth), quarter)  # (N, 2w, H/4, W/4)
        now = self.out_t(self.up4_t(self.up3_t(common, half[:n]), fine[:n]))
        after = self.out_tn(self.up4_tn(self.up3_tn(common, half[n:]), fine[n:]))
        return torch.cat([now, after], 1)


class UNet(nn.Module):
    """The U-Net of the authors' detector (1 -> 1), MPM (2 -> 3) and motion networks: linear output.

    Args:
        in_channels: Frames of the input.
        out_channels: Maps of the output.
        width: Channels of the first convolution; 64 in the paper.

    Raises:
        ValueError: A width below 2 or odd.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int = 64) -> None:
        super().__init__()
        w = _checked_width(width)
        self.in_channels, self.out_channels, self.width = in_channels, out_channels, w
        self.enc0 = DoubleConv(in_channels, w)
        self.down1 = Down(w, 2 * w)
        self.down2 = Down(2 * w, 4 * w)
        self.down3 = Down(4 * w, 8 * w)
        self.down4 = Down(8 * w, 8 * w)
        self.up1 = Up(16 * w, 4 * w)
        self.up2 = Up(8 * w, 2 * w)
        self.up3 = Up(4 * w, w)
        self.up4 = Up(2 * w, w)
        self.out = nn.Conv2d(w, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Linear maps `(N, out, H, W)` of `(N, in, H, W)`; H and W multiples of 16 (see `padded`).

        Raises:
            ValueError: Another shape.
        """
        _check_input(x, self.in_channels)
        fine = self.enc0(x)
        half = self.down1(fine)
        quarter = self.down2(half)
        eighth = self.down3(quarter)
        x = self.up2(self.up1(self.down4(eighth), eighth), quarter)
        return self.out(self.up4(self.up3(x, half), fine))


class CmfNet(nn.Module):
    """The two networks of the cell motion field, side by side: no weight is shared.

    Args:
        width: Channels of the first convolution of each.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.position, self.motion = UNet(1, 1, width), UNet(2, 3, width)

    def forward(self, x: Tensor) -> Tensor:
        """Likelihood of frame t+1 (channel 0) and motion (1 to 3), `(N, 4, H, W)`, of pairs `(N, 2, H, W)`."""
        return torch.cat([self.position(x[:, 1:]), self.motion(x)], 1)


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """The untrained network of a description.

    Args:
        architecture: `kind` ("codetection", "unet" or "cmf") and the network's own arguments.

    Raises:
        ValueError: An unknown kind.
    """
    kinds: dict[str, Callable[..., nn.Module]] = {"codetection": CoDetectionNet, "unet": UNet, "cmf": CmfNet}
    kind = architecture["kind"]
    if kind not in kinds:
        raise ValueError(f"kind: expected one of {', '.join(kinds)}, got {kind!r}")
    return kinds[kind](**{name: value for name, value in architecture.items() if name != "kind"})


def padded(net: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`net(x)` for images of any size: edge pixels are repeated to the next multiple of 16, the output is cropped.

    Args:
        net: A network whose output is as large as its input.
        x: `(N, C, H, W)`.

    Returns:
        `(N, C', H, W)`.
    """
    height, width = x.shape[-2:]
    below, beside = -height % STRIDE, -width % STRIDE
    if below or beside:
        # Indices, because F.pad(mode="replicate") refuses an empty batch.
        rows = torch.arange(height + below, device=x.device).clamp_max(height - 1)
        columns = torch.arange(width + beside, device=x.device).clamp_max(width - 1)
        return net(x[..., rows, :][..., columns])[..., :height, :width]
    return net(x)


def _reach(pixel: int) -> tuple[int, int]:
    """First and last input pixel, along one axis, that the output pixel `pixel` depends on."""
    low = high = pixel
    for _ in range(4):  # from the output down to the coarsest level: a DoubleConv, then the bilinear x2
        low, high = (low - 3) // 2, (high + 3) // 2
    for _ in range(4):  # and up to the input: a DoubleConv, then the 2x2 pooling
        low, high = 2 * (low - 2), 2 * (high + 2) + 1
    return low - 2, high + 2


def receptive_radius(net: nn.Module | None = None) -> int:
    """How far, in px along an axis, an input pixel can lie from an output pixel that it influences.

    All networks have the same longest path (through the coarsest level), whatever their width. It is exact for the
    worst position of a pixel in the 16-px grid of the poolings. A window gives an output pixel the whole image's value
    when it begins at multiples of 16 and either reaches this far beyond the pixel or ends where the image ends.

    Args:
        net: `CoDetectionNet`, `UNet` or `CmfNet`; None for any.

    Raises:
        ValueError: Another network.
    """
    if net is not None and not isinstance(net, CoDetectionNet | UNet | CmfNet):
        raise ValueError(f"net: expected CoDetectionNet, UNet or CmfNet, got {type(net).__name__}")
    return max(max(i - low, high - i) for i in range(STRIDE) for low, high in [_reach(i)])


def _checked_width(width: int) -> int:
    if width < 2 or width % 2:
        raise ValueError(f"width: expected an even number of at least 2 channels, got {width}")
    return width


def _check_input(x: Tensor, channels: int) -> None:
    if x.ndim != 4 or x.shape[1] != channels or x.shape[2] % STRIDE or x.shape[3] % STRIDE:
        raise ValueError(
            f"x: expected (N, {channels}, H, W) with H and W multiples of {STRIDE} (padded() makes them so), "
            f"got {tuple(x.shape)}"
        )
