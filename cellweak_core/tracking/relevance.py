"""Relevance maps of cells, each in windows that grow with the gradient, from one forward pass of the whole pair.

    level 0   S(c) 37 px -> 41 px                       -> enc0: 268 px
    level 1       up4   26 px                     enc1: 132 px
    level 2        up3   18 px               down2: 64 px
    level 3         up2   15 px         down3: 30 px
    level 4                up1   down4: 13 px

The gradient of a cell's disc reaches few pixels in the decoder and 134 px around the disc in the encoder, where alone
it must be followed that far. Nothing is cut off: beyond the windows it is exactly zero. What a backward needs of the
forward (which ReLU are open, which pixel a pooling took) is the same for all cells, so the forward runs once a pair.

Source: Nishimura et al. 2020 (WSCTBFP), Sec. 3.3; the authors ran one backward of the whole image for each cell.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .folded import FoldedBlock, FoldedNet, Levels, unpool
from .windows import Span, Windows, channels_last, cut, moved, put, upsample_transposed

SEED_RADIUS_PX = 18.0  # of the disc S(c) whose response is traced back
MINIMUM = 0.01  # of relevance: smaller values count neither for the percentile nor as a label


def seed_labels(peaks: NDArray[np.floating], shape: tuple[int, int], radius_px: float) -> NDArray[np.int32]:
    """Discs S(c_i) drawn one after the other, later ones over earlier ones, as the authors do.

    Args:
        peaks: `(n, 2)` x, y in px.
        shape: Height and width.
        radius_px: A disc's radius; pixels at this distance belong to it.

    Returns:
        `(H, W)`: 0 nowhere, i + 1 on the disc of cell i.
    """
    labels = np.zeros(shape, np.int32)
    for i, (x, y) in enumerate(np.asarray(peaks, np.float64).tolist()):
        (top, bottom), (left, right) = (
            (max(int(np.ceil(c - radius_px)), 0), max(min(int(np.floor(c + radius_px)) + 1, size), 0))
            for c, size in ((y, shape[0]), (x, shape[1]))
        )
        rows, columns = np.ogrid[top:bottom, left:right]
        labels[top:bottom, left:right][(rows - y) ** 2 + (columns - x) ** 2 <= radius_px**2] = i + 1
    return labels


def normaliser(relevance: Tensor) -> float:
    """The 99th percentile by which the authors divide a cell's relevance map (not in the paper).

    `sorted(x)[round(0.99 n)]` of the n values x above 0.01. Their code fails for n <= 50, where the index is n: the
    largest value is taken. Without any value above 0.01 it is 1, as the map then is below the threshold anyway.

    Args:
        relevance: One frame's map, any shape.
    """
    values = relevance[relevance > MINIMUM]
    n = values.numel()
    return float(values.kthvalue(min(round(0.99 * n), n - 1) + 1).values) if n else 1.0


class Projection:
    """The maximum projection over all cells (Eqs. 2-3), fed with one cell at a time.

    At every pixel the cell of the largest normalised relevance, none where that is below 0.01. Of equals the first
    cell wins when cells come in order, as with an argmax.

    Args:
        shape: Height and width.
        like: A tensor of the type and on the device of the maps.
    """

    def __init__(self, shape: tuple[int, int], like: Tensor) -> None:
        self.best = torch.zeros(2, *shape, dtype=like.dtype, device=like.device)
        self._labels = torch.zeros(2, *shape, dtype=torch.int32, device=like.device)

    def add(self, cell: int, relevance: Tensor, top: int = 0, left: int = 0) -> None:
        """Take in cell `cell`: its relevance maps `(2, h, w)`, not yet normalised, of the window at `top, left`."""
        height, width = relevance.shape[1:]
        for frame, values in enumerate(relevance):
            values = values / normaliser(values)
            best = self.best[frame, top : top + height, left : left + width]
            labels = self._labels[frame, top : top + height, left : left + width]
            labels.masked_fill_(values > best, cell + 1)
            torch.maximum(best, values, out=best)

    @property
    def labels(self) -> Tensor:
        """`(2, H, W)` int32: i + 1 where cell i's relevance is the largest, 0 where none is."""
        return self._labels * (self.best >= MINIMUM)


def relevance_windows(
    net: FoldedNet,
    levels: Levels,
    peaks: NDArray[np.floating],
    cells: NDArray[np.int64],
    batch: int,
    radius_px: float = SEED_RADIUS_PX,
    reach_px: int | None = None,
) -> Iterator[tuple[int, Tensor, int, int]]:
    """Relevance maps of some cells.

    Args:
        net: The network.
        levels: Of `forward_whole` of the pair, with gates.
        peaks: `(n, 2)` x, y in px of all cells of frame t+1.
        cells: Which of them.
        batch: Windows at once.
        radius_px: Of S(c).
        reach_px: How far beyond S(c) relevance is looked for; None for all there is.

    Yields:
        Cell, its relevance `(2, h, w)` >= 0 in frames t and t+1, top and left of the window. Elsewhere it is zero.
    """
    shape = levels.shapes[0]
    seeds = torch.from_numpy(seed_labels(peaks, shape, radius_px)).to(levels.outputs[0].device)[None]
    for at in range(0, len(cells), batch):
        chosen = cells[at : at + batch]
        centres = np.asarray(peaks, np.float64)[chosen, ::-1]  # y, x
        span = Span(
            np.ceil(centres - radius_px).astype(np.int64), np.floor(centres + radius_px).astype(np.int64) + 1, shape
        )
        relevance, windows = _backward(net, levels, seeds, chosen, span, span.levels(reach_px))
        for k, (top, left) in enumerate(windows.start.tolist()):
            yield int(chosen[k]), relevance[k], top, left


def _backward(
    net: FoldedNet, levels: Levels, seeds: Tensor, cells: NDArray[np.int64], span: Span, limits: list[Span]
) -> tuple[Tensor, Windows]:
    """Guided gradient `(n, 2, h, w)` at the images of the sum of L_t+1 over S(c), and its windows."""

    def through(block: FoldedBlock, name: str, grad: Tensor, at: Windows) -> Tensor:
        gates = levels.gates[name]
        return block.backward(grad, cut(gates.first, at), cut(gates.second, at))

    blocks = [*reversed(net.decoders[1]), *reversed(net.ups)]  # into levels 0, 1, 2, 3
    partners = [*net.encoders, *net.downs[:2]]  # whose outputs they see beside what comes from below
    number = torch.from_numpy(cells + 1).to(seeds.device)[:, None, None, None]
    at = _wide(span.grown(2))
    grad = channels_last((cut(seeds, at) == number) * net.outs[1][0].view(1, -1, 1, 1))
    skips: list[tuple[Tensor, Windows]] = []
    for k, (block, partner) in enumerate(zip(blocks, partners, strict=True)):
        span = span.grown(2)
        if k:
            grad, at = moved(grad, at, _wide(span)), _wide(span)
        grad = through(block, f"up{k}", grad, at)
        skips.append((grad[:, : partner.channels], at))
        grad, at = upsample_transposed(grad[:, partner.channels :]), at.halved()
        span = span.downsampled()
    for k in (4, 3, 2):
        span = span.grown(2).within(limits[k])
        here = span.windows()
        grad = moved(grad, at, here)
        if k < 4:
            put(grad, here, *skips[k], add=True)
        grad, at = through(net.downs[k - 2], f"down{k}", grad, here), here
        if k > 2:
            grad, at = unpool(grad, cut(levels.taken[f"down{k - 1}"], at)), at.doubled()
            span = span.unpooled()
    images = []
    for frame, half in enumerate(grad.chunk(2, 1)):
        grad = half
        here, around = at, span
        # Only the encoder of frame t+1 has skip connections to the decoder that the gradient comes from.
        for k in (1, 0):
            name = f"enc{k}_{frame}"
            taken = cut(levels.taken[name], here)
            around = around.unpooled().grown(2).within(limits[k])
            grad = moved(unpool(grad if frame else grad.relu(), taken), here.doubled(), around.windows())
            here = around.windows()
            if frame:
                put(grad, here, *skips[k], add=True)
                grad = through(net.encoders[k], name, grad, here)
            else:
                # Nothing is added to what comes from the pooling, whose closed pixels `unpool` knows.
                grad = net.encoders[k].backward(grad, cut(levels.gates[name].first, here), None)
        images.append(grad.relu_())
    return torch.cat(images, 1), here


def _wide(span: Span) -> Windows:
    """Two pixels beyond the gradient, so that none of it crosses the border on its way to the level below."""
    return span.grown(2).windows(2)
