"""Looking into classifiers: filters, clusters of fc1 weights, activation maps."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

from cellweak_core.images import scale_to_unit
from cellweak_core.rosettes.inspection import (
    activation_table,
    clusters,
    fc1_map,
    feature_maps,
    first_filters,
    layer_shapes,
    load_classifier,
    mean_activations,
)
from cellweak_core.rosettes.networks import Classifier


def model(seed: int = 0, **sizes: int) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(**{"width": 4, "fc": 16, **sizes})


def windows(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32)).astype(np.uint8)


def test_first_filters_are_the_first_convolution() -> None:
    network = model()
    filters = first_filters(network.state_dict())
    assert filters.shape == (4, 1, 4, 4)
    np.testing.assert_array_equal(filters, network.trunk.convs[0].weight.detach().numpy())


def test_the_map_has_a_point_per_input_feature_and_near_ones_together() -> None:
    network = model(fc=8)
    n = network.fc1.in_features
    with torch.no_grad():  # features 0..n/2 weigh one way, the others another
        weights = 0.01 * torch.randn(8, n)
        weights[:4, : n // 2] += 1
        weights[4:, n // 2 :] += 1
        network.fc1.weight.copy_(weights)
    points = fc1_map(network.state_dict(), 0)
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()
    np.testing.assert_array_equal(points, fc1_map(network.state_dict(), 0))
    label = clusters(points)
    assert label.max() + 1 == 2
    assert len(set(label[: n // 2]) - {-1}) == len(set(label[n // 2 :]) - {-1}) == 1


@pytest.mark.parametrize("n", [60, 128, 512])
@pytest.mark.parametrize("seed", range(3))
def test_three_blobs_are_three_clusters_and_noise_has_none(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    blobs, which = make_blobs(n, centers=[[0, 0], [10, 0], [0, 10]], cluster_std=1.0, random_state=seed)
    label = clusters(blobs)
    assert label.max() + 1 == 3
    assert len(set(zip(which[label >= 0], label[label >= 0], strict=True))) == 3  # one label per blob
    assert (label >= 0).mean() > 0.7
    angle, radius = rng.uniform(0, 2 * np.pi, n), np.sqrt(rng.uniform(size=n))
    disc = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)  # what t-SNE makes of random weights
    for cloud in (rng.uniform(size=(n, 2)), rng.normal(size=(n, 2)), disc):
        label = clusters(cloud)
        assert label.shape == (n,)
        assert (label == -1).all()


def test_three_clusters_in_a_diffuse_cloud_are_found() -> None:
    blobs, _ = make_blobs(256, centers=[[3, 3], [8, 3], [3, 8]], cluster_std=0.3, random_state=0)
    cloud = np.random.default_rng(0).uniform(0, 11, (256, 2))
    label = clusters(np.concatenate([blobs, cloud]))
    assert label.max() + 1 == 3
    assert (label[:256] >= 0).mean() > 0.8
    assert (label[256:] >= 0).mean() < 0.3


def test_clusters_leave_their_points_alone() -> None:
    points = np.random.default_rng(1).normal(size=(50, 2))
    before = points.copy()
    clusters(points)
    np.testing.assert_array_equal(points, before)


def bilinear(side: int, size: int) -> np.ndarray:
    """`(size, side)`: how much each pixel of a row gives to each pixel of the resized row."""
    weights = np.zeros((size, side))
    for k in range(size):
        at = np.clip((k + 0.5) * side / size - 0.5, 0, side - 1)
        low = int(at)
        weights[k, low] += 1 - (at - low)
        weights[k, min(low + 1, side - 1)] += at - low
    return weights


def test_feature_maps_are_scaled_and_the_strongest_come_first() -> None:
    network, window = model().eval(), windows(1)[0]
    stacks = feature_maps(network, window)
    assert [s.shape for s in stacks] == [(4, 32, 32), (8, 32, 32), (16, 32, 32)]
    with torch.no_grad():
        raw = [layer[0].numpy() for layer in network.trunk.layers(scale_to_unit(torch.as_tensor(window)[None, None]))]
    for stack, maps in zip(stacks, raw, strict=True):
        assert stack.min() >= 0
        assert stack.max() <= 1
        ranked = sorted(maps, key=lambda m: -m.mean())
        for shown, one in zip(stack, ranked, strict=True):
            scaled = (one - one.min()) / (one.max() - one.min())
            resize = bilinear(len(one), 32)
            np.testing.assert_allclose(shown, resize @ scaled @ resize.T, atol=1e-5)
    same = feature_maps(network, window, size=16)[0]  # its own size: nothing is resized
    for shown, one in zip(same, sorted(raw[0], key=lambda m: -m.mean()), strict=True):
        np.testing.assert_allclose(shown, (one - one.min()) / (one.max() - one.min()), atol=1e-6)
        assert (shown.min(), shown.max()) == (0, pytest.approx(1))


def test_a_silent_filter_is_black() -> None:
    network = model()
    with torch.no_grad():
        network.trunk.convs[0].weight.zero_()
    assert all(np.isfinite(stack).all() for stack in feature_maps(network, windows(1)[0]))
    assert not feature_maps(network, windows(1)[0])[0].any()


def test_mean_activations_against_a_loop_over_windows() -> None:
    network, images = model(), windows(5)
    network.train()  # as after a training: the windows' own statistics must not count
    found = mean_activations(network, images)
    alone = []
    for image in images:
        x = scale_to_unit(torch.as_tensor(image)[None, None])
        with torch.no_grad():
            alone.append([float(layer.mean()) for layer in network.trunk.layers(x)])
    np.testing.assert_allclose(found, np.mean(alone, 0), rtol=1e-4, atol=1e-6)
    table = activation_table({"one": network, "two": model(1)}, images)
    assert table["state"].tolist() == ["one"] * 3 + ["two"] * 3
    assert table["layer"].tolist() == ["conv1", "conv2", "conv3"] * 2
    np.testing.assert_allclose(table["mean"][:3], found)
    assert (table["n"] == 5).all()


def test_layer_shapes_of_both_networks_by_hand() -> None:
    assert layer_shapes(Classifier()) == [
        ("input", "1x32x32"), ("conv1", "32x16x16"), ("conv2", "64x8x8"), ("conv3", "128x4x4"), ("fc1", "256"),
        ("fc2", "2"),
    ]  # fmt: skip
    large = layer_shapes(model(image_size=128, n_convs=5, fc=8))
    assert large[:2] == [("input", "1x128x128"), ("conv1", "4x64x64")]
    assert large[5:] == [("conv5", "64x4x4"), ("fc1", "8"), ("fc2", "2")]


def test_a_loaded_classifier_scores_as_its_weights_do() -> None:
    source, x = model(3).eval(), scale_to_unit(torch.as_tensor(windows(2))[:, None])
    loaded = load_classifier(model(4), source.state_dict())
    assert not loaded.training
    torch.testing.assert_close(loaded(x), source(x))
