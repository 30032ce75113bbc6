"""The message headers mesh sets or reads, each declared once with what it means."""

from __future__ import annotations

from typing import Final, NamedTuple

CONTENT_TYPE: Final = "Mesh-Content-Type"
TASK: Final = "Mesh-Task"
QUEUE: Final = "Mesh-Queue"
STATE: Final = "Mesh-State"
ATTEMPT: Final = "Mesh-Attempt"
REPEAT: Final = "Mesh-Repeat"
DUE: Final = "Mesh-Due"
DEAD_LETTER: Final = "Mesh-Dead-Letter"
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
BAGGAGE: Final = "baggage"

MESSAGE_ID: Final = "Nats-Msg-Id"
EXPECTED_LAST: Final = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_LAST_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence-Subject"
ROLLUP: Final = "Nats-Rollup"
TTL: Final = "Nats-TTL"
ORIGIN: Final = "Nats-Subject"
ORIGIN_SEQUENCE: Final = "Nats-Sequence"
STORED_AT: Final = "Nats-Time-Stamp"
SCHEDULE: Final = "Nats-Schedule"
SCHEDULE_TARGET: Final = "Nats-Schedule-Target"
SCHEDULE_TTL: Final = "Nats-Schedule-TTL"
SOURCE: Final = "Nats-Stream-Source"
KV_OPERATION: Final = "KV-Operation"
BATCH_ID: Final = "Nats-Batch-Id"
BATCH_SEQUENCE: Final = "Nats-Batch-Sequence"
BATCH_COMMIT: Final = "Nats-Batch-Commit"

LEAD_MS: Final = 300
"""How long before a job is due its schedule fires: the server's timer is 250 ms coarse."""

JSON: Final = "json"
MSGPACK: Final = "msgpack"
KV_DELETED: Final = "DEL"

TRACE_CONTEXT: Final = (TRACEPARENT, TRACESTATE, BAGGAGE)
"""What a worker passes on unread when it publishes a job again."""


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
        "job, delayed job",
        "the job id; `<job id>:<attempt>` when a worker puts off a retry; "
        "`<job id>:<attempt>:<revision of the running record>` when it puts off the same "
        "attempt; `<job id>:again:<sequence of the copy>` when `mesh fsck` publishes it again; "
        "`<job id>:moved:<sequence of the message it replaces>:<due>` when it is rescheduled",
        "producer, worker, `mesh fsck`",
        "a publish that is repeated is a second message",
    ),
    HeaderRow(
        CONTENT_TYPE,
        "job, delayed job, dead letter",
        "`json` or `msgpack`, in lower case",
        "producer",
        "the body is JSON",
    ),
    HeaderRow(
        TASK,
        "job, delayed job, result",
        "the task's name",
        "producer, worker",
        "events and lists show no task; the body decides which one runs",
    ),
    HeaderRow(
        QUEUE,
        "result",
        "the queue the job ran in",
        "worker, whoever cancels",
        "the job's finished event names no queue; its record does",
    ),
    HeaderRow(
        ATTEMPT,
        "job, delayed job",
        "the number of the attempt this copy is for, from 1",
        "worker, `mesh fsck`",
        "the first attempt, or what the running record says",
    ),
    HeaderRow(
        REPEAT,
        "job, delayed job",
        "`1`: this job may have been published before, or claims a unique key: the worker asks "
        "the records first",
        "producer; whoever sends a publish again for want of an acknowledgement",
        "a first delivery is run without asking, and the body's `unique` is not looked at",
    ),
    HeaderRow(
        DUE,
        "job, delayed job",
        "when the job is due, in milliseconds since the epoch: no worker starts it before. "
        f"Its schedule fires {LEAD_MS} ms earlier, or it is published to its queue at once if "
        "that time has come, and the worker waits out the rest",
        "producer, worker",
        "it is due when it is in its queue: as exactly as the server's timer, 250 ms",
    ),
    HeaderRow(
        TRACEPARENT,
        "job, delayed job",
        "W3C trace context of whoever asked for the job; the worker's spans refer to it, and a "
        "retry carries it on",
        "producer, worker",
        "the attempt starts a new trace",
    ),
    HeaderRow(
        TRACESTATE, "job, delayed job", "W3C trace state", "producer, worker", "no vendor state"
    ),
    HeaderRow(
        BAGGAGE,
        "job, delayed job",
        "W3C baggage: what the producer's context says to those after it; the task sees it, as "
        "does anybody who can read the job",
        "producer, worker",
        "no baggage",
    ),
    HeaderRow(
        SCHEDULE,
        "delayed job",
        f"`@at` and an RFC 3339 time, {LEAD_MS} ms before `{DUE}` if there is one, for example "
        "`@at 2030-01-01T08:00:00.000+00:00`",
        "producer, worker",
        "the server keeps the message and never fires it",
    ),
    HeaderRow(
        SCHEDULE_TARGET,
        "delayed job",
        "the job's `due` subject",
        "producer, worker",
        "the server refuses the message",
    ),
    HeaderRow(
        SCHEDULE_TTL,
        "delayed job",
        "how long a job that is due may wait for room in the job stream: leave it out, for one "
        "that waits longer is lost",
        "nobody",
        "it waits until there is room",
    ),
    HeaderRow(
        SOURCE,
        "job",
        "where it comes from in the delayed stream: a server that was killed may hand it over "
        "twice, so the worker asks the records first",
        "the server",
        "the job was published directly",
    ),
    HeaderRow(
        EXPECTED_LAST,
        "result, dead letter, running record, job, delayed job, unique key, schedule",
        "`0`: store it only if there is none yet; for a running record, a unique key that is "
        "taken over, and a schedule that is changed: the last revision",
        "worker, producer, whoever cancels",
        "a result without it would overwrite the one that counts: never leave it out",
    ),
    HeaderRow(
        EXPECTED_LAST_SUBJECT,
        "job",
        "`<ns>.jobs.*.*.<job id>`, together with the header above: refuse a second job of that "
        "id while the first is pending, whatever its queue",
        "producer",
        "only the message id tells repeats, for two minutes",
    ),
    HeaderRow(
        ROLLUP,
        "running record",
        "`sub`: it takes the place of the one before",
        "worker",
        "the records before it are kept as the key's history",
    ),
    HeaderRow(STATE, "result", "the job's final state", "worker", "read the record"),
    HeaderRow(
        TTL,
        "result, unique key, removed schedule",
        "how long the record stays, if not as long as the bucket's age; the job stream refuses "
        "a job with this header",
        "worker, producer, whoever cancels",
        "the bucket's age",
    ),
    HeaderRow(
        KV_OPERATION,
        "schedule",
        "`DEL`, with an empty body: the schedule was removed",
        "whoever removes it",
        "the body is the schedule",
    ),
    HeaderRow(
        DEAD_LETTER,
        "dead letter",
        "JSON: why the job failed for good (`schema/dead_letter.v1.json`)",
        "worker",
        "not a dead letter",
    ),
    HeaderRow(
        ORIGIN,
        "event that announces a job or a result",
        "the subject of what it announces",
        "the server",
        "a worker published the event",
    ),
    HeaderRow(
        ORIGIN_SEQUENCE,
        "event that announces a job or a result",
        "the sequence of what it announces, in its own stream",
        "the server",
        "a worker published the event",
    ),
    HeaderRow(
        STORED_AT,
        "event that announces a job or a result",
        "when that was stored, RFC 3339",
        "the server",
        "a worker published the event",
    ),
    HeaderRow(
        BATCH_ID,
        "job",
        "what the jobs of an atomic batch have in common",
        "producer",
        "the job is stored by itself",
    ),
    HeaderRow(BATCH_SEQUENCE, "job", "its place in the batch, from 1", "producer", "refused"),
    HeaderRow(BATCH_COMMIT, "job", "`1` on the last job", "producer", "nothing is stored yet"),
)
