"""mesh dlq: what it prints, what it changes, how it exits."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.command_line import CommandLine, Program
from support.waiting import until_sync

from mesh import Mesh


def lines(said: str) -> list[Any]:
    """Read JSON lines."""
    return [msgspec.json.decode(line) for line in said.splitlines()]


def bury(cli: CommandLine, app: str, count: int = 3) -> None:
    """Have so many jobs fail for good; f0 is the oldest."""
    cli("setup", app)
    for number in range(count):
        cli("enqueue", "fail", "--json", f'["bad luck {number}"]', "--job-id", f"f{number}")
    with cli.start("worker", app, "--burst") as worker:
        assert worker.ends() == 0, worker.log


def left(cli: CommandLine) -> list[str]:
    """The jobs that have a dead letter."""
    return [one["job_id"] for one in lines(cli("dlq", "list", "--limit", "0", "--json"))]


def test_dead_jobs_are_listed_and_shown(cli: CommandLine, app: str) -> None:
    """A table for people, a line each for programs; one letter in full with its body."""
    bury(cli, app)

    words = cli("dlq", "list").splitlines()
    found = lines(cli("dlq", "list", "--json", "--oldest-first", "--limit", "2"))
    shown = cli("dlq", "show", "f1")
    told = cli.json("dlq", "show", "f1", "--json")

    assert words[0].split() == ["DIED", "JOB", "TASK", "QUEUE", "ATTEMPT", "ERROR"]
    assert len(words) == 4
    assert "ValueError: bad luck 0" in "\n".join(words)
    assert len(found) == 2
    assert found[0]["error"]["type"] == "ValueError"
    assert "Traceback" in shown
    assert '"task": "fail"' in shown
    assert "died_at" in shown
    assert told["body"]["args"] == ["bad luck 1"]
    assert left(cli) == [one["job_id"] for one in lines(cli("dlq", "export"))][::-1]


def test_filters_choose(cli: CommandLine, app: str) -> None:
    """Task, queue, error and time; nothing found is no failure."""
    bury(cli, app)

    for words in (
        ("--error", "LUCK 1"),
        ("--error", "luck 1", "--since", "1h", "-q", "default"),
    ):
        found = lines(cli("dlq", "list", "--json", *words))
        assert [one["job_id"] for one in found] == ["f1"]
    for none in (("--task", "other"), ("--until", "1h"), ("--since", "2126-01-01T00:00:00Z")):
        assert cli("dlq", "list", *none) == "no dead letters\n"


def test_jobs_are_replayed_with_new_arguments(cli: CommandLine, app: str) -> None:
    """A dry run changes nothing; a replay prints old and new id, and its job succeeds."""
    bury(cli, app)

    dry = cli("dlq", "replay", "--all", "--dry-run")
    assert "f0 would be replayed as f0-r1" in dry
    assert "3 would-replay" in dry
    assert len(left(cli)) == 3

    one = cli.json("dlq", "replay", "f0", "--to-task", "add", "--args", "[1, 2]", "--json")
    more = cli(
        "dlq", "replay", "--error", "luck", "--to-task", "add", "--args", '{"a":1,"b":1}'
    )

    assert (one["new_job_id"], one["outcome"]) == ("f0-r1", "replayed")
    assert "f1 is replayed as f1-r1" in more
    assert more.endswith("2 replayed\n")
    assert left(cli) == []
    with cli.start("worker", app, "--burst") as worker:
        assert worker.ends() == 0, worker.log
    assert [cli("result", f"f{n}-r1") for n in range(3)] == ["3\n", "2\n", "2\n"]


def test_a_job_that_nobody_can_read_is_skipped(cli: CommandLine, app: str) -> None:
    """Among others it is skipped and the command exits with 1; alone it is an error."""
    bury(cli, app, 1)

    async def publish() -> None:
        variables = cli.environment
        url, namespace = variables["MESH_URL"], variables["MESH_NAMESPACE"]
        async with Mesh(url, namespace=namespace) as mesh:
            client = await mesh.client()
            subject = client.names.job("default", "normal", "garbled")
            await client.publisher.publish(subject, b"", b"{oops")

    asyncio.run(publish())
    with cli.start("worker", app, "--burst") as worker:
        assert worker.ends() == 0, worker.log

    said = cli("dlq", "replay", "--all", "--rate", "500/s", code=1)

    assert "garbled is skipped" in said
    assert "1 replayed, 1 skipped" in said
    assert "Give a task and arguments" in cli("dlq", "replay", "garbled", code=1)
    assert left(cli) == ["garbled"]
    assert "{oops" in cli("dlq", "show", "garbled")


def test_purging_needs_a_word(cli: CommandLine, app: str) -> None:
    """Without a terminal it needs --yes; then what was meant is gone, and no more."""
    bury(cli, app)

    assert "say --yes" in cli("dlq", "purge", "--all", code=2)
    assert cli("dlq", "purge", "--all", "--dry-run") == "3 would be removed\n"
    assert len(left(cli)) == 3
    assert cli("dlq", "purge", "f1", "--yes") == "1 removed\n"
    assert cli.json("dlq", "purge", "--error", "luck 2", "-y", "--json")["purged"] == 1
    assert left(cli) == ["f0"]
    assert cli.state_of("f1") == "failed"


@pytest.mark.parametrize(("answer", "kept"), [(b"n\n", ["f0"]), (b"y\n", [])])
def test_purging_asks_on_a_terminal(
    cli: CommandLine, app: str, answer: bytes, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No keeps everything, yes removes it."""
    bury(cli, app, 1)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as terminal, os.fdopen(ours, "wb", buffering=0) as keyboard:
        monkeypatch.setattr("sys.stdin", terminal)
        keyboard.write(answer)

        cli("dlq", "purge", "--all", code=130 if kept else 0)

    assert left(cli) == kept


def test_letters_are_exported_to_a_file(cli: CommandLine, app: str, tmp_path: Path) -> None:
    """Each line is a letter with its error and its body, the oldest first."""
    bury(cli, app)
    file = tmp_path / "dead.jsonl"

    said = cli("dlq", "export", "--file", str(file), "--error", "luck")

    assert said == f"3 written to {file}\n"
    found = lines(file.read_text(encoding="utf-8"))
    assert {one["body"]["args"][0] for one in found} == {f"bad luck {n}" for n in range(3)}
    assert all(one["error"]["traceback"] and one["died_at_ms"] for one in found)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("replay",), "one of the three"),
        (("purge", "f0", "--all"), "one of the three"),
        (("replay", "f0", "--task", "t"), "one of the three"),
        (("replay", "--all", "--rate", "fast"), "is no rate"),
        (("replay", "--all", "--args", "3"), "give a JSON array"),
        (("list", "--since", "soon"), "is not a duration"),
        (("list", "--since", "2030-01-01T00:00:00"), "has no offset"),
        (("list", "--queue", "a.b"), "bad-token"),
    ],
)
def test_what_cannot_be_asked_exits_with_2(
    cli: CommandLine, words: tuple[str, ...], why: str
) -> None:
    """The fault is named, and nothing is done."""
    assert why in cli("dlq", *words, code=2)


def test_a_job_without_a_dead_letter_exits_with_3(cli: CommandLine) -> None:
    """Each command that names a job says so."""
    cli("setup")

    for words in (("show", "j"), ("replay", "j"), ("purge", "j", "--yes")):
        assert "no dead letter of job 'j'" in cli("dlq", *words, code=3)


def test_ctrl_c_and_again_replays_each_job_once(cli: CommandLine, app: str) -> None:
    """A slow replay that is interrupted goes on where it was."""
    bury(cli, app, 4)

    with cli.start("dlq", "replay", "--all", "--rate", "2/s") as program:
        interrupt(program)
    cli("dlq", "replay", "--all")

    until_sync(lambda: left(cli) == [], "no letter is left")
    states = [cli.state_of(f"f{number}-r1") for number in range(4)]
    assert states == ["pending"] * 4


def interrupt(program: Program) -> None:
    """Press Ctrl-C once something was done, before all is."""
    program.says("is replayed as")
    program.send(signal.SIGINT)
    assert program.ends() == 130
    assert program.log.count("is replayed as") < 4
