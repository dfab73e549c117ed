"""The simulated start: where its rosettes are, and its loss, against loops."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from cellweak_core.rosettes.pretraining import BLUR_PX, NEAR_PX, centre_maps, place_loss, train_on_simulation

TRUTH = [np.array([[3.0, 7.5], [20.2, 11.0]]), np.zeros((0, 2)), np.array([[31.0, 0.0]])]


def test_maps_of_centres_against_loops() -> None:
    maps = centre_maps(TRUTH, 32)
    expected = np.zeros((3, 32, 32))
    for k, centres in enumerate(TRUTH):
        for row in range(32):
            for column in range(32):
                for x, y in centres:
                    distance = math.hypot(column - x, row - y)
                    expected[k, row, column] = max(expected[k, row, column], math.exp(-(distance**2) / (2 * 6.0**2)))
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    assert maps[2, 0, 31] == 1  # x is the column
    assert not maps[1].any()
    assert centre_maps([], 8).shape == (0, 8, 8)
    np.testing.assert_array_equal(centre_maps([[], [[2, 3]]], 8)[1, 3, 2], 1)  # lists, as a run's file has them


@pytest.mark.parametrize("truth", [TRUTH, [np.zeros((0, 2))] * 3])
def test_place_loss_against_loops(truth: list[np.ndarray]) -> None:
    maps = torch.from_numpy(centre_maps(truth, 32))[:, None]
    logits = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(1)) * 3
    near, far = [], []
    for k in range(3):
        for i in range(4):
            for j in range(4):
                z, peak = float(logits[k, i, j]), 0.0
                for row in range(8 * i, 8 * i + 8):
                    for column in range(8 * j, 8 * j + 8):
                        peak = max(peak, float(maps[k, 0, row, column]))
                if peak > math.exp(-(NEAR_PX**2) / (2 * BLUR_PX**2)):
                    near.append(math.log1p(math.exp(-z)))  # -log sigmoid(z)
                if peak < math.exp(-2):
                    far.append(math.log1p(math.exp(z)))  # -log(1 - sigmoid(z))
    assert bool(near) == any(len(c) for c in truth)
    assert 0 < len(near) + len(far) <= 48
    expected = 0.3 * sum(near) / (len(near) + 4) + sum(far) / len(far)
    assert float(place_loss(logits, maps)) == pytest.approx(expected, rel=1e-5)


def test_cells_are_near_within_6_px_and_far_beyond_12() -> None:
    """One row of cells 4 px wide; only the pixel's distance to the centre at (0, 2) decides."""
    maps = torch.from_numpy(centre_maps([np.array([[0.0, 2.0]])], 32))[:, None]
    touched = []
    for j in range(8):
        logits = torch.zeros(1, 8, 8, requires_grad=True)
        place_loss(logits, maps).backward()
        assert logits.grad is not None
        touched.append(float(logits.grad[0, 0, j]))
    signs = np.sign(touched).tolist()
    # nearest pixels 0, 4 | 8, 12 | 16, 20, ... px away: up (rosette), left alone, down (none); 12 itself is left alone
    assert signs == [-1, -1, 0, 0, 1, 1, 1, 1]


def test_place_loss_where_every_cell_is_near() -> None:
    maps = torch.ones(2, 1, 8, 8)
    logits = torch.zeros(2, 2, 2)
    assert float(place_loss(logits, maps)) == pytest.approx(0.3 * 8 * math.log(2) / 12)
    assert torch.isfinite(place_loss(torch.full((2, 2, 2), -200.0), maps))


RUN: dict[str, Any] = {
    "network": "context", "start": "random", "context_width": 4, "context_dropout": 0.0, "seed": 0, "steps": 80,
    "batch_size": 16, "lr": 5e-3, "weight_decay": 0.0, "average": 0.9, "pooling": "log_sum_exp", "sharpness": 1.0,
    "device": "cpu", "precision": "32-true",
}  # fmt: skip


def test_the_start_learns_where_rosettes_are(tmp_path: Any) -> None:  # noqa: ANN401
    from cellweak_core.rosettes.detectors import restored, window_logits

    rng = np.random.default_rng(0)
    images = rng.normal(90, 8, (48, 32, 32))
    centres: list[list[list[float]]] = [[] for _ in images]
    for k in range(0, 48, 2):
        x, y = rng.integers(6, 26, 2)
        images[k, y - 3 : y + 4, x - 3 : x + 4] += 120
        centres[k] = [[float(x), float(y)]]
    shared = {"images": images.clip(0, 255).astype(np.uint8), "centres": centres}
    result = train_on_simulation(RUN, shared, tmp_path / "key.ckpt")
    assert result["loss"].shape == (80,)
    assert result["loss"][-10:].mean() < 0.6 * result["loss"][:10].mean()
    model = restored(RUN, {k.replace("start.", "model.", 1): v for k, v in result.items()})
    maps = window_logits(model, shared["images"], "standardise", n_turns=8)
    hits = 0
    for k in range(0, 48, 2):
        i, j = np.unravel_index(int(maps[k].argmax()), (4, 4))
        [(x, y)] = centres[k]
        hits += math.hypot(8 * j + 3.5 - x, 8 * i + 3.5 - y) < 9
    assert hits >= 20  # of 24
