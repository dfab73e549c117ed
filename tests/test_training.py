"""The training loop: devices, checkpoints, and resuming bit for bit."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cellweak_core.files import CellweakWarning, FullDiskError
from cellweak_core.training import (
    average_into,
    derived_seed,
    learning_rate,
    make_fabric,
    random_source,
    run_steps,
    shared_tensor,
    with_defaults,
)


class Killed(Exception):
    pass


class Training:
    """A small training that uses all there is: Adam, a module's buffers, a source of its own, global dropout."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.optimiser = torch.optim.Adam(self.model.parameters(), 0.01)
        self.source = random_source(1)
        self.done: list[int] = []

    def run(self, n: int, die_at: int = -1, seed: int = 0, **options: Any) -> dict[str, list[float]]:  # noqa: ANN401
        torch.manual_seed(seed)

        def step(i: int) -> dict[str, Tensor]:
            if i == die_at:
                raise Killed
            self.done.append(i)
            x = torch.randn(4, 3, generator=self.source)
            loss = (self.model(x) - x.sum(1, keepdim=True)).square().mean()
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            return {"loss": loss.detach()}

        state = {"model": self.model, "optimiser": self.optimiser, "source": self.source}
        return run_steps(step, n, state=state, **options)

    def weights(self) -> list[Tensor]:
        return [v.clone() for v in self.model.state_dict().values()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_one_seed_gives_the_same_weights_twice() -> None:
    first, second = Training(), Training()
    assert first.run(5) == second.run(5)
    assert same(first.weights(), second.weights())


@pytest.mark.parametrize("die_at", [0, 3, 4, 7, 9])
def test_killed_and_resumed_is_as_if_never_killed(tmp_path: Path, die_at: int) -> None:
    whole = Training()
    history = whole.run(10)
    file = tmp_path / "folder" / "run.ckpt"
    with pytest.raises(Killed):
        Training().run(10, die_at=die_at, checkpoint=file, every=4)
    assert file.is_file() == (die_at >= 4)
    again = Training()
    seed = 99 if die_at >= 4 else 0  # the checkpoint brings the global random state along
    assert again.run(10, seed=seed, checkpoint=file, every=4) == history
    assert again.done == list(range(die_at // 4 * 4, 10))
    assert same(again.weights(), whole.weights())


def test_a_finished_training_is_only_read(tmp_path: Path) -> None:
    file = tmp_path / "run.ckpt"
    first, second = Training(), Training()
    history = first.run(5, checkpoint=file, every=2)
    assert second.run(5, checkpoint=file, every=2) == history
    assert second.done == []
    assert same(first.weights(), second.weights())


def test_a_longer_training_goes_on_from_a_shorter(tmp_path: Path) -> None:
    file = tmp_path / "run.ckpt"
    Training().run(4, checkpoint=file)
    longer, whole = Training(), Training()
    longer.run(7, checkpoint=file)
    whole.run(7)
    assert longer.done == [4, 5, 6]
    assert same(longer.weights(), whole.weights())


def test_what_is_logged() -> None:
    assert Training().run(7, log_every=3)["step"] == [1, 4, 7]
    assert Training().run(6, log_every=3)["step"] == [1, 4, 6]
    assert Training().run(0) == {}


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def foreign(file: Path) -> None:
    content = torch.load(file, weights_only=True)
    content["state"].pop("source")
    torch.save(content, file)


@pytest.mark.parametrize(
    ("spoil", "n", "version", "message"),
    [
        (lambda _: None, 6, "other data", "of other parameters or data"),
        (lambda _: None, 3, "", "of other parameters or data"),
        (foreign, 6, "", "of other parameters or data"),
        (damage, 6, "", "not readable"),
        (empty, 6, "", "not readable"),
    ],
)
def test_a_checkpoint_of_no_use_is_trained_over(
    tmp_path: Path, spoil: Callable[[Path], None], n: int, version: str, message: str
) -> None:
    file = tmp_path / "run.ckpt"
    Training().run(5, checkpoint=file)
    spoil(file)
    fresh, again = Training(), Training()
    fresh.run(n)
    with pytest.warns(CellweakWarning, match=message):
        again.run(n, checkpoint=file, version=version)
    assert again.done == list(range(n))
    assert same(fresh.weights(), again.weights())
    assert torch.load(file, weights_only=True)["step"] == n


def test_no_half_checkpoint_is_left(tmp_path: Path) -> None:
    Training().run(9, checkpoint=tmp_path / "run.ckpt", every=1)
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]


def test_a_full_disk_is_named_and_the_last_checkpoint_stays(small_disk: Path) -> None:
    weights = nn.Linear(100, 100)
    file = small_disk / "run.ckpt"
    run_steps(lambda i: {}, 2, state={"weights": weights}, checkpoint=file)
    before = file.read_bytes()
    (small_disk / "other").write_bytes(bytes(180 * 1024))
    more = {"weights": nn.Linear(100, 100)}
    with pytest.raises(FullDiskError, match=f"cannot write in {small_disk}: No space left"):
        run_steps(lambda i: {}, 4, state=more, checkpoint=file, every=1)
    assert file.read_bytes() == before
    assert sorted(p.name for p in small_disk.iterdir()) == ["other", "run.ckpt"]


def test_a_source_is_its_own() -> None:
    before = torch.get_rng_state()
    a, b, c = (torch.randn(3, generator=random_source(s)) for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), before)


def test_devices() -> None:
    assert make_fabric("cpu").device == torch.device("cpu")
    assert make_fabric("auto").device.type in ("cpu", "cuda")
    with pytest.raises(ValueError, match="expected one of auto, cpu, cuda, mps, got 'gpu'"):
        make_fabric("gpu")
    for device, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())):
        if not there:
            with pytest.raises(ValueError, match=f"'{device}' was asked for"):
                make_fabric(device)


def test_shared_arrays_are_neither_copied_nor_warned_of() -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    array.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = shared_tensor(array)
    assert tensor.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensor.data_ptr() == array.ctypes.data
    assert shared_tensor(torch.ones(2)).tolist() == [1, 1]


def test_learning_rate_rises_falls_and_stays() -> None:
    factors = [learning_rate(i, 100, "cosine") for i in range(100)]
    assert factors[0] == pytest.approx(0.2)
    assert max(factors) == pytest.approx(1, abs=0.01)
    assert np.argmax(factors) == 4
    assert factors[50] == pytest.approx(0.5)
    assert 0 < factors[99] < 0.001
    assert {learning_rate(i, 100, "constant") for i in range(100)} == {1.0}
    assert learning_rate(0, 1, "cosine") == 1.0
    assert [learning_rate(i, 30, "steps", 10) for i in (0, 9, 10, 25)] == pytest.approx([1, 1, 0.1, 0.01])
    assert learning_rate(9_999, 20_000, "steps") == 1.0
    assert learning_rate(10_000, 20_000, "steps") == pytest.approx(0.1)
    with pytest.raises(ValueError, match="expected one of constant, cosine, steps, fractions, got 'linear'"):
        learning_rate(0, 10, "linear")


def test_moving_average_of_weights_and_counts() -> None:
    a, b = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        a.weight.fill_(1)
        b.weight.fill_(3)
    b.num_batches_tracked.fill_(7)
    average_into(a, b, 0.75)
    assert a.weight.tolist() == [1.5, 1.5]
    assert int(a.num_batches_tracked) == 7
    average_into(a, b, 0.0)
    assert same(list(a.state_dict().values()), list(b.state_dict().values()))


def test_derived_seeds_are_apart_and_the_same_each_time() -> None:
    seeds = [derived_seed(seed, i, what) for seed in range(3) for i in range(3) for what in range(3)]
    assert len(set(seeds)) == 27
    assert seeds == [derived_seed(seed, i, what) for seed in range(3) for i in range(3) for what in range(3)]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_settings_take_the_defaults_for_the_rest_and_refuse_other_names() -> None:
    assert with_defaults({"b": 3}, {"a": 1, "b": 2}) == {"a": 1, "b": 3}
    with pytest.raises(ValueError, match="run: unknown c, d; expected any of a, b"):
        with_defaults({"d": 0, "c": 0}, {"a": 1, "b": 2})
