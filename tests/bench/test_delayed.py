"""`mesh bench --delayed` and `--outage` on a small scale, and the figures they print."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.bench import delayed
from mesh.bench.delayed import Arrivals
from mesh.bench.report import DelayedReport, OutageReport
from mesh.cli.main import run

pytestmark = pytest.mark.alone


def test_delayed_jobs_are_punctual() -> None:
    """None is early or missing, and half of them start within a few turns of the timer."""
    steps: list[str] = []

    report = delayed.run(jobs=50, on_step=steps.append)

    assert (report.early, report.missing, report.jobs) == (0, 0, 50)
    assert 0 <= report.lateness_p50_ms <= report.lateness_p99_ms <= report.lateness_max_ms
    assert report.lateness_p50_ms < 125, "a server alone would be as late as that"
    assert "they come due" in steps


def test_jobs_that_come_due_in_an_outage_run_once() -> None:
    """Each runs when the server is back."""
    report = delayed.run_outage(jobs=100, outage_s=1.0, on_step=lambda _step: None)

    assert (report.missing, report.doubled, report.jobs) == (0, 0, 100)
    assert report.outage_s > 1.0
    assert report.excess_s < 10.0


def test_the_first_start_of_a_job_counts(tmp_path: Path) -> None:
    """A second one is a job that ran twice; a line cut short is not read."""
    arrivals = Arrivals(tmp_path / "arrivals")
    assert (arrivals.first(), arrivals.doubled()) == ({}, 0)

    arrivals.path.write_text("1 5000000\n2 6000000\n1 7000000\n3 8")

    assert arrivals.first() == {1: 5.0, 2: 6.0}
    assert arrivals.doubled() == 1


def test_the_figures_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each flag prints its own figures; one at a time, and without the sizes of others."""

    def measure(*, on_step: Callable[[str], None]) -> DelayedReport:
        on_step("pretending")
        return DelayedReport(
            lateness_p50_ms=1.5,
            lateness_p99_ms=2.5,
            lateness_max_ms=3.5,
            early=0,
            missing=0,
            jobs=9,
        )

    def kill(*, on_step: Callable[[str], None]) -> OutageReport:
        on_step("pretending")
        return OutageReport(outage_s=5.5, excess_s=0.5, missing=0, doubled=0, jobs=9)

    monkeypatch.setattr(delayed, "run", measure)
    monkeypatch.setattr(delayed, "run_outage", kill)

    assert run(["bench", "--delayed", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lateness_p99_ms"] == 2.5
    assert run(["bench", "--outage", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["excess_s"] == 0.5
    assert run(["bench", "--outage", "--crash"]) == 2
    assert "give one of --crash, --outage" in capsys.readouterr().err
    assert run(["bench", "--delayed", "--rounds", "2"]) == 2
