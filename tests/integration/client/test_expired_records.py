"""Records pass their time to live: whoever asks then is told so, and never waits for ever."""

from __future__ import annotations

import pytest
from support.running import RunningApp
from support.waiting import until

from mesh.errors import ResultExpiredError
from mesh.tasks.options import CallKeywords


@pytest.mark.parametrize("ending", ["succeeds", "fails", "expires"])
async def test_whoever_waits_for_a_record_that_has_passed_is_told_so(
    mesh: RunningApp, ending: str
) -> None:
    """A waiter is not left waiting: the job ended, and its record has expired."""

    @mesh.app.task(result_ttl=1, failure_ttl=1, retry=0)
    async def work() -> None:
        if ending == "fails":
            message = "no"
            raise ValueError(message)

    async with mesh.worker():
        keywords: CallKeywords = {"expires": 0} if ending == "expires" else {}
        job = await work.options(**keywords).enqueue()
        records = (await mesh.client()).records
        await records.wait(job.id, 10, is_known=True)

        async def is_gone() -> bool:
            return await records.result(job.id) is None

        await until(is_gone, "the record's time to live is over")
        for waiter in (job, mesh.app.job(job.id)):
            with pytest.raises(ResultExpiredError):
                await waiter.result(timeout=30)


async def test_a_record_that_is_gone_before_its_event_has_expired(mesh: RunningApp) -> None:
    """As long as the ledger knows that the job ended, waiters are told that it did."""

    @mesh.app.task
    async def quick() -> int:
        return 1

    async with mesh.worker():
        job = await quick.enqueue()
        await job.result(timeout=30)
        client = await mesh.client()
        await client.connection.api(f"STREAM.PURGE.KV_{client.names.results_bucket}")

        for waiter in (job, mesh.app.job(job.id)):
            with pytest.raises(ResultExpiredError):
                await waiter.result(timeout=30)
        with pytest.raises(ResultExpiredError):
            await job.status()
