"""``mesh scheduler``: keep the schedules of an app's namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mesh.cli.options import connects, prints
from mesh.cli.output import Output
from mesh.cli.target import Target
from mesh.worker.exits import Exit

if TYPE_CHECKING:
    from mesh.app import Mesh
    from mesh.worker.signals import StopSignals


@click.command
@click.argument("reference", metavar="APP")
@connects
@prints
def scheduler(*, output: Output, target: Target, reference: str) -> Exit:
    """Arm the ticks of schedules.

    APP is module:name or file.py:name; the schedules that it declares are stored first. Run as
    many as you like: one leads, and another takes over within ten seconds when it dies. SIGTERM
    or Ctrl-C has it hand over at once. Exits with 0 when told to stop.
    """
    import asyncio

    from mesh.cli.logs import set_up_logging
    from mesh.worker.signals import StopSignals

    app = target.app(reference)
    set_up_logging(app.settings, is_json=output.is_json)
    with StopSignals(exit_at=3) as signals:
        asyncio.run(_serve(app, signals))
    return Exit.OK


async def _serve(app: Mesh, signals: StopSignals) -> None:
    import asyncio

    from mesh.scheduler.scheduler import Scheduler

    stop = asyncio.Event()
    signals.tell(lambda _count: stop.set())
    try:
        await Scheduler(app).run(stop)
    finally:
        await app.close()
