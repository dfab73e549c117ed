"""Trainings: the same weights twice, killed and resumed; curves; alarms that stop what is not worth going on with."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cytogan_trainings import TINY, cells, parts_of, same, shared, simulated, weights
from torch import Tensor

from cellweak_core.cytogan import evaluation, steps, training, variants, watching
from cellweak_core.cytogan.networks import build
from cellweak_core.files import CellweakWarning
from cellweak_core.parallel import map_runs
from cellweak_core.screens.crops import Crops
from cellweak_core.screens.networks import rebuilt
from cellweak_core.training import make_fabric, random_source

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
    return simulated(tmp_path_factory.mktemp("screen"))


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


def test_runs_are_tasks_of_map_runs(screen: Crops, tmp_path: Path) -> None:
    runs = [{**TINY, "model": "lsgan", "seed": seed} for seed in (1, 2)]
    first, other = map_runs(training.train, runs, folder=tmp_path, shared=shared(screen))
    assert same(first, training.train(runs[0], shared(screen), tmp_path / "a.ckpt"))
    assert not same(first, other)
    assert first["diversity_step"].tolist() == [3, 6]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".ckpt", ".safetensors", ".safetensors"]


def test_lsgan_learns_the_cells(screen: Crops, tmp_path: Path) -> None:
    run = {**TINY, "model": "lsgan", "width": 0.1, "steps": 150, "batch_size": 16}
    run |= {"lr_generator": 1e-3, "lr_discriminator": 3e-3, "log_every": 30, "check_every": 30}
    found = training.train(run, shared(screen), tmp_path / "a.ckpt")
    networks = rebuilt(found, build)
    z = torch.randn(64, 5, generator=random_source(0))
    fake = training.generated(networks, z, None, make_fabric("cpu"))
    real = cells(screen, len(screen))
    untrained = training.train({**run, "steps": 1}, shared(screen), tmp_path / "b.ckpt")
    start = training.generated(rebuilt(untrained, build), z, None, make_fabric("cpu"))
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
    said = r"lsgan, seed 0: mode collapse: from step 6 to 10 .* less than 2% .* stops at step 10 of 40"
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
        watch.look(6, networks, torch.tensor(0.015))
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
