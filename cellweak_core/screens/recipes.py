"""From wells to matched treatments in named steps, and which steps are best, asked without looking at the answer.

    wells --scale--> --prune--> --factors--> --whiten (TVN)--> --align (CORAL)--> treatments --match--> NSC, NSCB

    chosen over weeks:  week w left out | every recipe scored on the other weeks | the best one asked about week w
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellweak_core.files import DataError

from .aggregation import treatment_profiles
from .matching import METRICS, match_treatments
from .normalization import percentile_scale, standardize, uncorrelated
from .whitening import CORAL, TVN

if TYPE_CHECKING:
    import pandas as pd

    from .profiles import Profiles

Floats = NDArray[np.float64]
SCALES = ("plate", "controls")


@dataclass(frozen=True)
class Recipe:
    """What is done to profiles before they are matched.

    Attributes:
        scale: "plate" (`percentile_scale`, plate by plate) or "controls" (`standardize`).
        correlation: Features that correlate more than this with an earlier one go; 1 keeps all.
        factors: Of a factor analysis fitted on the controls (Ljosa et al. 2013, there on single cells); 0 for none.
        whiten: Regularisation of `TVN`; None leaves it out.
        align: Whether `CORAL` follows, with regularisation 1.
        how: From wells to treatments: "mean" or "median".
    """

    scale: str = "controls"
    correlation: float = 1.0
    factors: int = 0
    whiten: float | None = 1.0
    align: bool = False
    how: str = "mean"

    def __str__(self) -> str:
        """The steps in words, as they stand in a table."""
        steps = ["per plate 1st to 99th percentile" if self.scale == "plate" else "z-score by all controls"]
        steps += [f"pruned at correlation {self.correlation:g}"] if self.correlation < 1 else []
        steps += [f"{self.factors} factors"] if self.factors else []
        steps += [] if self.whiten is None else [f"TVN {self.whiten:g}"]
        steps += ["CORAL"] if self.align else []
        return ", ".join([*steps, f"{self.how} of wells"])


def grid(
    scales: Sequence[str] = SCALES,
    correlations: Sequence[float] = (1.0, 0.95, 0.9),
    whitens: Sequence[float | None] = (None, 0.01, 0.1, 1.0, 10.0),
    hows: Sequence[str] = ("mean", "median"),
) -> list[Recipe]:
    """All combinations, simpler ones first; CORAL only after TVN."""
    return [
        Recipe(scale, correlation, 0, whiten, align, how)
        for scale, correlation, whiten, align, how in product(scales, correlations, whitens, (False, True), hows)
        if not (align and whiten is None)
    ]


def treatments(profiles: Profiles, recipe: Recipe, seed: int = 0) -> tuple[Floats, pd.DataFrame]:
    """Treatment profiles by a recipe.

    Args:
        profiles: Of wells.
        recipe: The steps.
        seed: Of the factor analysis.

    Returns:
        As `treatment_profiles`.

    Raises:
        ValueError: An unknown word in the recipe.
        DataError: As the steps.
    """
    return _Steps(profiles, seed).treatments(recipe)


def matched_by(profiles: Profiles, recipe: Recipe, seed: int = 0) -> dict[str, dict[str, Any]]:
    """NSC and NSCB of a recipe, each as `match_treatments` gives it."""
    values, table = treatments(profiles, recipe, seed)
    return {name: match_treatments(values, table, exclude) for name, exclude in METRICS.items()}


def chosen_over_batches(profiles: Profiles, recipes: Sequence[Recipe], seed: int = 0) -> dict[str, Any]:
    """NSCB of a recipe that is chosen, batch by batch, on the treatments of the other batches only.

    The best of many recipes on the very treatments that it is reported for flatters itself. Here each batch's
    treatments are matched by the recipe with the best NSCB among all others, from which this batch is left out as query
    and as neighbour; a treatment of several batches leaves all of them out. Ties go to the earlier recipe. Wells of all
    batches prune, and controls of all batches scale and whiten: no mechanism is looked at there.

    Args:
        profiles: Of wells.
        recipes: To choose from.
        seed: Of factor analyses.

    Returns:
        `correct`, `total` and `accuracy`: NSCB of the chosen recipes; `chosen`: the recipe of each batch; `best`: the
        recipe with the best NSCB on all treatments, and `best_correct`, its count there, which is the flattered one.

    Raises:
        ValueError: No recipes.
        DataError: Fewer than three batches with treatments.
    """
    if not recipes:
        raise ValueError("recipes: expected at least one")
    steps = _Steps(profiles, seed)
    made = [steps.treatments(recipe) for recipe in recipes]
    table = made[0][1]
    weeks = [set(text.split(",")) for text in table["batch"]]
    if (n := len(set().union(*weeks))) < 3:
        raise DataError(f"batches: {n} with treatments; choosing on the others takes three or more")
    whole = [match_treatments(values, own, "compound+batch") for values, own in made]
    chosen, correct, total = dict[str, Recipe](), 0, 0
    for batch in dict.fromkeys(table["batch"]):
        left_out = set(batch.split(","))
        others = np.array([not (own & left_out) for own in weeks])
        scores = [match_treatments(values[others], own[others], "compound+batch")["correct"] for values, own in made]
        k = int(np.argmax(scores))
        chosen[batch] = recipes[k]
        right = whole[k]["right"][(table["batch"] == batch).to_numpy()]
        correct, total = correct + int((right == 1).sum()), total + int((right >= 0).sum())
    counts = [one["correct"] for one in whole]
    return {
        "correct": correct,
        "total": total,
        "accuracy": correct / total if total else float("nan"),
        "chosen": chosen,
        "best": recipes[int(np.argmax(counts))],
        "best_correct": max(counts),
    }


class _Steps:
    """The steps of recipes on one set of profiles; what two recipes share is done once."""

    def __init__(self, profiles: Profiles, seed: int) -> None:
        self.profiles, self.seed = profiles, seed
        self.control, self.batch = profiles.control, profiles.metadata["batch"].to_numpy(object)
        self._kept = lru_cache(None)(lambda most: uncorrelated(profiles.features, most))
        self._white = lru_cache(4)(self._whitened)

    def treatments(self, recipe: Recipe) -> tuple[Floats, pd.DataFrame]:
        """Treatment profiles by a recipe."""
        x = self._white(recipe.scale, recipe.correlation, recipe.factors, recipe.whiten)
        if recipe.align:
            x = CORAL().fit(x[self.control], self.batch[self.control]).transform(x, self.batch)
        return treatment_profiles(x, self.profiles.metadata, recipe.how)

    def _whitened(self, scale: str, correlation: float, factors: int, whiten: float | None) -> Floats:
        own = self.profiles
        if scale not in SCALES:
            raise ValueError(f"scale: expected one of {', '.join(SCALES)}, got {scale!r}")
        plates = own.metadata["plate"].to_numpy(object)
        x = (
            standardize(own.features, self.control) if scale == "controls"
            else percentile_scale(own.features, self.control, plates)
        )  # fmt: skip
        x = x[:, self._kept(correlation)] if correlation < 1 else x
        if factors:
            from sklearn.decomposition import FactorAnalysis

            analysis = FactorAnalysis(factors, max_iter=200, tol=0.1, random_state=self.seed)
            x = analysis.fit(x[self.control]).transform(x)
        return x if whiten is None else TVN(whiten).fit(x[self.control]).transform(x)
