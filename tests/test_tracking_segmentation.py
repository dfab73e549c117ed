"""Restoration against its normal equations, graph cuts against all labellings of 3x3 pixels, measured regions."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import j1

from cellweak_core.regions import measured, split
from cellweak_core.tracking import graph_cut
from cellweak_core.tracking.segmentation import contrast, phase_contrast_psf, restored

Array = NDArray[np.float64]


def dark_cell() -> Array:
    y, x = np.mgrid[:96, :128]
    return 0.3 - 0.12 * np.exp(-((np.hypot(x - 40, y - 60) / 6) ** 4))


def test_contrast_does_not_see_the_lamp() -> None:
    image = dark_cell()
    y, x = np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
    flat = contrast(image)
    assert np.allclose(contrast(0.4 * image), flat, atol=1e-5)
    assert np.abs(contrast(image * (1 + 0.3 * x - 0.2 * y)) - flat).max() < 0.05
    assert flat.dtype == np.float32
    assert np.allclose(contrast(np.full((20, 30), 0.7)), 0, atol=1e-5)
    assert (contrast(np.zeros((20, 30))) == 0).all()


def test_psf_is_delta_minus_the_airy_pattern_of_the_ring() -> None:
    ring, reach = 0.03, 10
    airy = np.zeros((21, 21))
    for i, j in itertools.product(range(21), repeat=2):
        r = max(np.hypot(i - reach, j - reach), 1e-9)
        if r <= reach:
            airy[i, j] = (ring * j1(2 * np.pi * ring * r) - 0.8 * ring * j1(2 * np.pi * 0.8 * ring * r)) / r
    expected = -0.9 * airy / airy.sum()
    expected[reach, reach] += 1
    assert np.allclose(phase_contrast_psf(ring, 0.9, reach), expected, atol=1e-12)
    with pytest.raises(ValueError, match=r"ring_cycles_per_px = 0\.2"):
        phase_contrast_psf(0.2)


@pytest.mark.parametrize("weights", [(0.1, 0.1), (1.0, 0.01), (0.0, 0.5)])
def test_restored_solves_the_normal_equations(weights: tuple[float, float]) -> None:
    image = np.random.default_rng(1).normal(0, 1, (8, 9))
    psf, n = phase_contrast_psf(0.03, 0.9, 3), image.size

    def matrix(kernel: Array) -> Array:
        out, reach = np.zeros((n, n)), kernel.shape[0] // 2
        for y, x in itertools.product(range(8), range(9)):
            for dy, dx in itertools.product(range(-reach, reach + 1), repeat=2):
                out[y * 9 + x, (y - dy) % 8 * 9 + (x - dx) % 9] += kernel[dy + reach, dx + reach]
        return out

    h, laplacian = matrix(psf), matrix(np.array([[0, -0.25, 0], [-0.25, 1, -0.25], [0, -0.25, 0]]))
    expected = np.linalg.solve(h.T @ h + weights[0] * laplacian + weights[1] * np.eye(n), h.T @ -image.ravel())
    before = image.copy()
    assert np.allclose(restored(image, psf, *weights, pad_px=0).ravel(), np.maximum(expected, 0), atol=1e-5)
    assert (image == before).all()


def test_restored_inverts_the_psf() -> None:
    y, x = np.mgrid[:70, :90]
    cells = np.exp(-((x - 30) ** 2 + (y - 30) ** 2) / 50) + 0.5 * np.exp(-((x - 60) ** 2 + (y - 45) ** 2) / 80)
    image = -ndimage.convolve(cells, phase_contrast_psf(), mode="mirror")
    found = restored(image, phase_contrast_psf(), smoothness=0, sparseness=1e-5)
    assert np.abs(found - cells).max() < 0.02
    assert np.abs(-image - cells).max() > 0.3  # it was not there before


def test_measured_by_literal_sums() -> None:
    labels = np.array([[0, 4, 4, 4, 0], [0, 0, 0, 0, 0], [9, 9, 0, 0, 0], [9, 9, 0, 0, 0]])
    weights = np.arange(20.0).reshape(4, 5)
    regions = measured(labels, weights)
    assert regions.labels.tolist() == [[0, 1, 1, 1, 0], [0] * 5, [2, 2, 0, 0, 0], [2, 2, 0, 0, 0]]
    x_line = (1 * 1 + 2 * 2 + 3 * 3) / (1 + 2 + 3)
    x_block, y_block = (11 + 16) / (10 + 11 + 15 + 16), (2 * 21 + 3 * 31) / 52
    assert np.allclose(regions.centres, [[x_line, 0], [x_block, y_block]], atol=1e-5)
    assert regions.areas.tolist() == [3, 4]
    assert np.allclose(regions.roundness, [np.sqrt((1 / 12) / (2 / 3 + 1 / 12)), 1])
    assert np.allclose(measured(labels).centres, [[2, 0], [0.5, 2.5]])
    assert measured(np.ones((2, 3), int)).areas.tolist() == [6]
    assert measured(np.zeros((2, 3), int)).centres.shape == (0, 2)


def test_split_parts_touching_discs() -> None:
    y, x = np.mgrid[:40, :60]
    mask = (np.hypot(x - 20, y - 20) < 10) | (np.hypot(x - 36, y - 20) < 10)
    mask[0, 0] = True
    regions = split(mask, ndimage.distance_transform_edt(mask), 6, 20)
    assert np.allclose(regions.centres, [[20, 20], [36, 20]], atol=1)
    assert regions.areas.sum() == mask.sum() - 1  # the speck in the corner is dropped


# --- graph cut ---------------------------------------------------------------------------------------------------


def literal_energy(mask: Array, image: Array, unary: Array, sigma: float, weight: float) -> float:
    total = float(unary[mask].sum())
    for a, b in itertools.product(np.ndindex(*image.shape), repeat=2):
        distance = np.hypot(a[0] - b[0], a[1] - b[1])
        if 0 < distance < 2 and mask[a] and not mask[b]:
            step = max(image[b] - image[a], 0)
            total += weight / distance * np.exp(-(step**2) / (2 * sigma**2))
    return total


@pytest.mark.parametrize("seed", range(8))
def test_graph_cut_is_the_cheapest_of_all_512_labellings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, unary = rng.normal(0, 1, (3, 3)), rng.normal(0, 2, (3, 3)).round(2)
    costs = graph_cut.asymmetric_costs(image, 0.7, 1.3)
    labellings = [np.array(bits, bool).reshape(3, 3) for bits in itertools.product([0, 1], repeat=9)]
    energies = [literal_energy(mask, image, unary, 0.7, 1.3) for mask in labellings]
    assert np.allclose([graph_cut.energy(mask, unary, costs) for mask in labellings], energies)
    found = graph_cut.energy(graph_cut.cheapest(unary, costs), unary, costs)
    assert min(energies) - 1e-9 <= found <= min(energies) + 0.2  # 40 costs, each rounded by 0.005 at most


def test_boundary_is_cheap_only_from_dark_out_to_bright() -> None:
    image = np.full((9, 9), 0.5)
    image[2:7, 2:7] = 0.9  # a bright square
    image[3:6, 3:6] = 0.1  # with a dark middle
    unary = np.full(image.shape, 0.0)
    unary[4, 4], unary[0] = -3, 3
    mask = graph_cut.cheapest(unary, graph_cut.asymmetric_costs(image, 0.1, 1.0))
    assert (mask == (image < 0.2)).all()
    assert not graph_cut.cheapest(np.ones((4, 5)), graph_cut.asymmetric_costs(np.zeros((4, 5)), 1, 1)).any()
    assert graph_cut.cheapest(-np.ones((4, 5)), graph_cut.asymmetric_costs(np.zeros((4, 5)), 1, 1)).all()
