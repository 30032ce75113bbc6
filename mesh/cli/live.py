"""Show what happens to jobs while it happens, from the events of their namespace."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from mesh.cli.output import Output
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import headers
from mesh.contract.events import Event, EventKind
from mesh.transport import frames

if TYPE_CHECKING:
    from mesh.client.client import Client

_SHOWN = (EventKind.ENQUEUED, EventKind.RETRYING, EventKind.FINISHED)


class Line(Struct, frozen=True):
    """One event as people and programs see it."""

    at_ms: int
    event: str
    job_id: str
    task: str = ""
    state: str = ""
    message: str = ""

    def text(self) -> str:
        """The event on one line."""
        when = datetime.fromtimestamp(self.at_ms / 1000, UTC).astimezone().strftime("%H:%M:%S")
        what = self.state or self.event
        return f"{when} {what:10} {self.task} {self.job_id}  {self.message}".rstrip()


async def show_events(client: Client, output: Output) -> None:
    """Print each event of the namespace from now on, until the client is closed."""

    def on_event(subject: bytes, _reply: bytes, body: bytes, block: bytes) -> None:
        line = read_event(subject.decode(), body, frames.read_headers(block))
        if line is not None:
            output.show(msgspec.structs.asdict(line), line.text())

    await client.connection.link.listen(client.names.event("*", "*"), on_event)


def read_event(subject: str, body: bytes, found: dict[str, str]) -> Line | None:
    """Read an event; None if it is none that is shown.

    Args:
        subject: Its subject, which says what happened to which job.
        body: The event, if a worker published it.
        found: The headers of the record, if the server announced that.
    """
    kind, job_id = subject.split(".")[-2:]
    if kind not in _SHOWN:
        return None
    task, message, at_ms = found.get(headers.TASK, ""), "", SYSTEM_CLOCK.now_ms()
    if kind == EventKind.RETRYING:
        event = msgspec.json.decode(body, type=Event)
        task, message, at_ms = event.task, event.message, event.at_ms
    return Line(at_ms, kind, job_id, task, found.get(headers.STATE, ""), message)
