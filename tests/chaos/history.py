"""The history of a chaos run: append-only files of JSON lines, one file for each process.

A line is written whole by one system call, so a process that is killed leaves no half of one.
All processes of a run share one machine, and so one monotonic clock.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
from msgspec import Struct

from mesh.clock import SYSTEM_CLOCK

Kind = Literal["invoke", "ok", "fail", "info"]


class Line(Struct, frozen=True, omit_defaults=True):
    """One thing that somebody did or saw.

    Attributes:
        t: When, in seconds on the machine's monotonic clock.
        proc: Who says so: ``producer``, ``nemesis``, ``reader``, or a worker such as ``w1.2``,
            which is the second process in the place of worker 1.
        f: What it is about: ``clock``, ``enqueue``, ``cancel``, ``result``, ``run``, ``fault``,
            ``spawn``, ``exit``, ``record``, ``replaced``, ``finished``, ``letter``, ``left``,
            ``healed``, ``drained``.
        type: ``invoke`` when it begins; ``ok``, ``fail``, or ``info`` when nobody can say.
        id: The job.
        attempt: The attempt's number, as the task sees it.
        op: What ties an end to its beginning: the number of an operation, run or fault.
        value: More about it.
    """

    t: float
    proc: str
    f: str
    type: Kind
    id: str = ""
    attempt: int = 0
    op: str = ""
    value: Any = None


def fingerprint(text: str) -> str:
    """A result as the history holds it: a large one only by its digest."""
    if len(text) <= 200:
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


class Journal:
    """Appends the lines of one process to a file of its own.

    Args:
        folder: Where the history is kept.
        proc: Who writes.
    """

    def __init__(self, folder: Path, proc: str) -> None:
        self.proc = proc
        path = folder / f"{proc}-{os.getpid()}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, f: str, kind: Kind, **more: Any) -> None:
        """Append a line with the time of now."""
        self.add(Line(SYSTEM_CLOCK.monotonic(), self.proc, f, kind, **more))

    def add(self, *lines: Line) -> None:
        """Append lines as they are."""
        os.write(self._file, b"".join(_encode(line) + b"\n" for line in lines))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_history(folder: Path) -> list[Line]:
    """Read every file of a history, in the order in which things happened."""
    lines = [
        _decode(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]
    return sorted(lines, key=lambda line: line.t)
