"""Intervals from resampled groups, and Monte Carlo dropout.

    embryo A: 4 images   embryo B: 2   embryo C: 3      <- images of one embryo are near-copies of each other
    resample:  A twice, B not at all, C once            -> weights 2 2 2 2 0 0 1 1 1
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn


def group_weights(groups: ArrayLike, n_resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each observation is drawn when whole groups are resampled with replacement.

    Args:
        groups: `(N,)` group (embryo, plate, sequence) of every observation.
        n_resamples: Bootstrap resamples.
        seed: Seed of the draw.

    Returns:
        `(n_resamples, N)` counts; all members of a group share their count.

    Raises:
        ValueError: No observation at all.
    """
    names, inverse = np.unique(np.asarray(groups), return_inverse=True)
    if not len(names):
        raise ValueError("groups: expected at least one observation, got none")
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), n_resamples)
    return draws[:, inverse].astype(float)


def drawn_seeds(n_seeds: int, n_resamples: int, seed: int, stream: int = 0) -> NDArray[np.int64]:
    """How often each seed's network is drawn, with replacement, beside groups that `group_weights` draws.

    Args:
        n_seeds: Networks, one for each seed.
        n_resamples: Bootstrap resamples.
        seed: Seed of the draw; that of `group_weights` may be given, the two are independent.
        stream: 0 or above: another one draws other seeds.

    Returns:
        `(n_resamples, n_seeds)` counts, `n_seeds` in each resample.
    """
    # numpy's generator of [seed, 0] is that of seed, which draws the groups
    rng = np.random.default_rng([seed, 1 + stream])
    return rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), n_resamples)


def percentile_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """The central `level` of the resampled values, undefined ones (0/0 in a resample) left out.

    Returns:
        `(low, high)`; `(nan, nan)` if fewer than half of the resamples define the statistic, or there are none.

    Raises:
        ValueError: `level` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected between 0 and 1, got {level}")
    array = np.asarray(values, float)
    defined = array[np.isfinite(array)]
    if len(defined) < max(1, len(array) / 2):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@contextmanager
def dropout_active(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode with its dropout layers left on, and restore its modes afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d | nn.AlphaDropout):
            module.train()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def mc_dropout(model: nn.Module, images: Tensor, n_passes: int) -> Tensor:
    """Repeated forward passes with dropout on (Gal and Ghahramani 2016).

    Args:
        model: Any network with dropout layers.
        images: Its input.
        n_passes: Passes, T.

    Returns:
        `(n_passes, *output)`; its mean is the prediction, its variance the epistemic part.
    """
    if n_passes < 1:
        raise ValueError(f"n_passes: expected at least 1, got {n_passes}")
    with dropout_active(model):
        return torch.stack([model(images) for _ in range(n_passes)])


def summary(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (NaN of no value, and for fewer than two)."""
    array = np.asarray(values, float)
    mean = float(array.mean()) if len(array) else float("nan")
    return mean, float(array.std(ddof=1)) if len(array) > 1 else float("nan")
