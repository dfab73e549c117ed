"""Trainings: the same weights twice, killed and resumed; alarms; cells as they come; settings that cannot be."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from cellweak_core.cytogan import evaluation, steps, training, variants, watching
from cellweak_core.cytogan.conditions import compounds_of, conditions
from cellweak_core.cytogan.reading import Shuffled, ahead, prepared, require_contrast
from cellweak_core.files import CellweakWarning, DataError
from cellweak_core.parallel import map_runs
from cellweak_core.screens.crops import Crops, load_crops, write_crops
from cellweak_core.screens.simulate import Plan, simulate_screen
from cellweak_core.training import make_fabric, random_source

FEW = Plan(n_mechanisms=2, compounds=2, doses=1, batches=2, replicates=2, cells=4, controls=2, size_px=32)
TINY: dict[str, Any] = {
    "size_px": 16, "width": 0.03, "latent": 5, "noise": 5, "steps": 6, "batch_size": 4, "log_every": 2,
    "check_every": 3, "n_checked": 8, "checkpoint_every": 2, "device": "cpu", "precision": "32-true",
}  # fmt: skip
NAMES = {
    "dcgan": {"discriminator_loss", "generator_loss"},
    "wgan": {"discriminator_loss", "generator_loss", "penalty"},
    "began": {"discriminator_loss", "generator_loss", "real_loss", "k", "convergence"},
    "bigan": {"discriminator_loss", "generator_loss", "encoder_loss"},
    "vae": {"reconstruction_loss", "divergence"},
    "autoencoder": {"reconstruction_loss"},
}


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Crops:
    return load_crops(write_crops(simulate_screen(FEW), tmp_path_factory.mktemp("screen")))


def shared(crops: Crops, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"folder": str(crops.root), "reading": {}, **more}


def screen_of(pixels: np.ndarray, folder: Path) -> Crops:
    """Crops `(n, H, W, C)` on the disk, half of them controls."""
    np.save(folder / "crops.npy", pixels)
    compound = np.where(np.arange(len(pixels)) % 2, "taxol", "DMSO")
    pd.DataFrame({"plate": "1", "well": "A01", "compound": compound}).to_csv(folder / "cells.csv", index=False)
    return load_crops(folder, axes="NHWC")


def weights(result: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value) for name, value in result.items() if name.startswith("model.")}


def same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())


@pytest.mark.parametrize("model", variants.MODELS)
def test_same_seed_same_weights_killed_or_not(model: str, screen: Crops, tmp_path: Path) -> None:
    run = {**TINY, "model": model, "seed": 1, "critic_steps": 2 if model == "wgan" else 1}
    whole = training.train(run, shared(screen), tmp_path / "a.ckpt")
    again, calls = training.step, []

    def dying(*given: Any) -> dict[str, Tensor]:  # noqa: ANN401
        calls.append(1)
        if len(calls) == 6:  # between two checkpoints, two points of the curves and two looks
            raise KeyboardInterrupt
        return again(*given)

    (tmp_path / "b").mkdir()
    state = torch.random.get_rng_state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            training.train(run, shared(screen), tmp_path / "b" / "a.ckpt")
    resumed = training.train(run, shared(screen), tmp_path / "b" / "a.ckpt")
    assert torch.equal(state, torch.random.get_rng_state())  # the caller's own randomness is not touched
    assert weights(whole)
    assert same(whole, resumed)
    curves = {name for name, value in whole.items() if isinstance(value, np.ndarray)} - {"step"}
    assert curves >= NAMES.get(whole["settings"]["kind"], NAMES["dcgan"])
    for name in curves:
        np.testing.assert_array_equal(whole[name], resumed[name])
        assert np.isfinite(whole[name]).all()
    assert whole["step"].tolist() == [2, 4, 6]
    assert ("diversity" in whole) == (model != "autoencoder")
    assert whole["steps"] == 6
    assert whole["collapsed_at"] is whole["diverged_at"] is None
    assert whole["seconds"] > 0
    assert not same(whole, training.train({**run, "seed": 2}, shared(screen), tmp_path / "c.ckpt"))


def test_two_runs_are_tasks_of_map_runs(screen: Crops, tmp_path: Path) -> None:
    runs = [{**TINY, "model": "lsgan", "seed": seed} for seed in (1, 1, 2)]
    first, second, other = map_runs(training.train, runs, folder=tmp_path, shared=shared(screen))
    assert same(first, second)
    assert not same(first, other)
    assert first["diversity_step"].tolist() == [3, 6]


def test_lsgan_learns_the_cells(screen: Crops, tmp_path: Path) -> None:
    run = {**TINY, "model": "lsgan", "width": 0.1, "steps": 150, "batch_size": 16}
    run |= {"lr_generator": 1e-3, "lr_discriminator": 3e-3, "log_every": 30, "check_every": 30}
    found = training.train(run, shared(screen), tmp_path / "a.ckpt")
    networks = training.restored(found)
    z = torch.randn(64, 5, generator=random_source(0))
    fake = training.generated(networks, z, None, make_fabric("cpu"))
    real = prepared(torch.from_numpy(screen.raw(np.arange(len(screen)))), 16)
    untrained = training.train({**run, "steps": 1}, shared(screen), tmp_path / "b.ckpt")
    start = training.generated(training.restored(untrained), z, None, make_fabric("cpu"))
    far, near = ((x.mean(0) - real.mean(0)).square().mean().item() for x in (start, fake))
    assert near < 0.2 * far  # the mean cell is as the real ones'
    assert 0.6 < found["diversity"][-1] < 1.6


@pytest.mark.parametrize("model", ["vae", "autoencoder"])
def test_autoencoders_learn_the_cells(model: str, screen: Crops, tmp_path: Path) -> None:
    run = {**TINY, "model": model, "width": 0.1, "steps": 120, "batch_size": 16, "latent": 16, "check_every": 50}
    loss = training.train(run, shared(screen), tmp_path / "a.ckpt")["reconstruction_loss"]
    assert loss[-5:].mean() < 0.5 * loss[0]


def test_only_named_rows_train(screen: Crops, tmp_path: Path) -> None:
    rows = np.arange(0, len(screen), 2)
    seen = list[int]()
    taken = Crops.checked

    def watched(self: Crops, asked: np.ndarray) -> np.ndarray:
        seen.extend(np.asarray(asked).tolist())
        return taken(self, asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Crops, "checked", watched)
        training.train({**TINY, "model": "lsgan"}, shared(screen, rows=rows), tmp_path / "a.ckpt")
    assert set(seen) <= set(rows.tolist())
    assert len(set(seen)) > 10


# --- one step


def parts_of(model: str, screen: Crops, **own: Any) -> steps.Parts:  # noqa: ANN401
    chosen = variants.settings({**TINY, "model": model, **own})
    architecture = variants.architecture_of(chosen, screen.channels, 16, compounds_of(screen.cells))
    torch.manual_seed(0)
    networks = training.build(architecture).train()
    optimisers = training._optimisers(networks, chosen, torch.device("cpu"))
    return steps.Parts(
        {**chosen, "noise": architecture["noise"]}, networks, optimisers, steps.Balance(), make_fabric("cpu")
    )


def test_lsgan_step_by_hand(screen: Crops) -> None:
    """The order of the authors' step, written out a second time with plain torch."""
    parts, literal = (parts_of("lsgan", screen, input_noise=0.0, label_low=1.0) for _ in range(2))
    real = prepared(torch.from_numpy(screen.raw(np.arange(4))), 16)
    torch.manual_seed(5)
    values = steps.step(parts, real)

    torch.manual_seed(5)
    g, d = literal.networks["generator"], literal.networks["discriminator"]
    g.eval()
    fake = g(torch.randn(4, 5)).detach()
    g.train()
    torch.rand(4)  # labels, here all 1
    scores = [*d(fake), *d(real)]
    loss_d = sum((score - target) ** 2 for score, target in zip(scores, [0.0] * 4 + [1.0] * 4, strict=True)) / 8
    literal.optimisers["discriminator"].zero_grad()
    loss_d.backward()
    literal.optimisers["discriminator"].step()
    loss_g = sum((score - 1) ** 2 for score in d(g(torch.randn(4, 5)))) / 4
    literal.optimisers["generator"].zero_grad()
    loss_g.backward()
    literal.optimisers["generator"].step()
    assert values["discriminator_loss"].item() == pytest.approx(loss_d.item(), rel=1e-5)
    assert values["generator_loss"].item() == pytest.approx(loss_g.item(), rel=1e-5)
    for name, value in literal.networks.state_dict().items():
        torch.testing.assert_close(parts.networks.state_dict()[name], value, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("model", ["dcgan", "wgan", "began", "bigan"])
def test_a_network_is_changed_by_its_own_optimiser_only(model: str, screen: Crops) -> None:
    real = prepared(torch.from_numpy(screen.raw(np.arange(4))), 16)
    for frozen in parts_of(model, screen).networks:
        parts = parts_of(model, screen)
        for group in parts.optimisers[frozen].param_groups:
            group["lr"] = 0.0
        # a critic that is linear in the end has biases whose slopes cancel out between real and generated cells
        own = {name: p for name, p in parts.networks.named_parameters() if not name.endswith(".bias")}
        before = {name: p.detach().clone() for name, p in own.items()}
        steps.step(parts, real)
        for name, p in own.items():
            assert torch.equal(p, before[name]) == name.startswith(f"{frozen}."), name


def test_inference_of_the_fakes_leaves_the_generators_statistics(screen: Crops) -> None:
    parts = parts_of("lsgan", screen)
    before = parts.networks["generator"].norm.running_mean.clone()
    parts.inferred("generator", parts.noise(4), None)
    assert torch.equal(before, parts.networks["generator"].norm.running_mean)
    assert parts.networks["generator"].training
    steps.step(parts, prepared(torch.from_numpy(screen.raw(np.arange(4))), 16))
    assert not torch.equal(before, parts.networks["generator"].norm.running_mean)


def test_critic_sees_other_cells_in_each_of_its_steps(screen: Crops) -> None:
    parts = parts_of("wgan", screen, critic_steps=3)
    seen = []
    given = steps._discriminator

    def watched(parts: steps.Parts, real: Tensor, condition: Tensor | None) -> dict[str, Tensor]:
        seen.append(real)
        return given(parts, real, condition)

    real = prepared(torch.from_numpy(screen.raw(np.arange(12))), 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "_discriminator", watched)
        steps.step(parts, real)
    assert torch.equal(torch.cat(seen), real)
    assert [len(one) for one in seen] == [4, 4, 4]


def test_began_balance_moves_as_its_equation(screen: Crops) -> None:
    parts = parts_of("began", screen, gain=0.5)
    values = steps.step(parts, prepared(torch.from_numpy(screen.raw(np.arange(4))), 16))
    # with k at its start the discriminator's loss is L(x); M then holds |gamma L(x) - L(G)|
    assert values["discriminator_loss"].item() == pytest.approx(values["real_loss"].item(), rel=1e-5)
    moved = abs(values["convergence"].item() - values["real_loss"].item())
    assert values["k"].item() == pytest.approx(min(1.0, 0.5 * moved), rel=1e-4)
    assert parts.balance.k.item() == values["k"].item()


def test_learning_rate_falls_in_stairs(screen: Crops, tmp_path: Path) -> None:
    rates = list[tuple[float, float]]()
    given = training.step

    def watched(parts: steps.Parts, *more: Any) -> dict[str, Tensor]:  # noqa: ANN401
        rates.append(tuple(one.param_groups[0]["lr"] for one in parts.optimisers.values()))
        return given(parts, *more)

    run = {**TINY, "model": "lsgan", "decay": 0.5, "decay_every": 2, "lr_generator": 0.4, "lr_discriminator": 0.1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "step", watched)
        training.train(run, shared(screen), tmp_path / "a.ckpt")
    assert [g for g, _ in rates] == pytest.approx([0.4, 0.4, 0.2, 0.2, 0.1, 0.1])
    assert [d for _, d in rates] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])


def test_curves_are_means_of_the_steps_between(screen: Crops, tmp_path: Path) -> None:
    seen = list[float]()
    given = training.step

    def watched(*more: Any) -> dict[str, Tensor]:  # noqa: ANN401
        values = given(*more)
        seen.append(values["discriminator_loss"].item())
        return values

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "step", watched)
        found = training.train({**TINY, "model": "lsgan", "log_every": 4}, shared(screen), tmp_path / "a.ckpt")
    assert found["step"].tolist() == [4, 6]
    assert found["discriminator_loss"] == pytest.approx([np.mean(seen[:4]), np.mean(seen[4:])], rel=1e-5)


def test_nothing_is_fetched_between_two_points_of_the_curves(screen: Crops) -> None:
    """A meta tensor has no value to fetch: any attempt to copy it to the host raises."""
    watch = watching.Watch(variants.settings({**TINY, "model": "lsgan", "log_every": 5}), alarmed=True)
    for done in range(1, 5):
        watch.seen(done, {"loss": torch.zeros((), device="meta")})
    with pytest.raises((NotImplementedError, RuntimeError)):
        watch.seen(5, {"loss": torch.zeros((), device="meta")})


# --- alarms


def test_diversity_is_the_evaluations() -> None:
    x = torch.randn(7, 2, 3, 3, generator=random_source(0))
    assert watching.pairwise_distance(x).item() == pytest.approx(evaluation.diversity(x.numpy()), rel=1e-5)
    assert watching.pairwise_distance(x[:1].expand(4, -1, -1, -1)).item() == 0
    literal = [math.dist(x[i].flatten().tolist(), x[j].flatten().tolist()) for i in range(7) for j in range(i)]
    assert watching.pairwise_distance(x).item() == pytest.approx(np.mean(literal), rel=1e-5)


def test_collapse_stops_the_training_with_a_word(
    screen: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {**TINY, "model": "lsgan", "steps": 40, "check_every": 2, "collapse_after": 5, "collapse_checks": 3}
    said = r"lsgan, seed 0: mode collapse: from step 6 to 10 .* less than 5% .* stops at step 10 of 40"
    monkeypatch.setattr(training, "generated", lambda networks, z, *_: torch.zeros(len(z), 3, 16, 16))
    with pytest.warns(CellweakWarning, match=said):
        found = training.train(run, shared(screen), tmp_path / "a.ckpt")
    assert found["collapsed_at"] == found["steps"] == 10
    assert found["diverged_at"] is None
    assert found["diversity_step"].tolist() == [2, 4, 6, 8, 10]
    assert found["step"].tolist() == [2, 4, 6, 8, 10]
    assert not same(found, training.train({**run, "steps": 1}, shared(screen), tmp_path / "b.ckpt"))


@pytest.mark.parametrize("own", [{"collapse_below": 0.0}, {"collapse_after": 40}, {"collapse_checks": 30}])
def test_no_alarm_where_it_is_off_too_early_or_not_often_enough(
    own: dict[str, Any], screen: Crops, tmp_path: Path
) -> None:
    run = {**TINY, "model": "lsgan", "steps": 40, "check_every": 2, "collapse_after": 0, "collapse_checks": 3, **own}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "generated", lambda networks, z, *_: torch.zeros(len(z), 3, 16, 16))
        found = training.train(run, shared(screen), tmp_path / "a.ckpt")
    assert found["collapsed_at"] is None
    assert found["steps"] == 40


def test_low_looks_must_follow_each_other(screen: Crops) -> None:
    chosen = variants.settings({**TINY, "model": "lsgan", "collapse_after": 0, "collapse_checks": 2})
    watch, networks = watching.Watch(chosen, alarmed=True), parts_of("lsgan", screen).networks
    for done, share in enumerate([0.01, 0.5, 0.01, 0.5], 1):
        watch.look(done, networks, torch.tensor(share))
    assert watch.facts["collapsed_at"] == 0
    watch.look(5, networks, torch.tensor(0.01))
    with pytest.warns(CellweakWarning, match="mode collapse"), pytest.raises(watching.StoppedError):
        watch.look(6, networks, torch.tensor(0.02))
    calm = watching.Watch(chosen, alarmed=False)  # a VAE is no adversary
    for done in range(1, 5):
        calm.look(done, networks, torch.tensor(0.0))
    assert calm.facts["collapsed_at"] == 0


def test_a_diverged_training_stops_and_keeps_the_last_good_weights(
    screen: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {**TINY, "model": "lsgan", "steps": 12}
    given, calls = training.step, []

    def breaking(parts: steps.Parts, *more: Any) -> dict[str, Tensor]:  # noqa: ANN401
        values = given(parts, *more)
        calls.append(1)
        if len(calls) == 5:
            for parameter in parts.networks.parameters():
                parameter.data.fill_(torch.nan)
        return values

    monkeypatch.setattr(training, "step", breaking)
    with pytest.warns(CellweakWarning, match=r"loss is no longer a number at step 6: .* weights of step 3 are kept"):
        found = training.train(run, shared(screen), tmp_path / "a.ckpt")
    monkeypatch.undo()
    assert found["diverged_at"] == found["steps"] == 6
    assert found["collapsed_at"] is None
    assert all(value.isfinite().all() for value in weights(found).values())
    # what an undisturbed training has at step 3; another schedule of the looks does not change it
    short = training.train({**run, "steps": 3}, shared(screen), tmp_path / "b.ckpt")
    assert same(found, short)


def test_learning_rates_without_measure_diverge_with_a_word(screen: Crops, tmp_path: Path) -> None:
    run = {**TINY, "model": "wgan", "steps": 60, "lr_discriminator": 1e8, "lr_generator": 1e8}
    with pytest.warns(CellweakWarning, match="the training has diverged and stops"):
        found = training.train(run, shared(screen), tmp_path / "a.ckpt")
    assert found["diverged_at"] <= 60
    assert all(value.isfinite().all() for value in weights(found).values())


# --- cells as they come


def test_scaling_is_by_each_channels_maximum() -> None:
    x = np.random.default_rng(0).integers(0, 60_000, (3, 2, 4, 4)).astype(np.uint16)
    found = prepared(torch.from_numpy(x), 4).numpy()
    for i in range(3):
        for c in range(2):
            largest = float(x[i, c].max())
            for u in range(4):
                for v in range(4):
                    assert found[i, c, u, v] == pytest.approx(2 * float(x[i, c, u, v]) / largest - 1, abs=1e-6)
    assert found.dtype == np.float32
    by_range = prepared(torch.from_numpy(x), 4, "range").numpy()
    assert by_range.min((2, 3)) == pytest.approx(np.full((3, 2), -1.0))
    assert by_range.max((2, 3)) == pytest.approx(np.ones((3, 2)))


@pytest.mark.parametrize("scaling", variants.SCALINGS)
@pytest.mark.parametrize("size_px", [8, 12])
@pytest.mark.parametrize("value", [0.0, 7.0, 65_535.0])
def test_a_constant_channel_is_dark_all_over(value: float, size_px: int, scaling: str) -> None:
    x = torch.rand(2, 2, 8, 8, generator=random_source(0))
    x[:, 1] = value
    before = x.clone()
    found = prepared(x, size_px, scaling)
    assert (found[:, 1] == -1).all()
    assert found[:, 0].max() == pytest.approx(1)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, before)
    assert prepared(x[:0], size_px, scaling).shape == (0, 2, size_px, size_px)


def test_resizing_comes_before_scaling() -> None:
    x = torch.zeros(1, 1, 16, 16)
    x[..., 7:9, 7:9] = 100.0
    found = prepared(x, 8)
    assert found.shape == (1, 1, 8, 8)
    assert found.max() == pytest.approx(1)
    assert found.min() == pytest.approx(-1)


def test_shuffled_rows_come_each_once_an_epoch_in_another_order() -> None:
    rows = np.array([3, 5, 8, 13, 21])
    order = Shuffled(rows, 0)
    epochs = [order.take(5 * k, 5) for k in range(20)]
    assert all(sorted(one.tolist()) == rows.tolist() for one in epochs)
    assert len({tuple(one.tolist()) for one in epochs}) > 10
    together = np.concatenate(epochs)
    # what a step gets does not depend on the steps before it
    assert Shuffled(rows, 0).take(7, 9).tolist() == together[7:16].tolist()
    assert Shuffled(rows, 1).take(0, 100).tolist() != together.tolist()


def test_fewer_cells_than_a_batch_come_more_than_once_with_a_word(screen: Crops, tmp_path: Path) -> None:
    run = {**TINY, "model": "lsgan", "batch_size": 8}
    with pytest.warns(CellweakWarning, match="5 cells and 8 in a step, so that some come more than once"):
        found = training.train(run, shared(screen, rows=np.arange(5)), tmp_path / "a.ckpt")
    assert np.isfinite(found["discriminator_loss"]).all()


def test_one_channel_trains(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 200, (12, 16, 16, 1)).astype(np.uint8)
    found = training.train({**TINY, "model": "lsgan"}, shared(screen_of(pixels, tmp_path)), tmp_path / "a.ckpt")
    assert found["architecture"]["n_channels"] == 1
    assert found["model.generator.last.weight"].shape[0] == 1


def test_a_channel_without_light_trains(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 200, (12, 16, 16, 2)).astype(np.uint8)
    pixels[..., 1] = 9
    found = training.train({**TINY, "model": "lsgan"}, shared(screen_of(pixels, tmp_path)), tmp_path / "a.ckpt")
    assert np.isfinite(found["discriminator_loss"]).all()


def test_an_offset_is_told_of_and_range_takes_it_off(tmp_path: Path) -> None:
    pixels = (60_000 + np.random.default_rng(0).integers(0, 500, (12, 16, 16, 2))).astype(np.uint16)
    crops = screen_of(pixels, tmp_path)
    with pytest.warns(CellweakWarning) as told:
        found = training.train({**TINY, "model": "lsgan"}, shared(crops), tmp_path / "a.ckpt")
    assert len(told) == 2  # one for each channel
    assert "channel 0: the darkest pixel of a cell has 99% of the brightest one's light" in str(told[0].message)
    assert np.isfinite(found["discriminator_loss"]).all()
    by_range = training.train({**TINY, "model": "lsgan", "scaling": "range"}, shared(crops), tmp_path / "b.ckpt")
    assert by_range["architecture"]["scaling"] == "range"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_pixels_that_are_no_light_are_refused_by_row(bad: float, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((12, 16, 16, 2)).astype(np.float32)
    pixels[7, 3, 3, 1] = bad
    with pytest.raises(DataError, match="crop 7 has pixels below 0 or that are no numbers"):
        training.train({**TINY, "model": "lsgan"}, shared(screen_of(pixels, tmp_path)), tmp_path / "a.ckpt")


def test_cells_that_cannot_be_learnt_are_refused(screen: Crops, tmp_path: Path) -> None:
    for name, pixels, match in (
        ("alike", np.full((12, 16, 16, 2), 40, np.uint8), "8 cells, drawn by chance, are all alike"),
        ("oblong", np.random.default_rng(0).integers(0, 9, (12, 16, 24, 2)).astype(np.uint8), "expected square ones"),
    ):
        (tmp_path / name).mkdir()
        crops = screen_of(pixels, tmp_path / name)
        with pytest.raises(DataError, match=match):
            training.train({**TINY, "model": "lsgan"}, shared(crops), tmp_path / "a.ckpt")
    with pytest.raises(DataError, match="no cells to work on"):
        require_contrast(screen, np.zeros(0, np.int64), "maximum")


def test_crops_are_resized_to_a_side_that_the_networks_take(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (12, 20, 20, 2)).astype(np.uint8)
    crops = screen_of(pixels, tmp_path)
    with pytest.raises(ValueError, match=r"needs a multiple of 8 px, got 20; resize to 16\?"):
        training.train({**TINY, "model": "lsgan", "size_px": 0}, shared(crops), tmp_path / "a.ckpt")
    found = training.train({**TINY, "model": "lsgan", "size_px": 16}, shared(crops), tmp_path / "a.ckpt")
    assert (found["architecture"]["crop_px"], found["architecture"]["size_px"]) == (20, 16)


def test_reading_ahead_keeps_the_order_and_tells_of_errors_in_turn() -> None:
    def read(k: int) -> int:
        if k == 3:
            raise DataError("row 3")
        return k * k

    batches = ahead(read, range(5))
    assert [next(batches) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(DataError, match="row 3"):
        next(batches)
    assert list(ahead(read, [])) == []


# --- what models are told, and settings


def test_conditions_are_log_concentration_and_one_of_the_compounds() -> None:
    cells = pd.DataFrame({"compound": ["b", "DMSO", "a", "b"], "concentration": [1.0, 0.0, 99.0, np.e - 1]})
    known = compounds_of(cells)
    assert known == ("DMSO", "a", "b")
    found = conditions(cells, "both", known)
    assert found is not None
    assert found.dtype == np.float32
    assert found[:, 0] == pytest.approx([math.log(2), 0, math.log(100), 1])
    assert found[:, 1:].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    alone = conditions(cells, "concentration")
    assert alone is not None
    assert alone[:, 0].tolist() == found[:, 0].tolist()
    assert conditions(cells, "none") is None
    with pytest.raises(DataError, match="compound 'b' is none of the 2"):
        conditions(cells, "both", known[:2])
    with pytest.raises(ValueError, match="kind: expected none, concentration or both, got 'dose'"):
        conditions(cells, "dose")


@pytest.mark.parametrize("bad", [np.nan, -1.0, np.inf])
def test_concentrations_that_are_none_are_refused(bad: float) -> None:
    cells = pd.DataFrame({"compound": ["a", "b"], "concentration": [1.0, bad]})
    with pytest.raises(DataError, match=r"row 1, concentration .*, expected 0 or above"):
        conditions(cells, "concentration")


def test_defaults_are_the_authors() -> None:
    lsgan, began, bigan = (variants.settings({"model": name}) for name in ("lsgan", "began", "bigan"))
    assert (lsgan["lr_discriminator"], lsgan["lr_generator"], lsgan["batch_size"]) == (7e-5, 2e-4, 64)
    assert (lsgan["decay"], lsgan["decay_every"], lsgan["beta1"]) == (0.9999, 100, 0.5)
    dcgan = variants.settings({"model": "dcgan"})
    assert (dcgan["lr_discriminator"], dcgan["lr_generator"]) == (5e-5, 1e-5)
    assert (began["lr_discriminator"], began["lr_generator"], began["decay_every"]) == (1e-5, 1e-5, 1000)
    assert (began["batch_size"], began["gamma"], began["gain"]) == (16, 0.75, 1e-3)
    assert (bigan["lr_discriminator"], bigan["lr_generator"], bigan["lr_encoder"]) == (7e-5, 7e-5, 7e-5)
    vae, plain = (variants.settings({"model": name}) for name in ("vae", "autoencoder"))
    assert (vae["lr_autoencoder"], vae["decay"], vae["latent"], vae["batch_size"]) == (1e-3, 0.996, 256, 128)
    assert (plain["lr_autoencoder"], plain["latent"]) == (1e-3, 32)
    told = variants.settings({"model": "c-lsgan", "width": 0.5})
    assert (told["kind"], told["conditions"]) == ("lsgan", "concentration")
    assert (told["decay"], told["decay_every"]) == (0.9995, 200)
    assert told["width"] == 0.5


@pytest.mark.parametrize(
    ("run", "match"),
    [
        ({}, "model: expected one of dcgan, .*, got None"),
        ({"model": "gan"}, "got 'gan'"),
        ({"model": "lsgan", "learning_rate": 1}, "unknown learning_rate; expected any of model, width"),
        ({"model": "lsgan", "scaling": "log"}, "scaling: expected one of maximum, range, got 'log'"),
        ({"model": "lsgan", "conditions": "dose"}, "conditions: expected one of none, concentration, both"),
        ({"model": "lsgan", "batch_size": 1}, "batch_size: expected 2 or more"),
        ({"model": "lsgan", "critic_steps": 0}, "critic_steps: expected 1 or more, got 0"),
        ({"model": "vae", "n_checked": 1}, "n_checked: expected 2 or more"),
    ],
)
def test_settings_that_cannot_be(run: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        variants.settings(run)


def test_a_learning_rate_of_nothing_is_refused(screen: Crops, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lr_generator: expected above 0, got 0"):
        training.train({**TINY, "model": "lsgan", "lr_generator": 0}, shared(screen), tmp_path / "a.ckpt")
