"""Figures of the tracking chapter: drawn from a comparison with untrained networks, and where there is nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cellweak_core.tracking import examples, examples_tracks, figures, places
from cellweak_core.tracking.comparison import Found
from cellweak_core.tracking.data import TrackingData
from cellweak_core.tracking.drawing import TRACK_COLOURS
from cellweak_core.tracking.figures_tracks import track_colours
from cellweak_core.tracking.frames import ArraySource
from cellweak_core.tracking.networks import build
from cellweak_core.tracking.simulate import simulate
from cellweak_core.tracking.splits import TESTS, Split

SIZE, N_FRAMES = 96, 6
NETWORKS = {
    "codetection 1": {"kind": "codetection", "width": 4},
    "detector": {"kind": "unet", "in_channels": 1, "out_channels": 1, "width": 4},
    "Ours": {"kind": "unet", "in_channels": 2, "out_channels": 3, "width": 4},
    "Ours w/o ml": {"kind": "unet", "in_channels": 2, "out_channels": 3, "width": 4},
}


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    import matplotlib as mpl

    mpl.use("Agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def network(architecture: dict[str, Any]) -> dict[str, Any]:
    torch.manual_seed(0)
    weights = {f"model.{name}": value for name, value in build(architecture).state_dict().items()}
    curve = {"step": torch.arange(4), "loss": torch.tensor([1.0, 0.5, 0.3, 0.2])}
    return {"architecture": architecture, **weights, **curve}


def divided() -> pd.DataFrame:
    """A cell that divides between frames 2 and 3 in the middle of the image, and one that stays."""
    rows = [(t, 1, 48.0, 40.0 + t, -1) for t in range(3)]
    rows += [(t, 2, 48.0 - 4 * t, 44.0, 1) for t in range(3, 6)] + [(t, 3, 48.0 + 4 * t, 44.0, 1) for t in range(3, 6)]
    rows += [(t, 4, 20.0, 20.0, -1) for t in range(6)]
    return pd.DataFrame(rows, columns=["frame", "id", "x", "y", "parent"])


def association(points: pd.DataFrame) -> dict[str, Any]:
    """Sure links between the rows of each cell; daughters have no sure past."""
    out: dict[str, list[Any]] = {name: [] for name in ("earlier", "later", "links", "pairs", "ignored")}
    for t in range(N_FRAMES - 1):
        before, after = (points[points["frame"] == k].reset_index(drop=True) for k in (t, t + 1))
        out["earlier"] += [(t, x, y) for x, y in before[["x", "y"]].to_numpy()]
        out["later"] += [(t, x, y) for x, y in after[["x", "y"]].to_numpy()]
        for j, cell in after.iterrows():
            at = np.flatnonzero(before["id"] == cell["id"])
            if len(at):
                out["links"].append((t, at[0], j, 0.9, 1))
                out["pairs"].append((t, 1, *before.loc[at[0], ["x", "y"]], cell["x"], cell["y"]))
            else:
                out["ignored"].append((t, 1, cell["x"], cell["y"]))
    widths = {"earlier": 3, "later": 3, "links": 5, "pairs": 6, "ignored": 4}
    return {name: np.array(rows, float).reshape(-1, widths[name]) for name, rows in out.items()}


def data(points: pd.DataFrame | None, nuclei: bool = True, linked: bool = True) -> TrackingData:
    """Noise with the given cells."""
    images = np.random.default_rng(0).integers(60, 190, (N_FRAMES, SIZE, SIZE), dtype=np.uint8)
    stain = ArraySource(images, "stain") if nuclei else None
    return TrackingData(ArraySource(images, "noise"), points, linked and points is not None, "noise", None, stain)


def with_networks(found: Found) -> Found:
    found.networks |= {(name, 0): network(one) for name, one in NETWORKS.items()}
    return found


@pytest.fixture(scope="module")
def found() -> Found:
    """One test with a division that Ours finds and BF does not."""
    points = divided()
    one = with_networks(Found(Split("made", data(points), {"test": data(points)})))
    one.pseudo[0, 1] = one.associations["test", 0, 1] = association(points)
    tracks = points.assign(score=1.0)
    follows = points.replace({"id": {2: 1}}).assign(parent=-1, score=1.0)
    one.tracks = {("Ours", "test", 0, 1): [tracks], ("BF", "test", 0, 1): [follows[follows["id"] != 3]]}
    extra = pd.DataFrame({"frame": [4], "x": [70.0], "y": [70.0]})
    cells = points[["frame", "x", "y"]]
    one.detections["detector", "test", 0, 0] = pd.concat([cells, extra])
    one.detections["codetection", "test", 0, 1] = cells[cells["frame"] != 2]
    return one


def texts(figure: Any) -> str:  # noqa: ANN401 - a matplotlib Figure
    """All words of a figure, drawn once so that every error of drawing shows."""
    from matplotlib.text import Text

    figure.canvas.draw()
    return "\n".join(one.get_text() for one in figure.findobj(Text))


def test_frames_and_nuclei_with_and_without_stain() -> None:
    simulated = simulate("BMP2", 4, 96, 0, n_cells=5)
    shown = examples.frames_and_nuclei(simulated, n=4, every=2)
    assert isinstance(shown, dict)
    assert [one is None for one in shown["nuclei"]] == [False, True, False, True]
    assert len(shown["centroids"]) > 0
    assert "nuclear stain" in texts(figures.frames_and_nuclei(shown))
    for points, words in ((divided(), "positions as annotated"), (None, "neither stain nor positions")):
        assert words in texts(figures.frames_and_nuclei(examples.frames_and_nuclei(data(points, False))))


def test_overview_follows_the_sure_link_inside(found: Found) -> None:
    shown = examples.overview(found, 0)
    assert isinstance(shown, dict)
    for name in ("pair", "likelihood", "relevance", "masked"):
        assert shown[name].shape == (2, SIZE, SIZE)
    assert shown["target"].shape == shown["ignored"].shape == shown["output"].shape == (SIZE, SIZE)
    assert np.isfinite(shown["response"]).all()
    words = texts(figures.overview(shown))
    assert "(1)" in words
    assert "(3)" in words


def test_architecture_shows_every_part_with_its_real_shape(found: Found) -> None:
    shown = examples.layer_shapes(found, 0, 64)
    assert isinstance(shown, dict)
    assert shown["shapes"]["enc0"] == (4, 64, 64)
    assert shown["shapes"]["down4"] == (32, 4, 4)
    assert shown["shapes"]["out_tn"] == (1, 64, 64)
    words = texts(figures.architecture(shown))
    assert all(name in words for name in shown["shapes"])
    assert f"{shown['n_parameters']:,}" in words


def test_masked_loss_is_shown_at_a_daughter(found: Found) -> None:
    shown = examples.masked_loss(found, 0)
    assert isinstance(shown, dict)
    assert shown["what"] == "a daughter of a division"
    assert shown["frame"] == 3
    x, y = shown["cell"].round().astype(int)
    assert shown["ignored"][y, x]
    assert list(shown["outputs"]) == ["Ours w/o ml", "Ours"]
    assert "with the mask" in texts(figures.masked_loss(shown))


def test_conditions_of_simulated_and_of_real_data() -> None:
    one = data(divided())
    papers = examples.conditions(Split("simulated", one, dict.fromkeys(TESTS, one)))
    assert isinstance(papers, dict)
    assert list(papers["images"]) == ["Control", "FGF2", "BMP2 medium", "FGF2+BMP2"]
    real = examples.conditions(Split("left to right", data(None, False), {"test": one}))
    assert isinstance(real, dict)
    assert list(real["images"]) == ["training part", "test"]
    assert "training part" in texts(figures.conditions(real))


def test_detections_at_the_largest_gain_and_loss(found: Found) -> None:
    shown = examples.detections(found, 0)
    assert isinstance(shown, dict)
    better, worse = shown["places"]
    assert better["frame"] == 4
    assert better["errors"] == {"detector": 1, "codetection": 0}
    assert worse["frame"] == 2
    assert worse["errors"] == {"detector": 0, "codetection": 2}
    assert len(worse["truth"]) == 2
    assert "1 error\n" in texts(figures.detections(shown)) + "\n"


def test_propagation_of_two_cells(found: Found) -> None:
    shown = examples.propagation(found, 0)
    assert isinstance(shown, dict)
    assert [one["what"] for one in shown["cells"]] == ["moved farthest of the sure links", "nearest to its neighbour"]
    # After dividing the daughters move 4 px a frame, the others 1 or 0.
    first = shown["cells"][0]
    assert first["frames"] in ((3, 4), (4, 5))
    assert first["pixels"].dtype == bool
    assert "moved farthest" in texts(figures.propagation(shown))


def test_strips_take_truth_first_and_only_methods_that_are_there(found: Found) -> None:
    shown = examples_tracks.strip(found, "test", ["GDA", "BF", "Ours"], 0, n=3)
    assert list(shown["rows"]) == ["truth", "BF", "Ours"]
    assert shown["frames"] == [0, 2, 5]
    assert len(shown["images"]) == 3
    assert "Ours" in texts(figures.strips(**shown))
    assert examples_tracks.strip(found, "test", ["GDA"], 0)["rows"] == {}
    assert "None of these methods" in texts(figures.strips([], {}, []))


def test_division_that_ours_finds_and_bf_does_not(found: Found) -> None:
    shown = examples_tracks.division(found)
    assert isinstance(shown, dict)
    assert shown["frames"] == [1, 2, 3, 4, 5]
    assert "between frames 2 and 3" in shown["title"]
    assert "divides" in texts(figures.strips(**shown))
    assert examples_tracks._recovered(found, "test", "Ours", 0) == {(3, 1)}
    assert examples_tracks._recovered(found, "test", "BF", 0) == set()


def test_trajectories_with_and_without_the_enlarged_square(found: Found) -> None:
    shown = examples_tracks.trajectories(found, "test", "Ours", 0, n=3)
    assert isinstance(shown, dict)
    assert "4 trajectories" in texts(figures.trajectories(**shown))
    assert "4 trajectories" in texts(figures.trajectories(shown["image"], shown["tracks"]))
    assert isinstance(examples_tracks.trajectories(found, "test", "CMF", 0), str)
    assert "No tracks" in texts(figures.trajectories(shown["image"], shown["tracks"].iloc[:0]))


def test_file_numbers_are_shown_where_frames_have_some(found: Found) -> None:
    source = data(divided()).source
    source.numbers = tuple(range(100, 100 + N_FRAMES))
    one = Found(Split("made", found.split.train, {"test": TrackingData(source, divided(), True, "noise")}))
    one.tracks = found.tracks
    shown = examples_tracks.strip(one, "test", ["Ours"], 0, n=3)
    assert shown["frames"] == [100, 102, 105]
    assert shown["rows"]["Ours"]["frame"].min() == 100


def test_gain_by_difficulty_with_empty_bins_and_divisions() -> None:
    rows = [
        ("Ours", 0.0, 0.1, 0.9, 0.8, 0.95, 50, False), ("Ours", 0.1, 0.5, np.nan, np.nan, np.nan, 0, False),
        ("Ours", 0.5, 10.0, 0.4, 0.1, 0.7, 5, False), ("Ours", np.nan, np.nan, 0.5, np.nan, np.nan, 4, True),
        ("BF", 0.0, 0.1, 0.8, 0.7, 0.9, 50, False), ("BF", 0.1, 0.5, np.nan, np.nan, np.nan, 0, False),
        ("BF", 0.5, 10.0, 0.2, 0.0, 0.4, 5, False), ("BF", np.nan, np.nan, 0.25, 0.0, 0.5, 4, True),
    ]  # fmt: skip
    columns = ["method", "low_edge", "high_edge", "recovered", "low", "high", "n", "daughters"]
    once = pd.DataFrame(rows, columns=columns).assign(interval=5)
    table = pd.concat([once.assign(interval=1), once])
    words = texts(figures.gain_by_difficulty(table))
    assert "0 to 0.1\n50 links" in words
    assert "over 0.5\n5 links" in words
    assert "0.1 to 0.5" not in words
    assert "mother to daughter: 4 links" in words
    assert "every frame" in words
    assert "every 5. frame" in words
    assert "no division" in texts(figures.gain_by_difficulty(table.assign(n=table["n"].where(~table["daughters"], 0))))
    assert "No true links" in texts(figures.gain_by_difficulty(table.iloc[:0]))


def test_training_curves_name_networks_once(found: Found) -> None:
    table = examples.training_curves(found)
    assert table.groupby("network").size().to_dict() == dict.fromkeys(NETWORKS, 4)
    twice = pd.concat([table, table.assign(seed=1)])
    assert texts(figures.training_curves(twice)).count("single-frame detector") == 1
    assert "Nothing was trained" in texts(figures.training_curves(table.iloc[:0]))


def test_nothing_to_show_is_said() -> None:
    empty = Found(Split("real", data(None, False), {"test": data(None, False)}))
    for example, draw in (
        (examples.overview(empty), figures.overview),
        (examples.layer_shapes(empty), figures.architecture),
        (examples.masked_loss(empty), figures.masked_loss),
        (examples.detections(empty), figures.detections),
        (examples.propagation(empty), figures.propagation),
    ):
        assert isinstance(example, str)
        assert example in texts(draw(example))
    assert examples_tracks.division(empty) == "No division in the frames of these tests."
    assert examples.training_curves(empty).empty


@pytest.mark.parametrize(
    "draw",
    [
        figures.overview, figures.architecture, figures.masked_loss, figures.conditions, figures.detections,
        figures.propagation, figures.frames_and_nuclei,
    ],
)  # fmt: skip
def test_a_sentence_is_drawn_where_there_is_nothing_to_show(draw: Any) -> None:  # noqa: ANN401 - a figure function
    [axis] = draw("No cell here.").axes
    assert [t.get_text() for t in axis.texts] == ["No cell here."]


def test_a_cell_without_a_match_and_a_run_without_mpm() -> None:
    image = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    pair = np.stack([image, image])
    cell = {
        "pair": pair, "likelihood": pair, "relevance": pair, "masked": pair, "response": image, "cell": [10, 20],
        "match": None, "score": float("nan"), "what": "any cell", "frames": (0, 1), "target": image,
        "ignored": image > 0.5, "output": None,
    }  # fmt: skip
    figure = figures.propagation({"cells": [cell, cell]})
    assert len(figure.axes) == 14
    assert "nan" not in texts(figure)
    words = texts(figures.overview(cell))
    assert "no sure match" in words
    assert "MPM" not in words
    matched = {**cell, "match": [12, 22], "score": 0.75}
    figure = figures.overview(matched)
    rings = [tuple(float(v[0]) for v in line.get_data()) for axis in figure.axes for line in axis.lines]
    assert (rings.count((10.0, 20.0)), rings.count((12.0, 22.0))) == (7, 4)


def test_division_of_simulated_cells_is_cut_from_the_test() -> None:
    one = simulate("BMP2", 12, 160, 3, n_cells=14, division_rate=0.05)
    simulated = Found(Split("s", one, {"test": one}))
    assert one.points is not None
    simulated.tracks["Ours", "test", 0, 1] = [one.points.assign(score=1.0)]
    born = examples_tracks.division(simulated, ["BF", "Ours"])
    assert isinstance(born, dict)
    assert born["images"][0].shape == (96, 96)
    assert len(born["rows"]["Ours"]) == len(born["rows"]["truth"])


def test_positions_without_identities_are_enough(found: Found) -> None:
    points = divided()[["frame", "x", "y"]]
    one = with_networks(Found(Split("nuclei", data(points, linked=False), {"test": data(points, linked=False)})))
    one.pseudo, one.associations, one.tracks = found.pseudo, found.associations, found.tracks
    shown = examples.masked_loss(one, 0)
    assert isinstance(shown, dict)
    assert shown["what"] == "a cell without a sure past"
    assert list(examples_tracks.strip(one, "test", ["Ours"], 0)["rows"]) == ["Ours"]
    assert isinstance(examples_tracks.division(one), str)


@pytest.mark.parametrize(("xy", "side", "multiple"), [((0, 0), 32, 1), ((99, 69), 40, 16), ((50, 30), 500, 16)])
def test_a_square_holds_its_cell_and_lies_in_the_image(xy: tuple[int, int], side: int, multiple: int) -> None:
    top, bottom, left, right = places.square(xy, (70, 100), side, multiple)
    assert 0 <= top < bottom <= 70
    assert 0 <= left < right <= 100
    assert left <= xy[0] < right
    assert top <= xy[1] < bottom
    assert top % multiple == left % multiple == 0
    assert bottom - top >= min(side, 70)


def test_errors_are_matched_one_to_one() -> None:
    true, cells = np.array([[10.0, 10], [14, 10], [50, 50]]), np.array([[12.0, 10], [70, 70]])
    wrong = places.errors(true, cells)
    assert len(wrong) == 3  # one of the two neighbours, the far cell, the false one
    assert [70, 70] in wrong.tolist()
    assert len(places.errors(true, np.zeros((0, 2)))) == 3


def test_tracks_that_begin_together_have_different_colours() -> None:
    table = pd.DataFrame({"frame": np.zeros(10, int), "id": np.arange(10) * len(TRACK_COLOURS)})
    assert len(set(track_colours(table).values())) == 10
