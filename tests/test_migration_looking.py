"""Maps of trainings against a literal loop over patches and steps; how much of a map lies ahead; bad input."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from cellweak_core.files import DataError
from cellweak_core.migration import looking, networks, saliency
from cellweak_core.migration.evaluation import Estimate
from cellweak_core.training import random_source

PX = 32


def pixels(n: int, channels: int = 2, px: int = PX, seed: int = 1) -> Tensor:
    return torch.randint(0, 4000, (n, channels, px, px), generator=random_source(seed)).to(torch.int16)


def normalised_literally(patches: Tensor) -> Tensor:
    out = np.zeros(patches.shape)
    for n, patch in enumerate(patches.double().numpy()):
        for c, channel in enumerate(patch):
            out[n, c] = (channel - channel.mean()) / channel.std()
    return torch.from_numpy(out).float()


@cache
def network(name: str, width: float = 0.05) -> networks.Regressor:
    """A network that has seen some patches, so that its batch normalisation has statistics of its own."""
    torch.manual_seed(0)
    net = networks.build({"network": name, "n_channels": 2, "width": width}).train()
    with torch.no_grad():
        for k in range(20):
            net(normalised_literally(pixels(8, seed=k)))
    return net.eval()


def trained(name: str, width: float = 0.05) -> dict[str, Any]:
    weights = {f"model.{key}": value for key, value in network(name, width).state_dict().items()}
    return {"architecture": {"network": name, "n_channels": 2, "width": width}} | weights


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_maps_are_those_of_a_literal_loop_over_patches_and_steps(name: str) -> None:
    patches, rows, highest, net = pixels(6), [4, 0, 3], [], network(name, 0.1)
    for mode, sign in (("continuous", -1), ("discontinuous", 1)):
        found = looking.maps(patches.numpy(), rows, trained(name, 0.1), mode, n_steps=5, batch_size=2, device="cpu")
        for k, row in enumerate(rows):
            x = normalised_literally(patches[row : row + 1])
            total = torch.zeros_like(x)
            for step in range(5):
                point = ((step + 0.5) / 5 * x).requires_grad_()
                (gradient,) = torch.autograd.grad(sign * net(point.clone()).sum(), point)
                total += gradient / 5
            fine = (x * total)[0]
            with torch.no_grad():
                difference = sign * float(net(x) - net(torch.zeros_like(x)))
            np.testing.assert_allclose(found["gradients"][k], fine, atol=1e-5)
            assert found["incompleteness"][k] == pytest.approx(float(fine.sum()) - difference, abs=1e-4)
            np.testing.assert_allclose(found["cams"][k], saliency.grad_cam(net, x, mode)[0], atol=1e-6)
        assert np.abs(found["gradients"]).max() > 1e-4
        highest.append(found["cams"].max())
    assert max(highest) > 1e-3  # what all speaks for one mode leaves nothing for the other


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_maps_are_finite_and_tell_the_difference_of_logits(name: str) -> None:
    patches, net = pixels(3), network(name)
    found = looking.maps(patches.numpy(), range(3), trained(name), n_steps=64, device="cpu")
    assert {key: values.shape for key, values in found.items()} == {
        "cams": (3, PX, PX), "gradients": (3, 2, PX, PX), "incompleteness": (3,)
    }  # fmt: skip
    assert all(np.isfinite(values).all() for values in found.values())
    assert found["cams"].min() >= 0
    x = normalised_literally(patches)
    with torch.no_grad():
        difference = (net(x) - net(torch.zeros_like(x))).numpy()
    missed = found["gradients"].sum((1, 2, 3)) - difference
    np.testing.assert_allclose(found["incompleteness"], missed, atol=1e-4)
    # ReLUs switch at many points of the way
    assert np.abs(missed).max() < np.abs(difference).max() / 4
    coarse = looking.maps(patches.numpy(), range(3), trained(name), n_steps=4, device="cpu")
    assert np.abs(missed).max() < np.abs(coarse["incompleteness"]).max() / 4


def test_what_a_patch_is_compared_with_is_its_own_mean() -> None:
    patches = np.concatenate([pixels(2).numpy().astype(np.float64), np.full((1, 2, PX, PX), 70.0)])
    result = trained("resnet18")
    found = looking.maps(patches, [0, 1, 2], result, n_steps=3, device="cpu")
    assert (found["gradients"][2] == 0).all()
    assert found["incompleteness"][2] == 0
    # light and contrast tell nothing, and what speaks for one mode speaks against the other
    other = looking.maps(3 * patches + 50, [0, 1, 2], result, "continuous", n_steps=3, device="cpu")
    np.testing.assert_allclose(other["gradients"], -found["gradients"], atol=1e-5)
    assert np.abs(found["gradients"][:2]).max() > 1e-3


def test_the_callers_network_and_patches_are_left_alone() -> None:
    net, patches = network("vgg16"), pixels(3).numpy()
    result, given = trained("vgg16"), patches.copy()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net.train()
    net.head.eval()
    modes = [module.training for module in net.modules()]
    state = torch.random.get_rng_state()
    try:
        first, again = (looking.maps(patches, [2, 0], result, n_steps=3, device="cpu") for _ in range(2))
        assert [module.training for module in net.modules()] == modes
    finally:
        net.eval()
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    np.testing.assert_array_equal(patches, given)
    for key, values in first.items():
        np.testing.assert_array_equal(values, again[key])


def test_batches_masks_and_no_rows() -> None:
    patches, result = pixels(5).numpy(), trained("densenet40")
    own: dict[str, Any] = {"n_steps": 4, "device": "cpu"}
    found = looking.maps(patches, [1, 3, 4], result, **own)
    for size in (1, 2):
        for key, values in looking.maps(patches, [1, 3, 4], result, batch_size=size, **own).items():
            np.testing.assert_allclose(values, found[key], atol=1e-5)
    masked = looking.maps(patches, np.array([False, True, False, True, True]), result, **own)
    np.testing.assert_array_equal(masked["gradients"], found["gradients"])
    none = looking.maps(patches, [], result, **own)
    assert [values.shape for values in none.values()] == [(0, PX, PX), (0, 2, PX, PX), (0,)]


def test_patches_and_rows_that_cannot_be() -> None:
    result, patches = trained("vgg16"), pixels(2).numpy()
    with pytest.raises(DataError, match=r"trained on 2 channels .* found \(C, s, s\) = \(3, 32, 32\)"):
        looking.maps(np.zeros((1, 3, PX, PX)), [0], result, device="cpu")
    with pytest.raises(DataError, match="takes 32 px or more"):
        looking.maps(np.zeros((1, 2, 16, 16)), [0], result, device="cpu")
    broken = patches.astype(np.float32)
    broken[1, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match="row 1 has pixels that are not finite"):
        looking.maps(broken, [0, 1], result, device="cpu")
    for options in ({"n_steps": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="of 1 or more"):
            looking.maps(patches, [0], result, device="cpu", **options)
    with pytest.raises(ValueError, match="mode: expected continuous or discontinuous, got 'fast'"):
        looking.maps(patches, [], result, "fast", device="cpu")
    for rows in ([-1], [[0]], [2], [0.5], [True]):
        with pytest.raises(IndexError):
            looking.maps(patches, rows, result, device="cpu")


def test_known_shares_ahead() -> None:
    right, left, even = np.zeros((3, 5, 5))
    right[:, 3:], left[:, :2], even[:] = 1, 1, 1
    east = [1.0, 0.0]
    # a cell of three frames counts as much as one of one
    found = looking.ahead_of([right, right, right, left], [east] * 4, ["a", "a", "a", "b"], 500)
    assert found.value == 0.5
    assert (found.low, found.high) == (0, 1)
    assert (found.n_frames, found.n_cells) == (4, 2)
    assert looking.ahead_of([right, even], [east, east], ["a", "a"]).value == 0.75
    alone = looking.ahead_of([right, left], [east, [-1.0, 0.0]], ["a", "a"])
    assert (alone.value, alone.n_frames, alone.n_cells) == (1.0, 2, 1)
    assert np.isnan([alone.low, alone.high]).all()
    # what looks everywhere alike is at a half, without any doubt
    assert looking.ahead_of([even] * 3, [[1, 2], [0, 1], [-3, 1]], list("abc")) == Estimate(0.5, 0.5, 0.5, 3, 3)


def test_frames_that_go_nowhere_do_not_count() -> None:
    right, even = np.zeros((2, 5, 5))
    right[:, 3:], even[:] = 1, 1
    nan, east = [np.nan, np.nan], [1.0, 0.0]
    views = [right, even, even, np.zeros((5, 5)), even]
    found = looking.ahead_of(views, [east, nan, [0, 0], east, nan], ["a", "a", "a", "b", "c"])
    assert (found.value, found.n_frames, found.n_cells) == (1.0, 1, 1)
    none = looking.ahead_of(views[1:], [nan, nan, nan, nan], ["a", "a", "b", "c"])
    assert np.isnan([none.value, none.low, none.high]).all()
    assert (none.n_frames, none.n_cells) == (0, 0)
    assert looking.ahead_of(np.zeros((0, 5, 5)), np.zeros((0, 2)), []).n_frames == 0


def test_shares_ahead_are_those_of_a_literal_loop() -> None:
    rng = np.random.default_rng(0)
    views, moves = rng.random((20, 7, 7)) ** 4, rng.normal(size=(20, 2))
    moves[[3, 8]] = np.nan
    cells = np.array([f"f/{k}" for k in rng.integers(0, 6, 20)])
    of_cell: dict[str, list[float]] = {}
    for view, (dx, dy), cell in zip(views, moves, cells, strict=True):
        if np.isfinite(dx):
            front = total = 0.0
            for y in range(7):
                for x in range(7):
                    side = dx * (x - 3) + dy * (y - 3)
                    front += view[y, x] * (1 if side > 0 else 0.5 if side == 0 else 0)
                    total += view[y, x]
            of_cell.setdefault(cell, []).append(front / total)
    means = {cell: sum(shares) / len(shares) for cell, shares in of_cell.items()}
    found = looking.ahead_of(views, moves, cells, 400, seed=3)
    assert found.value == pytest.approx(sum(means.values()) / len(means))
    assert (found.n_frames, found.n_cells) == (18, len(means))
    # cells drawn with replacement, each a mean
    n, source = len(means), np.random.default_rng(3)
    drawn = [
        sum(times * means[cell] for times, cell in zip(source.multinomial(n, [1 / n] * n), sorted(means), strict=True))
        / n for _ in range(400)
    ]  # fmt: skip
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    order = rng.permutation(20)
    again = looking.ahead_of(views[order], moves[order], cells[order], 400, seed=3)
    assert again == pytest.approx(found)


def test_shares_of_other_lengths_are_refused() -> None:
    views, moves = np.ones((3, 5, 5)), np.ones((3, 2))
    with pytest.raises(ValueError, match=r"cells: expected one for each of 3 maps, got \(2,\)"):
        looking.ahead_of(views, moves, ["a", "b"])
    with pytest.raises(ValueError, match=r"directions \(n, 2\)"):
        looking.ahead_of(views, moves[:2], ["a", "b", "c"])
    with pytest.raises(ValueError, match="absolute values"):
        looking.ahead_of(-views, moves, ["a", "b", "c"])


def frames_of(**cells: str) -> pd.DataFrame:
    """By cell its labels, a letter each; rows of the points go on from cell to cell."""
    word = {"C": "continuous", "D": "discontinuous", "?": "unknown"}
    rows = [(f"f/{cell}", word[letter]) for cell, text in cells.items() for letter in text]
    return pd.DataFrame(rows, columns=["cell", "label"]).assign(row=range(len(rows)), part="test")


def test_chosen_frames_lie_evenly_within_those_that_move() -> None:
    frames = frames_of(a="C" * 9, b="DD", c="D", d="CCC")
    moves = np.ones((15, 2))
    moves[7:9] = np.nan  # the last frames of a
    moves[12:, 1] = np.nan  # d never moves
    # a has seven frames left, 0 to 6; of two places among them, ends left out, 2 and 4
    for per_cell, rows in ((1, [3, 9, 11]), (2, [2, 4, 9, 10, 11]), (5, [1, 2, 3, 4, 5, 9, 10, 11])):
        found = looking.chosen(frames, moves, per_cell)
        assert found["row"].tolist() == rows
        assert found.columns.tolist() == frames.columns.tolist()
    # as many as there are, and none twice
    assert looking.chosen(frames, moves, 50)["row"].tolist() == [*range(7), 9, 10, 11]
    # cells and rows keep the order that they are given in, whatever the index
    turned = frames.iloc[::-1].set_index(np.arange(15) % 4)
    assert looking.chosen(turned, moves, 2)["row"].tolist() == [11, 10, 9, 4, 2]
    for none in (looking.chosen(frames, moves * np.nan, 2), looking.chosen(frames[:0], moves, 2)):
        assert not len(none)
        assert none.columns.tolist() == frames.columns.tolist()


def ahead_literally(view: np.ndarray, move: np.ndarray) -> float:
    """Of an even side: the centroid is pixel side // 2, and the first row and column, without a partner, are out."""
    front = total = 0.0
    for y in range(1, PX):
        for x in range(1, PX):
            side = move[0] * (x - PX // 2) + move[1] * (y - PX // 2)
            front += view[y, x] * (1 if side > 0 else 0.5 if side == 0 else 0)
            total += view[y, x]
    return front / total if total else np.nan


def test_front_shares_are_those_of_a_literal_loop_over_both_maps() -> None:
    frames = frames_of(a="CCC?", b="DDD", c="DCC")
    patches, result = pixels(12).numpy(), trained("resnet18")
    moves = np.random.default_rng(2).normal(size=(12, 2))
    moves[5] = np.nan
    frames["row"] += 1  # patches of other cells lie before and behind
    counted = frames[(frames["label"] != "unknown") & (frames["row"] != 5)]
    found = looking.front_shares(frames, patches, lambda _: result, moves, 200, seed=1, device="cpu")
    kinds = ("", ", continuous", ", discontinuous")
    expected_names = {what + kind for what in looking.MAPS for kind in (*kinds, " minus outline")}
    assert set(found) <= expected_names | {looking.OUTLINE}
    values = []
    for kind in kinds:
        own = counted[counted["label"] == kind[2:]] if kind else counted
        maps = looking.maps(patches, own["row"].to_numpy(), result, device="cpu")
        gradients = np.abs(maps["gradients"][:, 0]) + np.abs(maps["gradients"][:, 1])
        for what, views in (("Grad-CAM", maps["cams"]), ("integrated gradients", gradients)):
            of_cell: dict[str, list[float]] = {}
            for view, (cell, row) in zip(views, own[["cell", "row"]].itertuples(index=False), strict=True):
                share = ahead_literally(view.astype(float), moves[row])
                if np.isfinite(share):  # not of a map that is 0
                    of_cell.setdefault(cell, []).append(share)
            one = found.get(what + kind, looking.over_cells([np.nan], ["a"]))
            assert (one.n_frames, one.n_cells) == (sum(map(len, of_cell.values())), len(of_cell))
            expected = np.mean([np.mean(shares) for shares in of_cell.values()]) if of_cell else np.nan
            assert one.value == pytest.approx(expected, abs=1e-5, nan_ok=True)
            values.append(one.value)
    assert np.isfinite(values).sum() >= 4
    assert found["integrated gradients"].n_frames == 8
    assert (found["integrated gradients"].low, found["integrated gradients"].high) != (0.5, 0.5)
    order = np.random.default_rng(3).permutation(len(frames))
    again = looking.front_shares(frames.iloc[order], patches, lambda _: result, moves, 200, seed=1, device="cpu")
    for name, one in found.items():
        assert again[name] == pytest.approx(one, abs=1e-5, nan_ok=True)


def test_front_shares_of_the_first_and_last_of_many_frames_and_of_none() -> None:
    frames, moves = frames_of(a="CCCCC", b="?DDDDDDDD"), np.ones((14, 2))
    moves[10:] = np.nan  # frames that go nowhere are not chosen
    patches, result = pixels(14).numpy(), trained("resnet18")
    some = looking.front_shares(frames, patches, lambda _: result, moves, 20, device="cpu", most=3)
    chosen = frames.iloc[[0, 4, 9]]  # of nine known frames the first, the middle and the last
    alone = looking.front_shares(chosen, patches, lambda _: result, moves, 20, device="cpu")
    for name, one in some.items():
        assert one == pytest.approx(alone[name], abs=1e-5, nan_ok=True)
    assert some["integrated gradients, continuous"].n_frames == 2
    for known, directions in ((frames.assign(label="unknown"), moves), (frames, moves * np.nan)):
        assert looking.front_shares(known, patches, lambda _: result, directions, 20, device="cpu") == {}


def test_what_gradients_miss_is_a_share_of_the_difference_of_logits() -> None:
    gradients = np.zeros((3, 2, 2, 2), np.float32)
    gradients[0, :, 0, 0], gradients[1, 1, 1, 1] = 2.5, -3
    # sums of 5, -3 and 0, where the logits differ by 4, -4 and not at all
    found = looking.missed({"gradients": gradients, "incompleteness": np.float32([1, 1, 0])})
    np.testing.assert_array_equal(found, [0.25, 0.25, np.nan])
    maps = looking.maps(pixels(3).numpy(), range(3), trained("resnet18"), n_steps=4, device="cpu")
    net, x = network("resnet18"), normalised_literally(pixels(3))
    with torch.no_grad():
        difference = (net(x) - net(torch.zeros_like(x))).numpy()
    literal = np.abs(maps["gradients"].sum((1, 2, 3)) - difference) / np.abs(difference)
    np.testing.assert_allclose(looking.missed(maps), literal, rtol=1e-3)


def test_a_frame_is_looked_at_by_a_network_that_never_saw_it() -> None:
    frames, moves = frames_of(a="CD", b="CD"), np.ones((4, 2))
    frames["part"] = ["fold 0", "fold 0", "fold 1", "fold 1"]
    patches, results = pixels(4).numpy(), {"fold 0": trained("resnet18"), "fold 1": trained("densenet40")}
    asked = list[str]()

    def never_saw(part: str) -> dict[str, object]:
        asked.append(part)
        return results[part]

    found = looking.maps_by_part(patches, frames.iloc[::-1], never_saw, "cpu")
    assert sorted(asked) == ["fold 0", "fold 1"]
    for part, rows, places in (("fold 0", [1, 0], [2, 3]), ("fold 1", [3, 2], [0, 1])):
        alone = looking.maps(patches, rows, results[part], device="cpu")
        for name, values in alone.items():
            np.testing.assert_array_equal(found[name][places], values)
    shares = looking.front_shares(frames, patches, never_saw, moves, 20, device="cpu")
    assert shares["integrated gradients"].n_frames == 4


def test_what_a_map_has_more_than_the_outline_is_the_mean_over_cells_of_their_frames_differences() -> None:
    values, cells = [0.1, 0.3, np.nan, 0.6], ["a", "a", "b", "c"]
    one = looking.over_cells(values, cells, 50)
    assert (one.value, one.n_frames, one.n_cells) == (pytest.approx(0.4), 3, 2)
    with pytest.raises(ValueError, match="cells"):
        looking.over_cells(values, cells[:2])
