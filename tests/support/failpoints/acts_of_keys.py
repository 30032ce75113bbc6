"""What programs do with unique keys: claim them, in every state in which one may be found."""

from __future__ import annotations

import contextlib
from typing import Any

from support.failpoints.acts import LARGE, LIMIT_S, Act, task_of

from mesh import Mesh, Unique
from mesh.clock import SYSTEM_CLOCK
from mesh.contract.envelope import Until
from mesh.contract.records import UniqueKey
from mesh.errors import BrokerError, PayloadTooLargeError
from mesh.tasks.unique import uniqueness

_LONG_AGO_MS = 60_000


def _options(app: Mesh, job_id: str, key: str, rule: str = "return", **more: Any) -> Any:
    until = more.pop("until", "done")
    unique = Unique(key=key, until=until, on_conflict=rule)  # type: ignore[arg-type]
    return task_of(app, "plain").options(job_id=job_id, unique=unique, **more)


async def claim(app: Mesh, prefix: str) -> None:
    """Claim keys that are free, another's, or nobody's any more."""
    free = await _options(app, f"{prefix}-u1", f"{prefix}-a").enqueue(LARGE)
    await free.result(timeout=LIMIT_S)
    await _options(app, f"{prefix}-u2", f"{prefix}-b", queue="nobody").enqueue("some")
    heir = await _options(app, f"{prefix}-u3", f"{prefix}-b", "replace").enqueue("some")
    await heir.result(timeout=LIMIT_S)
    timed = _options(app, f"{prefix}-u4", f"{prefix}-c", until="60s")
    first = await timed.enqueue("some")
    again = await _options(app, f"{prefix}-u5", f"{prefix}-c", until="60s").enqueue("some")
    assert again.id == first.id
    await first.result(timeout=LIMIT_S)


async def claim_leftovers(app: Mesh, prefix: str) -> None:
    """Claim keys of jobs that were never published, and give one back."""
    for until, number in ((Until.DONE, 6), (Until.TIME, 7)):
        key, now_ms = f"{prefix}-{number}", SYSTEM_CLOCK.now_ms()
        client = await app.client()
        old = UniqueKey(f"{prefix}-never", until, now_ms - _LONG_AGO_MS, now_ms + _LONG_AGO_MS)
        digest = uniqueness(Unique(key=key), "plain", (), {}).digest
        if (await client.keys.read(digest)).key is None:
            await client.keys.write(digest, old, 0)
        job = await _options(app, f"{prefix}-u{number}", key).enqueue("some")
        await job.result(timeout=LIMIT_S)
    with contextlib.suppress(PayloadTooLargeError):
        much = {"text": "x" * 2_000_000}
        await _options(app, f"{prefix}-u8", f"{prefix}-d", meta=much).enqueue("some")


async def claim_many(app: Mesh, prefix: str) -> None:
    """Claim the keys of many jobs, at once and all or none."""
    calls = [_options(app, f"{prefix}-v{n}", f"{prefix}-e{n}").s("some") for n in range(2)]
    for job in await app.enqueue_many(calls):
        await job.result(timeout=LIMIT_S)
    with contextlib.suppress(ValueError):  # A delayed one cannot be in it: the key goes back.
        late = _options(app, f"{prefix}-w0", f"{prefix}-f0", delay="1h").s("some")
        await app.enqueue_many([late], atomic=True)
    batch = [_options(app, f"{prefix}-w{n}", f"{prefix}-f{n}").s(LARGE) for n in (1, 2)]
    try:
        await app.enqueue_many(batch, atomic=True)
    except BrokerError as error:
        if "was enqueued before" not in str(error):  # By the try before this one.
            raise
    for number in (1, 2):
        await app.job(f"{prefix}-w{number}").result(timeout=LIMIT_S)


ACTS: dict[str, Act] = {act.__name__: act for act in (claim, claim_leftovers, claim_many)}
