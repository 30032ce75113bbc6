"""Cases of the contract: what workers say of themselves and are told."""

from __future__ import annotations

from typing import Any

from mesh.contract.case import Case


def _record(record: str, name: str, body: str, expect: Any = None, error: str = "") -> Case:
    return Case(f"{record}: {name}", {"record": record, "body": body}, expect, error)


RECORDS: tuple[Case, ...] = (
    _record(
        "worker",
        "a worker that runs a job",
        '{"worker":"web-1-9f","host":"web","pid":1,"version":"0.1.0","queues":["email"],'
        '"slots":10,"running":1,"jobs":[{"job_id":"order-9","task":"t","queue":"email",'
        '"started_at_ms":5}],"rss_bytes":7,"cpu_s":1.5,"started_at_ms":3,"heartbeat_at_ms":9}',
        {
            "worker": "web-1-9f",
            "host": "web",
            "pid": 1,
            "version": "0.1.0",
            "queues": ["email"],
            "slots": 10,
            "running": 1,
            "jobs": [{"job_id": "order-9", "task": "t", "queue": "email", "started_at_ms": 5}],
            "rss_bytes": 7,
            "cpu_s": 1.5,
            "started_at_ms": 3,
            "heartbeat_at_ms": 9,
        },
    ),
    _record("worker", "the least there is", '{"worker":"w"}', {"worker": "w"}),
    _record("worker", "nobody", '{"pid":1}', error="bad-shape"),
    _record("worker_command", "drain", '{"command":"drain"}', {"command": "drain"}),
    _record(
        "worker_command",
        "run more at once",
        '{"command":"set","concurrency":50}',
        {"command": "set", "concurrency": 50},
    ),
    _record(
        "worker_command",
        "run nothing at once",
        '{"command":"set","concurrency":0}',
        error="bad-shape",
    ),
    _record("worker_command", "an unknown command", '{"command":"dance"}', error="bad-shape"),
    _record("worker_answer", "it is done", '{"is_done":true}', {"is_done": True}),
    _record(
        "worker_answer",
        "why it is not",
        '{"is_done":false,"message":"no"}',
        {"is_done": False, "message": "no"},
    ),
)
