"""The order of a stack's axes: stated by a person, checked against what the file says and against the pixels.

A stack (Y, X, T) read as (T, Y, X) gives frames that are slices through time, and a tracker that learns nonsense
without an error. So the order is never guessed: the option is compared with the file's own axes where it has them
(OME, ImageJ, OME-Zarr), and with the pixels where it has none, because within a frame neighbours along x differ as
much as neighbours along y, and from frame to frame they differ otherwise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from cellweak_core.files import DataError
from cellweak_core.images import Colour, one_channel
from cellweak_core.parameter_cells import ParameterError

FRAME = "YX"
MOST_UNEQUAL = 4.0  # sides of a frame: a longer one is taken for an axis of time that slipped in
LEAST_SIDE_PX = 16  # the networks halve a frame four times
DIFFERENT = 2.0  # ratio of mean squared differences along y and x from which a plane is no frame


def parse_axes(axes: str) -> str:
    """The letters of an option `axes`, in capitals.

    Raises:
        ParameterError: not T, Y and X once each, with at most one C.
    """
    letters = str(axes).strip().upper()
    if sorted(letters.replace("C", "", 1)) != ["T", "X", "Y"]:
        raise ParameterError(
            f"axes: expected T (time), Y (rows) and X (columns) once each, and C for colour channels if there are "
            f"any, such as TYX, YXT or TYXC; given {axes!r}"
        )
    return letters


def resolve(where: str, shape: Sequence[int], axes: str, stated: str) -> tuple[str, bool]:
    """One letter for each axis of an array.

    Args:
        where: names the file in errors.
        shape: of the array.
        axes: the option, as `parse_axes` returns it.
        stated: what the file says, one letter for each axis; letters other than T, Z, C, Y, X mean that it does not.

    Returns:
        letters: of T, C, Y, X and Z, one for each axis; what is not T, Y, X or C has length 1.
        known: whether the file says so; where it does not, the letters are the option's.

    Raises:
        DataError: no axis of time, a depth beside time, another number of axes, or an order that the file contradicts.
    """
    says, stated = stated.upper(), stated.upper().replace("S", "C")
    sizes = "x".join(map(str, shape))
    long = [letter for letter, n in zip(stated, shape, strict=True) if n > 1 or letter in FRAME]
    if all(letter in "TZCYX" for letter in long) and {"Y", "X"} <= set(long):
        if "Z" in long and "T" in long:
            raise DataError(f"{where}: axes {says} of {sizes} have depth and time; project the depth (Z) first.")
        # time-lapses are often saved as if they were depth, since older programs know no other stack
        stated = stated.replace("T", "?").replace("Z", "T") if "Z" in long else stated
        order = [letter.replace("Z", "T") for letter in long if letter != "C"]
        if "T" not in order:
            raise DataError(f"{where}: axes {says} of {sizes}: one frame only, tracking needs two or more.")
        if order != [letter for letter in axes if letter != "C"]:
            raise DataError(
                f"{where}: the file says that its axes are {says} ({sizes}), and axes is {axes}; "
                f"give -p axes {''.join(order)}"
            )
        return stated, True
    if len(shape) == len(axes) + 1 and "C" not in axes and shape[-1] in (2, 3, 4):
        return axes + "C", False
    if len(shape) < 3:
        raise DataError(f"{where}: one frame only ({sizes}), tracking needs two or more.")
    if len(shape) != len(axes):
        raise DataError(
            f"{where}: {len(shape)} axes ({sizes}), and axes is {axes}; give -p axes with one letter for each, of T, "
            "Y, X and C, or save one grey plane for each time"
        )
    return axes, False


def refuse_implausible(where: str, shape: Sequence[int], letters: str, block: np.ndarray) -> None:
    """Refuses an order of axes that the file does not state and that does not look like frames over time.

    Args:
        where: names the file in errors.
        shape: of the array.
        letters: its axes, as `resolve` returns them.
        block: part of the array, all its axes, such as 32 along each of T, Y and X.

    Raises:
        DataError: frames longer than four times their breadth or narrower than 16 px, or whose neighbours along y
            and x differ unlike, where another order has neither; it names that order.
    """
    size = dict(zip(letters, shape, strict=True))
    apart = {axis: _difference(block, letters.index(axis)) for axis in "TYX"}

    def narrow(one: str, other: str) -> bool:
        small, large = sorted((size[one], size[other]))
        return small < LEAST_SIDE_PX or large > MOST_UNEQUAL * small

    def unlike(one: str, other: str) -> float:
        return abs(math.log(apart[one] / apart[other]))

    pairs = list(itertools.combinations((a for a in letters if a in "TYX"), 2))
    best = min(pairs, key=lambda pair: (narrow(*pair), unlike(*pair)))
    given = unlike(*FRAME)
    if set(best) == set(FRAME) or narrow(*best):
        return
    by_pixels = given > math.log(DIFFERENT) and unlike(*best) < given / 3
    if not (narrow(*FRAME) or by_pixels):
        return
    time = next(a for a in "TYX" if a not in best)
    frame = iter(FRAME)
    better = "".join("T" if a == time else next(frame) if a in best else a for a in letters)
    raise DataError(
        f"{where}: as {letters} it holds {size['T']} frames of {size['X']}x{size['Y']} pixels (X x Y), which do not "
        f"look like frames, and it does not say itself what its axes are. It looks like {better}: give -p axes "
        f"{better.replace('C', '') if 'C' not in letters else better}. If the order is right, save it with its axes "
        '(tifffile.imwrite(path, frames, imagej=True, metadata={"axes": "TYX"})) or as one file per frame'
    )


def to_plane(pixels: np.ndarray, letters: str, where: str, colour: Colour) -> np.ndarray:
    """One frame's pixels as a grey plane.

    Args:
        pixels: as stored; axes of length 1 in front are dropped.
        letters: of its axes, Y, X and perhaps C; without a C a last axis of 2 to 4 is taken for colour. Only where C
            is the last axis can a second or fourth channel be transparency.
        where: names the frame in errors.
        colour: what to do with channels that differ.

    Returns:
        (Y, X): uint8, uint16, bool or floating point.

    Raises:
        DataError: other axes, channels that differ, or integers beyond 16 bits.
    """
    while pixels.ndim > len(letters) and pixels.shape[0] == 1:
        pixels = pixels[0]
    if "C" in letters and pixels.ndim == 2:  # a grey file among those announced as colour
        letters = letters.replace("C", "")
    if "C" not in letters and pixels.ndim == 3 and pixels.shape[-1] in (2, 3, 4):
        letters += "C"
    if pixels.ndim != len(letters):
        raise DataError(
            f"{where}: shape {pixels.shape}, expected one plane ({', '.join(letters)}); a stack is one file alone, "
            "with all times in it"
        )
    planes = "C" in letters and not letters.endswith("C")  # a microscope's channels, none of them transparency
    order = [letters.index(axis) for axis in (FRAME + "C" if "C" in letters else FRAME)]
    image = pixels.transpose(order)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim == 3 and image.shape[-1] not in (2, 3, 4):
        raise DataError(f"{where}: {image.shape[-1]} channels, expected one; save the channel to be tracked by itself.")
    image = one_channel(image, where, colour, transparency=not planes)
    if image.dtype.kind in "iu" and image.dtype not in (np.uint8, np.uint16):
        low, high = int(image.min()), int(image.max())
        if low < 0 or high > 65535:
            raise DataError(f"{where}: whole numbers {low} to {high}, expected 0 to 65535; save it as 16-bit.")
        image = image.astype(np.uint16)
    if image.dtype not in (np.uint8, np.uint16, np.bool_) and image.dtype.kind != "f":
        raise DataError(f"{where}: pixels of type {image.dtype}, expected 8-bit, 16-bit or floating point.")
    return np.ascontiguousarray(image, image.dtype.newbyteorder("="))


def _difference(block: np.ndarray, axis: int) -> float:
    """Mean squared difference of neighbours along an axis, never zero."""
    if block.shape[axis] < 2:
        return np.finfo(float).tiny
    return float(np.square(np.diff(block.astype(float), axis=axis)).mean()) + 1e-12
