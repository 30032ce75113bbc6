"""What is done at a failpoint: it kills the process, raises, hangs, or cuts the connection.

Which errors can be raised depends on the primitive: only those that can really come.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple, Self

import nats.errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.object_store import ObjectStore

from mesh.errors import BrokerError, ConnectError
from mesh.transport.connection import Connection
from mesh.transport.link import Link
from mesh.transport.publisher import Publisher
from mesh.transport.receipts import NoAnswerError


class Phase(StrEnum):
    """When a failpoint acts."""

    BEFORE = "before"
    AFTER = "after"


class Action(StrEnum):
    """What a failpoint does."""

    KILL = "kill"
    RAISE = "raise"
    HANG = "hang"
    DISCONNECT = "disconnect"


class Failpoint(NamedTuple):
    """One failpoint, armed by its text: ``<point> <phase> <action>``."""

    point: str
    phase: Phase
    action: Action

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what ``str`` wrote."""
        point, phase, action = text.rsplit(" ", 2)
        return cls(point, Phase(phase), Action(action))

    def __str__(self) -> str:
        """Write it as it is armed."""
        return f"{self.point} {self.phase} {self.action}"


_ASKING = ("api", "request")
_READING = (
    "INFO",
    "STREAM.INFO",
    "STREAM.NAMES",
    "STREAM.MSG.GET",
    "CONSUMER.INFO",
    "CONSUMER.NAMES",
    "CONSUMER.LIST",
)


class Primitive(NamedTuple):
    """A function through which everything reaches the server.

    Attributes:
        owner: Its class.
        name: Its name there.
        error: Makes what it may raise; None: it raises nothing.
        sends: It sends without waiting: an error means that the bytes were lost.
        reads: It changes nothing on the server.
    """

    owner: type
    name: str
    error: Callable[[], Exception] | None
    sends: bool = False
    reads: bool = False

    def changes(self, args: tuple[Any, ...]) -> bool:
        """Whether a call of it changes anything on the server."""
        asks = self.name in _ASKING and str(args[0]).removeprefix("$JS.API.").startswith(
            _READING
        )
        return not (self.reads or asks)


def _no_answer() -> NoAnswerError:
    return NoAnswerError("failpoint: the publish was not confirmed")


def _in_vain() -> BrokerError:
    return BrokerError("failpoint: the NATS server did not answer in time")


PRIMITIVES = (
    Primitive(Connection, "open", lambda: ConnectError("failpoint: no NATS server answered")),
    Primitive(Connection, "api", _in_vain),
    Primitive(Connection, "flush", _in_vain, reads=True),
    Primitive(Connection, "close", None),
    Primitive(Publisher, "publish", _no_answer),
    Primitive(Publisher, "ask", _no_answer, reads=True),
    Primitive(Publisher, "publish_many", _no_answer),
    Primitive(Publisher, "settle", None, reads=True),
    Primitive(Publisher, "post", _no_answer, sends=True),
    Primitive(Link, "listen", nats.errors.TimeoutError),
    Primitive(Link, "unlisten", nats.errors.TimeoutError),
    Primitive(Client, "subscribe", nats.errors.TimeoutError),
    Primitive(Client, "force_reconnect", None),
    Primitive(Client, "request", nats.errors.TimeoutError),
    Primitive(Link, "flush", nats.errors.TimeoutError, reads=True),
    Primitive(Link, "post", None, sends=True),
    Primitive(Link, "tap", None, sends=True),
    Primitive(Link, "untap", None, sends=True),
    Primitive(Subscription, "next_msg", nats.errors.TimeoutError, reads=True),
    Primitive(Subscription, "unsubscribe", nats.errors.ConnectionClosedError),
    Primitive(JetStreamContext, "object_store", nats.errors.TimeoutError, reads=True),
    Primitive(ObjectStore, "put", nats.errors.TimeoutError),
    Primitive(ObjectStore, "get", nats.errors.TimeoutError, reads=True),
    Primitive(ObjectStore, "get_info", nats.errors.TimeoutError, reads=True),
)


_WAYS: dict[type, Callable[[Any], Any]] = {
    Client: lambda client: client,
    Connection: lambda connection: connection.link,
    Publisher: lambda publisher: publisher._link,
    Subscription: lambda subscription: subscription._conn,
    JetStreamContext: lambda context: context._nc,
    ObjectStore: lambda store: store._js._nc,
}
"""From each kind of object to the connection that it talks over."""


def cut(subject: Any) -> None:
    """Drop the TCP connection without a word; the client notices and connects again."""
    link = next(way(subject) for kind, way in _WAYS.items() if isinstance(subject, kind))
    writer = getattr(getattr(link, "_transport", None), "_io_writer", None)
    if writer is not None:
        writer.transport.abort()


def die() -> None:
    """End this process as the kernel would."""
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


def freeze(limit_s: float) -> None:
    """Stop this thread, and with it its event loop, for a while."""
    threading.Event().wait(limit_s)


def applicable(primitive: str) -> list[tuple[Phase, Action]]:
    """Every phase and action that makes sense for a primitive, named ``Class.function``."""
    found = next(p for p in PRIMITIVES if f"{p.owner.__name__}.{p.name}" == primitive)
    chosen = [(phase, action) for phase in Phase for action in Action]
    if primitive == "Connection.open":  # There is no connection yet.
        chosen.remove((Phase.BEFORE, Action.DISCONNECT))
    if found.sends and found.error is None:
        # Sent is sent: nothing is raised and nothing awaited afterwards.
        chosen.remove((Phase.AFTER, Action.RAISE))
        chosen.remove((Phase.AFTER, Action.HANG))
    elif found.error is None:
        chosen = [(phase, action) for phase, action in chosen if action is not Action.RAISE]
    return chosen
