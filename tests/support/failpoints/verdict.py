"""What must hold after a run, whatever the failpoint did: every job has ended once."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

from support.failpoints.stage import ACK_WAIT_S, Run

from mesh import State
from mesh.client.findings import Kind
from mesh.client.lanes import read_time
from mesh.contract import records
from mesh.contract.subjects import kv_stream, object_meta, object_stream

_ONE_MORE = 1
"""How much oftener than without a fault a job may start."""

_MAY_BE_LEFT = frozenset({Kind.STRAY_ARGUMENTS, Kind.STRAY_RESULT, Kind.STRAY_KEY})


async def faults_of(run: Run, *, keeps_letters: bool, keeps_records: bool) -> list[str]:
    """Say all that is wrong after a run; nothing if all is well.

    Args:
        run: The run, whose worker has ended.
        keeps_letters: Every job that failed still has its dead letter.
        keeps_records: Nobody deleted a job.
    """
    found = [fault async for fault in _records(run, keeps_records=keeps_records)]
    found += [fault async for fault in _letters(run, keeps_letters=keeps_letters)]
    found += [fault async for fault in _findings(run)]
    return found


async def _api(run: Run, operation: str, request: dict[str, Any] | None = None) -> Any:
    client = await run.app.client()
    return await client.connection.api(operation, request)


async def _records(run: Run, *, keeps_records: bool) -> AsyncIterator[str]:
    names = (await run.app.client()).names
    stream = kv_stream(names.results_bucket)
    state = (await _api(run, f"STREAM.INFO.{stream}"))["state"]
    if keeps_records and state["messages"] != state["last_seq"]:
        yield f"{state['last_seq']} terminal records were stored, {state['messages']} are left"
    for job_id, ending in run.expected.items():
        request = {"last_by_subj": names.result(job_id)}
        message = (await _api(run, f"STREAM.MSG.GET.{stream}", request))["message"]
        record = records.read_result(base64.b64decode(message["data"]))
        if record.state not in ending.states:
            yield f"{job_id} ended as {record.state}, not as {[*map(str, ending.states)]}"
        if run.count(job_id) > ending.starts + _ONE_MORE:
            yield f"{job_id} started {run.count(job_id)} times, not {ending.starts} or one more"
        late = [at for at in run.starts_of(job_id) if at > read_time(message["time"])]
        if late:
            yield f"{job_id} started {len(late)} times after its end"


async def _letters(run: Run, *, keeps_letters: bool) -> AsyncIterator[str]:
    names = (await run.app.client()).names
    info = await _api(run, f"STREAM.INFO.{names.dead_stream}", {"subjects_filter": ">"})
    letters: dict[str, int] = info["state"].get("subjects") or {}
    dead = {subject.rpartition(".")[2] for subject in letters}
    for subject, count in letters.items():
        if count > 1:
            yield f"{subject} has {count} dead letters"
    failed = {job_id for job_id, end in run.expected.items() if State.FAILED in end.states}
    if keeps_letters and dead != failed:
        yield f"dead letters of {sorted(dead)}, expected of {sorted(failed)}"
    for job_id in run.expected.keys() - failed:
        if await _has_payload(run, job_id):
            yield f"arguments of {job_id} are left in the payload bucket"


async def _has_payload(run: Run, job_id: str) -> bool:
    bucket = (await run.app.client()).names.payloads_bucket
    request = {
        "subjects_filter": object_meta(bucket, ">")[: -len(base64.b64encode(b">"))] + ">"
    }
    info = await _api(run, f"STREAM.INFO.{object_stream(bucket)}", request)
    subjects: dict[str, int] = info["state"].get("subjects") or {}
    kept = [base64.urlsafe_b64decode(name.rpartition(".")[2]).decode() for name in subjects]
    return any(name.startswith(f"{job_id}.") for name in kept)


async def _findings(run: Run) -> AsyncIterator[str]:
    """What ``mesh fsck`` reports.

    A value or a key that was stored for a job whose enqueueing or settling then died may be
    left in its bucket: no job is the worse for it, and no order of the two steps avoids it. It
    must go with the first repair. So must the running record that a worker wrote which had not
    heard of a cancellation, and which was killed before it could look; that goes by its age,
    too. Nothing else may be found at all.
    """
    report = await run.app.fsck(repair=True, settle=ACK_WAIT_S)
    for finding in report.findings:
        is_stale = finding.kind is Kind.STALE_PROGRESS and finding.name in run.may_be_stale
        if finding.kind not in _MAY_BE_LEFT and not is_stale:
            yield f"fsck: {finding}"
    if report.findings:
        again = await run.app.fsck(repair=False, settle=ACK_WAIT_S)
        for finding in again.findings:
            yield f"fsck finds after its repair: {finding}"
