"""``mesh server`` and ``mesh dev``: what they start, they stop; what was there, they leave."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import msgspec
import psutil
import pytest
from support.command_line import CommandLine, Program
from support.waiting import until_sync

from mesh.server.probe import server_answers
from mesh.server.process import EmbeddedServer

APP = """
from mesh import Mesh
app = Mesh()
@app.task(retry=0)
async def which(word: str) -> str:
    return {answer!r} + word
"""


@pytest.fixture
def alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line in a folder with an app, and no server to be found."""
    (tmp_path / "app.py").write_text(APP.format(answer="old "))
    return CommandLine(None, "alone", tmp_path, capfd)


def url_of(program: Program) -> str:
    """Wait until the program says where the server is."""
    program.says("nats://")
    found = re.search(r"nats://[\d.]+:\d+", program.log)
    assert found is not None
    return found[0]


def test_a_server_keeps_jobs_from_one_run_to_the_next(alone: CommandLine) -> None:
    """A job enqueued before a restart is there after it, in a folder that git ignores."""
    with alone.start("server", "--port", "0", "--json", "--monitor-port", "0") as server:
        url = url_of(server)
        alone("setup", "--url", url)
        alone("enqueue", "t", "--job-id", "kept", "--url", url)
        said = msgspec.json.decode(server.log)

        assert said["url"] == url
        assert said["monitor_url"].startswith("http://")
        assert server.stop() == 0
    assert server_answers(url) is None
    assert (alone.folder / ".mesh" / ".gitignore").read_text() == "*\n"

    with alone.start("server", "--port", "0") as again:
        assert (
            alone.json("status", "kept", "--json", "--url", url_of(again))["state"] == "pending"
        )
        again.send(signal.SIGINT)
        assert again.ends() == 0


def test_a_server_that_cannot_start_says_why(
    alone: CommandLine, server: EmbeddedServer
) -> None:
    """A port that is taken is named, with exit code 1."""
    with alone.start("server", "--port", str(server.port), "--store-dir", "s") as second:
        assert second.ends() == 1

    assert "address already in use" in second.log
    assert "Traceback" not in second.log


def test_a_server_that_dies_ends_the_command(alone: CommandLine) -> None:
    """When nats-server is killed the command says so and exits with 1."""
    with alone.start("server", "--port", "0", "--json") as server:
        url_of(server)
        psutil.Process(msgspec.json.decode(server.log)["pid"]).kill()

        assert server.ends() == 1
    assert "nats-server ended" in server.log


def test_dev_starts_all_that_is_needed_and_leaves_nothing(alone: CommandLine) -> None:
    """One command runs a server and a reloading worker, shows jobs, and Ctrl-C ends it all."""
    pytest.importorskip("watchfiles")
    with alone.start("dev", "app.py", "--port", "0") as dev:
        url = url_of(dev)
        dev.says("worker ready")
        first = alone.json(
            "enqueue", "which", "--json", '["a"]', "--wait", "--url", url, "--job-id", "j"
        )
        (alone.folder / "app.py").write_text(APP.format(answer="new "))
        dev.says("worker ready", times=2)
        second = alone.json("enqueue", "which", "--json", '["b"]', "--wait", "--url", url)
        alone("enqueue", "which", "--json", "[]", "--wait", "--url", url, code=1)
        dev.says("failed")
        below = dev.children()
        os.killpg(dev.process.pid, signal.SIGINT)  # As a terminal does.

        assert dev.ends() == 0
        assert not [process for process in below if process.is_running()]

    assert (first, second) == ("old a", "new b")
    assert re.search(r"enqueued +which j\b", dev.log)
    assert re.search(r"succeeded +which j\b", dev.log)
    assert server_answers(url) is None
    assert "Traceback" not in dev.log


def test_dev_uses_the_server_that_is_there_and_leaves_it(cli: CommandLine, app: str) -> None:
    """A server that answers is used, and is still there after Ctrl-C."""
    with cli.start("dev", app, "--json") as dev:
        dev.says("worker ready")
        url = url_of(dev)
        dev.says('"is_ours":false')
        assert "nats-server" not in {child.name() for child in dev.children()}
        cli("enqueue", "add", "--json", "[1, 1]", "--wait", "--job-id", "j")
        dev.says('"state":"succeeded"')
        dev.send(signal.SIGINT)

        assert dev.ends() == 0
    assert server_answers(url) is not None
    assert not (cli.folder / ".mesh").exists()


def test_dev_leaves_nothing_when_it_is_killed(alone: CommandLine) -> None:
    """After kill -9 its worker and its server end by themselves."""
    with alone.start("dev", "app.py", "--port", "0") as dev:
        dev.says("worker ready")
        below = dev.kill()

        until_sync(
            lambda: not any(process.is_running() for process in below), "all of it ends", 15
        )


def test_dev_starts_no_server_for_another_machine(alone: CommandLine) -> None:
    """An address elsewhere that does not answer is an error, not a reason to start one here."""
    said = alone("dev", f"{alone.folder}/app.py", "--url", "nats://broker.invalid:4222", code=4)

    assert "nats://broker.invalid:4222" in said
    assert "on this machine only" in said
