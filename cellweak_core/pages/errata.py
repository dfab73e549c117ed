"""Departures from the papers, collected from the lines that say ``Deviation:``."""

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path

from ..markdown import prose

_START = re.compile(r"^(?:[-*>]\s+)?\**Deviation:\**\s*")
_STOP = re.compile(
    r"^\s*(?:$|[-*>]\s|:::|```|#|\([\w-]+\)=$|\**Deviation:|(?:Args|Returns|Raises|Yields|Attributes):)"
)


@dataclass(frozen=True)
class Deviation:
    """One departure: what it is (MyST), which chapter it belongs to, and where it is said (MyST)."""

    text: str
    chapter: str
    where: str


def deviations_in(text: str) -> list[str]:
    r"""The departures said in a text: from ``Deviation:`` at the start of a line to the paragraph's end.

    >>> deviations_in("x\nDeviation: slope 0.2,\n  not 0.01.\n\n- Deviation: two.")
    ['slope 0.2, not 0.01.', 'two.']
    """
    found = []
    lines = [line.strip() for line in text.splitlines()]
    for index, line in enumerate(lines):
        if not _START.match(line):
            continue
        said = [_START.sub("", line)]
        for following in lines[index + 1 :]:
            if _STOP.match(following):
                break
            said.append(following)
        found.append(" ".join(said).strip())
    return found


def _comments(source: str) -> str:
    """Only the comments of a module that stand alone on their line, a blank line between blocks."""
    lines: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#"):
            lines[token.start[0]] = token.string.lstrip("#").strip()
    return "\n".join(lines.get(number, "") for number in range(1, max(lines, default=0) + 1))


def in_module(path: Path, root: Path) -> list[Deviation]:
    """Departures in a module's docstrings and comments.

    Args:
        path: a Python file of the package.
        root: the folder that holds the package.
    """
    source = path.read_text(encoding="utf-8")
    module = ".".join(path.relative_to(root).with_suffix("").parts)
    parts = path.relative_to(root).parts
    chapter = parts[1] if len(parts) > 2 else ""
    found = []
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and (text := ast.get_docstring(node)):
            name = module if isinstance(node, ast.Module) else f"{module}.{node.name}"
            found += [Deviation(prose(said), chapter, f"`{name}`") for said in deviations_in(text)]
    found += [
        Deviation(prose(said), chapter, f"a comment in `{module}`")
        for said in deviations_in(_comments(source))
    ]
    return found


def in_chapter(path: Path) -> list[Deviation]:
    """Departures in a chapter's text; code cells are left out."""
    text = re.sub(r"^```\{code-cell\}.*?^```\s*$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [
        Deviation(said, path.stem, f"{{doc}}`chapter {path.stem} </book/{path.stem}>`")
        for said in deviations_in(text)
    ]


def errata(chapters: list[Path], package: Path) -> str:
    """All departures as MyST, chapter by chapter.

    Args:
        chapters: the chapters' text files.
        package: the package's folder.
    """
    found = [deviation for path in sorted(chapters) for deviation in in_chapter(path)]
    for path in sorted(package.rglob("*.py")):
        if path.parent.name != "pages":  # these modules speak about the word itself
            found += in_module(path, package.parent)
    names = sorted({deviation.chapter for deviation in found}, key=lambda name: (name == "", name))
    parts = []
    for name in names:
        own = [deviation for deviation in found if deviation.chapter == name]
        parts.append(f"## {name.capitalize() or 'What several chapters share'}\n")
        parts += [f"{number}. {said.text} ({said.where})" for number, said in enumerate(own, 1)]
        parts.append("")
    return "\n".join(parts) if parts else "No deviation is on record.\n"
