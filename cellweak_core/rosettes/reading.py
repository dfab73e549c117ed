"""Reading the image files of a rosette data set, quickly and with errors that name the files."""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cellweak_core.files import DataError
from cellweak_core.images import Colour, Window, decode_grey
from cellweak_core.rosettes.layouts import Entry

MOST_REPORTED = 10  # broken files named in one error


def read_entries(
    entries: list[Entry], colour: Colour, window: Window | None, n_threads: int
) -> tuple[np.ndarray, list[str]]:
    """Reads image files of one size, in threads; each file is read once, for its pixels and its checksum.

    Args:
        entries: the files.
        colour: as `cellweak_core.images.read_grey`.
        window: (lo, hi) mapped to 0..255, or None.
        n_threads: readers.

    Returns:
        images: uint8 (N, H, W).
        hashes: SHA-256 of each file.

    Raises:
        DataError: naming up to ten files that are broken, in colour, of 16 bits, or not of the commonest size.
    """

    def one(entry: Entry) -> tuple[np.ndarray | None, str, str]:
        try:
            content = entry.path.read_bytes()
            image = decode_grey(content, entry.path, colour=colour, intensity_window=window)
        except DataError as error:
            return None, "", str(error)
        except OSError as error:
            return None, "", f"{entry.path}: cannot be read ({error.strerror}); check its permissions."
        if image.dtype != np.uint8:
            found = f"{entry.path}: a 16-bit image; give the values that become black and white, such as "
            return None, "", found + '-p intensity_window "[2500, 4200]", which made the released images.'
        return image, hashlib.sha256(content).hexdigest(), ""

    images: np.ndarray | None = None
    hashes: list[str] = []
    shapes: list[tuple[int, ...]] = []
    read: list[Path] = []
    wrong: list[str] = []
    with ThreadPoolExecutor(max(1, n_threads)) as pool:
        for i, (image, digest, error) in enumerate(pool.map(one, entries, chunksize=64)):
            if image is None:
                wrong.append(error)
                continue
            if images is None:
                images = np.zeros((len(entries), *image.shape), np.uint8)
            if image.shape == images.shape[1:]:
                images[i] = image
            shapes.append(image.shape)
            read.append(entries[i].path)
            hashes.append(digest)
    counts = Counter(shapes)
    if len(counts) > 1:
        (h0, w0), n = counts.most_common(1)[0]
        wrong += [
            f"{path}: {w}x{h} pixels, where {n} of {len(shapes)} images have {w0}x{h0}; crop or pad it to that size."
            for path, (h, w) in zip(read, shapes, strict=True)
            if (h, w) != (h0, w0)
        ]
    if wrong:
        more = f"\n... and {len(wrong) - MOST_REPORTED} more" if len(wrong) > MOST_REPORTED else ""
        raise DataError("\n".join(wrong[:MOST_REPORTED]) + more)
    assert images is not None
    return images, hashes


def tree_digest(entries: list[Entry], hashes: list[str]) -> str:
    """As `files.tree_digest`, from hashes taken while the files were read."""
    lines = sorted(f"{e.file}\0{h}\n" for e, h in zip(entries, hashes, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
