"""What is kept of an attempt's log: in order, of the right level, and never too much."""

from __future__ import annotations

import logging

from mesh.clock import SYSTEM_CLOCK
from mesh.settings.model import EventsSettings
from mesh.worker.joblog import JobLog, LogRules, log_rules


def job_log(**rules: int) -> JobLog:
    """An empty log."""
    return JobLog(LogRules(**rules), SYSTEM_CLOCK)


def test_lines_are_taken_out_once_and_in_order() -> None:
    """What was taken is not taken again; numbers go on."""
    log = job_log()
    log.add(logging.INFO, "shop", "one")
    log.add(logging.ERROR, "", "two")

    first = log.take()
    log.add(logging.INFO, "shop", "three")

    assert [(line.number, line.level, line.text) for line in first] == [
        (1, "info", "one"),
        (2, "error", "two"),
    ]
    assert [(line.number, line.text) for line in log.take()] == [(3, "three")]
    assert log.take() == ()


def test_many_lines_are_taken_in_batches() -> None:
    """One event never holds more than it can carry."""
    log = job_log(lines=1000, bytes=10_000_000)
    for _ in range(20):
        log.add(logging.INFO, "", "x" * 8000)

    batches = [len(log.take()) for _ in range(5)]

    assert batches == [5, 5, 5, 5, 0]


def test_lines_below_the_level_are_dropped() -> None:
    """They do not count against the limit either."""
    log = job_log(level=logging.WARNING, lines=1)
    log.add(logging.INFO, "", "too little")
    log.add(logging.WARNING, "", "enough")

    assert [line.text for line in log.take()] == ["enough"]


def test_a_log_with_too_many_bytes_is_cut() -> None:
    """The line that is one too many is replaced by a word about it; then there is silence."""
    log = job_log(bytes=10)
    for text in ("12345", "678901", "again"):
        log.add(logging.INFO, "", text)

    first, last = log.take()

    assert first.text == "12345"
    assert "is cut here" in last.text
    assert last.level == "warning"


def test_a_text_that_cannot_be_stored_as_it_is_is_mended() -> None:
    """A very long line is cut; half a character does not cost the others."""
    log = job_log()
    log.add(logging.INFO, "", "x" * 10_000)
    log.add(logging.INFO, "", "half \ud800 of it")

    long, odd = log.take()

    assert long.text.endswith("... (10,000 characters)")
    assert odd.text == "half ? of it"


def test_a_ledger_that_is_off_keeps_no_line() -> None:
    """Whatever the level of logs is then."""
    rules = log_rules(EventsSettings(enabled=False, log_level="debug"))

    log = JobLog(rules, SYSTEM_CLOCK)
    log.add(logging.CRITICAL, "", "unheard")

    assert log.take() == ()
