"""The co-detection CNN as plain convolutions, and the whole image through them once, leaving what cells share.

    DoubleConv in evaluation mode = [convolution with the batch normalisation folded in, ReLU] twice
    forward pass of the pair        -> which ReLU are open and which pixel each pooling took: all the backward needs
    forward pass of the background  -> every level's values: what a cell's window sees where the cell changes nothing

Both are made in strips of rows, each with the two pixels more above and below that a DoubleConv reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .networks import CoDetectionNet, DoubleConv
from .windows import Span, Windows, channels_last, cut, moved, upsample

_STRIP_PX = 1 << 16  # pixels of a strip at once: what is still in the cache is faster
CLOSED = 4  # instead of the pixel 0..3 that a pooling took: all four were zero


class FoldedBlock:
    """A `DoubleConv` in evaluation mode, without its parameters' gradients."""

    def __init__(self, block: DoubleConv) -> None:
        convolutions, norms = (block[0], block[3]), (block[1], block[4])
        self.forwards = [_fold(c, n) for c, n in zip(convolutions, norms, strict=True)]
        # The gradient of a convolution is a convolution with the kernel turned round and its channels exchanged.
        self.backwards = [channels_last(kernel.flip(2, 3).transpose(0, 1)) for kernel, _ in self.forwards]
        self.channels = block[3].out_channels

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs of the first and the second ReLU."""
        (kernel1, bias1), (kernel2, bias2) = self.forwards
        first = F.conv2d(x, kernel1, bias1, padding=1).relu_()
        return first, F.conv2d(first, kernel2, bias2, padding=1).relu_()

    def backward(self, grad: Tensor, open1: Tensor, open2: Tensor | None) -> Tensor:
        """Guided gradient at the input of that at the output; `grad` is overwritten.

        Args:
            grad: `(n, C, h, w)`.
            open1: Where the first ReLU was open, uint8: PyTorch multiplies by bool several times slower.
            open2: The second; None where `grad` is gated already.
        """
        if open2 is not None:
            grad = grad.relu_().mul_(open2)
        grad = F.conv2d(grad, self.backwards[1], padding=1).relu_().mul_(open1)
        return F.conv2d(grad, self.backwards[0], padding=1)


class FoldedNet:
    """`CoDetectionNet` in evaluation mode as plain convolutions.

    Raises:
        ValueError: Another network.
    """

    def __init__(self, net: CoDetectionNet) -> None:
        if not isinstance(net, CoDetectionNet):
            raise ValueError(f"net: expected CoDetectionNet, got {type(net).__name__}")
        self.encoders = [FoldedBlock(block) for block in (net.enc0, net.enc1[1])]  # type: ignore[arg-type]
        self.downs = [FoldedBlock(down[1]) for down in (net.down2, net.down3, net.down4)]  # type: ignore[arg-type]
        self.ups = [FoldedBlock(up.conv) for up in (net.up1, net.up2)]
        self.decoders = [
            [FoldedBlock(up.conv) for up in ups] for ups in ((net.up3_t, net.up4_t), (net.up3_tn, net.up4_tn))
        ]
        self.outs = [(channels_last(out.weight), out.bias) for out in (net.out_t, net.out_tn)]


@dataclass
class Gates:
    """What a block's backward needs of its forward: where its two ReLU were open, `(C, h, w)` uint8."""

    first: Tensor
    second: Tensor


@dataclass
class Levels:
    """What one forward pass of the whole image leaves; `(C, h, w)` at the level of the key, frame t first in lists."""

    shapes: list[tuple[int, int]]  # of levels 0..4
    outputs: list[Tensor] = field(default_factory=list)  # (H, W) linear, of the decoders that were run
    encoded: list[list[Tensor]] = field(default_factory=list)  # [frame][0, 1] outputs of enc0 and enc1
    down: dict[int, Tensor] = field(default_factory=dict)  # outputs of down2..down4, levels 2..4
    up: dict[int, Tensor] = field(default_factory=dict)  # outputs of up1, up2, up3_t: levels 3, 2, 1
    pooled: dict[int, Tensor] = field(default_factory=dict)  # inputs of down2..down4, levels 2..4
    pooled_fine: list[Tensor] = field(default_factory=list)  # inputs of enc1, level 1
    gates: dict[str, Gates] = field(default_factory=dict)
    taken: dict[str, Tensor] = field(default_factory=dict)  # uint8: which of its 2x2 pixels a pooling took


def forward_whole(net: FoldedNet, pair: Tensor, frames: tuple[int, ...], with_gates: bool) -> Levels:
    """The pair through the network, keeping every level.

    Args:
        net: The network.
        pair: `(2, H, W)`, H and W multiples of 16.
        frames: Which decoders to run: 0 = t, 1 = t+1.
        with_gates: Keep what the backward of frame t+1 needs, and of the values only the outputs.

    Returns:
        The levels.
    """
    shapes = [(pair.shape[1] >> k, pair.shape[2] >> k) for k in range(5)]
    levels = Levels(shapes)

    def run(block: FoldedBlock, source: Callable[[Windows], Tensor], level: int, name: str) -> Tensor:
        out, gates = _in_strips(block, source, shapes[level], with_gates and not name.endswith("_t"))
        if gates is not None:
            levels.gates[name] = gates
        return out

    def pool(x: Tensor, name: str) -> Tensor:
        if with_gates:
            levels.taken[name] = _taken(x)
        return F.max_pool2d(x[None], 2)[0]

    halves = []
    for frame in (0, 1):
        image = pair[frame : frame + 1]
        fine = run(net.encoders[0], lambda w, x=image: cut(x, w), 0, f"enc0_{frame}")  # type: ignore[misc]
        levels.pooled_fine.append(pool(fine, f"enc0_{frame}"))
        half = run(net.encoders[1], lambda w, x=levels.pooled_fine[frame]: cut(x, w), 1, f"enc1_{frame}")  # type: ignore[misc]
        halves.append(pool(half, f"enc1_{frame}"))
        levels.encoded.append([fine, half] if frame in frames else [])
    levels.pooled[2] = channels_last(torch.cat(halves)[None])[0]
    for k, block in zip((2, 3, 4), net.downs, strict=True):
        levels.down[k] = run(block, lambda w, x=levels.pooled[k]: cut(x, w), k, f"down{k}")  # type: ignore[misc]
        if k < 4:
            levels.pooled[k + 1] = pool(levels.down[k], f"down{k}")
    coarse = levels.down[4]
    for k, block in zip((3, 2), net.ups, strict=True):
        coarse = levels.up[k] = run(block, _beside(levels.down[k], coarse), k, f"up{k}")
    for frame in frames:
        x, suffix = coarse, ("_t", "")[frame]
        for k, block in zip((1, 0), net.decoders[frame], strict=True):
            x = run(block, _beside(levels.encoded[frame][k], x), k, f"up{k}{suffix}")
            if k and not frame:
                levels.up[1] = x
        kernel, bias = net.outs[frame]
        levels.outputs.append(F.conv2d(x[None], kernel, bias)[0, 0])
    if with_gates:
        return Levels(shapes, levels.outputs, gates=levels.gates, taken=levels.taken)
    return levels


def cut_upsampled(coarse: Tensor, windows: Windows) -> Tensor:
    """Windows of the bilinear x2 of a whole level, made of the coarse pixels that they need."""
    below = windows.span.downsampled().windows()
    return moved(upsample(cut(coarse, below)), below.doubled(), windows)


def _beside(skip: Tensor, coarse: Tensor) -> Callable[[Windows], Tensor]:
    return lambda w: channels_last(torch.cat([cut(skip, w), cut_upsampled(coarse, w)], 1))


def _in_strips(
    block: FoldedBlock, source: Callable[[Windows], Tensor], shape: tuple[int, int], with_gates: bool
) -> tuple[Tensor, Gates | None]:
    """A block over a whole level: `source` cuts its input's windows."""
    out: Tensor | None = None
    gates: list[Tensor] = []
    for top, bottom, window in _strips(shape):
        results = block(source(window))
        inner = slice(top - int(window.start[0, 0]), bottom - int(window.start[0, 0]))
        if out is None:
            channels, like = results[1].shape[1], results[1]
            out = like.new_empty(*shape, channels).permute(2, 0, 1)
            if with_gates:
                gates = [
                    torch.empty(*shape, r.shape[1], dtype=torch.uint8, device=r.device).permute(2, 0, 1)
                    for r in results
                ]
        out[:, top:bottom] = results[1][0, :, inner]
        for gate, result in zip(gates, results, strict=False):
            gate[:, top:bottom] = (result[0, :, inner] > 0).view(torch.uint8)
    assert out is not None
    return out, Gates(*gates) if gates else None


def _strips(shape: tuple[int, int]) -> Iterator[tuple[int, int, Windows]]:
    """First and last row of each strip, and the window that it needs."""
    rows = max(8, _STRIP_PX // shape[1])
    for top in range(0, shape[0], rows):
        bottom = min(top + rows, shape[0])
        span = Span(np.array([[top - 2, 0]]), np.array([[bottom + 2, shape[1]]]), shape)
        yield top, bottom, span.windows()


def _taken(x: Tensor) -> Tensor:
    """Which of its four pixels the 2x2 maximum takes (the first of equals): `(C, h, w)` -> `(C, h/2, w/2)` uint8."""
    best = x[:, ::2, ::2].clone()
    taken = torch.where(best > 0, 0, CLOSED).to(torch.uint8)
    for k in (1, 2, 3):
        value = x[:, k // 2 :: 2, k % 2 :: 2]
        taken.masked_fill_(value > best, k)
        torch.maximum(best, value, out=best)
    return taken


def unpool(grad: Tensor, taken: Tensor) -> Tensor:
    """The gradient of the 2x2 maximum: `(n, C, h, w)` and `taken` of it -> `(n, C, 2h, 2w)`."""
    n, channels, height, width = grad.shape
    out = grad.new_empty(n, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)
    for k in range(4):
        torch.mul(grad, (taken == k).view(torch.uint8), out=out[:, :, k // 2 :: 2, k % 2 :: 2])
    return out


def _fold(convolution: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Kernel and bias of a convolution followed by its batch normalisation in evaluation mode."""
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None
    assert norm.running_mean is not None
    assert convolution.bias is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    kernel = convolution.weight * scale[:, None, None, None]
    return channels_last(kernel), (convolution.bias - norm.running_mean) * scale + norm.bias
