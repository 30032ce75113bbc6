"""Names say what a thing is for, packages are bare folders, and no file knows one machine."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.glob("mesh/**/*.py"))}
TESTS = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.glob("tests/**/test_*.py"))}

EMPTY_NAMES = {"base", "common", "helpers", "manager", "misc", "utils"}
WRITTEN_FILES = (
    "*.md",
    "*.toml",
    "*.yml",
    ".*.yaml",
    ".gitignore",
    "LICENSE",
    "Makefile",
    "constraints.txt",
)
WRITTEN_FOLDERS = ("mesh", "subjects", "workers", "ops", "tests", "docs", "changelog.d", ".ci")

# Put together from parts, so that this file does not hold what it looks for.
HOME = re.compile(r"(?<![\w.~-])/(?:home/\w+|Users/\w+|root)/|\b[A-Z]:\\+Users\b")
INDEX = re.compile(r"\bindex" + r"[-_]url\b|https?://\S*/" + r"simple/", re.IGNORECASE)


def written_files() -> Iterator[Path]:
    """Yield every text file that people wrote, and not what tools or the shell left here."""
    for pattern in WRITTEN_FILES:
        yield from ROOT.glob(pattern)
    for folder in WRITTEN_FOLDERS:
        for path in ROOT.glob(f"{folder}/**/*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def test_no_name_says_nothing() -> None:
    """No module or package is called utils, helpers, common, base, manager or misc."""
    parts = {part for name in MODULES for part in Path(name).with_suffix("").parts}

    assert not parts & EMPTY_NAMES


def test_packages_are_bare_folders() -> None:
    """Every __init__.py is empty, except the one that lists the public names."""
    inits = [path for path in MODULES.values() if path.name == "__init__.py"]

    full = {str(path.relative_to(ROOT)) for path in inits if path.read_text(encoding="utf-8")}

    assert full <= {"mesh/__init__.py"}


def test_every_folder_of_the_package_is_a_package() -> None:
    """A folder with modules has an __init__.py, so that the wheel and the checks see it."""
    folders = {path.parent for path in MODULES.values()}

    assert [str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").exists()] == []


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("mesh/cli/")])
def test_nothing_prints_outside_the_command_line(name: str) -> None:
    """Only mesh/cli may call print; the rest logs or returns."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))

    lines = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]

    assert not lines


def test_no_file_names_a_place_on_one_machine() -> None:
    """No file holds a home folder, or the path of this very copy of the repository."""
    here = f"{ROOT}/" if len(ROOT.parts) > 2 else None  # a short one, like /app, says nothing
    found: list[str] = []

    for path in written_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        places = [match[0] for match in HOME.finditer(text)]
        if here and here in text:
            places.append(here)
        found += [f"{path.relative_to(ROOT)}: {place}" for place in places]

    assert not [line for line in found if not line.startswith("tests/architecture/test_names")]


def test_no_file_names_a_package_index() -> None:
    """Packages come by name from whatever index the user has set; no file names one."""
    found = [
        str(path.relative_to(ROOT))
        for path in written_files()
        if INDEX.search(path.read_text(encoding="utf-8", errors="replace"))
    ]

    assert found == []


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("cd /home/ada/mesh", True),
        ('open("/Users/ada/x")', True),
        ("ls /" + "root/.cache", True),
        (r"C:\Users\ada", True),
        ("GET /api/home/list", False),
        ("docs/home/x", False),
    ],
)
def test_the_search_for_places_finds_what_it_should(text: str, *, is_found: bool) -> None:
    """Home folders of the usual systems are found, and paths like them are not."""
    assert bool(HOME.search(text)) is is_found


@pytest.mark.parametrize("name", TESTS)
def test_every_test_says_in_one_sentence_what_it_shows(name: str) -> None:
    """A test function has a docstring, and it is one sentence."""
    tree = ast.parse(TESTS[name].read_text(encoding="utf-8"))
    tests = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    ]

    wrong = [test.name for test in tests if not (ast.get_docstring(test) or "").endswith(".")]

    assert not wrong
