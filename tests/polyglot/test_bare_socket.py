"""A producer without any library enqueues a job and reads its result."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from support.client_page import calculator, program, run_program, value_of
from support.running import RunningApp

from mesh.contract.lifecycle import State


async def test_a_program_that_knows_only_sockets_gets_its_result(
    mesh: RunningApp, tmp_path: Path
) -> None:
    """The program on the page, run as it stands, has a worker add two numbers."""
    file = tmp_path / "client.py"
    file.write_text(program("client.py"), encoding="utf-8")

    async with calculator(mesh):
        record = await run_program(mesh, sys.executable, "-I", file, "order-9", cwd=tmp_path)

    assert record.state is State.SUCCEEDED
    assert value_of(record) == 42
    assert (record.task, record.queue, record.priority) == ("add", "default", "high")


def test_the_program_imports_nothing_but_the_standard_library() -> None:
    """What the page calls a client without a library is one."""
    tree = ast.parse(program("client.py"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    }

    assert imported <= sys.stdlib_module_names
    assert "socket" in imported
