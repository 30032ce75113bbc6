"""Options that commands share: where the server is, and whether to print JSON."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from mesh.cli.output import Output
from mesh.cli.target import Target
from mesh.durations import seconds

R = TypeVar("R")

_LEVELS = ("debug", "info", "warning", "error", "critical")
_FORMATS = ("console", "json")


def duration(text: str) -> float:
    """Read seconds, or a text such as ``30s`` or ``1h30m``.

    Raises:
        BadParameter: It is no duration.
    """
    try:
        return seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def instant(text: str) -> datetime:
    """Read a point in time in ISO 8601 with its offset from UTC.

    Raises:
        BadParameter: It is none, or nobody can tell when that is.
    """
    example = "write it like 2030-01-31T09:00:00+01:00"
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is no ISO 8601 time; {example}"
        raise click.BadParameter(message) from error
    if read.tzinfo is None:
        message = f"{text!r} has no offset from UTC; {example}"
        raise click.BadParameter(message)
    return read


def duration_or_instant(text: str) -> float | datetime:
    """Read a duration, or a point in time in ISO 8601 with its offset from UTC.

    Raises:
        BadParameter: It is neither.
    """
    try:
        return seconds(text)
    except ValueError:
        return instant(text)


def job_id(text: str) -> str:
    """Read a job's id.

    Raises:
        BadParameter: No job can be called so.
    """
    from mesh.identifiers import check_job_id

    return _checked(check_job_id, text)


def queue(text: str) -> str:
    """Read a queue's name.

    Raises:
        BadParameter: No queue can be called so.
    """
    from mesh.identifiers import check_queue

    return _checked(check_queue, text)


def connects(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that say where the server is; it receives a ``target``."""

    @click.option("--url", metavar="URL", help="Where the NATS servers are.  [MESH_URL]")
    @click.option("--namespace", metavar="NAME", help="The namespace.  [MESH_NAMESPACE]")
    @click.option(
        "--config",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The settings file.  [MESH_CONFIG]",
    )
    @click.option(
        "--log-level",
        type=click.Choice(_LEVELS, case_sensitive=False),
        help="What is logged to stderr.  [MESH_LOG_LEVEL]",
    )
    @click.option(
        "--log-format",
        type=click.Choice(_FORMATS, case_sensitive=False),
        help="How it is logged.  [MESH_LOG_FORMAT]",
    )
    @functools.wraps(command)
    def with_target(
        *,
        url: str | None,
        namespace: str | None,
        config: Path | None,
        log_level: str | None,
        log_format: str | None,
        **others: Any,
    ) -> R:
        target = Target(url, namespace, config, log_level, log_format)
        return command(target=target, **others)

    return with_target


def prints(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command ``--json`` and ``--output``; it receives an ``output``."""

    @click.option(
        "--json", "as_json", is_flag=True, help="Print JSON; the same as --output json."
    )
    @with_output
    @functools.wraps(command)
    def with_flag(*, as_json: bool, output: Output, **others: Any) -> R:
        return command(output=Output(is_json=as_json or output.is_json), **others)

    return with_flag


def with_output(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command ``--output`` alone, where ``--json`` means something else."""

    @click.option(
        "--output",
        "form",
        type=click.Choice(("text", "json")),
        default="text",
        help="Print words for people, or JSON for programs.",
    )
    @functools.wraps(command)
    def with_form(*, form: str, **others: Any) -> R:
        return command(output=Output(is_json=form == "json"), **others)

    return with_form


def _checked(check: Callable[[str], str], text: str) -> str:
    try:
        return check(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
