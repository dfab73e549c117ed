"""What a run leaves for later: predictions by frame and by cell, the review sheet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plotting import write_pages
from ..tables import write_csv
from . import patches, review
from .data import Films, file_frames
from .labels import MODES
from .predicting import BETWEEN

if TYPE_CHECKING:
    import pandas as pd

REVIEW = "review.pdf"


def with_file_frames(films: Films, frames: pd.DataFrame) -> pd.DataFrame:
    """A table of frames with the frames' numbers as the films' files have them.

    Args:
        films: Of which the frames are.
        frames: With sequence and frame (index).
    """
    return frames.assign(frame=file_frames(films, frames))


def write_predictions(path: Path, films: Films, frames: pd.DataFrame) -> Path:
    """Predictions as CSV, with the frames' numbers as the films' files have them.

    Args:
        path: The file to write.
        films: Of which the frames are.
        frames: Of `comparison.frames_of` or `predict_films`.
    """
    return write_csv(with_file_frames(films, frames.drop(columns="row", errors="ignore")), path)


def new_rows(frames: pd.DataFrame) -> list[dict[str, Any]]:
    """Item "New frames": how many frames trained networks say to be of each mode.

    Args:
        frames: Of `predict_films`.
    """
    counts, n = frames["says"].value_counts(), len(frames)
    return [
        {"item": "New frames", "row": word, "column": "frames", "value": 100 * counts.get(word, 0) / n, "n": n,
         "unit": "percent", "note": f"{counts.get(word, 0)} of {n} frames of {frames['cell'].nunique()} cells"}
        for word in (*MODES, BETWEEN)
    ]  # fmt: skip


def leave(
    out: Path, films: Films, frames: pd.DataFrame, review_frames: int = 60, review_gap: int = 5
) -> list[Path]:  # fmt: skip
    """What new films leave: predictions by frame, means by cell, the review sheet.

    Args:
        out: Folder for them, in which `predict_films` cut the patches.
        films: The new ones.
        frames: Of `predict_films`.
        review_frames: As `review.queue`.
        review_gap: As `review.queue`.

    Returns:
        The files.
    """
    by_cell = frames.groupby("cell", sort=False).agg(
        sequence=("sequence", "first"), frames=("frame", "size"), mean=("mean", "mean"),
        epistemic=("epistemic", "mean"), aleatoric=("aleatoric", "mean"),
        **{word: ("says", lambda said, word=word: float((said == word).mean())) for word in (*MODES, BETWEEN)},
    )  # fmt: skip
    review_files = write_review(out / REVIEW, films, frames.attrs["patches"], frames, review_frames, review_gap)
    return [
        write_predictions(out / "predictions.csv", films, frames),
        write_csv(by_cell.reset_index(), out / "sequences.csv"), *review_files,
    ]  # fmt: skip


def write_review(
    path: Path, films: Films, folder: Path, frames: pd.DataFrame, n_frames: int = 60, gap_frames: int = 5
) -> tuple[Path, Path]:  # fmt: skip
    """The review sheet: the frames to look at first, with pictures, and as CSV.

    Ordered by epistemic variance, within the frames that the same networks predict.

    Args:
        path: Of the PDF.
        films: Of which the frames are.
        folder: Of `patches.load`.
        frames: Of one network: `comparison.frames_of` (with `row`), or all rows of `predict_films`.
        n_frames: As `review.queue`.
        gap_frames: As `review.queue`.

    Returns:
        The PDF and the CSV.
    """
    pixels, _ = patches.load(folder)
    order = frames["epistemic"]
    if "part" in frames:
        # networks differ in how much their samples vary, and test frames have several: each part is ordered by itself
        order = order.groupby(frames["part"]).rank(pct=True)
    asked = review.queue(
        frames.reset_index(drop=True), frames["mean"], frames["epistemic"], frames["aleatoric"], n_frames=n_frames,
        gap_frames=gap_frames, order=order,
    )  # fmt: skip
    if "row" in frames:  # of the patches
        asked["row"] = frames["row"].to_numpy()[asked["row"]]
    asked["frame"] = file_frames(films, asked)
    return write_pages(path, asked.drop(columns="row"), review.pages(asked, pixels))


