"""``mesh exporter``: tell Prometheus what queues and streams hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mesh.cli.options import connects, duration, prints
from mesh.cli.output import Output
from mesh.cli.target import Target
from mesh.worker.exits import Exit

if TYPE_CHECKING:
    from mesh.app import Mesh
    from mesh.exporter.exporter import Exporter
    from mesh.worker.signals import StopSignals


@click.command
@click.option("--port", type=click.IntRange(0, 65535), default=9465, help="0: any free one.")
@click.option("--host", default="127.0.0.1", help="The address to serve on.")
@click.option(
    "--every", type=duration, default="5s", metavar="DURATION", help="How often to look."
)
@connects
@prints
def exporter(*, output: Output, target: Target, port: int, host: str, every: float) -> Exit:
    """Tell Prometheus what queues and streams hold.

    One exporter is enough for a namespace. It serves /metrics, /livez and /readyz until Ctrl-C,
    and goes on while the NATS server is away.
    """
    import asyncio

    from mesh.cli.logs import set_up_logging
    from mesh.exporter.exporter import Exporter
    from mesh.worker.signals import StopSignals

    app = target.app()
    set_up_logging(app.settings, is_json=output.is_json)
    serving = Exporter(app.client, host=host, port=port, every_s=every)
    with StopSignals() as signals:
        return asyncio.run(_serve(app, serving, signals))


async def _serve(app: Mesh, exporter: Exporter, signals: StopSignals) -> Exit:
    import anyio

    with anyio.CancelScope() as scope:
        signals.tell(lambda _count: scope.cancel())
        try:
            await exporter.run()
        finally:
            with anyio.CancelScope(shield=True):
                await app.close()
    return Exit.OK
