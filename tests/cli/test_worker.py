"""``mesh worker``: signals, burst, queues, and what it says when it cannot start."""

from __future__ import annotations

import signal
import sys

import msgspec
import pytest
from support.command_line import CommandLine, Program
from support.waiting import until_sync

from mesh.errors import SettingsError
from mesh.worker.process import loop_factory


def hold(cli: CommandLine, job_id: str = "held", task: str = "hold") -> None:
    """Enqueue a job that runs until it is let go, and wait until it runs."""
    cli("enqueue", task, "--json", f'["{cli.folder}"]', "--job-id", job_id)
    until_sync((cli.folder / "started").exists, "the job runs")


def ready(worker: Program) -> None:
    """Wait until the worker takes jobs."""
    worker.says("worker ready")


def test_the_first_signal_lets_a_running_job_finish(cli: CommandLine, app: str) -> None:
    """After SIGTERM the job goes on to its end, its result is stored, and it exits with 0."""
    cli("setup", app)
    with cli.start("worker", app) as worker:
        ready(worker)
        hold(cli)
        worker.send(signal.SIGTERM)
        worker.says("stopping")
        cli("enqueue", "add", "--json", "[1, 1]", "--job-id", "left")
        (cli.folder / "go").touch()

        assert worker.ends() == 0
    assert cli.state_of("held") == "succeeded"
    assert cli.state_of("left") == "pending", "nothing new is taken once it stops"


def test_the_second_signal_hands_running_jobs_back(cli: CommandLine, app: str) -> None:
    """After a second Ctrl-C the job is there for others at once, and the exit code is 1."""
    cli("setup", app)
    with cli.start("worker", app) as worker:
        ready(worker)
        hold(cli)
        worker.send(signal.SIGINT)
        worker.says("stopping")
        worker.send(signal.SIGINT)

        assert worker.ends() == 1
    (cli.folder / "go").touch()
    with cli.start("worker", app, "--burst") as other:
        assert other.ends() == 0
    assert cli.json("status", "held", "--json")["attempt"] == 1, "a hand-back is no attempt"


def test_jobs_that_take_too_long_are_cut_short(cli: CommandLine, app: str) -> None:
    """When the drain timeout is over the job is handed back, and the exit code is 1."""
    cli("setup", app)
    with cli.start("worker", app, "--drain-timeout", "50ms") as worker:
        ready(worker)
        hold(cli)

        assert worker.stop() == 1
    assert cli.state_of("held") != "succeeded"


def test_a_thread_that_never_ends_does_not_keep_the_worker(cli: CommandLine, app: str) -> None:
    """A task that blocks its thread for good is left behind, and the process still ends."""
    cli("setup", app)
    with cli.start("worker", app, "--drain-timeout", "0") as worker:
        ready(worker)
        hold(cli, task="block")

        assert worker.stop() == 1


def test_the_third_signal_ends_a_worker_whose_loop_is_blocked(
    cli: CommandLine, app: str
) -> None:
    """Signals are heard while a task blocks the event loop, and the third ends the process."""
    cli("setup", app)
    with cli.start("worker", app) as worker:
        ready(worker)
        hold(cli, task="freeze")
        while worker.is_running:
            worker.send(signal.SIGINT)

        assert worker.ends() == 1


def test_a_burst_ends_when_the_queues_are_empty(cli: CommandLine, app: str) -> None:
    """With --burst the jobs that are there are run, and then it ends with 0."""
    cli("setup", app)
    for number in range(3):
        cli("enqueue", "add", "--json", "[1, 1]", "--job-id", f"j{number}")

    with cli.start("worker", app, "--burst") as worker:
        assert worker.ends() == 0

    assert [cli.state_of(f"j{number}") for number in range(3)] == ["succeeded"] * 3


def test_only_the_named_queues_are_served(cli: CommandLine, app: str) -> None:
    """With -q a job of another queue stays where it is."""
    cli("setup", app, "--queue", "mail")
    for queue in ("default", "mail"):
        cli("enqueue", "add", "--json", "[1, 1]", "-q", queue, "--job-id", queue)

    with cli.start("worker", app, "-q", "mail", "--burst", "--json", "-c", "1") as worker:
        assert worker.ends() == 0

    assert cli.state_of("mail") == "succeeded"
    assert cli.state_of("default") == "pending"
    logged = [msgspec.json.decode(line) for line in worker.log.splitlines()]
    assert logged[0]["message"] == "worker ready"
    assert logged[0]["queues"] == ["mail"]


def test_a_namespace_that_is_not_set_up_is_said_to_be_so(cli: CommandLine, app: str) -> None:
    """A worker without streams names the command that creates them."""
    assert "run `mesh setup`" in cli("worker", app, code=1)


def test_an_event_loop_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without uvloop, settings that ask for it are refused with the way to install it."""
    monkeypatch.setitem(sys.modules, "uvloop", None)

    assert loop_factory("asyncio") is None
    with pytest.raises(SettingsError, match="pip install uvloop"):
        loop_factory("uvloop")


@pytest.mark.parametrize(
    ("source", "reference", "why"),
    [
        ("", "absent.py:app", "there is no file"),
        ("", "no.such.module:app", "there is no module"),
        ("jobs = 1", "app.py", "it has no Mesh object"),
        ("app = 1", "app.py", "is a int, not a Mesh app"),
        ("import mesh.nothing", "app.py", "No module named 'mesh.nothing'"),
        ("def broken(:", "app.py", "SyntaxError"),
        ("1 / 0", "app.py", "ZeroDivisionError: division by zero"),
    ],
)
def test_an_app_that_cannot_be_loaded_exits_with_2(
    cli: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    reference: str,
    why: str,
) -> None:
    """The message names the app and the fault, in the user's file and not in mesh's."""
    monkeypatch.chdir(cli.folder)
    (cli.folder / "app.py").write_text(source)

    said = cli("worker", reference, code=2)

    assert why in said
    assert "mesh/worker/loading.py" not in said
    assert "Traceback" not in said


def test_a_broken_app_names_its_own_line(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line of the user's file that failed is shown, as text and in JSON."""
    monkeypatch.chdir(cli.folder)
    (cli.folder / "app.py").write_text("x = 1\ny = x / 0\n")

    said = cli("worker", "app.py:app", code=2)
    error = cli.json("worker", "app.py:app", "--json", code=2)

    assert 'app.py", line 2' in said
    assert error["error"] == "AppBrokenError"
    assert "ZeroDivisionError" in error["message"]
