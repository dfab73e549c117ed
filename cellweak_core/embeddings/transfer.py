"""The transfer row: a network trained on photographs embeds the cells (`imagenet`), and is scored like any other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..screens.crops import Crops
from .comparison import entry
from .embedding import embed
from .imagenet import load_imagenet
from .variants import CODE

NAME = "ImageNet"


def transferred(
    crops: Crops,
    weights: str,
    out: str | Path,
    reading: Mapping[str, Any],
    device: str = "auto",
    precision: str = "bf16-mixed",
    n_jobs: int = 1,
    ask: str = "mechanisms",
    ranked: str = "",
) -> dict[str, Any]:
    """Cells embedded by ImageNet's ResNet-18, each channel a grey image, in the form of `comparison.compare`'s entries.

    Args:
        crops: On the disk.
        weights: torchvision's file, see `imagenet.load_imagenet`.
        out: Folder of the features.
        reading: Options the crops were loaded with.
        device: As `embedding.embed`.
        precision: As `embedding.embed`.
        n_jobs: As `embedding.embed`.
        ask: As `comparison.compare`.
        ranked: As `comparison.entry`.
    """
    files = embed(
        crops.root, load_imagenet(weights), out, reading=reading, version=crops.digest, layers=[CODE], device=device,
        precision=precision, n_jobs=n_jobs,
    )  # fmt: skip
    return entry(NAME, files, CODE, ask, ranked)
