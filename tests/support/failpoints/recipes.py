"""What is played while one failpoint is armed; together they reach every place that talks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from support.failpoints import races
from support.failpoints.acts import LARGE
from support.failpoints.damage import damage
from support.failpoints.stage import LIMIT_S, Run
from support.failpoints.verdict import faults_of

from mesh import State
from mesh.contract import records
from mesh.contract.lifecycle import State as RecordState
from mesh.contract.records import ErrorInfo, ResultRecord

Play = Callable[[Run], Awaitable[None]]


class Recipe(NamedTuple):
    """A way to play.

    Attributes:
        name: Its name.
        play: Sends the jobs, and does what else is to be done while the worker runs.
        act: The program in which the failpoint is armed; empty: it is armed in the worker.
        is_burst: The worker ends when its queues are empty.
        companions: Failpoints that are armed in any case, to bring the recipe about.
        environment: What else the worker's environment says.
        has_own_server: It is played on a server of its own, which it may kill.
    """

    name: str
    play: Play
    act: str = ""
    is_burst: bool = False
    companions: tuple[str, ...] = ()
    environment: Mapping[str, str] = MappingProxyType({})
    has_own_server: bool = False


async def plain(run: Run) -> None:
    """A job succeeds."""
    await run.send("plain")


async def large_arguments(run: Run) -> None:
    """Arguments lie in the payload bucket."""
    await run.send("plain", LARGE)


async def large_result(run: Run) -> None:
    """The result lies in the outputs bucket."""
    await run.send("large")


async def failing(run: Run) -> None:
    """A job fails for good."""
    await run.send("fail", state=State.FAILED)


async def failing_large(run: Run) -> None:
    """A job whose dead letter is too large for a message."""
    body = json.dumps({"task": "fail", "args": ["x" * 1_048_000]}).encode()
    await run.publish(body, state=State.FAILED)


async def retry_soon(run: Run) -> None:
    """A retry waits in the queue."""
    await run.send("again", 0.1, starts=2)


async def retry_later(run: Run) -> None:
    """A retry waits in the delayed stream."""
    await run.send("again", 0.6, starts=2)


async def snooze(run: Run) -> None:
    """A job puts itself off."""
    await run.send("later", 0.6, starts=2)


async def slow(run: Run) -> None:
    """A job runs long enough for a running record and its renewal; another one in a thread."""
    await run.send("slow", 0.8)
    await run.send("threaded")


async def crashing_child(run: Run) -> None:
    """A child of the process pool dies."""
    await run.send("crash", starts=2)


async def unknown_task(run: Run) -> None:
    """No worker knows the task."""
    await run.send("nobody_knows", state=State.FAILED)


async def malformed(run: Run) -> None:
    """A message is no job."""
    await run.publish(b"{", state=State.FAILED)


async def expired(run: Run) -> None:
    """A job comes too late."""
    await run.send("plain", expires=0.001, state=State.EXPIRED)


async def delayed(run: Run) -> None:
    """A job is held by the server."""
    await run.send("plain", delay=0.6)
    await run.send("plain", delay=0.2)  # Too soon for the server: its worker holds it.


async def cancelled(run: Run) -> None:
    """A job is cancelled while it runs."""
    job = await run.send("hold", 20, state=State.CANCELLED)
    await run.started(job.id)
    await job.cancel("no longer wanted")


async def drain(run: Run) -> None:
    """The worker is told to stop in the middle: running jobs are handed back."""
    early = await run.send("hold", 20, starts=2)
    await run.started(early.id)
    await run.send("slow", 0.8, starts=2)
    late = await run.send("hold", 20, starts=2)
    await run.started(late.id)
    run.stop_worker()


async def drain_full(run: Run) -> None:
    """The worker is told to stop when more jobs have come than it has slots."""
    first = await run.send("hold", 20, starts=2)
    await run.started(first.id)
    for priority in ("critical", "high", "normal", "low", "normal", "high"):
        await run.send("hold", 0.5, priority=priority, starts=2)
    run.stop_worker()


async def drain_late(run: Run) -> None:
    """A job comes to a worker that has begun to stop."""
    await run.send("plain")
    await run.ended()
    run.stop_worker()
    await run.first_fired()
    await run.send("plain")


async def killed_at_once(run: Run) -> None:
    """A job kills its worker; the next one asks the records and claims it."""
    await run.send("kill_worker", LARGE, starts=2)


async def killed_later(run: Run) -> None:
    """A job with a running record kills its worker; the next one waits for the lease's end."""
    await run.send("kill_worker_later", starts=2)


async def ended_elsewhere(run: Run) -> None:
    """A job has its record already, when the worker is given it again."""
    job = await run.send("kill_worker", state=State.FAILED)
    await run.started(job.id)
    client = await run.app.client()
    record = ResultRecord(
        RecordState.FAILED, "kill_worker", "default", "normal", error=ErrorInfo("E", "over")
    )
    await client.records.finish(job.id, record)


async def twins(run: Run) -> None:
    """A second message has the id of a job that runs."""
    job_id = await run.publish(b'{"task":"slow","args":[0.8]}', state=State.SUCCEEDED)
    await run.started(job_id)
    client = await run.app.client()
    subject = client.names.job("default", "normal", job_id)
    await client.connection.link.request(subject, b'{"task":"plain"}', timeout=10)


async def claimed_meanwhile(run: Run) -> None:
    """Another worker claims a job between the look at the records and the claim."""
    job = await run.send("kill_worker", starts=2)
    await run.started(job.id)
    await run.first_fired()
    client = await run.app.client()
    record = records.ProgressRecord(RecordState.RUNNING, "kill_worker", "default", "normal", 1)
    await client.publisher.publish(client.names.progress(job.id), b"", records.encode(record))


async def nothing(_run: Run) -> None:
    """The program does it all."""


async def dead_jobs(run: Run) -> None:
    """Jobs fail in every way that a dead letter can look."""
    sent = (("fail",), ("fail", LARGE), ("mended", "a"), (), ("mended", LARGE))
    for number, what in enumerate(sent, start=1):
        if what:
            await run.send(*what, job_id=f"{run.prefix}-{number}", state=State.FAILED)
        else:
            await failing_large(run)
    await run.ended()


_STOP = "worker.consumer:Consumer.drain/stop#2>puller:Puller.stop/unlisten before hang"
_WRITE = "worker.fence:Fence.write/publish"
_CLAIM = f"{_WRITE}<worker.intake:Intake._claim/write before hang"
_PUT_OFF = f"{_WRITE}<worker.settlement:Settlement._write_progress/write before hang"
_UNRENEWED = f"{_WRITE}<worker.lease:LeaseKeeper._write/write before hang"
_STORED = "worker.settlement:Settlement._succeed/put>payloads:Payloads.put/put before hang"
_FINISH = "worker.ending:Endings.finish/publish before hang"
_START = "worker.consumer:Consumer.start/confirm before raise"
_OPEN = "client.client:Client.open/confirm before raise"
_WATCHFUL = {"MESH_TEST_WATCH_EVERY": "0.3"}
_RESTLESS = {"MESH_METRICS_STUCK_AFTER": "0.4s"}

RECIPES = {
    recipe.name: recipe
    for recipe in (
        # First: it is there long enough for every habit of a worker.
        Recipe("slow", slow, environment=_RESTLESS),
        Recipe("plain", plain),
        Recipe("large_arguments", large_arguments),
        Recipe("large_result", large_result),
        Recipe("failing", failing),
        Recipe("failing_large", failing_large),
        Recipe("retry_soon", retry_soon),
        Recipe("retry_later", retry_later),
        Recipe("snooze", snooze),
        Recipe("crashing_child", crashing_child),
        Recipe("unknown_task", unknown_task),
        Recipe("malformed", malformed),
        Recipe("expired", expired),
        Recipe("delayed", delayed),
        Recipe("cancelled", cancelled),
        Recipe("drain", drain),
        Recipe("drain_full", drain_full, environment={"MESH_WORKER_CONCURRENCY": "1"}),
        Recipe("drain_late", drain_late, companions=(_STOP,)),
        Recipe("burst", plain, is_burst=True),
        Recipe("killed_at_once", killed_at_once),
        Recipe("killed_later", killed_later),
        Recipe("ended_elsewhere", ended_elsewhere),
        Recipe("twins", twins),
        Recipe("claimed_meanwhile", claimed_meanwhile, companions=(_CLAIM,)),
        Recipe("unique", races.unique),
        Recipe("exclusive", races.exclusive),
        Recipe("unrenewed", slow, companions=(_UNRENEWED,)),
        Recipe("put_off", races.cancelled_while_put_off, companions=(_PUT_OFF,)),
        Recipe("stored", races.cancelled_while_stored, companions=(_STORED,)),
        Recipe("failed", races.cancelled_while_failing, companions=(_FINISH,)),
        Recipe("no_start", plain, companions=(_START,)),
        Recipe("consumer_deleted", races.consumer_deleted, environment=_WATCHFUL),
        Recipe("deaf", races.deaf, environment=_WATCHFUL | {"MESH_TEST_DEAF": "1"}),
        Recipe("server_killed", races.server_killed, has_own_server=True),
        Recipe("follow", nothing, act="follow"),
        Recipe("enqueue", nothing, act="enqueue"),
        Recipe("enqueue_many", nothing, act="enqueue_many"),
        Recipe("enqueue_atomically", nothing, act="enqueue_atomically"),
        Recipe("cancel", nothing, act="cancel"),
        Recipe("move", nothing, act="move"),
        Recipe("letters", dead_jobs, act="letters"),
        Recipe("replay", dead_jobs, act="replay"),
        Recipe("bury", dead_jobs, act="bury"),
        Recipe("operate", nothing, act="operate"),
        Recipe("control", nothing, act="control"),
        Recipe("read_ledger", nothing, act="read_ledger"),
        Recipe("put_right", nothing, act="put_right"),
        Recipe("set_up", nothing, act="set_up"),
        Recipe("command", nothing, act="command", environment=_RESTLESS),
        Recipe("no_connection", nothing, act="enqueue", companions=(_OPEN,)),
        Recipe("claim", nothing, act="claim"),
        Recipe("claim_leftovers", nothing, act="claim_leftovers"),
        Recipe("claim_many", nothing, act="claim_many"),
        Recipe("check", damage, act="check"),
        Recipe("silence", nothing, act="silence"),
        Recipe("schedule", nothing, act="schedule"),
        Recipe("declare", nothing, act="declare"),
        Recipe("keep", nothing, act="keep"),
        Recipe("arm", nothing, act="arm"),
        Recipe("overlapping", races.overlapping),
        Recipe("archive", nothing, act="archive"),
    )
}


async def play(recipe: Recipe, run: Run) -> list[str]:
    """Play a recipe to its end, then say all that is wrong; nothing if all is well."""
    worker = run.worker(
        armed=not recipe.act, is_burst=recipe.is_burst, environment=recipe.environment
    )
    async with asyncio.timeout(LIMIT_S + 20):
        if recipe.is_burst:
            await recipe.play(run)
        async with worker:
            if not recipe.is_burst:
                await recipe.play(run)
            if recipe.act:
                await run.program(recipe.act)
            await run.ended()
            await run.settled()
        return await faults_of(
            run,
            keeps_letters=recipe.act not in {"replay", "bury", "put_right"},
            keeps_records=recipe.act != "put_right",
        )
