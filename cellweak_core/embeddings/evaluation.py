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
from ..screens.matching import METRICS, match_treatments
from ..screens.normalization import standardize
from ..screens.precision import mean_average_precision
from ..screens.whitening import CORAL, TVN
from .embedding import read_features

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
TRANSFORMS = ("none", "TVN", "TVN + CORAL", "z + TVN")
MOST_SD = 10.0
RANKED: dict[str, tuple[str, ...]] = {"mAP": (), "mAP, other batch": ("batch",)}
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
    profiles, table = site_profiles_of(paths, [layer])
    return profiles[layer], table


def site_profiles_of(paths: Sequence[Path], layers: Sequence[str]) -> tuple[dict[str, Floats], pd.DataFrame]:
    """`site_profiles` of several layers at once: each file is read, and its cells are grouped, once."""
    import pandas as pd

    sums: dict[str, dict[tuple[object, ...], Floats]] = {layer: {} for layer in layers}
    firsts, counts = dict[tuple[object, ...], dict[Any, Any]](), dict[tuple[object, ...], int]()
    for path in paths:
        values, cells = read_features(path, layers)
        by = [name for name in SITE if name in cells]
        for key, rows in cells.groupby(by, sort=False, dropna=False).indices.items():
            name = key if isinstance(key, tuple) else (key,)
            for layer, of in sums.items():
                total = values[layer][rows].sum(0, dtype=np.float64)
                of[name] = of[name] + total if name in of else total
            counts[name] = counts.get(name, 0) + len(rows)
            firsts.setdefault(name, cells.iloc[rows[0]].to_dict())
    table = pd.DataFrame([firsts[key] | {"n": counts[key]} for key in counts])
    return {layer: np.stack([of[key] / counts[key] for key in counts]) for layer, of in sums.items()}, table


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
    """NSC and NSCB of profiles of sites or wells, each as `match_treatments`, and their treatments.

    Returns:
        "NSC" and "NSCB"; "profiles" `(n_treatments, d)`, and "table": one row for each treatment.
    """
    treatments, rows = treatment_profiles(values, table, how)
    found: dict[str, Any] = {m: match_treatments(treatments, rows, exclude) for m, exclude in METRICS.items()}
    return found | {"profiles": treatments, "table": rows}


def ranked(profiles: Floats, table: pd.DataFrame, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Average precision of each treatment's mechanism, as copairs defines it, asked as NSC asks and as NSCB asks.

    Args:
        profiles: `(n_treatments, d)`.
        table: Row for row.
        seed: Of copairs.

    Returns:
        "mAP" and "mAP, other batch": `(n_treatments,)`, NaN where a treatment is not asked; left out where nobody can
        be asked (one batch; mechanisms of one compound each).
    """
    found = dict[str, NDArray[np.float64]]()
    for name, more in RANKED.items():
        if not can_rank(table, more):
            continue
        rule = {"pos_diffby": ("compound", *more), "neg_diffby": ("moa", *more)}
        found[name] = mean_average_precision(profiles, table, **rule, seed=seed)["average_precision"]  # type: ignore[arg-type]
    return found


def can_rank(table: pd.DataFrame, more: Sequence[str]) -> bool:
    """Whether two treatments of one mechanism, and two of different ones, differ in `more` (and in the compound)."""
    keys = [table[name].to_numpy(object) for name in more]
    moa, compound = table["moa"].to_numpy(object), table["compound"].to_numpy(object)
    apart = np.logical_and.reduce([key[:, None] != key for key in keys]) if keys else True
    alike = moa[:, None] == moa
    return bool((alike & apart & (compound[:, None] != compound)).any() and (~alike & apart).any())


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
    for name, one, groups in (
        ("replicate", replicate, table["compound"]), ("gene", gene, gene["constructs"]["gene"])
    ):  # fmt: skip
        found[name] = {
            "right": one["right"], "predicted": one["predicted"].tolist(), "groups": groups.astype(str).tolist()
        }  # fmt: skip
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
    profiles, sites = site_profiles_of([Path(one) for one in run["files"]], run["layers"])
    for layer, values in profiles.items():
        wells, table = wells_of(values, sites)
        for how in run["transforms"]:
            try:
                found = matched_genes(transformed(wells, table, how), table)
            except DataError as error:
                out[f"{layer}|{how}|error"] = str(error)
                continue
            for metric, one in found.items():
                key = f"{layer}|{how}|{metric}"
                out |= {key: one["right"], f"{key}|predicted": json.dumps(one["predicted"])}
                out[f"groups.{metric}"] = json.dumps(one["groups"])
    return out


def score(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """NSC and NSCB by layer and transform of one network, as a task of `parallel.map_runs`.

    Args:
        run: `files` and their `sha256`, `layers`, `transforms`; `ranked`, a layer and a transform of which mean average
            precision is taken too.
        shared: Nothing.
        checkpoint: Not used.

    Returns:
        `LAYER|TRANSFORM|METRIC`: `(n_treatments,)` int8, 1 right, 0 wrong, -1 not asked; `...|predicted` the mechanisms
        that were nearest; `LAYER|TRANSFORM|mAP` as `ranked`; `...|error` where a transform cannot be made;
        `treatments` (compound, concentration, moa, batch) and `groups.METRIC` (the compounds), all texts as JSON.
    """
    import pandas as pd

    out, table = dict[str, Any](), pd.DataFrame()
    profiles, sites = site_profiles_of([Path(one) for one in run["files"]], run["layers"])
    for layer, values in profiles.items():
        for how in run["transforms"]:
            try:
                found = matched(transformed(values, sites, how), sites)
            except DataError as error:
                out[f"{layer}|{how}|error"] = str(error)
                continue
            table = found["table"]
            out |= marked(found["profiles"], table, f"{layer}|{how}", found)
            if [layer, how] == run.get("ranked"):
                out |= {f"{layer}|{how}|{name}": one for name, one in ranked(found["profiles"], table).items()}
    if table.empty:
        raise DataError("; ".join(sorted(set(out.values()))))
    return out | described(table)


def marked(profiles: Floats, table: pd.DataFrame, key: str, found: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """NSC and NSCB of treatment profiles as `score` keeps them, under `KEY|METRIC`; `found` if they are matched."""
    out = dict[str, Any]()
    for metric, exclude in METRICS.items():
        one = found[metric] if found else match_treatments(profiles, table, exclude)
        out |= {f"{key}|{metric}": one["right"], f"{key}|{metric}|predicted": json.dumps(one["predicted"].tolist())}
    return out


def described(table: pd.DataFrame) -> dict[str, str]:
    """The treatments and what intervals resample, as `score` keeps them."""
    groups = json.dumps(table["compound"].tolist())
    names = ["compound", "concentration", "moa", "batch"]
    return {f"groups.{metric}": groups for metric in (*METRICS, *RANKED)} | {
        "treatments": json.dumps(table[names].to_dict("list"))
    }
