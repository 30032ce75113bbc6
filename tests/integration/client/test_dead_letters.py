"""Dead letters: they are found, replayed once each, and purged with what they keep alive."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import anyio.to_thread
import msgspec
import pytest
from support.running import RunningApp
from support.waiting import until

from mesh import JobContext, Mesh, State
from mesh.client.dead_letters import DeadLetters
from mesh.client.letters import (
    REPLAY_OF,
    Changes,
    DeadLetterNotFoundError,
    Letter,
    NotReplayableError,
    Replayed,
    ReplayOutcome,
    shown_body,
)
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import headers, records
from mesh.contract.records import DeadLetter, ErrorInfo
from mesh.errors import InvalidDurationError, InvalidNameError, OptionError
from mesh.server.process import EmbeddedServer
from mesh.transport import frames
from mesh.transport.buckets import Shelf

BROKEN = {"charge": True, "mail": True}


class DeclinedError(Exception):
    """A card was declined."""


def declare(app: Mesh, runs: list[str]) -> None:
    """Register two tasks that fail until they are fixed, and keep count of the runs."""

    @app.task(retry=0, queue="shop")
    async def charge(ctx: JobContext, number: int, *, note: str = "") -> str:
        runs.append(ctx.job_id)
        if BROKEN["charge"]:
            raise DeclinedError(f"card {number}") from ValueError("no funds")
        return f"{number}{note[:1]} after {ctx.meta.get(REPLAY_OF, '')}"

    @app.task(retry=0)
    async def mail(ctx: JobContext, number: int) -> int:
        runs.append(ctx.job_id)
        if BROKEN["mail"]:
            raise TimeoutError(f"mailbox {number} is shut")
        return number


@pytest.fixture
def runs(mesh: RunningApp) -> list[str]:
    """The ids of the jobs that were run, in their order; both tasks fail."""
    BROKEN.update(charge=True, mail=True)
    found: list[str] = []
    declare(mesh.app, found)
    return found


async def die(mesh: RunningApp, charges: int, mails: int, note: str = "") -> None:
    """Have so many jobs fail for good."""
    charge, mail = mesh.app.tasks.get("charge"), mesh.app.tasks.get("mail")
    assert charge is not None
    assert mail is not None
    before = await mesh.count("dead_stream")
    for number in range(charges):
        kwargs = {"note": note} if note else {}
        await mesh.app.send("charge", [number], kwargs, queue="shop", job_id=f"charge-{number}")
    for number in range(mails):
        await mesh.app.send("mail", [number], job_id=f"mail-{number}")
    await dead(mesh, before + charges + mails)


async def dead(mesh: RunningApp, count: int) -> None:
    """Wait until there are so many dead letters and no job is left."""

    async def is_so() -> bool:
        letters = await mesh.count("dead_stream")
        return letters == count and await mesh.count("jobs_stream") == 0

    await until(is_so, f"there are {count} dead letters")


async def bury(mesh: RunningApp, job_id: str, body: bytes, task: str = "") -> None:
    """Store a dead letter as a worker would."""
    client = await mesh.client()
    letter = DeadLetter(job_id, "default", "normal", task, ErrorInfo("X", "y"), died_at_ms=1)
    block = frames.header_block([(headers.DEAD_LETTER, records.encode(letter).decode())])
    await client.publisher.publish(client.names.dead("default", job_id), block, body)


async def ids(letters: DeadLetters, **filters: object) -> list[str]:
    """The jobs of the letters that fit."""
    return [letter.job_id async for letter in letters.find(**filters)]  # type: ignore[arg-type]


async def outcomes(mesh: RunningApp) -> list[Replayed]:
    """Replay everything."""
    return [replay async for replay in mesh.app.dead_letters.replay_all()]


async def test_dead_letters_are_found_by_what_is_known_of_them(
    mesh: RunningApp, runs: list[str]
) -> None:
    """Task, queue, error, time and number choose among 200; the order may be reversed."""
    letters = mesh.app.dead_letters
    async with mesh.worker():
        await die(mesh, 120, 80)
    middle = datetime.fromtimestamp(SYSTEM_CLOCK.now_ms() / 1000 + 5, UTC)

    everything = await ids(letters)

    assert sorted(everything) == sorted(runs)
    assert await ids(letters, newest_first=False) == everything[::-1]
    assert len(await ids(letters, task="charge")) == 120
    assert len(await ids(letters, queue="default")) == 80
    assert len(await ids(letters, queue="shop", newest_first=False)) == 120
    assert len(await ids(letters, error="declinederror")) == 120
    assert len(await ids(letters, error="NO FUNDS")) == 120, "a cause counts too"
    assert await ids(letters, error="mailbox 7 is") == ["mail-7"]
    assert await ids(letters, since=middle) == []
    assert len(await ids(letters, since="5m", until=middle)) == 200
    assert await ids(letters, until="5m") == []
    assert await ids(letters, limit=150) == everything[:150]
    assert await ids(letters, task="mail", queue="shop") == []


async def test_letters_far_apart_are_found_from_both_ends(mesh: RunningApp) -> None:
    """Gaps in the stream neither hide a letter nor show one twice, in either direction."""
    await mesh.app.setup()
    client = await mesh.client()
    names = [f"j{number}" for number in range(2500)]
    for name in names:
        await bury(mesh, name, b"{}")
    left = [name for number, name in enumerate(names) if number % 400 == 3 or number > 2300]
    for name in set(names) - set(left):
        await client.connection.api(
            f"STREAM.PURGE.{client.names.dead_stream}",
            {"filter": client.names.dead("default", name)},
        )

    assert await ids(mesh.app.dead_letters, newest_first=False) == left
    assert await ids(mesh.app.dead_letters) == left[::-1]


async def test_one_letter_tells_all_it_knows(mesh: RunningApp, runs: list[str]) -> None:
    """The error with its cause and traceback, the attempt, the times and the arguments."""
    async with mesh.worker():
        await die(mesh, 1, 0)

    letter = await mesh.app.dead_letters.get("charge-0")
    record = letter.record
    body = shown_body(letter, await mesh.app.dead_letters.body(letter))

    assert isinstance(body, dict)
    assert body["args"] == [0]
    assert (record.task, record.queue, record.priority) == ("charge", "shop", "normal")
    assert (record.error.message, record.attempt, len(runs)) == ("card 0", 1, 1)
    assert "DeclinedError" in record.error.traceback
    assert record.error.cause is not None
    assert record.error.cause.message == "no funds"
    assert 0 < record.enqueued_at_ms <= record.died_at_ms
    with pytest.raises(DeadLetterNotFoundError, match="no dead letter of job 'other'"):
        await mesh.app.dead_letters.get("other")


async def test_the_jobs_of_a_fixed_task_succeed_when_they_are_replayed(
    mesh: RunningApp, runs: list[str]
) -> None:
    """Each runs once more under a new id that names the old job; its dead letter is gone."""
    async with mesh.worker():
        await die(mesh, 120, 80)
        BROKEN["charge"] = False
        runs.clear()
        letters = mesh.app.dead_letters

        done = [replay async for replay in letters.replay_all(task="charge")]

        results = [await mesh.app.job(one.new_job_id).result(timeout=30) for one in done]
    assert {one.outcome for one in done} == {ReplayOutcome.REPLAYED}
    assert sorted(runs) == sorted(f"charge-{number}-r1" for number in range(120))
    assert sorted(results) == sorted(f"{n} after charge-{n}" for n in range(120))
    assert await ids(letters, task="charge") == []
    assert len(await ids(letters, task="mail")) == 80
    assert (await mesh.app.job("charge-7").status()).state is State.FAILED, "it stays on record"


async def test_a_replay_that_was_cut_short_is_finished_without_running_a_job_twice(
    mesh: RunningApp, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was done before the interruption is found by its id."""
    async with mesh.worker():
        await die(mesh, 60, 0)
    BROKEN["charge"] = False
    runs.clear()
    client = await mesh.client()
    publish, count, reached = client.publisher.publish, 0, anyio.Event()

    async def stuck(subject: str, block: bytes, body: bytes) -> object:
        nonlocal count
        count += 1
        if (
            count == 30
        ):  # Stored, as long ago as message ids are known; its letter is still there.
            block = block.replace(b"Nats-Msg-Id: ", b"Old-Msg-Id: ")
        receipt = await publish(subject, block, body)
        if count == 30:
            reached.set()
            await anyio.Event().wait()
        return receipt

    monkeypatch.setattr(client.publisher, "publish", stuck)
    async with anyio.create_task_group() as group:
        group.start_soon(outcomes, mesh)
        with anyio.fail_after(30):
            await reached.wait()
        group.cancel_scope.cancel()
    monkeypatch.undo()
    async with mesh.worker():
        await until(lambda: len(runs) == 30, "the first half runs")
        await until(lambda: mesh_is_empty(mesh), "the first half is settled")

        rest = await outcomes(mesh)

        for number in range(60):
            await mesh.app.job(f"charge-{number}-r1").result(timeout=30)
    assert [one.outcome for one in rest].count(ReplayOutcome.REPLAYED_BEFORE) == 1
    assert len(rest) == 31
    assert sorted(runs) == sorted(f"charge-{number}-r1" for number in range(60))
    assert await mesh.count("dead_stream") == 0


async def mesh_is_empty(mesh: RunningApp) -> bool:
    """Whether no job is left."""
    return await mesh.count("jobs_stream") == 0


async def test_a_dry_run_changes_nothing(mesh: RunningApp, runs: list[str]) -> None:
    """It tells what would be done; letters and jobs are as they were."""
    async with mesh.worker():
        await die(mesh, 3, 2)
    letters = mesh.app.dead_letters

    done = [one async for one in letters.replay_all(dry_run=True)]
    one = await letters.replay("mail-1", dry_run=True)
    purged = [letter.job_id async for letter in letters.purge_all(dry_run=True)]

    assert {one.outcome for one in done} == {ReplayOutcome.WOULD_REPLAY}
    assert one == Replayed("mail-1", "mail-1-r1", one.outcome, "mail", "default")
    assert len(done) == len(purged) == await mesh.count("dead_stream") == 5
    assert await mesh.count("jobs_stream") == 0


async def test_a_replay_that_dies_again_can_be_replayed_again(
    mesh: RunningApp, runs: list[str]
) -> None:
    """Its ids count on and stay short enough; one run of replays takes each letter once."""
    async with mesh.worker():
        await die(mesh, 0, 1)
        await mesh.app.send("mail", [5], job_id="x" * 128)
        await dead(mesh, 2)

        first = await outcomes(mesh)
        await dead(mesh, 2)
        second = await outcomes(mesh)
        await dead(mesh, 2)

    assert first[0].new_job_id == "mail-0-r1"
    assert {one.new_job_id[-3:] for one in first} == {"-r1"}
    assert "mail-0-r2" in {one.new_job_id for one in second}
    assert {one.new_job_id[-3:] for one in second} == {"-r2"}
    assert max(len(one.new_job_id) for one in first + second) <= 128
    assert len(runs) == 6


async def test_a_replay_can_change_the_job(mesh: RunningApp, runs: list[str]) -> None:
    """New arguments, task, queue and priority; all else is the dead job's."""
    async with mesh.worker():
        await die(mesh, 1, 0)
    BROKEN.update(charge=False, mail=False)
    changes = Changes(task="mail", args=[9], queue="slow", priority="high")

    replay = await mesh.app.dead_letters.replay("charge-0", changes)

    status = await mesh.app.job(replay.new_job_id).status()
    assert (status.queue, status.priority, status.task) == ("slow", "high", "mail")
    async with mesh.worker(worker__queues=["slow"]):
        assert await mesh.app.job("charge-0-r1").result(timeout=30) == 9
    for wrong in (Changes(queue="a.b"), Changes(priority="urgent"), Changes(task="a b")):
        with pytest.raises(InvalidNameError):
            await mesh.app.dead_letters.replay("charge-0", wrong)


async def test_large_arguments_go_with_the_replay_and_leave_with_the_purge(
    mesh: RunningApp, runs: list[str]
) -> None:
    """They are used again, not copied; nothing is left in the bucket in the end."""
    client = await mesh.client()
    bucket = f"STREAM.INFO.OBJ_{client.names.payloads_bucket}"

    async def stored() -> int:
        client = await mesh.client()
        return int((await client.connection.api(bucket))["state"]["messages"])

    async with mesh.worker():
        await die(mesh, 3, 0, note="n" * 600_000)
        whole = await stored()
        BROKEN["charge"] = False

        replay = await mesh.app.dead_letters.replay("charge-0")

        assert await mesh.app.job(replay.new_job_id).result(timeout=30) == "0n after charge-0"
        await until(lambda: mesh_is_empty(mesh), "the job is settled")
        assert await stored() == whole * 2 / 3
        await mesh.app.dead_letters.replay("charge-1", Changes(args=[1]))
        assert await mesh.app.job("charge-1-r1").result(timeout=30) == "1 after charge-1"
        assert await stored() == whole / 3
        await mesh.app.dead_letters.purge("charge-2")
        assert await stored() == 0
        assert await ids(mesh.app.dead_letters) == []


async def test_arguments_that_an_unfinished_replay_needs_survive_the_purge(
    mesh: RunningApp, runs: list[str]
) -> None:
    """A letter whose job is stored again already may go; the arguments may not."""
    async with mesh.worker():
        await die(mesh, 1, 0, note="n" * 600_000)
    BROKEN["charge"] = False
    client = await mesh.client()
    letter = await mesh.app.dead_letters.get("charge-0")
    await mesh.app.dead_letters.replay("charge-0")
    block = frames.header_block([(headers.DEAD_LETTER, records.encode(letter.record).decode())])
    await client.publisher.publish(client.names.dead("shop", "charge-0"), block, letter.body)

    await mesh.app.dead_letters.purge("charge-0")

    async with mesh.worker():
        assert await mesh.app.job("charge-0-r1").result(timeout=30) == "0n after charge-0"


async def test_a_body_in_the_payload_bucket_is_fetched_for_the_replay(
    mesh: RunningApp, runs: list[str]
) -> None:
    """A letter that names where its body lies is replayed from there, and the object goes."""
    await mesh.app.setup()
    BROKEN["mail"] = False
    client = await mesh.client()
    bucket = client.names.payloads_bucket
    body = b'{"task": "mail", "args": [4], "meta": {"pad": "%b"}}' % (b"p" * 1_000)
    ref = await client.payloads.put(bucket, "big.dead", body)
    error = ErrorInfo("X", "y")
    letter = DeadLetter("big", "default", "normal", "mail", error, body_ref=ref)
    block = frames.header_block([(headers.DEAD_LETTER, records.encode(letter).decode())])
    await client.publisher.publish(client.names.dead("default", "big"), block, b"")

    await mesh.app.dead_letters.replay("big")

    async with mesh.worker():
        assert await mesh.app.job("big-r1").result(timeout=30) == 4
    info = await (await mesh.client()).connection.api(f"STREAM.INFO.OBJ_{bucket}")
    assert info["state"]["messages"] == 0


async def test_letters_too_large_for_one_page_are_all_found(mesh: RunningApp) -> None:
    """The server ends a page early when it is heavy; nothing is left out or told twice."""
    await mesh.app.setup()
    names = [f"j{number}" for number in range(70)]
    for name in names:
        await bury(mesh, name, b"x" * 500_000)

    assert await ids(mesh.app.dead_letters, newest_first=False) == names
    assert await ids(mesh.app.dead_letters) == names[::-1]


async def test_arguments_too_large_for_a_message_move_to_the_bucket(
    mesh: RunningApp, runs: list[str]
) -> None:
    """Another program's job may hold them itself; a replay needs room for its own words."""
    await mesh.app.setup()
    BROKEN["charge"] = False
    long = "n" * 700_000
    body = {"task": "charge", "args": [1], "kwargs": {"note": long}}
    await bury(mesh, "big", msgspec.json.encode(body))

    await mesh.app.dead_letters.replay("big")

    client = await mesh.client()
    subject = client.names.job_anywhere("big-r1")
    job = await Shelf(client.connection, client.names.jobs_stream).last(subject)
    assert job is not None
    assert len(job.value) < 1000
    async with mesh.worker():
        assert await mesh.app.job("big-r1").result(timeout=30) == "1n after big"


async def test_a_replay_has_as_long_to_expire_as_the_job_had(mesh: RunningApp) -> None:
    """A job that had an hour to be started gets an hour from now."""
    await mesh.app.setup()
    await bury(mesh, "j", b'{"task":"t","enqueued_at_ms":1000,"expires_at_ms":3601000}')

    await mesh.app.dead_letters.replay("j")

    client = await mesh.client()
    subject = client.names.job_anywhere("j-r1")
    job = await Shelf(client.connection, client.names.jobs_stream).last(subject)
    assert job is not None
    body = msgspec.json.decode(job.value)
    assert body["meta"] == {REPLAY_OF: "j"}
    assert body["expires_at_ms"] - body["enqueued_at_ms"] == 3_600_000
    assert 0 <= SYSTEM_CLOCK.now_ms() - body["enqueued_at_ms"] < 60_000


async def test_a_malformed_body_is_replayed_only_with_a_task_and_arguments(
    mesh: RunningApp, runs: list[str]
) -> None:
    """Alone it is an error, among others it is skipped; given both it becomes a job."""
    await mesh.app.setup()
    BROKEN["mail"] = False
    await bury(mesh, "garbled", b"{oops")
    await bury(mesh, "plain", b'{"task": "mail", "args": [1]}', "mail")
    letters = mesh.app.dead_letters

    with pytest.raises(NotReplayableError, match="Give a task and arguments"):
        await letters.replay("garbled")
    first, second = await outcomes(mesh)

    assert (first.outcome, first.job_id) == (ReplayOutcome.SKIPPED, "garbled")
    assert "not-json" in first.reason
    assert second.outcome is ReplayOutcome.REPLAYED
    assert await ids(letters) == ["garbled"]
    await letters.replay("garbled", Changes(task="mail", args=[2]))
    async with mesh.worker():
        assert await mesh.app.job("garbled-r1").result(timeout=30) == 2


async def test_a_replay_takes_nobody_elses_id(mesh: RunningApp, runs: list[str]) -> None:
    """A job that has the new id by chance was enqueued before the death: the letter stays."""
    BROKEN["mail"] = False
    async with mesh.worker():
        await (await mesh.app.send("mail", [0], job_id="charge-0-r1")).result(timeout=30)
        await die(mesh, 1, 0)

        with pytest.raises(NotReplayableError, match="belongs to a job"):
            await mesh.app.dead_letters.replay("charge-0")

        assert await mesh.count("dead_stream") == 1


async def test_replays_keep_to_a_rate(mesh: RunningApp, runs: list[str]) -> None:
    """At 20 a second, four take at least three pauses of a twentieth."""
    await mesh.app.setup()
    for number in range(4):
        await bury(mesh, f"j{number}", b'{"task": "mail", "args": [1]}', "mail")
    loop = asyncio.get_running_loop()
    start = loop.time()

    done = [one async for one in mesh.app.dead_letters.replay_all(rate=20)]

    assert len(done) == 4
    assert loop.time() - start >= 0.15


async def test_a_message_that_is_no_dead_letter_is_shown_and_purged(mesh: RunningApp) -> None:
    """What another program wrote there says so, and can be removed."""
    await mesh.app.setup()
    client = await mesh.client()
    await mesh.publish(client.names.dead("default", "odd"), b"\xff")

    letter = await mesh.app.dead_letters.get("odd")

    assert "no record of the death" in letter.record.error.message
    assert shown_body(letter, letter.body) == "\\xff"
    assert (await mesh.app.dead_letters.purge("odd")).job_id == "odd"
    assert await mesh.count("dead_stream") == 0


async def test_a_filter_that_cannot_be_is_refused(mesh: RunningApp) -> None:
    """Each fault is named before anything is read."""
    letters = mesh.app.dead_letters
    for filters, error in (
        ({"limit": 0}, OptionError),
        ({"queue": "a.b"}, InvalidNameError),
        ({"since": "soon"}, InvalidDurationError),
        ({"until": datetime(2030, 1, 1)}, OptionError),  # noqa: DTZ001 - that is the fault
    ):
        with pytest.raises(error):
            await ids(letters, **filters)  # type: ignore[arg-type]
    with pytest.raises(OptionError):
        _ = [one async for one in letters.replay_all(rate=0)]
    await mesh.app.setup()


async def test_no_more_dead_letters_are_kept_than_the_limit(
    server: EmbeddedServer, mesh: RunningApp
) -> None:
    """With limits.max_dead the oldest give way."""
    mesh.app.override({"limits.max_dead": 3})
    await mesh.app.setup()
    for number in range(5):
        await bury(mesh, f"j{number}", b"{}")

    assert await ids(mesh.app.dead_letters) == ["j4", "j3", "j2"]


async def test_the_blocking_twin_does_the_same(mesh: RunningApp, runs: list[str]) -> None:
    """A thread without a loop finds, reads, replays and purges."""
    await mesh.app.setup()
    for number in range(4):
        await bury(mesh, f"j{number}", b'{"task": "mail", "args": [%d]}' % number, "mail")
    letters = mesh.app.sync.dead_letters

    def work() -> tuple[list[Letter], list[Replayed], list[str]]:
        found = list(letters.find())
        assert msgspec.json.decode(letters.body(letters.get("j1")))["args"] == [1]
        assert letters.purge("j0").job_id == "j0"
        done = [letters.replay("j1"), next(iter(letters.replay_all()))]
        return found, done, [letter.job_id for letter in letters.purge_all()]

    found, done, purged = await anyio.to_thread.run_sync(work)

    assert [letter.job_id for letter in found] == ["j3", "j2", "j1", "j0"]
    assert [one.new_job_id for one in done] == ["j1-r1", "j2-r1"]
    assert purged == ["j3"]
    assert await mesh.count("jobs_stream") == 2
