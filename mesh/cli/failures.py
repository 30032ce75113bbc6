"""What a failed command says, and with which code it exits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import click

from mesh.errors import (
    AppNotFoundError,
    ArgumentsError,
    ConnectError,
    EnqueueUnknownError,
    InvalidDurationError,
    InvalidNameError,
    JobNotFoundError,
    MeshError,
    NotSerializableError,
    OptionError,
    ResultTimeoutError,
    ScheduleNotFoundError,
    SettingsError,
    TimetableError,
    WorkerNotFoundError,
)
from mesh.worker.exits import Exit


class AppBrokenError(MeshError):
    """The app's own code failed while it was imported."""


_CODES: tuple[tuple[type[MeshError], Exit], ...] = (
    (JobNotFoundError, Exit.NOT_FOUND),
    (ScheduleNotFoundError, Exit.NOT_FOUND),
    (WorkerNotFoundError, Exit.NOT_FOUND),
    (ConnectError, Exit.NO_CONNECTION),
    (ResultTimeoutError, Exit.TIMED_OUT),
    (EnqueueUnknownError, Exit.TIMED_OUT),
    (AppBrokenError, Exit.USAGE),
    (AppNotFoundError, Exit.USAGE),
    (ArgumentsError, Exit.USAGE),
    (InvalidNameError, Exit.USAGE),
    (NotSerializableError, Exit.USAGE),
    (InvalidDurationError, Exit.USAGE),
    (OptionError, Exit.USAGE),
    (SettingsError, Exit.USAGE),
    (TimetableError, Exit.USAGE),
)


def report(error: BaseException, *, as_json: bool) -> Exit | None:
    """Print an error to stderr.

    Args:
        error: What ended the command.
        as_json: Print one JSON object instead of words.

    Returns:
        The exit code, or None if the error is a bug of mesh's: its traceback must be seen.
    """
    error = _innermost(error)
    match error:
        case click.Abort() | KeyboardInterrupt():
            return Exit.INTERRUPTED
        case click.ClickException():
            if as_json:
                _print_json(error, error.format_message())
            else:
                error.show()
            return Exit.USAGE
        case MeshError():
            if as_json:
                _print_json(error, str(error))
            else:
                click.echo(f"Error: {error}", err=True)
            return _code_of(error)
        case _:
            return None


def asks_json(arguments: Sequence[str]) -> bool:
    """Whether the caller reads JSON; asked of the bare words, for they may be what is wrong."""
    words = list(arguments)
    command = next((word for word in words if not word.startswith("-")), "")
    if "--output=json" in words or ("--output", "json") in pairwise(words):
        return True
    return "--json" in words and command != "enqueue"  # There it carries the arguments.


def _innermost(error: BaseException) -> BaseException:
    """The error itself, if a task group wrapped it up alone."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _innermost(group.exceptions[0]) if len(group.exceptions) == 1 else group


def _code_of(error: MeshError) -> Exit:
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)


def _print_json(error: BaseException, message: str) -> None:
    click.echo(json.dumps({"error": type(error).__name__, "message": message}), err=True)
