"""What the rosettes chapter needs of a data set, said before anything trains.

```
sizes    square, side a multiple of 32 (the weak networks halve an image five times); ready windows 32x32
splits   two days or more: every day is the test once      day 1 | day 2 | day 3      both classes on both sides
         one day only: folds of whole embryos              e1 e4 | e2 e3              both classes on both sides
```
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from cellweak_core.files import DataError
from cellweak_core.images import Window
from cellweak_core.parameter_cells import ParameterError
from cellweak_core.rosettes.splits import embryo_folds

if TYPE_CHECKING:
    from cellweak_core.rosettes.data import RosetteData

SIDE_PX = 32  # of a window, and the step between usable sides: five convolutions of stride 2
FEWEST_EMBRYOS = 4  # where there is one day only
FEWEST_FOLDS = 2


def intensity_window_of(values: Sequence[float] | None) -> Window | None:
    """The parameter `intensity_window` as (lo, hi), or None for an empty list.

    Raises:
        ParameterError: not two numbers, the lower one first.
    """
    if values is None or len(values) == 0:
        return None
    if len(values) != 2 or not values[0] < values[1]:
        raise ParameterError(
            f"intensity_window: expected two grey levels, the black one below the white one, given {list(values)}; "
            'write -p intensity_window "[2500, 4200]"'
        )
    return float(values[0]), float(values[1])


def require_usable(data: RosetteData, test_days: Sequence[str] = (), test_day: str = "") -> list[str]:
    """Checks that the chapter can use a data set, its setting (b) included; looks at no pixel.

    Args:
        data: read or simulated.
        test_days: days that are tested in setting (b); empty: every labelled day.
        test_day: the one of setting (a); empty: the last of these.

    Returns:
        Lines for people: how the images will be split.

    Raises:
        DataError: naming every requirement that is not met, what was found, and what to do.
    """
    labelled = data.table[data.table["target"] >= 0]
    if labelled.empty:
        raise DataError(f"{data.name}: no labelled images; expected one sub-folder of images per class")
    days = sorted(set(labelled["day"]))
    wrong = _sizes(data)
    if unknown := sorted(set(test_days) - set(days)):
        wrong.append(f"test_days: no labelled image of {', '.join(unknown)}; the days are {', '.join(days)}")
    elif len(days) > 1:
        wrong += _days(data, labelled, list(dict.fromkeys(test_days)) or days, test_day)
    else:
        wrong += _embryos(data, labelled)
    if wrong:
        raise DataError("\n".join(wrong))
    if len(days) > 1:
        return [f"splits: by day; tested: {', '.join(dict.fromkeys(test_days or days))}"]
    return [f"splits: one day only, so by embryo, of which there are {labelled['group'].nunique()}"]


def _sizes(data: RosetteData) -> list[str]:
    wrong = []
    height, width = data.images.shape[1:]
    if height != width or height % SIDE_PX or not height:
        pad = -(-max(height, width, 1) // SIDE_PX) * SIDE_PX
        crop = min(height, width) // SIDE_PX * SIDE_PX
        fix = f"crop them to {crop}x{crop} or pad them to {pad}x{pad}" if crop else f"pad them to {pad}x{pad}"
        wrong.append(
            f"{data.name}: the images, such as {data.table['file'].iat[0]}, have {width}x{height} pixels; expected "
            f"square images whose side is a multiple of {SIDE_PX}: {fix}"
        )
    if data.windows is not None and data.windows.images.shape[1:] != (SIDE_PX, SIDE_PX):
        height, width = data.windows.images.shape[1:]
        wrong.append(
            f"{data.name}: the images in windows/ have {width}x{height} pixels, expected {SIDE_PX}x{SIDE_PX}: crop "
            "them, or rename the folder to leave them out"
        )
    return wrong


def _lacking(target: Collection[int], positive_class: str) -> str:
    """What is missing for both classes to be there."""
    present = set(target)
    names = {1: f"image of class {positive_class}", 0: "image of another class"}
    return " and no ".join(name for value, name in names.items() if value not in present)


def _days(data: RosetteData, labelled: pd.DataFrame, tested: Sequence[str], test_day: str) -> list[str]:
    """What keeps some day from being the test; of the windows, what keeps setting (a)'s day from it."""
    if test_day and test_day not in tested:
        return [f"test_day: {test_day!r} is not among the days that are tested, {', '.join(tested)}"]
    wrong, good = [], []
    for day in tested:
        on_day = labelled["day"] == day
        test = _lacking(labelled["target"][on_day], data.positive_class)
        train = _lacking(labelled["target"][~on_day], data.positive_class)
        if test:
            wrong.append(f"{data.name}: day {day} has no {test}, so that it cannot be a test day")
        if train:
            wrong.append(f"{data.name}: without day {day} there is no {train} to train on")
        if not (test or train):
            good.append(day)
    if wrong:
        listed = ", ".join(f'"{day}"' for day in good)
        instead = f", or test the other days only: -p test_days '[{listed}]'" if good else ""
        wrong[-1] += f"; expected both classes on every test day and outside of it: label images of more days{instead}"
    elif data.windows is not None:
        table, day = data.windows.table, test_day or tested[-1]
        on_day = table["day"] == day
        for rows, where in ((on_day, f"of day {day}, the test day"), (~on_day, f"of days other than {day}")):
            if lacking := _lacking(table["target"][rows], data.positive_class):
                wrong.append(
                    f"{data.name}: among the windows {where}, there is no {lacking}; "
                    "add some, or rename the folder windows/ to leave them out"
                )
    return wrong


def _embryos(data: RosetteData, labelled: pd.DataFrame) -> list[str]:
    """What keeps images of one day from being split by embryo."""
    day, embryos = labelled["day"].iat[0], labelled["group"].nunique()
    found = f"{data.name}: every labelled image is of day {day}"
    fix = "label images of a second day, or name each image's embryo: emb<k> in the file name or groups.csv"
    if embryos < FEWEST_EMBRYOS:
        expected = f"expected two days, or at least {FEWEST_EMBRYOS} embryos"
        return [f"{found}, with {embryos} embryo{'s' * (embryos != 1)}; {expected}: {fix}"]
    try:
        embryo_folds(labelled, FEWEST_FOLDS, 0)
    except DataError as error:
        return [f"{found}, and {error}"]
    return []
