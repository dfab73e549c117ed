"""What can be measured on a picture of a cell, real or generated: the words of Fig. 3 as numbers.

    images (n, C, H, W) in [-1, 1], channels by name
        --DNA: Otsu, to half height, the region in the middle--> nucleus area, nucleus roundness
        --tubulin, actin: mean over the crop--> intensities

Source: the two rows of the final paper's Fig. 4, much or little tubulin and a large or small nucleus, chosen there by
eye. Every channel of every cell is scaled to its own maximum before training, so an intensity here says how much of
the crop is bright, not how bright the stain was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import DataError
from ..regions import measured
from ..screens.fields import DNA as DNA_NAMES
from ..screens.measurements import nucleus_and_cell

if TYPE_CHECKING:
    import pandas as pd

UNITS = {
    "nucleus area": "px", "nucleus roundness": "", "tubulin intensity": "of maximum", "actin intensity": "of maximum",
}  # fmt: skip
STAINS = ("DNA", "actin", "tubulin")
_ALSO = {"DNA": DNA_NAMES}


def channel_of(channels: Sequence[str], stain: str) -> int:
    """Which channel shows DNA, actin or tubulin.

    Args:
        channels: Names of the images' channels, in order; capitals do not matter, and DAPI, Hoechst are DNA too.
        stain: One of `STAINS`.

    Raises:
        DataError: None or several do.
        ValueError: Another stain.
    """
    if stain not in STAINS:
        raise ValueError(f"stain: expected one of {', '.join(STAINS)}, got {stain!r}")
    names = {name.casefold() for name in (stain, *_ALSO.get(stain, ()))}
    found = [k for k, name in enumerate(channels) if name.casefold() in names]
    if len(found) != 1:
        raise DataError(
            f"channels: {'more than one' if found else 'no'} channel {stain} among {', '.join(channels) or 'none'}; "
            "give each its own name, such as channels=('DNA', 'actin', 'tubulin')"
        )
    return found[0]


def in_range(
    images_nchw: ArrayLike, what: str = "images", channels: Sequence[str] | None = None
) -> NDArray[np.float32]:
    """Images as networks make them.

    Args:
        images_nchw: `(n, C, H, W)` float in [-1, 1].
        what: Names them in errors.
        channels: C names, where there are any.

    Returns:
        The same, float32.

    Raises:
        ValueError: Other axes or whole numbers; another number of names than of channels.
        DataError: Pixels outside [-1, 1], or that are no numbers.
    """
    images = np.asarray(images_nchw)
    if images.ndim != 4 or images.dtype.kind != "f":
        raise ValueError(f"{what}: expected floats (n, C, H, W) in [-1, 1], got {images.dtype} of shape {images.shape}")
    good = (np.abs(images) <= 1 + 1e-4).all((1, 2, 3))  # False of NaN too
    if not good.all():
        raise DataError(f"{what}: image {int(good.argmin())} has pixels outside [-1, 1], or no numbers; rescale")
    if channels is not None and images.shape[1] != len(channels):
        raise ValueError(f"channels: expected {images.shape[1]} names, got {len(channels)} ({', '.join(channels)})")
    return images.astype(np.float32, copy=False)


def measure(images_nchw: ArrayLike, channels: Sequence[str]) -> pd.DataFrame:
    """Measured properties of cells, see `UNITS`.

    Args:
        images_nchw: `(n, C, H, W)` float in [-1, 1], nuclei in the middle.
        channels: C names; DNA, actin and tubulin are among them.

    Returns:
        One row for each cell: area of the nucleus (px) and the short over the long axis of its ellipse, NaN where no
        nucleus is found; mean light of tubulin and actin over the crop, 0 (none) to 1 (the maximum everywhere).

    Raises:
        DataError: A channel that is not there; pixels as `in_range`.
        ValueError: As `in_range`.
    """
    import pandas as pd

    images = in_range(images_nchw, channels=channels)
    dna, actin, tubulin = (channel_of(channels, stain) for stain in STAINS)
    nuclei = np.array([_nucleus(image) for image in images[:, dna]], float).reshape(-1, 2)
    light = [(images[:, k].mean((1, 2), dtype=np.float64) + 1) / 2 for k in (tubulin, actin)]
    return pd.DataFrame(dict(zip(UNITS, (*nuclei.T, *light), strict=True)))


def _nucleus(dna: NDArray[np.float32]) -> tuple[float, float]:
    mask, _, found = nucleus_and_cell(dna, ring_px=1)
    if not found:
        return float("nan"), float("nan")
    region = measured(mask.astype(np.int32))
    return float(region.areas[0]), float(region.roundness[0])
