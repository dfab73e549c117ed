"""The networks of the migration paper, each with one logit: how sure it is that a cell moves discontinuously.

    patch (n, C, s, s) --> convolutions, each followed by dropout --> mean over pixels --> linear --> logit (n,)

Source: Gupta et al. 2020, Sec. 3: VGG16 with batch normalisation and the mean over pixels instead of its dense layers,
ResNet50 and DenseNet (here MONAI's, of 121 layers); Glorot's normal weights, zero biases. `resnet18` and `densenet40`
are what the authors' code holds under these two names (anindgupta/Cell-migration-ISBI20 @2df59ad, `DL_models`).
Deviation: convolutions of the migration VGG16 have no bias, which batch normalisation takes away again.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..screens.cellnet import Pointwise
from .dropout import CAP, FIRST, GROWTH, with_dropout

NETWORKS = ("vgg16", "resnet50", "densenet121", "resnet18", "densenet40")
DEFAULTS: dict[str, Any] = {"width": 1.0, "dropout": FIRST, "growth": GROWTH, "cap": CAP}


class Regressor(nn.Module):
    """A body that gives features, and the logit of them.

    Args:
        body: Maps `(n, n_channels, s, s)` to `(n, n_features)`.
        n_features: Of the body.
        n_channels: Of the patches.
        smallest_px: The least side of a patch, below which pooling leaves nothing.
    """

    def __init__(self, body: nn.Module, n_features: int, n_channels: int, smallest_px: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(n_features, 1)
        self.n_channels, self.smallest_px = n_channels, smallest_px

    def forward(self, patches: Tensor) -> Tensor:
        """Logits `(n,)` of patches `(n, n_channels, s, s)`, normalised (see `augmentation.normalised`).

        Raises:
            ValueError: Another number of channels, or patches that are too small.
        """
        if patches.ndim != 4 or patches.shape[1] != self.n_channels or min(patches.shape[2:]) < self.smallest_px:
            raise ValueError(
                f"patches: expected (n, {self.n_channels}, s, s) with s of {self.smallest_px} px or more, got "
                f"{tuple(patches.shape)}"
            )
        if not len(patches):
            return patches.flatten(1).sum(1)
        features = self.body(patches)
        # bf16 has 8 bits, too few for a logit
        with torch.autocast(patches.device.type, enabled=False):
            return self.head(features.to(self.head.weight.dtype))[:, 0]


def build(architecture: Mapping[str, Any]) -> Regressor:
    """A network by its description, as `training.train` returns it; weights are drawn from torch's global state.

    Args:
        architecture: `network` (of `NETWORKS`), `n_channels`, `width` (multiple of the published channels), and
            `dropout`, `growth`, `cap` (`first`, `growth` and `cap` of `dropout.with_dropout`); what is missing is
            taken from `DEFAULTS`.

    Returns:
        A `Regressor` whose convolutions are `DropoutConv`.

    Raises:
        ValueError: An unknown network or name, a width of 0 or less, rates out of order.
    """
    unknown = sorted(set(architecture) - {"network", "n_channels", *DEFAULTS})
    if unknown or "n_channels" not in architecture:
        known = ", ".join(["network", "n_channels", *DEFAULTS])
        raise ValueError(f"architecture: expected {known}, got {', '.join(map(str, architecture))}")
    of = {**DEFAULTS, **architecture}
    if of.get("network") not in NETWORKS:
        raise ValueError(f"network: expected one of {', '.join(NETWORKS)}, got {of.get('network')!r}")
    if not of["width"] > 0 or of["n_channels"] < 1:
        raise ValueError(f"expected width above 0 and n_channels of 1 or more, got {of['width']}, {of['n_channels']}")
    body, n_features, smallest_px = _BODIES[of["network"]](of["n_channels"], of["width"])
    network = Regressor(body, n_features, of["n_channels"], smallest_px)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return with_dropout(network, of["dropout"], of["growth"], of["cap"])


def _channels(published: int, width: float) -> int:
    return max(2, round(published * width))


def _pooled(*parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(1))


def _vgg16(n_channels: int, width: float) -> tuple[nn.Module, int, int]:
    blocks, before = list[nn.Module](), n_channels
    for published, n_convs in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        parts, channels = list[nn.Module](), _channels(published, width)
        for _ in range(n_convs):
            parts += [nn.Conv2d(before, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(True)]
            before = channels
        blocks.append(nn.Sequential(*parts, nn.MaxPool2d(2)))
    return _pooled(*blocks), before, 32


def _resnet50(n_channels: int, width: float) -> tuple[nn.Module, int, int]:
    from monai.networks.nets import ResNet

    widths = [_channels(64, width) * 2**k for k in range(4)]
    body: Any = ResNet(
        "bottleneck", [3, 4, 6, 3], widths, 2, n_channels, 7, 2, feed_forward=False, bias_downsample=False
    )
    for stage in (body.layer2, body.layer3, body.layer4):
        stage[0].downsample[0] = Pointwise.like(stage[0].downsample[0])
    return body, 4 * widths[-1], 1


def _densenet121(n_channels: int, width: float) -> tuple[nn.Module, int, int]:
    from monai.networks.nets import DenseNet

    body: Any = DenseNet(2, n_channels, 1, _channels(64, width), _channels(32, width), (6, 12, 24, 16))
    n_features = body.class_layers.out.in_features
    body.class_layers.out = nn.Identity()
    return body, n_features, 32


class PreActivation(nn.Module):
    """The basic block of a pre-activation ResNet: `x + conv(act(conv(act(x))))`, act = ReLU of batch normalisation.

    Args:
        before: Channels of x.
        channels: Of the result; where they or the size change, x is projected (1x1).
        stride: Of the first convolution.
        activated: Whether x is activated already, as behind the stem.
    """

    def __init__(self, before: int, channels: int, stride: int, activated: bool) -> None:
        super().__init__()
        self.act1 = nn.Identity() if activated else nn.Sequential(nn.BatchNorm2d(before), nn.ReLU(True))
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1)
        self.act2 = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(True))
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
        changed = stride != 1 or before != channels
        self.projection = Pointwise(before, channels, 1, stride) if changed else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """`(n, before, H, W)` to `(n, channels, H / stride, W / stride)`, rounded up."""
        return self.projection(x) + self.conv2(self.act2(self.conv1(self.act1(x))))


def _resnet18(n_channels: int, width: float) -> tuple[nn.Module, int, int]:
    widths = [_channels(64, width) * 2**k for k in range(4)]
    stem = nn.Sequential(
        nn.Conv2d(n_channels, widths[0], 7, 2, 3), nn.BatchNorm2d(widths[0]), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)
    )
    layers = [
        nn.Sequential(PreActivation(a, b, 1 if k == 0 else 2, k == 0), PreActivation(b, b, 1, False))
        for k, (a, b) in enumerate(pairwise([widths[0], *widths]))
    ]
    return _pooled(stem, *layers, nn.BatchNorm2d(widths[-1]), nn.ReLU(True)), widths[-1], 1


class DenseLayer(nn.Sequential):
    """Batch normalisation, ReLU and a 3x3 convolution, whose output is put behind its input."""

    def __init__(self, before: int, growth: int) -> None:
        super().__init__(nn.BatchNorm2d(before), nn.ReLU(True), nn.Conv2d(before, growth, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """`(n, before, H, W)` to `(n, before + growth, H, W)`."""
        return torch.cat([x, super().forward(x)], 1)


def _densenet40(n_channels: int, width: float) -> tuple[nn.Module, int, int]:
    growth, channels = _channels(12, width), _channels(24, width)
    parts: list[nn.Module] = [nn.Conv2d(n_channels, channels, 3, padding=1, bias=False)]
    for k in range(4):
        block: list[nn.Module] = [DenseLayer(channels + i * growth, growth) for i in range(8)]
        channels += 8 * growth
        if k < 3:  # the transition belongs to its block, whose rate of dropout it shares in the authors' code
            transition = nn.Conv2d(channels, channels, 1, bias=False)
            block += [nn.BatchNorm2d(channels), nn.ReLU(True), transition, nn.AvgPool2d(2)]
        parts.append(nn.Sequential(*block))
    return _pooled(*parts, nn.BatchNorm2d(channels), nn.ReLU(True)), channels, 8


_BODIES = {
    "vgg16": _vgg16, "resnet50": _resnet50, "densenet121": _densenet121, "resnet18": _resnet18,
    "densenet40": _densenet40,
}  # fmt: skip
