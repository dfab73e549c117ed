"""What is trained on and what is tested: never the same pixels, and but for `frames` never the same cells.

    simulated   train BMP2            test BMP2 sparse, medium, dense, Control, FGF2, FGF2+BMP2   (the paper's columns)
    realistic   train phase + nuclei  test phase only                                             (Table 5)
    stained     the same of a real sequence with a nuclear stain
    columns     train left | margin | test right, and the other way round                         (one real sequence)
    frames      train the first frames, test the others
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..files import DataError
from .data import NUCLEI, TrackingData
from .nuclei import nuclei_points
from .simulate import simulate

SPLITS = ("columns", "frames")
TRAINING_CONDITION = "BMP2"
# Nishimura 2020, Tables 2 to 4: condition, and cells relative to the condition's usual number.
TESTS = {
    "BMP2 sparse": ("BMP2", 0.6),
    "BMP2 medium": ("BMP2", 1.0),
    "BMP2 dense": ("BMP2", 1.6),
    "Control": ("Control", 1.0),
    "FGF2": ("FGF2", 1.0),
    "FGF2+BMP2": ("FGF2+BMP2", 1.0),
}
# Cells of the other conditions per cell of BMP2, as in the simulator's densities but less far apart: a small image
# needs cells enough in every condition.
RELATIVE = {"BMP2": 1.0, "Control": 0.8, "FGF2": 1.2, "FGF2+BMP2": 1.0}


@dataclass(frozen=True)
class Split:
    """A training set and its tests.

    Attributes:
        name: Of the split, as it stands in notes.
        train: What is learnt from.
        tests: What is tested on, by name.
        nuclei_only: Positions of `train` come from its stain, not from people.
    """

    name: str
    train: TrackingData
    tests: dict[str, TrackingData]
    nuclei_only: bool = False


def simulated(
    n_frames: int, size: int, n_cells: int, seed: int, n_train_frames: int, train_size: int | None = None
) -> Split:
    """The paper's experiment on simulated cultures: training on BMP2 only (Sec. 4.1), six tests (Tables 2 to 4).

    Args:
        n_frames: Of each test sequence.
        size: Side of the images, px.
        n_cells: Cells of a BMP2 image of medium density; the others relative to it (`TESTS`, `RELATIVE`).
        seed: Of everything; tests are other cells than those of the training.
        n_train_frames: Of the training sequence.
        train_size: Side of its images, px, as densely filled; None for `size`. Many cells in few frames teach more
            than the same cells again and again.
    """
    side = train_size or size
    train = simulate(TRAINING_CONDITION, n_train_frames, side, seed, n_cells=round(n_cells * (side / size) ** 2))
    tests = {}
    for k, (name, (condition, share)) in enumerate(TESTS.items()):
        n = max(2, round(n_cells * share * RELATIVE[condition]))
        tests[name] = simulate(condition, n_frames, size, seed + 1000 * (k + 1), n_cells=n)
    return Split("simulated", train, tests)


def realistic(
    n_frames: int, size: int, n_cells: int, seed: int, n_train_frames: int, train_size: int | None = None
) -> Split:
    """Table 5: the training sequence has a nuclear stain and no annotation, the test sequence neither.

    Args:
        n_frames: Of the test sequence.
        size: Side of the images, px.
        n_cells: Cells in the first image.
        seed: Of everything.
        n_train_frames: Of the training sequence.
        train_size: As `simulated`.
    """
    side = train_size or size
    train = simulate("Control", n_train_frames, side, seed + 70_000, n_cells=round(n_cells * (side / size) ** 2))
    test = simulate("Control", n_frames, size, seed + 80_000, n_cells=n_cells)
    return Split("realistic", from_stain(train), {"realistic": test}, nuclei_only=True)


def stained(part: Split) -> Split:
    """The split with training positions from its nuclear stain, as `realistic` has them; the tests stay.

    Raises:
        DataError: As `from_stain`.
    """
    return Split(f"{part.name}, stain", from_stain(part.train), part.tests, nuclei_only=True)


def from_stain(data: TrackingData) -> TrackingData:
    """The sequence with positions taken from its nuclear stain, in all frames; whatever people marked is put aside.

    Raises:
        DataError: There is no stain, or no nuclei in it.
    """
    points = None if data.nuclei is None else nuclei_points(data.nuclei)
    if points is None or not len(points):
        raise DataError(f"{data.name}: no nuclei in {NUCLEI}/; expected a stain of all frames, bright on dark")
    return replace(data, points=points, linked=False, annotated=tuple(range(len(data.source))))


def real(data: TrackingData, how: str = "columns", margin_px: int = 48, train_share: float = 0.65) -> list[Split]:
    """One annotated sequence, parted in columns of other cells, or in time, where cells that live on are in both parts.

    Args:
        data: With positions.
        how: "columns": left and right, each trained on and tested in turn; "frames": the first frames train.
        margin_px: Between left and right; wider than a cell, so that none is seen from both sides.
        train_share: Of the frames, for "frames".

    Returns:
        Two splits, or one.

    Raises:
        ValueError: Another name, or a margin or share that leaves nothing.
        DataError: Too few frames or too narrow images, or no cells on one side.
    """
    if how not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {how!r}")
    height, width = data.source.shape
    if how == "frames":
        n = round(len(data.source) * train_share)
        if not 2 <= n <= len(data.source) - 2:
            raise DataError(
                f"{data.name}: {len(data.source)} frames cannot be parted at {train_share:.0%}: training and test need "
                "two each; use `-p split columns`"
            )
        parts = [(data.part(range(n)), data.part(range(n, len(data.source))))]
        names = ["first frames to last"]
    else:
        half = (width - margin_px) // 2
        if margin_px < 0 or half < 32:
            raise DataError(
                f"{data.name}: {width} px are too narrow for two halves of 32 px and a margin of {margin_px} px; "
                "use `-p split frames`"
            )
        left, right = ((0, height, 0, half), (0, height, width - half, width))
        sides = [data.part(region=region) for region in (left, right)]
        parts, names = [(sides[0], sides[1]), (sides[1], sides[0])], ["left to right", "right to left"]
    for name, (train, test) in zip(names, parts, strict=True):
        for what, one in (("training", train), ("test", test)):
            if one.points is None or not len(one.points):
                raise DataError(f"{data.name}: no cell in the {what} part ({name}); choose another `split`")
    return [Split(name, train, {"test": test}) for name, (train, test) in zip(names, parts, strict=True)]
