"""Small trainings of the rosettes chapter, shared by its tests: runs, their shared arrays, and their comparison."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cellweak_core.rosettes import classifiers, detectors, pretraining, wgan
from cellweak_core.rosettes.classifiers import train_classifiers
from cellweak_core.rosettes.detectors import train_detector
from cellweak_core.rosettes.pretraining import train_on_simulation
from cellweak_core.rosettes.wgan import build, train_wgan

Run = dict[str, Any]
Task = Callable[[Mapping[str, Any], Mapping[str, Any], Path], dict[str, Any]]

SIZES: Run = {"width": 2, "image_size": 16, "n_convs": 2, "fc": 8, "dropout": 0.5, "bn_momentum": 0.1}
GAN: Run = {
    **SIZES,
    "noise": 4,
    "seed": 3,
    "steps": 7,
    "batch_size": 4,
    "lr_generator": 1e-3,
    "lr_discriminator": 1e-3,
    "beta1": 0.5,
    "penalty_weight": 1.0,
    "weight_decay": 2.5e-5,
    "device": "cpu",
    "precision": "32-true",
}
WINDOWS: Run = {
    **SIZES,
    "starts": ["random", "wgan", "random"],
    "fractions": [1.0, 1.0, 0.25],
    "seeds": [1, 1, 2],
    "steps": 7,
    "batch_size": 6,
    "lr": 1e-3,
    "transfer": "text",
    "eval_every": 3,
    "device": "cpu",
    "keep_weights": [0, 2],
}
WEAK: Run = {
    **SIZES,
    "network": "window",
    "start": "random",
    "context_width": 2,
    "context_dropout": 0.3,
    "test_fold": 1,
    "fraction": 1.0,
    "seed": 4,
    "steps": 7,
    "batch_size": 6,
    "lr": 1e-3,
    "weight_decay": 1e-2,
    "schedule": "cosine",
    "average": 0.9,
    "augmentation": "authors",
    "normalise": "standardise",
    "pooling": "log_sum_exp",
    "sharpness": 3.0,
    "n_turns": 1,
    "device": "cpu",
    "precision": "32-true",
    "keep_weights": True,
    "transfer": "text",
}


def spots(n: int, size: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noisy images; those of class 1 have a bright spot somewhere near the middle."""
    rng = np.random.default_rng(seed)
    target = np.arange(n) % 2
    images = rng.normal(100, 10, (n, size, size))
    low, high = size // 4, size - size // 4 - 4
    for k in np.flatnonzero(target):
        y, x = rng.integers(low, high, 2)
        images[k, y : y + 4, x : x + 4] += 120
    return np.clip(images, 0, 255).astype(np.uint8), target


def trained_discriminator() -> dict[str, Tensor]:
    torch.manual_seed(8)
    return {f"discriminator.{k}": v for k, v in build(GAN)[1].state_dict().items()}


def gan_case(discriminator: Mapping[str, Tensor]) -> tuple[Task, ModuleType, Run, Run]:
    return train_wgan, wgan, GAN, {"patches": spots(20, 16, 0)[0]}


def window_case(discriminator: Mapping[str, Tensor]) -> tuple[Task, ModuleType, Run, Run]:
    (images, target), (test_images, test_target) = spots(24, 16, 1), spots(5, 16, 2)
    shared = {"train_images": images, "train_target": target, "test_images": test_images, "test_target": test_target}
    return train_classifiers, classifiers, WINDOWS, shared | discriminator


def weak_case(discriminator: Mapping[str, Tensor], **changes: Any) -> tuple[Task, ModuleType, Run, Run]:  # noqa: ANN401
    images, target = spots(24, 32, 3)
    shared = {"images": images, "target": target, "fold": np.arange(24) // 2 % 3}
    return train_detector, detectors, {**WEAK, **changes}, shared | discriminator


def simulated_case(discriminator: Mapping[str, Tensor]) -> tuple[Task, ModuleType, Run, Run]:
    shared = {"images": spots(12, 32, 4)[0], "centres": [[[10.0, 20.0]] if k % 2 else [] for k in range(12)]}
    return train_on_simulation, pretraining, {**WEAK, "network": "context"}, shared


CASES = {
    "wgan": gan_case,
    "classifiers": window_case,
    "window": weak_case,
    "window from wgan": lambda d: weak_case(d, start="wgan", fraction=0.5, n_turns=8, pooling="noisy_or"),
    "image": lambda d: weak_case(d, network="image", normalise="unit", augmentation="none", schedule="constant"),
    "context": lambda d: weak_case(d, network="context", augmentation="strong"),
    "simulated start": simulated_case,
}


def assert_equal(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        if isinstance(value, Tensor | np.ndarray):
            np.testing.assert_array_equal(np.asarray(b[name]), np.asarray(value), err_msg=name)
        else:
            assert b[name] == value, name
