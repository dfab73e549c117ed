import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellweak_core.migration.labels import MODES, UNKNOWN, hard, ramps, runs

WORDS = {"c": MODES[0], "d": MODES[1], "u": UNKNOWN}


def points(**cells: str) -> pd.DataFrame:
    """A letter for each frame of each cell: c, d, u, or a dot for a frame without a row."""
    rows = [("f", f"f/{name}", t, WORDS[letter]) for name, letters in cells.items()
            for t, letter in enumerate(letters) if letter != "."]  # fmt: skip
    return pd.DataFrame(rows, columns=["sequence", "cell", "frame", "label"])


def ramps_literally(letters: str) -> list[float]:
    """The formulas of `ramps`, frame by frame."""
    known = [(t, letter) for t, letter in enumerate(letters) if letter in "cd"]
    out = []
    for t, letter in enumerate(letters):
        if letter == ".":
            continue
        if letter == "u":
            out.append(np.nan)
            continue
        a = b = t
        for s, other in reversed([k for k in known if k[0] < t]):
            if other != letter:
                break
            a = s
        switch = False
        for s, other in [k for k in known if k[0] > t]:
            if other != letter:
                switch = True
                break
            b = s
        u = 0.0 if a == b else (t - a) / (b - a)
        c = 1 - abs(2 * u - 1) if switch else u
        out.append(0.4 * (1 - c) if letter == "c" else 0.6 + 0.4 * c)
    return out


def test_a_cell_that_stays_continuous_or_discontinuous() -> None:
    np.testing.assert_allclose(ramps(points(a="ccccc")), [0.4, 0.3, 0.2, 0.1, 0.0], atol=1e-15)
    np.testing.assert_allclose(ramps(points(a="ddddd")), [0.6, 0.7, 0.8, 0.9, 1.0])


def test_confidence_falls_towards_a_switch_and_rises_behind_it() -> None:
    found = ramps(points(a="cccccddd"))
    np.testing.assert_allclose(found, [0.4, 0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0], atol=1e-15)
    table = runs(points(a="cccccddd"))
    assert table.to_dict("records") == [
        {"cell": "f/a", "label": MODES[0], "first": 0, "last": 4, "rows": 5, "switch_before": False,
         "switch_after": True},
        {"cell": "f/a", "label": MODES[1], "first": 5, "last": 7, "rows": 3, "switch_before": True,
         "switch_after": False},
    ]  # fmt: skip


def test_unknown_and_missing_frames_end_no_run() -> None:
    np.testing.assert_allclose(ramps(points(a="cuc.c")), [0.4, np.nan, 0.2, 0.0], atol=1e-15)
    assert runs(points(a="ucuc.cu"))[["first", "last", "rows"]].to_numpy().tolist() == [[1, 5, 3]]
    assert runs(points(a="cuud"))[["first", "last"]].to_numpy().tolist() == [[0, 0], [3, 3]]


def test_a_run_of_one_frame_is_not_sure() -> None:
    np.testing.assert_allclose(ramps(points(a="c", b="d", c="cdc")), [0.4, 0.6, 0.4, 0.6, 0.4])


def test_all_unknown_gives_no_target() -> None:
    assert np.isnan(ramps(points(a="uuu"))).all()
    assert len(runs(points(a="uuu"))) == 0
    assert ramps(points(a="uuu")[:0]).shape == (0,)


@given(st.lists(st.text("cdu.", min_size=1, max_size=12), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_ramps_are_the_formulas_whatever_the_order_of_rows(cells: list[str], random: object) -> None:
    table = points(**{f"a{k}": letters for k, letters in enumerate(cells)})
    literal = np.array([y for letters in cells for y in ramps_literally(letters)])
    order = np.arange(len(table))
    random.shuffle(order)  # type: ignore[attr-defined]
    found = ramps(table.iloc[order])
    np.testing.assert_allclose(found, literal[order], atol=1e-12)
    known = found[np.isfinite(found)]
    is_c = (table["label"].iloc[order] == MODES[0])[np.isfinite(found)]
    assert (known[is_c] <= 0.4).all()
    assert (known[~is_c] >= 0.6).all()


def test_ramps_of_one_cell_do_not_hang_on_another() -> None:
    both = ramps(points(a="ccdd", b="dddcc"))
    np.testing.assert_array_equal(both, np.concatenate([ramps(points(a="ccdd")), ramps(points(b="dddcc"))]))


def test_hard_targets_are_the_modes_themselves_row_for_row() -> None:
    table = points(a="cduc.d", b="uu", c="dc")
    literal = {MODES[0]: 0.0, MODES[1]: 1.0, UNKNOWN: np.nan}
    found = hard(table)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [0, 1, np.nan, 0, 1, np.nan, np.nan, 1, 0])
    order = np.random.default_rng(0).permutation(len(table))
    mixed = table.iloc[order].set_axis(order + 100)
    np.testing.assert_array_equal(hard(mixed), [literal[label] for label in mixed["label"]])
    assert hard(table[:0]).shape == (0,)
    # on the ramps' side of the middle, and as sure as they can be
    known = np.isfinite(found)
    assert ((ramps(table)[known] > 0.5) == (found[known] == 1)).all()


def test_points_without_labels_or_with_other_words_are_refused() -> None:
    table = points(a="cc")
    for targets in (ramps, hard):
        with pytest.raises(ValueError, match="no column label"):
            targets(table.drop(columns="label"))
        with pytest.raises(ValueError, match=r"expected labels .*got \['C'\]"):
            targets(table.assign(label="C"))
    with pytest.raises(ValueError, match=r"expected labels .*got \['C'\]"):
        runs(table.assign(label="C"))
