"""What can be said about a job besides its arguments: for all jobs of a task, or one call."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, TypedDict

import msgspec
from msgspec import Struct

from mesh.contract.envelope import Retry
from mesh.contract.records import ErrorInfo
from mesh.contract.subjects import check_priority
from mesh.durations import Duration, seconds
from mesh.errors import InvalidNameError, OptionError, TaskDefinitionError
from mesh.identifiers import check_job_id, check_queue
from mesh.policy.retry import type_name
from mesh.tasks.unique import Unique, read_unique

RetryPolicy = Callable[[int, ErrorInfo], Duration | None]
"""Says, from the failed attempt's number and failure, how long to wait; None: give up."""


class Pool(StrEnum):
    """Where a task runs: in the worker's loop, a thread, or a process that can be killed."""

    ASYNC = "async"
    THREAD = "thread"
    PROCESS = "process"


class TaskOptions(Struct, frozen=True):
    """Options of all jobs of a task; None means the app's defaults.

    ``policy`` is a function that stands in the place of ``retry``: it never leaves the program.
    """

    queue: str | None = None
    priority: str | None = None
    timeout_s: float | None = None
    retry: Retry | None = None
    result_ttl_s: float | None = None
    failure_ttl_s: float | None = None
    expires_s: float | None = None
    pool: Pool = Pool.ASYNC
    policy: RetryPolicy | None = None
    tags: tuple[str, ...] = ()
    unique: Unique | Literal[False] | None = None
    exclusive: bool = False
    soft_timeout_s: float | None = None
    deadline_s: float | None = None


class CallOptions(Struct, frozen=True):
    """Options of one call; None means the task's own."""

    queue: str | None = None
    priority: str | None = None
    timeout_s: float | None = None
    retry: Retry | None = None
    result_ttl_s: float | None = None
    failure_ttl_s: float | None = None
    expires_s: float | None = None
    delay_s: float | None = None
    eta_ms: int | None = None
    job_id: str | None = None
    tags: tuple[str, ...] | None = None
    meta: dict[str, str] | None = None
    unique: Unique | Literal[False] | None = None
    soft_timeout_s: float | None = None
    deadline_s: float | None = None
    deadline_ms: int | None = None


class _SharedOptions(TypedDict, total=False):
    """Keywords that mean the same for tasks and calls."""

    queue: str
    priority: str
    timeout: Duration
    soft_timeout: Duration
    result_ttl: Duration
    failure_ttl: Duration
    expires: Duration
    tags: tuple[str, ...] | list[str]
    unique: Unique | bool


class CommonOptions(_SharedOptions, total=False):
    """Keywords of ``@app.task(...)``: those of calls, and what only the task itself can say."""

    retry: Retry | int | bool | RetryPolicy
    exclusive: bool
    deadline: Duration


class CallKeywords(_SharedOptions, total=False):
    """Keywords of ``task.options(...)``."""

    retry: Retry | int | bool
    deadline: Duration | datetime
    delay: Duration
    eta: datetime
    job_id: str
    idempotency_key: str
    meta: dict[str, str]


NO_OVERRIDES = CallOptions()
_UNKNOWN_TASK = TaskOptions()

_OF_TASKS = tuple(CommonOptions.__annotations__)
_OF_CALLS = tuple(CallKeywords.__annotations__)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def task_options(keywords: CommonOptions, pool: Pool) -> TaskOptions:
    """Check a task's keywords.

    Raises:
        OptionError: One is unknown, or its value cannot be.
        InvalidNameError: A name lies outside the grammar.
    """
    retry = keywords.get("retry")
    if retry is None or not callable(retry):
        options = TaskOptions(pool=pool, **_read(keywords, _OF_TASKS))
    else:
        others = {name: value for name, value in keywords.items() if name != "retry"}
        options = TaskOptions(pool=pool, policy=_policy(retry), **_read(others, _OF_TASKS))
    _check_timeouts(options.soft_timeout_s, options.timeout_s)
    return options


def call_options(keywords: CallKeywords) -> CallOptions:
    """Check a call's keywords.

    Raises:
        OptionError: One is unknown, or its value cannot be; ``eta`` needs a time zone.
        InvalidNameError: A name lies outside the grammar.
    """
    if "delay" in keywords and "eta" in keywords:
        option = "eta"
        raise OptionError(option, "'delay' is given too; keep one of them")
    if "job_id" in keywords and "idempotency_key" in keywords:
        option = "idempotency_key"
        raise OptionError(option, "'job_id' is given too, and means the same; keep one of them")
    values: dict[str, Any] = {}
    others = dict(keywords)
    if isinstance(keywords.get("deadline"), datetime):
        values["deadline_ms"] = _checked("deadline", _instant, others.pop("deadline"))
    options = CallOptions(**values, **_read(others, _OF_CALLS))
    check_limits(options, _UNKNOWN_TASK)
    return options


def due_options(delay: Duration | None, eta: datetime | None) -> CallOptions:
    """Read when a job is to be due: so much later than now, or then.

    Raises:
        OptionError: Neither or both are given, or the value cannot be.
    """
    if (delay is None) == (eta is None):
        option = "delay" if delay is None else "eta"
        why = "nothing says when" if delay is None else "'delay' is given too"
        raise OptionError(option, f"{why}; give one of delay and eta")
    return call_options({"eta": eta} if eta is not None else {"delay": delay or 0})


def check_limits(call: CallOptions, own: TaskOptions) -> None:
    """Check that a call's limits go together with each other and with those of its task.

    Raises:
        OptionError: They do not.
    """
    soft_s = own.soft_timeout_s if call.soft_timeout_s is None else call.soft_timeout_s
    _check_timeouts(soft_s, own.timeout_s if call.timeout_s is None else call.timeout_s)
    due: float | None = call.eta_ms  # Both are moments, or both are counted from now.
    deadline: float | None = call.deadline_ms
    if deadline is None:
        due = call.delay_s
        deadline = own.deadline_s if call.deadline_s is None else call.deadline_s
    if due is not None and deadline is not None and due >= deadline:
        option = "deadline"
        why = (
            "the job is due only when its deadline has passed; give it more time or less delay"
        )
        raise OptionError(option, why)


def _check_timeouts(soft_s: float | None, hard_s: float | None) -> None:
    if soft_s is not None and hard_s is not None and soft_s >= hard_s:
        option = "soft_timeout"
        why = (
            f"{soft_s:g} s is not shorter than the timeout of {hard_s:g} s, so it says nothing"
        )
        raise OptionError(option, why)


def pool_of(name: str | Pool | None, *, is_async: bool) -> Pool:
    """Decide where a function runs: async ones in the loop, plain ones in a thread, or as told.

    Raises:
        OptionError: The pool is unknown.
        TaskDefinitionError: The pool cannot run this kind of function.
    """
    if name is None:
        return Pool.ASYNC if is_async else Pool.THREAD
    if name not in tuple(Pool):
        option = "pool"
        raise OptionError(option, f"{name!r} is not one of {', '.join(Pool)}")
    pool = Pool(name)
    if is_async and pool is Pool.THREAD:
        message = "an async function runs in the loop or in a process, not in a thread"
        raise TaskDefinitionError(message)
    if not is_async and pool is Pool.ASYNC:
        message = "a plain function would block the loop; use pool='thread' or pool='process'"
        raise TaskDefinitionError(message)
    return pool


def _read(keywords: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for option, value in keywords.items():
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise OptionError(option, f"there is no such option; {hint}")
        field, read = _FIELDS[option]
        values[field] = _checked(option, read, value)
    return values


def _checked(option: str, read: Callable[[Any], Any], value: object) -> Any:
    try:
        return read(value)
    except InvalidNameError:
        raise
    except ValueError as error:
        raise OptionError(option, str(error)) from error


def _priority(name: object) -> str:
    return check_priority(str(name))


def _policy(function: RetryPolicy) -> RetryPolicy:
    option = "retry"
    if isinstance(function, type):
        hint = f"{function.__name__}(...)" if function is Retry else "Retry(on=(...))"
        raise OptionError(option, f"{function!r} is a class; did you mean {hint}?")
    if inspect.iscoroutinefunction(function):
        why = f"{function!r} is async; a policy is a plain function that answers at once"
        raise OptionError(option, why)
    try:
        inspect.signature(function).bind(1, None)
    except TypeError as error:
        why = f"{function!r} must take two arguments, the attempt's number and the error"
        raise OptionError(option, why) from error
    except ValueError:
        pass  # A function written in C may not say what it takes.
    return function


def _retry(retry: object) -> Retry:
    match retry:
        case True:
            return Retry()
        case int():
            rule = Retry(max_retries=int(retry))
        case Retry():
            rule = retry
        case _ if callable(retry):
            message = f"{retry!r} is a function, which cannot travel; give it to the task"
            raise ValueError(message)
        case _:
            message = f"{retry!r} is neither a number of retries, True or False, nor a Retry"
            raise ValueError(message)
    # Made here, it was not checked.
    return msgspec.convert(msgspec.to_builtins(rule, enc_hook=_error_name), Retry)


def _error_name(kind: object) -> str:
    """Name a type of errors, as failures in records are named."""
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return type_name(kind)
    message = f"{kind!r} is no type of exceptions; on and give_up_on are tuples of them"
    raise ValueError(message)


def _instant(eta: object) -> int:
    if not isinstance(eta, datetime) or eta.tzinfo is None:
        message = (
            f"{eta!r} is no datetime with a time zone, so nobody can tell when that is; give "
            "for example datetime(2030, 1, 31, 12, 0, tzinfo=ZoneInfo('Europe/Berlin'))"
        )
        raise ValueError(message)
    return (eta - _EPOCH) // _MILLISECOND


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        message = f"{value!r} is neither True nor False"
        raise ValueError(message)  # noqa: TRY004 - options are refused with ValueError
    return value


def _tags(tags: object) -> tuple[str, ...]:
    return msgspec.convert(tags, tuple[str, ...])


def _meta(meta: object) -> dict[str, str]:
    return msgspec.convert(meta, dict[str, str])


_FIELDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "queue": ("queue", check_queue),
    "priority": ("priority", _priority),
    "timeout": ("timeout_s", seconds),
    "soft_timeout": ("soft_timeout_s", seconds),
    "deadline": ("deadline_s", seconds),
    "retry": ("retry", _retry),
    "result_ttl": ("result_ttl_s", seconds),
    "failure_ttl": ("failure_ttl_s", seconds),
    "expires": ("expires_s", seconds),
    "tags": ("tags", _tags),
    "delay": ("delay_s", seconds),
    "eta": ("eta_ms", _instant),
    "job_id": ("job_id", check_job_id),
    "idempotency_key": ("job_id", check_job_id),
    "unique": ("unique", read_unique),
    "meta": ("meta", _meta),
    "exclusive": ("exclusive", _flag),
}
"""For each option the field it fills and what reads it."""
