"""``mesh demo`` as a user runs it: a process of its own, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import psutil
import pytest

from mesh.demo.example import find_example
from mesh.errors import AppNotFoundError

pytestmark = pytest.mark.alone

DEMO = (sys.executable, "-m", "mesh", "demo")
LIMIT_S = 50


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve Python files of known content."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(12):
        body = "    pass\n" * (number + 1)
        (folder / f"file{number}.py").write_text(f"def f{number}():\n{body}", encoding="utf-8")
    return folder


@pytest.fixture
def much(tmp_path: Path) -> Path:
    """Python files that keep two CPUs busy for some seconds."""
    folder = tmp_path / "much"
    folder.mkdir()
    text = "def f():\n" + "    x = [1 + 2, 'three', f(4)]\n" * 2000
    for number in range(300):
        (folder / f"file{number}.py").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the demo puts its temporary files."""
    home = tmp_path / "tmp"
    home.mkdir()
    return home


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """An environment in which the user has set mesh up for another server."""
    return os.environ | {
        "TMPDIR": str(home),
        "MESH_URL": "nats://192.0.2.1:4222",
        "MESH_CREDENTIALS_USER": "somebody",
        "MESH_CREDENTIALS_PASSWORD": "secret",
    }


def demo(
    *arguments: str | Path, environment: dict[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the demo to its end."""
    return subprocess.run(
        [*DEMO, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        timeout=LIMIT_S,
        check=False,
    )


@contextmanager
def running_demo(folder: Path, environment: dict[str, str]) -> Generator[subprocess.Popen[str]]:
    """Start the demo; entered when a tenth of the work is done."""
    with subprocess.Popen(
        [*DEMO, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            seen = list(takewhile(lambda line: " %" not in line, process.stdout))
            assert process.poll() is None, seen
            yield process
        finally:
            process.kill()


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that the demo has started: server, worker, children."""
    below = psutil.Process(process.pid).children(recursive=True)
    names = " ".join(word for one in below for word in one.cmdline())
    assert "nats-server" in names
    assert "worker" in names
    return below


def test_the_demo_shows_what_it_found(
    folder: Path, home: Path, environment: dict[str, str]
) -> None:
    """It counts every line, names the longest function, and leaves no file behind."""
    done = demo(folder, environment=environment)

    assert done.returncode == 0, done.stderr
    assert re.search(r"^ *files +12 *$", done.stdout, re.MULTILINE)
    assert re.search(r"^ *lines +90 *$", done.stdout, re.MULTILINE)
    assert re.search(r"^ *f11 +13 +file11\.py:1 *$", done.stdout, re.MULTILINE)
    assert "100 %  12 of 12 files" in done.stdout
    assert re.search(r"^13 jobs in ", done.stdout, re.MULTILINE)
    assert list(home.iterdir()) == []


def test_a_folder_without_python_is_said_to_be_so(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """With nothing to do the demo fails and says why."""
    empty = tmp_path / "empty"
    empty.mkdir()

    done = demo(empty, environment=environment)

    assert done.returncode == 1
    assert f"no Python files in {empty}" in done.stderr.replace("\n", " ")


def test_a_folder_that_is_none_is_said_to_be_so(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """A name that leads nowhere is a failure before anything is started."""
    done = demo(tmp_path / "nowhere", environment=environment)

    assert done.returncode != 0
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_stops_everything(
    much: Path, home: Path, environment: dict[str, str]
) -> None:
    """Ctrl-C in the middle of the work ends server and worker, and says so."""
    with running_demo(much, environment) as process:
        below = descendants(process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=LIMIT_S)

    assert process.returncode == 130
    assert "Interrupted" in said
    assert "Traceback" not in said
    assert not psutil.wait_procs(below, timeout=5)[1]
    assert list(home.iterdir()) == []


def test_a_killed_demo_leaves_no_process_behind(
    much: Path, environment: dict[str, str]
) -> None:
    """After kill -9 of the demo its server, worker and children end by themselves."""
    with running_demo(much, environment) as process:
        below = descendants(process)
        process.kill()
        process.communicate(timeout=LIMIT_S)

    assert not psutil.wait_procs(below, timeout=20)[1]


def test_a_worker_that_dies_ends_the_demo(much: Path, environment: dict[str, str]) -> None:
    """Without its worker the demo fails, and shows the end of the worker's log."""
    with running_demo(much, environment) as process:
        worker = next(p for p in descendants(process) if "worker" in p.cmdline())
        worker.kill()
        _, said = process.communicate(timeout=LIMIT_S)

    assert process.returncode == 1
    assert "the worker ended before its work was done" in said
    assert "worker ready" in said


def test_the_example_is_found_in_the_first_place_that_has_it(tmp_path: Path) -> None:
    """The repository beside the package comes first, then the working directory."""
    file = tmp_path / "workers" / "codebase.py"
    file.parent.mkdir()
    file.touch()

    assert find_example([tmp_path / "elsewhere", tmp_path]) == file.resolve()


def test_a_missing_example_is_explained(tmp_path: Path) -> None:
    """Where only the package is installed, the message says what to get."""
    with pytest.raises(AppNotFoundError, match="get the source code"):
        find_example([tmp_path])
