"""The cytogan chapter, end to end: simulated cells, a trained model on new cells, cells without names or mechanisms."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellweak_core import chapters
from cellweak_core.cytogan import comparison, encoding, judging, quality, reference
from cellweak_core.results import load_results
from cellweak_core.screens.crops import load_crops
from cellweak_core.screens.simulate import Plan, simulate_screen

pytestmark = pytest.mark.slow
EXACT: dict[str, Any] = {"device": "cpu", "precision": "32-true"}
BRIEF = EXACT | {
    "n_jobs": 1, "sim_mechanisms": 2, "sim_compounds": 4, "sim_doses": 1, "sim_replicates": 2, "sim_cells": 2,
    "width": 0.05, "batch_size": 4, "steps": 2, "steps_began": 2, "cnn_width": 4, "cnn_steps": 2, "n_noise": 40,
    "n_base": 4, "measured_cells": 0, "n_resamples": 10,
}  # fmt: skip
SOME = BRIEF | {"models": ["lsgan", "c-began", "vae", "autoencoder"]}
GENERATORS = ("LSGAN", "C-BEGAN", "VAE")
FIGURES = {
    "training", "fig_1", "repeated", "distances", "nearest", "table_1", "confusion", "fig_2", "fig_3", "fig_3b",
    "fig_3c", "spot",
}  # fmt: skip


def lay(root: Path, *without: str, n_channels: int = 3) -> Path:
    """Cells of one plate in another size, colours last, of treatments that no network has seen."""
    plan = Plan(n_mechanisms=2, compounds=2, doses=1, batches=1, replicates=1, cells=3, controls=3, size_px=40)
    made = simulate_screen(plan, 7)
    root.mkdir()
    np.save(root / "crops.npy", made.raw(np.arange(len(made))).transpose(0, 2, 3, 1)[..., :n_channels])
    cells = made.cells[["plate", "well", "compound", "concentration", "moa"]].drop(columns=list(without))
    cells.add_prefix("Metadata_").to_csv(root / "cells.csv", index=False)
    return root


def names(folder: Path, pattern: str) -> set[str]:
    return {path.stem for path in folder.glob(pattern)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated")
    chapters.run("cytogan", SOME | {"said_real": [1, 2, 3]}, output_dir=out, progress=False)
    return out


def test_every_number_has_its_row(trained: Path) -> None:
    rows, provenance = load_results(trained)
    assert set(rows["data"]) == {"simulated"}
    assert provenance["parameters"]["models"] == SOME["models"]
    keyed = rows.set_index(["item", "row", "column"])
    assert keyed.index.is_unique
    value, n = keyed["value"], keyed["n"]
    for model in (*GENERATORS, "autoencoder", comparison.UNTRAINED, reference.CNN):
        for ending in ("", ", whitened", ", TVN"):
            for column in ("MOA accuracy", "NSC"):
                assert value["Table 1", model, column + ending] * 8 % 100 == pytest.approx(0)
                assert n["Table 1", model, column + ending] == 8
    for model in (quality.HELD_OUT, *GENERATORS):
        for metric in quality.METRICS:
            assert np.isfinite(value["Generated", model, metric])
    held = n["Generated", quality.HELD_OUT, "recall"]
    assert {n["Generated", model, "recall"] for model in GENERATORS} == {held}
    assert value["Training", "LSGAN", "steps"] == 2
    gain = value["Table 1", "LSGAN", "NSC, TVN"] - value["Table 1", comparison.UNTRAINED, "NSC, TVN"]
    assert value["Difference", f"LSGAN, TVN - {comparison.UNTRAINED}, TVN", "NSC"] == pytest.approx(gain)
    assert value["Fig. 2", "LSGAN", "least norm, linear"] < value["Fig. 2", "LSGAN", "least norm, slerp"]
    assert n["Final text", "LSGAN", "fakes taken for real"] == min(50, held)


def test_tables_and_figures_have_the_papers_names(trained: Path) -> None:
    assert names(trained / "tables", "*.csv") >= {
        "table_1", "training", "training_curves", "generated", "distances", "difference", "fig_2"
    }  # fmt: skip
    for ending in ("png", "svg"):
        assert names(trained / "figures", f"*.{ending}") == FIGURES
    rows, _ = load_results(trained)
    table = pd.read_csv(trained / "tables" / "table_1.csv").set_index("method")
    found = rows[(rows["item"] == "Table 1") & (rows["row"] == "LSGAN") & (rows["column"] == "MOA accuracy")].iloc[0]
    text = f"68.0 | {found['value']:.1f} [{found['low']:.1f}, {found['high']:.1f}]"
    assert table.loc["LSGAN", "MOA accuracy"] == text
    assert table.loc["Deep Transfer (Ando 2017)", "MOA accuracy"] == "96.0 | -"


def test_weights_codes_and_sheets_are_left(trained: Path) -> None:
    models = trained / "models"
    slugs = {"lsgan", "c-began", "vae", "autoencoder", "lsgan-untrained"}
    assert names(models, "*.safetensors") == slugs
    assert names(trained / "sheets", "*.png") == {"lsgan", "c-began", "vae"}
    cells = load_crops(trained / "work" / "screen", channels=("DNA", "tubulin", "actin"))
    for slug in slugs:
        [file] = (models / "codes").glob(f"{slug}_seed0_*.parquet")
        codes, table = judging.read_codes([file])
        assert codes.shape == (len(cells), {"vae": 256, "autoencoder": 32}.get(slug, 100))
        assert table["compound"].tolist() == cells.cells["compound"].tolist()


def test_a_trained_model_encodes_new_cells_and_trains_nothing(tmp_path: Path) -> None:
    own, out, first = lay(tmp_path / "own"), tmp_path / "out", tmp_path / "first"
    given = {"held_out": [], "channels": ["a", "b", "c"]}
    chapters.run("cytogan", BRIEF | given | {"models": ["vae"]}, data_dir=own, output_dir=first, progress=False)
    rows, _ = load_results(first)
    assert set(rows["item"]) == {"Training", "Table 1", "Fig. 2"}  # channels without names cannot be measured
    assert names(first / "figures", "*.png") == FIGURES - {"distances", "nearest"}
    weights = first / "models" / "vae.safetensors"
    new = EXACT | {"weights": str(weights), "channels": given["channels"]}
    chapters.run("cytogan", new, data_dir=own, output_dir=out, progress=False)
    rows, provenance = load_results(out)
    assert set(rows["item"]) == {"New cells"}
    assert rows["value"].tolist() == rows["n"].tolist() == [21]
    assert provenance["parameters"]["weights"] == weights.name
    codes, _ = judging.read_codes(sorted((out / "codes").glob("*.parquet")))
    crops = load_crops(own, channels=given["channels"])
    expected = encoding.encode(crops, np.arange(21), encoding.load_weights(weights), **EXACT)
    np.testing.assert_allclose(codes, expected, atol=1e-5)
    assert not (out / "models").exists()
    with pytest.raises(chapters.ChapterError, match="the model was trained on a, b, c; give crops of the same"):
        chapters.run("cytogan", new | {"channels": ["c", "b", "a"]}, data_dir=own, output_dir=out, progress=False)


def test_cells_of_one_channel_without_mechanisms_are_generated_all_the_same(tmp_path: Path) -> None:
    own, out = lay(tmp_path / "own", "moa", n_channels=1), tmp_path / "out"
    chapters.run("cytogan", BRIEF | {"held_out": [], "models": ["lsgan"]}, data_dir=own, output_dir=out, progress=False)
    rows, _ = load_results(out)
    assert set(rows["item"]) == {"Training", "Fig. 2"}
    assert names(out / "sheets", "*.png") == {"lsgan"}
