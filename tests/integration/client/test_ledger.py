"""The ledger: the life of a job in events, its log, who operated and why, live and later."""

from __future__ import annotations

import logging
from contextlib import aclosing

import anyio
import anyio.to_thread
import pytest
from support.running import RunningApp
from support.waiting import until

from mesh import JobContext, JobNotFoundError, LedgerEvent, Mesh, State
from mesh.errors import JobNotEndedError, NotProvisionedError, OptionError

log = logging.getLogger("shop")
_LIMIT_S = 30


async def test_the_life_of_a_job_can_be_read_afterwards(mesh: RunningApp) -> None:
    """A job that fails once, runs for a while and succeeds has told of each step."""
    tries: list[int] = []

    @mesh.app.task(retry=2)
    async def send(ctx: JobContext) -> str:
        tries.append(ctx.attempt)
        if len(tries) == 1:
            message = "no line"
            raise OSError(message)
        ctx.progress(1, 2, "half")
        await until(lambda: has_told(ctx), "the progress is told", _LIMIT_S, poll_s=0.1)
        return "sent"

    async def has_told(ctx: JobContext) -> bool:
        history = await mesh.app.job(ctx.job_id).history()
        return "job.progress" in [event.name for event in history]

    async with mesh.worker(job_defaults__retry_delay_s=0):
        job = await send.options(job_id="order-9").enqueue()
        await job.result(timeout=_LIMIT_S)
        await until(lambda: ended(mesh, "order-9"), "the end is told", _LIMIT_S)
        history = await job.history()

    names = [event.name for event in history]
    assert names == [
        "job.enqueued",
        "job.retrying",
        "job.started",
        "job.progress",
        "job.completed",
    ]
    assert {(event.job_id, event.queue, event.task) for event in history} == {
        ("order-9", "default", "send")
    }
    assert history[1].message.endswith("OSError: no line")
    progress = history[3]
    assert (progress.attempt, progress.current, progress.total) == (2, 1.0, 2.0)
    assert [event.sequence for event in history] == sorted(e.sequence for e in history)


async def ended(mesh: RunningApp, job_id: str) -> bool:
    """Whether the ledger knows that a job has ended."""
    history = await mesh.app.job(job_id).history()
    return history[-1].name in ("job.completed", "job.failed", "job.cancelled", "job.dead")


async def test_the_feed_is_live_and_can_start_in_the_past(mesh: RunningApp) -> None:
    """Who follows sees what happens next; who asks for the past sees it, too, and no other."""
    await mesh.app.setup()
    await mesh.app.send("any", job_id="first")
    live: list[LedgerEvent] = []
    see = live.append

    async def follow() -> None:
        async with aclosing(mesh.app.events("job.*", queue="default")) as events:
            async for event in events:
                see(event)

    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        await until(lambda: sees_probes(mesh, live), "the feed is live", _LIMIT_S, poll_s=0.1)
        await mesh.app.send("any", job_id="second", delay="1h")
        await mesh.app.send("any", job_id="elsewhere", queue="other")
        await mesh.app.send("any", job_id="third")
        await until(lambda: live[-1].job_id == "third", "the third is seen", _LIMIT_S)
        group.cancel_scope.cancel()

    seen = [(e.name, e.job_id) for e in live if not e.job_id.startswith("probe")]
    assert seen == [("job.scheduled", "second"), ("job.enqueued", "third")]
    past = [e async for e in mesh.app.events(task="any", since="1h", follow=False)]
    assert [e.job_id for e in past if not e.job_id.startswith("probe")] == [
        "first",
        "second",
        "elsewhere",
        "third",
    ]


async def sees_probes(mesh: RunningApp, live: list[LedgerEvent]) -> bool:
    """Send a job that is only there to be seen, and say whether any was."""
    await mesh.app.send("any", job_id=f"probe-{len(live)}-{id(live)}")
    return bool(live)


async def test_what_a_task_logs_can_be_read_and_followed(mesh: RunningApp) -> None:
    """Lines of async tasks and threads, of ``logging`` and ``ctx.log``, belong to their job."""
    goes_on = anyio.Event()

    @mesh.app.task
    async def talk(ctx: JobContext) -> None:
        log.warning("%s lines", "some")
        ctx.log("mine", level="error")
        ctx.log("too much detail", level="debug")
        await goes_on.wait()
        log.warning("goodbye")

    @mesh.app.task
    def threaded() -> None:
        log.warning("from a thread")

    lines: list[tuple[str, str, str]] = []
    hear = lines.append

    async def follow() -> None:
        async for line in mesh.app.job("talk-1").logs(follow=True):
            hear((line.level, line.logger, line.text))

    async with mesh.worker():
        await talk.options(job_id="talk-1").enqueue()
        other = await threaded.enqueue()
        with anyio.fail_after(_LIMIT_S):
            async with anyio.create_task_group() as group:
                group.start_soon(follow)
                await until(lambda: len(lines) == 2, "the first lines are seen", _LIMIT_S)
                goes_on.set()
        await other.result(timeout=_LIMIT_S)
        of_other = [line.text async for line in other.logs()]

    assert lines == [
        ("warning", "shop", "some lines"),
        ("error", "", "mine"),
        ("warning", "shop", "goodbye"),
    ]
    assert of_other == ["from a thread"]


async def test_a_chatty_attempt_is_cut(mesh: RunningApp) -> None:
    """Beyond its limits an attempt's lines are dropped, and a last line says so."""

    @mesh.app.task
    async def chat(ctx: JobContext) -> None:
        for number in range(500):
            ctx.log(f"line {number}")

    async with mesh.worker(events__log_lines=300):
        job = await chat.enqueue()
        await job.result(timeout=_LIMIT_S)
        lines = [line async for line in job.logs()]

    assert [line.number for line in lines] == list(range(1, 302))
    assert "is cut here" in lines[-1].text


async def test_the_ledger_names_who_operated_and_why(mesh: RunningApp) -> None:
    """Pausing, limiting, purging, resuming and cancelling are told with actor and reason."""
    mesh.app.override({"actor": "ann"})
    await mesh.app.setup()
    queue = mesh.app.queue("mail")
    job = await mesh.app.send("any", queue="mail", job_id="order-1")

    await queue.pause(reason="a storm")
    await queue.limit(5, reason="few lines")
    await job.cancel("not wanted")
    await queue.resume(reason="it is over")
    await queue.purge(reason="spam")

    def told() -> list[LedgerEvent]:
        return [event for event in events if event.actor == "ann"]

    events: list[LedgerEvent] = []
    async for event in mesh.app.events(since="1h"):
        events.append(event)
        if event.name == "queue.purged":
            break
    assert [(e.name, e.message) for e in told()] == [
        ("queue.paused", "a storm"),
        ("queue.limited", "few lines"),
        ("job.cancelling", "not wanted"),
        ("queue.resumed", "it is over"),
        ("queue.purged", "spam"),
    ]
    assert {e.queue for e in told()} == {"mail"}
    assert told()[1].details == {"limit": "5"}


async def test_jobs_are_listed_from_wherever_they_are(mesh: RunningApp) -> None:
    """Delayed, pending, running and ended jobs are in one list, each once, and by state."""
    goes_on = anyio.Event()

    @mesh.app.task
    async def hold() -> None:
        await goes_on.wait()

    @mesh.app.task(retry=0)
    async def fail() -> None:
        message = "no"
        raise ValueError(message)

    async with mesh.worker():
        failed = await fail.options(job_id="failed").enqueue()
        await until(lambda: is_in(mesh, "failed", State.FAILED), "it failed", _LIMIT_S)
        await hold.options(job_id="running").enqueue()
        await until(lambda: is_in(mesh, "running", State.RUNNING), "it runs", _LIMIT_S)
        await hold.options(job_id="delayed", delay="1h").enqueue()
        await hold.options(job_id="pending", queue="nobody").enqueue()

        listed = {job.job_id: job.state async for job in mesh.app.find_jobs()}
        by_state = {
            state: [job.job_id async for job in mesh.app.find_jobs(state=state)]
            for state in ("failed", "running", "scheduled", "pending", "retrying")
        }
        of_queue = [job.job_id async for job in mesh.app.find_jobs(queue="nobody")]
        newest = [job.job_id async for job in mesh.app.find_jobs(limit=1)]
        goes_on.set()

    assert listed == {
        "pending": State.PENDING,
        "delayed": State.SCHEDULED,
        "running": State.RUNNING,
        "failed": State.FAILED,
    }
    assert by_state == {
        "failed": [failed.id],
        "running": ["running"],
        "scheduled": ["delayed"],
        "pending": ["pending"],
        "retrying": [],
    }
    assert of_queue == ["pending"]
    assert len(newest) == 1


async def is_in(mesh: RunningApp, job_id: str, state: State) -> bool:
    """Whether a job is in a state."""
    return (await mesh.app.job(job_id).status()).state is state


async def test_a_job_is_deleted_with_all_that_is_kept_of_it(mesh: RunningApp) -> None:
    """Only a job that has ended can be deleted; then record, letter and result are gone."""

    @mesh.app.task(retry=0)
    async def large(text: str, is_bad: bool) -> str:
        if is_bad:
            raise ValueError(text[:3])
        return text

    async with mesh.worker(limits__payload_inline_bytes=100):
        good = await large.enqueue("x" * 1000, False)
        bad = await large.enqueue("x" * 1000, True)
        await good.result(timeout=_LIMIT_S)
        await until(lambda: mesh_has_letter(mesh), "the letter is there", _LIMIT_S)
        delayed = await large.options(delay="1h").enqueue("x", False)
        with pytest.raises(JobNotEndedError, match="cancel it first"):
            await delayed.delete()
        await good.delete()
        await bad.delete("a test")

    for job in (good, bad):
        with pytest.raises(JobNotFoundError):
            await job.status()
    client = await mesh.client()
    outputs = await client.connection.api(f"STREAM.INFO.OBJ_{client.names.outputs_bucket}")
    payloads = await client.connection.api(f"STREAM.INFO.OBJ_{client.names.payloads_bucket}")
    assert outputs["state"]["messages"] == payloads["state"]["messages"] == 0
    assert await mesh.count("dead_stream") == 0


async def mesh_has_letter(mesh: RunningApp) -> bool:
    """Whether a dead letter is kept."""
    return await mesh.count("dead_stream") == 1


async def test_what_cannot_be_asked_is_refused_kindly(mesh: RunningApp) -> None:
    """An event nobody emits, a job nobody knows, a ledger that is off: each says so."""
    await mesh.app.setup()

    with pytest.raises(OptionError, match=r"no event is called 'job\.exploded'"):
        await anext(mesh.app.events("job.exploded"))
    with pytest.raises(OptionError, match="'lost' is none of"):
        await anext(mesh.app.find_jobs(state="lost"))
    for question in (mesh.app.job("nobody").history(), anext(mesh.app.job("nobody").logs())):
        with pytest.raises(JobNotFoundError):
            await question
    settings = mesh.app.settings
    quiet = Mesh(settings.url, namespace=settings.namespace, events={"enabled": False})
    async with quiet:
        with pytest.raises(NotProvisionedError, match="events are switched off"):
            await quiet.job("nobody").history()


async def test_the_blocking_twins_read_the_ledger(mesh: RunningApp) -> None:
    """History, logs, lists, retries and deletions are there without an event loop, too."""

    @mesh.app.task(retry=0)
    async def fail(ctx: JobContext) -> None:
        ctx.log("going down")
        message = "no"
        raise ValueError(message)

    def ask() -> tuple[list[str], list[str], list[str], str]:
        job = mesh.app.sync.job("down")
        names = [event.name for event in job.history()]
        lines = [line.text for line in job.logs()]
        listed = [status.job_id for status in mesh.app.sync.find_jobs(state="failed")]
        again = job.retry("try again").id
        job.delete()
        events = mesh.app.sync.events("job.replayed", "job.deleted", since="1h")
        assert [next(events).name, next(events).name] == ["job.replayed", "job.deleted"]
        return names, lines, listed, again

    async with mesh.worker():
        await fail.options(job_id="down").enqueue()
        await until(lambda: mesh_has_letter(mesh), "the letter is there", _LIMIT_S)
    names, lines, listed, again = await anyio.to_thread.run_sync(ask)

    assert names == ["job.enqueued", "job.failed", "job.dead"]
    assert lines == ["going down"]
    assert listed == ["down"]
    assert again == "down-r1"
