"""Measurements of cells: masks drawn by hand, the bookkeeping on a library of two numbers, cp-measure where it is."""

import sys
import types
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellweak_core import screens
from cellweak_core.files import CellweakWarning, DataError
from cellweak_core.screens import measurements
from cellweak_core.screens.measurements import measure_crops, nucleus_and_cell, white_levels

SIDE = 48


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.hypot(columns - x, rows - y) <= radius


def crop(*nuclei: tuple[float, float, float], noise: float = 20.0, seed: int = 0) -> np.ndarray:
    """DNA of a crop, uint16."""
    light = 500 + np.random.default_rng(seed).normal(0, noise, (SIDE, SIDE))
    for nucleus in nuclei:
        light[disc(*nucleus)] += 4000
    return light.clip(0).astype(np.uint16)


def screen(n: int = 6, dtype: type = np.uint16) -> screens.Crops:
    dna = np.stack([crop((24, 24, 7 + k % 5), seed=k) for k in range(n)])
    actin = np.stack([crop((24, 24, 14), noise=300, seed=100 + k) for k in range(n)])
    cells = pd.DataFrame({"plate": "p", "well": [f"A{k}" for k in range(n)], "compound": "DMSO", "control": True})
    return screens.Crops([np.stack([dna, actin], 1).astype(dtype)], "NCHW", ("DNA", "actin"), cells, "made")


def test_the_nucleus_in_the_middle_is_found_and_its_cell_stops_before_others() -> None:
    nucleus, cell, found = nucleus_and_cell(crop((24, 24, 8), (42, 24, 6), (5, 5, 6)), ring_px=8)
    assert found
    inside = disc(24, 24, 8)
    assert (nucleus & inside).sum() / (nucleus | inside).sum() > 0.8  # smoothing before Otsu grows it a little
    assert (cell & ~disc(24, 24, 18)).sum() == 0
    assert cell[24, 10]  # 14 px to the left nobody else is
    assert not cell[24, 38]  # 4 px from the neighbour
    assert (cell | ~nucleus).all()
    assert (nucleus.shape, nucleus.dtype, cell.dtype) == ((SIDE, SIDE), bool, bool)


def test_a_nucleus_beside_the_middle_is_taken_if_it_is_near() -> None:
    nucleus, _, found = nucleus_and_cell(crop((34, 24, 7), (6, 40, 7)))
    assert found
    assert nucleus[24, 34]
    assert not nucleus[40, 6]


@pytest.mark.parametrize("dna", [np.full((SIDE, SIDE), 500, np.uint16), crop((5, 5, 6))])
def test_a_disc_stands_for_a_nucleus_that_is_not_there(dna: np.ndarray) -> None:
    nucleus, cell, found = nucleus_and_cell(dna, ring_px=3)
    assert not found
    np.testing.assert_array_equal(nucleus, disc(23.5, 23.5, 12))
    assert nucleus.sum() < cell.sum()
    assert (cell | ~nucleus).all()


def test_white_is_a_percentile_of_each_channel() -> None:
    made = screen()
    np.testing.assert_allclose(white_levels(made), np.percentile(made.raw(range(6)), 99.9, axis=(0, 2, 3)))
    dark = screens.Crops(
        [made.parts[0] * np.array([1, 0], np.uint16)[:, None, None]], "NCHW", ("a", "b"), made.cells, "x"
    )
    with pytest.raises(DataError, match="x: channel b has no light"):
        white_levels(dark)


class TwoNumbers(types.ModuleType):
    """Stands for cp_measure.featurizer: area, which is undefined for one in three, and the light of each channel."""

    undefined, calls = 3, 0

    def make_featurizer_config(self, channels: list[str], **_: object) -> list[str]:
        return channels

    def featurize(
        self, light: np.ndarray, masks: np.ndarray, channels: list[str]
    ) -> tuple[np.ndarray, list[str], list]:
        self.calls += 1
        assert 0 <= light.min() <= light.max() <= 1
        rows = []
        for k, crop_masks in enumerate(masks):
            for mask in crop_masks > 0:
                area = float(mask.sum())
                means = [light[k, c][mask].mean() for c in range(len(channels))]
                rows.append([area, area if k % self.undefined else np.nan, 24.0, *means])
        names = ["Area", "FormFactor", "Center_X", *[f"Intensity_MeanIntensity__{c}" for c in channels]]
        return np.array(rows), names, []


@pytest.fixture
def two_numbers(monkeypatch: pytest.MonkeyPatch) -> TwoNumbers:
    library = TwoNumbers("cp_measure.featurizer")
    monkeypatch.setitem(sys.modules, "cp_measure.featurizer", library)
    monkeypatch.setattr(measurements, "_library", lambda: "0")
    return library


def test_cells_are_rows_and_a_second_call_measures_nothing(
    tmp_path: Path, two_numbers: TwoNumbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = screen(7)
    monkeypatch.setattr(measurements, "SHARD", 3)
    monkeypatch.setattr(measurements, "CHUNK", 5)
    two_numbers.undefined = 100
    measured = measure_crops(made, tmp_path, white=[5000, 6000], ring_px=4)
    assert measured.names == tuple(
        f"{of}_{what}" for of in ("Nuclei", "Cells")
        for what in ("AreaShape_Area", "Intensity_MeanIntensity_DNA", "Intensity_MeanIntensity_actin")
    )  # fmt: skip
    # undefined in the first of each shard: 4 of 7, so it is dropped
    assert measured.dropped == ("Cells_AreaShape_FormFactor", "Nuclei_AreaShape_FormFactor")
    assert measured.found.all()
    for k, (dna, actin) in enumerate(made.raw(range(7))):
        nucleus, cell, _ = nucleus_and_cell(dna, 4)
        expected = [
            one for mask in (nucleus, cell)
            for one in (mask.sum(), *(np.clip(x[mask] / w, 0, 1).mean() for x, w in ((dna, 5000), (actin, 6000))))
        ]  # fmt: skip
        np.testing.assert_allclose(measured.features[k], expected)
    calls = two_numbers.calls
    assert calls == 3  # cells 0 to 2, 3 and 4, 5 and 6
    again = measure_crops(made, tmp_path, white=[5000, 6000], ring_px=4)
    assert two_numbers.calls == calls
    np.testing.assert_array_equal(again.features, measured.features)
    next(tmp_path.glob("*.safetensors")).unlink()
    np.testing.assert_array_equal(measure_crops(made, tmp_path, white=[5000, 6000], ring_px=4).features, again.features)
    assert two_numbers.calls == calls + 1
    measure_crops(made, tmp_path, white=[5000, 6000], ring_px=5)
    assert two_numbers.calls == 2 * calls + 1


def test_what_is_undefined_in_few_cells_is_their_median(tmp_path: Path, two_numbers: TwoNumbers) -> None:
    two_numbers.undefined = 40
    measured = measure_crops(screen(40), tmp_path)  # the first only
    area, form = (measured.names.index(f"Nuclei_AreaShape_{name}") for name in ("Area", "FormFactor"))
    assert measured.features[0, form] == np.median(measured.features[1:, area])
    np.testing.assert_array_equal(measured.features[1:, form], measured.features[1:, area])
    assert measured.dropped == ()
    assert measured.white == white_levels(screen(40))


def test_cells_without_a_nucleus_are_counted(tmp_path: Path, two_numbers: TwoNumbers) -> None:
    made = screen(4)
    made.parts[0][2, 0] = 500
    with pytest.warns(CellweakWarning, match="no nucleus found in 1 of 4 crops"):
        measured = measure_crops(made, tmp_path)
    assert measured.found.tolist() == [True, True, False, True]


def test_what_cannot_be_measured_is_refused(tmp_path: Path, two_numbers: TwoNumbers) -> None:
    made = screen()
    for white in ([1.0], [1.0, 0.0], [1.0, np.nan], [np.inf, 1.0]):
        with pytest.raises(ValueError, match="white: expected 2 levels above 0"):
            measure_crops(made, tmp_path, white=white)
    with pytest.raises(ValueError, match="ring_px: expected 1 or more, got 0"):
        measure_crops(made, tmp_path, ring_px=0)
    empty = screens.Crops([made.parts[0][:0]], "NCHW", made.channels, made.cells[:0], "none")
    with pytest.raises(DataError, match="none: no cells to measure"):
        measure_crops(empty, tmp_path)
    for value in (np.nan, -1.0):
        broken = screen(dtype=np.float32)
        broken.parts[0][3, 1, 0, 0] = value
        for white in ([], [1.0, 1.0]):
            words = r"crop 3 \(plate .*, well .*\) has pixels below 0 or that are no numbers"
            with pytest.raises(DataError, match=words):
                measure_crops(broken, tmp_path, white=white)
    with pytest.raises(ValueError, match=r"dna: expected one channel of one crop .H, W., got shape \(2, 48, 48\)"):
        nucleus_and_cell(made.raw([0])[0])


def test_without_the_library_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cp_measure", None)
    monkeypatch.setitem(sys.modules, "cp_measure.bulk", None)
    with pytest.raises(ImportError, match=r"pip install 'cellweak\[measurements\]'"):
        measure_crops(screen(), tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Zernike_0_0", "AreaShape_Zernike_0_0"),
        ("Contrast_3_00_256__1", "Texture_Contrast_actin_3_00_256"),
        ("Correlation_3_00_256__0", "Texture_Correlation_DNA_3_00_256"),
        ("Correlation_Pearson__0__1", "Correlation_Pearson_DNA_actin"),
        ("Granularity_3__0", "Granularity_3_DNA"),
        ("RadialDistribution_FracAtD_1of4__1", "RadialDistribution_FracAtD_1of4_actin"),
    ],
)
def test_names_are_cellprofilers(name: str, expected: str) -> None:
    assert measurements._as_cellprofiler(name, ["DNA", "actin"]) == expected


def measured_by_the_library(made: screens.Crops, rows: Sequence[int], folder: Path) -> measurements.Measured:
    pytest.importorskip("cp_measure")
    part = screens.Crops([made.raw(rows)], "NCHW", made.channels, made.cells.iloc[rows], "part")
    return measure_crops(part, folder, white=[5000, 6000])


def test_the_librarys_numbers_are_those_of_the_masks(tmp_path: Path) -> None:
    made = screen()
    measured = measured_by_the_library(made, range(6), tmp_path)
    assert measured.features.shape == (6, len(measured.names))
    assert np.isfinite(measured.features).all()
    assert len(set(measured.names)) == len(measured.names) > 500
    table = pd.DataFrame(measured.features, columns=list(measured.names))
    for k, (dna, actin) in enumerate(made.raw(range(6))):
        nucleus, cell, _ = nucleus_and_cell(dna)
        light = np.clip(actin / 6000, 0, 1)
        assert table["Nuclei_AreaShape_Area"][k] == nucleus.sum()
        assert table["Cells_AreaShape_Area"][k] == cell.sum()
        assert table["Cells_Intensity_MeanIntensity_actin"][k] == pytest.approx(light[cell].mean())
        pearson = np.corrcoef(np.clip(dna / 5000, 0, 1)[cell], light[cell])[0, 1]
        assert table["Cells_Correlation_Pearson_DNA_actin"][k] == pytest.approx(pearson)


def test_a_cells_numbers_do_not_depend_on_its_company(tmp_path: Path) -> None:
    made = screen()
    together, alone = (measured_by_the_library(made, rows, tmp_path) for rows in (range(6), [4]))
    assert together.names == alone.names
    np.testing.assert_array_equal(together.features[4], alone.features[0])


def test_real_cells_are_measured(tmp_path: Path, real_data: Path) -> None:
    crops = screens.load_crops(real_data / "screens" / "bbbc021_crops")
    asked = np.arange(0, len(crops), 20)
    found = np.array([nucleus_and_cell(crop[0])[2] for crop in crops.raw(asked)])
    assert found.mean() > 0.93
    pytest.importorskip("cp_measure")
    rows = asked[found][::40]
    part = screens.Crops([crops.raw(rows)], "NCHW", crops.channels, crops.cells.iloc[rows], "three")
    measured = measure_crops(part, tmp_path)
    assert np.isfinite(measured.features).all()
    assert measured.features.shape == (3, 1102)
    assert measured.found.all()
