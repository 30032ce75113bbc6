"""A client in JavaScript enqueues a job and reads its result."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.client_page import calculator, program, run_program, value_of
from support.running import RunningApp

from mesh.contract.lifecycle import State

PACKAGE = Path(__file__).parent / "node" / "package.json"
INSTALL = ("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
LIMIT_S = 150


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Node finds the packages of package.json; made once for all tests."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        give_up(f"missing: {', '.join(missing)}; apt-get install nodejs npm")
    folder = tmp_path_factory.mktemp("node")
    shutil.copy(PACKAGE, folder)
    done = subprocess.run(
        INSTALL, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode:
        give_up(f"npm could not install the client:\n{done.stderr[-2000:]}")
    return folder


def give_up(why: str) -> None:
    """Skip on a user's machine; fail in CI, where nothing may be left out."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@pytest.mark.timeout(LIMIT_S + 60)
async def test_a_client_in_javascript_gets_its_result(
    mesh: RunningApp, node_folder: Path
) -> None:
    """The program on the page, run as it stands, has a worker add two numbers."""
    file = node_folder / "client.mjs"
    file.write_text(program("client.mjs"), encoding="utf-8")

    async with calculator(mesh):
        record = await run_program(mesh, "node", file, "order-9", cwd=node_folder)

    assert record.state is State.SUCCEEDED
    assert value_of(record) == 42
    assert (record.task, record.queue, record.priority) == ("add", "default", "high")


def test_the_packages_are_pinned_by_name_and_version_alone() -> None:
    """package.json names exact versions, and no file beside it names where they come from."""
    package = json.loads(PACKAGE.read_text(encoding="utf-8"))

    assert [path.name for path in PACKAGE.parent.iterdir()] == ["package.json"]
    assert [
        v for v in package["dependencies"].values() if not v.replace(".", "").isdigit()
    ] == []
