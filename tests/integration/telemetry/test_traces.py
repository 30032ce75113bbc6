"""Jobs in traces: spans of producers and workers, and the context that travels between them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import baggage, context, trace
from prometheus_client import CollectorRegistry
from support.otlp import Memory, id_of, links_of, parent_of, sdk_in_use, trace_of
from support.processes import APPS
from support.running import RunningApp
from support.schedules import scheduling
from support.waiting import until

from mesh import Retry
from mesh.client.client import Client
from mesh.contract.subjects import Names
from mesh.server.process import EmbeddedServer
from mesh.transport.buckets import Shelf
from mesh.worker import settlement
from mesh.worker.loading import load_app
from mesh.worker.worker import Worker

LIMIT_S = 20.0


@pytest.fixture
def memory() -> Iterator[Memory]:
    """The process has an SDK, whose spans are kept."""
    kept = Memory()
    with sdk_in_use(kept):
        yield kept


async def ended(memory: Memory, name: str, count: int = 1) -> None:
    """Wait for so many spans of that name: the settlement's ends after the result is there."""
    await until(lambda: len(memory.named(name)) >= count, f"{count} spans {name!r}", LIMIT_S)


async def test_an_attempt_links_to_its_producer(memory: Memory, mesh: RunningApp) -> None:
    """By default it has a trace of its own: receive, below it process, below that settle."""

    @mesh.app.task
    async def add(left: int, right: int) -> int:
        return left + right

    async with mesh.worker():
        job = await add.enqueue(1, 2)
        assert await job.result(timeout=LIMIT_S) == 3
        await ended(memory, "settle default")

    (send,), (receive,) = memory.named("send default"), memory.named("receive default")
    (process,), (settle,) = memory.named("process default"), memory.named("settle default")
    assert links_of(receive) == links_of(process) == links_of(settle) == [id_of(send)]
    assert (parent_of(receive), parent_of(process)) == (0, id_of(receive))
    assert parent_of(settle) == id_of(process)
    assert trace_of(process) != trace_of(send)
    assert send.kind is trace.SpanKind.PRODUCER
    assert process.kind is trace.SpanKind.CONSUMER
    assert send.attributes is not None
    assert process.attributes is not None
    shared = {
        "messaging.system": "nats",
        "messaging.destination.name": "default",
        "messaging.message.id": job.id,
        "mesh.task.name": "add",
        "server.address": "127.0.0.1",
    }
    assert shared.items() <= send.attributes.items()
    assert shared.items() <= process.attributes.items()
    assert process.attributes["mesh.job.outcome"] == "succeeded"
    assert process.attributes["messaging.operation.type"] == "process"


async def test_a_retry_that_the_server_holds_stays_in_the_trace(
    memory: Memory, mesh: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its delayed copy carries the context, so both attempts belong to the producer's trace."""
    monkeypatch.setattr(settlement, "LONGEST_NAK_S", 0.0)

    @mesh.app.task(retry=Retry(max_retries=1, delay_s=0.02, jitter=0))
    async def fail_once() -> None:
        if not memory.named("process default"):
            raise ValueError("password=hunter22 was refused")

    async with mesh.worker(tracing__propagation="parent"):
        await (await fail_once.enqueue()).result(timeout=LIMIT_S)
        await ended(memory, "settle default", 2)

    (send,) = memory.named("send default")
    first, second = memory.named("process default")
    assert {trace_of(span) for span in memory.spans} == {trace_of(send)}
    assert parent_of(first) == parent_of(second) == id_of(send)
    assert first.attributes is not None
    assert first.attributes["error.type"] == "ValueError"
    assert "hunter22" not in str(first.to_json())
    assert second.status.is_ok


async def test_a_delayed_job_remembers_its_producer(memory: Memory, mesh: RunningApp) -> None:
    """The server holds the job, and its context with it."""

    @mesh.app.task
    async def add() -> None:
        pass

    async with mesh.worker():
        await (await add.options(delay=0.01).enqueue()).result(timeout=LIMIT_S)
        await ended(memory, "process default")

    (send,), (process,) = memory.named("send default"), memory.named("process default")
    assert links_of(process) == [id_of(send)]


async def test_a_tick_leads_back_to_the_scheduler_that_armed_it(
    memory: Memory, mesh: RunningApp
) -> None:
    """Its attempt links to the span in which it was created."""

    @mesh.app.every("1s")
    @mesh.app.task
    async def poll() -> None:
        pass

    async with mesh.worker(), scheduling(mesh):
        await ended(memory, "process default")

    process = memory.named("process default")[0]
    created = {id_of(span) for span in memory.named("create default")}
    (link,) = links_of(process)
    assert link in created
    assert memory.named("send jobs")


async def test_each_job_of_a_batch_has_a_span_of_its_own(
    memory: Memory, mesh: RunningApp
) -> None:
    """The batch is one send, which links to what was created; attempts link to their own."""

    @mesh.app.task
    async def add(number: int) -> None:
        pass

    async with mesh.worker():
        plain = [add.s(1), add.options(job_id="chosen").s(2)]
        jobs = await mesh.app.enqueue_many(plain)
        jobs += await mesh.app.enqueue_many([add.s(3)], atomic=True)
        for job in jobs:
            await job.result(timeout=LIMIT_S)
        await ended(memory, "process default", 3)

    created = {id_of(span) for span in memory.named("create default")}
    first, second = memory.named("send jobs")
    assert len(created) == 3
    assert {*links_of(first), *links_of(second)} == created
    assert {links_of(span)[0] for span in memory.named("process default")} == created
    assert first.attributes is not None
    assert first.attributes["messaging.batch.message_count"] == 2


async def test_what_a_task_enqueues_is_below_its_attempt(
    memory: Memory, mesh: RunningApp
) -> None:
    """In threads, too: the attempt's span is the current one."""

    @mesh.app.task
    async def child() -> None:
        pass

    @mesh.app.task(queue="threads")
    def parent() -> None:
        child.sync.enqueue()

    async with mesh.worker():
        await (await parent.enqueue()).result(timeout=LIMIT_S)
        await ended(memory, "process default")

    (outer,), (inner,) = memory.named("process threads"), memory.named("send default")
    assert parent_of(inner) == id_of(outer)


async def test_a_child_process_is_in_the_trace(
    memory: Memory, server: EmbeddedServer, namespace: str
) -> None:
    """It sees the attempt's span as the current one, and the producer's baggage."""
    reference = f"{APPS / 'traced.py'}:app"
    app = load_app(reference)
    app.override({"url": server.url, "namespace": namespace, "worker.process_pool": 1})
    running = RunningApp(app)
    await app.setup()
    async with Worker(app, app_reference=reference, registry=CollectorRegistry()):
        token = context.attach(baggage.set_baggage("tenant", "acme"))
        job = await app.send("count")
        context.detach(token)
        trace_id, tenant = await job.result(timeout=LIMIT_S)
        await ended(memory, "process default")
    await running.tear_down()

    (process,) = memory.named("process default")
    assert int(trace_id, 16) == trace_of(process)
    assert tenant == "acme"


async def test_without_an_sdk_nothing_travels(mesh: RunningApp) -> None:
    """No header is added and no span is made: tracing costs nothing."""
    await mesh.app.setup()
    await mesh.app.send("add")

    assert "traceparent" not in await _headers(await mesh.client())


async def test_the_settings_can_say_no(memory: Memory, mesh: RunningApp) -> None:
    """Even if the process has an SDK."""
    mesh.app.override({"tracing.enabled": False})
    await mesh.app.setup()
    await mesh.app.send("add")

    assert "traceparent" not in await _headers(await mesh.client())
    assert memory.spans == []


async def _headers(client: Client) -> str:
    names: Names = client.names
    entry = await Shelf(client.connection, names.jobs_stream).last(names.lane("*", "*"))
    assert entry is not None
    return " ".join(entry.headers)
