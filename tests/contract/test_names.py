"""Every name the code can build follows the grammar, and every name outside it is refused."""

from __future__ import annotations

import inspect
import string
import tomllib
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.abnf import Grammar

from mesh.contract import subjects
from mesh.contract.events import EventKind
from mesh.contract.lifecycle import PRIORITIES, Priority
from mesh.contract.rows import Row
from mesh.contract.subjects import JobAddress, Names
from mesh.contract.table import TABLE
from mesh.errors import InvalidNameError
from mesh.identifiers import (
    check_job_id,
    check_namespace,
    check_queue,
    check_schedule_id,
    new_job_id,
    new_worker_id,
)
from mesh.settings.model import Settings
from mesh.topology import Topology

FOLDER = Path(__file__).parents[2] / "subjects"
GRAMMAR = Grammar(FOLDER / "grammar.abnf")
ROWS = {row.builder: row for row in TABLE}

WORD = string.ascii_letters + string.digits + "_-"
NAMESPACES = st.from_regex(r"[a-z][a-z0-9_-]{0,31}", fullmatch=True)
QUEUES = st.text(WORD, min_size=1, max_size=64)
JOB_IDS = st.text(WORD + "=", min_size=1, max_size=128)
PRIORITY = st.sampled_from(PRIORITIES)
ARGUMENTS: dict[str, st.SearchStrategy[str]] = {
    "queue": QUEUES,
    "schedule_id": QUEUES,
    "worker_id": st.builds(new_worker_id),
    "priority": PRIORITY,
    "job_id": JOB_IDS,
    "service": QUEUES,
    "digest": st.text("0123456789abcdef", min_size=64, max_size=64),
    "kind": st.sampled_from(EventKind),
    "name": st.text(max_size=80).filter(bool),
    "chunks_id": st.text(string.ascii_letters + string.digits, min_size=1, max_size=22)
    | st.just("*"),
}


def builders() -> dict[str, Callable[..., Any]]:
    """Everything in the module of subjects that makes a name."""
    named = {f"Names.{name}": member for name, member in vars(Names).items()}
    functions = {
        name: member
        for name, member in vars(subjects).items()
        if inspect.isfunction(member) and member.__module__ == subjects.__name__
    }
    found = {
        n: m for n, m in (named | functions).items() if not n.split(".")[-1].startswith("_")
    }
    for reader in (
        "Names.read_job",
        "Names.read_ready",
        "Names.namespace",
        "check_priority",
        "object_name",
    ):
        del found[reader]
    return found


def build(row: Row, names: Names, data: st.DataObject) -> tuple[list[str], dict[str, str]]:
    """Build a name of a row with arguments drawn from what is valid."""
    own, _, name = row.builder.rpartition(".")
    builder: Any = getattr(names if own else subjects, name)
    if not callable(builder):
        return [builder], {}
    arguments = {
        parameter: data.draw(
            buckets(row, names) if parameter == "bucket" else ARGUMENTS[parameter]
        )
        for parameter in inspect.signature(builder).parameters
    }
    made: Any = builder(**arguments)
    return [made] if isinstance(made, str) else list(made), arguments


def buckets(row: Row, names: Names) -> st.SearchStrategy[str]:
    """The buckets that a row can be about."""
    if row.builder == "kv_stream":
        return st.sampled_from(
            [
                names.results_bucket,
                names.progress_bucket,
                names.control_bucket,
                names.locks_bucket,
                names.schedules_bucket,
                names.workers_bucket,
            ]
        )
    return st.sampled_from([names.payloads_bucket, names.outputs_bucket])


def test_every_builder_has_exactly_one_row() -> None:
    """What builds a name stands once in the table, and the table names nothing else."""
    rows = sorted(row.builder for row in TABLE)

    assert rows == sorted(builders())


def test_the_table_in_the_repository_has_these_rows() -> None:
    """The TOML can be read and holds each row of the table under its kind."""
    table = tomllib.loads((FOLDER / "subjects.toml").read_text(encoding="utf-8"))

    read = [{"kind": kind, **row} for kind, rows in table.items() for row in rows]

    by_builder = itemgetter("builder")
    rows = [row._asdict() for row in TABLE]
    assert sorted(read, key=by_builder) == sorted(rows, key=by_builder)


def test_every_rule_of_the_grammar_is_used() -> None:
    """Each row names a rule of its own, and no rule stands there for nothing."""
    rules = [row.rule for row in TABLE]
    used = "\n".join([*GRAMMAR.rules.values(), *rules])

    assert len(set(rules)) == len(rules)
    assert set(rules) <= GRAMMAR.rules.keys()
    assert [rule for rule in GRAMMAR.rules if rule not in used] == []


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.builder)
@settings(deadline=None, max_examples=50)
@given(namespace=NAMESPACES, data=st.data())
def test_what_the_code_builds_follows_the_grammar(
    row: Row, namespace: str, data: st.DataObject
) -> None:
    """For any valid names the builder of a row makes what the row's rule describes."""
    made, _ = build(row, Names(namespace), data)

    assert [name for name in made if not GRAMMAR.matches(row.rule, name)] == []


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.builder)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_what_the_code_builds_reads_like_its_pattern(row: Row, data: st.DataObject) -> None:
    """The pattern in the table, filled in, is what the builder makes."""
    made, arguments = build(row, Names("mesh"), data)
    filled = row.pattern.replace("<ns>", "mesh").replace("<NS>", "MESH")
    if "name" in arguments:
        filled = filled.replace("<base64url of the name>", made[0].rpartition(".")[2])

    for name, value in arguments.items():
        filled = filled.replace(f"<{name}>", value)

    assert filled == " and ".join(made)


@settings(deadline=None, max_examples=50)
@given(namespace=NAMESPACES, queue=QUEUES, priority=PRIORITY, job_id=JOB_IDS)
def test_a_job_is_read_back_from_its_subject(
    namespace: str, queue: str, priority: Priority, job_id: str
) -> None:
    """Taking a job's subject apart gives what it was built from."""
    names = Names(namespace)

    assert names.read_job(names.job(queue, priority, job_id)) == JobAddress(
        queue, priority, job_id
    )


def test_new_ids_follow_the_grammar() -> None:
    """The ids that mesh makes up are ids."""
    assert all(GRAMMAR.matches("job-id", new_job_id()) for _ in range(100))


def test_the_longest_job_subject_has_240_characters() -> None:
    """The longest names there may be make a subject well below what the server takes."""
    subject = Names("n" * 32).job("q" * 64, "critical", "x" * 128)

    assert len(subject) == 240
    assert GRAMMAR.matches("job-subject", subject)


SHORT = st.text(max_size=140) | st.text(WORD + "= .*>\t\n\x0b$/é", max_size=140)


@settings(deadline=None, max_examples=50)
@given(name=SHORT)
def test_a_name_is_taken_exactly_when_the_grammar_has_it(name: str) -> None:
    """The checks and the grammar agree on every text, and a refusal says what is wrong."""
    checks = (
        (check_namespace, "namespace", 32),
        (check_queue, "queue", 64),
        (check_schedule_id, "schedule-id", 64),
        (check_job_id, "job-id", 128),
    )
    for check, rule, longest in checks:
        code = ""
        try:
            check(name)
        except InvalidNameError as refusal:
            code = refusal.reason

        expected = "empty" if not name else "too-long" if len(name) > longest else "bad-token"
        assert code == ("" if GRAMMAR.matches(rule, name) else expected)


@settings(deadline=None, max_examples=50)
@given(queue=SHORT, priority=SHORT | PRIORITY, job_id=SHORT)
def test_a_subject_is_read_exactly_when_the_grammar_has_it(
    queue: str, priority: str, job_id: str
) -> None:
    """Names made of parts that do not belong there are never read as a job."""
    subject = f"mesh.jobs.{queue}.{priority}.{job_id}"
    code = ""

    try:
        Names("mesh").read_job(subject)
    except InvalidNameError as refusal:
        code = refusal.reason

    assert code in {"", "empty", "too-long", "bad-token", "unknown"}
    assert (code == "") == GRAMMAR.matches("job-subject", subject)


@pytest.mark.parametrize("kind", EventKind)
def test_the_grammar_knows_every_kind_of_event(kind: EventKind) -> None:
    """A kind that is added to the code is added to the grammar."""
    assert GRAMMAR.matches("event-kind", kind)


@pytest.mark.parametrize("priority", PRIORITIES)
def test_the_grammar_knows_every_priority(priority: Priority) -> None:
    """A priority that is added to the code is added to the grammar."""
    assert GRAMMAR.matches("priority", priority)


def test_the_table_says_what_the_server_is_told() -> None:
    """Each stream of the topology has a row, with its retention and how long it keeps all."""
    topology = Topology(Settings())
    rows = {filled(row.stream): row for row in TABLE if row.kind in {"stream", "bucket"}}

    for plan in topology.streams:
        row = rows[plan["name"]]
        kind = "work queue" if plan["retention"] == "workqueue" else "limits"
        assert row.retention.startswith(f"{kind}: ")
        if plan.get("max_age"):
            age_s = plan["max_age"] // 1_000_000_000
            words = f"{age_s // 86_400} days" if age_s > 86_400 else f"{age_s // 60} minutes"
            assert f" {words}" in row.retention


def test_the_table_says_which_stream_keeps_a_subject() -> None:
    """A stream keeps the subjects whose rows name it, and no others."""
    kept = {plan["name"]: plan["subjects"] for plan in Topology(Settings()).streams}

    for row in TABLE:
        if row.kind == "subject":
            example = filled(row.pattern)
            streams = [name for name, filters in kept.items() if is_taken(example, filters)]
            assert streams == ([filled(row.stream)] if row.stream != "-" else [])


def filled(pattern: str) -> str:
    """Fill in a pattern with an example."""
    examples = {
        "<ns>": "mesh",
        "<NS>": "MESH",
        "<worker_id>": "web-1-9f",
        "<queue>": "email",
        "<priority>": "high",
        "<job_id>": "order-9",
        "<kind>": "finished",
        "<digest>": "0f" * 32,
        "<bucket>": "mesh-payloads",
        "<chunks_id>": "X1",
        "<base64url of the name>": "eA==",
    }
    for name, value in examples.items():
        pattern = pattern.replace(name, value)
    return pattern


def is_taken(subject: str, filters: list[str]) -> bool:
    """Whether one of the filters of a stream matches a subject."""
    tokens = subject.split(".")
    for wanted in filters:
        parts = wanted.split(".")
        if parts[-1] == ">" and len(tokens) >= len(parts):
            parts[-1:] = tokens[len(parts) - 1 :]
        if len(parts) == len(tokens) and all(
            p in {"*", t} for p, t in zip(parts, tokens, strict=True)
        ):
            return True
    return False
