"""The apps in workers/ do what they say, with a real server, worker and process pool."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client import CollectorRegistry
from support.running import RunningApp

from mesh import Mesh
from mesh.server.process import EmbeddedServer
from mesh.worker.loading import load_app
from mesh.worker.worker import Worker

WORKERS = Path(__file__).parents[2] / "workers"

GOOD = """\
import os
from pathlib import Path


class Ship:
    def sail(self):
        def look():
            return os.getcwd()

        if look():
            import sys
            return sys.path

        return Path()

    async def sink(self): pass
"""
SHORT = "def one():\n    return 1\n"
BROKEN = "def broken(:\n"
NOT_UTF8 = b"name = '\xf6'\n"


@asynccontextmanager
async def running(
    file: Path, server: EmbeddedServer, namespace: str
) -> AsyncGenerator[tuple[Mesh, ModuleType]]:
    """Load an app by its path and run a worker for it."""
    reference = f"{file}:app"
    app = load_app(reference)
    app.override({"url": server.url, "namespace": namespace, "worker.process_pool": 2})
    module = sys.modules[next(iter(app.tasks)).function.__module__]
    await app.setup()
    try:
        async with Worker(app, app_reference=reference, registry=CollectorRegistry()):
            yield app, module
    finally:
        await RunningApp(app).tear_down()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four Python files, two of which cannot be read, and files that do not count."""
    root = tmp_path / "source"
    (root / "site-packages").mkdir(parents=True)
    (root / "good.py").write_text(GOOD, encoding="utf-8")
    (root / "short.py").write_text(SHORT, encoding="utf-8")
    (root / "broken.py").write_text(BROKEN, encoding="utf-8")
    (root / "not_utf8.py").write_bytes(NOT_UTF8)
    (root / "notes.txt").write_text(GOOD, encoding="utf-8")
    (root / "site-packages" / "other.py").write_text(GOOD, encoding="utf-8")
    return root


async def test_hello_greets(
    server: EmbeddedServer, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The smallest app's own main() enqueues a job and prints what its worker returned."""
    async with running(WORKERS / "hello.py", server, namespace) as (_, hello):
        await hello.main()

    assert capsys.readouterr().out == "Hello, Ada!\n"


def test_hello_is_short() -> None:
    """What claims to be the smallest app has at most 30 lines."""
    assert len((WORKERS / "hello.py").read_text(encoding="utf-8").splitlines()) <= 30


async def test_codebase_counts_what_is_there(
    server: EmbeddedServer, namespace: str, folder: Path
) -> None:
    """Lines, functions, classes and imports of a known folder are counted exactly."""
    told: list[tuple[int, int]] = []

    def on_progress(done: int, of: int) -> None:
        told.append((done, of))

    async with running(WORKERS / "codebase.py", server, namespace) as (_, codebase):
        summary = await codebase.index(folder, on_progress)

    assert summary.files == 4
    assert summary.lines == len(GOOD.splitlines()) + len(SHORT.splitlines()) == 18
    assert (summary.functions, summary.classes, summary.imports) == (4, 1, 3)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


async def test_codebase_names_the_longest_functions(
    server: EmbeddedServer, namespace: str, folder: Path
) -> None:
    """The longest function comes first, with its file, line and length."""
    async with running(WORKERS / "codebase.py", server, namespace) as (_, codebase):
        summary = await codebase.index(folder, _ignore)

    first = summary.longest_functions[0]
    assert (first.name, first.line, first.lines) == ("sail", 6, 9)
    assert first.file == str(folder / "good.py")
    assert [f.name for f in summary.longest_functions] == ["sail", "look", "one", "sink"]
    assert [Path(f.file).name for f in summary.largest_files[:2]] == ["good.py", "short.py"]


async def test_codebase_reports_files_that_are_no_python(
    server: EmbeddedServer, namespace: str, folder: Path
) -> None:
    """A file with a syntax error or a bad encoding is a finding, and its job succeeds."""
    async with running(WORKERS / "codebase.py", server, namespace) as (app, codebase):
        summary = await codebase.index(folder, _ignore)
        dead = await RunningApp(app).count("dead_stream")

    problems = {Path(file.file).name: file.problem for file in summary.unreadable}
    assert problems.keys() == {"broken.py", "not_utf8.py"}
    assert all(problem.startswith("SyntaxError: ") for problem in problems.values())
    assert dead == 0


async def test_codebase_merges_more_than_a_message_holds(
    server: EmbeddedServer, namespace: str
) -> None:
    """A list of 40,000 results is larger than a NATS message, and reaches its task."""
    async with running(WORKERS / "codebase.py", server, namespace) as (_, codebase):
        files = [codebase.FileCounts(f"{number:050}.py", lines=2) for number in range(40_000)]
        job = await codebase.merge.enqueue(files)
        summary = await job.result(timeout=30)

    assert (summary.files, summary.lines) == (40_000, 80_000)


async def test_codebase_of_an_empty_folder_is_empty(
    server: EmbeddedServer, namespace: str, tmp_path: Path
) -> None:
    """No files are no fault."""
    async with running(WORKERS / "codebase.py", server, namespace) as (_, codebase):
        summary = await codebase.index(tmp_path, _ignore)

    assert (summary.files, summary.longest_functions) == (0, [])


def _ignore(_done: int, _of: int) -> None:
    """Take no notice of progress."""
