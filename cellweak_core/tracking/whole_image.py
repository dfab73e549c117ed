"""Backward-and-forward propagation the authors' way: a backward and a forward of the whole images for each cell.

Literal and slow: what `propagation.propagate` must equal.

Source: Nishimura et al. 2020 (WSCTBFP), Sec. 3.3, Eqs. 2-4; `guided_model.py`, `forward_propagation.py`,
`utils/load.py` and `association_with_forward_prop.py` of the authors' code (WSCTBFP @74c5604).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .association import SCORE_RADIUS_PX, VISIBLE, candidates
from .guided import guided
from .networks import CoDetectionNet
from .propagation import Floats, Propagation, checked_images, checked_peaks, mirrored
from .relevance import MINIMUM, SEED_RADIUS_PX, normaliser, seed_labels


def propagate_whole(
    net: CoDetectionNet,
    pair: Floats | Tensor,
    peaks_t: Floats | None = None,
    peaks_t1: Floats | None = None,
    background: Floats | Tensor | None = None,
    *,
    gate: float,
    smooth_px: float = 0.0,
) -> Propagation:
    """Scores of all candidate links of a pair of frames, the whole images for each cell.

    Arguments, result and errors as in `propagation.propagate`. The relevance maps of all cells are kept:
    2 x 4 bytes for each pixel and cell.
    """
    images, behind = checked_images(net, pair, background)
    height, width = images.shape[1:]
    with torch.no_grad():
        likelihood = respond(net, images)
    before, after = checked_peaks(likelihood, peaks_t, peaks_t1, smooth_px)
    relevance = images.new_zeros(len(after) + 1, 2, height, width)  # k = 0: a map of zeros
    for i, maps in enumerate(relevance_maps(net, images, after), 1):
        for frame in (0, 1):
            relevance[i, frame] = maps[frame] / normaliser(maps[frame])
    highest, labels = relevance.max(0)
    labels[highest < MINIMUM] = 0
    found = candidates(before, after, gate)
    scores = np.zeros(len(found))
    for i in np.unique(found[:, 0]).tolist():
        masked = torch.where(labels == i + 1, images, behind)
        with torch.no_grad():
            response = respond(net, masked)[0]
        if response.max() > 0:
            response = response / response.max()
        for row in np.flatnonzero(found[:, 0] == i).tolist():
            scores[row] = similarity(likelihood[0], response, before[found[row, 1]])
    return Propagation(
        likelihood.float().cpu().numpy(), before, after, labels.to(torch.int32).cpu().numpy(), found, scores
    )


def relevance_maps(
    net: CoDetectionNet, images: Tensor, peaks_t1: Floats, cells: Iterable[int] | None = None
) -> Iterator[Tensor]:
    """Guided gradients of the sum of L_t+1 over S(c_i), negative ones cut, each by a backward of the whole images.

    Args:
        net: The network.
        images: `(2, H, W)` of its type and device.
        peaks_t1: `(m, 2)` x, y in px of all cells.
        cells: Which of them; None for all.

    Yields:
        `(2, H, W)` relevance at the pixels of frames t and t+1, not normalised.
    """
    height, width = images.shape[1:]
    padded = mirrored(images.detach())[None].requires_grad_()
    region = torch.from_numpy(seed_labels(peaks_t1, (padded.shape[2], padded.shape[3]), SEED_RADIUS_PX))
    with guided(net):
        after = net(padded)[0, 1]
        for i in range(len(peaks_t1)) if cells is None else cells:
            seed = (region == i + 1).to(after)
            (gradient,) = torch.autograd.grad(after, padded, seed, retain_graph=True)
            yield gradient[0, :, :height, :width].clamp_min(0)


def respond(net: CoDetectionNet, images: Tensor) -> Tensor:
    """Clamped likelihood maps `(2, H, W)` of a pair, in evaluation mode."""
    training = net.training
    try:
        return net.eval()(mirrored(images)[None])[0, :, : images.shape[1], : images.shape[2]].clamp(0, 1)
    finally:
        net.train(training)


def similarity(likelihood: Tensor, response: Tensor, peak: NDArray[np.floating]) -> float:
    """1 - sum_D (L_t - M L'_i)^2 / sum_D L_t^2 over the disc D of radius 12 px on one peak; 0 where L_t is 0 there.

    Args:
        likelihood: L_t `(H, W)`.
        response: L'_i `(H, W)`.
        peak: x, y in px.
    """
    rows, columns = np.ogrid[: likelihood.shape[0], : likelihood.shape[1]]
    inside = (columns - peak[0]) ** 2 + (rows - peak[1]) ** 2 <= SCORE_RADIUS_PX**2
    disc = torch.from_numpy(inside).to(likelihood.device)
    expected, seen = likelihood[disc], (response * (likelihood > VISIBLE))[disc]
    total = expected.square().sum()
    return float(1 - (expected - seen).square().sum() / total) if total > 0 else 0.0
