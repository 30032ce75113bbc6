"""Whatever a producer without mesh puts into the job stream, the worker answers and goes on."""

from __future__ import annotations

import json
import logging
import random
from typing import Any

import anyio
import msgspec
import pytest
from support.corpus import bad_messages
from support.running import RunningApp
from support.waiting import until
from support.wire import wire

from mesh.contract.headers import DEAD_LETTER
from mesh.contract.lifecycle import State
from mesh.contract.records import ResultRecord, read_dead_letter
from mesh.transport.buckets import Entry, Shelf

FUZZED = 500
GOOD = 100
ECHO = b'{"task": "echo", "args": [7]}'
AT_ONCE = {"worker__unknown_task_grace_s": 0}

ODD_IDS = {
    "a character outside the grammar": b"bad:id",
    "too long by far": b"x" * 200,
    "almost a whole protocol line": b"x" * 3900,
    "invalid UTF-8": b"\xff\xfe",
    "a letter of another alphabet": "ключ".encode(),
    "a space of another width": "a\u2003b".encode(),
    "a control character": b"a\x01b",
    "a zero byte": b"a\x00b",
    "a vertical tab": b"a\x0bb",
    "a form feed": b"a\x0cb",
    "what a careless reader takes for the rest of the line": b"a\x0b1\x0b0",
    "a wildcard for one token": b"*",
    "a wildcard for all tokens": b">",
    "the server's own template": b"{{wildcard(1)}}",
}


def declare(mesh: RunningApp) -> None:
    """Register the one task that foreign producers ask for."""

    @mesh.app.task
    async def echo(value: int) -> int:
        return value


async def lane(mesh: RunningApp, priority: str = "high") -> bytes:
    """What stands before a job's id in its subject."""
    return (await mesh.client()).names.job("default", priority, "").encode()


async def is_empty(mesh: RunningApp) -> bool:
    """Whether no message is left in the job stream."""
    return await mesh.count("jobs_stream") == 0


async def works_on(mesh: RunningApp) -> None:
    """See that a good job still succeeds and that nothing is left in the job stream."""
    good = await mesh.app.send("echo", [42])
    assert await good.result(timeout=30) == 42
    await until(lambda: is_empty(mesh), "the job stream is empty")


async def record_of(mesh: RunningApp, job_id: str) -> ResultRecord:
    """The terminal record of a job that has ended."""
    record = await (await mesh.client()).records.result(job_id)
    assert record is not None
    return record


async def letter_of(mesh: RunningApp, job_id: str) -> Entry | None:
    """The dead letter of a job, if there is one."""
    client = await mesh.client()
    shelf = Shelf(client.connection, client.names.dead_stream)
    return await shelf.last(client.names.dead("default", job_id))


@pytest.mark.parametrize("odd", ODD_IDS.values(), ids=ODD_IDS.keys())
async def test_a_job_id_outside_the_grammar_ends_as_a_failure(
    mesh: RunningApp, odd: bytes
) -> None:
    """Record and dead letter bear the message's place in the stream, and work goes on."""
    declare(mesh)
    async with mesh.worker(), wire(mesh.app.settings.url) as producer:
        sequence = await producer.store(await lane(mesh) + odd, ECHO)
        await works_on(mesh)

    record = await record_of(mesh, f"invalid-{sequence}")
    letter = await letter_of(mesh, f"invalid-{sequence}")
    assert (record.state, record.attempt) == (State.FAILED, 1)
    assert record.error is not None
    assert record.error.type == "mesh.errors.InvalidNameError"
    assert letter is not None
    assert letter.value == ECHO
    assert await mesh.count("dead_stream") == 1


@pytest.mark.parametrize(
    "subject",
    [
        "{ns}.jobs.default.urgent.x",
        "{ns}.due.default.urgent.x",
        "{ns}.jobs.default.HIGH.x",
        "{ns}.jobs.default.high",
        "{ns}.jobs.default.high.",
        "{ns}.jobs..high.x",
        "{ns}.jobs.default.high.x.y",
        "{ns}.jobs.default.*.x",
        "{ns}.jobs.>",
    ],
)
async def test_the_server_takes_no_job_for_a_lane_that_cannot_be(
    mesh: RunningApp, subject: str
) -> None:
    """A subject with another priority or another number of tokens is in no stream."""
    await mesh.app.setup()
    names = (await mesh.client()).names
    async with wire(mesh.app.settings.url) as producer:
        taken = await producer.store(subject.format(ns=names.namespace).encode(), ECHO)

    assert taken is None
    assert await mesh.count("jobs_stream") == 0


async def test_the_server_takes_no_delayed_job_for_an_unknown_priority(
    mesh: RunningApp,
) -> None:
    """A schedule whose target no worker could ever serve is refused at once."""
    await mesh.app.setup()
    names = (await mesh.client()).names
    async with wire(mesh.app.settings.url) as producer:
        taken = await producer.store(
            names.delayed("odd").encode(),
            ECHO,
            ("Nats-Schedule", "@at 2030-01-01T00:00:00Z"),
            ("Nats-Schedule-Target", names.due("default", "urgent", "x")),
        )

    assert taken is None
    assert await mesh.count("delayed_stream") == 0


@pytest.mark.parametrize("queue", [b"*", b"a:b", b"\xff", b"a\x0bb", b"q" * 65])
async def test_a_queue_outside_the_grammar_waits_and_harms_nobody(
    mesh: RunningApp, queue: bytes
) -> None:
    """No worker can serve such a queue: its job stays, and the others go on."""
    declare(mesh)
    namespace = mesh.app.settings.namespace.encode()
    async with mesh.worker(), wire(mesh.app.settings.url) as producer:
        taken = await producer.store(b"%b.jobs.%b.high.x" % (namespace, queue), ECHO)
        good = await mesh.app.send("echo", [42])

        assert await good.result(timeout=30) == 42
    assert taken == 1
    assert await mesh.count("jobs_stream") == 1


async def test_a_delayed_job_with_an_odd_id_fails_when_it_is_due(mesh: RunningApp) -> None:
    """What fires into the job stream is answered like what was published there."""
    declare(mesh)
    names = (await mesh.client()).names
    async with mesh.worker(), wire(mesh.app.settings.url) as producer:
        await producer.store(
            names.delayed("odd").encode(),
            ECHO,
            ("Nats-Schedule", "@at 2020-01-01T00:00:00Z"),
            ("Nats-Schedule-Target", names.due("default", "high", "bad:id")),
        )
        await until(lambda: has_dead_letter(mesh, "invalid-1"), "the job has failed")
        await works_on(mesh)

    assert (await record_of(mesh, "invalid-1")).state is State.FAILED


async def has_dead_letter(mesh: RunningApp, job_id: str) -> bool:
    """Whether the job has a dead letter."""
    return await letter_of(mesh, job_id) is not None


@pytest.mark.parametrize(
    "number", ["²", "0", "-1", "9" * 30, "9" * 5000, "one", "", "\u0661"], ids=ascii
)
async def test_an_attempt_that_is_no_number_counts_as_the_first(
    mesh: RunningApp, number: str
) -> None:
    """A header that only workers should set may hold anything."""
    declare(mesh)
    async with mesh.worker(), wire(mesh.app.settings.url) as producer:
        await producer.store(await lane(mesh) + b"order-9", ECHO, ("Mesh-Attempt", number))

        assert await mesh.app.job("order-9").result(timeout=30) == 7
    assert (await record_of(mesh, "order-9")).attempt == 1


async def test_a_job_whose_record_nobody_can_read_does_not_come_back_for_ever(
    mesh: RunningApp,
) -> None:
    """Rubbish in the results bucket makes a dead letter, not an endless redelivery."""
    declare(mesh)
    names = (await mesh.client()).names
    async with mesh.worker(), wire(mesh.app.settings.url) as producer:
        await producer.store(names.result("order-9").encode(), b"rubbish")
        await producer.store(await lane(mesh) + b"order-9", ECHO, ("Mesh-Attempt", "2"))
        await until(lambda: has_dead_letter(mesh, "order-9"), "the job has failed")
        await works_on(mesh)


async def test_arguments_in_another_bucket_are_refused_and_left_there(mesh: RunningApp) -> None:
    """A producer can neither read nor remove objects through the worker's hands."""
    declare(mesh)
    async with mesh.worker(), wire(mesh.app.settings.url) as producer:
        client = await mesh.client()
        bucket = client.names.outputs_bucket
        ref = await client.payloads.put(bucket, "secret", b'{"args":[7],"kwargs":{}}')
        for job_id, more in (("a", {}), ("b", {"expires_at_ms": 1})):
            body = {"task": "echo", "args_ref": msgspec.to_builtins(ref), **more}
            await producer.store(await lane(mesh) + job_id.encode(), json.dumps(body).encode())
        await until(lambda: has_dead_letter(mesh, "b"), "both jobs have failed")
        await works_on(mesh)

        for job_id in ("a", "b"):
            error = (await record_of(mesh, job_id)).error
            assert error is not None
            assert "never in" in error.message
        assert await client.payloads.get(ref) == b'{"args":[7],"kwargs":{}}'


async def test_a_job_as_large_as_the_server_takes_becomes_a_dead_letter(
    mesh: RunningApp,
) -> None:
    """A body that leaves no room for the letter's header lies in the payload bucket."""
    declare(mesh)
    body = b'{"task": "echo", "args": ["%b"]}' % (b"x" * (1_048_576 - 60))
    async with mesh.worker(), wire(mesh.app.settings.url) as producer:
        await producer.store(await lane(mesh) + b"huge", body)
        await until(lambda: has_dead_letter(mesh, "huge"), "the job has failed")
        await works_on(mesh)

        entry = await letter_of(mesh, "huge")
        assert entry is not None
        ref = read_dead_letter(entry.headers[DEAD_LETTER]).body_ref
        assert ref is not None
        assert entry.value == b""
        assert await (await mesh.client()).payloads.get(ref) == body


@pytest.mark.parametrize("size", [30_000, 32_300, 32_500, 32_600, 33_000, 66_000])
async def test_a_failure_of_any_length_becomes_a_dead_letter(
    mesh: RunningApp, size: int
) -> None:
    """An error whose text comes near the server's limit for headers is kept all the same."""
    declare(mesh)

    @mesh.app.task(retry=0)
    async def complain(length: int) -> None:
        error = ValueError("no")
        for _ in range(0, length, 8_000):
            error.add_note("n" * min(length, 8_000))
        raise error

    async with mesh.worker():
        job = await mesh.app.send("complain", [size], job_id="sad")
        await until(lambda: has_dead_letter(mesh, job.id), "the job has failed")
        await works_on(mesh)

    assert (await record_of(mesh, "sad")).state is State.FAILED


@pytest.mark.timeout(180)
async def test_five_hundred_bad_messages_do_not_keep_a_hundred_good_ones_from_success(
    mesh: RunningApp, caplog: pytest.LogCaptureFixture
) -> None:
    """Every bad message ends in one record and one dead letter, every good one in its value."""
    declare(mesh)
    bad = bad_messages(random.randrange(10**6), FUZZED)
    every = FUZZED // GOOD

    async with mesh.worker(**AT_ONCE), wire(mesh.app.settings.url) as producer:
        before = await lane(mesh)
        for number, (body, headers) in enumerate(bad):
            assert await producer.store(before + b"bad-%d" % number, body, *headers)
            if number % every == 0:
                good = json.dumps({"task": "echo", "args": [number // every]}).encode()
                await producer.store(before + b"good-%d" % (number // every), good)
        await until(lambda: is_empty(mesh), "the job stream is empty", timeout_s=60)
        await works_on(mesh)

        for number in range(GOOD):
            assert await mesh.app.job(f"good-{number}").result(timeout=30) == number
        for number, (body, headers) in enumerate(bad):
            await check_bad(mesh, f"bad-{number}", body, headers)

    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
    assert await mesh.count("dead_stream") == FUZZED
    assert await count_records(mesh) == FUZZED + GOOD + 1


async def check_bad(
    mesh: RunningApp, job_id: str, body: bytes, headers: tuple[tuple[str, str], ...]
) -> None:
    """See that a bad message has a failed record, and a dead letter with the body it had."""
    record = await record_of(mesh, job_id)
    letter = await letter_of(mesh, job_id)
    shown = (job_id, body[:200], headers)
    assert (record.state, record.attempt) == (State.FAILED, 1), shown
    assert record.error is not None, shown
    assert record.error.type.startswith("mesh.errors."), (shown, record.error)
    assert letter is not None, shown
    assert letter.value == body, shown


async def count_records(mesh: RunningApp) -> int:
    """Count the terminal records."""
    client = await mesh.client()
    answer: dict[str, Any] = await client.connection.api(
        f"STREAM.INFO.KV_{client.names.results_bucket}"
    )
    return int(answer["state"]["messages"])


async def test_a_signal_without_a_record_cancels_and_leaves_one(mesh: RunningApp) -> None:
    """A careless canceller that only sends the signal does not make a job vanish."""
    started = anyio.Event()

    @mesh.app.task
    async def wait() -> None:
        started.set()
        await anyio.sleep_forever()

    async with mesh.worker(), wire(mesh.app.settings.url) as producer:
        names = (await mesh.client()).names
        await producer.store(await lane(mesh) + b"order-9", b'{"task": "wait"}')
        await started.wait()
        await producer.publish(names.cancel_signal("order-9").encode())
        await until(lambda: is_empty(mesh), "the job stream is empty")

    assert (await record_of(mesh, "order-9")).state is State.CANCELLED
