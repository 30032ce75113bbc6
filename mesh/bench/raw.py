"""The yardstick: the same messages, exchanged by bare loops on nats-py's public API.

Run as a program, it drains a consumer until SIGTERM. Nothing here checks, retries or counts
more than the exchange itself needs: what mesh does beyond that, its figures pay for.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import anyio.lowlevel
import msgspec
import nats
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from mesh.bench.processes import BenchError

BATCH = 200
_HALF = BATCH // 2
_PULL_EXPIRES_S = 30
_ANSWER_LIMIT_S = 10.0
_YIELD_EVERY = 256
_BUFFER_BYTES = 64 * 1024 * 1024


class RawJob(NamedTuple):
    """A job message, encoded before the clock starts.

    Attributes:
        subject: Where it is published.
        headers: Its headers.
        body: Its body.
    """

    subject: str
    headers: dict[str, str]
    body: bytes


class DrainPlan(Struct, frozen=True):
    """What the draining program is told.

    Attributes:
        url: The server.
        stream: The job stream.
        consumer: The durable consumer.
        results_prefix: What stands before a job id in the subject of its record.
        headers: The headers of each record.
        body: The body of each record.
    """

    url: str
    stream: str
    consumer: str
    results_prefix: str
    headers: dict[str, str]
    body: str


async def publish_all(url: str, jobs: Sequence[RawJob], window: int) -> float:
    """Publish jobs and wait for every acknowledgement; return the seconds it took.

    Args:
        url: The server.
        jobs: The messages.
        window: How many may be without acknowledgement at once.

    Raises:
        BenchError: The server refused some of them.
    """
    connection = await _connect(url)
    inbox = connection.new_inbox()
    answered = refused = 0
    heard = asyncio.Event()

    async def on_ack(message: Msg) -> None:
        nonlocal answered, refused
        if message.data.startswith(b'{"error"'):
            refused += 1
        answered += 1
        heard.set()

    try:
        await _listen(connection, f"{inbox}.*", on_ack)
        start = time.perf_counter()
        for sent, job in enumerate(jobs, start=1):
            await connection.publish(job.subject, job.body, f"{inbox}.{sent}", job.headers)
            while sent - answered >= window:
                heard.clear()
                await heard.wait()
            if sent % _YIELD_EVERY == 0:  # Acknowledgements come in meanwhile.
                await anyio.lowlevel.checkpoint()
        while answered < len(jobs):
            heard.clear()
            await heard.wait()
        elapsed_s = time.perf_counter() - start
    finally:
        await connection.close()
    if refused:
        msg = f"the server refused {refused:,} of {len(jobs):,} jobs of the bare loop"
        raise BenchError(msg)
    return elapsed_s


async def round_trips(url: str, jobs: Sequence[RawJob], results_prefix: str) -> list[float]:
    """Publish one job after the other, each when the one before has its record.

    Args:
        url: The server.
        jobs: The messages.
        results_prefix: What stands before a job id in the subject of its record.

    Returns:
        The seconds of each.
    """
    connection = await _connect(url)
    took_s: list[float] = []
    try:
        for job in jobs:
            start = time.perf_counter()
            arrived: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

            async def on_record(message: Msg, arrived: asyncio.Future[Msg] = arrived) -> None:
                arrived.set_result(message)

            record = results_prefix + _last_token(job.subject)
            subscription = await connection.subscribe(record, cb=on_record)
            await connection.request(
                job.subject, job.body, _ANSWER_LIMIT_S, headers=job.headers
            )
            await arrived
            took_s.append(time.perf_counter() - start)
            await subscription.unsubscribe()
    finally:
        await connection.close()
    return took_s


async def drain(plan: DrainPlan, stop: asyncio.Event) -> None:
    """Pull jobs, write a record for each, acknowledge each when its record is stored."""
    connection = await _connect(plan.url)
    inbox, acks = connection.new_inbox(), connection.new_inbox()
    ask_subject = f"$JS.API.CONSUMER.MSG.NEXT.{plan.stream}.{plan.consumer}"
    prefix, headers, body = plan.results_prefix, plan.headers, plan.body.encode()
    unstored: dict[str, str] = {}
    received = 0

    async def ask(batch: int) -> None:
        request = {"batch": batch, "expires": _PULL_EXPIRES_S * 1_000_000_000}
        await connection.publish(ask_subject, json.dumps(request).encode(), inbox)

    async def on_job(message: Msg) -> None:
        nonlocal received
        if not message.reply.startswith("$JS.ACK."):  # A request ended before it was filled.
            left = (message.headers or {}).get("Nats-Pending-Messages", "0")
            if int(left):
                await ask(int(left))
            return
        received += 1
        if received % _HALF == 0:
            await ask(_HALF)
        token = str(received)
        unstored[token] = message.reply
        record = prefix + _last_token(message.subject)
        await connection.publish(record, body, f"{acks}.{token}", headers)

    async def on_stored(message: Msg) -> None:
        reply = unstored.pop(_last_token(message.subject))
        if not message.data.startswith(b'{"error"'):
            await connection.publish(reply, b"+ACK")

    try:
        await _listen(connection, inbox, on_job)
        await _listen(connection, f"{acks}.*", on_stored)
        await ask(BATCH)
        await stop.wait()
    finally:
        await connection.close()


async def main(plan: DrainPlan) -> None:
    """Drain until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await drain(plan, stop)


async def _connect(url: str) -> Client:
    return await nats.connect(url, pending_size=_BUFFER_BYTES, allow_reconnect=False)


async def _listen(
    connection: Client, subject: str, callback: Callable[[Msg], Awaitable[None]]
) -> None:
    # No limits: nats-py drops what is over them.
    await connection.subscribe(
        subject, cb=callback, pending_msgs_limit=-1, pending_bytes_limit=-1
    )


def _last_token(subject: str) -> str:
    return subject.rsplit(".", 1)[1]


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=DrainPlan)))
