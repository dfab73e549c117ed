"""Recipes do their steps in order, and a recipe chosen on other weeks has not seen the week it is asked about."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellweak_core import screens
from cellweak_core.files import DataError
from cellweak_core.screens import recipes
from cellweak_core.screens.recipes import Recipe


def made(seed: int = 0, n_weeks: int = 4, d: int = 12) -> screens.Profiles:
    """Four weeks of two plates; eight compounds of four mechanisms, one compound of each in two of the weeks."""
    rng = np.random.default_rng(seed)
    centres, rows, features = rng.normal(size=(4, d)) * 2, [], []
    for week in range(n_weeks):
        for plate in "ab":
            treated = [(f"c{2 * m + week % 2}", m) for m in range(4)]
            for k, (compound, m) in enumerate([("DMSO", -1)] * 6 + treated):
                dose = week + 1.0 if m >= 0 else 0.0
                rows.append((f"W{week}_{plate}", f"A{k:02d}", f"W{week}", compound, dose, f"m{m}"))
                features.append((centres[m] if m >= 0 else 0) + rng.normal(size=d))
    table = pd.DataFrame(rows, columns=["plate", "well", "batch", "compound", "concentration", "moa"])
    table["control"] = table["compound"] == "DMSO"
    return screens.Profiles(np.array(features), tuple(f"f{k}" for k in range(d)), table, "made")


def test_a_recipe_is_its_steps_one_after_the_other() -> None:
    profiles = made()
    control, batch = profiles.control, profiles.metadata["batch"].to_numpy()
    x = screens.percentile_scale(profiles.features, control, profiles.metadata["plate"])
    x = x[:, screens.normalization.uncorrelated(profiles.features, 0.5)]
    x = screens.TVN(0.1).fit(x[control]).transform(x)
    x = screens.CORAL().fit(x[control], batch[control]).transform(x, batch)
    expected, table = screens.treatment_profiles(x, profiles.metadata, "median")
    values, found = recipes.treatments(profiles, Recipe("plate", 0.5, 0, 0.1, True, "median"))
    np.testing.assert_allclose(values, expected)
    pd.testing.assert_frame_equal(found, table)
    scores = recipes.matched_by(profiles, Recipe("plate", 0.5, 0, 0.1, True, "median"))
    assert scores["NSC"]["correct"] == screens.match_treatments(expected, table)["correct"]
    assert scores["NSCB"]["total"] == 16


def test_factors_are_those_of_the_controls_and_repeat() -> None:
    profiles = made()
    values, _ = recipes.treatments(profiles, Recipe(factors=3, whiten=None), seed=1)
    assert values.shape == (16, 3)
    np.testing.assert_array_equal(values, recipes.treatments(profiles, Recipe(factors=3, whiten=None), seed=1)[0])


def test_a_recipe_says_what_it_does() -> None:
    assert str(Recipe("plate", 0.9, 5, 0.1, True, "median")) == (
        "per plate 1st to 99th percentile, pruned at correlation 0.9, 5 factors, TVN 0.1, CORAL, median of wells"
    )
    assert str(Recipe(whiten=None)) == "z-score by all controls, mean of wells"
    assert len(set(recipes.grid())) == len(recipes.grid()) == 2 * 3 * 9 * 2
    with pytest.raises(ValueError, match="scale: expected one of plate, controls"):
        recipes.treatments(made(), Recipe("well"))


def test_the_chosen_recipe_is_the_best_on_the_other_weeks() -> None:
    profiles, options = made(3), recipes.grid(correlations=(1.0,), whitens=(None, 1.0))
    found = recipes.chosen_over_batches(profiles, options)
    correct = 0
    for week in profiles.metadata["batch"].unique():
        # literally: the other weeks' treatments, matched among themselves
        scores = []
        for option in options:
            values, table = recipes.treatments(profiles, option)
            kept = (table["batch"] != week).to_numpy()
            scores.append(screens.match_treatments(values[kept], table[kept], "compound+batch")["correct"])
        best = options[int(np.argmax(scores))]
        assert found["chosen"][week] == best
        values, table = recipes.treatments(profiles, best)
        right = screens.match_treatments(values, table, "compound+batch")["predicted"] == table["moa"].to_numpy(object)
        correct += right[(table["batch"] == week).to_numpy()].sum()
    assert (found["correct"], found["total"]) == (correct, 16)


def test_names_may_be_numbers_and_treatments_may_lie_in_several_weeks() -> None:
    profiles = made(3)
    options = recipes.grid(correlations=(1.0,), whitens=(None, 1.0))
    expected = recipes.chosen_over_batches(profiles, options)
    numbered = profiles.metadata.assign(moa=profiles.metadata["moa"].str[1:].astype(int))
    found = recipes.chosen_over_batches(replace(profiles, metadata=numbered), options)
    assert (found["correct"], found["total"]) == (expected["correct"], expected["total"])
    # A treatment of weeks 0 and 2 is asked once, and neither week is looked at for it.
    both = profiles.metadata.copy()
    both.loc[(both["compound"] == "c0") & (both["batch"] == "W2"), "concentration"] = 1.0
    several = recipes.chosen_over_batches(replace(profiles, metadata=both), [Recipe()])
    assert "W0,W2" in several["chosen"]
    assert several["total"] <= 15


def test_choosing_takes_three_weeks_and_a_recipe() -> None:
    with pytest.raises(DataError, match="2 with treatments"):
        recipes.chosen_over_batches(made(n_weeks=2), [Recipe()])
    with pytest.raises(ValueError, match="expected at least one"):
        recipes.chosen_over_batches(made(), [])


def test_on_the_real_screen_the_best_of_many_recipes_flatters_itself(real_data: Path) -> None:
    profiles = screens.load_profiles(real_data / "screens" / "bbbc021_profiles")
    found = recipes.chosen_over_batches(profiles, recipes.grid())
    assert (found["total"], found["best_correct"]) == (92, 73)
    assert str(found["best"]) == "z-score by all controls, pruned at correlation 0.95, TVN 0.01, mean of wells"
    assert found["correct"] == 58
