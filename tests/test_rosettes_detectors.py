"""Weak detectors: maps, folds, starts, turns, and that they learn from image labels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rosettes_trainings import GAN, WEAK, Run, assert_equal, spots, trained_discriminator, weak_case
from torch import Tensor, nn

from cellweak_core.parallel import load_result, save_result
from cellweak_core.rosettes.detectors import (
    build_detector,
    image_probability,
    restored,
    train_detector,
    window_logits,
)
from cellweak_core.rosettes.networks import Discriminator
from cellweak_core.rosettes.wgan import build, part


@pytest.fixture(scope="module")
def discriminator() -> dict[str, Tensor]:
    return trained_discriminator()


@pytest.mark.parametrize(("network", "shape"), [("window", (4, 5, 5)), ("image", (4, 1, 1)), ("context", (4, 4, 4))])
def test_every_network_is_a_map_of_window_logits(network: str, shape: tuple[int, ...]) -> None:
    model = build_detector({**WEAK, "network": network, "image_size": 32 if network == "image" else 16})
    assert model(torch.randn(4, 1, 32, 32)).shape == shape


@pytest.mark.parametrize("network", ["window", "image", "context"])
def test_a_detector_is_restored_from_its_result(
    network: str, discriminator: dict[str, Tensor], tmp_path: Path
) -> None:
    task, _, run, shared = weak_case(discriminator, network=network)
    save_result(tmp_path / "r.safetensors", task(run, shared, tmp_path / "k.ckpt"))
    result = load_result(tmp_path / "r.safetensors")
    test = np.flatnonzero(shared["fold"] == 1)
    assert result["test_index"].tolist() == test.tolist()
    assert (result["n_labels"], result["prior"]) == (16, 0.5)
    maps = window_logits(restored(run, result), shared["images"][test], run["normalise"])
    torch.testing.assert_close(maps, result["maps"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(image_probability(maps, run), result["probability"], atol=1e-5, rtol=1e-5)


def test_the_test_day_teaches_nothing(discriminator: dict[str, Tensor], tmp_path: Path) -> None:
    task, _, run, shared = weak_case(discriminator, network="context", augmentation="strong")
    test = shared["fold"] == 1
    images, target = shared["images"].copy(), shared["target"].copy()
    images[test], target[test] = 255 - images[test], 1 - target[test]
    a = task(run, shared, tmp_path / "a.ckpt")
    b = task(run, {**shared, "images": images, "target": target}, tmp_path / "b.ckpt")
    assert_equal(part(a, "model"), part(b, "model"))
    assert not torch.equal(a["probability"], b["probability"])


def test_unlabelled_images_teach_nothing(discriminator: dict[str, Tensor], tmp_path: Path) -> None:
    task, _, run, shared = weak_case(discriminator)
    a = task(run, shared, tmp_path / "a.ckpt")
    more = {
        "images": np.concatenate([shared["images"], shared["images"][:4]]),
        "target": np.r_[shared["target"], -1, -1, 1, 1],
        "fold": np.r_[shared["fold"], 0, 2, -1, -1],  # of a training day without a label, and of no day
    }
    b = task(run, {**shared, **more}, tmp_path / "b.ckpt")
    assert_equal(a, b)


def test_a_given_start_is_where_the_training_starts(discriminator: dict[str, Tensor], tmp_path: Path) -> None:
    torch.manual_seed(77)
    given = build_detector({**WEAK, "network": "context", "seed": 77}).state_dict()
    task, _, run, shared = weak_case({f"start.{k}": v for k, v in given.items()}, network="context", start="given")
    result = task({**run, "lr": 0.0, "weight_decay": 0.0, "average": 0.0}, shared, tmp_path / "k.ckpt")
    for name in ("network.stem.0.weight", "network.logit.weight"):
        assert torch.equal(part(result, "model")[name], given[name])


def test_each_fold_takes_its_own_discriminator(discriminator: dict[str, Tensor], tmp_path: Path) -> None:
    torch.manual_seed(9)
    of_fold = {f"discriminator1.{k}": v for k, v in build(GAN)[1].state_dict().items()}
    task, _, run, shared = weak_case({**discriminator, **of_fold}, start="wgan")
    still = {**run, "lr": 0.0, "weight_decay": 0.0}
    result = task(still, shared, tmp_path / "k.ckpt")
    assert torch.equal(result["model.network.fc1.weight"], of_fold["discriminator1.fc1.weight"])
    result = task({**still, "test_fold": 2}, shared, tmp_path / "other.ckpt")
    assert torch.equal(result["model.network.fc1.weight"], discriminator["discriminator.fc1.weight"])


def test_a_detector_learns_from_image_labels(tmp_path: Path) -> None:
    images, target = spots(60, 32, 7)
    shared = {"images": images, "target": target, "fold": np.arange(60) // 20}
    run = {**WEAK, "steps": 60, "lr": 1e-2, "batch_size": 20, "width": 8, "dropout": 0.1, "test_fold": 2}
    result = train_detector(run, shared, tmp_path / "k.ckpt")
    called = result["probability"].numpy() > 0.5
    assert (called == target[result["test_index"]]).mean() > 0.85


class Blocks(nn.Module):
    """Mean of every 8x8 block: turning the image turns the map."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 8)[:, 0]


@pytest.mark.parametrize("n_turns", [1, 2, 4, 8])
def test_maps_of_turned_images_are_turned_back(n_turns: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 24, 16), dtype=np.uint8)
    expected = (torch.from_numpy(images).float() - 128).view(5, 3, 8, 2, 8).mean((2, 4)) / 128
    torch.testing.assert_close(window_logits(Blocks(), images, "unit", batch=2, n_turns=n_turns), expected)
    assert window_logits(Blocks(), images[:0], "unit", n_turns=n_turns).shape == (0, 3, 2)


def test_eight_turns_make_the_map_follow_the_image() -> None:
    torch.manual_seed(0)
    model = build_detector({**WEAK, "network": "context"})
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32), dtype=np.uint8)
    plain = window_logits(model, images, "standardise", n_turns=8)
    turned = window_logits(model, np.rot90(images, 1, (1, 2)).copy(), "standardise", n_turns=8)
    mirrored = window_logits(model, images[:, :, ::-1].copy(), "standardise", n_turns=8)
    torch.testing.assert_close(turned, torch.rot90(plain, 1, (1, 2)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mirrored, plain.flip(2), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "resnet"}, "expected one of window, image, context, got 'resnet'"),
        ({"network": "context", "start": "wgan"}, "no discriminator's twin"),
        ({"augmentation": "heavy"}, "expected one of none, authors, strong, got 'heavy'"),
        ({"schedule": "step"}, "expected one of constant, cosine, steps, fractions, got 'step'"),
        ({"pooling": "median"}, "expected one of log_sum_exp, noisy_or, maximum, mean, got 'median'"),
        ({"device": "gpu"}, "expected one of auto, cpu, cuda, mps, got 'gpu'"),
    ],
)
def test_what_a_detector_cannot_be(
    changes: Run, message: str, discriminator: dict[str, Tensor], tmp_path: Path
) -> None:
    task, _, run, shared = weak_case(discriminator, **changes)
    with pytest.raises(ValueError, match=message):
        task(run, shared, tmp_path / "k.ckpt")


def test_labels_of_one_class_train_no_detector(discriminator: dict[str, Tensor], tmp_path: Path) -> None:
    task, _, run, shared = weak_case(discriminator)
    for target in (np.zeros(24, int), np.where(shared["fold"] == 1, shared["target"], 1)):
        with pytest.raises(ValueError, match="expected labels of both classes"):
            task(run, {**shared, "target": target}, tmp_path / "k.ckpt")


def test_a_discriminator_of_other_sizes_is_refused(discriminator: dict[str, Tensor]) -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        build_detector({**WEAK, "start": "wgan", "fc": 9}, part(discriminator, "discriminator"))
    assert Discriminator(2, 16, 2, 8).state_dict().keys() == part(discriminator, "discriminator").keys()
