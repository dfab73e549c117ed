"""Tracking by motion maps, interrupted and gone on with: the same tracks; other data tracked over; bounded memory."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from tracking_maps import Array, drawn

from cellweak_core.files import CellweakWarning
from cellweak_core.tracking.mpm_tracker import MpmTracker
from cellweak_core.tracking.mpm_tracking import track_mpm

SMALL = 48, 64
N_FRAMES = 1000


def small_map(k: int) -> NDArray[np.float32]:
    """Three cells that go round, one of which is missing now and then."""
    cells = []
    for i, (x, y) in enumerate(((12, 12), (50, 14), (30, 36))):
        if i or k % 37:
            at = [(x + 5 * np.cos(t / 9 + i), y + 5 * np.sin(t / 9 + i)) for t in (k - 1, k)]
            cells.append((*at[0], *at[1]))
    return drawn(cells, SMALL, sigma=4).astype(np.float32)


def counted(stop_at: int = -1) -> tuple[list[int], Callable[[int], NDArray[np.float32]]]:
    """`small_map`, the frames that were asked for, and a stop."""
    asked = list[int]()

    def predict(k: int) -> NDArray[np.float32]:
        asked.append(k)
        if k == stop_at:
            raise KeyboardInterrupt
        return small_map(k)

    return asked, predict


@pytest.fixture(scope="module")
def uninterrupted() -> pd.DataFrame:
    return track_mpm(range(N_FRAMES), small_map)


def test_interrupted_at_700_it_goes_on_there(tmp_path: Path, uninterrupted: pd.DataFrame) -> None:
    checkpoint = tmp_path / "tracks.safetensors"
    asked, predict = counted(stop_at=700)
    with pytest.raises(KeyboardInterrupt):
        track_mpm(range(N_FRAMES), predict, checkpoint, every=300)
    assert asked == list(range(1, 701))
    asked, predict = counted()
    resumed = track_mpm(range(N_FRAMES), predict, checkpoint, every=300)
    assert asked == [699, *range(700, N_FRAMES)]  # the last map again, to see that it is the same sequence
    pd.testing.assert_frame_equal(resumed, uninterrupted, check_exact=True)
    asked, predict = counted()
    pd.testing.assert_frame_equal(track_mpm(range(N_FRAMES), predict, checkpoint), uninterrupted, check_exact=True)
    assert asked == [N_FRAMES - 1]
    assert [p.name for p in tmp_path.iterdir()] == ["tracks.safetensors"]


def test_killed_at_700_it_goes_on_there(tmp_path: Path, uninterrupted: pd.DataFrame) -> None:
    checkpoint = tmp_path / "tracks.safetensors"
    program = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_tracking_resuming as tests
def predict(k):
    if k == 700:
        os.kill(os.getpid(), signal.SIGKILL)
    return tests.small_map(k)
tests.track_mpm(range(tests.N_FRAMES), predict, Path({str(checkpoint)!r}), every=50)
"""
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    asked, predict = counted()
    resumed = track_mpm(range(N_FRAMES), predict, checkpoint)
    assert asked == [699, *range(700, N_FRAMES)]
    pd.testing.assert_frame_equal(resumed, uninterrupted, check_exact=True)


def test_a_checkpoint_of_something_else_is_tracked_over(tmp_path: Path) -> None:
    checkpoint = tmp_path / "tracks.safetensors"
    frames = range(12)
    expected = track_mpm(frames, small_map)

    def tracked_anew(frames: range, predict: Callable[[int], Array], **options: object) -> list[int]:
        track_mpm(range(12), small_map, checkpoint, version="a")
        asked = list[int]()
        with pytest.warns(CellweakWarning, match="tracking anew"):
            tracks = track_mpm(frames, lambda k: asked.append(k) or predict(k), checkpoint, **options)  # type: ignore[arg-type, func-returns-value]
        checkpoint.unlink()
        again = track_mpm(frames, predict, **{k: v for k, v in options.items() if k != "version"})  # type: ignore[arg-type]
        pd.testing.assert_frame_equal(tracks, again)
        return asked

    assert tracked_anew(frames, small_map, version="b") == list(range(1, 12))  # other weights
    assert tracked_anew(frames, small_map, version="a", threshold=0.2) == list(range(1, 12))  # other parameters
    assert tracked_anew(range(0, 24, 2), small_map, version="a") == list(range(1, 12))  # other frames
    assert tracked_anew(range(9), small_map, version="a") == list(range(1, 9))  # fewer frames
    # Other images under the same name: only the last map tells.
    assert tracked_anew(frames, lambda k: small_map(k + 5), version="a") == [11, *range(1, 12)]
    assert tracked_anew(frames, lambda k: np.pad(small_map(k), ((0, 0), (0, 8), (0, 8))), version="a")[0] == 11

    track_mpm(frames, small_map, checkpoint)
    for damaged in (checkpoint.read_bytes()[:-100], b"", b"no tensors"):
        checkpoint.write_bytes(damaged)
        with pytest.warns(CellweakWarning, match="cannot be gone on from"):
            pd.testing.assert_frame_equal(track_mpm(frames, small_map, checkpoint), expected)


def test_a_sequence_that_has_grown_is_gone_on_with(tmp_path: Path, uninterrupted: pd.DataFrame) -> None:
    checkpoint = tmp_path / "tracks.safetensors"
    track_mpm(range(20), small_map, checkpoint)
    asked, predict = counted()
    longer = track_mpm(range(30), predict, checkpoint)
    assert asked == [19, *range(20, 30)]
    pd.testing.assert_frame_equal(longer, uninterrupted[uninterrupted["frame"] < 30])


def test_only_the_last_map_is_held() -> None:
    tracker = MpmTracker()
    for k in range(1, 40):
        vectors = small_map(k)
        tracker.update(k, np.linalg.norm(vectors, axis=0), vectors)
    held = [v for v in tracker.state_dict().values() if isinstance(v, np.ndarray)]
    assert sum(v.nbytes for v in held) < 48 * 64 * 4 + 40 * 3 * (2 + 4) * 8 + 1
    twin = MpmTracker()
    twin.load_state_dict(tracker.state_dict())
    pd.testing.assert_frame_equal(twin.tracks(), tracker.tracks())
