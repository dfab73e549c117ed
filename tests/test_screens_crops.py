"""Crops: every layout reads the same cells, pixels stay on the disk, and what does not fit is named."""

import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cellweak_core import screens
from cellweak_core.files import DataError, tree_digest
from cellweak_core.screens import crop_files
from cellweak_core.screens.crops import Crops, load_crops, rescaled, shards, write_crops

CHANNELS = ("DNA", "actin", "tubulin")


def pixels(n: int = 6) -> np.ndarray:
    """Crops (N, H, W, C) of which every value is another."""
    return np.arange(n * 10 * 12 * 3, dtype=np.uint16).reshape(n, 10, 12, 3)


def cells(n: int = 6) -> pd.DataFrame:
    return pd.DataFrame({
        "plate": ["W1_a"] * n, "well": [f"A{k:02d}" for k in range(n)], "site": 1, "week": "W1",
        "compound": ["DMSO", "taxol"] * (n // 2), "concentration_um": [0.0, 0.3] * (n // 2),
        "moa": ["DMSO", "S"] * (n // 2),
    })  # fmt: skip


def lay(root: Path, kind: str, nchw: bool = False) -> Path:
    stored = pixels().transpose(0, 3, 1, 2) if nchw else pixels()
    root.mkdir(exist_ok=True)
    if kind == "npy":
        np.save(root / "crops.npy", stored)
    elif kind == "npz":
        np.savez_compressed(root / "crops.npz", crops=stored)
    elif kind == "zarr":
        zarr = pytest.importorskip("zarr")
        zarr.create_array(str(root / "crops.zarr"), data=np.ascontiguousarray(stored), chunks=(2, *stored.shape[1:]))
    else:
        (root / "crops").mkdir()
        for name, rows in (("a", slice(0, 4)), ("b", slice(4, 6))):
            np.save(root / "crops" / f"{name}.npy", stored[rows])
            cells().iloc[rows].to_csv(root / "crops" / f"{name}.csv", index=False)
        return root
    cells().to_csv(root / "cells.csv", index=False)
    return root


@pytest.mark.parametrize("kind", ["npy", "npz", "zarr", "shards"])
@pytest.mark.parametrize("nchw", [False, True])
def test_every_layout_reads_the_same_cells(tmp_path: Path, kind: str, nchw: bool) -> None:
    crops = load_crops(lay(tmp_path / "screen", kind, nchw), channels=CHANNELS)
    assert (len(crops), crops.size, crops.axes) == (6, (10, 12), "NCHW" if nchw else "NHWC")
    assert crops.channels == CHANNELS
    assert crops.cells["batch"].tolist() == ["W1"] * 6
    assert crops.cells["concentration"].tolist() == [0.0, 0.3] * 3
    assert crops.control.tolist() == [True, False] * 3
    rows = [5, 0, 3, 3]
    np.testing.assert_array_equal(crops.raw(rows), pixels().transpose(0, 3, 1, 2)[rows])
    assert crops.raw([]).shape == (0, 3, 10, 12)
    with pytest.raises(IndexError, match="cells 6 to 6, expected 0 to 5"):
        crops.raw([6])
    files = [one for one in (tmp_path / "screen").rglob("*") if one.is_file()]
    assert crops.digest == tree_digest(files, tmp_path / "screen")


def test_pixels_of_npy_stay_on_the_disk(tmp_path: Path) -> None:
    crops = load_crops(lay(tmp_path, "npy"))
    assert isinstance(crops.parts[0], np.memmap)
    assert crops.channels == ("channel 0", "channel 1", "channel 2")
    assert crops.raw([1]).flags.writeable
    assert crops.raw([1]).flags.owndata


def test_rescaling_is_the_papers() -> None:
    x = np.random.default_rng(0).uniform(3, 9, (2, 3, 4, 5))
    x[1, 2] = 0
    found = rescaled(torch.from_numpy(x))
    for n in range(2):
        for c in range(3):
            m = x[n, c].max() / 2
            expected = (x[n, c] - m) / m if m else np.full((4, 5), -1.0)
            np.testing.assert_allclose(found[n, c], expected, rtol=1e-6, atol=1e-6)
    assert found.dtype == torch.float32
    assert found.max() == 1


def test_a_mask_takes_its_cells_and_fractions_none(tmp_path: Path) -> None:
    crops = load_crops(lay(tmp_path, "npy"))
    np.testing.assert_array_equal(crops.raw(crops.control), crops.raw([0, 2, 4]))
    for rows in ([1.9], crops.control[:3]):
        with pytest.raises(ValueError, match="rows: expected indices or a mask of 6 cells"):
            crops.raw(rows)


def test_light_below_zero_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, "npy")
    for value in (-1.0, np.nan):
        stored = pixels().astype(np.float32)
        stored[4, 2, 2, 0] = value
        np.save(tmp_path / "crops.npy", stored)
        crops = load_crops(tmp_path)
        assert crops.batch([0, 1]).shape == (2, 3, 10, 12)
        np.testing.assert_array_equal(crops.checked([5, 0]), crops.raw([5, 0]))
        assert crops.checked([0]).dtype == np.float32
        for rows in ([3, 4], crops.control):
            for read in (crops.batch, crops.checked):
                with pytest.raises(DataError, match=r"crop 4 \(plate W1_a, well A04\) has pixels below 0"):
                    read(rows)


def test_shards_of_numbers_and_of_names_are_one_screen(tmp_path: Path) -> None:
    root = lay(tmp_path, "shards")
    for name, compounds in (("a", ["DMSO", 101, 102, 101]), ("b", [101, 102])):
        path = root / "crops" / f"{name}.csv"
        part = pd.read_csv(path).assign(compound=compounds, crop=range(len(compounds)), plate=7)
        part.to_csv(path, index=False)
    np.save(root / "crops" / "c.npy", pixels()[:0])
    pd.read_csv(root / "crops" / "b.csv").iloc[:0].to_csv(root / "crops" / "c.csv", index=False)  # no cell on it
    crops = load_crops(root)
    assert crops.cells["compound"].tolist() == ["DMSO", "101", "102", "101", "101", "102"]
    assert len(crops) == 6
    np.testing.assert_array_equal(crops.raw([5])[0], pixels()[5].transpose(2, 0, 1))
    pd.read_csv(root / "crops" / "b.csv").assign(compound=[101, None]).to_csv(root / "crops" / "b.csv", index=False)
    with pytest.raises(DataError, match=r"b\.csv, line 3: no compound"):
        load_crops(root)
    lay(tmp_path / "spelt", "shards")
    for name, mechanism in (("a", "S phase"), ("b", "s phase")):
        path = tmp_path / "spelt" / "crops" / f"{name}.csv"
        pd.read_csv(path).assign(moa=mechanism, plate=name).to_csv(path, index=False)
    said = r"moa 'S phase' \(plate a, well A00\) and 's phase' \(plate b, well A04\) differ in capitals"
    with pytest.raises(DataError, match=said):
        load_crops(tmp_path / "spelt")
    (tmp_path / "empty").mkdir()
    for folder, found in (("empty", "empty"), ("no", "not there")):
        with pytest.raises(DataError, match=f"or a folder crops/, found none; it is {found}"):
            shards(tmp_path / folder)


def test_a_batch_is_rescaled(tmp_path: Path) -> None:
    crops = load_crops(lay(tmp_path, "npy"))
    batch = crops.batch([2, 4])
    torch.testing.assert_close(batch, rescaled(torch.from_numpy(crops.raw([2, 4]).astype(np.float32))))
    assert (batch.shape, batch.dtype) == ((2, 3, 10, 12), torch.float32)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda r: (r / "crops.npy").unlink(), "expected one of crops.npy, .* found none; it holds cells.csv"),
        (lambda r: np.savez(r / "crops.npz", crops=pixels()), "found crops.npy, crops.npz"),
        (lambda r: (r / "cells.csv").unlink(), "expected one of cells.csv, .* found none of them"),
        (lambda r: cells().iloc[:4].to_csv(r / "cells.csv", index=False), "4 cells, and 6 crops beside it"),
        (lambda r: (r / "crops.npy").write_bytes((r / "crops.npy").read_bytes()[:300]), "crops.npy cannot be read"),
        (lambda r: np.save(r / "crops.npy", pixels()[..., 0]), "uint16 of shape .6, 10, 12., expected"),
        (lambda r: np.save(r / "crops.npy", pixels().astype(int) - 5), "int64 of shape"),
        (lambda r: np.save(r / "crops.npy", pixels()[..., :2]), "2 channels, expected 3 .DNA, actin, tubulin."),
        (lambda r: np.save(r / "crops.npy", pixels()[:0]), "6 cells, and 0 crops"),
        (lambda r: np.save(r / "crops.npy", np.zeros((6, 10, 12, 9), np.uint8)), "no axis is short enough"),
        (lambda r: np.save(r / "crops.npy", np.zeros((6, 3, 12, 3), np.uint8)), "either axis could be the channels'"),
        (lambda r: cells().assign(crop="x").to_csv(r / "cells.csv", index=False), "line 3: crop x is there twice"),
        (lambda r: cells().drop(columns="compound").to_csv(r / "cells.csv", index=False), "no column for compound"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, spoil: object, said: str) -> None:
    lay(tmp_path, "npy")
    spoil(tmp_path)  # type: ignore[operator]
    with pytest.raises(DataError, match=said):
        load_crops(tmp_path, channels=CHANNELS)


def test_other_broken_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there; expected a folder with crops"):
        load_crops(tmp_path / "no")
    with pytest.raises(ValueError, match="axes: expected NHWC or NCHW"):
        load_crops(tmp_path, axes="HWC")
    lay(tmp_path / "turned", "npy")
    with pytest.raises(DataError, match="10 channels by axes='NCHW'"):
        load_crops(tmp_path / "turned", axes="NCHW")
    np.savez(tmp_path / "crops.npz", other=pixels())
    cells().to_csv(tmp_path / "cells.csv", index=False)
    with pytest.raises(DataError, match="no array 'crops', found other"):
        load_crops(tmp_path)
    lay(tmp_path / "shards", "shards")
    np.save(tmp_path / "shards" / "crops" / "b.npy", pixels()[:2, :8])
    with pytest.raises(DataError, match=r"b\.npy: uint16 of shape .2, 8, 12, 3., expected uint16 of .n, 10, 12, 3."):
        load_crops(tmp_path / "shards")
    (tmp_path / "shards" / "crops" / "b.csv").unlink()
    with pytest.raises(DataError, match=r"b\.csv is not there; expected the cells of b\.npy"):
        load_crops(tmp_path / "shards")


def test_without_zarr_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, "zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(DataError, match=r"crops\.zarr: zarr is not installed; pip install 'cellweak\[formats\]'"):
        load_crops(tmp_path)


@pytest.mark.parametrize("kind", ["npy", "npz", "zarr", "shards"])
def test_shards_are_counted(tmp_path: Path, kind: str) -> None:
    assert shards(lay(tmp_path, kind)) == ([("a", 4), ("b", 2)] if kind == "shards" else [("crops", 6)])


def test_an_npz_is_counted_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, "npz")
    np.lib.format.write_array(longer := (tmp_path / "crops.npy").open("wb"), pixels(), version=(2, 0))
    longer.close()
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as file:
        file.write(tmp_path / "crops.npy", "crops.npy")
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("the pixels were read"))
    assert crop_files.count_crops(tmp_path / "crops.npz") == 6
    assert crop_files.count_crops(tmp_path / "other.npz") == 6


def test_a_broken_npz_is_named_by_whoever_counts(tmp_path: Path) -> None:
    path = lay(tmp_path, "npz") / "crops.npz"
    whole = path.read_bytes()
    middle = len(whole) // 2
    spoilt = whole[:middle] + bytes(60) + whole[middle + 60 :]
    for content in (whole[:-40], b"PK no", b""):
        path.write_bytes(content)
        for read in (shards, load_crops):
            with pytest.raises(DataError, match=r"crops\.npz cannot be read"):
                read(tmp_path)
    path.write_bytes(spoilt)
    with pytest.raises(DataError, match=r"crops\.npz cannot be read"):
        load_crops(tmp_path)
    for arrays, said in (({"other": pixels()}, "no array 'crops'"), ({"crops": pixels()[0]}, "expected .N, H, W, C.")):
        np.savez(path, **arrays)
        with pytest.raises(DataError, match=said):
            shards(tmp_path)


def test_what_is_written_is_read_again_and_gives_way_to_another_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = load_crops(lay(tmp_path / "shards", "shards"), channels=CHANNELS)
    monkeypatch.setattr("cellweak_core.screens.crops.CHUNK", 3)
    root = write_crops(read, tmp_path / "out")
    np.save(tmp_path / "expected.npy", pixels())
    assert (root / "crops.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes()
    again = load_crops(root, channels=CHANNELS)
    pd.testing.assert_frame_equal(again.cells, read.cells)
    part = pixels()[2:4].astype(float)
    less = Crops([part[:0], part], "NHWC", CHANNELS, read.cells.iloc[2:4], "less")
    np.testing.assert_array_equal(load_crops(write_crops(less, root)).raw([0, 1]), again.raw([2, 3]))
    monkeypatch.setattr("cellweak_core.screens.crops.write_csv", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_crops(read, root)
    with pytest.raises(DataError, match=r"expected one of cells\.csv"):  # no pixels beside the cells of others
        load_crops(root)


@pytest.mark.parametrize("kind", ["npz", "zarr", "shards", "notes"])
def test_a_folder_of_something_else_is_not_written_into(tmp_path: Path, kind: str) -> None:
    read = load_crops(lay(tmp_path / "own", "npy"))
    root = tmp_path / "other"
    if kind == "notes":
        root.mkdir()
        (root / "notes.txt").write_text("mine")
    else:
        lay(root, kind)
    before = {one: one.read_bytes() for one in root.rglob("*") if one.is_file()}
    name = {"shards": "crops", "notes": "notes.txt"}.get(kind, f"crops.{kind}")
    with pytest.raises(DataError, match=f"other: holds {name}, expected a new folder, or one of crops.npy and cells"):
        write_crops(read, root)
    assert {one: one.read_bytes() for one in root.rglob("*") if one.is_file()} == before


def test_the_real_crops_are_read(real_data: Path) -> None:
    crops = load_crops(real_data / "screens" / "bbbc021_crops")
    assert (len(crops), crops.size, len(crops.channels)) == (1996, (68, 68), 3)
    assert crops.cells.groupby(["compound", "concentration"]).ngroups == 104
    assert crops.cells["batch"].nunique() == 10
    batch = crops.batch(np.arange(0, 1996, 100))
    assert torch.equal(batch.amax((2, 3)), torch.ones(20, 3))
    means = screens.aggregate(crops.raw(np.arange(1996)).mean((2, 3)), crops.cells, ["plate", "well"])[0]
    assert means.shape[1] == 3
