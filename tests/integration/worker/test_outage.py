"""The server is away when a job ends: the outcome is kept and stored when it is back."""

from __future__ import annotations

import anyio
import pytest
from support.running import RunningApp
from support.waiting import until

from mesh import JobFailedError, Mesh, State
from mesh.server.process import EmbeddedServer


@pytest.mark.parametrize("ending", ["returns", "fails", "retries", "large"])
async def test_an_outcome_outlives_an_outage(ending: str) -> None:
    """Longer than the publish deadline, a success, a failure and a retry are all kept."""
    runs: list[int] = []
    release = anyio.Event()
    with EmbeddedServer() as server:
        app = Mesh(server.url, publish={"deadline_s": 0.3})
        running = RunningApp(app)

        @app.task(retry=1 if ending == "retries" else 0)
        async def work() -> str:
            runs.append(1)
            await release.wait()
            if ending == "fails" or (ending == "retries" and len(runs) == 1):
                message = "no"
                raise ValueError(message)
            return "x" * 1_000_000 if ending == "large" else "done"

        async with running.worker(
            worker__ack_wait_s=2.0, worker__heartbeat_s=0.5, job_defaults__retry_delay_s=0.1
        ):
            job = await work.enqueue()
            await until(lambda: bool(runs), "it runs")
            client = await app.client()
            server.kill()
            await until(lambda: not client.connection.is_connected, "the server is away")
            release.set()
            gone = anyio.current_time() + 1.0
            await until(lambda: anyio.current_time() > gone, "the deadline is over twice")
            await server.start_async()
            if ending == "fails":
                with pytest.raises(JobFailedError, match="no"):
                    await job.result(timeout=30)
            else:
                assert (await job.result(timeout=30))[:4] in {"done", "xxxx"}
            status = await job.status()

            async def is_empty() -> bool:
                return await running.count("jobs_stream") == 0

            await until(is_empty, "the message is acknowledged")
        await app.close()

    assert status.state is (State.FAILED if ending == "fails" else State.SUCCEEDED)
    assert len(runs) == (2 if ending == "retries" else 1)


async def test_delayed_jobs_that_are_handed_over_twice_run_once() -> None:
    """A server that is killed right after a hand-over repeats it; the records know better."""
    runs: dict[int, int] = {}
    with EmbeddedServer() as server:
        app = Mesh(server.url, publish={"deadline_s": 20})
        running = RunningApp(app)

        @app.task
        async def work(number: int) -> None:
            runs[number] = runs.get(number, 0) + 1

        async with running.worker():
            for number in range(20):
                await work.options(delay="1s").enqueue(number)
            await until(lambda: len(runs) == 20, "all have run", 30)
            server.kill()
            await server.start_async()
            client = await app.client()
            await until(lambda: client.connection.is_connected, "the server is back")

            async def is_over() -> bool:
                streams = ("jobs_stream", "delayed_stream")
                return not any([await running.count(stream) for stream in streams])

            await until(is_over, "all is handed over and acknowledged", 40)
        await app.close()

    assert runs == dict.fromkeys(range(20), 1)
