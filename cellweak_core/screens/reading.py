"""Batches that are read while the one before is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

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
