"""Rows and marks turned into the tables that `figures` draws from, and the tables of screens and misprints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..screens.cellnet import BLOCKS
from ..screens.crops import Crops
from .evaluation import METRICS
from .reporting import Scored, marks_of

if TYPE_CHECKING:
    import pandas as pd

    from ..screens.profiles import Profiles


def overview(screens: Mapping[str, Crops], wells: Profiles | None = None) -> pd.DataFrame:
    """What there is in each screen, or in profiles of wells, for reading."""
    import pandas as pd

    rows = list[dict[str, Any]]()
    if wells is not None:
        treated = wells.metadata[~wells.control]
        rows.append({
            "screen": wells.name, "wells": len(wells.metadata), "control wells": int(wells.control.sum()),
            "features": wells.features.shape[1], "compounds or constructs": treated["compound"].nunique(),
            "plates": wells.metadata["plate"].nunique(), "batches": wells.metadata["batch"].nunique(),
        })  # fmt: skip
    for name, crops in screens.items():
        cells, treated = crops.cells, crops.cells[~crops.control]
        height, width = crops.size
        plates, batches = cells["plate"].nunique(), cells["batch"].nunique()
        rows.append({
            "screen": name, "cells (controls)": f"{len(cells):,} ({int(crops.control.sum()):,})",
            "crop, px": f"{width} x {height} x {len(crops.channels)}",
            "treatments (compounds)": f"{len(treated.groupby(['compound', 'concentration']))} "
            f"({treated['compound'].nunique()})",
            "mechanisms or genes": treated["moa"].nunique() if "moa" in treated else 0,
            "plates (batches)": f"{plates} ({batches})",
        })  # fmt: skip
    return pd.DataFrame(rows)


def layer_sizes(width: int, size_px: int, embedding: int = 256) -> list[tuple[str, int, int]]:
    """Name, channels and side (px) of each layer of a `CellNet`, from input to output."""
    side = -(-size_px // 4)  # behind the stem: a convolution and a pooling of stride 2
    found = []
    for k, name in enumerate(BLOCKS):
        stage = k // 2
        side = -(-side // 2) if stage and k % 2 == 0 else side
        found.append((name, width * 2**stage, side))
    return [*found, ("pool5", width * 8, 1), ("embedding", embedding, 1)]


def drops(published: pd.DataFrame) -> pd.DataFrame:
    """Erratum: drops printed in Table 2 beside NSCB - NSC of the printed columns, where they differ."""
    import pandas as pd

    part = published[published["item"] == "Table 2"].pivot(index="row", columns="column", values="value")
    both = part.dropna(subset=["NSC", "NSCB", "Drop"])
    wrong = both[both["Drop"] != both["NSCB"] - both["NSC"]]
    return pd.DataFrame({
        "method": wrong.index, "NSC": wrong["NSC"].to_numpy(), "NSCB": wrong["NSCB"].to_numpy(),
        "printed drop": wrong["Drop"].to_numpy(), "NSCB - NSC": (wrong["NSCB"] - wrong["NSC"]).to_numpy(),
    })  # fmt: skip


def by_seed(scored: Scored, rows: Mapping[str, tuple[str, str, str]]) -> pd.DataFrame:
    """NSC and NSCB of every seed, %: `method`, `metric`, `seed`, `value`."""
    import pandas as pd

    found = []
    for name, (variant, layer, transform) in rows.items():
        seeds = [one["seed"] for one in scored if one["variant"] == variant]
        for metric in METRICS:
            right = marks_of(scored, variant, layer, transform, metric).right
            for seed, marks in zip(seeds, right, strict=True):
                value = 100 * float((marks[marks >= 0] == 1).mean()) if (marks >= 0).any() else np.nan
                found.append({"method": name, "metric": metric, "seed": seed, "value": value})
    return pd.DataFrame(found, columns=["method", "metric", "seed", "value"])


def predictions(
    scored: Scored, variant: str, seed: int, layer: str, transform: str
) -> dict[str, tuple[list[Any], list[Any]]]:
    """True and predicted mechanisms of one network's treatments, for NSC and NSCB."""
    own = next(one["score"] for one in scored if one["variant"] == variant and one["seed"] == seed)
    true = json.loads(own["treatments"])["moa"]
    return {metric: (true, json.loads(own[f"{layer}|{transform}|{metric}|predicted"])) for metric in METRICS}


def figure_5(rows: pd.DataFrame, item: str, main: str) -> pd.DataFrame:
    """Rows of `regularization_rows` as `figures.regularization` takes them."""
    import pandas as pd

    found = []
    for row in rows[rows["item"] == item].to_dict("records"):
        kind, _, level = str(row["row"]).partition(", ")
        family = "recurrent" if kind == "recurrent" else "mixup"
        metric = "main" if row["column"] == main else "auxiliary"
        found.append({
            "family": family, "level": level.partition(" = ")[2] or "none", "metric": metric,
            "value": row["value"], "low": row["low"], "high": row["high"],
        })  # fmt: skip
    return pd.DataFrame(found, columns=["family", "level", "metric", "value", "low", "high"])


def figure_7(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `layer_rows` as `figures.layers` takes them."""
    import pandas as pd

    found = []
    for row in rows[rows["item"] == "Fig. 7"].to_dict("records"):
        metric, _, transform = str(row["column"]).partition(", ")
        found.append({
            "layer": row["row"], "metric": metric, "tvn": transform != "none", "value": row["value"],
            "low": row["low"], "high": row["high"],
        })  # fmt: skip
    return pd.DataFrame(found, columns=["layer", "metric", "tvn", "value", "low", "high"])


def measured(table: pd.DataFrame) -> pd.DataFrame:
    """NSC and NSCB by transform for reading, from columns transform, column, value, low, high, n, right."""
    own = table[table["column"].isin(list(METRICS))]
    texts = [f"{r['value']:.1f} [{r['low']:.1f}, {r['high']:.1f}], {r['right']}" for r in own.to_dict("records")]
    read = own.assign(text=texts).pivot(index="transform", columns="column", values="text")
    return read.loc[list(dict.fromkeys(own["transform"]))].rename_axis(columns=None).reset_index()
