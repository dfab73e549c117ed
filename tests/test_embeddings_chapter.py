"""The embeddings chapter, end to end: simulated screens, a trained network on new cells, cells without mechanisms."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellweak_core import chapters
from cellweak_core.embeddings import comparison, embedding
from cellweak_core.files import DataError
from cellweak_core.results import load_results
from cellweak_core.screens.cellnet import LAYERS, CellNet
from cellweak_core.screens.crops import load_crops
from cellweak_core.screens.features import embedded
from cellweak_core.screens.profiles import load_profiles
from cellweak_core.screens.simulate import Plan, simulate_screen

pytestmark = pytest.mark.slow
EXACT: dict[str, Any] = {"device": "cpu", "precision": "32-true"}
BRIEF = EXACT | {
    "n_jobs": 1, "sim_mechanisms": 2, "sim_compounds": 4, "sim_replicates": 2, "sim_cells": 2, "sim_px": 32,
    "n_seeds": 1, "width": 4,
    "batch_size": 8, "steps": 2, "alphas": [0.2], "ts": [5], "measured_cells": 0, "supervised_steps": 0,
    "n_resamples": 10,
}  # fmt: skip
FIGURES = {
    "fig_1", "fig_2", "network", "fig_3", "fig_4", "seeds", "confusion", "fig_5b", "fig_7", "fig_5a", "fig_6",
}  # fmt: skip
NETWORKS = {"untrained", "baseline", "recurrent-t-5", "mixup-alpha-0.2", "autoencoder"}
METHODS = ("Ours - Baseline CNN", "Ours - Recurrent Model", "Ours - Mixup", "Autoencoders", "untrained network")


def lay(root: Path, *without: str) -> Path:
    """Cells of one plate in another size, colours last, of treatments that no network has seen."""
    plan = Plan(n_mechanisms=2, compounds=2, doses=1, batches=1, replicates=1, cells=3, controls=3, size_px=40)
    made = simulate_screen(plan, 7)
    root.mkdir()
    np.save(root / "crops.npy", made.raw(np.arange(len(made))).transpose(0, 2, 3, 1))
    cells = made.cells[["plate", "well", "compound", "concentration", "moa"]].drop(columns=list(without))
    new = cells["compound"].where(made.control, "new " + cells["compound"])
    cells.assign(compound=new).add_prefix("Metadata_").to_csv(root / "cells.csv", index=False)
    return root


def names(folder: Path, pattern: str) -> set[str]:
    return {path.stem for path in folder.glob(pattern)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated")
    chapters.run("embeddings", BRIEF, output_dir=out, progress=False)
    return out


def test_every_number_has_its_row(trained: Path) -> None:
    rows, provenance = load_results(trained)
    assert set(rows["data"]) == {"simulated"}
    assert provenance["parameters"]["alphas"] == [0.2]
    keyed = rows.set_index(["item", "row", "column"])
    assert keyed.index.is_unique
    value, n = keyed["value"], keyed["n"]
    for method in METHODS:
        nsc, nscb, drop = (value["Table 2", method, column] for column in ("NSC", "NSCB", "Drop"))
        assert drop == pytest.approx(nscb - nsc)
        for column in ("NSC", "NSCB"):
            assert n["Table 2", method, column] == 8  # two mechanisms of four compounds, two in each week
            assert value["Table 2", method, column] * 8 % 100 == pytest.approx(0)
        assert value["Table 2", method, "Dim."] == (256 if method == "Autoencoders" else 16)
    for method in ("Baseline CNN", "Recurrent Model (t=5)", "Mixup (alpha = 0.2)", "untrained network"):
        assert n["Table 1", method, "Replicate Acc."] == 6 * 26
        assert n["Table 1", method, "Gene Acc."] == 26
    levels = {"none", "mixup, alpha = 0.2", "recurrent, t = 5"}
    for item, main, cells in (("Fig. 5b", "NSCB", 8 * 2), ("Fig. 5a", "gene", 10 * 10)):
        curve = rows[rows["item"] == item]
        assert set(curve["row"]) == levels
        assert set(curve["column"]) == {main, "auxiliary accuracy"}
        assert (curve.loc[curve["column"] == "auxiliary accuracy", "n"] == cells).all()  # of the replicate held out
    by_layer = rows[rows["item"] == "Fig. 7"]
    assert by_layer["row"].drop_duplicates().tolist() == list(LAYERS)
    assert set(by_layer["column"]) == {f"{m}, {how}" for m in ("NSC", "NSCB") for how in ("none", "TVN")}
    assert value["Fig. 7", "res4a", "NSC, TVN"] == value["Table 2", "Ours - Baseline CNN", "NSC"]
    counted = sum(p.numel() for p in CellNet(3, 8, 4).parameters())
    assert value["Text 4.3", "ResNet18", "parameters"] == counted
    gain = value["Table 2", "Ours - Mixup", "NSC"] - value["Table 2", "Ours - Baseline CNN", "NSC"]
    assert value["Difference", "mixup alpha=0.2 - baseline", "NSC"] == pytest.approx(gain)


def test_tables_and_figures_have_the_papers_names(trained: Path) -> None:
    assert names(trained / "tables", "*.csv") >= {"table_1", "table_2", "fig_5a", "fig_5b", "fig_7", "difference"}
    for ending in ("png", "svg"):
        assert names(trained / "figures", f"*.{ending}") >= FIGURES
    rows, _ = load_results(trained)
    table = pd.read_csv(trained / "tables" / "table_2.csv").set_index("method")
    for method in METHODS:
        found = rows[(rows["item"] == "Table 2") & (rows["row"] == method) & (rows["column"] == "NSC")].iloc[0]
        low, high = found["low"], found["high"]
        assert table.loc[method, "NSC"].endswith(f"| {found['value']:.1f} [{low:.1f}, {high:.1f}]")
    assert table.loc["Ours - Mixup", "NSCB"].startswith("89.0 | ")
    assert table.loc["Product similarity network", "NSC"] == "96.0 | -"
    assert table.loc["n", ["NSC", "NSCB"]].tolist() == ["8", "8"]


def test_profiles_a_sheet_a_page_and_weights_are_left(trained: Path) -> None:
    sheet = pd.read_csv(trained / "neighbours.csv")
    assert len(sheet) == 8 * 3
    assert (sheet["compound"] != sheet["neighbour_compound"]).all()
    assert (trained / "neighbours.pdf").read_bytes().startswith(b"%PDF")
    assert "Single cells of simulated" in (trained / "cells.html").read_text()
    wells = load_profiles(trained / "wells.parquet")
    assert wells.features.shape == (6 * 6 + 2 * 8, 16)  # controls of six plates, treatments on two each
    assert len(pd.read_parquet(trained / "treatments.parquet")) == 8
    assert names(trained / "features", "*.safetensors") == {f"{name}_seed0" for name in NETWORKS}
    cells = load_crops(trained / "work" / "screen")
    for name in NETWORKS:
        layer = "code" if name == "autoencoder" else "res4a"
        [file] = (trained / "features").glob(f"{name}_seed0_*/*.parquet")
        assert len(embedding.load_embedded([file], layer)[0]) == len(cells)
    learnt = comparison.load_weights(trained / "features" / "mixup-alpha-0.2_seed0.safetensors")
    assert learnt["classes"][0] == "compound 1a 1"


def test_a_trained_network_embeds_new_cells_and_trains_nothing(trained: Path, tmp_path: Path) -> None:
    own, out = lay(tmp_path / "own"), tmp_path / "out"
    weights = trained / "features" / "mixup-alpha-0.2_seed0.safetensors"
    chapters.run("embeddings", EXACT | {"weights": str(weights)}, data_dir=own, output_dir=out, progress=False)
    rows, provenance = load_results(out)
    assert set(rows["item"]) == {"New cells"}
    assert rows["value"].tolist() == rows["n"].tolist() == [21]
    assert set(rows["data"]) == {"own"}
    assert provenance["parameters"]["weights"] == weights.name
    crops = load_crops(own)
    assert provenance["data_digest"] == crops.digest
    values, cells = embedding.load_embedded(sorted((out / "features").glob("*.parquet")), "res4a")
    network = embedding.restored(comparison.load_weights(weights))
    expected = embedded(crops, np.arange(21), network, ["res4a"], **EXACT)["res4a"]
    np.testing.assert_allclose(values, expected, atol=1e-5)
    assert cells["compound"].tolist() == crops.cells["compound"].tolist()
    assert set(pd.read_parquet(out / "treatments.parquet")["Metadata_compound"]) == {
        f"new compound {k}{c}" for k in (1, 2) for c in "ab"
    }
    assert len(load_profiles(out / "wells.parquet").metadata) == 7
    assert not list(out.rglob("*_seed0*"))
    assert not (out / "tables").exists()


def test_cells_without_mechanisms_train_nothing_and_say_why(tmp_path: Path) -> None:
    own, out = lay(tmp_path / "own", "moa"), tmp_path / "out"
    said = r"own: no treated cell has a mechanism \(column moa\).*add the column for the treatments"
    with pytest.raises(chapters.ChapterError, match=said):
        chapters.run("embeddings", BRIEF | {"held_out": []}, data_dir=own, output_dir=out, progress=False)
    assert not (out / "features").exists()
    assert not (out / "results.json").exists()


def test_a_network_of_three_channels_refuses_two(tmp_path: Path) -> None:
    own = lay(tmp_path / "own")
    np.save(own / "crops.npy", np.load(own / "crops.npy")[..., :2])
    with pytest.raises(DataError, match=r"own: 2 channels \(channel 0, channel 1\), the network was trained on 3"):
        embedding.embed(own, embedding.untrained(3, 0, width=2), tmp_path / "out", **EXACT)
    assert not (tmp_path / "out").exists()
