from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracking_files import SHAPE, film, save, tracks

from cellweak_core.files import CellweakWarning, DataError
from cellweak_core.tracking.frames import ArraySource, open_frames
from cellweak_core.tracking.points import check_points, has_links, part_of_points, read_points

SOURCE = ArraySource(film(6), "film")


def csv(folder: Path, text: str) -> Path:
    path = folder / "points.csv"
    path.write_text(text)
    return path


def read(folder: Path, rows: str, header: str = "frame,id,x,y,parent") -> pd.DataFrame:
    return read_points(csv(folder, f"{header}\n{rows}\n"), SOURCE)


def test_positions_and_lineages_come_back_as_they_are(tmp_path: Path) -> None:
    tracks().to_csv(tmp_path / "points.csv", index=False)
    table = read_points(tmp_path / "points.csv", SOURCE)
    pd.testing.assert_frame_equal(table, tracks())
    assert has_links(table)
    assert table.dtypes.astype(str).to_dict() == {
        "frame": "int64", "id": "int64", "x": "float64", "y": "float64", "parent": "int64"
    }  # fmt: skip


def test_positions_alone_are_enough(tmp_path: Path) -> None:
    table = read(tmp_path, "1,5,6\n0,3,4\n1,1,2", "frame,x,y")
    assert table.columns.tolist() == ["frame", "x", "y"]
    assert table.to_numpy().tolist() == [[0, 3, 4], [1, 5, 6], [1, 1, 2]]  # sorted by frame, else as they were
    assert not has_links(table)
    assert not has_links(read(tmp_path, "0,1,3,4\n1,2,5,6", "frame,id,x,y"))  # no id twice: nothing is linked
    assert not has_links(None)


def test_other_columns_are_left_out_and_a_compressed_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tracks.csv.gz"
    tracks().assign(score=0.5, interpolated=1).to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_points(path, SOURCE), tracks())


@given(order=st.permutations(range(len(tracks()))))
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    shuffled = tracks().iloc[order]
    kept = shuffled.copy()
    pd.testing.assert_frame_equal(check_points(shuffled, 6, SHAPE), tracks())
    pd.testing.assert_frame_equal(shuffled, kept)  # not changed


@given(shift=st.integers(0, 10**9), factor=st.integers(1, 1000))
def test_the_names_of_cells_do_not_matter(shift: int, factor: int) -> None:
    table = tracks()
    renamed = table.assign(
        id=table["id"] * factor + shift,
        parent=table["parent"].where(table["parent"] < 0, table["parent"] * factor + shift),
    )
    found = check_points(renamed, 6, SHAPE)
    pd.testing.assert_frame_equal(found, renamed)


def test_a_parent_on_the_first_row_of_a_daughter_is_spread_over_all(tmp_path: Path) -> None:
    table = tracks()
    first = ~table.duplicated("id")
    table["parent"] = table["parent"].where(first, -1)
    pd.testing.assert_frame_equal(check_points(table, 6, SHAPE), tracks())
    found = read(tmp_path, "0,1,3,4,\n1,2,3,4,1\n2,2,3,5,\n1,3,9,9,")  # empty cells mean none
    assert found.set_index("id")["parent"].to_dict() == {1: -1, 2: 1, 3: -1}


def test_zero_means_no_parent_unless_a_cell_has_that_id(tmp_path: Path) -> None:
    assert read(tmp_path, "0,1,3,4,0\n1,1,3,4,0")["parent"].tolist() == [-1, -1]
    assert read(tmp_path, "0,0,3,4,-1\n1,1,3,4,0\n1,2,5,4,0")["parent"].tolist() == [-1, 0, 0]
    with pytest.raises(DataError, match=r"its own parent.*if 0 means none, write -1"):
        read(tmp_path, "0,0,3,4,0\n1,0,3,4,0")


def test_an_id_that_comes_back_after_a_gap_is_the_same_cell(tmp_path: Path) -> None:
    table = read(tmp_path, "0,1,3,4,-1\n4,1,3,4,-1\n1,2,3,4,-1")
    assert table["frame"].tolist() == [0, 1, 4]
    assert has_links(table)


def test_a_mother_from_before_the_first_frame_is_allowed_and_dropped(tmp_path: Path) -> None:
    assert read(tmp_path, "0,5,3,4,77\n1,5,3,4,77")["parent"].tolist() == [-1, -1]
    with pytest.raises(DataError, match=r"points\.csv, line 3 \(frame 1, id 6, x 3, y 4\): the parent 77 has no row"):
        read(tmp_path, "0,5,3,4,-1\n1,6,3,4,77")


def test_one_three_and_late_daughters_are_allowed(tmp_path: Path) -> None:
    rows = "0,1,9,9,-1\n1,2,3,4,1\n1,3,5,6,1\n1,4,7,8,1\n0,5,20,9,-1\n3,6,20,9,5"
    assert (read(tmp_path, rows)["parent"] >= 0).sum() == 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0,1,3,4,-1\n0,1,5,6,-1", r"line 3 \(frame 0, id 1, x 5, y 6\): the same id twice in one frame"),
        ("0,1,3,4,-1\n1,1,5,6,-1\n1,2,8,9,1", "the parent 1 is still there in frame 1, and this daughter starts in"),
        ("0,1,3,4,-1\n0,2,5,6,-1\n1,2,5,6,2", "line 3 .*its own parent"),
        ("0,1,3,4,-1\n0,2,5,6,-1\n1,3,5,6,2\n2,3,5,6,1", "another parent than on other rows"),
        ("0,-2,3,4,-1", "id below 0"),
        ("0,1,56.6,4,-1", r"outside the image of 56x40 pixels \(X x Y\)"),
        ("0,1,3,-0.6,-1", "outside the image"),
        ("0,1,3,4,-1\n1,1,inf,4,-1", "line 3 .*position is not a number"),
        ("0,1,nan,4,-1", "line 2, column 'x': expected float"),
        ("0.5,1,3,4,-1", "line 2, column 'frame': expected int, found '0.5'"),
        ("0,,3,4,-1", "line 2, column 'id': expected int, found an empty cell"),
        ("0,1,3,4,-1\n9,1,3,4,-1", r"line 3 \(frame 9.*there is no such frame, they are 0 to 5 \(6 frames\)"),
        ("-1,1,3,4,-1", "no such frame"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, rows)


def test_no_cells_at_all_and_wrong_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"points\.csv: no cells at all"):
        read_points(csv(tmp_path, "frame,x,y\n"), SOURCE)
    with pytest.raises(DataError, match=r"column 'x' is missing.*found frame, X, Y"):
        read(tmp_path, "0,1,2", "frame,X,Y")
    with pytest.raises(DataError, match="separate the columns by commas, not semicolons"):
        read(tmp_path, "0;1;2", "frame;x;y")
    with pytest.raises(DataError, match="a column parent but no column id"):
        read(tmp_path, "0,1,2,3", "frame,x,y,parent")
    with pytest.raises(DataError, match="is not there"):
        read_points(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match=r"columns \['y'\] are missing"):
        check_points(pd.DataFrame({"frame": [0], "x": [1.0]}))


def test_frames_without_cells_are_allowed(tmp_path: Path) -> None:
    assert read(tmp_path, "0,1,3,4,-1\n5,2,3,4,-1")["frame"].tolist() == [0, 5]


def test_tables_that_count_from_one_are_told_so(tmp_path: Path) -> None:
    rows = "\n".join(f"{t},5,5" for t in range(1, 7))
    with pytest.raises(DataError, match=r"frame 6.*seems to count from 1: subtract 1"):
        read(tmp_path, rows, "frame,x,y")
    save(tmp_path / "img", film(6), numbers=range(1, 7))
    files = open_frames(tmp_path / "img")
    assert read_points(csv(tmp_path, f"frame,x,y\n{rows}\n"), files)["frame"].tolist() == list(range(6))
    rows = "\n".join(f"{t},5,5" for t in range(6))
    with pytest.raises(DataError, match=r"frame 0.*seems to count from 0: add 1"):
        read_points(csv(tmp_path, f"frame,x,y\n{rows}\n"), files)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [([0, 2, 4, 6, 8, 10], r"file k has the number 0 \+ 2 \* k$"), ([8, 9, 10, 11, 12, 13], r"number 8 \+ 1 \* k$")],
)
def test_tables_that_count_the_files_are_told_the_files_numbers(tmp_path: Path, numbers: list[int], said: str) -> None:
    files = open_frames(save(tmp_path / "img", film(6), numbers=numbers))
    rows = "\n".join(f"{t},5,5" for t in range(6))
    with pytest.raises(DataError, match=said) as caught:
        read_points(csv(tmp_path, f"frame,x,y\n{rows}\n"), files)
    assert "add 1" not in str(caught.value)


def test_frames_are_named_as_their_files_are(tmp_path: Path) -> None:
    files = open_frames(save(tmp_path / "img", film(3), numbers=[700, 705, 710]))
    path = csv(tmp_path, "frame,id,x,y\n705,1,3,4\n700,1,3,4\n")
    assert read_points(path, files)["frame"].tolist() == [0, 1]
    with pytest.raises(DataError, match=r"frame 701.*they are 700 to 710 \(3 frames\).*numbers are 5 apart"):
        read_points(csv(tmp_path, "frame,x,y\n701,3,4\n"), files)
    with pytest.raises(
        DataError, match=r"frame 705, id 2.*still there in frame 705, and this daughter starts in frame 705"
    ):
        read_points(csv(tmp_path, "frame,id,x,y,parent\n705,1,3,4,\n705,2,3,5,1\n"), files)


def test_exchanged_coordinates_and_fractions_are_told_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="with x and y exchanged all would lie inside"):
        read(tmp_path, "0,10,50\n1,39,20", "frame,x,y")
    with pytest.raises(DataError, match="fractions of the image's size"):
        check_points(pd.DataFrame({"frame": [0], "x": [1.2], "y": [-0.9]}), 1, SHAPE)


def test_positions_on_the_rim_are_moved_onto_the_image(tmp_path: Path) -> None:
    table = read(tmp_path, "0,-0.5,0\n0,56,40\n0,55.5,39.9", "frame,x,y")
    assert table[["x", "y"]].to_numpy().tolist() == [[0, 0], [55, 39], [55, 39]]


def test_one_position_twice_is_refused_without_ids_and_said_with_ids(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the same position twice in one frame"):
        read(tmp_path, "0,3,4\n0,3,4", "frame,x,y")
    assert len(read(tmp_path, "0,3,4\n1,3,4", "frame,x,y")) == 2
    with pytest.warns(CellweakWarning, match=r"line 3 .*another cell of that frame has the same position"):
        table = read(tmp_path, "0,1,3,4,-1\n0,2,3,4,-1")
    assert len(table) == 2


def test_without_frames_numbers_stay_as_they_are(tmp_path: Path) -> None:
    table = read_points(csv(tmp_path, "frame,id,x,y\n780,1,5000,4\n779,1,3,4\n"))
    assert table["frame"].tolist() == [779, 780]
    assert table["x"].tolist() == [3, 5000]
    with pytest.raises(DataError, match="frame below 0"):
        read_points(csv(tmp_path, "frame,x,y\n-3,1,2\n"))


def test_a_part_has_the_positions_that_lie_in_it() -> None:
    table = tracks()
    part = part_of_points(table, range(2, 6, 2), (5, 20, 10, 50))
    expected = [
        (i, cell, x - 10, y - 5, parent)
        for i, t in enumerate(range(2, 6, 2))
        for frame, cell, x, y, parent in table.itertuples(index=False)
        if frame == t and 10 <= x < 50 and 5 <= y < 20
    ]
    assert list(part.itertuples(index=False, name=None)) == expected
    later = part_of_points(table, range(3, 6))  # the mother is in none of these frames
    assert (later["parent"] == -1).all()
    assert set(later["id"]) == {2, 3, 4}
    assert len(part_of_points(table, [])) == 0
    assert part_of_points(table[["frame", "x", "y"]], [0]).columns.tolist() == ["frame", "x", "y"]


def test_the_real_annotations_are_accepted(real_data: Path) -> None:
    folder = real_data / "tracking"
    if not folder.is_dir():
        pytest.skip("no real tracking data in $CELLWEAK_DATA")
    source = open_frames(folder / "c2c12_bmp2_seq9" / "img")
    table = read_points(folder / "c2c12_bmp2_seq9" / "tracks.csv", source)
    assert len(table) == 2281
    assert (
        table.loc[table["parent"] >= 0, ["id", "parent"]].drop_duplicates().groupby("parent").size().tolist() == [2] * 4
    )
    with pytest.warns(CellweakWarning, match="frame 557, id 455"):
        whole = read_points(folder / "c2c12_bmp2_seq9_full_tracks.csv.gz")
    assert (len(whole), whole["frame"].min(), whole["frame"].max()) == (85576, 1, 780)
    assert whole.loc[whole["parent"] >= 0, "id"].nunique() == 499
    assert np.isfinite(whole[["x", "y"]].to_numpy()).all()
