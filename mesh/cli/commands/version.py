"""``mesh version``: the versions of mesh and of what it runs on."""

from __future__ import annotations

import contextlib
import platform

import click

from mesh import __version__
from mesh.cli.options import prints
from mesh.cli.output import Output


@click.command
@prints
def version(*, output: Output) -> None:
    """Print the versions of mesh, Python and NATS."""
    from importlib import metadata

    from mesh.errors import ServerStartError
    from mesh.server.binary import find_binary, read_version

    found: tuple[str | None, str | None] = None, None
    with contextlib.suppress(ServerStartError):  # Then there is none, which is said below.
        binary = find_binary()
        found = ".".join(map(str, read_version(binary))), str(binary)
    server, place = found
    values = {
        "mesh": __version__,
        "python": platform.python_version(),
        "nats_py": metadata.version("nats-py"),
        "nats_server": server,
        "nats_server_path": place,
    }
    lines = [
        f"mesh         {__version__}",
        f"Python       {values['python']}",
        f"nats-py      {values['nats_py']}",
        f"nats-server  {f'{server} ({place})' if server else 'not found'}",
    ]
    output.show(values, "\n".join(lines))
