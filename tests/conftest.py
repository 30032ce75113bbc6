"""What all tests share: a real server, a namespace each, and a check for leftovers."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest
from hypothesis import HealthCheck, settings
from support.leaks import left_on_server, left_running
from support.running import RunningApp

from mesh import Mesh
from mesh.server.config import ServerConfig
from mesh.server.process import EmbeddedServer

_numbers = itertools.count(1)

# How long an example takes says how busy the machine is. The rest stays as hypothesis has it
# for this place: with CI set it plays the same examples each time.
settings.register_profile(
    "mesh", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("mesh")


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
    tasks_before = asyncio.all_tasks()
    running = RunningApp(app)
    yield running
    await running.tear_down()
    # With the streams go their consumers, buckets and keys.
    leaks = await left_on_server(server.url)
    leaks += [f"task {task!r}" for task in left_running(tasks_before)]
    assert not leaks, f"the test left behind: {leaks}"


@pytest.fixture(autouse=True)
def _no_process_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a process behind."""
    if "server" in request.fixturenames:
        request.getfixturevalue("server")  # Started before the count: it outlives the test.
    parent = psutil.Process()
    before = set(parent.children(recursive=True))
    yield
    _, alive = psutil.wait_procs(set(parent.children(recursive=True)) - before, timeout=20)
    assert not alive, f"the test left processes behind: {alive}"
