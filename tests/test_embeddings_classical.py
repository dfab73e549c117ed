"""Factor analysis of measured cells against its steps, one after another."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import FactorAnalysis

from cellweak_core.embeddings import classical, reporting
from cellweak_core.files import DataError
from cellweak_core.screens.matching import match_treatments


def cells() -> pd.DataFrame:
    """Two mechanisms of three compounds, in three weeks; four cells of each, and forty controls."""
    rows = [("DMSO", "", f"w{k % 3}", True) for k in range(40)]
    rows += [(f"c{m}{c}", f"m{m}", f"w{c}", False) for m in range(2) for c in range(3) for _ in range(4)]
    table = pd.DataFrame(rows, columns=["compound", "moa", "batch", "control"])
    table["moa"] = table["moa"].where(~table["control"], None)
    return table.assign(plate=table["batch"] + "_1", well=[f"A{k:02d}" for k in range(len(table))], concentration=1.0)


def lay(path: Path, table: pd.DataFrame) -> np.ndarray:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(len(table), 30)) @ rng.normal(size=(30, 30)) + 5).astype(np.float32)
    values[(table["moa"] == "m1").to_numpy()] += 8
    columns = [f"{classical.LAYER}_{k}" for k in range(30)]
    frame = pd.concat([table.add_prefix("Metadata_"), pd.DataFrame(values, columns=columns)], axis=1)
    frame.to_parquet(path, index=False)
    return values


def test_factors_are_of_single_control_cells(tmp_path: Path) -> None:
    table = cells()
    values = lay(tmp_path / "measured.parquet", table).astype(np.float64)
    found = classical.factored({"files": [str(tmp_path / "measured.parquet")]}, 3)
    control = table["control"].to_numpy(bool)
    z = (values - values[control].mean(0)) / values[control].std(0)
    factors = FactorAnalysis(20, max_iter=200, tol=0.1, random_state=3).fit(z[control]).transform(z)
    treated = table[~control].assign(row=np.flatnonzero(~control))
    of = [factors[rows["row"]].mean(0) for _, rows in treated.groupby("compound", sort=False)]
    known = treated.drop_duplicates("compound")
    for metric, exclude in (("NSC", "compound"), ("NSCB", "compound+batch")):
        expected = match_treatments(np.stack(of), known, exclude)
        right = found["score"][f"{classical.CELLS}|{classical.FACTORS}|{metric}"]
        np.testing.assert_array_equal(right, expected["right"])
        assert (right == 1).any()
    facts = reporting.fact_rows(
        [found], {"Factor Analysis": (found["variant"], classical.CELLS, classical.FACTORS)}, "Table 2", 999
    )
    assert [(row["column"], row["value"], row["n"]) for row in facts] == [("Dim.", 20, len(table))]


@pytest.mark.parametrize("n", [0, 20])
def test_factors_take_more_controls_than_there_are(tmp_path: Path, n: int) -> None:
    table = cells()
    lay(tmp_path / "measured.parquet", table.assign(control=table["control"] & (np.arange(len(table)) < n)))
    with pytest.raises(DataError, match=f"^{n} control cells were measured, and 20 factors take more"):
        classical.factored({"files": [str(tmp_path / "measured.parquet")]}, 0)
