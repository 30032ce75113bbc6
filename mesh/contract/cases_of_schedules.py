"""Cases of the contract: schedules, what is said of them, and the jobs of their ticks."""

from __future__ import annotations

from typing import Any

from mesh.contract.case import Case

_PING: dict[str, Any] = {"task": "ping", "args": [], "kwargs": {}}
_LEAST = '"task":"report","queue":"mail"'
_LEAST_READ: dict[str, Any] = {"task": "report", "queue": "mail", "args": [], "kwargs": {}}
_DAILY = '"timetable":{"cron":"0 8 * * *"}'
_DAILY_READ = {"timetable": {"cron": "0 8 * * *"}}


def _schedule(name: str, body: str, expect: Any = None, error: str = "") -> Case:
    shown = "{" + _LEAST + "," + body + "}"
    return Case(f"schedule: {name}", {"record": "schedule", "body": shown}, expect, error)


def _status(name: str, body: str, expect: Any = None, error: str = "") -> Case:
    given = {"record": "schedule_status", "body": body}
    return Case(f"schedule_status: {name}", given, expect, error)


ENVELOPE: tuple[Case, ...] = (
    Case(
        "the job of a tick",
        {"body": '{"task":"ping","schedule":"daily-report","scheduled_for_ms":1893484800000}'},
        _PING | {"schedule": "daily-report", "scheduled_for_ms": 1_893_484_800_000},
    ),
    Case(
        "a schedule with a wildcard",
        {"body": '{"task":"ping","schedule":"*"}'},
        error="bad-shape",
    ),
)

RECORDS: tuple[Case, ...] = (
    _schedule("the least that is one", _DAILY, _LEAST_READ | _DAILY_READ),
    _schedule(
        "every day at eight by the clock of Berlin, but never twice at once",
        '"timetable":{"cron":"0 8 * * *","zone":"Europe/Berlin","start_ms":1893456000000,'
        '"end_ms":1924992000000,"jitter_s":30,"dst_gap":"skip","dst_overlap":"both"},'
        '"priority":"high","args":[1],"kwargs":{"a":true},"timeout_s":30,"tags":["a"],'
        '"meta":{"tenant":"t1"},"misfire":"fire_all","catchup_s":3600,"catchup_limit":5,'
        '"overlap":"skip","max_runs":9,"edition":3,"origin":"code","about":"the report",'
        '"since_ms":7,"created_at_ms":5,"updated_at_ms":8,"expires_s":60,"deadline_s":90',
        {
            "task": "report",
            "queue": "mail",
            "timetable": {
                "cron": "0 8 * * *",
                "zone": "Europe/Berlin",
                "start_ms": 1_893_456_000_000,
                "end_ms": 1_924_992_000_000,
                "jitter_s": 30.0,
                "dst_gap": "skip",
                "dst_overlap": "both",
            },
            "priority": "high",
            "args": [1],
            "kwargs": {"a": True},
            "timeout_s": 30.0,
            "tags": ["a"],
            "meta": {"tenant": "t1"},
            "misfire": "fire_all",
            "catchup_s": 3600.0,
            "catchup_limit": 5,
            "overlap": "skip",
            "max_runs": 9,
            "edition": 3,
            "origin": "code",
            "about": "the report",
            "since_ms": 7,
            "created_at_ms": 5,
            "updated_at_ms": 8,
            "expires_s": 60.0,
            "deadline_s": 90.0,
        },
    ),
    _schedule(
        "every ninety seconds",
        '"timetable":{"every_s":90}',
        _LEAST_READ | {"timetable": {"every_s": 90.0}},
    ),
    _schedule(
        "at two moments",
        '"timetable":{"at_ms":[1893456000000,1893459600000]}',
        _LEAST_READ | {"timetable": {"at_ms": [1_893_456_000_000, 1_893_459_600_000]}},
    ),
    _schedule(
        "one that rests",
        _DAILY + ',"pause":{"since_ms":5,"until_ms":9,"note":"holidays","by":"ada"}',
        _LEAST_READ
        | _DAILY_READ
        | {"pause": {"since_ms": 5, "until_ms": 9, "note": "holidays", "by": "ada"}},
    ),
    _schedule("no timetable", '"priority":"low"', error="bad-shape"),
    _schedule("an unknown priority", _DAILY + ',"priority":"urgent"', error="bad-shape"),
    _schedule("an unknown rule", _DAILY + ',"misfire":"sometimes"', error="bad-shape"),
    _schedule("a queue with a wildcard", _DAILY + ',"queue":"*"', error="bad-shape"),
    _schedule(
        "a moment after the year 9999",
        '"timetable":{"at_ms":[253402300800000]}',
        error="bad-shape",
    ),
    _status(
        "one whose last job succeeded",
        '{"edition":3,"created_at_ms":5,"armed_until_ms":90,"last_tick_ms":60,'
        '"last_job_id":"report-19700101T000000-060Z","last_state":"succeeded",'
        '"last_finished_at_ms":70,"runs":4,"missed":1,"updated_at_ms":75}',
        {
            "edition": 3,
            "created_at_ms": 5,
            "armed_until_ms": 90,
            "last_tick_ms": 60,
            "last_job_id": "report-19700101T000000-060Z",
            "last_state": "succeeded",
            "last_finished_at_ms": 70,
            "runs": 4,
            "missed": 1,
            "updated_at_ms": 75,
        },
    ),
    _status("no edition", '{"runs":4}', error="bad-shape"),
)
