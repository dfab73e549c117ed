"""The networks of Caicedo et al. 2018: a ResNet-18 that tells treatments apart, and its recurrent training partner.

    crop (n, C, H, W) --stem--> res2a res2b --> res3a res3b --> res4a res4b --> res5a res5b --mean--> pool5
                                                  |                                                         |
                   features: the mean over a layer's pixels             dense head: embedding, BN, dropout, treatments
                   (res4a is the paper's conv4a, 256 numbers)           recurrent head: t cells, GRU, treatments

Source: Caicedo et al. 2018, Sec. 4.1-4.3 and 5.2; DeepProfiler of the paper's week (learning/models.py) and its
keras-resnet for what the text leaves out: the first block of every stage, the first too, has a 1x1 projection, and the
head has an embedding without bias, which together make the 11.3 million parameters of the paper.
Deviation: the embeddings ResNet's weights start as in MONAI (He's normal by fan-out; there by fan-in, truncated).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCKS = ("res2a", "res2b", "res3a", "res3b", "res4a", "res4b", "res5a", "res5b")
LAYERS = (*BLOCKS, "pool5", "embedding")
PAPER_LAYER = "res4a"
HEADS = ("dense", "recurrent")


class CellNet(nn.Module):
    """ResNet-18 with one of the two heads.

    Args:
        n_channels: Of the crops.
        n_classes: Treatments.
        width: Channels of the first stage; 64 in the paper.
        embedding: Numbers of the dense head's embedding, and of the GRU's state; 256 in the paper.
        dropout: Before the classes of the dense head.
        head: "dense" (crops) or "recurrent" (sets of crops).

    Raises:
        ValueError: An unknown head.
    """

    def __init__(
        self,
        n_channels: int,
        n_classes: int,
        width: int = 64,
        embedding: int = 256,
        dropout: float = 0.5,
        head: str = "dense",
    ) -> None:
        from monai.networks.nets import ResNet

        super().__init__()
        if head not in HEADS:
            raise ValueError(f"head: expected one of {', '.join(HEADS)}, got {head!r}")
        widths = [width * 2**k for k in range(4)]
        self.body = ResNet(
            "basic", [2, 2, 2, 2], widths, 2, n_channels, 7, 2, feed_forward=False, bias_downsample=False
        )
        self.body.layer1[0].downsample = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width))
        body: Any = self.body  # MONAI's attributes have no types
        for stage in (body.layer2, body.layer3, body.layer4):
            stage[0].downsample[0] = Pointwise.like(stage[0].downsample[0])
        self.head = head
        self.recurrent: nn.GRU | None = None
        if head == "dense":
            self.embed = nn.Linear(widths[-1], embedding, bias=False)
            self.norm, self.dropout = nn.BatchNorm1d(embedding), nn.Dropout(dropout)
        else:
            self.recurrent = nn.GRU(widths[-1], embedding, batch_first=True)
        self.classify = nn.Linear(embedding, n_classes)

    def forward(self, crops: Tensor) -> Tensor:
        """Logits of treatments, `(n, n_classes)`.

        Args:
            crops: `(n, C, H, W)` in [-1, 1]; of the recurrent head `(n, t, C, H, W)`, t cells of one treatment.
        """
        if self.recurrent is None:
            return self.classify(self.dropout(self.norm(self.embed(self._pooled(crops)))))
        pooled = self._pooled(crops.flatten(0, 1)).unflatten(0, crops.shape[:2])  # (n, t, 8 width)
        return self.classify(self.recurrent(pooled)[0][:, -1])

    def _pooled(self, crops: Tensor) -> Tensor:
        return self.layers(crops, ["pool5"])["pool5"]

    @property
    def layer_names(self) -> tuple[str, ...]:
        """What `layers` can give; the GRU is a help of the training and gives no features."""
        return LAYERS if self.recurrent is None else LAYERS[:-1]

    def layers(self, crops: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
        """Features: the mean over the pixels of each wanted layer; nothing behind the last of them is computed.

        Args:
            crops: `(n, C, H, W)` in [-1, 1].
            wanted: Any of `layer_names`.

        Returns:
            `(n, c)` for each.

        Raises:
            ValueError: A layer that is not there.
        """
        unknown = [name for name in wanted if name not in self.layer_names]
        if unknown or not wanted:
            raise ValueError(f"layers: expected some of {', '.join(self.layer_names)}, got {', '.join(wanted)}")
        body, found = self.body, dict[str, Tensor]()
        deepest = max(LAYERS.index(name) for name in wanted)
        x = body.maxpool(body.act(body.bn1(body.conv1(crops))))
        blocks = [block for stage in (body.layer1, body.layer2, body.layer3, body.layer4) for block in stage]
        for name, block in zip(BLOCKS, blocks, strict=True):
            x = block(x)
            if name in wanted:
                found[name] = x.mean((2, 3), dtype=torch.float32)  # of bf16 too: a mean keeps more digits than a pixel
            if LAYERS.index(name) == deepest:
                return found
        pooled = x.mean((2, 3))
        if "pool5" in wanted:
            found["pool5"] = pooled
        if "embedding" in wanted:
            found["embedding"] = self.embed(pooled)
        return found


class Pointwise(nn.Conv2d):
    """A 1x1 convolution of every `stride`-th pixel: the same function and weights as `nn.Conv2d`'s.

    The strided 1x1 convolution of torch 2.13 on several CPU cores (oneDNN, channels last) writes beyond its memory when
    it learns from an odd number of images with few channels: the process dies, now or later.
    """

    @classmethod
    def like(cls, conv: nn.Conv2d) -> Pointwise:
        """The same convolution; shares its weights and draws no numbers."""
        own = cls(
            conv.in_channels, conv.out_channels, 1, conv.stride, bias=conv.bias is not None, device="meta"  # type: ignore[arg-type]
        )
        own.weight, own.bias = conv.weight, conv.bias
        return own

    def forward(self, x: Tensor) -> Tensor:
        """`(n, c, H, W)` to `(n, c', H / stride, W / stride)`, rounded up."""
        down, across = self.stride
        return functional.conv2d(x[:, :, ::down, ::across], self.weight, self.bias)


def folded(network: CellNet) -> CellNet:
    """A copy for evaluation whose batch normalisations are part of the convolutions before them: the same function."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    copied = copy.deepcopy(network).eval()
    body: Any = copied.body  # MONAI's attributes have no types
    body.conv1, body.bn1 = fuse_conv_bn_eval(body.conv1, body.bn1), nn.Identity()
    for stage in (body.layer1, body.layer2, body.layer3, body.layer4):
        for block in stage:
            block.conv1, block.bn1 = fuse_conv_bn_eval(block.conv1, block.bn1), nn.Identity()
            block.conv2, block.bn2 = fuse_conv_bn_eval(block.conv2, block.bn2), nn.Identity()
            if block.downsample is not None:
                block.downsample = fuse_conv_bn_eval(block.downsample[0], block.downsample[1])
    return copied


def cell_architecture(n_channels: int, n_classes: int, width: int, head: str = "dense") -> dict[str, Any]:
    """The description of a `CellNet` that a training's result carries, for `build_cell`; arguments as `CellNet`."""
    return {"kind": "cell", "n_channels": n_channels, "n_classes": n_classes, "width": width, "head": head}


def build_cell(architecture: Mapping[str, Any]) -> CellNet:
    """A `CellNet` by its description.

    Args:
        architecture: `CellNet`'s arguments; the word `kind`, by which a wing tells its networks apart, is passed over.
    """
    return CellNet(**{name: value for name, value in architecture.items() if name != "kind"})
