"""Weights of the chapter's networks as files, which say how the patches are to be cut.

    fold 0, fold 1 ... of one network --save_weights--> one .safetensors --load_weights--> the same, to predict together
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import DataError
from ..screens.networks import MODEL, rebuilt
from ..screens.networks import load_weights as opened
from ..screens.networks import save_weights as written
from .data import Films
from .networks import build

HEADER = ("architecture", "n_folds", "channels", "size_px", "border", "downsample", "labels")


def save_weights(path: Path, learnt: Sequence[Mapping[str, Any]], header: Mapping[str, Any]) -> Path:
    """The networks of all folds of a kind as one file: they predict together.

    Args:
        path: The file to write.
        learnt: Of `comparison.compare`, of one network.
        header: `channels`, `size_px`, `border`, `downsample`, and `labels` (where the modes came from).

    Returns:
        The path.
    """
    parts = [opened(one["file"], ("architecture",), "migration") for one in learnt]
    weights = {
        f"{MODEL}fold{k}.{name.removeprefix(MODEL)}": value
        for k, one in enumerate(parts) for name, value in one.items() if name.startswith(MODEL)
    }  # fmt: skip
    about = {"architecture": parts[0]["architecture"], "n_folds": len(parts), **header}
    return written(path, weights, {name: about[name] for name in HEADER})


def load_weights(path: str | Path) -> dict[str, Any]:
    """What `save_weights` wrote.

    Returns:
        The header's values, and `networks`: of each fold `architecture` and `model.*`, as `prediction.predict` takes
        them.

    Raises:
        DataError: Not there, no such file, or weights that do not fit.
    """
    found = opened(path, HEADER, "migration")
    networks = list[dict[str, Any]]()
    for k in range(found["n_folds"]):
        start = f"{MODEL}fold{k}."
        own = {MODEL + name[len(start) :]: value for name, value in found.items() if name.startswith(start)}
        networks.append({"architecture": found["architecture"], **own})
    try:
        for one in networks:
            rebuilt(one, build)
    except Exception as error:  # torch's lists every weight
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: cannot be read as weights of the migration chapter ({reason})") from error
    return {**{name: found[name] for name in HEADER}, "networks": networks}


def trained_of(learnt: Sequence[Mapping[str, Any]], network: str, fold: int) -> dict[str, Any]:
    """The network of a fold, as `prediction.predict` takes it."""
    own = next(one for one in learnt if (one["network"], one["fold"]) == (network, fold))
    return opened(own["file"], ("architecture",), "migration", build)


def never_saw(learnt: Sequence[Mapping[str, Any]], network: str) -> Callable[[str], dict[str, Any]]:
    """By the part of a frame, as `comparison.frames_of` names it, a network that did not learn from it.

    Of test frames the first fold's, of a fold's its own.
    """
    return lambda part: trained_of(learnt, network, 0 if part == "test" else int(part.removeprefix("fold ")))


def require_same(trained: Mapping[str, Any], films: Films, path: str | Path) -> None:
    """Refuse films of other channels than the networks learnt from.

    Names count only where both sides have names, not mere numbers.

    Raises:
        DataError: Another number of channels, or other names.
    """
    theirs, ours = list(trained["channels"]), list(films.channels)
    named = not any(all(name.isdigit() for name in names) for names in (theirs, ours))
    if len(theirs) != len(ours) or (named and [n.casefold() for n in theirs] != [n.casefold() for n in ours]):
        raise DataError(
            f"{films.name} has the channels {', '.join(ours)}, and {path} learnt from {', '.join(theirs)}; give films "
            "of the same channels in the same order (-p channels names them)"
        )


def described(header: Mapping[str, Any]) -> str:
    """Weights in a sentence."""
    smaller = f" of frames {header['downsample']} times smaller" if header["downsample"] > 1 else ""
    return (
        f"{header['architecture']['network']}, {header['n_folds']} folds; patches of {header['size_px']} px{smaller}, "
        f"channels {', '.join(header['channels'])}; modes from {header['labels']}"
    )
