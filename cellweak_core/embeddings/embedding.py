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
from torch import Tensor, nn

from ..files import DataError, atomic_path, sha256
from ..parallel import map_runs
from ..screens.crops import Crops, load_crops, rescaled, shards
from ..training import shared_tensor
from .networks import PAPER_LAYER, CellNet, build, features, folded
from .reading import ahead

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float32]


def embed(
    folder: str | Path,
    trained: Mapping[str, Any],
    out: str | Path,
    *,
    reading: Mapping[str, Any] | None = None,
    version: str = "",
    layers: Sequence[str] = (PAPER_LAYER,),
    shard_cells: int = 20_000,
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
        version: What the crops are, their digest; a change of it embeds anew.
        layers: As `networks.CellNet.layers`; of other networks one name.
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
        DataError: As `load_crops`; crops of another number of channels than the network's.
        RuntimeError: As `map_runs`; finished shards are kept.
    """
    runs, found = [], shards(folder)
    out, asked = Path(out).absolute(), trained["architecture"].get("n_channels")
    there = load_crops(folder, **dict(reading or {}), **_only(folder, found[0][0])).channels
    if asked not in (None, len(there)):
        raise DataError(
            f"{folder}: {len(there)} channels ({', '.join(there)}), the network was trained on {asked}; give crops of "
            "the same channels in the same order"
        )
    for name, n in found:
        for first in range(0, n, shard_cells):
            run = {"shard": name, "first": first, "last": min(n, first + shard_cells), "layers": list(layers)}
            runs.append(run | {"out": str(out), "batch_size": batch_size, "device": device, "precision": precision})
    kept = {name: value for name, value in trained.items() if name.startswith("model.")}
    shared = kept | {
        "architecture": dict(trained["architecture"]),
        "folder": str(Path(folder).absolute()),
        "reading": dict(reading or {}),
    }
    folder_of = out / "work"
    done = map_runs(
        embed_shard,
        runs,
        folder=folder_of,
        shared=shared,
        n_jobs=n_jobs,
        scheduler=scheduler,
        version=version,
        desc="embedding",
    )
    paths = [out / _name(run) for run in runs]
    other = [p.name for p, one in zip(paths, done, strict=True) if not p.is_file() or sha256(p) != one["sha256"]]
    if other:
        raise DataError(
            f"{out}: {', '.join(other[:3])} {'is' if len(other) == 1 else 'are'} gone or changed since they were made; "
            f"delete {folder_of} to embed anew"
        )
    return paths


def embed_shard(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """A shard, as a task of `map_runs`; the features lie in its file, the result says which."""
    import pandas as pd

    crops = load_crops(shared["folder"], **shared["reading"], **_only(shared["folder"], run["shard"]))
    path = Path(run["out"]) / _name(run)
    rows = np.arange(run["first"], run["last"])
    found = embedded(crops, rows, restored(shared), run["layers"], run["batch_size"], run["device"], run["precision"])
    table = crops.cells.iloc[rows].reset_index(drop=True).add_prefix("Metadata_")
    names = [f"{layer}_{k}" for layer in run["layers"] for k in range(found[layer].shape[1])]
    values = pd.DataFrame(np.concatenate([found[layer] for layer in run["layers"]], 1), columns=names)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        pd.concat([table, values], axis=1).to_parquet(part, index=False)
    return {"cells": len(rows), "file": str(path), "sha256": sha256(path)}


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
        layers: As `networks.features`.
        batch_size: Crops at a time.
        device: As `training.make_fabric`.
        precision: "32-true" or "bf16-mixed".

    Returns:
        `(n, d)` float32 for each layer.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    half = precision == "bf16-mixed"
    if isinstance(network, CellNet):
        # Without batch normalisation nothing in it needs float32, so that weights are turned to bf16 once
        network = folded(network).to(torch.bfloat16 if half else torch.float32)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    mixed = half and not isinstance(network, CellNet)
    found: dict[str, list[Tensor]] = {name: [] for name in layers}

    def read(start: int) -> Tensor:
        return torch.from_numpy(crops.raw(rows[start : start + batch_size]))

    for pixels in ahead(read, range(0, len(rows), batch_size)):
        x = rescaled(pixels.to(device)).contiguous(memory_format=torch.channels_last)
        x = x.to(torch.bfloat16) if half and not mixed else x
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=mixed):
            for name, values in features(network, x, layers).items():
                found[name].append(values.float().cpu())
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def restored(trained: Mapping[str, Any]) -> nn.Module:
    """The network of a training's result, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and thrown away
        network = build(trained["architecture"])
    prefix = "model."
    weights = {name: value for name, value in trained.items() if name.startswith(prefix)}
    network.load_state_dict({
        name[len(prefix) :]: value if isinstance(value, Tensor) else shared_tensor(value)
        for name, value in weights.items()
    })
    return network.eval()


def untrained(n_channels: int, seed: int, width: int = 64) -> dict[str, Any]:
    """A network as it is before any training, in the form of a training's result: the floor of every comparison.

    Its batch normalisation has seen nothing, so each layer is what its random filters give.
    """
    architecture = {"kind": "cell", "n_channels": n_channels, "n_classes": 1, "width": width, "head": "dense"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(architecture)
    return {"architecture": architecture} | {f"model.{name}": value for name, value in network.state_dict().items()}


def load_embedded(paths: Sequence[Path], layer: str) -> tuple[Floats, pd.DataFrame]:
    """Features `(n, d)` of one layer, and the cells' table, of the files that `embed` wrote.

    Raises:
        DataError: No such layer in them.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    frames, values = [], []
    for path in paths:
        columns = pq.read_schema(path).names
        own = [name for name in columns if name.rpartition("_")[0] == layer]
        if not own:
            known = sorted({name.rpartition("_")[0] for name in columns if not name.startswith("Metadata_")})
            raise DataError(f"{path}: no features of layer {layer}; found {', '.join(known)}")
        metadata = [name for name in columns if name.startswith("Metadata_")]
        frame = pd.read_parquet(path, columns=[*metadata, *own])
        values.append(frame[own].to_numpy(np.float32))
        frames.append(frame[metadata].rename(columns=lambda name: name.removeprefix("Metadata_")))
    return np.concatenate(values), pd.concat(frames, ignore_index=True)


def _name(run: Mapping[str, Any]) -> str:
    return f"{run['shard']}_{run['first']:09d}.parquet"


def _only(folder: str | Path, shard: str) -> dict[str, Any]:
    """The shard alone, where there are several; one table has its controls to be asked for."""
    return {"only": [shard]} if len(shards(folder)) > 1 else {}
