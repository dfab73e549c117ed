"""A chapter's parameters cell, lines ``name: type = value  # help``: read and checked, never executed."""

import ast
import difflib
import io
import re
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .files import DataError

_TYPES = {"bool": bool, "int": int, "float": float, "str": str, "list": list, "dict": dict}
_SYNTAX = (ast.Expression, ast.Name, ast.Subscript, ast.BinOp, ast.BitOr, ast.Tuple, ast.Constant, ast.Load)


class ParameterError(ValueError):
    """A parameter is unknown or has the wrong type; the message lists the parameters there are."""


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell, ``name: type = default  # help``."""

    name: str
    type: str
    default: Any
    help: str

    def __str__(self) -> str:
        """The line, its value written so that YAML reads it back as the same type (1.0e-05, not 1e-05)."""
        value = re.sub(r"(?<![\w.])(-?\d+)(e[-+]\d+)", r"\1.0\2", repr(self.default))
        return f"{self.name}: {self.type} = {value}" + (f"  # {self.help}" if self.help else "")


def near(name: str, names: Iterable[str]) -> str:
    """`` Did you mean 'seed'?`` where a name is close, else nothing."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f". Did you mean {close[0]!r}?" if close else ""


def parse_cell(source: str, where: str) -> list[Parameter]:
    """The parameters in a cell's source, in its order.

    Args:
        source: Python text of the cell.
        where: names the cell in errors.

    Raises:
        DataError: a line is not ``name: type = value  # help``, or the value is not of the type.
    """
    comments = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = []
    for node in ast.parse(source).body:
        try:
            if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value):
                raise ValueError("expected `name: type = value  # help`")
            kind, default = ast.unparse(node.annotation), ast.literal_eval(node.value)
            _validate(kind, default)
        except ValueError as error:
            found_line = ast.unparse(node)
            raise DataError(f"{where}, line {node.lineno}: `{found_line}`: {error}") from error
        found.append(Parameter(node.target.id, kind, default, comments.get(node.end_lineno or 0, "")))
    return found


def type_of(text: str) -> Any:  # noqa: ANN401 - a type expression
    """A type expression of plain types, ``list[float]`` or ``int | None``; nothing else is evaluated."""
    for node in ast.walk(ast.parse(text, mode="eval")):
        if not isinstance(node, _SYNTAX) or (isinstance(node, ast.Name) and node.id not in _TYPES):
            raise ValueError(f"type {text!r}: expected {', '.join(_TYPES)}, or list[...] and | of them")
    return eval(text, {"__builtins__": {}}, dict(_TYPES))


def _validate(kind: str, value: object) -> Any:  # noqa: ANN401
    from pydantic import TypeAdapter

    return TypeAdapter(type_of(kind)).validate_python(value, strict=True)


def _float_hint(value: object) -> str:
    """YAML reads ``1e-4``, without a point, as a string: say how to write it."""
    with suppress(ValueError):
        if isinstance(value, str) and float(value) == float(value):
            mantissa, mark, exponent = value.strip().lower().partition("e")
            return f"; write {mantissa if '.' in mantissa else mantissa + '.0'}{mark}{exponent} (no quotes)"
    return ""


def check_values(chapter: str, known: Sequence[Parameter], values: Mapping[str, object]) -> dict[str, Any]:
    """Values that fit the declared parameters; an int stands for a float, nothing else is converted.

    Args:
        chapter: the chapter's name, for messages.
        known: its parameters.
        values: parameter name to value.

    Raises:
        ParameterError: an unknown name or a wrong type; says what was expected and lists the parameters.
    """
    from pydantic import ValidationError

    kinds = {parameter.name: parameter.type for parameter in known}
    listing = f"\nParameters of {chapter}:" + "".join(f"\n  {parameter}" for parameter in known)
    good = {}
    for name, value in values.items():
        if name not in kinds:
            raise ParameterError(f"unknown parameter {name!r}{near(str(name), kinds)}{listing}")
        try:
            good[name] = _validate(kinds[name], value)
        except ValidationError as error:
            path = [part for part in error.errors()[0]["loc"] if isinstance(part, int)]
            found = error.errors()[0]["input"] if path else value
            hint = _float_hint(found) if "float" in kinds[name] else ""
            raise ParameterError(
                f"parameter {name}{''.join(f'[{at}]' for at in path)}: expected {kinds[name]}, "
                f"given {found!r} ({type(found).__name__}){hint}{listing}"
            ) from None
    return good


def from_text(kind: str, text: str) -> object:
    """A value typed on the command line, read as its declared type; else as YAML has it."""
    import yaml

    if kind == "str":
        return text
    if kind == "float":
        with suppress(ValueError):
            return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
