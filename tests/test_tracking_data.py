import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from tracking_files import SHAPE, film, save, tracks

from cellweak_core.files import DataError, tree_digest
from cellweak_core.tracking.ctc import read_ctc, read_tra, sequences
from cellweak_core.tracking.data import TrackingData, check, load, require_trainable
from cellweak_core.tracking.frames import ArraySource


def lay(root: Path, folder: str = "images", table: pd.DataFrame | None = None, name: str = "points.csv") -> Path:
    """A data folder with six frames and positions."""
    save(root / folder, film(6))
    (tracks() if table is None else table).to_csv(root / name, index=False)
    return root


@pytest.mark.parametrize("folder", ["images", "img", "frames", "."])
@pytest.mark.parametrize("name", ["points.csv", "tracks.csv", "positions.csv", "points.csv.gz"])
def test_every_layout_gives_the_same_data(tmp_path: Path, folder: str, name: str) -> None:
    data = load(lay(tmp_path / "cells", folder, name=name))
    assert (data.name, data.source.name, len(data.source), data.source.shape) == ("cells", "cells", 6, SHAPE)
    assert data.linked
    assert data.nuclei is None
    pd.testing.assert_frame_equal(data.points, tracks())
    np.testing.assert_array_equal(data.source.raw(4), film(6)[4])
    files = [path for path in (tmp_path / "cells").rglob("*") if path.is_file()]
    assert data.digest == tree_digest(files, tmp_path / "cells")


def test_a_stack_in_the_folder_or_in_images(tmp_path: Path) -> None:
    for at in (tmp_path, tmp_path / "deep" / "images"):
        at.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(at / "movie.tif", film(6), photometric="minisblack")
    tracks()[["frame", "x", "y"]].to_csv(tmp_path / "points.csv", index=False)
    data = load(tmp_path)
    assert (len(data.source), len(data.points), data.linked) == (6, len(tracks()), False)
    assert load(tmp_path / "deep").points is None


def test_zarr_in_the_folder(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    zarr.create_array(str(tmp_path / "a.zarr"), data=film(6))
    tracks().to_csv(tmp_path / "tracks.csv", index=False)
    data = load(tmp_path)
    assert (len(data.source), data.linked, len(data.digest or "")) == (6, True, 64)
    assert load(tmp_path / "a.zarr").points is None
    save(tmp_path, film(2))
    with pytest.raises(DataError, match=r"a\.zarr and other images"):
        load(tmp_path)


def test_nuclei_go_with_the_frames(tmp_path: Path) -> None:
    lay(tmp_path)
    save(tmp_path / "nuclei", film(6, dtype=np.uint16, white=4000), "n{}.tif")
    data = load(tmp_path, white_level=255)
    assert data.nuclei is not None
    assert (len(data.nuclei), data.nuclei.scale) == (6, 4095)  # a white level of its own
    part = data.part(range(0, 6, 2), (0, 30, 0, 40))
    assert (len(part.source), part.nuclei.shape if part.nuclei else None, part.linked) == (3, (30, 40), True)
    (tmp_path / "nuclei" / "n5.tif").unlink()
    with pytest.raises(DataError, match=r"nuclei: 5 frames of 56x40 pixels, numbers 0 to 4; expected 6"):
        load(tmp_path)


def test_a_part_keeps_frames_and_positions_together() -> None:
    data = TrackingData(ArraySource(film(6), "film"), tracks(), True, "film")
    part = data.part([1, 3], (4, 40, 8, 56))
    assert part.points is not None
    for t, whole in enumerate([1, 3]):
        np.testing.assert_array_equal(part.source[t], data.source[whole][4:40, 8:56])
        here = tracks().query("frame == @whole and x >= 8 and y >= 4")
        np.testing.assert_array_equal(part.points.query("frame == @t")["x"] + 8, here["x"])
    assert not data.part([0]).linked
    assert data.part([0]).nuclei is None


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no images; expected a folder images/"):
        load(tmp_path)
    tracks().to_csv(tmp_path / "points.csv", index=False)
    with pytest.raises(DataError, match=r"points\.csv but no images"):
        load(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="images: no frames"):
        load(tmp_path)
    save(tmp_path / "images", film(1))
    with pytest.raises(DataError, match="one frame only"):
        load(tmp_path)
    lay(tmp_path)
    tracks().to_csv(tmp_path / "tracks.csv", index=False)
    with pytest.raises(DataError, match=r"points\.csv and tracks\.csv; keep one"):
        load(tmp_path)
    (tmp_path / "tracks.csv").unlink()
    save(tmp_path / "img", film(2))
    with pytest.raises(DataError, match="images/ and img/; keep one"):
        load(tmp_path)


def test_one_frame_is_too_few(tmp_path: Path) -> None:
    save(tmp_path, film(1))
    with pytest.raises(DataError, match="one frame only, tracking needs two or more"):
        load(tmp_path)


def test_images_without_positions_can_be_tracked_and_not_trained_on(tmp_path: Path) -> None:
    save(tmp_path, film(3))
    data = load(tmp_path)
    assert data.points is None
    assert not data.linked
    with pytest.raises(DataError, match=r"not trained on; add points\.csv with the columns frame,x,y"):
        require_trainable(data)
    lines = list(check(tmp_path))
    assert any("no positions: frames can be tracked with trained weights" in line for line in lines)
    source = ArraySource(film(3))
    with pytest.raises(DataError, match="positions in one frame only"):
        require_trainable(TrackingData(source, tracks().query("frame == 1"), False, "film"))
    require_trainable(TrackingData(source, tracks(), True, "film"))
    assert len(data.source) == 3


def test_the_check_says_what_is_there(tmp_path: Path) -> None:
    lay(tmp_path / "cells")
    save(tmp_path / "cells" / "nuclei", film(6))
    lines = list(check(tmp_path / "cells"))
    assert lines[0] == "cells: 6 frames of 56x40 pixels (X x Y), 8-bit, frames 0 to 5"
    assert lines[1].endswith("white level 255")
    assert lines[2].startswith("cells, nuclei: 6 frames")
    assert lines[4] == "15 positions: 2 to 3 cells per frame, median 2.5"
    assert lines[5] == "links are known: 4 cells, 2 daughters of 1 mothers"
    assert "displacement 1.0 px from frame to frame (median, 11 links)" in lines[6]
    assert lines[-1] == f"digest {load(tmp_path / 'cells').digest}"


def test_the_ratio_of_displacement_to_nearest_neighbour_is_the_literal_one(tmp_path: Path) -> None:
    line = list(check(lay(tmp_path)))[4]
    rows = list(tracks().itertuples(index=False))
    ratios = []
    for a in rows:
        for b in rows:
            if (b.frame, b.id) == (a.frame + 1, a.id):
                nearest = min(np.hypot(a.x - c.x, a.y - c.y) for c in rows if c.frame == a.frame and c.id != a.id)
                ratios.append(np.hypot(a.x - b.x, a.y - b.y) / nearest)
    assert f"nearest neighbour {np.median(ratios):.3f} (median), {np.quantile(ratios, 0.95):.3f} (95th" in line


def test_the_check_names_oddities(tmp_path: Path) -> None:
    frames = film(6, dtype=np.uint16, white=4000)
    frames[3] = 7
    save(tmp_path / "images", frames, "t{}.tif", numbers=range(10, 22, 2))
    tracks().assign(frame=tracks()["frame"] * 2 + 10).query("frame != 14")[["frame", "x", "y"]].to_csv(
        tmp_path / "points.csv", index=False
    )
    text = "\n".join(check(tmp_path))
    assert "frames 10 to 20, 2 apart" in text
    assert "white level 4095" in text
    assert "1 frames are one grey level all over: 16" in text
    assert "1 frames without positions: detectors do not learn from them, and they are not scored: 14" in text
    assert "2 to 3 cells per frame" in text
    assert "links are not known" in text
    assert "above it and will be clipped" in "\n".join(check(tmp_path, white_level=1000))


def test_frames_without_a_position_are_not_annotated(tmp_path: Path) -> None:
    data = load(lay(tmp_path, table=tracks().query("frame not in (1, 2)")))
    assert data.annotated == (0, 3, 4, 5)
    assert data.part(range(2, 6)).annotated == (1, 2, 3)
    # A part in which no cell lies is annotated all the same: that nobody is there is known.
    corner = data.part(region=(0, 2, 0, 2))
    assert corner.points is not None
    assert (len(corner.points), corner.annotated) == (0, (0, 3, 4, 5))


def test_the_check_lists_broken_frames(tmp_path: Path) -> None:
    lay(tmp_path)
    for t in (2, 4):
        path = tmp_path / "images" / f"t{t:03d}.png"
        path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match=r"t002\.png: broken or truncated") as error:
        list(check(tmp_path))
    assert "t004.png" in str(error.value)
    assert len(load(tmp_path).source) == 6  # frames are read when they are needed


def test_the_check_says_when_one_frame_is_too_few(tmp_path: Path) -> None:
    text = "\n".join(check(lay(tmp_path, table=tracks().query("frame == 1"))))
    assert "positions in one frame only: training needs them in two or more" in text


def test_gaps_and_single_cells_in_the_check(tmp_path: Path) -> None:
    table = pd.DataFrame({"frame": [0, 2, 3], "id": [1, 1, 2], "x": [1.0, 2, 3], "y": [4.0, 4, 4]})
    text = "\n".join(check(lay(tmp_path, table=table)))
    assert "1 cells with frames missing in between" in text
    assert "one cell in each frame: no neighbours" in text


def test_the_check_says_where_positions_will_come_from(tmp_path: Path) -> None:
    lay(tmp_path)
    (tmp_path / "points.csv").unlink()
    with pytest.raises(DataError, match=r"add points\.csv .* or a nuclear stain of the same frames in nuclei/"):
        require_trainable(load(tmp_path))
    save(tmp_path / "nuclei", film(6))
    assert "they will be taken from the nuclear stain" in "\n".join(check(tmp_path))


def test_the_options_of_the_check_are_those_of_load() -> None:
    names = list(inspect.signature(check).parameters)
    assert names == list(inspect.signature(load).parameters)
    assert names[1:] == ["axes", "white_level", "sequence", "colour", "flatten_px"]


def challenge(root: Path, labels: list[np.ndarray], lineage: str, sequence: str = "01") -> Path:
    save(root / sequence, film(len(labels)), "t{:03d}.tif")
    save(root / f"{sequence}_GT" / "TRA", np.stack(labels), "man_track{:03d}.tif")
    (root / f"{sequence}_GT" / "TRA" / "man_track.txt").write_text(lineage)
    return root


def squares() -> list[np.ndarray]:
    """Label 1 in frames 0 and 1, daughters 2 and 3 in frame 2; label 4 absent in frame 1."""
    labels = [np.zeros(SHAPE, np.uint16) for _ in range(3)]
    for t, label, top, left in (
        (0, 1, 5, 5),
        (1, 1, 6, 5),
        (2, 2, 2, 5),
        (2, 3, 12, 6),
        (0, 4, 20, 30),
        (2, 4, 20, 33),
    ):
        labels[t][top : top + 3, left : left + 5] = label
    return labels


LINEAGE = "1 0 1 0\n2 2 2 1\n3 2 2 1\n4 0 2 0\n"


def test_a_challenge_folder_gives_centroids_and_lineages(tmp_path: Path) -> None:
    challenge(tmp_path / "Sim", squares(), LINEAGE)
    challenge(tmp_path / "Sim", squares(), LINEAGE, "02")
    data = load(tmp_path / "Sim", sequence="02")
    assert data.points is not None
    expected = [
        (0, 1, 7, 6, -1), (0, 4, 32, 21, -1), (1, 1, 7, 7, -1), (2, 2, 7, 3, 1), (2, 3, 8, 13, 1), (2, 4, 35, 21, -1)
    ]  # fmt: skip
    assert list(data.points.itertuples(index=False, name=None)) == expected
    assert (data.name, data.linked, sequences(tmp_path / "Sim")) == ("Sim/02", True, ["01", "02"])
    assert "2 daughters of 1 mothers; 1 cells with frames missing" in "\n".join(check(tmp_path / "Sim"))
    (tmp_path / "Sim" / "02_GT" / "TRA" / "man_track.txt").write_text(LINEAGE.replace("4 0 2 0", "4 0 2 0 "))
    assert load(tmp_path / "Sim", sequence="02").digest != data.digest
    with pytest.raises(DataError, match=r"no sequence 03; it has 01, 02: give -p sequence 01"):
        load(tmp_path / "Sim", sequence="3")
    with pytest.raises(DataError, match="expected a folder 01"):
        read_ctc(tmp_path)


def test_a_challenge_folder_without_truth_has_no_positions(tmp_path: Path) -> None:
    save(tmp_path / "01", film(3), "t{:03d}.tif")
    assert load(tmp_path).points is None


@pytest.mark.parametrize(
    ("lineage", "message"),
    [
        ("1 0 1 0\n2 2 2 1\n3 2 2 1\n", "label 4 is in the images and has no line"),
        (LINEAGE.replace("4 0 2", "4 0 1"), "label 4 is in the image of frame 2, and man_track.txt has it from 0 to 1"),
        (LINEAGE.replace("1 0 1 0", "1 0 1"), "line 1: expected four whole numbers"),
        (LINEAGE.replace("1 0 1 0", "1 1 0 0"), "line 1: label 1 from frame 1 to 0"),
        (LINEAGE + "4 0 2 0\n", "label 4 has two lines"),
        (LINEAGE.replace("3 2 2 1", "3 2 2 9"), "the parent 9 has no row"),
        (LINEAGE.replace("3 2 2 1", "3 2 2 4"), "the parent 4 is still there in frame 2"),
    ],
)
def test_lineages_that_do_not_fit_the_labels_are_refused(tmp_path: Path, lineage: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(challenge(tmp_path, squares(), lineage))


def test_label_images_that_do_not_fit_the_frames_are_refused(tmp_path: Path) -> None:
    annotated = challenge(tmp_path, squares(), LINEAGE) / "01_GT" / "TRA"
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(annotated / "man_track001.tif")
    with pytest.raises(DataError, match=r"man_track001\.tif: 9x9 pixels, expected 56x40"):
        load(tmp_path)
    (annotated / "man_track002.tif").unlink()
    with pytest.raises(DataError, match="frame 2 is in one of them only"):
        load(tmp_path)
    (annotated / "man_track.txt").unlink()
    with pytest.raises(DataError, match=r"no man_track\.txt"):
        load(tmp_path)
    (tmp_path / "man_track.txt").write_text(LINEAGE)
    with pytest.raises(DataError, match="no label images"):
        read_tra(tmp_path)


def test_labels_without_any_cell_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no cells at all"):
        load(challenge(tmp_path, [np.zeros(SHAPE, np.uint16)] * 2, ""))


def test_real_sets_load(real_data: Path) -> None:
    folder = real_data / "tracking"
    if not folder.is_dir():
        pytest.skip("no real tracking data in $CELLWEAK_DATA")
    data = load(folder / "c2c12_bmp2_seq9")
    assert data.points is not None
    assert (len(data.source), data.source.shape, len(data.points), data.linked) == (10, (1040, 1392), 2281, True)
    assert 0.2 < float(data.source[9].mean()) < 0.8
    fluo = load(folder / "Fluo-N2DH-GOWT1")
    assert fluo.points is not None
    assert (len(fluo.source), fluo.source.shape, fluo.name) == (92, (1024, 1024), "Fluo-N2DH-GOWT1/01")
    assert (len(fluo.points), fluo.points["id"].nunique()) == (2052, 27)
    assert fluo.points.groupby("frame").size().between(20, 25).all()
