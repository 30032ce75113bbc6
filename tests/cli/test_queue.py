"""``mesh queue``: what it says and does, from a pause to a purge that is typed."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest
from support.command_line import CommandLine
from support.waiting import until_sync


def typed(cli: CommandLine, words: str, *command: str) -> tuple[int, str]:
    """Run a command at a terminal of its own, type some words, return how it ended."""
    ours, theirs = pty.openpty()
    program = [sys.executable, "-m", "mesh", *command]
    environment = os.environ | cli.environment | {"TERM": "xterm"}
    said = b""
    with subprocess.Popen(
        program, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as asking:
        os.close(theirs)
        os.write(ours, words.encode() + b"\n")
        with suppress(OSError):  # How a terminal says that nobody writes any more.
            while more := os.read(ours, 65_536):
                said += more
    os.close(ours)
    return asking.returncode, said.decode()


def test_a_queue_is_paused_and_resumed_under_a_worker(cli: CommandLine, app: str) -> None:
    """A job of a paused queue waits, is shown, and runs when the queue is resumed."""
    cli("setup", app)
    with cli.start("worker", app, "--drain-timeout", "0") as worker:
        worker.says("worker ready")

        assert "until it is resumed" in cli("queue", "pause", "default")
        cli("enqueue", "add", "--json", "[1, 2]", "--job-id", "j")
        shown = cli.json("queue", "show", "default", "--json")
        listed = cli("queue", "list")
        resumed = cli.json("queue", "resume", "default", "--json")

        assert cli("result", "j", "--timeout", "10s") == "3\n"
        worker.stop()

    assert (shown["is_paused"], shown["pending"]["normal"]) == (True, 1)
    assert shown["oldest_pending_age_s"] >= 0
    head, default, slow = listed.splitlines()
    assert head.split() == ["queue", "pending", "running", "oldest", "limit", "paused"]
    assert default.split()[:3] == ["default", "1", "0"]
    assert "until it is resumed" in default
    assert slow.split()[:4] == ["slow", "0", "0", "-"]
    assert not resumed["is_paused"]


def test_pending_jobs_are_moved(cli: CommandLine, app: str) -> None:
    """The job leaves its queue for another one, and a move to nowhere is refused."""
    cli("setup", app)
    cli("enqueue", "add", "--json", "[1, 2]", "--job-id", "m")

    moved = cli.json("queue", "move", "default", "slow", "--to-priority", "low", "--json")
    refused = cli("queue", "move", "default", code=2)

    assert moved["moved"] == 1
    assert cli.json("queue", "show", "slow", "--json")["pending"]["low"] == 1
    assert "--to-priority" in refused


def test_a_pause_may_have_an_end(cli: CommandLine) -> None:
    """--for and --until both say when; a short pause is over by itself."""
    cli("setup")

    until = cli.json(
        "queue", "pause", "default", "--until", "2090-01-01T00:00:00+01:00", "--json"
    )
    short = cli("queue", "pause", "default", "--for", "500ms")

    assert until["paused_until_ms"] == 3_786_908_400_000
    assert "paused       until 2" in short
    until_sync(
        lambda: not cli.json("queue", "show", "default", "--json")["is_paused"],
        "the pause is over",
    )
    assert "not both" in cli(
        "queue", "pause", "default", "--for", "1s", "--until", "2090-01-01T00:00:00Z", code=2
    )
    assert "is over" in cli("queue", "pause", "default", "--until", "2020-01-01T00:00Z", code=2)


def test_a_limit_is_set_kept_by_setup_and_reset(cli: CommandLine) -> None:
    """A limit is shown as set live, setup reports no drift, and --reset takes it back."""
    cli("setup")

    said = cli("queue", "limit", "default", "2")
    steps = cli.json("setup", "--json")["steps"]
    shown = cli.json("queue", "show", "default", "--json")
    reset = cli("queue", "limit", "default", "--reset")

    assert "2 a priority (set live)" in said
    assert {step["action"] for step in steps} == {"keep"}
    assert (shown["limit"], shown["has_live_limit"]) == (2, True)
    assert "(settings)" in reset
    assert "--reset" in cli("queue", "limit", "default", code=2)
    assert "--reset" in cli("queue", "limit", "default", "3", "--reset", code=2)
    assert "x>=1" in cli("queue", "limit", "default", "0", code=2)


def test_a_purge_needs_a_yes_or_the_typed_name(cli: CommandLine) -> None:
    """Without a terminal it must be said; at one, only the queue's own name will do."""
    cli("setup")
    for number in range(3):
        cli("enqueue", "t", "--job-id", f"j{number}")
    cli("enqueue", "t", "--job-id", "low", "--priority", "low")

    assert "give --yes" in cli("queue", "purge", "default", code=2)
    wrong = typed(cli, "y", "queue", "purge", "default")
    kept = cli.state_of("j0")
    low = cli.json("queue", "purge", "default", "--priority", "low", "--yes", "--json")
    right = typed(cli, "default", "queue", "purge", "default")

    assert wrong[0] == 2
    assert "cancels 4 pending jobs" in wrong[1]
    assert "nothing was cancelled" in wrong[1]
    assert kept == "pending"
    assert low == {"queue": "default", "cancelled": 1}
    assert right[0] == 0
    assert "cancelled 3 pending jobs of queue default" in right[1]
    assert {cli.state_of(f"j{number}") for number in range(3)} == {"cancelled"}
    assert "cancelled 0 pending" in cli("queue", "purge", "default", "--yes")


@pytest.mark.parametrize("command", ["show", "pause", "resume", "purge"])
def test_a_name_that_no_queue_has_exits_with_2(cli: CommandLine, command: str) -> None:
    """A dot would be another subject."""
    assert "queue" in cli("queue", command, "a.b", code=2)


def test_a_namespace_that_is_not_set_up_is_named(cli: CommandLine) -> None:
    """The message says what to run."""
    assert "mesh setup" in cli("queue", "list", code=1)
    assert "mesh setup" in cli("queue", "pause", "mail", code=1)
