"""What the rosettes chapter needs of a data set: sizes, days, embryos; folds of embryos."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellweak_core.files import DataError
from cellweak_core.parameter_cells import ParameterError
from cellweak_core.rosettes import data as rosettes
from cellweak_core.rosettes.checks import intensity_window_of


def made_of(rows: list[tuple[str, str, int]], shape: tuple[int, int] = (32, 32)) -> rosettes.RosetteData:
    """Black images; a row says day, embryo and target."""
    table = pd.DataFrame(rows, columns=["day", "group", "target"])
    table["embryo"] = table["group"]
    table["label"] = table["target"].map({1: "rosette", 0: "other", -1: ""})
    table["file"] = [f"{label}/{i}.png" for i, label in enumerate(table["label"])]
    return rosettes.RosetteData(np.zeros((len(table), *shape), np.uint8), table, "rosette", "mine", "")


TWO_DAYS = [("a", "a_1", 1), ("a", "a_2", 0), ("b", "b_1", 0), ("b", "b_1", 1), ("c", "c_1", -1)]
ONE_DAY = [("a", f"a_{k}", target) for k in range(4) for target in (0, 1)]


@pytest.mark.parametrize("shape", [(32, 32), (96, 96), (128, 128)])
def test_two_days_of_square_images_are_usable(shape: tuple[int, int]) -> None:
    assert rosettes.require_usable(made_of(TWO_DAYS, shape)) == ["splits: by day; tested: a, b"]
    assert rosettes.require_usable(made_of(TWO_DAYS, shape), ["b", "b"]) == ["splits: by day; tested: b"]
    assert rosettes.require_usable(made_of(ONE_DAY, shape)) == [
        "splits: one day only, so by embryo, of which there are 4"
    ]


@pytest.mark.parametrize(
    ("shape", "fix"),
    [
        ((100, 100), "have 100x100 pixels; .*a multiple of 32: crop them to 96x96 or pad them to 128x128"),
        ((64, 96), "have 96x64 pixels; .*crop them to 64x64 or pad them to 96x96"),
        ((16, 16), "have 16x16 pixels; .*a multiple of 32: pad them to 32x32"),
        ((0, 0), "pad them to 32x32"),
    ],
)
def test_other_sizes_say_what_to_do(shape: tuple[int, int], fix: str) -> None:
    with pytest.raises(DataError, match=fix) as caught:
        rosettes.require_usable(made_of(TWO_DAYS, shape))
    assert "rosette/0.png" in str(caught.value)


def test_everything_wrong_is_named_at_once() -> None:
    rows = [("a", "a_1", 1), ("a", "a_2", 0), ("b", "b_1", 0), ("c", "c_1", 0), ("c", "c_1", 1)]
    with pytest.raises(DataError) as caught:
        rosettes.require_usable(made_of(rows, (40, 40)))
    size, days = str(caught.value).splitlines()
    assert "40x40" in size
    assert "day b has no image of class rosette" in days
    assert """-p test_days '["a", "c"]'""" in days
    assert rosettes.require_usable(made_of(rows), ["a", "c"])


def test_a_day_that_holds_all_of_a_class_cannot_be_tested() -> None:
    with pytest.raises(DataError, match="without day b there is no image of class rosette to train on; exp") as one:
        rosettes.require_usable(made_of([("a", "a_1", 0), ("b", "b_1", 0), ("b", "b_1", 1)]))
    assert "test_days" not in str(one.value)
    with pytest.raises(DataError, match="no labelled image of d; the days are a, b"):
        rosettes.require_usable(made_of(TWO_DAYS), ["a", "d"])
    with pytest.raises(DataError, match="test_day: 'a' is not among the days that are tested, b"):
        rosettes.require_usable(made_of(TWO_DAYS), ["b"], "a")


def test_one_day_needs_four_embryos_and_both_classes_in_two_of_them() -> None:
    with pytest.raises(DataError, match=r"of day a, with 3 embryos; expected two days, or at least 4.*emb<k>"):
        rosettes.require_usable(made_of(ONE_DAY[:6]))
    only_one = [("a", "a_0", 1), *((("a", f"a_{k}", 0)) for k in range(5))]
    with pytest.raises(DataError, match="5 labelled embryos make 1: 1 with both, 0 with rosettes only, 4 without any"):
        rosettes.require_usable(made_of(only_one))


def test_ready_windows_are_32_px_and_on_both_sides() -> None:
    images = made_of(TWO_DAYS, (64, 64))
    assert rosettes.require_usable(replace(images, windows=made_of(TWO_DAYS)))
    with pytest.raises(DataError, match=r"windows/ have 40x40 pixels, expected 32x32"):
        rosettes.require_usable(replace(images, windows=made_of(TWO_DAYS, (40, 40))))
    only_a = replace(images, windows=made_of(TWO_DAYS[:2]))
    with pytest.raises(DataError, match="windows of day b, the test day, there is no image of class rosette and no"):
        rosettes.require_usable(only_a)
    with pytest.raises(DataError, match="windows of days other than a, there is no image"):
        rosettes.require_usable(only_a, test_day="a")


def test_simulated_data_are_usable() -> None:
    from cellweak_core.rosettes.simulate import simulate

    made = simulate(8, [61, 80], [9, 10], 128, 0, n_days=2, rosettes_per_embryo=3)
    assert rosettes.require_usable(made) == ["splits: by day; tested: 20170711, 20170715"]


def test_a_set_without_labels_is_refused() -> None:
    with pytest.raises(DataError, match="mine: no labelled images"):
        rosettes.require_usable(made_of([("a", "a_1", -1)]))


@given(st.integers(2, 5), st.integers(0, 1000))
def test_embryo_folds_share_no_embryo_and_hold_both_classes(n_folds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, rng.integers(4, 30), 120).astype(str)
    share_of_rosettes = dict(zip(np.unique(group), rng.choice([0, 0.2, 1], 30), strict=False))
    target = np.array([rng.uniform() < share_of_rosettes[g] for g in group]).astype(int)
    target[rng.uniform(size=120) < 0.1] = -1
    table = pd.DataFrame({"group": group, "target": target, "day": "a"})
    before = table.copy()
    embryos = [frozenset(rows["target"]) - {-1} for _, rows in table.groupby("group")]
    possible = embryos.count({0, 1}) + min(embryos.count({0}), embryos.count({1}))
    if possible < n_folds:
        with pytest.raises(DataError, match=f"labelled embryos make {possible}:"):
            rosettes.embryo_folds(table, n_folds, seed)
        return
    folds = rosettes.embryo_folds(table, n_folds, seed)
    assert folds.shape == (120,)
    assert folds.dtype.kind == "i"
    assert ((folds == -1) == (target == -1)).all()
    assert set(folds[target >= 0]) == set(range(n_folds))
    for k in range(n_folds):
        test, train = folds == k, (folds >= 0) & (folds != k)
        assert not set(group[test]) & set(group[train])
        assert set(target[test]) == {0, 1} == set(target[train])
    np.testing.assert_array_equal(folds, rosettes.embryo_folds(table, n_folds, seed))
    pd.testing.assert_frame_equal(table, before)


def test_embryo_folds_are_even_and_change_with_the_seed() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat([f"e{k}" for k in range(30)], 20)
    target = (rng.uniform(size=600) < np.repeat(rng.beta(1, 3, 30), 20)).astype(int)
    table = pd.DataFrame({"group": group, "target": target})
    made = [rosettes.embryo_folds(table, 3, seed) for seed in range(4)]
    for folds in made:
        for c in (0, 1):
            counts = np.bincount(folds[target == c], minlength=3)
            np.testing.assert_allclose(counts / counts.sum(), 1 / 3, atol=0.05)
    assert len({tuple(folds) for folds in made}) == 4
    with pytest.raises(ValueError, match="n_folds: expected two or more, given 1"):
        rosettes.embryo_folds(table, 1, 0)


@pytest.mark.parametrize("values", [[5], [5, 5], [9, 2], [1, 2, 3]])
def test_the_intensity_window_is_two_grey_levels(values: list[float]) -> None:
    assert intensity_window_of([]) is None
    assert intensity_window_of(None) is None
    assert intensity_window_of((2500, 4200)) == (2500.0, 4200.0)
    with pytest.raises(ParameterError, match=r'-p intensity_window "\[2500, 4200\]"'):
        intensity_window_of(values)
