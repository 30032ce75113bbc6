"""Do to a queue all the damage that ``mesh fsck`` can repair, as crashes would leave it."""

from __future__ import annotations

from typing import Any

from support.failpoints.acts import LARGE
from support.failpoints.stage import LIMIT_S, Run
from support.waiting import until

from mesh import State
from mesh.client.client import Client
from mesh.client.inventory import JOB_LOST
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import headers, records
from mesh.contract.envelope import Until
from mesh.contract.lifecycle import State as RecordState
from mesh.contract.records import (
    DeadLetter,
    ErrorInfo,
    ProgressRecord,
    ResultRecord,
    UniqueKey,
)
from mesh.tasks.unique import Unique, uniqueness
from mesh.transport import frames
from mesh.transport.buckets import Shelf

_NEVER = ErrorInfo("E", "never recorded")


async def damage(run: Run) -> None:
    """Damage the jobs of a queue that has lanes and no worker."""
    client = await run.app.client()
    await client.provisioner.ensure_lanes([run.prefix])
    await _strand(run, client)
    await _lose(run, client)
    await _leave_over(run, client)
    await _double(run, client)
    await _forget_record(run, client)
    await _stray(run, client)
    lane = f"{run.prefix}-low"
    await client.connection.api(f"CONSUMER.DELETE.{client.names.jobs_stream}.{lane}")
    nowhere = client.names.job(f"{run.prefix}!", "normal", "x!")
    await client.connection.link.request(nowhere, b"{}", timeout=10)


async def _send(run: Run, task: str, *args: Any, **more: Any) -> str:
    more.setdefault("state", State.CANCELLED)  # In the end the queue is purged.
    return str((await run.send(task, *args, queue=run.prefix, **more)).id)


async def _strand(run: Run, client: Client) -> None:
    """Have a consumer give a message up, as only a foreign one does."""
    await _send(run, "plain")
    place = f"{client.names.jobs_stream}.{run.prefix}-normal"
    api, link = client.connection.api, client.connection.link
    config = (await api(f"CONSUMER.INFO.{place}"))["config"]
    create = f"CONSUMER.CREATE.{place}.{config['filter_subject']}"
    stream = {"stream_name": client.names.jobs_stream}
    spoilt = config | {"max_deliver": 1, "ack_wait": 10_000_000}
    await api(create, stream | {"config": spoilt})
    taken: list[bytes] = []
    inbox = link.new_inbox()

    def take(subject: bytes, _reply: bytes, _data: bytes, _block: bytes) -> None:
        taken.append(subject)

    tap = link.tap(inbox, take)
    pull = f"$JS.API.CONSUMER.MSG.NEXT.{place}"
    link.post(frames.publish(pull, inbox, b"", b'{"batch":1}'))
    await until(lambda: bool(taken), "the message is given out", LIMIT_S)
    link.untap(tap)

    async def is_given_up() -> bool:
        return bool((await api(f"CONSUMER.INFO.{place}"))["num_ack_pending"] == 0)

    await until(is_given_up, "the server has given the message up", LIMIT_S)
    await api(create, stream | {"config": config})


async def _lose(run: Run, client: Client) -> None:
    """Take away a message, and leave records whose jobs never had one."""
    job_id = await _send(run, "plain")
    await Shelf(client.connection, client.names.jobs_stream).remove(
        client.names.job_anywhere(job_id)
    )
    stuck = run.expect(f"{run.prefix}-stuck", State.FAILED, starts=0)
    await _write_progress(run, client, stuck)
    lost = run.expect(f"{run.prefix}-lost", State.FAILED, starts=0)
    error = ErrorInfo(JOB_LOST, "ended by a run that died before it wrote the letter")
    record = ResultRecord(RecordState.FAILED, "plain", run.prefix, "normal", error=error)
    assert await client.records.finish(lost, record)


async def _leave_over(run: Run, client: Client) -> None:
    """End jobs, and leave their messages, arguments and running records."""
    for more in ({}, {"delay": 3600}):
        job_id = await _send(run, "plain", LARGE, state=State.SUCCEEDED, starts=0, **more)
        await _write_progress(run, client, job_id)
        await _end(run, client, job_id)
    over = run.expect(f"{run.prefix}-over", starts=0)
    await _write_progress(run, client, over)
    await _end(run, client, over)


async def _double(run: Run, client: Client) -> None:
    """Store a second message of a job, as a producer did after a restart of the server."""
    job_id = await _send(run, "plain")
    twin = client.names.job(run.prefix, "high", job_id)
    await client.connection.link.request(twin, b'{"task":"plain"}', timeout=10)


async def _forget_record(run: Run, client: Client) -> None:
    """Bury a job whose end was not recorded."""
    names, now_ms = client.names, SYSTEM_CLOCK.now_ms()
    job_id = await _send(run, "plain", state=State.FAILED, starts=0)
    letter = DeadLetter(job_id, run.prefix, "normal", "plain", _NEVER, 1, "gone", 0, now_ms)
    header = (headers.DEAD_LETTER, records.encode(letter).decode())
    block = frames.header_block([header])
    await client.publisher.publish(names.dead(run.prefix, job_id), block, b'{"task":"plain"}')
    await Shelf(client.connection, names.jobs_stream).remove(names.job_anywhere(job_id))


async def _stray(run: Run, client: Client) -> None:
    """Store values and a key that belong to nothing."""
    names = client.names
    await client.payloads.put(names.payloads_bucket, f"{run.prefix}-gone.1a2b", b"[]")
    await client.payloads.put(names.outputs_bucket, f"{run.prefix}-over.1a2b", b"1")
    digest = uniqueness(Unique(key=run.prefix), "plain", (), {}).digest
    await client.keys.write(digest, UniqueKey(f"{run.prefix}-gone", Until.DONE, 1), 0)


async def _write_progress(run: Run, client: Client, job_id: str) -> None:
    record = ProgressRecord(RecordState.RUNNING, "plain", run.prefix, "normal", 1, "gone")
    await client.publisher.publish(client.names.progress(job_id), b"", records.encode(record))


async def _end(run: Run, client: Client, job_id: str) -> None:
    record = ResultRecord(RecordState.SUCCEEDED, "plain", run.prefix, "normal")
    assert await client.records.finish(job_id, record)
