"""What a run leaves beside its numbers: profiles as Parquet, a page to hover over, a sheet of nearest treatments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..files import atomic_path
from ..plotting import write_pages
from ..screens.aggregation import mechanisms_of_treatments, treatment_profiles
from ..screens.crops import Crops, rescaled
from ..screens.exports import write_anndata
from ..screens.labels import Labels
from ..screens.sampling import BalancedSampler, partners, some_cells
from ..training import random_source
from . import evaluation
from .embedding import load_embedded

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
SHOWN = ("plate", "well", "compound", "concentration", "moa")


def write_profiles(
    files: Sequence[str], layer: str, transform: str, out: str | Path, anndata: bool = False
) -> tuple[Floats, pd.DataFrame, list[Path]]:
    """Profiles of wells and treatments of one network, in the `Metadata_` convention of pycytominer.

    Args:
        files: Of one network's cells.
        layer: Of its features.
        transform: Of `evaluation.TRANSFORMS`; sites are transformed, then wells are their means and treatments their
            medians.
        out: Folder for `wells.parquet` and `treatments.parquet`.
        anndata: Write both as `.h5ad` too.

    Returns:
        Treatments `(n, d)`, their table, and the files.
    """
    import pandas as pd

    values, sites = evaluation.site_profiles([Path(one) for one in files], layer)
    moved = evaluation.transformed(values, sites, transform)
    # Treatments of unknown mechanism have profiles too; only matching leaves them out
    whole = sites.assign(moa=mechanisms_of_treatments(sites).fillna("")) if "moa" in sites else sites
    treatments, table = treatment_profiles(moved, whole, "median")
    if "moa" in table:
        table["moa"] = table["moa"].replace("", None)
    written = []
    for name, (features, rows) in (
        ("wells", evaluation.wells_of(moved, sites)), ("treatments", (treatments, table))
    ):  # fmt: skip
        names = [f"{layer}_{k}" for k in range(features.shape[1])]
        columns = pd.DataFrame(features.astype(np.float32), columns=names)
        path = Path(out) / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            pd.concat([rows.reset_index(drop=True).add_prefix("Metadata_"), columns], axis=1).to_parquet(part)
        written.append(path)
        if anndata:
            about = {"layer": layer, "transform": transform}
            written.append(write_anndata(path.with_suffix(".h5ad"), columns.to_numpy(), rows, names, about))
    return treatments, table, written


def single_cells(
    scored: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    crops: Crops,
    rows: NDArray[np.int64],
    layer: str,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Places of some cells by t-SNE of the first seed's features of several networks, for `figures.single_cells`."""
    import pandas as pd

    from .projection import tsne

    cells, found = crops.cells.iloc[rows], dict[str, pd.DataFrame]()
    label = (cells["moa"] if "moa" in cells else cells["compound"]).to_numpy()
    for name in names:
        own = next(one for one in scored if one["variant"] == name)
        places = tsne(load_embedded([Path(one) for one in own["files"]], layer, rows)[0], seed)
        table = {"x": places[:, 0], "y": places[:, 1], "label": label, "control": crops.control[rows]}
        found[name] = pd.DataFrame(table)
    return found


def write_hover_page(
    path: str | Path,
    xy: NDArray[Any],
    crops: Crops,
    rows: NDArray[np.int64],
    title: str,
    axes: tuple[str, str] = ("t-SNE 1", "t-SNE 2"),
) -> int:
    """The page on which a cell's crop appears beside the pointer; returns its size in bytes."""
    from .drawing import composite
    from .hover import write_page

    cells = crops.cells.iloc[rows].reset_index(drop=True)
    label = cells["moa"] if "moa" in cells else cells["compound"]
    shown = cells[[name for name in SHOWN if name in cells]]
    pixels = composite(crops.raw(rows))
    control, names = crops.control[rows], label.fillna("unknown").astype(str).tolist()
    return write_page(Path(path), xy, names, pixels, shown, control=control, title=title, axes=axes)


def write_sheet(
    path: str | Path, treatments: Floats, table: pd.DataFrame, crops: Crops, n_crops: int, seed: int, k: int = 3
) -> tuple[Path, Path]:
    """The nearest-neighbour sheet: each treatment, its neighbours under the rule of NSC, crops of both.

    Returns:
        The PDF and the CSV.
    """
    from . import sheets

    neighbours = sheets.neighbours(treatments, table, k=k)
    rng = np.random.default_rng(seed)
    groups = crops.cells.groupby(["compound", "concentration"]).indices
    shown = {}
    for row, (compound, dose) in enumerate(zip(table["compound"], table["concentration"], strict=True)):
        own = groups[compound, dose]
        shown[row] = crops.raw(np.sort(rng.choice(own, min(n_crops, len(own)), replace=False)))
    return write_pages(path, neighbours, sheets.pages(neighbours, shown, n_crops=n_crops))


def example_workflow(crops: Crops, files: Sequence[str], layer: str, transform: str, seed: int) -> dict[str, Any]:
    """Crops, features, profiles and their similarities of a run, as `figures.workflow` takes them."""
    cells, treated = crops.cells, crops.cells[~crops.control]
    features, _ = load_embedded([Path(files[0])], layer, np.arange(60))
    values, sites = evaluation.site_profiles([Path(one) for one in files], layer)
    profiles, table = treatment_profiles(evaluation.transformed(values, sites, transform), sites, "median")
    order = np.argsort(table["moa"].to_numpy(str), kind="stable") if "moa" in table else np.arange(len(table))
    unit = profiles[order] / np.linalg.norm(profiles[order], axis=1, keepdims=True)
    counts = {
        "plates": cells["plate"].nunique(), "wells": len(cells.groupby(["plate", "well"])), "cells": len(cells),
        "features": features.shape[1], "treatments": len(treated.groupby(["compound", "concentration"])),
    }  # fmt: skip
    shown = crops.raw(some_cells(cells, 9, seed))
    return {
        "crops": shown, "counts": counts, "features": features, "profiles": profiles[order],
        "similarity": unit @ unit.T,
    }  # fmt: skip


def example_set(crops: Crops, labels: Labels, t: int, seed: int) -> dict[str, Any]:
    """A set of the recurrent network, as `figures.recurrent` takes it: t cells of one treatment, of many plates."""
    source = random_source(seed)
    rows, classes = BalancedSampler(labels.train).draw_sets(1, t, source)
    return {
        "crops": crops.raw(rows[0]), "label": _treatment(labels, int(classes[0])), "sources": _sources(crops, rows[0])
    }  # fmt: skip


def example_mixtures(crops: Crops, labels: Labels, alpha: float, pairs: str, seed: int, n: int = 3) -> dict[str, Any]:
    """Pairs of cells and their mixtures, drawn as a training draws them, as `figures.mixup` takes them."""
    import pandas as pd

    source, sampler = random_source(seed), BalancedSampler(labels.train)
    rows, _ = sampler.draw(n, source)
    if pairs == "any":
        other, _ = sampler.draw(n, source)
    else:
        other = partners(rows, pd.factorize(crops.cells[pairs])[0], sampler, source)
    weights = np.random.default_rng(seed).beta(alpha, alpha, n)
    first, second = (rescaled(torch.from_numpy(crops.raw(one))).numpy() for one in (rows, other))
    share = weights[:, None, None, None]
    names = [[_treatment(labels, int(labels.train[row])) for row in one] for one in (rows, other)]
    return {
        "first": first, "second": second, "mixed": share * first + (1 - share) * second, "weights": weights.tolist(),
        "labels": list(zip(*names, strict=True)),
        "sources": list(zip(_sources(crops, rows), _sources(crops, other), strict=True)),
    }  # fmt: skip


def _treatment(labels: Labels, k: int) -> str:
    compound, _, dose = labels.classes[k].rpartition(" ")
    return f"{compound} at {dose} µM" if compound else labels.classes[k]


def _sources(crops: Crops, rows: NDArray[np.int64]) -> list[str]:
    return [f"{plate} {well}" for plate, well in crops.cells[["plate", "well"]].iloc[rows].itertuples(index=False)]


def umap_of(files: Sequence[str], layer: str, rows: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Places of some cells by UMAP of one network's features, `(n, 2)`."""
    from .projection import umap

    return umap(load_embedded([Path(one) for one in files], layer, rows)[0], seed)
