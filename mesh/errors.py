"""Every exception mesh raises on purpose; each says what happened, to what, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class MeshError(Exception):
    """Base of every error that mesh raises on purpose; can be pickled and copied."""

    def __reduce__(self) -> tuple[Callable[..., MeshError], tuple[Any, ...]]:
        """Carry message and facts over as they are, whatever ``__init__`` takes."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[MeshError], args: tuple[Any, ...], facts: dict[str, Any]) -> MeshError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(facts)
    return error


# --- Configuration and names ------------------------------------------------------------------


class SettingsError(MeshError):
    """The settings are wrong; all faults are reported together.

    Attributes:
        faults: One sentence for each fault found.
    """

    faults: tuple[str, ...]

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        listed = "".join(f"\n  - {fault}" for fault in self.faults)
        super().__init__(f"{len(self.faults)} fault(s) in the settings:{listed}")


class InvalidNameError(MeshError, ValueError):
    """A name (namespace, queue, priority, job id, task) lies outside the grammar.

    Attributes:
        kind: What the name was meant for, for example ``queue``.
        name: The name as given.
        reason: The closed code of the fault: ``empty``, ``too-long``, ``bad-token``,
            ``unknown``.
    """

    kind: str
    name: str
    reason: str

    def __init__(self, kind: str, name: str, reason: str, rule: str) -> None:
        self.kind = kind
        self.name = name
        self.reason = reason
        shown = name if len(name) <= 80 else f"{name[:77]}..."
        super().__init__(f"{kind} {shown!r} is refused ({reason}): {rule}")


class InvalidDurationError(MeshError, ValueError):
    """A value is not a duration."""


class TimetableError(MeshError, ValueError):
    """A timetable says what cannot be: its cron expression, its zone, its interval.

    Attributes:
        part: Which part of it: ``cron``, ``zone``, ``every``, ``at``, ``start``, ``end``,
            ``jitter`` or ``timetable``.
    """

    part: str

    def __init__(self, part: str, why: str) -> None:
        self.part = part
        super().__init__(f"{part}: {why}")


class AppNotFoundError(MeshError):
    """The app reference given to a command does not lead to a ``Mesh`` object."""


# --- Tasks and their arguments ----------------------------------------------------------------


class TaskDefinitionError(MeshError, TypeError):
    """A function cannot become a task as it is declared."""


class OptionError(MeshError, ValueError):
    """An option of a task or a call is unknown or has a value that cannot be.

    Attributes:
        option: The option's name.
    """

    option: str

    def __init__(self, option: str, why: str) -> None:
        self.option = option
        super().__init__(f"option {option!r} is refused: {why}")


class UnknownTaskError(MeshError, LookupError):
    """No task of that name is registered in the app.

    Attributes:
        task: The name asked for.
        nearest: The registered name most like it, or None.
    """

    task: str
    nearest: str | None

    def __init__(self, task: str, nearest: str | None = None) -> None:
        self.task = task
        self.nearest = nearest
        hint = f"; did you mean {nearest!r}?" if nearest else "."
        super().__init__(
            f"task {task!r} is not registered in this app{hint} "
            "Register it, or run a worker whose app has it."
        )


class ArgumentsError(MeshError, TypeError):
    """The arguments do not fit the task's signature or annotations.

    Attributes:
        task: The task's name.
    """

    task: str

    def __init__(self, task: str, why: str) -> None:
        self.task = task
        super().__init__(f"arguments of task {task!r} are refused: {why}")


class NotSerializableError(MeshError, TypeError):
    """A value cannot travel: neither JSON nor a type mesh can convert."""


class ResultTypeError(MeshError, TypeError):
    """A stored result does not fit the return annotation of its task.

    Attributes:
        task: The task's name.
    """

    task: str

    def __init__(self, task: str, why: str) -> None:
        self.task = task
        super().__init__(
            f"the result of task {task!r} does not fit its return annotation: {why}"
        )


class MalformedJobError(MeshError, ValueError):
    """A message in the job stream is not a job.

    Attributes:
        reason: The closed code: ``not-json``, ``not-msgpack``, ``bad-shape``,
            ``unknown-version``, ``unknown-content-type``.
    """

    reason: str

    def __init__(self, reason: str, why: str) -> None:
        self.reason = reason
        super().__init__(f"the message is not a job ({reason}): {why}")


# --- Reach ------------------------------------------------------------------------------------


class BrokerError(MeshError):
    """The NATS server could not do what was asked of it."""


class ConnectError(BrokerError, ConnectionError):
    """No NATS server could be reached, or it refused the login."""


class PermissionDeniedError(BrokerError):
    """The NATS user may not publish or listen where mesh must."""


class ServerUnfitError(BrokerError):
    """The NATS server is too old, or has no JetStream."""


class NotProvisionedError(BrokerError):
    """A stream, consumer or bucket that is needed does not exist; run ``mesh setup``."""


class TopologyConflictError(BrokerError):
    """What exists on the server differs in a way that cannot be changed in place."""


class QueueFullError(BrokerError):
    """The job stream is full and refuses new jobs; ``subject`` is what it refused."""

    subject: str = ""


class PayloadTooLargeError(BrokerError, ValueError):
    """A message is larger than the server accepts."""


class PayloadMissingError(BrokerError, LookupError):
    """A large value's object is gone from the payload bucket."""


class EnqueueUnknownError(BrokerError):
    """The server never confirmed an enqueue: the job may or may not be stored.

    Attributes:
        job_id: Ask for this job's status, or enqueue again with the same id: it is stored
            once.
    """

    job_id: str

    def __init__(self, job_id: str, why: str) -> None:
        self.job_id = job_id
        super().__init__(
            f"the fate of job {job_id!r} is unknown: {why}. It may be stored; enqueue again "
            "with the same job id (it is stored once) or ask for its status."
        )


# --- Jobs -------------------------------------------------------------------------------------


class JobNotFoundError(MeshError, LookupError):
    """No record and no message of that job exists.

    Attributes:
        job_id: The id asked for.
    """

    job_id: str

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(
            f"job {job_id!r} is not known here: it was never enqueued in this namespace, "
            "or its records have passed their time to live"
        )


class ResultExpiredError(JobNotFoundError):
    """The job ended, but its result has passed its time to live."""


class JobNotEndedError(MeshError):
    """The job has not ended, so it cannot be deleted.

    Attributes:
        job_id: The job.
        state: Where it is.
    """

    job_id: str
    state: str

    def __init__(self, job_id: str, state: str) -> None:
        self.job_id = job_id
        self.state = state
        super().__init__(
            f"job {job_id!r} is {state}, and only a job that has ended can be deleted; cancel "
            "it first"
        )


class ResultTimeoutError(MeshError, TimeoutError):
    """The job had not ended when the wait was over; it goes on.

    Attributes:
        job_id: The job waited for.
    """

    job_id: str

    def __init__(self, job_id: str, seconds: float) -> None:
        self.job_id = job_id
        super().__init__(f"job {job_id!r} had not ended after {seconds:g} s; it goes on")


class JobEndedError(MeshError):
    """The job ended without a result.

    Attributes:
        job_id: The job.
        state: ``failed``, ``cancelled`` or ``expired``.
    """

    job_id: str
    state: str

    def __init__(self, job_id: str, state: str, why: str) -> None:
        self.job_id = job_id
        self.state = state
        super().__init__(f"job {job_id!r} {state}: {why}")


class JobFailedError(JobEndedError):
    """The job failed for good.

    Attributes:
        error_type: The exception's qualified name as text.
        error_message: The exception's message.
        traceback: The traceback as text, may be empty.
    """

    error_type: str
    error_message: str
    traceback: str

    def __init__(
        self, job_id: str, error_type: str, error_message: str, traceback: str = ""
    ) -> None:
        self.error_type = error_type
        self.error_message = error_message
        self.traceback = traceback
        super().__init__(job_id, "failed", f"{error_type}: {error_message}")


class JobCancelledError(JobEndedError):
    """The job was cancelled."""

    def __init__(self, job_id: str, why: str = "no reason given") -> None:
        super().__init__(job_id, "cancelled", why)


class JobExpiredError(JobEndedError):
    """The job was not started before it expired."""

    def __init__(self, job_id: str, why: str = "it was not started in time") -> None:
        super().__init__(job_id, "expired", why)


class JobTimeoutError(MeshError, TimeoutError):
    """The attempt ran longer than the task's timeout; recorded as the failure's type."""


class SoftTimeoutError(MeshError, TimeoutError):
    """Raised inside a task that outruns its soft timeout, so that it can clean up."""

    def __init__(self, seconds: float | None = None) -> None:
        limit = "" if seconds is None else f" of {seconds:g} s"
        super().__init__(f"the attempt has run longer than its soft timeout{limit}")


class JobDeadlineError(MeshError, TimeoutError):
    """The job had not ended by its deadline; recorded as the failure's type."""


class WorkerLostError(MeshError):
    """The process that ran the attempt died; recorded as the failure's type."""


class JobLostError(MeshError):
    """The job's message vanished before the job ended; recorded as the failure's type."""


class BlockingCallError(MeshError, RuntimeError):
    """A blocking call was made where it would stop the event loop that must answer it."""


class UnreadableRecordError(MeshError, ValueError):
    """A record of the job is not what mesh writes; another program wrote it.

    Attributes:
        job_id: The job.
    """

    def __init__(self, job_id: str, why: str) -> None:
        self.job_id = job_id
        super().__init__(
            f"a record of job {job_id!r} cannot be read: {why}. Not mesh but another wrote "
            "it; remove it from its bucket"
        )


# --- Schedules --------------------------------------------------------------------------------


class ScheduleNotFoundError(MeshError, LookupError):
    """There is no such schedule.

    Attributes:
        schedule_id: The id asked for.
    """

    schedule_id: str

    def __init__(self, schedule_id: str) -> None:
        self.schedule_id = schedule_id
        super().__init__(
            f"there is no schedule {schedule_id!r} in this namespace; `mesh schedule list` "
            "shows those there are"
        )


class ScheduleConflictError(BrokerError):
    """A schedule was changed by others each time this program was about to.

    Attributes:
        schedule_id: The schedule.
    """

    schedule_id: str

    def __init__(self, schedule_id: str) -> None:
        self.schedule_id = schedule_id
        super().__init__(
            f"schedule {schedule_id!r} was changed by others again and again; try once more"
        )


class UnreadableScheduleError(MeshError, ValueError):
    """A schedule's record is not what mesh writes; another program wrote it.

    Attributes:
        schedule_id: The schedule.
    """

    schedule_id: str

    def __init__(self, schedule_id: str, why: str) -> None:
        self.schedule_id = schedule_id
        super().__init__(
            f"the record of schedule {schedule_id!r} cannot be read: {why}. Not mesh but "
            "another wrote it; remove it from its bucket"
        )


# --- Workers ----------------------------------------------------------------------------------


class WorkerNotFoundError(MeshError, LookupError):
    """No such worker is alive.

    Attributes:
        worker: The id asked for.
    """

    def __init__(self, worker: str, why: str) -> None:
        self.worker = worker
        super().__init__(f"worker {worker!r} {why}; `mesh workers list` shows those there are")


class WorkerRefusedError(MeshError):
    """A worker cannot do what it was told; the message says why."""


# --- The archive ------------------------------------------------------------------------------


class ArchiveError(MeshError):
    """The archive of jobs cannot be opened, read or written, or is of another version."""


# --- The embedded server ----------------------------------------------------------------------


class ServerStartError(MeshError):
    """The embedded NATS server did not start."""
