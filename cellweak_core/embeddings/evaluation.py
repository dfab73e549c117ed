"""From features of cells to the question asked of them: is the nearest treatment of the same mechanism?

    files of cells --mean--> sites --(none | TVN | ...)--> --median--> treatments --match--> NSC, NSCB

Source: Caicedo et al. 2018, Sec. 4.3 and Table 2, and the authors' notebook (profiling-evaluation.ipynb), which takes
the mean over a site's cells, whitens sites with regularisation 1, aligns weeks, and takes the median over sites.
The paper's text says mean all the way; this is the notebook that gave its numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..files import DataError
from ..screens.accuracies import gene_accuracy, replicate_accuracy
from ..screens.aggregation import aggregate, treatment_profiles
from ..screens.matching import match_treatments
from ..screens.normalization import standardize
from ..screens.whitening import CORAL, TVN
from .embedding import load_embedded

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
TRANSFORMS = ("none", "TVN", "TVN + CORAL", "z + TVN")
MOST_SD = 10.0
METRICS = {"NSC": "compound", "NSCB": "compound+batch"}
SITE = ("plate", "well", "site")


def site_profiles(paths: Sequence[Path], layer: str) -> tuple[Floats, pd.DataFrame]:
    """Mean over the cells of each site, a file at a time: no more than one file's cells are in memory.

    Args:
        paths: Of `embedding.embed`.
        layer: One of its layers.

    Returns:
        `(n_sites, d)`, and a table in order of first appearance: the columns of the cells, and `n`, their number. A
        screen without sites has one in each well.

    Raises:
        DataError: As `load_embedded`.
    """
    import pandas as pd

    sums = dict[tuple[object, ...], Floats]()
    firsts, counts = dict[tuple[object, ...], dict[Any, Any]](), dict[tuple[object, ...], int]()
    for path in paths:
        values, cells = load_embedded([path], layer)
        by = [name for name in SITE if name in cells]
        groups = cells.groupby(by, sort=False, dropna=False)
        for key, rows in groups.indices.items():
            name = key if isinstance(key, tuple) else (key,)
            total = values[rows].sum(0, dtype=np.float64)
            sums[name] = sums[name] + total if name in sums else total
            counts[name] = counts.get(name, 0) + len(rows)
            firsts.setdefault(name, cells.iloc[rows[0]].to_dict())
    table = pd.DataFrame([firsts[key] | {"n": counts[key]} for key in sums])
    return np.stack([sums[key] / counts[key] for key in sums]), table


def transformed(values: Floats, table: pd.DataFrame, how: str) -> Floats:
    """Profiles with the controls' variation taken out.

    Args:
        values: `(n, d)`.
        table: Row for row, `control` and `batch`.
        how: One of `TRANSFORMS`; regularisation is 1 in both, as in the authors' notebook. "z" before them divides
            each feature by the controls' spread, for features whose units differ, and cuts it off at ten of them: one
            feature that hardly varies in controls would else decide alone.

    Raises:
        ValueError: Another word.
        DataError: Too few controls, as `TVN` and `CORAL`.
    """
    if how not in TRANSFORMS:
        raise ValueError(f"transform: expected one of {', '.join(TRANSFORMS)}, got {how!r}")
    if how == "none":
        return values
    control, batch = table["control"].to_numpy(bool), table["batch"].to_numpy(object)
    values = np.clip(standardize(values, control), -MOST_SD, MOST_SD) if how == "z + TVN" else values
    white = TVN().fit(values[control]).transform(values)
    return CORAL().fit(white[control], batch[control]).transform(white, batch) if how == "TVN + CORAL" else white


def matched(values: Floats, table: pd.DataFrame, how: str = "median") -> dict[str, Any]:
    """NSC and NSCB of profiles of sites or wells, each as `match_treatments`, and their treatments' table.

    Returns:
        "NSC" and "NSCB", and "table": one row for each treatment.
    """
    treatments, rows = treatment_profiles(values, table, how)
    found: dict[str, Any] = {m: match_treatments(treatments, rows, exclude) for m, exclude in METRICS.items()}
    return found | {"table": rows}


def matched_genes(values: Floats, table: pd.DataFrame) -> dict[str, Any]:
    """Replicate and gene accuracy (Table 1) of well profiles, and whose wells and variants they are.

    Args:
        values: `(n_wells, d)`.
        table: Row for row, `compound` (the variant), `gene`, `plate`, `control`.

    Returns:
        "replicate" and "gene": `right` int8 (1, 0, -1 not asked), `predicted` and `groups`, what intervals resample.
    """
    found = dict[str, Any]()
    replicate, gene = replicate_accuracy(values, table), gene_accuracy(values, table)
    for name, one, truth, groups in (
        ("replicate", replicate, table["compound"], table["compound"]),
        ("gene", gene, gene["constructs"]["gene"], gene["constructs"]["gene"]),
    ):
        said = one["predicted"]
        asked = one["neighbour"] >= 0
        right = np.where(asked, said == truth.to_numpy(object), -1).astype(np.int8)
        found[name] = {"right": right, "predicted": said.tolist(), "groups": groups.astype(str).tolist()}
    return found


def wells_of(values: Floats, table: pd.DataFrame) -> tuple[Floats, pd.DataFrame]:
    """Mean over the sites of each well."""
    return aggregate(values, table.drop(columns="n"), ("plate", "well"))


def score_genes(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Replicate and gene accuracy by layer and transform of one network, as a task of `parallel.map_runs`.

    Args:
        run: As `score`.
        shared: Nothing.
        checkpoint: Not used.

    Returns:
        `LAYER|TRANSFORM|replicate` `(n_wells,)` and `...|gene` `(n_variants,)` int8 as `score`, each with
        `...|predicted`; `groups.replicate` and `groups.gene`, all texts as JSON.
    """
    out = dict[str, Any]()
    for layer in run["layers"]:
        values, table = wells_of(*site_profiles([Path(one) for one in run["files"]], layer))
        for how in run["transforms"]:
            for metric, one in matched_genes(transformed(values, table, how), table).items():
                key = f"{layer}|{how}|{metric}"
                out |= {key: one["right"], f"{key}|predicted": json.dumps(one["predicted"])}
                out[f"groups.{metric}"] = json.dumps(one["groups"])
    return out


def score(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """NSC and NSCB by layer and transform of one network, as a task of `parallel.map_runs`.

    Args:
        run: `files` and their `sha256`, `layers`, `transforms`.
        shared: Nothing.
        checkpoint: Not used.

    Returns:
        `LAYER|TRANSFORM|METRIC`: `(n_treatments,)` int8, 1 right, 0 wrong, -1 not asked; `...|predicted` the mechanisms
        that were nearest; `treatments` (compound, concentration, moa, batch) and `groups.METRIC` (the compounds), all
        texts as JSON.
    """
    import pandas as pd

    out, table = dict[str, Any](), pd.DataFrame()
    paths = [Path(one) for one in run["files"]]
    for layer in run["layers"]:
        values, sites = site_profiles(paths, layer)
        for how in run["transforms"]:
            try:
                found = matched(transformed(values, sites, how), sites)
            except DataError as error:
                out[f"{layer}|{how}|error"] = str(error)
                continue
            table = found.pop("table")
            for metric, one in found.items():
                key = f"{layer}|{how}|{metric}"
                right = one["predicted"] == table["moa"].to_numpy(object)
                out[key] = np.where(one["neighbour"] < 0, -1, right).astype(np.int8)
                out[f"{key}|predicted"] = json.dumps(one["predicted"].tolist())
    if table.empty:
        raise DataError("; ".join(sorted(set(out.values()))))
    names = ["compound", "concentration", "moa", "batch"]
    groups = json.dumps(table["compound"].tolist())
    return out | {f"groups.{metric}": groups for metric in METRICS} | {
        "treatments": json.dumps(table[names].to_dict("list"))
    }
