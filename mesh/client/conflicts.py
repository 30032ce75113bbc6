"""What stands in the way of a job: another one with its id, or with its unique key."""

from __future__ import annotations

from mesh.errors import BrokerError


class JobConflictError(BrokerError):
    """Another job stands in the way: it has the same id, or the same unique key.

    Attributes:
        job_id: The other job.
    """

    job_id: str

    def __init__(self, job_id: str, why: str) -> None:
        self.job_id = job_id
        super().__init__(f"job {job_id!r} stands in the way: {why}")
