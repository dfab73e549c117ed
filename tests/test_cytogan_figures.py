"""Pictures and plots: what is drawn is what was given, and where there is nothing they say so."""

import numpy as np
import pandas as pd
import pytest
from figure_texts import closed_figures, words  # noqa: F401 - a fixture of every test here
from matplotlib.figure import Figure
from scipy import stats

from cellweak_core import curves
from cellweak_core.cytogan import changes, exploring, figures, latent, pictures, reporting, spotting
from cellweak_core.files import DataError
from cellweak_core.plotting import mosaic

NAMES = ("DNA", "actin", "tubulin")


def cells(n: int, channels: int = 3, size_px: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (n, channels, size_px, size_px)).astype(np.float32)


def shown(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axis in figure.axes for image in axis.get_images()]


def test_both_mappings_of_the_channels() -> None:
    images = np.stack([np.full((4, 4), level, np.float32) for level in (1.0, 0.0, -1.0)])[None]  # DNA, actin, tubulin
    assert pictures.rgb(images, NAMES)[0, 0, 0].tolist() == [255, 128, 0]
    assert pictures.rgb(images, NAMES, "final")[0, 0, 0].tolist() == [255, 0, 128]
    # by name, not by place
    assert pictures.rgb(images[:, [2, 0, 1]], ("tubulin", "DAPI", "actin"))[0, 0, 0].tolist() == [255, 128, 0]
    assert pictures.caption(NAMES) == "DNA red, actin green, tubulin blue"
    assert pictures.caption(NAMES, "final") == "DNA red, tubulin green, actin blue"
    with pytest.raises(DataError, match="no channel tubulin"):
        pictures.rgb(images, ("DNA", "actin", "channel 2"))
    with pytest.raises(ValueError, match="expected one of draft, final, in order"):
        pictures.rgb(images, NAMES, "CMYK")


def test_channels_of_other_names_are_shown_in_order() -> None:
    images = cells(2, 5)
    literal = np.rint((images + 1) / 2 * 255).astype(int)
    found = pictures.rgb(images, list("abcde"), "in order")
    assert np.abs(found[..., 2].astype(int) - literal[:, 2]).max() == 0
    grey = pictures.rgb(images[:, :1], ["a"], "in order")
    assert (grey == grey[..., :1]).all()
    two = pictures.rgb(images[:, :2], ["a", "b"], "in order")
    assert not two[..., 2].any()
    assert (pictures.caption(["a"], "in order"), pictures.caption(list("ab"), "in order")) == (
        "a grey", "a red, b green",
    )  # fmt: skip
    with pytest.raises(ValueError, match="expected 5 names, got 2"):
        pictures.rgb(images, ["a", "b"], "in order")
    with pytest.raises(DataError, match="outside"):
        pictures.rgb(images * 3, list("abcde"), "in order")
    assert pictures.rgb(images[:0], list("abcde"), "in order").shape == (0, 6, 6, 3)


def test_a_sheet_has_every_picture_once_and_white_between() -> None:
    made = pictures.rgb(cells(5), NAMES)
    found = mosaic(made, 3, gap_px=2)
    assert found.shape == (2 * 6 + 2, 3 * 6 + 2 * 2, 3)
    for k in range(5):
        top, left = k // 3 * 8, k % 3 * 8
        assert np.array_equal(found[top : top + 6, left : left + 6], made[k])
    assert (found[8:, 16:] == 255).all()
    assert (found[6:8] == 255).all()
    with pytest.raises(ValueError, match="one or more"):
        mosaic(made[:0])


def test_fig_1_has_a_sheet_for_each_generator() -> None:
    real, made = pictures.rgb(cells(5), NAMES), pictures.rgb(cells(3, seed=1), NAMES)
    figure = figures.generated({"real": real, "LSGAN": made}, 4, pictures.caption(NAMES))
    assert all(name in words(figure) for name in ("real", "LSGAN", "DNA red"))
    assert np.array_equal(shown(figure)[0], mosaic(real, 4))
    assert np.array_equal(shown(figure)[1], mosaic(made, 4))
    assert "No cells were generated" in words(figures.generated({"LSGAN": made[:0]}))


def test_fig_2_draws_the_lengths_of_both_ways() -> None:
    z = np.random.default_rng(0).normal(size=(4, 100))
    norms = latent.path_norms(z[:2], z[2:], np.linspace(0, 1, 5))
    ways = {name: pictures.rgb(cells(4), NAMES) for name in ("slerp", "linear")}
    figure = figures.interpolation(ways, norms, latent.prior_norms(100))
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in figure.axes[-1].lines}
    assert lines["slerp"] == pytest.approx(np.linalg.norm(latent.slerp(z[0], z[2], np.linspace(0, 1, 5)), axis=1))
    assert lines["linear"][2] == pytest.approx(np.linalg.norm((z[0] + z[2]) / 2))
    assert len(figure.axes[-1].lines) == 4
    assert "95 % of all noise" in words(figure)
    assert len(shown(figure)) == 2
    with pytest.raises(ValueError, match="expected slerp and linear, got curved"):
        figures.interpolation({"curved": ways["slerp"]}, norms, (9, 11))
    assert "No way" in words(figures.interpolation({}, norms, (9, 11)))


def test_fig_3_has_the_measured_number_under_each_picture() -> None:
    images = pictures.rgb(cells(6), NAMES).reshape(2, 3, 6, 6, 3)
    captions = [["235 px", "335 px", "421 px"], ["1", "2", "3"]]
    figure = figures.rows_of_pictures(images, captions, ["z1", "z2"], ["-3", "0", "+3"])
    assert [axis.get_xlabel() for axis in figure.axes] == [*captions[0], *captions[1]]
    assert [axis.get_title() for axis in figure.axes[:3]] == ["-3", "0", "+3"]
    assert figure.axes[3].get_ylabel() == "z2"
    assert all(np.array_equal(a, b) for a, b in zip(shown(figure), images.reshape(6, 6, 6, 3), strict=True))
    sums = figures.rows_of_pictures(images, between=["-", "="])
    assert [text for text in words(sums).split("\n") if text] == ["-", "=", "-", "="]
    with pytest.raises(ValueError, match="between: expected 2 texts, got 1"):
        figures.rows_of_pictures(images, between=["-"])
    with pytest.raises(ValueError, match="captions: expected 3 texts, got 1"):
        figures.rows_of_pictures(images, [["a"], ["b", "c", "d"]])
    with pytest.raises(ValueError, match="expected \\(n_rows, n_columns"):
        figures.rows_of_pictures(images[0])
    assert "nothing to show" in words(figures.rows_of_pictures(images[:0]))


def test_changes_stand_beside_chance_with_their_intervals() -> None:
    rows = [(along, strength, name, strength * gain, strength * gain - 0.1, strength * gain + 0.1)
            for along, gain in (("nucleus area", 1.0), (changes.CHANCE, 0.0)) for strength in (2.0, -2.0)
            for name in ("nucleus area", "tubulin intensity")]  # fmt: skip
    means = pd.DataFrame(rows, columns=["along", "strength", "property", "value", "low", "high"])
    both = [means.assign(direction=f"nucleus area, by {way}") for way in ("regression", "quarters")]
    figure = figures.effects(pd.concat(both))
    assert [axis.get_title() for axis in figure.axes] == ["nucleus area", "tubulin intensity", "", ""]
    assert [figure.axes[k].get_ylabel().splitlines()[1] for k in (0, 2)] == ["by regression", "by quarters"]
    lines = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert lines["this direction"] == [-2, 2]
    assert lines[changes.CHANCE] == [0, 0]
    ends = [segment[:, 1].tolist() for one in figure.axes[0].collections for segment in one.get_segments()]
    assert ends[0] == [-2.1, -1.9]
    assert "No direction" in words(figures.effects(means[:0]))
    with pytest.raises(ValueError, match="columns low, high are missing"):
        figures.effects(both[0].drop(columns=["low", "high"]))


def test_sums_and_steps_have_their_signs_and_measurements() -> None:
    found = latent.Direction("nucleus area", "quarters", np.ones(2), 1.0, 0.5, 2.0, 40)
    pixels = np.zeros((2, 5, 8, 8, 3), np.uint8)
    texts = [[f"{k} px" for k in range(5)] for _ in range(2)]
    four = [row[:4] for row in texts]
    one = exploring.Explored(found, pd.DataFrame(), pixels[:, :4], four, pixels, texts)
    figure = figures.sums({("nucleus area", "quarters"): one, ("nucleus area", "regression"): one})
    assert [axis.get_title() for axis in figure.axes[:4]] == ["much", "little", "a cell", "result"]
    assert [axis.texts[0].get_text() for axis in figure.axes[:3]] == ["\u2212", "+", "="]
    assert [axis.get_xlabel() for axis in figure.axes] == ["0 px", "1 px", "2 px", "3 px"] * 2
    assert [figure.axes[k].get_ylabel() for k in (0, 4)] == ["nucleus area", ""]
    figure = figures.moved({("nucleus area", "regression"): one})
    assert [axis.get_title() for axis in figure.axes[:5]] == ["-2 steps", "-1 step", "a cell", "+1 step", "+2 steps"]
    assert "No direction" in words(figures.sums({}))
    assert "No direction" in words(figures.moved({}))


def test_training_curves_are_those_of_every_chapter() -> None:
    assert figures.training_curves is curves.training_curves


def test_nearest_cells_have_their_distance_in_typical_ones() -> None:
    made, near = pictures.rgb(cells(2), NAMES), pictures.rgb(cells(4, seed=1), NAMES).reshape(2, 2, 6, 6, 3)
    figure = figures.nearest(made, near, [[1.0, 2.0], [0.0, 3.0]], 2.0)
    assert [axis.get_xlabel() for axis in figure.axes] == ["", "0.50", "1.00", "", "0.00", "1.50"]
    assert figure.axes[0].get_title() == "generated"
    assert np.array_equal(shown(figure)[3], made[1])
    with pytest.raises(ValueError, match="expected pictures"):
        figures.nearest(made[:1], near, [[1, 2], [0, 3]], 1.0)
    with pytest.raises(ValueError, match="above 0"):
        figures.nearest(made, near, [[1, 2], [0, 3]], 0.0)


def test_distances_are_drawn_as_shares() -> None:
    figure = figures.distances({"LSGAN": [1.0, 2.0, 4.0]}, [3.0, 5.0])
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert set(lines) == {"LSGAN", "real, held out"}
    x, y = (np.asarray(one) for one in lines["LSGAN"].get_data())
    assert y[x == 2.0].max() == pytest.approx(2 / 3)
    assert "No generated cells" in words(figures.distances({}, [1.0]))


def test_scores_stand_beside_the_paper_s() -> None:
    rows = pd.DataFrame(
        [("LSGAN", "MOA accuracy", 60.0, 50.0, 70.0), ("LSGAN", "MOA accuracy, whitened", 65.0, 55.0, 75.0),
         ("BEGAN", "NSC", 40.0, 30.0, 50.0), ("chance", "MOA accuracy", 9.0, np.nan, np.nan)],
        columns=["row", "column", "value", "low", "high"],
    )  # fmt: skip
    paper = pd.DataFrame({
        "row": ["LSGAN", "VAE", "BEGAN"], "column": ["MOA accuracy"] * 3, "value": [68.0, 49.0, 77.0],
        "note": ["printed", "printed", "cited from elsewhere"],
    })  # fmt: skip
    figure = figures.scores(rows, paper)
    assert [one.get_text() for one in figure.axes[0].get_yticklabels()] == ["LSGAN", "BEGAN"]
    lines = {line.get_label(): line.get_xdata() for line in figure.axes[0].lines}
    assert list(lines["as they are"]) == [60]
    assert list(lines["whitening"]) == [65]
    assert list(lines["paper"]) == [68]
    assert list(lines["cited in the paper"]) == [77]
    assert list(lines["by lot"]) == [9, 9]
    assert list(figure.axes[1].lines[0].get_xdata()) == [40]
    assert "No representation" in words(figures.scores(rows[rows["row"] == reporting.CHANCE]))


def test_spotting_draws_each_cell_once_in_one_order() -> None:
    real, made = cells(9, seed=0), cells(8, seed=1)
    spot = spotting.shuffled(real, made, 6, seed=3)
    assert spot.images.shape == (12, 3, 6, 6)
    assert spot.real.sum() == 6
    for image, is_real in zip(spot.images, spot.real, strict=True):
        source = real if is_real else made
        assert (source == image).all((1, 2, 3)).sum() == 1
    assert len(np.unique(spot.images.reshape(12, -1), axis=0)) == 12
    again = spotting.shuffled(real, made, 6, seed=3)
    assert np.array_equal(again.images, spot.images)
    assert not np.array_equal(spotting.shuffled(real, made, 6, seed=4).real, spot.real)
    # no place of the page tells: over many seeds each is real as often as not
    places = np.mean([spotting.shuffled(real, made, 6, seed=k).real for k in range(300)], axis=0)
    assert np.abs(places - 0.5).max() < 0.13
    figure = figures.spotting(spot, pictures.rgb(spot.images, NAMES), 5)
    assert [axis.get_title() for axis in figure.axes if axis.get_visible()] == [str(k) for k in range(1, 13)]
    assert np.array_equal(shown(figure)[4], pictures.rgb(spot.images, NAMES)[4])
    assert not any(word in words(figure).lower() for word in ("real", "generated"))
    with pytest.raises(ValueError, match="expected 12, one for each cell"):
        figures.spotting(spot, pictures.rgb(real, NAMES))


def test_the_answer_names_every_cell_and_is_folded() -> None:
    spot = spotting.Spotting(cells(4), np.array([True, False, False, True]))
    assert spotting.answer(spot) == "Real: 1, 4.\n\nGenerated: 2, 3."
    assert spotting.folded(spot).startswith(":::{dropdown} Which are real?\n")
    assert spotting.folded(spot).endswith("\n:::")


def test_how_a_reader_did() -> None:
    spot = spotting.Spotting(cells(20), np.arange(20) < 10)
    found = spotting.taken_for_real(spot, [1, 2, 3, 4, 5, 11, 12, 13])
    assert (found["value"], found["found"], found["n"]) == (0.3, 0.5, 10)
    # Wilson's interval in closed form
    z = stats.norm.ppf(0.975)
    middle, half = (0.3 + z**2 / 20) / (1 + z**2 / 10), z * np.sqrt(0.3 * 0.7 / 10 + z**2 / 400) / (1 + z**2 / 10)
    assert [found["low"], found["high"]] == pytest.approx([middle - half, middle + half])
    assert spotting.taken_for_real(spot, [])["value"] == 0
    with pytest.raises(ValueError, match="no cell 21, expected 1 to 20"):
        spotting.taken_for_real(spot, [21])


def test_spotting_refuses_too_few_and_unlike_cells() -> None:
    with pytest.raises(DataError, match="3 of each asked for, 2 real and 5 generated"):
        spotting.shuffled(cells(2), cells(5), 3)
    with pytest.raises(ValueError, match="images of one shape"):
        spotting.shuffled(cells(2), cells(2, size_px=8), 1)
    with pytest.raises(ValueError, match="n of 1 or more"):
        spotting.shuffled(cells(2), cells(2), 0)
