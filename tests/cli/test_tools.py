"""``mesh contract``, ``bench`` and ``demo``: what the command line makes of their answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import mesh.bench.main
import mesh.demo.main
from mesh.bench.report import Report
from mesh.cli.main import run

FIGURES = {
    "enqueue_per_s": 80_000.4,
    "raw_enqueue_per_s": 100_000.0,
    "enqueue_ratio": 0.8,
    "drain_per_s": 38_000.0,
    "raw_drain_per_s": 50_000.0,
    "drain_ratio": 0.76,
    "roundtrip_p50_ms": 0.5,
    "roundtrip_p99_ms": 2.0,
    "raw_roundtrip_p50_ms": 0.3,
    "worker_rss_mib": 40.0,
    "startup_to_first_job_ms": 400.0,
    "jobs": 12_000,
    "missing_results": 0,
}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A bench that takes no time; what it was asked for is kept."""
    asked: list[tuple[int, int]] = []

    def measure(*, jobs: int, rounds: int, on_step: Callable[[str], None]) -> Report:
        on_step("pretending")
        asked.append((jobs, rounds))
        return Report(**FIGURES)  # pyright: ignore[reportArgumentType] - each has its own type

    monkeypatch.setattr(mesh.bench.main, "run", measure)
    return asked


def test_figures_are_a_table_or_json(
    measured: list[tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    """People get rounded figures in rows, programs get all of them."""
    assert run(["bench"]) == 0
    words = capsys.readouterr()
    assert run(["bench", "--jobs", "12000", "--rounds", "1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)

    assert measured == [(20_000, 3), (12_000, 1)]
    rows = dict(line.split() for line in words.out.splitlines())
    assert (rows["enqueue_per_s"], rows["enqueue_ratio"], rows["jobs"]) == (
        "80,000",
        "0.80",
        "12,000",
    )
    assert words.err == "", "steps are told at a terminal only"
    assert figures == FIGURES


def test_the_contract_is_written_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was just written fits; after a change the check names it and exits with 1."""
    folder = tmp_path / "subjects"
    assert run(["contract", "write", str(folder), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["written"]
    assert run(["contract", "check", str(folder)]) == 0
    capsys.readouterr()

    Path(written[0]).write_text("other")

    assert run(["contract", "check", str(folder)]) == 1
    said = capsys.readouterr().out
    assert Path(written[0]).name in said
    assert "mesh contract write" in said
    assert run(["contract", "check", str(folder), "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["differences"]) == 1


def test_the_demo_says_how_it_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its exit code is that of the command, and the folder reaches it."""
    shown: list[Path | None] = []

    def show(folder: Path | None) -> int:
        shown.append(folder)
        return 0 if folder else 1

    monkeypatch.setattr(mesh.demo.main, "run", show)

    assert run(["demo"]) == 1
    assert run(["demo", str(tmp_path)]) == 0
    assert shown == [None, tmp_path]
