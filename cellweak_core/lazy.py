"""Packages whose parts are imported when first touched (PEP 562), so that `import cellweak_core` stays quick."""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def lazily(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__` and `__dir__`.

    Args:
        package: Its `__name__`.
        homes: For each name that the package lends out, the submodule in which it lives. Submodules need no entry.

    Returns:
        To be bound to `__getattr__` and `__dir__` in the package.
    """

    def get(name: str) -> Any:  # noqa: ANN401 - a function, a class or a module
        if name in homes:
            return getattr(import_module(f"{package}.{homes[name]}"), name)
        if not name.startswith("_") and find_spec(f"{package}.{name}") is not None:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*vars(import_module(package)), *homes})

    return get, names
