"""``mesh scheduler``, and schedulers beside workers: who leads, and for how long."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import CommandLine

from mesh.clock import SYSTEM_CLOCK

APP = f"{Path(__file__).parents[1] / 'apps' / 'ticking.py'}:app"


def test_a_scheduler_that_is_told_to_stop_hands_over_at_once(cli: CommandLine) -> None:
    """The second one leads long before the lease of the first has passed; both exit with 0."""
    cli("setup", APP)
    with cli.start("scheduler", APP, MESH_SCHEDULER_LEASE="60s") as first:
        first.says("leading")
        with cli.start("scheduler", APP, MESH_SCHEDULER_LEASE="60s") as second:
            second.says("scheduler ready")
            assert "leading" not in second.log
            assert first.stop() == 0
            second.says("leading")
            assert second.stop() == 0


@pytest.mark.alone
def test_another_scheduler_takes_over_within_ten_seconds(cli: CommandLine) -> None:
    """The leader is killed, with the settings as they are by default."""
    cli("setup", APP)
    with cli.start("scheduler", APP) as first:
        first.says("leading")
        with cli.start("scheduler", APP) as second:
            second.says("scheduler ready")
            first.kill()
            killed = SYSTEM_CLOCK.monotonic()
            second.says("leading")
            took_s = SYSTEM_CLOCK.monotonic() - killed

    assert took_s < 10


def test_a_scheduler_says_what_to_do_where_nothing_is_set_up(cli: CommandLine) -> None:
    """Without streams it does not start."""
    assert "mesh setup" in cli("scheduler", APP, code=1)


def test_a_worker_can_keep_schedules_too(cli: CommandLine) -> None:
    """With --with-scheduler one process does both, and stops as one."""
    cli("setup", APP)
    with cli.start("worker", APP, "--with-scheduler") as worker:
        worker.says("leading")
        worker.says("worker ready")

        assert worker.stop() == 0


def test_a_worker_with_scheduler_says_what_is_not_set_up(cli: CommandLine) -> None:
    """The error is that of either, and not a group of both."""
    with cli.start("worker", APP, "--with-scheduler") as worker:
        assert worker.ends() == 1
        assert "run `mesh setup`" in worker.log
        assert "Traceback" not in worker.log


def test_mesh_dev_keeps_schedules(cli: CommandLine) -> None:
    """The worker that it starts leads."""
    with cli.start("dev", APP) as dev:
        dev.says("leading")

        assert dev.stop() == 0
