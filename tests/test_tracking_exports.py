import itertools
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from tracking_files import SHAPE, film, save, tracks

from cellweak_core.files import DataError
from cellweak_core.tracking.ctc import ctc_lineage, draw_labels, read_ctc, read_tra, write_ctc
from cellweak_core.tracking.exports import napari_graph, napari_tracks, write_tracks, write_video
from cellweak_core.tracking.frames import ArraySource, FrameSource, open_frames
from cellweak_core.tracking.points import read_points
from cellweak_core.tracking.videos import colour_of, drawn_frames, palette

EMPTY = tracks().iloc[:0]


def test_tracks_are_read_back_as_they_were(tmp_path: Path) -> None:
    table = tracks().assign(x=tracks()["x"] + 1 / 3, score=0.25)
    kept = table.copy()
    path = write_tracks(table.iloc[::-1], tmp_path / "tracks.csv")
    assert path.read_text().splitlines()[:2] == ["frame,id,x,y,parent,score", "0,1,10.333,12.0,-1,0.25"]
    back = read_points(path, ArraySource(film(6)))
    pd.testing.assert_frame_equal(back, tracks().assign(x=(tracks()["x"] + 1 / 3).round(3)))
    pd.testing.assert_frame_equal(table, kept)


def test_tracks_are_written_with_the_files_numbers(tmp_path: Path) -> None:
    source = open_frames(save(tmp_path / "img", film(6), numbers=range(700, 706)))
    path = write_tracks(tracks(), tmp_path / "tracks.csv", source.numbers)
    assert path.read_text().splitlines()[1].startswith("700,1,")
    pd.testing.assert_frame_equal(read_points(path, source), tracks())
    with pytest.raises(ValueError, match="frames 0 to 5, and 3 frames have a number"):
        write_tracks(tracks(), tmp_path / "tracks.csv", [1, 2, 3])


def test_tracks_without_parents_or_rows_are_written_and_without_ids_refused(tmp_path: Path) -> None:
    path = write_tracks(tracks()[["frame", "id", "x", "y"]], tmp_path / "a.csv")
    assert path.read_text().splitlines()[1] == "0,1,10.0,12.0,-1,"
    assert write_tracks(EMPTY, path, [0]).read_text() == "frame,id,x,y,parent,score\n"
    with pytest.raises(ValueError, match=r"columns \['id'\] are missing"):
        write_tracks(tracks().drop(columns="id"), path)
    assert list(tmp_path.iterdir()) == [path]


def test_napari_takes_id_time_y_x_in_order() -> None:
    rows = napari_tracks(tracks().sample(frac=1, random_state=0))
    expected = sorted((float(r.id), float(r.frame), r.y, r.x) for r in tracks().itertuples())
    assert rows.tolist() == [list(row) for row in expected]
    assert rows.dtype == np.float64
    assert napari_tracks(EMPTY).shape == (0, 4)
    assert napari_graph(tracks()) == {3: [1], 4: [1]}
    assert napari_graph(tracks().query("id != 1")) == {}  # napari refuses a mother without a track
    assert napari_graph(tracks()[["frame", "id"]]) == {}


def test_a_lineage_of_unbroken_tracks() -> None:
    lineage, labels = ctc_lineage(tracks())
    assert lineage.to_numpy().tolist() == [[1, 0, 2, 0], [2, 0, 5, 0], [3, 3, 5, 1], [4, 3, 5, 1]]
    assert labels.tolist() == tracks()["id"].tolist()
    assert [len(part) for part in ctc_lineage(EMPTY)] == [0, 0]


def test_a_track_with_a_gap_is_split_and_daughters_follow_its_last_piece() -> None:
    table = pd.DataFrame(
        [(0, 9, -1), (1, 9, -1), (3, 9, -1), (4, 7, 9), (6, 7, 9), (4, 8, 9)], columns=["frame", "id", "parent"]
    )
    lineage, labels = ctc_lineage(table)
    # ids 7, 8, 9 in order: 7 has frames 4 and 6, 8 has 4, 9 has 0-1 and 3
    assert lineage.to_numpy().tolist() == [[1, 4, 4, 5], [2, 6, 6, 1], [3, 4, 4, 5], [4, 0, 1, 0], [5, 3, 3, 4]]
    assert labels.tolist() == [4, 4, 5, 1, 2, 3]


def test_tracks_that_the_challenge_cannot_hold_are_refused(tmp_path: Path) -> None:
    table = tracks()
    with pytest.raises(DataError, match="id 2 twice in frame 0"):
        ctc_lineage(pd.concat([table, table.query("id == 2")]))
    with pytest.raises(DataError, match="its parent 77 has no rows"):
        ctc_lineage(table.assign(parent=table["parent"].replace(1, 77)))
    with pytest.raises(DataError, match="id 3 starts in frame 3, and its parent 4 ends after its daughter starts"):
        ctc_lineage(table.assign(parent=table["parent"].mask(table["id"] == 3, 4)))
    with pytest.raises(DataError, match="frames 0 to 5, expected 0 to 3"):
        write_ctc(table, SHAPE, tmp_path, n_frames=4)
    many = pd.DataFrame({"frame": 0, "id": range(65536), "x": 1.0, "y": 1.0, "parent": -1})
    with pytest.raises(DataError, match="65536 labels"):
        write_ctc(many, SHAPE, tmp_path, label_images=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["truth", "result"])
def test_what_is_written_for_the_challenge_is_read_back(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "01_GT" / "TRA"
    path = write_ctc(tracks(), SHAPE, out, 3, True, n_frames=7, kind=kind)  # type: ignore[arg-type]
    stem = "man_track" if kind == "truth" else "mask"
    assert path.name == ("man_track.txt" if kind == "truth" else "res_track.txt")
    assert path.read_text() == "1 0 2 0\n2 0 5 0\n3 3 5 1\n4 3 5 1\n"
    assert sorted(p.name for p in out.glob("*.tif")) == [f"{stem}{t:03d}.tif" for t in range(7)]
    assert tifffile.imread(out / f"{stem}006.tif").max() == 0
    assert tifffile.imread(out / f"{stem}000.tif").dtype == np.uint16
    pd.testing.assert_frame_equal(read_tra(out), tracks())  # whole positions, discs that do not touch
    if kind == "truth":
        save(tmp_path / "01", film(7), "t{:03d}.tif")
        source, points = read_ctc(tmp_path)
        assert len(source) == 7
        pd.testing.assert_frame_equal(points, tracks())


def test_napari_and_challenge_files_hold_the_same_tracks(tmp_path: Path) -> None:
    write_ctc(tracks(), SHAPE, tmp_path, 2, True)
    np.testing.assert_array_equal(napari_tracks(read_tra(tmp_path)), napari_tracks(tracks()))
    assert napari_graph(read_tra(tmp_path)) == napari_graph(tracks())


def test_the_table_alone_is_the_default_and_older_images_go(tmp_path: Path) -> None:
    write_ctc(tracks(), SHAPE, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["man_track.txt"]
    (tmp_path / "man_track_notes.tif").write_bytes(b"mine")
    write_ctc(tracks(), SHAPE, tmp_path, label_images=True, n_frames=9)
    write_ctc(tracks(), SHAPE, tmp_path, label_images=True)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["man_track.txt", *(f"man_track{t:03d}.tif" for t in range(6)), "man_track_notes.tif"]
    assert write_ctc(EMPTY, SHAPE, tmp_path / "none", label_images=True, n_frames=2).read_text() == ""


def literal_labels(points: np.ndarray, shape: tuple[int, int], radius_px: float) -> np.ndarray:
    out = np.zeros(shape, int)
    for row in range(shape[0]):
        for column in range(shape[1]):
            nearest = radius_px**2
            for k, (x, y) in enumerate(points):
                square = np.float32((column - np.float32(x)) ** 2) + np.float32((row - np.float32(y)) ** 2)
                if square < nearest or (square == nearest == radius_px**2 and not out[row, column]):
                    out[row, column], nearest = k + 1, square
    return out


@given(seed=st.integers(0, 10**6), n=st.integers(0, 6), radius_px=st.floats(1.5, 6))
def test_a_pixel_belongs_to_the_nearest_centre_within_the_radius(seed: int, n: int, radius_px: float) -> None:
    points = np.random.default_rng(seed).uniform((0, 0), (19, 14), (n, 2))
    labels = draw_labels(points, range(1, n + 1), (15, 20), radius_px)
    expected = literal_labels(points, (15, 20), radius_px)
    assert set(range(1, n + 1)) <= set(np.unique(labels).tolist())  # every cell has a pixel
    if set(range(1, n + 1)) <= set(np.unique(expected).tolist()):
        np.testing.assert_array_equal(labels, expected)


def test_cells_on_one_spot_outside_or_smaller_than_a_pixel_keep_a_pixel_each() -> None:
    points = np.array([[5, 5], [5, 5], [5.2, 5], [-3, 40], [9.4, 9.4]])
    for radius_px in (0.1, 1.0, 4.0):
        labels = draw_labels(points, [1, 2, 3, 4, 5], (12, 12), radius_px)
        assert set(np.unique(labels).tolist()) - {0} == {1, 2, 3, 4, 5}
        assert labels[11, 0] == 4
    assert draw_labels(np.zeros((0, 2)), [], (3, 4), 2).tolist() == np.zeros((3, 4)).tolist()


def frames_of(path: Path) -> list[np.ndarray]:
    with Image.open(path) as video:
        return [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(video)]


def test_a_gif_shows_frames_and_tracks(tmp_path: Path) -> None:
    source = ArraySource(film(6), "film")
    path = write_video(source, tracks(), tmp_path / "a.gif", tail_frames=2, fps=10, ids=False)
    with Image.open(path) as video:
        assert (video.n_frames, video.size, video.info["duration"], video.info["loop"]) == (6, (56, 40), 100, 0)
    frames = frames_of(path)
    for row in tracks().itertuples():
        colour = palette()[colour_of(row.id)]
        np.testing.assert_array_equal(frames[row.frame][int(row.y), int(row.x)], colour)
    plain = frames_of(write_video(source, EMPTY, tmp_path / "b.gif"))
    assert all((frame[..., 0] == frame[..., 2]).all() for frame in plain)
    brightness = [np.corrcoef(frame[..., 0].ravel(), source[t].ravel())[0, 1] for t, frame in enumerate(plain)]
    assert min(brightness) > 0.99
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gif", "b.gif"]


def test_divisions_are_marked_and_tails_end() -> None:
    source = ArraySource(np.zeros((12, 80, 140), np.uint8), "dark")
    table = tracks().assign(x=tracks()["x"] * 3, y=tracks()["y"] + 20)
    images = [np.asarray(image) for image in drawn_frames(source, table, 3, (140, 80), 1.0, False)]
    white = [int((image == 127).sum()) for image in images]
    assert white[2] == 0
    assert white[3] > 20  # the ring, from the first frame of the daughters on
    assert white[6] > 20
    assert white[7] == 0
    mother = [int((image == colour_of(1)).sum()) for image in images]
    assert mother[2] > mother[0] > 0  # her tail grows
    assert mother[8] == 0
    assert (images[9] == 0).all()  # no cell is left


def test_colours_depend_on_the_id_only() -> None:
    near = [colour_of(i) for i in range(128)]
    assert sorted(near) == list(range(128, 256))
    assert colour_of(128) == colour_of(0)
    assert min(abs(a - b) for a, b in itertools.pairwise(near)) > 20
    assert palette().shape == (256, 3)
    assert palette()[128:].max(1).min() > 150  # none is dark


def test_large_frames_shrink_and_small_ones_do_not_grow(tmp_path: Path) -> None:
    source = ArraySource(film(2, (90, 201)))
    for side, size in ((100, (100, 44)), (1000, (200, 90))):  # even sides, for MP4
        with Image.open(write_video(source, EMPTY, tmp_path / "a.gif", max_side_px=side)) as video:
            assert video.size == size


def test_flat_frames_a_single_frame_and_a_first_frame_without_cells(tmp_path: Path) -> None:
    source = ArraySource(np.full((1, 20, 20), 7, np.uint8))
    assert len(frames_of(write_video(source, EMPTY, tmp_path / "a.gif"))) == 1
    table = tracks().query("frame >= 3")
    assert len(frames_of(write_video(ArraySource(film(6)), table, tmp_path / "b.gif"))) == 6


def test_videos_that_cannot_be_are_refused_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ArraySource(film(3))
    with pytest.raises(ValueError, match=r"ending in \.gif or \.mp4"):
        write_video(source, tracks(), tmp_path / "a.avi")
    with pytest.raises(ValueError, match="fps above 0"):
        write_video(source, tracks(), tmp_path / "a.gif", fps=0)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(DataError, match="pip install imageio-ffmpeg, or write"):
        write_video(source, tracks(), tmp_path / "a.mp4")
    broken = film(3, dtype=np.float32, white=1)
    broken[1] = np.nan
    with pytest.raises(DataError, match="not numbers"):
        write_video(ArraySource(broken, white_level=1), tracks(), tmp_path / "a.gif")
    assert list(tmp_path.iterdir()) == []


def test_mp4_where_ffmpeg_is_at_hand(tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = write_video(ArraySource(film(6, (64, 90))), tracks(), tmp_path / "a.mp4", fps=5)
    frames, _ = ffmpeg.count_frames_and_secs(str(path))
    assert frames == 6
    assert list(tmp_path.iterdir()) == [path]


class Endless(FrameSource):
    """Frames made when they are asked for."""

    def raw(self, t: int) -> np.ndarray:
        return np.random.default_rng(t).integers(0, 255, self.shape, np.uint8)

    def digest(self) -> str:
        return "made when asked for"


def test_memory_of_a_video_does_not_grow_with_its_length(tmp_path: Path) -> None:
    peaks = []
    for n in (10, 10, 60):  # once to import what is needed
        source = Endless("endless", range(n), (200, 200), np.dtype(np.uint8))
        tracemalloc.start()
        write_video(source, tracks(), tmp_path / "a.gif")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert len(frames_of(tmp_path / "a.gif")) == 60
    assert peaks[2] < peaks[1] + 200 * 200 * 4
