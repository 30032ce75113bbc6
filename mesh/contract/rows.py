"""One name that mesh gives to something on the server, as a row of the table of names."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Kind = Literal["subject", "filter", "stream", "bucket", "consumer"]

JOBS: Final = "<NS>_JOBS"
DELAYED: Final = "<NS>_DELAYED"
EVENTS: Final = "<NS>_EVENTS"
DEAD: Final = "<NS>_DEAD"
RESULTS: Final = "KV_<ns>-results"
PROGRESS: Final = "KV_<ns>-progress"
CONTROL: Final = "KV_<ns>-control"
LOCKS: Final = "KV_<ns>-locks"
SCHEDULES: Final = "KV_<ns>-schedules"
WORKERS: Final = "KV_<ns>-workers"
OBJECTS: Final = "OBJ_<bucket>"
UNTIL_DONE: Final = "work queue: each job stays until it has ended"


class Row(NamedTuple):
    """One name.

    Attributes:
        kind: ``subject`` (messages are published to it), ``filter`` (matches subjects),
            ``stream``, ``bucket`` or ``consumer``.
        pattern: How it reads.
        published_by: Who publishes or writes there.
        listened_by: Who listens, reads or asks.
        stream: The stream that keeps it; ``-``: nobody keeps it.
        retention: How long it is kept.
        rule: Its rule in ``grammar.abnf``.
        builder: What builds it, in `mesh.contract.subjects`.
    """

    kind: Kind
    pattern: str
    published_by: str
    listened_by: str
    stream: str
    retention: str
    rule: str
    builder: str
