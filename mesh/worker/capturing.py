"""Give what is logged inside a task to its job: a handler on the root logger."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Generator
from typing import TextIO

from mesh.settings.model import EventsSettings
from mesh.tasks.context import LogSink, running_job

_LONGEST_PART = 8192
_FORMAT = logging.Formatter()


class JobLogHandler(logging.Handler):
    """Hands each record to the job in whose context it was made; others cost one look.

    Args:
        worker_id: The worker whose jobs are meant: a process may hold several workers; empty:
            those of any.
    """

    def __init__(self, worker_id: str) -> None:
        super().__init__()
        self._worker_id = worker_id

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record to its job, unless it is mesh's own."""
        self._last_resort(record)
        job = running_job.get(None)
        if job is None or record.name == "mesh" or record.name.startswith("mesh."):
            return
        try:
            context = job.context
            if self._worker_id in ("", context.worker):
                context.capture(record.levelno, record.name, _text(record))
        except Exception:
            self.handleError(record)

    def _last_resort(self, record: logging.LogRecord) -> None:
        """Do what `logging` does where nobody has set it up: with this handler nobody would."""
        last = logging.lastResort
        if last is None or record.levelno < last.level:
            return
        if logging.getLogger().handlers == [self]:
            last.handle(record)


@contextlib.contextmanager
def capturing(worker_id: str, settings: EventsSettings) -> Generator[None]:
    """Capture what the jobs of a worker log, for as long as this lasts."""
    if not settings.enabled or settings.log_level == "off":
        yield
        return
    handler, root = JobLogHandler(worker_id), logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


@contextlib.contextmanager
def printing_to(sink: LogSink) -> Generator[None]:
    """Have what is printed go to a job's log as well; only where one job runs at a time."""
    before, tee = sys.stdout, _Tee(sys.stdout, sink)
    sys.stdout = tee
    try:
        yield
    finally:
        sys.stdout = before
        tee.finish()


class _Tee(io.TextIOBase):
    """Passes on what is printed, and hands it to a sink line by line."""

    def __init__(self, below: TextIO, sink: LogSink) -> None:
        self._below = below
        self._sink = sink
        self._part = ""

    def write(self, text: str) -> int:
        """Take in a piece of text."""
        self._below.write(text)
        *lines, self._part = (self._part + text).split("\n")
        for line in lines:
            self._say(line)
        if len(self._part) > _LONGEST_PART:
            self.finish()
        return len(text)

    def flush(self) -> None:
        """Write out what the stream below holds back."""
        self._below.flush()

    def fileno(self) -> int:
        """The descriptor of the stream below."""
        return self._below.fileno()

    def isatty(self) -> bool:
        """Whether the stream below is a terminal."""
        return self._below.isatty()

    def finish(self) -> None:
        """Hand on the line that was begun."""
        part, self._part = self._part, ""
        self._say(part)

    def _say(self, line: str) -> None:
        if line:
            self._sink(logging.INFO, "stdout", line)


def _text(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info:
        text = f"{text}\n{_FORMAT.formatException(record.exc_info)}"
    return text
