"""Training and test share no cell and no pixel."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from cellweak_core.files import DataError
from cellweak_core.tracking import splits
from cellweak_core.tracking.frames import ArraySource
from cellweak_core.tracking.simulate import simulate


def test_simulated_tests_are_the_papers_columns_and_other_cells() -> None:
    split = splits.simulated(3, 64, 4, 0, 4, train_size=96)
    assert list(split.tests) == ["BMP2 sparse", "BMP2 medium", "BMP2 dense", "Control", "FGF2", "FGF2+BMP2"]
    assert split.train.source.shape == (96, 96)
    assert len(split.train.source) == 4
    first = [test.source.raw(0) for test in split.tests.values()]
    assert all(not np.array_equal(a, b) for a, b in pairwise(first))
    assert not np.array_equal(split.train.source.raw(0)[:64, :64], first[0])


def test_sparse_medium_dense_differ_in_cells() -> None:
    tests = splits.simulated(2, 128, 10, 0, 2).tests
    n = {name: int((test.points["frame"] == 0).sum()) for name, test in tests.items() if test.points is not None}
    assert n["BMP2 sparse"] < n["BMP2 medium"] < n["BMP2 dense"]


def test_realistic_training_has_the_stains_positions_and_no_links() -> None:
    split = splits.realistic(2, 96, 6, 0, 3)
    assert split.nuclei_only
    assert not split.train.linked
    assert split.train.points is not None
    assert list(split.train.points.columns) == ["frame", "x", "y"]
    assert split.tests["realistic"].linked


def test_a_real_part_with_a_stain_learns_from_it_and_is_tested_on_what_people_marked() -> None:
    data = simulate("BMP2", 3, (96, 240), 0, n_cells=16)
    [part, _] = splits.real(data, "columns", margin_px=40)
    other = splits.stained(part)
    assert (other.name, other.nuclei_only, other.train.linked) == ("left to right, stain", True, False)
    assert other.tests is part.tests
    assert other.train.points is not None
    assert part.train.points is not None
    assert list(other.train.points.columns) == ["frame", "x", "y"]
    distance = np.linalg.norm(
        other.train.points[["x", "y"]].to_numpy()[:, None] - part.train.points[["x", "y"]].to_numpy(), axis=2
    )
    assert np.median(distance.min(1)) < 3
    assert other.train.annotated == (0, 1, 2)


def test_a_stain_without_nuclei_is_refused() -> None:
    data = simulate("BMP2", 3, 96, 0, n_cells=6)
    dark = replace(data, nuclei=ArraySource(np.zeros((3, 96, 96), np.uint8)))
    for one in (dark, replace(data, nuclei=None)):
        with pytest.raises(DataError, match="no nuclei in nuclei/"):
            splits.from_stain(one)


def test_columns_are_tested_in_turn_and_keep_their_margin() -> None:
    data = simulate("BMP2", 3, (64, 200), 0, n_cells=14)
    one, other = splits.real(data, "columns", margin_px=40)
    assert (one.name, other.name) == ("left to right", "right to left")
    for split in (one, other):
        assert split.train.source.shape == split.tests["test"].source.shape == (64, 80)
    assert np.array_equal(one.train.source.raw(0), data.source.raw(0)[:, :80])
    assert np.array_equal(one.tests["test"].source.raw(0), data.source.raw(0)[:, 120:])
    assert np.array_equal(other.train.source.raw(1), one.tests["test"].source.raw(1))


def test_frames_are_parted_in_time() -> None:
    data = simulate("BMP2", 6, 64, 0, n_cells=5)
    [split] = splits.real(data, "frames", train_share=0.5)
    assert (len(split.train.source), len(split.tests["test"].source)) == (3, 3)
    assert np.array_equal(split.tests["test"].source.raw(0), data.source.raw(3))


@pytest.mark.parametrize(
    ("how", "options", "error", "said"),
    [
        ("rows", {}, ValueError, "expected one of columns, frames"),
        ("columns", {"margin_px": 60}, DataError, "too narrow"),
        ("frames", {"train_share": 0.9}, DataError, "two each"),
    ],
)
def test_a_split_that_cannot_be_is_refused(how: str, options: dict, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        splits.real(simulate("BMP2", 4, 96, 0, n_cells=6), how, **options)


def test_a_part_without_cells_is_refused() -> None:
    data = simulate("BMP2", 3, (64, 200), 0, n_cells=10)
    assert data.points is not None
    left = replace(data, points=data.points[data.points["x"] < 60])
    assert left.part(region=(0, 64, 120, 200)).points is not None
    assert len(left.part(region=(0, 64, 120, 200)).points) == 0
    with pytest.raises(DataError, match="no cell in the test part"):
        splits.real(left, "columns", margin_px=40)
