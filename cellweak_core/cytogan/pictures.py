"""Cells as networks see them, [-1, 1] with channels by name, as colour pictures for people.

The sources contradict each other. The draft (Sec. 3, para 3) maps DNA to red, actin to green and tubulin to blue; the
final paper's captions and the authors' code (scripts/mask.py stacks DNA, tubulin, actin) show tubulin green and actin
blue. Both are here, and a figure says which it has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .properties import channel_of, in_range

MAPPINGS = {"draft": ("DNA", "actin", "tubulin"), "final": ("DNA", "tubulin", "actin")}  # red, green, blue
MAPPING_NAMES = (*MAPPINGS, "in order")


def colour_channels(channels: Sequence[str], mapping: str = "draft") -> tuple[int | None, int | None, int | None]:
    """Which channel is red, green and blue.

    Args:
        channels: Names of the images' channels, in order.
        mapping: "draft", "final", or "in order" for channels with other names: the first three, one alone as grey, two
            as red and green.

    Returns:
        Three channels; None for no light.

    Raises:
        ValueError: Another mapping; no channel.
        DataError: A stain of the mapping that no channel, or more than one, is named after.
    """
    if mapping not in MAPPING_NAMES or not channels:
        raise ValueError(
            f"mapping: expected one of {', '.join(MAPPING_NAMES)} and one or more channels, got {mapping!r} and "
            f"{len(channels)}"
        )
    if mapping in MAPPINGS:
        red, green, blue = (channel_of(channels, stain) for stain in MAPPINGS[mapping])
        return red, green, blue
    return {1: (0, 0, 0), 2: (0, 1, None)}.get(len(channels), (0, 1, 2))


def rgb(images_nchw: ArrayLike, channels: Sequence[str], mapping: str = "draft") -> NDArray[np.uint8]:
    """Colour pictures: -1 is no light, 1 is full light, the same for real and generated cells.

    Args:
        images_nchw: `(n, C, H, W)` float in [-1, 1].
        channels: C names.
        mapping: As `colour_channels`.

    Returns:
        `(n, H, W, 3)` uint8.

    Raises:
        ValueError: As `colour_channels` and `properties.in_range`.
        DataError: As those.
    """
    images = in_range(images_nchw, channels=channels)
    out = np.zeros((len(images), *images.shape[2:], 3), np.uint8)
    for colour, channel in enumerate(colour_channels(channels, mapping)):
        if channel is not None:
            out[..., colour] = np.rint(127.5 * (np.clip(images[:, channel], -1, 1) + 1))
    return out


def caption(channels: Sequence[str], mapping: str = "draft") -> str:
    """The mapping in words, for under a figure: "DNA red, actin green, tubulin blue"."""
    found = colour_channels(channels, mapping)
    if len(channels) == 1:
        return f"{channels[0]} grey"
    colours = zip(found, ("red", "green", "blue"), strict=True)
    return ", ".join(f"{channels[k]} {colour}" for k, colour in colours if k is not None)
