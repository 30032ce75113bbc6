"""Three schedulers, of which the one that leads is frozen and goes on: each tick has one job.

TICKS says how many ticks there are; 10,000 are played by hand.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from support.command_line import CommandLine, Program
from support.schedules import at, put
from support.waiting import until_sync

from mesh import Mesh
from mesh.clock import SYSTEM_CLOCK
from mesh.policy.schedule_ticks import tick_job_id

TICKS = int(os.environ.get("TICKS", "300"))
PER_SECOND = max(50, TICKS // 20)
LEASE_S = 2.0
LIMIT_S = 60.0 + TICKS / 50
APP = f"{Path(__file__).parents[1] / 'apps' / 'ticking.py'}:app"
SETTINGS = {
    "MESH_SCHEDULER_LEASE": f"{LEASE_S}s",
    # So that somebody must lead all the time.
    "MESH_SCHEDULER_ARM_AHEAD": "1s",
    "MESH_SCHEDULER_MISFIRE_GRACE": "60s",
}


async def declare(cli: CommandLine, begin_ms: int) -> set[str]:
    """Make schedules with a tick a second each; the ids of all their jobs."""
    expected: set[str] = set()
    url, namespace = cli.environment["MESH_URL"], cli.environment["MESH_NAMESPACE"]
    async with Mesh(url, namespace=namespace) as mesh:
        client = await mesh.client()
        for number in range(PER_SECOND):
            moments = [begin_ms + 1000 * n for n in range(-(-(TICKS - number) // PER_SECOND))]
            await put(client, f"s{number}", at(*moments))
            expected |= {tick_job_id(f"s{number}", moment) for moment in moments}
    return expected


def leader_of(schedulers: list[Program]) -> Program:
    """The one that leads."""
    until_sync(lambda: any("leading" in one.log for one in schedulers), "one leads", LIMIT_S)
    return next(one for one in schedulers if "leading" in one.log)


def test_no_tick_is_lost_or_doubled_by_a_leader_that_is_frozen(cli: CommandLine) -> None:
    """It is stopped for twice its lease in the middle of its work, and then goes on."""
    cli("setup", APP)
    effects = cli.folder / "effects"
    effects.touch()
    with ExitStack() as stack:
        worker = stack.enter_context(cli.start("worker", APP, EFFECTS=str(effects)))
        worker.says("worker ready")
        schedulers = [
            stack.enter_context(cli.start("scheduler", APP, **SETTINGS)) for _ in range(3)
        ]
        for one in schedulers:
            one.says("scheduler ready")
        leader = leader_of(schedulers)
        expected = asyncio.run(declare(cli, SYSTEM_CLOCK.now_ms() + 2000))
        until_sync(lambda: ran(effects).total() > PER_SECOND, "ticks have come", LIMIT_S)
        leader.send(signal.SIGSTOP)
        others = [one for one in schedulers if one is not leader]
        frozen = SYSTEM_CLOCK.monotonic()
        leader_of(others)
        until_sync(
            lambda: SYSTEM_CLOCK.monotonic() - frozen > 2 * LEASE_S, "the time is over", LIMIT_S
        )
        leader.send(signal.SIGCONT)
        leader.says("no longer the leader")
        until_sync(lambda: len(ran(effects)) >= TICKS, "every tick has run", LIMIT_S)
        assert [one.stop() for one in schedulers] == [0, 0, 0]
        assert worker.stop() == 0

    assert len(expected) == TICKS
    assert ran(effects) == Counter(expected), "each once, and no other"


def ran(effects: Path) -> Counter[str]:
    """How often each job has run."""
    return Counter(effects.read_text(encoding="utf-8").split())
