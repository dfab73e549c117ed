"""How long `import cellweak_core` takes, and all its modules but the CLI, torch's own time not counted.

    python benchmarks/imports.py [--out FILE.json]
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

EVERY = """
import importlib, pkgutil, cellweak_core
for module in pkgutil.walk_packages(cellweak_core.__path__, "cellweak_core."):
    if module.name != "cellweak_core.cli":
        importlib.import_module(module.name)
"""
CASES = {"cellweak_core": "import cellweak_core", "every module but the CLI, after torch": EVERY}
TEMPLATE = "import time\n{before}\nstart = time.perf_counter()\n{statement}\nprint(time.perf_counter() - start)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/imports.json"))
    options = parser.parse_args()
    medians = {}
    for name, statement in CASES.items():
        # Importing torch alone first takes its time out of the count (and out of what cellweak_core may load).
        before = "import torch" if "torch" in name else ""
        code = TEMPLATE.format(before=before, statement=statement)
        times = [
            float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
            for _ in range(options.rounds)
        ]
        medians[name] = statistics.median(times)
        print(f"import {name}: {medians[name]:.2f} s (median of {options.rounds}; the bound is 2 s)")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(medians, indent=1))


if __name__ == "__main__":
    main()
