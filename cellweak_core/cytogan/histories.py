"""What the trainings were: curves for the figure, and steps, speed and sizes as rows of the one schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .reporting import Row
from .variants import COMMON, MODELS

if TYPE_CHECKING:
    import pandas as pd

LOSSES = {
    "discriminator_loss": "discriminator", "generator_loss": "generator", "encoder_loss": "encoder",
    "penalty": "gradient penalty", "reconstruction_loss": "reconstruction", "divergence": "divergence",
}  # fmt: skip
BALANCE = {"convergence": "convergence", "real_loss": "loss of real cells", "k": "k"}
DIVERSITY = "pixel diversity of generated cells"


def curves_of(entries: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Curves of all trainings, as `figures.training_curves` takes them.

    Args:
        entries: Of `comparison.compare`.

    Returns:
        Columns panel, line, step, value, seed: a panel of losses for each model, one of BEGAN's balance for each BEGAN,
        and one of the diversity of all generators.
    """
    import pandas as pd

    tables = list[pd.DataFrame]()
    for one in entries:
        name = one["model"]
        panels = [(f"{name}: loss", LOSSES, "step"), (f"{name}: balance", BALANCE, "step")]
        for panel, lines, at in [*panels, (DIVERSITY, {"diversity": name}, "diversity_step")]:
            for key, line in lines.items():
                if key in one and len(one[key]) and (panel != f"{name}: balance" or "convergence" in one):
                    columns = {"step": np.asarray(one[at]), "value": np.asarray(one[key]), "seed": one["seed"]}
                    tables.append(pd.DataFrame({"panel": panel, "line": line, **columns}))
    if not tables:
        return pd.DataFrame(columns=["panel", "line", "step", "value", "seed"])
    found = pd.concat(tables, ignore_index=True)
    last = found["panel"] == DIVERSITY
    return pd.concat([found[~last], found[last]], ignore_index=True)


def stopped(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each training that did not reach its last step."""
    return [
        f"{one['model']}, seed {one['seed']}: {why}, stopped at step {one[fact]} of {one['settings']['steps']}"
        for one in entries
        for fact, why in (("collapsed_at", "mode collapse"), ("diverged_at", "diverged"))
        if one[fact]
    ]


def quantiles(samples: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """Distances as a table: a row for each model and each of 101 quantiles, to draw the curves from.

    Args:
        samples: By model, `(m,)`.
    """
    import pandas as pd

    share = np.linspace(0, 1, 101)
    tables = [
        pd.DataFrame({"model": name, "share": share, "distance": np.quantile(np.asarray(own, float), share)})
        for name, own in samples.items()
    ]
    return pd.concat(tables, ignore_index=True)


def training_rows(entries: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Item "Training": weights of each network, steps done and cells per second of each model, mean over its seeds.

    Args:
        entries: Of `comparison.compare`.
    """
    out, groups = list[Row](), dict[str, list[Mapping[str, Any]]]()
    for one in entries:
        groups.setdefault(one["model"], []).append(one)
    for model, own in groups.items():
        first, n = own[0], len(own)
        for network, size in first["parameters"].items():
            out.append({"item": "Training", "row": model, "column": f"{network} weights", "value": size, "n": n,
                        "unit": "", "note": f"width {first['settings']['width']:g}"})  # fmt: skip
        steps = [one["steps"] for one in own]
        out.append({"item": "Training", "row": model, "column": "steps", "value": float(np.mean(steps)), "n": n,
                    "unit": "steps", "note": "; ".join(stopped(own)) or "none stopped early"})  # fmt: skip
        seconds = float(np.mean([one["seconds"] for one in own]))
        out.append({"item": "Training", "row": model, "column": "seconds", "value": seconds, "n": n, "unit": "s",
                    "note": "of one training, beside whatever else ran then, all calls together"})  # fmt: skip
        if not min(steps):
            continue
        chosen = {**COMMON, **MODELS[first["settings"]["model"]], **first["settings"]}
        speed = [chosen["batch_size"] * chosen["critic_steps"] * one["steps"] / one["seconds"] for one in own]
        out.append({"item": "Training", "row": model, "column": "cells/s", "value": float(np.mean(speed)), "n": n,
                    "unit": "cells/s", "note": "real cells trained on, beside whatever else ran then"})  # fmt: skip
    return out
