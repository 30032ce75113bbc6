"""Cases of the contract: the bodies of events."""

from __future__ import annotations

from typing import Any

from mesh.contract.case import Case

_LANE = '"task":"t","queue":"email","priority":"high"'
_IN_LANE = {"task": "t", "queue": "email", "priority": "high"}


def _record(name: str, body: str, expect: Any = None, error: str = "") -> Case:
    return Case(f"event: {name}", {"record": "event", "body": body}, expect, error)


RECORDS: tuple[Case, ...] = (
    _record(
        "a job waits for its next attempt",
        '{"kind":"retrying","job_id":"order-9","at_ms":7,' + _LANE + ',"attempt":1,'
        '"message":"ValueError: no such user"}',
        {
            "kind": "retrying",
            "job_id": "order-9",
            "at_ms": 7,
            **_IN_LANE,
            "attempt": 1,
            "message": "ValueError: no such user",
        },
    ),
    _record(
        "a job says how far it is",
        '{"kind":"progress","job_id":"order-9","at_ms":7,"attempt":1,"worker":"w-1",'
        '"message":"half","current":5,"total":10}',
        {
            "kind": "progress",
            "job_id": "order-9",
            "at_ms": 7,
            "attempt": 1,
            "worker": "w-1",
            "message": "half",
            "current": 5.0,
            "total": 10.0,
        },
    ),
    _record(
        "an attempt logged two lines",
        '{"kind":"log","job_id":"order-9","at_ms":7,"attempt":1,"lines":[{"at_ms":5,'
        '"level":"info","text":"a","logger":"shop","number":1},{"at_ms":6,"level":"error",'
        '"text":"b","number":2}]}',
        {
            "kind": "log",
            "job_id": "order-9",
            "at_ms": 7,
            "attempt": 1,
            "lines": [
                {"at_ms": 5, "level": "info", "text": "a", "logger": "shop", "number": 1},
                {"at_ms": 6, "level": "error", "text": "b", "number": 2},
            ],
        },
    ),
    _record(
        "somebody limits a queue",
        '{"kind":"queue-limited","job_id":"","at_ms":7,"queue":"mail","message":"a big day",'
        '"actor":"ann@ops-1","details":{"limit":"5"}}',
        {
            "kind": "queue-limited",
            "job_id": "",
            "at_ms": 7,
            "queue": "mail",
            "message": "a big day",
            "actor": "ann@ops-1",
            "details": {"limit": "5"},
        },
    ),
    _record(
        "a line without a text",
        '{"kind":"log","job_id":"a","at_ms":7,"lines":[{"at_ms":5,"level":"info"}]}',
        error="bad-shape",
    ),
    _record("an unknown kind", '{"kind":"odd","job_id":"a","at_ms":7}', error="bad-shape"),
    _record("no time", '{"kind":"dead","job_id":"a"}', error="bad-shape"),
)
