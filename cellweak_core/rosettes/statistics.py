"""Curves by which simulated images are set beside real ones: grey levels, contrast, spectrum, correlation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ..tables import read_csv, write_csv

_LEVELS = np.arange(0, 257, 4)
_QUANTILES = np.linspace(0.05, 0.95, 19)


def statistics(images: np.ndarray) -> dict[str, pd.DataFrame]:
    """What a set of images looks like, as curves.

    Args:
        images: uint8 (N, H, W), H and W at least 32.

    Returns:
        Tables with the columns x and y:
        `histogram`: share of pixels per grey level, in bins of 4 levels;
        `spectrum`: mean power of the standardised, Hann-windowed images per pixel, against cycles per pixel (0 to 0.5);
        `autocorrelation`: mean correlation against distance in pixels (0 to 31);
        `mean`, `sd`, `correlation_length`, `ridge_share`: the quantile function of a number per image, its value (y)
        against the quantile (x). The correlation length is where the image's correlation falls to 1/2 (pixels); the
        ridge share is the share of bright-ridge pixels: how much of the picture is membrane.
    """
    images = np.asarray(images)
    if images.ndim != 3 or len(images) == 0 or min(images.shape[1:]) < 32:
        raise ValueError(f"images: expected (N, H, W) with H, W of 32 or more, given {images.shape}.")
    n, h, w = images.shape
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None])
    ring = np.rint(radius * 64).astype(int)  # 32 rings up to the Nyquist frequency
    lag = np.arange(-31, 32)
    step = np.rint(np.hypot(lag[31:, None], lag[None])).astype(int)
    hann = np.hanning(h)[:, None] * np.hanning(w)[None]
    hann /= np.sqrt(np.square(hann).sum())
    power = np.zeros(33)
    lags = np.zeros(32)
    counts = np.zeros(len(_LEVELS) - 1)
    per_image = np.zeros((n, 4))
    padded = (2 * h, 2 * w)
    overlap = (h - lag[31:, None]) * (w - np.abs(lag[None]))
    for i, image in enumerate(images):
        counts += np.histogram(image, _LEVELS)[0]
        x = image.astype(np.float32)
        mean, sd = float(x.mean()), float(x.std())
        x = (x - mean) / (sd + 1e-6)
        power += _mean_by(ring, np.abs(np.fft.fft2(x * hann)) ** 2, 33)
        products = np.fft.irfft2(np.abs(np.fft.rfft2(x, padded)) ** 2, padded)[:32, lag] / overlap
        correlation = _mean_by(step, products, 32)
        lags += correlation
        below = np.flatnonzero(correlation < 0.5)
        length = float(below[0]) if len(below) else 32.0
        if len(below) and below[0] > 0:
            before, after = correlation[below[0] - 1], correlation[below[0]]
            length = below[0] - 1 + (before - 0.5) / (before - after)
        per_image[i] = mean, sd, length, _ridge_share(x)
    names = ("mean", "sd", "correlation_length", "ridge_share")
    curves = {
        "histogram": _curve(_LEVELS[:-1] + 2, counts / counts.sum()),
        "spectrum": _curve(np.arange(33) / 64, power / n),
        "autocorrelation": _curve(np.arange(32), lags / n),
    }
    for k, name in enumerate(names):
        curves[name] = _curve(_QUANTILES, np.quantile(per_image[:, k], _QUANTILES))
    return curves


def distance(one: dict[str, pd.DataFrame], other: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """How far two sets of curves lie apart.

    Args:
        one: of `statistics`.
        other: the same of other images.

    Returns:
        One row per curve: `curve`, `difference`, `unit`. The histogram's is the total variation (0 to 1), the
        spectrum's the mean absolute log10 ratio, the others' the mean absolute difference.
    """
    rows = []
    for name, curve in one.items():
        a, b = curve["y"].to_numpy(), other[name]["y"].to_numpy()
        if name == "histogram":
            rows.append((name, 0.5 * np.abs(a - b).sum(), "total variation"))
        elif name == "spectrum":
            rows.append((name, np.abs(np.log10((a + 1e-9) / (b + 1e-9))).mean(), "decades"))
        else:
            unit = {"mean": "grey levels", "sd": "grey levels", "correlation_length": "px"}.get(name, "1")
            rows.append((name, np.abs(a - b).mean(), unit))
    return pd.DataFrame(rows, columns=["curve", "difference", "unit"])


def save_curves(curves: dict[str, pd.DataFrame], path: str | Path) -> Path:
    """Keeps the curves as one tidy table: columns curve, x, y."""
    return write_csv(pd.concat([frame.assign(curve=name) for name, frame in curves.items()])[["curve", "x", "y"]], path)


def load_curves(path: str | Path) -> dict[str, pd.DataFrame]:
    """Reads what `save_curves` wrote."""
    table = read_csv(path, {"curve": "str", "x": "float", "y": "float"})
    return {str(name): part[["x", "y"]].reset_index(drop=True) for name, part in table.groupby("curve", sort=False)}


def _curve(x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"x": np.asarray(x, float), "y": np.asarray(y, float)})


def _mean_by(bins: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    return np.bincount(bins.ravel(), values.ravel())[:n] / np.bincount(bins.ravel())[:n]


def _ridge_share(image: np.ndarray, sigma_px: float = 2.0) -> float:
    """Share of pixels where the image bends down across a ridge by more than 0.15 sd per pixel squared."""
    from scipy.ndimage import gaussian_filter

    yy = gaussian_filter(image, sigma_px, order=(2, 0))
    xx = gaussian_filter(image, sigma_px, order=(0, 2))
    xy = gaussian_filter(image, sigma_px, order=(1, 1))
    least = 0.5 * (xx + yy) - np.sqrt(0.25 * np.square(xx - yy) + np.square(xy))
    return float((least < -0.15).mean())
