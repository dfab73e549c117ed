"""Reading grey images, denoising them as the microscopists did, normalising and augmenting them.

```
file --read_grey--> uint8 (H, W) --standardise / scale_to_unit--> float (N, 1, H, W) --augment--> float
raw stack (Z, H, W) --denoise--> 3-D median --window--> uint8 (Z, H, W)
```
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from cellweak_core.files import DataError

if TYPE_CHECKING:
    import torch

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
Colour = Literal["error", "mean"]
Window = tuple[float, float]


def list_images(folder: str | Path) -> list[Path]:
    """The image files lying directly in a folder, by name; hidden files are left out.

    Args:
        folder: an existing folder.

    Returns:
        Paths whose suffix is one of `SUFFIXES` (any case), sorted by name.
    """
    found = [p for p in Path(folder).iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    return sorted(p for p in found if p.is_file())


def read_grey(
    path: str | Path,
    *,
    colour: Colour = "error",
    size: tuple[int, int] | None = None,
    intensity_window: Window | None = None,
) -> np.ndarray:
    """Reads one grey image.

    Args:
        path: a JPEG, PNG, TIFF or BMP file.
        colour: what to do with an image of several unequal channels: "error", or "mean" of the channels.
        size: (height, width) that the image must have.
        intensity_window: (lo, hi) in the file's own units, mapped to 0..255; without it the file's depth is kept.

    Returns:
        uint8 or uint16 (H, W); always uint8 with `intensity_window`.

    Raises:
        DataError: the file is missing, broken, in colour, not 2-D, of another size, or floating point without a window.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such image file.") from None
    return decode_grey(content, path, colour=colour, size=size, intensity_window=intensity_window)


def decode_grey(
    content: bytes,
    path: str | Path,
    *,
    colour: Colour = "error",
    size: tuple[int, int] | None = None,
    intensity_window: Window | None = None,
) -> np.ndarray:
    """As `read_grey`, from bytes already read (`path` only names the file in errors)."""
    if colour not in ("error", "mean"):
        raise ValueError(f'colour: expected "error" or "mean", given {colour!r}.')
    image = one_channel(decode_pixels(content, path), path, colour)
    if size is not None and image.shape != tuple(size):
        raise DataError(f"{path}: {_size(image.shape)} pixels, expected {_size(size)}; crop the images to one size.")
    if intensity_window is not None:
        return to_8_bit(image, intensity_window)
    if image.dtype == bool:
        return image.astype(np.uint8) * 255
    if image.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{path}: pixels of type {image.dtype}, expected 8-bit or 16-bit; "
            'give -p intensity_window "[lo, hi]", the values that become black and white.'
        )
    return image


def decode_pixels(content: bytes, path: str | Path) -> np.ndarray:
    """The pixels of a JPEG, PNG, TIFF or BMP file as they are stored, of any type.

    Args:
        content: the file's bytes.
        path: names the file in errors; its suffix tells TIFF from the others.

    Returns:
        (H, W), (H, W, C), or whatever axes a TIFF has.

    Raises:
        DataError: not an image, broken or truncated, or a compression that cannot be read here.
    """
    from PIL import UnidentifiedImageError

    path, compression = Path(path), ""
    try:
        if path.suffix.lower() not in (".tif", ".tiff"):
            return _by_pillow(content)
        import tifffile

        try:
            image = np.asarray(tifffile.imread(io.BytesIO(content)))
        except ValueError as error:
            # tifffile leaves LZW, JPEG and others to imagecodecs, a package that few have; libtiff in PIL reads most
            if "imagecodecs" not in str(error):
                raise
            compression = str(error).partition(" requires")[0]
            image = _by_pillow(content)
        if not image.size:
            raise ValueError("no pixels")
        return image
    except UnidentifiedImageError:
        if compression:
            raise DataError(
                f"{path}: a TIFF with the compression {compression}, which cannot be read here; "
                "save it uncompressed (or with Deflate), or `pip install imagecodecs`."
            ) from None
        raise DataError(f"{path}: not an image that can be read; replace or remove the file.") from None
    except (OSError, SyntaxError, ValueError, IndexError, KeyError, RuntimeError, struct.error, zlib.error) as error:
        # PIL says SyntaxError for a broken PNG, OSError for a truncated JPEG; tifffile ValueError or struct.error,
        # imagecodecs, where it is installed, RuntimeError
        raise DataError(f"{path}: broken or truncated image ({error}); copy the file again or remove it.") from None


def _by_pillow(content: bytes) -> np.ndarray:
    from PIL import Image, ImageSequence

    with Image.open(io.BytesIO(content)) as opened:
        if opened.format == "TIFF" and getattr(opened, "n_frames", 1) > 1:
            return np.stack([np.asarray(frame) for frame in ImageSequence.Iterator(opened)])
        image = opened.convert("RGBA" if "transparency" in opened.info else "RGB") if opened.mode == "P" else opened
        if image.mode in ("CMYK", "YCbCr"):
            image = image.convert("RGB")
        pixels = np.asarray(image)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def one_channel(
    image: np.ndarray, path: str | Path, colour: Colour = "error", transparency: bool = True
) -> np.ndarray:
    """Makes an image grey.

    Args:
        image: (H, W), or (H, W, C) with C = 2 (grey, transparency), 3 or 4 (the last one transparency).
        path: names the file in errors.
        colour: what to do where the channels differ: "error", or "mean" of them.
        transparency: whether a second or fourth channel is transparency, which is left out. The channels of a
            microscope have none.

    Returns:
        (H, W), the image's type; int32 without negative values becomes uint16.

    Raises:
        DataError: the channels differ, or the shape is another.
    """
    if image.ndim == 2:
        return np.asarray(image.astype(np.uint16) if image.dtype == np.int32 and image.min() >= 0 else image)
    if image.ndim != 3 or image.shape[2] not in (2, 3, 4):
        raise DataError(f"{path}: shape {image.shape}, expected one plane (H, W); save each plane as its own file.")
    if transparency and image.shape[2] in (2, 4):
        image = image[..., :-1]
    if (image == image[..., :1]).all():
        return np.ascontiguousarray(image[..., 0])
    if colour == "error":
        raise DataError(
            f"{path}: a colour image whose {image.shape[2]} channels differ, expected grey; convert the images to grey "
            "or save the channel that is wanted by itself, or give -p colour mean to average the channels."
        )
    mean = image.mean(-1)
    return np.asarray(mean if image.dtype.kind == "f" else np.round(mean)).astype(image.dtype)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]}"


def to_8_bit(image: np.ndarray, intensity_window: Window) -> np.ndarray:
    """Maps lo..hi to 0..255 and clips, as ImageJ's setMinAndMax followed by a conversion to 8 bit.

    Args:
        image: any shape, any real type.
        intensity_window: (lo, hi), lo < hi, in the image's units.

    Returns:
        uint8, the image's shape.
    """
    lo, hi = intensity_window
    if not lo < hi:
        raise ValueError(f"intensity_window: expected (lo, hi) with lo < hi, given {intensity_window}.")
    scaled = (np.asarray(image, np.float32) - np.float32(lo)) * np.float32(256.0 / (hi - lo + 1))
    return np.clip(scaled + np.float32(0.5), 0, 255).astype(np.uint8)


def ball(radius: float) -> np.ndarray:
    """Offsets (K, 3), in z, y, x, of the voxels within a radius: 33 of them at radius 2."""
    reach = range(-int(radius), int(radius) + 1)
    return np.array([o for o in itertools.product(reach, repeat=3) if sum(c * c for c in o) <= radius * radius])


def median_of(planes: Sequence[np.ndarray]) -> np.ndarray:
    """The element-wise median of an odd number of arrays, by forgetful selection.

    Compare-and-swap of whole arrays vectorises: about five times faster than `scipy.ndimage.median_filter`
    with the same footprint, which is the oracle in the tests.

    Args:
        planes: K arrays of one shape and type, K odd.

    Returns:
        Array of that shape and type.
    """
    if len(planes) % 2 == 0:
        raise ValueError(f"planes: expected an odd number of arrays, given {len(planes)}.")
    keep = len(planes) // 2 + 2
    pool, rest = list(planes[:keep]), list(planes[keep:])
    while len(pool) > 1:
        # neither the least nor the greatest of more than half of the values can be the median: forget both
        for i in range(len(pool) // 2):
            j = len(pool) - 1 - i
            pool[i], pool[j] = np.minimum(pool[i], pool[j]), np.maximum(pool[i], pool[j])
        half = len(pool) // 2
        for i in range(1, half + len(pool) % 2):
            pool[0], pool[i] = np.minimum(pool[0], pool[i]), np.maximum(pool[0], pool[i])
        for i in range(half, len(pool) - 1):
            pool[-1], pool[i] = np.maximum(pool[-1], pool[i]), np.minimum(pool[-1], pool[i])
        pool = pool[1:-1]
        if rest:
            pool.append(rest.pop())
    return pool[0]


def denoise(stack: np.ndarray, radius: float = 2, intensity_window: Window | None = (2500, 4200)) -> np.ndarray:
    """3-D median and contrast window: how the released images were made (their ImageJ macro Undupervised.ijm).

    "Median 3D..., x=2 y=2 z=2" takes the voxels of a ball (33 at radius 2); then setMinAndMax(2500, 4200), 8 bit.
    Deviation: at the border of the stack the edge voxels are repeated, where ImageJ takes the fewer voxels there are.

    Args:
        stack: (Z, H, W), or (H, W), for which the ball becomes a disc.
        radius: of the ball, in voxels; 0 does nothing.
        intensity_window: (lo, hi) in the stack's units; None leaves the median unwindowed.

    Returns:
        uint8 (Z, H, W) or (H, W); the stack's own type when `intensity_window` is None.
    """
    stack = np.asarray(stack)
    if stack.ndim not in (2, 3):
        raise ValueError(f"stack: expected (Z, H, W) or (H, W), given shape {stack.shape}.")
    offsets = ball(radius)
    if stack.ndim == 2:
        offsets = offsets[offsets[:, 0] == 0][:, 1:]
    reach = int(radius)
    padded = np.pad(stack, reach, mode="edge")
    views = [
        padded[tuple(slice(reach + o, reach + o + n) for o, n in zip(offset, stack.shape, strict=True))]
        for offset in offsets.tolist()
    ]
    median = median_of(views)
    return median.copy() if intensity_window is None else to_8_bit(median, intensity_window)


def standardise(images_nchw: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Per-image contrast normalisation: (x - mean) / (sd + eps) over each image's channels and pixels.

    Args:
        images_nchw: float (N, C, H, W); integers are converted to float32.
        eps: keeps a flat image finite (it becomes zero).

    Returns:
        Float (N, C, H, W), mean 0 and (population) standard deviation 1 per image.
    """
    x = images_nchw if images_nchw.is_floating_point() else images_nchw.float()
    centred = x - x.mean((1, 2, 3), keepdim=True)
    return centred / (centred.square().mean((1, 2, 3), keepdim=True).sqrt() + eps)


def scale_to_unit(images: torch.Tensor) -> torch.Tensor:
    """(x - 128) / 128: 0..255 to -1..1, as the authors' data_provider.py:97."""
    return ((images if images.is_floating_point() else images.float()) - 128.0) / 128.0


def quarter_turned(images_nchw: torch.Tensor, quarters: torch.Tensor) -> torch.Tensor:
    """Square images, each turned by its own number of quarters.

    Args:
        images_nchw: (N, C, H, H).
        quarters: 0 to 3, N values of any shape.
    """
    import torch

    own = quarters.reshape(-1, 1, 1, 1)
    for turns in (1, 2, 3):
        images_nchw = torch.where(own == turns, images_nchw.rot90(turns, (2, 3)), images_nchw)
    return images_nchw


def augment(images_nchw: torch.Tensor, generator: torch.Generator, *, rot90: bool = False) -> torch.Tensor:
    """The authors' augmentation, independently for each image (their data_provider.py:30-38, 89-94).

    Flip up-down and left-right, each with probability 1/2; brightness + U(-32, 32); contrast
    (x - mean) * U(0.5, 1.5) + mean, the mean taken over the image; clip to 0..255; round to whole grey levels.

    Args:
        images_nchw: (N, C, H, W), grey levels 0..255.
        generator: on the images' device; all randomness comes from it.
        rot90: turn square images by a random multiple of 90 degrees as well (not in the paper).

    Returns:
        float32 (N, C, H, W), whole numbers 0..255.
    """
    import torch

    n = len(images_nchw)
    u = torch.rand((5, n, 1, 1, 1), generator=generator, device=images_nchw.device)
    x = images_nchw.float()
    x = torch.where(u[0] < 0.5, x.flip(2), x)
    x = torch.where(u[1] < 0.5, x.flip(3), x)
    if rot90:
        if x.shape[2] != x.shape[3]:
            raise ValueError(f"images_nchw: rot90 needs square images, given {tuple(x.shape)}.")
        x = quarter_turned(x, (u[2] * 4).long())
    x = (x + (u[3] * 2 - 1) * 32).clamp(0, 255)
    mean = x.mean((1, 2, 3), keepdim=True)
    return ((x - mean) * (u[4] + 0.5) + mean).clamp(0, 255).round()
