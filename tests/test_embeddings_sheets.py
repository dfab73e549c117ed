"""The nearest-neighbour sheet: neighbours as the matching finds them, colours on one scale, pages and files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellweak_core.embeddings import drawing, sheets
from cellweak_core.files import DataError
from cellweak_core.plotting import write_pages
from cellweak_core.screens import match_treatments, matching


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    import matplotlib as mpl

    mpl.use("Agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def table(rows: list[tuple[str, str | None, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["compound", "moa", "batch"]).assign(concentration=1.5)


def on_circle(*degrees: float) -> np.ndarray:
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1)


def screen(n: int = 60) -> tuple[np.ndarray, pd.DataFrame]:
    rng = np.random.default_rng(0)
    rows = [(f"c{rng.integers(20)}", "", f"week{rng.integers(4)}") for _ in range(n)]
    metadata = table([(c, f"m{int(c[1:]) % 6}", b) for c, _, b in rows])
    return rng.normal(size=(n, 5)), metadata


FOUR = [("a", "X", "1"), ("a", "X", "1"), ("b", "X", "2"), ("c", "Y", "1"), ("d", "Y", "2")]


def test_neighbours_of_hand_laid_treatments() -> None:
    found = sheets.neighbours(on_circle(0, 1, 20, 5, 90), table(FOUR), k=2)
    # the other concentration of a, 1 degree away, is no neighbour
    assert found["row"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert found["neighbour_row"].tolist() == [3, 2, 3, 2, 3, 1, 1, 0, 2, 3]
    assert found["rank"].tolist() == [1, 2] * 5
    assert found["same_mechanism"].tolist() == [False, True, False, True, False, True, False, False, False, True]
    assert np.allclose(found["similarity"][:2], np.cos(np.radians([5, 20])))
    assert found.loc[0, ["compound", "moa", "neighbour_compound", "neighbour_moa"]].tolist() == ["a", "X", "c", "Y"]
    assert found.loc[0, "neighbour_concentration"] == 1.5


@pytest.mark.parametrize("exclude", sheets.EXCLUDE)
@pytest.mark.parametrize("unmatched", ["drop", "keep"])
def test_the_first_is_the_one_that_is_matched(
    exclude: str, unmatched: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    features, metadata = screen()
    metadata.loc[5, "moa"] = "alone"
    monkeypatch.setattr(matching, "BLOCK_BYTES", 7 * 60 * 8)  # seven rows at a time
    matched = match_treatments(features, metadata, exclude, unmatched)
    found = sheets.neighbours(features, metadata, 4, exclude, unmatched)
    first = found[found["rank"] == 1].set_index("row")
    asked = np.flatnonzero(matched["neighbour"] >= 0)
    assert len(asked) < len(features)
    assert first.loc[asked, "neighbour_row"].tolist() == matched["neighbour"][asked].tolist()
    assert sum(one is True for one in first["same_mechanism"]) == matched["correct"]
    assert sum(one is not None for one in first["same_mechanism"]) == matched["total"]
    assert (5 in found["neighbour_row"].tolist()) == (unmatched == "keep")
    assert (found.groupby("row")["similarity"].diff().dropna() <= 0).all()


def test_without_mechanisms_the_sheet_is_the_same_without_verdicts() -> None:
    features, metadata = screen(20)
    found = sheets.neighbours(features, metadata.drop(columns=["moa", "concentration"]))
    assert {None} == set(found["same_mechanism"]) == set(found["moa"])
    assert found["row"].nunique() == 20
    part = metadata.assign(moa=metadata["moa"].mask(metadata.index == 3))
    judged = sheets.neighbours(features, part)
    touched = (judged["row"] == 3) | (judged["neighbour_row"] == 3)
    assert judged.loc[touched, "same_mechanism"].isna().all()


def test_a_treatment_of_no_known_mechanism_may_stand_before_the_one_that_is_matched() -> None:
    rows = table([("a", "X", "1"), ("b", "X", "1"), ("c", None, "1")])
    found = sheets.neighbours(on_circle(0, 20, 5), rows, 2)
    assert found["neighbour_row"].tolist() == [2, 1, 2, 0, 0, 1]
    assert found["same_mechanism"].tolist() == [None, True, None, True, None, None]
    matched = match_treatments(on_circle(0, 20), rows[:2])
    assert matched["neighbour"].tolist() == [1, 0]


def test_equal_cosines_fall_as_in_the_matching() -> None:
    features = np.repeat(np.eye(2), 4, 0)
    rows = table([(f"c{k}", "X", "1") for k in range(8)])
    found = sheets.neighbours(features, rows, 3)
    assert found["neighbour_row"].tolist()[:6] == [1, 2, 3, 0, 2, 3]
    first = found.loc[found["rank"] == 1, "neighbour_row"].tolist()
    assert first == match_treatments(features, rows)["neighbour"].tolist()


def test_nothing_is_allowed_or_asked() -> None:
    alone = sheets.neighbours(on_circle(0, 1), table([("a", "X", "1"), ("a", "X", "1")]))
    assert not len(alone)
    assert "similarity" in alone
    with pytest.raises(ValueError, match="no treatment has a neighbour"):
        sheets.pages(alone, {})


def test_neighbours_refuse_what_does_not_go_together() -> None:
    features, metadata = screen(6)
    with pytest.raises(ValueError, match="exclude compound or compound"):
        sheets.neighbours(features, metadata, exclude="plate")
    with pytest.raises(DataError, match="'batch' is missing"):
        sheets.neighbours(features, metadata.drop(columns="batch"), exclude="compound+batch")
    with pytest.raises(DataError, match="row 2 is all zero"):
        sheets.neighbours(np.where(np.arange(6)[:, None] == 2, 0, features), metadata)
    with pytest.raises(ValueError, match=r"\(5, n_features\)"):
        sheets.neighbours(features, metadata[:5])


def test_composite_scales_each_channel_by_itself() -> None:
    crops = np.zeros((2, 3, 4, 4), np.uint16)
    crops[0, 0], crops[1, 1], crops[1, 2] = 100, 40000, 7
    limits = [(0, 200), (0, 40000), (7, 7)]
    shown = drawing.composite(crops, limits=limits)
    assert shown.shape == (2, 4, 4, 3)
    assert shown.dtype == np.uint8
    # the first channel is blue, the second green, the third red; one without range does not divide by 0
    assert shown[:, 0, 0].tolist() == [[0, 0, 128], [0, 255, 0]]
    assert drawing.composite(crops, (0, None, 1), limits)[:, 0, 0].tolist() == [[128, 0, 0], [0, 0, 255]]
    grey = drawing.composite(crops[:, :1])
    assert (grey == grey[..., :1]).all()
    assert grey[0, 0, 0].tolist() == [255] * 3
    assert sheets.composite is drawing.composite


def test_composite_does_not_depend_on_units() -> None:
    crops = np.random.default_rng(0).random((3, 2, 8, 8))
    assert np.array_equal(drawing.composite(crops), drawing.composite(crops * [[[[3.0]], [[700.0]]]] - 1))


def test_composite_refuses() -> None:
    with pytest.raises(ValueError, match=r"expected numbers \(n, C, H, W\)"):
        drawing.composite(np.zeros((3, 8, 8)))
    with pytest.raises(ValueError, match="three channels of 0 to 1"):
        drawing.composite(np.zeros((1, 2, 8, 8)), (0, 1, 2))
    with pytest.raises(ValueError, match="limits: expected 2 pairs"):
        drawing.composite(np.zeros((1, 2, 8, 8)), limits=[(0, 1)])


def test_names_of_a_legend() -> None:
    names, texts = drawing.named(["b", "A", None, "ctrl", "A"], [False, False, False, True, False])
    assert names == ["A", "b", "not known"]
    assert texts.tolist() == ["b", "A", "not known", "", "A"]
    many = [f"m{k:02d}" for k in range(40) for _ in range(40 - k)]
    names, texts = drawing.named(many, np.zeros(len(many), bool))
    assert len(names) == drawing.MOST
    assert names[0] == "m00"
    assert names[-1] == drawing.OTHERS
    assert (texts == drawing.OTHERS).sum() == sum(range(1, 18))


def test_no_two_names_look_alike() -> None:
    found = list(drawing.looks([f"m{k}" for k in range(drawing.MOST)]).values())
    assert len(set(found)) == drawing.MOST
    for a, b in pairwise(found):
        assert a.colour != b.colour
        assert a.marker != b.marker


def test_pages_show_every_treatment_once() -> None:
    features, metadata = screen(9)
    found = sheets.neighbours(features, metadata, k=2)
    crops = {row: np.random.default_rng(row).random((2, 3, 8, 8)) for row in range(8)}
    figures = list(sheets.pages(found, crops, per_page=4, n_crops=2, title="Nearest"))
    assert [figure.get_suptitle() for figure in figures] == [f"Nearest, page {k} of 3" for k in (1, 2, 3)]
    texts = [[text.get_text() for text in axis.texts] for figure in figures for axis in figure.axes]
    words = [one for text in texts for one in text]
    assert sum(one == "treatment" for one in words) == 3
    compounds = [f"{one} 1.5 µM" for one in metadata["compound"]]
    assert sum(words.count(one) for one in set(compounds)) == 9
    assert "no crops" in words
    best = found.iloc[0]
    assert f"{best['similarity']:.2f}  {best['neighbour_compound']} 1.5 µM" in words
    right = sum("✓" in one for one in words)
    assert right == sum(one is True for one in found["same_mechanism"])
    assert sum("✗" in one for one in words) == sum(one is False for one in found["same_mechanism"])


def test_the_files_are_the_same_each_time_and_leave_no_figure_open(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    features, metadata = screen(5)
    found = sheets.neighbours(features, metadata, unmatched="keep")
    paths = [write_pages(tmp_path / name / "sheet.pdf", found, sheets.pages(found, {})) for name in ("a", "b")]
    assert [path.name for path in paths[0]] == ["sheet.pdf", "sheet.csv"]
    for first, second in zip(*paths, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert paths[0][0].read_bytes().startswith(b"%PDF")
    back = pd.read_csv(paths[0][1])
    assert back["neighbour_row"].tolist() == found["neighbour_row"].tolist()
    assert not plt.get_fignums()
