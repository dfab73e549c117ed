"""Reading, checking and splitting the rosette images."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cellweak_core import files
from cellweak_core.files import DataError
from cellweak_core.rosettes import data as rosettes
from cellweak_core.rosettes.layouts import parse_name

AUTHORS = "YX_BV24_WT_Journal14_{}_2_s{}_t{}_emb{}_slice{}.jpg"


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))


def noise(seed: int, shape: tuple[int, ...] = (32, 32)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def by_class(tmp_path: Path) -> Path:
    """Two days, two embryos each, three classes, named after the documented pattern."""
    root = tmp_path / "mine"
    seed = 0
    for day in ("20240101", "20240102"):
        for embryo in (1, 2):
            for label in ("rosette", "tissue", "debris"):
                save(root / label / f"{day}_s1_t{60 + seed:03d}_emb{embryo}_slice09.png", noise(seed))
                seed += 1
    return root


@pytest.fixture
def authors(tmp_path: Path) -> Path:
    """The authors' repository in small, with pixel copies among the unlabelled images."""
    root = tmp_path / "BioGAN"
    seed = 0
    for split, day in (("train", "20170711"), ("train", "20170715"), ("test", "20170720")):
        for label in ("rosette", "non_rosette"):
            for t in ("061", "90"):
                name = AUTHORS.format(day, 1, t, 1 if label == "rosette" else 2, "09")
                save(root / "dataset" / "supervised_split" / split / label / name, noise(seed))
                save(root / "dataset" / "unsupervised" / name, noise(seed))
                seed += 1
    other = "YX_BV24_WT_Journal14_20170711_2_s1_t051_slice13.jpg"
    save(root / "dataset" / "supervised_split" / "train" / "non_rosette" / other, noise(99))
    for k in range(3):
        save(root / "dataset" / "unsupervised" / AUTHORS.format("20170720", 2, "100", 3, f"1{k}"), noise(200 + k))
    return root


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("YX_BV24_WT_Journal14_20170715_3_s2_t098_emb1_slice10.jpg", ("20170715", "20170715_s2_emb1", 98, 10)),
        ("YX_BV24_WT_Journal14_20170715_3_s2_t98_emb1_slice10.jpg", ("20170715", "20170715_s2_emb1", 98, 10)),
        ("YX_BV24_WT_Journal14_20170711_2_s1_t051_slice13.jpg", ("20170711", "20170711_s1_unknown", 51, 13)),
        ("YX_BV24_WT_Journal14_20170720_2_s1_t091.jpg", ("20170720", "20170720_s1_unknown", 91, np.nan)),
        ("2021-03-04-embryo12-z7.png", ("20210304", "20210304_emb12", np.nan, 7)),
        ("emb3.png", ("", "_emb3", np.nan, np.nan)),
        ("20211399_emb1.png", ("", "_emb1", np.nan, np.nan)),
        ("1202103041_emb1.png", ("", "_emb1", np.nan, np.nan)),
    ],
)
def test_names_say_day_embryo_minute_and_slice(name: str, expected: tuple) -> None:
    day, embryo, minute, depth = parse_name(name)
    assert (day, embryo) == expected[:2]
    np.testing.assert_equal((minute, depth), expected[2:])


def test_reads_the_authors_layout_from_the_root_and_from_dataset(authors: Path) -> None:
    data = rosettes.load(authors)
    assert data.images.shape == (13 + 15, 32, 32)
    assert list(data.table.columns) == list(rosettes.COLUMNS)
    table = data.table
    assert (table["target"] == 1).sum() == 6
    assert (table["target"] == 0).sum() == 7
    assert (table["target"][table["label"] == ""] == -1).all()
    assert set(table["day"]) == {"20170711", "20170715", "20170720"}
    assert set(table["split"]) == {"train", "test", ""}
    assert (table["split"] == "test").sum() == 4
    assert "20170711_s1_unknown" in set(table["embryo"])
    assert rosettes.load(authors / "dataset").digest == data.digest
    np.testing.assert_array_equal(rosettes.load(authors / "dataset").images, data.images)
    copies = rosettes.duplicates_of_labelled(data)
    assert len(copies) == 12
    assert [Path(f).name for f in copies["labelled_file"]] == [Path(f).name for f in copies["unlabelled_file"]]


def test_reads_the_authors_unsplit_layout_with_its_combined_class(authors: Path) -> None:
    dataset = authors / "dataset"
    for k, name in enumerate(("rosette_combined", "high_prob_rosette", "non_rosette")):
        save(dataset / "supervised" / name / AUTHORS.format("20170711", 1, "70", 1, "09"), noise(300 + k))
    (dataset / "supervised_split").rename(authors / "elsewhere")
    table = rosettes.load(authors).labelled().table
    assert table["label"].tolist() == ["non_rosette", "rosette"]  # high_prob_rosette is part of rosette_combined


def test_unlabelled_images_leave_days_and_embryos_out(authors: Path) -> None:
    data = rosettes.load(authors)
    assert data.unlabelled_images().shape == (15, 32, 32)
    assert len(data.unlabelled_images(exclude_days=["20170720"])) == 8
    left = data.unlabelled_images(exclude_groups=["20170720_s2_emb3"])
    assert len(left) == 12
    kept = {image.tobytes() for image in left}
    assert not any(image.tobytes() in kept for image in data.images[(data.table["embryo"] == "20170720_s2_emb3")])
    np.testing.assert_array_equal(data.unlabelled_images(4, seed=1), data.unlabelled_images(4, seed=1))
    with pytest.raises(DataError, match="no image is left"):
        data.unlabelled_images(exclude_days=["20170711", "20170715", "20170720"])


def test_without_unlabelled_images_the_labelled_ones_serve(by_class: Path) -> None:
    data = rosettes.load(by_class)
    assert len(data.unlabelled_images()) == 12
    assert len(data.unlabelled_images(exclude_days=["20240101"])) == 6


def test_max_unlabelled_takes_evenly_from_every_embryo(authors: Path) -> None:
    data = rosettes.load(authors, max_unlabelled=7, seed=3)
    unlabelled = data.table[data.table["target"] < 0]
    assert unlabelled["embryo"].value_counts().tolist() == [1] * 7
    again = rosettes.load(authors, max_unlabelled=7, seed=3)
    assert again.table["file"].tolist() == data.table["file"].tolist()
    assert rosettes.load(authors, max_unlabelled=0).table["target"].min() == 0


def test_reads_a_folder_by_class_with_its_names(by_class: Path) -> None:
    data = rosettes.load(by_class)
    assert data.name == "mine"
    assert data.table["label"].value_counts().to_dict() == {"debris": 4, "rosette": 4, "tissue": 4}
    assert data.table["target"].sum() == 4
    assert data.table["embryo"].nunique() == 4
    assert data.windows is None
    for file, image in zip(data.table["file"], data.images, strict=True):
        np.testing.assert_array_equal(image, np.asarray(Image.open(by_class / file)))
    assert rosettes.load(by_class, positive_class="debris").table.query("target == 1")["label"].unique() == "debris"


def test_digest_is_the_tree_s_and_notices_a_changed_pixel(by_class: Path) -> None:
    data = rosettes.load(by_class)
    assert data.digest == files.tree_digest([by_class / f for f in data.table["file"]], by_class)
    first = by_class / data.table["file"][0]
    save(first, 255 - np.asarray(Image.open(first)))
    assert rosettes.load(by_class).digest != data.digest


def test_reads_unlabelled_images_and_windows(by_class: Path) -> None:
    save(by_class / "unlabeled" / "20240103_emb1.png", noise(50))
    save(by_class / "unlabeled" / "no_day.png", noise(51))
    for label in ("rosette", "other"):
        save(by_class / "windows" / label / "20240101_emb1.png", noise(60))
    data = rosettes.load(by_class)
    assert (data.table["target"] == -1).sum() == 2
    assert len(data.unlabelled_images(exclude_days=["20240101"])) == 1  # an unknown day might be the test day
    assert data.windows is not None
    assert data.windows.images.shape == (2, 32, 32)
    assert data.windows.table["target"].tolist() == [0, 1]
    with pytest.raises(DataError, match="mine: among the windows of day 20240102, the test day, there is no image of"):
        rosettes.check(by_class)
    text = "\n".join(rosettes.check(by_class, test_days=["20240102", "20240101"], **window_days(by_class)))
    assert "windows: 4 of 32x32 pixels" in text


def window_days(root: Path) -> dict[str, str]:
    """Ready windows of a second day, and the option that tests setting (a) on the first."""
    for label in ("rosette", "tissue"):
        save(root / "windows" / label / "20240102_emb1.png", noise(61))
    return {"test_day": "20240101"}


def test_groups_csv_names_days_and_embryos(by_class: Path) -> None:
    paths = sorted(by_class.glob("*/*.png"))
    rows = []
    for i, path in enumerate(paths):
        path = path.rename(path.with_name(f"{i}.png"))
        rows.append((path.relative_to(by_class).as_posix(), f"day{i % 2}", f"e{i % 3}", i, ""))
    frame = pd.DataFrame(rows, columns=["file", "day", "embryo", "minute", "slice"])
    frame.to_csv(by_class / "groups.csv", index=False)
    table = rosettes.load(by_class).table
    assert set(table["embryo"]) == {f"day{d}_e{e}" for d in range(2) for e in range(3)}
    assert table["minute"].notna().all()
    assert table["slice"].isna().all()
    assert table.set_index("file")["minute"].to_dict() == dict(zip(frame["file"], frame["minute"], strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,day\n", r"groups\.csv: column 'embryo' is missing; expected .*file, day, embryo, found file, day$"),
        ("file,date,embryo\n", "column 'day' is missing.*rename 'date'"),
        ("file,day,embryo,plate\n", r"groups\.csv: unknown columns plate; expected file,day,embryo and optionally"),
        ("", r"groups\.csv is empty; expected the columns file, day, embryo"),
        ("file;day;embryo\n{0};d;e\n", r"groups\.csv: .*separate the columns by commas, not semicolons"),
        ("file,day,embryo\n{0},d,µ\n", r"groups\.csv cannot be read as CSV in UTF-8: .*save it as CSV UTF-8"),
        ("file,day,embryo\n../secret.png,d,e\n", r"line 2: file '../secret\.png' leaves the data folder"),
        ("file,day,embryo\nrosette/../../x.png,d,e\n", "leaves the data folder"),
        ("file,day,embryo\n/etc/passwd,d,e\n", "leaves the data folder"),
        ("file,day,embryo\nC:\\x.png,d,e\n", "leaves the data folder"),
        ("file,day,embryo\nrosette/none.png,d,e\n", r"line 2: there is no file 'rosette/none\.png'"),
        ("file,day,embryo\n,d,e\n", "there is no file ''"),
        ("file,day,embryo\n{0},d,\n", "day and embryo must not be empty"),
        ("file,day,embryo\n{0},d,e\n{0},d,e\n", "line 3: .* is listed twice"),
        ("file,day,embryo,minute\n{0},d,e,soon\n", "line 2, column 'minute': expected float, found 'soon'"),
        ("file,day,embryo\n{0},d,e\n", "11 labelled images are not listed, the first is"),
    ],
)
def test_a_bad_groups_csv_says_where_and_what(by_class: Path, text: str, message: str) -> None:
    first = next(by_class.glob("rosette/*.png")).relative_to(by_class).as_posix()
    (by_class / "groups.csv").write_bytes(text.format(first).encode("latin-1"))
    with pytest.raises(DataError, match=message):
        rosettes.load(by_class)


def test_groups_csv_as_spreadsheets_leave_it(by_class: Path) -> None:
    files = [p.relative_to(by_class) for p in sorted(by_class.glob("*/*.png"))]
    rows = [f"{str(p).replace('/', chr(92))}, 1 ,1{i % 2}_e,," for i, p in enumerate(files)]
    text = "\ufefffile,day,embryo,minute,slice\r\n" + "\r\n".join(rows) + "\r\n,,,,\r\n\r\n"
    (by_class / "groups.csv").write_text(text, encoding="utf-8", newline="")
    table = rosettes.load(by_class).table
    assert set(table["day"]) == {"1"}
    assert set(table["embryo"]) == {"1_10_e", "1_11_e"}  # "10_e" begins with the day, but not with the day's name
    assert table["minute"].isna().all()


def test_names_without_a_day_explain_both_remedies(by_class: Path) -> None:
    path = next(by_class.glob("rosette/*.png"))
    path.rename(path.with_name("picture.png"))
    with pytest.raises(DataError, match=r"picture\.png: no day in the file name.*20170715_s2.*groups\.csv"):
        rosettes.load(by_class)


def test_folders_that_cannot_be_used_say_why(tmp_path: Path, by_class: Path) -> None:
    with pytest.raises(DataError, match="nowhere: there is no such folder"):
        rosettes.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no sub-folder of it holds images; expected one sub-folder"):
        rosettes.load(tmp_path / "empty")
    save(tmp_path / "loose" / "20240101_emb1.png", noise(0))
    with pytest.raises(DataError, match="1 images lie in it directly"):
        rosettes.load(tmp_path / "loose")
    save(tmp_path / "one" / "rosette" / "20240101_emb1.png", noise(0))
    with pytest.raises(DataError, match="one class only, 'rosette'"):
        rosettes.load(tmp_path / "one")
    (tmp_path / "bare" / "supervised_split").mkdir(parents=True)
    with pytest.raises(DataError, match="no labelled images"):
        rosettes.load(tmp_path / "bare")
    with pytest.raises(DataError, match=r"-p positive_class NAME, one of debris, rosette, tissue; did you mean 'ros"):
        rosettes.load(by_class, positive_class="rosete")
    save(by_class / "windows" / "rosette" / "20240101_emb1.png", noise(0))
    with pytest.raises(DataError, match=r"windows.*expected 'rosette' and another class"):
        rosettes.load(by_class)


def test_images_of_several_sizes_are_named(by_class: Path) -> None:
    odd = by_class / "tissue" / "20240102_emb9.png"
    save(odd, noise(0, (32, 36)))
    with pytest.raises(DataError, match=r"_emb9\.png: 36x32 pixels, where 12 of 13 images have 32x32; crop") as one:
        rosettes.load(by_class)
    assert "\n" not in str(one.value)
    for k in range(11):
        save(by_class / "debris" / f"20240101_emb{k}_z1.png", noise(k, (32, 40)))
    with pytest.raises(DataError, match=r"\.\.\. and 2 more") as many:
        rosettes.load(by_class)
    assert str(many.value).count("40x32 pixels") == 10


def test_colour_and_16_bit_images_need_a_decision(by_class: Path) -> None:
    colour = by_class / "rosette" / "20240101_emb5.png"
    save(colour, noise(0, (32, 32, 3)))
    with pytest.raises(DataError, match=r"20240101_emb5\.png: a colour image.*-p colour mean"):
        rosettes.load(by_class)
    assert len(rosettes.load(by_class, colour="mean")) == 13
    colour.unlink()
    deep = by_class / "rosette" / "20240101_emb6.png"
    save(deep, np.full((32, 32), 3350, np.uint16))
    with pytest.raises(DataError, match=r"20240101_emb6\.png: a 16-bit image; .*-p intensity_window \"\[2500, 4200\]"):
        rosettes.load(by_class)
    data = rosettes.load(by_class, intensity_window=[2500, 4200])  # as YAML and the command line have it
    assert (data.images[data.table["file"] == "rosette/20240101_emb6.png"] == 128).all()


def test_ten_broken_images_are_named_at_once(by_class: Path) -> None:
    for path in by_class.glob("*/*.png"):
        path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(DataError, match=r"and 2 more") as caught:
        rosettes.check(by_class)
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert all("broken or truncated" in line and ".png" in line for line in lines[:10])


def test_check_summarises(authors: Path) -> None:
    text = "\n".join(rosettes.check(authors))
    assert "13 labelled and 15 unlabelled images of 32x32 pixels" in text
    assert "non_rosette 7, rosette 6 (positive)" in text
    assert "majority rate: 0.538" in text
    assert "day 20170720: 2 embryos, 2 positive and 2 other" in text
    assert "12 labelled images are pixel copies" in text


def table_of(n_days: int, n_embryos: int, n_images: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [(f"d{d}", f"d{d}_e{e}", t) for d in range(n_days) for e in range(n_embryos) for t in [0, 1] * n_images]
    rows += [("d0", "d0_e0", -1)] * 5
    table = pd.DataFrame(rows, columns=["day", "group", "target"])
    return table.sample(frac=1, random_state=int(rng.integers(2**31))).reset_index(drop=True)


@given(st.integers(2, 4), st.integers(1, 5), st.integers(1, 4), st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_splits_share_no_embryo_and_leave_the_unlabelled_out(
    n_days: int, n_embryos: int, n_images: int, seed: int
) -> None:
    table = table_of(n_days, n_embryos, n_images, seed)
    labelled = set(np.flatnonzero(table["target"] >= 0).tolist())
    for train, test in (
        rosettes.split_by_day(table, "d1"),
        rosettes.split_by_embryo(table, 0.3, seed),
    ):
        assert len(train)
        assert len(test)
        assert set(train.tolist()) | set(test.tolist()) == labelled
        assert not set(table["group"][train]) & set(table["group"][test])
        assert set(table["target"][train]) == {0, 1}
    train, test = rosettes.split_by_day(table, "d1")
    assert set(table["day"][test]) == {"d1"}
    assert "d1" not in set(table["day"][train])
    one, two = rosettes.split_by_embryo(table, 0.3, seed), rosettes.split_by_embryo(table, 0.3, seed)
    np.testing.assert_array_equal(one[1], two[1])


def test_split_by_embryo_is_stratified() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"group": np.repeat([f"e{k}" for k in range(30)], 20)})
    table["target"] = (rng.uniform(size=600) < np.repeat(rng.beta(1, 3, 30), 20)).astype(int)
    for seed in range(5):
        _, test = rosettes.split_by_embryo(table, 1 / 3, seed)
        for c in (0, 1):
            share = (table["target"][test] == c).sum() / (table["target"] == c).sum()
            assert share == pytest.approx(1 / 3, abs=0.03)
    tests = {tuple(rosettes.split_by_embryo(table, 1 / 3, seed)[1]) for seed in range(5)}
    assert len(tests) == 5


def test_splits_that_cannot_be_made_say_why() -> None:
    table = pd.DataFrame({"day": ["a", "a", "b"], "group": ["a1", "a1", "b1"], "target": [0, 1, 1]})
    with pytest.raises(DataError, match="no labelled image of day 'c'; the days are a, b"):
        rosettes.split_by_day(table, "c")
    with pytest.raises(DataError, match="without day a: only one class"):
        rosettes.split_by_day(table, "a")
    with pytest.raises(DataError, match="1 embryo"):
        rosettes.split_by_embryo(table[:2], 0.5, 0)
    with pytest.raises(ValueError, match="test_fraction"):
        rosettes.split_by_embryo(table, 1.0, 0)


@given(st.floats(0.01, 1.0), st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_subset_rounds_each_class_and_takes_one_at_least(fraction: float, seed: int) -> None:
    table = pd.DataFrame({"target": [1] * 13 + [0] * 40 + [-1] * 4})
    train = np.arange(53)
    chosen = rosettes.subset(train, table, fraction, seed)
    assert len(set(chosen.tolist())) == len(chosen)
    for c, n in ((1, 13), (0, 40)):
        assert (table["target"][chosen] == c).sum() == max(1, int(fraction * n + 0.5))
    np.testing.assert_array_equal(chosen, rosettes.subset(train, table, fraction, seed))


def test_subset_is_random_and_refuses_no_labels() -> None:
    table = pd.DataFrame({"target": [1] * 20 + [0] * 20})
    assert (
        rosettes.subset(np.arange(40), table, 0.5, 0).tolist() != rosettes.subset(np.arange(40), table, 0.5, 1).tolist()
    )
    with pytest.raises(ValueError, match="fraction"):
        rosettes.subset(np.arange(40), table, 0.0, 0)


def test_crop_windows_is_slicing() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 11), np.uint8)
    corners = np.array([[0, 0, 0], [2, 7, 5], [1, 3, 2]])  # image, x, y
    crops = rosettes.crop_windows(images, corners, 4)
    for crop, (i, x, y) in zip(crops, corners, strict=True):
        np.testing.assert_array_equal(crop, images[i, y : y + 4, x : x + 4])
    assert rosettes.crop_windows(images, np.zeros((0, 3), int), 4).shape == (0, 4, 4)
    with pytest.raises(ValueError, match=r"\[0, 8, 0\] \(image, x, y\) with size 4 leaves"):
        rosettes.crop_windows(images, np.array([[0, 8, 0]]), 4)


def test_a_table_of_another_length_is_refused(by_class: Path) -> None:
    data = rosettes.load(by_class)
    with pytest.raises(ValueError, match="expected \\(N, H, W\\) and N"):
        rosettes.RosetteData(data.images[1:], data.table, "rosette", "x", "")


@pytest.fixture(scope="module")
def real(real_data: Path) -> rosettes.RosetteData:
    return rosettes.load(real_data / "rosettes")


def test_the_real_set_is_whole(real: rosettes.RosetteData) -> None:
    assert real.images.shape == (1118 + 11250, 128, 128)
    labelled = real.labelled().table
    assert labelled["label"].value_counts().to_dict() == {"non_rosette": 844, "rosette": 274}
    by_day = labelled.groupby(["day", "target"]).size().to_dict()
    assert by_day == {("20170711", 0): 443, ("20170711", 1): 120, ("20170715", 0): 401, ("20170715", 1): 154}
    unlabelled = real.table[real.table["target"] < 0]
    assert unlabelled.groupby("day")["embryo"].nunique().to_dict() == {"20170711": 12, "20170715": 17, "20170720": 16}
    assert (unlabelled["embryo"].value_counts() == 250).all()
    assert (unlabelled["minute"].min(), unlabelled["minute"].max()) == (61, 110)
    assert sorted(unlabelled["slice"].unique()) == [9, 10, 11, 12, 13]


def test_the_real_labels_agree_with_their_table_and_have_copies(real: rosettes.RosetteData, real_data: Path) -> None:
    labels = pd.read_csv(real_data / "rosettes" / "labels_train.csv")
    labelled = real.labelled().table
    name = labelled["file"].map(lambda f: Path(f).name)
    assert dict(zip(name, labelled["label"], strict=True)) == dict(zip(labels["file"], labels["label"], strict=True))
    copies = rosettes.duplicates_of_labelled(real)
    assert copies["label"].value_counts().to_dict() == {"non_rosette": 843, "rosette": 274}
    assert len(real.unlabelled_images(exclude_days=["20170715"])) == 11250 - 17 * 250
