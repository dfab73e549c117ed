"""The simulator of sequences: its lineages, its motion, its optics, and how near it is to real frames."""

import numpy as np
import pandas as pd
import pytest

from cellweak_core.tracking.motion import Motion, annotate, walk

SHAPE = (200, 240)


def tracks(seed: int = 0, n_frames: int = 30, **motion: float) -> pd.DataFrame:
    return annotate(walk(n_frames, SHAPE, 15, Motion(**motion), np.random.default_rng(seed)), SHAPE)[0]


def test_ids_are_unique_and_tracks_have_no_gaps() -> None:
    table = tracks(division_rate=0.02)
    assert not table.duplicated(["frame", "id"]).any()
    span = table.groupby("id")["frame"].agg(["min", "max", "size"])
    np.testing.assert_array_equal(span["max"] - span["min"] + 1, span["size"])
    assert table["id"].nunique() > 15


def test_every_parent_was_there_in_the_frame_before_and_two_daughters_follow() -> None:
    table = tracks(division_rate=0.02)
    daughters = table[table["parent"] >= 0].groupby("id").agg(frame=("frame", "min"), parent=("parent", "first"))
    assert len(daughters) >= 6
    assert (table.groupby("id")["parent"].nunique() == 1).all()
    last = table.groupby("id")["frame"].max()
    np.testing.assert_array_equal(last.loc[daughters["parent"]].to_numpy(), daughters["frame"].to_numpy() - 1)
    assert daughters.groupby("parent").size().max() == 2


def test_size_and_count_are_respected() -> None:
    table = tracks()
    assert (table["frame"] == 0).sum() == 15
    assert table["x"].between(0, SHAPE[1] - 1).all()
    assert table["y"].between(0, SHAPE[0] - 1).all()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_cells(n: int) -> None:
    table, _ = annotate(walk(3, SHAPE, n, Motion(), np.random.default_rng(0)), SHAPE)
    assert (table["frame"] == 0).sum() == n
