"""What the chapter shows and leaves: names of networks, tables for figures and for reading, profiles, sheets, pages."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cellweak_core import published, side_by_side
from cellweak_core.chapters import ParameterError
from cellweak_core.embeddings import embedding, evaluation, figure_tables, products, variants
from cellweak_core.results import Results
from cellweak_core.screens.aggregation import treatment_profiles
from cellweak_core.screens.cellnet import LAYERS, CellNet
from cellweak_core.screens.crops import Crops, load_crops, write_crops
from cellweak_core.screens.labels import Labels, treatment_labels
from cellweak_core.screens.profiles import load_profiles
from cellweak_core.screens.sampling import some_cells
from cellweak_core.screens.simulate import Plan, simulate_screen

FEW = Plan(n_mechanisms=2, compounds=2, doses=1, batches=2, replicates=2, cells=4, controls=2, size_px=32)


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Crops:
    return load_crops(write_crops(simulate_screen(FEW), tmp_path_factory.mktemp("screen")))


@pytest.fixture(scope="module")
def labels(screen: Crops) -> Labels:
    return treatment_labels(screen.cells, ["2"])


# --- which networks


def test_every_network_has_its_settings_and_the_common_ones() -> None:
    found = variants.chosen({"steps": 7, "lr": 0.1}, [0.1, 0.25], [3], "plate")
    assert list(found) == [
        "untrained", "baseline", "recurrent t=3", "mixup alpha=0.1", "mixup alpha=0.25", "autoencoder",
    ]  # fmt: skip
    assert all((one["steps"], one["lr"]) == (7, 0.1) for one in found.values())
    assert found["recurrent t=3"] == {"steps": 7, "lr": 0.1, "kind": "recurrent", "t": 3}
    assert found["mixup alpha=0.25"] == {"steps": 7, "lr": 0.1, "kind": "mixup", "alpha": 0.25, "pairs": "plate"}
    assert list(variants.chosen({}, [], [], "any", floor=False, unsupervised=False)) == ["baseline"]


def test_rows_of_the_tables_are_the_papers_and_those_that_were_trained() -> None:
    wanted = variants.chosen({}, [0.1, 0.2], [3, 5], "batch")
    rows = variants.rows(variants.TABLE_2, 0.2, 5, "res4a", "TVN", list(wanted))
    assert rows == {
        "Ours - Baseline CNN": ("baseline", "res4a", "TVN"),
        "Ours - Recurrent Model": ("recurrent t=5", "res4a", "TVN"),
        "Ours - Mixup": ("mixup alpha=0.2", "res4a", "TVN"),
        "Autoencoders": ("autoencoder", "code", "TVN"),
    }
    some = variants.rows(variants.TABLE_1, 0.3, 3, "pool5", "none", list(wanted))
    assert some == {
        "Baseline CNN": ("baseline", "pool5", "none"),
        "Recurrent Model (t=5)": ("recurrent t=3", "pool5", "none"),
    }
    printed = published.load("embeddings")
    for item, names in (("Table 1", variants.TABLE_1), ("Table 2", variants.TABLE_2)):
        assert set(names) <= set(printed.loc[printed["item"] == item, "row"])
    assert set(variants.levels([0.1, 0.2], [3, 5]).values()) == set(wanted) - {"untrained", "autoencoder"}


@pytest.mark.parametrize(
    ("name", "value"), [("alpha", 0.3), ("t", 4), ("layer", "embedding"), ("transform", "tvn"), ("pairs", "week")]
)
def test_what_would_be_missed_after_the_training_is_refused_before(name: str, value: object) -> None:
    given = {"alpha": 0.2, "alphas": [0.2], "t": 5, "ts": [3, 5], "layer": "pool5", "transform": "TVN", "pairs": "any"}
    variants.require(**given)
    with pytest.raises(ParameterError, match=f"{name}: expected one of .*, got {value}"):
        variants.require(**given | {name: value})


def test_anndata_is_asked_for_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anndata", None)  # as if it were not installed
    with pytest.raises(ParameterError, match=r"anndata: anndata is not installed .*pip install"):
        variants.require(0.2, [0.2], 5, [5], "pool5", "TVN", "any", anndata=True)


# --- tables behind figures


def test_two_of_the_papers_drops_do_not_follow() -> None:
    found = figure_tables.drops(published.load("embeddings")).set_index("method")
    assert sorted(found.index) == ["Illumination Correction", "Ours - Mixup"]
    assert found.loc["Ours - Mixup"].tolist() == [95, 89, -9, -6]
    assert found.loc["Illumination Correction"].tolist() == [90, 85, -15, -5]


@pytest.mark.parametrize("size_px", [48, 68, 96])
def test_layer_sizes_are_those_of_a_forward_pass(size_px: int) -> None:
    net, seen = CellNet(3, 4, width=2, embedding=8).eval(), list[tuple[int, ...]]()
    body = net.body
    blocks = [block for stage in (body.layer1, body.layer2, body.layer3, body.layer4) for block in stage]
    for module in (*blocks, net.embed):
        module.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[1:])))
    with torch.no_grad():
        net(torch.zeros(1, 3, size_px, size_px))
    found = figure_tables.layer_sizes(2, size_px, embedding=8)
    assert [name for name, *_ in found] == list(LAYERS)
    assert [(c, side, side) for _, c, side in found[:-2]] == seen[:-1]
    assert found[-2:] == [("pool5", seen[-2][0], 1), ("embedding", *seen[-1], 1)]


def test_the_screens_are_counted(screen: Crops) -> None:
    table = figure_tables.overview({"whole": screen})
    assert table.iloc[0].to_dict() == {
        "screen": "whole", "cells (controls)": "64 (32)", "crop, px": "32 x 32 x 3", "treatments (compounds)": "4 (4)",
        "mechanisms or genes": 2, "plates (batches)": "4 (2)",
    }  # fmt: skip


def scored() -> list[dict[str, Any]]:
    """Two seeds of one network on three treatments, the last of which NSCB does not ask."""
    groups = json.dumps(["a", "b", "c"])
    marks = {0: ([1, 0, 1], [1, 1, -1]), 3: ([0, 0, 1], [0, 1, -1])}
    return [
        {"variant": "net", "seed": seed, "score": {
            "L|T|NSC": np.array(nsc, np.int8), "L|T|NSCB": np.array(nscb, np.int8),
            "L|T|NSC|predicted": json.dumps([f"of seed {seed}", "m", "n"]),
            "L|T|NSCB|predicted": json.dumps(["m", "m", None]),
            "groups.NSC": groups, "groups.NSCB": groups, "treatments": json.dumps({"moa": ["m", "m", "n"]}),
        }}
        for seed, (nsc, nscb) in marks.items()
    ]  # fmt: skip


def test_scores_of_every_seed() -> None:
    table = figure_tables.by_seed(scored(), {"Net": ("net", "L", "T")})
    value = table.set_index(["method", "metric", "seed"])["value"].to_dict()
    assert value == pytest.approx({
        ("Net", "NSC", 0): 200 / 3, ("Net", "NSC", 3): 100 / 3, ("Net", "NSCB", 0): 100, ("Net", "NSCB", 3): 50,
    })  # fmt: skip
    nothing = [one | {"score": one["score"] | {"L|T|NSCB": np.full(3, -1, np.int8)}} for one in scored()]
    empty = figure_tables.by_seed(nothing, {"Net": ("net", "L", "T")}).set_index("metric")["value"]
    assert empty["NSCB"].isna().all()
    assert empty["NSC"].notna().all()


def test_predictions_are_of_the_seed_asked_for() -> None:
    found = figure_tables.predictions(scored(), "net", 3, "L", "T")
    assert found["NSC"] == (["m", "m", "n"], ["of seed 3", "m", "n"])
    assert found["NSCB"] == (["m", "m", "n"], ["m", "m", None])
    with pytest.raises(StopIteration):
        figure_tables.predictions(scored(), "net", 1, "L", "T")


def kept(rows: list[tuple[str, str, str, float]], n: int = 9) -> pd.DataFrame:
    results = Results("embeddings", "nowhere", {}, 0, "simulated")
    for item, row, column, value in rows:
        results.add(item, row, column, value, low=value - 1, high=value + 1, n=n, unit="percent")
    return results.rows


def test_rows_become_the_tables_of_figs_5_and_7() -> None:
    rows = kept([
        ("Fig. 5b", "none", "NSCB", 50), ("Fig. 5b", "none", "auxiliary accuracy", 9),
        ("Fig. 5b", "mixup, alpha = 0.1", "NSCB", 60), ("Fig. 5b", "recurrent, t = 5", "auxiliary accuracy", 8),
        ("Fig. 5a", "none", "gene", 1),
        ("Fig. 7", "res3a", "NSC, none", 30), ("Fig. 7", "res3a", "NSCB, TVN", 40),
    ])  # fmt: skip
    curve = figure_tables.figure_5(rows, "Fig. 5b", "NSCB")
    assert curve.drop(columns=["low", "high"]).to_numpy(object).tolist() == [
        ["mixup", "none", "main", 50], ["mixup", "none", "auxiliary", 9], ["mixup", "0.1", "main", 60],
        ["recurrent", "5", "auxiliary", 8],
    ]  # fmt: skip
    assert curve["low"].tolist() == [49, 8, 59, 7]
    assert figure_tables.figure_5(rows, "Fig. 5a", "gene")["metric"].tolist() == ["main"]
    by_layer = figure_tables.figure_7(rows).to_numpy(object).tolist()
    assert by_layer == [["res3a", "NSC", False, 30, 29, 31], ["res3a", "NSCB", True, 40, 39, 41]]
    for empty in (figure_tables.figure_5(rows.iloc[:0], "Fig. 5b", "NSCB"), figure_tables.figure_7(rows.iloc[:0])):
        assert not len(empty)
        assert {"value", "low", "high"} <= set(empty)


# --- tables for reading


def test_paper_and_run_side_by_side() -> None:
    rows = kept([("Table 1", "Baseline CNN", "Gene Acc.", 61.25), ("Table 1", "ours", "Gene Acc.", 70.04)])
    table = side_by_side.beside_paper(rows, "embeddings", "Table 1", digits=1).set_index("method")
    assert list(table) == ["Replicate Acc.", "Gene Acc."]
    assert table.index[0] == "ImageNet Pretrained"
    assert list(table.index[-2:]) == ["ours", "n"]
    assert table.loc["Baseline CNN", "Gene Acc."] == "69.2 | 61.2 [60.2, 62.2]"
    assert table.loc["Baseline CNN", "Replicate Acc."] == "55.3 | -"
    assert table.loc["ours", "Gene Acc."] == "- | 70.0 [69.0, 71.0]"
    assert table.loc["ours", "Replicate Acc."] == ""
    assert table.loc["n"].tolist() == ["", "9"]
    whole = side_by_side.beside_paper(rows, "embeddings", "Table 1", ["Gene Acc."], digits=0).set_index("method")
    assert list(whole) == ["Gene Acc."]
    assert whole.loc["ours", "Gene Acc."] == "- | 70 [69, 71]"


def test_a_run_alone_and_several_n() -> None:
    rows = pd.concat([kept([("D", "b", "NSC", 1.0), ("D", "b", "NSCB", 4.0)], 103), kept([("D", "a", "NSC", 2.0)], 92)])
    table = side_by_side.wide(rows, "D", digits=2).set_index("method")
    assert table.index.tolist() == ["b", "a", "n"]
    assert table.loc["b"].tolist() == ["1.00 [0.00, 2.00]", "4.00 [3.00, 5.00]"]
    assert table.loc["a"].tolist() == ["2.00 [1.00, 3.00]", ""]
    assert table.loc["n"].tolist() == ["92 to 103", "103"]
    without = rows.assign(low=np.nan)
    assert side_by_side.wide(without, "D", digits=0)["NSCB"].tolist() == ["4", "", "103"]
    assert list(side_by_side.wide(rows, "E")) == ["method"]


def test_side_by_side_keeps_orders_and_refuses_what_it_cannot_show() -> None:
    more = [("Table 1", name, "Gene Acc.", 1.0) for name in ("z", "a", "mixup")]
    table = side_by_side.beside_paper(kept(more), "embeddings", "Table 1")
    printed = published.load("embeddings", kind="result").query("item == 'Table 1'")["row"].drop_duplicates().tolist()
    assert table["method"].tolist() == [*printed, *(name for _, name, *_ in more if name not in printed), "n"]
    named_n = kept([("Table 1", "n", "Gene Acc.", 1.0)])
    two = pd.concat([kept(more), kept(more).assign(data="BBBC021")])
    said = r"Table 1: z, Gene Acc. is there twice, of .*, BBBC021; give the rows of one data set at a time"
    for show in (side_by_side.wide, lambda rows, item: side_by_side.beside_paper(rows, "embeddings", item)):
        with pytest.raises(ValueError, match=r"Table 1: a row is called 'n'.*give the method another name"):
            show(named_n, "Table 1")
        with pytest.raises(ValueError, match=said):
            show(two, "Table 1")


# --- what a run leaves


@pytest.fixture(scope="module")
def features(screen: Crops, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("features")
    net = embedding.untrained(3, 0, width=4)
    return [str(path) for path in embedding.embed(screen.root, net, out, precision="32-true", device="cpu")]


def test_profiles_are_read_as_anyones(features: list[str], tmp_path: Path) -> None:
    values, table, written = products.write_profiles(features, "res4a", "TVN", tmp_path / "out")
    assert [path.name for path in written] == ["wells.parquet", "treatments.parquet"]
    sites, rows = evaluation.site_profiles([Path(one) for one in features], "res4a")
    moved = evaluation.transformed(sites, rows, "TVN")
    wells = load_profiles(written[0])
    expected, known = evaluation.wells_of(moved, rows)
    np.testing.assert_array_equal(wells.features, expected.astype(np.float32))
    assert wells.names == tuple(f"res4a_{k}" for k in range(16))
    for name in ("plate", "well", "batch", "compound", "concentration", "moa", "control"):
        assert wells.metadata[name].tolist() == known[name].tolist()
    np.testing.assert_array_equal(values, treatment_profiles(moved, rows, "median")[0])
    left = pd.read_parquet(written[1])
    assert left["Metadata_compound"].tolist() == table["compound"].tolist()
    np.testing.assert_array_equal(left[list(wells.names)], values.astype(np.float32))


def test_an_example_set_is_of_one_treatment(screen: Crops, labels: Labels) -> None:
    found = products.example_set(screen, labels, 5, 1)
    compound = found["label"].removesuffix(" at 1 µM")
    assert compound in set(screen.cells["compound"])
    assert found["crops"].shape == (5, 3, 32, 32)
    trains = np.flatnonzero((screen.cells["compound"] == compound) & (screen.cells["replicate"].astype(str) != "2"))
    own = screen.raw(trains)
    wells = set(screen.cells["plate"].iloc[trains] + " " + screen.cells["well"].iloc[trains])
    for crop, source in zip(found["crops"], found["sources"], strict=True):
        assert (own == crop).all((1, 2, 3)).any()
        assert source in wells
    one = Labels(np.where(np.arange(64) == trains[0], labels.train, -1), labels.checked, labels.classes)
    lone = products.example_set(screen, one, 3, 0)["crops"]  # a treatment of one cell is that cell, t times
    np.testing.assert_array_equal(lone, np.repeat(own[:1], 3, axis=0))


@pytest.mark.parametrize("pairs", ["batch", "plate", "any"])
def test_example_mixtures_are_mixed_as_the_paper_says(screen: Crops, labels: Labels, pairs: str) -> None:
    found = products.example_mixtures(screen, labels, 0.4, pairs, 2, n=6)
    scaled = screen.batch(np.arange(len(screen))).numpy()
    rows = []
    for name in ("first", "second"):
        same = (found[name][:, None] == scaled).all((2, 3, 4))
        assert same.any(1).all()
        rows.append(same.argmax(1))
    assert (labels.train[np.concatenate(rows)] >= 0).all()
    if pairs != "any":
        first, second = (screen.cells[pairs].to_numpy()[one] for one in rows)
        assert (first != second).all()
    for k, weight in enumerate(found["weights"]):
        assert 0 <= weight <= 1
        mixed = weight * scaled[rows[0][k]] + (1 - weight) * scaled[rows[1][k]]
        np.testing.assert_allclose(found["mixed"][k], mixed, atol=1e-6)
        names = [f"{screen.cells['compound'].iloc[one[k]]} at 1 µM" for one in rows]
        assert list(found["labels"][k]) == names
        plates = [" ".join(screen.cells[["plate", "well"]].iloc[one[k]]) for one in rows]
        assert list(found["sources"][k]) == plates


def test_the_sheet_and_the_page_are_left(screen: Crops, features: list[str], tmp_path: Path) -> None:
    values, table, _ = products.write_profiles(features, "res4a", "none", tmp_path)
    pdf, csv = products.write_sheet(tmp_path / "neighbours.pdf", values, table, screen, 2, 0, k=2)
    assert pdf.read_bytes().startswith(b"%PDF")
    sheet = pd.read_csv(csv)
    assert sheet.groupby("compound").size().to_dict() == dict.fromkeys(table["compound"], 2)
    assert (sheet["compound"] != sheet["neighbour_compound"]).all()
    rows = some_cells(screen.cells, 8, 0, controls=2)
    xy = np.random.default_rng(0).normal(size=(len(rows), 2))
    size = products.write_hover_page(tmp_path / "cells.html", xy, screen, rows, "Single cells of <us>")
    page = (tmp_path / "cells.html").read_text()
    assert size == (tmp_path / "cells.html").stat().st_size
    assert "Single cells of &lt;us&gt;" in page
    assert "mechanism 1" in page


def test_profiles_are_left_as_anndata_too(features: list[str], tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata", reason="anndata is not installed")
    values, table, written = products.write_profiles(features, "res4a", "TVN", tmp_path, anndata=True)
    assert [path.name for path in written] == ["wells.parquet", "wells.h5ad", "treatments.parquet", "treatments.h5ad"]
    found = anndata.read_h5ad(written[-1])
    np.testing.assert_array_equal(found.X, values.astype(np.float32))
    assert found.obs["compound"].tolist() == table["compound"].tolist()
    assert dict(found.uns) == {"layer": "res4a", "transform": "TVN"}


def test_columns_have_their_own_digits() -> None:
    rows = kept([("Table 2", "Ours - Mixup", "NSC", 61.25), ("Table 2", "Ours - Mixup", "Dim.", 32.0)])
    table = side_by_side.beside_paper(rows, "embeddings", "Table 2", digits={"Dim.": 0, "": 1}).set_index("method")
    assert table.loc["Ours - Mixup", ["NSC", "Dim."]].tolist() == ["95.0 | 61.2 [60.2, 62.2]", "256 | 32 [31, 33]"]
