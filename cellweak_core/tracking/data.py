"""An image sequence with the positions of its cells: finding it in a folder, reading and checking it.

```
images/ (img/, frames/) or frames, a TIFF stack, a *.zarr in the folder itself --+
points.csv (tracks.csv, positions.csv)      optional for tracking, not training --+--load--> TrackingData
nuclei/                                     optional: a nuclear stain           --+
01/t000.tif ..., 01_GT/TRA/man_track.txt    a Cell Tracking Challenge folder    --+
```
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cellweak_core.files import DataError, tree_digest
from cellweak_core.images import list_images
from cellweak_core.parameter_cells import ParameterError
from cellweak_core.tracking.ctc import read_ctc, sequences
from cellweak_core.tracking.frames import FrameSource, open_frames
from cellweak_core.tracking.light import EvenSource
from cellweak_core.tracking.points import has_links, part_of_points, read_points

if TYPE_CHECKING:
    import pandas as pd

IMAGE_FOLDERS = ("images", "img", "frames")
POINT_FILES = ("points.csv", "tracks.csv", "positions.csv")
NUCLEI = "nuclei"


@dataclass(frozen=True)
class TrackingData:
    """A sequence and what is known of its cells.

    Attributes:
        source: the frames.
        points: columns frame (index into `source`), x, y and, where cells have identities, id and parent (-1 = none,
            the same on every row of a cell); sorted by frame. None where there are no positions.
        linked: whether identities are known, so that tracks can be compared with them.
        name: of the data set, as it stands in tables of results.
        digest: SHA-256 over the files' names and contents; None for simulated data.
        nuclei: a nuclear stain of the same frames, or None.
        annotated: indices of the frames whose cells are known, rising; by default those that have a position. The
            others are tracked and give pseudo-labels, but no detector learns from them and they are not scored: that
            there is no cell would be a claim that nobody made.
    """

    source: FrameSource
    points: pd.DataFrame | None
    linked: bool
    name: str
    digest: str | None = None
    nuclei: FrameSource | None = field(default=None)
    annotated: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Fill in the annotated frames where they are not given."""
        if not self.annotated and self.points is not None:
            object.__setattr__(self, "annotated", tuple(sorted({int(t) for t in self.points["frame"]})))

    def part(
        self, frames: Sequence[int] | range | None = None, region: tuple[int, int, int, int] | None = None
    ) -> TrackingData:
        """Some of the frames, or a region of them, with the positions in it.

        Args:
            frames: rising indices of the frames that stay, all by default.
            region: (top, bottom, left, right) in pixels, bottom and right not included.

        Returns:
            Frames numbered anew from 0, positions counted from the region's corner; the digest is the whole's.
        """
        points = None if self.points is None else part_of_points(self.points, frames, region)
        kept = range(len(self.source)) if frames is None else frames
        known = set(self.annotated)
        return replace(
            self,
            source=self.source.part(frames, region),
            points=points,
            linked=has_links(points),
            nuclei=None if self.nuclei is None else self.nuclei.part(frames, region),
            annotated=tuple(new for new, old in enumerate(kept) if old in known),
        )


def load(
    data_dir: str | Path,
    *,
    axes: str = "TYX",
    white_level: float = 0,
    sequence: str = "01",
    colour: str = "error",
    flatten_px: float = 0,
) -> TrackingData:
    """Opens a sequence and reads its positions; the frames themselves are read when they are needed.

    Args:
        data_dir: the folder, see this module's drawing.
        axes: the order of a stack's axes, as `open_frames`.
        white_level: the grey level that becomes 1, 0 to find it, as `FrameSource.scale`; not that of the nuclei.
        sequence: of a Cell Tracking Challenge folder, two digits.
        colour: "error" refuses frames whose channels differ, "mean" averages them.
        flatten_px: of the blur that frames are divided by (not the nuclei), see `light`; 0 leaves the light as it is.

    Returns:
        The data; `points` is None where there are none. In a Cell Tracking Challenge folder all frames are annotated.

    Raises:
        ParameterError: as `open_frames`.
        DataError: no folder, no images or two sets of them, two tables of positions, one frame only, nuclei that do
            not go with the frames, or as `open_frames`, `read_points` and `read_ctc`.
    """
    root = Path(data_dir)
    if not root.is_dir():
        raise DataError(f"data folder {root} is not there; expected a folder with images/ and points.csv")
    tables = [path for name in POINT_FILES for path in (root / name, root / f"{name}.gz") if path.is_file()]
    if len(tables) > 1:
        raise DataError(f"{root}: {tables[0].name} and {tables[1].name}; keep one table of positions")
    nuclei, known = None, tuple[int, ...]()
    images = _images(root)
    if images is None and sequences(root):
        source, points = read_ctc(root, sequence, axes, white_level, colour)
        _require_two(source, root)
        annotated = root / f"{str(sequence).zfill(2)}_GT" / "TRA"
        files = [*source.paths, *(path for path in annotated.glob("man_track*") if path.is_file())]
        known = () if points is None else tuple(range(len(source)))
    elif images is None:
        what = f"{tables[0].name} but no images" if tables else "no images"
        raise DataError(
            f"{root}: {what}; expected a folder images/ of PNG, TIFF or JPEG files, one per frame, a TIFF stack, an "
            "OME-Zarr, or a Cell Tracking Challenge folder (01/t000.tif ...)"
        )
    else:
        source = open_frames(images, axes, white_level, colour)
        source.name = root.name
        _require_two(source, root)
        points = read_points(tables[0], source) if tables else None
        nuclei = _nuclei(root / NUCLEI, axes, colour, source)
        files = [*source.paths, *tables, *(nuclei.paths if nuclei is not None else ())]
    digest, linked = tree_digest(files, root), has_links(points)
    return in_light(TrackingData(source, points, linked, source.name, digest, nuclei, known), white_level, flatten_px)


def in_light(data: TrackingData, white_level: float, flatten_px: float) -> TrackingData:
    """The same film under another white level, and in even light; its files are not read again.

    Args:
        data: As loaded without `flatten_px`.
        white_level: as `load`.
        flatten_px: as `load`.

    Raises:
        ParameterError: `white_level` or `flatten_px` is below 0.
    """
    if white_level < 0:
        raise ParameterError(f"white_level: expected a grey level above 0, or 0 to find it, given {white_level}")
    if flatten_px < 0:
        raise ParameterError(f"flatten_px: expected 0 or a blur's standard deviation in px, given {flatten_px}")
    source = data.source.at_white_level(white_level)
    return replace(data, source=EvenSource(source, flatten_px) if flatten_px else source)


def _require_two(source: FrameSource, root: Path) -> None:
    if len(source) < 2:
        raise DataError(f"{root}: one frame only, tracking needs two or more")


def _images(root: Path) -> Path | None:
    """What `open_frames` is to open; a folder named for images goes before images in the folder itself."""
    if root.suffix.lower() == ".zarr":
        return root
    named = [root / name for name in IMAGE_FOLDERS if (root / name).is_dir()]
    if len(named) > 1:
        raise DataError(f"{root}: {named[0].name}/ and {named[1].name}/; keep one folder of images")
    folder = named[0] if named else root
    stores = sorted(path for path in folder.glob("*.zarr") if path.is_dir())
    files = list_images(folder)
    if len(stores) + bool(files) > 1:
        raise DataError(f"{folder}: {stores[0].name} and other images; keep one sequence in a folder")
    if stores:
        return stores[0]
    return folder if files or named else None


def _nuclei(folder: Path, axes: str, colour: str, source: FrameSource) -> FrameSource | None:
    if not folder.is_dir():
        return None
    nuclei = open_frames(_images(folder) or folder, axes, 0, colour)
    nuclei.name = f"{source.name}, nuclei"
    if nuclei.shape != source.shape or nuclei.numbers != source.numbers:
        (h, w), (height, width) = nuclei.shape, source.shape
        raise DataError(
            f"{folder}: {len(nuclei)} frames of {w}x{h} pixels, numbers {nuclei.numbers[0]} to {nuclei.numbers[-1]}; "
            f"expected {len(source)} of {width}x{height}, {source.numbers[0]} to {source.numbers[-1]}, as the images"
        )
    return nuclei


def require_trainable(data: TrackingData) -> None:
    """Refuses data that a tracker cannot be trained on.

    Raises:
        DataError: no positions, or positions in fewer than two frames.
    """
    if data.points is None:
        raise DataError(
            f"{data.name}: images without positions can be tracked with trained weights (-p weights FOLDER) but not "
            f"trained on; add {POINT_FILES[0]} with the columns frame,x,y, or a nuclear stain of the same frames in "
            f"{NUCLEI}/"
        )
    if len(data.annotated) < 2:
        raise DataError(f"{data.name}: positions in one frame only, training needs them in two or more")


def check(
    data_dir: str | Path,
    *,
    axes: str = "TYX",
    white_level: float = 0,
    sequence: str = "01",
    colour: str = "error",
    flatten_px: float = 0,
) -> Iterator[str]:
    """Reads every frame of a data set and says what is there.

    Args:
        data_dir: as `load`.
        axes: as `load`.
        white_level: as `load`.
        sequence: as `load`.
        colour: as `load`.
        flatten_px: as `load`; what is said of grey levels is said of the frames as they are.

    Yields:
        Lines for people.

    Raises:
        ParameterError: as `load`.
        DataError: as `load`; broken frames, up to ten named at once.
    """
    from cellweak_core.tracking.reports import lines

    data = load(
        data_dir, axes=axes, white_level=white_level, sequence=sequence, colour=colour, flatten_px=flatten_px
    )
    yield from lines(data)
