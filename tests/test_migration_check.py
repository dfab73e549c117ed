"""What `check` says of films, cells that are kept, frames' numbers in files, and what there is, counted."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from migration_films import T, film, lay, stack, table
from PIL import Image

from cellweak_core.files import DataError
from cellweak_core.migration.data import check, file_frames, kept, load, overview
from cellweak_core.migration.simulate import Plan, simulate


def test_check_says_what_is_there(tmp_path: Path) -> None:
    points = table(12)
    points.loc[(points["cell"] == 0) & (points["frame"] > 2), "label"] = "continuous"
    points = points[(points["cell"] != 1) | (points["frame"] != 3)]
    root = lay(tmp_path, points.assign(x=points["x"] / 2))
    said = list(check(root, n_folds=3, test_share=0.2))
    assert said[0] == "film cells: 6 frames of 32x24 pixels, uint8, 1 channel; axes TYX"
    assert said[1] == "12 cells, 71 positions; 5 to 6 frames of a cell, median 6"
    assert said[2] == "labels: 38 frames continuous, 33 frames discontinuous, 0 frames unknown"
    assert said[3] == "12 cells with a mode, 1 of them switch"
    assert said[4] == "1 jumps or gaps in tracks, the first in cells/1 before frame 4: 1 frames missing"
    assert said[5] == "10 cells in 3 folds of 18 to 23 frames, 2 cells for the test"
    assert said[6] == f"digest {load(root).digest}"


def test_check_of_all_unknown_frames(tmp_path: Path) -> None:
    said = list(check(lay(tmp_path, table().assign(label="unknown"))))
    assert any("all 12 frames are unknown; label some frames of both modes" in line for line in said)


def wandering(cells: int = 8, n: int = 10) -> pd.DataFrame:
    """Tracks without labels: even cells glide, odd ones stand and burst to and fro."""
    rows = [(c, t, 4.0 + t if c % 2 == 0 else 8.0 + 6 * (t // 2 % 2), 5.0 + c) for c in range(cells) for t in range(n)]
    return pd.DataFrame(rows, columns=["cell", "frame", "x", "y"])


def test_check_takes_modes_from_the_motion_as_it_is_told(tmp_path: Path) -> None:
    root = lay(tmp_path, wandering(), film(10))
    settings = {"motion_window": 2, "motion_by": ["speed"], "motion_quantile": 0.5, "n_folds": 2}
    said = list(check(root, **settings))
    assert said[2] == "no labels (column label): modes are taken from the motion"
    # speeds in the 6 frames that have a window: 1 of gliding cells, 3 of the others, whose median is 2
    assert said[3] == "modes from motion, windows of +-2 frames; thresholds: speed 2 px/frame"
    assert said[4] == "24 frames continuous, 24 frames discontinuous, 32 frames unknown"
    assert said[5] == "6 cells in 2 folds of 18 to 18 frames, 2 cells for the test"
    assert "thresholds: persistence 0.5" in list(check(root, **settings | {"motion_by": ["persistence"]}))[3]
    assert "windows of +-1 frames" in list(check(root, **settings | {"motion_window": 1}))[3]
    assert "speed 3 px/frame" in list(check(root, **settings | {"motion_quantile": 0.75}))[3]
    assert list(check(root, **settings | {"test_share": 0.0}))[5].startswith("8 cells in 2 folds of 24 to 24 frames, 0")
    # motion although there are labels, and labels although there are none
    both = lay(tmp_path, wandering().assign(label="continuous"), film(10), "both")
    assert list(check(both, modes_from="motion", **settings))[-4:-1] == said[3:6]
    asked = list(check(root, modes_from="labels", **settings))
    assert not any("taken from the motion" in line for line in asked)
    assert asked[2] == (
        "nothing can be trained (the table of cells has no column label; add it, or take modes from motion "
        "(modes_from)); `-p weights` predicts"
    )
    with pytest.raises(ValueError, match="expected modes_from labels, motion or nothing"):
        list(check(root, modes_from="eyes"))
    with pytest.raises(ValueError, match="by: expected some of speed, persistence, burstiness, got"):
        list(check(root, motion_by=["size"]))


def test_check_of_one_mode_only_and_of_tracks_too_short_for_a_window(tmp_path: Path) -> None:
    said = list(check(lay(tmp_path, table().assign(label="continuous"))))
    assert any("frames: 12 continuous, 0 unknown and no discontinuous one" in line for line in said)
    short = lay(tmp_path, table(n=1).drop(columns="label"), name="short")
    assert "no cell is tracked for 7 frames in a row" in list(check(short))[3]


def test_cells_of_enough_frames_are_kept(tmp_path: Path) -> None:
    points = table(3)
    points = points[(points["cell"] == 0) | ((points["cell"] == 1) & (points["frame"] > 0)) | (points["frame"] > 3)]
    films = load(lay(tmp_path, points.sample(frac=1, random_state=0)))  # 6, 5 and 2 frames
    for least, cells in ((1, "012"), (2, "012"), (3, "01"), (5, "01"), (6, "0")):
        found = kept(films, least)
        assert found.points["cell"].unique().tolist() == [f"cells/{cell}" for cell in cells]
        assert (found.frames, found.channels, found.digest) == (films.frames, films.channels, films.digest)
        assert found.points.index.tolist() == list(range(len(found.points)))
        own = films.points[films.points["cell"].isin(found.points["cell"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(found.points, own)
    assert films.points["cell"].nunique() == 3
    with pytest.raises(DataError, match="cells: no cell has 7 frames, the longest has 6; lower -p min_frames"):
        kept(films, 7)
    root = tmp_path / "cells"
    assert list(check(root, min_frames=5))[1] == "2 cells, 11 positions; 5 to 6 frames of a cell, median 5.5"
    with pytest.raises(DataError, match="no cell has 7 frames"):
        list(check(root, min_frames=7))


def test_frames_have_their_files_numbers(tmp_path: Path) -> None:
    for t, frame in enumerate(film()):
        folder = tmp_path / "films" / "a"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(folder / f"t{700 + 2 * t}.png")
    stack(tmp_path / "films" / "b" / "stack.tif", film(seed=1))
    a = table().assign(frame=table()["frame"] * 2 + 700, sequence="a")
    pd.concat([a, table().assign(sequence="b")]).to_csv(tmp_path / "points.csv", index=False)
    films = load(tmp_path)
    order = np.random.default_rng(0).permutation(len(films.points))
    for points in (films.points, films.points.iloc[order]):
        literal = [700 + 2 * frame if film == "a" else frame for film, frame in
                   points[["sequence", "frame"]].itertuples(index=False)]  # fmt: skip
        found = file_frames(films, points)
        assert found.dtype == np.int64
        assert found.tolist() == literal
    assert file_frames(films, films.points[:0]).tolist() == []
    made = simulate(Plan(4, 6, 48, 32), 0)
    np.testing.assert_array_equal(file_frames(made, made.points), made.points["frame"])


def test_an_overview_counts_what_there_is(tmp_path: Path) -> None:
    stack(tmp_path / "films" / "a.tif", film(4, channels=2), imagej=True, metadata={"axes": "TCYX"})
    stack(tmp_path / "films" / "b.tif", film(T, channels=2)[..., :20], imagej=True, metadata={"axes": "TCYX"})
    near = table().assign(x=10.0, sequence="b")
    near.loc[0, "label"] = "unknown"
    points = pd.concat([table(3, 4).assign(sequence="a"), near])
    points.to_csv(tmp_path / "points.csv", index=False)
    films = load(tmp_path, ("adhesions", "actin"))
    found = overview(films)
    assert dict(zip(found["what"], found["count"], strict=True)) == {
        "films": "2", "frames of a film": "4 to 6", "size of a frame, px": "20 x 24 to 32 x 24",
        "channels": "adhesions, actin", "cells": "5", "frames of a cell": "4 to 6", "positions": "24",
        "frames continuous": "10", "frames discontinuous": "13", "frames unknown": "1",
    }  # fmt: skip
    one = overview(load(lay(tmp_path, table().drop(columns="label"))))
    assert one["what"].tolist() == found["what"].tolist()[:-3]
    assert one["count"].tolist() == ["1", "6", "32 x 24", "0", "2", "6", "12"]
