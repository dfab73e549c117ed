"""What a trained model is for: representations of cells, cells of noise, cells repeated; and its weights as a file.

    crops --read ahead, prepared--> E --> (n, d)          DCGAN, LSGAN, WGAN: the discriminator's latent layer
    z (n, d) --> G --> (n, C, s, s) in [-1, 1]            BEGAN: its encoder's code; BiGAN: E(x); VAE: the mean
    crops --> E --> G --> (n, C, s, s)                    of BEGAN, BiGAN, VAE and autoencoder

Everything is in evaluation: no input noise, moving statistics, no dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from ..files import DataError
from ..screens.crops import Crops
from ..screens.networks import load_weights as read_weights
from ..screens.networks import rebuilt
from ..screens.networks import save_weights as write_weights
from ..screens.reading import ahead
from ..training import make_fabric, random_source
from .networks import FAMILY, build, prior
from .reading import prepared
from .training import generated, told

Floats = NDArray[np.float32]
HEADER = "architecture"


def encode(
    crops: Crops,
    rows: ArrayLike,
    trained: Mapping[str, Any],
    batch_size: int = 256,
    device: str = "auto",
    precision: str = "bf16-mixed",
) -> Floats:
    """Representations of cells.

    Args:
        crops: Of the channels and the size that the model was trained on.
        rows: `(n,)` cells, or a mask of all.
        trained: `architecture` and `model.*`, as `training.train` returns or `load_weights` reads them.
        batch_size: Cells at a time; no cell's representation depends on it.
        device: As `cellweak_core.training.make_fabric`.
        precision: "32-true" or "bf16-mixed".

    Returns:
        `(n, d)`.

    Raises:
        DataError: Other channels or another size; as `Crops.checked`.
    """
    networks: Any = rebuilt(trained, build)
    if "encoder" in networks:
        encoder = networks["encoder"]
    else:
        encoder = networks["autoencoder" if "autoencoder" in networks else "discriminator"].encode
    # No encoder is told a condition, so that cells of compounds that the model does not know have a representation
    found = _in_batches(
        lambda x, _: encoder(x), networks, crops, rows, trained, batch_size, device, precision, tell=False
    )
    return _joined(found, (trained["architecture"]["latent"],))


def reconstruct(
    crops: Crops,
    rows: ArrayLike,
    trained: Mapping[str, Any],
    batch_size: int = 256,
    device: str = "auto",
    precision: str = "32-true",
) -> Floats:
    """Cells as their codes have them; arguments as `encode`.

    Returns:
        `(n, C, s, s)` in [-1, 1], to stand beside `inputs`.

    Raises:
        ValueError: A model that cannot repeat a cell: DCGAN, LSGAN or WGAN.
        DataError: As `encode`.
    """
    kind, networks = trained["architecture"]["kind"], rebuilt(trained, build)
    if kind in FAMILY:
        raise ValueError(f"model: {kind} has no way from a cell's code back to a cell; BEGAN, BiGAN and VAE have one")

    def repeat(x: Tensor, condition: Tensor | None) -> Tensor:
        if kind == "bigan":
            return networks["generator"](networks["encoder"](x))
        if kind == "began":
            return networks["discriminator"](x, condition)
        out = networks["autoencoder"](x)
        return out[0] if kind == "vae" else out

    found = _in_batches(repeat, networks, crops, rows, trained, batch_size, device, precision)
    return _joined((x.clamp(-1, 1) for x in found), _shape(trained))


def inputs(crops: Crops, rows: ArrayLike, trained: Mapping[str, Any]) -> Floats:
    """Cells as the model is shown them, `(n, C, s, s)` in [-1, 1]: what generated ones are to be compared with."""
    _require_fit(trained, crops)
    of = trained["architecture"]
    return prepared(torch.from_numpy(crops.checked(rows)), of["size_px"], of["scaling"]).contiguous().numpy()


def noise(trained: Mapping[str, Any], n: int, seed: int) -> Floats:
    """Noise as the model was trained on it, `(n, d)`: N(0, 1); of a BiGAN uniform in [0, 1).

    Raises:
        ValueError: An autoencoder, which learns no noise.
    """
    of = trained["architecture"]
    if of["kind"] == "autoencoder":
        raise ValueError("model: an autoencoder's codes follow no known noise; decode codes of cells instead")
    return prior(of["kind"], n, of["noise"], "cpu", random_source(seed)).numpy()


def generate(
    trained: Mapping[str, Any],
    z: ArrayLike,
    condition: ArrayLike | None = None,
    batch_size: int = 256,
    device: str = "auto",
    precision: str = "32-true",
) -> Floats:
    """Cells of noise.

    Args:
        trained: As `encode`.
        z: `(n, d)`, see `noise`.
        condition: `(n, n_conditions)` of a conditional model, see `conditions.conditions`.
        batch_size: Cells at a time.
        device: As `encode`.
        precision: As `encode`.

    Returns:
        `(n, C, s, s)` in [-1, 1].

    Raises:
        ValueError: Noise of another length; a condition of another shape, or none where one is needed.
    """
    fabric, d = make_fabric(device, precision), trained["architecture"]["noise"]
    vectors = torch.from_numpy(np.array(z, np.float32))
    if vectors.ndim != 2 or vectors.shape[1] != d:
        raise ValueError(f"z: expected (n, {d}), got {tuple(vectors.shape)}")
    given = None if condition is None else torch.from_numpy(np.array(condition, np.float32))
    if given is not None and len(given) != len(vectors):
        raise ValueError(f"condition: expected {len(vectors)} rows, one for each noise vector, got {len(given)}")
    networks = rebuilt(trained, build).to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def parts() -> Iterator[Tensor]:
        for start in range(0, len(vectors), batch_size):
            own = slice(start, start + batch_size)
            its = None if given is None else given[own].to(fabric.device)
            yield generated(networks, vectors[own].to(fabric.device), its, fabric)

    return _joined(parts(), _shape(trained))


def save_weights(path: str | Path, trained: Mapping[str, Any]) -> Path:
    """A model's weights as safetensors, with its architecture in the header: all that `load_weights` needs.

    Returns:
        The path.
    """
    return write_weights(path, trained, {HEADER: trained[HEADER]})


def load_weights(path: str | Path, crops: Crops | None = None) -> dict[str, Any]:
    """What `save_weights` wrote: `architecture` and `model.*`.

    Args:
        path: The file.
        crops: That the model is to be used on, whose channels and size must be the model's.

    Raises:
        DataError: Not there, no such file, weights that are not the architecture's; crops of other channels or another
            size.
    """
    found = read_weights(path, (HEADER,), "cytogan", build)
    if crops is not None:
        _require_fit(found, crops)
    return found


def _require_fit(trained: Mapping[str, Any], crops: Crops) -> None:
    of = trained["architecture"]
    if list(crops.channels) != list(of["channels"]):
        known = ", ".join(of["channels"])
        raise DataError(
            f"{crops.name}: channels {', '.join(crops.channels)}; the model was trained on {known}; give crops of the "
            "same channels, named and in the same order"
        )
    if crops.size != (of["crop_px"], of["crop_px"]):
        height, width = crops.size
        raise DataError(
            f"{crops.name}: crops of {height} x {width} px; the model was trained on {of['crop_px']} x {of['crop_px']} "
            "px; cut crops of that size, or train on these"
        )


def _in_batches(
    call: Callable[[Tensor, Tensor | None], Tensor],
    networks: nn.ModuleDict,
    crops: Crops,
    rows: ArrayLike,
    trained: Mapping[str, Any],
    batch_size: int,
    device: str,
    precision: str,
    tell: bool = True,
) -> Iterator[Tensor]:
    _require_fit(trained, crops)
    of, fabric = trained["architecture"], make_fabric(device, precision)
    asked = np.asarray(rows)
    wanted = np.flatnonzero(asked) if asked.dtype == bool else asked.astype(np.int64)
    networks.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def read(start: int) -> tuple[Tensor, Tensor | None]:
        own = wanted[start : start + batch_size]
        return torch.from_numpy(crops.checked(own)), told(crops, own, of) if tell else None

    for pixels, condition in ahead(read, range(0, len(wanted), batch_size)):
        x = prepared(pixels.to(fabric.device), of["size_px"], of["scaling"])
        with torch.inference_mode(), fabric.autocast():
            yield call(x, None if condition is None else condition.to(fabric.device)).float()


def _shape(trained: Mapping[str, Any]) -> tuple[int, ...]:
    of = trained["architecture"]
    return of["n_channels"], of["size_px"], of["size_px"]


def _joined(parts: Iterator[Tensor], shape: tuple[int, ...]) -> Floats:
    found = [part.cpu().contiguous().numpy() for part in parts]
    return np.concatenate([np.zeros((0, *shape), np.float32), *found])
