"""The programs on the page about clients in other languages, and a worker to answer them."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
from support.running import RunningApp

from mesh.contract.records import ResultRecord, read_result

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-client.md"

_PROGRAM = re.compile(r"<!-- file: (?P<name>\S+) -->\n```\w+\n(?P<code>.*?)```", re.DOTALL)


def program(name: str) -> str:
    """The program of that name, as it stands on the page."""
    found = {p["name"]: p["code"] for p in _PROGRAM.finditer(PAGE.read_text(encoding="utf-8"))}
    return found[name]


async def run_program(mesh: RunningApp, *command: str | Path, cwd: Path) -> ResultRecord:
    """Run a client program to its end and read the record it prints."""
    settings = mesh.app.settings
    place = {"MESH_URL": settings.url, "MESH_NAMESPACE": settings.namespace}
    with anyio.fail_after(40):
        done = await anyio.run_process(
            [str(word) for word in command], cwd=cwd, env=os.environ | place, check=False
        )
    assert done.returncode == 0, done.stderr.decode()
    return read_result(done.stdout)


@asynccontextmanager
async def calculator(mesh: RunningApp) -> AsyncGenerator[None]:
    """Run a worker that knows the tasks which foreign producers ask for in the tests."""

    @mesh.app.task
    async def add(first: int, second: int) -> int:
        return first + second

    @mesh.app.task
    async def repeat(value: Any) -> Any:
        return value

    async with mesh.worker():
        yield


def value_of(record: ResultRecord) -> Any:
    """Read the value in a record."""
    return msgspec.json.decode(record.result)
