"""The rosette images: reading, checking and splitting them.

```
folder --layouts.find--> entries --load--> RosetteData(images (N, H, W) uint8, table) --split_by_day--> indices
                                                       simulate.simulate ---^
```

The images of one embryo are near-duplicates over neighbouring minutes and slices, so every split here keeps an
embryo (or a whole day) on one side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from cellweak_core.files import DataError
from cellweak_core.images import Colour
from cellweak_core.parameter_cells import ParameterError
from cellweak_core.rosettes import layouts
from cellweak_core.rosettes.checks import intensity_window_of, require_usable
from cellweak_core.rosettes.reading import read_entries, tree_digest
from cellweak_core.rosettes.splits import embryo_folds, split_by_day, split_by_embryo, subset

__all__ = [
    "RosetteData",
    "check",
    "crop_windows",
    "duplicates_of_labelled",
    "embryo_folds",
    "load",
    "require_usable",
    "split_by_day",
    "split_by_embryo",
    "subset",
]

COLUMNS = ("file", "label", "target", "split", "day", "embryo", "minute", "slice", "group")


@dataclass(frozen=True)
class RosetteData:
    """Images with what is known of each; one row of `table` per image.

    Attributes:
        images: uint8 (N, H, W).
        table: columns file, label ("" unlabelled), target (1 rosette, 0 other, -1 unlabelled), split (the authors'
            "train" or "test", or ""), day, embryo (unique over days), minute, slice (nan if unknown), group (= embryo).
        positive_class: the label that means rosette.
        name: of the data set, as it stands in tables of results.
        digest: SHA-256 over the files' names and contents.
        windows: ready small windows with labels of their own, or None.
        raw: the images before denoising, uint16 (N, H, W); simulated data only.
        truth: per image the rosette centres, float (k, 2) as (x, y) in pixels; simulated data only.
        cells: per image the number of cells that meet at each centre, int (k,); simulated data only.
        mesh: which cell each pixel belongs to, int16 (N, H, W), -1 outside the embryo; simulated data only.
    """

    images: np.ndarray
    table: pd.DataFrame
    positive_class: str
    name: str
    digest: str
    windows: RosetteData | None = None
    raw: np.ndarray | None = field(default=None, repr=False)
    truth: list[np.ndarray] | None = field(default=None, repr=False)
    cells: list[np.ndarray] | None = field(default=None, repr=False)
    mesh: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Checks that there is one row per image."""
        if self.images.ndim != 3 or len(self.images) != len(self.table):
            raise ValueError(
                f"images {self.images.shape} and table of {len(self.table)} rows: expected (N, H, W) and N."
            )

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    def take(self, indices: Sequence[int] | np.ndarray) -> RosetteData:
        """The images at these positions, in this order, with all that is known of them."""
        at = np.asarray(indices, int)
        pick = at.tolist()
        return replace(
            self,
            images=self.images[at],
            table=self.table.iloc[at].reset_index(drop=True),
            raw=None if self.raw is None else self.raw[at],
            truth=None if self.truth is None else [self.truth[i] for i in pick],
            cells=None if self.cells is None else [self.cells[i] for i in pick],
            mesh=None if self.mesh is None else self.mesh[at],
        )

    def labelled(self) -> RosetteData:
        """The images that have a label."""
        return self.take(np.flatnonzero(self.table["target"].to_numpy() >= 0))

    def unlabelled_images(
        self,
        n: int | None = None,
        seed: int = 0,
        *,
        exclude_days: Collection[str] = (),
        exclude_groups: Collection[str] = (),
        with_labelled: bool = False,
    ) -> np.ndarray:
        """Images for training without labels, in random order.

        The labelled images of Wang et al. are pixel copies of unlabelled ones (`duplicates_of_labelled`), so an
        unsupervised start sees the test images unless their days are left out.

        Args:
            n: at most this many, all by default.
            seed: of the order.
            exclude_days: leave these days out, and the images whose day is unknown.
            exclude_groups: leave these embryos out, and the images whose embryo is unknown.
            with_labelled: take the labelled images too, for sets whose labelled images are no copies of others.

        Returns:
            uint8 (n, H, W); the labelled images where there are no unlabelled ones.
        """
        unlabelled = self.table["target"] < 0
        rows = self.table if with_labelled or not unlabelled.any() else self.table[unlabelled]
        keep = np.ones(len(rows), bool)
        if exclude_days:
            keep &= ~rows["day"].isin([*exclude_days, ""]).to_numpy()
        if exclude_groups:
            keep &= ~(rows["group"].isin(list(exclude_groups)) | rows["group"].str.endswith(layouts.UNKNOWN)).to_numpy()
        at = rows.index.to_numpy()[keep]
        if not len(at):
            raise DataError(
                f"{self.name}: no image is left without the days {list(exclude_days)} and the excluded embryos."
            )
        return self.images[np.random.default_rng(seed).permutation(at)[:n]]


def load(
    data_dir: str | Path,
    *,
    positive_class: str = "rosette",
    max_unlabelled: int | None = None,
    seed: int = 0,
    colour: Colour = "error",
    intensity_window: Sequence[float] | None = None,
    n_threads: int = 4,
) -> RosetteData:
    """Reads a rosette data set: the authors' repository, or any folder with a sub-folder of images per class.

    Args:
        data_dir: the folder; `cellweak_core.rosettes.layouts` draws both layouts and the pattern of file names.
        positive_class: the class that means rosette; all others together are the negatives.
        max_unlabelled: at most this many unlabelled images, spread evenly over embryos; all by default.
        seed: of that choice.
        colour: "error" refuses images whose channels differ, "mean" averages them.
        intensity_window: (lo, hi) mapped to 0..255, needed for 16-bit images; None or empty for 8-bit ones.
        n_threads: readers.

    Returns:
        The images, labelled ones first.

    Raises:
        ParameterError: `colour` or `intensity_window` are neither of these.
        DataError: folder missing or without images, fewer than two classes, no class of that name, images of several
            sizes, in colour, of 16 bits or broken (up to ten are named), names without a day and no groups.csv, a
            groups.csv with wrong columns, files that do not exist or lie outside the folder.
    """
    root, window = Path(data_dir), intensity_window_of(intensity_window)
    if colour not in ("error", "mean"):
        raise ParameterError(f"colour: expected error or mean, given {colour!r}; write -p colour mean")
    layout = layouts.find(root)
    labels = sorted({entry.label for entry in layout.images if entry.label})
    if len(labels) < 2:
        what = f"one class only, {labels[0]!r}" if labels else "no labelled images"
        raise DataError(f"{root}: {what}; expected two sub-folders of images or more, such as rosette/ and other/.")
    if positive_class not in labels:
        close = get_close_matches(positive_class, labels, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise DataError(
            f"{root}: no class {positive_class!r}; give -p positive_class NAME, one of {', '.join(labels)}{hint}"
        )
    entries = [e for e in layout.images if e.label] + _spread(
        [e for e in layout.images if not e.label], max_unlabelled, seed
    )
    images, hashes = read_entries(entries, colour, window, n_threads)
    windows = None
    if layout.windows:
        crops, crop_hashes = read_entries(layout.windows, colour, window, n_threads)
        window_labels = {entry.label for entry in layout.windows}
        if positive_class not in window_labels or len(window_labels) < 2:
            raise DataError(
                f"{root / 'windows'}: classes {sorted(window_labels)}, expected {positive_class!r} and another class."
            )
        windows = RosetteData(
            crops,
            _table(layout.windows, positive_class),
            positive_class,
            f"{layout.name}, windows",
            tree_digest(layout.windows, crop_hashes),
        )
    return RosetteData(
        images, _table(entries, positive_class), positive_class, layout.name, tree_digest(entries, hashes), windows
    )


def check(
    data_dir: str | Path,
    *,
    positive_class: str = "rosette",
    colour: Colour = "error",
    intensity_window: Sequence[float] | None = None,
    test_days: Sequence[str] = (),
    test_day: str = "",
) -> list[str]:
    """Reads every image of a data set, says what is there, and checks that the chapter can use it.

    Args:
        data_dir: as for `load`.
        positive_class: as for `load`.
        colour: as for `load`.
        intensity_window: as for `load`.
        test_days: as for `require_usable`.
        test_day: as for `require_usable`.

    Returns:
        Lines for people.

    Raises:
        ParameterError: as `load`.
        DataError: as `load`, up to ten broken files named at once; as `require_usable`.
    """
    data = load(data_dir, positive_class=positive_class, colour=colour, intensity_window=intensity_window)
    splits = require_usable(data, test_days, test_day)
    table, (h, w) = data.table, data.images.shape[1:]
    labelled = table[table["target"] >= 0]
    counts = labelled["label"].value_counts()
    lines = [
        f"{data.name}: {len(labelled)} labelled and {len(table) - len(labelled)} unlabelled images of {w}x{h} pixels",
        "classes: " + ", ".join(f"{k} {v}" + (" (positive)" if k == positive_class else "") for k, v in counts.items()),
        f"majority rate: {max(p := float((labelled['target'] == 1).mean()), 1 - p):.3f}",
    ]
    for day, rows in labelled.groupby("day"):
        positives = int((rows["target"] == 1).sum())
        lines.append(
            f"day {day}: {rows['group'].nunique()} embryos, {positives} positive and {len(rows) - positives} other"
        )
    if data.windows is not None:
        lines.append(
            f"windows: {len(data.windows)} of {data.windows.images.shape[2]}x{data.windows.images.shape[1]} pixels"
        )
    copies = duplicates_of_labelled(data)
    if len(copies):
        lines.append(
            f"{copies['labelled_file'].nunique()} labelled images are pixel copies of unlabelled ones: "
            "leave the test days out of training without labels (exclude_days)"
        )
    return [*lines, *splits, f"digest {data.digest}"]


def _spread(entries: list[layouts.Entry], most: int | None, seed: int) -> list[layouts.Entry]:
    """At most so many entries, as evenly over embryos as there are images: one from each in turn, at random."""
    if most is None or len(entries) <= most:
        return entries
    order = np.random.default_rng(seed).permutation(len(entries))
    turn: dict[str, int] = {}
    ranked: list[tuple[int, int, int]] = []
    for i in order.tolist():
        turn[entries[i].embryo] = turn.get(entries[i].embryo, 0) + 1
        ranked.append((turn[entries[i].embryo], len(ranked), i))
    return [entries[i] for i in sorted(i for *_, i in sorted(ranked)[:most])]


def _table(entries: list[layouts.Entry], positive_class: str) -> pd.DataFrame:
    table = pd.DataFrame(
        [(e.file, e.label, e.split, e.day, e.embryo, e.minute, e.slice) for e in entries],
        columns=["file", "label", "split", "day", "embryo", "minute", "slice"],
    )
    table["target"] = np.where(table["label"] == "", -1, table["label"] == positive_class).astype(int)
    table["group"] = table["embryo"]
    return table[list(COLUMNS)]


def duplicates_of_labelled(data: RosetteData) -> pd.DataFrame:
    """Unlabelled images that are pixel for pixel a labelled one.

    Returns:
        One row per pair: labelled_file, unlabelled_file, label, day.
    """
    target = data.table["target"].to_numpy()
    by_content: dict[bytes, list[int]] = {}
    for i in np.flatnonzero(target < 0).tolist():
        by_content.setdefault(_content(data.images[i]), []).append(i)
    table = data.table
    rows = [
        (table["file"].iat[i], table["file"].iat[j], table["label"].iat[i], table["day"].iat[i])
        for i in np.flatnonzero(target >= 0).tolist()
        for j in by_content.get(_content(data.images[i]), [])
    ]
    return pd.DataFrame(rows, columns=["labelled_file", "unlabelled_file", "label", "day"])


def _content(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def crop_windows(images: np.ndarray, corners: np.ndarray, size: int) -> np.ndarray:
    """Cuts square windows.

    Args:
        images: (N, H, W).
        corners: int (K, 3): which image, x and y of the upper left pixel.
        size: of the window's side, pixels.

    Returns:
        (K, size, size), the images' type.
    """
    images, corners = np.asarray(images), np.asarray(corners, int).reshape(-1, 3)
    n, h, w = images.shape
    low, high = np.zeros(3, int), np.array([n - 1, w - size, h - size])
    outside = ((corners < low) | (corners > high)).any(1)
    if outside.any():
        raise ValueError(
            f"corners: {corners[outside][0].tolist()} (image, x, y) with size {size} leaves the images {images.shape}."
        )
    if not len(corners):
        return np.zeros((0, size, size), images.dtype)
    every = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    return every[corners[:, 0], corners[:, 2], corners[:, 1]].copy()
