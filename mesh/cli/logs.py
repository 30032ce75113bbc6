"""Log records on stderr: a line for people, or a JSON object for programs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mesh.cli.output import as_json, has_colour

_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"asctime", "message", "taskName"}
_COLOURS: Mapping[int, str] = {
    logging.DEBUG: "2",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}


def set_up_logging(level: str, *, is_json: bool = False, kept: str = "off") -> None:
    """Log to stderr from here on, unless the app has set up logging itself.

    Args:
        level: The least severe record that is shown.
        is_json: Write JSON lines.
        kept: The least severe record that is kept in the logs of jobs; ``off``: none is.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if is_json else Lines(is_coloured=has_colour(sys.stderr)))
    root.addHandler(handler)
    handler.setLevel(level.upper())
    levels = [level] if kept == "off" else [level, kept]
    numbers = logging.getLevelNamesMapping()
    root.setLevel(min(numbers[name.upper()] for name in levels))


class Lines(logging.Formatter):
    """``12:00:01 INFO     mesh.worker: worker ready  worker=w1``."""

    def __init__(self, *, is_coloured: bool) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._is_coloured = is_coloured

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Write the time, the level, the logger, the message and the record's own fields."""
        level = f"{record.levelname:8}"
        if self._is_coloured and record.levelno in _COLOURS:
            level = f"\x1b[{_COLOURS[record.levelno]}m{level}\x1b[0m"
        when = self.formatTime(record, self.datefmt)
        fields = "".join(f"  {name}={_plain(value)}" for name, value in _fields(record).items())
        return f"{when} {level} {record.name}: {record.message}{fields}"


class JsonLines(logging.Formatter):
    """One JSON object for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record with its own fields."""
        values: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        } | _fields(record)
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return as_json(values)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _USUAL}


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType] - of anything
    return f"{value:g}" if isinstance(value, float) else str(value)
