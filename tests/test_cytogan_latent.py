"""Noise space: interpolation by its equation, directions that were put there, changes that can be worked out."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cellweak_core.cytogan import changes, latent, properties
from cellweak_core.cytogan.latent import Direction, algebra, direction, linear, slerp
from cellweak_core.files import DataError
from cellweak_core.screens.simulate import PROPERTIES, draw

NAMES = ("DNA", "actin", "tubulin")


def vectors(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def disc(radius: float, size_px: int = 64) -> np.ndarray:
    y, x = np.mgrid[:size_px, :size_px] - (size_px - 1) / 2
    return np.hypot(x, y) <= radius


def cell(radius: float, tubulin: float = -0.5, size_px: int = 64) -> np.ndarray:
    """A nucleus of a known radius, actin all over, tubulin as bright as asked."""
    image = np.empty((3, size_px, size_px), np.float32)
    image[0] = np.where(disc(radius, size_px), 1, -1)
    image[1], image[2] = 1, tubulin
    return image


def test_slerp_is_the_equation() -> None:
    a, b = vectors(2, 5, 0)
    t = np.linspace(0, 1, 7)
    w = np.arccos(sum(a[k] * b[k] for k in range(5)) / np.sqrt((a @ a) * (b @ b)))
    for one, found in zip(t, slerp(a, b, t), strict=True):
        literal = [np.sin((1 - one) * w) / np.sin(w) * a[k] + np.sin(one * w) / np.sin(w) * b[k] for k in range(5)]
        assert found == pytest.approx(literal, rel=1e-12)
    assert slerp([1, 0], [0, 1], 0.5)[0] == pytest.approx([np.sqrt(0.5)] * 2)
    assert slerp([2, 0], [0, 2], [1 / 3])[0] == pytest.approx([np.sqrt(3), 1])


@given(seed=st.integers(0, 2**31 - 1), d=st.integers(2, 40), t=st.floats(0, 1), length=st.floats(0.1, 30))
def test_slerp_keeps_the_length_and_the_angles(seed: int, d: int, t: float, length: float) -> None:
    a, b = (length * one / np.linalg.norm(one) for one in vectors(2, d, seed))
    assume(np.linalg.norm(a + b) > 1e-3 * length)
    (found,) = slerp(a, b, t)
    assert np.linalg.norm(found) == pytest.approx(length, rel=1e-7)
    assert slerp(b, a, 1 - t)[0] == pytest.approx(found, abs=1e-9 * length)
    whole, part = (np.arccos(np.clip(a @ other / length**2, -1, 1)) for other in (b, found))
    assert part == pytest.approx(t * whole, abs=1e-5)
    assert np.linalg.norm(linear(a, b, t)) <= length * (1 + 1e-12)


def test_slerp_of_parallel_opposite_and_empty_vectors_is_decided() -> None:
    a = vectors(1, 6, 1)[0]
    t = np.linspace(0, 1, 5)
    assert slerp(a, a, t) == pytest.approx(np.tile(a, (5, 1)))
    assert slerp(a, 3 * a, t) == pytest.approx(linear(a, 3 * a, t))
    nearly = a + 1e-6 * np.eye(6)[0]  # no jump where one turns into the other
    assert slerp(a, nearly, t) == pytest.approx(linear(a, nearly, t), abs=1e-9)
    with pytest.raises(ValueError, match="opposite"):
        slerp(a, -2 * a, t)
    with pytest.raises(ValueError, match="length 0"):
        slerp(a, 0 * a, t)
    with pytest.raises(ValueError, match="expected 0 to 1, got"):
        slerp(a, a, [1.5])
    with pytest.raises(ValueError, match="two finite vectors"):
        linear(a, a[:3], t)
    with pytest.raises(ValueError, match="two finite vectors"):
        slerp(a, a * np.nan, t)


def test_linear_leaves_the_sphere_and_slerp_does_not() -> None:
    low, high = latent.prior_norms(100)
    assert low < 10 < high
    lengths = np.linalg.norm(vectors(20000, 100, 0), axis=1)
    assert ((lengths > low) & (lengths < high)).mean() == pytest.approx(0.95, abs=0.01)
    a, b = vectors(2, 100, 3)
    half = [np.linalg.norm(way(a, b, 0.5)) for way in (slerp, linear)]
    assert low < half[0] < high
    assert half[1] == pytest.approx(np.sqrt(50), rel=0.15)
    assert half[1] < low
    assert latent.step_lengths(linear(a, b, np.linspace(0, 1, 5))) == pytest.approx([np.linalg.norm(a - b) / 4] * 4)


@pytest.mark.parametrize("way", latent.WAYS)
def test_a_direction_that_was_put_there_is_found(way: str) -> None:
    z = vectors(2000, 10, 0)
    truth = np.zeros(10)
    truth[[2, 7]] = 0.6, -0.8
    noise = vectors(2000, 1, 1)[:, 0]
    found = direction(z, 5 + 3 * z @ truth + noise, way, "area")
    assert found.vector @ truth > 0.97
    assert np.linalg.norm(found.vector) == pytest.approx(1)
    assert found.r2 == pytest.approx(9 / 10, abs=0.05)  # of variance 9 + 1
    assert found.sd == pytest.approx(np.sqrt(10), rel=0.05)
    assert (found.name, found.way, found.n) == ("area", way, 2000)
    assert direction(z, -(z @ truth), way).vector @ truth < -0.97
    assert direction(z, vectors(2000, 1, 2)[:, 0], way).r2 < 0.02


def test_quarters_literally() -> None:
    z, values = vectors(40, 3, 0), vectors(40, 1, 1)[:, 0]
    order = sorted(range(40), key=lambda i: values[i])
    upper, lower = np.mean([z[i] for i in order[-10:]], axis=0), np.mean([z[i] for i in order[:10]], axis=0)
    assert latent.noise_mean(z, values, 1) == pytest.approx(upper)
    assert latent.noise_mean(z, values, -1) == pytest.approx(lower)
    # two points of a line: their direction and their distance are the vectors' own
    ends = np.repeat([[0.0, 1.0], [3.0, 5.0]], 40, axis=0)
    found = direction(ends, ends[:, 0], "quarters")
    assert found.vector == pytest.approx([0.6, 0.8])
    assert found.step == pytest.approx(5)
    assert found.r2 == pytest.approx(1)


def test_regression_is_a_ridge_s_coefficients() -> None:
    z = vectors(400, 6, 0)
    values = z @ np.arange(6.0) + 0.1 * vectors(400, 1, 1)[:, 0]
    found = direction(z, values, held_out=0.01)
    solved = np.linalg.lstsq(np.column_stack([z, np.ones(400)]), values, rcond=None)[0][:6]
    assert found.vector == pytest.approx(solved / np.linalg.norm(solved), abs=5e-3)


def test_cells_without_a_nucleus_are_left_out_and_hopeless_ones_refused() -> None:
    z = vectors(200, 4, 0)
    values = np.where(z[:, 1] > 0.8, np.nan, z[:, 0])
    found = direction(z, values, name="nucleus area")
    assert found.n == np.isfinite(values).sum()
    assert found.vector[0] > 0.99
    with pytest.raises(DataError, match="nucleus area: measured in 0 of 200 generated cells"):
        direction(z, np.full(200, np.nan), name="nucleus area")
    with pytest.raises(DataError, match="7 in all generated cells"):
        direction(z, np.full(200, 7.0))
    with pytest.raises(DataError, match="at least 20"):
        direction(z[:10], z[:10, 0])
    with pytest.raises(ValueError, match="expected one of regression, quarters"):
        direction(z, values, "by hand")
    with pytest.raises(ValueError, match="values"):
        direction(z, values[:, None])
    with pytest.raises(ValueError, match="share between 0 and 1"):
        direction(z, values, held_out=1.0)


def test_algebra_adds_and_keeps_lengths_if_asked() -> None:
    z, found = vectors(3, 4, 0), Direction("area", "regression", np.eye(4)[1], 2.0, 0.5, 1.0, 9)
    given_ = z.copy()
    assert algebra(z, found, 2.5) == pytest.approx(z + 2.5 * np.eye(4)[1])
    assert algebra(z, found, [1, 2, 3])[2] == pytest.approx(z[2] + 3 * np.eye(4)[1])
    kept = algebra(z, found, 2.5, keep_norm=True)
    assert np.linalg.norm(kept, axis=1) == pytest.approx(np.linalg.norm(z, axis=1))
    assert kept[:, 0] / kept[:, 2] == pytest.approx(z[:, 0] / z[:, 2])
    assert np.array_equal(z, given_)
    with pytest.raises(ValueError, match=r"expected \(n, 4\)"):
        algebra(z[:, :2], found, 1)


def first_two(images: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"area": images[:, 0, 0, 0], "light": images[:, 1, 0, 0]})


def pictures(z: np.ndarray) -> np.ndarray:
    """The first two numbers of z as two flat channels: a generator whose algebra can be worked out."""
    return np.broadcast_to(z[:, :2, None, None], (len(z), 2, 3, 3))


def test_changes_are_measured_over_bases_beside_chance() -> None:
    z = vectors(30, 8, 0)
    found = Direction("area", "regression", np.eye(8)[0], 2.0, 0.9, 4.0, 99)
    table = changes.measured_changes(pictures, first_two, z, found, (-1.0, 2.0), {"area": 4.0, "light": 0.5})
    assert len(table) == 30 * 2 * 2 * 2
    own = table[(table["along"] == "area") & (table["strength"] == 2.0) & (table["property"] == "area")]
    assert own["before"].to_numpy() == pytest.approx(z[:, 0])
    assert own["after"].to_numpy() == pytest.approx(z[:, 0] + 2)
    assert own["change"].to_numpy() == pytest.approx(np.full(30, 0.5))
    chance = table[(table["along"] == changes.CHANCE) & (table["property"] == "area")]
    assert chance["change"].to_numpy() == pytest.approx(np.zeros(60), abs=1e-12)  # at right angles
    other = table[(table["along"] == "area") & (table["property"] == "light")]
    assert other["change"].to_numpy() == pytest.approx(np.zeros(60), abs=1e-12)
    with pytest.raises(DataError, match="none for light"):
        changes.measured_changes(pictures, first_two, z, found, (1.0,), {"area": 4.0})
    with pytest.raises(ValueError, match="d of 2 or more"):
        changes.measured_changes(pictures, first_two, z[:, :1], found, (1.0,), {"area": 4.0})


def test_mean_changes_and_their_intervals_literally() -> None:
    change = np.array([0.5, -0.2, 0.9, np.nan, 0.4])
    table = pd.DataFrame({"base": range(5), "strength": 1.0, "along": "area", "property": "area", "before": 0.0,
                          "after": 0.0, "change": change})  # fmt: skip
    gone = table.assign(property="light", change=np.nan)
    found = changes.mean_changes(pd.concat([table, gone]), 4000, 0)
    one = found.iloc[0]
    assert one["value"] == pytest.approx(0.4)
    assert (one["share"], one["n"]) == (0.75, 4)
    rng = np.random.default_rng(1)
    drawn = [rng.choice(change[[0, 1, 2, 4]], 4).mean() for _ in range(4000)]
    assert [one["low"], one["high"]] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.03)
    assert found.iloc[1][["value", "low", "high", "share"]].isna().all()
    assert found.iloc[1]["n"] == 0


@pytest.mark.parametrize("radius", [8, 10, 12, 15, 20])
def test_a_drawn_nucleus_has_its_area(radius: int) -> None:
    table = properties.measure(np.stack([cell(radius), cell(radius, 0.0)]), NAMES)
    assert table["nucleus area"].to_numpy() == pytest.approx([disc(radius).sum()] * 2, rel=0.05)
    assert table["nucleus roundness"].to_numpy() == pytest.approx([1, 1])
    assert table["tubulin intensity"].tolist() == [0.25, 0.5]
    assert table["actin intensity"].tolist() == [1, 1]


def test_channels_go_by_name() -> None:
    images = np.stack([cell(12)])
    turned = images[:, [2, 0, 1]]
    pd.testing.assert_frame_equal(
        properties.measure(turned, ("Tubulin", "DAPI", "actin")), properties.measure(images, NAMES)
    )
    with pytest.raises(DataError, match="no channel DNA among channel 0, actin, tubulin"):
        properties.measure(images, ("channel 0", "actin", "tubulin"))
    with pytest.raises(DataError, match="more than one channel DNA"):
        properties.measure(images, ("DNA", "DAPI", "actin"))
    with pytest.raises(ValueError, match="expected 3 names, got 2"):
        properties.measure(images, ("DNA", "actin"))
    with pytest.raises(ValueError, match="expected one of DNA"):
        properties.channel_of(NAMES, "ER")


def test_pictures_without_a_nucleus_have_no_area_and_no_light_is_none() -> None:
    flat = properties.measure(np.full((2, 3, 32, 32), -1, np.float32), NAMES)
    assert flat[["nucleus area", "nucleus roundness"]].isna().all(axis=None)
    assert flat["tubulin intensity"].tolist() == [0, 0]
    assert len(properties.measure(np.zeros((0, 3, 32, 32), np.float32), NAMES)) == 0
    bad = np.zeros((2, 3, 32, 32), np.float32)
    bad[1, 0, 0, 0] = np.nan
    for pixels in (bad, np.nan_to_num(bad, nan=255.0)):
        with pytest.raises(DataError, match="image 1 has pixels outside"):
            properties.measure(pixels, NAMES)
    with pytest.raises(ValueError, match="uint8"):
        properties.measure(np.zeros((1, 3, 32, 32), np.uint8), NAMES)


def simulated() -> Callable[[np.ndarray], np.ndarray]:
    """A generator that is not learnt: noise becomes the drawn cells' size of nucleus and light of tubulin."""

    def generate(z: np.ndarray) -> np.ndarray:
        of = np.zeros((len(z), len(PROPERTIES)))
        of[:, PROPERTIES.index("nucleus size")] = 0.3 * z[:, 0]
        of[:, PROPERTIES.index("cell size")] = 0.3 * z[:, 1]
        light = draw(of, 48, np.random.default_rng(0))
        return 2 * light / light.max((2, 3), keepdims=True) - 1

    return generate


def test_fig_3_on_cells_that_are_drawn() -> None:
    generate, names = simulated(), ("DNA", "tubulin", "actin")
    z = vectors(300, 4, 0)
    table = properties.measure(generate(z), names)
    found = direction(z, table["nucleus area"], name="nucleus area")
    assert found.vector[0] > 0.95
    assert found.r2 > 0.8
    measured = changes.measured_changes(
        generate, lambda images: properties.measure(images, names), vectors(20, 4, 1), found, (-1.0, 1.0),
        table.std().to_dict(),
    )  # fmt: skip
    means = changes.mean_changes(measured, 500).set_index(["along", "strength", "property"])
    assert means.loc[("nucleus area", 1.0, "nucleus area"), "low"] > 0.5
    assert means.loc[("nucleus area", -1.0, "nucleus area"), "high"] < -0.5
    by_chance = means.loc[(changes.CHANCE, 1.0, "nucleus area")]
    assert abs(by_chance["value"]) < 0.3 * means.loc[("nucleus area", 1.0, "nucleus area"), "value"]
