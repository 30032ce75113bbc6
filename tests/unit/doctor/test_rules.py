"""What the doctor makes of facts that are hard to bring about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from mesh.client.queues import QueueStatus
from mesh.doctor.facts import (
    Account,
    AccountLimits,
    Cluster,
    Facts,
    Peer,
    Source,
    StreamInfo,
    StreamState,
)
from mesh.doctor.findings import Finding, Level, Report, note, problem, warning
from mesh.doctor.rules import judge
from mesh.settings.model import Settings

NOW_MS = 1_800_000_000_000
LATER = datetime.fromtimestamp(NOW_MS / 1000 - 7200, UTC).isoformat()


def facts(
    streams: Mapping[str, StreamInfo | None] | None = None,
    queues: tuple[QueueStatus, ...] = (),
    account: Account | None = None,
    *,
    round_trip_ms: float = 1.0,
    skew_ms: float = 0.0,
) -> Facts:
    """Facts of a namespace without drift."""
    return Facts(
        settings=Settings(),
        now_ms=NOW_MS,
        streams=streams or {},
        queues=queues,
        account=account or Account(),
        round_trip_ms=round_trip_ms,
        skew_ms=skew_ms,
    )


def only(found: list[Finding]) -> tuple[str, str]:
    """The kind and the level of the one finding."""
    (one,) = found
    return one.kind, one.level


def jobs(**fields: object) -> dict[str, StreamInfo | None]:
    """The job stream with these fields."""
    return {"MESH_JOBS": StreamInfo(**fields)}  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - of any field


CASES: dict[str, tuple[Facts, tuple[str, str]]] = {
    "a stream without a leader": (
        facts(jobs(cluster=Cluster("", (Peer("n2", current=True),)))),
        ("no-leader", "problem"),
    ),
    "a replica that is behind": (
        facts(jobs(cluster=Cluster("n1", (Peer("n2"), Peer("n3", current=True))))),
        ("replica-behind", "problem"),
    ),
    "jobs that are due and stay": (
        facts(jobs(sources=(Source("MESH_DELAYED", lag=3, active=-1),))),
        ("due-stuck", "problem"),
    ),
    "almost too many consumers": (
        facts(jobs(state=StreamState(consumer_count=950))),
        ("many-consumers", "warning"),
    ),
    "jobs that come again and again": (
        facts(
            queues=(QueueStatus(queue="q", pending={}, running=12, redelivered=11, limit=5),)
        ),
        ("redelivered", "warning"),
    ),
    "a job that waits for two hours": (
        facts(
            queues=(
                QueueStatus(
                    queue="q", pending={"low": 1}, limit=5, oldest_pending_age_s=7200.0
                ),
            )
        ),
        ("old-jobs", "warning"),
    ),
    "a server far away": (facts(round_trip_ms=400), ("slow-server", "warning")),
    "a clock that is a little off": (facts(skew_ms=-700), ("clock-skew", "warning")),
    "an account that is almost full": (
        facts(account=Account(storage=85, limits=AccountLimits(max_storage=100))),
        ("storage-full", "warning"),
    ),
    "old dead letters": (
        facts({"MESH_DEAD": StreamInfo(state=StreamState(messages=4, last_ts=LATER))}),
        ("dead-letters", "warning"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_of_these_is_found_and_nothing_else(name: str) -> None:
    """One fact that is odd is one finding."""
    seen, expected = CASES[name]

    assert only(judge(seen)) == expected


@pytest.mark.parametrize(
    "seen",
    [
        facts(jobs(cluster=Cluster("n1", (Peer("n2", current=True),)))),
        facts(jobs(cluster=Cluster())),  # A single server names no leader.
        facts(jobs(sources=(Source("MESH_DELAYED", lag=3, active=1),))),
        facts(
            queues=(QueueStatus(queue="q", pending={}, running=40, redelivered=11, limit=50),)
        ),
        facts(skew_ms=100),
    ],
)
def test_what_is_ordinary_is_not_found(seen: Facts) -> None:
    """A busy namespace gives no alarm."""
    assert judge(seen) == []


def test_the_worst_comes_first() -> None:
    """Problems before warnings; only a problem makes a namespace unhealthy."""
    found = judge(
        facts(
            {"MESH_DEAD": StreamInfo(state=StreamState(messages=4, last_ts=LATER))},
            (QueueStatus(queue="q", pending={"low": 2}),),
        )
    )

    assert [one.level for one in found] == [Level.PROBLEM, Level.WARNING]


def test_warnings_and_notes_are_no_problem() -> None:
    """Only a problem changes the exit code."""

    def report(*findings: Finding) -> Report:
        return Report(url="u", namespace="n", findings=findings, checks=1, took_s=0.0)

    words = ("kind", "name", "what", "remedy")
    assert report().is_healthy
    assert report(warning(*words), note(*words)).is_healthy
    assert not report(problem(*words)).is_healthy
