"""What can be said about a job besides its arguments: for all jobs of a task, or for one call."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypedDict

import msgspec
from msgspec import Struct

from mesh.contract.envelope import Retry
from mesh.contract.subjects import check_priority
from mesh.durations import Duration, seconds
from mesh.errors import TaskDefinitionError
from mesh.identifiers import check_job_id, check_queue


class Pool(StrEnum):
    """Where a task runs: in the worker's loop, in a thread, or in a process that can be killed."""

    ASYNC = "async"
    THREAD = "thread"
    PROCESS = "process"


class TaskOptions(Struct, frozen=True):
    """Options of all jobs of a task; None means the app's defaults."""

    queue: str | None = None
    priority: str | None = None
    timeout_s: float | None = None
    retry: Retry | None = None
    result_ttl_s: float | None = None
    failure_ttl_s: float | None = None
    expires_s: float | None = None
    pool: Pool = Pool.ASYNC
    tags: tuple[str, ...] = ()


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


class CommonOptions(TypedDict, total=False):
    """Keywords that tasks and calls have in common."""

    queue: str
    priority: str
    timeout: Duration
    retry: Retry | int | bool
    result_ttl: Duration
    failure_ttl: Duration
    expires: Duration
    tags: tuple[str, ...] | list[str]


class CallKeywords(CommonOptions, total=False):
    """Keywords of ``task.options(...)``."""

    delay: Duration
    eta: datetime
    job_id: str
    meta: dict[str, str]


NO_OVERRIDES = CallOptions()


def task_options(keywords: CommonOptions, pool: Pool) -> TaskOptions:
    """Check a task's keywords.

    Raises:
        InvalidNameError: A name lies outside the grammar.
        ValueError: A duration cannot be read.
    """
    return TaskOptions(pool=pool, **_common(keywords))


def call_options(keywords: CallKeywords) -> CallOptions:
    """Check a call's keywords.

    Raises:
        InvalidNameError: A name lies outside the grammar.
        ValueError: A duration cannot be read, or ``eta`` has no time zone.
    """
    values = _common(keywords)
    if "delay" in keywords and "eta" in keywords:
        raise ValueError("give delay or eta, not both")
    if "delay" in keywords:
        values["delay_s"] = seconds(keywords["delay"])
    if "eta" in keywords:
        values["eta_ms"] = _instant(keywords["eta"])
    if "job_id" in keywords:
        values["job_id"] = check_job_id(keywords["job_id"])
    if "meta" in keywords:
        values["meta"] = msgspec.convert(keywords["meta"], dict[str, str])
    return CallOptions(**values)


def pool_of(name: str | Pool | None, *, is_async: bool) -> Pool:
    """Decide where a function runs: an async one in the loop, a plain one in a thread, or as told.

    Raises:
        TaskDefinitionError: The pool is unknown or cannot run this kind of function.
    """
    if name is None:
        return Pool.ASYNC if is_async else Pool.THREAD
    if name not in tuple(Pool):
        known = ", ".join(Pool)
        raise TaskDefinitionError(f"pool {name!r} is not one of {known}")
    pool = Pool(name)
    if is_async and pool is Pool.THREAD:
        raise TaskDefinitionError("an async function runs in the loop or in a process, not in a thread")
    if not is_async and pool is Pool.ASYNC:
        raise TaskDefinitionError("a plain function would block the loop; use pool='thread' or 'process'")
    return pool


def _common(keywords: CommonOptions) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if "queue" in keywords:
        values["queue"] = check_queue(keywords["queue"])
    if "priority" in keywords:
        values["priority"] = check_priority(keywords["priority"])
    if "timeout" in keywords:
        values["timeout_s"] = seconds(keywords["timeout"])
    if "result_ttl" in keywords:
        values["result_ttl_s"] = seconds(keywords["result_ttl"])
    if "failure_ttl" in keywords:
        values["failure_ttl_s"] = seconds(keywords["failure_ttl"])
    if "expires" in keywords:
        values["expires_s"] = seconds(keywords["expires"])
    if "retry" in keywords:
        values["retry"] = _retry(keywords["retry"])
    if "tags" in keywords:
        values["tags"] = msgspec.convert(keywords["tags"], tuple[str, ...])
    return values


def _retry(retry: Retry | int | bool) -> Retry:
    if isinstance(retry, Retry):
        return retry
    if retry is True:
        return Retry()
    return Retry(max_retries=int(retry))


def _instant(eta: datetime) -> int:
    if eta.tzinfo is None:
        raise ValueError(
            f"eta {eta.isoformat()} has no time zone: nobody can tell when that is; "
            "give an aware datetime, for example datetime(..., tzinfo=ZoneInfo('Europe/Berlin'))"
        )
    return int(eta.astimezone(UTC).timestamp() * 1000)
