from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from cellweak_core.files import DataError
from cellweak_core.migration import data, patches
from cellweak_core.migration.evaluation import auroc_draws
from cellweak_core.migration.shapes import MEASURES, foreground, held_out, measures
from cellweak_core.migration.simulate import simulate
from cellweak_core.migration.splits import grouped

SIZE = 64
Y, X = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2


def ellipse(a: float, b: float, turned: float = 0.0, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    u = (X - x) * np.cos(turned) + (Y - y) * np.sin(turned)
    v = (Y - y) * np.cos(turned) - (X - x) * np.sin(turned)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


def seen(mask: np.ndarray, noise: float = 0.03, n_channels: int = 1, seed: int = 0) -> np.ndarray:
    """`(1, C, s, s)` of a bright cell that is blurred and noisy."""
    rng = np.random.default_rng(seed)
    light = gaussian_filter(mask.astype(float), 0.7)
    return (light + noise * rng.standard_normal((n_channels, SIZE, SIZE)))[None]


def phase(mask: np.ndarray, seed: int = 0) -> np.ndarray:
    """Grey as the background on average, with granules, and a halo round it."""
    rng = np.random.default_rng(seed)
    grains = gaussian_filter(rng.standard_normal((SIZE, SIZE)), 1.5)
    light = mask * (30 * grains / grains.std() - 10) + 60 * (gaussian_filter(mask * 1.0, 2) * ~mask)
    return np.rint(np.clip(120 + light + rng.normal(0, 2, mask.shape), 0, 255)).astype(np.uint8)[None, None]


@pytest.mark.parametrize("radius", [8, 12, 20, 27])
@pytest.mark.parametrize("noise", [0.0, 0.03, 0.1])
def test_a_disc_has_its_area_and_no_direction(radius: int, noise: float) -> None:
    found = measures(seen(ellipse(radius, radius), noise), [0]).iloc[0]
    assert found["area"] == pytest.approx(np.pi * radius**2, rel=0.06)
    assert found["perimeter"] == pytest.approx(2 * np.pi * radius, rel=0.08)
    assert found["elongation"] == pytest.approx(1, abs=0.06)
    assert found["extent"] == pytest.approx(np.pi / 4, rel=0.06)
    assert found["solidity"] > 0.93


@pytest.mark.parametrize(("a", "b"), [(24, 12), (20, 14), (27, 9)])
@pytest.mark.parametrize("turned", [0.0, 0.4, 1.1])
def test_an_ellipse_has_its_axes(a: int, b: int, turned: float) -> None:
    found = measures(seen(ellipse(a, b, turned), n_channels=3), [0]).iloc[0]
    assert found["area"] == pytest.approx(np.pi * a * b, rel=0.05)
    assert found["elongation"] == pytest.approx(a / b, rel=0.05)
    assert found["eccentricity"] == pytest.approx(np.sqrt(1 - (b / a) ** 2), rel=0.05)


@pytest.mark.parametrize("unit", ["dark", "phase", "uint16", "other gains"])
def test_light_or_dark_or_both_a_cell_is_found(unit: str) -> None:
    mask = ellipse(22, 12, 0.5)
    bright = seen(mask, n_channels=3)
    pixels = {
        "dark": -bright, "phase": phase(mask), "uint16": np.clip(1000 + 3000 * bright, 0, None).astype(np.uint16),
        "other gains": bright * np.array([1e-9, 1, 1e6])[:, None, None] - 1e5,
    }[unit]  # fmt: skip
    (found,) = foreground(pixels)
    # the halo may be counted in
    assert (found & mask).sum() / (found | mask).sum() > (0.7 if unit == "phase" else 0.93)


def test_a_patch_turned_by_a_quarter_has_the_same_shape() -> None:
    pixels = np.concatenate([seen(ellipse(24, 10, t) | ellipse(6, 12, 0, -8, 6), seed=k) for k, t in enumerate((0, 1))])
    straight, turned = (measures(p, [0, 1]) for p in (pixels, np.rot90(pixels, axes=(2, 3))))
    pd.testing.assert_frame_equal(straight, turned, rtol=0.02)


@pytest.mark.parametrize("gap", [5, 8])
def test_a_neighbour_at_the_border_is_not_the_cell(gap: int) -> None:
    cell, neighbour = ellipse(14, 14), ellipse(16, 12, 0, 14 + 16 + gap, 4)
    (found,) = foreground(seen(cell | neighbour))
    assert not (found & neighbour).any()
    assert found.sum() == pytest.approx(cell.sum(), rel=0.05)
    assert not foreground(seen(neighbour & (X > 16))).any()


def test_where_there_is_no_cell_nothing_is_measured() -> None:
    tiny, everywhere = np.hypot(X, Y) < 1.5, np.random.default_rng(0).random((SIZE, SIZE)) * 0
    lines = np.broadcast_to(np.arange(SIZE) > 20, (SIZE, SIZE))
    pixels = np.stack([tiny, everywhere, everywhere + 0.1, lines]).astype(float)[:, None]
    found = measures(pixels, range(4))
    assert found.shape == (4, len(MEASURES))
    assert found.isna().all(axis=None)


def test_one_constant_channel_among_others_does_not_matter() -> None:
    pixels = seen(ellipse(20, 12), n_channels=2)
    with_constant = np.insert(pixels, 1, 7.0, axis=1)
    np.testing.assert_array_equal(foreground(pixels), foreground(with_constant))


@pytest.mark.parametrize("quarters", range(4))
def test_lines_repeated_beyond_an_image_are_no_cell(quarters: int) -> None:
    mask = ellipse(17, 17)
    pixels = seen(mask)
    mask[44:], pixels[:, :, 44:] = False, pixels[:, :, 43:44]
    mask, pixels = np.rot90(mask, quarters), np.rot90(pixels, quarters, (2, 3))
    (found,) = foreground(pixels)
    assert (found & mask).sum() / (found | mask).sum() > 0.95


@pytest.mark.parametrize("moved", [(0, 18), (18, 0), (0, -18), (-18, 0)])
def test_a_cell_that_goes_on_beyond_the_window_is_measured_as_far_as_it_is_seen(moved: tuple[int, int]) -> None:
    mask = ellipse(22, 22, 0, *moved)
    (found,) = foreground(seen(mask, 0.03))
    assert (found & mask).sum() / (found | mask).sum() > 0.95


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_any_type_any_batch_and_no_input_is_changed(dtype: type) -> None:
    masks = [ellipse(10 + 2 * k, 10, 0.3 * k) for k in range(5)]
    pixels = np.concatenate([np.clip(100 * seen(m, seed=k) + 50, 0, 250).astype(dtype) for k, m in enumerate(masks)])
    before, rows = pixels.copy(), np.array([4, 0, 0, 2])
    found = measures(pixels, rows, batch_size=3)
    assert tuple(found.columns) == MEASURES
    assert found.notna().all(axis=None)
    for other in (measures(pixels, rows), measures(pixels, rows, 1)):
        pd.testing.assert_frame_equal(found, other)
    each = [measures(pixels, [row]) for row in rows]
    pd.testing.assert_frame_equal(found, pd.concat(each, ignore_index=True))
    pd.testing.assert_frame_equal(measures(pixels, np.arange(5) == 2), each[3])
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(rows, [4, 0, 0, 2])


def test_no_rows_give_an_empty_table() -> None:
    assert measures(seen(ellipse(9, 9)), []).shape == (0, len(MEASURES))
    assert measures(np.empty((0, 3, 8, 8)), []).shape == (0, len(MEASURES))
    assert foreground(np.empty((0, 3, 8, 8))).shape == (0, 8, 8)
    assert not foreground(np.zeros((2, 1, 1, 1))).any()


def test_patches_that_are_none_are_refused() -> None:
    pixels = seen(ellipse(9, 9)).repeat(3, 0)
    for wrong in (pixels[0], pixels[..., :40]):
        with pytest.raises(ValueError, match=r"patches: expected \(n, C, s, s\), got"):
            foreground(wrong)
        with pytest.raises(ValueError, match=r"patches: expected \(n, C, s, s\), got"):
            measures(wrong, [0])
    pixels[1, 0, 5, 5] = np.nan
    with pytest.raises(DataError, match="1 of 3 have pixels that are not finite"):
        foreground(pixels)
    with pytest.raises(DataError, match="row 1 has pixels that are not finite"):
        measures(pixels, [2, 1])
    assert len(measures(pixels, [0, 2])) == 2
    with pytest.raises(IndexError):
        measures(pixels, [3])
    with pytest.raises(ValueError, match="batch_size: expected 1 or more, got 0"):
        measures(pixels, [0], 0)


def frames(n: int = 120, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Measures with gaps, targets, and folds 0 to 2 besides test rows and rows in no part."""
    rng = np.random.default_rng(seed)
    targets = rng.random(n)
    table = pd.DataFrame(np.exp(rng.normal(size=(n, 6)) + targets[:, None]), columns=list(MEASURES))
    table[rng.random(table.shape) < 0.1] = np.nan
    targets[::9] = np.nan
    return table, targets, rng.integers(-2, 3, n)


def literally(table: pd.DataFrame, targets: np.ndarray, fold_of: np.ndarray, columns: list[str]) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    values = np.array([[float(table[c].iloc[i]) for c in columns] for i in range(len(table))])
    for j, c in enumerate(columns):
        if c in ("area", "perimeter", "elongation"):
            values[:, j] = np.log(values[:, j])
    out, of_test = np.full(len(table), np.nan), []
    for fold in range(3):
        learns = [i for i in range(len(table)) if fold_of[i] >= 0 and fold_of[i] != fold and targets[i] == targets[i]]
        middle = np.nanmedian(values[learns], 0)
        filled = np.where(np.isnan(values), middle, values)
        z = (filled - filled[learns].mean(0)) / filled[learns].std(0)
        y = np.array([targets[i] > 0.5 for i in learns])
        weights = np.where(y, len(y) / (2 * y.sum()), len(y) / (2 * (~y).sum()))
        model = LogisticRegression(max_iter=1000).fit(z[learns], y, sample_weight=weights)
        p = 1 / (1 + np.exp(-(z @ model.coef_[0] + model.intercept_[0])))
        out[fold_of == fold] = p[fold_of == fold]
        of_test.append(p[fold_of == -1])
    out[fold_of == -1] = np.mean(of_test, 0)
    return out


@pytest.mark.parametrize("columns", [list(MEASURES), ["area"], ["solidity", "elongation"]])
def test_held_out_is_the_literal_loop(columns: list[str]) -> None:
    table, targets, fold_of = frames()
    found = held_out(table, targets, fold_of, columns)
    assert (np.isnan(found) == (fold_of == -2)).all()
    np.testing.assert_allclose(found, literally(table, targets, fold_of, columns), atol=1e-4)


def test_no_frame_is_predicted_from_its_own_fold_and_none_from_the_test() -> None:
    table, targets, fold_of = frames()
    before = (table.copy(), targets.copy(), fold_of.copy())
    found = held_out(table, targets, fold_of)
    for fold in range(3):
        own = fold_of == fold
        changed = held_out(table, np.where(own, 1 - targets, targets), fold_of)
        np.testing.assert_array_equal(changed[own], found[own])
        assert (changed[~own & (fold_of >= 0)] != found[~own & (fold_of >= 0)]).any()
    aside = fold_of < 0
    for other in (1 - targets, np.full(len(targets), np.nan)):
        np.testing.assert_array_equal(held_out(table, np.where(aside, other, targets), fold_of), found)
    scaled = table.mask(pd.Series(aside), 1e3 * table)
    np.testing.assert_array_equal(held_out(scaled, targets, fold_of)[~aside], found[~aside])
    pd.testing.assert_frame_equal(table, before[0])
    np.testing.assert_array_equal(targets, before[1])
    np.testing.assert_array_equal(fold_of, before[2])


def test_a_measure_that_no_frame_has_says_nothing() -> None:
    table, targets, fold_of = frames()
    without = held_out(table, targets, fold_of, MEASURES[1:])
    np.testing.assert_allclose(held_out(table.assign(area=np.nan), targets, fold_of), without, atol=1e-6)
    np.testing.assert_allclose(held_out(table.assign(area=0.0), targets, fold_of), without, atol=1e-6)


def test_folds_from_which_nothing_can_be_learnt_are_refused() -> None:
    table, targets, fold_of = frames()
    for wrong in (targets[1:], targets[:, None]):
        with pytest.raises(ValueError, match="expected targets and fold_of of each of 120 rows"):
            held_out(table, wrong, fold_of)
    with pytest.raises(ValueError, match="expected targets and fold_of of each of 120 rows"):
        held_out(table, targets, fold_of[:-1])
    with pytest.raises(ValueError, match="targets: expected 0 to 1, or NaN"):
        held_out(table, targets + 0.5, fold_of)
    with pytest.raises(ValueError, match="fold_of: expected whole numbers from -2 on"):
        held_out(table, targets, fold_of - 1)
    with pytest.raises(ValueError, match="columns: the table has no roundness; it has area"):
        held_out(table, targets, fold_of, ["area", "roundness"])
    with pytest.raises(DataError, match="no row is in a fold"):
        held_out(table, targets, np.full(120, -1))
    with pytest.raises(DataError, match="no row is in a fold"):
        held_out(table[:0], [], [])
    with pytest.raises(DataError, match="fold 0: no row of another fold has a target"):
        held_out(table, targets, np.zeros(120, int))
    with pytest.raises(DataError, match="fold 1: all frames of the other folds are continuous"):
        held_out(table, np.where(fold_of == 1, targets, 0.1), fold_of)


def test_form_tells_the_mode_of_simulated_cells_and_area_tells_little() -> None:
    films = simulate()
    table = measures(patches.cut(films, np.arange(len(films.points)), 64), np.arange(len(films.points)))
    assert table.notna().all(axis=None)
    # two standard deviations of the area of `simulate`'s discs, and what blur and touching neighbours do
    assert table["area"].median() == pytest.approx(np.pi * (0.215 * 64) ** 2, rel=0.4)
    discontinuous = (films.points["true_mode"] == "discontinuous").to_numpy()
    targets = discontinuous.astype(float)
    fold_of = grouped(films.points, targets, 5, 0.0, 0)

    def auroc(columns: tuple[str, ...]) -> float:
        p = held_out(table, targets, fold_of, columns)
        return auroc_draws(p, discontinuous, films.points["cell"], 1)[0]

    assert auroc(MEASURES) > 0.75
    assert auroc(("elongation",)) > 0.75
    assert auroc(("area",)) < 0.66


def test_real_cells_are_found_where_they_were_marked(real_data: Path) -> None:
    films = data.load(real_data / "migration" / "t98g_phase")
    rows = np.random.default_rng(0).choice(len(films.points), 400, replace=False)
    table = measures(patches.cut(films, rows, 64), np.arange(400))
    # T98G are 30 to 60 px long here, and no thinner than 5 px
    assert table["area"].between(150, 2500).mean() > 0.9
    assert table["elongation"].median() > 1.5
