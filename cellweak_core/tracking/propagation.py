"""Backward-and-forward propagation: which cell of frame t does the co-detection CNN mean by a cell of frame t+1?

    L_t+1 on the disc of cell i --guided backward--> relevance of both images' pixels --max over cells--> its pixels
    background + its pixels     --forward---------> response L'_i at frame t --similarity with L_t--> scores of peaks

    pass 1, all cells: label(p) = argmax_i g_i(p), kept as a running maximum, so that no map of a cell is stored
    pass 2, all cells: masked pair, response, scores of the candidates

Source: Nishimura et al. 2020 (WSCTBFP), Sec. 3.3, Eqs. 2-4; hidden steps from the authors' code (WSCTBFP @74c5604).
`whole_image.propagate_whole` is the authors' way: a backward and a forward of the whole images for each cell. The same
comes out here from windows (`relevance`, `response`) and three forward passes of the whole images per pair.
Deviation: maps, responses and backgrounds are not rounded to 8 bits on the way, as the authors' image files do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .association import SCORE_RADIUS_PX, Similarity, associate, candidates
from .background import quadratic_background
from .folded import FoldedNet, forward_whole
from .networks import STRIDE, CoDetectionNet
from .peaks import EARLIER_THRESHOLD, LATER_THRESHOLD, peaks
from .relevance import Projection, normaliser, relevance_windows
from .response import cell_spans, response_windows

Floats = NDArray[np.floating]
WINDOW_PX = 288  # a cell's largest windows, about


@dataclass(frozen=True)
class Propagation:
    """What propagation finds for a pair of frames.

    Attributes:
        likelihood: `(2, H, W)` L_t and L_t+1, clamped to [0, 1].
        peaks_t: `(n, 2)` x, y in px, the candidates.
        peaks_t1: `(m, 2)` x, y in px, the cells that were traced back.
        labels: `(2, H, W)` int32, i + 1 where a pixel of frame t or t+1 belongs to cell i of `peaks_t1`, else 0.
        candidates: `(k, 2)` index in `peaks_t1`, index in `peaks_t` within the gate.
        scores: `(k,)` similarity of the cell's response with L_t at the candidate, at most 1.
    """

    likelihood: NDArray[np.float32]
    peaks_t: NDArray[np.float64]
    peaks_t1: NDArray[np.float64]
    labels: NDArray[np.int32]
    candidates: NDArray[np.int64]
    scores: NDArray[np.float64]


def propagate(
    net: CoDetectionNet,
    pair: Floats | Tensor,
    peaks_t: Floats | None = None,
    peaks_t1: Floats | None = None,
    *,
    gate: float,
    background: Floats | Tensor | None = None,
    batch: int | None = None,
    reach_px: int | None = None,
    smooth_px: float = 0.0,
) -> Propagation:
    """Scores of all candidate links of a pair of frames, cells in windows.

    Args:
        net: Trained; used as in evaluation whatever its mode, and not changed. Its device and type are used.
        pair: `(2, H, W)` frames t and t+1 in [0, 1].
        peaks_t: `(n, 2)` x, y in px of the cells of frame t; None takes the peaks of L_t above 80/255.
        peaks_t1: Of frame t+1; None takes the peaks of L_t+1 above 125/255.
        gate: Candidates lie less than this from the cell, px; see `association.gate_px`.
        background: `(2, H, W)`; None fits a quadratic surface to each frame.
        batch: Cells at once, which bounds their memory; None chooses for the device. The forward passes of the whole
            images add about 40 bytes for each pixel and unit of width: 3.6 GB at 1392x1040 and width 64.
        reach_px: None gives what the whole images give. A number looks no farther than this from a cell, 64 or more
            being enough for relevance above the threshold, in two thirds of the time (`benchmarks/propagation.py`).
        smooth_px: Of the maps before their peaks are looked for, see `peaks.peaks`.

    Returns:
        Likelihood maps, peaks, labels, candidates and scores; see `association.associate`.

    Raises:
        ValueError: Another network or shape, pixels that are no numbers, peaks outside the frames.
    """
    if batch is not None and batch < 1:
        raise ValueError(f"batch: expected at least 1 cell, got {batch}")
    if reach_px is not None and reach_px < 0:
        raise ValueError(f"reach_px: expected at least 0 px, or None for all, got {reach_px}")
    with torch.inference_mode():
        images, behind = checked_images(net, pair, background)
        shape = (images.shape[1], images.shape[2])
        folded = FoldedNet(net)
        levels = forward_whole(folded, mirrored(images), (0, 1), with_gates=True)
        likelihood = torch.stack(levels.outputs)[:, : shape[0], : shape[1]].clamp(0, 1)
        before, after = checked_peaks(likelihood, peaks_t, peaks_t1, smooth_px)
        found = candidates(before, after, gate)
        if batch is None:
            batch = default_batch(net, images.device)
        projection = Projection(shape, likelihood)
        maps = relevance_windows(folded, levels, after, np.arange(len(after)), batch, reach_px=reach_px)
        for cell, relevance, top, left in maps:
            projection.add(cell, relevance[:, : shape[0] - top, : shape[1] - left], top, left)
        del levels
        labels = projection.labels
        scores = _scores(folded, images, behind, labels, likelihood[0], before, found, batch, reach_px)
    return Propagation(likelihood.float().cpu().numpy(), before, after, labels.cpu().numpy(), found, scores)


def explain(
    net: CoDetectionNet,
    pair: Floats | Tensor,
    found: Propagation,
    cell: int,
    *,
    background: Floats | Tensor | None = None,
) -> dict[str, Any]:
    """The insides of the propagation of one cell, for figures.

    Args:
        net: As for `propagate`.
        pair: The same.
        found: What `propagate` returned.
        cell: Index in `found.peaks_t1`.
        background: As for `propagate`.

    Returns:
        `relevance` (2, H, W), normalised, before the maximum projection; `pixels` (2, H, W) bool, those that are the
        cell's; `masked` (2, H, W), the masked pair; `response` (H, W), L' at frame t in [0, 1]; `candidates` (k,)
        indices in `peaks_t` and their `scores` (k,); `match`, the index in `peaks_t` that the association gives the
        cell, or None, its `score` (NaN without) and `state` (1 associated, 2 low confidence, 0 none).
    """
    if not 0 <= cell < len(found.peaks_t1):
        raise ValueError(f"cell: expected an index below {len(found.peaks_t1)}, the cells of frame t+1, got {cell}")
    with torch.inference_mode():
        images, behind = checked_images(net, pair, background)
        folded = FoldedNet(net)
        levels = forward_whole(folded, mirrored(images), (0, 1), with_gates=True)
        relevance = torch.zeros_like(images)
        for _, values, top, left in relevance_windows(folded, levels, found.peaks_t1, np.array([cell]), 1):
            part = relevance[:, top : top + values.shape[1], left : left + values.shape[2]]
            part.copy_(values[:, : part.shape[1], : part.shape[2]])
        relevance /= torch.tensor([normaliser(values) for values in relevance]).to(relevance)[:, None, None]
        labels = torch.from_numpy(found.labels).to(images.device)
        [(_, response)] = _responses(folded, images, behind, labels, np.array([cell]), 1, None)
        response = response.clone()
    of_cell = found.candidates[:, 0] == cell
    links = associate(found.candidates, found.scores, len(found.peaks_t), len(found.peaks_t1))
    at = np.flatnonzero(links.to_index == cell)
    pixels = labels == cell + 1
    return {
        "relevance": relevance.cpu().numpy(),
        "pixels": pixels.cpu().numpy(),
        "masked": torch.where(pixels, images, behind).cpu().numpy(),
        "response": response.cpu().numpy(),
        "candidates": found.candidates[of_cell, 1],
        "scores": found.scores[of_cell],
        "match": int(links.from_index[at[0]]) if len(at) else None,
        "score": float(links.score[at[0]]) if len(at) else float("nan"),
        "state": int(links.state_t1[cell]),
    }


def _scores(
    net: FoldedNet,
    images: Tensor,
    behind: Tensor,
    labels: Tensor,
    likelihood: Tensor,
    before: NDArray[np.float64],
    found: NDArray[np.int64],
    batch: int,
    reach_px: int | None,
) -> NDArray[np.float64]:
    """Pass 2: the score of every candidate."""
    scores = np.zeros(len(found))
    similarity = Similarity(likelihood, before, SCORE_RADIUS_PX)
    cells, first, counts = np.unique(found[:, 0], return_index=True, return_counts=True)
    rows = {int(c): slice(int(f), int(f + n)) for c, f, n in zip(cells, first, counts, strict=True)}
    for cell, response in _responses(net, images, behind, labels, cells, batch, reach_px):
        scores[rows[cell]] = similarity(response, found[rows[cell], 1])
    return scores


def _responses(
    net: FoldedNet,
    images: Tensor,
    behind: Tensor,
    labels: Tensor,
    cells: NDArray[np.int64],
    batch: int,
    reach_px: int | None,
) -> Iterator[tuple[int, Tensor]]:
    """Each cell's response L'_i at frame t, clamped and divided by its maximum, `(H, W)`: overwritten by the next."""
    if not len(cells):
        return
    shape = images.shape[1], images.shape[2]
    # The labels too, so that a masked pair is continued with its own pixels.
    pair, background, numbers = (mirrored(x) for x in (images, behind, labels))
    levels = forward_whole(net, background, (0,), with_gates=False)
    empty = levels.outputs[0][: shape[0], : shape[1]].clamp(0, 1).contiguous()
    whole, scaled = empty.clone(), torch.empty_like(empty)
    spans, there = cell_spans(numbers.cpu().numpy(), int(cells.max()) + 1)
    for cell in cells[~there[cells]].tolist():
        yield cell, torch.div(empty, _or_one(empty.amax()), out=scaled)
    windows = response_windows(
        net, levels, pair, background, numbers, spans, cells[there[cells]], batch * WINDOW_PX**2, reach_px
    )
    for cell, response, top, left in windows:
        response = response[: shape[0] - top, : shape[1] - left]
        at = slice(top, top + response.shape[0]), slice(left, left + response.shape[1])
        whole[at] = response.clamp(0, 1)
        # Elsewhere the response is the background's, which may hold the maximum.
        yield cell, torch.div(whole, _or_one(whole.amax()), out=scaled)
        whole[at] = empty[at]


def _or_one(maximum: Tensor) -> Tensor:
    """A response of zeros stays one."""
    return torch.where(maximum > 0, maximum, 1)


def checked_images(
    net: CoDetectionNet, pair: Floats | Tensor, background: Floats | Tensor | None
) -> tuple[Tensor, Tensor]:
    """The pair and its background, `(2, H, W)` each, as the network's type on its device.

    Raises:
        ValueError: Another shape, or pixels that are no numbers.
    """
    weight = next(net.parameters())
    images = torch.as_tensor(pair)
    if images.ndim != 3 or len(images) != 2 or not images.numel():
        raise ValueError(f"pair: expected (2, H, W), frames t and t+1, got {tuple(images.shape)}")
    if not images.is_floating_point() or not torch.isfinite(images).all():
        raise ValueError(f"pair: expected finite grey values in [0, 1], got {images.dtype} with NaN or infinity in it")
    if background is None:
        background = np.stack([quadratic_background(image.detach().cpu().numpy()) for image in images])
    behind = torch.as_tensor(background)
    if behind.shape != images.shape:
        raise ValueError(f"background: expected {tuple(images.shape)} as the pair, got {tuple(behind.shape)}")
    if not torch.isfinite(behind).all():
        raise ValueError("background: expected finite grey values, found NaN or infinity")
    return images.detach().to(weight), behind.detach().to(weight)


def checked_peaks(
    likelihood: Tensor, peaks_t: Floats | None, peaks_t1: Floats | None, smooth_px: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Peaks of both frames, those of the maps where none are given.

    Raises:
        ValueError: Not `(n, 2)`, or outside the frames.
    """
    height, width = likelihood.shape[1:]
    checked = []
    for name, given, frame, threshold in (
        ("peaks_t", peaks_t, likelihood[0], EARLIER_THRESHOLD),
        ("peaks_t1", peaks_t1, likelihood[1], LATER_THRESHOLD),
    ):
        points = (
            peaks(frame.cpu().numpy(), threshold, smooth_px=smooth_px)
            if given is None
            else np.asarray(given, np.float64)
        )
        if points.ndim != 2 or points.shape[1] != 2:
            if points.size:
                raise ValueError(f"{name}: expected (n, 2) x, y in px, got {points.shape}")
            points = np.zeros((0, 2))
        outside = ~((points >= -0.5) & (points <= [width - 0.5, height - 0.5])).all(1)
        if outside.any():
            raise ValueError(
                f"{name}: expected x, y inside the {width}x{height} px of the frames, got {points[outside][0]} "
                f"at {np.flatnonzero(outside)[0]}; are x and y exchanged?"
            )
        checked.append(points)
    return checked[0], checked[1]


def mirrored(images: Tensor) -> Tensor:
    """`(2, H, W)` continued below and to the right as in a mirror, to the next multiples of 16.

    Repeated edge pixels would be equal to each other in every layer, and which of equals a pooling takes, and so where
    the gradient goes, would be up to rounding.
    """
    rows, columns = (_mirror(size, images.device) for size in images.shape[1:])
    return images[:, rows][:, :, columns]


def _mirror(size: int, device: torch.device) -> Tensor:
    """Which of `size` pixels stands at each pixel of the padded axis."""
    period = max(2 * (size - 1), 1)
    at = torch.arange(-(-size // STRIDE) * STRIDE, device=device) % period
    return torch.minimum(at, period - at)


def default_batch(net: CoDetectionNet, device: torch.device) -> int:
    """Cells at once: what a quarter of a GPU's free memory holds; elsewhere one, as its windows stay in the cache."""
    if device.type != "cuda":
        return 1
    cell = 8 * net.width * WINDOW_PX**2 * next(net.parameters()).element_size()
    return int(np.clip(torch.cuda.mem_get_info(device)[0] // 4 // cell, 1, 64))
