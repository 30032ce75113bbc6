"""Cases of the contract: subjects, names, and header blocks."""

from __future__ import annotations

from typing import Any

from mesh.contract.case import Case, base64_of

_JOB = {"queue": "email", "priority": "high", "job_id": "order-9"}


def _built(name: str, build: str, expect: str, /, **arguments: Any) -> Case:
    return Case(name, {"namespace": "mesh", "build": build, **arguments}, expect)


def _read(name: str, subject: str, expect: Any = None, error: str = "") -> Case:
    return Case(name, {"namespace": "mesh", "read": subject}, expect, error)


SUBJECTS: tuple[Case, ...] = (
    _built("a job", "job", "mesh.jobs.email.high.order-9", **_JOB),
    Case(
        "a job in a namespace with a hyphen",
        {"namespace": "shop-eu", "build": "job", **_JOB},
        "shop-eu.jobs.email.high.order-9",
    ),
    _built(
        "a job with every character an id may have",
        "job",
        "mesh.jobs.Q_1-a.low.aZ09_-=",
        queue="Q_1-a",
        priority="low",
        job_id="aZ09_-=",
    ),
    _built("a delayed job", "delayed", "mesh.delayed.order-9", job_id="order-9"),
    _built("a delayed job that is due", "due", "mesh.due.email.high.order-9", **_JOB),
    _built("a dead letter", "dead", "mesh.dead.email.order-9", queue="email", job_id="order-9"),
    _built(
        "the event that a job has ended",
        "event",
        "mesh.events.finished.order-9",
        kind="finished",
        job_id="order-9",
    ),
    _built("a result", "result", "$KV.mesh-results.order-9", job_id="order-9"),
    _built("a running record", "progress", "$KV.mesh-progress.order-9", job_id="order-9"),
    _built(
        "a unique key",
        "unique_key",
        f"$KV.mesh-locks.unique.{'0f' * 32}",
        digest="0f" * 32,
    ),
    _built("a schedule", "schedule", "$KV.mesh-schedules.report", schedule_id="report"),
    _built(
        "what is said of a schedule",
        "schedule_status",
        "$KV.mesh-schedules.status.report",
        schedule_id="report",
    ),
    _built("all schedules", "schedules", "$KV.mesh-schedules.*"),
    _built("the bucket of schedules", "schedules_bucket", "mesh-schedules"),
    _built(
        "who leads a service",
        "leadership",
        "$KV.mesh-locks.leader.scheduler",
        service="scheduler",
    ),
    _built(
        "whose turn it is among the jobs of a schedule",
        "turn",
        "$KV.mesh-locks.turn.nightly-report",
        schedule_id="nightly-report",
    ),
    _built(
        "the signal that a job is cancelled",
        "cancel_signal",
        "mesh.control.cancel.order-9",
        job_id="order-9",
    ),
    _built("a job in any lane", "job_anywhere", "mesh.jobs.*.*.order-9", job_id="order-9"),
    _built("all jobs of a priority", "jobs_of_priority", "mesh.jobs.*.high.*", priority="high"),
    _built(
        "all jobs of a lane", "lane", "mesh.jobs.email.high.*", queue="email", priority="high"
    ),
    _built(
        "a job that is due, in any lane",
        "due_anywhere",
        "mesh.due.*.*.order-9",
        job_id="order-9",
    ),
    _built("what hands over the jobs that are due", "due_consumer", "due-to-jobs"),
    _built("what an archive reads the ledger through", "archive_consumer", "archive"),
    _built("the way from due to ready", "due_feed", "mesh.feed.due"),
    _built("all signals", "cancel_signals", "mesh.control.cancel.*"),
    _built(
        "all elections",
        "elections",
        "$JS.EVENT.ADVISORY.CONSUMER.LEADER_ELECTED.MESH_JOBS.*",
    ),
    _built(
        "what a worker says of itself",
        "worker",
        "$KV.mesh-workers.web-1-9f",
        worker_id="web-1-9f",
    ),
    _built(
        "where a worker is told what to do",
        "worker_commands",
        "mesh.control.worker.web-1-9f",
        worker_id="web-1-9f",
    ),
    _built(
        "what is noted about a lane's server",
        "lane_trust",
        "$KV.mesh-control.trust.email-high",
        queue="email",
        priority="high",
    ),
    _built("what stands before a result", "results_prefix", "$KV.mesh-results."),
    _built("what stands before a running record", "progress_prefix", "$KV.mesh-progress."),
    _built("the job stream", "jobs_stream", "MESH_JOBS"),
    Case(
        "the job stream of a namespace with a hyphen",
        {"namespace": "shop-eu", "build": "jobs_stream"},
        "SHOP-EU_JOBS",
    ),
    _built("the stream of delayed jobs", "delayed_stream", "MESH_DELAYED"),
    _built("the stream of events", "events_stream", "MESH_EVENTS"),
    _built("the stream of dead letters", "dead_stream", "MESH_DEAD"),
    _built("the bucket of results", "results_bucket", "mesh-results"),
    _built("the bucket of what workers note", "control_bucket", "mesh-control"),
    _built("the bucket of running records", "progress_bucket", "mesh-progress"),
    _built("the bucket of locks", "locks_bucket", "mesh-locks"),
    _built("the bucket of what workers say of themselves", "workers_bucket", "mesh-workers"),
    _built("the bucket of large arguments", "payloads_bucket", "mesh-payloads"),
    _built("the bucket of large results", "outputs_bucket", "mesh-outputs"),
    _built(
        "the stream behind a key-value bucket",
        "kv_stream",
        "KV_mesh-results",
        bucket="mesh-results",
    ),
    _built(
        "the stream behind an object bucket",
        "object_stream",
        "OBJ_mesh-payloads",
        bucket="mesh-payloads",
    ),
    _built(
        "the parts of an object",
        "object_chunks",
        "$O.mesh-payloads.C.JD4WRRYT0Z",
        bucket="mesh-payloads",
        chunks_id="JD4WRRYT0Z",
    ),
    _built(
        "the description of an object, its name in base64url",
        "object_meta",
        "$O.mesh-payloads.M.b3JkZXItOS4_",
        bucket="mesh-payloads",
        name="order-9.?",
    ),
    _built(
        "the consumer of a lane", "consumer_name", "email-high", queue="email", priority="high"
    ),
    _read("a job is taken apart", "mesh.jobs.email.high.order-9", _JOB),
    _read("another namespace", "shop.jobs.email.high.order-9", error="bad-token"),
    _read("no job", "mesh.events.finished.order-9", error="bad-token"),
    _read("a token too few", "mesh.jobs.email.high", error="bad-token"),
    _read("a token too many", "mesh.jobs.email.high.order.9", error="bad-token"),
    _read("an unknown priority", "mesh.jobs.email.urgent.order-9", error="unknown"),
    _read("a priority in capitals", "mesh.jobs.email.HIGH.order-9", error="unknown"),
    _read("no queue", "mesh.jobs..high.order-9", error="empty"),
    _read("no id", "mesh.jobs.email.high.", error="empty"),
    _read("a colon in the id", "mesh.jobs.email.high.order:9", error="bad-token"),
    _read("a wildcard for the queue", "mesh.jobs.*.high.order-9", error="bad-token"),
    _read("a wildcard for the id", "mesh.jobs.email.high.>", error="bad-token"),
    _read("an id of 129 characters", f"mesh.jobs.email.high.{'x' * 129}", error="too-long"),
    _read("a queue of 65 characters", f"mesh.jobs.{'q' * 65}.high.order-9", error="too-long"),
)

_KINDS: dict[str, tuple[tuple[str, ...], int]] = {
    "namespace": (("mesh", "m", "shop-eu_2"), 32),
    "queue": (("default", "E-mail_2", "0", "-"), 64),
    "schedule": (("daily-report", "E_2", "0"), 64),
    "job id": (("order-9", "a=b", "0", "="), 128),
    "task": (("send_welcome", "shop.mail.send", "größe", "a/b:c"), 200),
}
_ODD = {
    "a space": "a b",
    "a space at the end": "a ",
    "a line break": "a\n",
    "a carriage return and a forged header": "a\r\nNats-Rollup: all",
    "a tab": "a\tb",
    "a vertical tab": "a\x0bb",
    "a zero byte": "a\x00b",
    "a delete character": "a\x7fb",
    "a space of another width": "a\u2003b",
}
_ODD_TOKENS = {
    "a dot": "a.b",
    "a wildcard for one token": "a*",
    "a wildcard for all tokens": ">",
    "a slash": "a/b",
    "a dollar": "$JS",
    "a letter outside ASCII": "größe",
    "a digit outside ASCII": "a\u0661",
}


def _named(kind: str, name: str, about: str, error: str = "") -> Case:
    shown = f"{kind}: {about}"
    return Case(shown, {"kind": kind, "name": name}, None if error else name, error)


def _names() -> tuple[Case, ...]:
    cases: list[Case] = []
    for kind, (good, longest) in _KINDS.items():
        odd = _ODD if kind == "task" else _ODD | _ODD_TOKENS
        cases += [_named(kind, name, f"{name} is one") for name in good]
        cases += [
            _named(kind, "x" * longest, "as long as it may be"),
            _named(kind, "x" * (longest + 1), "one character longer", "too-long"),
            _named(kind, "", "nothing", "empty"),
        ]
        cases += [_named(kind, name, about, "bad-token") for about, name in odd.items()]
    cases += [
        _named("namespace", "Mesh", "a capital", "bad-token"),
        _named("namespace", "1mesh", "a digit first", "bad-token"),
        _named("queue", "a=b", "an equals sign", "bad-token"),
        _named("schedule", "a=b", "an equals sign", "bad-token"),
        _named("priority", "", "nothing", "unknown"),
        _named("priority", "High", "a capital", "unknown"),
        _named("priority", "urgent", "none of the four", "unknown"),
    ]
    priorities = ("critical", "high", "normal", "low")
    cases += [_named("priority", name, f"{name} is one") for name in priorities]
    return tuple(cases)


NAMES = _names()


def _block(*lines: str) -> str:
    return "".join(f"{line}\r\n" for line in ("NATS/1.0", *lines, ""))


def _written(name: str, *pairs: tuple[str, str]) -> Case:
    block = _block(*(f"{header}: {value}" for header, value in pairs))
    return Case(name, {"pairs": [list(pair) for pair in pairs]}, {"block": block})


def _parsed(name: str, block: str | bytes, **expect: str) -> Case:
    given = {"block": block} if isinstance(block, str) else {"block_base64": base64_of(block)}
    found = {header.replace("_", "-"): value for header, value in expect.items()}
    return Case(name, given, {"headers": found})


HEADERS: tuple[Case, ...] = (
    _written(
        "a job as mesh publishes it", ("Nats-Msg-Id", "order-9"), ("Mesh-Task", "send_welcome")
    ),
    _written(
        "a job with a msgpack body",
        ("Nats-Msg-Id", "order-9"),
        ("Mesh-Content-Type", "msgpack"),
    ),
    _written(
        "a delayed job as mesh publishes it",
        ("Nats-Msg-Id", "order-9"),
        ("Mesh-Task", "send_welcome"),
        ("Nats-Schedule", "@at 2030-01-01T07:59:59.700+00:00"),
        ("Nats-Schedule-Target", "mesh.due.email.high.order-9"),
        ("Mesh-Due", "1893484800000"),
    ),
    _written(
        "a job that is due too soon to be held by the server, as mesh publishes it",
        ("Nats-Msg-Id", "order-9"),
        ("Mesh-Task", "send_welcome"),
        ("Mesh-Due", "1893484800000"),
    ),
    _written(
        "a result that is kept for an hour",
        ("Nats-Expected-Last-Subject-Sequence", "0"),
        ("Mesh-State", "succeeded"),
        ("Mesh-Task", "send_welcome"),
        ("Nats-TTL", "3600s"),
    ),
    _written("a task outside ASCII, in UTF-8", ("Mesh-Task", "größe")),
    _written("no headers"),
    Case(
        "a line break in a value would forge a header",
        {"pairs": [["Mesh-Task", "a\r\nNats-Rollup: all"]]},
        error="bad-token",
    ),
    Case("a lone line feed in a value", {"pairs": [["Mesh-Task", "a\nb"]]}, error="bad-token"),
    _parsed(
        "spaces around a value do not count",
        _block("Mesh-Content-Type:  msgpack ", "Mesh-Attempt:2"),
        Mesh_Content_Type="msgpack",
        Mesh_Attempt="2",
    ),
    _parsed(
        "the first of two counts",
        _block("Mesh-Content-Type: msgpack", "Mesh-Content-Type: json"),
        Mesh_Content_Type="msgpack",
    ),
    _parsed(
        "capitals count",
        _block("mesh-content-type: msgpack"),
        mesh_content_type="msgpack",
    ),
    _parsed(
        "a value may hold a colon",
        _block("traceparent: 00-a:b-c-01"),
        traceparent="00-a:b-c-01",
    ),
    _parsed(
        "trace context and baggage are read as any other",
        _block(
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "tracestate: a=1,b=2",
            "baggage: tenant=acme%20inc,tier=gold;p=1",
        ),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        tracestate="a=1,b=2",
        baggage="tenant=acme%20inc,tier=gold;p=1",
    ),
    _parsed("a line without a colon is passed over", _block("nonsense", "a: b"), a="b"),
    _parsed(
        "bytes that are no UTF-8 are replaced",
        b"NATS/1.0\r\nMesh-Task: a\xff\r\n\r\n",
        Mesh_Task="a\ufffd",
    ),
    _parsed("nothing at all", ""),
)
