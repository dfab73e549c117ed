"""Simulated fields: BBBC021's layout, read and cut by the room's own reader; nuclei and light are found again."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy.optimize import linear_sum_assignment

from cellweak_core.images import read_grey
from cellweak_core.screens.crops import load_crops
from cellweak_core.screens.fields import cut_crops, read_fields
from cellweak_core.screens.illumination import illumination_function
from cellweak_core.screens.simulate import PROPERTIES, Plan
from cellweak_core.screens.simulate_fields import FEW_WELLS, FieldPlan, FieldTruth, simulate_fields

# The columns of BBBC021_v1_image.csv, in its order.
COLUMNS = [
    "TableNumber", "ImageNumber", "Image_FileName_DAPI", "Image_PathName_DAPI", "Image_FileName_Tubulin",
    "Image_PathName_Tubulin", "Image_FileName_Actin", "Image_PathName_Actin", "Image_Metadata_Plate_DAPI",
    "Image_Metadata_Well_DAPI", "Replicate", "Image_Metadata_Compound", "Image_Metadata_Concentration",
]  # fmt: skip
KEY = ["plate", "well", "site"]
NEAR_PX, RIM_PX = 4, 14


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FieldTruth]:
    folder = tmp_path_factory.mktemp("fields")
    return folder, simulate_fields(folder, FEW_WELLS, FieldPlan(sites=2), 1)


def test_the_layout_is_that_of_bbbc021(made: tuple[Path, FieldTruth]) -> None:
    folder, truth = made
    images = pd.read_csv(folder / "BBBC021_v1_image.csv")
    moa = pd.read_csv(folder / "BBBC021_v1_moa.csv")
    assert list(images) == COLUMNS
    assert list(moa) == ["compound", "concentration", "moa"]
    assert images["Image_FileName_DAPI"].str.fullmatch(r"[A-P]\d\d_s\d_w1[0-9A-F-]{36}\.tif").all()
    assert images["Image_PathName_Actin"].unique().tolist() == ["Week1/Week1_1", "Week2/Week2_1"]
    one = tifffile.imread(folder / images["Image_PathName_DAPI"][0] / images["Image_FileName_DAPI"][0])
    assert (one.shape, one.dtype) == ((256, 320), np.uint16)
    assert len(list(folder.rglob("*.tif"))) == 3 * len(images) == 3 * 2 * 2 * 4
    assert not list(folder.rglob("*.part"))
    assert list(truth.cells)[-len(PROPERTIES) :] == list(PROPERTIES)
    assert {name: light.shape for name, light in truth.light.items()} == {
        "Week1_1": (3, 256, 320),
        "Week2_1": (3, 256, 320),
    }


def test_from_fields_to_crops_the_nuclei_are_where_they_were_drawn(
    made: tuple[Path, FieldTruth], tmp_path: Path
) -> None:
    folder, truth = made
    table, channels = read_fields(folder)
    assert channels == ("DAPI", "Tubulin", "Actin")
    known = truth.cells.groupby(KEY)[["compound", "concentration", "moa", "batch", "control"]].first()
    told = table.set_index(KEY)[list(known)]
    pd.testing.assert_frame_equal(told.sort_index(), known.sort_index(), check_dtype=False)
    crops = load_crops(cut_crops(folder, tmp_path, size_px=64), channels=channels)
    assert crops.size == (64, 64)
    fields = dict(list(crops.cells.groupby(KEY)))
    distances, right = list[float](), list[bool]()
    for key, drawn in truth.cells.groupby(KEY):
        found = fields[key][["x", "y"]].to_numpy()
        apart = np.linalg.norm(drawn[["x", "y"]].to_numpy()[:, None] - found, axis=2)
        one, other = linear_sum_assignment(np.minimum(apart, 2 * NEAR_PX))
        near = apart[one, other] < NEAR_PX
        distances += apart[one, other][near].tolist()
        # nuclei whose middle is outside show at the field's rim, and are none of the truth's
        inside = ((found >= RIM_PX) & (found <= (319 - RIM_PX, 255 - RIM_PX))).all(1)
        right += np.isin(np.arange(len(found)), other[near])[inside].tolist()
    assert len(distances) / len(truth.cells) > 0.95  # recall
    assert np.mean(right) > 0.95  # precision
    assert len(right) > 0.7 * len(crops)
    assert np.median(distances) < 1


@pytest.mark.slow
def test_the_correction_flattens_the_light_that_was_put_in(tmp_path: Path) -> None:
    plan = Plan(n_mechanisms=1, compounds=1, doses=1, batches=1, replicates=1, cells=30, controls=7, size_px=72)
    truth = simulate_fields(tmp_path, plan, FieldPlan(height_px=192, width_px=240, apart_px=30), 1)
    table, channels = read_fields(tmp_path)
    unevenness = np.zeros((2, 3))
    for k, channel in enumerate(channels):
        function = illumination_function(read_grey(one) for one in table[channel])
        for when, light in enumerate((truth.light["Week1_1"][k], truth.light["Week1_1"][k] / function)):
            unevenness[when, k] = light.std() / light.mean()
    assert (unevenness[1] < 0.7 * unevenness[0]).all()
    assert unevenness[1].mean() < 0.5 * unevenness[0].mean()


def test_the_same_seed_writes_the_same_files_and_another_does_not(tmp_path: Path) -> None:
    plan = Plan(n_mechanisms=1, compounds=1, doses=1, batches=1, replicates=1, cells=4, controls=1, size_px=48)
    small = FieldPlan(height_px=64, width_px=80, sites=1)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        truth = simulate_fields(tmp_path / name, plan, small, seed)
        if name == "a":
            first = truth.cells
        assert truth.cells.equals(first) == (seed == 0)
    files = {n: {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in "abc"}
    assert len(files["a"]) == 2 * 3 + 2
    assert files["a"] == files["b"]
    assert files["a"].keys() != files["c"].keys()


def test_nuclei_keep_their_distance_and_no_room_means_fewer(tmp_path: Path) -> None:
    plan = Plan(n_mechanisms=1, compounds=1, doses=1, batches=1, replicates=1, cells=50, controls=1, size_px=32)
    truth = simulate_fields(tmp_path, plan, FieldPlan(height_px=64, width_px=64, sites=1, apart_px=20), 0)
    for _, one in truth.cells.groupby("well"):
        apart = np.linalg.norm(one[["x", "y"]].to_numpy()[:, None] - one[["x", "y"]].to_numpy(), axis=2)
        assert 3 < len(one) < 25
        assert apart[~np.eye(len(one), dtype=bool)].min() >= 20


@pytest.mark.parametrize(
    ("plan", "fields", "said"),
    [
        (Plan(cells=0), FieldPlan(), "plan: cells is 0, expected a whole number of 1 or more"),
        (Plan(effect=float("nan")), FieldPlan(), "plan: effect is nan, expected a number of 0"),
        (Plan(), FieldPlan(height_px=40), "fields: height_px is 40, expected a whole number of 64 or more"),
        (Plan(), FieldPlan(sites=0), "fields: sites is 0, expected a whole number of 1"),
        (Plan(), FieldPlan(apart_px=float("nan"), fall_off=-0.1), "apart_px is nan, .*; fall_off is -0.1, expected"),
        (Plan(), FieldPlan(fall_off=1), "fields: fall_off is 1, expected a share of the light below 1"),
    ],
)
def test_fields_that_cannot_be(tmp_path: Path, plan: Plan, fields: FieldPlan, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        simulate_fields(tmp_path, plan, fields)
    assert not list(tmp_path.iterdir())
