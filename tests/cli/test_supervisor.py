"""Several worker processes: what dies is replaced, and nothing is left of what stops."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

import anyio
import psutil
import pytest
from support.command_line import CommandLine, Program
from support.waiting import until, until_sync

from mesh.worker.exits import Exit
from mesh.worker.signals import StopSignals
from mesh.worker.supervisor import Backoff, Next, Supervisor, what_next


def both_ready(program: Program) -> list[psutil.Process]:
    """Wait until two worker processes take jobs; return them."""
    program.says("worker ready", times=2)
    return program.workers()


def hold(cli: CommandLine) -> int:
    """Enqueue a job that runs until it is let go; return the process that runs it."""
    cli("enqueue", "hold", "--json", f'["{cli.folder}"]', "--job-id", "held")
    started = cli.folder / "started"
    until_sync(lambda: started.exists() and bool(started.read_text()), "the job runs")
    return int(started.read_text())


def test_pauses_grow_and_a_long_life_makes_them_short_again() -> None:
    """The first restart is quick, the tenth waits for five seconds, a long life is forgiven."""
    backoff = Backoff()

    pauses = [backoff.after(1) for _ in range(10)]

    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == 5.0
    assert backoff.after(11) == 0.1


@pytest.mark.parametrize(
    ("code", "is_burst", "can_reload", "expected"),
    [
        (0, False, False, Next.RESTART),
        (-9, False, False, Next.RESTART),
        (4, False, False, Next.RESTART),
        (0, True, False, Next.LEAVE),
        (4, True, False, Next.LEAVE),
        (-9, True, False, Next.RESTART),
        (2, False, True, Next.AWAIT_CHANGE),
        (1, False, True, Next.RESTART),
    ],
)
def test_what_is_done_about_a_process_that_ended(
    code: int, *, is_burst: bool, can_reload: bool, expected: Next
) -> None:
    """It is replaced, unless its work is done or the same files would fail again."""
    assert what_next(code, is_burst=is_burst, can_reload=can_reload) is expected


async def test_a_process_that_always_dies_is_not_restarted_in_a_hot_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each restart waits longer than the one before, and a signal ends the waiting."""
    supervisor = Supervisor(
        lambda _, __: [sys.executable, "-c", "raise SystemExit(1)"], count=1, grace_s=1
    )
    code: Exit | None = None
    with StopSignals() as signals, caplog.at_level(logging.WARNING, "mesh.supervisor"):
        async with anyio.create_task_group() as group:

            async def stop_after_three() -> None:
                await until(lambda: len(caplog.records) == 3, "it was restarted three times")
                os.kill(os.getpid(), signal.SIGTERM)

            group.start_soon(stop_after_three)
            code = await supervisor.run(signals)

    assert [vars(record)["pause_s"] for record in caplog.records] == [0.1, 0.2, 0.4]
    assert code == Exit.OK
    assert supervisor.pids == []


async def test_a_process_that_ignores_signals_is_killed(tmp_path: Path) -> None:
    """The third signal kills what the first two could not stop, and the code says so."""
    ready = tmp_path / "ready"
    deaf = (
        "import pathlib, signal, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "while True: signal.pause()\n"
    )
    supervisor = Supervisor(
        lambda _, __: [sys.executable, "-c", deaf, str(ready)], count=1, grace_s=60
    )
    code: Exit | None = None
    with StopSignals() as signals:
        async with anyio.create_task_group() as group:

            async def stop_it() -> None:
                await until(ready.exists, "the process ignores signals")
                for count in (1, 2, 3):
                    os.kill(os.getpid(), signal.SIGINT)
                    await until(lambda n=count: signals.count == n, "the signal came")

            group.start_soon(stop_it)
            code = await supervisor.run(signals)

    assert code == Exit.FAILED
    assert supervisor.pids == []


def test_a_killed_process_is_replaced_and_no_job_is_lost(cli: CommandLine, app: str) -> None:
    """After kill -9 of the process with the job, another takes its place and the job ends."""
    cli.environment |= {"MESH_WORKER_ACK_WAIT": "1s", "MESH_WORKER_HEARTBEAT": "200ms"}
    cli("setup", app)
    with cli.start("worker", app, "--processes", "2") as program:
        both_ready(program)
        killed = psutil.Process(hold(cli))
        killed.kill()
        program.says("worker ready", times=3)
        (cli.folder / "go").touch()

        ran_by = cli.json("result", "held", "--timeout", "15s")
        now = [worker.pid for worker in program.workers()]

        assert len(now) == 2
        assert killed.pid not in now
        assert ran_by in now
        assert program.stop() == 0
    assert f"pid={killed.pid}  exit_code=-9" in program.log


def test_a_stop_reaches_all_processes_and_lets_jobs_finish(cli: CommandLine, app: str) -> None:
    """One Ctrl-C drains every process and counts once; the supervisor waits, then exits 0."""
    cli("setup", app)
    with cli.start("worker", app, "--processes", "2") as program:
        workers = both_ready(program)
        hold(cli)
        os.killpg(program.process.pid, signal.SIGINT)  # As a terminal does: to all it sees.
        program.says("stopping", times=3)
        (cli.folder / "go").touch()

        assert program.ends() == 0
        assert not [worker for worker in workers if worker.is_running()]
    assert cli.state_of("held") == "succeeded"


def test_workers_do_not_outlive_a_supervisor_that_is_killed(cli: CommandLine, app: str) -> None:
    """After kill -9 of the supervisor its workers drain and end by themselves."""
    cli("setup", app)
    with cli.start("worker", app, "--processes", "2") as program:
        both_ready(program)

        _, alive = psutil.wait_procs(program.kill(), timeout=10)

        assert not alive
    assert program.log.count("the supervisor is gone") == 2


def test_a_burst_of_several_processes_ends(cli: CommandLine, app: str) -> None:
    """When the queues are empty every process ends, and so does the supervisor, with 0."""
    cli("setup", app)
    cli("enqueue", "add", "--json", "[1, 1]", "--job-id", "j")

    with cli.start("worker", app, "--burst", "--processes", "2") as program:
        assert program.ends() == 0

    assert cli.state_of("j") == "succeeded"


def test_a_broken_app_is_named_once_before_any_process_starts(cli: CommandLine) -> None:
    """With several processes an import error is one message and exit code 2, not a loop."""
    (cli.folder / "app.py").write_text("1 / 0")

    with cli.start("worker", "app.py", "--processes", "2") as program:
        assert program.ends() == 2

    assert program.log.count("ZeroDivisionError") == 1
