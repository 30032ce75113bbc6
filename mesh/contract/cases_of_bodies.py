"""Cases of the contract: bodies of jobs, records, events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from mesh.contract.case import Case, base64_of

_PLAIN: dict[str, Any] = {"task": "send_welcome", "args": [42], "kwargs": {}}
_NONE: dict[str, Any] = {"task": "ping", "args": [], "kwargs": {}}


def _json(name: str, body: str | bytes, expect: Any = None, error: str = "") -> Case:
    return Case(name, _shown(body), expect, error)


def _msgpack(name: str, body: Any, expect: Any = None, error: str = "") -> Case:
    packed = body if isinstance(body, bytes) else msgspec.msgpack.encode(body)
    given = {"content_type": "msgpack", "body_base64": base64_of(packed)}
    return Case(name, given, expect, error)


def _typed(content_type: str, error: str = "") -> Case:
    given = {"content_type": content_type, "body": '{"task":"ping"}'}
    return Case(f"content type {content_type!r}", given, None if error else _NONE, error)


def _shown(body: str | bytes) -> dict[str, str]:
    return {"body": body} if isinstance(body, str) else {"body_base64": base64_of(body)}


ENVELOPE: tuple[Case, ...] = (
    _json("the least that is a job", '{"task":"ping"}', _NONE),
    _json("positional arguments", '{"task":"send_welcome","args":[42]}', _PLAIN),
    _json(
        "named arguments",
        '{"task":"send_welcome","kwargs":{"user":42}}',
        {"task": "send_welcome", "args": [], "kwargs": {"user": 42}},
    ),
    _json(
        "every field",
        '{"task":"t","args":[1,"two",null,{"three":3}],"kwargs":{"a":true},"v":1,'
        '"enqueued_at_ms":1893456000000,"timeout_s":30,"retry":{"max_retries":5,'
        '"backoff":"linear","delay_s":2,"max_delay_s":60,"jitter":0,"delays_s":[1,2.5],'
        '"on":["OSError"],"give_up_on":["shop.errors.Closed"]},'
        '"result_ttl_s":3600,"failure_ttl_s":7200,"expires_at_ms":1893456060000,'
        '"tags":["a","b"],"meta":{"tenant":"t1"},"soft_timeout_s":20,'
        '"deadline_ms":1893456120000}',
        {
            "task": "t",
            "args": [1, "two", None, {"three": 3}],
            "kwargs": {"a": True},
            "enqueued_at_ms": 1_893_456_000_000,
            "timeout_s": 30.0,
            "retry": {
                "max_retries": 5,
                "backoff": "linear",
                "delay_s": 2.0,
                "max_delay_s": 60.0,
                "jitter": 0.0,
                "delays_s": [1.0, 2.5],
                "on": ["OSError"],
                "give_up_on": ["shop.errors.Closed"],
            },
            "result_ttl_s": 3600.0,
            "failure_ttl_s": 7200.0,
            "expires_at_ms": 1_893_456_060_000,
            "tags": ["a", "b"],
            "meta": {"tenant": "t1"},
            "soft_timeout_s": 20.0,
            "deadline_ms": 1_893_456_120_000,
        },
    ),
    _json(
        "arguments that lie elsewhere",
        '{"task":"t","args_ref":{"bucket":"mesh-payloads","name":"order-9.1","size":900000}}',
        {
            "task": "t",
            "args": [],
            "kwargs": {},
            "args_ref": {"bucket": "mesh-payloads", "name": "order-9.1", "size": 900_000},
        },
    ),
    _json("options that are null are left out", '{"task":"ping","timeout_s":null}', _NONE),
    _json(
        "a retry rule that says nothing", '{"task":"ping","retry":{}}', _NONE | {"retry": {}}
    ),
    _json("fields nobody knows are ignored", '{"task":"ping","colour":{"a":[1]}}', _NONE),
    _json("white space between tokens", ' {\n"task" : "ping" }\r\n', _NONE),
    _json("escapes in the task's name", '{"task":"p\\u0069ng"}', _NONE),
    _json(
        "text outside ASCII",
        '{"task":"größe","args":["日本"]}',
        {"task": "größe", "args": ["日本"], "kwargs": {}},
    ),
    _json(
        "a whole number where seconds are asked for",
        '{"task":"ping","timeout_s":0}',
        _NONE | {"timeout_s": 0.0},
    ),
    _json("an empty body", "", error="not-json"),
    _json("a body cut short", '{"task":"ping"', error="not-json"),
    _json("two bodies in one", '{"task":"ping"}{}', error="not-json"),
    _json("a comma too many", '{"task":"ping",}', error="not-json"),
    _json("a byte-order mark", b'\xef\xbb\xbf{"task":"ping"}', error="not-json"),
    _json("bytes that are no UTF-8", b'{"task":"p\xffng"}', error="not-json"),
    _json("NaN, which is no JSON", '{"task":"ping","timeout_s":NaN}', error="not-json"),
    _json("an array", '["ping"]', error="bad-shape"),
    _json("a text", '"ping"', error="bad-shape"),
    _json("null", "null", error="bad-shape"),
    _json("no task", '{"args":[1]}', error="bad-shape"),
    _json("a task that is no text", '{"task":7}', error="bad-shape"),
    _json("a task without a name", '{"task":""}', error="bad-shape"),
    _json("a task of 201 characters", '{"task":"' + "x" * 201 + '"}', error="bad-shape"),
    _json("a time before the epoch", '{"task":"t","enqueued_at_ms":-1}', error="bad-shape"),
    _json("a time as text", '{"task":"t","expires_at_ms":"2030"}', error="bad-shape"),
    _json(
        "a time after the year 9999",
        '{"task":"t","expires_at_ms":253402300800000}',
        error="bad-shape",
    ),
    _json("a negative timeout", '{"task":"t","timeout_s":-1}', error="bad-shape"),
    _json("a timeout of ages", '{"task":"t","timeout_s":1e12}', error="bad-shape"),
    _json("a negative soft timeout", '{"task":"t","soft_timeout_s":-1}', error="bad-shape"),
    _json("a deadline as text", '{"task":"t","deadline_ms":"2030"}', error="bad-shape"),
    _json("a retry rule as a number", '{"task":"t","retry":3}', error="bad-shape"),
    _json("retries below zero", '{"task":"t","retry":{"max_retries":-1}}', error="bad-shape"),
    _json("errors without a name", '{"task":"t","retry":{"on":[""]}}', error="bad-shape"),
    _json("an unknown backoff", '{"task":"t","retry":{"backoff":"slow"}}', error="bad-shape"),
    _json("a jitter above one", '{"task":"t","retry":{"jitter":1.5}}', error="bad-shape"),
    _json("tags that are one text", '{"task":"t","tags":"a,b"}', error="bad-shape"),
    _json("meta with a number", '{"task":"t","meta":{"a":1}}', error="bad-shape"),
    _json(
        "a reference without a name",
        '{"task":"t","args_ref":{"bucket":"b"}}',
        error="bad-shape",
    ),
    _json("version 2", '{"task":"ping","v":2}', error="unknown-version"),
    _json("version 0", '{"task":"ping","v":0}', error="unknown-version"),
    _json("a version as text", '{"task":"ping","v":"1"}', error="bad-shape"),
    _typed("json"),
    _typed("JSON", "unknown-content-type"),
    _typed("application/json", "unknown-content-type"),
    _typed("", "unknown-content-type"),
    _msgpack("the least that is a job, in msgpack", {"task": "ping"}, _NONE),
    _msgpack("positional arguments, in msgpack", _PLAIN, _PLAIN),
    _msgpack(
        "bytes become text in base64",
        {"task": "t", "args": [b"\x00\xff"]},
        {"task": "t", "args": ["AP8="], "kwargs": {}},
    ),
    _msgpack(
        "a timestamp becomes text by RFC 3339",
        {"task": "t", "args": [datetime(2030, 1, 1, tzinfo=UTC)]},
        {"task": "t", "args": ["2030-01-01T00:00:00Z"], "kwargs": {}},
    ),
    _msgpack(
        "a float that is no number becomes null",
        {"task": "t", "args": [float("inf")]},
        {"task": "t", "args": [None], "kwargs": {}},
    ),
    _msgpack("an empty body, in msgpack", b"", error="not-msgpack"),
    _msgpack("a body cut short, in msgpack", b"\x81\xa4task\xa4pin", error="not-msgpack"),
    _msgpack("a JSON body that is said to be msgpack", b'{"task":"ping"}', error="not-msgpack"),
    _msgpack("bytes after the body, in msgpack", b"\x80\x00", error="not-msgpack"),
    _msgpack("an array, in msgpack", [1], error="bad-shape"),
    _msgpack("a key that is no text", b"\x81\x91\x01\x02", error="bad-shape"),
    _msgpack("an extension nobody knows", b"\x81\xa4args\x91\xd4\x05x", error="bad-shape"),
    _msgpack("version 2, in msgpack", {"task": "ping", "v": 2}, error="unknown-version"),
)


def _record(
    record: str, name: str, body: str | bytes, expect: Any = None, error: str = ""
) -> Case:
    return Case(f"{record}: {name}", {"record": record, **_shown(body)}, expect, error)


_LANE = '"task":"t","queue":"email","priority":"high"'
_IN_LANE = {"task": "t", "queue": "email", "priority": "high"}
_FAILURE = {"type": "ValueError", "message": "no such user"}
_FAILURE_TEXT = '{"type":"ValueError","message":"no such user"}'

RECORDS: tuple[Case, ...] = (
    _record(
        "result",
        "a job that succeeded",
        '{"state":"succeeded",' + _LANE + ',"result":{"sent":true},"attempt":2,"worker":"w-1",'
        '"enqueued_at_ms":1,"started_at_ms":2,"finished_at_ms":3}',
        {
            "state": "succeeded",
            **_IN_LANE,
            "result": {"sent": True},
            "attempt": 2,
            "worker": "w-1",
            "enqueued_at_ms": 1,
            "started_at_ms": 2,
            "finished_at_ms": 3,
        },
    ),
    _record(
        "result",
        "a job that failed",
        '{"state":"failed",' + _LANE + ',"error":' + _FAILURE_TEXT + "}",
        {"state": "failed", **_IN_LANE, "result": None, "error": _FAILURE},
    ),
    _record(
        "result",
        "the least that cancels a job",
        '{"state":"cancelled","task":"","queue":"","priority":""}',
        {"state": "cancelled", "task": "", "queue": "", "priority": "", "result": None},
    ),
    _record(
        "result",
        "a result that lies elsewhere",
        '{"state":"succeeded",' + _LANE + ',"result_ref":{"bucket":"mesh-outputs","name":"x",'
        '"size":9}}',
        {
            "state": "succeeded",
            **_IN_LANE,
            "result": None,
            "result_ref": {"bucket": "mesh-outputs", "name": "x", "size": 9},
        },
    ),
    _record(
        "result",
        "fields nobody knows are ignored",
        '{"state":"expired",' + _LANE + ',"colour":1}',
        {"state": "expired", **_IN_LANE, "result": None},
    ),
    _record("result", "no state", "{" + _LANE + "}", error="bad-shape"),
    _record("result", "an unknown state", '{"state":"done",' + _LANE + "}", error="bad-shape"),
    _record("result", "nothing", "", error="not-json"),
    _record(
        "progress",
        "a job that runs",
        '{"state":"running",' + _LANE + ',"attempt":1,"worker":"w-1","started_at_ms":5,'
        '"lease_until_ms":9,"current":3,"total":10,"message":"half"}',
        {
            "state": "running",
            **_IN_LANE,
            "attempt": 1,
            "worker": "w-1",
            "started_at_ms": 5,
            "lease_until_ms": 9,
            "current": 3.0,
            "total": 10.0,
            "message": "half",
        },
    ),
    _record(
        "progress",
        "a job that waits for its next attempt",
        '{"state":"retrying",'
        + _LANE
        + ',"attempt":1,"error":'
        + _FAILURE_TEXT
        + ',"next_attempt_at_ms":7}',
        {
            "state": "retrying",
            **_IN_LANE,
            "attempt": 1,
            "error": _FAILURE,
            "next_attempt_at_ms": 7,
        },
    ),
    _record(
        "progress",
        "a job whose first attempt was cut short twice by a crash",
        '{"state":"retrying",' + _LANE + ',"attempt":0,"next_attempt_at_ms":7,"crashes":2}',
        {"state": "retrying", **_IN_LANE, "attempt": 0, "next_attempt_at_ms": 7, "crashes": 2},
    ),
    _record("progress", "no attempt", '{"state":"running",' + _LANE + "}", error="bad-shape"),
    _record("progress", "cut short", '{"state":"running"', error="not-json"),
    _record(
        "dead_letter",
        "why a job failed for good",
        '{"job_id":"order-9",' + _LANE + ',"error":{"type":"E","message":"m","traceback":"T",'
        '"notes":["n"],"cause":{"type":"C","message":"c"}},"died_at_ms":7}',
        {
            "job_id": "order-9",
            **_IN_LANE,
            "error": {
                "type": "E",
                "message": "m",
                "traceback": "T",
                "notes": ["n"],
                "cause": {"type": "C", "message": "c"},
            },
            "died_at_ms": 7,
        },
    ),
    _record(
        "dead_letter",
        "a body that lies elsewhere",
        '{"job_id":"a",'
        + _LANE
        + ',"error":'
        + _FAILURE_TEXT
        + ',"body_ref":{"bucket":"mesh-payloads","name":"a.dead","size":9}}',
        {
            "job_id": "a",
            **_IN_LANE,
            "error": _FAILURE,
            "body_ref": {"bucket": "mesh-payloads", "name": "a.dead", "size": 9},
        },
    ),
    _record("dead_letter", "no error", '{"job_id":"a",' + _LANE + "}", error="bad-shape"),
    _record(
        "lane_trust",
        "a server that was started over a full queue",
        '{"epoch":"2030-01-01T00:00:00Z NABC","until_sequence":90}',
        {"epoch": "2030-01-01T00:00:00Z NABC", "until_sequence": 90},
    ),
    _record(
        "lane_trust",
        "nothing to be asked about",
        '{"epoch":"2030-01-01T00:00:00Z NABC"}',
        {"epoch": "2030-01-01T00:00:00Z NABC"},
    ),
    _record("lane_trust", "no epoch", '{"until_sequence":90}', error="bad-shape"),
)
