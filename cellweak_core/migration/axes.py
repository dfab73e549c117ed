"""The axes of a film, or of one of its frames: stated by the file or a person, or plain from the shape.

    (T, H, W)   (T, C, H, W)   (T, H, W, C)     a stack        TYX   TCYX   TYXC
    (H, W)      (C, H, W)      (H, W, C)        a frame         YX    CYX    YXC

A stack (H, W, T) read as (T, H, W) gives frames that are slices through time, and a network that learns nonsense
without an error. So the order that a file states counts, and is compared with the one that a person states; where
nobody states any, the shape decides if only one reading is possible and its frames look like frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..files import DataError
from ..parameter_cells import ParameterError

MOST_CHANNELS = 8  # an axis longer than this is not one of channels
LEAST_SIDE_PX = 16  # of a frame
MOST_UNEQUAL = 4  # sides of a frame: a longer one is taken for an axis of time that slipped in
READINGS = {2: ("YX",), 3: ("TYX",), 4: ("TCYX", "TYXC")}
FRAME_READINGS = {2: ("YX",), 3: ("CYX", "YXC")}


def parse_axes(axes: str) -> str:
    """The letters of an option `axes`, in capitals, with Y and X for height and width; "" stays "".

    >>> parse_axes("tchw")
    'TCYX'

    Raises:
        ParameterError: Not T, Y and X once each with at most one C.
    """
    letters = str(axes).strip().upper().replace("H", "Y").replace("W", "X")
    if letters and sorted(letters.replace("C", "", 1)) != ["T", "X", "Y"]:
        raise ParameterError(
            f"axes: expected T (time), Y (rows) and X (columns) once each and C where there are channels, such as TYX, "
            f"TCYX or TYXC, or nothing where the files say it; given {axes!r}"
        )
    return letters


def resolve(where: str, shape: Sequence[int], stated: str, axes: str, n_channels: int, one_frame: bool = False) -> str:
    """One letter for each axis of an array.

    Args:
        where: Names the file in errors.
        shape: Of the array.
        stated: What the file says, a letter for each axis; letters other than T, Z, C, S, Y, X mean that it does not.
        axes: What the person says, of `parse_axes`; "" for nothing.
        n_channels: How many channels have names; 0 where none have.
        one_frame: The array is one frame, without time.

    Returns:
        Letters T, C, Y, X, each once at most, and "1" for an axis of length 1 that is none of them.

    Raises:
        DataError: Axes that contradict the person's, depth beside time, or a shape that can be read in several ways.
    """
    sizes = "x".join(map(str, shape))
    asked = axes.replace("T", "") if one_frame else axes
    known = _stated(where, shape, stated.upper(), sizes)
    if one_frame and "T" in known:
        raise DataError(f"{where}: axes {stated.upper()} ({sizes}), expected one frame; a stack is a film alone")
    if known:
        order = [letter for letter in known if letter != "1"]
        if asked and order != [letter for letter in asked if letter in order]:
            raise DataError(
                f"{where}: the file says that its axes are {stated.upper()} ({sizes}), and axes is {axes}; give "
                f"-p axes {''.join(order) if 'T' in order else 'T' + ''.join(order)}, or save the file with its axes"
            )
        return known
    if asked:
        if len(asked) != len(shape):
            raise DataError(
                f"{where}: {len(shape)} axes ({sizes}), and axes is {axes}{', T being the files' if one_frame else ''};"
                " give -p axes with a letter for each axis"
            )
        return asked
    return _by_shape(where, shape, sizes, n_channels, FRAME_READINGS if one_frame else READINGS)


def _stated(where: str, shape: Sequence[int], stated: str, sizes: str) -> str:
    """The file's own axes in our letters, or "" where it has none."""
    letters = stated.replace("S", "C")
    long = [letter for letter, n in zip(letters, shape, strict=True) if n > 1 or letter in "YX"]
    if not (set(long) <= set("TZCYX") and {"Y", "X"} <= set(long)):
        return ""
    if "Z" in long and "T" in long:
        raise DataError(f"{where}: axes {stated} ({sizes}) have depth and time; project the depth (Z) first")
    if len(set(long)) < len(long):
        raise DataError(f"{where}: axes {stated} ({sizes}) have channels twice; save one axis of channels")
    # time-lapses are often saved as if they were depth, since older programs know no other stack
    time = "Z" if "Z" in long else "T"
    return "".join(
        "1" if n == 1 and letter not in "YX" else "T" if letter == time else letter
        for letter, n in zip(letters, shape, strict=True)
    )


def _by_shape(
    where: str, shape: Sequence[int], sizes: str, n_channels: int, readings: dict[int, tuple[str, ...]]
) -> str:
    def fits(letters: str) -> bool:
        size = dict(zip(letters, shape, strict=True))
        return "C" not in size or (size["C"] == n_channels if n_channels else size["C"] <= MOST_CHANNELS)

    found = [letters for letters in readings.get(len(shape), ()) if fits(letters)]
    if len(found) != 1:
        several = f"can be {' or '.join(found)}" if found else "cannot be read as frames over time"
        raise DataError(
            f"{where}: {sizes} pixels {several}, and the file does not state its axes; give -p axes, such as TYX, TCYX "
            "or TYXC (C: channels)"
        )
    size = dict(zip(found[0], shape, strict=True))
    small, large = sorted((size["Y"], size["X"]))
    if small < LEAST_SIDE_PX or large > MOST_UNEQUAL * small:
        raise DataError(
            f"{where}: as {found[0]} it has frames of {size['X']}x{size['Y']} pixels (X x Y), which do not look like "
            "frames, and it does not state its axes; give -p axes, of which T is time and C channels"
        )
    return found[0]


def to_chw(pixels: NDArray[np.generic], letters: str, where: str) -> NDArray[np.generic]:
    """A frame as `(C, H, W)` of uint8, uint16 or floating point.

    Args:
        pixels: All its axes.
        letters: Of `resolve`, without T.
        where: Names the frame in errors.

    Raises:
        DataError: Pixels of another type, or that are not numbers.
    """
    frame = pixels[tuple(0 if letter == "1" else slice(None) for letter in letters)]
    kept = letters.replace("1", "")
    frame = frame.transpose([kept.index(letter) for letter in ("CYX" if "C" in kept else "YX")])
    frame = frame if "C" in kept else frame[None]
    if frame.dtype == bool:
        frame = frame.astype(np.uint8) * np.uint8(255)
    if frame.dtype.kind != "f" and frame.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise DataError(f"{where}: pixels of type {frame.dtype}, expected 8-bit, 16-bit or floating point; save it so")
    if frame.dtype.kind == "f" and not np.isfinite(frame).all():
        channel, y, x = np.argwhere(~np.isfinite(frame))[0].tolist()
        raise DataError(
            f"{where}: a pixel that is not a number at x {x}, y {y} (channel {channel}); replace NaN and infinity by a "
            "grey level, such as that of the background"
        )
    return np.array(frame, frame.dtype.newbyteorder("="), order="C")
