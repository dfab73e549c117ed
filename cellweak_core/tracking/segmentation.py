"""What the three rebuilt baselines share: contrast, phase-contrast restoration and tuning.

    frame --contrast--> I/B - 1 --restored--> cells bright on 0 --threshold, split--> Regions --> centres
                                                                                        ^
                                  tune: the parameters whose centres fit the training points best (F1)

Rebuilt from the description in Yin, Kanade & Chen, "Understanding the phase contrast optics to restore artifact-free
microscopy images for segmentation", Medical Image Analysis 16 (2012): the image is the object convolved with
`delta - airy`, the airy pattern of the phase ring, and the object is found by regularised least squares. No code of
the authors was used.

Simplified: Yin et al. ask for a sparse (l1), non-negative object with a smoothness term weighted by the image, found
by iterating; here both terms are quadratic and constant, so that one division in Fourier space solves it, and
negative values are cut off afterwards.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..regions import Regions
from .background import quadratic_background

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]


class Frames(Protocol):
    """What a baseline asks of a source: its length, and one frame `(Y, X)` float32 in [0, 1] at a time."""

    def __len__(self) -> int:
        """Number of frames."""
        ...

    def __getitem__(self, t: int, /) -> Array:
        """Frame t."""
        ...


def contrast(image: Array) -> Array:
    """Relative contrast of a frame: `I / B - 1`, with a quadratic surface B fitted by least squares.

    A ratio, since the lamp's brightness and its fall-off multiply the image: parameters tuned on one movie hold for
    another that was lit differently.

    Args:
        image: `(Y, X)`, values of 0 or more.

    Returns:
        `(Y, X)` float32; 0 where the surface is below a twentieth of the mean, in a black frame or corner.
    """
    surface = quadratic_background(image)
    lit = surface > max(0.05 * float(image.mean()), 1e-6)
    return (np.divide(image, surface, out=np.ones(image.shape, np.float32), where=lit) - 1).astype(np.float32)


def phase_contrast_psf(ring_cycles_per_px: float = 0.03, strength: float = 0.9, reach_px: int = 16) -> Array:
    """Kernel of the phase-contrast microscope, `delta - strength * airy` (Yin 2012, Sec. 2).

    `airy(r) = R J1(2 pi R r) / r - (R - W) J1(2 pi (R - W) r) / r` for a phase ring of outer radius R and width
    W = R / 5, as in the microscopes of the paper.

    Args:
        ring_cycles_per_px: R in the unit of the Fourier plane; halos reach about 0.4 / R px.
        strength: Share of the surrounding light that the ring puts back, below 1 so that H(0) > 0. Deviation: the
            airy pattern is scaled to the sum 1 before, where the paper's optics fix its height.
        reach_px: The pattern is cut off at this distance.

    Returns:
        `(2 reach_px + 1, 2 reach_px + 1)` float64, sum 1 - strength.

    Raises:
        ValueError: the ring is so large that the cut-off pattern has no positive sum.
    """
    from scipy.special import j1

    y, x = np.mgrid[-reach_px : reach_px + 1, -reach_px : reach_px + 1]
    r = np.maximum(np.hypot(x, y), 1e-9)

    def disc(radius: float) -> Array:
        return radius * j1(2 * np.pi * radius * r) / r

    airy = (disc(ring_cycles_per_px) - disc(0.8 * ring_cycles_per_px)) * (r <= reach_px)
    if airy.sum() <= 0.05 * np.abs(airy).sum():
        raise ValueError(
            f"ring_cycles_per_px = {ring_cycles_per_px} with reach_px = {reach_px}: the pattern changes sign too often "
            "to be scaled; make one of them smaller (0.03 and 16 fit C2C12 at 1.3 um a pixel)"
        )
    kernel = -strength * airy / airy.sum()
    kernel[reach_px, reach_px] += 1
    return kernel


def restored(image: Array, psf: Array, smoothness: float = 0.1, sparseness: float = 0.1, pad_px: int = 32) -> Array:
    """The object behind a phase-contrast image, cells positive on 0 (Yin 2012, Eq. for f with quadratic terms).

    Minimises `|H f - g|^2 + smoothness f' L f + sparseness |f|^2` with `g = -image`: cells that retard light are
    darker than the background, so they come out positive.

    Args:
        image: `(Y, X)` float, background near 0 (see `contrast`).
        psf: Odd-sized kernel that makes H.
        smoothness: Weight of the Laplacian L.
        sparseness: Weight of the object's own size.
        pad_px: The image is mirrored this far, as the Fourier transform joins opposite borders.

    Returns:
        `(Y, X)` float32, 0 or more.
    """
    from scipy.fft import irfft2, next_fast_len, rfft2

    pads = [(min(pad_px, n - 1),) * 2 for n in image.shape]
    mirrored = np.pad(-image.astype(np.float64), pads, mode="reflect")
    shape = tuple(next_fast_len(n, real=True) for n in mirrored.shape)
    mirrored = np.pad(mirrored, [(0, n - m) for n, m in zip(shape, mirrored.shape, strict=True)], mode="edge")

    def transfer(kernel: Array) -> Array:
        # Added pixel by pixel, since a kernel may be larger than a small frame and then wraps around it
        y, x = np.mgrid[: kernel.shape[0], : kernel.shape[1]] - np.array(kernel.shape)[:, None, None] // 2
        whole = np.zeros(shape)
        np.add.at(whole, (y % shape[0], x % shape[1]), kernel)
        return rfft2(whole)

    h = transfer(psf)
    laplacian = transfer(np.array([[0, -0.25, 0], [-0.25, 1, -0.25], [0, -0.25, 0]]))
    f = irfft2(h.conj() * rfft2(mirrored) / (np.abs(h) ** 2 + smoothness * laplacian.real + sparseness), s=shape)
    rows, columns = (slice(pad[0], pad[0] + n) for pad, n in zip(pads, image.shape, strict=True))
    return np.maximum(f[rows, columns], 0).astype(np.float32)


def training_frames(points: pd.DataFrame, max_frames: int) -> list[int]:
    """At most `max_frames` of the annotated frames, evenly spaced.

    Raises:
        ValueError: there are no points.
    """
    frames = np.unique(points["frame"])
    if not len(frames):
        raise ValueError("points: expected at least one annotated frame to tune on, got none")
    return [int(t) for t in frames[np.unique(np.linspace(0, len(frames) - 1, max_frames).round().astype(int))]]


def tune(
    segment: Callable[..., Regions],
    source: Frames,
    points: pd.DataFrame,
    grid: Mapping[str, Sequence[Any]],
    max_frames: int = 3,
    max_distance_px: float = 10.0,
) -> dict[str, Any]:
    """The parameters of a grid whose cells agree best with annotated positions.

    The paper tuned the hyper-parameters of these baselines on validation data (Nishimura 2020, Sec. 4); here that is
    the F1 of the detections, pooled over a few frames (`scores.detection_scores`).

    Args:
        segment: `segment(frame, **parameters)` gives `Regions`.
        source: The frames.
        points: Columns frame, x, y, of completely annotated frames.
        grid: Values to try for each parameter; all combinations are tried.
        max_frames: Frames used, evenly spaced over the annotated ones.
        max_distance_px: A cell within this distance of a point is found.

    Returns:
        One value for each parameter of the grid; the first of equally good ones.
    """
    import pandas as pd

    from .scores import detection_scores

    frames = {t: source[t] for t in training_frames(points, max_frames)}
    truth = points[points["frame"].isin(list(frames))]
    shape = next(iter(frames.values())).shape
    best, best_f1 = {name: values[0] for name, values in grid.items()}, -1.0
    for values in itertools.product(*grid.values()):
        parameters = dict(zip(grid, values, strict=True))
        centres = {t: segment(frame, **parameters).centres for t, frame in frames.items()}
        at = np.repeat(list(centres), [len(xy) for xy in centres.values()])
        xy = np.concatenate(list(centres.values()))
        found = pd.DataFrame({"frame": at.astype(np.int64), "x": xy[:, 0], "y": xy[:, 1]})
        f1 = detection_scores(truth, found, max_distance_px, image_shape=(shape[0], shape[1]))["f1"]
        if f1 > best_f1:
            best, best_f1 = parameters, f1
    return best
