"""`mesh bench` on a small scale: the figures are sane, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest
from support.waiting import until_sync

from mesh.bench.main import run
from mesh.bench.processes import BenchError, Drainer, memory_mib
from mesh.bench.report import Pace, Report, Round, WorkerFacts, percentile, summarise

pytestmark = pytest.mark.alone

JOBS = 200


@pytest.fixture(scope="module")
def measured() -> tuple[Report, list[str]]:
    """One small run, with the steps it announced; its settings are not those of the user."""
    steps: list[str] = []
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MESH_NAMESPACE", "not-this-one")
        environment.setenv("MESH_WORKER_CONCURRENCY", "not even a number")
        report = run(jobs=JOBS, rounds=1, on_step=steps.append)
        assert os.environ["MESH_NAMESPACE"] == "not-this-one"
    return report, steps


def test_every_figure_is_measured(measured: tuple[Report, list[str]]) -> None:
    """All figures are above zero, and each job of mesh has its result."""
    figures = msgspec.structs.asdict(measured[0])

    assert figures.pop("missing_results") == 0
    assert figures.pop("jobs") == JOBS
    assert [name for name, value in figures.items() if not value > 0] == []


def test_the_ratios_are_those_of_the_rates(measured: tuple[Report, list[str]]) -> None:
    """With one round a ratio is the quotient of the two rates beside it."""
    report = measured[0]

    enqueue_ratio = report.enqueue_per_s / report.raw_enqueue_per_s
    drain_ratio = report.drain_per_s / report.raw_drain_per_s

    assert report.enqueue_ratio == pytest.approx(enqueue_ratio, abs=0.001)
    assert report.drain_ratio == pytest.approx(drain_ratio, abs=0.001)
    assert report.roundtrip_p50_ms <= report.roundtrip_p99_ms


def test_each_step_is_announced(measured: tuple[Report, list[str]]) -> None:
    """Whoever waits is told what is being measured, mesh and the bare loop alike."""
    steps = measured[1]

    assert any("mesh: 200 jobs are drained" in step for step in steps)
    assert any("bare loop: 200 jobs are drained" in step for step in steps)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_process_behind(
    tmp_path: Path, stop: signal.Signals
) -> None:
    """However it is stopped in the middle, its server and its worker end with it."""
    code = (
        "from mesh.bench.main import run\n"
        "run(jobs=100_000, rounds=9, on_step=lambda step: print(step, flush=True))\n"
    )
    log = tmp_path / "steps"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=out, stderr=out)
    try:
        until_sync(lambda: "one after the other" in log.read_text(), "a worker runs", 30)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(stop)
        process.wait(20)
    finally:
        process.kill()
        process.wait()

    _, alive = psutil.wait_procs(family, timeout=10)
    assert len(family) == 4  # The server and the worker, each with its watchdog.
    assert alive == []


def test_a_run_of_nothing_is_refused() -> None:
    """Without jobs or rounds there is nothing to measure."""
    with pytest.raises(ValueError, match="not 0 and 3"):
        run(jobs=0, rounds=3, on_step=print)


def test_a_drainer_that_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    """The error names the exit code and holds what the process said."""
    command = [sys.executable, "-c", "raise SystemExit('no such luck')"]

    with (
        Drainer(command, os.environ, tmp_path / "log") as drainer,
        pytest.raises(BenchError, match=r"ended with code 1 .*\nno such luck"),
    ):
        until_sync(lambda: drainer.check() or False, "it has died")


def test_the_memory_of_a_process_is_known_without_psutil(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both ways to weigh a process agree."""
    with_psutil = memory_mib(os.getpid())

    monkeypatch.setitem(sys.modules, "psutil", None)

    assert memory_mib(os.getpid()) == pytest.approx(with_psutil, rel=0.2)


def test_figures_are_medians_and_losses_are_sums() -> None:
    """One slow round moves no figure, and one lost result is not hidden."""

    def one_round(mesh: float, raw: float, missing: int) -> Round:
        trips = [0.001, 0.002, 0.003]
        facts = WorkerFacts(startup_s=0.5, rss_mib=40.0, missing_results=missing)
        return Round(Pace(mesh, mesh, trips), facts, Pace(raw, raw, trips))

    report = summarise(10, [one_round(60, 100, 0), one_round(1, 2, 1), one_round(70, 100, 2)])

    assert (report.drain_per_s, report.raw_drain_per_s, report.drain_ratio) == (60, 100, 0.6)
    assert (report.roundtrip_p50_ms, report.startup_to_first_job_ms) == (2.0, 500.0)
    assert report.missing_results == 3


def test_percentiles_of_one_value_are_that_value() -> None:
    """The smallest run has one round trip."""
    assert percentile([7.0], 99) == 7.0
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
