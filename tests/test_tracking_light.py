"""Even light: equal cells get equal contrast wherever they lie, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
from tracking_files import film, save, tracks

from cellweak_core.parameter_cells import ParameterError
from cellweak_core.tracking.data import check, in_light, load
from cellweak_core.tracking.frames import ArraySource
from cellweak_core.tracking.light import MIDDLE, EvenSource, flattened
from cellweak_core.tracking.points import check_points


def lit() -> np.ndarray:
    """Equal dots on a background that falls to half from left to right, `(64, 256)`."""
    even = np.full((64, 256), 0.4, np.float32)
    even[::16, ::16] = 0.8
    return even * np.linspace(1, 0.5, 256, dtype=np.float32)


def test_division_by_the_blur_is_the_literal_one() -> None:
    frame = np.random.default_rng(0).uniform(0.2, 0.4, (9, 11))
    sd = 1.5
    reach = int(4 * sd + 0.5)  # where scipy cuts its Gaussian
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = np.exp(-(x**2 + y**2) / (2 * sd**2))
    kernel /= kernel.sum()
    padded = np.pad(frame, reach, mode="symmetric")
    for row, column in ((0, 0), (4, 5), (8, 10)):
        blur = (padded[row : row + 2 * reach + 1, column : column + 2 * reach + 1] * kernel).sum()
        assert flattened(frame, sd)[row, column] == pytest.approx(MIDDLE * frame[row, column] / blur, rel=1e-5)


def test_equal_cells_look_equal_in_uneven_light() -> None:
    dots = flattened(lit(), 20.0)[16:48:16, 32:224:16]
    assert np.ptp(lit()[16:48:16, 32:224:16]) > 0.25
    assert np.ptp(dots) < 0.02
    assert np.median(flattened(lit(), 20.0)) == pytest.approx(MIDDLE, rel=0.03)


def test_black_stays_black_and_white_is_cut() -> None:
    frame = np.zeros((64, 64), np.float32)
    assert (flattened(frame, 3.0) == 0).all()
    frame[32, 32] = 1
    assert flattened(frame, 3.0).max() == 1


def test_a_region_of_an_even_film_is_cut_after_the_blur() -> None:
    source = EvenSource(ArraySource(lit()[None]), 20.0)
    part = source.part(region=(8, 40, 100, 200))
    np.testing.assert_array_equal(part[0], flattened(lit(), 20.0)[8:40, 100:200])
    assert part.scale == source.scale == 1
    assert source.digest() != EvenSource(ArraySource(lit()[None]), 30.0).digest()
    with pytest.raises(ValueError, match="flatten_px: expected above 0"):
        EvenSource(ArraySource(lit()[None]), 0)


def test_load_evens_the_light_of_the_frames_and_not_of_the_nuclei(tmp_path: Path) -> None:
    save(tmp_path / "images", film(6))
    save(tmp_path / "nuclei", film(6))
    tracks().to_csv(tmp_path / "points.csv", index=False)
    plain, even = load(tmp_path), load(tmp_path, flatten_px=10)
    assert plain.nuclei is not None
    assert even.nuclei is not None
    np.testing.assert_array_equal(even.source[2], flattened(plain.source[2], 10))
    np.testing.assert_array_equal(even.nuclei[2], plain.nuclei[2])
    assert even.digest == plain.digest
    assert check_points(tracks(), 6, even.source.shape).equals(even.points)
    assert "read in even light: each frame divided by its blur of 10 px" in "\n".join(check(tmp_path, flatten_px=10))
    relit = in_light(plain, 51, 10)  # a fifth of 255
    np.testing.assert_array_equal(relit.source[2], flattened(np.minimum(5 * plain.source[2], 1), 10))
    assert plain.source.scale == 255
    np.testing.assert_array_equal(in_light(plain, 0, 0).source[2], plain.source[2])
    for level, blur, said in ((-1, 0, "white_level: expected a grey"), (0, -1, "flatten_px: expected 0 or")):
        with pytest.raises(ParameterError, match=said):
            in_light(plain, level, blur)
    with pytest.raises(ParameterError, match="flatten_px: expected 0 or"):
        load(tmp_path, flatten_px=-1)
