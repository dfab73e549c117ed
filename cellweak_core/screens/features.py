"""Features of single cells by a trained network, in memory.

    crops --read ahead--> rescale, channels last, bf16 --> network, up to the wanted layer --> (n, d) float32
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..training import make_fabric
from .cellnet import CellNet, folded
from .crops import Crops
from .reading import crops_ahead

Floats = NDArray[np.float32]


def features(network: nn.Module, crops: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
    """Features of any of the networks, `(n, d)` each.

    Args:
        network: In evaluation mode: a `CellNet`, or one whose `encode` or `features` gives one vector a crop.
        crops: `(n, C, H, W)` in [-1, 1].
        wanted: Layers of a `CellNet`; the others have one, whatever its name.
    """
    if isinstance(network, CellNet):
        return network.layers(crops, wanted)
    own = network.encode if hasattr(network, "encode") else network.features
    return {wanted[0]: torch.flatten(own(crops), 1)}  # type: ignore[operator]


@torch.inference_mode()
def embedded(
    crops: Crops,
    rows: NDArray[np.int64],
    network: nn.Module,
    layers: Sequence[str],
    batch_size: int = 128,
    device: str = "auto",
    precision: str = "bf16-mixed",
) -> dict[str, Floats]:
    """Features of some cells, in memory.

    Args:
        crops: The screen.
        rows: `(n,)` cells.
        network: In evaluation mode.
        layers: As `features`.
        batch_size: Crops at a time.
        device: As `training.make_fabric`.
        precision: "32-true" or "bf16-mixed".

    Returns:
        `(n, d)` float32 for each layer.
    """
    where = make_fabric(device).device
    half = precision == "bf16-mixed"
    if isinstance(network, CellNet):
        # Without batch normalisation nothing in it needs float32, so that weights are turned to bf16 once
        network = folded(network).to(torch.bfloat16 if half else torch.float32)
    network = network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    mixed = half and not isinstance(network, CellNet)
    found: dict[str, list[Tensor]] = {name: [] for name in layers}
    for x in crops_ahead(crops, rows, batch_size, where):
        given = x.to(torch.bfloat16) if half and not mixed else x
        with torch.autocast(where.type, torch.bfloat16, enabled=mixed):
            for name, values in features(network, given, layers).items():
                found[name].append(values.float().cpu())
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}
