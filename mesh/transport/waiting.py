"""A publish on its way: what was sent, when, and what went wrong with it so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mesh.errors import BrokerError, QueueFullError

Done = Callable[[Any, "BrokerError | None", bytes], None]
"""Receives the caller's context, the fault or None, and the server's acknowledgement."""

NEVER = float("-inf")
"""When a publish was sent that was not sent."""


class Trouble:
    """What went wrong with a publish so far.

    Attributes:
        was_resent: It was sent again because no acknowledgement came.
        full_until: Until when it may wait for room in its stream; 0.0: it was not refused.
        refusal: The last refusal for want of room.
    """

    __slots__ = ("full_until", "refusal", "was_resent")

    def __init__(self) -> None:
        self.was_resent = False
        self.full_until = 0.0
        self.refusal: QueueFullError | None = None


class Waiting:
    """A publish on its way.

    Attributes:
        subject: Where to.
        frame: What is sent, encoded.
        done: Called when it is settled.
        context: Given back to ``done``.
        first_sent: Since when its fate is open.
        sent: When it was last sent.
        once: It may be sent only once: what it says may not be true any more later on.
        trouble: What went wrong so far; None for most.
    """

    __slots__ = (
        "context",
        "done",
        "first_sent",
        "frame",
        "once",
        "sent",
        "subject",
        "trouble",
    )

    def __init__(
        self,
        subject: str,
        frame: bytes,
        done: Done,
        context: Any,
        now: float,
        *,
        once: bool = False,
    ) -> None:
        self.subject = subject
        self.frame = frame
        self.done = done
        self.context = context
        self.first_sent = now
        self.sent = now
        self.once = once
        self.trouble: Trouble | None = None

    def refused(self, refusal: QueueFullError, now: float, patience_s: float) -> float:
        """Note that its stream is full; say until when it may wait for room."""
        trouble = self.trouble = self.trouble or Trouble()
        trouble.refusal = refusal
        trouble.full_until = trouble.full_until or now + patience_s
        # The server did answer: the time in which its fate is open begins anew.
        self.first_sent = now
        return trouble.full_until

    def resent(self) -> bool:
        """Note that it is sent again for want of an answer; say whether for the first time."""
        trouble = self.trouble = self.trouble or Trouble()
        is_first = not trouble.was_resent
        trouble.was_resent = True
        return is_first
