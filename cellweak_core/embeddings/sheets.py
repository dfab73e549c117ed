"""The nearest-neighbour sheet: every treatment beside the treatments that look most like it, with cells of both.

    features (n, d) --cosine, not the same compound--> table of neighbours --+
    crops of each treatment --composites-----------------------------------+--> pages, PDF and CSV

Where all mechanisms are known, the first neighbour of a treatment is the one `screens.match_treatments` compares
mechanisms with; here are the next ones too, and treatments that it does not ask. A treatment whose mechanism nobody
knows, which the matching does not take, may be a neighbour as well, and then it may stand before that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellweak_core.screens.checks import codes, directions
from cellweak_core.screens.matching import EXCLUDE, UNMATCHED, has_partner, nearest

from ..plotting import bare, style
from .drawing import FAINT, INK, Array, Order, composite, mosaic, require

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["composite", "neighbours", "pages"]

RIGHT, WRONG = "#0072B2", "#D55E00"
VERDICTS = {True: ("same mechanism", RIGHT), False: ("another mechanism", WRONG), None: ("", INK)}


def neighbours(
    features: ArrayLike, metadata: pd.DataFrame, k: int = 3, exclude: str = "compound", unmatched: str = "drop"
) -> pd.DataFrame:
    """The `k` nearest allowed treatments of every treatment, by cosine.

    Args:
        features: `(n_treatments, d)`, controls left out.
        metadata: Row for row: `compound`; `batch` for "compound+batch"; `moa` and `concentration` where known.
        k: How many; fewer where no more are allowed.
        exclude: What a neighbour may not share with the treatment: "compound" (NSC) or "compound+batch" (NSCB).
        unmatched: As `screens.match_treatments`: a treatment of known mechanism that no allowed one shares its
            mechanism with is left out as a neighbour ("drop") or stays one ("keep"). It has a place in the table in
            both cases, with an empty `same_mechanism`.

    Returns:
        A row for each pair, best first: `row` and `neighbour_row` (of `features`), `compound`, `concentration`, `moa`,
        `rank` (1 is nearest), `neighbour_compound`, `neighbour_concentration`, `neighbour_moa`, `similarity` (cosine,
        -1 to 1), `same_mechanism` (True, False, or None where it cannot be said).

    Raises:
        ValueError: Unknown words; `k` below 1; shapes that do not go together.
        DataError: Columns missing or empty; features not finite, or all zero in a row.
    """
    import pandas as pd

    if exclude not in EXCLUDE or unmatched not in UNMATCHED or k < 1:
        raise ValueError(
            f"expected exclude {' or '.join(EXCLUDE)}, unmatched {' or '.join(UNMATCHED)}, k of 1 or more; got "
            f"{exclude!r}, {unmatched!r}, {k}"
        )
    unit = directions(features, len(metadata))
    apart = [codes(metadata, name) for name in exclude.split("+")]
    moa = _mechanisms(metadata)
    partnered = has_partner(moa, *apart)
    answerable = partnered & (moa >= 0)
    candidates = np.flatnonzero((moa < 0) | partnered | (unmatched == "keep"))
    found, cosine = nearest(unit, np.arange(len(unit)), candidates, *apart, k=k)
    row, rank = np.nonzero(found >= 0)
    columns = {"row": row, "neighbour_row": found[row, rank], "rank": rank + 1, "similarity": cosine[row, rank]}
    out = pd.DataFrame(columns)
    own, other = out["row"].to_numpy(int), out["neighbour_row"].to_numpy(int)
    known = answerable[own] & (moa[other] >= 0)
    same = [bool(right) if sure else None for right, sure in zip(moa[own] == moa[other], known, strict=True)]
    out["same_mechanism"] = pd.Series(same, index=out.index, dtype=object)
    for prefix, at in (("", own), ("neighbour_", other)):
        for name in ("compound", "concentration", "moa"):
            out[prefix + name] = metadata[name].to_numpy()[at] if name in metadata else None
    return out[[
        "row", "compound", "concentration", "moa", "rank", "neighbour_row", "neighbour_compound",
        "neighbour_concentration", "neighbour_moa", "similarity", "same_mechanism",
    ]]  # fmt: skip


def _mechanisms(metadata: pd.DataFrame) -> NDArray[np.int64]:
    """Numbers of the mechanisms, -1 where one is not known."""
    import pandas as pd

    return pd.factorize(metadata["moa"])[0].astype(np.int64) if "moa" in metadata else np.full(len(metadata), -1)


def pages(
    table: pd.DataFrame,
    crops: Mapping[int, ArrayLike],
    *,
    order: Order | None = None,
    limits: list[tuple[float, float]] | None = None,
    n_crops: int = 3,
    per_page: int = 7,
    title: str = "Nearest treatments",
    unit: str = "µM",
) -> Iterator[Figure]:
    """The sheet page by page; close each figure when it is no longer needed.

    Args:
        table: Of `neighbours`.
        crops: Example cells `(n, C, H, W)` of each treatment, by its row in the features; none where there are none.
        order: As `composite`.
        limits: As `composite`, one scale for all pages; by default that of all crops given.
        n_crops: Cells shown of each treatment.
        per_page: Treatments on a page.
        title: Above every page, with the page's number.
        unit: Of concentrations; those of 0 are not written.

    Raises:
        ValueError: Columns missing; nothing to show; counts below 1.
    """
    require(table, ("row", "neighbour_row", "rank", "similarity", "same_mechanism", "compound"))
    if not len(table):
        raise ValueError("table: no treatment has a neighbour; with unmatched='keep' more are allowed")
    if min(n_crops, per_page) < 1:
        raise ValueError(f"n_crops, per_page: expected 1 or more, got {n_crops} and {per_page}")
    return _pages(table, _shown(crops, order, limits, n_crops), n_crops, per_page, title, unit)


def _shown(
    crops: Mapping[int, ArrayLike], order: Order | None, limits: list[tuple[float, float]] | None, n_crops: int
) -> dict[int, Array]:
    """Colour images of each treatment, on one scale."""
    few = {int(row): np.asarray(found)[:n_crops] for row, found in crops.items() if len(np.asarray(found))}
    if not few:
        return {}
    colours = composite(np.concatenate(list(few.values())), order, limits)
    ends = np.cumsum([len(found) for found in few.values()])
    return dict(zip(few, np.split(colours, ends[:-1]), strict=True))


def _pages(
    table: pd.DataFrame, images: dict[int, Array], n_crops: int, per_page: int, title: str, unit: str
) -> Iterator[Figure]:
    import matplotlib.pyplot as plt

    queries = list(dict.fromkeys(table["row"].tolist()))
    n_pages = -(-len(queries) // per_page)
    width = 1 + int(table["rank"].max())
    cell_in = 7.6 / (width * n_crops + 0.4 * (width - 1))  # side of a crop, in
    height = min(cell_in, 1.1) + 0.5
    for page in range(n_pages):
        here = queries[page * per_page : (page + 1) * per_page]
        with style():
            figure = plt.figure(figsize=(7.8, height * len(here) + 0.55))
            axes = figure.subplots(len(here), width, squeeze=False)
            for line, query in zip(axes, here, strict=True):
                found = table[table["row"] == query].sort_values("rank")
                first = found.iloc[0]
                _cells(line[0], images.get(int(query)), n_crops, _name(first, "", unit), _text(first.get("moa")), INK)
                for axis in line[1 + len(found) :]:
                    axis.set_visible(False)
                for axis, (_, one) in zip(line[1:], found.iterrows(), strict=False):
                    same = None if one["same_mechanism"] is None else bool(one["same_mechanism"])
                    mark = {True: "\u2713 ", False: "\u2717 ", None: ""}[same]
                    words = f"{mark}{_text(one.get('neighbour_moa'))}"
                    head = f"{one['similarity']:.2f}  {_name(one, 'neighbour_', unit)}"
                    row = int(one["neighbour_row"])
                    _cells(axis, images.get(row), n_crops, head, words, VERDICTS[same][1])
            axes[0, 0].annotate(
                "treatment", (0, 1), (0, 30), "axes fraction", "offset points", fontsize=8, color=FAINT
            )  # fmt: skip
            for rank, axis in enumerate(axes[0, 1:], 1):
                words = "nearest: cosine, treatment" if rank == 1 else f"neighbour {rank}"
                axis.annotate(words, (0, 1), (0, 30), "axes fraction", "offset points", fontsize=8, color=FAINT)
            figure.suptitle(f"{title}, page {page + 1} of {n_pages}", fontsize=10)
        yield figure


def _cells(axis: Axes, images: Array | None, n_crops: int, head: str, words: str, colour: str) -> None:
    bare(axis)
    if images is None:
        axis.set_box_aspect(1 / n_crops)
        axis.text(0.5, 0.5, "no crops", ha="center", va="center", fontsize=8, color=FAINT, transform=axis.transAxes)
    else:
        white = np.full((n_crops - len(images), *images.shape[1:]), 255, np.uint8)
        axis.imshow(mosaic(np.concatenate([images, white]), n_crops))
    axis.set_anchor("NW")
    longest = 40 if n_crops > 3 else 31
    at: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "fontsize": 7.5}
    axis.annotate(_short(head, longest), (0, 1), (0, 13), color=INK, **at)
    axis.annotate(_short(words, longest), (0, 1), (0, 3), color=colour, **at)


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _text(value: object) -> str:
    import pandas as pd

    return "mechanism not known" if value is None or pd.isna(value) else str(value)  # type: ignore[call-overload]


def _name(one: pd.Series, prefix: str, unit: str) -> str:
    import pandas as pd

    dose = one.get(f"{prefix}concentration")
    return f"{one[f'{prefix}compound']}" + ("" if dose is None or pd.isna(dose) or dose == 0 else f" {dose:g} {unit}")
