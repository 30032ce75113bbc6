"""The checker finds what is wrong in histories made by hand, each wrong in one way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from chaos.checker import RULES, check, extra_runs
from chaos.history import Journal, Kind, Line, fingerprint, read_history
from chaos.report import render
from chaos.schedule import LEASE_S
from chaos.story import MARGIN_S, Story

from mesh.worker.exits import Exit


def line(t: float, f: str, kind: Kind = "ok", value: Any = None, **more: Any) -> Line:
    """Make a line about job ``j``, unless another one is named."""
    given: dict[str, Any] = {"proc": "w0.1", "id": "j"} | more
    return Line(t, f=f, type=kind, value=value, **given)


def enqueue(kind: Kind = "ok", ends: str = "succeeded") -> list[Line]:
    """Somebody asks for the job."""
    asked = line(0.0, "enqueue", "invoke", {"task": "short", "ends": ends}, op="e")
    return [asked, line(0.1, "enqueue", kind, "no answer", op="e")]


def run(
    start: float, end: float | None, kind: Kind = "ok", value: str = "1", **more: Any
) -> list[Line]:
    """The task runs; without an end its last line is missing."""
    op = f"run-{start}"
    begun = line(start, "run", "invoke", op=op, **{"attempt": 1} | more)
    if end is None:
        return [begun]
    return [begun, line(end, "run", kind, value, op=op, **more)]


def record(t: float, state: str = "succeeded", result: str = "1") -> list[Line]:
    """The terminal record is stored, and the server says so."""
    value = {"state": state} | ({"result": result} if state == "succeeded" else {})
    return [line(t, "record", value=value), line(90.0, "finished", value=1)]


def fault(start: float, heal: float, kind: str, target: str) -> list[Line]:
    """Something goes wrong and is mended."""
    about = {"kind": kind, "target": target}
    struck = line(start, "fault", "invoke", about, op=f"f{start}", id="")
    return [struck, line(heal, "fault", op=f"f{start}", id="")]


def cancel(t: float, kind: Kind = "ok") -> list[Line]:
    """Somebody cancels the job."""
    return [line(t - 0.01, "cancel", "invoke", op="c"), line(t, "cancel", kind, op="c")]


def ended(kind: Kind = "ok", replaced: int = 0, left: str = "") -> list[Line]:
    """The run comes to rest."""
    rest = [line(95.0, "left", value=left)] if left else []
    return [
        line(80.0, "drained", kind, id=""),
        line(95.0, "replaced", value=replaced, id=""),
        *rest,
    ]


def broken(*parts: Sequence[Line]) -> set[str]:
    """Name the rules that a history breaks; one without an end gets a good one."""
    lines = [line for part in parts for line in part]
    if not any(line.f == "drained" for line in lines):
        lines += ended()
    violations = check(Story(sorted(lines, key=lambda line: line.t)))
    assert all(violation.text for violation in violations)
    return {violation.rule for violation in violations}


GOOD = {
    "a job that ran once": [enqueue(), run(1, 2), record(2.1)],
    "a retry": [
        enqueue(),
        run(1, 2, "fail", "raise"),
        run(3, 4, attempt=2),
        record(4.1),
    ],
    "a snooze": [enqueue(), run(1, 2, "fail", "snooze"), run(3, 4), record(4.1)],
    "a dead letter": [
        enqueue(ends="failed"),
        run(1, 2, "fail", "raise"),
        record(2.1, "failed"),
        [line(2.2, "letter")],
    ],
    "an enqueue nobody confirmed": [enqueue("info")],
    "an enqueue nobody confirmed that came through": [enqueue("info"), run(1, 2), record(2.1)],
    "an enqueue that was refused": [enqueue("fail")],
    "a job that is cancelled before it runs": [
        enqueue(),
        cancel(0.5),
        record(0.49, "cancelled"),
    ],
    "a cancellation that was not heard in a fault": [
        enqueue(),
        fault(0.3, 4.0, "cut", "w0"),
        cancel(0.5),
        [line(2.0, "record", value={"state": "cancelled"})],
        run(1.9, 2.0, "info", "CancelledError"),
    ],
    "a second run after its worker was killed": [
        enqueue(),
        run(1, None),
        fault(1.5, 2.0, "kill-worker", "w0.1"),
        [line(1.6, "exit", value={"proc": "w0.1", "code": -9}, id="")],
        run(3.5, 4, proc="w1.1"),
        record(4.1),
    ],
    "two runs at once while a worker is frozen": [
        enqueue(),
        run(1, 6),
        fault(1.5, 5.9, "freeze-worker", "w0.1"),
        run(3.5, 4, proc="w1.1"),
        record(4.1),
    ],
    "a worker that cannot start while its server is away": [
        enqueue(),
        run(1, 2),
        record(2.1),
        fault(3, 9, "kill-server", "server"),
        [line(8, "exit", "fail", {"proc": "w0.1", "code": int(Exit.NO_CONNECTION)}, id="")],
    ],
}

BAD = {
    "a job that vanished": (
        {"no_job_is_lost"},
        [enqueue(), run(1, 2)],
    ),
    "a job that was never run nor ended": ({"no_job_is_lost"}, [enqueue()]),
    "a run without a record": (
        {"no_job_is_lost"},
        [enqueue("info"), run(1, 2)],
    ),
    "an end without a run": (
        {"no_job_ends_unrun", "results_are_those_of_a_run"},
        [enqueue(), record(2.1)],
    ),
    "two accepted records": (
        {"no_job_ends_twice"},
        [enqueue(), run(1, 2), record(2.1), [line(91, "finished", value=2)]],
    ),
    "a replaced record": (
        {"no_job_ends_twice"},
        [enqueue(), run(1, 2), record(2.1), ended(replaced=1)],
    ),
    "a job nobody asked for": (
        {"nothing_comes_from_nowhere", "jobs_end_as_they_should"},
        [run(1, 2), record(2.1)],
    ),
    "a job whose enqueue was refused": (
        {"nothing_comes_from_nowhere"},
        [enqueue("fail"), run(1, 2), record(2.1)],
    ),
    "a run after the end, in a fault": (
        {"no_job_runs_after_its_end"},
        [
            enqueue(),
            fault(1.5, 2.2, "kill-server", "server"),
            run(1, 2),
            record(2.1),
            run(2.5, 3),
        ],
    ),
    "a second run without a fault": (
        {"runs_are_explained"},
        [enqueue(), run(1, 2), run(3, 4), record(4.1)],
    ),
    "a second run long after the fault": (
        {"runs_are_explained"},
        [
            enqueue(),
            fault(0.2, 1.0, "cut", "w0"),
            run(1.1 + LEASE_S + MARGIN_S, 6),
            run(7, 8),
            record(8.1),
        ],
    ),
    "a second run after a fault of another worker": (
        {"runs_are_explained"},
        [enqueue(), fault(1.5, 2, "kill-worker", "w1.1"), run(1, 2), run(3, 4), record(4.1)],
    ),
    "a run that is cut short without a fault": (
        {"runs_are_explained"},
        [
            enqueue(),
            run(1, 2, "info", "CancelledError"),
            run(3, 4),
            record(4.1),
        ],
    ),
    "two runs at once": (
        {"runs_are_explained", "runs_do_not_overlap"},
        [enqueue(), run(1, 3), run(2, 4, proc="w1.1"), record(4.1)],
    ),
    "an attempt that was not counted": (
        {"attempts_are_counted"},
        [enqueue(), run(1, 2, "fail", "raise"), run(3, 4), record(4.1)],
    ),
    "a snooze that was counted": (
        {"attempts_are_counted"},
        [enqueue(), run(1, 2, "fail", "snooze"), run(3, 4, attempt=2), record(4.1)],
    ),
    "a run after a cancellation": (
        {"a_cancelled_job_stays_so"},
        [
            enqueue(),
            cancel(0.5),
            run(1.0, 1.1),
            [line(1.2, "record", value={"state": "cancelled"})],
        ],
    ),
    "a confirmed cancellation that did not hold": (
        {"a_cancelled_job_stays_so"},
        [enqueue(), run(0.2, 0.3), cancel(0.5), record(0.6)],
    ),
    "a refused cancellation that held": (
        {"a_cancelled_job_stays_so"},
        [enqueue(), cancel(0.5, "fail"), record(0.6, "cancelled")],
    ),
    "a cancellation nobody asked for": (
        {"a_cancelled_job_stays_so"},
        [enqueue(), record(0.6, "cancelled")],
    ),
    "a failure that should not be": (
        {"jobs_end_as_they_should"},
        [enqueue(), run(1, 2), record(2.1, "failed"), [line(2.2, "letter")]],
    ),
    "a result of no run": (
        {"results_are_those_of_a_run"},
        [enqueue(), run(1, 2), record(2.1, result="2")],
    ),
    "a reader who was told something else": (
        {"results_are_those_of_a_run"},
        [
            enqueue(),
            run(1, 2),
            record(2.1),
            [line(3, "result", value={"state": "succeeded", "result": "2"})],
        ],
    ),
    "a failure without a dead letter": (
        {"failures_are_dead_letters"},
        [enqueue(ends="failed"), run(1, 2, "fail", "raise"), record(2.1, "failed")],
    ),
    "a dead letter of a job that succeeded": (
        {"failures_are_dead_letters"},
        [enqueue(), run(1, 2), record(2.1), [line(2.2, "letter")]],
    ),
    "streams that never empty": (
        {"everything_comes_to_rest"},
        [enqueue(), run(1, 2), record(2.1), ended("fail", left="jobs")],
    ),
    "a running record that was forgotten": (
        {"everything_comes_to_rest"},
        [enqueue(), run(1, 2), record(2.1), ended(left="progress")],
    ),
    "a worker that ended by itself": (
        {"workers_stay"},
        [
            enqueue(),
            run(1, 2),
            record(2.1),
            [line(3, "exit", "fail", {"proc": "w0.1", "code": 1}, id="")],
        ],
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_breaks_no_rule(name: str) -> None:
    """What may happen, around faults too, is no violation."""
    assert broken(*GOOD[name]) == set()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_breaks_its_rule(name: str) -> None:
    """What must not happen is found, and by the rule that is there for it."""
    rules, parts = BAD[name]

    assert broken(*parts) == rules


def test_every_rule_is_broken_by_some_history() -> None:
    """No rule is there that no history made by hand has ever broken."""
    assert {rule for rules, _ in BAD.values() for rule in rules} == {
        rule.__name__ for rule in RULES
    }


def test_extra_runs_are_counted_by_fault() -> None:
    """A second run around a fault is no violation, but it is counted; a retry is not."""
    killed = GOOD["a second run after its worker was killed"]
    retried = GOOD["a retry"]

    counts = [
        extra_runs(Story(sorted((line for part in parts for line in part), key=lambda x: x.t)))
        for parts in (killed, retried)
    ]

    assert counts == [{"kill-worker": 1}, {}]


def test_the_summary_names_what_is_wrong() -> None:
    """The report shows every rule, and under a broken one the job and what happened."""
    parts = [*BAD["a replaced record"][1]]
    story = Story(sorted((line for part in parts for line in part), key=lambda x: x.t))

    text = render(story, check(story))

    assert "1  no job ends twice" in text
    assert "0  no job is lost" in text
    assert "1 terminal records were replaced or removed" in text
    assert text.endswith("1 violations")


def test_a_history_is_read_in_the_order_of_time(tmp_path: Path) -> None:
    """The lines of several processes are merged by their common clock."""
    with Journal(tmp_path, "w0.1") as worker, Journal(tmp_path, "chaos") as chaos:
        chaos.write("enqueue", "invoke", id="j", op="1", value={"task": "short"})
        worker.write("run", "invoke", id="j", attempt=1, op="r")
        chaos.add(line(0.5, "record", value={"state": "succeeded"}))

    history = read_history(tmp_path)

    assert [found.f for found in history] == ["record", "enqueue", "run"]
    assert history[2].proc == "w0.1"


def test_a_large_result_is_kept_as_a_digest() -> None:
    """Two large results are the same in the history only if they are the same."""
    assert fingerprint("1:w0.1") == "1:w0.1"
    assert fingerprint("x" * 1000) == fingerprint("x" * 1000)
    assert fingerprint("x" * 1000) != fingerprint("x" * 999)
    assert len(fingerprint("x" * 1000)) < 100
