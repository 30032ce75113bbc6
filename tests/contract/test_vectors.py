"""The vectors in the repository, run against the code in both directions."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import Raw
from msgspec.structs import replace
from support.clocks import HandClock

from mesh.client.messages import MessageMaker, delayed_block
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import envelope, headers, leases, records, schedules, subjects, workers
from mesh.contract.case import ERRORS
from mesh.contract.envelope import Envelope
from mesh.contract.events import Event
from mesh.contract.table import TABLE
from mesh.errors import InvalidNameError, MalformedJobError
from mesh.identifiers import (
    check_job_id,
    check_namespace,
    check_queue,
    check_schedule_id,
    check_task_name,
)
from mesh.settings.model import Settings
from mesh.tasks.definition import call_by_name
from mesh.tasks.options import CallOptions
from mesh.transport import frames

FOLDER = Path(__file__).parents[2] / "subjects" / "vectors"

CHECKS: dict[str, Callable[[str], str]] = {
    "namespace": check_namespace,
    "queue": check_queue,
    "priority": subjects.check_priority,
    "job id": check_job_id,
    "schedule": check_schedule_id,
    "task": check_task_name,
}
RECORDS: dict[str, type[msgspec.Struct]] = {
    "result": records.ResultRecord,
    "progress": records.ProgressRecord,
    "dead_letter": records.DeadLetter,
    "lane_trust": records.LaneTrust,
    "event": Event,
    "unique_key": records.UniqueKey,
    "leadership": leases.Leadership,
    "turn": leases.Turn,
    "schedule": schedules.Schedule,
    "schedule_status": schedules.ScheduleStatus,
    "worker": workers.WorkerRecord,
    "worker_command": workers.WorkerCommand,
    "worker_answer": workers.WorkerAnswer,
}


def cases(file: str) -> list[Any]:
    """Read the cases of one file, each with its name as the test's id."""
    document = json.loads((FOLDER / f"{file}.json").read_text(encoding="utf-8"))
    return [pytest.param(case, id=case["name"]) for case in document["cases"]]


def given_bytes(shown: dict[str, str], name: str = "body") -> bytes:
    """Read bytes that are shown as text or in base64."""
    if name in shown:
        return shown[name].encode()
    return base64.b64decode(shown[f"{name}_base64"])


@pytest.mark.parametrize("case", cases("envelope"))
def test_a_body_is_read_as_the_case_says(case: dict[str, Any]) -> None:
    """A body gives the job that is expected, or is refused with the code that is expected."""
    body = given_bytes(case["given"])
    content_type = case["given"].get("content_type", headers.JSON)

    if "error" in case:
        with pytest.raises(MalformedJobError) as refusal:
            envelope.decode(body, content_type)
        assert refusal.value.reason == case["error"]
    else:
        job = envelope.decode(body, content_type)
        assert json.loads(envelope.encode(job)) == case["expect"]


@pytest.mark.parametrize("case", [c for c in cases("envelope") if "expect" in c.values[0]])
def test_a_body_that_is_written_again_means_the_same(case: dict[str, Any]) -> None:
    """What mesh writes for a job is what it reads, in JSON and in msgpack."""
    options = dict(case["expect"])
    arguments = {
        name: Raw(msgspec.json.encode(options.pop(name))) for name in ("args", "kwargs")
    }
    job = replace(msgspec.convert(options, Envelope), **arguments)

    packed = msgspec.msgpack.encode(case["expect"])

    assert json.loads(envelope.encode(job)) == case["expect"]
    assert json.loads(envelope.encode(envelope.decode(packed, "msgpack"))) == case["expect"]


@pytest.mark.parametrize("case", cases("records"))
def test_a_record_is_read_and_written_as_the_case_says(case: dict[str, Any]) -> None:
    """A record gives what is expected and is written like it, or is refused."""
    struct = RECORDS[case["given"]["record"]]
    body = given_bytes(case["given"])

    if "error" in case:
        with pytest.raises(msgspec.DecodeError) as refusal:
            msgspec.json.decode(body, type=struct)
        is_shape = isinstance(refusal.value, msgspec.ValidationError)
        assert case["error"] == ("bad-shape" if is_shape else "not-json")
    else:
        record = msgspec.json.decode(body, type=struct)
        assert json.loads(records.encode(record)) == case["expect"]


@pytest.mark.parametrize("case", cases("subjects"))
def test_a_name_is_built_and_read_as_the_case_says(case: dict[str, Any]) -> None:
    """A builder gives the expected name, and the subject of a job is read back from it."""
    arguments = dict(case["given"])
    names = subjects.Names(arguments.pop("namespace"))

    if "read" in arguments:
        if "error" in case:
            with pytest.raises(InvalidNameError) as refusal:
                names.read_job(arguments["read"])
            assert refusal.value.reason == case["error"]
        else:
            assert names.read_job(arguments["read"])._asdict() == case["expect"]
        return
    builder = arguments.pop("build")
    made = getattr(names, builder, None) or getattr(subjects, builder)
    assert (made(**arguments) if callable(made) else made) == case["expect"]
    if builder == "job":
        assert names.read_job(case["expect"])._asdict() == arguments


def test_every_builder_has_a_case() -> None:
    """No row of the table of names is without a vector, but for the one that gives a list."""
    built = {case.values[0]["given"].get("build") for case in cases("subjects")}

    missing = {row.builder.removeprefix("Names.") for row in TABLE} - built

    assert missing == {"object_subjects"}


@pytest.mark.parametrize("case", cases("names"))
def test_a_name_is_taken_or_refused_as_the_case_says(case: dict[str, Any]) -> None:
    """A name comes back as it is, or is refused with the code that is expected."""
    check = CHECKS[case["given"]["kind"]]
    name = case["given"]["name"]

    if "error" in case:
        with pytest.raises(InvalidNameError) as refusal:
            check(name)
        assert (refusal.value.reason, refusal.value.kind) == (
            case["error"],
            case["given"]["kind"],
        )
    else:
        assert check(name) == case["expect"]


@pytest.mark.parametrize("case", cases("headers"))
def test_headers_are_written_and_read_as_the_case_says(case: dict[str, Any]) -> None:
    """Pairs give the expected block and are read back from it; a block gives the headers."""
    pairs = [(name, value) for name, value in case["given"].get("pairs", ())]

    if "error" in case:
        with pytest.raises(InvalidNameError) as refusal:
            frames.header_block(pairs)
        assert refusal.value.reason == case["error"]
    elif "pairs" in case["given"]:
        block = frames.header_block(pairs)
        assert block == given_bytes(case["expect"], "block")
        assert frames.read_headers(block) == dict(pairs)
    else:
        block = given_bytes(case["given"], "block")
        assert frames.read_headers(block) == case["expect"]["headers"]


def headers_of(name: str) -> bytes:
    """The block that a case of the headers expects."""
    (case,) = (c.values[0] for c in cases("headers") if c.values[0]["name"] == name)
    return given_bytes(case["expect"], "block")


def test_mesh_publishes_the_headers_of_the_vectors() -> None:
    """A plain job and a delayed one bear exactly the headers that the vectors show."""
    names = subjects.Names("mesh")
    maker = MessageMaker(Settings(), names, SYSTEM_CLOCK)
    call = call_by_name("send_welcome", [42], {}, CallOptions())
    new_year_ms = 1_893_484_800_000
    soon = call_by_name("send_welcome", [42], {}, CallOptions(eta_ms=new_year_ms))
    maker_then = MessageMaker(Settings(), names, HandClock(new_year_ms))

    plain = maker.make(call, "order-9").block
    target = names.due("email", "high", "order-9")
    delayed = delayed_block("order-9", "send_welcome", target, new_year_ms)

    assert plain == headers_of("a job as mesh publishes it")
    assert delayed == headers_of("a delayed job as mesh publishes it")
    name = "a job that is due too soon to be held by the server, as mesh publishes it"
    assert maker_then.make(soon, "order-9").block == headers_of(name)


@pytest.mark.parametrize("file", ["envelope", "records", "subjects", "names", "headers"])
def test_a_file_of_vectors_keeps_the_form_of_a_case(file: str) -> None:
    """A case has a name of its own, what is given, and either a result or a known error."""
    document = json.loads((FOLDER / f"{file}.json").read_text(encoding="utf-8"))
    shape = {
        "type": "object",
        "required": ["name", "given"],
        "properties": {
            "name": {"type": "string", "minLength": 3},
            "given": {"type": "object"},
            "expect": {},
            "error": {"enum": list(ERRORS)},
        },
        "additionalProperties": False,
        "oneOf": [{"required": ["expect"]}, {"required": ["error"]}],
    }

    Draft202012Validator(
        {
            "type": "object",
            "properties": {"cases": {"type": "array", "items": shape}},
            "required": ["about", "errors", "cases"],
        }
    ).validate(document)

    names = [case["name"] for case in document["cases"]]
    assert len(set(names)) == len(names)
    assert set(document["errors"]) == {c["error"] for c in document["cases"] if "error" in c}


def test_every_error_has_a_case() -> None:
    """Each code of the closed list is met by at least one vector."""
    files = ("envelope", "records", "subjects", "names", "headers")

    met = {case.values[0].get("error") for file in files for case in cases(file)}

    assert met - {None} == ERRORS.keys()


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(args=st.lists(JSON_VALUES, max_size=3), kwargs=st.dictionaries(st.text(), JSON_VALUES))
def test_arguments_survive_the_way_through_either_format(
    args: list[Any], kwargs: dict[str, Any]
) -> None:
    """Whatever JSON can say comes out of a JSON body and of a msgpack body as it went in."""
    job = {"task": "t", "args": args, "kwargs": kwargs}

    from_json = envelope.decode(msgspec.json.encode(job))
    from_msgpack = envelope.decode(msgspec.msgpack.encode(job), "msgpack")

    assert msgspec.json.decode(from_json.args) == args
    assert msgspec.json.decode(from_msgpack.args) == args
    assert msgspec.json.decode(from_json.kwargs) == kwargs
    assert msgspec.json.decode(from_msgpack.kwargs) == kwargs


@settings(deadline=None)
@given(body=st.binary(max_size=64), content_type=st.sampled_from(["json", "msgpack", "xml"]))
def test_any_bytes_are_a_job_or_are_refused_with_a_code(body: bytes, content_type: str) -> None:
    """Reading never ends in any other error than the one that carries a code."""
    code = ""

    try:
        envelope.decode(body, content_type)
    except MalformedJobError as refusal:
        code = refusal.reason

    assert code in {"", *ERRORS}
