"""Which lanes a worker takes jobs from, and how many slots it has for them."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.app import Mesh
from mesh.contract.lifecycle import PRIORITIES
from mesh.policy.lanes import WEIGHTS, Feed, Lane
from mesh.settings.model import WorkerSettings
from mesh.tasks.options import Pool
from mesh.worker.attempt import Attempt


def computing_queues(app: Mesh, queues: Sequence[str]) -> list[str]:
    """Those of the queues whose tasks all run in the process pool."""
    default = app.settings.job_defaults.queue
    pools: dict[str, set[Pool]] = {}
    for task in app.tasks:
        pools.setdefault(task.options.queue or default, set()).add(task.options.pool)
    return [queue for queue in queues if pools.get(queue) == {Pool.PROCESS}]


def make_feeds(
    settings: WorkerSettings, queues: Sequence[str], computing: Sequence[str], children: int
) -> list[Feed[Attempt]]:
    """Give queues whose tasks all run in the process pool as many slots as it has children.

    A job fetched beyond that would wait here while another worker's child is idle.

    Args:
        settings: How many slots the others have.
        queues: All queues.
        computing: Those of the process pool.
        children: How many children it has.
    """
    others = [queue for queue in queues if queue not in computing]
    slots = ((others, settings.concurrency), (computing, children))
    return [
        Feed(_lanes(served), count, is_strict=settings.strict_priority)
        for served, count in slots
        if served
    ]


def _lanes(queues: Sequence[str]) -> list[Lane[Attempt]]:
    return [
        Lane(queue, priority, WEIGHTS[priority]) for queue in queues for priority in PRIORITIES
    ]
