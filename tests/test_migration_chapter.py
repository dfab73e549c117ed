"""The migration chapter, end to end: simulated films, new films by its weights, tracks without labels, bad films."""

import re
from pathlib import Path
from typing import Any

import jupytext
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from cellweak_core import chapters, published
from cellweak_core.chapters import ParameterError
from cellweak_core.files import DataError
from cellweak_core.migration import data, reporting, saving
from cellweak_core.migration.labels import MODES, UNKNOWN, ramps
from cellweak_core.results import Results, item_slug, load_results

pytestmark = pytest.mark.slow
EXACT: dict[str, Any] = {"device": "cpu", "precision": "32-true", "n_jobs": 1}
BRIEF = EXACT | {
    "size_px": 32, "n_folds": 2, "networks": ["densenet40"], "width": 0.05, "steps": 2, "batch_size": 4, "n_samples": 3,
    "n_stability": 8, "n_resamples": 20,
}  # fmt: skip
THREE = {"networks": ["vgg16", "resnet50", "densenet121"], "sim_cells": 20, "sim_frames": 8}
PAPERS = {"vgg16": "VGG16", "resnet50": "Resnet50", "densenet121": "DenseNet"}
FIGURES = {
    "targets", "motion", "training", "fig_1a", "fig_1b", "fig_1c", "error", "calibration", "reliability", "referral",
    "samples", "looking",
}  # fmt: skip
ITEMS = {
    "Motion", "Training", "Fig. 1a left", "Fig. 1a right", "Abstract", "Difference", "Cross-validation",
    "Recorded runs draft model", "Fig. 1b", "Fig. 1c", "AUROC", "Uncertainty", "Samples", "Looking",
}  # fmt: skip
RNG = np.random.default_rng


def picture(x: float, y: float, height: int = 80, width: int = 96, seed: int = 0) -> np.ndarray:
    """A bright disc on noise, 8 bits."""
    rows, columns = np.mgrid[:height, :width]
    return (RNG(seed).integers(20, 60, (height, width)) + 150 * (np.hypot(columns - x, rows - y) < 7)).astype(np.uint8)


def walk(k: int, n: int) -> np.ndarray:
    """(n, 2): of even k straight on and evenly, of odd k here and there, with pauses and leaps."""
    if k % 2 == 0:
        return np.array([20.0, 20 + 3 * k]) + np.arange(n)[:, None] * [3.0, 0.2] + RNG(k).normal(0, 0.1, (n, 2))
    steps = np.where(np.arange(n) % 3 == 0, 7.0, 0.3)
    angles = RNG(k).uniform(0, 2 * np.pi, n)
    return np.array([48.0, 40.0]) + np.cumsum(steps[:, None] * np.c_[np.cos(angles), np.sin(angles)], 0) % 20


def names(folder: Path, pattern: str) -> set[str]:
    return {path.stem for path in folder.glob(pattern)}


def executed(values: dict[str, Any], last: str = "") -> dict[str, Any]:
    """The chapter's own cells in this process, to the one that holds the text `last`; its names."""
    own: dict[str, Any] = {}
    checked = chapters.checked("migration", values)
    for cell in jupytext.read(chapters.chapter("migration").path).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, "migration.md", "exec"), own)
            own |= checked if "parameters" in cell.metadata.get("tags", []) else {}
            if last and last in cell.source:
                return own
    assert not last
    return own


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are neither shown nor written."""
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    monkeypatch.setattr(Results, "figure", lambda *_: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated")
    chapters.run("migration", BRIEF | THREE, output_dir=out, progress=False)
    return out


def test_every_published_number_has_its_row(trained: Path) -> None:
    rows, provenance = load_results(trained)
    assert set(rows["item"]) == ITEMS
    assert set(rows["data"]) == {"simulated"}
    assert provenance["data"] == "simulated"
    assert provenance["data_digest"] is None
    assert {name: provenance["parameters"][name] for name in THREE} == THREE
    assert (rows["n"] >= 1).all()
    keyed = rows.set_index(["item", "row", "column"])
    assert keyed.index.is_unique
    paper = published.load("migration")
    asked = paper[paper["kind"].isin(["result", "figure"])]
    assert len(asked) == 20
    for one in asked.to_dict("records"):
        assert np.isfinite(keyed.loc[(one["item"], one["row"], one["column"]), "value"])
        assert keyed.loc[(one["item"], one["row"], one["column"]), "unit"] == one["unit"]
    drawn = asked[asked["kind"] == "figure"]["place"].str.extract(r"^(Fig\. \d)([a-c])")
    assert len(drawn) == 15
    for item, panel in drawn.itertuples(index=False):
        assert (trained / "figures" / f"{item_slug(item, panel)}.png").is_file()
    recorded = paper[paper["kind"] == "recorded"]
    modes = {row.removeprefix("draft model, ") for row in recorded["row"]}
    for network in PAPERS.values():
        for mode in modes:
            for error in ("MAE", "MSE"):
                assert keyed.loc[(reporting.DRAFT, f"{network}, {mode}", error), "value"] >= 0


def test_shares_and_errors_are_those_of_the_predictions_that_are_left(trained: Path) -> None:
    frames = pd.read_csv(trained / "predictions.csv", keep_default_na=False, na_values={"target": [""]})
    rows, _ = load_results(trained)
    keyed = rows.set_index(["item", "row", "column"])
    sequences = pd.read_csv(trained / "sequences.csv")
    for network, name in PAPERS.items():
        own = frames[(frames["network"] == network) & (frames["part"] == "test") & (frames["label"] != UNKNOWN)]
        cells = sorted(set(own["cell"]))
        shares, errors = dict[str, list[float]](), list[float]()
        for cell in cells:
            of_cell = own[own["cell"] == cell].to_dict("records")
            errors.append(sum((one["mean"] - one["target"]) ** 2 for one in of_cell) / len(of_cell))
            for column, outcome in (("TP rate", "TP"), ("Uncertain rate", "Uncertain"), ("FN rate", "FN")):
                shares.setdefault(column, []).append(sum(one["outcome"] == outcome for one in of_cell) / len(of_cell))
        for column, values in shares.items():
            found = keyed.loc[("Fig. 1a right", name, column)]
            assert found["value"] == pytest.approx(100 * sum(values) / len(cells))
            assert found["n"] == len(cells) == 5
        assert keyed.loc[("Fig. 1a left", name, "MSE"), "value"] == pytest.approx(sum(errors) / len(cells), rel=1e-4)
        assert sequences.loc[sequences["network"] == network, "cell"].nunique() == 5
    assert keyed.loc[("Abstract", "DenseNet", "sensitivity"), "value"] == keyed.loc[
        ("Fig. 1a right", "DenseNet", "TP rate"), "value"
    ]  # fmt: skip


def test_the_files_that_your_data_promises_are_there(trained: Path) -> None:
    text = (chapters.book_dir() / "your_data.md").read_text()
    section = text.partition("## Migration: films of cells")[2].partition("### What comes out")[2].partition("```")[0]
    promised = re.findall(r"`([^`]+)`", "".join(re.findall(r"(?m)^\| (`[^|]+) \|", section)))
    assert {"predictions.csv", "review.pdf", "weights/*.safetensors", "results.json", "figures/"} <= set(promised)
    for pattern in promised:
        assert list(trained.glob(pattern.rstrip("/"))), pattern
    assert names(trained / "figures", "*.png") == names(trained / "figures", "*.svg") == FIGURES
    assert names(trained / "weights", "*") == set(THREE["networks"])
    assert names(trained / "tables", "*.csv") >= {
        "cells", "training", "training_curves", "fig_1a", "fig_1a_right", "fig_1b", "auroc", "uncertainty", "samples",
        "looking",
    }  # fmt: skip
    assert (trained / "review.pdf").read_bytes().startswith(b"%PDF")
    asked = pd.read_csv(trained / "review.csv")
    assert 0 < len(asked) <= 48
    assert all(own["epistemic"].is_monotonic_decreasing for _, own in asked.groupby("part"))
    held_out = pd.read_csv(trained / "predictions.csv")
    assert (held_out.groupby("network").size() == 20 * 8).all()
    assert set(held_out["part"]) == {"test", "fold 0", "fold 1"}


def lay_new(root: Path) -> Path:
    """Two films as folders of PNG frames in three channels, numbered from 5, and the table, as 'Your data' has them."""
    rows = list[str]()
    for name in ("early", "late"):
        (root / "films" / name).mkdir(parents=True)
        for number in range(5, 9):
            pixels = np.stack([picture(30 + number, 40, seed=10 * number + k) for k in range(3)], 2)
            Image.fromarray(pixels).save(root / "films" / name / f"t{number:02d}.png")
            rows.append(f"{name},first,{number},{30 + number}.0,40.0")
            rows.append(f"{name},second,{number},70.0,30.0")
    (root / "points.csv").write_text("\n".join(["sequence,cell,frame,x,y", *rows]) + "\n")
    return root


def test_trained_networks_predict_new_films_and_train_nothing(trained: Path, tmp_path: Path) -> None:
    own, out, weights = lay_new(tmp_path / "own"), tmp_path / "out", trained / "weights" / "vgg16.safetensors"
    chapters.run("migration", EXACT | {"weights": str(weights), "n_samples": 3}, data_dir=own, output_dir=out,
                 progress=False)  # fmt: skip
    rows, provenance = load_results(out)
    assert rows["item"].tolist() == ["New frames"] * 3
    assert rows["n"].tolist() == [16] * 3
    assert rows["value"].sum() == pytest.approx(100)
    assert provenance["parameters"]["weights"] == weights.name
    assert provenance["data"] == "own"
    assert provenance["data_digest"] == data.load(own).digest
    found = pd.read_csv(out / "predictions.csv")
    assert sorted(zip(found["cell"], found["frame"], strict=True)) == [
        (f"{film}/{cell}", frame) for film in ("early", "late") for cell in ("first", "second") for frame in range(5, 9)
    ]  # fmt: skip
    assert found[["mean", "epistemic", "aleatoric"]].notna().to_numpy().all()
    assert set(pd.read_csv(out / "review.csv")["frame"]) <= set(range(5, 9))
    assert pd.read_csv(out / "sequences.csv")["frames"].tolist() == [4] * 4
    assert (out / "review.pdf").is_file()
    for name in ("networks", "weights", "figures", "tables"):
        assert not (out / name).exists()


def lay_tracks(root: Path, n_cells: int = 8, n: int = 8) -> Path:
    """Tracks that nobody labelled, in two films of one grey channel of 8 bits, each a stack."""
    rows = list[str]()
    root.mkdir()
    for film in range(2):
        frames = np.zeros((n, 80, 96), np.uint8)
        for cell in range(n_cells // 2):
            path = walk(n_cells // 2 * film + cell, n)
            for t, (x, y) in enumerate(path.tolist()):
                frames[t] = np.maximum(frames[t], picture(x, y, seed=t))
                rows.append(f"film{film},{cell},{t},{x:.2f},{y:.2f}")
        tifffile.imwrite(root / f"film{film}.tif", frames, photometric="minisblack", imagej=True,
                         metadata={"axes": "TYX"})  # fmt: skip
    (root / "tracks.csv").write_text("\n".join(["sequence,cell,frame,x,y", *rows]) + "\n")
    return root


def test_tracks_without_labels_go_through_all_of_it(tmp_path: Path) -> None:
    own, out = lay_tracks(tmp_path / "own"), tmp_path / "out"
    given = BRIEF | {"test_share": 0.0, "motion_window": 2, "networks": ["densenet40"]}
    chapters.run("migration", given, data_dir=own, output_dir=out, progress=False)
    rows, provenance = load_results(out)
    assert set(rows["item"]) == ITEMS - {"Abstract", "Difference"}  # no DenseNet of the paper's, one network
    assert not rows.duplicated(["item", "row", "column"]).any()
    assert (rows["n"] >= 1).all()
    assert provenance["parameters"]["data_dir"] == provenance["data"] == "own"
    assert names(out / "figures", "*.png") == FIGURES
    found = pd.read_csv(out / "predictions.csv")
    assert len(found) == 8 * 8
    assert set(found["part"]) == {"fold 0", "fold 1"}
    assert (found.groupby("cell")["part"].nunique() == 1).all()
    known = found[found["label"] != UNKNOWN]
    glides = known["cell"].str[-1].astype(int) % 2 == 0
    assert (known["label"][glides] == MODES[0]).mean() > 0.9
    assert (known["label"][~glides] == MODES[1]).mean() > 0.9
    np.testing.assert_array_equal(known["target"], (known["label"] == MODES[1]).astype(float))  # hard, not ramps
    assert set(found["frame"][found["label"] == UNKNOWN]) >= {0, 1, 6, 7}  # no window there
    assert len(pd.read_csv(out / "sequences.csv")) == known["cell"].nunique()
    header = saving.load_weights(out / "weights" / "densenet40.safetensors")
    assert (header["labels"], header["n_folds"], header["channels"]) == ("motion", 2, ["0"])


def lay_labelled(root: Path, table: pd.DataFrame, n_channels: int = 2, n: int = 8) -> Path:
    """A stack of frames on which there are cells somewhere, and a table."""
    root.mkdir(parents=True)
    frames = np.stack([[picture(40, 40, seed=n_channels * t + c) for c in range(n_channels)] for t in range(n)])
    tifffile.imwrite(root / "movie.tif", frames, photometric="minisblack", imagej=True, metadata={"axes": "TCYX"})
    table.to_csv(root / "points.csv", index=False)
    return root


def cells(n_cells: int = 10, n: int = 8) -> pd.DataFrame:
    """Cells of whom every second one is discontinuous."""
    rows = [(k, t, 30 + 3.0 * t + k, 30.0 + 2 * k, MODES[k % 2]) for k in range(n_cells) for t in range(n)]
    return pd.DataFrame(rows, columns=["cell", "frame", "x", "y", "label"])


def test_two_channels_borders_jumps_and_cells_of_one_frame_are_taken(unseen: None, tmp_path: Path) -> None:
    table = cells()
    table.loc[table["cell"] == 0, ["x", "y"]] = [-1.2, 80.1]  # beyond the border, by less than a pixel
    table.loc[(table["cell"] == 1) & (table["frame"] > 3), "x"] = 90.0  # over the field in one step
    table.loc[(table["cell"] == 2) & (table["frame"] > 3), "label"] = MODES[1]
    table = table[(table["cell"] < 8) | (table["frame"] == 0)]  # two cells of one frame
    own = lay_labelled(tmp_path / "own", table)
    found = executed(BRIEF | {"data_dir": str(own), "output_dir": str(tmp_path / "out"), "n_stability": 0})
    assert found["films"].channels == ("0", "1")
    assert found["pixels"].shape == (8 * 8 + 2, 2, 32, 32)
    first = found["points"][found["points"]["cell"] == "own/0"]
    assert set(first["x"]) == {-0.5}
    assert set(first["y"]) == {79.5}
    single = found["points"].index[found["points"]["cell"].isin(["own/8", "own/9"])]
    assert sorted(found["wanted"][single]) == [0.4, 0.6]  # time tells nothing of them
    measured = found["measured"].set_index([found["points"][name] for name in ("cell", "frame")])
    assert measured.loc[[("own/1", t) for t in range(1, 7)], "speed"].isna().all()  # windows of 3 meet the jump
    assert measured.loc[("own/2", 4), "speed"] > 0
    rows, _ = load_results(tmp_path / "out")
    assert rows.loc[rows["item"] == "Training", "value"].notna().all()
    assert "Samples" not in set(rows["item"])
    written = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert len(written) == len(table)
    assert saving.load_weights(tmp_path / "out" / "weights" / "densenet40.safetensors")["channels"] == ["0", "1"]


def test_cells_of_one_frame_alone_go_through_all_of_it(unseen: None, tmp_path: Path) -> None:
    own = lay_labelled(tmp_path / "own", cells(16, 1), 1)
    found = executed(BRIEF | {"data_dir": str(own), "output_dir": str(tmp_path / "out"), "n_stability": 0})
    assert sorted(set(found["wanted"])) == [0.4, 0.6]
    np.testing.assert_array_equal(found["wanted"], ramps(found["points"]))
    assert found["measured"] is None  # nothing moves
    rows, _ = load_results(tmp_path / "out")
    assert "Fig. 1a right" in set(rows["item"])
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 16
    with pytest.raises(DataError, match=r"no cell has 2 frames, the longest has 1; lower -p min_frames"):
        executed(BRIEF | {"data_dir": str(own), "output_dir": str(tmp_path / "other"), "min_frames": 2}, "films =")


SPLIT = "fold_of = splits"


@pytest.mark.parametrize(("own", "message"), [
    ({"label": MODES[0]}, r"frames: 80 continuous, 0 unknown and no discontinuous one; label some frames of both"),
    ({"label": UNKNOWN}, r"all 80 frames are unknown; label some frames of both modes, or take modes from motion"),
    ({"label": "contineous"}, r"line 2 .*'contineous' is no label \('continuous'\?\)"),
    ({"x": 98.0}, r"line 2 .*outside the image of 96x80 pixels"),
    ({"frame": 8}, r"line 2 .*there is no frame 8 in own, which has 8 frames, 0 to 7; frame is the number"),
    ({"frame": 1}, r"this cell has a row for this frame already"),
])  # fmt: skip
def test_films_that_cannot_be_learnt_from_are_refused(own: dict[str, Any], message: str, tmp_path: Path) -> None:
    table = cells()
    for name, value in own.items():
        everywhere = value in (MODES[0], UNKNOWN)
        table.loc[table.index if everywhere else table.index[:1], name] = value
    folder = lay_labelled(tmp_path / "own", table)
    with pytest.raises(DataError, match=message):
        executed(BRIEF | {"data_dir": str(folder), "output_dir": str(tmp_path / "out")}, SPLIT)
    assert not (tmp_path / "out" / "patches").exists()
    assert not (tmp_path / "out" / "networks").exists()


def test_too_few_cells_are_refused_with_the_folds_that_would_do(unseen: None, tmp_path: Path) -> None:
    folder = lay_labelled(tmp_path / "own", cells(6))
    with pytest.raises(DataError, match=r"3 cells are continuous .* 1 of them for the test; 5 folds .* n_folds 2"):
        executed(BRIEF | {"data_dir": str(folder), "output_dir": str(tmp_path / "out"), "n_folds": 5}, SPLIT)


def test_weights_of_other_channels_are_refused(trained: Path, tmp_path: Path) -> None:
    folder = lay_labelled(tmp_path / "own", cells())
    given = {"data_dir": str(folder), "output_dir": str(tmp_path / "out"),
             "weights": str(trained / "weights" / "vgg16.safetensors")}  # fmt: skip
    with pytest.raises(DataError, match=r"own has the channels 0, 1, and .* learnt from adhesions, actin, membrane"):
        executed(EXACT | given, "predict_films")
    with pytest.raises(ParameterError, match=r"channels: 3 names \(a, b, c\) for the 2 channels of"):
        executed(EXACT | given | {"channels": ["a", "b", "c"]}, "predict_films")
    with pytest.raises(DataError, match="channels: a is there twice; give each its own name"):
        executed(EXACT | given | {"channels": ["a", "A"]}, "predict_films")


@pytest.mark.parametrize(("own", "message"), [
    ({"networks": []}, "networks: expected some of"),
    ({"networks": ["vgg16", "vgg16"]}, "networks: expected some of .*each once"),
    ({"networks": ["alexnet"]}, "networks: expected some of .*got alexnet"),
    ({"motion_by": ["luck"]}, "motion_by: expected some of speed"),
    ({"border": "mirror"}, "border: expected one of edge, zero, got 'mirror'"),
    ({"modes_from": "stars"}, "modes_from: expected one of nothing, labels, motion"),
    ({"targets": "soft"}, "targets: expected one of nothing, ramps, hard"),
    ({"preset": "paper"}, "preset: expected one of nothing, authors"),
    ({"schedule": "never"}, "schedule: expected one of"),
    ({"n_folds": 1}, "n_folds: expected 2 or more, got 1"),
    ({"steps": 0}, "steps: expected 1 or more, got 0"),
    ({"n_samples": 1}, "n_samples: expected 2 or more, got 1"),
    ({"n_stability": 3}, "n_stability: expected 4 samples or more, or 0, got 3"),
    ({"width": 0.0}, "width: expected a number above 0"),
    ({"test_share": 1.0}, "test_share: expected 0 or more and less than 1"),
    ({"motion_quantile": 0.0}, "motion_quantile: expected a number between 0 and 1"),
    ({"dropout": 0.6, "cap": 0.5}, "dropout, cap, growth: expected"),
    ({"networks": ["vgg16"], "size_px": 31}, "size_px: vgg16 takes 32 px or more, got 31"),
    ({"precision": "half"}, "precision: expected one of"),
    ({"device": "abacus"}, "device: expected one of"),
])  # fmt: skip
def test_parameters_that_cannot_be_are_refused_before_anything_is_read(
    own: dict[str, Any], message: str, tmp_path: Path
) -> None:  # fmt: skip
    given = BRIEF | own | {"data_dir": str(tmp_path / "no such folder"), "output_dir": str(tmp_path / "out")}
    with pytest.raises(ParameterError, match=message):
        executed(given, "films =")
    assert not list(tmp_path.iterdir())


def test_a_refusal_is_a_message_for_people(tmp_path: Path) -> None:
    folder = lay_labelled(tmp_path / "own", cells().assign(label=MODES[1]))
    with pytest.raises(chapters.ChapterError, match=r"^frames: 80 discontinuous, 0 unknown and no continuous one"):
        chapters.run("migration", BRIEF, data_dir=folder, output_dir=tmp_path / "out", progress=False)
    assert (tmp_path / "out" / "notebook.failed.ipynb").is_file()
    assert not (tmp_path / "out" / "results.json").exists()
    with pytest.raises(ParameterError, match="unknown parameter 'n_fold'"):
        chapters.run("migration", {"n_fold": 3}, data_dir=folder, output_dir=tmp_path / "out")
