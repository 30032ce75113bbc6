"""The message headers mesh sets or reads, each declared once with what it means."""

from __future__ import annotations

from typing import Final, NamedTuple

CONTENT_TYPE: Final = "Mesh-Content-Type"
TASK: Final = "Mesh-Task"
STATE: Final = "Mesh-State"
ATTEMPT: Final = "Mesh-Attempt"
DEAD_LETTER: Final = "Mesh-Dead-Letter"
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

MESSAGE_ID: Final = "Nats-Msg-Id"
EXPECTED_LAST: Final = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_LAST_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence-Subject"
TTL: Final = "Nats-TTL"
SCHEDULE: Final = "Nats-Schedule"
SCHEDULE_TARGET: Final = "Nats-Schedule-Target"
SCHEDULE_TTL: Final = "Nats-Schedule-TTL"
BATCH_ID: Final = "Nats-Batch-Id"
BATCH_SEQUENCE: Final = "Nats-Batch-Sequence"
BATCH_COMMIT: Final = "Nats-Batch-Commit"

JSON: Final = "json"
MSGPACK: Final = "msgpack"


class HeaderRow(NamedTuple):
    """One line of the header table in ``subjects/headers.md``."""

    name: str
    on: str
    value: str
    set_by: str
    when_absent: str


TABLE: tuple[HeaderRow, ...] = (
    HeaderRow(
        MESSAGE_ID,
        "job",
        "the job id",
        "producer",
        "a repeated publish is a second job message",
    ),
    HeaderRow(CONTENT_TYPE, "job", "`json` or `msgpack`", "producer", "the body is JSON"),
    HeaderRow(
        TASK, "job", "the task's name", "producer", "the enqueued event has no task name"
    ),
    HeaderRow(ATTEMPT, "job", "number of the attempt this copy is for, from 1", "worker", "1"),
    HeaderRow(
        TRACEPARENT, "job", "W3C trace context", "producer", "the attempt starts a new trace"
    ),
    HeaderRow(TRACESTATE, "job", "W3C trace state", "producer", "no vendor state"),
    HeaderRow(
        SCHEDULE,
        "delayed job",
        "`@at` and an RFC 3339 time",
        "producer or worker",
        "not delayed",
    ),
    HeaderRow(
        SCHEDULE_TARGET,
        "delayed job",
        "the job's `due` subject",
        "producer or worker",
        "refused",
    ),
    HeaderRow(
        SCHEDULE_TTL,
        "delayed job",
        "how long the fired copy stays",
        "producer or worker",
        "for ever",
    ),
    HeaderRow(
        EXPECTED_LAST,
        "result",
        "`0`: write only if there is no record yet",
        "worker",
        "not allowed",
    ),
    HeaderRow(STATE, "result", "the job's final state", "worker", "read the record"),
    HeaderRow(
        DEAD_LETTER,
        "dead letter",
        "JSON: why the job failed for good",
        "worker",
        "not a dead letter",
    ),
    HeaderRow(
        TTL,
        "result",
        "how long the record stays, if not the bucket's age",
        "worker",
        "the bucket's age",
    ),
)
