"""The chapter's screens: two that are made, what `check` says of a person's, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellweak_core.embeddings import data
from cellweak_core.files import DataError
from cellweak_core.screens.crops import Crops, load_crops, write_crops
from cellweak_core.screens.labels import treatment_labels
from cellweak_core.screens.opening import load
from cellweak_core.screens.simulate import CHANNELS, Plan, simulate_screen
from cellweak_core.screens.simulate_fields import FieldPlan, simulate_fields
from cellweak_core.screens.simulate_genes import GenePlan

FEW = Plan(n_mechanisms=2, compounds=2, doses=1, batches=2, replicates=2, cells=4, controls=2, size_px=32)
NUCLEI = Plan(n_mechanisms=1, compounds=2, doses=1, batches=2, replicates=1, cells=6, controls=1, size_px=72)
FIELDS = FieldPlan(height_px=144, width_px=176, sites=2)
PX = 40


def lay(root: Path, cells: pd.DataFrame | None = None, n_channels: int = 3) -> Path:
    """A folder of crops; `cells` in place of its own table."""
    write_crops(simulate_screen(FEW), root)
    pixels = np.load(root / "crops.npy")[:, :n_channels]
    np.save(root / "crops.npy", pixels)
    if cells is not None:
        cells.to_csv(root / "cells.csv", index=False)
    return root


def table() -> pd.DataFrame:
    """The cells of `FEW`: 2 control wells and 2 treated ones of 4 cells on each of 4 plates."""
    return simulate_screen(FEW).cells[["plate", "well", "batch", "replicate", "compound", "concentration", "moa"]]


def said(root: Path, **more: object) -> list[str]:
    return list(data.check(root, **more))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fields")
    simulate_fields(folder, NUCLEI, FIELDS, 1)
    return folder


# --- what there is


def test_two_screens_are_made_as_anyones_would_lie(tmp_path: Path) -> None:
    genes = GenePlan(
        pairs=1, triples=1, training_pairs=1, training_triples=0, batches=1, cells=2, controls=1, size_px=32
    )
    screen, other, reading = data.simulated(tmp_path, FEW, genes, 0)
    assert (len(screen), len(other)) == (64, 2 * (1 + 5) * 2)
    assert screen.channels == other.channels == CHANNELS
    assert other.cells.groupby("compound")["trains"].first().sum() == 2
    for crops in (screen, other):
        assert crops.control.any()
        assert load_crops(crops.root, **reading).digest == crops.digest
    digests = [data.simulated(tmp_path / str(k), FEW, genes, k)[0].digest for k in (0, 1)]
    assert digests[0] == screen.digest != digests[1]


# --- what is said of it


def test_check_counts_what_there_is(tmp_path: Path) -> None:
    root = lay(tmp_path / "own", table())
    first, treatments, plates, mechanisms, labels, digest = said(root, channels=CHANNELS, held_out=[2])
    assert first == "own: 64 cells of 32x32 pixels, channels DNA, tubulin, actin, NCHW"
    assert treatments == "4 compounds, 4 treatments of 8 to 8 cells (median 8); 32 control cells"
    assert plates == "4 plates in 2 batches"
    assert mechanisms == "2 mechanisms"
    assert labels == "16 cells of 4 treatments train, 16 are held out"
    assert digest == f"digest {load_crops(root).digest}"
    assert said(root, held_out=[])[-2] == "32 cells of 4 treatments train, 0 are held out"


def test_check_reads_the_table_of_fields_only(fields: Path, tmp_path: Path) -> None:
    assert said(fields) == [f"{fields.name}: 8 fields of 2 plates, channels DAPI, Tubulin, Actin"]
    shutil.copytree(fields, tmp_path / "copy")
    gone = next((tmp_path / "copy").rglob("*_w2*.tif"))
    gone.unlink()
    with pytest.raises(DataError, match=rf"images that are not there:\n.*{gone.name}"):
        said(tmp_path / "copy")


def test_a_plate_without_controls_is_said(tmp_path: Path) -> None:
    cells = table()
    bare = (cells["plate"] == "Week1_2") & (cells["compound"] == "DMSO")
    root = lay(tmp_path, cells.assign(compound=cells["compound"].mask(bare, "compound 1a")))
    [line] = [one for one in said(root) if "without a control" in one]
    assert line.startswith("1 plates without a control cell, such as Week1_2: ")
    assert not any("without a control" in one for one in said(lay(tmp_path / "whole", table())))


def test_mechanisms_of_one_compound_and_none_at_all_are_said(tmp_path: Path) -> None:
    cells = table()
    alone = cells.assign(moa=cells["moa"].mask(cells["compound"] == "compound 2b", "the only one"))
    assert "3 mechanisms; of one compound only, so never asked: mechanism 2, the only one" in said(
        lay(tmp_path / "a", alone)
    )
    for name, some in (("b", cells.drop(columns="moa")), ("c", cells.assign(moa=None))):
        root = lay(tmp_path / name, some)
        words = f"nothing can be trained ({name}: no treated cell has a mechanism (column moa)"
        assert [one for one in said(root) if one.startswith(words) and one.endswith("; `-p weights` embeds")]
        with pytest.raises(DataError, match=rf"{name}: no treated cell has a mechanism \(column moa\)"):
            data.require_trainable(load_crops(root))
    # the controls' own name is no mechanism of a treatment
    only = lay(tmp_path / "d", cells.assign(moa=cells["moa"].where(cells["compound"] == "DMSO")))
    with pytest.raises(DataError, match="no treated cell has a mechanism"):
        data.require_trainable(load_crops(only))
    one = load_crops(lay(tmp_path / "e", cells.assign(moa=cells["moa"].where(cells["compound"] == "compound 1a"))))
    data.require_trainable(one)
    assert one.cells["moa"].notna().sum() == 8


# --- what is refused, or decided


def test_a_treatment_of_two_mechanisms_is_refused_before_the_training(tmp_path: Path) -> None:
    cells = table()
    there = (cells["compound"] == "compound 1b") & (cells["plate"] == cells["plate"].max())
    if not there.any():
        there = cells.index == cells.index[cells["compound"] == "compound 1b"][-1]
    root = lay(tmp_path / "own", cells.assign(moa=cells["moa"].mask(there, "mechanism 2")))
    words = r"own: compound 1b at 1.0: 2 mechanisms \(column moa\), mechanism 1 \(plate .*mechanism 2 \(plate"
    with pytest.raises(DataError, match=words):
        data.require_trainable(load_crops(root))
    assert [one for one in said(root) if one.startswith("nothing can be trained (own: compound 1b at 1.0: 2 mech")]


@pytest.mark.parametrize(("height", "width"), [(40, 32), (24, 24)])
def test_crops_that_cannot_be_turned_or_are_too_small_are_refused(tmp_path: Path, height: int, width: int) -> None:
    root = lay(tmp_path / "own", table())
    np.save(root / "crops.npy", np.ones((64, 3, height, width), np.uint16))
    words = f"own: crops of {width}x{height} px, expected square ones of 32 px or more"
    assert [one for one in said(root) if one.startswith(f"nothing can be trained ({words}")]
    with pytest.raises(DataError, match=words):
        data.require_trainable(load_crops(root))


def test_two_channels_where_three_are_named(tmp_path: Path) -> None:
    root = lay(tmp_path, n_channels=2)
    with pytest.raises(DataError, match=r"crops\.npy: 2 channels, expected 3 \(DNA, tubulin, actin\)"):
        load(root, tmp_path, channels=CHANNELS)
    with pytest.raises(DataError, match="2 channels, expected 3"):
        said(root, channels=CHANNELS)
    assert load(root, tmp_path)[0].channels == ("channel 0", "channel 1")


def test_a_treatment_with_one_cell_trains_and_one_that_is_held_out_whole_is_not_asked(tmp_path: Path) -> None:
    cells = table()
    lone, late = 8, cells.index[(cells["compound"] == "compound 1b")]  # the first treated cell, and a treatment
    cells.loc[lone, "compound"] = "lonely"
    cells.loc[late, "replicate"] = 2
    root = lay(tmp_path, cells)
    assert "5 compounds, 5 treatments of 1 to 8 cells (median 8); 32 control cells" in said(root)
    labels = treatment_labels(load_crops(root).cells, ["2"])
    k = labels.classes.index("lonely 1")
    assert np.flatnonzero(labels.train == k).tolist() == [lone]
    unseen = labels.classes.index("compound 1b 1")
    assert not (labels.train == unseen).any()
    assert not (labels.checked == unseen).any()
    assert "12 cells of 4 treatments train, 12 are held out" in said(root, held_out=["2"])


def test_replicates_that_are_not_there(tmp_path: Path) -> None:
    """`check` says what `run` will refuse, and goes on: the same cells can be embedded with trained weights."""
    root = lay(tmp_path / "a", table())
    both = (["7"], "no replicate 7 to hold out; found 1, 2"), (["1", "2"], "hold fewer replicates out")
    for held_out, words in both:
        with pytest.raises(DataError, match=words):
            treatment_labels(load_crops(root).cells, held_out)
        assert words in next(one for one in said(root, held_out=held_out) if one.startswith("nothing can be trained ("))
    lines = said(lay(tmp_path / "b", table().drop(columns="replicate")), held_out=["2"])
    assert any("no column replicate, of which some are to be held out" in one for one in lines)
    assert lines[-1].startswith("digest ")


def test_cells_in_one_file_and_not_in_the_other(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cells\.csv: 60 cells, and 64 crops beside it"):
        load(lay(tmp_path / "a", table().iloc[:60]), tmp_path)
    root = tmp_path / "b"
    (root / "crops").mkdir(parents=True)
    np.save(root / "crops" / "Week1_1.npy", np.ones((2, 3, 32, 32), np.uint16))
    with pytest.raises(DataError, match=r"Week1_1\.csv is not there; expected the cells of Week1_1\.npy"):
        load(root, tmp_path)
    with pytest.raises(DataError, match="is not there"):
        load(tmp_path / "no", tmp_path)


def test_a_treatment_that_the_table_of_mechanisms_lacks_has_none(fields: Path, tmp_path: Path) -> None:
    root = tmp_path / "own"
    shutil.copytree(fields, root)
    moa = pd.read_csv(root / "BBBC021_v1_moa.csv")
    moa[moa["compound"] != "compound 1b"].to_csv(root / "BBBC021_v1_moa.csv", index=False)
    crops: Crops = load(root, tmp_path, crop_px=PX)[0]
    without = crops.cells["moa"].isna()
    assert set(crops.cells.loc[without, "compound"]) == {"compound 1b"}
    data.require_trainable(crops)
