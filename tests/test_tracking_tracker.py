"""A trained tracker on new frames: its weights, its files, and what it says of weights that are none."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from cellweak_core.files import DataError
from cellweak_core.tracking import tracker
from cellweak_core.tracking.frames import ArraySource
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
