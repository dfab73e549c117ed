"""Features of every cell of a screen, from crops on the disk to Parquet on the disk, a shard at a time.

    crops (a shard) --read ahead--> rescale, channels last, bf16 --> network, up to the wanted layer --> shard.parquet
         ^ one file of crops, or so many cells of one                     what is behind it is not computed

A shard that is there is not computed again; a worker that dies costs its shard only. No more than a shard's features
and table and three batches of pixels are in memory, however large the screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..files import DataError, sha256
from ..parallel import map_runs
from ..screens.cellnet import PAPER_LAYER, cell_architecture
from ..screens.crops import Crops, load_crops, shards
from ..screens.exports import METADATA, write_cells
from ..screens.features import embedded
from ..screens.networks import MODEL, rebuilt
from .networks import build

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float32]
SHARD_CELLS = 20_000


def embed(
    folder: str | Path,
    trained: Mapping[str, Any],
    out: str | Path,
    *,
    reading: Mapping[str, Any] | None = None,
    version: str | None = None,
    layers: Sequence[str] = (PAPER_LAYER,),
    shard_cells: int = SHARD_CELLS,
    batch_size: int = 128,
    device: str = "auto",
    precision: str = "bf16-mixed",
    n_jobs: int = 1,
    scheduler: str | None = None,
) -> list[Path]:
    """Embed the cells of a folder of crops.

    Args:
        folder: Of `load_crops`.
        trained: `architecture` and `model.*`, as `training.train` returns them.
        out: Folder of the Parquet files; on a cluster one that all workers see, as `folder`.
        reading: Options of `load_crops`.
        version: What the crops are, so that other crops are embedded anew; by default their digest, which reads them
            all.
        layers: As `screens.cellnet.CellNet.layers`; of other networks one name.
        shard_cells: At most so many cells in a file.
        batch_size: Crops at a time.
        device: As `training.make_fabric`.
        precision: "32-true" or "bf16-mixed".
        n_jobs: Shards at a time.
        scheduler: As `parallel.map_runs`.

    Returns:
        The files, in the order of the cells: columns `Metadata_*` (plate, well, batch, compound, concentration, control
        and the others of the table) and LAYER_0, LAYER_1 ... float32.

    Raises:
        DataError: As `load_crops`; crops of another number of channels than the network's; files changed since.
        RuntimeError: As `map_runs`; finished shards are kept.
    """
    own, out = dict(reading or {}), Path(out).absolute()
    runs = shard_runs(folder, out, layers, batch_size, device, precision, shard_cells)
    asked, there = trained["architecture"].get("n_channels"), load_crops(folder, **own, only=runs[0]["only"]).channels
    if asked not in (None, len(there)):
        raise DataError(
            f"{folder}: {len(there)} channels ({', '.join(there)}), the network was trained on {asked}; give crops of "
            "the same channels in the same order"
        )
    kept = {name: value for name, value in trained.items() if name.startswith(MODEL)}
    shared = kept | {
        "architecture": dict(trained["architecture"]), "folder": str(Path(folder).absolute()), "reading": own
    }  # fmt: skip
    done = map_runs(
        embed_shard,
        runs,
        folder=out / "work",
        shared=shared,
        n_jobs=n_jobs,
        scheduler=scheduler,
        version=load_crops(folder, **own).digest if version is None else version,
        desc="embedding",
    )
    paths = [Path(one["file"]) for one in done]
    require_unchanged(paths, [one["sha256"] for one in done], out / "work")
    return paths


def shard_runs(
    folder: str | Path,
    out: Path,
    layers: Sequence[str],
    batch_size: int,
    device: str,
    precision: str,
    shard_cells: int = SHARD_CELLS,
) -> list[dict[str, Any]]:
    """What `embed_shard` is asked for, one for each file of features; `only` names the file of crops, where several."""
    found, runs = shards(folder), list[dict[str, Any]]()
    for name, n in found:
        for first in range(0, n, shard_cells):
            run = {"first": first, "last": min(n, first + shard_cells), "layers": list(layers), "device": device}
            run |= {"only": [name] if len(found) > 1 else [], "batch_size": batch_size, "precision": precision}
            runs.append(run | {"file": str(out / f"{name}_{first:09d}.parquet")})
    return runs


def require_unchanged(paths: Sequence[Path], sums: Sequence[str], work: Path) -> None:
    """Refuse files of features that are gone or others than the finished work says.

    Raises:
        DataError: Names up to three, and what to delete.
    """
    other = [p.name for p, own in zip(paths, sums, strict=True) if not p.is_file() or sha256(p) != own]
    if other:
        raise DataError(
            f"{paths[0].parent}: {', '.join(other[:3])} {'is' if len(other) == 1 else 'are'} gone or changed since "
            f"they were made; delete {work} to embed anew"
        )


def embed_shard(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """A shard, as a task of `map_runs`; the features lie in its file, the result says which."""
    crops = load_crops(shared["folder"], **shared["reading"], only=run["only"])
    return write_shard(run, crops, restored(shared))


def write_shard(run: Mapping[str, Any], crops: Crops, network: nn.Module) -> dict[str, Any]:
    """Features and table of a shard's cells, as one file.

    Args:
        run: Of `shard_runs`.
        crops: With these cells in the run's rows.
        network: In evaluation mode.

    Returns:
        `cells`, `file` and its `sha256`.
    """
    path, rows = Path(run["file"]), np.arange(run["first"], run["last"])
    found = embedded(crops, rows, network, run["layers"], run["batch_size"], run["device"], run["precision"])
    write_cells(path, crops.cells.iloc[rows], found)
    return {"cells": len(rows), "file": str(path), "sha256": sha256(path)}


def restored(trained: Mapping[str, Any]) -> nn.Module:
    """The network of a training's result, in evaluation mode."""
    return rebuilt(trained, build)


def untrained(n_channels: int, seed: int, width: int = 64) -> dict[str, Any]:
    """A network as it is before any training, in the form of a training's result: the floor of every comparison.

    Its batch normalisation has seen nothing, so each layer is what its random filters give.
    """
    architecture = cell_architecture(n_channels, 1, width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(architecture)
    return {"architecture": architecture} | {MODEL + name: value for name, value in network.state_dict().items()}


def load_embedded(
    paths: Sequence[Path], layer: str, rows: NDArray[np.int64] | None = None
) -> tuple[Floats, pd.DataFrame]:
    """Features `(n, d)` of one layer, and the cells' table, of the files that `embed` wrote, a file at a time.

    Args:
        paths: The files, in the order of the cells.
        layer: One of theirs.
        rows: Cells to keep, numbered through all files, rising; None keeps all.

    Raises:
        DataError: No such layer in them.
    """
    import pandas as pd

    frames, values, first = list[pd.DataFrame](), list[Floats](), 0
    for path in paths:
        found, table = read_features(path, [layer])
        own = slice(None) if rows is None else rows[(rows >= first) & (rows < first + len(table))] - first
        first += len(table)
        values.append(found[layer][own])
        frames.append(table.iloc[own])
    return np.concatenate(values), pd.concat(frames, ignore_index=True)


def read_features(path: Path, layers: Sequence[str]) -> tuple[dict[str, Floats], pd.DataFrame]:
    """Features `(n, d)` of several layers, and the cells' table, of one file.

    Raises:
        DataError: One of the layers is not in it.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    columns = pq.read_schema(path).names
    metadata = [name for name in columns if name.startswith(METADATA)]
    of: dict[str, list[str]] = {}
    for name in columns:
        if not name.startswith(METADATA):
            of.setdefault(name.rpartition("_")[0], []).append(name)
    absent = [layer for layer in layers if layer not in of]
    if absent:
        raise DataError(f"{path}: no features of layer {absent[0]}; found {', '.join(sorted(of))}")
    frame = pd.read_parquet(path, columns=[*metadata, *(name for layer in layers for name in of[layer])])
    table = frame[metadata].rename(columns=lambda name: name.removeprefix(METADATA))
    return {layer: frame[of[layer]].to_numpy(np.float32) for layer in layers}, table
