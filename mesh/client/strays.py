"""Find stored values that nothing refers to: arguments, results, uniqueness keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any, cast

import msgspec

from mesh.client.client import Client
from mesh.client.evidence import Evidence
from mesh.client.findings import Finding, Kind
from mesh.client.inventory import Facts
from mesh.client.ledger import is_job_id
from mesh.client.screening import MOST_SUSPECTS, Suspects, Tell
from mesh.contract import envelope as envelopes
from mesh.contract import headers
from mesh.contract.subjects import (
    kv_stream,
    object_meta,
    object_name,
    object_stream,
    object_subjects,
)
from mesh.errors import MalformedJobError, NotProvisionedError
from mesh.transport.buckets import Entry, Shelf
from mesh.transport.reading import StreamReader

_MARK = b"args_ref"


class Strays:
    """Looks for strays in one namespace.

    Args:
        client: A connection.
        evidence: Reads what is stored about a job.
        tell: Told how it goes on.
    """

    def __init__(self, client: Client, evidence: Evidence, tell: Tell) -> None:
        self._client = client
        self._connection = client.connection
        self._names = client.names
        self._evidence = evidence
        self._tell = tell
        self._locks = kv_stream(self._names.locks_bucket)

    async def look(self, suspects: Suspects) -> list[Finding]:
        """Look through all objects and keys once.

        Raises:
            BrokerError: Something could not be read.
        """
        names = self._names
        arguments = {
            name
            async for name in self._objects(names.payloads_bucket, suspects)
            if _owner(name) not in suspects.pending and _owner(name) not in suspects.dead
        }
        results = {
            name
            async for name in self._objects(names.outputs_bucket, suspects)
            if _owner(name) not in suspects.pending
        }
        keys = [name async for name in self._keys(suspects)]
        return [
            *await self._arguments(arguments),
            *await self._results(results),
            *await self._stray_keys(keys),
        ]

    async def look_again(self, findings: Iterable[Finding]) -> list[Finding]:
        """Say which of some strays are still strays.

        Raises:
            BrokerError: Something could not be read.
        """
        named: dict[Kind, set[str]] = {}
        for finding in findings:
            named.setdefault(finding.kind, set()).add(finding.name)
        return [
            *await self._arguments(named.get(Kind.STRAY_ARGUMENTS, set())),
            *await self._results(named.get(Kind.STRAY_RESULT, set())),
            *await self._stray_keys(sorted(named.get(Kind.STRAY_KEY, set()))),
        ]

    async def _objects(self, bucket: str, suspects: Suspects) -> AsyncIterator[str]:
        reader = StreamReader(self._connection, object_stream(bucket))
        try:
            async with aclosing(reader.subjects(object_subjects(bucket)[1])) as found:
                async for subject, _ in found:
                    suspects.looked_at += 1
                    name = object_name(subject)
                    if _is_ours(name):
                        yield name
        except NotProvisionedError:
            return

    async def _arguments(self, names: set[str]) -> list[Finding]:
        """Choose the arguments that no message refers to: their names need not name a job."""
        bucket = self._names.payloads_bucket
        left = dict.fromkeys(sorted(names)[:MOST_SUSPECTS])
        for name in list(left):
            if not await self._exists(bucket, name) or await self._is_used(_owner(name)):
                del left[name]
        if left:
            async for ref in self._references():
                left.pop(ref, None)
        return [Finding(kind=Kind.STRAY_ARGUMENTS, name=name) for name in left]

    async def _is_used(self, job_id: str) -> bool:
        """Whether a job of that id still waits, runs, or is a dead letter."""
        facts = await self._evidence.try_of(job_id)
        return facts is not None and bool(
            facts.messages or facts.progress is not None or facts.letter is not None
        )

    async def _references(self) -> AsyncIterator[str]:
        """Yield the names of all stored arguments that jobs and dead letters refer to."""
        names = self._names
        jobs = StreamReader(self._connection, names.jobs_stream)
        info = await self._connection.api(f"STREAM.INFO.{names.jobs_stream}")
        last = int(info["state"]["last_seq"])
        # In the order in which jobs move; at the end those that were replayed meanwhile.
        parts = (
            jobs.oldest_first(">"),
            StreamReader(self._connection, names.delayed_stream).oldest_first(">"),
            StreamReader(self._connection, names.dead_stream).oldest_first(">"),
            jobs.oldest_first(">", last),
        )
        for part in parts:
            async with aclosing(part) as entries:
                async for entry in entries:
                    self._tell("arguments", 1)
                    name = _reference(entry)
                    if name:
                        yield name

    async def _results(self, names: set[str]) -> list[Finding]:
        """Choose the results that no record refers to."""
        found: list[Finding] = []
        for name in sorted(names)[:MOST_SUSPECTS]:
            facts = await self._evidence.try_of(_owner(name))
            if facts is None or not await self._exists(self._names.outputs_bucket, name):
                continue
            ref = None if facts.result is None else facts.result.result_ref
            # It will have a record soon, or had one that has expired: the bucket's age ends it.
            is_explained = facts.result is None and (facts.has_ended or _goes_on(facts))
            if not is_explained and (ref is None or ref.name != name):
                found.append(Finding(kind=Kind.STRAY_RESULT, name=name))
        return found

    async def _keys(self, suspects: Suspects) -> AsyncIterator[str]:
        reader = StreamReader(self._connection, self._locks)
        try:
            async with aclosing(reader.subjects(self._names.unique_key("*"))) as found:
                async for subject, _ in found:
                    suspects.looked_at += 1
                    yield subject.rpartition(".")[2]
        except NotProvisionedError:
            return

    async def _stray_keys(self, keys: list[str]) -> list[Finding]:
        shelf = Shelf(self._connection, self._locks)
        found: list[Finding] = []
        for key in keys[:MOST_SUSPECTS]:
            entry = await shelf.last(self._names.unique_key(key))
            # One with a time to live outlives its job on purpose.
            if entry is None or headers.TTL in entry.headers:
                continue
            job_id = _named(entry)
            facts = await self._evidence.try_of(job_id) if is_job_id(job_id) else None
            if facts is None or _goes_on(facts):
                continue
            why = f"job {job_id} has ended" if facts.has_ended else f"job {job_id} is not known"
            places = (entry.revision,)
            found.append(Finding(kind=Kind.STRAY_KEY, name=key, detail=why, places=places))
        return found

    async def _exists(self, bucket: str, name: str) -> bool:
        shelf = Shelf(self._connection, object_stream(bucket))
        return await shelf.last(object_meta(bucket, name)) is not None


def _owner(name: str) -> str:
    """The job that an object is named after."""
    return name.rpartition(".")[0]


def _is_ours(name: str) -> bool:
    """Whether mesh may have named an object so; what another stored is left alone."""
    return is_job_id(_owner(name))


def _goes_on(facts: Facts) -> bool:
    return facts.result is None and bool(facts.messages or facts.progress)


def _reference(entry: Entry) -> str:
    """The arguments that a body refers to; empty if there are none, or nobody can tell."""
    if _MARK not in entry.value:
        return ""
    kind = entry.headers.get(headers.CONTENT_TYPE, headers.JSON)
    try:
        ref = envelopes.decode(entry.value, kind).args_ref
    except MalformedJobError:
        return ""
    return ref.name if ref is not None else ""


def _named(entry: Entry) -> str:
    """The job that a key belongs to until its end; empty if nobody can tell."""
    try:
        value: object = msgspec.json.decode(entry.value)
    except msgspec.DecodeError:
        return ""
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if fields.get("until") == "time":
        return ""  # It holds for a time, whatever becomes of the job.
    return str(fields.get("job_id", ""))
