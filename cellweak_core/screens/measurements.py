"""CellProfiler's own measurements of each cell, by cp-measure, on crops with the nucleus in the middle.

    DNA --Otsu, to half height--> the region under the middle = Nuclei --grown, not into other nuclei--> Cells
    both --shape, intensity, texture, granularity, radial distribution, correlation of channels--> (n_cells, d)

Source: Carpenter et al. 2006 (CellProfiler); Muñoz et al. 2025 (cp-measure). Growing by a distance is CellProfiler's
"Distance - N" of IdentifySecondaryObjects: in a crop the true outline of a cell often lies outside.

What depends on where in its crop a cell lies is left out (positions, bounding boxes, moments about the corner,
orientation), and so are Costes' coefficients, which are undefined in many regions this small.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellweak_core.files import CellweakWarning, DataError
from cellweak_core.parallel import map_runs
from cellweak_core.regions import segment_nuclei

if TYPE_CHECKING:
    from .crops import Crops

Floats = NDArray[np.float64]
OBJECTS = ("Nuclei", "Cells")
PLACE = ("BoundingBoxM", "Center_", "Location_", "Orientation", "SpatialMoment_")
# Undefined or 0 for whatever object
CONSTANT = (
    "CentralMoment_0_1", "CentralMoment_1_0", "NormalizedMoment_0_0", "NormalizedMoment_0_1", "NormalizedMoment_1_0",
)  # fmt: skip
# CellProfiler's numbers are for fields of a thousand pixels: a crop at a quarter of its size has no spectrum left
GRANULARITY = {"subsample_size": 0.5, "image_sample_size": 0.5, "element_size": 5, "granular_spectrum_length": 8}
SHARD, CHUNK = 64, 4096  # cells measured at a time, and held in memory at a time
WHITE_PERCENTILE, WHITE_CELLS = 99.9, 2000
MOST_UNDEFINED = 0.05


@dataclass(frozen=True)
class Measured:
    """Measurements of cells.

    Attributes:
        features: `(n_cells, d)` float64, finite.
        names: Of the features as CellProfiler writes them, such as "Cells_Intensity_MeanIntensity_DNA".
        found: `(n_cells,)` whether a nucleus was found; a disc in the middle stands for the others.
        dropped: Features that were undefined in more than 5 % of the cells.
        white: The level of each channel that was scaled to 1.
    """

    features: Floats
    names: tuple[str, ...]
    found: NDArray[np.bool_]
    dropped: tuple[str, ...]
    white: tuple[float, ...]


def measure_crops(
    crops: Crops,
    folder: str | Path,
    *,
    ring_px: int = 10,
    white: Sequence[float] = (),
    n_jobs: int = 1,
    scheduler: str | None = None,
    desc: str = "",
) -> Measured:
    """Measures all cells, 64 at a time, each 64 one file in `folder`: a second call goes on where a killed one stopped.

    Args:
        crops: Of cells, nuclei in the middle; the first channel is DNA.
        folder: Of `parallel.map_runs`.
        ring_px: How far a cell reaches beyond its nucleus, px.
        white: The level of each channel that becomes 1, and 255 of 255 grey levels for textures; brighter light is cut
            off. Default: the 99.9th percentile over up to 2,000 cells spread over the screen.
        n_jobs: As `map_runs`.
        scheduler: As `map_runs`.
        desc: The progress bar's label.

    Returns:
        The measurements. A measurement that is undefined for a cell (a texture without contrast) is the median of the
        other cells' there; one undefined in more than 5 % of the cells is dropped.

    Raises:
        ValueError: Another number of white levels than channels, or one that is no number above 0; `ring_px` below 1.
        DataError: No cells; a channel without light; pixels below 0 or that are no numbers.
        ImportError: cp-measure is not installed; says how to install it.
        RuntimeError: As `map_runs`.
    """
    version = f"cp-measure {_library()}"
    if ring_px < 1:
        raise ValueError(f"ring_px: expected 1 or more, got {ring_px}")
    if not len(crops):
        raise DataError(f"{crops.name}: no cells to measure")
    levels = tuple(float(level) for level in white) or white_levels(crops)
    if len(levels) != len(crops.channels) or not all(0 < level < np.inf for level in levels):
        raise ValueError(f"white: expected {len(crops.channels)} levels above 0, one for each channel, got {levels}")
    done = []
    for start in range(0, len(crops), CHUNK):
        pixels = crops.checked(np.arange(start, min(start + CHUNK, len(crops))))
        shared = {"pixels": pixels, "channels": list(crops.channels), "white": list(levels), "ring_px": ring_px}
        runs = [{"first": k, "last": min(k + SHARD, len(pixels))} for k in range(0, len(pixels), SHARD)]
        done += map_runs(
            _measure, runs, folder=folder, shared=shared, n_jobs=n_jobs, scheduler=scheduler, version=version, desc=desc
        )
    values, names = np.concatenate([one["features"].numpy() for one in done]), done[0]["names"]
    found = np.concatenate([one["found"].numpy() for one in done]).astype(bool)
    if not found.all():
        warnings.warn(
            f"{crops.name}: no nucleus found in {int((~found).sum())} of {len(found)} crops; a disc in the middle is "
            "measured there",
            CellweakWarning,
            stacklevel=2,
        )
    undefined = ~np.isfinite(values)
    kept = undefined.mean(0) <= MOST_UNDEFINED
    values = np.where(undefined, np.nan, values)[:, kept]
    values = np.where(np.isnan(values), np.nanmedian(values, axis=0), values)
    own = tuple(name for name, keep in zip(names, kept, strict=True) if keep)
    return Measured(values, own, found, tuple(sorted(set(names) - set(own))), levels)


def white_levels(crops: Crops) -> tuple[float, ...]:
    """The 99.9th percentile of each channel over up to 2,000 cells, evenly spread.

    Raises:
        DataError: A channel without light; pixels below 0 or that are no numbers.
    """
    rows = np.unique(np.linspace(0, len(crops) - 1, min(len(crops), WHITE_CELLS)).astype(int))
    levels = np.percentile(crops.checked(rows), WHITE_PERCENTILE, axis=(0, 2, 3))
    if not (levels > 0).all():
        raise DataError(f"{crops.name}: channel {crops.channels[int(levels.argmin())]} has no light")
    return tuple(levels.tolist())


def nucleus_and_cell(dna: ArrayLike, ring_px: int = 10) -> tuple[NDArray[np.bool_], NDArray[np.bool_], bool]:
    """Masks of the cell in the middle of a crop.

    Args:
        dna: `(H, W)`, bright nuclei on dark.
        ring_px: How far the cell reaches beyond its nucleus, px; not into another nucleus, nor past the middle between.

    Returns:
        Nucleus and cell (the nucleus is part of it), `(H, W)` each, and whether the nucleus was found: it is the region
        under the middle, or the nearest one with its centre within a quarter of the crop's side, down to where its
        light is half way to the dark. Else, or where that leaves a speck, a disc of that radius in the middle stands
        for it.

    Raises:
        ValueError: An image that has not two axes.
    """
    from skimage.segmentation import expand_labels

    image = np.asarray(dna, np.float64)
    if image.ndim != 2:
        raise ValueError(f"dna: expected one channel of one crop (H, W), got shape {image.shape}")
    height, width = image.shape
    least = max(9, height * width // 40)
    # No threshold against an empty frame: a crop was cut round a nucleus, so there is one
    regions = segment_nuclei(image, split_px=10, min_area_px=least, min_sd=0.0)
    labels, middle, reach = regions.labels, ((width - 1) / 2, (height - 1) / 2), min(height, width) / 4
    at = int(labels[height // 2, width // 2])
    if not at and len(regions):
        away = np.hypot(*(regions.centres - middle).T)
        at = int(away.argmin()) + 1 if away.min() <= reach else 0
    tight = _at_half_height(image, labels == at, labels == 0) if at else np.zeros(labels.shape, bool)
    found = bool(2 * tight.sum() >= least)  # a condensed nucleus is small
    if found:
        labels = np.where(labels == at, at * tight, labels)
    else:
        y, x = np.mgrid[:height, :width]
        at = len(regions) + 1
        labels = np.where(np.hypot(x - middle[0], y - middle[1]) <= reach, at, labels)
    return labels == at, expand_labels(labels, ring_px) == at, found


def _at_half_height(image: Floats, inside: NDArray[np.bool_], outside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A region to where its light is half way to the dark: Otsu of logarithms, which misses no dim one, is wide."""
    from scipy import ndimage

    if not outside.any():
        return inside
    smooth = ndimage.gaussian_filter(image, 1.0)
    level = (np.percentile(smooth[inside], 75) + np.median(smooth[outside])) / 2
    parts, n = ndimage.label(inside & (smooth >= level))
    if not n:
        return inside
    return np.asarray(ndimage.binary_fill_holes(parts == np.bincount(parts.ravel())[1:].argmax() + 1), bool)


def can_measure() -> bool:
    """Whether cp-measure is installed, which is an extra."""
    from importlib.util import find_spec

    return find_spec("cp_measure") is not None


def _library() -> str:
    """Version of cp-measure, which is not needed for anything else."""
    try:
        import_module("cp_measure.bulk")
        return metadata.version("cp-measure")
    except ImportError as error:  # PackageNotFoundError is one
        raise ImportError(
            f"cp-measure is not installed ({error}): pip install 'cellweak[measurements]'; where that wants an older "
            "pillow than is here, pip install --no-deps cp-measure centrosome mahotas deprecation"
        ) from error


def _measure(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Crops first to last, as a task of `map_runs`."""
    featurizer = import_module("cp_measure.featurizer")
    pixels, channels = np.asarray(shared["pixels"])[run["first"] : run["last"]], list(shared["channels"])
    masks = [nucleus_and_cell(crop[0], shared["ring_px"]) for crop in pixels]
    light = np.clip(pixels / np.asarray(shared["white"]).reshape(1, -1, 1, 1), 0, 1)
    plan = featurizer.make_featurizer_config(
        [str(k) for k in range(len(channels))], objects=list(OBJECTS), correlation_costes=False,
        granularity_params=GRANULARITY,
    )  # fmt: skip
    labels = np.array([[nucleus, cell] for nucleus, cell, _ in masks], np.int32)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # what is undefined is counted by who asked
        values, columns, _ = featurizer.featurize(light, labels, plan)  # objects of one crop are rows one after another
    kept = [k for k, name in enumerate(columns) if not name.startswith(PLACE) and name not in CONSTANT]
    names = [f"{of}_{_as_cellprofiler(columns[k], channels)}" for of in OBJECTS for k in kept]
    features = values[:, kept].reshape(len(pixels), -1)
    return {"features": features, "names": names, "found": np.array([found for *_, found in masks])}


def _as_cellprofiler(name: str, channels: Sequence[str]) -> str:
    """`Area` is `AreaShape_Area` there, and `Contrast_3_00_256__0` is `Texture_Contrast_DNA_3_00_256`."""
    feature, *of = name.split("__")
    light = [channels[int(k)] for k in of]
    if not light:
        return f"AreaShape_{feature}"
    if feature.startswith(("Correlation_Pearson", "Correlation_Slope", "Correlation_Manders", "Correlation_RWC")) or (
        feature.startswith(("Intensity_", "Granularity_", "RadialDistribution_"))
    ):
        return "_".join([feature, *light])
    texture, _, scale = feature.partition("_")
    return f"Texture_{texture}_{light[0]}_{scale}"
