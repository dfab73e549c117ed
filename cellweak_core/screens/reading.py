"""Batches that are read while the one before is computed: of anything, and of cells as a network takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .crops import Crops, rescaled

K = TypeVar("K")
V = TypeVar("V")


def ahead(read: Callable[[K], V], keys: Iterable[K], depth: int = 2) -> Iterator[V]:
    """`read(key)` of each key, in order, up to `depth` of them in a thread of their own before they are asked for.

    Args:
        read: Reads from the disk or copies arrays, which lets other threads run.
        keys: What to read.
        depth: Batches in memory beside the one in use.

    Raises:
        Exception: Whatever `read` raises, when its key's turn comes.
    """
    from concurrent.futures import ThreadPoolExecutor
    from itertools import islice

    keys = iter(keys)
    with ThreadPoolExecutor(1, "reading") as pool:
        waiting = [pool.submit(read, key) for key in islice(keys, depth)]
        while waiting:
            value = waiting.pop(0).result()
            waiting += [pool.submit(read, key) for key in islice(keys, 1)]
            yield value


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
