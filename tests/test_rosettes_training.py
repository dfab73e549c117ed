"""WGAN and ensembles of classifiers: same seed, kill and resume (detectors too), independence, and that they learn."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from rosettes_trainings import (
    CASES,
    GAN,
    SIZES,
    WINDOWS,
    Run,
    Task,
    assert_equal,
    spots,
    trained_discriminator,
    window_case,
)
from torch import Tensor, nn

from cellweak_core.parallel import load_result, save_result
from cellweak_core.rosettes.classifiers import Curve, Ensemble, started, train_classifiers
from cellweak_core.rosettes.networks import Classifier
from cellweak_core.rosettes.wgan import build, generate, part, train_wgan, unlabelled_patches
from cellweak_core.training import run_steps


@pytest.fixture(scope="module")
def discriminator() -> dict[str, Tensor]:
    return trained_discriminator()


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest, discriminator: dict[str, Tensor]) -> tuple[Task, ModuleType, Run, Run]:
    return CASES[request.param](discriminator)


class Killed(Exception):
    pass


def test_same_seed_same_weights_and_killed_the_same_again(
    case: tuple[Task, ModuleType, Run, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, module, run, shared = case
    before = copy.deepcopy(shared)
    whole = task(run, shared, tmp_path / "a" / "key.ckpt")
    torch.rand(3)  # another global state
    assert_equal(whole, task(run, shared, tmp_path / "b" / "key.ckpt"))
    die_at = [5, 4]  # once after the checkpoints of steps 2 and 4, then again right after resuming

    def dying(step: Callable[[int], Any], n: int, **options: Any) -> dict[str, list[float]]:  # noqa: ANN401
        def one(i: int) -> Mapping[str, Any]:
            if die_at and i == die_at[0]:
                raise Killed
            return step(i)

        return run_steps(one, n, every=2, **options)

    monkeypatch.setattr(module, "run_steps", dying)
    while die_at:
        with pytest.raises(Killed):
            task(run, shared, tmp_path / "c" / "key.ckpt")
        die_at.pop(0)
    torch.manual_seed(1234)
    assert_equal(whole, task(run, shared, tmp_path / "c" / "key.ckpt"))
    assert torch.load(tmp_path / "c" / "key.ckpt", weights_only=True)["step"] == run["steps"]
    assert_equal(before, shared)


def test_another_seed_gives_other_weights_and_results_fit_a_file(
    case: tuple[Task, ModuleType, Run, Run], tmp_path: Path
) -> None:
    task, _, run, shared = case
    other = {**run, **({"seeds": [5, 6, 7]} if "seeds" in run else {"seed": 99})}
    one, two = task(run, shared, tmp_path / "1.ckpt"), task(other, shared, tmp_path / "2.ckpt")
    curve = "generator_loss" if task is train_wgan else "loss"
    assert not np.array_equal(one[curve], two[curve])
    save_result(tmp_path / "r.safetensors", one)
    assert_equal(one, load_result(tmp_path / "r.safetensors"))
    for name, value in one.items():
        assert np.isfinite(np.asarray(value, float)).all(), name


# --- WGAN


def test_tiles_cover_the_image_and_random_windows_lie_in_it() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 10, 13), dtype=np.uint8)
    tiles = [images[k, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] for k in range(3) for i in range(2) for j in range(3)]
    np.testing.assert_array_equal(unlabelled_patches(images, 4, "tiles", 0), tiles)
    patches = unlabelled_patches(images, 4, "random", 1)
    assert patches.shape == (3, 4, 4)
    for image, patch in zip(images, patches, strict=True):
        windows = [image[y : y + 4, x : x + 4] for y in range(7) for x in range(10)]
        assert sum(np.array_equal(patch, w) for w in windows) == 1
    np.testing.assert_array_equal(patches, unlabelled_patches(images, 4, "random", 1))
    assert (patches != unlabelled_patches(images, 4, "random", 2)).any()


def test_random_windows_reach_every_place() -> None:
    image = np.arange(36, dtype=np.uint8).reshape(1, 6, 6)
    corners = unlabelled_patches(np.repeat(image, 500, 0), 4, "random", 0)[:, 0, 0]
    assert set(corners.tolist()) == {6 * y + x for y in range(3) for x in range(3)}


def test_windows_as_large_as_the_image() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    for how in ("random", "tiles"):
        np.testing.assert_array_equal(unlabelled_patches(images, 8, how, 0), images)
    with pytest.raises(ValueError, match="at least 9x9 px for windows of 9, got 8x8"):
        unlabelled_patches(images, 9, "tiles", 0)
    with pytest.raises(ValueError, match="expected 'random' or 'tiles', got 'all'"):
        unlabelled_patches(images, 4, "all", 0)


@pytest.mark.parametrize(("still", "moving"), [("generator", "discriminator"), ("discriminator", "generator")])
def test_each_loss_moves_its_own_network(tmp_path: Path, still: str, moving: str) -> None:
    run = {**GAN, f"lr_{still}": 0.0, "steps": 2}
    result = train_wgan(run, {"patches": spots(20, 16, 0)[0]}, tmp_path / "k.ckpt")
    torch.manual_seed(run["seed"])
    start = dict(zip(("generator", "discriminator"), build(run), strict=True))
    for name, before in start[still].named_parameters():
        assert torch.equal(result[f"{still}.{name}"], before), name
    assert any(not torch.equal(result[f"{moving}.{n}"], p) for n, p in start[moving].named_parameters())


def test_the_first_step_is_equation_2(tmp_path: Path) -> None:
    """One step by hand: the critic descends E[D(G(z))] - E[D(x)] + weight * penalty, then the generator -E[D(G(z))]."""
    run, patches = {**GAN, "steps": 1, "penalty_weight": 10.0, "weight_decay": 0.0}, spots(20, 16, 0)[0]
    result = train_wgan(run, {"patches": patches}, tmp_path / "k.ckpt")
    torch.manual_seed(run["seed"])
    generator, critic = build(run)
    source = torch.Generator().manual_seed(run["seed"])
    real = (torch.from_numpy(patches)[torch.randint(20, (4,), generator=source)][:, None].float() - 128) / 128
    fake = generator(torch.randn(4, 4, generator=source)).detach()
    value = critic(fake).mean() - critic(real).mean()
    mix = torch.rand(4, 1, 1, 1, generator=source)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty = torch.stack([(s.square().sum().sqrt() - 1) ** 2 for s in slope]).mean()
    assert result["discriminator_loss"][0] == pytest.approx(value.item(), rel=1e-5)
    assert result["penalty"][0] == pytest.approx(penalty.item(), rel=1e-5)
    critic.zero_grad()
    (value + 10 * penalty).backward()
    for name, p in critic.named_parameters():  # Adam's first step is the learning rate against the gradient's sign
        assert p.grad is not None
        sure = p.grad.abs() > 1e-5
        moved = result[f"discriminator.{name}"] - p.detach()
        torch.testing.assert_close(moved[sure], -1e-3 * p.grad[sure].sign(), atol=1e-5, rtol=0)


def test_the_penalty_holds_the_critics_slope_near_one(tmp_path: Path) -> None:
    steep = {**GAN, "steps": 50, "lr_discriminator": 1e-2, "lr_generator": 0.0, "batch_size": 8}
    free, held = (
        train_wgan({**steep, "penalty_weight": w}, {"patches": spots(20, 16, 0)[0]}, tmp_path / f"{w}.ckpt")
        for w in (0.0, 10.0)
    )
    assert np.mean(held["penalty"][-20:]) < 1 < 10 < np.mean(free["penalty"][-20:])


def test_generated_windows_are_grey_images() -> None:
    torch.manual_seed(0)
    generator, _ = build(GAN)
    images = generate(generator, 5, seed=1)
    assert images.shape == (5, 16, 16)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, generate(generator, 5, seed=1))
    assert (images != generate(generator, 5, seed=2)).any()
    assert generate(generator, 0, seed=1).shape == (0, 16, 16)


def test_part_takes_the_prefix_only() -> None:
    assert part({"a.b": 1, "a.b.c": 2, "ab.c": 3, "a": 4}, "a") == {"b": 1, "b.c": 2}


# --- ensembles


def members(k: int, dropout: float = 0.0) -> list[Classifier]:
    models = []
    for seed in range(k):
        torch.manual_seed(seed)
        models.append(Classifier(**{**SIZES, "dropout": dropout}))
    return models


@pytest.mark.parametrize("k", [1, 3])
def test_a_member_scores_as_it_does_alone(k: int) -> None:
    models = members(k, 0.5)
    for model in models:
        model.train()(torch.randn(9, 1, 16, 16))  # moving statistics of its own
    ensemble = Ensemble(models).eval()
    x = torch.randn(5, 1, 16, 16)
    own = torch.randn(k, 5, 1, 16, 16)
    shared, separate = ensemble(x), ensemble(own)
    assert shared.shape == (k, 5, 2)
    for i, model in enumerate(models):
        torch.testing.assert_close(shared[i], model.eval()(x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(separate[i], model(own[i]), atol=1e-5, rtol=1e-5)
        assert_equal(ensemble.member(i), model.state_dict())


def trained(model: nn.Module, batches: Tensor, labels: Tensor) -> nn.Module:
    """A few steps of Adam; batches `(steps, ..., n, 1, H, W)`, labels `(steps, ..., n)`."""
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    model.train()
    for x, y in zip(batches, labels, strict=True):
        logits = model(x)
        losses = nn.functional.cross_entropy(logits.flatten(0, -2), y.flatten(), reduction="none").view(y.shape)
        optimiser.zero_grad()
        losses.mean(-1).sum().backward()
        optimiser.step()
    return model


@pytest.mark.parametrize("k", [1, 3])
def test_training_side_by_side_is_training_alone(k: int) -> None:
    batches, labels = torch.randn(4, k, 6, 1, 16, 16), torch.randint(2, (4, k, 6))
    models = members(k)
    ensemble = trained(Ensemble(models), batches, labels)
    for i, model in enumerate(models):
        trained(model, batches[:, i], labels[:, i])
        for name, value in ensemble.member(i).items():
            torch.testing.assert_close(value, model.state_dict()[name], atol=2e-4, rtol=1e-3, msg=name)
        assert model.norm1.running_mean.abs().sum() > 0


def test_members_do_not_touch_each_other() -> None:
    batches, labels = torch.randn(4, 3, 6, 1, 16, 16), torch.randint(2, (4, 3, 6))
    other, other_labels = batches.clone(), labels.clone()
    other[:, 1] = 5 + 3 * torch.randn(4, 6, 1, 16, 16)
    other[3, 1] = torch.nan  # a member that diverges
    other_labels[:, 1] = 1 - labels[:, 1]
    torch.manual_seed(0)
    a = trained(Ensemble(members(3, 0.5)), batches, labels)
    torch.manual_seed(0)
    b = trained(Ensemble(members(3, 0.5)), other, other_labels)
    for i in (0, 2):
        assert_equal(a.member(i), b.member(i))
    assert b.member(1)["fc1.weight"].isnan().any()


def test_dropout_differs_between_members() -> None:
    model = members(1, 0.5)[0]
    with torch.no_grad():
        out = Ensemble([model, model]).train()(torch.randn(6, 1, 16, 16))
    assert not torch.equal(out[0], out[1])


def test_an_ensemble_copies_its_members_and_is_saved_whole() -> None:
    models = members(2)
    ensemble = Ensemble(models)
    with torch.no_grad():
        models[0].fc1.weight.zero_()
    assert ensemble.member(0)["fc1.weight"].abs().sum() > 0
    other = Ensemble(members(2)[::-1])
    other.load_state_dict(ensemble.state_dict())
    assert_equal(other.member(1), ensemble.member(1))
    x = torch.randn(2, 1, 16, 16)
    assert torch.equal(copy.deepcopy(ensemble).eval()(x), ensemble.eval()(x))


def test_both_starts_share_their_random_rest(discriminator: dict[str, Tensor]) -> None:
    random, gan = (started(WINDOWS, s, part(discriminator, "discriminator"), 5) for s in ("random", "wgan"))
    assert torch.equal(random.fc2.weight, gan.fc2.weight)
    assert torch.equal(gan.fc1.weight, discriminator["discriminator.fc1.weight"])
    assert not torch.equal(random.fc1.weight, gan.fc1.weight)
    with pytest.raises(ValueError, match="expected one of random, wgan, got 'imagenet'"):
        started(WINDOWS, "imagenet", {}, 0)
    with pytest.raises(ValueError, match="train the WGAN first"):
        started(WINDOWS, "wgan", {}, 0)


def test_what_a_training_of_classifiers_returns(discriminator: dict[str, Tensor], tmp_path: Path) -> None:
    task, _, run, shared = window_case(discriminator)
    result = task(run, shared, tmp_path / "k.ckpt")
    assert result["curve_step"].tolist() == [3, 6, 7]
    assert result["curve_probabilities"].shape == (3, 3, 5)
    assert torch.equal(result["curve_probabilities"][:, -1], result["probabilities"])
    assert result["n_labels"].tolist() == [24, 24, 6]
    assert {name.split(".")[0] for name in result if name.startswith("member")} == {"member0", "member2"}
    model = Classifier(**SIZES)
    model.load_state_dict(part(result, "member2"))
    x = (torch.from_numpy(shared["test_images"])[:, None].float() - 128) / 128
    torch.testing.assert_close(model.eval()(x).softmax(-1)[:, 1], result["probabilities"][2], atol=1e-5, rtol=1e-5)
    whole = task({**run, "eval_every": 7, "keep_weights": []}, shared, tmp_path / "whole.ckpt")
    assert whole["curve_step"].tolist() == [7]
    save_result(tmp_path / "r.safetensors", whole)  # one evaluation: the curve and its end are one piece of memory
    assert torch.equal(load_result(tmp_path / "r.safetensors")["probabilities"], result["probabilities"])


def test_test_windows_and_their_labels_teach_nothing(discriminator: dict[str, Tensor], tmp_path: Path) -> None:
    task, _, run, shared = window_case(discriminator)
    other = {**shared, "test_images": 255 - shared["test_images"], "test_target": 1 - shared["test_target"]}
    a, b = task(run, shared, tmp_path / "a.ckpt"), task(run, other, tmp_path / "b.ckpt")
    assert_equal(part(a, "member0"), part(b, "member0"))
    assert not torch.equal(a["probabilities"], b["probabilities"])


def test_classifiers_learn(tmp_path: Path) -> None:
    (images, target), (test_images, test_target) = spots(60, 16, 5), spots(40, 16, 6)
    shared = {"train_images": images, "train_target": target, "test_images": test_images, "test_target": test_target}
    run = {**WINDOWS, "starts": ["random"] * 2, "fractions": [1.0, 0.5], "seeds": [0, 1], "keep_weights": []}
    longer = {"width": 4, "steps": 60, "lr": 1e-2, "batch_size": 16}
    result = train_classifiers(run | longer, shared, tmp_path / "k.ckpt")
    accuracy = ((result["probabilities"].numpy() > 0.5) == test_target).mean(1)
    assert (accuracy > 0.85).all()
    assert result["loss"][-5:].mean() < result["loss"][:5].mean() / 2


def test_curve_fills_from_the_front() -> None:
    curve = Curve(2, 3, 4)
    curve.add(5, torch.ones(2, 4))
    curve.add(9, torch.zeros(2, 4))
    assert curve.steps.tolist() == [5, 9, 0]
    assert curve.values[:, 0].eq(1).all()
    assert int(curve.filled) == 2
