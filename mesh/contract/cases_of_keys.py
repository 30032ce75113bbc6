"""Cases of the contract: unique keys, in the bodies of jobs and as records."""

from __future__ import annotations

from typing import Any

from mesh.contract.case import Case

_KEY = "0f" * 32
_PING: dict[str, Any] = {"task": "ping", "args": [], "kwargs": {}}


def _claim(name: str, claim: str, expect: Any = None, error: str = "") -> Case:
    body = '{"task":"ping","unique":' + claim + "}"
    return Case(name, {"body": body}, None if error else _PING | {"unique": expect}, error)


def _record(name: str, body: str, expect: Any = None, error: str = "") -> Case:
    return Case(f"unique_key: {name}", {"record": "unique_key", "body": body}, expect, error)


ENVELOPE: tuple[Case, ...] = (
    _claim(
        "a unique key until the job has ended",
        '{"key":"' + _KEY + '","until":"done"}',
        {"key": _KEY, "until": "done"},
    ),
    _claim(
        "a unique key for a time",
        '{"key":"' + _KEY + '","until":"time","expires_at_ms":7}',
        {"key": _KEY, "until": "time", "expires_at_ms": 7},
    ),
    _claim("a unique key with a wildcard", '{"key":"*","until":"done"}', error="bad-shape"),
    _claim(
        "a unique key of 65 characters",
        '{"key":"' + _KEY + '0","until":"done"}',
        error="bad-shape",
    ),
    _claim(
        "a unique key for ever",
        '{"key":"' + _KEY + '","until":"ever"}',
        error="bad-shape",
    ),
    _claim("a unique key without an end", '{"key":"' + _KEY + '"}', error="bad-shape"),
)

RECORDS: tuple[Case, ...] = (
    _record(
        "a key that belongs to a job until it has ended",
        '{"job_id":"order-9","until":"done","claimed_at_ms":7,"task":"t"}',
        {"job_id": "order-9", "until": "done", "claimed_at_ms": 7, "task": "t"},
    ),
    _record("a wildcard for the job", '{"job_id":"*","until":"done"}', error="bad-shape"),
    _record("no job", '{"until":"done"}', error="bad-shape"),
    _record("what a deletion leaves", "", error="not-json"),
)
