import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellweak_core.files import DataError
from cellweak_core.migration.labels import MODES, UNKNOWN, ramps
from cellweak_core.migration.simulate import Plan, simulate
from cellweak_core.migration.splits import NONE, examples, grouped, overview, require_apart, sides


def points(n_continuous: int, n_discontinuous: int, n_switching: int = 0, seed: int = 0) -> pd.DataFrame:
    """Cells of 3 to 12 frames, every seventh of them unknown."""
    rng = np.random.default_rng(seed)
    rows = []
    kinds = [0] * n_continuous + [1] * n_discontinuous + [2] * n_switching
    for k, kind in enumerate(kinds):
        n = int(rng.integers(3, 13))
        for t in range(n):
            mode = MODES[kind] if kind < 2 else MODES[t >= 2 * n / 3]
            rows.append(("f", f"f/{k}", t, UNKNOWN if (t + k) % 7 == 0 else mode))
    return pd.DataFrame(rows, columns=["sequence", "cell", "frame", "label"])


def cell_modes(table: pd.DataFrame) -> pd.Series:
    known = table[table["label"] != UNKNOWN]
    return (known["label"] == MODES[1]).groupby(known["cell"]).mean() >= 0.5


@given(st.integers(8, 20), st.integers(8, 20), st.integers(0, 4), st.integers(2, 5), st.integers(0, 99))
def test_no_cell_is_on_two_sides_and_every_side_has_both_modes(a: int, b: int, c: int, n_folds: int, seed: int) -> None:
    table = points(a, b, c, seed)
    targets = ramps(table)
    fold_of = grouped(table, targets, n_folds, 0.2, seed)
    assert ((fold_of == -2) == np.isnan(targets)).all()
    used = fold_of != -2
    assert (table[used].assign(fold=fold_of[used]).groupby("cell")["fold"].nunique() == 1).all()
    modes = cell_modes(table)
    for part in range(-1, n_folds):
        assert modes[table["cell"][fold_of == part].unique()].nunique() == 2
    tested = table["cell"][fold_of == -1].unique()
    for mode in (False, True):
        n = int((modes == mode).sum())
        assert int((modes[tested] == mode).sum()) == max(1, int(np.floor(0.2 * n + 0.5)))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_one_switching_cell_at_least_is_tested_where_there_are_two(n: int) -> None:
    found = []
    for seed in range(12):
        table = points(12, 12, n, seed)
        fold_of = grouped(table, ramps(table), 3, 0.2, seed)
        known = table[table["label"] != UNKNOWN]
        both = known.groupby("cell")["label"].nunique() > 1
        tested = int(both[table["cell"][fold_of == -1].unique()].sum())
        found.append(tested)
        assert tested or both.sum() < 2  # the only one may train
    assert n == 1 or sum(found) >= 8


def test_frames_without_a_target_are_on_their_cells_side() -> None:
    table = points(8, 8)
    alone = table["cell"] == "f/0"
    table.loc[alone, "label"] = UNKNOWN
    fold_of = grouped(table, ramps(table), 2)
    found = sides(fold_of, table["cell"])
    assert (found[alone] == -2).all()
    assert (found[~alone] != -2).all()
    assert np.array_equal(found[fold_of != -2], fold_of[fold_of != -2])
    assert (pd.Series(found).groupby(table["cell"]).nunique() == 1).all()
    assert sides([0, 1], ["a", "b"]).tolist() == [0, 1]
    with pytest.raises(DataError, match="cell a is in the test and fold 1"):
        sides([1, -1], ["a", "a"])


def test_folds_are_balanced_in_frames() -> None:
    table = points(40, 40)
    fold_of = grouped(table, ramps(table))
    of_fold = [table["label"][fold_of == k] for k in range(5)]
    sizes = np.array([len(one) for one in of_fold])
    shares = np.array([(one == MODES[0]).mean() for one in of_fold])
    assert sizes.min() > 0.8 * sizes.max()
    assert np.ptp(shares) < 0.1


def test_the_same_seed_splits_alike_and_another_otherwise() -> None:
    table = points(15, 15)
    targets = ramps(table)
    first = grouped(table, targets, seed=3)
    np.testing.assert_array_equal(grouped(table, targets, seed=3), first)
    assert (grouped(table, targets, seed=4) != first).any()


def test_without_a_test_set() -> None:
    table = points(5, 5)
    fold_of = grouped(table, ramps(table), 5, 0.0)
    assert set(fold_of.tolist()) == {-2, 0, 1, 2, 3, 4}


def test_labels_as_numbers_are_targets_too() -> None:
    table = points(8, 8)
    targets = np.where(table["label"] == UNKNOWN, np.nan, table["label"] == MODES[1])
    np.testing.assert_array_equal(grouped(table, targets), grouped(table, ramps(table)))


def test_fewer_cells_of_a_mode_than_folds_is_plain() -> None:
    table = points(12, 4)
    found = "4 cells are discontinuous in most frames, 1 of them for the test; 5 folds need 5"
    with pytest.raises(DataError, match=f"{found} besides those of the test: make n_folds 3"):
        grouped(table, ramps(table))
    assert grouped(table, ramps(table), 3).max() == 2
    one = points(1, 6)
    with pytest.raises(DataError, match=r"1 cell is continuous in most frames.*: label more cells"):
        grouped(one, ramps(one))


def test_one_mode_only_and_all_unknown() -> None:
    table = points(6, 0)
    with pytest.raises(DataError, match="all 6 cells are continuous in most of their frames, and both modes"):
        grouped(table, ramps(table))
    table = points(6, 6).assign(label=UNKNOWN)
    with pytest.raises(DataError, match="no frame has a label: all are unknown"):
        grouped(table, ramps(table))


def test_options_that_cannot_be() -> None:
    table = points(8, 8)
    with pytest.raises(ValueError, match="n_folds of 2 or more"):
        grouped(table, ramps(table), 1)
    with pytest.raises(ValueError, match=r"test_share in \[0, 1\)"):
        grouped(table, ramps(table), 5, 1.0)
    with pytest.raises(ValueError, match="targets: expected one for each of"):
        grouped(table, ramps(table)[1:])


def test_a_cell_in_training_and_test_is_refused() -> None:
    cells = ["a", "a", "b", "b", "c"]
    require_apart([0, 0, -1, -1, 1], cells)
    require_apart([0, -2, -1, -2, 1], cells)  # a row without a target is on no side
    require_apart([], [])
    with pytest.raises(DataError, match="cell b is in the test and fold 1; all frames of a cell belong on one side"):
        require_apart([0, 0, -1, 1, 1], cells)
    with pytest.raises(DataError, match="cell a is in fold 2 and fold 10"):
        require_apart([10, 2, -1, -1, 1], cells)
    with pytest.raises(ValueError, match="cells: expected one for each"):
        require_apart([0, 1], cells)


def of(**cells: str) -> pd.DataFrame:
    """By cell its labels, a letter each."""
    word = {"C": MODES[0], "D": MODES[1], "?": UNKNOWN}
    rows = [(f"f/{cell}", t, word[letter]) for cell, text in cells.items() for t, letter in enumerate(text)]
    return pd.DataFrame(rows, columns=["cell", "frame", "label"])


def test_examples_by_hand() -> None:
    table = of(a="CCCC", b="CC???", c="DDDCD", d="DDD", e="CDDC", g="CDDDDD", h="???")
    # of two cells without any discontinuous frame the longer one; d is surely discontinuous, e half and half
    expected = {MODES[0]: "f/a", MODES[1]: "f/d", "switching": "f/e"}
    assert examples(table) == expected
    assert examples(table.sample(frac=1, random_state=0)) == expected
    # among some cells; c has 4 of 5 frames discontinuous and g 5 of 6
    assert examples(table, ["f/b", "f/c", "f/g"]) == {MODES[0]: "f/b", MODES[1]: "f/g", "switching": "f/c"}
    assert examples(table, ["f/e"]) == {"switching": "f/e"}  # no mode has the larger half of it
    assert examples(table, ["f/c"]) == {MODES[1]: "f/c"}  # which is shown once
    assert examples(table, ["f/h"]) == {}
    assert examples(table.assign(label=UNKNOWN)) == {}
    # of equals that with more frames of known mode, then the first by name
    assert examples(of(a="D???", b="DD", c="DD"))[MODES[1]] == "f/b"
    assert examples(of(k="CD", b="CCDD", a="DC"))["switching"] == "f/b"
    assert examples(of(k="CD", b="CD", a="DC"))["switching"] == "f/a"


def test_an_overview_by_loops() -> None:
    table = points(9, 9, 3, seed=2)
    table.loc[table["cell"] == "f/5", "label"] = UNKNOWN  # is in no part
    table = table.sample(frac=1, random_state=1)
    fold_of = grouped(table, ramps(table), 3, 0.2)
    found = overview(table, fold_of)
    assert found["part"].tolist() == ["test", "fold 0", "fold 1", "fold 2", "in none"]
    part_of = {cell: part for cell, part in zip(table["cell"], fold_of.tolist(), strict=True) if part != -2}
    for part, one in zip((-1, 0, 1, 2, -2), found.to_dict("records"), strict=True):
        cells, labels, switching = {}, [], 0
        for cell, label in zip(table["cell"], table["label"], strict=True):
            if part_of.get(cell, -2) == part:
                cells.setdefault(cell, set()).add(label)
                labels.append(label)
        for modes in cells.values():
            switching += set(MODES) <= modes
        expected = {f"frames {word}": labels.count(word) for word in (*MODES, UNKNOWN)}
        assert {key: one[key] for key in expected} == expected
        assert (one["cells"], one["switching cells"]) == (len(cells), switching)
    assert found["cells"].sum() == table["cell"].nunique() == 21
    assert found.iloc[-1].to_list()[:4] == ["in none", 1, 0, 0]
    everywhere = points(6, 6)
    without = overview(everywhere, grouped(everywhere, ramps(everywhere), 3, 0.0))
    assert without["part"].tolist() == ["fold 0", "fold 1", "fold 2"]


def test_films_are_kept_together_where_asked() -> None:
    films = simulate(Plan(n_cells=36, n_frames=6, field_px=64, size_px=32, switching=0.1), seed=4)
    points, targets = films.points, ramps(films.points)
    fold_of = grouped(points, targets, 2, 0.2, by="sequence")
    used = fold_of != NONE
    assert points[used].assign(part=fold_of[used]).groupby("sequence")["part"].nunique().max() == 1
    by_cell = grouped(points, targets, 2, 0.2)
    assert points[used].assign(part=by_cell[used]).groupby("sequence")["part"].nunique().max() > 1
    with pytest.raises(ValueError, match="cell or sequence"):
        grouped(points, targets, 2, by="film")
    with pytest.raises(DataError, match=r"films? (is|are)"):
        grouped(points, targets, 30, by="sequence")
