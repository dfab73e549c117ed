"""Labels: which cells train and which check, classes that nobody trains, replicates that are not there."""

import numpy as np
import pytest

from cellweak_core.files import DataError
from cellweak_core.screens.crops import Crops
from cellweak_core.screens.labels import held_out_cells, treatment_labels
from cellweak_core.screens.simulate import Plan, simulate_screen

FEW = Plan(n_mechanisms=2, compounds=2, doses=1, batches=2, replicates=2, cells=4, controls=2, size_px=32)


@pytest.fixture(scope="module")
def screen() -> Crops:
    return simulate_screen(FEW)


def test_labels_hold_replicates_out_and_know_what_no_cell_trains(screen: Crops) -> None:
    cells = screen.cells
    labels = treatment_labels(cells, [2])
    control, second = cells["control"].to_numpy(), cells["replicate"].to_numpy() == 2
    assert (labels.train[control] == -1).all()
    assert (labels.checked[control] == -1).all()
    assert not ((labels.train >= 0) & (labels.checked >= 0)).any()
    assert ((labels.train >= 0) == (~control & ~second)).all()
    assert ((labels.checked >= 0) == (~control & second)).all()
    assert len(labels.classes) == 4
    # a treatment that lies in the held-out replicate only: nothing trains it, so nothing asks for it
    lost = cells["compound"].eq(cells.loc[~control, "compound"].iloc[0]) & (cells["replicate"] != 2)
    rest = treatment_labels(cells[~lost].reset_index(drop=True), [2])
    gone = sorted(set(range(4)) - set(rest.train[rest.train >= 0].tolist()))
    assert len(gone) == 1
    assert gone[0] not in rest.checked
    all_train = treatment_labels(cells, [])
    assert (all_train.checked == -1).all()
    assert (all_train.train >= 0).sum() == (~control).sum()


def test_labels_that_cannot_be(screen: Crops) -> None:
    with pytest.raises(DataError, match="no replicate 7 to hold out; found 1, 2"):
        treatment_labels(screen.cells, [7])
    with pytest.raises(DataError, match="no column replicate"):
        treatment_labels(screen.cells.drop(columns="replicate"), [1])
    with pytest.raises(DataError, match="no treated cell is left"):
        treatment_labels(screen.cells, [1, 2])


def test_a_cell_of_unknown_replicate_trains(screen: Crops) -> None:
    """A gap makes numbers of whole ones, 1.0 and 2.0."""
    cells = screen.cells.assign(replicate=screen.cells["replicate"].astype(float))
    first = cells.index[~cells["control"] & (cells["replicate"] == 2)][0]
    cells.loc[first, "replicate"] = np.nan
    held = held_out_cells(cells, ["2"])
    assert np.array_equal(held, (cells["replicate"] == 2).to_numpy())
    labels = treatment_labels(cells, ["2"])
    assert labels.train[first] >= 0
    with pytest.raises(DataError, match="no replicate 7 to hold out; found 1, 2"):
        treatment_labels(cells, ["7"])
    assert not held_out_cells(cells, []).any()
