"""What one attempt logs: bounded in lines and bytes, safe from any thread."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from mesh.clock import Clock
from mesh.contract.events import LogLine
from mesh.settings.model import EventsSettings

_LONGEST_LINE = 8192
_BATCH_LINES = 200
_BATCH_CHARACTERS = 32_768
_OFF = logging.CRITICAL + 1


class LogRules(Struct, frozen=True):
    """How much of an attempt's log is kept.

    Attributes:
        level: The least severe line, as a number of `logging`.
        lines: How many lines.
        bytes: How many bytes of text.
    """

    level: int = logging.INFO
    lines: int = 1000
    bytes: int = 262_144


def log_rules(settings: EventsSettings) -> LogRules:
    """Read the rules from the settings; where nothing is kept the level is above all others."""
    level = settings.log_level if settings.enabled else "off"
    number = logging.getLevelNamesMapping().get(level.upper(), _OFF)
    return LogRules(number, settings.log_lines, settings.log_bytes)


def cleaned(text: str) -> str:
    """Make a text fit to be kept: neither too long nor impossible to encode."""
    if len(text) > _LONGEST_LINE:
        text = f"{text[:_LONGEST_LINE]}... ({len(text):,} characters)"
    # A lone surrogate cannot be encoded, and must not cost the lines around it.
    return text.encode("utf-8", "replace").decode()


class LogBudget:
    """Counts what was kept, and says when it is enough.

    Args:
        rules: How much is kept.
    """

    def __init__(self, rules: LogRules) -> None:
        self._rules = rules
        self._bytes = 0
        self.lines = 0
        self.is_spent = False

    def admits(self, level: int, text: str) -> bool:
        """Whether a line is still to be kept; the first one too many spends the budget."""
        if level < self._rules.level or self.is_spent:
            return False
        self.lines += 1
        self._bytes += len(text)
        self.is_spent = self.lines > self._rules.lines or self._bytes > self._rules.bytes
        return not self.is_spent


class JobLog:
    """The lines of one attempt that are not yet sent.

    Args:
        rules: How much is kept.
        clock: The time.
        redact: Leaves secrets out of a text.
    """

    def __init__(
        self, rules: LogRules, clock: Clock, redact: Callable[[str], str] = str
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._redact = redact
        self._budget = LogBudget(rules)
        self._lines: deque[LogLine] = deque()
        self._lock = threading.Lock()

    def add(self, level: int, logger: str, text: str) -> None:
        """Take in a line; the one that is too many is replaced by a word about it."""
        if level < self._rules.level:
            return
        # Whatever is captured of a job passes here, and only here.
        text = self._redact(cleaned(text))
        with self._lock:
            if self._budget.is_spent:
                return
            if not self._budget.admits(level, text):
                level, logger = logging.WARNING, "mesh"
                text = (
                    f"the log of this attempt is cut here: {self._rules.lines:,} lines and "
                    f"{self._rules.bytes:,} bytes are kept (events.log_lines, log_bytes)"
                )
            name = logging.getLevelName(level).lower()
            at_ms = self._clock.now_ms()
            self._lines.append(LogLine(at_ms, name, text, logger, self._budget.lines))

    def take(self) -> tuple[LogLine, ...]:
        """Take out the oldest lines, as many as fit into one event; none if there are none."""
        taken: list[LogLine] = []
        room = _BATCH_CHARACTERS
        with self._lock:
            while self._lines and len(taken) < _BATCH_LINES and room > 0:
                taken.append(self._lines.popleft())
                room -= len(taken[-1].text)
        return tuple(taken)
