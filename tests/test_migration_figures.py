"""Figures draw what they are given, the review sheet has the most uncertain frames, and nothing to draw is said so."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figure_texts import closed_figures, words  # noqa: F401 - a fixture of every test here
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from cellweak_core.migration import calibration, evaluation, figures, motion, review
from cellweak_core.plotting import write_pages

C, D, U = "continuous", "discontinuous", "unknown"


def frames(n_cells: int = 3, n_frames: int = 8) -> pd.DataFrame:
    """One continuous, one discontinuous and one switching cell, some frames unknown."""
    rng, rows = np.random.default_rng(0), []
    for cell in range(n_cells):
        for frame in range(n_frames):
            mode = (C, D, C if frame < n_frames // 2 else D)[cell % 3]
            mode = U if (cell, frame) == (0, 3) else mode
            target = {C: 0.2, D: 0.8, U: np.nan}[mode]
            rows.append((f"f/{cell}", frame + 2 * cell, mode, target, rng.random(), rng.random() / 10))
    return pd.DataFrame(rows, columns=["cell", "frame", "label", "target", "mean", "epistemic"])


def patches(n: int, channels: int = 3, size_px: int = 10, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, channels, size_px, size_px))


def sequences(n_cells: int = 5) -> pd.DataFrame:
    table = frames(n_cells)
    return evaluation.per_sequence(table["mean"], table["target"], table["label"], table["cell"])


def shown(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axis in figure.axes for image in axis.get_images()]


def test_colours_by_hand() -> None:
    given = np.zeros((2, 3, 4, 4), np.uint16)
    given[0, 0], given[1, 1], given[1, 2] = 100, 40000, 7
    limits = [(0, 200), (0, 40000), (7, 7)]
    found = figures.colours(given, limits=limits)
    assert (found.shape, found.dtype) == ((2, 4, 4, 3), np.uint8)
    # adhesions are green, actin red, the membrane blue; a channel without range does not divide by 0
    assert found[:, 0, 0].tolist() == [[0, 128, 0], [255, 0, 0]]
    assert figures.colours(given, (0, None, 1), limits)[:, 0, 0].tolist() == [[128, 0, 0], [0, 0, 255]]
    grey = figures.colours(patches(2, 1))
    assert (grey == grey[..., :1]).all()
    two = figures.colours(patches(2, 2))
    assert np.array_equal(two[..., 0], two[..., 2])
    assert not np.array_equal(two[..., 0], two[..., 1])
    low, high = figures.channel_limits(patches(5))[1]
    assert (low, high) == pytest.approx(np.percentile(patches(5)[:, 1], [0.5, 99.7]).tolist())
    assert figures.colours(patches(0)).shape == (0, 10, 10, 3)
    with pytest.raises(ValueError, match=r"expected numbers \(n, C, H, W\)"):
        figures.colours(np.zeros((3, 8, 8)))
    with pytest.raises(ValueError, match="three channels of 0 to 1"):
        figures.colours(patches(1, 2), (0, 1, 2))
    with pytest.raises(ValueError, match="limits: expected 2 pairs"):
        figures.colours(patches(1, 2), limits=[(0, 1)])


def test_fig_1a_has_violins_bars_and_the_numbers_of_frames() -> None:
    tables = {"vgg16": sequences(), "densenet121": sequences(20)}
    figure = figures.fig_1a(tables)
    violins, *bars = figure.axes
    assert [one.get_text() for one in violins.get_xticklabels()] == ["VGG16", "DenseNet"]
    for line, table in zip(violins.lines, tables.values(), strict=True):
        assert np.array_equal(np.asarray(line.get_ydata()), table["MSE"])
    medians = [one.get_segments()[0][0, 1] for one in violins.collections if hasattr(one, "get_segments")]
    assert medians == pytest.approx([table["MSE"].median() for table in tables.values()])
    for axis, table in zip(bars, tables.values(), strict=True):
        assert [one.get_text() for one in axis.texts] == [str(n) for n in table["n"]]
        heights = np.array([one.get_height() for one in axis.patches]).reshape(3, -1)
        assert heights == pytest.approx(100 * table[["TP", "Uncertain", "FN"]].to_numpy().T)
        bottoms = np.array([one.get_y() for one in axis.patches]).reshape(3, -1)
        assert bottoms[2] + heights[2] == pytest.approx(np.full(len(table), 100))
    assert [one.get_text() for one in figure.legends[0].get_texts()] == ["TP", "Uncertain", "FN"]
    assert "Resnet50" not in words(figure)
    one = figures.fig_1a({"mine": sequences(1)})
    assert len(one.axes) == 2
    with pytest.raises(ValueError, match="vgg16: columns MSE are missing"):
        figures.fig_1a({"vgg16": sequences().drop(columns="MSE")})
    assert "No test sequence" in words(figures.fig_1a({"vgg16": sequences()[:0]}))


def test_fig_1b_has_the_interval_and_the_target() -> None:
    table = frames()
    figure = figures.fig_1b(table.iloc[::-1], z=2)
    cells = ["f/2", "f/1", "f/0"]
    assert [axis.get_title() for axis in figure.axes] == ["f/2\nswitching", f"f/1\n{D}", f"f/0\n{C}"]
    for axis, cell in zip(figure.axes, cells, strict=True):
        own = table[table["cell"] == cell]
        prediction, target = axis.lines
        assert np.array_equal(np.asarray(prediction.get_xdata()), own["frame"])
        assert np.array_equal(np.asarray(prediction.get_ydata()), own["mean"])
        assert np.array_equal(np.asarray(target.get_ydata()), own["target"], equal_nan=True)
        band = axis.collections[0].get_paths()[0].vertices
        sd = np.sqrt(own["epistemic"])
        for bound in (np.clip(own["mean"] - 2 * sd, 0, 1), np.clip(own["mean"] + 2 * sd, 0, 1)):
            for x, y in zip(own["frame"], bound, strict=True):
                assert np.abs(band - [x, y]).sum(1).min() < 1e-9
        grey = axis.patches[0]
        assert (grey.get_y(), grey.get_height()) == (pytest.approx(0.4), pytest.approx(0.2))
    assert "mean ± 2 SD" in words(figure)
    with pytest.raises(ValueError, match="columns target are missing"):
        figures.fig_1b(table.drop(columns="target"))
    assert "No cell" in words(figures.fig_1b(table[:0]))


def test_fig_1c_has_every_third_frame_of_the_own_cell() -> None:
    table = frames()
    table.loc[:, "mean"] = np.linspace(0, 1, len(table))
    pictures = patches(len(table))
    figure = figures.fig_1c(table, pictures, n_columns=2)
    strips = figure.axes[:3]
    assert [axis.get_title(loc="left") for axis in strips] == [
        f"f/0, {C}, every 3 frames", f"f/1, {D}, every 3 frames", "f/2, switching, every 3 frames",
    ]  # fmt: skip
    # frames of the second cell count from its own first
    assert [one.get_text() for one in strips[1].texts[::2]] == ["2: D", "5: D", "8: D"]
    assert [one.get_text() for one in strips[0].texts] == ["0: C", "C .00", "3: ?", "C .13", "6: C", "C .26"]
    assert [one.get_text() for one in strips[2].texts[1::2]] == ["D .70", "D .83", "D .96"]
    chosen = np.flatnonzero((table["frame"] - 2 * (np.arange(len(table)) // 8)) % 3 == 0)
    colour = figures.colours(pictures[chosen])
    sheet = np.asarray(strips[1].get_images()[0].get_array())
    above, below, gap = 2, 2, 1
    height = above + 10 + below + gap
    for k, at in enumerate((3, 4, 5)):
        top, left = k // 2 * height + above, k % 2 * 11
        assert np.array_equal(sheet[top : top + 10, left : left + 10], colour[at])
        bar = np.array(colormaps["BrBG_r"](table["mean"][chosen[at]])[:3])
        assert np.abs(sheet[top + 10, left] - 255 * bar).max() <= 0.5
    assert (sheet[height:, 11:] == 255).all()
    assert "prediction: 0 continuous" in words(figure)
    assert [one.get_text() for one in figures.fig_1c(table, pictures, every=7).axes[0].texts[::2]] == ["0: C", "7: C"]
    with pytest.raises(ValueError, match="a patch for each of 24 rows, got 3"):
        figures.fig_1c(table, pictures[:3])
    with pytest.raises(ValueError, match="got 0 and 13"):
        figures.fig_1c(table, pictures, every=0)
    assert "No cell" in words(figures.fig_1c(table[:0], pictures[:0]))


def known() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    table = frames(6)
    table = table[table["label"] != U]
    return tuple(table[c].to_numpy() for c in ("target", "mean", "epistemic", "cell"))  # type: ignore[return-value]


def test_error_and_calibration_are_drawn_as_tabled() -> None:
    target, mean, epistemic, cells = known()
    table = calibration.error_by_uncertainty(np.abs(mean - target), epistemic, cells, 4, 30)
    figure = figures.error_by_uncertainty({"resnet50": table}, "absolute error")
    axis = figure.axes[0]
    assert np.array_equal(np.asarray(axis.lines[0].get_xdata()), table["uncertainty"])
    assert np.array_equal(np.asarray(axis.lines[0].get_ydata()), table["error"])
    assert axis.get_xscale() == "log"
    assert "Resnet50" in words(figure)
    zero = figures.error_by_uncertainty({"mine": table.assign(uncertainty=0.0)})
    assert zero.axes[0].get_xscale() == "linear"
    covered = calibration.coverage(target, mean, epistemic, cells, n_resamples=30)
    figure = figures.calibration({"epistemic": covered})
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in figure.axes[0].lines}
    assert np.array_equal(lines["epistemic"], covered["covered"])
    assert "No error" in words(figures.error_by_uncertainty({}))
    assert "No interval" in words(figures.calibration({"epistemic": covered[:0]}))
    with pytest.raises(ValueError, match="epistemic: columns nominal are missing"):
        figures.calibration({"epistemic": covered.drop(columns="nominal")})


def test_referral_has_a_panel_for_each_network() -> None:
    target, mean, epistemic, cells = known()
    wrong = (mean > 0.5) != (target > 0.5)
    found = calibration.referral(wrong, epistemic, cells, n_resamples=30)
    figure = figures.referral({"vgg16": found, "resnet50": found}, "accuracy", as_accuracy=True)
    panels = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title().split("\n")[0] for axis in panels] == ["VGG16", "Resnet50"]
    assert f"gain {found.share.value:.2f} [{found.share.low:.2f}" in panels[0].get_title()
    for line, name in zip(panels[0].lines, ("value", "random", "perfect"), strict=True):
        assert np.asarray(line.get_ydata()) == pytest.approx(1 - found.curve[name].to_numpy())
    plain = figures.referral(dict.fromkeys("abcd", found))
    assert [axis.get_visible() for axis in plain.axes] == [True] * 4 + [False] * 2
    assert np.asarray(plain.axes[0].lines[0].get_ydata()) == pytest.approx(found.curve["value"].to_numpy())
    equal = calibration.referral(np.ones(4), [1, 2, 3, 4], list("abcd"), n_resamples=10)
    assert "gain not defined" in words(figures.referral({"a": equal}))
    assert "No frames" in words(figures.referral({}))


def test_stability_is_drawn_as_tabled() -> None:
    table = calibration.stability(np.random.default_rng(0).random((40, 9)), [1, 5, 20], 2)
    figure = figures.stability({"densenet121": table})
    for axis, (column, scale) in zip(
        figure.axes, {"mean error": 1, "epistemic": 1, "rank correlation": 1, "other range": 100}.items(), strict=True
    ):
        assert np.array_equal(np.asarray(axis.lines[0].get_xdata()), [1, 5, 20])
        assert np.asarray(axis.lines[0].get_ydata()) == pytest.approx(scale * table[column].to_numpy(), nan_ok=True)
        assert axis.lines[1].get_xdata()[0] == 50
    assert "DenseNet" in words(figure)
    assert [axis.get_ylabel().replace("\n", " ") for axis in figure.axes] == [
        "standard error of the mean", "epistemic variance, mean over frames",
        "rank correlation of the variances of two sets", "frames whose range two sets disagree on (%)",
    ]  # fmt: skip
    assert "No samples" in words(figures.stability({}))


def test_a_sheet_of_maps_has_picture_grad_cam_and_gradients() -> None:
    pictures, cams, gradients = figures.colours(patches(2)), patches(2)[:, 0], patches(2, 3, seed=1) - 0.5
    figure = figures.saliency_sheet(pictures, cams, gradients, ["a", "b"], [[3, 4], [0, 0]])
    images = shown(figure)
    assert np.array_equal(images[0], pictures[0])
    assert [axis.get_title() for axis in figure.axes[:2]] == ["a", "b"]
    assert np.array_equal(images[3], cams[0])  # over the grey picture
    assert images[6] == pytest.approx(gradients[0].sum(0))
    arrow = figure.axes[0].texts[0]
    assert np.subtract(arrow.xy, arrow.get_position()) == pytest.approx([0.6 * 3.6, 0.8 * 3.6])
    assert not figure.axes[1].texts  # does not move
    assert "arrow: to where it moves" in words(figure).replace("\n", " ")
    assert "arrow" not in words(figures.saliency_sheet(pictures, 0 * cams, 0 * gradients))
    with pytest.raises(ValueError, match="expected pictures"):
        figures.saliency_sheet(pictures, cams[:, :5], gradients)
    with pytest.raises(ValueError, match="expected pictures"):
        figures.saliency_sheet(pictures, cams, gradients, directions=[[1, 2]])
    with pytest.raises(ValueError, match="titles: expected 2, got 1"):
        figures.saliency_sheet(pictures, cams, gradients, ["a"])
    assert "No map" in words(figures.saliency_sheet(pictures[:0], cams[:0], gradients[:0]))


def test_the_queue_has_the_most_uncertain_frames_and_no_moment_twice() -> None:
    points = pd.DataFrame({
        "cell": list("aaaab"), "frame": [0, 1, 2, 6, 1], "x": np.arange(5.0), "label": [C, C, U, D, D],
        "target": [0.1, 0.2, np.nan, 0.7, 0.9], "other": 1,
    })  # fmt: skip
    mean, epistemic = [0.4, 0.5, 0.5, 0.1, 0.6], [0.5, 0.9, 0.8, 0.3, 0.7]
    found = review.queue(points, mean, epistemic, gap_frames=3)
    assert found["row"].tolist() == [1, 4, 3]  # 0 and 2 are near 1
    assert found["rank"].tolist() == [1, 2, 3]
    assert found["outcome"].tolist() == ["Uncertain", "TP", "FN"]
    assert found["says"].tolist() == ["uncertain", D, C]
    assert " ".join(found) == "rank row cell frame x label target mean epistemic says outcome"
    every = review.queue(points, mean, epistemic, np.zeros(5), gap_frames=1)
    assert every["row"].tolist() == [1, 2, 4, 0, 3]
    assert every["outcome"][1] == ""
    assert "aleatoric" in every
    assert review.queue(points, mean, epistemic, n_frames=1)["row"].tolist() == [1]
    tracks = review.queue(points[["cell", "frame"]], mean, epistemic)
    assert not {"label", "outcome"} & set(tracks)
    assert not len(review.queue(points[:0], [], []))
    with pytest.raises(ValueError, match="epistemic: expected 5 numbers"):
        review.queue(points, mean, [np.nan, *epistemic[1:]])
    with pytest.raises(ValueError, match="points: columns frame are missing"):
        review.queue(points[["cell"]], mean, epistemic)
    with pytest.raises(ValueError, match="got 0 and 5"):
        review.queue(points, mean, epistemic, n_frames=0)


def test_review_pages_show_each_frame_of_the_queue_once() -> None:
    table = frames()
    pictures = patches(len(table))
    found = review.queue(table, table["mean"], table["epistemic"], n_frames=9, gap_frames=1)
    pages = list(review.pages(found, pictures, n_columns=2, n_rows=2, title="Look"))
    assert [page.get_suptitle() for page in pages] == [f"Look, page {k} of 3" for k in (1, 2, 3)]
    axes = [axis for page in pages for axis in page.axes if axis.get_visible()]
    assert len(axes) == 9
    colour = figures.colours(pictures[found["row"]])
    for axis, picture, one in zip(axes, colour, found.to_dict("records"), strict=True):
        assert np.array_equal(np.asarray(axis.get_images()[0].get_array()), picture)
        assert axis.get_title(loc="left") == f"{one['rank']}. {one['cell']}, frame {one['frame']}"
        says, labelled = (text.get_text() for text in axis.texts)
        assert says == f"{one['says']} {one['mean']:.2f}, SD {one['epistemic'] ** 0.5:.2f}"
        assert labelled == f"label {one['label']}" + (f": {one['outcome']}" if one["outcome"] else "")
    tracks = next(review.pages(found.drop(columns=["label", "outcome"]), pictures))
    assert [len(axis.texts) for axis in tracks.axes if axis.get_visible()] == [1] * 9
    long = next(review.pages(found.assign(cell="a very long name of a film/17"), pictures))
    assert "…, frame" in long.axes[0].get_title(loc="left")
    with pytest.raises(ValueError, match="no frame is in the queue"):
        next(review.pages(found[:0], pictures))
    with pytest.raises(ValueError, match=f"up to {found['row'].max()}, got 2"):
        next(review.pages(found, pictures[:2]))


def test_the_review_files_are_the_same_each_time_and_leave_no_figure_open(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    table = frames()
    np.save(tmp_path / "patches.npy", patches(len(table)))
    stored = np.load(tmp_path / "patches.npy", mmap_mode="r")
    found = review.queue(table, table["mean"], table["epistemic"], n_frames=5)
    paths = [write_pages(tmp_path / name / "review.pdf", found, review.pages(found, stored)) for name in "ab"]
    assert [path.name for path in paths[0]] == ["review.pdf", "review.csv"]
    for first, second in zip(*paths, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert paths[0][0].read_bytes().startswith(b"%PDF")
    back = pd.read_csv(paths[0][1])
    assert back["row"].tolist() == found["row"].tolist()
    assert back["epistemic"].tolist() == pytest.approx(found["epistemic"].tolist())
    assert not plt.get_fignums()


def test_targets_are_drawn_by_cell_and_label() -> None:
    table = frames()
    titles = {"f/2": "both", "f/0": "slow"}
    figure = figures.targets(table.sample(frac=1, random_state=0), titles)
    assert [axis.get_title() for axis in figure.axes] == ["both", "slow"]
    for axis, cell in zip(figure.axes, titles, strict=True):
        own = table[table["cell"] == cell]
        (line,) = axis.lines
        assert np.array_equal(np.asarray(line.get_xdata()), own["frame"])
        assert np.array_equal(np.asarray(line.get_ydata()), own["target"], equal_nan=True)
        assert [one.get_label() for one in axis.collections] == [C, D, U]
        colours = {C: "#01665e", D: "#8c510a", U: "#777777"}
        for points in axis.collections:
            part = own[own["label"] == points.get_label()]
            height = [0.5] * len(part) if points.get_label() == U else part["target"].tolist()
            literal = np.array([part["frame"].to_numpy(float), height]).T
            assert np.array_equal(np.asarray(points.get_offsets()), literal)
            assert to_hex(points.get_edgecolor()[0]) == colours[points.get_label()]
        grey = axis.patches[0]
        assert (grey.get_y(), grey.get_height()) == (pytest.approx(0.4), pytest.approx(0.2))
    assert [one.get_text() for one in figure.legends[0].get_texts()] == [C, D, U]
    assert "No cell has a mode" in words(figures.targets(table, {}))
    with pytest.raises(ValueError, match="columns target are missing"):
        figures.targets(table.drop(columns="target"), titles)


def walked(n: int = 60) -> pd.DataFrame:
    steps = np.random.default_rng(0).exponential(3, (n, 2))
    return pd.DataFrame(steps.cumsum(0), columns=["x", "y"]).assign(sequence="f", cell="f/0", frame=range(n))


def test_measures_are_histograms_with_their_thresholds() -> None:
    table = motion.modes(walked(), by=("speed", "burstiness"))
    limits = table.attrs["thresholds"]
    figure = figures.measures(table, limits, ("speed", "burstiness"))
    assert len(figure.axes) == 3
    for axis, name in zip(figure.axes, motion.MEASURES, strict=True):
        assert axis.get_xlabel().startswith(f"{name} (")
        (line,) = axis.lines
        assert list(line.get_xdata()) == [limits[name]] * 2
        assert line.get_linestyle() == (":" if name == "persistence" else "-")
        values = table[name].to_numpy()
        top = np.quantile(values[np.isfinite(values)], 0.995)
        bins = np.linspace(0, top, 41)
        for container, label in zip(axis.containers, (C, D, U), strict=True):
            assert container[0].get_label() == label
            own = values[(table["label"] == label) & np.isfinite(values)]
            literal = [0] * 40
            for value in own:
                # what is beyond the last edge counts in the last bin
                literal[min(39, int(np.searchsorted(bins, min(value, top), side="right")) - 1)] += 1
            assert [patch.get_height() for patch in container] == literal
    assert sum(len(table[table["label"] == label]) for label in (C, D)) > 20
    assert [one.get_text() for one in figure.legends[0].get_texts()] == [C, D, U]
    for missing in ("speed", "label"):
        with pytest.raises(ValueError, match=f"columns {missing} are missing"):
            figures.measures(table.drop(columns=missing), limits, ("speed",))


def test_measures_of_cells_that_stand_still_and_beside_labels_of_an_expert() -> None:
    still = motion.modes(walked().assign(x=1.0, y=1.0), by=("speed",))
    figure = figures.measures(still.assign(label=D), still.attrs["thresholds"], ("speed",))
    for axis in figure.axes:
        heights = [[patch.get_height() for patch in container] for container in axis.containers]
        assert sum(heights[0]) == sum(heights[2]) == 0
        assert heights[1] == [54, *[0] * 39]
    assert "frames" in words(figure)
