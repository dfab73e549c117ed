"""The real `cellweak check rosettes` over folders that people have: good ones, and each kind of bad one."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cellweak_core import cli


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real book; nothing in `$CELLWEAK_DATA`."""
    monkeypatch.delenv("CELLWEAK_BOOK", raising=False)
    monkeypatch.setenv("CELLWEAK_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(path: Path, shape: Sequence[int] = (32, 32), kind: type = np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    top = 256 if kind is np.uint8 else 5000
    Image.fromarray(np.random.default_rng(0).integers(0, top, shape).astype(kind)).save(path)
    return path


@pytest.fixture
def mine(elsewhere: Path) -> Path:
    """A good folder: two classes on two days."""
    root = elsewhere / "mine"
    for day in ("20240101", "20240102"):
        for embryo in (1, 2):
            for label in ("rosette", "other"):
                save(root / label / f"{day}_emb{embryo}.png")
    return root


def check(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(cli.app, ["check", "rosettes", *arguments], env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == status, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit | None)
    assert "Traceback" not in result.output
    return result.output


def emptied(root: Path) -> None:
    for path in root.glob("*/*.png"):
        path.unlink()


def only_rosettes(root: Path) -> None:
    for path in root.glob("other/*.png"):
        path.unlink()


def cut_jpeg(root: Path) -> None:
    path = save(root / "rosette" / "20240101_emb3.jpg")
    path.write_bytes(path.read_bytes()[:300])


def csv_with(text: str, encoding: str = "utf-8") -> Callable[[Path], None]:
    return lambda root: (root / "groups.csv").write_bytes(text.encode(encoding)) and None


def without_a_rosette_day(root: Path) -> None:
    for path in root.glob("rosette/20240102*"):
        path.unlink()


def one_day(root: Path) -> None:
    for path in root.glob("*/20240102*"):
        path.unlink()


def all_of_size(height: int, width: int) -> Callable[[Path], list[Path]]:
    return lambda root: [save(path, (height, width)) for path in root.glob("*/*.png")]


BAD = {
    "no images": (emptied, "mine", "expected one sub-folder of images per class"),
    "one class only": (only_rosettes, "mine", "expected two sub-folders of images or more"),
    "mixed sizes": (lambda root: save(root / "other" / "20240101_emb7.png", (32, 40)), "other/20240101_emb7.png: 40x32",
                    "crop or pad it to that size"),
    "colour": (lambda root: save(root / "other" / "20240101_emb7.png", (32, 32, 3)), "other/20240101_emb7.png",
               "-p colour mean"),
    "16 bits": (lambda root: save(root / "other" / "20240101_emb7.png", (32, 32), np.uint16),
                "other/20240101_emb7.png", '-p intensity_window "[2500, 4200]"'),
    "truncated JPEG": (cut_jpeg, "rosette/20240101_emb3.jpg: broken or truncated", "copy the file again or remove it"),
    "no day": (lambda root: save(root / "other" / "picture.png"), "other/picture.png: no day in the file name",
               "put the date into the names, as in 20170715_s2_t098_emb1_slice10.jpg"),
    "wrong column": (csv_with("file,date,embryo\nother/20240101_emb1.png,a,b\n"), "groups.csv: column 'day' is missing",
                     "rename 'date'?"),
    "path with ..": (csv_with("file,day,embryo\nother/../../secret.png,a,b\n"), "groups.csv, line 2",
                     "without `..`"),
    "semicolons": (csv_with("file;day;embryo\nother/20240101_emb1.png;a;b\n"), "groups.csv",
                   "separate the columns by commas, not semicolons"),
    "another encoding": (csv_with("file,day,embryo\nother/20240101_emb1.png,a,\xe9\n", "cp1252"), "groups.csv",
                         "save it as CSV UTF-8"),
    "not square": (all_of_size(40, 64), "mine: the images, such as other/20240101_emb1.png, have 64x40 pixels",
                   "crop them to 32x32 or pad them to 64x64"),
    "a day of one class": (without_a_rosette_day, "mine: day 20240102 has no image of class rosette", "label images"),
    "one day, two embryos": (one_day, "mine: every labelled image is of day 20240101, with 2 embryos", "emb<k>"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_folder_is_a_message_with_the_file_and_the_fix(mine: Path, case: str) -> None:
    spoil, file, fix = BAD[case]
    spoil(mine)
    text = check("--data", "mine", status=1)
    assert text.startswith("cellweak: ")
    assert file in text
    assert fix in text
    assert len(text.splitlines()) < 5


def test_a_folder_that_is_not_there() -> None:
    text = check("--data", "nowhere", status=1)
    assert "data folder nowhere is not there" in text
    assert "Check --data and $CELLWEAK_DATA" in text


def test_a_good_folder_is_summarised(mine: Path) -> None:
    text = check("--data", "mine")
    assert "mine: 8 labelled and 0 unlabelled images of 32x32 pixels" in text
    assert "day 20240101: 2 embryos, 2 positive and 2 other" in text
    assert "splits: by day; tested: 20240101, 20240102" in text


def test_the_fixes_that_messages_name_work(mine: Path) -> None:
    for path in mine.glob("*/*.png"):
        save(path, (32, 32, 3))
    check("--data", "mine", "-p", "colour", "mean")
    for path in mine.glob("*/*.png"):
        save(path, (32, 32), np.uint16)
    assert "-p intensity_window" in check("--data", "mine", "-p", "intensity_window", "[]", status=1)
    check("--data", "mine", "-p", "intensity_window", "[2500, 4200]")
    Path("deep.yml").write_text("intensity_window: [0, 5000]\npositive_class: fold\nseed: 3\n")
    assert "no class 'fold'; give -p positive_class NAME, one of other, rosette" in check(
        "--data", "mine", "-f", "deep.yml", status=1
    )
    (mine / "rosette").rename(mine / "fold")
    assert "fold 4 (positive)" in check("--data", "mine", "-f", "deep.yml")
    save(mine / "other" / "20240103_emb1.png", (32, 32), np.uint16)
    assert """-p test_days '["20240101", "20240102"]'""" in check("--data", "mine", "-f", "deep.yml", status=1)
    check("--data", "mine", "-f", "deep.yml", "-p", "test_days", '["20240101", "20240102"]')


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "color", "mean"], "unknown parameter 'color'. Did you mean 'colour'?"),
        (["-p", "colour", "gray"], "colour: expected error or mean, given 'gray'; write -p colour mean"),
        (["-p", "intensity_window", "2500"], "parameter intensity_window: expected list[float], given 2500"),
        (["-p", "intensity_window", "[4200, 2500]"], 'write -p intensity_window "[2500, 4200]"'),
        (["-p", "colour"], "-p colour: expected a name and a value"),
        (["-f", "nowhere.yml"], "parameter file nowhere.yml is not there"),
    ],
)
def test_parameters_are_checked_as_in_run(mine: Path, arguments: list[str], message: str) -> None:
    assert message in check("--data", "mine", *arguments, status=2)
