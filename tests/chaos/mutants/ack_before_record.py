"""Acknowledges a job that returned, and only then stores its result."""

from __future__ import annotations

import asyncio

from mesh.transport import frames
from mesh.transport.puller import ACK
from mesh.worker.attempt import Attempt
from mesh.worker.outcomes import Outcome, Succeeded
from mesh.worker.settlement import Settlement


def mutate() -> None:
    """Break the worker of this process."""
    settle = Settlement.settle

    async def ack_and_settle(self: Settlement, attempt: Attempt, outcome: Outcome) -> None:
        self._link.post(frames.signal(attempt.delivery.reply, ACK))
        await self._client.connection.flush()
        settle(self, attempt, outcome)

    def settle_later(self: Settlement, attempt: Attempt, outcome: Outcome) -> None:
        if not isinstance(outcome, Succeeded):
            settle(self, attempt, outcome)
            return
        work = ack_and_settle(self, attempt, outcome)
        task = asyncio.get_running_loop().create_task(work)
        self._slow.add(task)
        task.add_done_callback(self._slow.discard)

    Settlement.settle = settle_later
