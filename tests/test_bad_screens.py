"""Difficult screens, kind by kind: each has an answer that is decided, or an error that names the place."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellweak_core import screens
from cellweak_core.embeddings.embedding import embed, load_embedded, untrained
from cellweak_core.embeddings.evaluation import transformed
from cellweak_core.files import DataError
from cellweak_core.screens.crops import Crops, write_crops
from cellweak_core.screens.fields import cut_crops, cut_plate, read_fields
from cellweak_core.screens.labels import treatment_labels
from cellweak_core.screens.normalization import uncorrelated
from cellweak_core.screens.precision import mean_average_precision
from cellweak_core.screens.sampling import BalancedSampler
from cellweak_core.screens.simulate import Plan, simulate_screen
from cellweak_core.screens.simulate_fields import FieldPlan, simulate_fields
from cellweak_core.training import random_source

FEW = Plan(n_mechanisms=2, compounds=2, doses=1, batches=2, replicates=1, cells=3, controls=2, size_px=32)


def wells() -> tuple[np.ndarray, pd.DataFrame]:
    """Two controls and two treatments on each of four plates of two weeks; 20 correlated features."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        "plate": np.repeat(["W1_1", "W1_2", "W2_1", "W2_2"], 4), "well": ["A01", "A02", "A03", "A04"] * 4,
        "batch": np.repeat(["W1", "W2"], 8),
        "compound": ["DMSO", "DMSO", "a", "b"] * 2 + ["DMSO", "DMSO", "c", "d"] * 2,
        "concentration": 1.0, "moa": ["DMSO", "DMSO", "S", "T"] * 4, "control": [True, True, False, False] * 4,
    })  # fmt: skip
    centres = {"DMSO": np.zeros(20), "S": rng.normal(0, 3, 20), "T": rng.normal(0, 3, 20)}
    noise = rng.normal(size=(16, 20)) @ rng.normal(size=(20, 20)) / 5
    return 10 + noise + np.stack([centres[moa] for moa in table["moa"]]), table


def drop(values: np.ndarray, table: pd.DataFrame, rows: pd.Series) -> tuple[np.ndarray, pd.DataFrame]:
    return values[~rows], table[~rows].reset_index(drop=True)


# --- a plate, or a week, without controls


def test_a_plate_without_controls_is_whitened_by_the_others_and_scaled_by_none() -> None:
    values, table = wells()
    bare, rows = drop(values, table, table["control"] & (table["plate"] == "W1_2"))
    control, plates = rows["control"].to_numpy(bool), rows["plate"]
    expected = screens.TVN().fit(bare[control]).transform(bare)
    np.testing.assert_array_equal(transformed(bare, rows, "TVN"), expected)
    assert transformed(bare, rows, "TVN + CORAL").shape == bare.shape  # its week has others
    with pytest.raises(DataError, match=r"plate W1_2: no controls, expected two or more to scale it by; leave it out"):
        screens.percentile_scale(bare, control, plates)


def test_a_week_without_controls_cannot_be_aligned_and_is_named() -> None:
    values, table = wells()
    bare, rows = drop(values, table, table["control"] & (table["batch"] == "W2"))
    assert transformed(bare, rows, "TVN").shape == bare.shape
    with pytest.raises(DataError, match="batch W2: no controls there to align it by; leave it out"):
        transformed(bare, rows, "TVN + CORAL")


# --- few of something


def test_a_treatment_with_one_cell_is_drawn_as_often_as_others_and_is_its_own_profile() -> None:
    crops = simulate_screen(FEW)
    lone = crops.cells.index[crops.cells["compound"] == "compound 1a"]
    cells = crops.cells.drop(index=lone[1:]).reset_index(drop=True)
    labels = treatment_labels(cells, [])
    counts = np.bincount(labels.train[labels.train >= 0])
    assert counts.tolist() == [1, 3, 3, 3]
    _, drawn = BalancedSampler(labels.train).draw(4000, random_source(0))
    assert np.abs(np.bincount(drawn) / 1000 - 1).max() < 0.15
    values = np.random.default_rng(0).normal(size=(len(cells), 5))
    profiles, table = screens.treatment_profiles(values, cells)
    assert table.set_index("compound")["n"].to_dict() == dict(zip(labels_of(labels.classes), counts, strict=True))
    own = (table["compound"] == "compound 1a").to_numpy()
    np.testing.assert_array_equal(profiles[own][0], values[(cells["compound"] == "compound 1a").to_numpy()][0])


def labels_of(classes: tuple[str, ...]) -> list[str]:
    """Compounds of classes, which are "COMPOUND CONCENTRATION"."""
    return [name.rsplit(" ", 1)[0] for name in classes]


def test_a_mechanism_with_one_compound_is_neither_asked_nor_anyones_neighbour_nor_ranked() -> None:
    values, table = wells()
    table = table.assign(moa=table["moa"].mask(table["compound"] == "d", "alone"))
    profiles, treatments = screens.treatment_profiles(values, table)
    alone = (treatments["moa"] != "S").to_numpy()
    assert alone.sum() == 2  # b, whose mechanism d had, and d
    for exclude in ("compound", "compound+batch"):
        found = screens.match_treatments(profiles, treatments, exclude)
        assert found["total"] == 2
        assert (found["right"][alone] == -1).all()
        assert not np.isin(found["neighbour"], np.flatnonzero(alone)).any()
    precision = mean_average_precision(profiles, treatments, null_size=100)
    assert np.isnan(precision["average_precision"]).tolist() == alone.tolist()


def test_fewer_controls_than_features_whiten_with_regularisation_and_one_is_refused() -> None:
    values, table = wells()
    control = table["control"].to_numpy(bool)
    assert control.sum() < values.shape[1]
    white = transformed(values, table, "TVN")
    # along what the controls vary in: s / (s + 1); nowhere above 1
    assert np.linalg.eigvalsh(np.cov(white[control].T)).max() < 1
    variances = np.linalg.svd(values[control] - values[control].mean(0), compute_uv=False) ** 2 / (control.sum() - 1)
    expected = np.sort(variances / (variances + 1))[::-1][: control.sum() - 1]
    found = np.sort(np.linalg.eigvalsh(np.cov(white[control].T)))[::-1][: control.sum() - 1]
    np.testing.assert_allclose(found, expected)
    one, rows = drop(values, table, table["control"] & (table.index > 0))
    for how, said in (("TVN", "1 profiles, expected two"), ("z + TVN", "1 of 9 profiles, expected two")):
        with pytest.raises(DataError, match=f"controls: {said}"):
            transformed(one, rows, how)


# --- tables that do not go together


def bbbc021(folder: Path, images: pd.DataFrame, moa: pd.DataFrame, profiles: pd.DataFrame) -> Path:
    images.to_csv(folder / "BBBC021_v1_image.csv", index=False)
    moa.to_csv(folder / "BBBC021_v1_moa.csv", index=False)
    profiles.to_csv(folder / "profiles.csv", index=False)
    return folder


def three_tables() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    _, table = wells()
    images = pd.DataFrame({
        "Image_Metadata_Plate_DAPI": table["plate"], "Image_Metadata_Well_DAPI": table["well"], "Replicate": 1,
        "Image_Metadata_Compound": table["compound"], "Image_Metadata_Concentration": table["concentration"],
    })  # fmt: skip
    moa = table[["compound", "concentration", "moa"]].drop_duplicates()
    return images, moa, table[["plate", "well"]].assign(area=np.arange(16.0), light=1.0)


def test_wells_in_one_table_only(tmp_path: Path) -> None:
    images, moa, profiles = three_tables()
    found = screens.load_profiles(bbbc021(tmp_path, images, moa[moa["compound"] != "c"], profiles.iloc[1:]))
    assert len(found.metadata) == 15  # a well that nobody profiled is no profile
    assert found.metadata.loc[found.metadata["moa"].isna(), "compound"].unique().tolist() == ["c"]
    with pytest.raises(DataError, match=r"profiles\.csv: plate W2_2, well A04 is not in BBBC021_v1_image\.csv \(1 "):
        screens.load_profiles(bbbc021(tmp_path, images.iloc[:-1], moa, profiles))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda i, m, p: (i, m, pd.concat([p, p.iloc[[5]]])), r"profiles\.csv, line 18: plate W1_2, well A02 is there"),
        (lambda i, m, p: (i, pd.concat([m, m.iloc[[1]].assign(moa="U")]), p), r"moa\.csv: a at 1 is there twice; kee"),
        (lambda i, m, p: (pd.concat([i, i.iloc[[2]].assign(Image_Metadata_Compound="b")]), m, p),
         r"image\.csv: plate W1_1, well A03 has two treatments"),
        (lambda i, m, p: (i, m, p.assign(area=[*range(15), np.nan])), r"line 17, column 'area': no number \(1 such"),
    ],
)  # fmt: skip
def test_keys_that_are_not_unique_and_features_that_are_none(tmp_path: Path, change: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        screens.load_profiles(bbbc021(tmp_path, *change(*three_tables())))  # type: ignore[operator]


# --- features that say nothing


def test_features_that_are_no_numbers_are_refused_by_every_step() -> None:
    values, table = wells()
    broken = values.copy()
    broken[3, 7] = np.nan
    control, batch = table["control"].to_numpy(bool), table["batch"].to_numpy(object)
    said = "values are not numbers, the first in row 3, feature 7"
    for step in (
        lambda: screens.TVN().fit(broken), lambda: screens.TVN().fit(values[control]).transform(broken),
        lambda: screens.CORAL().fit(broken, batch), lambda: screens.CORAL().fit(values, batch).transform(broken, batch),
        lambda: screens.standardize(broken, control), lambda: uncorrelated(broken),
        lambda: screens.percentile_scale(broken, control, table["plate"]),
        lambda: screens.aggregate(broken, table, ["plate", "well"]), lambda: screens.match_treatments(broken, table),
        lambda: mean_average_precision(broken, table),
    ):  # fmt: skip
        with pytest.raises(DataError, match=said):
            step()


@pytest.mark.parametrize("how", ["none", "TVN", "TVN + CORAL", "z + TVN"])
def test_constant_features_change_no_answer(how: str) -> None:
    values, table = wells()
    constant = np.concatenate([values, np.full((16, 2), 7.0)], 1)
    plain, more = (
        screens.match_treatments(*screens.treatment_profiles(transformed(x, table, how), table))
        for x in (values, constant)
    )
    if how != "none":  # as they are, a constant turns every direction towards itself
        np.testing.assert_array_equal(more["neighbour"], plain["neighbour"])
    assert np.isfinite(transformed(constant, table, how)).all()
    assert more["total"] == 4


# --- images and crops


def test_a_network_of_three_channels_refuses_two(tmp_path: Path) -> None:
    made = simulate_screen(FEW)
    two = Crops([made.parts[0][:, :2]], "NCHW", made.channels[:2], made.cells, "two")
    root = write_crops(two, tmp_path / "two")
    with pytest.raises(DataError, match=r"two: 2 channels \(DNA, tubulin\), the network was trained on 3; give cro"):
        embed(root, untrained(3, 0, 4), tmp_path / "out", reading={"channels": ["DNA", "tubulin"]}, device="cpu")
    with pytest.raises(DataError, match=r"crops\.npy: 2 channels, expected 3 \(DNA, tubulin, actin\)"):
        screens.load_crops(root, channels=["DNA", "tubulin", "actin"])


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    plan = Plan(n_mechanisms=1, compounds=1, doses=1, batches=1, replicates=1, cells=4, controls=1, size_px=64)
    simulate_fields(tmp_path / "fields", plan, FieldPlan(height_px=96, width_px=112, sites=2), 3)
    return tmp_path / "fields"


def test_missing_and_broken_images_are_named(fields: Path, tmp_path: Path) -> None:
    images = sorted(fields.rglob("*.tif"))
    whole = images[3].read_bytes()
    images[3].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RuntimeError, match=images[3].name) as told:
        cut_crops(fields, tmp_path / "cut")
    assert "Week1_1" in str(told.value)
    images[3].unlink()
    images[7].unlink()
    with pytest.raises(DataError, match="images that are not there:") as found:
        read_fields(fields)
    assert sorted(str(found.value).splitlines()[1:]) == sorted(map(str, (images[3], images[7])))


def test_a_crop_at_the_border_is_zero_outside_or_left_out(fields: Path, tmp_path: Path) -> None:
    table, channels = read_fields(fields)
    pixels, cells = (np.load(one) if one.suffix == ".npy" else pd.read_csv(one)
                     for one in cut_plate(table, channels, tmp_path / "pad", 64))  # fmt: skip
    at_border = (cells[["x", "y"]] < 32).any(axis=1) | (cells["x"] > 112 - 32) | (cells["y"] > 96 - 32)
    assert at_border.any()
    for crop, (x, y) in zip(pixels, np.rint(cells[["x", "y"]].to_numpy()).astype(int), strict=True):
        row, column = np.mgrid[y - 32 : y + 32, x - 32 : x + 32]
        outside = (row < 0) | (row >= 96) | (column < 0) | (column >= 112)
        assert (crop[:, outside] == 0).all()
        assert (crop[:, ~outside] > 0).all()  # the camera's background is
    inner, _ = cut_plate(table, channels, tmp_path / "drop", 64, "drop")
    assert len(np.load(inner)) == (~at_border).sum()


# --- a class that the model never saw


def test_a_compound_that_no_network_saw_is_embedded_and_asked_like_any_other(tmp_path: Path) -> None:
    made = simulate_screen(FEW)
    late = (made.cells["compound"] == "compound 2b").to_numpy()
    labels = treatment_labels(made.cells, [], among=~late)
    assert labels.classes == ("compound 1a 1", "compound 1b 1", "compound 2a 1")
    assert (labels.train[late] == -1).all()
    assert (labels.checked == -1).all()
    files = embed(
        write_crops(made, tmp_path / "screen"), untrained(3, 0, 4), tmp_path / "out", reading={"axes": "NCHW"},
        layers=["res4a"], device="cpu",
    )  # fmt: skip
    features, cells = load_embedded(files, "res4a")
    assert len(features) == len(made)
    profiles, treatments = screens.treatment_profiles(features, cells)
    one = (treatments["compound"] == "compound 2b").to_numpy()
    assert screens.match_treatments(profiles, treatments)["right"][one].tolist() in ([0], [1])
