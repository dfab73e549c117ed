"""The chapter's networks by their description: the CNN of `screens.cellnet`, and what it is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ..screens.cellnet import build_cell

KINDS = ("cell", "autoencoder", "multiscale", "imagenet")


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """A network by its description, as `training.train` returns it.

    Args:
        architecture: `kind` (cell, autoencoder, multiscale or imagenet), and its class's arguments.

    Raises:
        ValueError: An unknown kind.
    """
    given = dict(architecture)
    kind = given.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "autoencoder":
        from .autoencoder import Autoencoder

        return Autoencoder(**given)
    if kind == "multiscale":
        from .multiscale import MultiScaleCNN

        return MultiScaleCNN(**given)
    if kind == "imagenet":
        from .imagenet import ImageNetResNet

        return ImageNetResNet(**given)
    return build_cell(architecture)
