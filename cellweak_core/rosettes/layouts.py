"""Where the images of a rosette data set lie, and what their names say.

Two layouts are read:

```
the authors' repository (its root or its dataset/)        any folder of images by class
  unsupervised/*.jpg                                        <class>/*.{jpg,png,tif,bmp}     two classes or more
  supervised_split/{train,test}/{rosette,non_rosette}/      unlabelled/*.png                optional
  or supervised/{rosette_combined,non_rosette}/             windows/<class>/*.png           optional, ready 32x32 crops
                                                            groups.csv                      optional: file,day,embryo
```

Without groups.csv the day and the embryo come from the file name, wherever in it they stand, `_` or `-` between parts:
date `yyyymmdd` (or `yyyy-mm-dd`), `emb<k>`, stage position `s<k>`, minute `t<k>`, slice `slice<k>` (or `z<k>`), as in
`YX_BV24_WT_Journal14_20170715_3_s2_t098_emb1_slice10.jpg`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cellweak_core.files import DataError
from cellweak_core.images import list_images
from cellweak_core.tables import read_csv

UNLABELLED = ("unlabelled", "unlabeled", "unsupervised")
AUTHORS_CLASSES = {"rosette": "rosette", "rosette_combined": "rosette", "non_rosette": "non_rosette"}
UNKNOWN = "unknown"
GROUPS = ("file", "day", "embryo", "minute", "slice")  # columns of groups.csv; the last two may be absent

_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)")
_PARTS = {
    "embryo": re.compile(r"(?:^|[_-])emb(?:ryo)?(\d+)(?=[_-]|$)", re.IGNORECASE),
    "stage": re.compile(r"(?:^|[_-])s(\d+)(?=[_-]|$)", re.IGNORECASE),
    "minute": re.compile(r"(?:^|[_-])t(\d+)(?=[_-]|$)", re.IGNORECASE),
    "slice": re.compile(r"(?:^|[_-])(?:slice|z)(\d+)(?=[_-]|$)", re.IGNORECASE),
}


@dataclass(frozen=True)
class Entry:
    """One image file and what is known of it before it is read.

    Attributes:
        path: the file.
        file: the same, relative to the data folder, with `/`.
        label: class name, "" if unlabelled.
        split: "train", "test" (the authors' own split) or "".
        day: yyyymmdd or a name from groups.csv; "" if unknown (unlabelled images only).
        embryo: unique over days.
        minute: time of the frame, minutes; nan if unknown.
        slice: depth, slice number; nan if unknown.
    """

    path: Path
    file: str
    label: str
    split: str
    day: str
    embryo: str
    minute: float
    slice: float


@dataclass(frozen=True)
class Layout:
    """The image files of a data folder: labelled and unlabelled images, ready windows."""

    name: str
    images: list[Entry]
    windows: list[Entry]


def parse_name(name: str) -> tuple[str, str, float, float]:
    """Day, embryo, minute and slice from a file name.

    Args:
        name: file name, with or without folder and suffix.

    Returns:
        (day, embryo, minute, slice): day yyyymmdd or ""; embryo `<day>_s<stage>_emb<k>` (parts that are there),
        ending in `unknown` where the name has no embryo number; nan for a missing minute or slice.

    Example:
        >>> parse_name("YX_BV24_WT_Journal14_20170715_3_s2_t098_emb1_slice10.jpg")
        ('20170715', '20170715_s2_emb1', 98.0, 10.0)
    """
    stem = PurePosixPath(name).stem
    date = _DATE.search(stem)
    day = date[1] + date[3] + date[4] if date else ""
    part = {key: match[1] if (match := pattern.search(stem)) else None for key, pattern in _PARTS.items()}
    embryo = "_".join(
        [day]
        + ([f"s{int(part['stage'])}"] if part["stage"] else [])
        + [f"emb{int(part['embryo'])}" if part["embryo"] else UNKNOWN]
    )
    return day, embryo, float(part["minute"] or "nan"), float(part["slice"] or "nan")


def find(data_dir: str | Path) -> Layout:
    """Finds the image files of a data folder in either layout; reads no pixels.

    Args:
        data_dir: the folder.

    Returns:
        The files, labelled ones first, each kind sorted by name.

    Raises:
        DataError: see `cellweak_core.rosettes.data.load`.
    """
    root = Path(data_dir)
    if not root.is_dir():
        raise DataError(
            f"{root}: there is no such folder; give the folder that holds one sub-folder of images per class."
        )
    for base in (root, root / "dataset"):
        if (base / "supervised_split").is_dir() or (base / "supervised").is_dir():
            return _authors(base)
    return _by_class(root)


def _authors(base: Path) -> Layout:
    found: list[tuple[Path, str, str]] = []
    if (base / "supervised_split").is_dir():
        places = [(base / "supervised_split" / split, split) for split in ("train", "test")]
    else:
        places = [(base / "supervised", "")]
    for place, split in places:
        for folder in _folders(place) if place.is_dir() else []:
            if folder.name in AUTHORS_CLASSES:  # high_prob_rosette and low_prob_rosette are parts of rosette_combined
                found += [(path, AUTHORS_CLASSES[folder.name], split) for path in list_images(folder)]
    if (base / "unsupervised").is_dir():
        found += [(path, "", "") for path in list_images(base / "unsupervised")]
    return Layout("authors' images", _entries(found, base, groups=None), [])


def _by_class(root: Path) -> Layout:
    found: list[tuple[Path, str, str]] = []
    unlabelled: list[tuple[Path, str, str]] = []
    for folder in _folders(root):
        if folder.name in UNLABELLED:
            unlabelled += [(path, "", "") for path in list_images(folder)]
        elif folder.name != "windows":
            found += [(path, folder.name, "") for path in list_images(folder)]
    if not found:
        loose = len(list_images(root))
        where = f"{loose} images lie in it directly" if loose else "no sub-folder of it holds images"
        raise DataError(
            f"{root}: {where}; expected one sub-folder of images per class, such as rosette/ and other/, "
            "or the authors' repository with dataset/supervised_split/."
        )
    windows = [
        (path, folder.name, "")
        for folder in (_folders(root / "windows") if (root / "windows").is_dir() else [])
        for path in list_images(folder)
    ]
    groups = _read_groups(root) if (root / "groups.csv").is_file() else None
    return Layout(root.resolve().name, _entries(found + unlabelled, root, groups), _entries(windows, root, groups))


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _entries(
    found: list[tuple[Path, str, str]], root: Path, groups: dict[str, tuple[str, str, float, float]] | None
) -> list[Entry]:
    entries, unnamed, unlisted = [], [], []
    for path, label, split in found:
        file = path.relative_to(root).as_posix()
        if groups is not None and file in groups:
            described = groups[file]
        else:
            described = parse_name(path.name)
            if label and groups is not None:
                unlisted.append(file)
            elif label and not described[0]:
                unnamed.append(file)
        entries.append(Entry(path, file, label, split, *described))
    if unlisted:
        raise DataError(
            f"{root / 'groups.csv'}: {len(unlisted)} labelled images are not listed, the first is {unlisted[0]}; "
            "add a row file,day,embryo for each of them."
        )
    if unnamed:
        raise DataError(
            f"{root / unnamed[0]}: no day in the file name (nor in {len(unnamed) - 1} others); images must be split "
            "by day or embryo. Either put the date into the names, as in 20170715_s2_t098_emb1_slice10.jpg, "
            f"or write {root / 'groups.csv'} with the columns file,day,embryo[,minute,slice]."
        )
    return entries


def _read_groups(root: Path) -> dict[str, tuple[str, str, float, float]]:
    """groups.csv as {file: (day, embryo, minute, slice)}; the embryo's name is made unique over days."""
    path = root / "groups.csv"
    frame = read_csv(path, dict.fromkeys(GROUPS[:3], "str?"), dict.fromkeys(GROUPS[3:], "float?"))
    unknown = [c for c in frame.columns if c not in GROUPS]
    if unknown:
        raise DataError(
            f"{path}: unknown columns {', '.join(unknown)}; expected file,day,embryo and optionally minute,slice."
        )
    groups: dict[str, tuple[str, str, float, float]] = {}
    for line, row in enumerate(frame.reindex(columns=list(GROUPS)).itertuples(index=False), start=2):
        at = f"{path}, line {line}"
        file, day, embryo = (str(cell).strip() for cell in row[:3])
        if not (file or day or embryo):
            continue  # spreadsheets leave blank rows behind
        file = file.replace("\\", "/")
        pure = PurePosixPath(file)
        if pure.is_absolute() or ".." in pure.parts or re.match(r"^[A-Za-z]:", file):
            raise DataError(f"{at}: file {file!r} leaves the data folder; write it relative to {root}, without `..`.")
        if not file or not (root / pure).is_file():
            raise DataError(f"{at}: there is no file {file!r} in {root}; correct the name or remove the row.")
        if pure.as_posix() in groups:
            raise DataError(f"{at}: {file!r} is listed twice; keep one row.")
        if not day or not embryo:
            raise DataError(f"{at}: day and embryo must not be empty; found day {day!r}, embryo {embryo!r}.")
        unique = embryo if embryo.startswith(f"{day}_") else f"{day}_{embryo}"
        groups[pure.as_posix()] = (day, unique, float(row[3]), float(row[4]))
    return groups
