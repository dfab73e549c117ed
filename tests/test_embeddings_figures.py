"""Figures of the embeddings chapter: what is drawn is what the tables say, and where there is nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_texts import closed_figures, words  # noqa: F401 - a fixture of every test here
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from cellweak_core.embeddings import drawing, figures
from cellweak_core.embeddings.figures_drawings import _places

NAN = float("nan")


def drawn(figure: Figure) -> dict[str, tuple[list[float], list[float]]]:
    """The labelled lines."""
    lines = [line for axis in figure.axes for line in axis.lines if not str(line.get_label()).startswith("_")]
    return {str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata())) for line in lines}


def crops(n: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 4000, (n, channels, 12, 12)).astype(np.uint16)


def cells() -> pd.DataFrame:
    rows = []
    for batch in ("week 10", "week 2"):
        for plate in (f"{batch}a", f"{batch}b"):
            for k, (compound, moa) in enumerate((("DMSO", None), ("a", "X"), ("b", "Y"), ("c", None))):
                rows += [(plate, f"B{k + 2:02d}", batch, compound, moa, compound == "DMSO", 1.0)] * 3
    return pd.DataFrame(rows, columns=["plate", "well", "batch", "compound", "moa", "control", "concentration"])


def levels() -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = []
    for metric, start in (("main", 80.0), ("auxiliary", 60.0)):
        rows.append(("baseline", "none", metric, start, start - 1, start + 1))
        rows += [("mixup", alpha, metric, start + 10 * alpha, start, start + 9) for alpha in (0.4, 0.1, 0.2)]
        rows += [("recurrent", t, metric, start - t, NAN, NAN) for t in (3, 5)]
    return pd.DataFrame(rows, columns=["family", "level", "metric", "value", "low", "high"])


def test_regularization_starts_from_the_baseline_and_goes_up_in_order() -> None:
    figure = figures.regularization(levels(), "b  chemical screen", "NSCB")
    lines = drawn(figure)
    assert set(lines) == {f"{family}: {what}" for family in figures.FAMILIES for what in ("NSCB", "auxiliary task")}
    assert lines["mixup: NSCB"][1] == [80.0, 81.0, 82.0, 84.0]
    assert lines["recurrent: auxiliary task"][1] == [60.0, 57.0, 55.0]
    assert np.round(lines["mixup: NSCB"][0]).tolist() == [0, 1, 2, 3]
    ticks = [one.get_text() for one in figure.axes[0].get_xticklabels()]
    assert ticks == ["none", "$\\alpha$ = 0.1\nt = 3", "$\\alpha$ = 0.2\nt = 5", "$\\alpha$ = 0.4"]
    styles = {str(line.get_label()): line.get_linestyle() for line in figure.axes[0].lines}
    assert styles["mixup: NSCB"] == "-"
    assert styles["mixup: auxiliary task"] == "--"
    # an interval for each point that has one: two baselines twice, three alphas twice
    assert sum(len(one.get_segments()) for one in figure.axes[0].collections) == 4 + 6


def test_regularization_of_families_with_a_baseline_each_and_of_one_alone() -> None:
    table = levels()
    own = table[table["level"] == "none"].assign(family="recurrent", value=[70.0, 50.0])
    lines = drawn(figures.regularization(pd.concat([table, own])))
    assert lines["recurrent: main goal"][1][0] == 70.0
    assert lines["mixup: main goal"][1][0] == 80.0
    assert set(drawn(figures.regularization(table[table["family"] != "recurrent"]))) == {
        "mixup: main goal", "mixup: auxiliary task",
    }  # fmt: skip


def test_regularization_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="family: expected mixup or recurrent, got dropout"):
        figures.regularization(levels().replace("mixup", "dropout"))
    with pytest.raises(ValueError, match="columns low, high are missing"):
        figures.regularization(levels().drop(columns=["low", "high"]))
    assert "No network was trained" in words(figures.regularization(levels()[:0]))


def test_single_cells_are_drawn_once_each_in_their_colour() -> None:
    rng = np.random.default_rng(0)
    panel = pd.DataFrame(rng.normal(size=(30, 2)), columns=["x", "y"])
    panel["label"] = ["X"] * 10 + ["Y"] * 10 + [None] * 5 + ["DMSO"] * 5
    panel["control"] = panel["label"] == "DMSO"
    figure = figures.single_cells({"hand-made": panel, "network": panel.assign(x=0.0)})
    assert [axis.get_title() for axis in figure.axes] == ["hand-made", "network"]
    for axis in figure.axes:
        assert sum(len(one.get_offsets()) for one in axis.collections) == 30
    grey = figure.axes[0].collections[0]
    assert len(grey.get_offsets()) == 5
    assert tuple(grey.get_facecolor()[0]) == to_rgba(drawing.CONTROL)
    blue = to_rgba(drawing.looks(["X"])["X"].colour, 0.8)
    of_x = []
    for one in figure.axes[0].collections[1:]:
        places = np.asarray(one.get_offsets())
        colours = np.broadcast_to(np.asarray(one.get_facecolor()), (len(places), 4))
        of_x += [tuple(place) for place, colour in zip(places, colours, strict=True) if tuple(colour) == blue]
    assert sorted(of_x) == sorted(map(tuple, panel.loc[panel["label"] == "X", ["x", "y"]].to_numpy()))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["X", "Y", "not known", "control"]
    with pytest.raises(ValueError, match="one or more tables"):
        figures.single_cells({})


def test_layers_are_in_the_network_s_order() -> None:
    rows = [
        (layer, metric, tvn, k + 10 * tvn, k - 1.0, k + 1.0)
        for k, layer in enumerate(["res2a", "res5b", "pool5"]) for metric in ("NSC", "NSCB") for tvn in (True, False)
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["layer", "metric", "tvn", "value", "low", "high"])
    figure = figures.layers(table)
    assert [axis.get_title() for axis in figure.axes] == ["NSC", "NSCB"]
    for axis in figure.axes:
        assert [one.get_text() for one in axis.get_xticklabels()] == ["res2a", "res5b", "pool5"]
        lines = {line.get_label(): list(line.get_ydata()) for line in axis.lines}
        assert lines["with TVN"] == [10, 11, 12]
        assert lines["without TVN"] == [0, 1, 2]
        low, high = axis.get_ylim()
        assert low <= 0
        assert high >= 12
    assert "No layer" in words(figures.layers(table[:0]))


def test_every_seed_is_a_point() -> None:
    rows = [(method, metric, seed, 50.0 + seed) for method, n in (("baseline", 12), ("mixup", 3), ("hand", 1))
            for metric in ("NSC", "NSCB") for seed in range(n)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["method", "metric", "seed", "value"])
    paper = pd.DataFrame({"method": ["mixup"], "metric": ["NSCB"], "value": [89.0]})
    figure = figures.seed_scores(table, paper)
    assert [one.get_text() for one in figure.axes[0].get_yticklabels()] == ["baseline", "mixup", "hand"]
    for axis, n_paper in zip(figure.axes, (0, 1), strict=True):
        dots = [list(line.get_xdata()) for line in axis.lines if line.get_marker() == "o"]
        assert dots == [[50.0 + k for k in range(12)], [50.0, 51.0, 52.0], [50.0]]
        assert len(axis.collections) == 1  # three points are no violin
        assert sum(len(line.get_xdata()) for line in axis.lines if line.get_marker() == "D") == n_paper
    assert "paper" in words(figure)
    assert "paper" not in words(figures.seed_scores(table))
    assert "No method" in words(figures.seed_scores(table[:0]))


def test_confusion_counts_what_was_asked() -> None:
    true = np.array(["X", "X", "Y", "Z"], object)
    figure = figures.confusion({"NSC": (true, ["X", "Y", "Y", "Y"]), "NSCB": (true, ["X", None, "Y", None])})
    assert [axis.get_title() for axis in figure.axes] == ["NSC: 2 of 4", "NSCB: 2 of 2"]
    counts = [{text.get_position(): text.get_text() for text in axis.texts} for axis in figure.axes]
    assert counts[0] == {(0, 0): "1", (1, 0): "1", (1, 1): "1", (1, 2): "1"}
    assert counts[1] == {(0, 0): "1", (1, 1): "1"}
    assert "No treatment was asked" in words(figures.confusion({"NSC": (true[:1], [None])}))
    with pytest.raises(ValueError, match=r"\(4,\) and \(3,\)"):
        figures.confusion({"NSC": (true, true[:3])})


def test_the_collection_is_drawn_well_by_well() -> None:
    figure = figures.collection(cells(), n_batches=1)
    text = words(figure)
    assert "2 batches, 4 plates, 16 wells, 3 treatments" in text
    assert "batch week 2: 2 plates\nplate week 2a" in text
    assert "week 10" not in text
    for axis in figure.axes:
        assert sum(len(line.get_xdata()) for line in axis.lines) == 4
    legend = [one.get_text() for one in figure.legends[0].get_texts()]
    assert legend == ["X", "Y", "not known", "control"]
    by_compound = figures.collection(cells().drop(columns="moa"))
    assert [one.get_text() for one in by_compound.legends[0].get_texts()] == ["a", "b", "c", "control"]
    assert "no cell" in words(figures.collection(cells()[:0]))
    with pytest.raises(ValueError, match="columns well are missing"):
        figures.collection(cells().drop(columns="well"))


def test_wells_have_places() -> None:
    assert _places(pd.Series(["A01", "B12", "h7", "AA3"])).tolist() == [[1, 1], [2, 12], [8, 7], [27, 3]]
    free = _places(pd.Series(["left", "middle", "right", "left"]))
    assert len({tuple(one) for one in free.tolist()}) == 3
    assert free[0].tolist() == free[3].tolist()
    assert sorted(["w10", "w2", "a"], key=drawing.as_people_sort) == ["a", "w2", "w10"]


def test_the_workflow_says_what_is_not_there() -> None:
    some = np.random.default_rng(0).normal(size=(5, 7))
    text = words(figures.workflow(crops(4), {"cells": 1234, "treatments": 5, "plates": 2}, features=some))
    assert "1,234 cells" in text
    assert "2 plates" in text
    assert text.count("not in\nthis run") == 2
    whole = figures.workflow(crops(12), {}, features=some, profiles=some, similarity=np.eye(5), field=crops(1)[0])
    assert "not in" not in words(whole)


def test_the_network_and_its_layers() -> None:
    layers = [("conv1", 64, 48), ("res4a", 256, 6), ("embedding", 256, 1)]
    text = words(figures.network(crops(1)[0], layers, 103, n_parameters=11_338_791, features="res4a"))
    for one in ("11,338,791 weights", "256$\\times$6²", "which of 103", "res4a", "3$\\times$12² px"):
        assert one in text
    with pytest.raises(ValueError, match="expected one of conv1, res4a, embedding, got 'pool5'"):
        figures.network(crops(1)[0], layers, 103, features="pool5")


def test_recurrent_sets_have_a_source_for_each_cell() -> None:
    text = words(figures.recurrent(crops(3), "taxol at 0.3 µM", ["week 1", "week 2", "week 3"]))
    assert text.count("GRU") == 4
    assert "taxol\n0.3 µM" in text
    assert "week 3" in text
    with pytest.raises(ValueError, match="each of 3 crops, one or more, got 2"):
        figures.recurrent(crops(3), "a", ["week 1", "week 2"])


def test_mixup_pairs_show_weights_and_answers() -> None:
    one, two = crops(2).astype(float), crops(2)[::-1].astype(float)
    weights = [0.7, 0.25]
    mixed = np.array(weights)[:, None, None, None] * one + (1 - np.array(weights))[:, None, None, None] * two
    labels = [("a", "b"), ("c", "c")]
    figure = figures.mixup(one, two, mixed, weights, labels, sources=[("week 1", "week 2")] * 2)
    text = words(figure)
    for part in ("0.70 $\\times$", "+ 0.75 $\\times$", "week 2", "1.00"):
        assert part in text
    bars = [[patch.get_width() for patch in axis.patches] for axis in figure.axes if axis.patches]
    assert bars == [[0.7, pytest.approx(0.3)], [1.0]]
    with pytest.raises(ValueError, match="of one shape"):
        figures.mixup(one, two[:1], mixed, weights, labels)
