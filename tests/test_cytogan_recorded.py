"""The chapter's sentences on the recorded run hold in its rows."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cellweak_core.cytogan import comparison, quality, reference
from cellweak_core.results import load_results

BOOK = Path(__file__).resolve().parents[1] / "book"
UNTRAINED = comparison.UNTRAINED
MOA, NSC = "MOA accuracy", "NSC"


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return load_results(BOOK / "recorded" / "cytogan-crops")[0].set_index(["item", "row", "column"]).sort_index()


@pytest.fixture(scope="module")
def text() -> str:
    whole = (BOOK / "cytogan.md").read_text(encoding="utf-8")
    return " ".join(whole.split("## On real cells, recorded")[1].split("## What differs")[0].split())


@pytest.mark.parametrize(
    ("key", "number"),
    [
        (("Table 1", "LSGAN", MOA), "35.9"), (("Table 1", "LSGAN", NSC), "32.4"), (("Table 1", "chance", MOA), "5.9"),
        (("Table 1", UNTRAINED, MOA), "28.1"), (("Table 1", reference.CELLPROFILER, MOA), "46.5"),
        (("Table 1", reference.CELLPROFILER, NSC), "49.5"), (("Table 1", reference.CNN, MOA), "30.6"),
        (("Table 1", "LSGAN", f"{MOA}, whitened"), "19.2"),
        (("Generated", "WGAN", "Frechet distance"), "24.9"),
        (("Generated", quality.HELD_OUT, "Frechet distance"), "3.7"),
        (("Generated", "LSGAN", "Frechet distance"), "40.0"), (("Generated", "WGAN", "recall"), ".39"),
        (("Generated", quality.HELD_OUT, "recall"), ".88"), (("Generated", "LSGAN", "recall"), ".17"),
        (("Fig. 2", "LSGAN", "least norm, slerp"), ".96"), (("Fig. 2", "LSGAN", "least norm, linear"), ".71"),
        (("Fig. 2", "LSGAN", "longest step, slerp"), "1.35"), (("Fig. 2", "LSGAN", "longest step, linear"), "1.34"),
        (("Fig. 3", "LSGAN", "tubulin intensity by regression: R2"), ".83"),
        (("Fig. 3", "LSGAN", "nucleus area by regression: R2"), ".06"),
    ],
)  # fmt: skip
def test_each_number_is_the_runs(key: tuple[str, str, str], number: str, rows: pd.DataFrame, text: str) -> None:
    shown = f"{float(number):.0%}".replace("%", " %") if "R2" in key[2] else number
    assert shown in text
    digits = len(number.partition(".")[2])
    assert float(rows.loc[key, "value"]) == pytest.approx(float(number), abs=0.501 * 10**-digits)


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (f"LSGAN - {UNTRAINED}", MOA), (f"LSGAN, TVN - {UNTRAINED}, TVN", MOA), (f"LSGAN, TVN - {UNTRAINED}, TVN", NSC),
        ("LSGAN - VAE", MOA), ("LSGAN, whitened - LSGAN", MOA), ("LSGAN, TVN - LSGAN", MOA),
    ],
)  # fmt: skip
def test_each_difference_has_its_interval(row: str, column: str, rows: pd.DataFrame, text: str) -> None:
    one = rows.loc[("Difference", row, column)]
    assert f"{one['value']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]" in text


@pytest.mark.parametrize(
    ("name", "moved", "shown"),
    [
        ("tubulin intensity", "tubulin intensity", "{value:+.2f} SD [{low:+.2f}, {high:+.2f}]"),
        ("tubulin intensity", "actin intensity", "{value:+.2f}"),
        ("nucleus area", "nucleus area", "{value:+.2f} [{low:+.2f}, {high:+.2f}]"),
    ],
)
def test_each_direction_changes_what_is_said(name: str, moved: str, shown: str, rows: pd.DataFrame, text: str) -> None:
    one: dict[str, Any] = rows.loc[("Fig. 3", "LSGAN", f"{name} by regression, +1: {moved}")].to_dict()
    assert shown.format(**one) in text


def test_words_that_compare(rows: pd.DataFrame) -> None:
    table, made = rows.loc["Table 1"]["value"].astype(float), rows.loc["Generated"]["value"].astype(float)
    models = [one for one in comparison.NAMES.values() if (one, MOA) in table.index]
    shares = [table[model, NSC] for model in models]
    assert 20 < min(shares) < 28
    assert 32 < max(shares) < 37  # "a quarter to a third"
    assert table[reference.CELLPROFILER, MOA] > max(table[model, MOA] for model in models)
    generators = [one for one in models if (one, "recall") in made.index]
    assert min(generators, key=lambda model: made[model, "Frechet distance"]) == "WGAN"
    assert max(made[model, "nearer than held out"] for model in generators) < 0.435
    assert made["BEGAN", "diversity"] < 0.3
    difference = rows.loc[("Difference", "LSGAN - DCGAN", MOA)]
    assert difference["low"] < 0 < difference["high"]
