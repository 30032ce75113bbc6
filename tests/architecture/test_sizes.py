"""Modules and functions stay small; those that may be larger are named, with a reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.glob("mesh/**/*.py"))}

MODULE_LINES = 350
FUNCTION_LINES = 60

LARGER_MODULES: dict[str, str] = {
    "mesh/app.py": "the app and its blocking twin: one method for each thing that users do",
    "mesh/errors.py": "every exception stands in the one module where users look for it",
}
"""Path from the top of the repository -> why the module may be longer."""

LONGER_FUNCTIONS: dict[str, str] = {}
"""``path::qualified.name`` -> why the function may be longer."""


def length(path: Path) -> int:
    """Count the lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of lines of each function, nested ones too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}{child.name}"
            if not isinstance(child, ast.ClassDef):
                yield name, (child.end_lineno or child.lineno) - child.lineno + 1
            yield from functions(child, f"{name}.")
        else:
            yield from functions(child, prefix)


def long_functions(path: Path, name: str) -> dict[str, int]:
    """Find the functions of a module that are over the limit."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = functions(tree, f"{name}::")
    return {function: lines for function, lines in found if lines > FUNCTION_LINES}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_short(name: str) -> None:
    """A module has at most 350 lines, unless it is named here."""
    lines = length(MODULES[name])

    assert lines <= MODULE_LINES or name in LARGER_MODULES, (
        f"{name} has {lines} lines; give its second job a module of its own"
    )


@pytest.mark.parametrize("name", MODULES)
def test_a_function_is_short(name: str) -> None:
    """A function has at most 60 lines, unless it is named here."""
    too_long = long_functions(MODULES[name], name)

    assert not too_long.keys() - LONGER_FUNCTIONS.keys(), f"name a part of it: {too_long}"


def test_an_exception_that_is_no_longer_needed_is_taken_out() -> None:
    """Each named exception still exists and is still over the limit."""
    larger = {name for name, path in MODULES.items() if length(path) > MODULE_LINES}
    longer = {f for name, path in MODULES.items() for f in long_functions(path, name)}

    assert LARGER_MODULES.keys() <= larger
    assert LONGER_FUNCTIONS.keys() <= longer


def test_a_function_is_measured_wherever_it_stands() -> None:
    """Methods, nested functions and functions under a condition are all found."""
    source = "if True:\n  class A:\n    def b(self):\n      async def c():\n        pass\n"

    found = dict(functions(ast.parse(source), "m::"))

    assert found == {"m::A.b": 3, "m::A.b.c": 2}
