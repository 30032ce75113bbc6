"""The blocking twin of a queue's handle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from mesh.client.blocking import Portal
from mesh.client.queues import Queue, QueueStatus
from mesh.durations import Duration


class BlockingQueue:
    """The blocking twin of ``Queue``: the same names, safe from any thread.

    Attributes:
        name: The queue's name.
    """

    __slots__ = ("_portal", "_queue", "name")

    name: str

    def __init__(self, queue: Queue, portal: Portal) -> None:
        self.name = queue.name
        self._queue = queue
        self._portal = portal

    def pause(self, until: datetime | Duration | None = None) -> None:
        """Give out no more jobs; see ``Queue.pause``."""
        self._portal.call(self._queue.pause(until))

    def resume(self) -> bool:
        """Give out jobs again; see ``Queue.resume``."""
        return self._portal.call(self._queue.resume())

    def limit(self, most: int | None) -> None:
        """Limit how many jobs workers may have at once; see ``Queue.limit``."""
        self._portal.call(self._queue.limit(most))

    def purge(
        self, priority: str | None = None, on_progress: Callable[[int], None] | None = None
    ) -> int:
        """Cancel every job that is pending now; see ``Queue.purge``."""
        return self._portal.call(self._queue.purge(priority, on_progress))

    def move(
        self,
        to_queue: str | None = None,
        *,
        to_priority: str | None = None,
        priority: str | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> int:
        """Move every job that is pending now; see ``Queue.move``."""
        return self._portal.call(
            self._queue.move(
                to_queue, to_priority=to_priority, priority=priority, on_progress=on_progress
            )
        )

    def status(self) -> QueueStatus:
        """Say what the queue holds; see ``Queue.status``."""
        return self._portal.call(self._queue.status())

    def __repr__(self) -> str:
        """Show the name."""
        return f"<BlockingQueue {self.name}>"
