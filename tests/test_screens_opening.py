"""Opening: crops where they lie, fields as crops cut of them, simulated screens, and what a folder holds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellweak_core.files import DataError
from cellweak_core.screens.crops import load_crops, write_crops
from cellweak_core.screens.fields import cut_crops
from cellweak_core.screens.opening import drawn, kind_of, load
from cellweak_core.screens.simulate import Plan, simulate_screen
from cellweak_core.screens.simulate_fields import FieldPlan, simulate_fields

FEW = Plan(n_mechanisms=2, compounds=2, doses=1, batches=2, replicates=2, cells=4, controls=2, size_px=32)
NUCLEI = Plan(n_mechanisms=1, compounds=2, doses=1, batches=2, replicates=1, cells=6, controls=1, size_px=72)
FIELDS = FieldPlan(height_px=144, width_px=176, sites=2)
PX = 40


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fields")
    simulate_fields(folder, NUCLEI, FIELDS, 1)
    return folder


@pytest.mark.parametrize("axes", ["NCHW", "NHWC"])
def test_a_folder_of_crops_is_opened_where_it_lies(tmp_path: Path, axes: str) -> None:
    root, made = write_crops(simulate_screen(FEW), tmp_path / "own"), simulate_screen(FEW)
    if axes == "NHWC":
        np.save(root / "crops.npy", np.load(root / "crops.npy").transpose(0, 2, 3, 1))
    crops, reading = load(root, tmp_path / "out", channels=["DNA", "b", "c"], controls=["compound 1a"])
    assert (len(crops), crops.size, crops.axes, crops.channels) == (64, (32, 32), axes, ("DNA", "b", "c"))
    np.testing.assert_array_equal(crops.raw(range(64)), made.raw(range(64)))
    assert crops.root == root
    assert not (tmp_path / "out").exists()
    again = load_crops(root, **reading)
    assert (again.channels, again.digest) == (crops.channels, crops.digest)
    assert again.cells.equals(crops.cells)


def test_controls_are_the_compounds_that_are_named(tmp_path: Path) -> None:
    root = write_crops(made := simulate_screen(FEW), tmp_path)
    made.cells.drop(columns="control").to_csv(root / "cells.csv", index=False)
    assert load(root, tmp_path)[0].control.sum() == 32
    crops, reading = load(root, tmp_path, controls=["compound 1a"])
    assert set(crops.cells.loc[crops.control, "compound"]) == {"compound 1a"}
    np.testing.assert_array_equal(load_crops(root, **reading).control, crops.control)
    with pytest.raises(DataError, match="none of the compounds is water"):
        load(root, tmp_path, controls=["water"])


def test_fields_become_crops_in_the_output_folder(fields: Path, tmp_path: Path) -> None:
    crops, reading = load(fields, tmp_path, crop_px=PX)
    assert crops.channels == ("DAPI", "Tubulin", "Actin")
    assert crops.size == (PX, PX)
    assert crops.root == tmp_path / "work" / "crops"
    assert crops.cells.groupby(["plate", "well", "site"]).ngroups == 8
    assert crops.cells.loc[~crops.control, "moa"].unique().tolist() == ["mechanism 1"]
    np.testing.assert_array_equal(load_crops(crops.root, **reading).raw([3]), crops.raw([3]))
    assert load(fields, tmp_path, channels=crops.channels, crop_px=PX)[0].digest == crops.digest
    with pytest.raises(DataError, match="channels: DNA, b, c given, the table of fields has DAPI, Tubulin, Actin"):
        load(fields, tmp_path, channels=["DNA", "b", "c"])


def test_a_cell_at_the_border_stays_with_nothing_outside_the_field(fields: Path, tmp_path: Path) -> None:
    crops, _ = load(fields, tmp_path / "pad", crop_px=PX)
    inner = load_crops(cut_crops(fields, tmp_path / "drop", size_px=PX, border="drop"))
    x, y = (crops.cells[name].to_numpy() for name in "xy")
    half = PX / 2
    inside = (np.minimum(x, y) >= half) & (x <= FIELDS.width_px - half) & (y <= FIELDS.height_px - half)
    assert 0 < len(inner) == inside.sum() < len(crops)
    left = np.flatnonzero((np.rint(x) < half) & (y > half) & (y < FIELDS.height_px - half))
    assert len(left)
    for row in left:
        outside = PX // 2 - int(np.rint(x[row]))
        pixels = crops.raw([row])[0]
        assert not pixels[..., :outside].any()
        assert pixels[..., outside:].all()


def test_a_simulated_screen_is_opened_like_anyones(tmp_path: Path) -> None:
    made = simulate_screen(FEW)
    crops, options = drawn(made, tmp_path / "work" / "screen")
    assert crops.root == tmp_path / "work" / "screen"
    assert (options, crops.channels) == ({"channels": list(made.channels), "axes": "NCHW"}, made.channels)
    np.testing.assert_array_equal(crops.raw(range(64)), made.raw(range(64)))
    assert load_crops(crops.root, **options).digest == crops.digest


def test_what_a_folder_holds(fields: Path, tmp_path: Path) -> None:
    assert kind_of("") == ""
    root = write_crops(simulate_screen(FEW), tmp_path / "crops")
    assert kind_of(root) == "crops"
    (root / "crops.npy").unlink()
    assert kind_of(root) == "crops"  # whose pixels are missing
    assert kind_of(fields) == "fields"
    (tmp_path / "tables").mkdir()
    pd.read_csv(fields / "BBBC021_v1_image.csv").to_csv(tmp_path / "tables" / "BBBC021_v1_image.csv", index=False)
    assert kind_of(tmp_path / "tables") == "fields"  # whose images are missing
    wells = pd.DataFrame({"construct": ["a"], "gene": ["b"], "pert_type": ["c"], "x": [1.0]})
    for suffix in ("parquet", "csv"):
        path = tmp_path / f"wells.{suffix}"
        for table, kind in ((wells, "constructs"), (wells.drop(columns="gene"), "profiles")):
            table.to_parquet(path) if suffix == "parquet" else table.to_csv(path, index=False)
            assert kind_of(path) == kind
