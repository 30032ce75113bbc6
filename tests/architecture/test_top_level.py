"""The top of the repository holds what the plan says, and the wheel holds mesh alone."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

FOLDERS = [
    "mesh",
    "subjects",
    "workers",
    "ops",
    "tests",
    "docs",
    "docs/decisions",
    "changelog.d",
]
FILES = [
    ".ci/run",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "constraints.txt",
    "docker-compose.yml",
    "mesh/py.typed",
    "pyproject.toml",
]


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    """Read pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_stands_where_the_plan_has_it(name: str) -> None:
    """Each folder of the house plan exists."""
    assert (ROOT / name).is_dir()


@pytest.mark.parametrize("name", FILES)
def test_a_file_stands_where_the_plan_has_it(name: str) -> None:
    """Each file of the house plan exists and is a file."""
    assert (ROOT / name).is_file()


def test_the_wheel_packs_only_mesh(pyproject: dict[str, Any]) -> None:
    """Worker apps, configurations and subjects never travel in the wheel."""
    wheel = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert wheel == {"packages": ["mesh"]}


@pytest.mark.parametrize("folder", ["workers", "subjects", "ops", "tests", "docs"])
def test_only_mesh_is_a_package(folder: str) -> None:
    """No other folder has an __init__.py, so none can hide a package of the user's."""
    assert list((ROOT / folder).rglob("__init__.py")) == []


def test_the_version_is_written_once(pyproject: dict[str, Any]) -> None:
    """The distribution takes its version from mesh/__init__.py."""
    import mesh

    assert pyproject["project"]["dynamic"] == ["version"]
    assert pyproject["tool"]["hatch"]["version"] == {"path": "mesh/__init__.py"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", mesh.__version__)


def test_the_extra_called_all_is_all_of_them(pyproject: dict[str, Any]) -> None:
    """`natsmesh[all]` names every other extra."""
    extras: dict[str, list[str]] = pyproject["project"]["optional-dependencies"]

    named = re.fullmatch(r"natsmesh\[(.+)\]", extras["all"][0])

    assert named is not None
    assert set(named[1].split(",")) == extras.keys() - {"all"}


def test_constraints_are_names_and_versions_only() -> None:
    """constraints.txt pins versions and names no address to fetch them from."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pin = re.compile(r"[a-z0-9-]+==[\w.]+( ; [\w. '!=<>()]+)?")

    wrong = [line for line in lines if not line.startswith("#") and not pin.fullmatch(line)]

    assert wrong == []
    assert not (ROOT / "uv.lock").exists()


def test_each_direct_dependency_is_pinned(pyproject: dict[str, Any]) -> None:
    """What pyproject.toml asks for has its exact version in constraints.txt."""
    project = pyproject["project"]
    extras = [
        one
        for name, many in project["optional-dependencies"].items()
        if name != "all"
        for one in many
    ]
    asked = [*project["dependencies"], *extras, *pyproject["dependency-groups"]["dev"]]
    names = {re.split(r"[<>=!\[ ;]", requirement, maxsplit=1)[0] for requirement in asked}

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0] for line in lines}

    assert names - pinned == set()


def test_the_changelog_keeps_its_line_for_new_releases(pyproject: dict[str, Any]) -> None:
    """CHANGELOG.md has the marker under which towncrier puts each release."""
    marker: str = pyproject["tool"]["towncrier"]["start_string"]

    assert marker in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_each_changelog_fragment_has_a_kind_that_is_known(pyproject: dict[str, Any]) -> None:
    """A fragment's name is `<issue or +words>.<kind>.md`, and its text is not empty."""
    kinds = "|".join(kind["directory"] for kind in pyproject["tool"]["towncrier"]["type"])
    fragments = [path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md"]

    wrong = [
        f.name for f in fragments if not re.fullmatch(rf"(\d+|\+[\w-]+)\.({kinds})\.md", f.name)
    ]

    assert wrong == []
    assert all(fragment.read_text(encoding="utf-8").strip() for fragment in fragments)
