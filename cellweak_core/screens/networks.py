"""What the networks of single cells have in common: a shape that they ask for, and weights in a training's result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..training import shared_tensor

MODEL = "model."  # before the names of weights in a result
N = TypeVar("N", bound=nn.Module)


def weights_of(trained: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a training's result, under the names of the network's own parts; no copies."""
    return {
        name.removeprefix(MODEL): value if isinstance(value, Tensor) else shared_tensor(value)
        for name, value in trained.items()
        if name.startswith(MODEL)
    }


def rebuilt(trained: Mapping[str, Any], build: Callable[[Mapping[str, Any]], N]) -> N:
    """The network of a training's result, in evaluation mode.

    Args:
        trained: `architecture` and `model.*`.
        build: A network of an architecture.
    """
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, and thrown away
        network = build(trained["architecture"])
    network.load_state_dict(weights_of(trained))
    return network.eval()


def require_images(x: Tensor, n_channels: int, size_px: int) -> None:
    """Refuse images of another shape than `(n, n_channels, size_px, size_px)`.

    Raises:
        ValueError: They have one.
    """
    if x.shape[1:] != (n_channels, size_px, size_px):
        raise ValueError(f"x: expected (n, {n_channels}, {size_px}, {size_px}), got {tuple(x.shape)}")
