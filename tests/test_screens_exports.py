"""Parquet of cells by pyarrow; AnnData by anndata, and by h5py as any reader does: what is written is read again."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cellweak_core.screens.exports import write_anndata, write_cells

NAMES = ["res4a_0", "res4a_1"]


def profiles() -> tuple[np.ndarray, pd.DataFrame]:
    table = pd.DataFrame({
        "compound": ["taxol", "DMSO", "docetaxel"], "concentration": [0.3, 0.0, 1.0], "n": [4, 20, 3],
        "control": [False, True, False], "moa": ["stabiliser", None, "stabiliser"], "mixed": [1, "two", None],
    }, index=[7, 7, 9])  # fmt: skip
    return np.arange(6, dtype=np.float32).reshape(3, 2), table


def test_cells_come_back_with_their_features_in_order(tmp_path: Path) -> None:
    values, table = profiles()
    path = write_cells(tmp_path / "new" / "cells.parquet", table.drop(columns="mixed"), {
        "res4a": values, "a_code": np.arange(3.0)[:, None] / 3,
    })  # fmt: skip
    read = pq.read_table(path)
    named = ["compound", "concentration", "n", "control", "moa"]
    assert read.column_names == [*(f"Metadata_{name}" for name in named), "res4a_0", "res4a_1", "a_code_0"]
    assert [str(read.schema.field(name).type) for name in read.column_names[-3:]] == ["float"] * 3
    np.testing.assert_array_equal(read.select(NAMES).to_pandas().to_numpy(), values)
    assert read["a_code_0"].to_pylist() == [np.float32(k / 3) for k in range(3)]
    assert read["Metadata_compound"].to_pylist() == table["compound"].tolist()
    assert read["Metadata_moa"].to_pylist() == ["stabiliser", None, "stabiliser"]
    none = write_cells(path, table.iloc[:0].drop(columns="mixed"), {"res4a": values[:0]})
    assert pd.read_parquet(none).shape == (0, 7)
    for wrong in (values[:2], values[:, 0]):
        with pytest.raises(ValueError, match=r"res4a: expected \(3, d\), a row for each cell, got shape"):
            write_cells(tmp_path / "x.parquet", table, {"res4a": wrong})
    assert not (tmp_path / "x.parquet").exists()


def test_profiles_come_back_as_they_were(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata", reason="anndata is not installed")
    values, table = profiles()
    before = table.copy()
    about = {"layer": "res4a", "seed": 3, "regularization": 1.0}
    path = write_anndata(tmp_path / "new" / "treatments.h5ad", values, table, NAMES, about)
    assert path == tmp_path / "new" / "treatments.h5ad"
    found = anndata.read_h5ad(path)
    np.testing.assert_array_equal(found.X, values)
    assert found.X.dtype == np.float32
    assert found.var_names.tolist() == NAMES
    assert found.obs_names.tolist() == ["0", "1", "2"]
    assert dict(found.uns) == about
    for name in ("compound", "concentration", "n", "control"):
        assert found.obs[name].tolist() == table[name].tolist()
    assert found.obs["moa"].isna().tolist() == [False, True, False]
    assert found.obs["moa"].dropna().tolist() == ["stabiliser", "stabiliser"]
    assert found.obs["mixed"].dropna().tolist() == ["1", "two"]
    assert (found.obs["control"].dtype, found.obs["n"].dtype) == (bool, np.int64)
    pd.testing.assert_frame_equal(table, before)
    assert [one.name for one in path.parent.iterdir()] == ["treatments.h5ad"]  # whole, and nothing beside it


def test_texts_are_those_of_every_version(tmp_path: Path) -> None:
    pytest.importorskip("anndata", reason="anndata is not installed")
    import h5py

    with h5py.File(write_anndata(tmp_path / "t.h5ad", *profiles()), "r") as file:
        kinds = {name: file[name].attrs["encoding-type"] for name in ("obs/moa", "obs/_index", "var/_index")}
        assert kinds == {"obs/moa": "categorical", "obs/_index": "string-array", "var/_index": "string-array"}
        assert file["var/_index"].asstr()[:].tolist() == ["0", "1"]
        assert file["obs/moa/codes"][:].tolist() == [0, -1, 0]


def test_no_profiles_and_no_texts_are_written_too(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata", reason="anndata is not installed")
    values, table = profiles()
    for rows, columns in ((slice(0), list(table)), (slice(None), ["n"])):
        path = write_anndata(tmp_path / "t.h5ad", values[rows], table[columns].iloc[rows], NAMES)
        assert anndata.read_h5ad(path).shape == values[rows].shape


@pytest.mark.parametrize(
    ("values", "names", "said"),
    [
        (np.zeros((2, 2)), NAMES, r"expected \(3, 2\), as there are rows of metadata and names, got shape \(2, 2\)"),
        (np.zeros((3, 3)), NAMES, r"expected \(3, 2\), .* got shape \(3, 3\)"),
        (np.zeros(()), [], r"expected \(3, 0\), .* got shape \(\)"),
        (np.zeros(3), NAMES, r"expected \(3, 2\), .* got shape \(3,\)"),
        (np.zeros((3, 2)), ["a", "a"], "names: two features have the same"),
    ],
)
def test_sizes_that_do_not_go_together(tmp_path: Path, values: np.ndarray, names: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        write_anndata(tmp_path / "t.h5ad", values, profiles()[1], names)
    assert not list(tmp_path.iterdir())


def test_without_the_library_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(ImportError, match=r"pip install 'cellweak\[anndata\]'; where that wants an older pandas"):
        write_anndata(tmp_path / "t.h5ad", *profiles())
