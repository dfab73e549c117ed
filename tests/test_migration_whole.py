"""The rooms together: films, patches, splits, a training, predictions of all frames, scores, a review sheet."""

from pathlib import Path

import numpy as np
import pytest

from cellweak_core import migration
from cellweak_core.migration import evaluation, patches, review, splits
from cellweak_core.migration.labels import UNKNOWN
from cellweak_core.migration.simulate import TRUTH, Plan, simulate

RUN = {"network": "vgg16", "width": 0.04, "steps": 3, "batch_size": 4, "lr": 1e-3, "n_validated": 8, "device": "cpu",
       "precision": "32-true"}  # fmt: skip


def test_from_films_to_a_review_sheet(tmp_path: Path) -> None:
    films = simulate(Plan(n_cells=15, n_frames=8, field_px=80, size_px=48), seed=3)
    folder, digest = patches.kept(films, tmp_path / "patches", 48)
    pixels, stored = patches.load(folder)
    assert not {*TRUTH, "label"} & set(stored)
    points = films.points
    assert stored["cell"].tolist() == points["cell"].tolist()
    targets = migration.ramps(points)
    fold_of = migration.grouped(points, targets, 2)
    shared = {"folder": str(folder), "digest": digest, "fold_of": fold_of, "targets": targets}
    trained = migration.train(RUN, shared, tmp_path / "a.ckpt")
    where = splits.sides(fold_of, points["cell"])
    asked = np.flatnonzero(where == splits.TEST)
    found = migration.predict(pixels, asked, trained, 4, device="cpu", precision="32-true")
    assert found["mean"].shape == asked.shape
    tested = points.iloc[asked].reset_index(drop=True)
    assert (tested["label"] == UNKNOWN).sum() == np.isnan(targets[asked]).sum()
    known = np.flatnonzero(~np.isnan(targets[asked]))
    mean = found["mean"][known]
    cells = tested["cell"].to_numpy(str)[known]
    scored = evaluation.per_sequence(mean, targets[asked][known], tested["label"].to_numpy(str)[known], cells)
    own = cells == scored["cell"][0]
    assert scored["MSE"][0] == pytest.approx(float(np.mean((mean[own] - targets[asked][known][own]) ** 2)))
    assert scored[["TP", "Uncertain", "FN"]].sum(axis=1).tolist() == pytest.approx([1.0] * len(scored))
    queued = review.queue(tested, found["mean"], found["epistemic"], n_frames=5, gap_frames=1)
    assert len(queued) == 5
    assert queued["epistemic"].is_monotonic_decreasing
