"""Match the beginnings of jobs in the ledger with the ends that follow them; without I/O."""

from __future__ import annotations

from itertools import islice

from mesh.client.pending import IdSet
from mesh.contract import headers
from mesh.contract.events import EventKind
from mesh.contract.lifecycle import State
from mesh.errors import InvalidNameError
from mesh.identifiers import check_job_id
from mesh.transport import frames
from mesh.transport.buckets import Entry


class Ledger:
    """Takes in events in their order and remembers the jobs that are open.

    Args:
        pending: The jobs that have a message: they are accounted for.

    Attributes:
        is_open: Jobs that were enqueued and of whose end nothing was read yet.
        failed: Jobs that failed for good and of whose dead letter nothing was read yet.
    """

    def __init__(self, pending: IdSet) -> None:
        self._pending = pending
        self.is_open: dict[str, None] = {}
        self.failed: dict[str, None] = {}

    def take(self, entry: Entry) -> None:
        """Take in the next event."""
        *_, kind, job_id = entry.subject.split(".")
        match kind:
            case EventKind.ENQUEUED:
                if job_id not in self._pending and is_job_id(job_id):
                    self.is_open[job_id] = None
            case EventKind.FINISHED:
                self.is_open.pop(job_id, None)
                if frames.last_header(entry.block, headers.STATE) == State.FAILED:
                    self.failed[job_id] = None
            case EventKind.EXPIRING:
                self.is_open.pop(job_id, None)
            case EventKind.DEAD:
                self.failed.pop(job_id, None)
            case _:
                pass

    def pop_oldest(self, count: int) -> list[str]:
        """Take out the jobs that have been open for longest."""
        oldest = list(islice(self.is_open, count))
        for job_id in oldest:
            del self.is_open[job_id]
        return oldest


def is_job_id(text: str) -> bool:
    """Whether a job can be called so; the records of others have another name."""
    try:
        check_job_id(text)
    except InvalidNameError:
        return False
    return True
