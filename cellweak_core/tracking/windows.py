"""Windows of a level of the U-Net: where each cell's window lies, cutting it out of the whole image, pasting it back.

    image border
    +------------------------------+        A window never leaves the image. Where the span that it must hold
    |###|                          |        sticks out (#), the window is pushed inside and its own border is the
    |###|      +-------+           |        image's, so that zero padding and clamped up-sampling agree with the
    |---+      | cell  |           |        whole image's. Elsewhere its border is `margin` px beyond what counts.
    |          +-------+           |
    +------------------------------+        All windows of a batch are equally large, that of the largest span.

Spans are half-open, `lo <= pixel < hi`, integer arrays `(n, 2)` in the order y, x, in pixels of the level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Span:
    """What counts, for each of n cells: `lo <= pixel < hi`, clipped to the image of `shape` (h, w)."""

    lo: Ints  # (n, 2)
    hi: Ints
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        """Clip."""
        object.__setattr__(self, "lo", np.clip(self.lo, 0, self.shape))
        object.__setattr__(self, "hi", np.clip(self.hi, 0, self.shape))

    def grown(self, by: int) -> Span:
        """`by` px more on every side."""
        return Span(self.lo - by, self.hi + by, self.shape)

    def pairs(self) -> Span:
        """Grown to whole 2x2 blocks of pixels, those of the pooling."""
        return Span(self.lo // 2 * 2, (self.hi + 1) // 2 * 2, self.shape)

    def pooled(self) -> Span:
        """In the level below: which pooled pixels see it."""
        return Span(self.lo // 2, (self.hi + 1) // 2, halved(self.shape))

    def unpooled(self) -> Span:
        """In the level above: the pixels that are pooled into it."""
        return Span(2 * self.lo, 2 * self.hi, doubled(self.shape))

    def upsampled(self) -> Span:
        """In the level above: which pixels of the bilinear x2 see it."""
        return Span(2 * self.lo - 1, 2 * self.hi + 1, doubled(self.shape))

    def downsampled(self) -> Span:
        """In the level below: what the pixels of the bilinear x2 are made of."""
        return Span((self.lo - 1) // 2, self.hi // 2 + 1, halved(self.shape))

    def joined(self, other: Span) -> Span:
        """The smallest span that holds both."""
        return Span(np.minimum(self.lo, other.lo), np.maximum(self.hi, other.hi), self.shape)

    def within(self, other: Span) -> Span:
        """What lies in both; they must overlap."""
        return Span(np.maximum(self.lo, other.lo), np.minimum(self.hi, other.hi), self.shape)

    def levels(self, reach_px: int | None) -> list[Span]:
        """The span with `reach_px` more on every side, in levels 0 to 4; the whole image for None."""
        spans = [self.grown(max(self.shape) if reach_px is None else reach_px)]
        while len(spans) < 5:
            spans.append(spans[-1].pooled())
        return spans

    def windows(self, align: int = 1) -> Windows:
        """Equally large windows that hold the spans, starts and size multiples of `align` (as must be the shape)."""
        lo = self.lo // align * align
        size = -(-(self.hi - lo).max(0) // align) * align
        size = np.minimum(size, self.shape)
        return Windows(np.minimum(lo, np.array(self.shape) - size), (int(size[0]), int(size[1])), self.shape)


@dataclass(frozen=True)
class Windows:
    """n windows of one size inside an image of `shape` (h, w)."""

    start: Ints  # (n, 2)
    size: tuple[int, int]
    shape: tuple[int, int]

    def __len__(self) -> int:
        """How many."""
        return len(self.start)

    @property
    def span(self) -> Span:
        """What they cover."""
        return Span(self.start, self.start + self.size, self.shape)

    def halved(self) -> Windows:
        """The same in the level below; starts and size must be even."""
        return Windows(self.start // 2, halved(self.size), halved(self.shape))

    def doubled(self) -> Windows:
        """The same in the level above."""
        return Windows(self.start * 2, doubled(self.size), doubled(self.shape))


def halved(shape: Sequence[int]) -> tuple[int, int]:
    """Height and width of the level below."""
    return shape[0] // 2, shape[1] // 2


def doubled(shape: Sequence[int]) -> tuple[int, int]:
    """Height and width of the level above."""
    return shape[0] * 2, shape[1] * 2


def empty(n: int, channels: int, size: Sequence[int], like: Tensor) -> Tensor:
    """Zeros `(n, channels, *size)`, channels last, as convolutions on CPUs and GPUs like them."""
    out = torch.zeros(n, size[0], size[1], channels, dtype=like.dtype, device=like.device)
    return out.permute(0, 3, 1, 2)


def channels_last(x: Tensor) -> Tensor:
    """The same values with the channels of a pixel side by side."""
    return x.contiguous(memory_format=torch.channels_last)


def cut(whole: Tensor, windows: Windows) -> Tensor:
    """The windows of a whole level: `(C, H, W)` -> `(n, C, h, w)`."""
    (h, w), n = windows.size, len(windows)
    out = torch.empty(n, h, w, whole.shape[0], dtype=whole.dtype, device=whole.device).permute(0, 3, 1, 2)
    for k, (y, x) in enumerate(windows.start.tolist()):
        out[k] = whole[:, y : y + h, x : x + w]
    return out


def put(
    target: Tensor, at: Windows, source: Tensor, source_at: Windows, span: Span | None = None, add: bool = False
) -> Tensor:
    """Copy, in place, what lies in both windows (and in `span`) of `source` (n, C, h, w) into `target` (n, C, h', w').

    Args:
        target: What to write to.
        at: Its windows.
        source: What to read.
        source_at: Its windows.
        span: Only what lies in there; None for all.
        add: Add to what is there.

    Returns:
        `target`.
    """
    spans = [at.span, source_at.span] + ([] if span is None else [span])
    shared = Span(np.max([s.lo for s in spans], 0), np.min([s.hi for s in spans], 0), at.shape)
    size = np.maximum(shared.hi - shared.lo, 0).tolist()
    to, of = (shared.lo - at.start).tolist(), (shared.lo - source_at.start).tolist()
    for k, ((h, w), (y, x), (v, u)) in enumerate(zip(size, to, of, strict=True)):
        part = target[k, :, y : y + h, x : x + w]
        new = source[k, :, v : v + h, u : u + w]
        part.add_(new) if add else part.copy_(new)
    return target


def moved(source: Tensor, source_at: Windows, to: Windows) -> Tensor:
    """`source` in other windows, zero where it has nothing."""
    return put(empty(len(to), source.shape[1], to.size, source), to, source, source_at)


def upsample(x: Tensor) -> Tensor:
    """Bilinear x2 as the networks do it."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def upsample_transposed(grad: Tensor) -> Tensor:
    """The gradient of `upsample`: `(n, C, 2h, 2w)` -> `(n, C, h, w)`."""
    n, channels, height, width = grad.shape
    coarse = [n, channels, height // 2, width // 2]
    return torch.ops.aten.upsample_bilinear2d_backward(grad, [height, width], coarse, False, 2.0, 2.0)
