"""What is published for a call: subject, headers and body, at once or later."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from mesh.client.messages import (
    Message,
    MessageMaker,
    choose_id,
    delayed_block,
    pack_arguments,
    unpack_arguments,
)
from mesh.contract import envelope
from mesh.contract.envelope import Envelope, PayloadRef, Retry
from mesh.contract.headers import LEAD_MS
from mesh.contract.subjects import Names
from mesh.identifiers import check_job_id
from mesh.settings.model import JobDefaults, LimitsSettings, Settings
from mesh.tasks.definition import Call, TaskDefinition, call_by_name
from mesh.tasks.options import NO_OVERRIDES, CallKeywords, CommonOptions, call_options
from mesh.transport import frames

NOW_MS = 1_900_000_000_000


class StoppedClock:
    """A clock that always tells the same time."""

    def now_ms(self) -> int:
        return NOW_MS

    def monotonic(self) -> float:
        return 0.0


def send(to: str, subject: str = "") -> None:
    """The task of these tests."""


def call(keywords: dict[str, Any] | None = None, **own: Any) -> Call[Any]:
    """A call of ``send`` with options of the call, and options of the task."""
    task = TaskDefinition(send, None, None, CommonOptions(**own))
    options = call_options(CallKeywords(**keywords)) if keywords else NO_OVERRIDES
    return Call("send", b'["ada"]', b"{}", options, task)


MAKER = MessageMaker(Settings(), Names("mesh"), StoppedClock())


def make(call: Call[Any], args_ref: PayloadRef | None = None) -> Message:
    return MAKER.make(call, "job-1", args_ref)


def body_of(call: Call[Any], args_ref: PayloadRef | None = None) -> Envelope:
    return envelope.decode(make(call, args_ref).body)


def test_a_plain_job_is_small_and_complete() -> None:
    """Subject, three headers, and a body with nothing that the worker knows anyway."""
    message = make(call())

    assert message.subject == "mesh.jobs.default.normal.job-1"
    assert message.block == b"NATS/1.0\r\nNats-Msg-Id: job-1\r\nMesh-Task: send\r\n\r\n"
    assert msgspec.json.decode(message.body) == {
        "task": "send",
        "args": ["ada"],
        "kwargs": {},
        "enqueued_at_ms": NOW_MS,
    }
    assert not message.is_delayed


def test_a_tasks_own_options_stay_with_the_worker() -> None:
    """Only what the server or the producer must know travels: the place, expiry and tags."""
    message = make(
        call(queue="mail", priority="high", timeout=5, retry=1, expires=60, tags=["a"])
    )

    assert message.subject == "mesh.jobs.mail.high.job-1"
    assert envelope.decode(message.body) == Envelope(
        "send",
        Raw(b'["ada"]'),
        Raw(b"{}"),
        enqueued_at_ms=NOW_MS,
        expires_at_ms=NOW_MS + 60_000,
        tags=("a",),
    )


@pytest.mark.parametrize(
    ("own", "field", "value"),
    [
        ({"expires": 60}, "expires_at_ms", NOW_MS + 60_000),
        ({"deadline": 60}, "deadline_ms", NOW_MS + 60_000),
        ({"tags": ["a"]}, "tags", ("a",)),
    ],
)
def test_each_of_them_travels_alone_too(own: dict[str, Any], field: str, value: Any) -> None:
    """None of them needs another to be noticed."""
    assert getattr(body_of(call(**own)), field) == value


def test_a_calls_options_win_and_travel() -> None:
    """The worker is told what differs from the task."""
    keywords: dict[str, Any] = {
        "queue": "web",
        "priority": "low",
        "timeout": "5m",
        "retry": 2,
        "result_ttl": 10,
        "failure_ttl": 20,
        "expires": 1.001,
        "soft_timeout": 200,
        "deadline": "10m",
        "tags": [],
        "meta": {"tenant": "a"},
    }
    own = call(keywords, queue="mail", priority="high", expires=60, tags=["a"])

    assert make(own).subject == "mesh.jobs.web.low.job-1"
    assert body_of(own) == Envelope(
        "send",
        Raw(b'["ada"]'),
        Raw(b"{}"),
        enqueued_at_ms=NOW_MS,
        timeout_s=300.0,
        retry=Retry(max_retries=2),
        result_ttl_s=10.0,
        failure_ttl_s=20.0,
        expires_at_ms=NOW_MS + 1001,
        meta={"tenant": "a"},
        soft_timeout_s=200.0,
        deadline_ms=NOW_MS + 600_000,
    )


def test_a_delayed_job_may_wait_to_be_started_from_when_it_is_due() -> None:
    """What it waits before counts against its deadline, but not against its time to start."""
    body = body_of(call({"delay": 100, "expires": 60, "deadline": 300}))

    assert body.expires_at_ms == NOW_MS + 160_000
    assert body.deadline_ms == NOW_MS + 300_000


def test_the_app_has_the_last_word_on_where_a_job_goes() -> None:
    """Neither call nor task names a queue, so the settings do; by name it is the same."""
    defaults = JobDefaults(queue="bulk")
    maker = MessageMaker(Settings(job_defaults=defaults), Names("shop"), StoppedClock())

    for job in (call(), call_by_name("send", [], {}, NO_OVERRIDES)):
        assert maker.make(job, "job-1").subject == "shop.jobs.bulk.normal.job-1"


@pytest.mark.parametrize(
    ("keywords", "due"),
    [
        ({"delay": "90s"}, "2030-03-17T17:48:09.700+00:00"),
        ({"delay": 0.3015}, "2030-03-17T17:46:40.002+00:00"),
        ({"eta": datetime(2031, 1, 1, 0, 0, 0, 5000, UTC)}, "2030-12-31T23:59:59.705+00:00"),
    ],
)
def test_a_delayed_job_is_held_by_the_server(keywords: dict[str, Any], due: str) -> None:
    """It names a moment shortly before it is due and the subject that it fires to."""
    message = make(call({"priority": "high", **keywords}))

    assert message.is_delayed
    assert message.subject == "mesh.delayed.job-1"
    due_ms = round(datetime.fromisoformat(due).timestamp() * 1000) + LEAD_MS
    assert frames.read_headers(message.block) == {
        "Nats-Msg-Id": "job-1",
        "Mesh-Task": "send",
        "Nats-Schedule": f"@at {due}",
        "Nats-Schedule-Target": "mesh.due.default.high.job-1",
        "Mesh-Due": str(due_ms),
    }
    assert envelope.decode(message.body).args == Raw(b'["ada"]')


@pytest.mark.parametrize(
    ("keywords", "due_ms"),
    [
        ({"delay": 0.3}, NOW_MS + 300),
        ({"delay": 0.001}, NOW_MS + 1),
        ({"eta": datetime(2001, 1, 1, tzinfo=UTC)}, 978_307_200_000),
    ],
)
def test_a_job_that_is_due_in_a_moment_goes_to_its_queue(
    keywords: dict[str, Any], due_ms: int
) -> None:
    """The server's timer would be too coarse: a worker holds it until then."""
    message = make(call(keywords))
    guarded = MAKER.make_guarded(call(keywords), "job-1")

    for one in (message, guarded):
        assert not one.is_delayed
        assert one.subject == "mesh.jobs.default.normal.job-1"
        assert frames.read_headers(one.block)["Mesh-Due"] == str(due_ms)
        assert "Nats-Schedule" not in frames.read_headers(one.block)
    expected = "Nats-Expected-Last-Subject-Sequence-Subject"
    assert frames.read_headers(guarded.block)[expected] == "mesh.jobs.*.*.job-1"


def test_a_delay_of_nothing_is_no_delay() -> None:
    """The job goes straight to its queue."""
    assert not make(call({"delay": 0})).is_delayed


def test_a_due_date_far_away_can_be_written() -> None:
    """The longest delay there is still has a date."""
    headers = frames.read_headers(make(call({"delay": 9.9e10})).block)

    assert headers["Nats-Schedule"].startswith("@at 5167-")


def test_more_headers_can_be_added_to_a_delayed_job() -> None:
    """A retry says which attempt it is for."""
    block = delayed_block("job-1", "send", "mesh.due.a.low.job-1", 300, [("Mesh-Attempt", "2")])

    assert frames.read_headers(block)["Mesh-Attempt"] == "2"
    assert frames.read_headers(block)["Nats-Schedule"] == "@at 1970-01-01T00:00:00.000+00:00"


def test_large_arguments_travel_apart() -> None:
    """The body says where they lie instead, with and without other options."""
    ref = PayloadRef("mesh-payloads", "job-1.x", 9)

    for job in (call(), call({"timeout": 5})):
        body = body_of(job, ref)
        assert body.args_ref == ref
        assert body.args == Raw(b"[]")


def test_what_is_large_is_a_setting() -> None:
    """Arguments and named arguments count together."""
    limits = LimitsSettings(payload_inline_bytes=10)
    maker = MessageMaker(Settings(limits=limits), Names("mesh"), StoppedClock())

    assert not maker.is_too_large(Call("send", b"[1234]", b"{  }", NO_OVERRIDES, None))
    assert maker.is_too_large(Call("send", b"[12345]", b"{  }", NO_OVERRIDES, None))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.text()), st.dictionaries(st.text(), st.integers()))
def test_packed_arguments_come_out_as_they_went_in(
    args: list[str], kwargs: dict[str, int]
) -> None:
    """Byte for byte, so that both ways of travelling mean the same."""
    packed = call_by_name("send", args, kwargs, NO_OVERRIDES)

    unpacked = unpack_arguments(pack_arguments(packed))

    assert tuple(map(bytes, unpacked)) == (packed.args, packed.kwargs)


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b'{"args":[]}', b"\xff"])
def test_what_was_not_packed_is_not_unpacked(value: bytes) -> None:
    """An object that someone else wrote is refused."""
    with pytest.raises(ValueError, match=r"."):
        unpack_arguments(value)


def test_a_job_has_the_id_the_caller_chose_or_a_new_one() -> None:
    """With an id of its own a job can be enqueued twice and is stored once."""
    assert choose_id(call({"job_id": "order-9"})) == "order-9"
    assert check_job_id(choose_id(call())) != choose_id(call())


def test_a_tasks_name_may_be_written_in_any_script() -> None:
    """Headers are UTF-8."""
    message = make(call_by_name("größe.messen", [], {}, NO_OVERRIDES))

    assert frames.read_headers(message.block)["Mesh-Task"] == "größe.messen"
