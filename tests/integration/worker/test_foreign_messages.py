"""Whatever a producer without mesh puts into the job stream, the worker answers it and goes on."""

from __future__ import annotations

import json
import random

import msgspec
import pytest

from mesh.contract.lifecycle import State
from support.running import RunningApp
from support.waiting import until
from support.wire import Wire, wire

FUZZED = 500
GOOD = 100

ODD_IDS = {
    "a character outside the grammar": b"bad:id",
    "too long by far": b"x" * 200,
    "almost a whole protocol line": b"x" * 3900,
    "invalid UTF-8": b"\xff\xfe",
    "a letter of another alphabet": "ключ".encode(),
    "a control character": b"a\x01b",
    "a zero byte": b"a\x00b",
    "a vertical tab": b"a\x0bb",
    "a form feed": b"a\x0cb",
    "what a careless reader takes for the rest of the line": b"a\x0b1\x0b0",
    "a wildcard for one token": b"*",
    "a wildcard for all tokens": b">",
    "a format string": b"{{wildcard(1)}}",
}


@pytest.mark.parametrize("odd", ODD_IDS.values(), ids=ODD_IDS.keys())
async def test_a_job_id_outside_the_grammar_ends_as_a_failure(
    mesh: RunningApp, odd: bytes
) -> None:
    """The record and the dead letter bear the message's place in the stream, and work goes on."""
    names = (await mesh.client()).names
    lane = names.job("default", "high", "").encode()

    @mesh.app.task
    async def double(number: int) -> int:
        return number * 2

    async with mesh.worker(), wire(mesh.app.settings.url) as producer:
        sequence = await producer.store(lane + odd, b'{"task":"double","args":[1]}')
        good = await double.enqueue(21)

        assert await good.result(timeout=10) == 42
        await until(lambda: is_empty(mesh), "the job stream is empty")

    client = await mesh.client()
    record = await client.records.result(f"invalid-{sequence}")
    assert record is not None
    assert record.state is State.FAILED
    assert record.error is not None
    assert record.error.type == "mesh.errors.InvalidNameError"
    assert await mesh.count("dead_stream") == 1


async def is_empty(mesh: RunningApp) -> bool:
    return await mesh.count("jobs_stream") == 0
