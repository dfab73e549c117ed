"""Runs made up for the pages that are made of runs."""

import json
from pathlib import Path
from typing import Any


def number(item: str, row: str, column: str, value: float, data: str = "simulated", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"chapter": "embeddings", "item": item, "row": row, "column": column, "value": value, "low": None,
            "high": None, "n": 103, "unit": "percent", "data": data, "note": "", **more}  # fmt: skip


def write_run(folder: Path, rows: list[dict[str, Any]], data: str = "simulated", figures: tuple[str, ...] = ()) -> Path:
    (folder / "figures").mkdir(parents=True)
    for name in figures:
        (folder / "figures" / name).write_bytes(b"")
    provenance = {"data": data, "seed": 0, "versions": {}, "wall_time_s": 2.0}
    (folder / "results.json").write_text(json.dumps({"rows": rows, "provenance": provenance}))
    return folder
