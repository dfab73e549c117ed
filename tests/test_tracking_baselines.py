"""The rebuilt baselines: hand-drawn overlaps and fog, films of three cells, empty ones, tuning, nuclei, real frames."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cellweak_core.regions import Regions, measured, segment_nuclei
from cellweak_core.tracking.agraph import fit_agraph, segment_agraph, track_agraph
from cellweak_core.tracking.ctc import read_ctc
from cellweak_core.tracking.fogbank import fog_levels, fog_seeds, segment_fogbank, track_fogbank, tune_fogbank
from cellweak_core.tracking.frames import ArraySource, open_frames
from cellweak_core.tracking.gda import segment_gda, track_gda, tune_gda
from cellweak_core.tracking.nuclei import nuclei_points
from cellweak_core.tracking.overlap import cut_fused, division_pairs, link_overlaps, overlaps
from cellweak_core.tracking.scores import detection_scores, tracking_scores
from cellweak_core.tracking.segmentation import training_frames, tune
from cellweak_core.tracking.tracks import TRACK_COLUMNS

Array = NDArray[np.float64]
Tracker = Callable[..., pd.DataFrame]
TRACKERS = [track_agraph, track_fogbank, track_gda]
SEGMENTERS = [segment_agraph, segment_fogbank, segment_gda]


def drawn(*rows: str) -> Regions:
    """Regions of a drawing: each letter is a cell, in the order of the alphabet; a dot is background."""
    letters = sorted(set("".join(rows)) - {"."})
    return measured(np.array([[letters.index(c) + 1 if c != "." else 0 for c in row] for row in rows], np.int32))


def movie(paths: Array, shape: tuple[int, int] = (96, 128), noise: float = 0.002) -> ArraySource:
    """Dark round cells with a bright rim on grey, at `paths` (T, n, 2); a cell at NaN is absent."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    rng = np.random.default_rng(0)
    frames = []
    for cells in paths:
        image = np.full(shape, 0.3)
        for cx, cy in cells[np.isfinite(cells).all(1)] if len(cells) else cells:
            r = np.hypot(x - cx, y - cy)
            image += -0.12 * np.exp(-((r / 6) ** 4)) + 0.03 * np.exp(-(((r - 10) / 2) ** 2))
        frames.append(image + rng.normal(0, noise, shape))
    return ArraySource(np.array(frames, np.float32))


def three_cells(n_frames: int = 6) -> Array:
    t = np.arange(n_frames)[:, None]
    starts = np.array([[30, 30], [80, 30], [60, 70]])
    return starts + np.stack([t * np.array([1.5, -1, 1]), t * np.array([1, 0.5, -1])], -1)


def truth_of(paths: Array) -> pd.DataFrame:
    t, n = paths.shape[:2]
    xy = paths.reshape(-1, 2)
    table = {"frame": np.repeat(np.arange(t), n), "id": np.tile(np.arange(1, n + 1), t), "x": xy[:, 0], "y": xy[:, 1]}
    return pd.DataFrame(table | {"parent": -1}).dropna(ignore_index=True)


def ids_at(tracks: pd.DataFrame, frame: int) -> list[int]:
    """Ids of a frame's rows from left to right."""
    return tracks[tracks["frame"] == frame].sort_values(["x", "y"])["id"].tolist()


# --- overlap linking ---------------------------------------------------------------------------------------------


def test_overlaps_by_counting() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (12, 9)), rng.integers(0, 6, (12, 9))
    expected = [[((a == i) & (b == j)).sum() for j in range(1, 6)] for i in range(1, 4)]
    assert overlaps(a, b, 3, 5).tolist() == expected


def test_overlap_score_is_the_formula() -> None:
    before, after = drawn("aaaa....", "aaaa...."), drawn("..aaaa..", "........")
    tracks = link_overlaps([before, after], max_distance_px=10, weights=(1, 0.5, 0.2))
    overlap, s, s2, distance = 2, 8, 4, np.hypot(2, 0.5)
    cost = (1 - overlap / (2 * s) - overlap / (2 * s2)) + 0.5 * distance / 10 + 0.2 * (s - s2) / s
    assert tracks["id"].tolist() == [1, 1]
    assert np.isclose(tracks["score"][1], 1 - cost / 1.7)
    assert np.isnan(tracks["score"][0])


def test_division_gives_daughters_a_parent_and_unlike_or_long_cells_do_not_divide() -> None:
    mother, daughters = drawn(*["aaaaaa"] * 6), drawn(*["aaa..."] * 3, *["...bbb"] * 3)
    tracks = link_overlaps([mother, daughters], min_area_px=1)
    assert tracks[["frame", "id", "parent"]].to_numpy().tolist() == [[0, 1, -1], [1, 2, 1], [1, 3, 1]]
    assert tracks["score"][1:].tolist() == [1, 1]
    unlike = drawn(*["aaaaa."] * 5, ".....b")
    assert ids_at(link_overlaps([mother, unlike], min_area_px=1), 1) == [1, 2]
    long, halves = drawn("aaaaaaaaaa", "aaaaaaaaaa"), drawn("aaaa..bbbb", "aaaa..bbbb")
    assert not (link_overlaps([long, halves], min_area_px=1)["parent"] >= 0).any()
    shared = overlaps(long.labels, halves.labels, 1, 2)
    assert division_pairs(long.roundness, halves.areas, shared, 0.5, 0.7, 0) == [(0, 0, 1)]


def test_overlap_linking_swaps_cells_that_change_places_and_closes_no_gap() -> None:
    first, second = drawn("aaa...bb", "aaa...bb"), drawn("bb....aa", "bb....aa")
    assert ids_at(link_overlaps([first, second], 3), 1) == [1, 2]  # by place: sizes say it is the wrong way round
    nothing = drawn("........", "........")
    tracks = link_overlaps([first, nothing, first], 3)
    assert (ids_at(tracks, 0), ids_at(tracks, 1), ids_at(tracks, 2)) == ([1, 2], [], [3, 4])
    assert ids_at(link_overlaps([drawn("a.......")] * 2 + [drawn("......a.")], 3), 2) == [2]


def test_fused_cells_are_cut_between_their_sources() -> None:
    before, fused = drawn("aaa..bbb.", "aaa..bbb."), drawn("aaaaaaaac", "aaaaaaaac")
    cut = cut_fused(before, fused, 0.6, 1)
    assert cut.labels.tolist() in ([[1, 1, 1, 1, 3, 3, 3, 3, 2]] * 2, [[1, 1, 1, 1, 2, 2, 2, 2, 3]] * 2)
    assert cut.areas[cut.labels[0, [0, 5, 8]] - 1].tolist() == [8, 8, 2]
    assert ids_at(link_overlaps([before, fused], 3, min_area_px=1), 1) == [1, 2, 3]
    assert cut_fused(before, fused, np.inf, 1) is fused
    assert len(cut_fused(before, fused, 0.6, 9)) == 1  # both parts are too small, the untouched small cell is not
    assert fused.labels[0].tolist() == [1] * 8 + [2]


# --- FogBank -----------------------------------------------------------------------------------------------------


def test_fog_falls_in_levels_of_equal_area_and_islands_become_cells() -> None:
    image = np.array([[1, 2, 8, 3, 4, 9, 5, 6, 7, 10.0]])
    mask = np.ones(image.shape, bool)
    mask[0, -1] = False
    assert fog_levels(image, mask, 3).tolist() == [[1, 1, 3, 1, 2, 3, 2, 2, 3, 0]]
    assert np.unique(fog_levels(np.ones((3, 4)), np.ones((3, 4), bool), 5)).tolist() == [1]
    levels = np.array([[1, 1, 3, 2, 2, 4, 3, 3, 3, 0]])
    assert fog_seeds(levels, 2, 4).tolist() == [[1, 1, 0, 2, 2, 0, 3, 3, 3, 0]]
    assert fog_seeds(levels, 2, 2).tolist() == [[1, 1, 0, 2, 2, 0, 0, 0, 0, 0]]
    assert fog_seeds(levels, 3, 4).tolist() == [[1, 1, 1, 1, 1, 0, 2, 2, 2, 0]]


# --- whole trackers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("track", TRACKERS)
def test_trackers_follow_three_cells(track: Tracker) -> None:
    paths = three_cells()
    source, truth = movie(paths), truth_of(three_cells())
    tracks = track(source)
    scores = tracking_scores(truth, tracks, 5.0)
    assert (scores["aa"], scores["te_micro"], scores["detection_precision"]) == (1, 1, 1)
    assert tuple(tracks.columns) == TRACK_COLUMNS
    assert [str(t) for t in tracks.dtypes] == ["int64", "int64", "float64", "float64", "int64", "float64"]
    assert (tracks["score"].isna() == ~tracks["id"].duplicated()).all()  # the first row of each has no link
    assert tracks["score"].dropna().between(0, 1).all()
    pd.testing.assert_frame_equal(tracks, track(source))


def test_gda_bridges_a_frame_in_which_a_cell_is_not_seen_and_the_others_do_not() -> None:
    paths = three_cells(7)
    paths[3, 0] = np.nan
    truth = truth_of(three_cells(7))
    assert tracking_scores(truth, track_gda(movie(paths)), 5.0)["aa"] == 1
    for track in (track_agraph, track_fogbank):
        tracks = track(movie(paths))
        assert tracks["id"].nunique() == 4
        assert tracking_scores(truth, tracks, 5.0)["aa_same_cell"] == 16 / 18


@pytest.mark.parametrize("track", TRACKERS)
def test_a_cell_divides_on_film(track: Tracker) -> None:
    apart = np.array([4, 7, 9, 11, 13.0])
    paths = np.full((9, 3, 2), np.nan)
    paths[:4, 0] = [60, 50]
    paths[4:, 1], paths[4:, 2] = np.stack([60 - apart, 0 * apart + 50], 1), np.stack([60 + apart, 0 * apart + 50], 1)
    tracks = track(movie(paths))
    last = tracks[tracks["frame"] == 8]
    assert len(last) == 2
    assert tracks.loc[tracks["frame"] < 4, "id"].nunique() == 1
    if track is not track_agraph:  # which sees them part unevenly, one of them still with the mother's shape
        assert set(last["parent"]) == {1}


@pytest.mark.parametrize("track", TRACKERS)
@pytest.mark.parametrize(
    "frames",
    [((3, 40, 50), 0.4), ((3, 40, 50), 0.0), ((3, 40, 50), 1.0), ((1, 5, 7), 0.2), ((2, 1, 1), 0.2)],
    ids=["grey", "black", "white", "tiny", "pixel"],
)
def test_frames_without_cells_give_an_empty_table(track: Tracker, frames: tuple[tuple[int, ...], float]) -> None:
    tracks = track(ArraySource(np.full(*frames, np.float32)))
    assert len(tracks) == 0
    assert tuple(tracks.columns) == TRACK_COLUMNS
    assert tracks["id"].dtype == np.int64


@pytest.mark.parametrize("track", TRACKERS)
def test_no_frames_one_frame_and_an_empty_frame_between(track: Tracker) -> None:
    assert len(track([])) == 0
    one = track(movie(three_cells(1)))
    assert (len(one), one["score"].isna().all(), (one["parent"] == -1).all()) == (3, True, True)
    paths = three_cells(5)
    paths[2] = np.nan
    tracks = track(movie(paths))
    assert (len(ids_at(tracks, 1)), len(ids_at(tracks, 3))) == (3, 3)
    if track is not track_gda:
        assert ids_at(tracks, 2) == []
        assert set(ids_at(tracks, 3)).isdisjoint(ids_at(tracks, 1))


@pytest.mark.parametrize("segment", SEGMENTERS)
def test_segmenters_leave_the_frame_alone_and_number_cells_from_one(segment: Callable[..., Regions]) -> None:
    image = movie(three_cells(1), shape=(97, 127))[0]  # odd: half resolution leaves a row and a column over
    before = image.copy()
    regions = segment(image)
    assert (image == before).all()
    assert regions.labels.shape == image.shape
    assert np.unique(regions.labels).tolist() == [0, 1, 2, 3]
    assert regions.areas.tolist() == [(regions.labels == k).sum() for k in (1, 2, 3)]
    inside = np.sort(regions.labels[tuple(np.round(three_cells(1)[0, :, ::-1]).astype(int).T)])
    assert inside.tolist() == [1, 2, 3]


# --- tuning ------------------------------------------------------------------------------------------------------


def test_tune_takes_the_best_of_the_grid_and_the_first_of_equals() -> None:
    source, truth = movie(three_cells()), truth_of(three_cells())
    grid = {"threshold": (0.9, 0.1, 0.1001), "split_px": (8,)}
    best = tune(segment_gda, source, truth, grid, max_frames=2)
    assert best == {"threshold": 0.1, "split_px": 8}
    assert training_frames(truth, 3) == [0, 2, 5]
    assert training_frames(truth, 99) == list(range(6))
    with pytest.raises(ValueError, match="at least one annotated frame"):
        tune(segment_gda, source, truth.iloc[:0], grid)


def test_fitted_and_tuned_arguments_fit_their_trackers() -> None:
    paths = three_cells(4)
    source, truth = movie(paths, noise=0.01), truth_of(paths)
    fogbank = tune_fogbank(source, truth, {"min_gradient": (0.02, 0.03), "smoothing_px": (3.0,)}, 1)
    assert tracking_scores(truth, track_fogbank(source, **fogbank), 5.0)["aa"] == 1
    gda = tune_gda(source, truth, {"threshold": (0.05, 0.1)}, 1)
    assert tracking_scores(truth, track_gda(source, **gda), 5.0)["aa"] == 1
    agraph = fit_agraph(source, truth, grid={"bias": (0.0, 1.0)}, max_frames=2)
    assert tracking_scores(truth, track_agraph(source, **agraph), 5.0)["aa"] == 1
    cost = np.interp([-0.3, 0.0], agraph["bin_edges"][:-1], agraph["costs"])
    assert cost[0] < 0 < cost[1]  # dark is cell, grey is not
    with pytest.raises(ValueError, match="expected both"):
        segment_agraph(source[0], costs=agraph["costs"])


# --- nuclei and real data ----------------------------------------------------------------------------------------


def test_nuclei_are_found_and_noise_is_none() -> None:
    y, x = np.mgrid[:80, :100]
    rng = np.random.default_rng(0)
    centres = np.array([[20, 20], [60, 30], [76, 30], [40, 60]])
    light = 0.05 + 0.6 * np.max([np.hypot(x - cx, y - cy) < 9 for cx, cy in centres], 0) + rng.normal(0, 0.02, x.shape)
    noise = 0.1 + rng.normal(0, 0.02, x.shape)
    source = ArraySource(np.clip([light, noise, np.full(x.shape, 0.1)], 0, 1).astype(np.float32))
    points = nuclei_points(source)
    assert (points["frame"] == 0).all()
    assert detection_scores(pd.DataFrame(centres, columns=["x", "y"]).assign(frame=0), points, 2.0)["f1"] == 1
    assert nuclei_points([]).columns.tolist() == ["frame", "x", "y"]
    assert len(segment_nuclei(light, min_area_px=1000)) == 0


def test_real_nuclei_are_found(real_data: Path) -> None:
    folder = real_data / "tracking" / "Fluo-N2DH-GOWT1"
    if not folder.is_dir():
        pytest.skip("no GOWT1 there")
    source, truth = read_ctc(folder, "01")
    first = truth[truth["frame"] == 0]
    found = nuclei_points(source.part([0]), split_px=15, min_area_px=300)
    assert detection_scores(first, found, 15.0, image_shape=source.shape)["f1"] > 0.8


def test_baselines_follow_real_cells(real_data: Path) -> None:
    folder = real_data / "tracking" / "c2c12_bmp2_seq9"
    if not folder.is_dir():
        pytest.skip("no C2C12 there")
    source = open_frames(folder / "img").part([0, 1, 2], (0, 384, 0, 512))
    points = pd.read_csv(folder / "tracks.csv")
    points = points[(points["frame"] < 3) & (points["x"] < 512) & (points["y"] < 384)]
    points = points.drop(columns="parent")  # born before these frames
    gda = tracking_scores(points, track_gda(source, threshold=0.15), image_shape=source.shape)
    assert gda["aa"] > 0.7
    assert gda["detection_f1"] > 0.7
    for track in (track_agraph, track_fogbank):
        assert tracking_scores(points, track(source))["aa"] > 0.5
