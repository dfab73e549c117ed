"""What is refused before hours are spent: parameters that cannot be, and films on which all would fail later."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..chapters import ParameterError
from ..files import DataError
from ..training import SCHEDULES
from .data import Films
from .motion import MEASURES
from .networks import NETWORKS
from .patches import BORDERS
from .splits import GROUPS
from .supervision import SOURCES, TARGETS

LEAST_PX = {"vgg16": 32, "densenet121": 32, "densenet40": 8}  # of a patch, below which pooling leaves nothing
LEAST = {
    "downsample": 1, "min_frames": 1, "motion_window": 1, "n_folds": 2, "epochs": 0, "steps": 1, "batch_size": 2,
    "n_samples": 2, "n_stability": 0, "weight_decay": 0, "review_frames": 1, "review_gap": 1, "n_resamples": 1,
    "lead_frames": 1, "sim_cells": 1, "size_px": 8, "seed": 0,
}  # fmt: skip
WORDS = {
    "border": BORDERS, "modes_from": ("", *SOURCES), "targets": ("", *TARGETS), "preset": ("", "authors"),
    "split_by": tuple(GROUPS), "schedule": SCHEDULES, "precision": ("32-true", "bf16-mixed"),
    "device": ("auto", "cpu", "cuda", "mps"),
}  # fmt: skip


def require(given: Mapping[str, Any]) -> None:
    """Refuse parameters that would be missed only after hours of training.

    Args:
        given: All parameters of the chapter, by name.

    Raises:
        ParameterError: No network, an unknown one or one twice; a word that is none of those known; a number that
            is none or out of range; patches that are too small for a network.
    """
    for name, known in (("networks", NETWORKS), ("motion_by", MEASURES)):
        chosen = list(given[name])
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(known):
            raise ParameterError(f"{name}: expected some of {', '.join(known)}, each once, got {', '.join(chosen)}")
    for name, words in WORDS.items():
        if given[name] not in words:
            listed = ", ".join(word or "nothing" for word in words)
            raise ParameterError(f"{name}: expected one of {listed}, got {given[name]!r}")
    for name, value in given.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ParameterError(f"{name}: expected a finite number, got {value}")
    for name, least in LEAST.items():
        if given[name] < least:
            raise ParameterError(f"{name}: expected {least} or more, got {given[name]}")
    if given["n_jobs"] == 0:
        raise ParameterError("n_jobs: expected 1 or more, or -1 for every core, got 0")
    if given["weights"] and not given["data_dir"]:
        raise ParameterError("weights: expected films to predict, none are given (--data)")
    if 0 < given["n_stability"] < 4:
        raise ParameterError(f"n_stability: expected 4 samples or more, or 0, got {given['n_stability']}")
    for name in ("width", "lr"):
        if not given[name] > 0:
            raise ParameterError(f"{name}: expected a number above 0, got {given[name]}")
    if not 0 <= given["test_share"] < 1:
        raise ParameterError(f"test_share: expected 0 or more and less than 1, got {given['test_share']}")
    if not 0 < given["motion_quantile"] < 1:
        raise ParameterError(f"motion_quantile: expected a number between 0 and 1, got {given['motion_quantile']}")
    if not (0 <= given["dropout"] <= given["cap"] < 1 and given["growth"] >= 0):
        raise ParameterError(
            f"dropout, cap, growth: expected 0 <= dropout <= cap < 1 and growth of 0 or more, got {given['dropout']}, "
            f"{given['cap']}, {given['growth']}"
        )
    for network in given["networks"]:
        if given["size_px"] < LEAST_PX.get(network, 1):
            raise ParameterError(f"size_px: {network} takes {LEAST_PX[network]} px or more, got {given['size_px']}")


def require_films(films: Films) -> None:
    """Refuse films on which trainings would fail.

    Raises:
        DataError: A channel's name twice.
    """
    names = [name.casefold() for name in films.channels]
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"channels: {twice[0]} is there twice; give each its own name")
