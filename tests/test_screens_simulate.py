"""The simulated screen: its plan is kept, mechanisms are to be seen, and so is the batch until it is whitened away."""

import numpy as np
import pandas as pd
import pytest

from cellweak_core import screens
from cellweak_core.screens.simulate import CHANNELS, PROPERTIES, Plan, draw, simulate_screen, well_name

SMALL = Plan(n_mechanisms=3, compounds=3, doses=2, batches=3, replicates=2, cells=6, controls=3, size_px=48)


@pytest.fixture(scope="module")
def made() -> screens.Crops:
    return simulate_screen(SMALL, 1)


def test_the_plan_is_kept(made: screens.Crops) -> None:
    cells = made.cells
    assert (made.size, made.channels, made.axes) == ((48, 48), CHANNELS, "NCHW")
    assert made.raw(range(len(made))).dtype == np.uint16
    assert cells["plate"].nunique() == 6
    assert cells[~cells["control"]].groupby(["compound", "concentration"]).ngroups == 3 * 3 * 2
    assert (cells.groupby(["plate", "well"]).size() == 6).all()
    assert (cells[cells["control"]].groupby("plate")["well"].nunique() == 3).all()
    assert (cells[~cells["control"]].groupby("compound")["batch"].nunique() == 1).all()
    assert (cells[~cells["control"]].groupby("moa")["batch"].nunique() == 3).all()  # NSCB can be asked


def test_the_same_seed_makes_the_same_screen_and_another_does_not(made: screens.Crops) -> None:
    again, other = simulate_screen(SMALL, 1), simulate_screen(SMALL, 2)
    np.testing.assert_array_equal(again.raw([0, 50]), made.raw([0, 50]))
    pd.testing.assert_frame_equal(again.cells, made.cells)
    assert not np.array_equal(other.raw([0, 50]), made.raw([0, 50]))


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("nucleus size", lambda x: (x[0] > 0.25).sum()),
        ("cell size", lambda x: (x[2] > 0.05).sum()),
        ("DNA light", lambda x: x[0].sum()),
        ("tubulin light", lambda x: x[1].sum()),
        ("actin light", lambda x: x[2].sum()),
        ("chromatin grain", lambda x: x[0][x[0] > 0.25].std() / x[0][x[0] > 0.25].mean()),
        ("fragments", lambda x: (x[0] > 0.05).sum()),
    ],
)
def test_a_property_shows_as_its_name_says(name: str, measure: object) -> None:
    values = np.zeros((16, len(PROPERTIES)))
    found = []
    for level in (-0.5, 0.7):
        values[:, PROPERTIES.index(name)] = level
        cells = draw(values, 64, np.random.default_rng(0))
        found.append(np.mean([measure(cell) for cell in cells]))  # type: ignore[operator]
    assert found[1] > 1.1 * found[0]


def test_true_properties_tell_every_mechanism_and_pixels_the_batch(made: screens.Crops) -> None:
    truth = made.cells[list(PROPERTIES)].to_numpy()
    values, table = screens.treatment_profiles(truth, made.cells)
    assert screens.match_treatments(values, table, "compound+batch")["accuracy"] == 1
    # Control cells of one week have the light of that week: the nearest one by mean grey levels is of it.
    control = made.control
    light = np.log(made.raw(np.flatnonzero(control)).mean((2, 3)))
    wells, where = screens.aggregate(light, made.cells[control], ["plate", "well"])
    distance = np.linalg.norm(wells[:, None] - wells, axis=2) + np.where(np.eye(len(wells)) > 0, np.inf, 0)
    batch = where["batch"].to_numpy(object)
    assert (batch[distance.argmin(1)] == batch).mean() > 0.8


def test_plans_that_cannot_be() -> None:
    for plan, said in (
        (Plan(cells=0), "cells is 0, expected a whole number of 1 or more"),
        (Plan(together=0), "together is 0, expected a whole number of 1"),
        (Plan(doses=2.0), "doses is 2.0, expected a whole number of 1"),
        (Plan(batches=True), "batches is True, expected a whole"),
        (Plan(size_px=31), "size_px is 31, expected a whole number of 32 or more"),
        (Plan(effect=-1), "effect is -1, expected a number of 0 or more"),
        (Plan(effect=float("nan")), "effect is nan, expected a number of 0"),
        (Plan(batch_effect=float("inf")), "batch_effect is inf, expected a number of 0"),
        (Plan(effect="much", controls=-2), "controls is -2, .*; effect is much, expected"),
    ):
        with pytest.raises(ValueError, match=f"^plan: {said}"):
            simulate_screen(plan)


def test_numbers_of_any_kind_are_numbers() -> None:
    plan = SMALL._replace(cells=np.int64(1), effect=1, batch_effect=np.float32(0), n_mechanisms=1, replicates=1)
    assert len(simulate_screen(plan)) == (3 * 3 + 1 * 3 * 2) * 1


@pytest.mark.parametrize(
    ("k", "name"), [(0, "A01"), (23, "A24"), (24, "B01"), (383, "P24"), (624, "AA01"), (24 * 702, "AAA01")]
)
def test_wells_are_named_row_by_row(k: int, name: str) -> None:
    assert well_name(k) == name
