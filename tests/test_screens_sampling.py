"""Sampling is fair to classes; augmentation is a literal shift, flip and turn; mixup mixes what it says."""

import numpy as np
import pytest
import torch

from cellweak_core.files import DataError
from cellweak_core.screens.sampling import BalancedSampler, augmented, mixed_up, partners, some_cells
from cellweak_core.screens.simulate import Plan, simulate_screen
from cellweak_core.training import random_source


def test_classes_are_drawn_alike_and_all_their_cells() -> None:
    labels = np.array([2] * 90 + [0] * 9 + [-1] * 50 + [7])
    rows, classes = (sampler := BalancedSampler(labels)).draw(6000, random_source(0))
    assert sampler.classes.tolist() == [0, 2, 7]
    np.testing.assert_array_equal(labels[rows], classes)
    counts = np.array([(classes == c).sum() for c in (0, 2, 7)])
    assert (np.abs(counts - 2000) < 5 * np.sqrt(6000 * 2 / 9)).all()
    assert len(np.unique(rows)) == 100
    again, _ = BalancedSampler(labels).draw(6000, random_source(0))
    np.testing.assert_array_equal(rows, again)


def test_sets_are_of_one_class() -> None:
    labels = np.repeat([0, 1, 2], [5, 50, 2])
    rows, classes = BalancedSampler(labels).draw_sets(300, 5, random_source(1))
    assert rows.shape == (300, 5)
    np.testing.assert_array_equal(labels[rows], np.repeat(classes[:, None], 5, 1))
    assert set(classes) == {0, 1, 2}


def test_nothing_to_draw_is_refused() -> None:
    for labels in ([], [-1, -1]):
        with pytest.raises(ValueError, match="expected at least one cell of a class"):
            BalancedSampler(labels)


class Listed(BalancedSampler):
    """Draws the cells of a list, in its order, and counts."""

    def __init__(self, *rows: int) -> None:
        self.rows, self.draws = list(rows), 0

    def draw(self, n: int, source: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        self.draws += 1
        taken, self.rows = self.rows[:n], self.rows[n:]
        return np.array(taken), np.zeros(n, int)


def test_a_partner_of_another_group_may_be_found_in_the_last_draw() -> None:
    groups = ["p", "p", "q"]
    for drawn, tries, expected in (([2, 0], 1, [2, 0]), ([1, 1, 1, 2], 3, [2, 1])):  # for both; then for who has none
        sampler = Listed(*drawn)
        assert partners([0, 2], groups, sampler, random_source(0), tries).tolist() == expected
        assert (sampler.draws, sampler.rows) == (tries, [])
    sampler = Listed(1, 1, 1, 0, 2)
    with pytest.raises(DataError, match="no cell of another group than p was found in 3 draws; cells that train"):
        partners([0, 2], groups, sampler, random_source(0), 3)
    assert (sampler.draws, sampler.rows) == (3, [2])
    assert partners([], groups, BalancedSampler([0, 0, 0]), random_source(0)).shape == (0,)


def literal(crop: np.ndarray, u: np.ndarray, most: float) -> np.ndarray:
    """A shift with zeros behind it, then a flip, then quarter turns, pixel by pixel."""
    side = crop.shape[1]
    dy, dx = (int(np.round((2 * v - 1) * most * side)) for v in u[:2])
    moved = np.zeros_like(crop)
    for y in range(side):
        for x in range(side):
            if 0 <= y - dy < side and 0 <= x - dx < side:
                moved[:, y, x] = crop[:, y - dy, x - dx]
    moved = moved[:, :, ::-1] if u[2] < 0.5 else moved
    return np.rot90(moved, int(4 * u[3]), (1, 2))


def test_augmentation_is_the_literal_one() -> None:
    crops = torch.rand((16, 2, 9, 9), generator=random_source(0))
    before = crops.clone()
    found = augmented(crops, random_source(5), 0.3)
    u = torch.rand((4, 16), generator=random_source(5)).numpy()
    for k in range(16):
        np.testing.assert_allclose(found[k], literal(crops[k].numpy(), u[:, k], 0.3))
    assert torch.equal(crops, before)
    assert augmented(crops[:0], random_source(0)).shape == (0, 2, 9, 9)
    assert augmented(crops.bfloat16(), random_source(0)).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="expected square crops, got 9x8"):
        augmented(crops[..., :8], random_source(0))


def test_mixup_is_the_papers_equation() -> None:
    crops, targets = torch.rand((6, 1, 4, 4), generator=random_source(0)), torch.eye(6)
    x, y = mixed_up(crops, targets, 0.2, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    weights = rng.beta(0.2, 0.2, 6).astype(np.float32)
    other = rng.permutation(6)
    for k in range(6):
        torch.testing.assert_close(x[k], weights[k] * crops[k] + (1 - weights[k]) * crops[other[k]])
        torch.testing.assert_close(y[k], weights[k] * targets[k] + (1 - weights[k]) * targets[other[k]])
    torch.testing.assert_close(y.sum(1), torch.ones(6))
    same = mixed_up(crops, targets, 0, np.random.default_rng(3))
    assert same[0] is crops
    for alpha, some in ((-1.0, targets), (0.2, targets[:3])):
        with pytest.raises(ValueError, match="expected alpha of 0 or more and as many targets"):
            mixed_up(crops, some, alpha, np.random.default_rng(0))


def test_mixup_partners_are_of_another_group_and_as_likely_as_their_class() -> None:
    labels = np.array([0] * 10 + [1] * 2 + [-1] * 3)
    groups = np.array([0, 1] * 5 + [0, 1] + [0, 1, 0])
    sampler, rows = BalancedSampler(labels), np.repeat([0, 1], 2000)
    other = partners(rows, groups, sampler, random_source(0))
    assert (groups[other] != groups[rows]).all()
    assert (labels[other] >= 0).all()
    assert abs((labels[other] == 1).mean() - 0.5) < 0.05
    with pytest.raises(DataError, match="two batches"):
        partners(rows, np.zeros(15, int), sampler, random_source(0), tries=20)


def test_some_cells_are_as_many_of_each_treatment_and_plate() -> None:
    plan = Plan(n_mechanisms=2, compounds=2, doses=1, batches=2, replicates=2, cells=4, controls=2, size_px=32)
    screen = simulate_screen(plan)
    cells = screen.cells
    found = some_cells(cells, 8, 0)
    drawn = cells.iloc[found]
    assert drawn["compound"].value_counts().to_dict() == {f"compound {k}{c}": 2 for k in (1, 2) for c in "ab"}
    assert not drawn.duplicated(["compound", "plate"]).any()  # each is on two plates, and seen on both
    assert (np.diff(found) > 0).all()
    np.testing.assert_array_equal(found, some_cells(cells, 8, 0))
    assert not np.array_equal(found, some_cells(cells, 8, 1))
    seen = {name for seed in range(20) for name in cells["compound"].iloc[some_cells(cells, 1, seed)]}
    assert len(seen) > 1  # nobody is always first
    more = cells.iloc[some_cells(cells, 8, 0, controls=4)]
    assert more["control"].sum() == 4
    assert more.loc[more["control"], "plate"].nunique() == 4
    np.testing.assert_array_equal(some_cells(cells, 1000, 0), np.flatnonzero(~screen.control))
    np.testing.assert_array_equal(some_cells(cells, 1000, 0, 1000), np.arange(len(cells)))
