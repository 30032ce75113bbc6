"""Runs a job that comes again without looking for its terminal record."""

from __future__ import annotations

from mesh.client.records import Records
from mesh.contract.records import ResultRecord


def mutate() -> None:
    """Break the worker of this process."""

    async def see_nothing(self: Records, job_id: str) -> ResultRecord | None:
        del self, job_id
        return None

    Records.result = see_nothing
