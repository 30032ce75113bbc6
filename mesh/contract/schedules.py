"""What is stored about a schedule: the record of it, and what the scheduler says of it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from mesh.contract import envelope
from mesh.contract.envelope import Count, Millis, Retry, Seconds, Version
from mesh.contract.lifecycle import PRIORITIES, State
from mesh.contract.records import Moment, Number
from mesh.contract.timetable import Timetable

Misfire = Literal["skip", "fire_once", "fire_all"]
"""What becomes of ticks that nobody armed in time."""

RunOverlap = Literal["allow", "skip", "queue", "cancel_running"]
"""What becomes of a tick while the job of an earlier one has not ended."""

Origin = Literal["code", "file", "api"]
"""Where a schedule was declared: beside its task, in the settings file, or at run time."""

ScheduleId = Annotated[str, Meta(max_length=64, pattern="^[A-Za-z0-9_-]+$")]
QueueName = Annotated[str, Meta(max_length=64, pattern="^[A-Za-z0-9_-]+$")]
PriorityName = Annotated[
    str, Meta(pattern="^(critical|high|normal|low)$", extra_json_schema={"enum": [*PRIORITIES]})
]
EndStateOrNothing = Annotated[
    str, Meta(extra_json_schema={"enum": ["", *sorted(str(state) for state in State)]})
]

DAY_S: Final = 86_400.0


class Pause(Struct, frozen=True, omit_defaults=True):
    """Why and for how long a schedule rests.

    Attributes:
        since_ms: When it was paused, in milliseconds since the epoch.
        until_ms: When it goes on by itself, in milliseconds since the epoch; 0: when it is
            resumed.
        note: Why, for people.
        by: Who did it, for people.
    """

    since_ms: Millis
    until_ms: Millis = 0
    note: str = ""
    by: str = ""


class Schedule(Struct, frozen=True, omit_defaults=True):
    """A schedule: what to run and when. Its key is its id.

    Times are milliseconds since the epoch, durations are seconds. What is left out of a job's
    options is its task's own, as the worker knows it.

    Attributes:
        task: The name of the task to run.
        timetable: When it is due.
        queue: The queue its jobs go to.
        priority: Their priority.
        args: Their positional arguments.
        kwargs: Their named arguments.
        timeout_s: How long one attempt may run.
        soft_timeout_s: After so long the task itself is told that its time is up.
        retry: What follows a failed attempt.
        result_ttl_s: How long the record of a job that succeeded is kept.
        failure_ttl_s: How long the record of a job that did not succeed is kept.
        expires_s: A job that has not started so long after it was due ends as ``expired``.
        deadline_s: So long after it was due the whole job must have ended.
        tags: Words to find its jobs by.
        meta: What its jobs tell their task besides the arguments.
        misfire: What becomes of ticks that nobody armed in time: none of them is made up for
            (``skip``), the last one (``fire_once``), or all (``fire_all``).
        catchup_s: Only ticks so recent are made up for.
        catchup_limit: At most so many are, the most recent ones.
        overlap: What becomes of a tick while the job of an earlier one has not ended: it runs
            beside it (``allow``), not at all (``skip``), after it (``queue``), or the earlier
            one is cancelled (``cancel_running``).
        max_runs: After so many ticks there are no more; 0: there is no such limit.
        pause: Why it rests; nothing: it does not.
        since_ms: Ticks before this moment are none of this schedule's: it was made then, or
            resumed, or got another timetable.
        edition: Goes up with each change of this record.
        origin: Where it was declared: in ``code``, in a settings ``file``, or by the ``api``.
        about: What it is for, for people.
        created_at_ms: When it was made.
        updated_at_ms: When it was last changed.
        v: The version of this format.
    """

    task: envelope.TaskName
    timetable: Timetable
    queue: QueueName
    priority: PriorityName = "normal"
    args: envelope.Arguments = msgspec.field(default_factory=envelope.no_args)
    kwargs: envelope.NamedArguments = msgspec.field(default_factory=envelope.no_kwargs)
    timeout_s: Seconds | None = None
    soft_timeout_s: Seconds | None = None
    retry: Retry | None = None
    result_ttl_s: Seconds | None = None
    failure_ttl_s: Seconds | None = None
    expires_s: Seconds | None = None
    deadline_s: Seconds | None = None
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = {}
    misfire: Misfire = "fire_once"
    catchup_s: Seconds = DAY_S
    catchup_limit: Count = 100
    overlap: RunOverlap = "allow"
    max_runs: Count = 0
    pause: Pause | None = None
    since_ms: Millis = 0
    edition: Count = 1
    origin: Origin = "api"
    about: str = ""
    created_at_ms: Millis = 0
    updated_at_ms: Millis = 0
    v: Version = 1


class ScheduleStatus(Struct, frozen=True, omit_defaults=True):
    """How far a schedule is; written by the scheduler that leads, and by nobody else.

    Times are milliseconds since the epoch; 0: there is none.

    Attributes:
        edition: The edition of the record that the armed ticks were made of.
        created_at_ms: When that record was made: together they name it.
        armed_until_ms: All ticks up to this moment are armed, or over.
        last_tick_ms: The last tick that has come.
        last_job_id: Its job.
        last_state: The state of that job, as it was last seen.
        last_finished_at_ms: When that job ended.
        runs: How many ticks were armed, all told, without those that were withdrawn.
        missed: How many ticks nobody armed in time and nobody made up for.
        updated_at_ms: When this was written.
        v: The version of this format.
    """

    edition: Number
    created_at_ms: Moment = 0
    armed_until_ms: Moment = 0
    last_tick_ms: Moment = 0
    last_job_id: str = ""
    last_state: EndStateOrNothing = ""
    last_finished_at_ms: Moment = 0
    runs: Number = 0
    missed: Number = 0
    updated_at_ms: Moment = 0
    v: Version = 1


encode = msgspec.json.Encoder().encode
read_schedule = msgspec.json.Decoder(Schedule).decode
read_schedule_status = msgspec.json.Decoder(ScheduleStatus).decode
