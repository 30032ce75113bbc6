"""Acknowledges a job, and only then has the server hold it until its next attempt."""

from __future__ import annotations

from mesh.transport import frames
from mesh.transport.puller import ACK
from mesh.worker.attempt import Attempt
from mesh.worker.settlement import Settlement


def mutate() -> None:
    """Break the worker of this process."""
    reschedule = Settlement._reschedule

    async def ack_and_reschedule(
        self: Settlement, attempt: Attempt, number: int, delay_s: float
    ) -> None:
        self._link.post(frames.signal(attempt.delivery.reply, ACK))
        await self._client.connection.flush()
        await reschedule(self, attempt, number, delay_s)

    Settlement._reschedule = ack_and_reschedule
