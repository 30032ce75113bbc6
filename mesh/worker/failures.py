"""Turn an exception into data: type, message, traceback text, notes, causes; no pickle."""

from __future__ import annotations

import traceback
from typing import cast

from mesh.contract.records import ErrorInfo
from mesh.errors import WorkerLostError
from mesh.policy.retry import type_name
from mesh.tasks.context import JobControl, RetryRequested

_LONGEST_MESSAGE = 8_192
_LONGEST_TRACEBACK = 32_768
_DEEPEST_CAUSE = 5


def describe(error: BaseException, *, with_traceback: bool = True) -> ErrorInfo:
    """Describe an exception, even one that cannot say its own message.

    Args:
        error: The exception.
        with_traceback: Whether the traceback says anything to its reader.
    """
    text = _traceback(error) if with_traceback else ""
    return _describe(error, text, _DEEPEST_CAUSE)


def describe_request(control: JobControl) -> ErrorInfo:
    """Describe why a task asked for what it asked: a retry has the error it was raised for."""
    cause = _cause(control)
    if isinstance(control, RetryRequested) and cause is not None:
        return describe(cause)
    return describe(control, with_traceback=False)


def kinds_of(error: BaseException) -> tuple[str, ...]:
    """Name the error's type and all types it derives from."""
    return tuple(type_name(kind) for kind in type(error).__mro__ if kind is not object)


def crash_loop(what: str, crashes: int) -> ErrorInfo:
    """Describe why a job is given up whose process died once too often."""
    times = "once" if crashes == 1 else f"{crashes} times"
    return ErrorInfo(
        type_name(WorkerLostError),
        f"{what}; its processes have died {times}, as often as worker.max_crashes allows",
    )


def _cause(error: BaseException) -> BaseException | None:
    if error.__cause__ is None and not error.__suppress_context__:
        return error.__context__
    return error.__cause__


def _describe(error: BaseException, text: str, depth: int) -> ErrorInfo:
    cause = _cause(error)
    return ErrorInfo(
        type_name(type(error)),
        _cut(_message(error), _LONGEST_MESSAGE),
        text,
        _notes(error),
        _describe(cause, "", depth - 1) if cause is not None and depth else None,
    )


def _notes(error: BaseException) -> tuple[str, ...]:
    notes: object = getattr(error, "__notes__", None)
    if not isinstance(notes, list):
        return ()
    return tuple(_cut(str(note), _LONGEST_MESSAGE) for note in cast("list[object]", notes))


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as fault:
        return f"(its message cannot be had: {type(fault).__name__} in __str__)"


def _traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error))
    except Exception as fault:
        text = f"(its traceback cannot be had: {type(fault).__name__})"
    # The end says where it happened.
    return text if len(text) <= _LONGEST_TRACEBACK else f"...\n{text[-_LONGEST_TRACEBACK:]}"


def _cut(text: str, longest: int) -> str:
    clean = text.encode("utf-8", "replace").decode()  # Lone surrogates cannot travel.
    return (
        clean if len(clean) <= longest else f"{clean[:longest]}... ({len(clean):,} characters)"
    )
