"""Cases of the contract: who leads a service, and which job of a schedule has its turn."""

from __future__ import annotations

from typing import Any

from mesh.contract.case import Case


def _record(name: str, kind: str, body: str, expect: Any = None, error: str = "") -> Case:
    return Case(f"{kind}: {name}", {"record": kind, "body": body}, expect, error)


RECORDS: tuple[Case, ...] = (
    _record(
        "a leader",
        "leadership",
        '{"owner":"s-1","lease_ms":6000,"renewals":3,"since_ms":7}',
        {"owner": "s-1", "lease_ms": 6000, "renewals": 3, "since_ms": 7},
    ),
    _record(
        "nobody",
        "leadership",
        '{"owner":"","lease_ms":6000}',
        {"owner": "", "lease_ms": 6000},
    ),
    _record("a lease without length", "leadership", '{"owner":"s-1"}', error="bad-shape"),
    _record(
        "a lease of nothing", "leadership", '{"owner":"s","lease_ms":0}', error="bad-shape"
    ),
    _record(
        "a tick's job",
        "turn",
        '{"job_id":"report-20260102T080000Z","scheduled_for_ms":1767340800000}',
        {"job_id": "report-20260102T080000Z", "scheduled_for_ms": 1_767_340_800_000},
    ),
    _record("a wildcard for the job", "turn", '{"job_id":"*"}', error="bad-shape"),
)
