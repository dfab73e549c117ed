"""Table 2's row of generative adversarial networks, from the results of the cytogan chapter on the same cells.

Source: Caicedo et al. 2018, Table 2, cites 72 % from Goldsborough et al. 2017: that is the whitened BiGAN of their
poster, a mean over compounds. Here it is counted over treatments, as all other rows are, and the note has the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..files import DataError
from ..results import load_results

ROW = "Generative Adversarial Networks"
MODEL, WHITENED = "BiGAN", ", whitened"


def gan_rows(path: str | Path, digest: str | None) -> list[dict[str, Any]]:
    """NSC of the whitened BiGAN that a run of the cytogan chapter trained; the paper has no other number of it.

    Args:
        path: That run's `results.json`, or its folder.
        digest: Of the cells of this run, which must be that run's too; None does not ask.

    Raises:
        DataError: As `load_results`; results of another chapter, of other cells, or without a scored BiGAN.
    """
    rows, provenance = load_results(path)
    if set(rows["chapter"]) != {"cytogan"}:
        raise DataError(f"{path}: results of {', '.join(sorted(set(rows['chapter'])))}, expected a run of cytogan")
    if digest is not None and provenance.get("data_digest") != digest:
        other = provenance.get("data")
        raise DataError(f"{path}: a run on other cells ({other}); run cytogan on the cells of this run")
    own = rows[(rows["item"] == "Table 1") & (rows["row"] == MODEL)].set_index("column")
    if f"NSC{WHITENED}" not in own.index:
        raise DataError(f"{path}: no score of {MODEL}; run cytogan with it among its models, on cells with mechanisms")
    one, over = own.loc[f"NSC{WHITENED}"], own.loc[f"MOA accuracy{WHITENED}"]
    note = f"{MODEL} of the cytogan chapter, whitened; {one['note']}; over compounds {over['value']:.1f} %"
    kept = {name: one.to_dict()[name] for name in ("value", "low", "high", "unit")}
    return [{"item": "Table 2", "row": ROW, "column": "NSC", **kept, "n": int(one.to_dict()["n"]), "note": note}]
