"""What every network, loss and metric must do, whatever it computes.

Shape and dtype kept, inputs left alone, finite numbers, gradients that flow, a batch of one, an empty batch decided,
and the same seed giving the same output.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cellweak_core import gan, uncertainty
from cellweak_core.embeddings.autoencoder import Autoencoder
from cellweak_core.embeddings.imagenet import ImageNetResNet
from cellweak_core.embeddings.multiscale import MultiScaleCNN
from cellweak_core.migration import calibration, losses
from cellweak_core.migration import evaluation as verdicts
from cellweak_core.migration import networks as migration
from cellweak_core.migration.labels import MODES
from cellweak_core.rosettes import evaluation, pooling
from cellweak_core.rosettes.augmentation import relight, strong, warp
from cellweak_core.rosettes.classifiers import Ensemble
from cellweak_core.rosettes.context import ContextNet
from cellweak_core.rosettes.detectors import WindowScores
from cellweak_core.rosettes.networks import CentredBatchNorm, Classifier, Discriminator, Generator
from cellweak_core.screens.cellnet import CellNet
from cellweak_core.training import random_source

Call = Callable[..., Any]


@dataclass(frozen=True)
class Network:
    make: Callable[[], nn.Module]
    input_shape: tuple[int, ...]  # of one image
    output_shape: tuple[int, ...]
    call: Call = lambda model, x: model(x)
    least: int = 1  # images of a batch that trains


def classifier() -> Classifier:
    return Classifier(width=2, image_size=16, n_convs=2, fc=6, dropout=0.3)


def regressor(name: str) -> migration.Regressor:
    return migration.build({"network": name, "n_channels": 2, "width": 0.05})


NETWORKS = {
    "batch norm": Network(lambda: CentredBatchNorm(3), (3, 4, 4), (3, 4, 4)),
    "classifier": Network(classifier, (1, 16, 16), (2,)),
    "classifier, dense": Network(classifier, (1, 32, 24), (5, 3), lambda model, x: model.dense(x)),
    "classifier of 128 px": Network(lambda: Classifier(1, 128, 5, 4), (1, 128, 128), (2,)),
    "discriminator": Network(lambda: Discriminator(2, 16, 2, 6), (1, 16, 16), ()),
    "generator": Network(lambda: Generator(1, 16, 5), (5,), (1, 16, 16)),
    "context": Network(lambda: ContextNet(2), (1, 48, 32), (6, 4)),
    "window scores, window": Network(lambda: WindowScores(classifier(), True), (1, 24, 24), (3, 3)),
    "window scores, image": Network(lambda: WindowScores(classifier(), False), (1, 16, 16), (1, 1)),
    "window scores, context": Network(lambda: WindowScores(ContextNet(2), False), (1, 32, 32), (4, 4)),
    "ensemble": Network(
        lambda: Ensemble([classifier(), classifier()]),
        (1, 16, 16),
        (2, 2),  # members and classes; the members come first in the output, here moved behind the images
        lambda model, x: model(x).transpose(0, 1),
    ),
    # batch normalisation of one number in each feature has no spread to normalise by
    "cell, dense": Network(lambda: CellNet(3, 4, 2, 6), (3, 48, 48), (4,), least=2),
    "cell, recurrent": Network(lambda: CellNet(3, 4, 2, 6, head="recurrent"), (2, 3, 48, 48), (4,)),
    "imagenet": Network(lambda: ImageNetResNet(32), (2, 24, 24), (1024,), least=2),
    "multi-scale": Network(lambda: MultiScaleCNN(2, 3, 16, 2, 8, 6), (2, 16, 16), (3,)),
    "autoencoder": Network(lambda: Autoencoder(2, 32, 2, 5), (2, 32, 32), (2, 32, 32)),
    # of 64 px, whose last maps of a ResNet have more than one pixel to normalise a batch of one by
    **{f"migration, {name}": Network(partial(regressor, name), (2, 64, 64), ()) for name in migration.NETWORKS},
}


def made(network: Network, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return network.make().to(dtype)


def images(network: Network, n: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(n, *network.input_shape, generator=random_source(n)).to(dtype)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_network_shape_dtype_finite_and_input_left_alone(
    name: str, training: bool, n: int, dtype: torch.dtype
) -> None:
    network = NETWORKS[name]
    model, x = made(network, dtype).train(training), images(network, n, dtype)
    before = x.clone()
    if training and 0 < n < network.least:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            network.call(model, x)
        return
    out = network.call(model, x)
    assert out.shape == (n, *network.output_shape)
    assert out.dtype == dtype
    assert out.device == x.device
    assert torch.isfinite(out).all()
    assert torch.equal(x, before)
    assert model.training == training
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())


@pytest.mark.parametrize("name", NETWORKS)
def test_network_gradients_flow_to_every_parameter_and_the_input(name: str) -> None:
    network = NETWORKS[name]
    model = made(network).train()
    x = images(network, 6).requires_grad_()
    out = network.call(model, x)
    (out * torch.randn(out.shape, generator=random_source(1))).sum().backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all(), parameter
        assert value.grad.abs().sum() > 0, parameter
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert (x.grad.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_network_same_seed_same_output(name: str) -> None:
    network = NETWORKS[name]
    outputs = [network.call(made(network).train(), images(network, 3)) for _ in range(2)]
    assert torch.equal(*outputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_network_in_evaluation_scores_each_image_by_itself(name: str) -> None:
    network = NETWORKS[name]
    model, x = made(network), images(network, 4)
    network.call(model.train(), x)  # moving statistics that are not the start's
    state = {k: v.clone() for k, v in model.state_dict().items()}
    together = network.call(model.eval(), x)
    alone = torch.cat([network.call(model, x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(network.call(model, x.flip(0)), together.flip(0), atol=1e-5, rtol=1e-4)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


# --- losses and poolings: tensors in, one number or one per image out


def squares(x: Tensor) -> Tensor:
    return x.square().sum((1, 2))


LOSSES: dict[str, tuple[Call, int]] = {
    "minimax, discriminator": (lambda real, fake: gan.minimax_losses(real.mean((1, 2)), fake.mean((1, 2)))[0], 0),
    "minimax, generator": (lambda real, fake: gan.minimax_losses(real.mean((1, 2)), fake.mean((1, 2)))[1], 0),
    "critic": (lambda real, fake: gan.critic_loss(squares(real), squares(fake)), 0),
    "generator": (lambda real, fake: gan.generator_loss(squares(fake)), 0),
    "gradient penalty": (lambda real, fake: gan.gradient_penalty(squares, real, fake, random_source(0)), 0),
    "log cosh": (losses.log_cosh, 0),
    **{
        f"pool, {how}": (lambda real, fake, how=how: pooling.pool(real - fake, how, 2.0), 1)
        for how in ("log_sum_exp", "noisy_or", "maximum", "mean")
    },
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_shape_dtype_finite_input_and_empty_batch(name: str, n: int, dtype: torch.dtype) -> None:
    loss, ndim = LOSSES[name]
    real, fake = (torch.randn(n, 3, 4, generator=random_source(s)).to(dtype) for s in (0, 1))
    before = real.clone(), fake.clone()
    out = loss(real, fake)
    assert out.shape == (n,) * ndim
    assert out.dtype == dtype
    assert torch.equal(out, loss(real, fake)) or n == 0
    assert torch.equal(real, before[0])
    assert torch.equal(fake, before[1])
    # the mean over no image is not a number; a pooled score per image is simply none
    assert torch.isnan(out).all() if n == 0 and ndim == 0 else torch.isfinite(out).all()


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "gradient penalty"])
def test_loss_gradients_flow(name: str) -> None:
    loss, _ = LOSSES[name]
    real, fake = (torch.randn(5, 3, 4, generator=random_source(s)).requires_grad_() for s in (0, 1))
    loss(real, fake).sum().backward()
    reached = [x for x in (real, fake) if x.grad is not None]
    assert reached
    for x in reached:
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()
        assert (x.grad.flatten(1).abs().sum(1) > 0).all()


# --- augmentation


@pytest.mark.parametrize("change", [warp, relight, strong])
@pytest.mark.parametrize("n", [0, 1, 4])
def test_augmentation_shape_and_finite(change: Call, n: int) -> None:
    x = 255 * torch.rand(n, 1, 12, 12, generator=random_source(0))
    out = change(x, random_source(1))
    assert out.shape == x.shape
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()
    for flat in (torch.zeros(1, 1, 12, 12), torch.full((1, 1, 12, 12), 255.0)):
        assert torch.isfinite(change(flat, random_source(1))).all()


# --- metrics and intervals: numbers in, numbers out

SCORES = np.array([[0.9, 0.4, 0.7, 0.2, 0.6, 0.1], [0.8, 0.5, 0.6, 0.3, 0.2, 0.1]])
TARGET, GROUPS = np.array([1, 0, 1, 0, 1, 0]), np.array(list("aabbcc"))
NAMED, FRAMES = np.array(MODES, object)[TARGET], np.array([0, 1, 1, 0, 4, 7])
TABLE = verdicts.per_sequence(SCORES[0], TARGET, NAMED, GROUPS)

METRICS: dict[str, Callable[[], Any]] = {
    "weighted": lambda: list(evaluation.weighted_metrics(SCORES[0], TARGET, np.ones((3, 6))).values()),
    "plain": lambda: list(evaluation.metrics(SCORES[0], TARGET).values()),
    "curve": lambda: list(evaluation.curve_metrics(SCORES, TARGET).values()),
    "intervals": lambda: evaluation.with_intervals(SCORES, TARGET, GROUPS, n_resamples=50, seed=2).iloc[:, 1:],
    "majority": lambda: evaluation.majority_rate(TARGET),
    "group weights": lambda: uncertainty.group_weights(GROUPS, 9, 3),
    "percentiles": lambda: uncertainty.percentile_interval(SCORES[0]),
    "summary": lambda: uncertainty.summary(SCORES[0].tolist()),
    "outcomes": lambda: verdicts.outcomes(SCORES[0], NAMED) == "TP",
    "per sequence": lambda: verdicts.per_sequence(SCORES[0], TARGET, NAMED, GROUPS, epistemic=SCORES[1]).iloc[:, 2:],
    "over sequences": lambda: verdicts.over_sequences(TABLE, n_resamples=50, seed=2).iloc[:, 1:],
    "per mode": lambda: (
        # each of the cells switches, and no frame is unknown
        verdicts.per_mode(SCORES[0], TARGET, NAMED, GROUPS, FRAMES, 50, 2).query("mode == 'Switching'").iloc[:, 2:]
    ),
    "interpolated": lambda: verdicts.interpolated(np.where(FRAMES == 1, np.nan, TARGET), GROUPS, FRAMES),
    "cell weights": lambda: list(verdicts.cell_weights(GROUPS, 9, 3)),
    "AUROC": lambda: verdicts.auroc(SCORES[0], TARGET, GROUPS, 50, 2),
    "AUROC gain": lambda: verdicts.auroc_gain(*SCORES, TARGET, GROUPS, 50, 2),
    "error by uncertainty": lambda: calibration.error_by_uncertainty(*SCORES, GROUPS, 2, 50, 2),
    "rank correlation": lambda: calibration.spearman(*SCORES, GROUPS, 50, 2),
    "coverage": lambda: calibration.coverage(TARGET, *SCORES, GROUPS, n_resamples=50, seed=2),
}


@pytest.mark.parametrize("name", METRICS)
def test_metric_finite_repeatable_and_input_left_alone(name: str) -> None:
    inputs = SCORES, TARGET, GROUPS, NAMED, FRAMES
    before = [one.copy() for one in inputs]
    first, second = (np.asarray(METRICS[name](), float) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).all()
    for was, now in zip(before, inputs, strict=True):
        np.testing.assert_array_equal(was, now)


def test_metrics_of_one_image_and_of_none_are_decided() -> None:
    one = evaluation.with_intervals([0.9], [1], ["a"], n_resamples=5).set_index("metric")["value"]
    assert one[["accuracy", "precision", "recall", "average precision"]].tolist() == [1, 1, 1, 1]
    assert one[["AUROC", "balanced accuracy"]].isna().all()
    assert all(np.isnan(v) for v in evaluation.metrics([], []).values())
    with pytest.raises(ValueError, match="at least one observation"):
        evaluation.with_intervals([], [], [])


def test_verdicts_of_one_frame_and_of_none_are_decided() -> None:
    one = verdicts.over_sequences(verdicts.per_sequence([0.9], [1.0], [MODES[1]], ["a"]), n_resamples=5)
    assert one["value"].to_numpy() == pytest.approx([0.01, 1, 0, 0])
    assert one[["sd", "low", "high"]].isna().all(axis=None)
    assert verdicts.over_sequences(TABLE[:0], n_resamples=5)["value"].isna().all()
    assert verdicts.outcomes([], []).shape == (0,)
    assert np.isnan(verdicts.auroc([0.9], [True], ["a"], 5).value)
    with pytest.raises(ValueError, match="at least one observation"):
        verdicts.auroc([], [], [])
    with pytest.raises(ValueError, match="every frame is of unknown mode"):
        verdicts.per_sequence([], [], [], [])
