"""The whole comparison on blobs that a narrow network learns in seconds: nothing is lost between its steps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellweak_core.files import CellweakWarning, DataError
from cellweak_core.tracking import comparison, evaluation, reporting, splits
from cellweak_core.tracking.data import TrackingData
from cellweak_core.tracking.frames import ArraySource
from cellweak_core.tracking.sampling import Crop

COMMON = {
    "width": 4, "crop_px": 64, "batch_size": 4, "steps": 120, "motion_steps": 120, "lr": 1e-2, "schedule": "cosine",
    "average": 0.9, "sigma_px": 5.0, "device": "cpu", "precision": "32-true",
}  # fmt: skip
SETTINGS = {"smooth_px": 2.0, "mpm_smooth_px": 2.0, "mpm_threshold": 0.1, "linking": "nearest", "gap_px": 0.0}


def blobs(n_frames: int, seed: int, size: int = 96) -> TrackingData:
    """Bright discs on dark ground that walk slowly."""
    rng = np.random.default_rng(seed)
    start = np.stack(np.meshgrid([20, 48, 76], [20, 48, 76]), -1).reshape(-1, 2) + rng.uniform(-4, 4, (9, 2))
    steps = np.cumsum(rng.normal(0, 1.0, (n_frames, 9, 2)), 0)
    xy = (start + steps).clip(4, size - 5)
    y, x = np.mgrid[:size, :size]
    far = ((x[..., None] - xy[:, None, None, :, 0]) ** 2 + (y[..., None] - xy[:, None, None, :, 1]) ** 2).min(-1)
    images = (40 + 180 * np.exp(-far / 40) + rng.normal(0, 3, far.shape)).clip(0, 255).astype(np.uint8)
    frame, cell = np.mgrid[:n_frames, 1:10]
    points = pd.DataFrame(
        {"frame": frame.ravel(), "id": cell.ravel(), "x": xy[..., 0].ravel(), "y": xy[..., 1].ravel(), "parent": -1}
    )
    return TrackingData(ArraySource(images, f"blobs {seed}"), points, True, f"blobs {seed}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blobs")


@pytest.fixture(scope="module")
def split() -> splits.Split:
    return splits.Split("blobs", blobs(8, 0), {"test": blobs(5, 1)})


@pytest.fixture(scope="module")
def found(folder: Path, split: splits.Split) -> comparison.Found:
    methods = [m for m in comparison.ALL_METHODS if m != "A-Graph"]
    return comparison.compare(split, COMMON, SETTINGS, [0], [1, 2], methods, folder, 1, (1, 2))


@pytest.mark.slow
def test_every_method_tracks_every_offset(found: comparison.Found) -> None:
    for method in comparison.ALL_METHODS:
        if method != "A-Graph":
            assert len(found.tracks[method, "test", 0, 1]) == 1
            assert len(found.tracks[method, "test", 0, 2]) == 2
    assert set(found.tracks["Ours", "test", 0, 2][1]["frame"]) == {1, 3}


@pytest.mark.slow
def test_propagation_teaches_what_it_links(found: comparison.Found) -> None:
    labels = found.pseudo[0, 1]
    assert len(labels["pairs"]) > 20
    moved = np.linalg.norm(labels["pairs"][:, 2:4] - labels["pairs"][:, 4:], axis=1)
    assert np.median(moved) < 5  # steps are about 1.4 px, neighbours 28 px away
    per_pair = np.bincount(labels["later"][:, 0].astype(int), minlength=7)
    taught = np.bincount(labels["pairs"][:, 0].astype(int), minlength=7)
    ignored = np.bincount(labels["ignored"][:, 0].astype(int), minlength=7)
    assert (taught + ignored == per_pair).all()  # each later cell is either taught or left out


@pytest.mark.slow
@pytest.mark.parametrize("method", ["assignment", "laptrack", "Ours", "MPM"])
def test_easy_cells_are_followed(found: comparison.Found, method: str) -> None:
    table = evaluation.scores([(found, "test")], method, [0], 1, 50, 0).set_index("metric")
    assert table.loc["aa", "value"] > 0.8
    assert table.loc["aa", "n_groups"] == 9


@pytest.mark.slow
def test_rows_have_an_interval_and_an_n(found: comparison.Found) -> None:
    rows = list(
        reporting.tracking_rows("Table 1", {"c": [(found, "test")]}, {"Ours": "Ours"}, [0], 1, 50, 0, average=("c",))
    )
    assert [r["column"] for r in rows] == ["c, AA", "c, TE", "Average, AA", "Average, TE"]
    assert rows[0]["n"] == 9 * 4
    assert rows[0]["low"] <= rows[0]["value"] <= rows[0]["high"]
    assert rows[2]["value"] == rows[0]["value"]
    detected = list(reporting.detection_rows({"c": [(found, "test")]}, [0], [1, 2], 50, 0))
    assert [r["row"] for r in detected] == ["Nishimura 2019", "Ours (5 min)", "Ours (10 min)"]
    assert all(r["n"] <= 9 * 3 for r in detected)  # frames 2 to 4, the same for every row


@pytest.mark.slow
def test_a_second_call_trains_nothing(
    found: comparison.Found, folder: Path, split: splits.Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("cellweak_core.tracking.training.run_steps", never)
    monkeypatch.setattr("cellweak_core.tracking.trials.propagate", never)
    again = comparison.compare(split, COMMON, SETTINGS, [0], [1, 2], ["Ours"], folder, 1, (1, 2))
    pd.testing.assert_frame_equal(again.tracks["Ours", "test", 0, 1][0], found.tracks["Ours", "test", 0, 1][0])


@pytest.mark.slow
def test_without_links_nothing_supervised_runs(folder: Path, split: splits.Split) -> None:
    assert split.train.points is not None
    unlinked = replace(split.train, points=split.train.points[["frame", "x", "y"]], linked=False)
    one = replace(split, train=unlinked)
    found = comparison.compare(one, COMMON, SETTINGS, [0], [1], ["MPM", "CMF", "BF"], folder, 1)
    assert {m for m, *_ in found.tracks} == {"BF"}


def test_without_a_sure_link_ours_finds_nothing_and_says_so(tmp_path: Path, split: splits.Split) -> None:
    few = {**COMMON, "steps": 1, "motion_steps": 1}
    methods = ["Ours", "BF", "assignment"]
    with pytest.warns(CellweakWarning, match="blobs, seed 0: propagation is sure of no link"):
        found = comparison.compare(split, few, SETTINGS, [0], [1, 2], methods, tmp_path, 1, (1, 2))
    assert found.silent == [0]
    assert ("Ours", 0) not in found.networks
    assert [len(table) for table in found.tracks["Ours", "test", 0, 2]] == [0, 0]
    # A failure counts as one: nothing is left out of the table.
    for interval in (1, 2):
        table = evaluation.scores([(found, "test")], "Ours", [0], interval, 50, 0).set_index("metric")
        assert table.loc["aa", "value"] == table.loc["te_micro", "value"] == 0
        assert table.loc["aa", "n"] > 0
    rows = list(reporting.tracking_rows("Table 1", {"c": [(found, "test")]}, {"Ours": "Ours"}, [0], 1, 50, 0))
    assert [row["value"] for row in rows] == [0, 0]


def test_films_shorter_than_the_longest_interval_are_refused_before_anything_is_trained(
    tmp_path: Path, split: splits.Split
) -> None:
    short = replace(split, tests={"test": blobs(4, 1)})
    with pytest.raises(DataError, match=r"blobs, test: 4 frames, none of them 5 apart.*-p intervals '\[1\]'"):
        comparison.compare(short, COMMON, SETTINGS, [0], [1, 5], ["Ours"], tmp_path, 1)
    assert not list(tmp_path.iterdir())
    lone = replace(split, train=replace(split.train, annotated=(0, 2, 4)))
    with pytest.raises(DataError, match=r"training part: 3 annotated frames, none of them 1 apart.*neighbouring ones"):
        comparison.compare(lone, COMMON, SETTINGS, [0], [1], ["Ours"], tmp_path, 1)


def test_frames_that_nobody_annotated_teach_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = blobs(6, 0)
    assert data.points is not None
    part = splits.Split("blobs", replace(data, annotated=(0, 1, 4, 5)), {"test": data})
    drawn = set()

    def look(_: object, crops: list[Crop], *__: object) -> None:
        drawn.update((crop.frame, crop.interval) for crop in crops)

    monkeypatch.setattr("cellweak_core.tracking.sampling.CropSampler.known", look)
    with pytest.warns(CellweakWarning, match="no link"):
        comparison.compare(part, {**COMMON, "steps": 12}, SETTINGS, [0], [1], ["BF"], tmp_path, 1)
    assert drawn == {(0, 1), (4, 1), (0, 0), (1, 0), (4, 0), (5, 0)}  # pairs of co-detection, frames of the detector


@pytest.mark.parametrize(
    ("intervals", "methods", "said"), [([5], ["Ours"], "expected 1"), ([1], ["ours"], "expected names of")]
)
def test_wrong_words_are_refused(
    tmp_path: Path, split: splits.Split, intervals: list[int], methods: list[str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        comparison.compare(split, COMMON, SETTINGS, [0], intervals, methods, tmp_path, 1)
