"""The page to hover over: it holds all it shows, no text breaks out of its place, crops are where the page looks."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cellweak_core.embeddings import drawing, hover
from cellweak_core.files import DataError

NASTY = "</script><script>alert('1 & 2')</script><!--"


def cells(n: int = 7) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "xy": rng.normal(size=(n, 2)) * 50,
        "labels": ["X", "Y", None, "DMSO", "X", "Y", NASTY][:n],
        "thumbnails": rng.integers(0, 256, (n, 12, 12, 3)).astype(np.uint8),
        "metadata": pd.DataFrame({"plate": [NASTY] * n, "dose": np.linspace(0.12345678, 9, n), "site": range(n)}),
        "control": np.arange(n) == 3,
    }


def content(path: Path) -> dict[str, Any]:
    """The page's data, as a browser finds them."""

    class Finder(HTMLParser):
        tags: list[tuple[str, dict[str, str | None]]]
        texts: dict[str, str]

        def __init__(self) -> None:
            super().__init__()
            self.tags, self.texts = [], {}

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.tags.append((tag, dict(attrs)))

        def handle_data(self, data: str) -> None:
            tag, attributes = self.tags[-1] if self.tags else ("", {})
            self.texts.setdefault(attributes.get("id") or tag, data)

    finder = Finder()
    finder.feed(path.read_text(encoding="utf-8"))
    return {**json.loads(finder.texts["data"]), "_tags": finder.tags, "_texts": finder.texts}


def sheet(path: Path) -> np.ndarray:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", path.read_text(encoding="utf-8"))
    assert len(found) == 1
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found[0]))).convert("RGB"))


def test_the_page_has_every_cell_with_its_own_crop(tmp_path: Path) -> None:
    made = cells()
    path = tmp_path / "new" / "cells.html"
    size = hover.write_page(path, **made, title="My cells")
    assert size == path.stat().st_size
    data = content(path)
    assert data["columns"] == ["plate", "dose", "site"]
    assert data["rows"][0] == [NASTY, "0.1235", "0"]
    assert [data["legend"][k]["name"] for k in data["group"]] == ["X", "Y", "not known", "control", "X", "Y", NASTY]
    assert data["legend"][data["group"][3]]["colour"] == drawing.CONTROL
    for name, column in (("x", 0), ("y", 1)):
        values = np.array(data[name])
        assert (values.min(), values.max()) == (0, 1)
        assert np.corrcoef(values, made["xy"][:, column])[0, 1] > 0.9999
    picture, sprite = sheet(path), data["sprite"]
    assert (sprite["width"], sprite["height"]) == (12, 12)
    for k, crop in enumerate(made["thumbnails"]):
        top, left = k // sprite["columns"] * 12, k % sprite["columns"] * 12
        assert np.array_equal(picture[top : top + 12, left : left + 12], crop)
    assert not [one for one in path.parent.iterdir() if one != path]


def test_nothing_is_loaded_and_no_text_breaks_out(tmp_path: Path) -> None:
    path = tmp_path / "cells.html"
    hover.write_page(path, **cells(), title=NASTY + "@@SPRITES@@")
    data, text = content(path), path.read_text(encoding="utf-8")
    assert sum(tag == "script" for tag, _ in data["_tags"]) == 2
    assert not [attributes for _, attributes in data["_tags"] if "src" in attributes or "href" in attributes]
    assert "http://" not in text
    assert "https://" not in text
    assert data["_texts"]["title"] == data["_texts"]["h1"] == NASTY + "@@SPRITES@@"
    assert text.count("<script") == text.count("</script>") == 2
    assert not re.search("@@(TITLE|DATA)@@", text)


def test_json_in_a_script_comes_back_the_same() -> None:
    data = {"a": [NASTY, "µ", "\u2028", 1.5, None]}
    text = hover.script_json(data)
    assert json.loads(text) == data
    assert not set("<>&\u2028") & set(text)
    with pytest.raises(ValueError, match="Out of range"):
        hover.script_json([float("nan")])


def test_large_crops_are_made_smaller_and_small_ones_stay() -> None:
    images = np.zeros((5, 40, 80, 3), np.uint8)
    images[3] = 200
    png, columns, size = hover.sprites(images, 20)
    assert size == (20, 10)
    picture = np.asarray(Image.open(io.BytesIO(png)))
    assert picture.shape == (-(-5 // columns) * 10, columns * 20, 3)
    top, left = 3 // columns * 10, 3 % columns * 20
    assert (picture[top : top + 10, left : left + 20] == 200).all()
    assert picture.sum() == 200 * 10 * 20 * 3
    assert hover.sprites(images, 500)[2] == (80, 40)


def test_cells_at_one_place_and_without_anything_known(tmp_path: Path) -> None:
    path = tmp_path / "cells.html"
    hover.write_page(path, np.ones((2, 2)), [None, None], np.zeros((2, 4, 4, 3), np.uint8))
    data = content(path)
    assert data["x"] == data["y"] == [0, 0]
    assert data["rows"] == [[], []]


def test_what_does_not_go_together_is_refused_and_no_file_appears(tmp_path: Path) -> None:
    path, made = tmp_path / "cells.html", cells()
    for change, error, message in (
        ({"xy": made["xy"][:, :1]}, ValueError, r"xy: expected \(n, 2\)"),
        ({"xy": made["xy"] * np.nan}, DataError, "not numbers"),
        ({"labels": ["X"]}, ValueError, "expected 7 of each, one for each cell, got labels 1"),
        ({"metadata": made["metadata"][:3]}, ValueError, "got metadata 3"),
        ({"thumbnails": made["thumbnails"][:3]}, ValueError, r"expected uint8 \(7, H, W, 3\)"),
        ({"thumbnails": made["thumbnails"] / 255}, ValueError, "got float64"),
    ):
        with pytest.raises(error, match=message):
            hover.write_page(path, **{**made, **change})
    with pytest.raises(ValueError, match="show a sample"):
        hover.write_page(path, np.zeros((hover.MOST_CELLS + 1, 2)), [], made["thumbnails"])
    assert not list(tmp_path.iterdir())
