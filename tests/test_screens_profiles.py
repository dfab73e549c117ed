"""Profiles: readers against broken tables, scaling and aggregation against literal ones, the real screen's counts."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellweak_core import screens
from cellweak_core.files import DataError
from cellweak_core.screens.normalization import uncorrelated


def profile_table() -> pd.DataFrame:
    """Two plates of four wells: two controls, a compound at two concentrations."""
    rng = np.random.default_rng(0)
    return pd.DataFrame({
        "Metadata_Plate": ["W1_a"] * 4 + ["W2_b"] * 4,
        "Metadata_Well": ["A01", "A02", "A03", "A04"] * 2,
        "Metadata_compound": ["DMSO", "DMSO", "taxol", "taxol"] * 2,
        "Metadata_Concentration": [0.0, 0.0, 0.3, 1.0] * 2,
        "Metadata_moa": ["DMSO", "DMSO", "stabiliser", "stabiliser"] * 2,
        "Cells_Area": rng.normal(100, 10, 8),
        "Nuclei_Count": rng.integers(1, 9, 8),
        "Flat": 1.0,
    })  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_metadata_and_features_are_told_apart(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"wells.{suffix}"
    table = profile_table()
    table.to_parquet(path) if suffix == "parquet" else table.to_csv(path, index=False)
    for where in (path, tmp_path):
        found = screens.load_profiles(where)
        assert found.names == ("Cells_Area", "Nuclei_Count", "Flat")
        np.testing.assert_allclose(found.features, table[list(found.names)])
        assert found.metadata["batch"].tolist() == ["W1"] * 4 + ["W2"] * 4
        assert found.control.tolist() == [True, True, False, False] * 2
        assert {"plate", "well", "compound", "concentration", "moa"} <= set(found.metadata)
        assert len(found.digest) == 64
    assert screens.load_profiles(path, constant="drop").names == ("Cells_Area", "Nuclei_Count")


def test_names_that_do_not_tell_can_be_said(tmp_path: Path) -> None:
    table = profile_table().rename(columns={"Metadata_compound": "construct", "Metadata_Plate": "Metadata_barcode"})
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="no column for plate, compound"):
        screens.load_profiles(tmp_path)
    found = screens.load_profiles(tmp_path, columns={"compound": "construct", "plate": "Metadata_barcode"})
    assert found.metadata["compound"].tolist()[:3] == ["DMSO", "DMSO", "taxol"]
    with pytest.raises(DataError, match="no column 'drug' to be compound"):
        screens.load_profiles(tmp_path, columns={"compound": "drug"})
    with pytest.raises(DataError, match="columns: drug is none of plate, well"):
        screens.load_profiles(tmp_path, columns={"drug": "construct"})


def test_the_name_itself_goes_before_its_likes(tmp_path: Path) -> None:
    table = profile_table().rename(columns={"Metadata_compound": "compound"})
    table.insert(0, "gene", "TP53")
    table.insert(1, "week", "1")
    table["batch"] = "B"
    table.to_csv(tmp_path / "t.csv", index=False)
    found = screens.load_profiles(tmp_path).metadata
    assert found["compound"].tolist()[:3] == ["DMSO", "DMSO", "taxol"]
    assert set(found["batch"]) == {"B"}
    assert set(found["gene"]) == {"TP53"}


def test_names_are_text_and_counters_are_no_features(tmp_path: Path) -> None:
    table = profile_table().rename(columns={"Metadata_compound": "compound"})
    table["Metadata_Plate"] = [27481] * 4 + [27482] * 4
    table["compound"] = ["DMSO", "DMSO", 101, 101, "DMSO", "DMSO", "NA", "NA"]
    table["ImageNumber"], table["entrez"], table["Age"] = range(8), -666, 3
    table.to_csv(tmp_path / "t.csv")  # with its index
    found = screens.load_profiles(tmp_path, metadata=["Age"])
    assert found.names == ("Cells_Area", "Nuclei_Count", "Flat")
    assert found.metadata["plate"].tolist() == ["27481"] * 4 + ["27482"] * 4
    assert found.metadata["compound"].tolist()[2:4] == ["101", "101"]
    assert found.metadata["compound"].tolist()[6:] == ["NA", "NA"]  # a name, not an empty cell
    assert found.metadata["Age"].tolist() == [3] * 8
    with pytest.raises(DataError, match="no column Sex to be metadata"):
        screens.load_profiles(tmp_path, metadata=["Sex"])


@pytest.mark.parametrize("words", [["yes", "no"], ["TRUE", "False"], [1, 0], [True, False]])
def test_control_may_be_said_in_words(tmp_path: Path, words: list) -> None:
    profile_table().assign(control=[words[0]] * 2 + [words[1]] * 6).to_csv(tmp_path / "t.csv", index=False)
    assert screens.load_profiles(tmp_path).control.tolist() == [True] * 2 + [False] * 6


def test_a_file_finds_bbbc021s_tables_beside_it(tmp_path: Path) -> None:
    assert screens.load_profiles(bbbc021(tmp_path) / "means.csv").metadata["moa"].tolist()[2] == "S"


def test_treatments_without_a_mechanism_are_left_out(tmp_path: Path) -> None:
    table = profile_table()
    table.loc[[3, 7], "Metadata_moa"] = np.nan
    table.to_csv(tmp_path / "t.csv", index=False)
    found = screens.load_profiles(tmp_path)
    assert screens.treatment_profiles(found.features, found.metadata)[1]["concentration"].tolist() == [0.3]
    with pytest.raises(DataError, match="no treatment has a mechanism"):
        screens.treatment_profiles(found.features, found.metadata.assign(moa=None))


def test_a_well_without_a_mechanism_has_that_of_its_treatment(tmp_path: Path) -> None:
    table = profile_table()
    table.to_csv(tmp_path / "t.csv", index=False)
    whole = screens.load_profiles(tmp_path)
    expected = screens.treatment_profiles(whole.features, whole.metadata)
    for rows in ([2, 7], [6, 3]):  # one well of each treatment, on one plate or the other
        table.assign(Metadata_moa=table["Metadata_moa"].mask(table.index.isin(rows))).to_csv(tmp_path / "t.csv")
        part = screens.load_profiles(tmp_path)
        assert part.metadata["moa"].isna().sum() == 2
        before = part.metadata.copy()
        values, found = screens.treatment_profiles(part.features, part.metadata)
        np.testing.assert_array_equal(values, expected[0])
        pd.testing.assert_frame_equal(found, expected[1])
        pd.testing.assert_frame_equal(part.metadata, before)
    with pytest.raises(DataError, match="column 'concentration' is empty in row 0"):
        screens.treatment_profiles(whole.features, whole.metadata.assign(concentration=np.nan))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.assign(Cells_Area=["x", *range(7)]), r"line 2, column 'Cells_Area': expected a number, found 'x'"),
        (lambda t: t.assign(control=["yes"] * 7 + ["maybe"]), "line 9, column control: .*'maybe'"),
        (lambda t: t.assign(Metadata_Plate=["p", None] * 4), "line 3: no plate"),
        (lambda t: t.assign(Metadata_Concentration=[0, 0, 1, None] * 2), "line 5, column concentration: .* an empty"),
        (lambda t: t.assign(Metadata_Concentration=["0", "0", "1", "high"] * 2), "expected a number, found 'high'"),
        (lambda t: t.assign(Metadata_Well="A01"), r"line 3: plate W1_a, well A01 is there twice"),
        (lambda t: t.assign(Cells_Area=[1, 2, np.nan, 4, 5, 6, np.inf, 8]),
         r"line 4, column 'Cells_Area': no number \(2 such"),
        (lambda t: t.drop(columns=["Cells_Area", "Nuclei_Count", "Flat"]), "nothing to match by"),
        (lambda t: t.replace("DMSO", "water"),
         r"none of the compounds is DMSO.* -p controls '\[\"NAME\"\]', of the compounds there are: taxol, water$"),
        (lambda t: t.assign(control=False), "no control; the column control is false in every row"),
        (lambda t: t.assign(Metadata_compound=["DMSO", "dmso", "taxol", "taxol"] * 2),
         r"compound 'DMSO' \(plate W1_a, well A01\) and 'dmso' \(plate W1_a, well A02\) differ in capitals or spaces"),
        (lambda t: t.assign(Metadata_moa=["DMSO", None, "G2  phase", "s", "DMSO", None, "s", "g2 phase "]),
         r"moa 'G2  phase' \(plate W1_a, well A03\) and 'g2 phase ' \(plate W2_b, well A04\) differ in capitals or"),
        (lambda t: t.assign(Metadata_compound=["DMSO", None] * 4), "line 3: no compound"),
        (lambda t: t.iloc[:0], "no rows"),
    ],
)  # fmt: skip
def test_broken_tables_are_refused(tmp_path: Path, change: object, said: str) -> None:
    change(profile_table()).to_csv(tmp_path / "t.csv", index=False)  # type: ignore[operator]
    with pytest.raises(DataError, match=said):
        screens.load_profiles(tmp_path)


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there; expected a table of profiles"):
        screens.load_profiles(tmp_path / "no")
    for name, said in (
        (".hidden", "it is empty"), ("a.txt", "it holds a.txt"), ("b.txt", "it holds a.txt, b.txt"),
        ("c", "it holds a.txt, b.txt, c"), ("d", "it holds a.txt, b.txt, c, d"),
        ("e", "it holds a.txt, b.txt, c, d, e"), ("f", "it holds a.txt, b.txt, c, d, e ..."),
    ):  # fmt: skip
        (tmp_path / name).touch()
        whole = f"(CSV or Parquet), found none; {said}. For cells it takes crops.npy and cells.csv, or a table"
        with pytest.raises(DataError, match=re.escape(whole)):
            screens.load_profiles(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as parquet"):
        screens.load_profiles(tmp_path)
    (tmp_path / "s.csv").write_text("plate;well\np;A01\n")
    with pytest.raises(DataError, match="separate the columns by commas, not semicolons"):
        screens.load_profiles(tmp_path / "s.csv")
    (tmp_path / "s.csv").unlink()
    (tmp_path / "b.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"found a\.parquet, b\.csv; name the file itself"):
        screens.load_profiles(tmp_path)
    with pytest.raises(ValueError, match="constant: expected keep or drop"):
        screens.load_profiles(tmp_path, constant="no")


def bbbc021(folder: Path) -> Path:
    """BBBC021's three tables for the wells of `profile_table`."""
    table = profile_table()
    fields = pd.DataFrame({
        "Image_Metadata_Plate_DAPI": table["Metadata_Plate"], "Image_Metadata_Well_DAPI": table["Metadata_Well"],
        "Replicate": 1, "Image_Metadata_Compound": table["Metadata_compound"],
        "Image_Metadata_Concentration": table["Metadata_Concentration"],
    })  # fmt: skip
    pd.concat([fields, fields]).to_csv(folder / "BBBC021_v1_image.csv", index=False)  # two fields in each well
    rows = [("taxol", 0.3, "S"), ("taxol", 1.0, "S"), ("DMSO", 0.0, "DMSO")]
    moa = pd.DataFrame(rows, columns=["compound", "concentration", "moa"])
    moa.to_csv(folder / "BBBC021_v1_moa.csv", index=False)
    wells = table.drop(columns=["Metadata_compound", "Metadata_Concentration", "Metadata_moa"])
    wells.columns = wells.columns.str.replace("Metadata_", "Image_Metadata_")
    wells.to_csv(folder / "means.csv", index=False)
    return folder


def test_bbbc021s_tables_are_joined(tmp_path: Path) -> None:
    found = screens.load_profiles(bbbc021(tmp_path))
    assert found.metadata["moa"].tolist() == ["DMSO", "DMSO", "S", "S"] * 2
    assert found.metadata["concentration"].tolist() == [0, 0, 0.3, 1.0] * 2


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("BBBC021_v1_image.csv", lambda t: t[t["Image_Metadata_Well_DAPI"] != "A03"],
         r"plate W1_a, well A03 is not in BBBC021_v1_image\.csv \(2 such wells\)"),
        ("BBBC021_v1_image.csv", lambda t: t.assign(Image_Metadata_Concentration=range(16)), "A01 has two treatments"),
        ("BBBC021_v1_image.csv", lambda t: t.drop(columns="Replicate"), "columns Replicate are missing"),
    ],
)  # fmt: skip
def test_tables_that_do_not_belong_together(tmp_path: Path, name: str, change: object, said: str) -> None:
    path = bbbc021(tmp_path) / name
    change(pd.read_csv(path)).to_csv(path, index=False)  # type: ignore[operator]
    with pytest.raises(DataError, match=said):
        screens.load_profiles(tmp_path)
    (tmp_path / "BBBC021_v1_moa.csv").unlink()
    bbbc021(tmp_path)
    (tmp_path / "BBBC021_v1_moa.csv").unlink()
    with pytest.raises(DataError, match=r"BBBC021_v1_moa\.csv is missing"):
        screens.load_profiles(tmp_path)


def test_scaling_by_controls_is_the_literal_one() -> None:
    rng = np.random.default_rng(1)
    x, control, plates = rng.normal(5, 2, (12, 3)), np.arange(12) % 3 == 0, np.repeat(["p", "q"], 6)
    x[:, 2] = 4.0
    z = screens.standardize(x, control)
    for k in range(2):
        own = [x[i, k] for i in range(12) if control[i]]
        mean = sum(own) / 4
        deviation = (sum((v - mean) ** 2 for v in own) / 4) ** 0.5
        np.testing.assert_allclose(z[:, k], (x[:, k] - mean) / deviation)
    assert (z[:, 2] == 0).all()
    scaled = screens.percentile_scale(x, control, plates, 0, 100)
    for plate in "pq":
        own = scaled[(plates == plate) & control, :2]
        np.testing.assert_allclose([own.min(0), own.max(0)], [[0, 0], [1, 1]])
    own = x[:, :2]
    low, high = np.percentile(own[(plates == "p") & control], [1, 99], axis=0)
    found = screens.percentile_scale(x, control, plates)
    np.testing.assert_allclose(found[:6, :2], (own[:6] - low) / (high - low))
    for kept, said in ((plates == "p", "no controls"), (np.arange(12) <= 6, "1 controls, expected two")):
        with pytest.raises(DataError, match=f"plate q: {said}"):
            screens.percentile_scale(x, control & kept, plates)
    broken, rows = np.where(np.arange(36).reshape(12, 3) == 10, np.nan, x), pd.DataFrame({"well": ["a"] * 12})
    for step in (
        lambda: screens.standardize(broken, control), lambda: uncorrelated(broken),
        lambda: screens.aggregate(broken, rows, ["well"]), lambda: screens.percentile_scale(broken, control, plates),
    ):  # fmt: skip
        with pytest.raises(DataError, match="1 values are not numbers, the first in row 3, feature 1"):
            step()
    with pytest.raises(DataError, match="1 of 12 profiles, expected two"):
        screens.standardize(x, np.arange(12) == 0)
    with pytest.raises(ValueError, match="0 <= low < high <= 100"):
        screens.percentile_scale(x, control, plates, 99, 1)
    with pytest.raises(ValueError, match=r"plates: expected \(12,\)"):
        screens.percentile_scale(x, control, plates[:3])
    with pytest.raises(ValueError, match=r"expected numbers \(3, n_features\)"):
        screens.standardize(x, control[:3])


def test_of_features_alike_the_first_stays() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 50))
    x = np.stack([a, -2 * a + 1, b, a + b, np.ones(50)], 1)
    kept = uncorrelated(x, 0.95)
    assert kept.tolist() == [0, 2, 3]
    assert np.abs(np.corrcoef(x[:, kept].T) - np.eye(3)).max() <= 0.95
    with pytest.raises(ValueError, match="most: expected above 0"):
        uncorrelated(x, 0)


def test_aggregation_is_the_literal_one_and_keeps_what_is_alike() -> None:
    rows = pd.DataFrame({"well": ["b", "a", "b", "b"], "plate": "p", "site": [1, 1, 2, 3], "moa": ["S", "T", "S", "S"]})
    x = np.array([[1.0, 5], [7, 7], [2, 6], [9, 1]])
    mean, table = screens.aggregate(x, rows, ["plate", "well"])
    np.testing.assert_allclose(mean, [[4, 4], [7, 7]])
    assert table.to_dict("list") == {"plate": ["p", "p"], "well": ["b", "a"], "moa": ["S", "T"], "n": [3, 1]}
    np.testing.assert_allclose(screens.aggregate(x, rows, ["well"], "median")[0], [[2, 5], [7, 7]])
    with pytest.raises(ValueError, match="how: expected one of mean, median"):
        screens.aggregate(x, rows, ["well"], "sum")
    with pytest.raises(DataError, match="column 'row' is missing"):
        screens.aggregate(x, rows, ["row"])
    with pytest.raises(DataError, match="column 'well' is empty in row 1"):
        screens.aggregate(x, rows.assign(well=["b", None, "b", "b"]), ["well"])
    with pytest.raises(ValueError, match=r"expected numbers \(4, n_features\)"):
        screens.aggregate(x[:2], rows, ["well"])


def test_treatments_are_compound_and_concentration_over_batches(tmp_path: Path) -> None:
    profile_table().to_csv(tmp_path / "t.csv", index=False)
    found = screens.load_profiles(tmp_path)
    values, table = screens.treatment_profiles(found.features, found.metadata)
    assert table.to_dict("list") == {
        "compound": ["taxol", "taxol"], "concentration": [0.3, 1.0], "moa": ["stabiliser"] * 2, "n": [2, 2],
        "batch": ["W1,W2", "W1,W2"],
    }  # fmt: skip
    np.testing.assert_allclose(values[0], found.features[[2, 6]].mean(0))
    two = found.metadata.assign(moa=["x"] * 4 + ["y"] * 4)
    said = r"^taxol at 0\.3: 2 mechanisms \(column moa\), x \(plate W1_a, well A03\) and y \(plate W2_b, well A03\); a"
    with pytest.raises(DataError, match=said):
        screens.treatment_profiles(found.features, two)
    with pytest.raises(DataError, match=r"2 mechanisms \(column moa\), x and y; a treatment has one"):
        screens.treatment_profiles(found.features, two.drop(columns=["plate", "well"]))
    with pytest.raises(DataError, match="all profiles are controls"):
        screens.treatment_profiles(found.features, found.metadata.assign(control=True))


@pytest.fixture(scope="module")
def wells(real_data: Path) -> screens.Profiles:
    return screens.load_profiles(real_data / "screens" / "bbbc021_profiles")


def counts(features: np.ndarray, profiles: screens.Profiles) -> tuple[str, str]:
    values, table = screens.treatment_profiles(features, profiles.metadata)
    found = [screens.match_treatments(values, table, exclude) for exclude in ("compound", "compound+batch")]
    return tuple(f"{one['correct']}/{one['total']}" for one in found)  # type: ignore[return-value]


def test_the_real_screen_is_read_whole(wells: screens.Profiles) -> None:
    assert wells.features.shape == (632, 516)
    assert (wells.metadata["plate"].nunique(), wells.metadata["batch"].nunique(), wells.control.sum()) == (55, 10, 330)
    _, table = screens.treatment_profiles(wells.features, wells.metadata)
    assert (len(table), table["compound"].nunique(), table["moa"].nunique()) == (103, 38, 12)


def test_the_real_screens_counts_are_reproduced_by_their_recipes(wells: screens.Profiles) -> None:
    control, batch = wells.control, wells.metadata["batch"].to_numpy()
    scaled = screens.percentile_scale(wells.features, control, wells.metadata["plate"])
    assert counts(scaled, wells) == ("84/103", "66/92")
    z = screens.standardize(wells.features, control)
    assert counts(z, wells) == ("89/103", "63/92")
    white = screens.TVN(1.0).fit(z[control]).transform(z)
    assert counts(white, wells) == ("96/103", "70/92")
    assert counts(screens.TVN(1.0, "zca").fit(z[control]).transform(z), wells) == ("96/103", "70/92")
    kept = uncorrelated(wells.features)
    assert len(kept) == 272
    white = screens.TVN(1.0).fit(z[control][:, kept]).transform(z[:, kept])
    aligned = screens.CORAL(1.0).fit(white[control], batch[control]).transform(white, batch)
    assert counts(aligned, wells) == ("95/103", "71/92")


def test_random_features_are_the_floor(wells: screens.Profiles) -> None:
    rng = np.random.default_rng(0)
    _, table = screens.treatment_profiles(wells.features, wells.metadata)
    draws = [screens.match_treatments(rng.normal(size=(103, 50)), table)["accuracy"] for _ in range(60)]
    assert 0.04 < np.mean(draws) < 0.09  # 6.3 % in the mean of 200 draws
