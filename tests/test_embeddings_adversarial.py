"""Table 2's row of adversarial networks: from a run of cytogan on the same cells, and refused from anything else."""

import json
from pathlib import Path
from typing import Any

import pytest

from cellweak_core.embeddings import adversarial
from cellweak_core.files import DataError
from cellweak_core.published import load


def run_of(folder: Path, chapter: str = "cytogan", model: str = "BiGAN", digest: str = "abc") -> Path:
    def row(column: str, value: float, n: int) -> dict[str, Any]:
        return {
            "chapter": chapter, "item": "Table 1", "row": model, "column": column, "value": value, "low": value - 9,
            "high": value + 9, "n": n, "unit": "percent", "data": "cells", "note": "61.0 of 103 treatments right",
        }  # fmt: skip

    rows = [row("NSC, whitened", 59.2, 103), row("MOA accuracy, whitened", 55.25, 38), row("NSC", 40.0, 103)]
    folder.mkdir()
    content = {"rows": rows, "provenance": {"data": "cells", "data_digest": digest}}
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def test_the_whitened_bigan_is_the_row_over_treatments(tmp_path: Path) -> None:
    [row] = adversarial.gan_rows(run_of(tmp_path / "run"), "abc")
    assert (row["row"], row["column"]) == (adversarial.ROW, "NSC")
    assert (row["value"], row["low"], row["high"], row["n"], row["unit"]) == (59.2, 50.2, 68.2, 103, "percent")
    assert "61.0 of 103 treatments right" in row["note"]
    assert "over compounds 55.2 %" in row["note"]
    keys = ["item", "row", "column"]
    assert (load("embeddings")[keys] == [row[key] for key in keys]).all(axis=1).sum() == 1


@pytest.mark.parametrize(
    ("own", "match"),
    [
        ({"chapter": "rosettes"}, "results of rosettes, expected a run of cytogan"),
        ({"digest": "other"}, r"a run on other cells \(cells\); run cytogan on the cells of this run"),
        ({"model": "LSGAN"}, "no score of BiGAN; run cytogan with it among its models"),
    ],
)
def test_other_results_are_refused(own: dict[str, str], match: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=match):
        adversarial.gan_rows(run_of(tmp_path / "run", **own), "abc")


def test_without_a_digest_any_cells_will_do(tmp_path: Path) -> None:
    assert adversarial.gan_rows(run_of(tmp_path / "run", digest="other"), None)[0]["value"] == 59.2
