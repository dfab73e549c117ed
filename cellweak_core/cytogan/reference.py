"""What representations and generated cells are held against: the weakly supervised CNN, CellProfiler's features.

    cells that train, by treatment --> CNN (screens.cellnet) --a layer's mean--> features of any cells, real or made
    some cells --cp-measure--> z-scores by the controls                          a row of Table 1

The CNN is that of Caicedo et al. 2018 as they trained it plainly. Its first seed is the space in which generated cells
are compared with real ones: no Inception, so the distances are no FID and no KID.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional

from ..files import DataError
from ..parallel import map_runs
from ..screens.cellnet import CellNet, build_cell, cell_architecture
from ..screens.crops import Crops
from ..screens.features import embedded
from ..screens.labels import Labels
from ..screens.learning import train as train_network
from ..screens.networks import load_weights, rebuilt
from ..training import make_fabric
from .properties import channel_of

CNN, CELLPROFILER = "weakly supervised CNN", "CellProfiler"  # rows of Table 1
Floats = NDArray[np.float32]


def _architecture(kind: str, crops: Crops, n_classes: int, width: int) -> dict[str, Any]:
    return cell_architecture(len(crops.channels), n_classes, width)


def train_cnn(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """The CNN of one seed, as a task of `map_runs`; arguments and result as `screens.learning.train`."""
    return train_network(run, shared, checkpoint, architecture=_architecture, build=build_cell)


def cnns(
    crops: Crops, labels: Labels, settings: Mapping[str, Any], seeds: Sequence[int], out: Path,
    reading: Mapping[str, Any], n_jobs: int = 1,
) -> list[dict[str, Any]]:  # fmt: skip
    """A CNN for each seed.

    Args:
        crops: On the disk.
        labels: What trains.
        settings: Of `screens.learning.DEFAULTS`.
        seeds: One network each.
        out: Folder of finished work.
        reading: Options that the crops were opened with.
        n_jobs: Networks at a time.

    Returns:
        As `screens.learning.train`, seed by seed.
    """
    shared = {
        "folder": str(crops.root.absolute()), "reading": dict(reading), "digest": crops.digest, "labels": labels.train,
        "checked": labels.checked, "n_classes": len(labels.classes),
    }  # fmt: skip
    runs = [{"kind": "baseline", "pairs": "any", **settings, "seed": int(seed)} for seed in seeds]
    return map_runs(train_cnn, runs, folder=out / "work", shared=shared, n_jobs=n_jobs, desc="CNN")


def given_cnn(path: str | Path, crops: Crops) -> dict[str, Any]:
    """A CNN that the embeddings chapter trained, as the space to compare in.

    Raises:
        DataError: No such file, another kind of network, another number of channels.
    """
    found = load_weights(path, ("architecture",), "embeddings")
    of = found["architecture"]
    if of.get("kind") != "cell":
        raise DataError(f"{path}: a network of kind {of.get('kind')}, expected one that was trained on treatments")
    if of["n_channels"] != len(crops.channels):
        raise DataError(
            f"{path}: trained on {of['n_channels']} channels, {crops.name} has {len(crops.channels)}; give a network "
            "of the same channels"
        )
    return found


def features_of(
    images: ArrayLike, trained: Mapping[str, Any], layer: str, side_px: int = 0, batch_size: int = 256,
    device: str = "auto",
) -> Floats:  # fmt: skip
    """Features of cells as generators see and make them.

    Args:
        images: `(n, C, s, s)` float in [-1, 1].
        trained: `architecture` and `model.*` of a CNN.
        layer: Of `screens.cellnet.LAYERS`.
        side_px: Of the crops that the CNN learnt; images of another side are resized to it. 0 leaves them.
        batch_size: Cells at a time.
        device: As `training.make_fabric`.

    Returns:
        `(n, d)`.
    """
    where, network = make_fabric(device).device, rebuilt(trained, build_cell)
    network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    given, parts = torch.from_numpy(np.asarray(images, np.float32)), list[Floats]()
    with torch.inference_mode():
        for batch in given.split(batch_size):
            x = batch.to(where)
            if side_px and x.shape[2] != side_px:
                x = functional.interpolate(x, (side_px, side_px), mode="bilinear", antialias=True)
            x = x.contiguous(memory_format=torch.channels_last)
            parts.append(network.layers(x, [layer])[layer].float().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def cnn_features(crops: Crops, trained: Mapping[str, Any], layer: str, device: str, precision: str) -> Floats:
    """Features of all cells of a screen, `(n, d)`, for the CNN's row of Table 1."""
    network: CellNet = rebuilt(trained, build_cell)
    return embedded(crops, np.arange(len(crops)), network, [layer], device=device, precision=precision)[layer]


def measured(crops: Crops, rows: NDArray[np.int64], out: Path, n_jobs: int = 1) -> NDArray[np.float64]:
    """CellProfiler's measurements of some cells, as z-scores by the controls among them, `(n, d)`.

    Args:
        crops: The screen; the channel that is named DNA (or DAPI, Hoechst) is taken for it, else the first.
        rows: `(n,)` cells, two controls or more among them.
        out: Folder of finished work.
        n_jobs: Shards at a time.

    Raises:
        ImportError: cp-measure is not installed; says how.
        DataError: As `screens.measurements.measure_crops` and `screens.normalization.standardize`.
    """
    from ..screens.measurements import measure_crops
    from ..screens.normalization import standardize

    # the measurements take the first channel for DNA
    try:
        dna = channel_of(crops.channels, "DNA")
    except DataError:
        dna = 0
    order = [dna, *(k for k in range(len(crops.channels)) if k != dna)]
    pixels, names = crops.raw(rows)[:, order], tuple(crops.channels[k] for k in order)
    some = Crops([pixels], "NCHW", names, crops.cells.iloc[rows].reset_index(drop=True), crops.name)
    found = measure_crops(some, out / "work", n_jobs=n_jobs, desc="cp-measure")
    return standardize(found.features, some.control)
