"""enqueue, status, result, watch and cancel: what they print and how they exit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from support.command_line import CommandLine, tear_down
from support.waiting import until_sync

from mesh.server.process import EmbeddedServer


@pytest.fixture(scope="module")
def busy_namespace(
    server: EmbeddedServer, app: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A namespace with a worker that serves all tests of this module."""
    namespace = f"t{os.getpid()}-jobs"
    started = CommandLine(server.url, namespace, tmp_path_factory.mktemp("jobs"), None)
    started("setup", app)
    with started.start("worker", app, "--drain-timeout", "0") as worker:
        worker.says("worker ready")
        yield namespace
        worker.stop()
    asyncio.run(tear_down(server.url, namespace))


@pytest.fixture
def working(
    server: EmbeddedServer,
    busy_namespace: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> CommandLine:
    """The command line with a worker at its side."""
    return CommandLine(server.url, busy_namespace, tmp_path, capfd)


def held(cli: CommandLine) -> str:
    """Enqueue a job that runs until it is let go; return its id once it runs."""
    job_id = cli("enqueue", "hold", "--json", f'["{cli.folder}"]').strip()
    until_sync((cli.folder / "started").exists, "the job runs")
    until_sync(lambda: cli.state_of(job_id) == "running", "its record says so")
    return job_id


def test_a_job_is_enqueued_by_the_name_of_its_task_and_waited_for(
    working: CommandLine,
) -> None:
    """Arguments go by position or by name, and the result is printed as JSON."""
    by_position = working("enqueue", "add", "--json", "[1, 2]", "--wait")
    by_name = working.json(
        "enqueue", "add", "--json", '{"a": 3, "b": 4}', "--wait", "--output", "json"
    )

    assert by_position == "3\n"
    assert by_name["result"] == 7
    assert working.state_of(by_name["job_id"]) == "succeeded"
    assert working("result", by_name["job_id"]) == "7\n"
    assert by_name.pop("is_duplicate") is False
    assert working.json("result", by_name["job_id"], "--json") == by_name


def test_a_job_that_is_enqueued_twice_is_told_so(working: CommandLine) -> None:
    """With the same id, or unique and not ended: stdout has the id, stderr the news."""
    arguments = ("enqueue", "add", "--json", "[5, 6]", "--unique", "--delay", "60")

    first = working("enqueue", "add", "--json", "[1, 2]", "--id", "sum", "--wait")
    second = working("enqueue", "add", "--json", "[3, 4]", "--job-id", "sum", "--wait")
    told = working.json("enqueue", "add", "--id", "sum", "--output", "json")
    alone = working(*arguments)
    again = working(*arguments)
    with working.start("enqueue", "add", "--id", "sum") as program:
        assert program.ends() == 0

    assert (first, second) == ("3\n", "3\n")
    assert told == {"job_id": "sum", "is_duplicate": True}
    assert again == alone
    assert "Job sum was there already; nothing was enqueued." in program.log
    working("cancel", alone.strip())


def test_a_job_that_fails_makes_the_command_fail(working: CommandLine) -> None:
    """Waiting for a failed job exits with 1 and says why; its status says so too."""
    said = working(
        "enqueue", "fail", "--json", '["no luck"]', "--wait", "--job-id", "f", code=1
    )

    assert "ValueError: no luck" in said
    assert "Traceback" not in said
    assert "ValueError: no luck" in working("status", "f")
    assert "ValueError: no luck" in working("result", "f", code=1)
    error = working.json("result", "f", "--json", code=1)
    assert error["error"] == "JobFailedError"


def test_a_running_job_is_watched_line_by_line(working: CommandLine) -> None:
    """Each change is a line, or a JSON object; the last one tells how it ended."""
    job_id = held(working)
    with working.start("watch", job_id) as words, working.start("watch", job_id, "--json") as j:
        words.says("running 1/2 holding")
        j.says('"state":"running"')
        (working.folder / "go").touch()

        assert words.ends() == 0
        assert j.ends() == 0
        assert words.log.splitlines() == ["running 1/2 holding", "succeeded"]
        states = [msgspec.json.decode(line)["state"] for line in j.log.splitlines()]
        assert states == ["running", "succeeded"]


def test_a_running_job_is_watched_as_a_bar_on_a_terminal(
    working: CommandLine,
) -> None:
    """On a terminal the line is drawn anew, without colours where they are not wanted."""
    job_id = held(working)
    ours, theirs = pty.openpty()
    environment = os.environ | working.environment | {"NO_COLOR": "1", "TERM": "xterm"}
    words = [sys.executable, "-m", "mesh", "watch", job_id]
    with subprocess.Popen(words, stdout=theirs, stderr=theirs, env=environment) as watching:
        os.close(theirs)
        drawn = os.read(ours, 65_536)
        (working.folder / "go").touch()
        with contextlib.suppress(OSError):  # How a terminal says that nobody writes any more.
            while more := os.read(ours, 65_536):
                drawn += more
    os.close(ours)

    assert b"\x1b[?25l" in drawn, "the cursor is hidden while a bar is drawn"
    assert b"\x1b[3" not in drawn, "NO_COLOR switches colours off"
    assert watching.returncode == 0


def test_ctrl_c_ends_a_watch_and_not_the_job(working: CommandLine) -> None:
    """Ctrl-C exits with 130 and leaves the job alone."""
    job_id = held(working)
    with working.start("watch", job_id) as watching:
        watching.says("running")
        watching.send(signal.SIGINT)

        assert watching.ends() == 130
        assert "Traceback" not in watching.log
    assert working.state_of(job_id) == "running"


def test_a_running_job_is_cancelled_once(working: CommandLine) -> None:
    """A cancelled job says why; to wait for it, or to cancel what has ended, exits with 1."""
    job_id = held(working)

    first = working.json("cancel", job_id, "--reason", "not needed", "--json")

    assert first == {"job_id": job_id, "cancelled": True, "state": "cancelled"}
    assert "not needed" in working("result", job_id, code=1)
    assert working("watch", job_id, code=1) == "cancelled not needed\n"
    ended = working("enqueue", "add", "--json", "[1, 1]", "--wait", "--output", "json")
    again = working("cancel", msgspec.json.decode(ended)["job_id"], code=1)
    assert "had ended before: it is succeeded" in again


def test_a_wait_that_takes_too_long_exits_with_5(cli: CommandLine) -> None:
    """A job that nobody runs keeps neither enqueue nor result waiting beyond their time."""
    cli("setup")

    late = cli("enqueue", "add", "--job-id", "j", "--wait-timeout", "50ms", code=5)

    assert "'j' had not ended after 0.05 s" in late
    assert "had not ended" in cli("result", "j", "--timeout", "0", code=5)


def test_a_job_that_is_not_known_exits_with_3(cli: CommandLine) -> None:
    """Every command about a job says that there is none."""
    cli("setup")

    for command in ("status", "result", "watch", "cancel"):
        assert "'nosuch' is not known" in cli(command, "nosuch", code=3)
        error = cli.json(command, "nosuch", "--output", "json", code=3)
        assert error["error"] == "JobNotFoundError"
        assert "'nosuch' is not known" in error["message"]


def test_the_options_of_enqueue_reach_the_job(cli: CommandLine) -> None:
    """Queue, priority and delay are seen in the job's status."""
    cli("setup", "--queue", "mail")

    cli("enqueue", "t", "-q", "mail", "--priority", "high", "--job-id", "now", "--retry", "2")
    cli("enqueue", "t", "--eta", "2126-01-01T00:00:00Z", "--job-id", "later")
    cli("enqueue", "t", "--delay", "1h", "--job-id", "soon", "--timeout", "5s")
    cli("enqueue", "t", "--soft-timeout", "4s", "--deadline", "1h", "--job-id", "limited")
    cli("enqueue", "t", "--deadline", "2126-01-01T00:00:00Z", "--job-id", "until")

    now = cli.json("status", "now", "--json")
    assert (now["state"], now["queue"], now["priority"]) == ("pending", "mail", "high")
    assert cli.json("status", "later", "--json")["due_at_ms"] == 4_922_899_200_000
    assert cli.state_of("soon") == "scheduled"
    assert "due_at" in cli("status", "later")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--json", "{"), "give a JSON array"),
        (("--json", "3"), "give a JSON array"),
        (("--delay", "soon"), "is not a duration"),
        (("--eta", "2030-01-01T00:00:00"), "has no offset"),
        (("--eta", "tomorrow"), "is no ISO 8601 time"),
        (("--delay", "1s", "--eta", "2030-01-01T00:00:00Z"), "not both"),
        (("--timeout", "5s", "--soft-timeout", "5s"), "not shorter than the timeout"),
        (("--delay", "2h", "--deadline", "1h"), "due only when its deadline has passed"),
        (("--deadline", "soon"), "is no ISO 8601 time"),
        (("--job-id", "a.b"), "bad-token"),
        (("--priority", "urgent"), "urgent"),
    ],
)
def test_what_cannot_be_enqueued_exits_with_2(
    cli: CommandLine, words: tuple[str, ...], why: str
) -> None:
    """A wrong option is named, and nothing is sent."""
    assert why in cli("enqueue", "t", *words, code=2)


def test_arguments_are_read_from_stdin(working: CommandLine, tmp_path: Path) -> None:
    """With ``--json -`` the arguments may be larger than a command line."""
    program = [sys.executable, "-m", "mesh", "enqueue", "add", "--json", "-", "--wait"]

    done = subprocess.run(
        program,
        input=b"[20, 22]",
        capture_output=True,
        env=os.environ | working.environment,
        check=True,
        cwd=tmp_path,
    )

    assert done.stdout == b"42\n"


def test_a_delayed_job_is_moved_and_runs_now(working: CommandLine) -> None:
    """What was done is printed; a job that has ended is not moved."""
    working("enqueue", "add", "--json", "[1, 2]", "--delay", "1h", "--job-id", "moved")

    told = working("job", "reschedule", "moved", "--eta", "2126-01-01T00:00:00Z")
    assert told == "job moved is due at 2126-01-01T00:00:00.000+00:00\n"
    moved = working.json("job", "reschedule", "moved", "--delay", "2h", "--json")
    assert moved["due_at_ms"] < 4_922_899_200_000
    assert working("job", "run-now", "moved") == "job moved runs now\n"
    assert working("result", "moved", "--timeout", "20s") == "3\n"

    assert "has succeeded" in working("job", "run-now", "moved", code=1)
    assert "has succeeded" in working("job", "reschedule", "moved", "--delay", "1h", code=1)


def test_a_job_that_is_ready_need_not_be_moved(cli: CommandLine) -> None:
    """To run it now is done already; to move it is refused."""
    cli("setup")
    cli("enqueue", "t", "--job-id", "ready")

    assert "did not wait any more" in cli("job", "run-now", "ready")
    assert cli.json("job", "run-now", "ready", "--json") == {"job_id": "ready", "moved": False}
    assert "it is ready" in cli("job", "reschedule", "ready", "--delay", "1h", code=1)
    assert "not both" in cli("job", "reschedule", "ready", code=2)
    assert "is not known" in cli("job", "run-now", "nosuch", code=3)


def test_a_job_that_waits_is_changed(cli: CommandLine, app: str) -> None:
    """It runs with the new arguments; an edit of a job that has ended is refused."""
    cli("setup", app)
    cli("enqueue", "add", "--json", "[1, 2]", "--job-id", "e")

    edited = cli.json("job", "edit", "e", "--args", "[3, 4]", "--to-priority", "high", "--json")
    nothing = cli("job", "edit", "e", code=2)
    with cli.start("worker", app) as worker:
        worker.says("worker ready")
        assert cli("result", "e", "--timeout", "20s") == "7\n"
        worker.stop()
    ended = cli("job", "edit", "e", "--args", "[5, 6]", code=1)

    assert edited == {"job_id": "e", "queue": "default", "priority": "high"}
    assert "--to-queue" in nothing
    assert "cannot be changed any more" in ended
