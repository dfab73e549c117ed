"""Phase-contrast and nuclear fluorescence images of simulated cells.

```
shapes --> phase shift psi (Y, X) --develop: |u - k h*u - i t|^2 / t^2, u = exp(i psi) - 1--> grey levels --> noise
```

The phase plate passes a share of the diffracted light too, that of low spatial frequency: h is a wide Gaussian
(Yin, Kanade and Chen 2012). This term makes the halo around every cell. Up to psi = atan(t) a cell is the darker
the thicker it is, beyond 2 atan(t) it is brighter than the background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Camera:
    """Microscope and camera.

    Attributes:
        transmission: amplitude t that the phase plate lets pass of the direct light.
        halo_px: standard deviation of h, pixels.
        halo: k, the share of the diffracted light of low frequency that passes the plate.
        blur_px: standard deviation of the point spread function, pixels.
        noise: standard deviation of the noise at grey level 80; it grows as the square root of the level.
        specks: small dark debris, per 100,000 square pixels.
        fibres: thin threads that cells left behind, per 100,000 square pixels.
        smudges: wide spots out of focus, per 100,000 square pixels.
        floaters: pairs of small bright balls that drift, per 100,000 square pixels.
        background: grey levels p0 + p1 u + p2 v + p3 u^2 + p4 u v + p5 v^2, u and v from -1/2 to 1/2 over the sensor.
        sensor: of the whole camera, (Y, X) pixels; smaller images are windows of it.
    """

    transmission: float = 0.6
    halo_px: float = 9.0
    halo: float = 1.0
    blur_px: float = 0.8
    noise: float = 1.25
    specks: float = 6.0
    fibres: float = 1.2
    smudges: float = 0.6
    floaters: float = 0.4
    background: tuple[float, float, float, float, float, float] = (82.8, 24.0, 10.7, -42.5, 0.0, -11.7)
    sensor: tuple[int, int] = (1040, 1392)


def develop(
    phase: np.ndarray, glow: np.ndarray, background: np.ndarray, camera: Camera, rng: np.random.Generator
) -> np.ndarray:
    """The camera's picture of a phase map.

    Args:
        phase: float32 (Y, X), radians.
        glow: float32 (Y, X), light added at the rims of thick cells, share of the background's.
        background: float32 (Y, X), grey levels of the empty field.
        camera: microscope and camera.
        rng: of the noise.

    Returns:
        uint8 (Y, X): background (|u - k h*u - i t|^2 / t^2 + glow), blurred and with noise.
    """
    from scipy.ndimage import gaussian_filter

    t = np.float32(camera.transmission)
    real, imaginary = np.cos(phase) - 1, np.sin(phase)
    real -= np.float32(camera.halo) * gaussian_filter(real, camera.halo_px, truncate=3)
    imaginary -= np.float32(camera.halo) * gaussian_filter(imaginary, camera.halo_px, truncate=3)
    level = np.square(real)
    level += np.square(t - imaginary)
    level /= t**2
    level += glow
    level = gaussian_filter(level, camera.blur_px, truncate=3)
    level *= background
    noise = rng.standard_normal(phase.shape, dtype=np.float32)
    noise *= np.sqrt(np.maximum(level, 0) * np.float32(camera.noise**2 / 80))
    return np.clip(np.rint(level + noise), 0, 255).astype(np.uint8)


def develop_nuclei(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The fluorescence channel: blurred nuclei on a background, with shot noise; uint8 (Y, X)."""
    from scipy.ndimage import gaussian_filter

    level = 18 + 110 * gaussian_filter(light, 1.6, truncate=3)
    level += np.sqrt(level) * np.float32(0.45) * rng.standard_normal(light.shape, dtype=np.float32)
    return np.clip(np.rint(level), 0, 255).astype(np.uint8)


def illumination(shape: tuple[int, int], camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Grey levels of the empty field, float32 (Y, X); an image smaller than the sensor is a random window of it."""
    from scipy.ndimage import gaussian_filter

    sides = []
    for length, sensor in zip(shape, camera.sensor, strict=True):
        whole = max(length, sensor)
        first = rng.uniform(0, whole - length)
        sides.append((np.arange(length) + first) / whole - 0.5)
    v, u = sides[0][:, None], sides[1][None]
    p = camera.background
    field = p[0] + p[1] * u + p[2] * v + p[3] * u * u + p[4] * u * v + p[5] * v * v
    glass = gaussian_filter(rng.standard_normal(shape), 0.9)
    return np.maximum(field * (1 + 0.009 / glass.std() * glass), 1).astype(np.float32)


def debris(shape: tuple[int, int], camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Phase shift of what stays where it is: specks, fibres that cells left behind, smudges out of focus.

    Args:
        shape: (Y, X) pixels.
        camera: says how many there are.
        rng: of places and sizes.

    Returns:
        float32 (Y, X), radians.
    """
    phase = np.zeros(shape, np.float32)
    area = shape[0] * shape[1] / 1e5
    size = np.array([shape[1], shape[0]])
    for _ in range(rng.poisson(camera.specks * area)):
        blob(phase, rng.uniform(0, size), rng.lognormal(0.5, 0.3), rng.lognormal(-1.7, 0.5))
    for _ in range(rng.poisson(camera.fibres * area)):
        middle, turn, bend = rng.uniform(0, size), rng.uniform(0, np.pi), rng.normal(0, 0.012)
        half, height = rng.lognormal(2.9, 0.4), rng.lognormal(-3.0, 0.4)
        along = np.arange(-half, half)
        course = turn + bend * along
        steps = np.stack([np.cos(course), np.sin(course)], -1)
        for at, s in zip(middle + np.cumsum(steps, 0) - steps.sum(0) / 2, along / half, strict=True):
            blob(phase, at, 1.2, height * (1 - s**4))
    for _ in range(rng.poisson(camera.smudges * area)):
        blob(phase, rng.uniform(0, size), rng.uniform(12, 25), rng.normal(0, 0.06))
    return phase


def blob(phase: np.ndarray, at: np.ndarray, radius_px: float, height: float) -> None:
    """Adds a round spot to a phase map in place: height exp(-(r / radius)^2)."""
    x, y = float(at[0]), float(at[1])
    reach = int(np.ceil(radius_px * 2.5)) + 1
    rows = slice(max(int(y) - reach, 0), min(max(int(y) + reach + 1, 0), phase.shape[0]))
    columns = slice(max(int(x) - reach, 0), min(max(int(x) + reach + 1, 0), phase.shape[1]))
    yy, xx = np.ogrid[rows, columns]
    phase[rows, columns] += np.float32(height) * np.exp(-(np.square(yy - y) + np.square(xx - x)) / radius_px**2)
