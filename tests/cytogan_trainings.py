"""Small trainings of the cytogan chapter, shared by its tests: screens, runs, and their comparison."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cellweak_core.cytogan import steps, variants
from cellweak_core.cytogan.conditions import compounds_of
from cellweak_core.cytogan.reading import prepared
from cellweak_core.screens.crops import Crops, load_crops, write_crops
from cellweak_core.screens.simulate import Plan, simulate_screen
from cellweak_core.training import make_fabric

FEW = Plan(n_mechanisms=2, compounds=2, doses=1, batches=2, replicates=2, cells=4, controls=2, size_px=32)
TINY: dict[str, Any] = {
    "size_px": 16, "width": 0.03, "latent": 5, "noise": 5, "steps": 6, "batch_size": 4, "log_every": 2,
    "check_every": 3, "n_checked": 8, "checkpoint_every": 2, "device": "cpu", "precision": "32-true",
}  # fmt: skip


def simulated(folder: Path) -> Crops:
    """A few simulated cells on the disk."""
    return load_crops(write_crops(simulate_screen(FEW), folder))


def screen_of(pixels: np.ndarray, folder: Path) -> Crops:
    """Crops `(n, H, W, C)` on the disk, half of them controls."""
    np.save(folder / "crops.npy", pixels)
    compound = np.where(np.arange(len(pixels)) % 2, "taxol", "DMSO")
    pd.DataFrame({"plate": "1", "well": "A01", "compound": compound}).to_csv(folder / "cells.csv", index=False)
    return load_crops(folder, axes="NHWC")


def shared(crops: Crops, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """What runs share."""
    return {"folder": str(crops.root), "reading": {}, **more}


def weights(result: Mapping[str, Any]) -> dict[str, Tensor]:
    """Of all networks."""
    return {name: torch.as_tensor(value) for name, value in result.items() if name.startswith("model.")}


def same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two results have the same weights, bit for bit."""
    return all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())


def parts_of(model: str, screen: Crops, **own: Any) -> steps.Parts:  # noqa: ANN401
    """What a step works with, weights by seed 0."""
    chosen = variants.settings({**TINY, "model": model, **own})
    architecture = variants.architecture_of(chosen, screen.channels, screen.size[0], compounds_of(screen.cells))
    torch.manual_seed(0)
    return steps.assembled(chosen, architecture, make_fabric("cpu", chosen["precision"]))


def cells(screen: Crops, n: int) -> Tensor:
    """The first n cells as networks of 16 px take them."""
    return prepared(torch.from_numpy(screen.raw(np.arange(n))), 16)
