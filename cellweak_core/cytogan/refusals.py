"""What is refused before hours are spent: parameters that cannot be, and cells that would fail after the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..files import DataError
from ..screens.aggregation import mechanisms_of_treatments
from ..screens.crops import Crops
from .conditions import conditions
from .latent import LEAST as LEAST_NOISE
from .mechanisms import SITE
from .pictures import MAPPING_NAMES
from .reading import require_contrast as require_contrast
from .variants import MODELS, SCALINGS

LEAST_PX = 32
DIVISOR = 16  # BEGAN halves four times
LEAST_CONTROLS = 2  # sites
LEAST_JUDGED = 4  # cells of a sample: three neighbours of each
LEAST = {
    "n_seeds": 1, "steps": 1, "steps_began": 1, "critic_steps": 1, "cnn_steps": 1, "cnn_width": 1, "n_resamples": 1,
    "n_noise": LEAST_NOISE, "n_base": 2, "batch_size": 0, "measured_cells": 0,
}  # fmt: skip


def has_mechanisms(crops: Crops) -> bool:
    """Whether any treated cell's mechanism is known; without one there is no Table 1.

    Raises:
        DataError: A treatment with two mechanisms.
    """
    cells = crops.cells
    if "moa" not in cells or cells.loc[~crops.control, "moa"].isna().all():
        return False
    try:
        mechanisms_of_treatments(cells[~crops.control])
    except DataError as error:
        raise DataError(f"{crops.name}: {error}") from error
    return True


def require(given: Mapping[str, Any]) -> None:
    """Refuse parameters that would be missed only after hours of training.

    Args:
        given: All parameters of the chapter, by name.

    Raises:
        ParameterError: No model, an unknown one or one twice; a word that is none of those known; a number too small.
    """
    from ..chapters import ParameterError
    from ..screens.cellnet import LAYERS

    models = list(given["models"])
    unknown = [name for name in models if name not in MODELS]
    if unknown or not models or len(set(models)) < len(models):
        raise ParameterError(f"models: expected some of {', '.join(MODELS)}, each once, got {', '.join(models)}")
    for name, known in (("mapping", MAPPING_NAMES), ("cnn_layer", LAYERS), ("scaling", SCALINGS)):
        if given[name] not in known:
            raise ParameterError(f"{name}: expected one of {', '.join(known)}, got {given[name]!r}")
    for name, least in LEAST.items():
        if given[name] < least:
            raise ParameterError(f"{name}: expected {least} or more, got {given[name]}")
    for name, least in (("size_px", LEAST_PX), ("n_generated", LEAST_JUDGED)):
        if given[name] < 0 or 0 < given[name] < least:
            raise ParameterError(f"{name}: expected {least} or more, or 0, got {given[name]}")
    if given["size_px"] % DIVISOR:
        raise ParameterError(f"size_px: expected a multiple of {DIVISOR}, got {given['size_px']}")


def require_cells(crops: Crops, models: Sequence[str]) -> None:
    """Refuse cells that would fail only after the training.

    Args:
        crops: The screen.
        models: Of `variants.MODELS`.

    Raises:
        DataError: A channel's name twice; with mechanisms, too few controls to whiten by, or a site without a name;
            with a conditional model, a concentration that is missing or below 0.
    """
    cells, names = crops.cells, [name.casefold() for name in crops.channels]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"channels: {twice[0]} is there twice; give each its own name")
    if has_mechanisms(crops):
        by = [name for name in SITE if name in cells]
        for name in by:
            if (gaps := cells[name].isna() | (cells[name].astype(str) == "")).any():
                row = int(gaps.to_numpy().argmax())
                raise DataError(f"{crops.name}: row {row} has no {name}; fill it in, or leave the column out")
        n, n_sites = int(crops.control.sum()), cells[crops.control].groupby(by).ngroups
        if n_sites < LEAST_CONTROLS:
            raise DataError(
                f"{crops.name}: {n} control cells of {n_sites} site{'' if n_sites == 1 else 's'} (or wells), expected "
                f"{LEAST_CONTROLS} or more to whiten by; name the compounds that are controls (-p controls)"
            )
    if told := [name for name in models if MODELS[name].get("conditions", "none") != "none"]:
        try:
            conditions(cells, "concentration")
        except DataError as error:
            raise DataError(f"{error}; or leave {', '.join(told)} out (-p models)") from error
