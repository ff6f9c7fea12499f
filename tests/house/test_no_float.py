"""No float is near money: shown by type, over the source of every module on the path from bytes to amounts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PLACES = ["money.py", "units.py", "usage.py", "event.py", "meter", "pricing", "ledger", "wire", "store", "importers"]


def _floats(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each float constant, each use of ``float``, and each division that may be of two ints, with its line.

    Asking whether something is a float (``isinstance(value, float)``) is how one is turned away, and is no use of it.
    """
    asked = {id(node) for call in ast.walk(tree) if _asks_type(call) for node in ast.walk(call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield node.lineno, f"the constant {node.value!r}"
        if isinstance(node, ast.Name) and node.id in {"float", "fsum"} and id(node) not in asked:
            yield node.lineno, f"the name {node.id}"
        if isinstance(node, ast.Attribute) and node.attr in {"from_float", "fsum"}:
            yield node.lineno, f"the name {node.attr}"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and not _exact(node):
            yield node.lineno, "a division that may be of two ints"


def _asks_type(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance"


def _exact(division: ast.BinOp) -> bool:
    """Whether an operand shows that this is a division of Fractions, or joins a path with a text."""
    names = {node.id for node in ast.walk(division) if isinstance(node, ast.Name)}
    sides = [division.left, division.right]
    texts = any(isinstance(side, ast.JoinedStr) or (_is_text(side)) for side in sides)
    return texts or bool(names & {"Fraction", "Path", "folder", "path"})


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_the_search_finds_floats() -> None:
    """The search sees an annotation, a conversion, a constant and a division, and lets a question pass."""
    code = "def f(a: float) -> None:\n    if not isinstance(a, float):\n        return float(1) + 0.5 + a / 3"
    assert [line for line, _ in sorted(_floats(ast.parse(code)))] == [1, 3, 3, 3]


@pytest.mark.parametrize("place", PLACES)
def test_no_float_on_the_path_of_money(repository: Path, place: str) -> None:
    """From the wire to the store nothing is a float, becomes one, or is annotated as one.

    A line that divides or names a float for another reason says so: ``# no float: a path``.
    """
    home = repository / "src" / "taximeter" / place
    found: list[str] = []
    for path in [home] if home.suffix else sorted(home.rglob("*.py")):
        lines = path.read_text().splitlines()
        for line, what in _floats(ast.parse("\n".join(lines))):
            if "# no float:" not in lines[line - 1]:
                found.append(f"{path.relative_to(repository)}:{line}: {what}")
    assert found == []
