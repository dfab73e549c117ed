"""Trainings of the chapter's networks on treatments, as tasks for `parallel.map_runs`; see `screens.learning`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..screens.cellnet import cell_architecture
from ..screens.crops import Crops
from ..screens.learning import train as train_network
from .networks import build


def train(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Train one network.

    Args:
        run: Any of `screens.learning.DEFAULTS`; the others are taken from there.
        shared: As `screens.learning.train`.
        checkpoint: Where `training.run_steps` saves.

    Returns:
        As `screens.learning.train`; `architecture` is for `networks.build`.

    Raises:
        ValueError: An unknown name or word in `run`.
        DataError: As `load_crops`; no cell to train on.
    """
    return train_network(run, shared, checkpoint, architecture=_architecture, build=build)


def _architecture(kind: str, crops: Crops, n_classes: int, width: int) -> dict[str, Any]:
    n_channels, (size_px, _) = len(crops.channels), crops.size
    if kind == "autoencoder":
        # The published width of no one; half the CNN's, so that a narrow run is narrow throughout
        return {"kind": kind, "n_channels": n_channels, "size_px": size_px, "width": max(4, width // 2)}
    if kind == "multiscale":
        own = {"width": max(1, width // 4), "merged": 16 * width, "hidden": 8 * width}  # the published ones at 64
        return {"kind": kind, "n_channels": n_channels, "n_classes": n_classes, "size_px": size_px, **own}
    head = "recurrent" if kind == "recurrent" else "dense"
    return cell_architecture(n_channels, n_classes, width, head)
