"""Log records on stderr: a line for people, or a JSON object for programs; secrets left out."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from opentelemetry import trace

from mesh.settings.model import Settings
from mesh.telemetry.redaction import Redactor

OURS = "mesh"
"""The logger above all of mesh's own."""

JobFields = Callable[[], Mapping[str, object]]
"""Says which job runs here, as the fields of a record; empty if none does."""

_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"asctime", "message", "taskName"}
_COLOURS: Mapping[int, str] = {
    logging.DEBUG: "2",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}
# A line break or an escape in a message could pass for another record.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def no_job() -> Mapping[str, object]:
    """Say that no job runs here."""
    return {}


def install(
    settings: Settings,
    *,
    is_json: bool = False,
    is_coloured: bool = False,
    job_fields: JobFields = no_job,
) -> None:
    """Log to stderr from here on, unless the app has set up logging itself.

    Args:
        settings: The levels, the format, and what is secret.
        is_json: Write JSON lines whatever the settings say.
        is_coloured: Colour the levels in lines for people.
        job_fields: Says which job runs where a record is made.
    """
    set_levels(read_levels(settings.log_levels))
    root = logging.getLogger()
    if root.handlers:
        return
    redactor = Redactor.of(settings)
    handler = logging.StreamHandler(sys.stderr)
    if is_json or settings.log_format == "json":
        handler.setFormatter(JsonLines(redactor))
    else:
        handler.setFormatter(Lines(redactor, is_coloured=is_coloured))
    handler.addFilter(JobFilter(job_fields))
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())


def read_levels(pairs: Iterable[str]) -> dict[str, str]:
    """Read texts such as ``mesh.worker=debug``."""
    return {name: level for pair in pairs for name, _, level in [pair.partition("=")]}


def set_levels(levels: Mapping[str, str]) -> None:
    """Change what loggers show, at once; for use while the process runs, too.

    Args:
        levels: The level of each logger, such as ``{"mesh.worker": "debug"}``; the empty name
            is the root. An empty level leaves it to the logger above.

    Raises:
        ValueError: A level is unknown; then none is changed.
    """
    known = logging.getLevelNamesMapping() | {"": logging.NOTSET}
    unknown = [level for level in levels.values() if level.upper() not in known]
    if unknown:
        message = f"{unknown[0]!r} is no log level; use debug, info, warning, error or critical"
        raise ValueError(message)
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(known[level.upper()])


def toggle_debug() -> bool:
    """Show mesh's own debug records, or no longer; say whether they are shown now."""
    ours = logging.getLogger(OURS)
    is_shown = ours.level == logging.DEBUG
    ours.setLevel(logging.NOTSET if is_shown else logging.DEBUG)
    return not is_shown


class JobFilter(logging.Filter):
    """Adds the running job, and the current trace, to each record; drops none."""

    def __init__(self, job_fields: JobFields) -> None:
        super().__init__()
        self._job_fields = job_fields

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields that the record does not have."""
        fields = dict(self._job_fields())
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            fields["trace_id"] = trace.format_trace_id(span.trace_id)
            fields["span_id"] = trace.format_span_id(span.span_id)
        for name, value in fields.items():
            record.__dict__.setdefault(name, value)
        return True


class Lines(logging.Formatter):
    """``12:00:01 INFO     mesh.worker: worker ready  worker=w1``."""

    def __init__(self, redactor: Redactor | None = None, *, is_coloured: bool) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._redactor = redactor or Redactor()
        self._is_coloured = is_coloured

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Write the time, the level, the logger, the message and the record's own fields."""
        level = f"{record.levelname:8}"
        if self._is_coloured and record.levelno in _COLOURS:
            level = f"\x1b[{_COLOURS[record.levelno]}m{level}\x1b[0m"
        when = self.formatTime(record, self.datefmt)
        redactor = self._redactor
        fields = "".join(
            f"  {name}={_plain(redactor.value(name, value))}"
            for name, value in _fields(record).items()
        )
        said = redactor.text(record.message)
        return f"{when} {level} {record.name}: {_on_one_line(said)}{_on_one_line(fields)}"

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Write the traceback, indented, so that none of its lines passes for a record."""
        return self._indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        """Write a stack likewise."""
        return self._indented(super().formatStack(stack_info))

    def _indented(self, text: str) -> str:
        lines = self._redactor.text(text).split("\n")
        return "\n".join(f"  {_on_one_line(line)}" for line in lines)


class JsonLines(logging.Formatter):
    """One JSON object for each record."""

    def __init__(self, redactor: Redactor | None = None) -> None:
        super().__init__()
        self._redactor = redactor or Redactor()

    def format(self, record: logging.LogRecord) -> str:
        """Write the record with its own fields."""
        redactor = self._redactor
        values: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redactor.text(record.getMessage()),
        }
        values |= {n: redactor.value(n, v) for n, v in _fields(record).items()}
        if record.exc_info:
            values["traceback"] = redactor.text(self.formatException(record.exc_info))
        return _on_one_line(msgspec.json.encode(values, enc_hook=str).decode())


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _USUAL}


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType] - of anything
    return f"{value:g}" if isinstance(value, float) else str(value)


def _on_one_line(text: str) -> str:
    return _CONTROL.sub(lambda found: json.dumps(found[0])[1:-1], text)
