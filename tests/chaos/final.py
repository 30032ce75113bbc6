"""Read what is stored when a chaos run is over, and put it into the history."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import nats
from chaos.history import Journal, Line, fingerprint
from nats.aio.client import Client as NatsClient

from mesh import Mesh
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import records
from mesh.contract.envelope import PayloadRef
from mesh.contract.lifecycle import State
from mesh.contract.subjects import kv_stream
from mesh.errors import PayloadMissingError

_PAGE = 1000
_LIMIT_S = 10.0


class Stored(NamedTuple):
    """A stored message: its last token, body, and when the server stored it."""

    job_id: str
    body: bytes
    t: float


async def left_over(app: Mesh) -> dict[str, list[str]]:
    """Name the jobs that are left in the streams of jobs and in the progress bucket."""
    names = (await app.client()).names
    places = {
        "jobs": (names.jobs_stream, ">"),
        "delayed": (names.delayed_stream, names.delayed("*")),
        "due": (names.delayed_stream, names.due("*", "*", "*")),
        "progress": (kv_stream(names.progress_bucket), ">"),
    }
    return {
        word: [subject.rpartition(".")[2] for subject in await _counts(app, *place)]
        for word, place in places.items()
    }


async def read_final(app: Mesh, journal: Journal) -> None:
    """Write the terminal records, the dead letters and what is left into the history."""
    connection = await nats.connect(app.settings.url)
    try:
        await _read(app, journal, connection)
    finally:
        await connection.close()


async def _read(app: Mesh, journal: Journal, connection: NatsClient) -> None:
    client = await app.client()
    names = client.names
    results = kv_stream(names.results_bucket)
    async for stored in _messages(connection, results):
        journal.add(await _record(app, journal.proc, stored))
    async for stored in _messages(connection, names.dead_stream):
        journal.add(Line(stored.t, journal.proc, "letter", "ok", id=stored.job_id))
    finished = names.event("finished", "*")
    for subject, count in (await _counts(app, names.events_stream, finished)).items():
        journal.write("finished", "ok", id=subject.rpartition(".")[2], value=count)
    state = (await client.connection.api(f"STREAM.INFO.{results}"))["state"]
    replaced = state["last_seq"] - state["messages"]
    journal.write("replaced", "ok", value=replaced)
    for place, job_ids in (await left_over(app)).items():
        for job_id in job_ids:
            journal.write("left", "ok", id=job_id, value=place)


async def _record(app: Mesh, proc: str, stored: Stored) -> Line:
    record = records.read_result(stored.body)
    value: dict[str, Any] = {"state": str(record.state), "worker": record.worker}
    if record.result_ref is not None:
        value["result"] = await _large(app, record.result_ref)
    elif record.state is State.SUCCEEDED:
        value["result"] = fingerprint(msgspec.json.decode(record.result))
    if record.error is not None:
        value["error"] = f"{record.error.type}: {record.error.message}"
    return Line(stored.t, proc, "record", "ok", stored.job_id, record.attempt, value=value)


async def _large(app: Mesh, ref: PayloadRef) -> Any:
    try:
        found = await (await app.client()).payloads.get(ref)
    except PayloadMissingError as error:
        return str(error)  # No run has returned that, so a rule is broken.
    return fingerprint(msgspec.json.decode(found))


async def _messages(connection: NatsClient, stream: str) -> AsyncIterator[Stored]:
    """Yield every message of a stream, page by page."""
    behind_s = SYSTEM_CLOCK.now_ms() / 1000 - SYSTEM_CLOCK.monotonic()
    sequence = 1
    while True:
        page = await _page(connection, stream, sequence)
        for headers, body in page:
            stored = datetime.fromisoformat(headers["Nats-Time-Stamp"])
            job_id = headers["Nats-Subject"].rpartition(".")[2]
            yield Stored(job_id, body, stored.timestamp() - behind_s)
            sequence = int(headers["Nats-Sequence"]) + 1
        if not page:
            return


async def _page(
    connection: NatsClient, stream: str, sequence: int
) -> list[tuple[dict[str, str], bytes]]:
    inbox = connection.new_inbox()
    subscription = await connection.subscribe(inbox)
    question = {"seq": sequence, "batch": _PAGE, "next_by_subj": ">"}
    subject = f"$JS.API.DIRECT.GET.{stream}"
    await connection.publish(subject, json.dumps(question).encode(), reply=inbox)
    page: list[tuple[dict[str, str], bytes]] = []
    while True:
        message = await subscription.next_msg(_LIMIT_S)
        headers = message.headers or {}
        if "Nats-Sequence" not in headers:  # The end of the page, or of the stream.
            break
        page.append((headers, message.data))
    await subscription.unsubscribe()
    return page


async def _counts(app: Mesh, stream: str, subject: str) -> dict[str, int]:
    client = await app.client()
    found: dict[str, int] = {}
    while True:
        question = {"subjects_filter": subject, "offset": len(found)}
        answer = await client.connection.api(f"STREAM.INFO.{stream}", question)
        page: dict[str, int] = answer["state"].get("subjects") or {}
        found |= page
        if not page or len(found) >= answer.get("total", 0):
            return found
