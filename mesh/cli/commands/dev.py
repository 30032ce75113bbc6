"""``mesh dev``: a server, the streams and a reloading worker in one terminal."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mesh.cli.options import connects, prints
from mesh.cli.output import Output
from mesh.cli.stores import DEFAULT_STORE, prepare_store
from mesh.cli.target import Target
from mesh.errors import ConnectError, SettingsError

if TYPE_CHECKING:
    from mesh.server.process import EmbeddedServer
    from mesh.worker.supervisor import Supervisor

_DEFAULT_PORT = 4222
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command
@click.argument("reference", metavar="APP")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="The server's port on this machine, instead of the address in the settings.",
)
@click.option(
    "--store-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_STORE,
    show_default=True,
    help="Where a server that is started keeps its jobs.",
)
@connects
@prints
def dev(
    *, output: Output, target: Target, reference: str, port: int | None, store_dir: Path
) -> int:
    """Run APP while you write it: server, worker, reload.

    APP is module:name or file.py:name. Uses the NATS server of the settings if one answers,
    else starts one on this machine. Creates the streams, runs a worker that starts anew when a
    .py file changes, and shows what happens to jobs. Ctrl-C ends all of it, but never a server
    that was there before.
    """
    import asyncio

    from mesh.cli.logs import set_up_logging

    if port:
        target = target._replace(url=f"nats://127.0.0.1:{port}")
    settings = target.app(reference).settings
    set_up_logging(settings, is_json=output.is_json)
    addresses = () if port == 0 else settings.servers
    return asyncio.run(_develop(target, reference, _server_for(addresses, store_dir), output))


def _server_for(addresses: tuple[str, ...], store_dir: Path) -> EmbeddedServer | None:
    """The server to start, or None if one is there already.

    Args:
        addresses: Where a server is looked for, and started; none: wherever the system likes.
        store_dir: Where it keeps its jobs.

    Raises:
        ConnectError: None answers, and not all of the addresses are of this machine.
    """
    from urllib.parse import urlsplit

    from mesh.server.config import ServerConfig
    from mesh.server.probe import server_answers
    from mesh.server.process import EmbeddedServer

    host, port = "127.0.0.1", 0
    if addresses:
        if server_answers(",".join(addresses)) is not None:
            return None
        places = [urlsplit(a if "://" in a else f"nats://{a}") for a in addresses]
        if any(place.hostname not in _LOOPBACK for place in places):
            message = (
                f"no NATS server answers at {', '.join(addresses)}, and mesh dev starts one on "
                "this machine only; start that one, or name another with --url or --port"
            )
            raise ConnectError(message)
        host = "::1" if places[0].hostname == "::1" else host
        port = places[0].port or _DEFAULT_PORT
    prepare_store(store_dir)
    return EmbeddedServer(ServerConfig(host=host, port=port, store_dir=store_dir))


async def _develop(
    target: Target, reference: str, server: EmbeddedServer | None, output: Output
) -> int:
    from mesh.cli.live import show_events
    from mesh.worker.signals import StopSignals

    with StopSignals() as signals:
        async with contextlib.AsyncExitStack() as stack:
            if server is not None:
                await stack.enter_async_context(server)
                target = target._replace(url=server.url)
            app = target.app(reference)
            await stack.enter_async_context(app)
            await app.setup()
            await show_events(await app.client(), output)
            _announce(app.settings.url, output, is_ours=server is not None)
            return await _workers(reference, target, output).run(signals)


def _workers(reference: str, target: Target, output: Output) -> Supervisor:
    from mesh.cli.processes import WorkerOptions, supervisor

    options = WorkerOptions(is_json=output.is_json)
    try:
        return supervisor(reference, target, options, reloads=True)
    except SettingsError as error:
        logging.getLogger("mesh.dev").warning("no reload: %s", error.faults[0])
        return supervisor(reference, target, options)


def _announce(url: str, output: Output, *, is_ours: bool) -> None:
    kind = "started" if is_ours else "found"
    values = {"event": "ready", "url": url, "is_ours": is_ours}
    output.show(values, f"{kind} NATS at {url}; Ctrl-C ends all that was started")
