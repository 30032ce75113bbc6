"""The types that users see: both checkers accept what is right and find what is wrong.

The files beside this one use mesh as a program would. What must be an error has an ignore
comment there, and an ignore comment without an error is itself an error: each line is a test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mesh

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CASES = sorted(path for path in HERE.glob("*.py") if not path.name.startswith("test_"))
BIN = Path(sys.executable).parent

# Wrong in three ways: what this harness must find, or it would find nothing anywhere.
WRONG = """\
from typing import assert_type
from mesh import Job, Mesh
app = Mesh()
@app.task
async def add(a: int) -> int: return a
async def main() -> None:
    await add.enqueue("1")
    await add.enqueue(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await add.enqueue(1), Job[str])
"""
WRONG_LINES = [7, 8, 9]

pytestmark = pytest.mark.timeout(300)


def run(*command: str | Path) -> str:
    """Run a checker at the top of the repository, as if its environment were activated."""
    environment = os.environ | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": sys.prefix,
    }
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The cases, and one that is wrong."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG)
    return [*CASES, wrong]


def test_mypy_agrees(files: list[Path]) -> None:
    """Strictly, so that an ignore comment without an error is found too."""
    output = run(BIN / "mypy", "--strict", "--output=json", *files)

    found = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    errors = [(Path(fault["file"]).name, fault["line"]) for fault in found]
    assert sorted(set(errors)) == [("wrong.py", line) for line in WRONG_LINES], output


def test_basedpyright_agrees(files: list[Path], tmp_path: Path) -> None:
    """With its own ignore comments only, and each of them needed."""
    settings: dict[str, Any] = {
        "include": [str(path) for path in files],
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": False,
        "reportUnnecessaryTypeIgnoreComment": True,
        "extraPaths": [str(ROOT)],
    }
    project = tmp_path / "pyrightconfig.json"
    project.write_text(json.dumps(settings))

    output = run(BIN / "basedpyright", "--outputjson", "--project", project)

    found = json.loads(output)
    errors = [
        (Path(fault["file"]).name, fault["range"]["start"]["line"] + 1)
        for fault in found["generalDiagnostics"]
    ]
    assert found["summary"]["filesAnalyzed"] == len(files)
    assert sorted(set(errors)) == [("wrong.py", line) for line in WRONG_LINES], output


def test_every_public_name_has_a_known_type() -> None:
    """Nothing that users import, and no member of it, is left for a checker to guess."""
    output = run(
        BIN / "basedpyright", "--verifytypes", "mesh", "--ignoreexternal", "--outputjson"
    )

    symbols = json.loads(output)["typeCompleteness"]["symbols"]
    homes = {name: getattr(mesh, name) for name in mesh.__all__}
    places = {f"{home.__module__}.{home.__name__}" for home in homes.values()}
    members = [s for s in symbols if s["name"] in places or under(s["name"], places)]
    vague = [s["name"] for s in members if not s["isTypeKnown"] or s["isTypeAmbiguous"]]
    assert places <= {symbol["name"] for symbol in members}
    assert vague == []


def under(name: str, places: set[str]) -> bool:
    """Whether a dotted name is a member of one of the places."""
    return any(name.startswith(f"{place}.") for place in places)
