"""Curves of trainings: a panel each, a line for each loss and run, and where there is none it is said."""

import pandas as pd
import pytest
from figure_texts import closed_figures, words  # noqa: F401 - a fixture of every test here
from matplotlib.axes import Axes

from cellweak_core.curves import training_curves
from cellweak_core.plotting import COLOURS


def table(lines: dict[str, str], runs: int = 2, by: str = "seed") -> pd.DataFrame:
    """By panel its lines, a letter each; run k is k above the first."""
    rows = [(panel, line, run, step, step + run) for panel, letters in lines.items() for line in letters
            for run in range(runs) for step in range(3)]  # fmt: skip
    return pd.DataFrame(rows, columns=["panel", "line", by, "step", "value"])


def legend(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_a_panel_each_and_a_line_for_each_loss_and_run() -> None:
    figure = training_curves(table({"LSGAN": "DG", "diversity": "LB"}), {"diversity": (0.2, "alarm")})
    seen = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in seen] == ["LSGAN", "diversity"]
    assert [list(line.get_xdata()) for line in seen[0].lines] == [[0, 1, 2]] * 4
    assert [list(line.get_ydata()) for line in seen[0].lines] == [[0, 1, 2], [1, 2, 3]] * 2
    # runs of a loss share its colour and its one entry
    assert [line.get_color() for line in seen[0].lines] == [COLOURS[0]] * 2 + [COLOURS[1]] * 2
    assert legend(seen[0]) == ["D", "G"]
    assert legend(seen[1]) == ["L", "B", "alarm"]
    assert list(seen[1].lines[-1].get_ydata()) == [0.2, 0.2]
    assert len(seen[0].lines) == 4  # no level of its own


def test_runs_are_seeds_or_folds_or_one() -> None:
    folds = table({"VGG16": "TV"}, 3, "fold")
    assert [len(axis.lines) for axis in training_curves(folds, by="fold").axes] == [6]
    one = training_curves(folds[folds["fold"] == 0].drop(columns="fold"))
    assert [list(line.get_ydata()) for line in one.axes[0].lines] == [[0, 1, 2]] * 2
    # any order of the panels' rows, none of which goes to another's panel
    pieces = table({"a": "x", "b": "x"}, 1).sort_values("step", kind="stable")
    for axis in training_curves(pieces).axes:
        assert [list(line.get_ydata()) for line in axis.lines] == [[0, 1, 2]]


@pytest.mark.parametrize(("n", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 3)), (7, (3, 3))])
def test_rows_of_three_panels_and_no_empty_one(n: int, shape: tuple[int, int]) -> None:
    names = "abcdefg"[:n]
    figure = training_curves(table(dict.fromkeys(names, "x"), 1))
    assert len(figure.axes) == shape[0] * shape[1]
    assert [axis.get_title() for axis in figure.axes if axis.get_visible()] == list(names)
    assert tuple(figure.get_size_inches()) == pytest.approx((2.7 * shape[1], 2.1 * shape[0]))


def test_many_lines_differ_and_have_room_for_their_names() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"[: len(COLOURS) + 2]
    axis = training_curves(table({"many": letters}, 1)).axes[0]
    looks = {(line.get_color(), line.get_linestyle()) for line in axis.lines}
    assert len(looks) == len(letters)
    assert legend(axis) == list(letters)
    assert axis.get_ylim()[1] == pytest.approx(1.6 * 2)
    assert training_curves(table({"few": "abcd"}, 1)).axes[0].get_ylim()[1] < 2.5


def test_no_curves_and_columns_that_are_missing() -> None:
    given = table({"a": "x"})
    assert "No training" in words(training_curves(given[:0]))
    for column in ("panel", "line", "step", "value"):
        with pytest.raises(ValueError, match=f"columns {column} are missing"):
            training_curves(given.drop(columns=column))
