"""What all tests share: a real server, a namespace for each test, and a check that nothing is left."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest

from mesh import Mesh
from mesh.server.config import ServerConfig
from mesh.server.process import EmbeddedServer
from support.leaks import left_on_server
from support.running import RunningApp

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """A real nats-server for the whole session; gone afterwards."""
    with EmbeddedServer(ServerConfig()) as running:
        yield running


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"t{os.getpid()}-{next(_numbers)}"


@pytest.fixture
async def mesh(server: EmbeddedServer, namespace: str) -> AsyncIterator[RunningApp]:
    """An app on the real server with a namespace of its own, torn down after the test."""
    app = Mesh(server.url, namespace=namespace, worker={"shutdown_grace_s": 5})
    running = RunningApp(app)
    yield running
    await running.tear_down()


@pytest.fixture(autouse=True)
async def _nothing_left(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fail a test that leaves a stream on the server or a process or task behind."""
    uses_server = "server" in request.fixturenames
    url = request.getfixturevalue("server").url if uses_server else ""
    before = set(psutil.Process().children(recursive=True))
    tasks_before = asyncio.all_tasks()
    yield
    leaks = [f"task {task!r}" for task in asyncio.all_tasks() - tasks_before if not task.done()]
    _, alive = psutil.wait_procs(
        set(psutil.Process().children(recursive=True)) - before, timeout=5
    )
    leaks += [f"process {process!r}" for process in alive]
    if url:
        leaks += await left_on_server(url)
    assert not leaks, f"the test left behind: {leaks}"
