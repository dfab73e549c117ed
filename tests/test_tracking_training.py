"""Crops, losses and trainings: what is read, what is turned, the same seed, resuming, and that they learn."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from cellweak_core import parallel
from cellweak_core.files import CellweakWarning
from cellweak_core.tracking import training
from cellweak_core.tracking.inference import (
    predict_frame_map,
    predict_pair_maps,
    restored,
)
from cellweak_core.tracking.maps import disc_mask, likelihood_maps, motion_maps
from cellweak_core.tracking.networks import CmfNet, CoDetectionNet, UNet
from cellweak_core.tracking.peaks import mpm_peaks, peaks
from cellweak_core.tracking.sampling import CellTable, Crop, CropSampler, starts, turned, turned_motion
from cellweak_core.tracking.training import (
    masked_mse,
    mpm_loss,
    train_cmf,
    train_codetection,
    train_detector,
    train_mpm,
)
from cellweak_core.training import random_source

Task = Callable[..., dict[str, Any]]
TASKS: dict[str, Task] = {
    "codetection": train_codetection,
    "detector": train_detector,
    "mpm": train_mpm,
    "cmf": train_cmf,
}
TINY: dict[str, Any] = {
    "width": 2, "crop_px": 32, "batch_size": 2, "steps": 6, "seed": 1, "device": "cpu", "log_every": 1
}  # fmt: skip
SHAPE = (64, 96)


def spots(n_frames: int = 5, n_cells: int = 12, seed: int = 0, speed_px: float = 2.0) -> dict[str, Any]:
    """Bright spots that drift: images uint8, points and the links of intervals 1 and 2."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(4, np.array(SHAPE[::-1]) - 4, (n_cells, 2))
    step = rng.normal(0, speed_px, (n_cells, 2))
    at = [start + t * step for t in range(n_frames)]
    images = likelihood_maps(at, SHAPE, 3.0) * 150 + 40 + rng.normal(0, 8, (n_frames, *SHAPE))
    points = [np.c_[np.full(n_cells, t), p] for t, p in enumerate(at)]
    pairs = [
        np.c_[np.full(n_cells, t), np.full(n_cells, d), at[t], at[t + d]]
        for d in (1, 2)
        for t in range(n_frames - d)
    ]
    return {
        "images": images.clip(0, 255).astype(np.uint8),
        "points": np.concatenate(points),
        "pairs": np.concatenate(pairs),
    }


def assert_equal(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        same = torch.equal(value, b[name]) if isinstance(value, Tensor) else np.array_equal(value, b[name])
        assert same, name


def weights(result: dict[str, Any]) -> list[Tensor]:
    return [value for name, value in result.items() if name.startswith("model.")]


# Crops


def sampler(**changes: Any) -> CropSampler:  # noqa: ANN401
    options = {"images": spots()["images"], "crop_px": 32, "starts": {1: [0, 1, 2, 3], 2: [0, 2]}} | changes
    return CropSampler(**options)


def test_crops_are_cut_and_turned() -> None:
    cut = sampler()
    crops = [Crop(0, 1, 5, 7, code) for code in range(8)] + [Crop(2, 2, 64, 32, 3)]
    x = cut.pixels(crops)
    assert x.shape == (9, 2, 32, 32)
    assert x.dtype == torch.float32
    images = torch.from_numpy(cut.images).float() / 255
    for got, crop in zip(x, crops, strict=True):
        for channel, frame in enumerate((crop.frame, crop.frame + crop.interval)):
            window = images[frame, crop.top : crop.top + 32, crop.left : crop.left + 32]
            torch.testing.assert_close(got[channel], turned(window, crop.code))
    assert cut.pixels([Crop(3, 0, 0, 0, 0)]).shape == (1, 1, 32, 32)


@pytest.mark.parametrize(
    ("images", "white_level", "factor"),
    [
        (lambda i: i, 0.0, 1 / 255),
        (lambda i: i.astype(np.uint16) * 16, 4095.0, 16 / 4095),
        (lambda i: i.astype(np.uint16) * 16, 0.0, 16 / 65535),
        (lambda i: i / np.float32(255), 0.0, 1 / 255),
    ],
)
def test_white_becomes_one(images: Callable[..., NDArray[Any]], white_level: float, factor: float) -> None:
    raw = spots()["images"]
    x = sampler(images=images(raw), white_level=white_level).pixels([Crop(0, 1, 0, 0, 0)])
    np.testing.assert_allclose(x[0], raw[:2, :32, :32] * factor, rtol=1e-5)


def test_crops_come_from_the_region_from_every_frame_and_turn() -> None:
    cut = sampler(region=(10, 4, 60, 50))
    crops = cut.draw(600, random_source(0))
    assert crops == cut.draw(600, random_source(0))
    assert crops != cut.draw(600, random_source(1))
    assert {c.code for c in crops} == set(range(8))
    assert {(c.frame, c.interval) for c in crops} == {(f, 1) for f in range(4)} | {(0, 2), (2, 2)}
    assert (min(c.left for c in crops), max(c.left for c in crops)) == (10, 28)
    assert (min(c.top for c in crops), max(c.top for c in crops)) == (4, 18)
    assert cut.draw(0, random_source(0)) == []


def test_frames_with_a_partner() -> None:
    assert starts(range(4), [0, 1, 3]) == {0: [0, 1, 2, 3], 1: [0, 1, 2], 3: [0]}
    assert starts([7, 2, 3], [1, 5]) == {1: [2], 5: [2]}
    with pytest.raises(ValueError, match="no two of the 4 frames are 4 apart"):
        starts(range(4), [1, 4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_px": 40}, "multiple of 16 from 32 up that fits the region of 96 x 64 px, got 40"),
        ({"crop_px": 16}, "got 16"),
        ({"crop_px": 80}, "got 80"),
        ({"region": (0, 0, 20, 64)}, "region of 20 x 64 px"),
        ({"region": (0, 0, 97, 64)}, "x1 <= 96"),
        ({"region": (-1, 0, 60, 64)}, "got -1, 0, 60, 64"),
        ({"starts": {1: [4]}}, "expected numbers from 0 to 4, got 4 to 5"),
        ({"images": np.zeros((64, 96))}, r"expected \(T, H, W\), got \(64, 96\)"),
    ],
)
def test_what_cannot_be_cropped_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sampler(**changes)


@pytest.mark.parametrize("code", range(8))
def test_what_is_drawn_at_turned_cells_fits_the_turned_crop(code: int) -> None:
    """Images, maps, vectors and masks of a crop: all turned alike, and the same as cut from the whole frame's."""
    data = spots(n_cells=30)
    crop, window = Crop(1, 1, 20, 9, code), np.s_[..., 9:41, 20:52]
    links = data["pairs"][(data["pairs"][:, :2] == (1, 1)).all(1)]
    run = training._settings({"crop_px": 32, "sigma_px": 4.0, "motion_sigma_px": 4.0, "ignore_radius_px": 6.0})
    cut = sampler(images=data["images"])
    points, device = CellTable(data["points"], 1), torch.device("cpu")
    got = training._likelihood(points, [crop], [(1,)], run, device)[0, 0]
    frame = data["points"][data["points"][:, 0] == 1, 1:]
    expected = torch.from_numpy(likelihood_maps([frame], SHAPE, 4.0)[0][window])
    torch.testing.assert_close(got, turned(expected, code), atol=1e-6, rtol=1e-4)
    # Every third cell is of unknown past.
    known, unknown = CellTable(links, 2, 4), CellTable(links[::3, [0, 1, 4, 5]], 2)
    target, valid = training._motion(known, unknown, cut, [crop], run, device)
    motion = torch.from_numpy(motion_maps(links[:, 2:], SHAPE, 4.0)[window])
    torch.testing.assert_close(target[0], turned_motion(motion, code), atol=1e-5, rtol=1e-4)
    mask = torch.from_numpy(~disc_mask(links[::3, 4:], SHAPE, 6.0)[window])
    assert torch.equal(valid[0], turned(mask, code))
    assert not mask.all()


def test_cells_are_found_by_their_keys() -> None:
    table = CellTable(np.array([[0, 1, 5.5, 6], [0, 2, 7, 8], [3, 1, 1, 2], [0, 1, 90, 91]]), 2)
    assert table.rows(0, 1).tolist() == [[5.5, 6], [90, 91]]
    assert table.rows(4, 1).shape == (0, 2)
    near = table.near([Crop(0, 1, 4, 4, 0), Crop(4, 1, 4, 4, 0)], [(0, 1), (4, 1)], 32, 10)
    assert near.tolist() == [[[1.5, 2]], [[np.inf, np.inf]]]
    assert table.near([Crop(4, 1, 0, 0, 5)], [(4, 1)], 32, 10).shape == (1, 0, 2)
    with pytest.raises(ValueError, match="found NaN"):
        CellTable([[0, np.nan, 1]], 1)


def test_the_target_is_known_where_no_cell_beyond_the_region_reaches() -> None:
    assert sampler().known([Crop(0, 1, 0, 0, 0)], 9) is None
    cut = sampler(region=(0, 0, 60, 64))
    known = cut.known([Crop(0, 1, 28, 32, 0), Crop(0, 1, 28, 32, 1), Crop(0, 1, 0, 0, 6)], 9)
    assert known is not None
    expected = torch.ones(32, 32, dtype=torch.bool)
    expected[:, 60 - 9 - 28 :] = False  # only the right edge is not the image's own
    assert torch.equal(known[0], expected)
    assert torch.equal(known[1], expected.flip(1))
    assert known[2].all()


# Losses


@pytest.mark.parametrize("masked", [True, False])
def test_losses_are_the_literal_ones(masked: bool) -> None:
    rng = np.random.default_rng(0)
    predicted, target = rng.normal(size=(2, 2, 3, 4, 5))
    valid = rng.random((2, 4, 5)) < 0.6
    squares, lengths = [], []
    for b, y, x in itertools.product(range(2), range(4), range(5)):
        if masked and not valid[b, y, x]:
            continue
        v, w = target[b, :, y, x], predicted[b, :, y, x]
        squares += [float((v[c] - w[c]) ** 2) for c in range(3)]
        d = np.sqrt((v**2).sum()) - np.sqrt((w**2).sum())
        lengths.append(max((0.8 - 1) * d, 0.8 * d) ** 2)
    tensors = torch.from_numpy(predicted), torch.from_numpy(target), torch.from_numpy(valid) if masked else None
    assert float(masked_mse(*tensors)) == pytest.approx(np.mean(squares))
    assert float(mpm_loss(*tensors)) == pytest.approx(np.mean(squares) + np.mean(lengths))


def test_masked_pixels_have_no_gradient_and_zero_vectors_a_finite_one() -> None:
    target = torch.rand(1, 3, 4, 4)
    valid = torch.ones(1, 4, 4, dtype=torch.bool)
    valid[0, :2] = False
    predicted = torch.zeros(1, 3, 4, 4, requires_grad=True)
    mpm_loss(predicted, target, valid).backward()
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()
    assert not predicted.grad[:, :, :2].any()
    assert predicted.grad[:, :, 2:].all()
    nothing = mpm_loss(predicted.detach(), target, torch.zeros_like(valid))
    assert float(nothing) == 0
    short, long = (mpm_loss(scale * target, target) for scale in (0.5, 1.5))
    assert short > long


# Trainings


@pytest.mark.parametrize("name", TASKS)
def test_one_seed_gives_the_same_weights_and_another_does_not(name: str, tmp_path: Path) -> None:
    data, state = spots(), torch.get_rng_state()
    before = {key: value.copy() for key, value in data.items()}
    a, b, c = (
        TASKS[name]({**TINY, "seed": seed}, data, tmp_path / f"{i}.ckpt") for i, seed in enumerate((1, 1, 2))
    )
    assert_equal(a, b)
    assert not torch.equal(weights(a)[0], weights(c)[0])
    assert len(a["loss"]) == TINY["steps"]
    assert np.isfinite(a["loss"]).all()
    assert all(torch.isfinite(w).all() for w in weights(a))
    assert all(np.array_equal(before[key], value) for key, value in data.items())
    assert torch.equal(state, torch.get_rng_state())


class KilledError(Exception):
    pass


@pytest.mark.parametrize("name", TASKS)
def test_a_killed_training_resumes_bit_for_bit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = spots()
    run = {**TINY, "checkpoint_every": 2, "average": 0.9, "schedule": "cosine", "interval": [1, 2]}
    whole = TASKS[name](run, data, tmp_path / "whole.ckpt")
    drawn, draw = [], CropSampler.draw

    def dying(self: CropSampler, n: int, source: torch.Generator) -> list[Crop]:
        drawn.append(n)
        if len(drawn) == 6:  # in the sixth step; the checkpoint is of the fourth
            raise KilledError
        return draw(self, n, source)

    monkeypatch.setattr(CropSampler, "draw", dying)
    with pytest.raises(KilledError):
        TASKS[name](run, data, tmp_path / "killed.ckpt")
    assert_equal(whole, TASKS[name](run, data, tmp_path / "killed.ckpt"))
    assert len(drawn) == 6 + 2


def test_a_checkpoint_of_another_training_is_not_gone_on_from(tmp_path: Path) -> None:
    data = spots()
    train_detector(TINY, data, tmp_path / "k.ckpt")
    with pytest.warns(CellweakWarning, match="of other parameters or data"):
        result = train_detector({**TINY, "lr": 2e-3}, data, tmp_path / "k.ckpt")
    assert_equal(result, train_detector({**TINY, "lr": 2e-3}, data, tmp_path / "other.ckpt"))


def test_trainings_run_as_tasks_and_are_restored(tmp_path: Path) -> None:
    data = spots()
    results = [parallel.map_runs(task, [TINY], folder=tmp_path, shared=data)[0] for task in TASKS.values()]
    kinds = [CoDetectionNet, UNet, UNet, CmfNet]
    for result, kind in zip(results, kinds, strict=True):
        network = restored(result)
        assert isinstance(network, kind)
        assert not network.training
        state = network.state_dict()
        assert all(torch.equal(value, result[f"model.{name}"]) for name, value in state.items())


@pytest.mark.parametrize("name", TASKS)
def test_what_lies_outside_the_region_teaches_nothing(name: str, tmp_path: Path) -> None:
    data = spots(n_cells=40)
    run = {**TINY, "region": (0, 0, 64, 64)}
    a = TASKS[name](run, data, tmp_path / "a.ckpt")
    images, points, pairs = (data[key].copy() for key in ("images", "points", "pairs"))
    images[:, :, 64:] = 255 - images[:, :, 64:]
    points[points[:, 1] >= 63.5, 1:] = 90, 30
    ends, begins = pairs[:, 4] >= 63.5, pairs[:, 2] >= 63.5
    pairs[ends, 4:] = 90, 30
    pairs[begins, 2:4] = 80, 20  # of cells that came in, only that they did may be known
    assert ends.any()
    assert (begins & ~ends).any()
    b = TASKS[name](run, {"images": images, "points": points, "pairs": pairs}, tmp_path / "b.ckpt")
    assert_equal(a, b)
    c = TASKS[name](run, {**data, "images": 255 - data["images"]}, tmp_path / "c.ckpt")
    assert not torch.equal(weights(a)[0], weights(c)[0])


def test_frames_without_annotation_teach_nothing(tmp_path: Path) -> None:
    data = spots()
    a = train_codetection(TINY, {**data, "frames": [1, 2]}, tmp_path / "a.ckpt")
    images = data["images"].copy()
    images[[0, 3, 4]] = 0
    b = train_codetection(TINY, {**data, "images": images, "frames": [1, 2]}, tmp_path / "b.ckpt")
    assert_equal(a, b)
    pairs = data["pairs"][(data["pairs"][:, :2] == (1, 1)).all(1)]
    assert_equal(
        train_mpm(TINY, {**data, "pairs": pairs}, tmp_path / "c.ckpt"),
        train_mpm(TINY, {**data, "images": images, "pairs": pairs}, tmp_path / "d.ckpt"),
    )


def test_ignored_cells_change_what_is_learnt_and_crossing_discs_silence_it(tmp_path: Path) -> None:
    data = spots()
    plain = train_mpm(TINY, data, tmp_path / "a.ckpt")
    ignored = data["pairs"][:, [0, 1, 4, 5]]
    masked = train_mpm(TINY, {**data, "ignored": ignored}, tmp_path / "b.ckpt")
    assert not torch.equal(weights(plain)[0], weights(masked)[0])
    nothing = train_mpm({**TINY, "ignore_radius_px": 500.0}, {**data, "ignored": ignored}, tmp_path / "c.ckpt")
    assert not nothing["loss"].any()


def test_no_update_at_a_great_loss_where_that_is_asked_for(tmp_path: Path) -> None:
    data = spots()
    still = train_mpm({**TINY, "skip_loss": 1e-9}, data, tmp_path / "a.ckpt")
    untouched = train_mpm({**TINY, "steps": 0}, data, tmp_path / "b.ckpt")
    assert torch.equal(weights(still)[0], weights(untouched)[0])
    never = train_mpm({**TINY, "skip_loss": 50.0}, data, tmp_path / "c.ckpt")
    assert_equal(never, train_mpm(TINY, data, tmp_path / "d.ckpt"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 1.0}, "run: unknown learning_rate; expected any of width, interval"),
        ({"interval": 9}, "9 apart|9 frames apart"),
        ({"interval": 0}, "numbers of frames from 1 up, got 0"),
        ({"interval": []}, "numbers of frames from 1 up"),
        ({"schedule": "linear"}, "expected one of constant, cosine, steps"),
        ({"width": 3}, "even number"),
        ({"device": "tpu"}, "expected one of auto, cpu, cuda, mps"),
    ],
)
@pytest.mark.parametrize("task", [train_codetection, train_mpm])
def test_a_wrong_run_is_refused(task: Task, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        task({**TINY, **changes}, spots(), tmp_path / "k.ckpt")


@pytest.mark.parametrize("name", TASKS)
def test_frames_without_a_cell_are_learnt_as_empty(name: str, tmp_path: Path) -> None:
    data = spots()
    empty = {**data, "points": np.zeros((0, 3)), "pairs": data["pairs"][:1]}
    result = TASKS[name]({**TINY, "lr": 1e-2, "steps": 40}, empty, tmp_path / "k.ckpt")
    assert result["loss"][-5:].mean() < result["loss"][0]
    with pytest.raises(ValueError, match="expected links 1 frames apart, found none"):
        train_mpm(TINY, {**data, "pairs": np.zeros((0, 6))}, tmp_path / "none.ckpt")


def test_bf16_trains_nearly_the_same(tmp_path: Path) -> None:
    a, b = (
        train_codetection({**TINY, "precision": p}, spots(), tmp_path / f"{p}.ckpt")
        for p in ("32-true", "bf16-mixed")
    )
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=0.1)
    assert all(w.dtype in (torch.float32, torch.int64) for w in weights(b))


LEARN: dict[str, Any] = {
    **TINY, "width": 4, "crop_px": 48, "batch_size": 4, "steps": 100, "lr": 1e-2, "schedule": "cosine",
    "sigma_px": 3.0, "motion_sigma_px": 3.0, "average": 0.9,
}  # fmt: skip


def found_share(found: NDArray[Any], truth: NDArray[Any], gate_px: float) -> float:
    return float((np.linalg.norm(found[:, None] - truth[None], axis=2).min(0) < gate_px).mean())


def test_detectors_learn_positions(tmp_path: Path) -> None:
    data, new = spots(seed=1), spots(seed=2)
    truth = new["points"][new["points"][:, 0] == 1, 1:]
    source = new["images"] / np.float32(255)
    detector = restored(train_detector(LEARN, data, tmp_path / "a.ckpt"))
    pair = restored(train_codetection(LEARN, data, tmp_path / "b.ckpt"))
    for likelihood in (predict_frame_map(detector, source, 1), predict_pair_maps(pair, source, 0, 1)[1]):
        found = peaks(likelihood)
        assert found_share(found, truth, 3) > 0.8
        assert len(found) <= len(truth) + 2


def test_mpm_learns_where_cells_are_and_were(tmp_path: Path) -> None:
    data, new = (spots(seed=seed, n_cells=7, speed_px=4.0) for seed in (1, 2))
    run = {**LEARN, "width": 8, "interval": 2, "steps": 200}
    network = restored(train_mpm(run, data, tmp_path / "a.ckpt"))
    source, errors, moved = new["images"] / np.float32(255), [], []
    for frame in (0, 1, 2):
        links = new["pairs"][(new["pairs"][:, :2] == (frame, 2)).all(1), 2:]
        found = mpm_peaks(predict_pair_maps(network, source, frame, frame + 2), smooth_px=1.5, threshold=0.2)
        distances = np.linalg.norm(found.positions[:, None] - links[None, :, 2:], axis=2)
        cell, link = np.nonzero(distances < 3)
        errors += np.linalg.norm(found.previous[cell] - links[link, :2], axis=1).tolist()
        moved += np.linalg.norm(links[link, 2:] - links[link, :2], axis=1).tolist()
    assert len(errors) >= 15
    assert np.median(errors) < 0.8 * np.median(moved)
