"""Ask whether a NATS server answers at an address, by the first line it sends; no login."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from mesh.clock import SYSTEM_CLOCK, Clock

_DEFAULT_PORT = 4222
_LONGEST_LINE = 65_536
_GREETING = b"INFO "


class ServerInfo(Struct, frozen=True):
    """What a NATS server says of itself before anyone logs in.

    Attributes:
        version: Its version, for example ``2.15.1``.
        jetstream: Whether JetStream is on.
        server_id: Its own id, new at each start.
        server_name: Its name.
        max_payload: The largest message it takes, in bytes.
        auth_required: Whether it wants a login.
        tls_required: Whether it wants encryption.
    """

    version: str = ""
    jetstream: bool = False
    server_id: str = ""
    server_name: str = ""
    max_payload: int = 0
    auth_required: bool = False
    tls_required: bool = False


def server_answers(
    url: str, timeout_s: float = 1.0, *, clock: Clock = SYSTEM_CLOCK
) -> ServerInfo | None:
    """Tell what the first server of a list says of itself.

    Args:
        url: One address or several, separated by commas; each is tried in turn.
        timeout_s: How long one address may take in all, however slowly it talks.
        clock: Where the time comes from.

    Returns:
        The server's own words, or None when no NATS server answers in time.
    """
    for address in url.split(","):
        info = _ask(address.strip(), clock.monotonic() + timeout_s, clock)
        if info is not None:
            return info
    return None


def _ask(address: str, deadline: float, clock: Clock) -> ServerInfo | None:
    try:
        parts = urlsplit(address if "://" in address else f"nats://{address}")
        place = (parts.hostname or "", parts.port or _DEFAULT_PORT)
        with socket.create_connection(place, timeout=_left(deadline, clock)) as connection:
            line = _first_line(connection, deadline, clock)
        if line.startswith(_GREETING):
            return msgspec.json.decode(line.removeprefix(_GREETING), type=ServerInfo)
    except (OSError, ValueError):
        # Not reachable, not an address, or not NATS: for the caller all of it is "no answer".
        return None
    return None


def _first_line(connection: socket.socket, deadline: float, clock: Clock) -> bytes:
    line = b""
    while b"\n" not in line and len(line) < _LONGEST_LINE:
        connection.settimeout(_left(deadline, clock))
        received = connection.recv(4096)
        if not received:
            break
        line += received
    return line.partition(b"\n")[0]


def _left(deadline: float, clock: Clock) -> float:
    left = deadline - clock.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
