"""The doctor finds what was broken on purpose, on a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from support.running import RunningApp
from support.schedules import scheduling
from support.waiting import until

from mesh import Mesh
from mesh.clock import SYSTEM_CLOCK
from mesh.doctor.examination import examine
from mesh.doctor.findings import Finding, Level
from mesh.server.config import ServerConfig
from mesh.server.process import EmbeddedServer
from mesh.settings.loading import load

LIMIT_S = 20.0
LOOK_AGAIN_S = 0.02


class OtherClock:
    """The system's clock, but its wall time is off by so much."""

    def __init__(self, off_ms: int) -> None:
        self._off_ms = off_ms

    def now_ms(self) -> int:
        return SYSTEM_CLOCK.now_ms() + self._off_ms

    def monotonic(self) -> float:
        return SYSTEM_CLOCK.monotonic()


async def find(app: Mesh, *, off_ms: int = 0) -> dict[str, Finding]:
    """Examine an app's namespace; the findings by kind."""
    clock = OtherClock(off_ms)
    report = await examine(app.settings, app.queues(), clock, look_again_s=LOOK_AGAIN_S)
    return {one.kind: one for one in report.findings}


async def api(mesh: RunningApp, operation: str, request: dict[str, Any] | None = None) -> Any:
    """Ask JetStream."""
    client = await mesh.client()
    return await client.connection.api(operation, request)


def jobs_of(app: Mesh) -> str:
    """The name of the job stream."""
    return f"{app.settings.namespace.upper()}_JOBS"


async def test_a_healthy_namespace_has_no_findings(mesh: RunningApp) -> None:
    """With streams, a worker and a job that ended there is nothing to say."""

    @mesh.app.task
    async def add(left: int, right: int) -> int:
        return left + right

    async with mesh.worker():
        assert await (await add.enqueue(1, 2)).result(timeout=LIMIT_S) == 3
        found = await find(mesh.app)

    assert found == {}


async def test_a_server_that_is_not_there_is_found() -> None:
    """Nothing listens at the address; the remedy says how to start one."""
    settings = load(environ={}, arguments={"url": "nats://127.0.0.1:1", "connect_timeout": 1})

    report = await examine(settings, [], SYSTEM_CLOCK)

    assert [one.kind for one in report.findings] == ["server-unreachable"]
    assert "mesh server" in report.findings[0].remedy
    assert not report.is_healthy


async def test_a_namespace_that_was_never_set_up_is_found(mesh: RunningApp) -> None:
    """All streams are missing: that is one finding, not ten."""
    found = await find(mesh.app)

    assert set(found) == {"not-set-up"}
    assert "mesh setup" in found["not-set-up"].remedy


async def test_a_stream_that_was_deleted_is_found(mesh: RunningApp) -> None:
    """It is named."""
    await mesh.app.setup()
    client = await mesh.client()
    await api(mesh, f"STREAM.DELETE.{client.names.dead_stream}")

    found = await find(mesh.app)

    assert found["stream-missing"].name == client.names.dead_stream


async def test_a_stream_that_was_changed_by_hand_is_found(mesh: RunningApp) -> None:
    """The setting that differs is named with what it is and what it should be."""
    await mesh.app.setup()
    client = await mesh.client()
    name = client.names.dead_stream
    config = (await api(mesh, f"STREAM.INFO.{name}"))["config"]
    await api(mesh, f"STREAM.UPDATE.{name}", config | {"max_msgs": 7})

    found = await find(mesh.app)

    assert found["drift"].name == name
    assert "max_msgs: 7 -> -1" in found["drift"].what


async def test_a_consumer_that_was_changed_by_hand_is_found(mesh: RunningApp) -> None:
    """A wrong ack wait is drift, too."""
    await mesh.app.setup()
    place = f"{jobs_of(mesh.app)}.default-normal"
    config = (await api(mesh, f"CONSUMER.INFO.{place}"))["config"]
    request = {
        "stream_name": jobs_of(mesh.app),
        "config": config | {"ack_wait": 3_000_000_000},
    }
    await api(mesh, f"CONSUMER.CREATE.{place}.{config['filter_subject']}", request)

    found = await find(mesh.app)

    assert found["drift"].name == "default-normal"


async def test_a_consumer_that_was_deleted_is_found(mesh: RunningApp) -> None:
    """The one that hands over the jobs that are due is as important as a lane."""
    await mesh.app.setup()
    client = await mesh.client()
    feeder = client.topology.feeder
    await api(mesh, f"CONSUMER.DELETE.{feeder.stream}.{feeder.name}")

    found = await find(mesh.app)

    assert found["consumer-missing"].name == feeder.name


async def test_a_queue_that_nobody_ever_served_is_found(mesh: RunningApp) -> None:
    """A slip in a queue's name leaves its jobs waiting for ever."""
    await mesh.app.setup()
    await mesh.app.send("add", [1, 2], queue="qeue")

    found = await find(mesh.app)

    assert found["no-lane"].name == "qeue"
    assert "purge qeue" in found["no-lane"].remedy


async def test_a_queue_without_workers_is_found(mesh: RunningApp) -> None:
    """Jobs wait, and no worker asks for them."""
    await mesh.app.setup()
    await mesh.app.send("add", [1, 2])

    found = await find(mesh.app)

    assert found["no-worker"].name == "default (normal)"
    assert found["no-worker"].level is Level.PROBLEM


async def test_a_paused_queue_is_found(mesh: RunningApp) -> None:
    """It may be meant, so it is a warning, and not a lack of workers."""
    await mesh.app.setup()
    await mesh.app.send("add", [1, 2])
    await mesh.app.queue("default").pause()

    found = await find(mesh.app)

    assert found["paused"].level is Level.WARNING
    assert "no-worker" not in found


async def test_a_lane_in_which_nothing_moves_is_found(mesh: RunningApp) -> None:
    """As many jobs as may be are with workers, none ends, and others wait."""
    started, release = anyio.Event(), anyio.Event()

    @mesh.app.task
    async def hang() -> None:
        started.set()
        await release.wait()

    async with mesh.worker(limits__max_ack_pending=1):
        jobs = await mesh.app.enqueue_many([hang.s(), hang.s()])
        await started.wait()
        found = await find(mesh.app)
        release.set()
        for job in jobs:
            await job.result(timeout=LIMIT_S)

    assert found["lane-stalled"].name == "default (normal)"


async def test_a_job_stream_that_is_full_is_found(mesh: RunningApp) -> None:
    """Whoever enqueues is refused."""
    mesh.app.override({"limits.max_jobs": 2})
    await mesh.app.setup()
    for _ in range(2):
        await mesh.app.send("add", [1, 2])

    found = await find(mesh.app)

    assert found["stream-full"].level is Level.PROBLEM
    assert "2 of at most 2" in found["stream-full"].what


async def test_jobs_that_failed_for_good_are_found(mesh: RunningApp) -> None:
    """While they are fresh they are a problem, by the server's clock."""

    @mesh.app.task(retry=0)
    async def fail() -> None:
        raise ValueError("no")

    async with mesh.worker():
        await fail.enqueue()

        async def is_buried() -> bool:
            return await mesh.count("dead_stream") == 1

        await until(is_buried, "the dead letter is stored", LIMIT_S)
        found = await find(mesh.app, off_ms=2 * 3_600_000)

    assert found["dead-letters"].level is Level.PROBLEM


@pytest.mark.parametrize(("off_ms", "way"), [(60_000, "ahead of"), (-60_000, "behind")])
async def test_a_clock_that_is_wrong_is_found(mesh: RunningApp, off_ms: int, way: str) -> None:
    """A minute is far more than a lease lasts."""
    await mesh.app.setup()

    found = await find(mesh.app, off_ms=off_ms)

    assert way in found["clock-skew"].what
    assert found["clock-skew"].level is Level.PROBLEM


async def test_events_that_are_dropped_are_found(mesh: RunningApp) -> None:
    """The job stream was told by hand to announce its jobs elsewhere."""
    await mesh.app.setup()
    config = (await api(mesh, f"STREAM.INFO.{jobs_of(mesh.app)}"))["config"]
    elsewhere = config["republish"] | {"dest": "nowhere.{{wildcard(3)}}"}
    await api(mesh, f"STREAM.UPDATE.{jobs_of(mesh.app)}", config | {"republish": elsewhere})
    await mesh.app.send("add", [1, 2])

    found = await find(mesh.app)

    assert found["ledger-behind"].level is Level.PROBLEM
    assert "republish" in found["drift"].what


async def test_schedules_without_a_scheduler_are_found(mesh: RunningApp) -> None:
    """Nobody keeps them; with a scheduler that leads all is well."""

    @mesh.app.task(queue="mail")
    async def report() -> None: ...

    await mesh.app.setup()
    assert "no-scheduler" not in await find(mesh.app)
    await mesh.app.schedules.upsert("nightly", report.s(), cron="@daily")

    without = await find(mesh.app)
    async with scheduling(mesh):
        within = await find(mesh.app)
    after = await find(mesh.app)

    assert "mesh scheduler" in without["no-scheduler"].remedy
    assert "no-scheduler" not in within
    assert "no-scheduler" in after


async def test_streams_in_memory_are_found(mesh: RunningApp) -> None:
    """A restart would lose every job; that no events are recorded is worth a note."""
    mesh.app.override({"storage": "memory", "events.enabled": False})
    await mesh.app.setup()

    found = await find(mesh.app)

    assert set(found) == {"not-durable", "ledger-off"}
    assert found["ledger-off"].level is Level.NOTE


ACCOUNTS = """
accounts {
  JOBS {
    jetstream { max_file: 2000000, max_memory: 1000000 }
    users = [
      { user: "operator", password: "pw-operator" }
      { user: "guest", password: "pw-guest", permissions: {
          publish: ["$JS.API.INFO", "_INBOX.>"], subscribe: "_INBOX.>" } }
    ]
  }
  PLAIN { users = [ { user: "plain", password: "pw-plain" } ] }
}
"""


@pytest.mark.parametrize(
    ("user", "password", "kind"),
    [
        ("guest", "pw-guest", "permission"),
        ("plain", "pw-plain", "server-unfit"),
        ("operator", "wrong", "login-refused"),
        ("operator", "pw-operator", "storage-full"),
    ],
)
async def test_what_an_account_lacks_is_found(
    tmp_path: Path, user: str, password: str, kind: str
) -> None:
    """Rights, JetStream, the right password, and room on the disk."""
    accounts = tmp_path / "accounts.conf"
    accounts.write_text(ACCOUNTS)
    async with EmbeddedServer(ServerConfig(extra_file=accounts)) as server:
        login = {"user": user, "password": password}
        settings = load(
            environ={},
            arguments={"url": server.url, "credentials": login, "connect_timeout": 2},
        )
        if kind == "storage-full":
            async with Mesh(server.url, credentials=login) as app:
                await app.setup()
                for _ in range(4):
                    await app.send("add", ["x" * 400_000])
        report = await examine(settings, [], SYSTEM_CLOCK, look_again_s=LOOK_AGAIN_S)

    found = {one.kind: one for one in report.findings}
    assert kind in found, report
    assert password not in str(report)
    assert found[kind].remedy
