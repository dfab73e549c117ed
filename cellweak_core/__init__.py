"""Weak supervision for cell microscopy: five papers, one library, a book that runs.

Submodules are imported when they are first touched, so that ``import cellweak_core`` stays quick::

    import cellweak_core as cw

    rows, provenance = cw.results.load_results("results.json")
"""

from importlib.metadata import PackageNotFoundError, version

from .lazy import lazily

try:
    __version__ = version("cellweak")
except PackageNotFoundError:  # a source tree on the path, not installed
    __version__ = "0+unknown"

__all__ = ["__version__"]


__getattr__, __dir__ = lazily(__name__, {})
