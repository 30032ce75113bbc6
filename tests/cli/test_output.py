"""How tables, log lines and statuses look."""

from __future__ import annotations

import io
import logging

import msgspec
import pytest

from mesh.cli.live import read_event
from mesh.cli.logs import set_up_logging
from mesh.cli.output import has_colour, table
from mesh.cli.statuses import line
from mesh.client.status import JobStatus
from mesh.contract.lifecycle import State
from mesh.contract.records import ErrorInfo
from mesh.settings.model import Settings
from mesh.telemetry.logs import JsonLines, Lines


def record(level: int, message: str, *args: object, **fields: object) -> logging.LogRecord:
    """A log record with fields of its own."""
    made = logging.LogRecord("mesh.x", level, "x.py", 1, message, args, None)
    vars(made).update(fields)
    return made


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_table_is_as_wide_as_its_cells() -> None:
    """Columns are aligned, nothing is cut, and no line ends in blanks."""
    shown = table(("kind", "name"), [("stream", "A"), ("c", "x" * 200)])

    assert shown == f"kind    name\nstream  A\nc       {'x' * 200}"


def test_a_log_line_ends_in_its_fields() -> None:
    """The message is followed by the record's fields; lists are joined, floats are short."""
    said = Lines(is_coloured=False).format(
        record(logging.INFO, "moved %d", 2, queues=["a", "b"], pause_s=0.1)
    )

    assert said.endswith("INFO     mesh.x: moved 2  queues=a,b  pause_s=0.1")


def test_a_log_line_for_programs_is_json() -> None:
    """Level, logger, message, fields and a traceback are all there."""
    made = record(logging.ERROR, "lost", job="j", odd=object())
    error = ValueError("why")
    made.exc_info = (ValueError, error, None)

    said = msgspec.json.decode(JsonLines().format(made))

    assert (said["level"], said["message"], said["job"]) == ("error", "lost", "j")
    assert "ValueError: why" in said["traceback"]
    assert said["odd"].startswith("<object")


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe, a dumb terminal and NO_COLOR get none."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert has_colour(Terminal())
    assert not has_colour(io.StringIO())

    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colour(Terminal())

    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colour(Terminal())


def test_a_warning_is_coloured() -> None:
    """Only the level is, so that the message can be copied."""
    said = Lines(is_coloured=True).format(record(logging.WARNING, "careful"))

    assert "\x1b[33mWARNING \x1b[0m mesh.x: careful" in said


def test_the_logging_of_an_app_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the root logger has handlers, none is added; where it has none, one is."""
    root = logging.getLogger()
    theirs = logging.NullHandler()
    monkeypatch.setattr(root, "handlers", [theirs])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setenv("MESH_LOG_FORMAT", "console")  # Put back at the end.
    set_up_logging(Settings(log_level="error"))
    assert root.handlers == [theirs]

    monkeypatch.setattr(root, "handlers", [])
    set_up_logging(Settings(log_level="error"), is_json=True)
    assert isinstance(root.handlers[0].formatter, JsonLines)
    assert root.level == logging.ERROR


def test_a_status_line_says_what_matters() -> None:
    """Attempt, progress, message and error follow the state, where there are any."""
    error = ErrorInfo("ValueError", "no luck")
    retrying = JobStatus(job_id="j", state=State.RETRYING, attempt=2, error=error)
    running = JobStatus(
        job_id="j", state=State.RUNNING, attempt=1, current=3, total=4, message="half"
    )

    assert line(retrying) == "retrying (attempt 2) ValueError: no luck"
    assert line(running) == "running 3/4 half"
    assert line(JobStatus(job_id="j", state=State.PENDING)) == "pending"


def test_events_that_are_not_for_people_are_left_out() -> None:
    """A dead letter's event repeats what its finished event says."""
    body = b'{"kind":"retrying","job_id":"j","at_ms":5,"task":"t","message":"ValueError: x"}'

    retrying = read_event("mesh.events.retrying.j", body, {})
    finished = read_event(
        "mesh.events.finished.j", b"", {"Mesh-Task": "t", "Mesh-State": "failed"}
    )

    assert read_event("mesh.events.dead.j", b"", {}) is None
    assert retrying is not None
    assert retrying.text().endswith("retrying   t j  ValueError: x")
    assert finished is not None
    assert finished.text().endswith("failed     t j")
