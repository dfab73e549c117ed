"""Trainings: the same weights twice, killed and resumed; what is learnt; words that are unknown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cellweak_core.embeddings import training
from cellweak_core.embeddings.networks import build
from cellweak_core.screens import learning
from cellweak_core.screens.crops import Crops, load_crops, write_crops
from cellweak_core.screens.labels import treatment_labels
from cellweak_core.screens.simulate import Plan, simulate_screen
from cellweak_core.training import learning_rate

FEW = Plan(n_mechanisms=2, compounds=2, doses=1, batches=2, replicates=2, cells=4, controls=2, size_px=32)
TINY: dict[str, Any] = {"width": 2, "steps": 6, "batch_size": 8, "device": "cpu", "precision": "32-true", "lr": 1e-2}


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Crops:
    return load_crops(write_crops(simulate_screen(FEW), tmp_path_factory.mktemp("screen")))


def shared(crops: Crops, held_out: tuple[int, ...] = (2,)) -> dict[str, Any]:
    labels = treatment_labels(crops.cells, held_out)
    return {
        "folder": str(crops.root), "reading": {}, "labels": labels.train, "checked": labels.checked,
        "n_classes": len(labels.classes), "batch": pd.factorize(crops.cells["batch"])[0],
        "plate": pd.factorize(crops.cells["plate"])[0],
    }  # fmt: skip


def weights(result: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(value) for name, value in result.items() if name.startswith("model.")}


@pytest.mark.parametrize("kind", learning.KINDS)
def test_same_seed_same_weights_killed_or_not(kind: str, screen: Crops, tmp_path: Path) -> None:
    run = {**TINY, "kind": kind, "seed": 1, "t": 2, "checkpoint_every": 2}
    whole = training.train(run, shared(screen), tmp_path / "a.ckpt")
    drawn, calls = learning.rescaled, []

    def dying(pixels: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return drawn(pixels)

    (tmp_path / "b").mkdir()
    state = torch.random.get_rng_state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "rescaled", dying)
        with pytest.raises(KeyboardInterrupt):
            training.train(run, shared(screen), tmp_path / "b" / "a.ckpt")
    resumed = training.train(run, shared(screen), tmp_path / "b" / "a.ckpt")
    assert weights(whole)
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())
    assert torch.equal(state, torch.random.get_rng_state())  # the caller's own randomness is not touched
    assert np.isfinite(whole["loss"]).all()
    other = training.train({**run, "seed": 2}, shared(screen), tmp_path / "c.ckpt")
    assert not all(torch.equal(value, weights(other)[name]) for name, value in weights(whole).items())


def test_training_learns_the_treatments(screen: Crops, tmp_path: Path) -> None:
    run = {**TINY, "width": 8, "steps": 150, "batch_size": 16, "lr": 3e-3, "kind": "baseline", "most_shift": 0.0}
    found = training.train(run, shared(screen), tmp_path / "a.ckpt")
    assert found["auxiliary_total"] == 4 * 4  # four treatments, four cells in the second replicate of each
    assert found["auxiliary_correct"] / found["auxiliary_total"] > 0.5  # by chance: one in four
    assert found["loss"][-1] < 0.7 * found["loss"][0]


def test_schedule_falls_at_fractions_of_the_budget() -> None:
    """DeepProfiler, learning/training.py: x1 below 40 %, x0.1 below 70 %, x0.01 below 90 %, x0.001 behind."""
    found = [learning_rate(i, 100, "fractions") for i in range(100)]
    expected = [1.0] * 40 + [0.1] * 30 + [0.01] * 20 + [0.001] * 10
    assert found == pytest.approx(expected)


def test_unknown_settings(screen: Crops, tmp_path: Path) -> None:
    for wrong, named in (({"knd": 1}, "knd"), ({"kind": "gan"}, "kind"), ({"pairs": "week"}, "pairs")):
        with pytest.raises(ValueError, match=named):
            training.train({**TINY, **wrong}, shared(screen), tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="kind"):
        build({"kind": "transformer"})
