"""One step of each model: the order of the authors', and nothing but what it is for is changed or fetched."""

from typing import Any

import pytest
import torch
from cytogan_trainings import cells, parts_of, simulated
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cellweak_core.cytogan import steps
from cellweak_core.cytogan.networks import KINDS
from cellweak_core.screens.crops import Crops


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Crops:
    return simulated(tmp_path_factory.mktemp("screen"))


def test_lsgan_step_by_hand(screen: Crops) -> None:
    """The order of the authors' step, written out a second time with plain torch."""
    parts, literal = (parts_of("lsgan", screen, input_noise=0.0, label_low=1.0) for _ in range(2))
    real = cells(screen, 4)
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
    real = cells(screen, 4)
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
    steps.step(parts, cells(screen, 4))
    assert not torch.equal(before, parts.networks["generator"].norm.running_mean)


def test_critic_sees_other_cells_in_each_of_its_steps(screen: Crops) -> None:
    parts = parts_of("wgan", screen, critic_steps=3)
    seen = []
    given = steps._discriminator

    def watched(parts: steps.Parts, real: Tensor, condition: Tensor | None) -> dict[str, Tensor]:
        seen.append(real)
        return given(parts, real, condition)

    real = cells(screen, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "_discriminator", watched)
        steps.step(parts, real)
    assert torch.equal(torch.cat(seen), real)
    assert [len(one) for one in seen] == [4, 4, 4]


def test_began_balance_moves_as_its_equation(screen: Crops) -> None:
    parts = parts_of("began", screen, gain=0.5)
    values = steps.step(parts, cells(screen, 4))
    # with k at its start the discriminator's loss is L(x); M then holds |gamma L(x) - L(G)|
    assert values["discriminator_loss"].item() == pytest.approx(values["real_loss"].item(), rel=1e-5)
    moved = abs(values["convergence"].item() - values["real_loss"].item())
    assert values["k"].item() == pytest.approx(min(1.0, 0.5 * moved), rel=1e-4)
    assert parts.balance.k.item() == values["k"].item()


class Fetches(TorchDispatchMode):
    """Counts numbers that leave the device."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        self.n += func.overloadpacket is torch.ops.aten._local_scalar_dense
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("model", KINDS)
def test_a_step_fetches_nothing_from_the_device(model: str, screen: Crops) -> None:
    parts = parts_of(model, screen)
    real = cells(screen, 4)
    with Fetches() as fetched:
        steps.step(parts, real)
    assert fetched.n == 0
    with Fetches() as fetched:
        float(real.sum())
    assert fetched.n == 1


@pytest.mark.parametrize("model", KINDS)
def test_a_step_in_bf16_is_near_that_in_float32(model: str, screen: Crops) -> None:
    found = []
    for precision in ("32-true", "bf16-mixed"):
        parts = parts_of(model, screen, precision=precision)
        torch.manual_seed(1)
        found.append(steps.step(parts, cells(screen, 4)))
        assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in parts.networks.parameters())
    for name, value in found[0].items():
        assert value.dtype == found[1][name].dtype == torch.float32
        assert found[1][name].item() == pytest.approx(value.item(), rel=0.05, abs=0.02), name
