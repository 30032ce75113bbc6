"""Acknowledges a job before its task runs."""

from __future__ import annotations

from mesh.transport import frames
from mesh.transport.puller import ACK
from mesh.worker.attempt import Attempt
from mesh.worker.consumer import Consumer


def mutate() -> None:
    """Break the worker of this process."""
    live = Consumer._live

    async def ack_and_live(self: Consumer, attempt: Attempt) -> None:
        self._link.post(frames.signal(attempt.delivery.reply, ACK))
        await live(self, attempt)

    Consumer._live = ack_and_live
