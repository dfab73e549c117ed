"""Weak supervision for cell microscopy: five papers, one library, a book that runs.

Submodules are imported when they are first touched, so that ``import cellweak_core`` stays quick::

    import cellweak_core as cw

    rows, provenance = cw.results.load_results("results.json")
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType

try:
    __version__ = version("cellweak")
except PackageNotFoundError:  # a source tree on the path, not installed
    __version__ = "0+unknown"

__all__ = ["__version__"]


def __getattr__(name: str) -> ModuleType:
    """Import the submodule ``name`` on first use (PEP 562)."""
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
