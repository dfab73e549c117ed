"""Cells as a network takes them, read while the batch before is computed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..screens.crops import Crops, rescaled
from ..screens.reading import ahead


def crops_ahead(
    crops: Crops, rows: NDArray[np.int64], batch_size: int, device: torch.device | str
) -> Iterator[Tensor]:
    """Cells as a network takes them, batch by batch: `rescaled`, on the device, channels last.

    Args:
        crops: The screen.
        rows: `(n,)` cells, in any order.
        batch_size: Cells at a time.
        device: Where they go.

    Yields:
        `(batch_size or fewer, C, H, W)` float32 in [-1, 1].

    Raises:
        DataError: As `Crops.checked`.
    """

    def read(start: int) -> Tensor:
        return torch.from_numpy(crops.checked(rows[start : start + batch_size]))

    for pixels in ahead(read, range(0, len(rows), batch_size)):
        yield rescaled(pixels.to(device)).contiguous(memory_format=torch.channels_last)
