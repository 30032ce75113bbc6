"""What the tests of ops share: mesh as programs, in a namespace of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import CommandLine, tear_down

from mesh.server.process import EmbeddedServer


@pytest.fixture
def cli(server: EmbeddedServer, namespace: str, tmp_path: Path) -> Iterator[CommandLine]:
    """The command line on the real server; its namespace is torn down after the test."""
    yield CommandLine(server.url, namespace, tmp_path, None)
    asyncio.run(tear_down(server.url, namespace))
