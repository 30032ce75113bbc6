"""Plays in which a job's fate, or its server's, changes while a worker is at it."""

from __future__ import annotations

import anyio.to_thread
from support.failpoints.stage import LIMIT_S, Run
from support.schedules import at, put, remove
from support.waiting import until

from mesh import State, Unique
from mesh.client.client import Client
from mesh.contract.envelope import Until
from mesh.contract.records import UniqueKey
from mesh.tasks.unique import uniqueness


async def unique(run: Run) -> None:
    """Jobs own their keys to their end, to their start, for a time; two have lost theirs."""
    for number, ends in enumerate(("done", "started", "60s")):
        rule = Unique(key=f"{run.prefix}-{number}", until=ends)
        await run.send("plain", job_id=f"{run.prefix}-u{number}", unique=rule)
    client = await run.app.client()
    for key in ("lost", "taken"):
        rule = Unique(key=f"{run.prefix}-{key}")
        await run.send("plain", job_id=f"{run.prefix}-{key}", unique=rule, delay=0.5)
        digest = uniqueness(rule, "plain", (), {}).digest
        held = await client.keys.read(digest)
        if key == "lost":
            await client.keys.release(digest, held.revision)
        else:
            other = UniqueKey(f"{run.prefix}-never", Until.DONE, claimed_at_ms=1)
            await client.keys.write(digest, other, held.revision)


async def exclusive(run: Run) -> None:
    """A job claims its lease before it starts."""
    await run.send("alone")


async def overlapping(run: Run) -> None:
    """A job of a schedule cancels the one that runs, and takes its turn."""
    client, name = await run.app.client(), f"{run.prefix}-o"
    await put(client, name, at(1, task="hold", overlap="cancel_running"))
    words = f'"schedule":"{name}","scheduled_for_ms":'
    first = await run.publish(
        f'{{"task":"hold","args":[20],{words}1}}'.encode(), state=State.CANCELLED
    )
    # Started anew, after the worker has died, it ends by itself before the other one comes.
    run.expect(first, State.CANCELLED, State.SUCCEEDED)
    await run.started(first)
    await run.publish(f'{{"task":"plain",{words}2}}'.encode(), state=State.SUCCEEDED)
    await run.ended()
    await remove(client, name)


async def cancelled_while_put_off(run: Run) -> None:
    """A job is cancelled between its failure and the record of its retry."""
    client, written = await run.app.client(), list[bytes]()
    job = await run.send("again", 0.1, state=State.CANCELLED)
    await run.first_fired()

    def note(subject: bytes, _reply: bytes, _data: bytes, _block: bytes) -> None:
        written.append(subject)

    tap = client.connection.link.tap(client.names.progress(job.id), note)
    await job.cancel()
    await until(
        lambda: bool(written) or run.starts > 1, "the worker has put the job off", LIMIT_S
    )
    client.connection.link.untap(tap)


async def cancelled_while_stored(run: Run) -> None:
    """A job is cancelled after its large result is stored, before its record is."""
    job = await run.send("large", state=State.CANCELLED)
    await run.first_fired()
    await job.cancel()


async def cancelled_while_failing(run: Run) -> None:
    """A job is cancelled after it has failed, before its record is stored."""
    job = await run.send("fail", state=State.CANCELLED)
    await run.first_fired()
    await job.cancel()


async def consumer_deleted(run: Run) -> None:
    """Somebody deletes the consumer of a lane while a job of it runs."""
    job = await run.send("slow", 0.8)
    await run.started(job.id)
    client = await run.app.client()
    lane = f"{client.names.jobs_stream}.default-normal"
    await client.connection.api(f"CONSUMER.DELETE.{lane}")
    await run.send("plain")


async def deaf(run: Run) -> None:
    """No pull arrives until the worker has connected anew."""
    await run.send("plain")


async def server_killed(run: Run) -> None:
    """The server is killed, and comes back, while a job runs and others wait."""
    assert run.stage.server is not None
    job = await run.send("slow", 0.8)
    await run.started(job.id)
    await anyio.to_thread.run_sync(run.stage.server.kill)
    await run.stage.server.start_async()
    client = await run.app.client()
    await until(lambda: _is_back(client), "the connection is back", 20)
    await run.send("plain")


async def _is_back(client: Client) -> bool:
    return client.connection.is_connected
