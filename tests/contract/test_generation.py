"""What `mesh contract write` makes, and what `mesh contract check` says of a folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.contract import headers, lifecycle
from mesh.contract.generation import check, write

SUBJECTS = Path(__file__).parents[2] / "subjects"
BY_HAND = ("README.md", "grammar.abnf", "CHANGES.md")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with everything that is generated."""
    write(tmp_path)
    return tmp_path


def test_the_contract_in_the_repository_is_current() -> None:
    """What is committed is what the code says; else run `mesh contract write subjects`."""
    assert check(SUBJECTS) == []


def test_what_is_written_by_hand_is_there() -> None:
    """The parts that no program makes stand beside the others."""
    assert [name for name in BY_HAND if not (SUBJECTS / name).is_file()] == []


def test_write_names_every_file_it_wrote(tmp_path: Path) -> None:
    """The paths that come back are the files that are there, and the check is content."""
    written = write(tmp_path)

    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert {path.name for path in written} >= {"subjects.toml", "envelope.v1.json"}
    assert check(tmp_path) == []


def test_check_finds_a_changed_file(folder: Path) -> None:
    """A file that was edited is stale."""
    path = folder / "schema" / "envelope.v1.json"
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")

    (difference,) = check(folder)

    assert difference.startswith("stale: schema/envelope.v1.json; run `mesh contract write ")


def test_check_finds_a_missing_file(folder: Path) -> None:
    """A file that was deleted is missing."""
    (folder / "vectors" / "names.json").unlink()

    (difference,) = check(folder)

    assert difference.startswith("missing: vectors/names.json; ")


def test_check_finds_a_file_too_many(folder: Path) -> None:
    """A file that nothing makes, where all is made, is extra."""
    (folder / "schema" / "envelope.v0.json").write_text("{}", encoding="utf-8")

    (difference,) = check(folder)

    assert difference.startswith("extra: schema/envelope.v0.json; ")


def test_check_leaves_what_is_written_by_hand_alone(folder: Path) -> None:
    """Files beside the generated ones are nobody's business."""
    (folder / "README.md").write_text("by hand", encoding="utf-8")

    assert check(folder) == []
    write(folder)
    assert (folder / "README.md").read_text(encoding="utf-8") == "by hand"


def test_check_names_everything_that_an_empty_folder_lacks(tmp_path: Path) -> None:
    """Every file is said to be missing, in order, when there is none."""
    differences = check(tmp_path / "nowhere")

    assert len(differences) == len(write(tmp_path))
    assert differences == sorted(differences)


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_the_files_are_the_same_whatever_the_hash_seed(tmp_path: Path, seed: str) -> None:
    """Another process with another order of sets and dicts writes the same bytes."""
    code = "import sys, pathlib; from mesh.contract.generation import write; "
    code += "write(pathlib.Path(sys.argv[1]))"

    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        timeout=30,
        env=os.environ | {"PYTHONHASHSEED": seed},
    )

    assert digests(tmp_path) == {
        name: digest for name, digest in digests(SUBJECTS).items() if name not in BY_HAND
    }


def digests(folder: Path) -> dict[str, str]:
    """Tell the files of a folder apart by their content."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_every_header_the_code_names_is_explained() -> None:
    """Each header in the module has a row in the table, and the page shows it."""
    values = {"json", "msgpack", "DEL"}
    named = {
        value
        for name, value in vars(headers).items()
        if name.isupper() and isinstance(value, str) and value not in values
    }
    page = (SUBJECTS / "headers.md").read_text(encoding="utf-8")

    rows = [row.name for row in headers.TABLE]

    assert sorted(rows) == sorted(named)
    assert [row for row in rows if f"| `{row}` |" not in page] == []


def test_every_state_is_explained_and_can_be_reached() -> None:
    """Each state has a meaning, moves, and a way to it from where jobs begin."""
    reached = set(lifecycle.STARTS)
    while more := {end for state in reached for end in lifecycle.MOVES[state]} - reached:
        reached |= more

    assert reached == set(lifecycle.State)
    assert lifecycle.MEANING.keys() == lifecycle.MOVES.keys() == set(lifecycle.State)


def test_the_page_shows_every_move() -> None:
    """The diagram has one arrow for each move, and final states lead nowhere else."""
    page = (SUBJECTS / "lifecycle.md").read_text(encoding="utf-8")

    for state, ends in lifecycle.MOVES.items():
        for end in ends:
            assert f"    {state} --> {end}\n" in page
        assert (f"    {state} --> [*]\n" in page) is state.is_terminal
