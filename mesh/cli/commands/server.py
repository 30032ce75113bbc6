"""``mesh server``: run a NATS server in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mesh.cli.options import prints
from mesh.cli.output import Output
from mesh.cli.stores import DEFAULT_STORE, prepare_store
from mesh.worker.exits import Exit

if TYPE_CHECKING:
    from mesh.server.config import ServerConfig
    from mesh.server.process import EmbeddedServer

_LOOK_EVERY_S = 0.25


@click.command
@click.option("--port", type=click.IntRange(0, 65535), default=4222, show_default=True)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="The address to listen on."
)
@click.option(
    "--store-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_STORE,
    show_default=True,
    help="Where jobs are kept; they outlive a restart.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A configuration file of nats-server to include.",
)
@click.option(
    "--monitor-port", type=click.IntRange(0, 65535), help="Serve NATS's HTTP monitor."
)
@prints
def server(
    *,
    output: Output,
    port: int,
    host: str,
    store_dir: Path,
    config: Path | None,
    monitor_port: int | None,
) -> int:
    """Run a NATS server with JetStream until Ctrl-C.

    A port of 0 lets the system choose one.
    """
    import asyncio

    from mesh.server.config import ServerConfig

    prepare_store(store_dir)
    wanted = ServerConfig(
        host=host, port=port, store_dir=store_dir, monitor_port=monitor_port, extra_file=config
    )
    return asyncio.run(_serve(wanted, output))


async def _serve(config: ServerConfig, output: Output) -> Exit:
    import anyio

    from mesh.server.process import EmbeddedServer
    from mesh.worker.signals import StopSignals

    with StopSignals() as signals:
        async with EmbeddedServer(config) as server:
            _announce(server, output)
            stop = anyio.Event()
            signals.tell(lambda _count: stop.set())
            while server.is_running and not stop.is_set():
                with anyio.move_on_after(_LOOK_EVERY_S):
                    await stop.wait()
            if stop.is_set():
                return Exit.OK
            click.echo(f"Error: nats-server ended; its log is {server.log_path}", err=True)
            return Exit.FAILED


def _announce(server: EmbeddedServer, output: Output) -> None:
    monitor = server.monitor_url if server.config.monitor_port is not None else None
    values = {
        "url": server.url,
        "pid": server.pid,
        "store_dir": str(server.store_dir),
        "monitor_url": monitor,
    }
    lines = [f"NATS is ready at {server.url}", f"jobs are kept in {server.store_dir}"]
    lines += [f"monitor at {monitor}"] if monitor else []
    output.show(values, "; ".join(lines))
