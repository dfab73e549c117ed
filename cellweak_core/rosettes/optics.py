"""A picture of simulated cells: blurred membranes, haze, photon and read noise, in a confocal stack's planes.

A membrane is a plane of label, seen through a Gaussian blur of sigma_xy across and sigma_z along the axis. Blurred,
a plane with unit normal nu is again Gaussian in the distance d to it, with
sigma^2 = sigma_xy^2 (1 - nu_z^2) + sigma_z^2 nu_z^2 and height ~ 1 / sigma: exact, and no blur has to be computed.
Membranes that lie flat in the plane show as the wide dim patches that real slices have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cellweak_core.rosettes.mesh import Cells

_TILE = 16  # pixels; each tile considers its nearest cells only
_NEAREST = 16  # candidates per tile: more than can reach it; four bits, see _nearest_five
_OFFSET = 256.0  # makes every g positive


@dataclass(frozen=True)
class Optics:
    """The microscope and the stain, in grey levels of the released 8-bit images and in pixels.

    The defaults were matched to the released images of Wang et al. (900 unlabelled ones, evenly over 45 embryos) with
    810 simulated images of 6 seeds. `statistics.distance` then gives: grey levels 0.04 total variation, spectrum
    0.05 decades, autocorrelation 0.02, and as 5%, 50% and 95% quantiles over images, released against simulated:
    mean 43, 72, 99 against 49, 71, 102 grey levels; sd 29, 38, 61 against 27, 38, 60; correlation length 4.5, 5.3,
    9.3 against 4.7, 5.9, 9.2 px; ridge share .031, .065, .092 against .034, .060, .084. One seed's three days shift
    the mean by up to 5 levels.

    Attributes:
        sigma_xy_px: blur across the axis.
        sigma_z_px: blur along it.
        tail: share of light in a second, wide blur (four times as wide), out of focus.
        slice_px: distance of two slices.
        outside: grey level outside the embryo.
        inside: cytoplasm's, above `outside`.
        membrane: brightness of a membrane between two cells, seen edge on.
        shell: brightness of a membrane at the embryo's surface, relative to `membrane` (one membrane, not two).
        haze: brightness of out-of-focus light, sd over space.
        warp_px: amplitude of the smooth bending of the mesh.
        photons_per_level: detected per grey level; fixes the photon noise.
        read_noise: sd, grey levels.
    """

    sigma_xy_px: float = 1.2
    sigma_z_px: float = 4.0
    tail: float = 0.24
    slice_px: float = 5.0
    outside: float = 14.5
    inside: float = 23.5
    membrane: float = 108.0
    shell: float = 0.6
    haze: float = 7.0
    warp_px: float = 2.0
    photons_per_level: float = 0.09
    read_noise: float = 6.0


def tile_grid(size: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Columns x and rows y (tiles, tile*tile) of a window's pixels, tile by tile, and the padded side."""
    per_side = -(-size // _TILE)
    corner = np.arange(per_side) * _TILE
    inner = np.arange(_TILE)
    shape = (per_side, per_side, _TILE, _TILE)
    y = np.broadcast_to(corner[:, None, None, None] + inner[None, None, :, None], shape)
    x = np.broadcast_to(corner[None, :, None, None] + inner[None, None, None, :], shape)
    flat = (per_side * per_side, _TILE * _TILE)
    return x.reshape(flat).astype(np.float32), y.reshape(flat).astype(np.float32), per_side


def untile(tiles: np.ndarray, per_side: int, size: int) -> np.ndarray:
    """(tiles, tile*tile) back to (size, size)."""
    square = tiles.reshape(per_side, per_side, _TILE, _TILE).transpose(0, 2, 1, 3)
    return square.reshape(per_side * _TILE, per_side * _TILE)[:size, :size]


def view(
    cells: Cells,
    corner: tuple[float, float],
    depths_px: np.ndarray,
    size: int,
    optics: Optics,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the microscope would show without noise, in a window, at several depths.

    Args:
        cells: the embryo's.
        corner: x, y of the window's upper left pixel, in the embryo's turned frame.
        depths_px: (Z,), the middle one is the plane of interest.
        size: of the window's side.
        optics: the microscope.
        rng: haze.

    Returns:
        levels: float32 (Z, size, size), grey levels.
        mesh: int16 (size, size), the cell at each pixel of the middle plane, -1 outside the embryo.
        spread: float32 (size, size): g of the fifth nearest cell less g of the nearest; 0 where five cells meet.
    """
    x, y, per_side = tile_grid(size)
    cos, sin = np.cos(cells.angle), np.sin(cells.angle)
    # bend the mesh gently, then turn the window into the embryo's own frame
    u, v = x + np.float32(corner[0]), y + np.float32(corner[1])
    if optics.warp_px:
        phase = cells.axes.sum()
        bend = np.float32(optics.warp_px)
        u, v = u + bend * np.sin(v / 9.0 + phase), v + bend * np.sin(u / 11.0 - 2 * phase)
    px = (cos * u + sin * v).astype(np.float32)
    py = (cos * v - sin * u).astype(np.float32)
    middle = len(depths_px) // 2
    z = np.asarray(depths_px, np.float32)
    candidates = _candidates(cells, px, py, float(z[middle]))
    best = _nearest_five(cells, candidates, px, py, z)
    g1 = _decode(best[0])
    level, number = _levels(cells, candidates, best, px, py, z, optics)
    haze = _smooth_noise((len(z), size, size), rng) * optics.haze
    stack = np.stack([untile(plane, per_side, size) for plane in level]) + haze
    mesh = untile(number[middle], per_side, size)
    spread = untile((_decode(best[4]) - g1)[middle], per_side, size)
    return stack, mesh.astype(np.int16), spread


def _candidates(cells: Cells, px: np.ndarray, py: np.ndarray, z: float) -> np.ndarray:
    """The cells nearest to each tile's middle: int (tiles, _NEAREST); repeats the last cell when there are fewer."""
    at = np.stack([px.mean(1), py.mean(1), np.full(len(px), z, np.float32)], 1)
    apart = at[:, None] - cells.centres[None]
    g = np.sqrt((apart * apart).sum(-1)) - cells.radii
    if g.shape[1] <= _NEAREST:
        raise ValueError(f"cells: expected more than {_NEAREST}, given {g.shape[1]}.")
    return np.argpartition(g, _NEAREST, axis=1)[:, :_NEAREST]


def _nearest_five(
    cells: Cells, candidates: np.ndarray, px: np.ndarray, py: np.ndarray, z: np.ndarray
) -> list[np.ndarray]:
    """The five least g at each voxel, each float32 (Z, tiles, P) with the candidate's number in its last four bits.

    An insertion network on whole arrays: ten times faster than a sort along a short axis. A positive float's order is
    that of its bits, so the number rides along; g loses less than 0.001 px by it.
    """
    shape = (len(z), *px.shape)
    best = [np.full(shape, np.inf, np.float32) for _ in range(5)]
    for k in range(candidates.shape[1]):
        c = cells.centres[candidates[:, k]]
        flat = np.square(px - c[:, 0:1]) + np.square(py - c[:, 1:2])
        deep = np.square(z[:, None, None] - c[None, :, 2:3])
        g = np.sqrt(flat + deep)
        g += (_OFFSET - cells.radii[candidates[:, k]])[None, :, None]
        bits = g.view(np.int32)
        bits &= ~15
        bits |= k
        for j in range(5):
            if j < 4:
                best[j], g = np.minimum(best[j], g), np.maximum(best[j], g)
            else:
                np.minimum(best[j], g, out=best[j])
    return best


def _decode(best: np.ndarray) -> np.ndarray:
    return best - np.float32(_OFFSET)


def _levels(
    cells: Cells,
    candidates: np.ndarray,
    best: list[np.ndarray],
    px: np.ndarray,
    py: np.ndarray,
    z: np.ndarray,
    optics: Optics,
) -> tuple[np.ndarray, np.ndarray]:
    """Grey levels float32 (Z, tiles, P) and the nearest cell's number (-1 outside)."""
    tiles = np.arange(len(candidates))[None, :, None] * candidates.shape[1]
    which = [candidates.ravel()[(b.view(np.int32) & 15) + tiles] for b in best[:3]]
    zz = z[:, None, None]
    normals = []
    for i, b in zip(which, best, strict=False):
        c = cells.centres[i]
        inverse = 1 / (_decode(b) + cells.radii[i] + np.float32(1e-3))
        normals.append(((px - c[..., 0]) * inverse, (py - c[..., 1]) * inverse, (zz - c[..., 2]) * inverse))
    sxy2, sz2 = optics.sigma_xy_px**2, optics.sigma_z_px**2
    glow = np.zeros_like(best[0])
    for k in (1, 2):
        dx, dy, dz = (normals[k][a] - normals[0][a] for a in range(3))
        dz2 = dz * dz
        length2 = dx * dx + dy * dy + dz2 + np.float32(1e-6)
        d2 = np.square(best[k] - best[0]) / length2
        sigma2 = sxy2 + (sz2 - sxy2) * dz2 / length2
        edge = cells.membrane[which[0]] * cells.membrane[which[k]]
        scaled = np.float32(-0.5) * d2 / sigma2
        profile = np.exp(scaled)
        if k == 1:
            profile += np.float32(optics.tail) * np.exp(scaled / 16)
        glow += edge * np.sqrt(sxy2 / sigma2) * profile
    # the embryo's surface: an ellipsoid bumpy with cells
    a, b, c = cells.axes
    rho = np.sqrt(np.square(px / a) + np.square(py / b) + np.square(zz / c))
    shell = (rho - 1) * np.float32(min(b, c))
    bump = _decode(best[0]) - np.float32(6.0)
    surface = np.maximum(shell, np.where(rho > 0.85, bump, -99))
    inside = 1 / (1 + np.exp(np.clip(surface * 1.2, -30, 30)))
    skin = np.exp(-0.5 * np.square((surface + 1) / optics.sigma_xy_px)) * cells.membrane[which[0]]
    glow = np.maximum(glow * inside, optics.shell * skin)
    level = optics.outside + inside * optics.inside * cells.cytoplasm[which[0]] + optics.membrane * glow
    return level.astype(np.float32), np.where(surface < 0, which[0], -1)


def _smooth_noise(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Unit-variance noise, smooth over about 20 pixels, the same at all depths: light from far out of focus."""
    from scipy.ndimage import zoom

    _, h, w = shape
    coarse = rng.standard_normal((h // 16 + 3, w // 16 + 3)).astype(np.float32)
    fine = zoom(coarse, 16, order=1)[8 : 8 + h, 8 : 8 + w]
    return fine / (fine.std() + 1e-6)
