"""Traces and logs of the programs: a collector gets one trace, and no secret gets out."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

from support.command_line import CommandLine, Program
from support.otlp import Collector, Seen, collecting
from support.processes import APPS
from support.waiting import until_sync

LIMIT_S = 30.0
APP = f"{APPS / 'traced.py'}:app"
CANARY = "c4n4ry-0f-the-m1ne"


def ends_well(program: Program) -> None:
    """Wait until a program has ended, without an error."""
    assert program.ends() == 0, program.log


def records(program: Program) -> list[dict[str, Any]]:
    """The JSON lines that a program logged."""
    lines = program.log.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def run_an_order(cli: CommandLine, collector: Collector, **environment: str) -> Program:
    """Enqueue an order that fails once, and have a worker do all there is to do."""
    environment |= collector.environment
    cli("setup", APP)
    with cli.start("enqueue", "order", **environment) as producer:
        ends_well(producer)
    with cli.start("worker", APP, "--burst", "--log-format", "json", **environment) as worker:
        ends_well(worker)
    until_sync(lambda: len(collector.named("settle default")) == 3, "all spans arrive", LIMIT_S)
    return worker


def test_a_collector_gets_one_connected_trace(cli: CommandLine) -> None:
    """From the producer over the failed attempt and its retry to the job that it enqueued."""
    with collecting() as collector:
        worker = run_an_order(cli, collector, MESH_TRACING_PROPAGATION="parent")

    spans = collector.spans
    first, *_ = collector.named("send default")
    assert first.service == "mesh"
    assert {span.service for span in spans} == {"mesh", "mesh-worker"}
    assert _reached(first, spans) == {span.span_id for span in spans}
    assert {span.trace_id for span in spans} == {first.trace_id}
    attempts = {
        (span.attributes["mesh.task.name"], span.attributes["mesh.job.attempt"]): span
        for span in collector.named("process default")
    }
    assert set(attempts) == {("order", "1"), ("order", "2"), ("charge", "1")}
    assert attempts["order", "1"].is_error
    said = {record["message"]: record for record in records(worker)}
    assert said["charging"]["amount"] == 12
    assert said["charging"]["trace_id"] == attempts["order", "2"].trace_id
    assert said["charging"]["attempt"] == 2
    assert said["charged"]["task"] == "charge"  # From a thread.
    assert said["charged"]["span_id"] == attempts["charge", "1"].span_id
    assert said["charging"]["job"] == attempts["order", "2"].attributes["messaging.message.id"]


def test_a_secret_gets_out_nowhere(cli: CommandLine, tmp_path: Path) -> None:
    """Whether it came by settings, environment, address, log field or exception."""
    leaky = tmp_path / "leaky.py"
    leaky.write_text(LEAKY)
    app = f"{leaky}:app"
    secret = {"SHOP_API_KEY": CANARY, "MESH_SECRET_NAMES": "iban"}
    with collecting() as collector:
        environment = secret | collector.environment
        cli("setup", app)
        with cli.start("enqueue", "leak", **environment) as producer:
            ends_well(producer)
        with cli.start("worker", app, "--burst", "--json", **environment) as worker:
            ends_well(worker)
        until_sync(lambda: bool(collector.named("settle default")), "spans arrive", LIMIT_S)
    logged = worker.log

    assert "leaking by every way" in logged
    assert len(re.findall(r"\[redacted\]", logged)) >= 6
    shown = {
        "log": logged,
        "spans": " ".join(span.words for span in collector.spans),
        "letter": cli("dlq", "list", "--json"),
        "letters for people": cli("dlq", "list"),
    }
    job_id = collector.named("process default")[0].attributes["messaging.message.id"]
    shown["status"] = cli("status", job_id, "--json")
    shown["letter in full"] = cli("dlq", "show", job_id, "--json")
    shown["result"] = cli("result", job_id, code=1)
    leaks = [place for place, text in shown.items() if CANARY in text]
    assert leaks == []
    assert "the bank refused" in shown["letter in full"]


def test_debug_records_come_and_go_with_a_signal(cli: CommandLine) -> None:
    """SIGUSR2 shows what mesh does inside while the worker runs; levels are also settings."""
    cli("setup", APP)
    levels = {"MESH_LOG_LEVELS": "shop=warning,mesh.worker=info"}
    with cli.start("worker", APP, "--log-format", "json", **levels) as worker:
        worker.says("worker ready")
        cli("enqueue", "charge", "--wait")
        worker.send(signal.SIGUSR2)
        assert worker.stop() == 0

    assert "charged" not in worker.log
    assert records(worker)[0]["level"] == "info"


LEAKY = f"""
import logging, os
from mesh import Mesh
app = Mesh()
log = logging.getLogger("leaky")

@app.task(retry=0)
async def leak():
    secret = os.environ["SHOP_API_KEY"]
    log.warning("leaking by every way %s", secret)
    log.warning("by a field", extra={{"password": "{CANARY}", "deep": {{"token": "{CANARY}"}}}})
    log.warning("by a name of the user's: iban={CANARY}")
    log.warning("Authorization: Bearer {CANARY}")
    log.warning("by nats://me:{CANARY}@host:4222")
    try:
        raise KeyError(secret)
    except KeyError:
        log.exception("by a traceback")
    error = RuntimeError("the bank refused " + secret)
    error.add_note("api_key={CANARY}")
    raise error from ValueError("token: {CANARY}")
"""


def _reached(first: Seen, spans: list[Seen]) -> set[str]:
    """The spans that hang together with one, over parents and links."""
    reached = {first.span_id}
    while True:
        more = {
            span.span_id
            for span in spans
            if span.span_id not in reached and reached & {span.parent, *span.links}
        }
        if not more:
            return reached
        reached |= more
