"""The tracking chapter on one's own films: positions and a stain, a stain alone, trained weights on new frames."""

from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import tifffile

from cellweak_core import chapters
from cellweak_core.results import load_results
from cellweak_core.tracking.simulate import simulate

pytestmark = pytest.mark.slow
BRIEF = {
    "device": "cpu", "n_jobs": 1, "intervals": [1], "track_intervals": [1], "methods": ["Ours", "assignment"],
    "width": 2, "crop_px": 32, "batch_size": 2, "steps": 12, "motion_steps": 12, "n_resamples": 10, "margin_px": 16,
    "flatten_px": 30.0, "mpm_threshold": 0.2,
}  # fmt: skip


def lay(root: Path, points: bool) -> Path:
    """Five frames of 12 bits in 16-bit files with a nuclear stain; frame 3 is not annotated."""
    data = simulate("BMP2", 5, (64, 144), 3, n_cells=9)
    assert data.nuclei is not None
    assert data.points is not None
    for name, source in (("images", data.source), ("nuclei", data.nuclei)):
        (root / name).mkdir(parents=True)
        for t in range(5):
            tifffile.imwrite(root / name / f"t{t:03d}.tif", source.raw(t).astype(np.uint16) * 9)
    if points:
        data.points[data.points["frame"] != 3].to_csv(root / "points.csv", index=False)
    return root


def printed(notebook: Path) -> str:
    cells = nbformat.read(notebook, as_version=4).cells
    return "\n".join(out.get("text", "") for cell in cells for out in cell.get("outputs", []))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A film, what a run on it left, and what it said."""
    root = tmp_path_factory.mktemp("own")
    film, out = lay(root / "film", points=True), root / "out"
    return film, out, printed(chapters.run("tracking", BRIEF, data_dir=film, output_dir=out, progress=False))


def test_positions_and_a_stain_give_all_tables_and_the_whole_films_tracks(trained: tuple[Path, Path, str]) -> None:
    film, out, text = trained
    rows, provenance = load_results(out)
    assert provenance["parameters"]["data_dir"] == "film"
    assert {"Table 1", "Table 2", "Table 3", "Table 5", "Peers", "By part"} <= set(rows["item"])
    scored = rows[(rows["item"] == "Table 5") & (rows["row"] == "assignment")]
    assert set(scored["column"]) == {"AA", "TE"}
    # frames 0, 1, 2 and 4 of both halves; of 4 no link is asked, since nobody annotated 3
    points = pd.read_csv(film / "points.csv")
    half = points[(points["x"] < 63.5) | (points["x"] >= 79.5)]
    assert int(scored.loc[scored["column"] == "TE", "n"].iloc[0]) == len(half)
    assert "film: " in text
    assert (out / "napari_tracks.npy").is_file()
    assert (out / "weights" / "mpm.safetensors").is_file()


def test_trained_weights_track_new_frames_with_their_own_settings(
    trained: tuple[Path, Path, str], tmp_path: Path
) -> None:
    film, out, _ = trained
    new = tmp_path / "new"
    text = printed(chapters.run("tracking", {"weights": str(out), "device": "cpu"}, data_dir=film, output_dir=new))
    assert "settings: white_level 4095.0, flatten_px 30.0, mpm_smooth_px 3.0, mpm_threshold 0.2" in text
    assert "0 networks trained" in text
    rows, provenance = load_results(new)
    assert set(rows["item"]) == {"New frames"}
    assert provenance["parameters"]["weights"] == "out"
    assert provenance["settings"]["mpm_threshold"] == 0.2
    assert len(provenance["weights_digest"]) == 64
    assert not (new / "tables").exists()
    np.testing.assert_array_equal(np.load(new / "napari_tracks.npy"), np.load(out / "napari_tracks.npy"))


def test_a_stain_alone_is_enough_to_train_on(tmp_path: Path) -> None:
    film, out = lay(tmp_path / "stained", points=False), tmp_path / "out"
    brief = {**BRIEF, "export_tracks": False}
    text = printed(chapters.run("tracking", brief, data_dir=film, output_dir=out, progress=False))
    assert "positions: centroids of the nuclear stain" in text
    assert set(load_results(out)[0]["item"]) == {"Table 2"}  # positions, no links to compare with
    assert "5 frames" in text  # the whole film is tracked, by the network of one half
