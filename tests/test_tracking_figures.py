"""Every figure draws what it is given, or says why there is nothing."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from cellweak_core.tracking import examples, examples_tracks, figures
from cellweak_core.tracking.comparison import Found
from cellweak_core.tracking.simulate import simulate
from cellweak_core.tracking.splits import Split

IMAGE = np.linspace(0, 1, 64 * 64).reshape(64, 64)
PAIR = np.stack([IMAGE, IMAGE])


def drawn(figure: Figure) -> Figure:
    figure.canvas.draw()
    plt.close(figure)
    return figure


def tracks(n: int = 3) -> pd.DataFrame:
    frame, cell = np.mgrid[:6, 1 : n + 1]
    return pd.DataFrame(
        {"frame": frame.ravel(), "id": cell.ravel(), "x": 10.0 * cell.ravel(), "y": 5.0 + frame.ravel(), "parent": -1}
    )


@pytest.fixture(scope="module")
def untrained() -> Found:
    data = simulate("BMP2", 4, 96, 0, n_cells=6)
    return Found(Split("s", data, {"test": data}))


@pytest.mark.parametrize(
    "draw",
    [
        figures.overview, figures.architecture, figures.masked_loss, figures.conditions, figures.detections,
        figures.propagation, figures.frames_and_nuclei,
    ],
)  # fmt: skip
def test_a_sentence_is_drawn_where_there_is_nothing_to_show(draw) -> None:  # noqa: ANN001
    [axis] = drawn(draw("No cell here.")).axes
    assert [t.get_text() for t in axis.texts] == ["No cell here."]


def test_without_networks_the_examples_say_so(untrained: Found) -> None:
    of_networks = examples.overview, examples.layer_shapes, examples.masked_loss, examples.detections
    for choose in (*of_networks, examples.propagation):
        said = choose(untrained)
        assert isinstance(said, str)
        assert said.endswith(".")
    assert len(examples.training_curves(untrained)) == 0
    drawn(figures.training_curves(examples.training_curves(untrained)))


def test_frames_and_stain(untrained: Found) -> None:
    example = examples.frames_and_nuclei(untrained.split.train)
    figure = drawn(figures.frames_and_nuclei(example))
    crosses = [t.get_text() for axis in figure.axes for t in axis.texts].count("x")
    assert crosses == 2  # frames 1 and 2 of 0 to 3; the stain is taken in each third
    assert len(example["centroids"])


def test_conditions_of_a_real_sequence_are_its_parts(untrained: Found) -> None:
    figure = drawn(figures.conditions(examples.conditions(untrained.split)))
    assert [a.get_title() for a in figure.axes[:2]] == ["training part", "test"]


def test_overview_marks_cell_and_match() -> None:
    example = {
        "pair": PAIR, "likelihood": PAIR, "relevance": PAIR, "masked": PAIR, "response": IMAGE, "cell": [10, 20],
        "match": [12, 22], "score": 0.75, "target": IMAGE, "output": None,
    }  # fmt: skip
    figure = drawn(figures.overview(example))
    marks = [tuple(float(v[0]) for v in line.get_data()) for axis in figure.axes for line in axis.lines]
    assert marks.count((10.0, 20.0)) == 3
    assert marks.count((12.0, 22.0)) == 2
    assert any("0.75" in axis.get_title() for axis in figure.axes)


def test_propagation_without_a_match() -> None:
    cell = {"pair": PAIR, "likelihood": PAIR, "masked": PAIR, "response": IMAGE, "cell": [1, 2], "match": None,
            "score": float("nan"), "what": "any cell"}  # fmt: skip
    figure = drawn(figures.propagation({"cells": [cell, cell]}))
    assert len(figure.axes) == 14


def test_masked_loss_and_detections() -> None:
    shown = {"image": IMAGE, "target": IMAGE, "ignored": IMAGE > 0.5, "outputs": {"Ours w/o ml": IMAGE, "Ours": IMAGE},
             "cell": [5, 5], "what": "a cell", "frame": 3}  # fmt: skip
    titles = [a.get_title() for a in drawn(figures.masked_loss(shown)).axes]
    assert titles[2:] == ["(c) trained without the mask", "(c) trained with the mask"]
    xy = np.array([[3.0, 4.0]])
    place = {"image": IMAGE, "truth": xy, "detector": xy[:0], "codetection": xy, "what": "w", "test": "t", "frame": 1,
             "errors": {"detector": 1, "codetection": 0}}  # fmt: skip
    assert len(drawn(figures.detections({"places": [place]})).axes) == 4


def test_strips_show_tracks_that_are_there() -> None:
    figure = drawn(figures.strips([IMAGE, IMAGE], {"Ours": tracks(), "MPM": tracks(0)}, [0, 5]))
    assert [len(axis.lines) for axis in figure.axes] == [6, 6, 0, 0]
    drawn(figures.strips([], {}, []))


def test_strip_and_division_are_cut_from_a_test() -> None:
    data = simulate("BMP2", 12, 160, 3, n_cells=14, division_rate=0.05)
    found = Found(Split("s", data, {"test": data}))
    assert data.points is not None
    found.tracks["Ours", "test", 0, 1] = [data.points.assign(score=1.0)]
    strip = examples_tracks.strip(found, "test", ["GDA", "Ours"])
    assert list(strip["rows"]) == ["Ours"]
    assert len(strip["images"]) == len(strip["frames"]) == 5
    born = examples_tracks.division(found, ["Ours"])
    assert isinstance(born, dict)
    assert len(born["frames"]) == 5
    assert born["images"][0].shape == (80, 80)
    drawn(figures.strips(**born))
    still = Found(Split("s", data, {}))
    assert isinstance(examples_tracks.division(still, ["Ours"]), str)


def test_trajectories_gain_and_curves() -> None:
    assert len(drawn(figures.trajectories(IMAGE, tracks())).axes) == 2
    table = pd.DataFrame(
        [("Ours", 0.0, 0.5, 0.9, 10, False), ("Ours", 0.5, 9.0, 0.5, 2, False), ("Ours", np.nan, np.nan, 0.4, 5, True)],
        columns=["method", "low_edge", "high_edge", "recovered", "n", "daughters"],
    )
    axis, side = drawn(figures.gain_by_difficulty(table)).axes
    assert axis.lines[0].get_ydata().tolist() == [0.9, 0.5]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["0 to 0.5\n10 links", "0.5 to 9\n2 links"]
    assert side.patches[0].get_height() == 0.4
    drawn(figures.gain_by_difficulty(table[:0]))
    losses = pd.DataFrame({"network": ["a", "a"], "seed": [0, 0], "step": [1, 2], "loss": [1.0, 0.5]})
    assert len(drawn(figures.training_curves(losses)).axes[0].lines) == 1


def test_architecture_names_each_part() -> None:
    shapes = {f"part{k}": (k, 8, 8) for k in range(1, 9)}
    [axis] = drawn(figures.architecture({"shapes": shapes, "n_parameters": 1234, "size": 64})).axes
    assert sum(t.get_text().startswith("part") for t in axis.texts) == 8
    assert "1,234" in axis.get_title()
