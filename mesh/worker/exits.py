"""The exit codes of the command line and of worker processes: a promise to scripts."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended.

    Attributes:
        OK: It did what was asked.
        FAILED: It could not; or the job it asked about failed.
        USAGE: It was asked wrongly: options, settings, or an app that cannot be loaded.
        NOT_FOUND: There is no such job.
        NO_CONNECTION: No server could be reached, or it refused the login.
        TIMED_OUT: What it waited for did not happen in time.
        INTERRUPTED: Ctrl-C ended a command that had not finished.
    """

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NO_CONNECTION = 4
    TIMED_OUT = 5
    INTERRUPTED = 130
