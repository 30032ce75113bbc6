"""Play a phase of the tests; the few that failed among others get one more chance, alone.

``python -P tests/support/second_chance.py NOTES [arguments of pytest]``: a machine that is too
busy makes a test fail that is right. So tests that failed are played once more, one at a time.
One that fails again fails the phase. One that passes then is named in the summary of this run
and of each that follows with the same notes: it is no success, it wants to be looked into.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

MOST = 5
"""With more failures than these something is broken, and nothing is played again."""

_PLAY = "--play"


class Notes(msgspec.Struct):
    """What one run of pytest leaves to the next.

    Attributes:
        failed: What failed in the latest run.
        passed: What passed in it.
        is_whole: Whether that run came to its end.
        saved: What passed only when alone, in all runs so far.
    """

    failed: list[str] = []
    passed: list[str] = []
    is_whole: bool = False
    saved: list[str] = []

    @classmethod
    def read(cls, path: Path) -> Notes:
        """Read what `write` wrote; nothing was noted where no file is."""
        if not path.exists():
            return cls()
        return msgspec.convert(json.loads(path.read_text(encoding="utf-8")), cls)

    def write(self, path: Path) -> None:
        """Keep it for the next run."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(msgspec.to_builtins(self), indent=1), encoding="utf-8")

    @property
    def may_play_again(self) -> bool:
        """Whether a second chance makes sense."""
        return self.is_whole and 0 < len(self.failed) <= MOST


class Watcher:
    """Notes what came of each test, and says so; a plugin of pytest.

    Args:
        path: Where the notes are.
        is_again: Whether this is a second chance.
    """

    def __init__(self, path: Path, *, is_again: bool) -> None:
        self._path = path
        self._is_again = is_again
        self._before = Notes.read(path)
        self._failed: dict[str, None] = {}
        self._passed: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a part of a test: its setup, itself, or its end."""
        if report.failed:
            self._failed[report.nodeid] = None
        elif report.passed and report.when == "call":
            self._passed[report.nodeid] = None

    # First: the summary is written by a hook of the same name.
    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Leave the notes."""
        self.notes = Notes(
            failed=list(self._failed),
            passed=[name for name in self._passed if name not in self._failed],
            is_whole=not (session.shouldstop or session.shouldfail),
            saved=list(self._before.saved),
        )
        if self._is_again:
            passed = set(self.notes.passed)
            self.notes.saved += [name for name in self._before.failed if name in passed]
        self.notes.write(self._path)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what is played again, and what passed only when alone."""
        many = len(self.notes.failed)
        if many and not self._is_again:
            words = "they get a second chance, one at a time"
            if not self.notes.may_play_again:
                words = f"nothing is played again (that is for a whole run with {MOST} at most)"
            terminalreporter.section("second chance")
            terminalreporter.line(f"{many} failed: {words}")
        if self.notes.saved:
            terminalreporter.section("passed only when alone", sep="!", red=True, bold=True)
            for name in self.notes.saved:
                terminalreporter.line(f"passed only when alone: {name}", red=True)


def play_phase(path: Path, arguments: list[str]) -> int:
    """Play the tests that pytest selects by these arguments; return the exit code.

    Args:
        path: Where the notes are kept from one phase to the next.
        arguments: What pytest is given.
    """
    code = _play(path, arguments)
    first = Notes.read(path)
    if code != pytest.ExitCode.TESTS_FAILED or not first.may_play_again:
        return code
    again = ["--last-failed", "--last-failed-no-failures=none", "-n", "0"]
    if any(argument.startswith("--cov") for argument in arguments):
        again.append("--cov-append")
    code = _play(path, [*arguments, *again], is_again=True)
    if code == 0 and not set(first.failed) <= set(Notes.read(path).passed):
        return int(pytest.ExitCode.TESTS_FAILED)  # One was not played, or skipped.
    return code


def _play(path: Path, arguments: list[str], *, is_again: bool = False) -> int:
    """Run pytest in a process of its own, as it should be."""
    which = "again" if is_again else "first"
    program = [sys.executable, "-P", __file__, str(path), _PLAY, which]
    return subprocess.run([*program, *arguments], check=False).returncode


def main(words: list[str]) -> int:
    """Do what the command line says."""
    path, *arguments = words
    if arguments[:1] != [_PLAY]:
        return play_phase(Path(path), arguments)
    watcher = Watcher(Path(path), is_again=arguments[1] == "again")
    return int(pytest.main(arguments[2:], plugins=[watcher]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
