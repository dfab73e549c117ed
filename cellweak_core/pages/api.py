"""The API page: every public name with its docstring, read from the source; nothing is imported."""

import ast
import inspect
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..markdown import prose

_SECTIONS = ("Args", "Returns", "Raises", "Yields", "Attributes", "Example", "Examples", "Note", "Notes")
# A drawing or a table set in plain text: arrows, box characters, columns held apart by spaces.
_DRAWN = re.compile(r"-+>|<-+|[─│┌└├┐┘]|\S {3,}\S|^ {4,}")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Entry:
    """A public function, class or method: its full name, signature as source, docstring, and members."""

    name: str
    signature: str
    docstring: str
    members: list["Entry"] = field(default_factory=list)


def is_public(name: str) -> bool:
    """Whether a name is for users."""
    return not name.startswith("_")


def _signature(node: _Function, name: str) -> str:
    """``name(a, *, b=1) -> int``, one argument per line when it is long."""
    returns = f" -> {_annotation(node.returns)}" if node.returns else ""
    arguments = [part for part in _arguments(node.args) if part not in ("self", "cls")]
    line = f"{name}({', '.join(arguments)}){returns}"
    if len(line) <= 88:
        return line
    return f"{name}(\n    " + ",\n    ".join(arguments) + f",\n){returns}"


def _annotation(node: ast.expr) -> str:
    """An annotation as source, without the quotes of a forward reference."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)


def _arguments(arguments: ast.arguments) -> list[str]:
    def one(argument: ast.arg, default: ast.expr | None) -> str:
        text = argument.arg + (f": {_annotation(argument.annotation)}" if argument.annotation else "")
        if default is None:
            return text
        return f"{text} = {ast.unparse(default)}" if argument.annotation else f"{text}={ast.unparse(default)}"

    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    parts = [one(argument, default) for argument, default in zip(positional, defaults, strict=True)]
    if arguments.posonlyargs:
        parts.insert(len(arguments.posonlyargs), "/")
    if arguments.vararg:
        parts.append(f"*{ast.unparse(arguments.vararg)}")
    elif arguments.kwonlyargs:
        parts.append("*")
    parts += [one(*pair) for pair in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg:
        parts.append(f"**{ast.unparse(arguments.kwarg)}")
    return parts


def _class(node: ast.ClassDef) -> Entry:
    """A class with its constructor's signature, or a dataclass with its fields, and its public methods."""
    functions = {part.name: part for part in node.body if isinstance(part, _Function)}
    fields = [ast.unparse(part) for part in node.body if isinstance(part, ast.AnnAssign)]
    if "__init__" in functions:
        signature = _signature(functions["__init__"], node.name).removesuffix(" -> None")
    elif fields:
        signature = f"{node.name}(\n    " + ",\n    ".join(fields) + ",\n)"
    else:
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        signature = f"class {node.name}({bases})" if bases else f"class {node.name}"
    members = [
        Entry(name, _signature(part, name), ast.get_docstring(part) or "")
        for name, part in functions.items()
        if is_public(name) or name == "__call__"
    ]
    text = ast.get_docstring(node) or ""
    return Entry(node.name, signature, text, members)


def public_entries(path: Path) -> tuple[str, list[Entry]]:
    """A module's docstring and its public functions and classes, in the file's order."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    entries = []
    for node in tree.body:
        if isinstance(node, _Function) and is_public(node.name):
            entries.append(Entry(node.name, _signature(node, node.name), ast.get_docstring(node) or ""))
        elif isinstance(node, ast.ClassDef) and is_public(node.name):
            entries.append(_class(node))
    return ast.get_docstring(tree) or "", entries


def modules(package: Path) -> dict[str, Path]:
    """Public modules by dotted name: the ground floor first, then the wings."""
    found = {}
    for path in sorted(package.rglob("*.py"), key=lambda path: (len(path.relative_to(package).parts), path)):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if all(is_public(part) for part in parts):
            found[".".join(parts)] = path
    return found


def render_docstring(docstring: str) -> str:
    """A Google docstring as MyST: paragraphs, sections as lists, indented blocks and doctests as code."""
    section, lines = "", inspect.cleandoc(docstring).splitlines()
    parts: list[str] = []
    index = 0
    while index < len(lines):
        line = lines[index]
        header = line.rstrip(":") if line.endswith(":") and line.rstrip(":") in _SECTIONS else ""
        if not line.strip():
            index += 1
        elif line.lstrip().startswith("```"):
            ends = [at for at in range(index + 1, len(lines)) if lines[at].lstrip().startswith("```")]
            end = ends[0] if ends else len(lines)
            parts.append("```text\n" + "\n".join(lines[index + 1 : end]) + "\n```\n")
            index = end + 1
        elif header:
            section = header
            parts.append("" if header.startswith(("Example", "Note")) else f"*{header}*\n")
            index += 1
        else:
            block = [line]
            index += 1
            while index < len(lines) and _continues(block, lines[index], section):
                block.append(lines[index])
                index += 1
            parts.append(_block(block, section))
    return "\n".join(parts)


def _continues(block: list[str], line: str, section: str) -> bool:
    first, depth = block[0], _indent(block[0])
    if first.lstrip().startswith(">>>"):
        return bool(line.strip())
    if section in ("Args", "Raises", "Attributes") and depth:
        return bool(line.strip()) and _indent(line) > depth
    if not line.strip() or line.lstrip().startswith("```"):
        return False
    if line.endswith(":") and line.rstrip(":") in _SECTIONS:
        return False
    if not section:
        return True
    return (_indent(line) > 0) == (depth > 0)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _block(block: list[str], section: str) -> str:
    text = " ".join(line.strip() for line in block)
    if block[0].lstrip().startswith(">>>"):
        return "```python\n" + inspect.cleandoc("\n".join(block)) + "\n```\n"
    if section in ("Args", "Raises", "Attributes") and _indent(block[0]):
        name, _, rest = text.partition(":")
        return f"- `{name.strip()}`: {prose(rest)}\n"
    if section in ("Returns", "Yields") and _indent(block[0]):
        return f"- {prose(text)}\n"
    if re.match(r"\s*[-*] ", block[0]):
        items = re.split(r"\n\s*(?=[-*] )", "\n".join(block).strip())
        return "\n".join(f"- {prose(item[2:])}" for item in items) + "\n"
    if not section and (_indent(block[0]) or any(_DRAWN.search(line) for line in block)):
        return "```text\n" + "\n".join(block) + "\n```\n"
    return prose(text.replace("::", ":") if text.endswith("::") else text) + "\n"


def _render(entry: Entry, level: int, owner: str = "") -> str:
    title = f"{owner}.{entry.name}" if owner else entry.name
    heading = f"{'#' * level} `{title}`\n" if level <= 3 else f"**`{title}`**\n"
    own = f"{heading}\n```python\n{entry.signature}\n```\n\n{render_docstring(entry.docstring)}"
    return "\n".join([own, *(_render(member, 4, entry.name) for member in entry.members)])


def api(package: Path) -> str:
    """The whole page below its title, as MyST.

    Args:
        package: the package's folder.
    """
    parts = []
    for name, path in modules(package).items():
        docstring, entries = public_entries(path)
        if entries:
            parts.append(f"## `{name}`\n\n{render_docstring(docstring)}")
            parts += [_render(entry, 3) for entry in entries]
    return "\n".join(parts)
