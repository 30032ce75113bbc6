"""``mesh fsck``: what it says, how it ends, and that it goes on when told to."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from contextlib import suppress

from support.command_line import CommandLine

from mesh import Mesh


def lose(cli: CommandLine, job_id: str) -> None:
    """Remove a job's message behind mesh's back."""

    async def remove() -> None:
        environment = cli.environment
        async with Mesh(
            environment["MESH_URL"], namespace=environment["MESH_NAMESPACE"]
        ) as mesh:
            client = await mesh.client()
            subject = client.names.job_anywhere(job_id)
            stream = client.names.jobs_stream
            await client.connection.api(f"STREAM.PURGE.{stream}", {"filter": subject})

    asyncio.run(remove())


def test_a_lost_job_is_reported_then_repaired(cli: CommandLine) -> None:
    """Exit code 1 says that something is left; the words say what it means."""
    cli("setup")
    clean = cli("fsck")
    cli("enqueue", "add", "--json", "[1, 2]", "--job-id", "gone")
    lose(cli, "gone")

    found = cli("fsck", "--settle", "100ms", code=1)
    values = cli.json("fsck", "--settle", "100ms", "--repair", "--json")
    after = cli("fsck")

    assert clean.startswith("clean (looked at ")
    head, row, _, meaning, _, verdict = found.splitlines()
    assert head.split() == ["kind", "what", "state", "detail"]
    assert row.split() == ["lost", "gone", "found", "task", "add"]
    assert meaning.startswith("lost: A job was enqueued and has vanished")
    assert "--repair publishes it again" in meaning
    assert verdict.startswith("1 left to put right (looked at ")
    assert (values["is_clean"], values["left"], values["looks"]) == (True, 0, 2)
    assert values["findings"][0]["is_repaired"]
    assert after.startswith("clean")
    assert "JobLostError" in cli("status", "gone")


def test_a_repair_says_what_it_did(cli: CommandLine) -> None:
    """What is only reported is left, and counted."""
    cli("setup")
    cli("enqueue", "add", "--job-id", "gone")
    cli("enqueue", "add", "--job-id", "waits", "--queue", "nobody")
    lose(cli, "gone")

    said = cli("fsck", "--settle", "100ms", "--repair", code=1)

    assert "1 repaired, 1 left to put right" in said
    assert "nobody-normal" in said


def test_without_events_it_says_what_cannot_be_found(cli: CommandLine) -> None:
    """The namespace may be clean, but nobody would know of a job that vanished."""
    cli.environment["MESH_EVENTS_ENABLED"] = "false"
    cli("setup")

    assert "jobs that vanished cannot be found" in cli("fsck")


def test_it_goes_on_when_told_to(cli: CommandLine) -> None:
    """--every checks again and again, until it is stopped."""
    cli("setup")
    with cli.start("fsck", "--every", "50ms", "--json") as checking:
        checking.says('"is_clean":true', 3)
        checking.stop()


def test_at_a_terminal_it_shows_what_it_looks_at(cli: CommandLine) -> None:
    """A bar on stderr, which the report on stdout does not mix with."""
    cli("setup")
    cli("enqueue", "add", "--job-id", "gone")
    lose(cli, "gone")
    ours, theirs = pty.openpty()
    environment = os.environ | cli.environment | {"TERM": "xterm"}
    program = [sys.executable, "-m", "mesh", "fsck", "--settle", "300ms"]
    said = b""
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as checking:
        os.close(theirs)
        with suppress(OSError):  # How a terminal says that nobody writes any more.
            while more := os.read(ours, 65_536):
                said += more
        report = checking.stdout.read() if checking.stdout else b""
    os.close(ours)

    assert checking.returncode == 1
    assert b"waiting to look again" in said
    assert report.startswith(b"kind")
