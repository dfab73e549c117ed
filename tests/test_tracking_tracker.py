"""A trained tracker on new frames: its weights, its files, interruptions, and what it says of weights that are none."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from tracking_files import film

from cellweak_core.files import CellweakWarning, DataError
from cellweak_core.tracking import tracker
from cellweak_core.tracking.frames import ArraySource
from cellweak_core.tracking.light import EvenSource
from cellweak_core.tracking.networks import UNet
from cellweak_core.tracking.points import read_points
from cellweak_core.tracking.simulate import simulate


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    (tmp_path / "run" / "weights").mkdir(parents=True)
    save_file(UNet(2, 3, 4).state_dict(), tmp_path / "run" / "weights" / "mpm.safetensors")
    return tmp_path / "run"


def test_weights_are_found_by_folder_or_file(weights: Path) -> None:
    inside = weights / "weights"
    nets = [tracker.load_tracker(p, "cpu") for p in (weights, inside, inside / "mpm.safetensors")]
    assert len({tracker.weights_digest(net) for net in nets}) == 1
    assert not nets[0].training


def test_no_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no mpm\.safetensors .* give the output folder"):
        tracker.load_tracker(tmp_path, "cpu")


@pytest.mark.parametrize("state", [{"a": torch.zeros(2)}, UNet(1, 1, 4).state_dict()])
def test_weights_of_another_network_are_refused(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    save_file(state, tmp_path / "mpm.safetensors")
    with pytest.raises(DataError, match="not the weights of an MPM network"):
        tracker.load_tracker(tmp_path, "cpu")


def test_a_truncated_file_is_refused(weights: Path) -> None:
    file = weights / "weights" / "mpm.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="not the weights"):
        tracker.load_tracker(weights, "cpu")


def test_weights_of_a_training_load_again(tmp_path: Path) -> None:
    net = UNet(2, 3, 4)
    kept = tracker.weights_of({"architecture": {}, **{f"model.{k}": v for k, v in net.state_dict().items()}})
    save_file(kept, tmp_path / "mpm.safetensors")
    assert tracker.weights_digest(tracker.load_tracker(tmp_path, "cpu")) == tracker.weights_digest(net)


def test_tiles_track_what_whole_frames_track(weights: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 96, 96), dtype=np.uint8)
    net, source = tracker.load_tracker(weights, "cpu"), ArraySource(images)
    whole, tiled = (tracker.track_sequence(net, source, tile_px=px, threshold=1e-3) for px in (0, 48))
    pd.testing.assert_frame_equal(whole, tiled, atol=1e-2)


class Watched(ArraySource):
    """A film that notes which frames are read, and is interrupted at one of them."""

    def __init__(self, n_frames: int = 10, stop_at: int = -1) -> None:
        super().__init__(film(n_frames))
        self.stop_at, self.read = stop_at, list[int]()

    def raw(self, t: int) -> np.ndarray:
        self.read.append(t)
        if t == self.stop_at:
            raise KeyboardInterrupt
        return super().raw(t)


def counted(net: UNet, stop_at: int = -1) -> list[int]:
    """A list that grows with every map the network predicts; the map of that number is interrupted."""
    calls = list[int]()

    def before(*_: object) -> None:
        calls.append(len(calls) + 1)
        if calls[-1] == stop_at:
            raise KeyboardInterrupt

    net.register_forward_pre_hook(before)
    return calls


OPTIONS = {"smooth_px": 2.0, "threshold": 1e-3}  # of so small a film and untrained a network there are tracks, then


@pytest.mark.parametrize(("stop_frame", "stop_map"), [(6, -1), (-1, 6)], ids=["by the source", "by the network"])
def test_an_interrupted_call_goes_on_where_it_was(
    weights: Path, tmp_path: Path, stop_frame: int, stop_map: int
) -> None:
    checkpoint = tmp_path / "tracks.safetensors"
    whole = tracker.track_sequence(tracker.load_tracker(weights, "cpu"), ArraySource(film(10)), **OPTIONS)
    frames = whole.groupby("id")["frame"]
    assert ((frames.min() < 5) & (frames.max() > 6)).any()  # a track that the interruption falls into
    assert (whole["parent"] >= 0).any()

    stopped = tracker.load_tracker(weights, "cpu")
    calls = counted(stopped, stop_map)
    with pytest.raises(KeyboardInterrupt):
        tracker.track_sequence(stopped, Watched(stop_at=stop_frame), checkpoint, **OPTIONS)
    assert len(calls) == (5 if stop_map < 0 else 6)  # the pairs 0-1 to 4-5 are done

    net, source = tracker.load_tracker(weights, "cpu"), Watched()
    calls = counted(net)
    resumed = tracker.track_sequence(net, source, checkpoint, **OPTIONS)
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)
    assert len(calls) == 1 + 4  # the last map again, to see that it is the same film, and 5-6 to 8-9
    assert set(source.read) == {4, 5, 6, 7, 8, 9}


@pytest.mark.parametrize("other", ["weights", "frames"])
def test_a_checkpoint_of_something_else_is_not_gone_on_from(weights: Path, tmp_path: Path, other: str) -> None:
    checkpoint = tmp_path / "tracks.safetensors"
    net = tracker.load_tracker(weights, "cpu")
    with pytest.raises(KeyboardInterrupt):
        tracker.track_sequence(net, Watched(stop_at=6), checkpoint, data_digest="a", **OPTIONS)
    if other == "weights":
        with torch.no_grad():
            net.out.bias += 1e-4  # so little that only the digest tells
    expected = tracker.track_sequence(net, ArraySource(film(10)), **OPTIONS)
    calls, digest = counted(net), {"weights": "a", "frames": "b"}[other]
    with pytest.warns(CellweakWarning, match="of other frames, images or weights: tracking anew"):
        anew = tracker.track_sequence(net, Watched(), checkpoint, data_digest=digest, **OPTIONS)
    assert len(calls) == 9
    pd.testing.assert_frame_equal(anew, expected, check_exact=True)


def test_every_form_is_written(tmp_path: Path) -> None:
    data = simulate("BMP2", 4, 96, 0, n_cells=6)
    assert data.points is not None
    tracks = data.points.assign(score=0.5)
    written = tracker.export(tracks, data.source, tmp_path, label_images=True)
    assert {path.name for path in written} == {"tracks.csv", "napari_tracks.npy", "ctc", "tracks.gif"}
    assert (tmp_path / "ctc" / "man_track.txt").is_file()
    assert len(list((tmp_path / "ctc").glob("*.tif"))) == 4
    assert np.load(tmp_path / "napari_tracks.npy").shape == (len(tracks), 4)
    back = read_points(tmp_path / "tracks.csv", data.source)
    assert sorted(back["id"].unique()) == sorted(tracks["id"].unique())
    assert (tmp_path / "tracks.gif").read_bytes()[:3] == b"GIF"


def test_settings_go_with_the_weights_and_what_was_asked_for_goes_first(tmp_path: Path) -> None:
    dim = ArraySource(np.full((2, 32, 32), 900, np.uint16))
    kept = tracker.settings_text(dim, mpm_smooth_px=5.0, linking="assignment", flatten_px=0.0)
    save_file(UNet(2, 3, 4).state_dict(), tmp_path / "mpm.safetensors", kept)
    defaults = {"white_level": 0.0, "flatten_px": 0.0, "mpm_smooth_px": 3.0, "linking": "nearest", "mpm_threshold": 0.1}
    found = tracker.settled(defaults, defaults, tmp_path, dim)
    assert found == {**defaults, "white_level": 4095.0, "mpm_smooth_px": 5.0, "linking": "assignment"}
    asked = tracker.settled({**defaults, "mpm_smooth_px": 2.0, "white_level": 1000.0}, defaults, tmp_path, dim)
    assert (asked["mpm_smooth_px"], asked["white_level"], asked["linking"]) == (2.0, 1000.0, "assignment")
    eight = ArraySource(np.zeros((2, 32, 32), np.uint8))
    assert tracker.settled(defaults, defaults, tmp_path, eight)["white_level"] == 0.0  # 4095 is none of 8 bits
    for source in (dim, EvenSource(dim, 5.0)):
        assert '"white_level": 4095.0' in tracker.settings_text(source)["settings"]


def test_a_level_that_was_given_is_kept_for_films_of_its_type(tmp_path: Path) -> None:
    bright = ArraySource(np.full((2, 32, 32), 90, np.uint8), white_level=100)
    save_file(UNet(2, 3, 4).state_dict(), tmp_path / "mpm.safetensors", tracker.settings_text(bright))
    defaults = {"white_level": 0.0}
    new = ArraySource(np.zeros((2, 32, 32), np.uint8))
    assert tracker.settled(defaults, defaults, tmp_path, new) == {"white_level": 100.0}
    as_float = ArraySource(np.zeros((2, 32, 32), np.float32))
    assert tracker.settled(defaults, defaults, tmp_path, as_float) == {"white_level": 0.0}


def test_weights_without_settings_leave_the_defaults(weights: Path, tmp_path: Path) -> None:
    defaults, source = {"mpm_smooth_px": 3.0}, ArraySource(np.zeros((2, 32, 32), np.uint8))
    assert tracker.settled(defaults, defaults, weights, source) == defaults
    with pytest.raises(DataError, match=r"no mpm\.safetensors"):
        tracker.settled(defaults, defaults, tmp_path / "none", source)
    (tmp_path / "mpm.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(DataError, match="not the weights of an MPM network"):
        tracker.settled(defaults, defaults, tmp_path, source)
