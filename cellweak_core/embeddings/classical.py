"""The classical rows: CellProfiler's features, as profiles that are there already or measured on crops, and factors.

    profiles of wells --recipes (`screens.recipes`)--> treatments --> NSC, NSCB, mean average precision
    crops --cp-measure--> a file of cells like a network's --> scored like a network's features
    wells of constructs (expression) --> replicate and gene accuracy
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..files import DataError, atomic_path
from ..screens.accuracies import accuracy_interval, gene_accuracy, replicate_accuracy
from ..screens.constructs import construct_features
from ..screens.crops import Crops
from ..screens.recipes import Recipe, chosen_over_batches, grid, treatments
from . import evaluation, reporting
from .comparison import entry
from .embedding import load_embedded

if TYPE_CHECKING:
    import pandas as pd

    from ..screens.profiles import Profiles

Floats = NDArray[np.float64]
LAYER, WELLS, CELLS = "measured", "wells", "cells"
MEASURED = "cp-measure"
# The paper's rows, and recipes whose counts on BBBC021 are known
TABLE_2 = {
    "Factor Analysis": Recipe(factors=20, whiten=None),
    "Illumination Correction": Recipe(correlation=0.95, whiten=None),
}
FACTORS = "20 factors of controls"
RECIPES = (
    Recipe(scale="plate", whiten=None),
    Recipe(whiten=None),
    Recipe(factors=50, whiten=None),
    Recipe(whiten=1.0),
    Recipe(correlation=0.95, whiten=1.0, align=True),
)


def profile_rows(profiles: Profiles, n_resamples: int, seed: int) -> Iterator[dict[str, Any]]:
    """Table 2's classical rows, other recipes, and the recipe chosen without looking (items Table 2, Recipes).

    Args:
        profiles: Of wells, with mechanisms.
        n_resamples: Of the intervals.
        seed: Of factor analyses and resamples.

    Yields:
        Rows of the one schema, per cent; and their mean average precision (item Precision).
    """
    named = {str(recipe): recipe for recipe in RECIPES}
    for item, recipes in (("Table 2", TABLE_2), ("Recipes", named)):
        for name, recipe in recipes.items():
            values, table = treatments(profiles, recipe, seed)
            scored, how = [matched_entry(name, values, table, str(recipe), seed)], {name: (name, WELLS, str(recipe))}
            yield from reporting.table_rows(scored, how, item, n_resamples, seed)
            yield from reporting.fact_rows(scored, how, item, len(profiles.metadata), "wells")
            if item == "Recipes":
                yield from reporting.precision_rows(scored, how, n_resamples, seed)
    if profiles.metadata.loc[~profiles.control, "batch"].nunique() >= 3:
        recipes_tried = grid()
        found = chosen_over_batches(profiles, recipes_tried, seed)
        share = {"n": found["total"], "unit": "percent", "column": "NSCB", "item": "Recipes"}
        chosen = "; ".join(f"{batch}: {recipe}" for batch, recipe in found["chosen"].items())
        yield share | {
            "row": "chosen batch by batch on the others", "value": 100 * found["accuracy"],
            "note": f"{found['correct']} of {found['total']} right; of {len(recipes_tried)} recipes. {chosen}",
        }  # fmt: skip
        yield share | {
            "row": f"the best of {len(recipes_tried)} in hindsight",
            "value": 100 * found["best_correct"] / found["total"],
            "note": f"{found['best_correct']} of {found['total']} right, flattered; {found['best']}",
        }  # fmt: skip


def matched_entry(
    name: str, values: Floats, table: pd.DataFrame, how: str, seed: int, layer: str = WELLS
) -> dict[str, Any]:
    """Treatment profiles matched and ranked, in the form of `comparison.compare`'s entries; `layer` of which rows."""
    score = evaluation.marked(values, table, f"{layer}|{how}")
    score |= {f"{layer}|{how}|{metric}": one for metric, one in evaluation.ranked(values, table, seed).items()}
    return {"variant": name, "seed": seed, "score": score | evaluation.described(table), "n_features": values.shape[1]}


def construct_rows(profiles: Profiles, n_resamples: int, seed: int) -> Iterator[dict[str, Any]]:
    """Replicate and gene accuracy of wells of constructs, by recipe (item "Table 1, expression")."""
    rng = np.random.default_rng(seed)
    made = {steps: construct_features(profiles, steps) for steps in ("raw", "centred", "whitened")}
    made["random numbers"] = rng.normal(size=profiles.features.shape)
    for name, values in made.items():
        replicate, gene = (ask(values, profiles.metadata) for ask in (replicate_accuracy, gene_accuracy))
        wells, constructs = profiles.metadata, gene["constructs"]
        for column, one, truth, groups in (
            ("Replicate Acc.", replicate, wells["compound"], wells["compound"]),
            ("Gene Acc.", gene, constructs["gene"], constructs["gene"]),
        ):
            ends = accuracy_interval(one["predicted"], truth, groups, n_resamples, seed)
            yield {
                "item": "Table 1, expression", "row": name, "column": column, "value": 100 * one["accuracy"],
                "low": _percent(ends[0]), "high": _percent(ends[1]), "n": one["total"], "unit": "percent",
                "note": f"{one['correct']} of {one['total']} right; 95 % by resampling constructs or genes",
            }  # fmt: skip


def measured(
    crops: Crops,
    rows: NDArray[np.int64],
    out: str | Path,
    *,
    ask: str = "mechanisms",
    ranked: str = "",
    n_jobs: int = 1,
) -> dict[str, Any]:
    """Cells measured by cp-measure and scored, in the form of `comparison.compare`'s entries.

    Args:
        crops: The screen.
        rows: `(n,)` cells to measure, controls among them; it does about six a second on a core.
        out: Folder for the file of features and finished work.
        ask: As `comparison.compare`.
        ranked: As `comparison.entry`.
        n_jobs: Shards at a time.

    Raises:
        ImportError: cp-measure is not installed; says how.
    """
    import pandas as pd

    from ..screens.measurements import measure_crops

    some = Crops([crops.raw(rows)], "NCHW", crops.channels, crops.cells.iloc[rows].reset_index(drop=True), crops.name)
    found = measure_crops(some, Path(out) / "work", n_jobs=n_jobs, desc="cp-measure")
    columns = [f"{LAYER}_{k}" for k in range(found.features.shape[1])]
    path = Path(out) / "measured.parquet"
    table = some.cells.add_prefix("Metadata_")
    with atomic_path(path) as part:
        pd.concat([table, pd.DataFrame(found.features, columns=columns)], axis=1).to_parquet(part, index=False)
    return entry(MEASURED, [path], LAYER, ask, ranked) | {"cells": len(rows)}


def factored(measured_cells: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Factors of measurements, fitted on single control cells as Ljosa et al. 2013 did: Table 2's factor analysis.

    Args:
        measured_cells: Of `measured`.
        seed: Of the factor analysis and of copairs.

    Returns:
        In the form of `comparison.compare`'s entries, layer `CELLS`, transform `FACTORS`.

    Raises:
        DataError: Too few controls; no treatment has a mechanism.
    """
    from ..screens.profiles import Profiles

    recipe = TABLE_2["Factor Analysis"]
    values, cells = load_embedded([Path(one) for one in measured_cells["files"]], LAYER)
    if (n := int(cells["control"].sum())) <= recipe.factors:
        raise DataError(f"{n} control cells were measured, and {recipe.factors} factors take more; measure more cells")
    names = tuple(f"{LAYER}_{k}" for k in range(values.shape[1]))
    own = Profiles(values.astype(np.float64), names, cells, MEASURED)
    profiles, table = treatments(own, recipe, seed)
    return matched_entry("factors", profiles, table, FACTORS, seed, CELLS) | {"cells": len(cells)}


def _percent(share: float) -> float | None:
    return 100 * share if np.isfinite(share) else None
