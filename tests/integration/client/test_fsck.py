"""The reconciler: every damage done behind mesh's back is found, and repaired."""

from __future__ import annotations

import random
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest
from support.running import RunningApp
from support.waiting import until

from mesh import Job, JobContext, Mesh, Retry, State
from mesh.client import screening
from mesh.client.client import Client
from mesh.client.findings import Finding, FsckReport, Kind
from mesh.client.inventory import JOB_LOST
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import headers, records
from mesh.contract.records import ErrorInfo, ProgressRecord, ResultRecord
from mesh.errors import JobFailedError, ResultExpiredError
from mesh.server.process import EmbeddedServer
from mesh.transport import frames
from mesh.transport.buckets import Shelf

RUNS: list[int] = []


def declare(app: Mesh) -> None:
    """Register the tasks that the tests enqueue."""
    RUNS.clear()

    @app.task
    async def double(number: int) -> int:
        RUNS.append(number)
        return number * 2

    @app.task
    async def measure(text: str) -> int:
        return len(text)

    @app.task(result_ttl=1)
    async def forget(number: int) -> int:
        return number

    @app.task(retry=0)
    async def fail() -> None:
        raise ValueError("no")


@pytest.fixture
async def damaged(mesh: RunningApp) -> RunningApp:
    """An app that is set up and has tasks; nobody runs them yet."""
    declare(mesh.app)
    await mesh.app.setup()
    return mesh


async def check(mesh: RunningApp, *, repair: bool = False, settle: float = 0.05) -> FsckReport:
    """Look twice, with hardly a pause: nothing moves in these tests."""
    return await mesh.app.fsck(repair=repair, settle=settle)


def found(report: FsckReport) -> list[tuple[Kind, str]]:
    """What was found, in short."""
    return sorted((one.kind, one.name) for one in report.findings)


async def repaired(mesh: RunningApp, *expected: tuple[Kind, str]) -> list[Finding]:
    """Find exactly that, change nothing; find and repair it; find nothing any more."""
    before = await check(mesh)
    again = await check(mesh)
    mended = await check(mesh, repair=True)
    after = await check(mesh)

    assert found(before) == sorted(expected)
    assert found(again) == found(before)
    assert not before.is_clean
    assert found(mended) == found(before)
    assert not mended.left, mended.left
    assert mended.is_clean
    assert after.is_clean, after.findings
    return list(mended.findings)


async def shelf(mesh: RunningApp, stream: str) -> tuple[Client, Shelf]:
    """A stream, to do damage to."""
    client = await mesh.client()
    return client, Shelf(client.connection, getattr(client.names, stream))


async def write_progress(mesh: RunningApp, job_id: str, state: State, lease_ms: int) -> None:
    """Write a running record as a worker would."""
    client = await mesh.client()
    until_ms = SYSTEM_CLOCK.now_ms() + lease_ms
    record = ProgressRecord(
        state, "double", "default", "normal", 1, "gone", lease_until_ms=until_ms
    )
    await client.publisher.publish(client.names.progress(job_id), b"", records.encode(record))


async def write_result(mesh: RunningApp, job_id: str, record: ResultRecord) -> None:
    """Write a terminal record, and do nothing of what comes after it."""
    client = await mesh.client()
    assert await client.records.finish(job_id, record)


async def test_a_clean_namespace_is_looked_at_once(damaged: RunningApp) -> None:
    """Jobs that ended, wait and are delayed are all right; there is no second look."""
    async with damaged.worker():
        done = await damaged.app.send("double", [1])
        assert await done.result(30) == 2
        bad = await damaged.app.send("fail")
        with pytest.raises(JobFailedError):
            await bad.result(30)
        await until(lambda: no_message(damaged), "the queue is empty")
    await damaged.app.send("double", [2])
    await damaged.app.send("double", [3], delay=3600)
    await damaged.app.send("measure", ["x" * 600_000])

    report = await check(damaged, settle=3600)  # Would time out if it looked again.

    assert report.is_clean, report.findings
    assert report.looks == 1
    assert report.looked_at > 8


async def no_message(mesh: RunningApp) -> bool:
    """Whether no job waits or runs."""
    return await mesh.count("jobs_stream") == 0


async def test_a_vanished_job_ends_as_lost(damaged: RunningApp) -> None:
    """Whoever waits for it learns that it failed, and it has a dead letter without a body."""
    job = await damaged.app.send("double", [1])
    client, jobs = await shelf(damaged, "jobs_stream")
    await jobs.remove(client.names.job_anywhere(job.id))

    await repaired(damaged, (Kind.LOST, job.id))

    with pytest.raises(JobFailedError, match=r"mesh\.errors\.JobLostError.*enqueue it again"):
        await job.result(30)
    letter = await damaged.app.dead_letters.get(job.id)
    assert 0 < letter.record.enqueued_at_ms <= letter.record.died_at_ms
    assert (letter.record.task, letter.record.queue, letter.body) == ("double", "default", b"")


async def test_a_vanished_job_runs_if_the_ledger_keeps_bodies(mesh: RunningApp) -> None:
    """With events.bodies it is published again as it was, and runs."""
    mesh.app.override({"events.bodies": True})
    declare(mesh.app)
    await mesh.app.setup()
    job = await mesh.app.send("double", [21])
    client, jobs = await shelf(mesh, "jobs_stream")
    await jobs.remove(client.names.job_anywhere(job.id))

    await repaired(mesh, (Kind.LOST, job.id))

    async with mesh.worker():
        assert await job.result(30) == 42


async def test_a_job_that_is_due_and_waits_for_room_is_not_lost(damaged: RunningApp) -> None:
    """It lies in the delayed stream until the job stream has taken it."""
    damaged.app.override({"limits.max_jobs": 1})
    await damaged.app.setup()
    first = await damaged.app.send("double", [1])
    job = await damaged.app.send("double", [4], delay=0.1)
    client, delayed = await shelf(damaged, "delayed_stream")

    async def is_due() -> bool:
        return await delayed.last(client.names.due_anywhere(job.id)) is not None

    await until(is_due, "the job is due")
    report = await check(damaged)
    assert report.is_clean, report.findings

    async with damaged.worker():
        assert [await first.result(30), await job.result(30)] == [2, 8]


async def test_a_job_whose_record_expired_is_not_lost(damaged: RunningApp) -> None:
    """The ledger knows that it ended though its record and the event of it have expired."""
    async with damaged.worker():
        job = await damaged.app.send("forget", [1])
        assert await job.result(30) == 1

        async def is_gone() -> bool:
            client = await damaged.client()
            return await client.records.result(job.id) is None

        await until(is_gone, "the record has expired", 30)

    report = await check(damaged)

    assert report.is_clean, report.findings


async def test_more_suspects_than_one_run_takes_are_named_as_such(
    damaged: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded: the run says that there is more, and the next one goes on."""
    monkeypatch.setattr(screening, "MOST_SUSPECTS", 4)
    monkeypatch.setattr(screening, "_MOST_OPEN", 3)
    monkeypatch.setattr(screening, "_PAGE", 2)
    jobs = [await damaged.app.send("double", [number]) for number in range(20)]
    async with damaged.worker():
        assert [await job.result(30) for job in jobs[:10]] == [n * 2 for n in range(10)]
        await until(lambda: no_message(damaged), "the queue is empty")
    jobs = [await damaged.app.send("double", [number]) for number in range(6)]
    await damaged.purge("jobs_stream")

    first = await check(damaged, repair=True)
    second = await check(damaged, repair=True)
    third = await check(damaged, repair=True)

    assert [one.name for one in first.findings] == [job.id for job in jobs[:4]]
    assert first.is_partial
    assert not first.is_clean
    assert [one.name for one in second.findings] == [job.id for job in jobs[4:]]
    assert second.is_clean
    assert third.findings == ()


@pytest.mark.parametrize("state", [State.RUNNING, State.RETRYING])
async def test_a_record_without_a_message_is_stuck(damaged: RunningApp, state: State) -> None:
    """A lease that nobody renews, or a retry that never comes, ends as lost."""
    job = await damaged.app.send("double", [1])
    client, jobs = await shelf(damaged, "jobs_stream")
    await write_progress(damaged, job.id, state, -1)
    await jobs.remove(client.names.job_anywhere(job.id))

    await repaired(damaged, (Kind.STUCK, job.id))

    with pytest.raises(JobFailedError, match="JobLostError"):
        await job.result(30)
    assert await client.records.progress(job.id) is None


async def test_a_live_lease_is_left_alone(damaged: RunningApp) -> None:
    """A worker that still runs the job will say how it ended, though the message is gone."""
    job = await damaged.app.send("double", [1])
    client, jobs = await shelf(damaged, "jobs_stream")
    await write_progress(damaged, job.id, State.RUNNING, 60_000)
    await jobs.remove(client.names.job_anywhere(job.id))

    report = await check(damaged, repair=True)

    assert report.is_clean, report.findings
    assert await client.records.progress(job.id) is not None


async def test_what_a_foreign_consumer_gave_up_runs(damaged: RunningApp) -> None:
    """A message past max_deliver lies below its consumer's ack floor: it is stored anew."""
    client = await damaged.client()
    lane = "default-normal"
    place = f"{client.names.jobs_stream}.{lane}"
    info = await client.connection.api(f"CONSUMER.INFO.{place}")
    spoilt = info["config"] | {"max_deliver": 1, "ack_wait": 10_000_000}
    create = f"CONSUMER.CREATE.{place}.{spoilt['filter_subject']}"
    await client.connection.api(
        create, {"stream_name": client.names.jobs_stream, "config": spoilt}
    )
    jobs = [await damaged.app.send("double", [number]) for number in (1, 2, 3)]
    taken: list[bytes] = []
    inbox = client.connection.link.new_inbox()

    def take(subject: bytes, _reply: bytes, _body: bytes, _block: bytes) -> None:
        taken.append(subject)

    tap = client.connection.link.tap(inbox, take)
    pull = f"$JS.API.CONSUMER.MSG.NEXT.{place}"
    client.connection.link.post(frames.publish(pull, inbox, b"", b'{"batch":3}'))
    await until(lambda: len(taken) == 3, "the messages are given out")
    client.connection.link.untap(tap)

    async def are_given_up() -> bool:
        now = await client.connection.api(f"CONSUMER.INFO.{place}")
        return now["num_ack_pending"] == 0 and now["num_pending"] == 0

    await until(are_given_up, "the server has given the messages up")
    await client.connection.api(
        create, {"stream_name": client.names.jobs_stream, "config": info["config"]}
    )

    await repaired(damaged, *((Kind.STRANDED, job.id) for job in jobs))

    async with damaged.worker():
        assert [await job.result(30) for job in jobs] == [2, 4, 6]
    assert sorted(RUNS) == [1, 2, 3]


async def test_a_message_of_an_ended_job_is_removed(damaged: RunningApp) -> None:
    """With its running record and its arguments: a worker died between two steps."""
    job = await damaged.app.send("measure", ["x" * 600_000])
    late = await damaged.app.send("double", [2], delay=3600)
    ended = ResultRecord(State.SUCCEEDED, "measure", "default", "normal")
    await write_progress(damaged, job.id, State.RUNNING, -1)
    for one in (job, late):
        await write_result(damaged, one.id, ended)

    await repaired(
        damaged,
        (Kind.LEFTOVER, job.id),
        (Kind.STALE_PROGRESS, job.id),
        (Kind.LEFTOVER, late.id),
    )

    client = await damaged.client()
    assert await no_message(damaged)
    assert await Shelf(client.connection, f"OBJ_{client.names.payloads_bucket}").count() == 0


async def twin(mesh: RunningApp, job_id: str, number: int, *, lane: str = "normal") -> None:
    """Store a second message of a job, as a producer would after a restart of the server."""
    client = await mesh.client()
    body = msgspec.json.encode({"task": "double", "args": [number]})
    await client.publisher.publish(client.names.job("default", lane, job_id), b"", body)


async def test_the_oldest_of_two_messages_is_kept(damaged: RunningApp) -> None:
    """In one lane or in two, the job runs once, with what was enqueued first."""
    first = await damaged.app.send("double", [1])
    second = await damaged.app.send("double", [2])
    await twin(damaged, first.id, 10)
    await twin(damaged, second.id, 20, lane="high")

    await repaired(damaged, (Kind.DOUBLED, first.id), (Kind.DOUBLED, second.id))

    async with damaged.worker():
        assert [await first.result(30), await second.result(30)] == [2, 4]
    assert sorted(RUNS) == [1, 2]


async def test_the_delayed_one_of_two_messages_is_kept(damaged: RunningApp) -> None:
    """A worker that died after it put the job off had not acknowledged it yet."""
    job = await damaged.app.send("double", [1], delay=3600)
    await write_progress(damaged, job.id, State.RETRYING, 0)
    await twin(damaged, job.id, 1)

    await repaired(damaged, (Kind.DOUBLED, job.id))

    assert await no_message(damaged)
    assert await damaged.count("delayed_stream") == 1


async def test_the_message_that_a_worker_runs_is_kept(damaged: RunningApp) -> None:
    """A running record says that the queue's own message counts, not the delayed one."""
    job = await damaged.app.send("double", [1], delay=3600)
    await write_progress(damaged, job.id, State.RUNNING, 60_000)
    await twin(damaged, job.id, 1)

    await repaired(damaged, (Kind.DOUBLED, job.id))

    assert await damaged.count("jobs_stream") == 1
    assert await damaged.count("delayed_stream") == 0


async def test_arguments_of_no_job_are_removed(damaged: RunningApp) -> None:
    """A producer died between storing the arguments and publishing; others keep theirs."""
    client = await damaged.client()
    kept = await damaged.app.send("measure", ["y" * 600_000])
    bucket = client.names.payloads_bucket
    await client.payloads.put(bucket, "never-published.1a2b", b"[]")
    await client.payloads.put(bucket, "a photo of mine", b"not mesh's")

    await repaired(damaged, (Kind.STRAY_ARGUMENTS, "never-published.1a2b"))

    async with damaged.worker():
        assert await kept.result(30) == 600_000


async def test_arguments_that_a_replay_took_over_are_kept(damaged: RunningApp) -> None:
    """They are named after the dead job, of which nothing is left but its record."""

    @damaged.app.task(retry=0)
    async def picky(text: str) -> int:
        raise ValueError(text[:1])

    async with damaged.worker():
        job = await damaged.app.send("picky", ["z" * 600_000])
        with pytest.raises(JobFailedError):
            await job.result(30)
        await until(lambda: no_message(damaged), "the job is buried")
    await damaged.app.dead_letters.replay(job.id)

    report = await check(damaged, repair=True)

    assert report.is_clean, report.findings
    assert report.looks == 1


async def test_a_result_of_no_record_is_removed(damaged: RunningApp) -> None:
    """A worker died between storing the value and writing the record of its job."""
    client = await damaged.client()
    ended = ResultRecord(State.SUCCEEDED, "double", "default", "normal")
    await write_result(damaged, "a-job", ended)
    await client.payloads.put(client.names.outputs_bucket, "a-job.1a2b", b"1")

    await repaired(damaged, (Kind.STRAY_RESULT, "a-job.1a2b"))


async def test_a_result_whose_record_expired_is_left_to_its_age(damaged: RunningApp) -> None:
    """That is no damage: the bucket keeps values for as long as any record may live."""

    @damaged.app.task(result_ttl=1)
    async def print_much() -> str:
        return "x" * 600_000

    async with damaged.worker():
        job = await damaged.app.send("print_much")
        assert len(await job.result(30)) == 600_000
        client = await damaged.client()

        async def is_gone() -> bool:
            return await client.records.result(job.id) is None

        await until(is_gone, "the record has expired", 30)

    assert (await check(damaged)).is_clean


async def test_a_failed_job_without_dead_letter_is_reported(damaged: RunningApp) -> None:
    """Its body is gone, so that nobody can mend it."""
    job = await damaged.app.send("double", [1])
    client, jobs = await shelf(damaged, "jobs_stream")
    error = ErrorInfo("ValueError", "no")
    await write_result(
        damaged, job.id, ResultRecord(State.FAILED, "double", "default", "normal", error=error)
    )
    await jobs.remove(client.names.job_anywhere(job.id))

    report = await check(damaged, repair=True)

    assert found(report) == [(Kind.UNBURIED, job.id)]
    assert "ValueError: no" in report.findings[0].detail
    assert not report.is_clean


async def test_a_lost_job_gets_the_letter_that_a_dead_run_owes_it(
    damaged: RunningApp,
) -> None:
    """A run that ended a job as lost died before it wrote the dead letter."""
    job = await damaged.app.send("double", [1])
    client, jobs = await shelf(damaged, "jobs_stream")
    await jobs.remove(client.names.job_anywhere(job.id))
    error = ErrorInfo(JOB_LOST, "it vanished")
    await write_result(
        damaged, job.id, ResultRecord(State.FAILED, "double", "default", "normal", error=error)
    )

    await repaired(damaged, (Kind.UNBURIED, job.id))

    letter = await damaged.app.dead_letters.get(job.id)
    assert (letter.record.error, letter.record.queue) == (error, "default")


async def test_a_dead_letter_that_was_dealt_with_is_no_finding(damaged: RunningApp) -> None:
    """Who purges a letter leaves a failed record without one, and that is as it should be."""
    async with damaged.worker():
        job = await damaged.app.send("fail")
        with pytest.raises(JobFailedError):
            await job.result(30)
        await until(lambda: no_message(damaged), "the job is buried")
    await damaged.app.dead_letters.purge(job.id)

    report = await check(damaged)

    assert report.is_clean, report.findings


async def test_the_record_of_a_dead_letter_is_written(damaged: RunningApp) -> None:
    """Without it, whoever waits would be told that the job is not known."""
    async with damaged.worker():
        job = await damaged.app.send("fail")
        with pytest.raises(JobFailedError):
            await job.result(30)
        await until(lambda: no_message(damaged), "the job is buried")
    client, events = await shelf(damaged, "events_stream")
    await Shelf(client.connection, f"KV_{client.names.results_bucket}").remove(">")
    with pytest.raises(ResultExpiredError):
        await job.status()
    await events.remove(client.names.event("finished", job.id))

    await repaired(damaged, (Kind.UNRECORDED, job.id))

    with pytest.raises(JobFailedError, match="ValueError: no"):
        await job.result(30)


async def test_a_deleted_consumer_is_created_again(damaged: RunningApp) -> None:
    """A queue that has other lanes is served; one that nobody ever served is reported."""
    client = await damaged.client()
    await client.connection.api(f"CONSUMER.DELETE.{client.names.jobs_stream}.default-normal")
    job = await damaged.app.send("double", [1])

    mended = await repaired(damaged, (Kind.UNSERVED, "default-normal"))
    await damaged.app.send("double", [1], queue="nobody")
    strange = await check(damaged, repair=True)

    assert mended[0].detail == "1 job(s) wait"
    assert found(strange) == [(Kind.UNSERVED, "nobody-normal")]
    assert not strange.is_clean
    async with damaged.worker():
        assert await job.result(30) == 2


async def test_a_subject_that_no_lane_covers_is_reported(damaged: RunningApp) -> None:
    """The server takes any queue's name; no worker can ever ask for this one."""
    client = await damaged.client()
    subject = f"{client.names.namespace}.jobs.no!queue.normal.x"
    await damaged.publish(subject, b"{}")

    report = await check(damaged, repair=True)

    assert found(report) == [(Kind.UNROUTABLE, subject)]


async def test_drift_and_missing_streams_are_reported(damaged: RunningApp) -> None:
    """They are what ``mesh setup`` would do; nothing is created empty behind one's back."""
    client = await damaged.client()
    dead = client.names.dead_stream
    config = (await client.connection.api(f"STREAM.INFO.{dead}"))["config"]
    await client.connection.api(f"STREAM.UPDATE.{dead}", config | {"max_msgs": 7})

    drifted = await check(damaged, repair=True)
    await client.connection.api(f"STREAM.DELETE.{dead}")
    missing = await check(damaged, repair=True)
    await damaged.app.setup()

    assert found(drifted) == [(Kind.DRIFT, dead)]
    assert "max_msgs: 7 -> -1" in drifted.findings[0].detail
    assert found(missing) == [(Kind.DRIFT, dead)]
    assert missing.findings[0].detail == "the stream does not exist"
    assert (await check(damaged)).is_clean


async def test_without_a_ledger_the_rest_is_still_checked(mesh: RunningApp) -> None:
    """Lost jobs cannot be known then, and the report says so."""
    mesh.app.override({"events.enabled": False})
    declare(mesh.app)
    await mesh.app.setup()
    job = await mesh.app.send("double", [1])
    await write_result(
        mesh, job.id, ResultRecord(State.SUCCEEDED, "double", "default", "normal")
    )

    before = await check(mesh)

    assert not before.has_ledger
    await repaired(mesh, (Kind.LEFTOVER, job.id))


async def test_the_blocking_twin_finds_the_same(
    server: EmbeddedServer, damaged: RunningApp
) -> None:
    """``app.sync.fsck`` has the same options and the same report."""
    job = await damaged.app.send("double", [1])
    client, jobs = await shelf(damaged, "jobs_stream")
    await jobs.remove(client.names.job_anywhere(job.id))

    report = await anyio.to_thread.run_sync(
        lambda: damaged.app.sync.fsck(repair=True, settle=0.05)
    )

    assert found(report) == [(Kind.LOST, job.id)]
    assert report.is_clean
    assert server.url in damaged.app.settings.url


async def test_an_unreadable_record_is_not_judged(damaged: RunningApp) -> None:
    """Another program's record under a job's key says nothing, and is left as it is."""
    client = await damaged.client()
    block = frames.header_block([(headers.TASK, "x")])
    await client.publisher.publish(client.names.progress("odd"), block, b"not JSON")

    report = await check(damaged, repair=True)

    assert report.is_clean, report.findings


async def write_key(
    mesh: RunningApp, name: str, job_id: str, *, ttl: str = "", until: str = "done"
) -> None:
    """Write a uniqueness key that names a job."""
    client = await mesh.client()
    pairs = [(headers.TTL, ttl)] if ttl else []
    block = frames.header_block(pairs) if pairs else b""
    subject = client.names.unique_key(name)
    await client.publisher.publish(
        subject, block, msgspec.json.encode({"job_id": job_id, "until": until})
    )


async def test_a_key_that_names_no_live_job_is_removed(damaged: RunningApp) -> None:
    """One of a job that waits, and one that ends by itself, are left alone."""
    waits = await damaged.app.send("double", [1])
    ended = ResultRecord(State.SUCCEEDED, "double", "default", "normal")
    await write_result(damaged, "ended", ended)
    await write_key(damaged, "a", waits.id)
    await write_key(damaged, "b", "ended")
    await write_key(damaged, "c", "ended", ttl="1h")
    await write_key(damaged, "e", "ended", until="time")
    await write_key(damaged, "d", "never-heard-of")

    mended = await repaired(damaged, (Kind.STRAY_KEY, "b"), (Kind.STRAY_KEY, "d"))

    assert {one.detail for one in mended} == {
        "job ended has ended",
        "job never-heard-of is not known",
    }


async def test_under_load_nothing_is_found_or_touched(mesh: RunningApp) -> None:
    """2,000 jobs run, fail, are retried and put off while fsck repairs again and again."""
    declare(mesh.app)
    attempts: dict[str, int] = {}

    @mesh.app.task(retry=Retry(max_retries=3, delays_s=(0.01, 5.2)))
    async def flaky(ctx: JobContext, number: int) -> int:
        attempts[ctx.job_id] = attempts.get(ctx.job_id, 0) + 1
        if number % 10 == 0 and ctx.attempt < 2 + (number % 100 == 0):
            raise ValueError(number)
        await anyio.sleep(0.3 if number % 7 == 0 else 0)
        return number

    reports: list[FsckReport] = []
    async with mesh.worker(worker__ack_wait_s=5, worker__heartbeat_s=1):
        jobs: list[Job[Any]] = []

        async def produce() -> None:
            for start in range(0, 2000, 100):
                calls = [flaky.s(number) for number in range(start, start + 100)]
                jobs.extend(await mesh.app.enqueue_many(calls))
                await anyio.sleep(0.02)

        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            while len(reports) < 2:
                reports.append(await mesh.app.fsck(repair=True, settle=6))
        results = [await job.result(60) for job in jobs]
        await until(lambda: no_message(mesh), "the queue is empty")
        last = await mesh.app.fsck(repair=True, settle=6)

    assert results == list(range(2000))
    assert [report.findings for report in (*reports, last)] == [()] * 3
    expected = [1 + (number % 10 == 0) + (number % 100 == 0) for number in range(2000)]
    assert [attempts[job.id] for job in jobs] == expected


async def test_every_job_ends_whatever_was_deleted(mesh: RunningApp) -> None:
    """Random messages and records and a consumer vanish under a worker; one repair ends all."""
    declare(mesh.app)
    chance = random.Random(20)

    @mesh.app.task(retry=Retry(max_retries=2, delay_s=0.05))
    async def work(ctx: JobContext, number: int) -> int:
        await anyio.sleep(0.3 if number % 5 == 0 else 0.01)
        if number % 7 == 0 and ctx.attempt == 1:
            raise ValueError(number)
        return number

    async with mesh.worker(
        worker__ack_wait_s=1, worker__heartbeat_s=0.2, worker__concurrency=8
    ):
        jobs = await mesh.app.enqueue_many([work.s(number) for number in range(300)])
        jobs += await mesh.app.enqueue_many(
            [work.options(delay=1).s(number) for number in range(300, 330)]
        )
        client, queued = await shelf(mesh, "jobs_stream")
        running = Shelf(client.connection, f"KV_{client.names.progress_bucket}")
        removed = chance.sample(jobs[:300], 60)
        for job in removed:
            await queued.remove(client.names.job_anywhere(job.id))
        for job in chance.sample(jobs, 60):
            await running.remove(client.names.progress(job.id))
        await client.connection.api(
            f"CONSUMER.DELETE.{client.names.jobs_stream}.default-normal"
        )

        mended = await mesh.app.fsck(repair=True, settle=2.5)
        ends = [await end_of(job) for job in jobs]
        await until(lambda: no_message(mesh), "the queue is empty", 30)
        # A job whose consumer was deleted may run twice; the slower run may leave its record.
        after = await mesh.app.fsck(repair=True, settle=2.5)
        last = await mesh.app.fsck(settle=2.5)

    assert {one.kind for one in mended.findings} >= {Kind.LOST}
    assert mended.is_clean
    assert {one.kind for one in after.findings} <= {Kind.STALE_PROGRESS}
    assert last.is_clean, last.findings
    # One that had failed before it vanished has a running record: it is stuck, and as gone.
    gone = {one.name for one in mended.findings if one.kind in {Kind.LOST, Kind.STUCK}}
    for job, end in zip(jobs, ends, strict=True):
        assert end == ("lost" if job.id in gone else "done")
    assert gone <= {job.id for job in removed}


async def end_of(job: Job[Any]) -> str:
    """How a job ended."""
    try:
        await job.result(30)
    except JobFailedError as error:
        return "lost" if "JobLostError" in str(error) else "failed"
    return "done"


async def test_what_is_left_of_a_job_that_was_due_is_removed(damaged: RunningApp) -> None:
    """A server that is killed may keep for good what it had handed over."""
    client, delayed = await shelf(damaged, "delayed_stream")
    async with damaged.worker():
        job = await damaged.app.send("double", [3], delay=0.1)
        assert await job.result(30) == 6
        await until(lambda: no_message(damaged), "it is acknowledged")
    subject = client.names.due("default", "normal", job.id)
    # Without the consumer nobody takes it away.
    await client.connection.api(
        f"CONSUMER.DELETE.{client.names.delayed_stream}.{client.names.due_consumer}"
    )
    await client.publisher.publish(subject, b"", b'{"task":"double","args":[3]}')

    report = await check(damaged, repair=True)

    assert (Kind.LEFTOVER, job.id) in found(report)
    assert await delayed.last(subject) is None


async def test_a_job_that_was_delayed_leaves_nothing_behind(damaged: RunningApp) -> None:
    """Its message is removed with its end, not only when the server confirms its way."""
    client, delayed = await shelf(damaged, "delayed_stream")
    async with damaged.worker():
        job = await damaged.app.send("double", [3], delay=0.1)
        assert await job.result(30) == 6
        await until(lambda: no_message(damaged), "it is acknowledged")

        assert await delayed.last(client.names.due_anywhere(job.id)) is None
