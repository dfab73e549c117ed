"""From fields to crops: light divided out, nuclei found where they were drawn, broken screens named."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from cellweak_core.files import DataError
from cellweak_core.regions import segment_nuclei
from cellweak_core.screens import fields
from cellweak_core.screens.crops import load_crops
from cellweak_core.screens.illumination import clipped_8_bit, corrected, illumination_function
from cellweak_core.screens.windows import windows

SHAPE = (160, 200)
PLACES = np.array([[40.0, 30.0], [120.0, 60.0], [141.0, 62.0], [70.0, 120.0], [5.0, 150.0]])  # x, y; two touch


def light() -> np.ndarray:
    return np.linspace(1.5, 1.0, SHAPE[1])[None] * np.ones((SHAPE[0], 1))


def drawn(places: np.ndarray = PLACES, seed: int = 0) -> np.ndarray:
    """Nuclei of radius 11 px on noise, lit unevenly, uint16."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.full(SHAPE, 300.0)
    for px, py in places:
        image[(x - px) ** 2 + (y - py) ** 2 <= 121] = 2000
    noise = np.random.default_rng(seed).normal(0, 15, SHAPE)
    return (image * light() + noise).clip(0).astype(np.uint16)


def screen(root: Path, n_wells: int = 2) -> Path:
    """BBBC021's layout: two plates, a field in each well, three channels."""
    rows = []
    for plate in ("Week1_1", "Week2_2"):
        for k in range(n_wells):
            row = {
                "Image_Metadata_Plate_DAPI": plate, "Image_Metadata_Well_DAPI": f"B{k + 2:02d}", "Replicate": 1,
                "Image_Metadata_Compound": "DMSO" if k % 2 == 0 else "taxol",
                "Image_Metadata_Concentration": 0.0 if k % 2 == 0 else 0.3,
            }  # fmt: skip
            for c, channel in enumerate(("Tubulin", "DAPI", "Actin")):
                folder, name = f"Week/{plate}", f"{k}_w{c}.tif"
                (root / folder).mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(root / folder / name, drawn(seed=10 * k + c) + (0 if channel == "DAPI" else 1000 * c))
                row |= {f"Image_FileName_{channel}": name, f"Image_PathName_{channel}": folder}
            rows.append(row)
    pd.DataFrame(rows).to_csv(root / "BBBC021_v1_image.csv", index=False)
    moa = pd.DataFrame({"compound": ["taxol", "DMSO"], "concentration": [0.3, 0.0], "moa": ["S", "DMSO"]})
    moa.to_csv(root / "BBBC021_v1_moa.csv", index=False)
    return root


def test_the_light_of_a_plate_is_found_and_divided_out() -> None:
    rng = np.random.default_rng(0)
    plate = [drawn(rng.uniform(-15, (215, 175), (5, 2)), k) for k in range(300)]
    function = illumination_function(plate)
    assert function.shape == SHAPE
    assert function.min() == 1
    expected = light() / np.percentile(light(), 2)
    assert np.abs(function - np.maximum(expected, 1))[12:-12, 12:-12].max() < 0.12
    before, after = (np.median(x[:, :40]) / np.median(x[:, -40:]) for x in (plate[0], corrected(plate[0], function)))
    assert before > 1.3
    assert abs(after - 1) < 0.06


def test_the_function_is_the_literal_one() -> None:
    plate = [np.random.default_rng(k).uniform(100, 200, (24, 32)) for k in range(3)]
    mean = np.zeros((6, 8))
    for image in plate:
        for i in range(6):
            for j in range(8):
                mean[i, j] += image[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean() / 3
    from scipy.ndimage import zoom

    small = np.zeros_like(mean)
    for i in range(6):
        for j in range(8):
            near = [(a, b) for a in range(-2, 3) for b in range(-2, 3) if a * a + b * b <= 4]
            small[i, j] = np.median([mean[np.clip(i + a, 0, 5), np.clip(j + b, 0, 7)] for a, b in near])
    full = zoom(small, 4, order=1, grid_mode=True, mode="nearest")
    floor = np.percentile(full, 2)
    np.testing.assert_allclose(illumination_function(plate, radius_px=2), np.maximum(full, floor) / floor, rtol=0.02)


def test_light_that_cannot_be_found() -> None:
    assert (illumination_function([np.zeros((8, 8))]) == 1).all()
    with pytest.raises(DataError, match="none, expected the images of a plate"):
        illumination_function([])
    with pytest.raises(DataError, match="have one size"):
        illumination_function([np.ones((8, 8)), np.ones((8, 12))])


def test_eight_bits_are_cut_at_percentiles() -> None:
    image = np.arange(10_000.0).reshape(100, 100)
    found = clipped_8_bit(image)
    assert (found.min(), found.max(), found.dtype) == (0, 255, np.uint8)
    assert (found == 255).mean() == pytest.approx(0.003, abs=0.0015)
    assert (clipped_8_bit(np.full((4, 4), 7)) == 0).all()


def test_nuclei_are_where_they_were_drawn() -> None:
    nuclei = segment_nuclei(drawn(), split_px=fields.SPLIT_PX, min_area_px=fields.NUCLEUS_PX2[0])
    assert len(nuclei) == len(PLACES)
    distance = np.linalg.norm(nuclei.centres[:, None] - PLACES, axis=2).min(1)
    assert np.sort(distance)[:4].max() < 2  # the one at the border is seen in part
    assert np.abs(nuclei.areas / (np.pi * 11**2) - 1)[distance < 2].max() < 0.4  # smoothing spreads them


@pytest.mark.parametrize("image", [np.full(SHAPE, 9.0), np.random.default_rng(0).normal(100, 5, SHAPE)])
def test_without_nuclei_there_are_none(image: np.ndarray) -> None:
    assert segment_nuclei(image, min_area_px=fields.NUCLEUS_PX2[0]).centres.shape == (0, 2)


def test_windows_are_cut_and_zero_outside() -> None:
    field = np.stack([drawn(), drawn(seed=1)])
    found = windows(field, [[100, 80], [0, 0], [199.4, 159.0], [500, 10]], 20)
    np.testing.assert_array_equal(found[0], field[:, 70:90, 90:110])
    assert (found[1, :, :10] == 0).all()
    np.testing.assert_array_equal(found[1, :, 10:, 10:], field[:, :10, :10])
    np.testing.assert_array_equal(found[2, :, :11, :11], field[:, 149:, 189:])
    assert (found[2, :, 11:] == 0).all()
    assert (found[3] == 0).all()
    assert windows(field, np.zeros((0, 2)), 8).shape == (0, 2, 8, 8)
    with pytest.raises(ValueError, match="expected a field"):
        windows(field[0], [[1, 1]], 8)


def test_a_screen_becomes_crops_that_load(tmp_path: Path) -> None:
    root = screen(tmp_path / "raw")
    table, channels = fields.read_fields(root)
    assert channels == ("DAPI", "Tubulin", "Actin")
    assert table["moa"].tolist() == ["DMSO", "S"] * 2
    assert table["batch"].tolist() == ["Week1", "Week1", "Week2", "Week2"]
    out = fields.cut_crops(root, tmp_path / "out", size_px=48)
    crops = load_crops(out, channels=channels)
    assert (len(crops), crops.size, crops.axes) == (20, (48, 48), "NCHW")
    assert crops.cells["compound"].value_counts().to_dict() == {"DMSO": 10, "taxol": 10}
    inner = crops.cells["y"].between(24, 130) & crops.cells["x"].between(24, 170)
    for row in np.flatnonzero(inner):
        dna = crops.raw([row])[0, 0].astype(float)
        middle = dna[19:29, 19:29].mean()
        assert middle > 3 * np.median(dna)


def test_a_killed_cut_goes_on_and_other_settings_cut_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = screen(tmp_path / "raw"), tmp_path / "out"
    cut_plate, cut = fields.cut_plate, []

    def dying(part: pd.DataFrame, *rest: object) -> tuple[Path, Path]:
        cut.append(part["plate"].iloc[0])
        if len(cut) == 2:
            raise KeyboardInterrupt
        return cut_plate(part, *rest)

    monkeypatch.setattr(fields, "cut_plate", dying)
    with pytest.raises(KeyboardInterrupt):
        fields.cut_crops(root, out, size_px=48)
    fields.cut_crops(root, out, size_px=48)
    assert cut == ["Week1_1", "Week2_2", "Week2_2"]
    fields.cut_crops(root, out, size_px=48)
    assert len(cut) == 3
    fields.cut_crops(root, out, size_px=32)
    assert len(cut) == 5
    assert load_crops(out).size == (32, 32)
    with pytest.raises(DataError, match="the crops of Week1_1, Week2_2 are gone or were cut otherwise since"):
        fields.cut_crops(root, out, size_px=48)  # done before, and 32 px since
    (out / "crops" / "Week1_1.npy").unlink()
    with pytest.raises(DataError, match="the crops of Week1_1 are gone or were cut otherwise"):
        fields.cut_crops(root, out, size_px=32)
    (out / "crops" / "another.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"has crops of other plates \(another\)"):
        fields.cut_crops(root, out, size_px=32)


def test_cells_at_the_border_are_padded_or_dropped(tmp_path: Path) -> None:
    table, channels = fields.read_fields(screen(tmp_path))
    part = table[table["plate"] == "Week1_1"]
    counts = {}
    for border in ("pad", "drop"):
        pixels, _ = fields.cut_plate(part, channels, tmp_path / border, 48, border)
        counts[border] = len(np.load(pixels))
    assert counts == {"pad": 10, "drop": 8}
    with pytest.raises(ValueError, match="border: expected pad or drop"):
        fields.cut_plate(part, channels, tmp_path, 48, "mirror")
    for name in ("../up", "a/b"):
        with pytest.raises(DataError, match="a file of its name"):
            fields.cut_plate(part.assign(plate=name), channels, tmp_path / "x", 48)
    with pytest.raises(DataError, match="expected those of one plate, got Week1_1, Week2_2"):
        fields.cut_plate(table, channels, tmp_path / "x", 48)


def test_images_that_are_not_there_are_named(tmp_path: Path) -> None:
    root = screen(tmp_path)
    (root / "Week" / "Week1_1" / "0_w1.tif").unlink()
    with pytest.raises(DataError, match=r"images that are not there:\n.*0_w1\.tif"):
        fields.read_fields(root)


def test_sites_are_those_of_the_names(tmp_path: Path) -> None:
    root = screen(tmp_path)
    path = root / "BBBC021_v1_image.csv"
    table = pd.read_csv(path)
    for row, site in enumerate((4, 2, 3, 1)):
        old = root / table.loc[row, "Image_PathName_DAPI"] / table.loc[row, "Image_FileName_DAPI"]
        table.loc[row, "Image_FileName_DAPI"] = f"B02_s{site}_w1X.tif"
        old.rename(old.with_name(f"B02_s{site}_w1X.tif"))
    table.to_csv(path, index=False)
    assert fields.read_fields(root)[0]["site"].tolist() == [4, 2, 3, 1]


def test_a_plate_without_nuclei_does_not_lose_the_screen(tmp_path: Path) -> None:
    root = screen(tmp_path / "raw")
    for path in (root / "Week" / "Week2_2").glob("*_w1.tif"):
        tifffile.imwrite(path, np.full(SHAPE, 500, np.uint16))
    crops = load_crops(fields.cut_crops(root, tmp_path / "out", size_px=32))
    assert set(crops.cells["plate"]) == {"Week1_1"}


def test_images_may_lie_in_a_folder_of_the_paths_last_name(tmp_path: Path) -> None:
    root = screen(tmp_path)
    for plate in ("Week1_1", "Week2_2"):
        (root / "Week" / plate).rename(root / plate)
    assert len(fields.read_fields(root)[0]) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.rename(columns={"Image_FileName_DAPI": "Image_FileName_Golgi"}), "no channel of DNA among"),
        (lambda t: pd.concat([t, t]).assign(site=1), "is there twice"),
        (lambda t: t.assign(Image_Metadata_Compound="water"), "none of the compounds is DMSO"),
        (lambda t: t.drop(columns="Image_Metadata_Plate_DAPI"), "no column for plate"),
        (lambda t: t.drop(columns="Image_Metadata_Concentration"), "compound or concentration is missing"),
        (lambda t: t.assign(Image_FileName_Actin=[None] * 4), "line 2, column Image_FileName_Actin: no file name"),
    ],
)
def test_tables_of_images_that_do_not_do(tmp_path: Path, change: object, said: str) -> None:
    path = screen(tmp_path) / "BBBC021_v1_image.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)  # type: ignore[operator]
    with pytest.raises(DataError, match=said):
        fields.read_fields(tmp_path)


def test_a_screen_without_nuclei_says_so(tmp_path: Path) -> None:
    root = screen(tmp_path / "raw", 1)
    for path in root.rglob("*_w1.tif"):
        tifffile.imwrite(path, np.full(SHAPE, 500, np.uint16))
    with pytest.raises(DataError, match="no nuclei in any of 2 fields; is DAPI the DNA channel"):
        fields.cut_crops(root, tmp_path / "out")
    with pytest.raises(DataError, match="is not there; expected a folder with a table of images"):
        fields.read_fields(tmp_path / "no")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"expected one table of images .CSV., found none; it is empty"):
        fields.read_fields(tmp_path / "empty")
