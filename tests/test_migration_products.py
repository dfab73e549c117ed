"""New films predicted by trained networks, and what is left of them: file frame numbers, tables, the review sheet."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from migration_films import film, stack
from PIL import Image

from cellweak_core.files import DataError
from cellweak_core.migration import data, patches, predicting, products, saving
from cellweak_core.migration.evaluation import outcomes
from cellweak_core.migration.labels import MODES
from cellweak_core.migration.networks import build
from cellweak_core.migration.prediction import parts_of, predict
from cellweak_core.screens.networks import save_weights

EXACT: dict[str, Any] = {"device": "cpu", "precision": "32-true"}
ARCHITECTURE = {"network": "densenet40", "n_channels": 1, "width": 0.2, "dropout": 0.1, "growth": 0.02, "cap": 0.5}
HEADER = {"channels": ["phase"], "size_px": 16, "border": "zero", "downsample": 1, "labels": "labels"}
NUMBERS = (10, 12, 14)
T = 3


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds' networks as drawn, spread so that they say all there is to say."""
    root, learnt = tmp_path_factory.mktemp("weights"), list[dict[str, Any]]()
    for fold in range(2):
        torch.manual_seed(fold)
        network = build(ARCHITECTURE)
        torch.nn.init.normal_([p for p in network.parameters() if p.ndim == 2][-1], std=2)
        trained = {f"model.{name}": value for name, value in network.state_dict().items()}
        file = save_weights(root / f"fold{fold}.safetensors", trained, {"architecture": ARCHITECTURE})
        learnt.append({"file": str(file)})
    return saving.save_weights(root / "densenet40.safetensors", learnt, HEADER)


def lay(root: Path, labelled: bool = True) -> Path:
    """Film a: a folder of frames 10, 12, 14 with two cells; film b: a stack of five, one cell."""
    (root / "a").mkdir(parents=True)
    for number, frame in zip(NUMBERS, film(3, seed=1), strict=True):
        Image.fromarray(frame).save(root / "a" / f"t{number:03d}.png")
    stack(root / "b" / "b.tif", film(5, seed=2), imagej=True, metadata={"axes": "TYX"})
    rows = [("a", cell, number, 6.0 + 4 * cell, 9.0, ("continuous", "unknown", "discontinuous")[k])
            for cell in (1, 2) for k, number in enumerate(NUMBERS)]  # fmt: skip
    rows += [("b", 1, t, 20.0 - t, 11.0, "continuous") for t in range(5)]
    table = pd.DataFrame(rows, columns=["sequence", "cell", "frame", "x", "y", "label"])
    table.drop(columns=[] if labelled else ["label"]).to_csv(root / "points.csv", index=False)
    return root


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> data.Films:
    return data.load(lay(tmp_path_factory.mktemp("films") / "new"), ["phase"])


def predicted(films: data.Films, weights: Path, out: Path, **own: Any) -> pd.DataFrame:  # noqa: ANN401
    return predicting.predict_films(films, weights, out, n_samples=T, **EXACT, **own)


@pytest.fixture(scope="module")
def left(films: data.Films, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path]:
    out = tmp_path_factory.mktemp("left")
    return predicted(films, weights, out), out


def test_new_films_are_predicted_by_all_folds_together(
    films: data.Films, weights: Path, left: tuple[pd.DataFrame, Path]
) -> None:  # fmt: skip
    found, _ = left
    pixels = patches.cut(films, np.arange(11), 16, "zero")
    drawn = [
        predict(pixels, np.arange(11), network, T, keep=True, **EXACT)["samples"]
        for network in saving.load_weights(weights)["networks"]
    ]
    assert np.abs(drawn[0] - drawn[1]).max() > 0.01
    for name, values in parts_of(np.concatenate(drawn)).items():
        np.testing.assert_allclose(found[name], values, atol=1e-6)
    pd.testing.assert_frame_equal(found[list(films.points)], films.points)
    literal = ["continuous" if y <= 0.4 else "discontinuous" if y >= 0.6 else "uncertain" for y in found["mean"]]
    assert found["says"].tolist() == literal
    assert found["outcome"].tolist() == outcomes(found["mean"], found["label"]).tolist()
    assert (found["outcome"] == "").tolist() == (found["label"] == "unknown").tolist()


def test_a_second_call_does_no_work(
    films: data.Films, weights: Path, left: tuple[pd.DataFrame, Path], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr(predicting, "predict", refused)
    monkeypatch.setattr(patches, "write", refused)
    found, out = left
    pd.testing.assert_frame_equal(predicted(films, weights, out), found)
    with pytest.raises(Exception, match="done again"):
        predicted(films, weights, out, seed=1)


def test_shards_change_nothing(
    films: data.Films, weights: Path, left: tuple[pd.DataFrame, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(predicting, "SHARD", 4)
    found = predicted(films, weights, tmp_path)
    assert len(list((tmp_path / "work").rglob("*.safetensors"))) == 2 * 3
    pd.testing.assert_frame_equal(found, left[0], atol=1e-6, rtol=0)


def test_films_without_labels_have_no_outcome(weights: Path, left: tuple[pd.DataFrame, Path], tmp_path: Path) -> None:
    films = data.load(lay(tmp_path / "new", labelled=False))
    found = predicted(films, weights, tmp_path)
    assert "outcome" not in found
    assert found["says"].tolist() == left[0]["says"].tolist()
    products.leave(tmp_path, films, found)
    assert not {"label", "outcome"} & set(pd.read_csv(tmp_path / "predictions.csv"))
    assert not {"label", "outcome"} & set(pd.read_csv(tmp_path / "review.csv"))


def test_films_of_other_channels_are_refused_before_patches_are_cut(
    films: data.Films, weights: Path, tmp_path: Path
) -> None:  # fmt: skip
    with pytest.raises(DataError, match=r"new has the channels dna, and .* learnt from phase"):
        predicted(replace(films, channels=("dna",)), weights, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("mean", "word"), [
    (0.0, "continuous"), (0.4, "continuous"), (0.400001, "uncertain"), (0.599999, "uncertain"), (0.6, "discontinuous"),
    (1.0, "discontinuous"),
])  # fmt: skip
def test_what_a_mean_says(mean: float, word: str) -> None:
    assert predicting.says([mean]) == [word]


def keyed(table: pd.DataFrame) -> list[tuple[str, int]]:
    return list(zip(table["cell"], table["frame"], strict=True))


def test_numbers_of_the_files_come_back(films: data.Films, left: tuple[pd.DataFrame, Path]) -> None:
    found, out = left
    files = products.leave(out, films, found, review_frames=6, review_gap=1)
    assert [file.name for file in files] == ["predictions.csv", "sequences.csv", "review.pdf", "review.csv"]
    wanted = [*itertools.product(("a/1", "a/2"), NUMBERS), *itertools.product(("b/1",), range(5))]
    written = pd.read_csv(files[0])
    assert keyed(written) == wanted
    np.testing.assert_allclose(written["mean"], found["mean"])
    assert found["frame"].tolist() == [0, 1, 2] * 2 + [0, 1, 2, 3, 4]  # the table itself keeps indices
    asked = pd.read_csv(files[3])
    assert len(asked) == 6
    assert asked["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    of = dict(zip(wanted, found["epistemic"], strict=True))
    np.testing.assert_allclose([of[key] for key in keyed(asked)], sorted(of.values(), reverse=True)[:6])
    by_file = written.set_index(["cell", "frame"]).loc[keyed(asked)].reset_index()
    for name in ("sequence", "x", "y", "label", "mean", "epistemic", "aleatoric", "says"):
        assert asked[name].tolist() == by_file[name].tolist()
    assert "row" not in asked


def pages_of(path: Path) -> int:
    return len(re.findall(rb"/Type /Page\b", path.read_bytes()))


@pytest.mark.parametrize(("n", "pages"), [(1, 1), (11, 1)])
def test_review_pages(n: int, pages: int, films: data.Films, left: tuple[pd.DataFrame, Path], tmp_path: Path) -> None:
    found, _ = left
    pdf, csv = products.write_review(tmp_path / "r.pdf", films, found.attrs["patches"], found, n, 1)
    assert pages_of(pdf) == pages
    assert len(pd.read_csv(csv)) == n


def test_a_long_review_has_more_pages(films: data.Films, left: tuple[pd.DataFrame, Path], tmp_path: Path) -> None:
    found, _ = left
    twice = pd.concat([found, found.assign(cell=found["cell"] + "'")], ignore_index=True)
    twice["row"] = np.tile(np.arange(11), 2)
    pdf, csv = products.write_review(tmp_path / "r.pdf", films, found.attrs["patches"], twice, 60, 1)
    assert pages_of(pdf) == 2  # 16 pictures on one
    assert len(pd.read_csv(csv)) == 22


def test_review_shows_the_patches_of_its_rows(
    films: data.Films, left: tuple[pd.DataFrame, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Of a table of some frames only, in another order than the patches'."""
    found, _ = left
    shown = list[pd.DataFrame]()
    again = products.review.pages
    monkeypatch.setattr(products.review, "pages", lambda table, pixels: shown.append(table) or again(table, pixels))
    some = found.assign(row=np.arange(11)).iloc[[9, 4, 2]]
    _, csv = products.write_review(tmp_path / "r.pdf", films, found.attrs["patches"], some, 60, 1)
    [table] = shown
    names = films.points["cell"] + " " + pd.Series(data.file_frames(films, films.points)).astype(str)
    assert (table["cell"] + " " + table["frame"].astype(str)).tolist() == names[table["row"]].tolist()
    assert sorted(table["row"]) == [2, 4, 9]
    assert keyed(pd.read_csv(csv)) == keyed(table)


def test_cells_of_new_films(films: data.Films, left: tuple[pd.DataFrame, Path], tmp_path: Path) -> None:
    found, _ = left
    products.leave(tmp_path, films, found)
    table = pd.read_csv(tmp_path / "sequences.csv").set_index("cell")
    assert table.index.tolist() == ["a/1", "a/2", "b/1"]
    for cell, one in table.iterrows():
        own = found[found["cell"] == cell]
        assert one["sequence"] == str(cell)[0]
        assert one["frames"] == len(own)
        for name in ("mean", "epistemic", "aleatoric"):
            assert one[name] == pytest.approx(sum(own[name]) / len(own))
        for word in (*MODES, "uncertain"):
            assert one[word] == pytest.approx(sum(said == word for said in own["says"]) / len(own))


def test_rows_of_new_frames(left: tuple[pd.DataFrame, Path]) -> None:
    said = ["continuous"] * 6 + ["discontinuous"] * 5
    rows = pd.DataFrame(products.new_rows(left[0].assign(says=said))).set_index("row")
    assert rows["value"].to_dict() == pytest.approx({
        "continuous": 100 * 6 / 11, "discontinuous": 100 * 5 / 11, "uncertain": 0.0
    })  # fmt: skip
    assert rows["n"].tolist() == [11] * 3
    assert rows["note"]["continuous"] == "6 of 11 frames of 3 cells"


def test_predictions_of_a_run_keep_their_part(
    films: data.Films, left: tuple[pd.DataFrame, Path], tmp_path: Path
) -> None:  # fmt: skip
    frames = left[0].assign(row=np.arange(11), part="test", network="vgg16")
    written = pd.read_csv(products.write_predictions(tmp_path / "p.csv", films, frames))
    assert {"part", "network", "outcome", "label"} <= set(written)
    assert "row" not in written
    assert written["frame"].tolist()[:3] == list(NUMBERS)
