"""Backward-and-forward propagation: windows against the whole images, and every step against a literal evaluation."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tracking_random import network, pictures

from cellweak_core.images import read_grey
from cellweak_core.tracking.association import Links, associate
from cellweak_core.tracking.networks import CoDetectionNet, UNet, receptive_radius
from cellweak_core.tracking.propagation import Propagation, checked_peaks, explain, propagate
from cellweak_core.tracking.relevance import normaliser
from cellweak_core.tracking.whole_image import propagate_whole, relevance_maps, respond

Array = NDArray[np.float64]


def cells(n: int, shape: tuple[int, int], seed: int = 0, edge: float = 0) -> tuple[Array, Array]:
    """Positions at t and t+1, a few px apart."""
    rng = np.random.default_rng(seed)
    limit = np.array([shape[1] - 1, shape[0] - 1], float)
    after = edge + rng.random((n, 2)) * (limit - 2 * edge)
    return np.clip(after + rng.normal(0, 4, after.shape), 0, limit), after


def linked(found: Propagation) -> Links:
    return associate(found.candidates, found.scores, len(found.peaks_t), len(found.peaks_t1))


def assert_same(fast: Propagation, slow: Propagation, tolerance: float) -> None:
    np.testing.assert_array_equal(fast.candidates, slow.candidates)
    np.testing.assert_allclose(fast.scores, slow.scores, rtol=0, atol=tolerance)
    np.testing.assert_allclose(fast.likelihood, slow.likelihood, rtol=0, atol=tolerance)
    for name in ("from_index", "to_index", "state"):
        np.testing.assert_array_equal(getattr(linked(fast), name), getattr(linked(slow), name))


# windows that hold everything (smaller than a receptive field), border cells, sizes that are no multiples of 16
@pytest.mark.parametrize(("shape", "n"), [((96, 112), 5), ((90, 101), 5), ((37, 19), 3), ((16, 160), 4)])
def test_windows_give_what_whole_images_give(shape: tuple[int, int], n: int) -> None:
    pair = pictures(shape)
    net = network(pair)
    before, after = cells(n, shape)
    slow = propagate_whole(net, pair, before, after, gate=30)
    fast = propagate(net, pair, before, after, gate=30, batch=2)
    assert_same(fast, slow, 1e-10)
    np.testing.assert_array_equal(fast.labels, slow.labels)
    assert len(fast.scores) >= n
    assert np.ptp(slow.scores) > 0.01
    assert (slow.labels > 0).mean() > 0.1


@pytest.mark.slow
def test_windows_inside_a_large_image_give_what_whole_images_give() -> None:
    # Wider than twice the receptive field: the middle cell's windows touch no border.
    shape = (320, 336)
    assert min(shape) / 2 > receptive_radius() + 18
    pair = pictures(shape)
    net = network(pair)
    after = np.array([[168.3, 158.0], [181.0, 171.6], [20.0, 300.0]])
    before = after + np.array([3.0, -2.0])
    slow, fast = propagate_whole(net, pair, before, after, gate=30), propagate(net, pair, before, after, gate=30)
    assert_same(fast, slow, 1e-10)
    np.testing.assert_array_equal(fast.labels, slow.labels)
    assert set(np.unique(slow.labels)) == {0, 1, 2, 3}


def test_float32_keeps_links_and_scores() -> None:
    shape = (112, 128)
    pair = pictures(shape, 1)
    net = network(pair, dtype=torch.float32)
    before, after = cells(6, shape, 1)
    assert_same(propagate(net, pair, before, after, gate=30), propagate_whole(net, pair, before, after, gate=30), 1e-3)


def test_batches_of_any_size_give_the_same() -> None:
    pair = pictures((96, 96))
    net = network(pair)
    before, after = cells(5, (96, 96))
    results = [propagate(net, pair, before, after, gate=40, batch=batch) for batch in (1, 2, 5, 64)]
    for other in results[1:]:
        assert_same(other, results[0], 1e-12)
        np.testing.assert_array_equal(other.labels, results[0].labels)


def test_the_whole_image_way_is_the_paper_s_equations() -> None:
    shape = (32, 48)
    pair = pictures(shape)
    net = network(pair)
    before, after = cells(3, shape)
    found = propagate_whole(net, pair, before, after, np.full_like(pair, 0.3), gate=25)
    maps = [m.numpy() for m in relevance_maps(net, torch.from_numpy(pair), after)]
    normalised = np.zeros((4, 2, *shape))
    for i, g in enumerate(maps, 1):
        for frame in (0, 1):
            values = sorted(v for v in g[frame].ravel() if v > 0.01)
            n = len(values)
            normalised[i, frame] = g[frame] / values[min(round(0.99 * n), n - 1)]
    for frame in (0, 1):
        for y in range(shape[0]):
            for x in range(shape[1]):
                k = int(normalised[:, frame, y, x].argmax())
                assert found.labels[frame, y, x] == (k if normalised[k, frame, y, x] >= 0.01 else 0)
    for (i, j), score in zip(found.candidates.tolist(), found.scores, strict=True):
        masked = np.full_like(pair, 0.3)
        masked[found.labels == i + 1] = pair[found.labels == i + 1]
        with torch.no_grad():
            response = net(torch.from_numpy(masked)[None])[0, 0].clamp(0, 1).numpy()
            likelihood = net(torch.from_numpy(pair)[None])[0, 0].clamp(0, 1).numpy()
        response = response / response.max()
        error = total = 0.0
        for y in range(shape[0]):
            for x in range(shape[1]):
                if (x - before[j, 0]) ** 2 + (y - before[j, 1]) ** 2 <= 144:
                    seen = response[y, x] if likelihood[y, x] > 50 / 255 else 0
                    error += (likelihood[y, x] - seen) ** 2
                    total += likelihood[y, x] ** 2
        assert score == pytest.approx(1 - error / total, abs=1e-9)


def test_peaks_of_the_maps_are_taken_where_none_are_given() -> None:
    pair = pictures((64, 64))
    net = network(pair)
    fast, slow = (way(net, pair, gate=20, smooth_px=3) for way in (propagate, propagate_whole))
    assert len(fast.peaks_t) >= len(fast.peaks_t1) > 2
    np.testing.assert_array_equal(fast.peaks_t1, slow.peaks_t1)
    assert_same(fast, slow, 1e-9)
    assert len(checked_peaks(torch.from_numpy(fast.likelihood), None, None, 0.0)[0]) > len(fast.peaks_t)


def test_a_finite_reach_is_exact_where_it_holds_the_receptive_field() -> None:
    shape = (128, 320)
    pair = pictures(shape)
    net = network(pair)
    after = np.array([[60.0, 64.0], [250.0, 64.0]])
    exact, wide, narrow = (propagate(net, pair, after, after, gate=20, reach_px=r) for r in (None, 136, 24))
    assert_same(wide, exact, 1e-12)
    np.testing.assert_array_equal(wide.labels, exact.labels)
    assert not np.array_equal(narrow.labels, exact.labels)
    assert np.isfinite(narrow.scores).all()


def test_nothing_is_changed_and_the_same_comes_out_twice() -> None:
    pair = pictures((64, 80))
    net = network(pair).train()
    before, after = cells(3, (64, 80))
    background = np.full_like(pair, 0.4)
    arrays = [pair, before, after, background]
    copies = [a.copy() for a in arrays]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    for way in (propagate, propagate_whole):
        first, second = (way(net, pair, before, after, gate=30, background=background) for _ in range(2))
        np.testing.assert_array_equal(first.scores, second.scores)
        assert first.likelihood.dtype == np.float32
        assert first.labels.dtype == np.int32
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert net.training
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_tensors_and_arrays_give_the_same() -> None:
    pair = pictures((48, 48))
    net = network(pair)
    before, after = cells(2, (48, 48))
    arrays = propagate(net, pair, before, after, gate=30)
    tensors = propagate(net, torch.from_numpy(pair).requires_grad_(), before, after, gate=30)
    np.testing.assert_array_equal(arrays.scores, tensors.scores)


def test_frames_without_cells_have_no_links() -> None:
    pair = pictures((48, 48))
    net = network(pair)
    some, none = np.array([[20.0, 20.0]]), np.zeros((0, 2))
    for before, after in ((some, none), (none, some), (none, none)):
        for way in (propagate, propagate_whole):
            found = way(net, pair, before, after, gate=30)
            assert found.candidates.shape == (0, 2)
            assert len(linked(found).score) == 0
            assert (len(after) > 0) == bool(found.labels.any())


def test_a_cell_hidden_under_a_later_one_has_no_pixels_and_the_background_s_response() -> None:
    pair = pictures((64, 64))
    net = network(pair)
    after = np.array([[30.0, 30.0], [30.0, 30.0]])
    slow, fast = (way(net, pair, after, after, gate=5) for way in (propagate_whole, propagate))
    assert set(np.unique(fast.labels)) == {0, 2}
    assert_same(fast, slow, 1e-10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pair": np.zeros((3, 32, 32))}, r"pair: expected \(2, H, W\)"),
        ({"pair": np.full((2, 32, 32), np.nan)}, "pair: expected finite"),
        ({"pair": np.zeros((2, 32, 32), np.uint8)}, "pair: expected finite grey values in .0, 1., got torch.uint8"),
        ({"background": np.zeros((2, 16, 16))}, "background: expected"),
        ({"background": np.full((2, 32, 32), np.inf)}, "background: expected finite"),
        ({"peaks_t1": np.zeros((2, 3))}, r"peaks_t1: expected \(n, 2\)"),
        ({"peaks_t": np.array([[5.0, 40.0]])}, "peaks_t: expected x, y inside the 32x32 px.* exchanged"),
        ({"peaks_t": np.array([[5.0, np.nan]])}, "peaks_t: expected x, y inside"),
        ({"batch": 0}, "batch: expected at least 1"),
        ({"reach_px": -1}, "reach_px: expected"),
        ({"gate": 0.0}, "gate: expected"),
        ({"net": UNet(2, 2, 4)}, "net: expected CoDetectionNet"),
    ],
)
def test_what_cannot_be_used_is_refused(change: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"net": CoDetectionNet(2), "pair": np.zeros((2, 32, 32)), "gate": 20.0}
    given |= {"peaks_t": np.array([[5.0, 5.0]]), "peaks_t1": np.array([[5.0, 5.0]])} | change
    with pytest.raises(ValueError, match=message):
        propagate(**given)  # type: ignore[arg-type]


def test_explain_shows_what_propagate_did() -> None:
    shape = (80, 96)
    pair = pictures(shape)
    net = network(pair)
    before, after = cells(4, shape)
    background = np.full_like(pair, 0.3)
    found = propagate(net, pair, before, after, gate=30, background=background)
    links = linked(found)
    images = torch.from_numpy(pair)
    for cell in range(4):
        shown = explain(net, pair, found, cell, background=background)
        [maps] = relevance_maps(net, images, after, [cell])
        expected = np.stack([m.numpy() / normaliser(m) for m in maps])
        np.testing.assert_allclose(shown["relevance"], expected, atol=1e-10)
        np.testing.assert_array_equal(shown["pixels"], found.labels == cell + 1)
        masked = np.where(found.labels == cell + 1, pair, background)
        np.testing.assert_array_equal(shown["masked"], masked)
        with torch.no_grad():
            response = respond(net, torch.from_numpy(masked))[0].numpy()
        np.testing.assert_allclose(shown["response"], response / response.max(), atol=1e-10)
        np.testing.assert_array_equal(shown["scores"], found.scores[found.candidates[:, 0] == cell])
        at = links.to_index == cell
        assert shown["state"] == links.state_t1[cell]
        assert shown["match"] == (links.from_index[at][0] if at.any() else None)
        assert not at.any() or shown["score"] == links.score[at][0]
    with pytest.raises(ValueError, match="cell: expected an index below 4"):
        explain(net, pair, found, 4)


def test_real_frames(real_data: Path) -> None:
    folder = real_data / "tracking" / "c2c12_bmp2_seq9" / "img"
    if not folder.is_dir():
        pytest.skip("no real frames of C2C12 cells")
    frames = [read_grey(folder / f"{t:04d}.png")[300:420, 500:640] / 255.0 for t in (0, 1)]
    pair = np.stack(frames)
    net = network(pair, dtype=torch.float32)
    before, after = cells(6, pair.shape[1:])
    assert_same(propagate(net, pair, before, after, gate=30), propagate_whole(net, pair, before, after, gate=30), 1e-3)


# ---- a known answer


def blobs(points: Array, shape: tuple[int, int], sigma: float = 4.0) -> NDArray[np.float32]:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    out = np.full(shape, 0.3)
    for x, y in points:
        out += 0.5 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return out.astype(np.float32)


def trained(make: Callable[[np.random.Generator], tuple[Array, Array]], shape: tuple[int, int]) -> CoDetectionNet:
    """A small network that has learnt to find blobs in pairs of images; the links were never shown."""
    rng = np.random.default_rng(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = CoDetectionNet(4)
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(40):
        positions = [make(rng) for _ in range(4)]
        x = torch.from_numpy(np.stack([[blobs(p, shape) for p in pair] for pair in positions]))
        y = torch.from_numpy(np.stack([[blobs(p, shape, 5.0) for p in pair] for pair in positions]))
        loss = (net(x) - (y - 0.3) * 2).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net


@pytest.mark.slow
def test_moving_blobs_are_associated_without_having_seen_a_link() -> None:
    def make(rng: np.random.Generator) -> tuple[Array, Array]:
        grid = np.stack(np.meshgrid([16, 48, 80], [16, 48, 80]), -1).reshape(-1, 2).astype(float)
        before = grid + rng.uniform(-5, 5, grid.shape)
        return before, before + rng.uniform(-5, 5, grid.shape)

    shape = (96, 96)
    net = trained(make, shape)
    n_right = n_all = 0
    for seed in range(3):
        before, after = make(np.random.default_rng(100 + seed))
        order = np.random.default_rng(seed).permutation(len(before))
        found = propagate(
            net, np.stack([blobs(before[order], shape), blobs(after, shape)]), before[order], after, gate=45
        )
        links = linked(found)
        n_right += int((order[links.from_index] == links.to_index)[links.state == 1].sum())
        n_all += len(after)
    assert n_right / n_all > 0.8
