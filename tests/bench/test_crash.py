"""`mesh bench --crash` on a small scale: every job of the killed worker ends, each once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.running import RunningApp
from support.waiting import until

from mesh.bench import crash
from mesh.bench.crash import Effects, recorded_twice
from mesh.bench.processes import BenchError
from mesh.bench.report import CrashReport
from mesh.cli.main import run

pytestmark = pytest.mark.alone

QUICK = {"MESH_WORKER_ACK_WAIT": "1.5s", "MESH_WORKER_HEARTBEAT": "0.3s"}


def test_the_jobs_of_a_killed_worker_end_once_at_another() -> None:
    """They come back when the ack wait is over, not before and not much later."""
    steps: list[str] = []

    report = crash.run(jobs=5, job_s=0.6, settings=QUICK, on_step=steps.append)

    assert (report.crash_lost, report.crash_doubled) == (0, 0)
    assert 1.0 < report.crash_recovered_s < 8.0
    assert "the worker is killed; another one starts" in steps


def test_jobs_that_do_not_come_back_in_time_are_lost() -> None:
    """With an ack wait beyond the limit no job has a record when the wait is over."""
    report = crash.run(
        jobs=3,
        job_s=0.6,
        limit_s=1.5,
        settings=QUICK | {"MESH_WORKER_ACK_WAIT": "6s"},
        on_step=lambda _step: None,
    )

    assert report.crash_lost == 3
    assert report.crash_recovered_s == 1.5


def test_a_job_that_starts_after_its_end_ran_again(tmp_path: Path) -> None:
    """A second start alone is what a crash leads to; a line cut short is not read."""
    effects = Effects(tmp_path / "effects")
    assert effects.started() == 0

    effects.path.write_text("start 1\nstart 2\nstart 1\nend 1\nend 2\nstart 2\nend 1\nstart 3")

    assert effects.started() == 2
    assert effects.ran_again() == {2}
    with pytest.raises(BenchError, match="3 jobs ended before the worker was killed"):
        effects.check_none_ended()


async def test_a_second_terminal_record_is_noticed(mesh: RunningApp) -> None:
    """Though the bucket keeps only the newest, and no job of the others is accused."""

    @mesh.app.task
    async def work() -> int:
        return 1

    async with mesh.worker():
        jobs = [await work.enqueue(), await work.enqueue()]
        for job in jobs:
            await job.result(timeout=30)
    client = await mesh.client()

    assert await recorded_twice(client, jobs) == set()
    await mesh.publish(f"$KV.{client.names.results_bucket}.{jobs[1].id}", b"{}")

    async def is_noticed() -> bool:
        return await recorded_twice(client, jobs) == {jobs[1].id}

    await until(is_noticed, "the second record is noticed")


def test_the_figures_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command prints the figures of the crash, and no others."""

    def measure(*, on_step: Callable[[str], None]) -> CrashReport:
        on_step("pretending")
        return CrashReport(10.5, 1, 2)

    monkeypatch.setattr(crash, "run", measure)

    assert run(["bench", "--crash", "--json"]) == 0

    figures = json.loads(capsys.readouterr().out)
    assert run(["bench", "--crash", "--jobs", "3"]) == 2, "it would not have that many jobs"
    assert figures == {"crash_recovered_s": 10.5, "crash_lost": 1, "crash_doubled": 2}
