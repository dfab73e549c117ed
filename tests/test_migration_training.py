"""Patches in 72 variants, and trainings: the same weights twice, killed and resumed; what is learnt; bad input."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from cellweak_core.files import DataError
from cellweak_core.migration import training
from cellweak_core.migration.augmentation import VARIANTS, augmented, normalised, varied
from cellweak_core.migration.dropout import rates
from cellweak_core.migration.losses import log_cosh
from cellweak_core.migration.networks import build
from cellweak_core.parallel import map_runs
from cellweak_core.screens.networks import rebuilt
from cellweak_core.training import derived_seed, random_source

TINY: dict[str, Any] = {
    "network": "vgg16", "width": 0.04, "steps": 6, "batch_size": 4, "lr": 1e-3, "log_every": 2, "checkpoint_every": 2,
    "n_validated": 5, "device": "cpu", "precision": "32-true", "seed": 1,
}  # fmt: skip
N, PX = 24, 32


def literal(patch: np.ndarray, variant: int) -> np.ndarray:
    """One variant of one patch, pixel by pixel."""
    (mirrored, quarters), (i, j) = divmod(variant // 9, 4), divmod(variant % 9, 3)
    down, right = (-2, 0, 2)[i], (-2, 0, 2)[j]
    c, s, _ = patch.shape
    out = np.empty_like(patch)
    for k, y, x in itertools.product(range(c), range(s), range(s)):
        out[k, y, x] = patch[k, min(max(y - down, 0), s - 1), min(max(x - right, 0), s - 1)]
    if mirrored:
        out = out[:, :, ::-1]
    return np.rot90(out, quarters, (1, 2))


def test_all_72_variants_are_exact_and_distinct() -> None:
    patch = torch.randn(2, 7, 7, generator=random_source(0))
    found = varied(patch.expand(VARIANTS, -1, -1, -1), torch.arange(VARIANTS))
    wanted = np.stack([literal(patch.numpy(), k) for k in range(VARIANTS)])
    np.testing.assert_array_equal(found, wanted)
    assert VARIANTS == len({own.tobytes() for own in found.contiguous().numpy()}) == 72
    assert torch.equal(found[4], patch)


def test_a_bright_pixel_moves_where_it_is_said_to() -> None:
    patch = torch.zeros(1, 1, 9, 9)
    patch[0, 0, 2, 3] = 1
    down_and_right = varied(patch, torch.tensor([8]))
    assert down_and_right[0, 0, 4, 5] == down_and_right.sum() == 1
    mirrored = varied(patch, torch.tensor([4 * 9 + 4]))
    assert mirrored[0, 0, 2, 5] == 1
    turned = varied(patch, torch.tensor([1 * 9 + 4]))
    assert turned[0, 0, 5, 2] == 1  # counter-clockwise: what was left of the middle is below it


def test_each_patch_has_its_own_variant_and_all_come() -> None:
    patch = torch.randn(1, 6, 6, generator=random_source(0))
    n = 7200
    drawn = augmented(patch.expand(n, -1, -1, -1), random_source(1))
    of = {varied(patch[None], torch.tensor([k])).contiguous().numpy().tobytes(): k for k in range(VARIANTS)}
    counts = np.bincount([of[own.tobytes()] for own in drawn.contiguous().numpy()], minlength=VARIANTS)
    assert ((counts - 100) ** 2 / 100).sum() < 71 + 5 * (2 * 71) ** 0.5  # chi-squared of 71 degrees
    assert counts.min() > 50
    assert torch.equal(drawn, augmented(patch.expand(n, -1, -1, -1), random_source(1)))


def test_variants_refused() -> None:
    with pytest.raises(ValueError, match="square patches, got 4x5"):
        varied(torch.zeros(1, 1, 4, 5), torch.zeros(1, dtype=torch.int64))
    for wrong in (torch.tensor([72]), torch.tensor([-1]), torch.tensor([1, 2])):
        with pytest.raises(ValueError, match="1 whole numbers from 0 to 71"):
            varied(torch.zeros(1, 1, 4, 4), wrong)
    assert augmented(torch.zeros(0, 3, 4, 4), random_source(0)).shape == (0, 3, 4, 4)


def test_normalised_is_its_definition_and_a_constant_is_0() -> None:
    x = 1000 + 20 * torch.randn(3, 2, 5, 6, generator=random_source(0), dtype=torch.float64)
    x[1, 0], x[2, 1] = 0.1, 40_000
    wanted = np.zeros(x.shape)
    for n, c in itertools.product(range(3), range(2)):
        own = x[n, c].numpy()
        if np.ptp(own):
            wanted[n, c] = (own - own.mean()) / own.std()
    np.testing.assert_allclose(normalised(x), wanted, atol=1e-10)
    found = normalised(x.float())
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert not found[1, 0].any()
    assert not found[2, 1].any()
    whole = torch.tensor([[[[0, 10], [10, 0]]]], dtype=torch.uint8)
    assert normalised(whole).tolist() == [[[[-1, 1], [1, -1]]]]
    assert normalised(x[:0]).shape == (0, 2, 5, 6)


def written(folder: Path, pixels: np.ndarray) -> Path:
    """Patches as `patches.write` leaves them, one cell of each."""
    folder.mkdir(exist_ok=True)
    np.save(folder / "patches.npy", pixels)
    n = np.arange(len(pixels))
    table = {"sequence": "a", "cell": [f"a/{k}" for k in n], "frame": 0, "x": 3.0, "y": 4.0}
    pd.DataFrame(table).to_csv(folder / "points.csv", index=False)
    return folder


def bars(n: int, channels: int = 2, px: int = PX) -> tuple[np.ndarray, np.ndarray]:
    """Patches of noise with one disc (continuous) or with a small and a large one (discontinuous), and targets."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:px, :px] - px / 2
    targets = np.where(np.arange(n) % 3 == 0, rng.uniform(0.6, 1, n), rng.uniform(0, 0.4, n))
    pixels = rng.normal(500, 20, (n, channels, px, px))
    for k in range(n):
        radius = px / 8 if targets[k] > 0.5 else px / 3
        pixels[k] += 300 * (np.hypot(x + rng.uniform(-2, 2), y) < radius)
    return pixels.astype(np.uint16), targets


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pixels, targets = bars(N)
    fold_of = np.arange(N) % 4 - 1  # -1 (the test set) to 2
    targets[5] = np.nan
    folder = written(tmp_path_factory.mktemp("patches"), pixels)
    return {"folder": str(folder), "digest": "a", "fold_of": fold_of, "targets": targets}


def test_a_cell_in_training_and_in_the_test_is_refused(shared: dict[str, Any], tmp_path: Path) -> None:
    pixels, targets = bars(N)
    folder = written(tmp_path / "two", pixels)
    table = pd.read_csv(folder / "points.csv")
    table.loc[1, "cell"] = table.loc[0, "cell"]  # one tests, one trains
    table.to_csv(folder / "points.csv", index=False)
    with pytest.raises(DataError, match="cell a/0 is in the test and fold 0"):
        training.train(TINY, shared | {"folder": str(folder), "targets": targets}, tmp_path / "a.ckpt")


def weights(result: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value) for name, value in result.items() if name.startswith("model.")}


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())


@pytest.mark.parametrize("own", [
    {}, {"network": "densenet121"}, {"network": "resnet50", "precision": "bf16-mixed"}, {"network": "resnet18"},
    {"network": "densenet40"},
])  # fmt: skip
def test_same_seed_same_weights_killed_or_not(own: dict[str, Any], shared: dict[str, Any], tmp_path: Path) -> None:
    run = {**TINY, **own}
    state = torch.random.get_rng_state()
    whole = training.train(run, shared, tmp_path / "a.ckpt")
    again, calls = training.log_cosh, []

    def dying(*given: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 8:  # validations are counted too: in the fifth step, behind a checkpoint of four
            raise KeyboardInterrupt
        return again(*given)

    (tmp_path / "b").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "log_cosh", dying)
        with pytest.raises(KeyboardInterrupt):
            training.train(run, shared, tmp_path / "b" / "a.ckpt")
    assert torch.load(tmp_path / "b" / "a.ckpt", weights_only=True)["step"] == 4
    resumed = training.train(run, shared, tmp_path / "b" / "a.ckpt")
    assert torch.equal(state, torch.random.get_rng_state())  # the caller's own randomness is not touched
    assert weights(whole)
    assert same(whole, resumed)
    for name in ("step", "loss", "validation_loss"):
        np.testing.assert_array_equal(whole[name], resumed[name])
        assert np.isfinite(whole[name]).all()
    assert whole["step"].tolist() == [1, 3, 5, 6]
    assert not same(whole, training.train({**run, "seed": 2}, shared, tmp_path / "c.ckpt"))


@pytest.mark.parametrize("name", training.AUTHORS)
def test_the_authors_rates_grow_by_stage(name: str, shared: dict[str, Any], tmp_path: Path) -> None:
    run = {**TINY, **training.AUTHORS[name], "network": name, "steps": 1}
    found = rates(build(training.train(run, shared, tmp_path / "a.ckpt")["architecture"]))
    of_stage = {"resnet18": [0.05, 0.07, 0.09, 0.11, 0.13], "densenet40": [0.05, 0.06, 0.07, 0.08, 0.09]}[name]
    assert sorted({round(rate, 6) for rate in found.values()}) == of_stage
    assert {key.split(".")[1]: round(rate, 6) for key, rate in found.items()} == {
        str(k): rate for k, rate in enumerate(of_stage)
    }


def test_result_is_what_the_other_rooms_take(shared: dict[str, Any], tmp_path: Path) -> None:
    found = training.train({**TINY, "fold": 2, "cap": 0.4}, shared, tmp_path / "a.ckpt")
    assert found["architecture"] == {
        "network": "vgg16", "n_channels": 2, "width": 0.04, "dropout": 0.1, "growth": 0.02, "cap": 0.4
    }  # fmt: skip
    assert rebuilt(found, build)(torch.zeros(1, 2, PX, PX)).shape == (1,)
    assert (found["n_trained"], found["n_validated"]) == (6 - 1 + 6, 5)  # fold 0 has lost a row; at most 5 validate
    everything = training.train({**TINY, "fold": -1}, shared, tmp_path / "b.ckpt")
    assert (everything["n_trained"], everything["n_validated"]) == (17, 0)
    assert np.isnan(everything["validation_loss"]).all()


def test_runs_are_tasks_of_map_runs(shared: dict[str, Any], tmp_path: Path) -> None:
    runs = [{**TINY, "fold": fold} for fold in (0, 1)]
    first, other = map_runs(training.train, runs, folder=tmp_path, shared=shared)
    assert same(first, training.train(runs[0], shared, tmp_path / "a.ckpt"))
    assert not same(first, other)
    assert first["architecture"] == other["architecture"]


def test_only_the_other_folds_train_and_both_modes_alike(shared: dict[str, Any], tmp_path: Path) -> None:
    seen, again = list[int](), training.read

    def watched(patches: np.ndarray, rows: np.ndarray) -> Tensor:
        seen.extend(np.asarray(rows).tolist())
        return again(patches, rows)

    def drawn(**own: Any) -> np.ndarray:  # noqa: ANN401
        seen.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "read", watched)
            run = {**TINY, "batch_size": 100, "n_validated": 0, "steps": 3, "fold": 1, **own}
            training.train(run, shared, tmp_path / f"{len(own)}.ckpt")
        return np.array(seen)

    fold_of, targets = shared["fold_of"], shared["targets"]
    allowed = (fold_of >= 0) & (fold_of != 1) & np.isfinite(targets)
    rows = drawn()
    assert set(rows) == set(np.flatnonzero(allowed))
    share = (targets[rows] > 0.5).mean()
    assert abs(share - 0.5) < 4 * 0.5 / len(rows) ** 0.5
    share = (targets[drawn(balanced=False)] > 0.5).mean()
    expected = (targets[allowed] > 0.5).mean()
    assert expected < 0.4
    assert abs(share - expected) < 4 * 0.5 / len(rows) ** 0.5


def test_validation_loss_is_the_folds_with_dropout_on(shared: dict[str, Any], tmp_path: Path) -> None:
    run = {**TINY, "n_validated": 100}
    found = training.train(run, shared, tmp_path / "a.ckpt")
    network = rebuilt(found, build)
    rows = np.flatnonzero((shared["fold_of"] == 0) & np.isfinite(shared["targets"]))
    pixels = torch.from_numpy(np.load(Path(shared["folder"]) / "patches.npy")[rows].astype(np.float32))
    target = torch.from_numpy(shared["targets"][rows]).float()
    masks = training.Masks(derived_seed(1, 0, 2))
    masks.draw([0])
    with torch.no_grad(), training.sampling(network, masks):
        wanted = log_cosh(network(normalised(pixels)).sigmoid(), target)
    assert found["validation_loss"][-1] == pytest.approx(wanted.item(), rel=1e-4)
    with torch.no_grad():
        assert found["validation_loss"][-1] != pytest.approx(
            log_cosh(network(normalised(pixels)).sigmoid(), target).item(), rel=1e-4
        )


def test_every_step_has_variants_of_its_own(shared: dict[str, Any], tmp_path: Path) -> None:
    seen, again = list[Tensor](), training.augmented

    def watched(patches: Tensor, source: torch.Generator) -> Tensor:
        before = source.get_state()
        seen.append(torch.randint(VARIANTS, (len(patches),), generator=source))
        source.set_state(before)
        return again(patches, source)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "augmented", watched)
        training.train({**TINY, "batch_size": 9}, shared, tmp_path / "a.ckpt")
        assert len(torch.stack(seen).unique(dim=0)) == 6
        assert len(torch.cat(seen).unique()) > 25
        training.train({**TINY, "augmented": False}, shared, tmp_path / "b.ckpt")
    assert len(seen) == 6


def test_learning_rate_falls_and_filters_decay(shared: dict[str, Any], tmp_path: Path) -> None:
    rates, again = list[list[float]](), torch.optim.Adam.step

    def watched(self: torch.optim.Adam, *given: Any) -> Any:  # noqa: ANN401
        rates.append([self.param_groups[0]["lr"], *(group["weight_decay"] for group in self.param_groups)])
        return again(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", watched)
        training.train({**TINY, "steps": 10, "weight_decay": 0.3}, shared, tmp_path / "a.ckpt")
    assert [rate for rate, *_ in rates] == pytest.approx([1e-3] * 4 + [1e-4] * 3 + [1e-5] * 2 + [1e-6])
    assert all(decays == [0.3, 0.0] for _, *decays in rates)


@pytest.mark.slow
def test_a_narrow_network_learns_the_modes(tmp_path: Path) -> None:
    pixels, targets = bars(120)
    shared = {"folder": str(written(tmp_path / "p", pixels)), "digest": "", "targets": targets}
    shared["fold_of"] = np.arange(120) % 5
    run = {**TINY, "network": "densenet40", "width": 0.25, "steps": 60, "batch_size": 16, "lr": 0.01, "log_every": 59}
    found = training.train({**run, "n_validated": 100}, shared, tmp_path / "a.ckpt")
    constant = np.log(np.cosh(targets - targets.mean())).mean()
    assert found["validation_loss"][-1] < 0.5 * constant
    assert found["validation_loss"][0] > 0.8 * constant


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.float32)])
def test_channels_and_types(channels: int, dtype: type, shared: dict[str, Any], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (N, channels, 40, 40)).astype(dtype)
    own = {**shared, "folder": str(written(tmp_path / "p", pixels))}
    found = training.train({**TINY, "steps": 2}, own, tmp_path / "a.ckpt")
    assert found["architecture"]["n_channels"] == channels
    assert np.isfinite(found["loss"]).all()


def test_bad_input(shared: dict[str, Any], tmp_path: Path) -> None:
    def trained(run: dict[str, Any] | None = None, **own: Any) -> None:  # noqa: ANN401
        training.train({**TINY, **(run or {})}, {**shared, **own}, tmp_path / "a.ckpt")

    targets = shared["targets"]
    with pytest.raises(ValueError, match=r"unknown depth; expected any of network, width"):
        trained({"depth": 3})
    with pytest.raises(ValueError, match="steps: expected 1 or more, got 0"):
        trained({"steps": 0})
    with pytest.raises(ValueError, match="schedule: expected one of"):
        trained({"schedule": "never"})
    with pytest.raises(DataError, match=r"one for each of 24 patches, got \(24,\) and \(3,\)"):
        trained(targets=targets[:3])
    with pytest.raises(DataError, match=r"expected 0 \(continuous\) to 1, found .* to 1.5"):
        trained(targets=np.where(np.arange(N) == 2, 1.5, targets))
    with pytest.raises(DataError, match="fold 0: 12 frames train, 0 of them discontinuous; both modes"):
        trained(targets=np.minimum(targets, 0.4))
    with pytest.raises(DataError, match="fold 0: 0 frames train"):
        trained(targets=np.full(N, np.nan))
    pixels = np.random.default_rng(0).random((N, 1, 32, 32), np.float32)
    pixels[2:, 0, 3, 3] = np.nan
    with pytest.raises(DataError, match=r"row \d+ has pixels that are not finite"):
        trained(folder=str(written(tmp_path / "nan", pixels)))
    with pytest.raises(DataError, match="cut the patches again"):
        trained(folder=str(tmp_path / "none"))
