"""A sequence tracked by motion-and-position maps in bounded memory, and gone on with after an interruption.

    predict(1) predict(2) ... every .. 2*every .. KILLED        the checkpoint holds positions, links and the last map,
                              [ckpt]   [ckpt]  -> resume        so that the tracks of the resumed call are the same
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import CellweakWarning, DataError
from .mpm_tracker import MpmTracker

if TYPE_CHECKING:
    import pandas as pd

_SAME_MAP = 0.02  # bf16 and GPUs repeat a map no closer; another network's differs by far more


def track_mpm(
    frames: Sequence[int],
    predict: Callable[[int], ArrayLike],
    checkpoint: Path | None = None,
    *,
    every: int = 50,
    version: str = "",
    desc: str = "",
    **options: Any,  # noqa: ANN401 - those of MpmTracker
) -> pd.DataFrame:
    """Track a sequence, holding one map at a time; an interrupted call goes on where it was when called again.

    Args:
        frames: Numbers of the frames to track, increasing, at any step.
        predict: `predict(k)` gives the map `(3, H, W)`, channels y, x, z, of the pair `frames[k - 1]`, `frames[k]`,
            for k = 1, 2, ..., each once and in order.
        checkpoint: Where the state is saved, whole or not at all, every so many frames, when `predict` fails or is
            interrupted, and at the end. A file of other frames, options, version or maps is tracked over, with a
            warning; a finished one whose frames have become more is gone on from.
        every: Frames between checkpoints.
        version: What the checkpoint belongs to (a digest of the images and of the network's weights). The last map is
            predicted again as well, and must be the saved one.
        desc: The progress bar's label.
        **options: Of `MpmTracker`.

    Returns:
        The tracks (see `tracks_table`), the same whether or not the call was interrupted.

    Raises:
        DataError: Fewer than two frames.
        ValueError: See `MpmTracker`; frames out of order; `every` below 1.
        FullDiskError: No room for the checkpoint; the one before it is whole.
    """
    from tqdm.auto import tqdm

    from ..parallel import save_result

    numbers = [int(f) for f in frames]
    if len(numbers) < 2:
        raise DataError(f"frames: tracking by motion maps needs two frames at least, found {len(numbers)}")
    if every < 1:
        raise ValueError(f"every: expected at least 1 frame, got {every}")
    tracker = MpmTracker(numbers[0], **options)
    if checkpoint is not None and checkpoint.is_file():
        tracker = _resumed(checkpoint, numbers, predict, version, options) or tracker

    def save() -> None:
        if checkpoint is not None:
            save_result(checkpoint, {"version": version, **tracker.state_dict()})

    first = len(tracker.frames)
    hidden = None if desc else True
    for k in tqdm(range(first, len(numbers)), desc=desc, initial=first, total=len(numbers), disable=hidden):
        try:
            vectors = np.asarray(predict(k))
        except BaseException:
            if k > first:
                with suppress(OSError):  # what stopped the tracking is what to tell of
                    save()
            raise
        tracker.update(numbers[k], _length(vectors), vectors)
        if (k + 1) % every == 0 and k + 1 < len(numbers):
            save()
    if first < len(numbers):
        save()
    return tracker.tracks()


def _length(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.sqrt(np.einsum("c...,c...->...", vectors, vectors)).astype(np.float32)


def _resumed(
    checkpoint: Path, numbers: list[int], predict: Callable[[int], ArrayLike], version: str, options: Mapping[str, Any]
) -> MpmTracker | None:
    """The tracker that an interrupted call left, or None (with a warning) where it cannot be gone on from."""
    from ..parallel import load_result

    try:
        state = load_result(checkpoint)
        tracker = MpmTracker(numbers[0], **options)
        same = state["version"] == version
        if same:
            tracker.load_state_dict(state)
    except Exception as error:  # safetensors and JSON raise a different one for every way a file can be damaged
        warnings.warn(f"{checkpoint}: cannot be gone on from ({error}); tracking anew", CellweakWarning, stacklevel=3)
        return None
    done = len(tracker.frames)
    if same and tracker.magnitude is not None and tracker.frames == numbers[:done]:
        again = _length(np.asarray(predict(done - 1)))
        if again.shape == tracker.magnitude.shape and np.abs(again - tracker.magnitude).max() <= _SAME_MAP:
            return tracker
    warnings.warn(f"{checkpoint} is of other frames, images or weights: tracking anew", CellweakWarning, stacklevel=3)
    return None
