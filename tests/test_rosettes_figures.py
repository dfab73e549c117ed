"""Every figure draws what it is given, one of it and none of it too, and saves without a warning."""

import io
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex, to_rgba
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cellweak_core.rosettes import figures
from cellweak_core.rosettes.figures import COLOUR


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No figure outlives its test, and none changes matplotlib's settings."""
    mpl.use("agg")
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before
    plt.close("all")


def rendered(figure: Figure) -> Figure:
    """The figure, laid out and written as the chapter writes it; warnings are errors."""
    assert isinstance(figure, Figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=40)
    assert file.getvalue().startswith(b"\x89PNG")
    return figure


def every(figure: Any) -> list[Any]:  # noqa: ANN401
    """All axes, those of subfigures too."""
    return [*figure.axes, *(a for part in figure.subfigs for a in every(part) if a not in figure.axes)]


def boxes_of(axis: Any) -> list[Rectangle]:  # noqa: ANN401
    return [p for p in axis.patches if isinstance(p, Rectangle)]


def legend(axis: Any) -> list[str]:  # noqa: ANN401
    return [text.get_text() for text in axis.get_legend().get_texts()]


def grey(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


# --- images


@pytest.mark.parametrize("centres", [[], [(10.0, 20.0), (40.5, 30.0)]])
def test_raw_and_denoised(centres: list[tuple[float, float]]) -> None:
    raw, denoised = grey(64, 48).astype(np.uint16), grey(64, 48)
    left, right = rendered(figures.raw_and_denoised(raw, denoised, np.array(centres).reshape(-1, 2), 16)).axes
    assert (left.get_title(), right.get_title()) == ("raw", "denoised")
    np.testing.assert_array_equal(left.images[0].get_array(), raw)
    np.testing.assert_array_equal(right.images[0].get_array(), denoised)
    for axis in (left, right):
        # The middle of a pixel is at whole numbers in the picture, its corner at a half.
        middles = [(b.get_x() + b.get_width() / 2 + 0.5, b.get_y() + b.get_height() / 2 + 0.5) for b in boxes_of(axis)]
        assert middles == centres
        assert {b.get_width() for b in boxes_of(axis)} <= {16}


@pytest.mark.parametrize(("given", "shown"), [(1, 1), (5, 5), (40, 32)])
def test_patches(given: int, shown: int) -> None:
    images = grey(given, 32, 32)
    axes = [a for a in rendered(figures.patches(images)).axes if a.get_visible()]
    assert len(axes) == shown
    for axis, image in zip(axes, images[:shown], strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), image)
        assert axis.images[0].get_clim() == (0, 255)


def found(*corners: tuple[float, float]) -> pd.DataFrame:
    return pd.DataFrame({"x": [x for x, _ in corners], "y": [y for _, y in corners]}, dtype=float)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("known", [True, False])
def test_detection(n: int, known: bool) -> None:
    images, maps = grey(n, 48, 64), np.random.default_rng(1).uniform(size=(n, 48, 64))
    boxes = [found((0, 0), (12, 8), (32, 16)), found(), found((4, 4))][:n]
    truth = [np.array([[20.0, 21], [5, 6]]), np.zeros((0, 2)), np.array([[7.0, 8]])][:n] if known else None
    figure = rendered(figures.detection(list(images), boxes, list(maps), truth, size=16))
    above, below = figure.axes[:n], figure.axes[n : 2 * n]
    assert len(figure.axes) == 2 * n + 1  # and the colour bar
    assert figure.axes[-1].get_ylabel() == "probability"
    for k in range(n):
        np.testing.assert_array_equal(above[k].images[0].get_array(), images[k])
        np.testing.assert_array_equal(below[k].images[0].get_array(), maps[k])
        assert below[k].images[0].get_clim() == (0, 1)
        drawn = [(b.get_x() + 0.5, b.get_y() + 0.5, b.get_width(), b.get_height()) for b in boxes_of(above[k])]
        assert drawn == [(x, y, 16, 16) for x, y in boxes[k].to_numpy().tolist()]
        assert not boxes_of(below[k])
        for axis in (above[k], below[k]):
            places = [line.get_xydata().tolist() for line in axis.lines]
            assert places == ([truth[k].tolist()] if truth is not None and len(truth[k]) else [])


def test_heat_maps_with_a_border_of_nothing() -> None:
    heat = np.full((32, 32), np.nan)
    heat[8:24, 8:24] = 0.5
    figure = rendered(figures.detection([grey(32, 32)], [found()], [heat]))
    assert np.ma.getmaskarray(figure.axes[1].images[0].get_array()).sum() == 32**2 - 16**2


def test_examples_mark_wrong_calls_and_bear_an_empty_group() -> None:
    images = grey(10, 16, 16)
    probability, target = np.linspace(1, 0.91, 10), np.array([1, 0] * 5)
    nothing = (images[:0], probability[:0], target[:0])
    groups = {"p > 0.9": (images, probability, target), "0.8 to 0.9": nothing, "one": (images[:1], [0.5], [0])}
    figure = rendered(figures.examples(groups, n=4))
    titles = [part._suptitle.get_text() for part in figure.subfigs]  # type: ignore[attr-defined]
    assert titles == ["p > 0.9: 10 images", "0.8 to 0.9: 0 images", "one: 1 images"]
    first, empty, last = ([a for a in part.axes if a.images] for part in figure.subfigs)
    assert [a.get_title() for a in first] == ["1.00", "0.99 x", "0.98", "0.97 x"]
    for axis, image in zip(first, images, strict=False):
        np.testing.assert_array_equal(axis.images[0].get_array(), image)
    assert empty == []
    assert [a.get_title() for a in last] == ["0.50 x"]


@pytest.mark.parametrize("groups", [1, 2])
def test_examples_of_nothing_at_all(groups: int) -> None:
    nothing = (grey(0, 16, 16), np.zeros(0), np.zeros(0))
    figure = rendered(figures.examples({str(k): nothing for k in range(groups)}))
    assert len(figure.subfigs) == groups
    assert not any(a.images for a in every(figure))


# --- diagrams


def test_network_diagram_has_a_box_per_layer() -> None:
    layers = [("input", "1x32x32"), ("conv1", "8x16x16"), ("fc2", "2")]
    [axis] = rendered(figures.network_diagram(layers)).axes
    texts = [t.get_text() for t in axis.texts if t.get_text()]
    assert texts == ["input\n1x32x32", "conv1\n8x16x16", "fc2\n2"]
    assert len(axis.texts) == 3 + 2  # and an arrow between neighbours
    low, high = axis.get_xlim()
    assert all(low < t.get_position()[0] < high for t in axis.texts)


def test_workflow_diagram_has_both_steps() -> None:
    [axis] = rendered(figures.workflow_diagram()).axes
    texts = [t.get_text() for t in axis.texts if t.get_text()]
    assert [t for t in texts if t.startswith("step")] == ["step 1:\ncommon features", "step 2:\ntarget features"]
    assert len(texts) == 2 + 6
    arrows = [t for t in axis.texts if getattr(t, "arrow_patch", None) is not None]
    assert len(arrows) == 2 + 2 + 1  # within the steps, and from the features to the classifier


# --- curves


def recorded(n: int) -> pd.DataFrame:
    return pd.DataFrame({"step": [1.0, 100.0, 1000.0][:n], "value": [0.5, -1.0, -2.0][:n]})


@pytest.mark.parametrize(("steps", "window"), [(1, 1), (30, 1), (400, 8)])
@pytest.mark.parametrize("points", [0, 3])
def test_losses(steps: int, window: int, points: int) -> None:
    at, values = np.arange(1, steps + 1.0), np.random.default_rng(0).normal(size=steps)
    [axis] = rendered(figures.losses(at, values, recorded(points), "generator loss")).axes
    curve, smooth, authors = axis.lines
    np.testing.assert_array_equal(curve.get_xydata(), np.stack([at, values], 1))
    means = [values[k - window + 1 : k + 1].mean() for k in range(window - 1, steps)]
    np.testing.assert_allclose(smooth.get_ydata(), means)
    np.testing.assert_array_equal(smooth.get_xdata(), at[window - 1 :])
    np.testing.assert_array_equal(authors.get_xydata(), recorded(points).to_numpy())
    assert (axis.get_ylabel(), axis.get_xscale()) == ("generator loss", "log")
    assert legend(axis) == [f"this run (mean of {window})", "recorded by the authors"]


def trainings(repeats: int) -> pd.DataFrame:
    rows = [
        {"classifier": c, "step": s, "accuracy": 0.5 + 0.1 * k, "precision": np.nan if s == 10 else 0.5, "recall": 0.9}
        for c in ("GAN", "conventional")
        for k in range(repeats)
        for s in (10, 20, 30)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("repeats", [1, 3])
def test_curves(repeats: int) -> None:
    figure = rendered(figures.curves(trainings(repeats), 0.7, "all labels"))
    axes = figure.axes
    assert [a.get_title() for a in axes] == ["accuracy", "precision", "recall"]
    assert figure._suptitle.get_text() == "all labels"  # type: ignore[attr-defined]
    for axis in axes:
        gan, conventional = axis.lines[:2]
        assert (gan.get_color(), conventional.get_color()) == (COLOUR["GAN"], COLOUR["conventional"])
        assert gan.get_xdata().tolist() == [10, 20, 30]
        assert len(axis.collections) == 2  # a band each
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), 0.5 + 0.05 * (repeats - 1))
    assert axes[0].lines[2].get_ydata() == [0.7, 0.7]
    assert legend(axes[0]) == ["GAN", "conventional", "majority class"]
    if repeats > 1:
        band = axes[0].collections[0].get_paths()[0].vertices[:, 1]
        assert (band.min(), band.max()) == (pytest.approx(0.5), pytest.approx(0.7))  # .6 ± .1


def bars(container: ErrorbarContainer) -> np.ndarray:
    """`(points, 2)` lower and upper end of each bar."""
    lines = container.lines[2][-1]  # upright ones; level ones, where there are any, come first
    return np.array([segment[:, 1] for segment in lines.get_segments()])


@pytest.mark.parametrize("sd", [0.05, np.nan])
def test_accuracy_by_fraction(sd: float) -> None:
    rows = [(c, f, f / 2, sd) for c in ("GAN", "conventional") for f in (1.0, 0.2)]
    table = pd.DataFrame(rows, columns=["classifier", "fraction", "mean", "sd"])
    paper = pd.DataFrame({"percent": [100.0, 20.0], "value": [84.0, 76], "low": [80.0, 69], "high": [88.0, 83]})
    paper["half_width"] = 0.0
    [axis] = rendered(figures.accuracy_by_fraction(table, paper, 0.7)).axes
    gan, conventional, printed = axis.containers
    np.testing.assert_allclose(gan.lines[0].get_xydata(), [[100.7, 50], [20.7, 10]])
    np.testing.assert_allclose(printed.lines[0].get_xydata(), [[100, 84], [20, 76]])
    np.testing.assert_allclose(bars(printed), [[80, 88], [69, 83]])
    if np.isfinite(sd):
        np.testing.assert_allclose(bars(conventional), [[45, 55], [5, 15]])
    assert axis.lines[-1].get_ydata() == [70, 70]
    assert set(legend(axis)) == {
        "GAN, this run", "conventional, this run", "GAN, printed in the paper", "majority class",
    }  # fmt: skip


def evaluated(methods: list[str], fractions: tuple[float, ...] = (1.0, 0.2)) -> pd.DataFrame:
    rows = [
        {"method": m, "fraction": f, "day": d, "metric": metric, "value": 0.7 + f / 10 + k / 100}
        for k, m in enumerate(methods)
        for f in fractions
        for d in ("d1", "all")
        for metric in ("AUROC", "recall")
    ]
    return pd.DataFrame(rows).assign(low=0.6, high=0.9)


@pytest.mark.parametrize("fractions", [(1.0,), (1.0, 0.2, 0.1)])
def test_weak_by_fraction(fractions: tuple[float, ...]) -> None:
    methods = ["context", "context, mean of 5", "GAN", "another"]
    [axis] = rendered(figures.weak_by_fraction(evaluated(methods, fractions))).axes
    assert legend(axis) == methods
    for k, container in enumerate(axis.containers):
        x, y = container.lines[0].get_xydata().T
        np.testing.assert_allclose(y, [0.7 + f / 10 + k / 100 for f in sorted(fractions)])
        np.testing.assert_allclose(x, 100 * np.sort(fractions), rtol=0.15)  # neighbours stand a little apart
        np.testing.assert_allclose(bars(container), [[0.6, 0.9]] * len(fractions))
    lines = [c.lines[0] for c in axis.containers]
    assert [x.get_linestyle() for x in lines] == ["-", "--", "-", "-"]
    assert [to_hex(x.get_color()).upper() for x in lines[:3]] == [COLOUR["context"]] * 2 + [COLOUR["GAN"]]
    assert [t.get_text() for t in axis.get_xticklabels()] == [f"{100 * f:g}" for f in sorted(fractions)]
    assert axis.get_ylabel() == "AUROC, days never seen"


def test_weak_values_on_or_beside_their_interval_and_without_one() -> None:
    table = evaluated(["GAN"], (1.0, 0.2, 0.1)).query("day == 'all' and metric == 'AUROC'")
    table = table.assign(value=[0.7, 0.7, 0.7], low=[0.7 + 1e-16, 0.75, np.nan], high=[0.7 - 1e-16, 0.8, np.nan])
    [axis] = rendered(figures.weak_by_fraction(table)).axes
    np.testing.assert_array_equal(axis.containers[0].lines[0].get_ydata(), [0.7] * 3)


def statistics(scale: float) -> dict[str, pd.DataFrame]:
    return {what: pd.DataFrame({"x": [1.0, 2, 3], "y": [scale, 2 * scale, 3]}) for what in figures.STATISTICS}


@pytest.mark.parametrize("names", [["released images"], ["released images", "this run (simulated)"]])
def test_image_statistics(names: list[str]) -> None:
    figure = rendered(figures.image_statistics({name: statistics(k + 1.0) for k, name in enumerate(names)}))
    assert len(figure.axes) == 6
    for axis, (x, y) in zip(figure.axes, figures.STATISTICS.values(), strict=True):
        assert (axis.get_xlabel(), axis.get_ylabel()) == (x, y)
        assert [line.get_ydata().tolist() for line in axis.lines] == [
            [k + 1, 2 * (k + 1), 3] for k in range(len(names))
        ]
        assert [line.get_linestyle() for line in axis.lines] == ["--", "-"][: len(names)]
    assert [a.get_yscale() for a in figure.axes].count("log") == 1
    assert [t.get_text() for t in figure.legends[0].get_texts()] == names


# --- inside the classifiers


@pytest.mark.parametrize("names", [["GAN"], ["conventional", "GAN"]])
@pytest.mark.parametrize("n", [1, 12])
def test_filters(names: list[str], n: int) -> None:
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(n, 1, 4, 4)) for name in names}
    figure = rendered(figures.filters(weights, {name: 0.1234 for name in names}))
    limit = max(np.abs(w).max() for w in weights.values())
    for part, name in zip(figure.subfigs, names, strict=True):
        assert part._suptitle.get_text() == f"{name}: sd 0.123"  # type: ignore[attr-defined]
        tiles = [a for a in part.axes if a.get_visible()]
        assert len(tiles) == n
        for tile, w in zip(tiles, weights[name], strict=True):
            np.testing.assert_array_equal(tile.images[0].get_array(), w[0])
            assert tile.images[0].get_clim() == (-limit, limit)


@pytest.mark.parametrize("names", [["GAN"], ["conventional", "GAN"]])
def test_embeddings(names: list[str]) -> None:
    points = {name: np.random.default_rng(0).normal(size=(20, 2)) for name in names}
    labels = {"conventional": np.full(20, -1), "GAN": np.array([0] * 8 + [1] * 7 + [-1] * 5)}
    figure = rendered(figures.embeddings(points, labels))
    counts = {"conventional": (20, 0), "GAN": (5, 15)}
    assert [a.get_title() for a in figure.axes] == [f"{n}: {labels[n].max() + 1} clusters" for n in names]
    for axis, name in zip(figure.axes, names, strict=True):
        assert tuple(len(c.get_offsets()) for c in axis.collections) == counts[name]
        np.testing.assert_array_equal(axis.collections[1].get_offsets(), points[name][labels[name] >= 0])
    colours = figure.axes[-1].collections[1].get_facecolors()
    assert len(np.unique(colours, axis=0)) == 2


@pytest.mark.parametrize(("names", "filters", "layers"), [(["GAN"], 8, 3), (["a", "GAN"], 8, 3), (["a", "GAN"], 2, 1)])
def test_activation_maps(names: list[str], filters: int, layers: int) -> None:
    rng = np.random.default_rng(0)
    maps = {name: [rng.uniform(size=(filters, 32, 32)) for _ in range(layers)] for name in names}
    window = grey(32, 32)
    figure = rendered(figures.activation_maps(window, maps, n=6))
    shown = [a for a in figure.axes if a.get_visible()]
    assert len(shown) == 1 + len(names) * layers * min(filters, 6)
    np.testing.assert_array_equal(shown[0].images[0].get_array(), window)
    assert [a.get_title() for a in shown if a.get_title()] == ["window", *names]
    assert [a.get_ylabel() for a in shown if a.get_ylabel()] == [f"conv{k + 1}" for k in range(layers)]
    grid = np.array(figure.axes).reshape(layers, -1)
    for k, name in enumerate(names):
        for layer in range(layers):
            for j in range(min(filters, 6)):
                np.testing.assert_array_equal(grid[layer, 1 + 6 * k + j].images[0].get_array(), maps[name][layer][j])


@pytest.mark.parametrize("n_states", [1, 4])
def test_mean_activations(n_states: int) -> None:
    rows = [(f"state {s}", f"conv{c}", s + c / 10) for s in range(n_states) for c in (1, 2, 3)]
    [axis] = rendered(figures.mean_activations(pd.DataFrame(rows, columns=["state", "layer", "mean"]))).axes
    assert legend(axis) == [f"state {s}" for s in range(n_states)]
    for s, container in enumerate(axis.containers):
        assert [bar.get_height() for bar in container] == [s + 0.1, s + 0.2, s + 0.3]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["conv1", "conv2", "conv3"]
    spans = sorted((b.get_x(), b.get_x() + b.get_width()) for b in axis.patches)
    assert all(a[1] <= b[0] + 1e-9 for a, b in pairwise(spans))  # no bar hides another


def test_methods_are_told_apart_by_their_colours() -> None:
    from cellweak_core.rosettes.weak import METADATA, WEAK_METHODS

    assert {*WEAK_METHODS, METADATA} <= set(COLOUR)
    assert len({to_rgba(c) for c in COLOUR.values()}) == len(COLOUR)
