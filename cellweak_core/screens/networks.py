"""What the networks of single cells share: a shape that they ask for, weights in a training's result, and as a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..files import DataError, atomic_path
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


def save_weights(path: str | Path, trained: Mapping[str, Any], header: Mapping[str, Any]) -> Path:
    """A network's weights as one safetensors file.

    Args:
        path: The file to write; missing parent folders are made.
        trained: `model.*` of a training's result.
        header: What is needed to use them, by name: anything that JSON holds, the architecture above all.

    Returns:
        The path.

    Raises:
        FullDiskError: No room for it.
    """
    from safetensors.torch import save_file

    weights = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in weights_of(trained).items()
    }
    with atomic_path(path) as part:
        save_file(weights, part, {name: json.dumps(value) for name, value in header.items()})
    return Path(path)


def load_weights(
    path: str | Path, names: Sequence[str], whose: str, build: Callable[[Mapping[str, Any]], nn.Module] | None = None
) -> dict[str, Any]:
    """What `save_weights` wrote.

    Args:
        path: The file.
        names: Of the header, all of which must be there.
        whose: The chapter that writes such files.
        build: A network of an architecture, which the weights must then fit; None asks nothing of them.

    Returns:
        The header's values under `names`, and `model.*`.

    Raises:
        DataError: Not there, no such file, or weights that do not fit.
    """
    from safetensors import safe_open

    file = Path(path)
    try:
        with safe_open(file, framework="pt") as opened:
            header = opened.metadata() or {}
            found: dict[str, Any] = {name: json.loads(header[name]) for name in names}
            found |= {MODEL + name: opened.get_tensor(name) for name in opened.keys()}
        if build is not None:
            rebuilt(found, build)
    except Exception as error:  # safetensors raises its own kinds, and torch's lists every weight
        reason = str(error).partition("\n")[0]
        raise DataError(f"{file}: cannot be read as weights of the {whose} chapter ({reason})") from error
    return found


def require_images(x: Tensor, n_channels: int, size_px: int) -> None:
    """Refuse images of another shape than `(n, n_channels, size_px, size_px)`.

    Raises:
        ValueError: They have one.
    """
    if x.shape[1:] != (n_channels, size_px, size_px):
        raise ValueError(f"x: expected (n, {n_channels}, {size_px}, {size_px}), got {tuple(x.shape)}")
