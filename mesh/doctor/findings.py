"""What an examination found: each finding with what to do about it."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Level(StrEnum):
    """How bad a finding is: jobs suffer, or may soon, or somebody should know."""

    PROBLEM = "problem"
    WARNING = "warning"
    NOTE = "note"


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be.

    Attributes:
        level: How bad it is.
        kind: What it is, as one word for programs.
        name: The queue, stream or server that it is about.
        what: What was seen, for people.
        remedy: What to do about it.
    """

    level: Level
    kind: str
    name: str
    what: str
    remedy: str


class Report(Struct, frozen=True, kw_only=True):
    """What an examination came to.

    Attributes:
        url: The servers that were examined.
        namespace: The namespace that was examined.
        findings: What was found, the worst first.
        checks: How many things were looked at.
        took_s: How long it took, in seconds.
    """

    url: str
    namespace: str
    findings: tuple[Finding, ...]
    checks: int
    took_s: float

    @property
    def is_healthy(self) -> bool:
        """Whether there is no problem; warnings and notes may be there."""
        return all(one.level is not Level.PROBLEM for one in self.findings)


def problem(kind: str, name: str, what: str, remedy: str) -> Finding:
    """Make a finding under which jobs suffer."""
    return Finding(level=Level.PROBLEM, kind=kind, name=name, what=what, remedy=remedy)


def warning(kind: str, name: str, what: str, remedy: str) -> Finding:
    """Make a finding under which jobs may suffer soon."""
    return Finding(level=Level.WARNING, kind=kind, name=name, what=what, remedy=remedy)


def note(kind: str, name: str, what: str, remedy: str) -> Finding:
    """Make a finding that somebody should know."""
    return Finding(level=Level.NOTE, kind=kind, name=name, what=what, remedy=remedy)
