"""Responses to masked pairs: only what a cell changes of the response to the background, level by level.

    a cell's pixels  --enc0--enc1--down2--down3--down4--   what differs from the background grows by two pixels a block
    (40 px)            44    26    18     14     12    |   and doubles on its way up: 30, 66, 138, 282 px
                                             ... up1 --+

A masked pair is the background except where a pixel belongs to the cell (Eq. 4), so every level's values are the
background's except around the cell. The background goes through the network once a pair; each cell's windows hold what
differs and two pixels more, which are the background's. Nothing is cut off: elsewhere the response is the background's.

Source: Nishimura et al. 2020 (WSCTBFP), Sec. 3.3; the authors ran one forward of the whole images for each cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .folded import FoldedBlock, FoldedNet, Levels
from .windows import Ints, Span, Windows, channels_last, cut, moved, put, upsample


@dataclass
class _Part:
    """Values of a level that differ from the whole image's within `span`, in windows."""

    values: Tensor
    at: Windows
    span: Span


def cell_spans(labels: NDArray[np.int32], n_cells: int) -> tuple[Span, NDArray[np.bool_]]:
    """Where each cell has pixels, in either frame.

    Args:
        labels: `(2, H, W)`, i + 1 where a pixel is cell i's.
        n_cells: How many cells there are.

    Returns:
        The spans, and which cells have any pixel.
    """
    from scipy.ndimage import find_objects

    lo = np.full((n_cells, 2), np.iinfo(np.int64).max, np.int64)
    hi = np.zeros((n_cells, 2), np.int64)
    for frame in labels:
        for i, found in enumerate(find_objects(frame, n_cells) if n_cells else []):
            if found is not None:
                lo[i] = np.minimum(lo[i], [s.start for s in found])
                hi[i] = np.maximum(hi[i], [s.stop for s in found])
    there = np.asarray((hi > 0).any(1))
    return Span(np.minimum(lo, hi), hi, (labels.shape[1], labels.shape[2])), there


def response_windows(
    net: FoldedNet,
    levels: Levels,
    pair: Tensor,
    background: Tensor,
    labels: Tensor,
    spans: Span,
    cells: Ints,
    batch_px: int,
    reach_px: int | None = None,
) -> Iterator[tuple[int, Tensor, int, int]]:
    """L_t of the masked pairs of some cells, linear.

    Args:
        net: The network.
        levels: Of `forward_whole` of the background, decoder 0.
        pair: `(2, H, W)`.
        background: The same.
        labels: `(2, H, W)`, i + 1 where a pixel is cell i's.
        spans: Of all cells, see `cell_spans`.
        cells: Those of which the response is wanted; each has pixels.
        batch_px: Pixels of the windows of one batch, in the last level.
        reach_px: How far beyond the cell's pixels a difference from the background is looked for; None for all.

    Yields:
        Cell, its response `(h, w)` at frame t, top and left of the window. Elsewhere it is the background's.
    """
    for chosen in _batches(spans, cells, batch_px):
        number = torch.from_numpy(chosen + 1).to(labels.device)[:, None, None, None]
        span = Span(spans.lo[chosen], spans.hi[chosen], spans.shape)
        changed = span.grown(2).pairs()
        at = changed.grown(2).windows()
        masked = torch.where(cut(labels, at) == number, cut(pair, at), cut(background, at))
        response = _forward(net, levels, masked, at, changed, span.levels(reach_px))
        for k, (top, left) in enumerate(response.span.lo.tolist()):
            y, x = (response.span.lo[k] - response.at.start[k]).tolist()
            height, width = (response.span.hi[k] - response.span.lo[k]).tolist()
            yield int(chosen[k]), response.values[k, 0, y : y + height, x : x + width], top, left


def _batches(spans: Span, cells: Ints, batch_px: int) -> Iterator[Ints]:
    """Cells of similar extent together, as all windows of a batch are as large as its largest."""
    size = spans.hi[cells] - spans.lo[cells]
    cells = cells[np.lexsort((size[:, 1], size.max(1)))]
    size = np.minimum(spans.hi[cells] - spans.lo[cells] + _GROWTH_PX, spans.shape)
    start = 0
    while start < len(cells):
        # Sorted: each further cell may enlarge all windows of the batch.
        largest = np.maximum.accumulate(size[start:]).prod(1) * np.arange(1, len(cells) - start + 1)
        n = max(int(np.searchsorted(largest, batch_px, side="right")), 1)
        yield cells[start : start + n]
        start += n


_GROWTH_PX = 242  # from a cell's pixels to what differs in L_t, both sides together


def _forward(net: FoldedNet, levels: Levels, masked: Tensor, at: Windows, changed: Span, limits: list[Span]) -> _Part:
    """`masked` (n, 2, h, w) through the network, decoder 0: its output where it differs."""
    n = len(masked)
    fine = net.encoders[0](channels_last(masked.flatten(0, 1)[:, None]))[1].unflatten(0, (n, 2))
    frames = [_Part(fine[:, frame], at, changed) for frame in (0, 1)]
    halves = [_down(net.encoders[1], levels.pooled_fine[f], frames[f]) for f in (0, 1)]
    both = _Part(torch.cat([half.values for half in halves], 1), halves[0].at, halves[0].span)
    downs = {2: _down(net.downs[0], levels.pooled[2], both)}
    for k in (3, 4):
        downs[k] = _down(net.downs[k - 2], levels.pooled[k], downs[k - 1])
    part = _up(net.ups[0], levels.down[3], downs[3], levels.down[4], downs[4], limits[3])
    part = _up(net.ups[1], levels.down[2], downs[2], levels.up[3], part, limits[2])
    part = _up(net.decoders[0][0], levels.encoded[0][1], halves[0], levels.up[2], part, limits[1])
    part = _up(net.decoders[0][1], levels.encoded[0][0], frames[0], levels.up[1], part, limits[0])
    return _Part(F.conv2d(part.values, *net.outs[0]), part.at, part.span)


def _down(block: FoldedBlock, whole: Tensor, above: _Part) -> _Part:
    """Pooling and a block; `whole` is the block's input of the background."""
    pairs = above.span.pairs()
    even = pairs.windows(2)
    pooled = F.max_pool2d(moved(above.values, above.at, even), 2)
    span = pairs.pooled()
    changed = span.grown(2).pairs()  # whole 2x2 blocks, so that the next pooling finds all four pixels
    at = changed.grown(2).windows()
    x = put(cut(whole, at), at, pooled, even.halved(), span)
    return _Part(block(x)[1], at, changed)


def _up(block: FoldedBlock, whole_skip: Tensor, skip: _Part, whole: Tensor, below: _Part, limit: Span) -> _Part:
    """Up-sampling beside the skip connection, and a block; the whole ones are the background's."""
    changed = below.span.upsampled().joined(skip.span).grown(2).within(limit)
    at = changed.grown(2).windows()
    left = put(cut(whole_skip, at), at, skip.values, skip.at, skip.span)
    coarse_at = at.span.downsampled().windows()
    coarse = put(cut(whole, coarse_at), coarse_at, below.values, below.at, below.span)
    right = moved(upsample(coarse), coarse_at.doubled(), at)
    return _Part(block(channels_last(torch.cat([left, right], 1)))[1], at, changed)
