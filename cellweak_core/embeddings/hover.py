"""One page to hover over: every cell a point, its crop and what is known of it beside the pointer.

    xy (n, 2), labels, thumbnails (n, H, W, 3), table --> one HTML file: points on a canvas, crops in one PNG, a legend

Nothing is loaded from elsewhere: the file works offline, from a mail, and in ten years.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellweak_core.files import atomic_path
from cellweak_core.screens.checks import matrix

from .drawing import CONTROL, Look, looks, named

if TYPE_CHECKING:
    import pandas as pd

MOST_CELLS = 20_000  # a browser draws these at once; the file has about 5 kB for each crop of 48 px
_TEMPLATE = Path(__file__).with_name("hover.html")


def write_page(
    path: str | Path,
    xy: ArrayLike,
    labels: Sequence[object],
    thumbnails: ArrayLike,
    metadata: pd.DataFrame | None = None,
    *,
    control: ArrayLike | None = None,
    title: str = "Single cells",
    axes: tuple[str, str] = ("t-SNE 1", "t-SNE 2"),
    side_px: int = 48,
) -> int:
    """Writes the page, whole or not at all.

    Args:
        path: Of the HTML file.
        xy: `(n, 2)` places of the cells.
        labels: `(n,)` what the colour says: mechanism or gene, None where not known.
        thumbnails: `(n, H, W, 3)` uint8, `composite` of the crops; made smaller where they are larger than `side_px`.
        metadata: Row for row what is shown of a cell, one line for each column.
        control: `(n,)` bool; these are grey.
        title: Above all.
        axes: Names of the two directions.
        side_px: Side of the crops in the file, px.

    Returns:
        Size of the file, bytes.

    Raises:
        ValueError: Shapes that do not go together; no cells, or more than `MOST_CELLS`.
        DataError: Places that are not finite.
    """
    places = matrix(xy, "xy")
    n = len(places)
    images = np.asarray(thumbnails)
    if places.shape[1] != 2 or not 0 < n <= MOST_CELLS:
        raise ValueError(
            f"xy: expected (n, 2) with n of 1 to {MOST_CELLS:,}, got {places.shape}; show a sample of them"
        )
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[0] != n or images.shape[3] != 3:
        raise ValueError(f"thumbnails: expected uint8 ({n}, H, W, 3), got {images.dtype} of shape {images.shape}")
    controls = np.zeros(n, bool) if control is None else np.asarray(control, bool)
    lengths = {"labels": len(labels), "control": len(controls), "metadata": n if metadata is None else len(metadata)}
    if wrong := [f"{name} {length}" for name, length in lengths.items() if length != n]:
        raise ValueError(f"expected {n} of each, one for each cell, got {', '.join(wrong)}")
    names, texts = named(labels, controls)
    legend = {**looks(names), **({"control": Look(CONTROL, "o")} if controls.any() else {})}
    at = {name: k for k, name in enumerate(legend)}
    low, reach = places.min(0), np.ptp(places, axis=0)
    png, columns, size = sprites(images, side_px)
    data: dict[str, Any] = {
        "x": np.round((places[:, 0] - low[0]) / (reach[0] or 1), 4).tolist(),
        "y": np.round((places[:, 1] - low[1]) / (reach[1] or 1), 4).tolist(),
        "group": [at["control" if one else name] for name, one in zip(texts, controls, strict=True)],
        "legend": [{"name": name, "colour": one.colour, "marker": one.marker} for name, one in legend.items()],
        "columns": [] if metadata is None else [str(name) for name in metadata],
        "rows": _rows(metadata, n),
        "sprite": {"columns": columns, "width": size[0], "height": size[1]},
        "axes": list(axes),
    }
    page = _TEMPLATE.read_text(encoding="utf-8")
    parts = {
        "TITLE": html.escape(title),
        "DATA": script_json(data),
        "SPRITES": "data:image/png;base64," + base64.b64encode(png).decode(),
    }
    # in one go: a title that reads like a place to fill stays a title
    page = re.sub("@@(TITLE|DATA|SPRITES)@@", lambda place: parts[place[1]], page)
    with atomic_path(path) as part:
        part.write_text(page, encoding="utf-8")
    return Path(path).stat().st_size


def sprites(images: NDArray[np.uint8], side_px: int) -> tuple[bytes, int, tuple[int, int]]:
    """All crops in one PNG, row by row.

    Args:
        images: `(n, H, W, 3)`.
        side_px: Longest side in the file; smaller crops keep their size.

    Returns:
        The PNG; crops in a row; width and height of a crop in it.
    """
    from PIL import Image

    n, height, width, _ = images.shape
    scale = min(1.0, side_px / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # browsers refuse images much longer than 16,000 px on a side: a square has the shortest
    columns = max(1, int(np.ceil(np.sqrt(n * size[1] / size[0]))))
    sheet = Image.new("RGB", (columns * size[0], -(-n // columns) * size[1]))
    for k, pixels in enumerate(images):
        image = Image.fromarray(pixels)
        small = image if size == image.size else image.resize(size, Image.Resampling.BOX)
        sheet.paste(small, (k % columns * size[0], k // columns * size[1]))
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue(), columns, size


def script_json(data: object) -> str:
    """JSON that may stand inside a script: no text in it can end the script or begin a comment."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _rows(metadata: pd.DataFrame | None, n: int) -> list[list[str]]:
    import pandas as pd

    if metadata is None:
        return [[] for _ in range(n)]
    texts = []
    for k in range(metadata.shape[1]):
        column = metadata.iloc[:, k]
        number = column.dtype.kind == "f"
        texts.append(["" if pd.isna(one) else f"{one:.4g}" if number else str(one) for one in column])
    return [list(row) for row in zip(*texts, strict=True)] if texts else [[] for _ in range(n)]
