"""What a run leaves for later: weights that say how patches are cut, predictions of new films, the review sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import DataError, sha256
from ..parallel import map_runs
from ..plotting import write_pages
from ..screens.networks import MODEL, rebuilt
from ..screens.networks import load_weights as opened
from ..screens.networks import save_weights as written
from ..tables import write_csv
from . import patches, review
from .data import Films, file_frames
from .evaluation import outcomes
from .labels import MODES
from .learning import PARTS, pooled, predict_shard
from .networks import build

if TYPE_CHECKING:
    import pandas as pd

HEADER = ("architecture", "n_folds", "channels", "size_px", "border", "downsample", "labels")
SHARD = 2000  # frames that are predicted at a time
REVIEW = "review.pdf"


def save_weights(path: Path, learnt: Sequence[Mapping[str, Any]], header: Mapping[str, Any]) -> Path:
    """The networks of all folds of a kind as one file: they predict together.

    Args:
        path: The file to write.
        learnt: Of `comparison.compare`, of one network.
        header: `channels`, `size_px`, `border`, `downsample`, and `labels` (where the modes came from).

    Returns:
        The path.
    """
    parts = [opened(one["file"], ("architecture",), "migration") for one in learnt]
    weights = {
        f"{MODEL}fold{k}.{name.removeprefix(MODEL)}": value
        for k, one in enumerate(parts) for name, value in one.items() if name.startswith(MODEL)
    }  # fmt: skip
    about = {"architecture": parts[0]["architecture"], "n_folds": len(parts), **header}
    return written(path, weights, {name: about[name] for name in HEADER})


def load_weights(path: str | Path) -> dict[str, Any]:
    """What `save_weights` wrote.

    Returns:
        The header's values, and `networks`: of each fold `architecture` and `model.*`, as `prediction.predict` takes
        them.

    Raises:
        DataError: Not there, no such file, or weights that do not fit.
    """
    found = opened(path, HEADER, "migration")
    networks = list[dict[str, Any]]()
    for k in range(found["n_folds"]):
        start = f"{MODEL}fold{k}."
        own = {MODEL + name[len(start) :]: value for name, value in found.items() if name.startswith(start)}
        networks.append({"architecture": found["architecture"], **own})
    try:
        for one in networks:
            rebuilt(one, build)
    except Exception as error:  # torch's lists every weight
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: cannot be read as weights of the migration chapter ({reason})") from error
    return {**{name: found[name] for name in HEADER}, "networks": networks}


def require_same(trained: Mapping[str, Any], films: Films, path: str | Path) -> None:
    """Refuse films of other channels than the networks learnt from.

    Names count only where both sides have names, not mere numbers.

    Raises:
        DataError: Another number of channels, or other names.
    """
    theirs, ours = list(trained["channels"]), list(films.channels)
    named = not all(name.isdigit() for name in (*theirs, *ours))
    if len(theirs) != len(ours) or (named and [n.casefold() for n in theirs] != [n.casefold() for n in ours]):
        raise DataError(
            f"{films.name} has the channels {', '.join(ours)}, and {path} learnt from {', '.join(theirs)}; give films "
            "of the same channels in the same order (-p channels names them)"
        )


def predict_films(
    films: Films, weights: str | Path, out: Path, *, n_samples: int = 50, device: str = "auto",
    precision: str = "bf16-mixed", seed: int = 0, n_jobs: int = 1,
) -> pd.DataFrame:  # fmt: skip
    """Predict all frames of films with trained networks; what is done is not done again.

    Args:
        films: New ones, of the channels that the networks learnt from.
        weights: Of `save_weights`.
        out: Folder for patches and finished work.
        n_samples: T, of each fold's network.
        device: As `training.make_fabric`.
        precision: As `prediction.predict`.
        seed: Of the masks.
        n_jobs: Shards at a time.

    Returns:
        The points with `mean`, `epistemic`, `aleatoric`, `says` and, where films have labels, `outcome`;
        `.attrs["patches"]` is the folder of their patches.

    Raises:
        DataError: As `load_weights`, `require_same` and the films.
    """
    trained = load_weights(weights)
    require_same(trained, films, weights)
    cutting = {name: trained[name] for name in ("size_px", "border", "downsample")}
    folder, digest = patches.kept(films, out / "patches", **cutting)
    common = {
        "file": str(Path(weights).absolute()), "sha256": sha256(weights), "n_samples": n_samples, "device": device,
        "precision": precision, "seed": seed,
    }  # fmt: skip
    n = len(films.points)
    spans = [(first, min(first + SHARD, n)) for first in range(0, n, SHARD)]
    runs = [
        {**common, "fold": fold, "first": first, "last": last}
        for fold in range(trained["n_folds"]) for first, last in spans
    ]  # fmt: skip
    shared = {"folder": str(folder.absolute()), "digest": digest}
    done = map_runs(predict_shard, runs, folder=out / "work", shared=shared, n_jobs=n_jobs, desc="frames")
    by_fold = [done[k * len(spans) : (k + 1) * len(spans)] for k in range(trained["n_folds"])]
    values = pooled(*([np.concatenate([np.asarray(o[name]) for o in own]) for own in by_fold] for name in PARTS))
    table = films.points.assign(**values)
    table["says"] = says(table["mean"])
    table.attrs["patches"] = folder
    if films.labelled:
        table["outcome"] = outcomes(table["mean"].to_numpy(), table["label"].to_numpy())
    return table


def says(mean: pd.Series) -> list[str]:
    """The mode of each prediction, "uncertain" between them."""
    named = {"TP": MODES[1], "FN": MODES[0], "Uncertain": "uncertain"}
    return [named[one] for one in outcomes(mean.to_numpy(), [MODES[1]] * len(mean))]


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


def trained_of(learnt: Sequence[Mapping[str, Any]], network: str, fold: int) -> dict[str, Any]:
    """The network of a fold, as `prediction.predict` takes it."""
    own = next(one for one in learnt if (one["network"], one["fold"]) == (network, fold))
    return opened(own["file"], ("architecture",), "migration", build)


def new_rows(frames: pd.DataFrame) -> list[dict[str, Any]]:
    """Item "New frames": how many frames trained networks say to be of each mode.

    Args:
        frames: Of `predict_films`.
    """
    counts, n = frames["says"].value_counts(), len(frames)
    return [
        {"item": "New frames", "row": word, "column": "frames", "value": 100 * counts.get(word, 0) / n, "n": n,
         "unit": "percent", "note": f"{counts.get(word, 0)} of {n} frames of {frames['cell'].nunique()} cells"}
        for word in (*MODES, "uncertain")
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
        **{word: ("says", lambda said, word=word: float((said == word).mean())) for word in (*MODES, "uncertain")},
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
    asked = review.queue(
        frames.reset_index(drop=True), frames["mean"], frames["epistemic"], frames["aleatoric"], n_frames=n_frames,
        gap_frames=gap_frames,
    )  # fmt: skip
    if "row" in frames:  # of the patches
        asked["row"] = frames["row"].to_numpy()[asked["row"]]
    asked["frame"] = file_frames(films, asked)
    return write_pages(path, asked.drop(columns="row"), review.pages(asked, pixels))


def described(header: Mapping[str, Any]) -> str:
    """Weights in a sentence."""
    smaller = f" of frames {header['downsample']} times smaller" if header["downsample"] > 1 else ""
    return (
        f"{header['architecture']['network']}, {header['n_folds']} folds; patches of {header['size_px']} px{smaller}, "
        f"channels {', '.join(header['channels'])}; modes from {header['labels']}"
    )
