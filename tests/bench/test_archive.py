"""`mesh bench --archive` on a small scale: the figures are sane, and nothing is missing."""

from __future__ import annotations

import pytest

from mesh.bench.archive import run
from mesh.cli.main import run as run_mesh


def test_a_small_ledger_is_archived_whole() -> None:
    """Every event and every job of the measured ledger is in the database afterwards."""
    steps: list[str] = []

    report = run(jobs=300, rounds=1, on_step=steps.append)

    assert report.events == 600
    assert report.missing == 0
    assert report.archive_per_s > 0
    assert report.writer_per_s > 0
    assert report.bytes_per_event > 0
    assert any("round 1 of 1" in step for step in steps)


@pytest.mark.parametrize(
    "options", [("--crash", "--archive"), ("--database", "postgresql://x")]
)
def test_options_that_do_not_belong_together_are_refused(
    options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says what to leave out, and nothing is measured."""
    assert run_mesh(["bench", *options]) == 2

    assert "--archive" in capsys.readouterr().err
