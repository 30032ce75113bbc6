"""What is logged and printed while a job runs reaches that job, and no other place less."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout

import pytest
from msgspec import Struct

from mesh.settings.model import EventsSettings
from mesh.tasks.context import JobContext, running_job
from mesh.worker.capturing import capturing, printing_to

Line = tuple[int, str, str]


class Running(Struct):
    """A job that runs."""

    context: JobContext


@pytest.fixture
def heard() -> Iterator[list[Line]]:
    """What a running job of worker w hears."""
    lines: list[Line] = []

    def hear(level: int, logger: str, text: str) -> None:
        lines.append((level, logger, text))

    context = JobContext("job-1", "t", "q", "normal", worker="w", log_sink=hear)
    token = running_job.set(Running(context))
    yield lines
    running_job.reset(token)


def test_a_record_reaches_the_job_that_runs(heard: list[Line]) -> None:
    """With its level, its logger, its arguments and the traceback."""
    with capturing("w", EventsSettings()):
        logging.getLogger("shop").warning("%d lines", 3)
        try:
            int("no number")
        except ValueError:
            logging.getLogger("shop").exception("oh")

    assert heard[0] == (logging.WARNING, "shop", "3 lines")
    assert heard[1][2].startswith("oh\nTraceback")
    assert heard[1][2].endswith("invalid literal for int() with base 10: 'no number'")


def test_other_workers_and_mesh_itself_are_left_out(heard: list[Line]) -> None:
    """Each worker captures its own jobs, so that nothing is there twice."""
    with capturing("another", EventsSettings()):
        logging.getLogger("shop").warning("not mine")
    with capturing("w", EventsSettings()):
        logging.getLogger("mesh.worker").warning("mesh's own")
    with capturing("w", EventsSettings(log_level="off")):
        logging.getLogger("shop").warning("kept nowhere")

    assert heard == []


def test_the_handler_is_gone_afterwards() -> None:
    """A worker that has ended leaves the root logger as it was."""
    before = list(logging.getLogger().handlers)
    with capturing("w", EventsSettings()):
        assert len(logging.getLogger().handlers) == len(before) + 1
    assert logging.getLogger().handlers == before


def test_a_record_that_cannot_be_formatted_does_not_fail_the_task(
    heard: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`logging` says so on stderr, as it always does."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with capturing("w", EventsSettings()):
        logging.getLogger("shop").warning("%d", "no number")

    assert heard == []


def test_where_nobody_set_up_logging_warnings_are_still_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python shows them on stderr only as long as there is no handler at all."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with capturing("w", EventsSettings()):
        logging.getLogger("shop").warning("look")

    assert capsys.readouterr().err == "look\n"


def test_what_is_printed_goes_both_ways() -> None:
    """Lines are handed on whole, the last one at the end, and the stream gets all of it."""
    below, lines = io.StringIO(), list[Line]()

    def hear(level: int, logger: str, text: str) -> None:
        lines.append((level, logger, text))

    with redirect_stdout(below):
        with printing_to(hear):
            sys.stdout.write("one\nt")
            sys.stdout.write("wo\n\nthr")
            sys.stdout.flush()
            assert not sys.stdout.isatty()
        assert sys.stdout is below

    assert below.getvalue() == "one\ntwo\n\nthr"
    assert [text for _, _, text in lines] == ["one", "two", "thr"]
    assert {(level, logger) for level, logger, _ in lines} == {(logging.INFO, "stdout")}
