"""Public data sets: downloaded where the last attempt stopped, unpacked safely, checked, whole or not there.

URL -> $CELLWEAK_DATA/.downloads/FILE.part -> FILE -> $CELLWEAK_DATA/.NAME.part/ -> checked -> $CELLWEAK_DATA/NAME/
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .files import DataError, data_home, full_disk_error, tree_digest
from .parameter_cells import ParameterError, near
from .transfers import download, extract


@dataclass(frozen=True)
class DataSet:
    """A public data set.

    Args:
        name: the folder it gets, and what people type.
        title: what it is, with its citation.
        source: where a person reads about it.
        size: of the download, in words.
        licence: its conditions, in words.
        urls: files or ZIP archives.
        check: raises ``DataError`` where a folder does not hold the data set.
        licensed: False where nobody has said that you may use it; asks first.
        keep: folder inside the archive, below its single top folder, that is unpacked; empty unpacks all.
    """

    name: str
    title: str
    source: str
    size: str
    licence: str
    urls: tuple[str, ...]
    check: Callable[[Path], None]
    licensed: bool = True
    keep: str = ""


def _expect_count(folder: Path, pattern: str, count: int) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if len(found) != count:
        raise DataError(f"{folder}: expected {count} files {pattern}, found {len(found)}")
    return found


# Over the 12,368 files at commit 3b8b030; GitHub does not promise its archives' own bytes.
_ROSETTES_TREE = "b3db522c2b0701d345973f6c11de9ff0cabd193410af3fd5f957524741f7f5c9"


def _check_rosettes(folder: Path) -> None:
    images = _expect_count(folder, "dataset/unsupervised/*.jpg", 11250)
    images += _expect_count(folder, "dataset/supervised_split/train/*/*.jpg", 274 + 844)
    if (found := tree_digest(images, folder)) != _ROSETTES_TREE:
        raise DataError(f"{folder}: images differ from commit 3b8b030: tree digest {found[:16]}...")


def _check_bbbc021(folder: Path) -> None:
    from .tables import read_csv

    plate, compound = "Image_Metadata_Plate_DAPI", "Image_Metadata_Compound"
    for name, columns, count in (
        ("BBBC021_v1_image.csv", {plate: "str", compound: "str", "Image_Metadata_Concentration": "float"}, 13200),
        ("BBBC021_v1_moa.csv", {"compound": "str", "concentration": "float", "moa": "str"}, 104),
    ):
        if (found := len(read_csv(folder / name, columns))) != count:
            raise DataError(f"{folder / name}: expected {count} rows, found {found}")


def _check_gowt1(folder: Path) -> None:
    for sequence in ("01", "02"):
        _expect_count(folder, f"{sequence}/t*.tif", 92)
        _expect_count(folder, f"{sequence}_GT/TRA/man_track*.tif", 92)


_BROAD = "https://data.broadinstitute.org/bbbc/BBBC021"
DATA_SETS = {
    one.name: one
    for one in (
        DataSet(
            name="rosettes",
            title="C. elegans membranes, 12,368 images 128x128, for chapter rosettes (Wang 2019)",
            source="https://github.com/DongCiLu/BioGAN at 3b8b030, folder dataset/",
            size="about 100 MB",
            licence="NO LICENCE FILE: its authors have not said that you may use or share it",
            urls=("https://github.com/DongCiLu/BioGAN/archive/3b8b030.zip",),
            check=_check_rosettes,
            licensed=False,
            keep="dataset",
        ),
        DataSet(
            name="bbbc021",
            title="BBBC021v1 tables: 13,200 fields and the mechanisms of 103 treatments (Caie 2010; Ljosa 2012)",
            source="https://bbbc.broadinstitute.org/BBBC021",
            size="4 MB (the images, 55 archives of about 750 MB, are there too)",
            licence="conditions as the source states them; cite it",
            urls=(f"{_BROAD}/BBBC021_v1_image.csv", f"{_BROAD}/BBBC021_v1_moa.csv"),
            check=_check_bbbc021,
        ),
        DataSet(
            name="gowt1",
            title="Fluo-N2DH-GOWT1: mouse stem cells, two sequences of 92 frames 1024x1024 (Bartova; Ulman 2017)",
            source="https://celltrackingchallenge.net/2d-datasets",
            size="53 MB",
            licence="the Cell Tracking Challenge's conditions of use: cite it, do not redistribute",
            urls=("https://data.celltrackingchallenge.net/training-datasets/Fluo-N2DH-GOWT1.zip",),
            check=_check_gowt1,
        ),
    )
}


def data_set(name: str) -> DataSet:
    """The data set called ``name``.

    Raises:
        ParameterError: there is none; lists those there are.
    """
    if name not in DATA_SETS:
        raise ParameterError(f"no data set {name!r}; there are: {', '.join(DATA_SETS)}{near(name, DATA_SETS)}")
    return DATA_SETS[name]


def fetch(name: str, to: Path | None = None, progress: bool = True) -> Path:
    """Bring a data set to ``to/NAME``; one that is there already is checked and kept.

    Args:
        name: see ``DATA_SETS``.
        to: default ``$CELLWEAK_DATA``, else the user's cache.
        progress: show bars.

    Returns:
        The data set's folder, which exists only when it is whole.

    Raises:
        ParameterError: no such data set.
        DataError: it cannot be reached, or what came is not the data set.
        OSError: the disk is full.
    """
    from filelock import FileLock

    wanted, home = data_set(name), Path(to) if to else data_home()
    folder, staging, cellar = home / name, home / f".{name}.part", home / ".downloads" / name
    if folder.exists():
        try:
            wanted.check(folder)
        except DataError as error:
            raise DataError(f"{error}. Move {folder} away and fetch again") from error
        return folder
    try:
        cellar.mkdir(parents=True, exist_ok=True)
        with FileLock(cellar / ".lock"):
            came = [download(url, cellar, progress) for url in wanted.urls]
            _unpack(wanted, came, staging)
            os.replace(staging, folder)
    except OSError as error:
        raise full_disk_error(error, home) from error
    shutil.rmtree(cellar)
    return folder


def _unpack(wanted: DataSet, came: list[Path], staging: Path) -> None:
    """Fill ``staging`` and check it; what is not the data set is removed, so that the next fetch brings it anew."""
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir()
        for path in came:
            if path.suffix == ".zip":
                extract(path, staging, wanted.keep)
            else:
                shutil.copy2(path, staging)
        wanted.check(staging)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, DataError):
            for path in came:
                path.unlink()
        raise
