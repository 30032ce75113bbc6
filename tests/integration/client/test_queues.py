"""What an operator can do with a queue: pause, resume, limit, purge, look at it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import anyio
import anyio.to_thread
import pytest
from support.running import RunningApp
from support.waiting import until

from mesh import JobCancelledError, JobNotFoundError, Mesh, State
from mesh.client import lanes
from mesh.client.client import Client
from mesh.client.lanes import LaneControl
from mesh.client.purging import Purge
from mesh.client.queues import QueueStatus
from mesh.client.task import Task
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import headers
from mesh.errors import BrokerError, InvalidNameError, NotProvisionedError, OptionError
from mesh.server.process import EmbeddedServer
from mesh.transport import frames
from mesh.transport.provisioner import Action


class Gate:
    """A task in queue ``mail`` whose jobs run until they are let go.

    Attributes:
        ran: The arguments of the jobs that started, in order.
        running: How many run now.
        most: The most that ever ran at once.
        release: Set to let all jobs end.
        open: The task whose jobs end at once.
        shut: The task whose jobs wait to be let go.
    """

    def __init__(self, app: Mesh) -> None:
        self.ran: list[int] = []
        self.running = self.most = 0
        self.release = anyio.Event()

        @app.task(queue="mail")
        async def passes(number: int) -> None:
            self.ran.append(number)

        @app.task(queue="mail")
        async def waits(number: int) -> None:
            self.ran.append(number)
            self.running += 1
            self.most = max(self.most, self.running)
            await self.release.wait()
            self.running -= 1

        self.open: Task[[int], None] = passes
        self.shut: Task[[int], None] = waits


async def asked(client: Client, queue: str = "mail", pulls: int = 1) -> None:
    """Wait until workers wait for jobs of a queue."""

    async def is_asked() -> bool:
        info = await client.connection.api(
            f"CONSUMER.INFO.{client.names.jobs_stream}.{queue}-normal"
        )
        return int(info["num_waiting"]) >= pulls

    await until(is_asked, "workers ask for jobs")


def has_passed(seconds: float) -> Callable[[], bool]:
    """A condition that holds after so long: for what must not happen meanwhile."""
    end = anyio.current_time() + seconds
    return lambda: anyio.current_time() > end


@pytest.mark.alone
async def test_a_paused_queue_gives_out_nothing_until_it_is_resumed(mesh: RunningApp) -> None:
    """A pause holds waiting pulls at once, and resuming wakes them within half a second."""
    gate = Gate(mesh.app)
    queue = mesh.app.queue("mail")
    async with mesh.worker():
        await asked(await mesh.client())
        await queue.pause()
        job = await gate.open.enqueue(1)
        await until(has_passed(0.3), "a round trip is over many times")
        held = await job.status()
        paused = await queue.status()
        before = list(gate.ran)
        started = SYSTEM_CLOCK.monotonic()
        was_paused = await queue.resume()
        await job.result(timeout=30)
        took_s = SYSTEM_CLOCK.monotonic() - started

    assert (before, held.state) == ([], State.PENDING)
    assert (paused.is_paused, paused.paused_until_ms) == (True, 0)
    assert paused.pending == {"critical": 0, "high": 0, "normal": 1, "low": 0}
    assert paused.oldest_pending_age_s is not None
    assert 0.25 < paused.oldest_pending_age_s < 10
    assert (was_paused, gate.ran) == (True, [1])
    assert took_s < 0.5
    assert not (await queue.status()).is_paused
    assert not await queue.resume()


@pytest.mark.alone
async def test_a_resume_that_came_too_late_is_repeated(
    mesh: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause that has ended before the request arrives would leave waiting pulls asleep."""
    gate = Gate(mesh.app)
    queue = mesh.app.queue("mail")
    monkeypatch.setattr(lanes, "_WAKE_TRIES_MS", (-1000, lanes.WAKE_AFTER_MS))
    async with mesh.worker():
        await asked(await mesh.client())
        await queue.pause()
        job = await gate.open.enqueue(1)
        started = SYSTEM_CLOCK.monotonic()
        await queue.resume()
        await job.result(timeout=30)
        took_s = SYSTEM_CLOCK.monotonic() - started

    assert took_s < 0.5


async def test_running_jobs_go_on_while_their_queue_is_paused(mesh: RunningApp) -> None:
    """A pause takes nothing from the workers, and other queues know nothing of it."""
    gate = Gate(mesh.app)

    @mesh.app.task(queue="other")
    async def unconcerned() -> str:
        return "ran"

    async with mesh.worker():
        job = await gate.shut.enqueue(1)
        await until(lambda: gate.running == 1, "the job runs")
        await mesh.app.queue("mail").pause()
        status = await mesh.app.queue("mail").status()
        gate.release.set()
        await job.result(timeout=30)

        assert await (await unconcerned.enqueue()).result(timeout=30) == "ran"

    assert (status.running, status.is_paused) == (1, True)


@pytest.mark.alone
@pytest.mark.parametrize("as_time", [True, False])
async def test_a_pause_ends_by_itself_at_its_time(mesh: RunningApp, *, as_time: bool) -> None:
    """Nobody need be there to resume: not before the time, and soon after it, jobs run."""
    gate = Gate(mesh.app)
    queue = mesh.app.queue("mail")
    async with mesh.worker():
        await asked(await mesh.client())
        end_ms = SYSTEM_CLOCK.now_ms() + 800
        end = datetime.fromtimestamp(end_ms / 1000, UTC)
        await queue.pause(end if as_time else timedelta(milliseconds=800))
        status = await queue.status()
        job = await gate.open.enqueue(1)
        await job.result(timeout=30)
        ended_ms = SYSTEM_CLOCK.now_ms()

    assert abs(status.paused_until_ms - end_ms) < 100
    assert end_ms - 5 <= ended_ms < end_ms + 500
    assert not (await queue.status()).is_paused


async def test_a_pause_outlives_the_server_and_the_workers() -> None:
    """After kill -9 of the server, and with a new worker, the queue is still paused."""
    with EmbeddedServer() as server:
        app = Mesh(server.url)
        running = RunningApp(app)
        gate = Gate(app)
        queue = app.queue("mail")
        async with running.worker():
            client = await app.client()
            await queue.pause()
            job = await gate.open.enqueue(1)
            server.kill()
            await until(lambda: not client.connection.is_connected, "the server is away")
            await server.start_async()
            await until(lambda: client.connection.is_connected, "it is back")
        async with running.worker():  # Which runs setup, as a deployment does.
            await asked(client)
            await until(has_passed(0.3), "a round trip is over many times")
            before = (await queue.status(), list(gate.ran))
            await queue.resume()
            await job.result(timeout=30)
        await app.close()

    assert before[0].is_paused
    assert (before[1], gate.ran) == ([], [1])


async def test_a_limit_holds_for_all_workers_and_changes_live(mesh: RunningApp) -> None:
    """Two workers together run no more than two jobs; a higher limit starts more at once."""
    gate = Gate(mesh.app)
    queue = mesh.app.queue("mail")
    await mesh.app.setup()
    await queue.limit(2)
    async with mesh.worker(), mesh.worker():
        jobs = await mesh.app.enqueue_many([gate.shut.s(number) for number in range(12)])
        await until(lambda: gate.running == 2, "two jobs run")
        await until(has_passed(0.3), "others had the time to start")
        limited = (gate.most, await queue.status())
        await queue.limit(5)
        await until(lambda: gate.running == 5, "five jobs run")
        await until(has_passed(0.3), "others had the time to start")
        raised = gate.most
        gate.release.set()
        for job in jobs:
            await job.result(timeout=30)

    assert (limited[0], limited[1].limit, limited[1].running) == (2, 2, 2)
    assert limited[1].has_live_limit
    assert raised == 5
    assert sorted(gate.ran) == list(range(12))


async def test_setup_leaves_a_live_limit_and_a_pause_alone(mesh: RunningApp) -> None:
    """A deployment sees no drift, and updates around them; a reset brings the settings back."""
    Gate(mesh.app)
    await mesh.app.setup()
    queue = mesh.app.queue("mail")
    await queue.limit(2)
    await queue.pause()

    again = await mesh.app.setup()
    await mesh.app.close()
    mesh.app.override({"worker.ack_wait_s": 20.0})
    changed = await mesh.app.setup()
    after = await queue.status()
    await queue.limit(None)
    reset = await queue.status()

    assert {step.action for step in again} == {Action.KEEP}
    updates = {step.name: set(step.changes) for step in changed if step.action is Action.UPDATE}
    assert updates["mail-normal"] == {"ack_wait"}
    assert (after.limit, after.has_live_limit, after.is_paused) == (2, True, True)
    assert (reset.limit, reset.has_live_limit) == (
        *(mesh.app.settings.limits.max_ack_pending, False),
    )
    assert {step.action for step in await mesh.app.setup()} == {Action.KEEP}


async def test_a_purge_cancels_what_is_pending_and_nothing_else(mesh: RunningApp) -> None:
    """500 jobs end as cancelled, the stream is empty, and the running ones finish."""
    gate = Gate(mesh.app)
    seen: list[int] = []
    async with mesh.worker(worker__concurrency=2):
        busy = await mesh.app.enqueue_many([gate.shut.s(number) for number in (-1, -2)])
        await until(lambda: gate.running == 2, "two jobs run")
        jobs = await mesh.app.enqueue_many([gate.shut.s(number) for number in range(500)])
        queue = mesh.app.queue("mail")

        cancelled = await queue.purge(on_progress=seen.append)

        states = [await job.status() for job in jobs]
        status = await queue.status()
        left = await mesh.count("jobs_stream")
        gate.release.set()
        for job in busy:
            await job.result(timeout=30)
        after = await gate.open.enqueue(1000)
        await after.result(timeout=30)

    assert (cancelled, sum(seen)) == (500, 500)
    assert {(found.state, found.message) for found in states} == {(State.CANCELLED, "purged")}
    assert {(found.task, found.queue, found.attempt) for found in states} == {
        ("waits", "mail", 0)
    }
    assert (sum(status.pending.values()), status.running, left) == (0, 2, 2)
    assert not status.is_paused
    assert sorted(gate.ran) == [-2, -1, 1000]
    assert await mesh.count("jobs_stream") == 0
    with pytest.raises(JobCancelledError, match="purged"):
        await jobs[0].result(timeout=30)


async def test_a_purge_among_working_workers_cancels_no_job_that_ran(
    mesh: RunningApp,
) -> None:
    """Each job either ran and succeeded, or was cancelled and never ran."""
    gate = Gate(mesh.app)
    queue = mesh.app.queue("mail")
    await mesh.app.setup()
    await queue.limit(2)  # One after the other, so that the purge comes in between.
    async with mesh.worker():
        jobs = await mesh.app.enqueue_many([gate.open.s(number) for number in range(1000)])
        await until(lambda: len(gate.ran) > 20, "some jobs ran")
        cancelled = await queue.purge()
        ended = [(await job.status()).state for job in jobs]

    assert 0 < cancelled < 980
    assert {number for number, state in enumerate(ended) if state is State.SUCCEEDED} == set(
        gate.ran
    )
    assert ended.count(State.CANCELLED) == cancelled
    assert len(gate.ran) + cancelled == 1000


async def test_a_move_takes_the_same_jobs_elsewhere_and_each_runs_once(
    mesh: RunningApp,
) -> None:
    """While workers serve both queues, 300 jobs go over: none is lost, none runs twice."""
    gate = Gate(mesh.app)
    queue = mesh.app.queue("mail")
    seen: list[int] = []
    await mesh.app.setup(["parcels"])
    await queue.limit(2)  # One after the other, so that the move comes in between.
    async with mesh.worker(worker__queues=["mail", "parcels"]):
        jobs = await mesh.app.enqueue_many([gate.open.s(number) for number in range(1000)])
        await until(lambda: len(gate.ran) > 20, "some jobs ran")
        moved = await queue.move("parcels", to_priority="high", on_progress=seen.append)
        for job in jobs:
            await job.result(timeout=30)
        ended = [await job.status() for job in jobs]

    assert 0 < moved == sum(seen) < 980
    assert sorted(gate.ran) == list(range(1000))
    assert [found.queue for found in ended].count("parcels") == moved
    assert {found.priority for found in ended if found.queue == "parcels"} == {"high"}
    assert not (await queue.status()).is_paused


async def test_a_move_may_change_the_priority_alone(mesh: RunningApp) -> None:
    """The low jobs become critical, the others stay, and a pause of others outlasts it."""
    gate = Gate(mesh.app)
    queue = mesh.app.queue("mail")
    await mesh.app.setup()
    await queue.pause("1h")
    for number, priority in enumerate(("low", "normal", "low")):
        await gate.open.options(priority=priority).enqueue(number)

    moved = await queue.move(to_priority="critical", priority="low")

    status = await queue.status()
    assert moved == 2
    assert status.pending == {"critical": 2, "high": 0, "normal": 1, "low": 0}
    assert status.is_paused
    with pytest.raises(OptionError, match="there already"):
        await queue.move("mail")


async def test_a_purge_may_take_one_priority_and_keeps_a_pause(mesh: RunningApp) -> None:
    """The other priorities stay, and so does the pause with its time."""
    gate = Gate(mesh.app)
    await mesh.app.setup()
    queue = mesh.app.queue("mail")
    await queue.pause("10s")
    before = await queue.status()
    low = await gate.open.options(priority="low").enqueue(1)
    normal = await gate.open.enqueue(2)

    assert await queue.purge(priority="low") == 1
    assert await queue.purge(priority="critical") == 0

    after = await queue.status()
    assert (await low.status()).state is State.CANCELLED
    assert (await normal.status()).state is State.PENDING
    assert after.paused_until_ms == before.paused_until_ms
    assert after.pending["normal"] == 1
    with pytest.raises(InvalidNameError):
        await queue.purge(priority="urgent")


async def test_a_purge_leaves_a_pause_of_others_alone(mesh: RunningApp) -> None:
    """Who pauses a queue while it is purged finds it paused afterwards."""
    gate = Gate(mesh.app)
    await mesh.app.setup()
    await mesh.app.enqueue_many([gate.open.s(number) for number in range(3)])
    client = await mesh.client()
    lane = LaneControl(client, "mail", "normal")
    paused_until_ms = SYSTEM_CLOCK.now_ms() + 3_600_000
    state = await lane.state()
    assert state is not None

    purge = Purge(client, "mail", "normal", lambda _: None)
    held = await purge._sweep._hold(state)
    await lane.pause_until(paused_until_ms)
    await purge._sweep._let_go(state)

    after = await lane.state()
    assert after is not None
    assert held.paused_until_ms > held.now_ms
    assert after.paused_until_ms == paused_until_ms


async def test_a_purge_removes_what_nobody_can_ask_for(mesh: RunningApp) -> None:
    """A message whose id is none leaves no record, and one that has ended keeps its own."""
    gate = Gate(mesh.app)
    await mesh.app.setup()
    client = await mesh.client()
    await mesh.publish(client.names.job("mail", "high", "we?rd"), b"{}")
    async with mesh.worker(worker__queues=["mail"]):
        job = await gate.open.enqueue(1)
        await job.result(timeout=30)
    await mesh.app.queue("mail").pause()
    await mesh.publish(client.names.job("mail", "normal", job.id), b'{"task": "passes"}')

    await mesh.app.queue("mail").purge()

    assert (await job.status()).state is State.SUCCEEDED
    assert await mesh.count("jobs_stream") == 0


async def test_a_purge_takes_jobs_that_are_due_for_a_later_attempt(mesh: RunningApp) -> None:
    """The record says how many attempts there were, and the running record goes."""
    Gate(mesh.app)
    await mesh.app.setup()
    client = await mesh.client()
    running = b'{"state":"retrying","task":"waits","queue":"mail","priority":"low","attempt":2}'
    await mesh.publish(client.names.progress("again"), running)
    block = frames.header_block([(headers.ATTEMPT, "3"), (headers.TASK, "waits")])
    await client.publisher.publish(client.names.job("mail", "low", "again"), block, b"{}")
    queue = mesh.app.queue("mail")
    await queue.pause()

    assert await queue.purge() == 1

    status = await mesh.app.job("again").status()
    assert (status.state, status.task, status.attempt) == (State.CANCELLED, "waits", 2)
    assert await client.records.progress("again") is None
    assert (await queue.status()).is_paused


async def test_a_purge_that_is_refused_keeps_the_jobs(
    mesh: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be cancelled is still pending, and the queue goes on."""
    gate = Gate(mesh.app)
    await mesh.app.setup()
    job = await gate.open.enqueue(1)
    client = await mesh.client()

    async def refuse(*_record: object) -> bool:
        message = "no room"
        raise BrokerError(message)

    with monkeypatch.context() as patch:
        patch.setattr(client.records, "finish", refuse)
        with pytest.raises(BrokerError, match="no room"):
            await mesh.app.queue("mail").purge()

    assert (await job.status()).state is State.PENDING
    async with mesh.worker():
        await job.result(timeout=30)


async def test_a_queue_without_lanes_can_be_controlled(mesh: RunningApp) -> None:
    """A job for a new queue is counted, and pause and purge create what they need."""
    await mesh.app.setup()
    queue = mesh.app.queue("new")
    empty = await queue.status()
    job = await mesh.app.send("nothing", queue="new", priority="high")
    before = await queue.status()
    listed = {status.queue: status for status in await mesh.app.queue_statuses()}
    cancelled = await queue.purge()
    await mesh.app.queue("newer").pause()

    assert (empty.limit, sum(empty.pending.values()), empty.oldest_pending_age_s) == (
        0,
        0,
        None,
    )
    assert (before.pending["high"], before.limit) == (1, 0)
    assert before.oldest_pending_age_s is not None
    assert set(listed) == {"default", "new"}
    assert listed["new"].pending == before.pending
    assert (cancelled, (await job.status()).state) == (1, State.CANCELLED)
    assert (await mesh.app.queue("newer").status()).is_paused


async def test_every_queue_is_listed_with_what_it_holds(mesh: RunningApp) -> None:
    """Queues come in the order of their names, with running and pending jobs told apart."""
    gate = Gate(mesh.app)
    async with mesh.worker(worker__concurrency=1, worker__queues=["mail"]):
        await mesh.app.queue("mail").limit(1)
        await mesh.app.enqueue_many([gate.shut.s(number) for number in range(3)])
        await until(lambda: gate.running == 1, "one job runs")
        await mesh.app.send("other", queue="a-b")
        found = await mesh.app.queue_statuses()
        gate.release.set()

        async def is_empty() -> bool:
            status = await mesh.app.queue("mail").status()
            return not status.running and not sum(status.pending.values())

        await until(is_empty, "the queue drains")

    assert [status.queue for status in found] == ["a-b", "default", "mail"]
    mail = found[2]
    assert (mail.running, mail.pending["normal"], mail.limit) == (1, 2, 1)
    assert (found[0].pending["normal"], found[1].oldest_pending_age_s) == (1, None)


async def test_what_cannot_be_asked_of_a_queue_is_refused(mesh: RunningApp) -> None:
    """Wrong names, times and limits are named before anything is changed."""
    queue = mesh.app.queue("mail")
    now = datetime.fromtimestamp(SYSTEM_CLOCK.now_ms() / 1000, UTC)
    refused: list[tuple[Callable[[], Awaitable[object]], str]] = [
        (lambda: queue.pause(now.replace(tzinfo=None)), "no offset"),
        (lambda: queue.pause(now - timedelta(seconds=1)), "is over"),
        (lambda: queue.pause(0), "is over"),
        (lambda: queue.limit(0), "at least 1"),
    ]
    with pytest.raises(NotProvisionedError, match="mesh setup"):
        await queue.pause()
    await mesh.app.setup()

    for ask, why in refused:
        with pytest.raises(OptionError, match=why):
            await ask()
    with pytest.raises(InvalidNameError):
        mesh.app.queue("a.b")
    with pytest.raises(JobNotFoundError):
        await mesh.app.job("none").status()
    assert repr(queue) == "<Queue mail>"


async def test_the_blocking_twin_does_the_same(mesh: RunningApp) -> None:
    """A script without a loop controls a queue from its thread."""
    await mesh.app.setup()
    said: list[QueueStatus] = []

    def script() -> None:
        queue = mesh.app.sync.queue("mail")
        queue.pause(until="1h")
        mesh.app.sync.send("nothing", queue="mail")
        queue.limit(3)
        said.append(queue.status())
        assert queue.resume()
        assert queue.purge() == 1
        said.extend(mesh.app.sync.queue_statuses())
        assert repr(queue) == "<BlockingQueue mail>"

    await anyio.to_thread.run_sync(script)

    status, *listed = said
    assert (status.is_paused, status.limit, status.pending["normal"]) == (True, 3, 1)
    assert [found.queue for found in listed] == ["default", "mail"]
