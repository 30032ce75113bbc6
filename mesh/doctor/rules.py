"""What facts mean: pure rules, one for each thing that can be wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from mesh.client.lanes import LaneState
from mesh.contract.subjects import Names
from mesh.doctor.facts import Facts, StreamInfo
from mesh.doctor.findings import Finding, note, problem, warning
from mesh.settings.describing import format_duration
from mesh.transport.provisioner import Action

_NEARLY = 0.9
_ACCOUNT_NEARLY = 0.8
_ACCOUNT_FULL = 0.95
_SKEW_BAD_MS = 2000
_SKEW_ODD_MS = 500
_SLOW_MS = 250
_FRESH_DEATH_MS = 3_600_000
_OLD_JOB_S = 3600
_LEDGER_LATE_MS = 5000
_MANY_REDELIVERED = 10
_MANY_CONSUMERS = 900
_SCHEDULER_SILENT_MS = 30_000  # Far above its lease, so that a takeover is no finding.
_SOURCE_SILENT_NS = 10_000_000_000

Rule = Callable[[Facts], Iterator[Finding]]


def judge(facts: Facts) -> list[Finding]:
    """Apply every rule; the worst first."""
    order = ("problem", "warning", "note")
    found = [finding for rule in RULES for finding in rule(facts)]
    return sorted(found, key=lambda one: order.index(one.level))


def is_suspicious(lane: LaneState) -> bool:
    """Whether a lane must be looked at twice: between two pulls it looks as if nobody asked."""
    return _is_unasked(lane) or _is_full(lane)


def _streams(facts: Facts) -> Iterator[Finding]:
    missing = [name for name, info in facts.streams.items() if info is None]
    if missing and len(missing) == len(facts.streams):
        space = facts.settings.namespace
        yield problem(
            "not-set-up",
            space,
            f"none of the {len(missing)} streams and buckets of the namespace exists",
            "run `mesh setup`, or name the right namespace with --namespace",
        )
        return
    for name in missing:
        yield problem("stream-missing", name, "it does not exist", "run `mesh setup`")


def _drift(facts: Facts) -> Iterator[Finding]:
    if facts.conflict:
        yield problem(
            "drift",
            facts.settings.namespace,
            facts.conflict,
            "settle it by hand: `mesh setup` changes nothing that would lose messages",
        )
    gone = {name for name, info in facts.streams.items() if info is None}
    for step in facts.steps:
        if step.action is Action.UPDATE:
            changes = (f"{key}: {is_} -> {to}" for key, (is_, to) in step.changes.items())
            yield problem(
                "drift",
                step.name,
                f"the {step.kind} differs from the settings: {', '.join(changes)}",
                "run `mesh setup` with the settings that are right",
            )
        elif step.action is Action.CREATE and step.name not in gone and len(gone) == 0:
            yield problem(
                "consumer-missing", step.name, f"the {step.kind} is missing", "run `mesh setup`"
            )


def _space(facts: Facts) -> Iterator[Finding]:
    for name, info in facts.streams.items():
        if info is None or info.config.discard != "new":
            continue
        state, config = info.state, info.config
        for what, used, most in (
            ("messages", state.messages, config.max_msgs),
            ("bytes", state.bytes, config.max_bytes),
        ):
            if most > 0 and used >= most * _NEARLY:
                is_full = used >= most
                make = problem if is_full else warning
                yield make(
                    "stream-full",
                    name,
                    f"it holds {used:,} of at most {most:,} {what}"
                    + (": publishes are refused" if is_full else ""),
                    "run more workers, or raise limits.max_jobs or limits.max_bytes and run "
                    "`mesh setup`",
                )


def _account(facts: Facts) -> Iterator[Finding]:
    account = facts.account
    for what, used, most in (
        ("disk", account.storage, account.limits.max_storage),
        ("memory", account.memory, account.limits.max_memory),
    ):
        if most > 0 and used >= most * _ACCOUNT_NEARLY:
            make = problem if used >= most * _ACCOUNT_FULL else warning
            yield make(
                "storage-full",
                what,
                f"the account uses {used:,} of at most {most:,} bytes",
                "free some (`mesh dlq purge`, shorter TTLs), or raise the account's limit",
            )


def _clock(facts: Facts) -> Iterator[Finding]:
    skew_ms = facts.skew_ms
    if abs(skew_ms) < _SKEW_ODD_MS:
        return
    way = "ahead of" if skew_ms > 0 else "behind"
    make = problem if abs(skew_ms) >= _SKEW_BAD_MS else warning
    yield make(
        "clock-skew",
        "this machine",
        f"its clock is {abs(skew_ms) / 1000:.1f} s {way} the server's: delays, leases and "
        "expiries go wrong by as much",
        "let both keep time by NTP",
    )


def _distance(facts: Facts) -> Iterator[Finding]:
    if facts.round_trip_ms >= _SLOW_MS:
        yield warning(
            "slow-server",
            facts.settings.url,
            f"the quickest of its answers took {facts.round_trip_ms:,.0f} ms",
            "look at the network between, and at the server's load and disk",
        )


def _lanes(facts: Facts) -> Iterator[Finding]:
    later = {(lane.queue, lane.priority): lane for lane in facts.again}
    for lane in facts.lanes:
        again = later.get((lane.queue, lane.priority))
        if again is None or again.delivered != lane.delivered:
            continue
        name = f"{lane.queue} ({lane.priority})"
        if _is_unasked(lane) and _is_unasked(again):
            yield problem(
                "no-worker",
                name,
                f"{again.pending:,} jobs wait, and no worker asks for them",
                f"run `mesh worker APP --queue {lane.queue}`",
            )
        elif _is_full(lane) and _is_full(again):
            yield problem(
                "lane-stalled",
                name,
                f"{again.running:,} jobs are with workers, as many as may be, and none of them "
                f"ended while it was watched; {again.pending:,} wait",
                "look at what the workers do; raise the limit with `mesh queue limit`",
            )


def _queues(facts: Facts) -> Iterator[Finding]:
    for queue in facts.queues:
        waiting = sum(queue.pending.values())
        if not queue.limit and waiting:
            yield problem(
                "no-lane",
                queue.queue,
                f"{waiting:,} jobs wait in a queue that nobody ever served",
                f"run `mesh worker APP --queue {queue.queue}`; if the name is a slip, "
                f"`mesh queue purge {queue.queue}`",
            )
        if queue.is_paused:
            yield warning(
                "paused",
                queue.queue,
                f"the queue is paused; {waiting:,} jobs wait",
                f"`mesh queue resume {queue.queue}` when they may run",
            )
        if queue.redelivered >= max(_MANY_REDELIVERED, queue.running / 2):
            yield warning(
                "redelivered",
                queue.queue,
                f"{queue.redelivered:,} of {queue.running:,} jobs with workers came back at "
                "least once",
                "look for workers that die or freeze: their logs, memory, and `mesh fsck`",
            )
        age_s = queue.oldest_pending_age_s
        if queue.limit and not queue.is_paused and age_s is not None and age_s >= _OLD_JOB_S:
            yield warning(
                "old-jobs",
                queue.queue,
                f"the oldest job waits for {format_duration(round(age_s))}",
                "run more workers, or give the queue a higher share",
            )


def _dead_letters(facts: Facts) -> Iterator[Finding]:
    name = Names(facts.settings.namespace).dead_stream
    info = facts.streams.get(name)
    if info is None or not info.state.messages:
        return
    age_ms = facts.now_ms - facts.skew_ms - (_last_ms(info) or 0)
    make = problem if age_ms < _FRESH_DEATH_MS else warning
    yield make(
        "dead-letters",
        name,
        f"{info.state.messages:,} jobs failed for good, the last one "
        f"{format_duration(max(0, round(age_ms / 1000)))} ago",
        "see why with `mesh dlq list`; then `mesh dlq replay` or `mesh dlq purge`",
    )


def _ledger(facts: Facts) -> Iterator[Finding]:
    names = Names(facts.settings.namespace)
    if not facts.settings.events.enabled:
        yield note(
            "ledger-off",
            names.events_stream,
            "events are not recorded: jobs that vanish cannot be found",
            "set events.enabled to true and run `mesh setup`",
        )
        return
    jobs, events = facts.streams.get(names.jobs_stream), facts.streams.get(names.events_stream)
    if jobs is None or events is None or not jobs.state.last_seq:
        return
    last_job, last_event = _last_ms(jobs), _last_ms(events)
    if last_job is not None and last_job - (last_event or 0) > _LEDGER_LATE_MS:
        yield problem(
            "ledger-behind",
            names.events_stream,
            "jobs were stored after the last event: events are dropped",
            "run `mesh setup`, which has the job stream announce its jobs again",
        )


def _durability(facts: Facts) -> Iterator[Finding]:
    if facts.settings.storage == "memory":
        yield warning(
            "not-durable",
            facts.settings.namespace,
            "streams are kept in memory: a restart of the server loses every job",
            'set storage to "file" in a new namespace',
        )
    for name, info in facts.streams.items():
        if info is None or info.cluster is None:
            continue
        if info.cluster.replicas and not info.cluster.leader:
            yield problem(
                "no-leader",
                name,
                "its replicas have no leader: it takes nothing",
                "bring back the servers that are down, so that a majority is there",
            )
        behind = [
            peer.name for peer in info.cluster.replicas if peer.offline or not peer.current
        ]
        if behind:
            yield problem(
                "replica-behind",
                name,
                f"these servers are offline or behind: {', '.join(behind)}",
                "look at these servers: one more loss may stop the stream",
            )


def _delayed(facts: Facts) -> Iterator[Finding]:
    info = facts.streams.get(Names(facts.settings.namespace).jobs_stream)
    for source in info.sources if info is not None else ():
        is_silent = source.active < 0 or source.active > _SOURCE_SILENT_NS
        if source.lag and is_silent:
            yield problem(
                "due-stuck",
                source.name,
                f"{source.lag:,} jobs that are due are not handed to the job stream",
                "make room in the job stream, then run `mesh setup`",
            )


def _consumers(facts: Facts) -> Iterator[Finding]:
    name = Names(facts.settings.namespace).jobs_stream
    info = facts.streams.get(name)
    if info is not None and info.state.consumer_count >= _MANY_CONSUMERS:
        yield warning(
            "many-consumers",
            name,
            f"it has {info.state.consumer_count:,} consumers; beyond 1,000 servers slow down",
            "use fewer queues, or several namespaces",
        )


def _scheduler(facts: Facts) -> Iterator[Finding]:
    silent_ms = facts.leaderless_ms
    if silent_ms is not None and silent_ms > _SCHEDULER_SILENT_MS:
        ahead = format_duration(facts.settings.scheduler.arm_ahead_s)
        yield problem(
            "no-scheduler",
            "mesh scheduler",
            "there are schedules, and no scheduler keeps them: what is armed runs on time, for "
            f"{ahead} or one tick of each schedule, and then nothing more",
            "start `mesh scheduler APP`",
        )


RULES: tuple[Rule, ...] = (
    _streams,
    _drift,
    _space,
    _account,
    _clock,
    _distance,
    _lanes,
    _queues,
    _dead_letters,
    _ledger,
    _durability,
    _delayed,
    _consumers,
    _scheduler,
)


def _is_unasked(lane: LaneState) -> bool:
    return bool(lane.pending) and not (lane.waiting or lane.running or lane.paused_until_ms)


def _is_full(lane: LaneState) -> bool:
    return bool(lane.pending) and lane.running >= lane.limit > 0


def _last_ms(info: StreamInfo) -> int | None:
    """When the stream's last message came; None if there never was one."""
    text = info.state.last_ts
    if not text or text.startswith("0001-"):
        return None
    return round(datetime.fromisoformat(text).timestamp() * 1000)
