"""Sliding windows against the loop over crops; boxes and heat maps on cases small enough to draw."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cellweak_core.images import standardise
from cellweak_core.rosettes import detection, sliding
from cellweak_core.rosettes.networks import CentredBatchNorm, Classifier


def classifier(seed: int = 0, sharpness: float = 8.0, **sizes: int) -> Classifier:
    """Random weights and statistics; sharp enough that probabilities spread over (0, 1)."""
    torch.manual_seed(seed)
    model = Classifier(**{"width": 8, "fc": 64, **sizes})
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, CentredBatchNorm):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.2, 2)
                module.beta.normal_(0, 0.3)
        model.fc2.weight.mul_(sharpness)
        logits = model.eval()(torch.randn(64, 1, model.image_size, model.image_size) / 2)
        model.fc2.bias.sub_(logits.mean(0))
    return model


def grey(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


# --- every window's probability is that of the cropped window


@pytest.mark.parametrize("width", [8, 32])
@pytest.mark.parametrize(
    ("shape", "stride"),
    [
        ((32, 32), 4),
        ((36, 36), 4),
        ((40, 52), 4),
        ((128, 96), 8),
        ((128, 96), 16),
        ((41, 53), 2),
        ((41, 53), 3),
        ((49, 61), 5),
        ((36, 36), 1),
        ((64, 32), 6),
        ((96, 64), 32),
        ((90, 90), 40),
    ],
)
@pytest.mark.parametrize("share", [None, True, False])
def test_equal_to_the_cropped_windows(width: int, shape: tuple[int, int], stride: int, share: bool | None) -> None:
    model, image = classifier(width=width), grey(*shape)
    expected = sliding.naive_windows(model, image, 32, stride)
    found = sliding.sliding_probability(model, image, 32, stride, share=share)
    assert found.shape == expected.shape == ((shape[0] - 32) // stride + 1, (shape[1] - 32) // stride + 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("sizes", "shape", "stride"),
    [
        ({"image_size": 16, "n_convs": 3}, (30, 41), 4),  # the last convolution leaves 2x2: no middle
        ({"image_size": 8, "n_convs": 3}, (20, 21), 4),  # 1x1: nothing to share
        ({"image_size": 8, "n_convs": 1}, (20, 21), 2),
        ({"image_size": 48, "n_convs": 3}, (60, 64), 4),
        ({"image_size": 128, "n_convs": 5, "width": 4}, (140, 152), 4),  # the authors' 128-px network
        ({"image_size": 128, "n_convs": 5, "width": 4}, (144, 160), 16),
    ],
)
@pytest.mark.parametrize("share", [None, False])
def test_other_networks(sizes: dict[str, int], shape: tuple[int, int], stride: int, share: bool | None) -> None:
    model, image = classifier(**sizes), grey(*shape)
    expected = sliding.naive_windows(model, image, stride=stride)
    found = sliding.sliding_probability(model, image, stride=stride, share=share)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


@given(
    height=st.integers(32, 60),
    width=st.integers(32, 60),
    stride=st.integers(1, 20),
    tile=st.integers(1, 9),
    share=st.sampled_from([None, True, False]),
    seed=st.integers(0, 2**16),
)
def test_any_shape_stride_and_tile(
    height: int, width: int, stride: int, tile: int, share: bool | None, seed: int
) -> None:
    model, image = classifier(seed, width=2, fc=8), grey(height, width, seed=seed)
    # An independent second reading: all windows cut by unfold, classified at once.
    windows = torch.from_numpy(image).float().unfold(0, 32, stride).unfold(1, 32, stride)
    with torch.no_grad():
        logits = model((windows.reshape(-1, 1, 32, 32) - 128) / 128)
    expected = logits.softmax(1)[:, 1].view(windows.shape[:2]).numpy()
    found = sliding.sliding_probability(model, image, stride=stride, tile=tile, share=share)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_the_probabilities_compared_are_not_all_alike() -> None:
    probabilities = sliding.sliding_probability(classifier(), grey(128, 128))
    assert probabilities.min() < 0.3
    assert probabilities.max() > 0.7
    assert len(np.unique(probabilities)) > 600


def test_zero_padding_matters() -> None:
    # The dense network, whose windows see their neighbours, is another function: exactness is no accident.
    model, image = classifier(), grey(64, 64)
    with torch.no_grad():
        dense = torch.sigmoid(model.dense((torch.from_numpy(image).float()[None, None] - 128) / 128))[0].numpy()
    exact = sliding.sliding_probability(model, image, stride=8)
    assert dense.shape == exact.shape
    assert np.abs(dense - exact).max() > 1e-2


def test_a_tile_boundary_changes_nothing() -> None:
    model, image = classifier(), grey(75, 91)
    whole = sliding.sliding_probability(model, image)
    for tile in (1, 4, 7):
        np.testing.assert_allclose(sliding.sliding_probability(model, image, tile=tile), whole, atol=2e-5)


def test_many_images_at_once() -> None:
    model, images = classifier(), grey(3, 40, 44)
    together = sliding.sliding_probability(model, images)
    assert together.shape == (3, 3, 4)
    for image, probability in zip(images, together, strict=True):
        np.testing.assert_allclose(probability, sliding.sliding_probability(model, image), atol=2e-5)
    assert sliding.sliding_probability(model, images[:0]).shape == (0, 3, 4)


@pytest.mark.parametrize("share", [True, False])
def test_logits(share: bool) -> None:
    model, image = classifier(sharpness=100), grey(44, 44)
    logits = sliding.sliding_probability(model, image, as_logits=True, share=share)
    crop = torch.from_numpy(image[4:36, 8:40]).float()
    with torch.no_grad():
        other, rosette = model((crop[None, None] - 128) / 128)[0].tolist()
    assert logits[1, 2] == pytest.approx(rosette - other, rel=1e-4, abs=1e-3)
    probability = sliding.sliding_probability(model, image, share=share)
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-logits.astype(np.float64))), atol=2e-5)


def test_authors_grid_leaves_out_the_last_row_and_column() -> None:
    model, image = classifier(width=2), grey(128, 128)
    ours = sliding.sliding_probability(model, image)
    theirs = sliding.sliding_probability(model, image, authors_grid=True)
    assert ours.shape == (len(range(0, 128 - 32 + 1, 4)),) * 2 == (25, 25)
    assert theirs.shape == (len(range(0, 96, 4)),) * 2 == (24, 24)
    np.testing.assert_allclose(theirs, ours[:-1, :-1], atol=2e-5)
    small = grey(40, 44)
    assert sliding.naive_windows(model, small, authors_grid=True).shape == (2, 3)
    # Where no window touches the border, none is left out.
    assert sliding.sliding_probability(model, grey(130, 129), authors_grid=True).shape == (25, 25)


def test_a_standardised_image_is_slid_over_as_it_is() -> None:
    model = classifier()
    image = standardise(torch.from_numpy(grey(1, 1, 40, 40)).float())[0, 0]
    expected = sliding.naive_windows(model, image, prepare=lambda x: x)
    found = sliding.sliding_probability(model, image, prepare=lambda x: x)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(found - sliding.sliding_probability(model, image)).max() > 1e-2


def test_other_kinds_of_arrays() -> None:
    model, image = classifier(), grey(36, 40)
    expected = sliding.sliding_probability(model, image)
    read_only = image.copy()
    read_only.setflags(write=False)
    kinds: list[np.ndarray | torch.Tensor] = [
        read_only,
        image[::-1][::-1],
        image.astype(np.float64),
        image.astype(np.uint16),
        torch.from_numpy(image),
    ]
    for kind in kinds:
        np.testing.assert_array_equal(sliding.sliding_probability(model, kind), expected)
    double = sliding.sliding_probability(classifier().double(), image)
    np.testing.assert_allclose(double, expected, atol=1e-5)


@pytest.mark.parametrize("share", [True, False])
def test_model_and_image_are_left_as_they_were(share: bool) -> None:
    model, image = classifier().train(), grey(36, 40)
    model.trunk.norms[0].eval()
    state, before = {name: value.clone() for name, value in model.state_dict().items()}, image.copy()
    first = sliding.sliding_probability(model, image, share=share)
    sliding.naive_windows(model, image)
    assert model.training
    assert not model.trunk.norms[0].training
    assert model.trunk.norms[1].training
    np.testing.assert_array_equal(image, before)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    # Dropout and batch statistics are off in spite of the training mode.
    np.testing.assert_array_equal(first, sliding.sliding_probability(model.eval(), image, share=share))


def test_automatic_choice_shares_where_it_pays() -> None:
    model = classifier()
    paper = sliding._steps(model, 4)
    assert sliding._work(model, paper, 25, 25) < sliding._work(model, None, 25, 25) / 3
    apart = sliding._steps(model, 37)
    assert sliding._work(model, apart, 9, 9) > sliding._work(model, None, 9, 9)


def test_work_counts_every_window_s_multiplications() -> None:
    model = classifier(width=32)
    one_window = 32 * 16 * 16**2 + 32 * 64 * 16 * 8**2 + 64 * 128 * 16 * 4**2
    assert sliding._work(model, None, 3, 5) == 15 * one_window


# --- what cannot be slid over


@pytest.mark.parametrize("shape", [(31, 128), (128, 31), (2, 40, 20)])
def test_image_smaller_than_a_window(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"too small: expected at least 32x32 px .* got shape \({shape[0]}, "):
        sliding.sliding_probability(classifier(width=2), grey(*shape))


def test_authors_grid_needs_one_pixel_more() -> None:
    with pytest.raises(ValueError, match=r"at least 33x33 px .* got shape \(32, 32\)"):
        sliding.sliding_probability(classifier(width=2), grey(32, 32), authors_grid=True)


@pytest.mark.parametrize("shape", [(128,), (1, 1, 64, 64)])
def test_wrong_dimensions_name_the_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"expected \(H, W\).* got shape \({shape[0]},"):
        sliding.sliding_probability(classifier(width=2), grey(*shape))
    with pytest.raises(ValueError, match=rf"expected \(H, W\).* got shape \({shape[0]},"):
        sliding.naive_windows(classifier(width=2), grey(*shape))


def test_naive_windows_takes_one_image() -> None:
    with pytest.raises(ValueError, match=r"expected \(H, W\), got shape \(2, 40, 40\)"):
        sliding.naive_windows(classifier(width=2), grey(2, 40, 40))


def test_unusable_settings() -> None:
    model, image = classifier(width=2), grey(40, 40)
    with pytest.raises(ValueError, match="windows of 32 px, got 64"):
        sliding.sliding_probability(model, image, 64)
    with pytest.raises(ValueError, match="stride: expected at least 1 px, got 0"):
        sliding.sliding_probability(model, image, stride=0)
    with pytest.raises(ValueError, match="tile: expected at least 1 window, got 0"):
        sliding.sliding_probability(model, image, tile=0)
    with pytest.raises(ValueError, match="share: expected False or None"):
        sliding.sliding_probability(classifier(image_size=8), image, share=True)


# --- boxes


def test_boxes_lie_where_their_windows_do() -> None:
    drawn = np.array([[0.1, 0.95, 0.2], [0.9, 0.3, 0.99]])
    found = detection.boxes(drawn, 0.9, size=32, stride=4)
    expected = pd.DataFrame({"x": [8, 4], "y": [4, 0], "size": [32, 32], "probability": [0.99, 0.95]})
    pd.testing.assert_frame_equal(found, expected)


def test_equal_probabilities_keep_reading_order() -> None:
    found = detection.boxes(np.full((2, 2), 0.95, dtype=np.float32), stride=8)
    assert found[["x", "y"]].to_numpy().tolist() == [[0, 0], [8, 0], [0, 8], [8, 8]]


def test_no_box() -> None:
    found = detection.boxes(np.zeros((3, 3)))
    assert list(found.columns) == ["x", "y", "size", "probability"]
    assert len(found) == 0
    assert len(detection.non_maximum_suppression(found)) == 0


def frame(*boxes: tuple[float, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(boxes, columns=["x", "y", "size", "probability"])


def test_suppression_keeps_the_better_of_two() -> None:
    drawn = frame((0, 0, 32, 0.92), (4, 0, 32, 0.97), (80, 80, 32, 0.91))
    kept = detection.non_maximum_suppression(drawn, iou=0.5)
    assert kept["probability"].tolist() == [0.97, 0.91]
    assert kept["x"].tolist() == [4, 80]


def test_suppression_is_not_passed_on() -> None:
    # a - b - c in a row: a removes b, so c, which only b overlaps enough, stays.
    kept = detection.non_maximum_suppression(frame((0, 0, 10, 0.99), (5, 0, 10, 0.95), (10, 0, 10, 0.93)), iou=0.3)
    assert kept["x"].tolist() == [0, 10]


def test_suppression_at_the_limit_and_with_sizes() -> None:
    # 5 px apart: 50 / (100 + 100 - 50) = 1/3; a 10-px box inside a 20-px one: 100 / 400.
    pair = frame((0, 0, 10, 0.99), (5, 0, 10, 0.95))
    assert len(detection.non_maximum_suppression(pair, iou=0.334)) == 2
    assert len(detection.non_maximum_suppression(pair, iou=0.333)) == 1
    nested = frame((0, 0, 20, 0.99), (5, 5, 10, 0.95))
    assert len(detection.non_maximum_suppression(nested, iou=0.25)) == 2
    assert len(detection.non_maximum_suppression(nested, iou=0.24)) == 1


def test_suppression_of_touching_and_distant_boxes() -> None:
    # Diagonal neighbours have two negative overlaps, whose product must not count as area.
    apart = frame((0, 0, 10, 0.99), (10, 10, 10, 0.95), (40, 40, 10, 0.93))
    assert len(detection.non_maximum_suppression(apart, iou=0.0)) == 3


def test_suppression_names_missing_columns() -> None:
    with pytest.raises(ValueError, match="missing: probability, size"):
        detection.non_maximum_suppression(pd.DataFrame({"x": [1], "y": [1]}))


@given(seed=st.integers(0, 2**16), n=st.integers(1, 25), iou=st.floats(0, 1))
def test_suppression_invariants(seed: int, n: int, iou: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 20, (2, n)) * 4
    drawn = pd.DataFrame({"x": x, "y": y, "size": 32, "probability": rng.permutation(n) / n})
    kept = detection.non_maximum_suppression(drawn, iou)

    def overlap(a: pd.Series, b: pd.Series) -> float:
        shared = max(0, 32 - abs(a.x - b.x)) * max(0, 32 - abs(a.y - b.y))
        return shared / (2 * 32**2 - shared)

    rows = [row for _, row in kept.iterrows()]
    assert all(overlap(a, b) <= iou for i, a in enumerate(rows) for b in rows[:i])
    # Every box left out is overlapped too much by a better one that was kept.
    gone = drawn[~drawn["probability"].isin(kept["probability"])]
    assert all(any(overlap(a, b) > iou and b.probability > a.probability for b in rows) for _, a in gone.iterrows())
    shuffled = detection.non_maximum_suppression(drawn.sample(frac=1, random_state=seed), iou)
    pd.testing.assert_frame_equal(shuffled, kept)


# --- heat maps


@pytest.mark.parametrize(("shape", "size", "stride"), [((14, 17), 6, 2), ((12, 12), 6, 3), ((21, 15), 5, 5)])
def test_a_window_stands_at_its_centre(shape: tuple[int, int], size: int, stride: int) -> None:
    ny, nx = ((length - size) // stride + 1 for length in shape)
    probabilities = np.random.default_rng(0).random((ny, nx))
    expected = np.full(shape, np.nan)
    first = (size - stride) // 2  # a cell one stride wide round the window's centre
    for i in range(ny):
        for j in range(nx):
            for y in range(stride):
                for x in range(stride):
                    expected[stride * i + first + y, stride * j + first + x] = probabilities[i, j]
    found = detection.centre_map(probabilities, shape, size, stride)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("side", [128, 130, 131])
def test_a_box_has_its_peak_in_its_middle(side: int) -> None:
    probabilities = np.zeros(((side - 32) // 4 + 1,) * 2)
    probabilities[3, 20] = 0.97
    [box] = detection.boxes(probabilities).itertuples()
    heat = detection.centre_map(probabilities, (side, side))
    y, x = np.nonzero(heat == np.float32(0.97))
    assert (y.mean() + 0.5, x.mean() + 0.5) == (box.y + 16, box.x + 16)
    assert np.isnan(heat[:14]).all()
    assert not np.isnan(heat[14 : 14 + 4 * len(probabilities), 14 : 14 + 4 * len(probabilities)]).any()


def test_centre_map_refusals() -> None:
    with pytest.raises(
        ValueError, match=r"\(25, 25\) windows of 32 px at stride 4 need .*\(128, 128\), got \(127, 128\)"
    ):
        detection.centre_map(np.ones((25, 25)), (127, 128))
    for empty in (np.ones((0, 3)), np.ones(3)):
        with pytest.raises(ValueError, match=r"expected \(ny, nx\), not empty"):
            detection.centre_map(empty, (64, 64))


@given(st.integers(0, 2**32 - 1))
def test_at_rosettes_window_by_window(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = [rng.random((3, 4)), rng.random((2, 2)), rng.random((1, 3))]
    centres = [rng.uniform(0, 16, (rng.integers(0, 4), 2)) for _ in maps]
    hit, chance = detection.at_rosettes(maps, centres, size=6, stride=3)
    for k, (probabilities, places) in enumerate(zip(maps, centres, strict=True)):
        holds = {
            (i, j): any(3 * j <= x < 3 * j + 6 and 3 * i <= y < 3 * i + 6 for x, y in places)
            for i in range(probabilities.shape[0])
            for j in range(probabilities.shape[1])
        }
        best = max(holds, key=lambda at: probabilities[at])
        assert hit[k] == holds[best]
        assert chance[k] == pytest.approx(sum(holds.values()) / len(holds))


def test_at_rosettes_by_hand() -> None:
    probabilities = np.zeros((25, 25))
    probabilities[2, 4] = 0.9  # the window from y = 8, x = 16 up to 40, 48
    inside, below = np.array([[47.9, 8.0]]), np.array([[30.0, 40.0]])
    hit, _ = detection.at_rosettes([probabilities] * 3, [inside, below, np.zeros((0, 2))])
    assert hit.tolist() == [True, False, False]


def test_strongest_takes_one_of_each_group_first() -> None:
    scores = np.array([0.5, 0.9, 0.8, 0.7, 0.6])
    groups = ["b", "a", "a", "c", "a"]
    assert detection.strongest(scores, groups, 4).tolist() == [1, 3, 0, 2]
    assert detection.strongest(scores, groups, 9).tolist() == [1, 3, 0, 2, 4]
    assert detection.strongest(scores[:0], [], 2).tolist() == []


# --- confidence groups


def test_confidence_groups() -> None:
    groups = detection.confidence_groups(np.array([0.85, 0.95, 0.9, 0.8, 0.99, np.nan, 0.81, 0.95]))
    assert groups["high"].tolist() == [4, 1, 7]
    assert groups["moderate"].tolist() == [2, 0, 6]


def test_confidence_groups_refusals() -> None:
    with pytest.raises(ValueError, match=r"expected \(N,\), got shape \(2, 2\)"):
        detection.confidence_groups(np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"moderate: expected less than high = 0\.5, got 0\.8"):
        detection.confidence_groups(np.ones(2), high=0.5)
