"""Setting (a): its runs and tables, where its windows come from, and where a map's cells lie in the image."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from cellweak_core.images import scale_to_unit
from cellweak_core.rosettes import windows
from cellweak_core.rosettes.context import ContextNet
from cellweak_core.rosettes.data import RosetteData
from cellweak_core.rosettes.detectors import WindowScores, build_detector, window_logits
from cellweak_core.rosettes.networks import Classifier
from cellweak_core.rosettes.weak import folds_by_day
from cellweak_core.rosettes.windows import (
    by_fraction,
    detected_windows,
    enlarged,
    final,
    kept_weights,
    labelled_windows,
    map_centre,
    window_runs,
    window_table,
    with_needed,
)

DETECTOR: dict[str, Any] = {
    "width": 2, "image_size": 32, "n_convs": 3, "fc": 4, "dropout": 0.0, "bn_momentum": 0.1, "context_width": 2,
    "context_dropout": 0.0, "steps": 2, "batch_size": 4, "lr": 1e-2, "lr_factor": 1.0, "weight_decay": 0.0,
    "schedule": "constant", "average": 0.0, "normalise": "standardise", "pooling": "mean", "sharpness": 1.0,
    "n_turns": 1, "device": "cpu", "precision": "32-true", "transfer": "text",
}  # fmt: skip


def data_of(images: NDArray[np.uint8], **more: Any) -> RosetteData:  # noqa: ANN401
    """Rosette and other image in turn, the first half of one day, the rest of another."""
    n = len(images)
    target = np.arange(n) % 2
    day = np.where(np.arange(n) < n // 2, "d1", "d2")
    table = pd.DataFrame({"file": [f"{k}.png" for k in range(n)], "target": target, "day": day})
    table["label"] = np.where(target == 1, "rosette", "other")
    table["group"] = table["embryo"] = table["day"] + "_" + (table.index % 3).astype(str)
    return RosetteData(images, table, "rosette", "hand-made", "d", **more)


def noise(n: int, *shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(np.uint8)


# --- runs and tables


def test_fractions_of_figure_9_are_always_there() -> None:
    assert with_needed([]) == [1.0, 0.2]
    assert with_needed([0.02, 1, 0.4]) == [1.0, 0.4, 0.2, 0.02]
    for wrong in (0, 1.5, -1):
        with pytest.raises(ValueError, match="expected numbers above 0 and at most 1"):
            with_needed([0.5, wrong])


@pytest.mark.parametrize("per_batch", [1, 5, 100])
def test_every_start_fraction_and_repeat_is_trained_once(per_batch: int) -> None:
    runs = window_runs({"lr": 1.0}, [0.5], 3, 7, per_batch)
    members = [m for r in runs for m in zip(r["fractions"], r["seeds"], r["starts"], strict=True)]
    assert members == [(f, s, start) for f in (1.0, 0.5, 0.2) for s in (7, 8, 9) for start in ("random", "wgan")]
    assert all(r["lr"] == 1.0 and len(r["starts"]) <= per_batch for r in runs)
    keep = [(r["fractions"][k], r["seeds"][k], r["starts"][k]) for r in runs for k in r["keep_weights"]]
    assert keep == [(f, 7, start) for f in (1.0, 0.2) for start in ("random", "wgan")]


def trained() -> tuple[list[dict[str, Any]], list[dict[str, Any]], NDArray[np.int64]]:
    """Two trainings in one batch, two evaluations each, four test windows."""
    runs = [{"starts": ["random", "wgan"], "fractions": [1.0, 0.2], "seeds": [3, 3], "keep_weights": [1]}]
    curve = torch.tensor([[[0.9, 0.1, 0.1, 0.1], [0.9, 0.9, 0.1, 0.1]], [[0.1] * 4, [0.9, 0.9, 0.9, 0.1]]])
    result = {"curve_step": torch.tensor([10, 20]), "curve_probabilities": curve, "n_labels": torch.tensor([8, 2])}
    result |= {"member1.a": torch.ones(2), "member10.a": torch.zeros(2)}
    return runs, [result], np.array([1, 1, 0, 0])


def test_a_table_of_trainings_by_hand() -> None:
    table = window_table(*trained())
    columns = ["classifier", "fraction", "seed", "n_labels", "step", "accuracy", "precision", "recall"]
    expected = [
        ("conventional", 1.0, 3, 8, 10, 0.75, 1.0, 0.5),
        ("conventional", 1.0, 3, 8, 20, 1.0, 1.0, 1.0),
        ("GAN", 0.2, 3, 2, 10, 0.5, np.nan, 0.0),
        ("GAN", 0.2, 3, 2, 20, 0.75, 2 / 3, 1.0),
    ]
    assert list(table.columns) == columns
    pd.testing.assert_frame_equal(table, pd.DataFrame(expected, columns=columns))
    assert final(table)["step"].tolist() == [20, 20]
    assert final(table)["accuracy"].tolist() == [1.0, 0.75]


def test_kept_weights_are_those_of_start_and_fraction() -> None:
    runs, results, _ = trained()
    state = kept_weights(runs, results, "wgan", 0.2)
    assert list(state) == ["a"]
    assert state["a"].tolist() == [1, 1]
    with pytest.raises(KeyError, match=r"no weights kept for start 'random' with 100% of the labels"):
        kept_weights(runs, results, "random", 1.0)


def test_mean_and_deviation_by_fraction_by_hand() -> None:
    rows = [("GAN", 0.2, 5, 20, a) for a in (0.5, 0.7)] + [("GAN", 1.0, 9, 20, 0.9), ("GAN", 1.0, 9, 10, 0.1)]
    rows += [("conventional", 0.2, 5, 20, a) for a in (0.4, 0.6, 0.8)]
    table = pd.DataFrame(rows, columns=["classifier", "fraction", "n_labels", "step", "accuracy"])
    found = by_fraction(table)
    assert found[["classifier", "fraction"]].to_numpy().tolist() == [["GAN", 1.0], ["GAN", 0.2], ["conventional", 0.2]]
    np.testing.assert_allclose(found["mean"], [0.9, 0.6, 0.6])
    np.testing.assert_allclose(found["sd"], [np.nan, 0.02**0.5, 0.2])  # divided by n - 1
    assert found["n_runs"].tolist() == [1, 2, 3]
    assert found["n_labels"].tolist() == [9, 5, 5]


# --- where a cell of a map lies


class Change(nn.Module):
    """What a detector's map is more than that of a grey image, in double precision."""

    def __init__(self, model: WindowScores, grey: float) -> None:
        super().__init__()
        self.model, self.grey = model.double(), grey

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x.double()) - self.model(torch.full_like(x, self.grey).double())


def scored(network: str) -> WindowScores:
    """A detector with random weights through which every pixel of its field is felt."""
    torch.manual_seed(0)
    model = WindowScores(Classifier(2, 32, 3, 4) if network == "window" else ContextNet(1), dense=network == "window")
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.uniform_(module.weight, 0.1, 0.3)
    if isinstance(model.network, Classifier):
        model.network.fc2.weight.data[0] = 0  # its logit is a difference, which would take the signal away
    return model.eval()


def field(model: WindowScores, side: int, cell: tuple[int, int], n_turns: int) -> tuple[list[int], list[int]]:
    """First and last (row, column) that moves a cell of the map."""
    plain = np.full((side, side), 180, np.uint8)
    changed = np.repeat(plain[None], 2 * side, 0)
    for k in range(side):
        changed[k, k] = 255
        changed[side + k, :, k] = 255
    change = Change(model, float(scale_to_unit(torch.as_tensor(plain))[0, 0]))
    moved = window_logits(change, changed, "unit", n_turns=n_turns)[:, cell[0], cell[1]].abs()
    felt = (moved > 1e-9 * moved.max()).numpy()
    rows, columns = np.flatnonzero(felt[:side]), np.flatnonzero(felt[side:])
    return [int(rows[0]), int(columns[0])], [int(rows[-1]), int(columns[-1])]


@pytest.mark.parametrize(
    ("network", "side", "n", "cell", "n_turns", "lean_px"),
    [
        ("window", 80, 7, (3, 2), 1, 0),
        ("window", 86, 7, (3, 4), 1, 0),  # 6 px at the right and lower border fill no stride
        ("window", 80, 7, (3, 2), 8, 0),
        ("context", 104, 13, (6, 6), 8, 0),
        ("context", 104, 13, (6, 6), 1, -3.5),  # its kernels are odd: one view leans to the upper left
    ],
)
def test_a_cell_sees_around_its_centre(
    network: str, side: int, n: int, cell: tuple[int, int], n_turns: int, lean_px: float
) -> None:
    model = scored(network)
    assert window_logits(model, noise(1, side, side), "unit").shape == (1, n, n)
    first, last = field(model, side, cell, n_turns)
    assert last[0] - first[0] < side - 1  # the border does not cut the field
    for axis in (0, 1):
        # Pixel k covers k..k+1, so that the middle of the pixels a..b is (a + b + 1) / 2.
        assert (first[axis] + last[axis] + 1) / 2 == map_centre(cell[axis], n, side) + lean_px


def test_centres_of_both_networks_by_hand() -> None:
    assert [map_centre(k, 13, 128) for k in (0, 1, 12)] == [16, 24, 112]  # windows of 32 px at a stride of 8
    assert [map_centre(k, 16, 128) for k in (0, 1, 15)] == [4, 12, 124]  # cells of 8 px
    assert map_centre(0, 1, 128) == 64  # the 128-px network's one window
    assert map_centre(0, 1, 32) == 16


@pytest.mark.parametrize(("shape", "cells"), [((128, 128), (13, 13)), ((128, 128), (16, 16)), ((64, 86), (5, 7))])
def test_an_enlarged_map_has_each_cell_around_its_centre(shape: tuple[int, int], cells: tuple[int, int]) -> None:
    values = np.arange(np.prod(cells), dtype=np.float32).reshape(cells)
    out = enlarged(values, shape)
    expected = np.full(shape, np.nan, np.float32)
    for i in range(cells[0]):
        for j in range(cells[1]):
            y, x = map_centre(i, cells[0], shape[0]), map_centre(j, cells[1], shape[1])
            expected[int(y) - 4 : int(y) + 4, int(x) - 4 : int(x) + 4] = values[i, j]
    np.testing.assert_array_equal(out, expected)
    assert np.isfinite(out).sum() == 64 * values.size


# --- windows that a detector points out


def test_detected_windows_lie_at_the_highest_logit() -> None:
    images = np.zeros((4, 128, 128), np.uint8)
    maps = np.zeros((4, 13, 13), np.float32)
    for k, (i, j) in enumerate([(0, 0), (3, 7), (0, 0), (12, 12)]):
        maps[k, i, j] = 1
        images[k, 8 * i : 8 * i + 32, 8 * j : 8 * j + 32] = 10 + k  # that window and nothing else
    data = data_of(images)  # rosettes: 1 and 3
    found = detected_windows(data, maps, 5, 0, 32, 0)
    assert found.images.shape == (2, 32, 32)
    assert sorted(w.mean() for w in found.images) == [11, 13]
    assert all(w.min() == w.max() for w in found.images)
    # Cells of the context network at a border: the window stays inside.
    corner = np.zeros((4, 16, 16), np.float32)
    corner[1, 0, 15] = corner[3, 15, 0] = 1
    data = data_of(np.tile(np.arange(128, dtype=np.uint8), (4, 128, 1)))
    left = sorted(int(w[0, 0]) for w in detected_windows(data, corner, 5, 0, 32, 0).images)
    assert left == [0, 96]


def test_detected_windows_of_images_that_are_not_square() -> None:
    images = np.zeros((2, 64, 96), np.uint8)
    images[1, 16:48, 40:72] = 200
    maps = np.zeros((2, 5, 9), np.float32)
    maps[1, 2, 5] = 1
    found = detected_windows(data_of(images), maps, 1, 1, 32, 0)
    assert (found.images[0] == 200).all()


def test_detected_windows_are_chosen_by_the_seed_and_keep_their_rows() -> None:
    data, maps = data_of(noise(20, 48, 48)), np.random.default_rng(1).normal(size=(20, 3, 3)).astype(np.float32)
    one, two, other = (detected_windows(data, maps, 4, 6, 32, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.images, two.images)
    assert one.table["target"].tolist() == [1] * 4 + [0] * 6
    assert one.table["file"].nunique() == 10
    assert one.table["file"].tolist() != other.table["file"].tolist()
    whole = data.table.set_index("file")
    pd.testing.assert_frame_equal(one.table.set_index("file"), whole.loc[one.table["file"]])
    for window, file in zip(one.images, one.table["file"], strict=True):  # each is a piece of its image
        image = data.images[int(file.removesuffix(".png"))]
        every = np.lib.stride_tricks.sliding_window_view(image, (32, 32))
        assert (every == window).all((2, 3)).any()
    assert len(detected_windows(data, maps, 0, 0, 32, 0)) == 0


# --- the four sources


def ask(data: RosetteData, folder: Path, **changes: Any) -> tuple[RosetteData, str]:  # noqa: ANN401
    """Windows for the test day d2."""
    fold, days = folds_by_day(data.table)
    shared = {"images": data.images, "target": data.table["target"].to_numpy(), "fold": fold}
    asked = {"n_rosette": 3, "n_other": 4, "seed": 0, **changes}
    return labelled_windows(data, shared, DETECTOR, days.index("d2"), folder=folder, **asked)


def test_ready_windows_come_first(tmp_path: Path) -> None:
    ready = data_of(noise(6, 32, 32))
    data = data_of(noise(8, 48, 48), windows=ready, truth=[np.zeros((0, 2))] * 8)
    assert ask(data, tmp_path) == (ready, "ready windows of the data set")
    wrong = replace(data, windows=data_of(noise(6, 40, 36)))
    with pytest.raises(ValueError, match=r"windows/: expected 32x32 px, got 36x40"):
        ask(wrong, tmp_path)


def test_images_that_are_windows(tmp_path: Path) -> None:
    data = data_of(noise(8, 32, 32))
    assert ask(data, tmp_path) == (data, "the images are windows")


def simulated(centres: list[list[tuple[float, float]]]) -> RosetteData:
    truth = [np.array(c, float).reshape(-1, 2) for c in centres]
    return data_of(noise(len(centres), 64, 64), truth=truth, cells=[np.full(len(t), 5) for t in truth])


def test_simulated_windows_hold_their_rosette(tmp_path: Path) -> None:
    # 20..43 lies far enough inside for a window and its random shift; the centres at 19.9 and 44 do not.
    centres = [[], [(20, 30)], [], [(43, 43), (19.9, 30)], [], [(30, 44)], [], [(32, 32)]]
    found, how = ask(simulated(centres), tmp_path, n_rosette=100)
    assert how == "simulated windows"
    assert found.images.shape == (7, 32, 32)
    assert found.table["target"].tolist() == [1] * 3 + [0] * 4  # three of five rosettes can be cut out
    assert found.truth is not None
    for target, places in zip(found.table["target"], found.truth, strict=True):
        assert (len(places) > 0) == bool(target)
    for seed in range(20):  # whatever the shift
        assert ask(simulated(centres), tmp_path, n_rosette=100, seed=seed)[0].table["target"].sum() == 3
    assert ask(simulated(centres), tmp_path, n_rosette=2)[0].table["target"].sum() == 2


def test_detected_windows_never_use_the_labels_of_the_test_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = noise(16, 48, 48)
    images[1::2, 8:20, 8:20] = 250
    data = data_of(images)
    other = data.table.copy()
    at_test = other["day"] == "d2"
    other.loc[at_test, "target"] = 1 - other.loc[at_test, "target"]
    turned = replace(data, table=other)
    wrong = data.table.copy()
    wrong.loc[~at_test, "target"] = 1 - wrong.loc[~at_test, "target"]
    seen: list[NDArray[np.float32]] = []

    def caught(data: RosetteData, maps: NDArray[np.float32], *rest: int) -> RosetteData:
        seen.append(maps)
        return detected_windows(data, maps, *rest)

    monkeypatch.setattr(windows, "detected_windows", caught)
    found, how = ask(data, tmp_path / "a", n_rosette=100)
    assert how == "windows pointed out by a weak detector"
    assert found.table["target"].tolist() == [1] * 8 + [0] * 4
    ask(turned, tmp_path / "b")
    ask(replace(data, table=wrong), tmp_path / "c")
    np.testing.assert_array_equal(seen[0], seen[1])
    assert np.abs(seen[0] - seen[2]).max() > 1e-4  # the other day's labels do teach
    assert seen[0].shape == (16, 6, 6)


def test_the_detector_is_trained_once_and_with_all_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Mapping[str, Any]] = []
    real = windows.map_runs

    def caught(task: Any, runs: Any, **options: Any) -> list[Any]:  # noqa: ANN401
        asked.extend(runs)
        return real(task, runs, **options)

    monkeypatch.setattr(windows, "map_runs", caught)
    first, _ = ask(data_of(noise(8, 40, 40)), tmp_path)
    [file] = tmp_path.glob("*.safetensors")
    made = file.stat().st_mtime_ns
    again, _ = ask(data_of(noise(8, 40, 40)), tmp_path)
    np.testing.assert_array_equal(first.images, again.images)
    assert [f.stat().st_mtime_ns for f in tmp_path.iterdir()] == [made]
    assert asked[0] == asked[1]
    assert (asked[0]["network"], asked[0]["fraction"], asked[0]["test_fold"]) == ("context", 1.0, 1)
    assert build_detector(asked[0]).network.stride == 8  # as `map_centre` expects
