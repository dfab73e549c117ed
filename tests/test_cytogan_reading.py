"""Cells as networks take them, what conditional models are told, and settings that can and cannot be."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from cytogan_trainings import TINY, screen_of, shared, simulated

from cellweak_core.cytogan import training, variants
from cellweak_core.cytogan.conditions import compounds_of, conditions
from cellweak_core.cytogan.reading import Shuffled, prepared, require_contrast
from cellweak_core.files import CellweakWarning, DataError
from cellweak_core.screens.crops import Crops
from cellweak_core.training import random_source


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Crops:
    return simulated(tmp_path_factory.mktemp("screen"))


def test_scaling_is_by_each_channels_maximum() -> None:
    x = np.random.default_rng(0).integers(0, 60_000, (3, 2, 4, 4)).astype(np.uint16)
    found = prepared(torch.from_numpy(x), 4).numpy()
    for i in range(3):
        for c in range(2):
            largest = float(x[i, c].max())
            for u in range(4):
                for v in range(4):
                    assert found[i, c, u, v] == pytest.approx(2 * float(x[i, c, u, v]) / largest - 1, abs=1e-6)
    assert found.dtype == np.float32
    by_range = prepared(torch.from_numpy(x), 4, "range").numpy()
    assert by_range.min((2, 3)) == pytest.approx(np.full((3, 2), -1.0))
    assert by_range.max((2, 3)) == pytest.approx(np.ones((3, 2)))


@pytest.mark.parametrize("scaling", variants.SCALINGS)
@pytest.mark.parametrize("size_px", [8, 12])
@pytest.mark.parametrize("value", [0.0, 7.0, 65_535.0])
def test_a_constant_channel_is_dark_all_over(value: float, size_px: int, scaling: str) -> None:
    x = torch.rand(2, 2, 8, 8, generator=random_source(0))
    x[:, 1] = value
    before = x.clone()
    found = prepared(x, size_px, scaling)
    assert (found[:, 1] == -1).all()
    assert found[:, 0].max() == pytest.approx(1)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, before)
    assert prepared(x[:0], size_px, scaling).shape == (0, 2, size_px, size_px)


def test_resizing_comes_before_scaling() -> None:
    x = torch.zeros(1, 1, 16, 16)
    x[..., 7:9, 7:9] = 100.0
    found = prepared(x, 8)
    assert found.shape == (1, 1, 8, 8)
    assert found.max() == pytest.approx(1)
    assert found.min() == pytest.approx(-1)


def test_shuffled_rows_come_each_once_an_epoch_in_another_order() -> None:
    rows = np.array([3, 5, 8, 13, 21])
    order = Shuffled(rows, 0)
    epochs = [order.take(5 * k, 5) for k in range(20)]
    assert all(sorted(one.tolist()) == rows.tolist() for one in epochs)
    assert len({tuple(one.tolist()) for one in epochs}) > 10
    together = np.concatenate(epochs)
    # what a step gets does not depend on the steps before it
    assert Shuffled(rows, 0).take(7, 9).tolist() == together[7:16].tolist()
    assert Shuffled(rows, 1).take(0, 100).tolist() != together.tolist()


def test_fewer_cells_than_a_batch_come_more_than_once_with_a_word(screen: Crops, tmp_path: Path) -> None:
    run = {**TINY, "model": "lsgan", "batch_size": 8}
    with pytest.warns(CellweakWarning, match="5 cells and 8 in a step, so that some come more than once"):
        found = training.train(run, shared(screen, rows=np.arange(5)), tmp_path / "a.ckpt")
    assert np.isfinite(found["discriminator_loss"]).all()


def test_one_channel_trains(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 200, (12, 16, 16, 1)).astype(np.uint8)
    found = training.train({**TINY, "model": "lsgan"}, shared(screen_of(pixels, tmp_path)), tmp_path / "a.ckpt")
    assert found["architecture"]["n_channels"] == 1
    assert found["model.generator.last.weight"].shape[0] == 1


def test_a_channel_without_light_trains(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 200, (12, 16, 16, 2)).astype(np.uint8)
    pixels[..., 1] = 9
    found = training.train({**TINY, "model": "lsgan"}, shared(screen_of(pixels, tmp_path)), tmp_path / "a.ckpt")
    assert np.isfinite(found["discriminator_loss"]).all()


def test_an_offset_is_told_of_and_range_takes_it_off(tmp_path: Path) -> None:
    pixels = (60_000 + np.random.default_rng(0).integers(0, 500, (12, 16, 16, 2))).astype(np.uint16)
    crops = screen_of(pixels, tmp_path)
    with pytest.warns(CellweakWarning) as told:
        found = training.train({**TINY, "model": "lsgan"}, shared(crops), tmp_path / "a.ckpt")
    assert len(told) == 2  # one for each channel
    assert "channel 0: the darkest pixel of a cell has 99% of the brightest one's light" in str(told[0].message)
    assert np.isfinite(found["discriminator_loss"]).all()
    by_range = training.train({**TINY, "model": "lsgan", "scaling": "range"}, shared(crops), tmp_path / "b.ckpt")
    assert by_range["architecture"]["scaling"] == "range"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_pixels_that_are_no_light_are_refused_by_row(bad: float, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((12, 16, 16, 2)).astype(np.float32)
    pixels[7, 3, 3, 1] = bad
    with pytest.raises(DataError, match=r"crop 7 \(plate .*, well .*\) has pixels below 0 or that are no numbers"):
        training.train({**TINY, "model": "lsgan"}, shared(screen_of(pixels, tmp_path)), tmp_path / "a.ckpt")


def test_cells_that_cannot_be_learnt_are_refused(screen: Crops, tmp_path: Path) -> None:
    for name, pixels, match in (
        ("blank", np.full((12, 16, 16, 2), 40, np.uint8), "12 cells looked at, each of one value all over"),
        ("alike", np.tile(np.arange(32, dtype=np.uint8).reshape(16, 1, 2), (12, 1, 16, 1)), "drawn by .* all alike"),
        ("oblong", np.random.default_rng(0).integers(0, 9, (12, 16, 24, 2)).astype(np.uint8), "expected square ones"),
    ):
        (tmp_path / name).mkdir()
        crops = screen_of(pixels, tmp_path / name)
        with pytest.raises(DataError, match=match):
            training.train({**TINY, "model": "lsgan"}, shared(crops), tmp_path / "a.ckpt")
    with pytest.raises(DataError, match="no cells to work on"):
        require_contrast(screen, np.zeros(0, np.int64), "maximum")


def test_crops_are_resized_to_a_side_that_the_networks_take(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (12, 20, 20, 2)).astype(np.uint8)
    crops = screen_of(pixels, tmp_path)
    with pytest.raises(ValueError, match=r"needs a multiple of 8 px, got 20; resize to 16\?"):
        training.train({**TINY, "model": "lsgan", "size_px": 0}, shared(crops), tmp_path / "a.ckpt")
    found = training.train({**TINY, "model": "lsgan", "size_px": 16}, shared(crops), tmp_path / "a.ckpt")
    assert (found["architecture"]["crop_px"], found["architecture"]["size_px"]) == (20, 16)


# --- what models are told, and settings


def test_conditions_are_log_concentration_and_one_of_the_compounds() -> None:
    cells = pd.DataFrame({"compound": ["b", "DMSO", "a", "b"], "concentration": [1.0, 0.0, 99.0, np.e - 1]})
    known = compounds_of(cells)
    assert known == ("DMSO", "a", "b")
    found = conditions(cells, "both", known)
    assert found is not None
    assert found.dtype == np.float32
    assert found[:, 0] == pytest.approx([math.log(2), 0, math.log(100), 1])
    assert found[:, 1:].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    alone = conditions(cells, "concentration")
    assert alone is not None
    assert alone[:, 0].tolist() == found[:, 0].tolist()
    assert conditions(cells, "none") is None
    with pytest.raises(DataError, match="compound 'b' is none of the 2"):
        conditions(cells, "both", known[:2])
    with pytest.raises(ValueError, match="kind: expected none, concentration or both, got 'dose'"):
        conditions(cells, "dose")


@pytest.mark.parametrize("bad", [np.nan, -1.0, np.inf])
def test_concentrations_that_are_none_are_refused(bad: float) -> None:
    cells = pd.DataFrame({"compound": ["a", "b"], "concentration": [1.0, bad]}, index=[4, 9])
    with pytest.raises(DataError, match=r"row 9, concentration .*, expected 0 or above"):
        conditions(cells, "concentration")


def test_defaults_are_the_authors() -> None:
    lsgan, began, bigan = (variants.settings({"model": name}) for name in ("lsgan", "began", "bigan"))
    assert (lsgan["lr_discriminator"], lsgan["lr_generator"], lsgan["batch_size"]) == (7e-5, 2e-4, 64)
    assert (lsgan["decay"], lsgan["decay_every"], lsgan["beta1"]) == (0.9999, 100, 0.5)
    dcgan = variants.settings({"model": "dcgan"})
    assert (dcgan["lr_discriminator"], dcgan["lr_generator"]) == (5e-5, 1e-5)
    assert (began["lr_discriminator"], began["lr_generator"], began["decay_every"]) == (1e-5, 1e-5, 1000)
    assert (began["batch_size"], began["gamma"], began["gain"]) == (16, 0.75, 1e-3)
    assert (bigan["lr_discriminator"], bigan["lr_generator"], bigan["lr_encoder"]) == (7e-5, 7e-5, 7e-5)
    vae, plain = (variants.settings({"model": name}) for name in ("vae", "autoencoder"))
    assert (vae["lr_autoencoder"], vae["decay"], vae["latent"], vae["batch_size"]) == (1e-3, 0.996, 256, 128)
    assert (plain["lr_autoencoder"], plain["latent"]) == (1e-3, 32)
    told = variants.settings({"model": "c-lsgan", "width": 0.5})
    assert (told["kind"], told["conditions"]) == ("lsgan", "concentration")
    assert (told["decay"], told["decay_every"]) == (0.9995, 200)
    assert told["width"] == 0.5


@pytest.mark.parametrize(
    ("run", "match"),
    [
        ({}, "model: expected one of dcgan, .*, got None"),
        ({"model": "gan"}, "got 'gan'"),
        ({"model": "lsgan", "learning_rate": 1}, "unknown learning_rate; expected any of model, width"),
        ({"model": "lsgan", "scaling": "log"}, "scaling: expected one of maximum, range, got 'log'"),
        ({"model": "lsgan", "conditions": "dose"}, "conditions: expected one of none, concentration, both"),
        ({"model": "lsgan", "batch_size": 1}, "batch_size: expected 2 or more"),
        ({"model": "lsgan", "critic_steps": 0}, "critic_steps: expected 1 or more, got 0"),
        ({"model": "vae", "n_checked": 1}, "n_checked: expected 2 or more"),
    ],
)
def test_settings_that_cannot_be(run: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        variants.settings(run)


def test_a_learning_rate_of_nothing_is_refused(screen: Crops, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lr_generator: expected above 0, got 0"):
        training.train({**TINY, "model": "lsgan", "lr_generator": 0}, shared(screen), tmp_path / "a.ckpt")


def test_what_cannot_be_told_is_said_before_anything_is_learnt(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 200, (12, 16, 16, 1)).astype(np.uint8)
    screen_of(pixels, tmp_path)
    table = pd.read_csv(tmp_path / "cells.csv").assign(concentration=1.0)
    table.loc[11, "concentration"] = -3.0
    table.to_csv(tmp_path / "cells.csv", index=False)
    run, given = {**TINY, "model": "c-lsgan"}, {"folder": str(tmp_path), "reading": {"axes": "NHWC"}}
    with pytest.raises(DataError, match=r"row 11, concentration -3\.0, expected 0 or above"):
        training.train(run, given, tmp_path / "a.ckpt")
    found = training.train(run, given | {"rows": np.arange(11)}, tmp_path / "a.ckpt")
    assert found["architecture"]["n_conditions"] == 1
