"""The JSON Schemas in the repository say what the code writes and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import Raw

from mesh.contract import envelope, records, schemas
from mesh.contract.envelope import Envelope, PayloadRef, Retry
from mesh.contract.events import Event, EventKind
from mesh.contract.lifecycle import State
from mesh.contract.records import DeadLetter, ErrorInfo, LaneTrust, ProgressRecord, ResultRecord
from mesh.contract.schedules import Pause, Schedule, ScheduleStatus
from mesh.contract.timetable import Timetable
from mesh.contract.workers import RunningJob, WorkerAnswer, WorkerCommand, WorkerRecord
from mesh.errors import MalformedJobError

FOLDER = Path(__file__).parents[2] / "subjects"

ERROR = ErrorInfo("E", "m", "T", ("n",), ErrorInfo("C", "c"))
REF = PayloadRef("mesh-payloads", "x", 9)
REAL: list[tuple[str, msgspec.Struct]] = [
    ("envelope", Envelope("ping")),
    (
        "envelope",
        Envelope(
            "t",
            Raw(b"[1]"),
            Raw(b'{"a":1}'),
            enqueued_at_ms=1,
            timeout_s=2.5,
            retry=Retry(5, "fixed", 1.0, 2.0, 0.5, (1.0, 2.0)),
            result_ttl_s=1.0,
            failure_ttl_s=2.0,
            expires_at_ms=3,
            args_ref=REF,
            tags=("a",),
            meta={"a": "b"},
            soft_timeout_s=2.0,
            deadline_ms=4,
        ),
    ),
    ("result", ResultRecord(State.SUCCEEDED, "t", "q", "high", Raw(b"[1]"))),
    ("result", ResultRecord(State.FAILED, "t", "q", "low", error=ERROR, result_ref=REF)),
    ("result", ResultRecord(State.CANCELLED, "", "", "", attempt=0, reason="why")),
    ("progress", ProgressRecord(State.RUNNING, "t", "q", "high", 1, "w", 1, 2, 3.0, 4.0, "m")),
    ("progress", ProgressRecord(State.RETRYING, "t", "q", "high", 1, error=ERROR)),
    ("event", Event(EventKind.DEAD, "order-9", 7)),
    ("event", Event(EventKind.RETRYING, "order-9", 7, "t", "q", "high", 1, "w", "m")),
    ("dead_letter", DeadLetter("a", "q", "high", "t", ERROR, 1, "w", 1, 2, REF)),
    ("lane_trust", LaneTrust("2030-01-01T00:00:00Z NABC", 90)),
    ("schedule", Schedule("t", Timetable(cron="@daily"), "q")),
    (
        "schedule",
        Schedule("t", Timetable(every_s=9.5), "q", "low", pause=Pause(1, 2, "n", "b")),
    ),
    ("schedule_status", ScheduleStatus(1)),
    ("schedule_status", ScheduleStatus(1, 2, 3, 4, "j", "failed", 5, 6, 7, 8)),
    ("worker", WorkerRecord("w-1", jobs=(RunningJob("order-9", "t", "q", 1),))),
    ("worker_command", WorkerCommand("set", 5)),
    ("worker_answer", WorkerAnswer(is_done=False, message="no")),
]
WRONG: dict[str, list[dict[str, Any]]] = {
    "envelope": [
        {},
        {"task": 1},
        {"task": ""},
        {"task": "a b"},
        {"task": "t", "args": {}},
        {"task": "t", "kwargs": []},
        {"task": "t", "v": 2},
        {"task": "t", "timeout_s": -1},
        {"task": "t", "retry": {"backoff": "slow"}},
        {"task": "t", "retry": {"jitter": 2}},
        {"task": "t", "expires_at_ms": -1},
        {"task": "t", "soft_timeout_s": -1},
        {"task": "t", "deadline_ms": "soon"},
        {"task": "t", "tags": "a"},
        {"task": "t", "meta": {"a": 1}},
        {"task": "t", "args_ref": {"bucket": "b"}},
    ],
    "result": [
        {},
        {"state": "running", "task": "t", "queue": "q", "priority": "high"},
        {"state": "done", "task": "t", "queue": "q", "priority": "high"},
        {"state": "failed", "task": "t", "queue": "q", "priority": "urgent"},
        {"state": "failed", "task": "t", "queue": "q", "priority": "high", "error": "E"},
    ],
    "progress": [
        {},
        {"state": "succeeded", "task": "t", "queue": "q", "priority": "high", "attempt": 1},
        {"state": "running", "task": "t", "queue": "q", "priority": "high"},
        {"state": "running", "task": "t", "queue": "q", "priority": "high", "attempt": -1},
    ],
    "event": [{}, {"kind": "odd", "job_id": "a", "at_ms": 1}, {"kind": "dead", "job_id": "a"}],
    "dead_letter": [{}, {"job_id": "a", "queue": "q", "priority": "high", "task": "t"}],
    "worker": [{}, {"worker": 1}, {"worker": "w", "pid": -1}],
    "worker_command": [{}, {"command": "dance"}, {"command": "set", "concurrency": 0}],
    "worker_answer": [{}, {"is_done": 1}],
    "lane_trust": [{}, {"epoch": 1}, {"epoch": "e", "until_sequence": -1}],
    "schedule": [
        {},
        {"task": "t", "queue": "q"},
        {"task": "t", "queue": "q", "timetable": {"cron": 1}},
        {"task": "t", "queue": "q", "timetable": {}, "overlap": "sometimes"},
        {"task": "t", "queue": "q", "timetable": {"dst_gap": "guess"}},
        {"task": "t", "queue": "q", "timetable": {}, "pause": {}},
    ],
    "schedule_status": [{}, {"edition": -1}, {"edition": 1, "last_state": "done"}],
}


def schema_of(name: str) -> dict[str, Any]:
    """Read a schema of the repository."""
    return json.loads((FOLDER / "schema" / f"{name}.v1.json").read_text(encoding="utf-8"))


def validator(name: str) -> Draft202012Validator:
    """Make a schema of the repository ready for use."""
    return Draft202012Validator(schema_of(name))


@pytest.mark.parametrize("name", schemas.STRUCTS)
def test_a_schema_is_one(name: str) -> None:
    """Each file is a schema of its dialect, refers to nothing outside, and has no $id."""
    schema = schema_of(name)

    Draft202012Validator.check_schema(schema)

    assert schema["$schema"] == schemas.DIALECT
    assert '"$id"' not in json.dumps(schema)
    assert json.dumps(schema).count('"$ref"') == json.dumps(schema).count('"$ref": "#/$defs/')


@pytest.mark.parametrize("name", schemas.STRUCTS)
def test_every_field_says_what_it_is_for(name: str) -> None:
    """Each struct and each field has a description, and none is left over in a docstring."""
    schema = schema_of(name)
    structs = [schema, *schema.get("$defs", {}).values()]

    silent = [
        f"{struct['title']}.{field}"
        for struct in structs
        for field, about in struct.get("properties", {}).items()
        if not about.get("description")
    ]

    assert silent == []
    assert all(struct["description"] for struct in structs)
    assert "Attributes" not in json.dumps(schema)


@pytest.mark.parametrize(("name", "value"), REAL)
def test_a_schema_takes_what_the_code_writes(name: str, value: msgspec.Struct) -> None:
    """What mesh encodes is valid by the schema of its kind."""
    written = json.loads(records.encode(value))

    assert list(validator(name).iter_errors(written)) == []


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_schema_refuses_what_is_wrong(name: str, value: dict[str, Any]) -> None:
    """A body with a field missing, of the wrong type or out of range is not valid."""
    assert not validator(name).is_valid(value)


@pytest.mark.parametrize("name", schemas.STRUCTS)
def test_the_schema_and_the_vectors_agree(name: str) -> None:
    """Whatever a vector expects to be read is valid, and what has a bad shape is not."""
    file = "envelope" if name == "envelope" else "records"
    document = json.loads((FOLDER / "vectors" / f"{file}.json").read_text(encoding="utf-8"))
    schema = validator(name)

    for case in document["cases"]:
        if case["given"].get("record", "envelope") != name:
            continue
        if "expect" in case:
            assert schema.is_valid(case["expect"]), case["name"]
        elif case["error"] == "bad-shape" and "body" in case["given"]:
            assert not schema.is_valid(json.loads(case["given"]["body"])), case["name"]


NUMBERS = st.one_of(st.integers(-5, 5), st.sampled_from([1e11, 1e12, 0.5, 253_402_300_800_000]))
OPTIONS = st.fixed_dictionaries(
    {"task": st.sampled_from(["t", "", "x" * 200, "x" * 201, 1, None])},
    optional={
        "args": st.sampled_from([[], [1]]),
        "enqueued_at_ms": st.integers(-5, 5) | st.just(253_402_300_800_000),
        "timeout_s": NUMBERS | st.none(),
        "result_ttl_s": NUMBERS | st.none() | st.just("1"),
        "retry": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "max_retries": st.integers(-2, 5),
                "delay_s": NUMBERS,
                "jitter": NUMBERS,
                "backoff": st.sampled_from(["fixed", "linear", "odd"]),
                "delays_s": st.lists(NUMBERS, max_size=2),
            },
        ),
        "tags": st.lists(st.sampled_from(["a", 1]), max_size=2),
        "meta": st.dictionaries(st.sampled_from("ab"), st.sampled_from(["x", None])),
    },
)


@settings(deadline=None)
@given(job=OPTIONS)
def test_the_schema_and_the_worker_agree_on_what_a_job_is(job: dict[str, Any]) -> None:
    """A body is valid by the schema exactly when a worker would read it."""
    body = json.dumps(job).encode()
    is_read = True

    try:
        envelope.decode(body)
    except MalformedJobError:
        is_read = False

    assert validator("envelope").is_valid(job) is is_read
