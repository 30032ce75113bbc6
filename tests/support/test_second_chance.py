"""A second chance saves a test that fails among others, and never one that is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from support import second_chance

_OURS = ("PYTEST_", "COV_", "COVERAGE_")

FLAKY = """
from pathlib import Path

def test_flaky():
    seen = Path("seen")
    is_first = not seen.exists()
    seen.touch()
    assert not is_first
"""
BROKEN = "def test_broken():\n    assert False\n"
FINE = "def test_fine():\n    pass\n"
FORGETFUL = """
from pathlib import Path
import pytest

def test_forgetful():
    seen = Path("seen")
    if seen.exists():
        pytest.skip("not today")
    seen.touch()
    assert False
"""
UNREADY = """
from pathlib import Path
import pytest

@pytest.fixture
def ready():
    seen = Path("seen")
    is_first = not seen.exists()
    seen.touch()
    assert not is_first

def test_unready(ready):
    pass
"""
COVERED = ("--cov", "--cov-report=term")


class Phase(NamedTuple):
    """How a phase ended: its exit code, and what was printed."""

    code: int
    said: str

    @property
    def closing_line(self) -> str:
        """The last line."""
        return self.said.strip().splitlines()[-1]

    @property
    def rounds(self) -> int:
        """How often pytest was run."""
        return self.said.count("test session starts")


Play = Callable[..., Phase]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Play a phase of a small project, which has one file of tests for each of the texts."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p xdist -p pytest_cov\n")
    (tmp_path / ".coveragerc").write_text("[run]\ninclude = thing.py\n")

    def play(*texts: str, arguments: tuple[str, ...] = ()) -> Phase:
        for number, text in enumerate(texts):
            (tmp_path / f"test_{number}.py").write_text(text)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # Starting takes half the time.
        done = subprocess.run(
            [sys.executable, "-P", second_chance.__file__, "made/notes.json", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return Phase(done.returncode, done.stdout + done.stderr)

    return play


def test_a_phase_that_passes_is_played_once(play: Play) -> None:
    """Nothing is said about second chances."""
    phase = play(FINE)

    assert (phase.code, phase.rounds) == (0, 1)
    assert "chance" not in phase.said
    assert "1 passed" in phase.closing_line


@pytest.mark.parametrize("text", [FLAKY, UNREADY], ids=["test", "fixture"])
def test_what_passes_alone_is_saved_and_named_in_each_later_phase(
    play: Play, text: str
) -> None:
    """It is played again without the others, and the closing line comes last."""
    phase = play(text, FINE, arguments=("-n", "2"))
    later = play(FINE, arguments=("test_0.py",))

    assert (phase.code, phase.rounds) == (0, 2)
    assert "1 failed: they get a second chance" in phase.said or "1 error" in phase.said
    assert phase.said.count("passed only when alone: test_0.py::") == 1
    assert "1 passed" in phase.closing_line
    assert later.code == 0
    assert "passed only when alone: test_0.py::" in later.said
    assert "1 passed" in later.closing_line


def test_what_fails_again_fails_the_phase(play: Play) -> None:
    """A broken test is not made good by a flaky one beside it, which is named all the same."""
    phase = play(FLAKY, BROKEN, FINE)

    assert (phase.code, phase.rounds) == (1, 2)
    assert "passed only when alone: test_0.py::test_flaky" in phase.said
    assert "passed only when alone: test_1.py" not in phase.said
    assert "1 failed, 1 passed" in phase.closing_line


@pytest.mark.parametrize(("many", "rounds"), [(5, 2), (6, 1)])
def test_more_than_five_failures_are_not_played_again(
    play: Play, many: int, rounds: int
) -> None:
    """Then something is broken, and the build fails at once."""
    phase = play(*[BROKEN] * many)

    assert (phase.code, phase.rounds) == (1, rounds)
    assert ("nothing is played again" in phase.said) == (rounds == 1)


def test_what_is_skipped_the_second_time_has_not_passed(play: Play) -> None:
    """Pytest is content with that, and the phase is not."""
    phase = play(FORGETFUL, FINE)

    assert (phase.code, phase.rounds) == (1, 2)
    assert "1 skipped" in phase.closing_line


@pytest.mark.parametrize("among", ["0", "2"])
def test_a_phase_that_was_cut_short_gets_no_second_chance(play: Play, among: str) -> None:
    """With -x the tests behind the failed one were not played at all."""
    phase = play(FLAKY, FINE, arguments=("-x", "-n", among))

    assert phase.code != 0
    assert phase.rounds == 1


def test_a_file_that_cannot_be_read_gets_no_second_chance(play: Play) -> None:
    """Its tests are not known, so nothing can be said about them."""
    phase = play("import nowhere\n", FLAKY)

    assert (phase.code, phase.rounds) == (2, 1)


def test_the_coverage_of_both_rounds_counts(play: Play, tmp_path: Path) -> None:
    """The gate looks at the whole, and what it refuses is not mended by a second round."""
    (tmp_path / "thing.py").write_text("def one():\n    return 1\n\ndef two():\n    return 2\n")
    one = "import thing\n" + FLAKY + "    assert thing.one() == 1\n"
    two = "import thing\n\ndef test_two():\n    assert thing.two() == 2\n"

    whole = play(one, two, arguments=(*COVERED, "--cov-fail-under=100"))
    part = play(one, arguments=(*COVERED, "--cov-fail-under=100", "test_0.py"))

    assert (whole.code, whole.rounds) == (0, 2), whole.said
    assert "100%" in whole.said.rpartition("test session starts")[2]
    assert (part.code, part.rounds) == (1, 1)
