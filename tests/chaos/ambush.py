"""An ambush: a worker stops itself just before it publishes something certain.

A fault that strikes at a time hits the gap between two steps once in a thousand runs. One that
lies in wait hits it each time: the nemesis names a subject in a file, the worker stops itself
(SIGSTOP) as it is about to publish there, and the nemesis does with it what was planned.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from mesh.clock import SYSTEM_CLOCK
from mesh.transport.publisher import Publisher
from mesh.transport.waiting import Done


class Ambush:
    """Lies in wait for the worker of one place.

    Args:
        folder: Where the history of the run is kept.
        place: The worker's place, such as ``w1``.
    """

    def __init__(self, folder: Path, place: str) -> None:
        self._laid = folder / f"{place}.ambush"
        self._taken = folder / f"{place}.taken"
        self._struck = folder / f"{place}.struck"

    def lay(self, before: str) -> None:
        """Lie in wait for a publish to a subject that starts so."""
        self._struck.unlink(missing_ok=True)
        self._put(self._laid, before)

    def has_struck(self) -> bool:
        """Whether the worker has stopped itself."""
        return self._struck.exists()

    def struck_at(self) -> float:
        """When the worker stopped itself, on the monotonic clock."""
        return float(self._struck.read_text())

    def meet(self, subject: str) -> None:
        """Stop this process if somebody lies in wait for what it is about to publish."""
        try:
            before = self._laid.read_text()
        except FileNotFoundError:
            return
        if not subject.startswith(before):
            return
        self._laid.rename(self._taken)
        self._put(self._struck, repr(SYSTEM_CLOCK.monotonic()))
        os.kill(os.getpid(), signal.SIGSTOP)

    def _put(self, path: Path, text: str) -> None:
        """Write a file that is there as a whole or not at all."""
        made = path.with_suffix(".new")
        made.write_text(text)
        made.rename(path)


def walk_into(ambush: Ambush) -> None:
    """Have every publish of this process look out for an ambush; it walks right into it."""
    post = Publisher.post

    def post_unless_met(
        self: Publisher,
        subject: str,
        block: bytes,
        payload: bytes,
        done: Done,
        context: Any,
        *,
        once: bool = False,
    ) -> None:
        ambush.meet(subject)
        post(self, subject, block, payload, done, context, once=once)

    Publisher.post = post_unless_met
