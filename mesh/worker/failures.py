"""Turn an exception into data: type, message, traceback text, notes, causes; no pickle."""

from __future__ import annotations

import traceback
from typing import cast

from mesh.contract.records import ErrorInfo

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


def _describe(error: BaseException, text: str, depth: int) -> ErrorInfo:
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    return ErrorInfo(
        name,
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
