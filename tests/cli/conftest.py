"""What the tests of the command line share: mesh in a namespace of its own, and an app."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import CommandLine, tear_down

from mesh.server.process import EmbeddedServer

APP = Path(__file__).with_name("chores.py")


@pytest.fixture
def cli(
    server: EmbeddedServer,
    namespace: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[CommandLine]:
    """The command line on the real server; its namespace is torn down after the test."""
    yield CommandLine(server.url, namespace, tmp_path, capfd)
    asyncio.run(tear_down(server.url, namespace))


@pytest.fixture(scope="session")
def app() -> str:
    """The reference of an app with a few tasks."""
    return f"{APP}:app"
