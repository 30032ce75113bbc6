"""What the forked processes run: a worker, or a program that enqueues, waits or operates."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

from support.failpoints import (
    acts,
    acts_of_archive,
    acts_of_delays,
    acts_of_keys,
    acts_of_repair,
    acts_of_schedules,
    acts_of_the_scheduler,
)
from support.failpoints.arming import HANG_S

from mesh import Mesh
from mesh.errors import BrokerError
from mesh.worker.loading import load_app
from mesh.worker.process import run_process
from mesh.worker.signals import StopSignals

log = logging.getLogger("tests.failpoints")

APP = f"{Path(__file__).parents[2] / 'apps' / 'failpoints.py'}:app"

ACT = "MESH_TEST_ACT"
"""The variable that names what a program does."""

PREFIX = "MESH_TEST_PREFIX"
"""The variable with the prefix of the ids of its jobs."""

BURST = "MESH_TEST_BURST"
"""The variable that has a worker end when its queues are empty."""

_TRIES = 5
_ACTS = (
    acts.ACTS
    | acts_of_archive.ACTS
    | acts_of_delays.ACTS
    | acts_of_keys.ACTS
    | acts_of_repair.ACTS
    | acts_of_schedules.ACTS
    | acts_of_the_scheduler.ACTS
)


def worker() -> int:
    """Run a worker of the test app, as ``mesh worker`` does."""
    logging.basicConfig(level=logging.INFO)
    app = load_app(APP)
    with StopSignals(exit_at=3) as signals:
        return int(run_process(app, APP, signals, is_burst=BURST in os.environ))


def client() -> int:
    """Do what the environment says; again after an error that the server is to blame for.

    A sane program does so: each act is safe to repeat.
    """
    logging.basicConfig(level=logging.INFO)
    app = load_app(APP)
    act = _ACTS[os.environ[ACT]]
    for _ in range(_TRIES):
        try:
            asyncio.run(_act(app, act))
        except* BrokerError as errors:
            log.warning("once more", exc_info=errors)
        else:
            return 0
    return 1


async def _act(app: Mesh, act: Any) -> None:
    async with asyncio.timeout(20 + 2 * float(os.environ[HANG_S])), app:
        await act(app, os.environ[PREFIX])
