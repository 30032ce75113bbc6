"""The rules for Prometheus are accepted, tested one by one, explained, and name metrics."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from support.dashboards import builder, queries
from support.prometheus import OPS, ROOT, promtool

from mesh.client.queues import QueueStatus
from mesh.exporter.exporter import Exporter
from mesh.exporter.snapshot import Snapshot, StreamSize
from mesh.telemetry.metrics import INSTRUMENTS
from mesh.telemetry.tallies import WorkerGauges, WorkerMetrics

RULES = OPS / "prometheus/rules"
RUNBOOKS = ROOT / "docs/operate/runbooks"
KNOWN = {name for instrument in INSTRUMENTS for name in instrument.series}


def groups(name: str) -> list[dict[str, Any]]:
    """The rules of a file."""
    read: dict[str, Any] = yaml.safe_load((RULES / name).read_text(encoding="utf-8"))
    return [rule for group in read["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in groups("alerts.yml")}
RECORDED = {rule["record"]: rule for rule in groups("recording.yml")}
CASES: list[dict[str, Any]] = yaml.safe_load((OPS / "prometheus/tests/alerts.yml").read_text())[
    "tests"
]


def expressions() -> dict[str, str]:
    """Every expression of rules, dashboards and scalers, by where it stands."""
    found = {name: rule["expr"] for name, rule in (ALERTS | RECORDED).items()}
    found |= queries()
    keda = yaml.safe_load((OPS / "keda/by-depth.yaml").read_text())
    found["keda"] = keda["spec"]["triggers"][0]["metadata"]["query"]
    return found


def test_prometheus_accepts_its_configuration_and_rules() -> None:
    """Promtool checks the configuration and, with it, every rule."""
    code, said = promtool("check", "config", OPS / "prometheus/prometheus.yml")

    assert code == 0, said


def test_each_alert_fires_in_its_time_and_not_before() -> None:
    """Promtool plays the series of ops/prometheus/tests/alerts.yml."""
    code, said = promtool("test", "rules", OPS / "prometheus/tests/alerts.yml")

    assert code == 0, said


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_tested_both_ways(name: str) -> None:
    """One of its cases expects silence, and one expects that it fires."""
    expected = [
        (test["exp_samples"][0]["value"], f'alertname="{name}"' in test["expr"])
        for case in CASES
        if case["name"] == name
        for test in case["promql_expr_test"]
    ]

    assert expected == [(0, True), (1, True)]


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_leads_to_a_page_that_says_what_to_do(name: str) -> None:
    """Its annotations name the page, and the page has steps."""
    alert = ALERTS[name]
    page = ROOT / alert["annotations"]["runbook"]

    assert page == RUNBOOKS / f"{name}.md"
    assert "## What to do\n\n1. " in page.read_text(encoding="utf-8")
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook"}


def test_each_runbook_is_for_an_alert() -> None:
    """No page outlives its alert, and the list names them all."""
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    listed = (RUNBOOKS / "README.md").read_text(encoding="utf-8")

    assert pages == ALERTS.keys()
    assert {name for name in pages if f"[{name}]({name}.md)" not in listed} == set()


@pytest.mark.parametrize("where", expressions())
def test_an_expression_asks_for_metrics_that_exist(where: str) -> None:
    """Every name in it is declared in mesh.telemetry.metrics, or recorded by a rule."""
    expression = expressions()[where]
    for recorded in RECORDED:
        expression = expression.replace(recorded, "")

    names = set(re.findall(r"\bmesh_[a-z0-9_]+", expression))

    assert names <= KNOWN


def test_each_metric_is_on_the_page_about_monitoring() -> None:
    """Who looks for a metric finds what it says."""
    page = (ROOT / "docs/operate/monitoring.md").read_text(encoding="utf-8")
    names = {i.series[0] if len(i.series) == 1 else i.name for i in INSTRUMENTS}

    assert {name for name in names if f"`{name}`" not in page} == set()


def test_each_command_in_a_runbook_exists() -> None:
    """A page that is read at night must not name a command that there is not."""
    from mesh.cli.main import COMMANDS

    known = {command.name for command in COMMANDS}
    said: dict[str, set[str]] = {}
    for page in RUNBOOKS.glob("*.md"):
        words = set(re.findall(r"`mesh ([a-z]+)", page.read_text(encoding="utf-8")))
        said |= {page.stem: words - known} if words - known else {}

    assert said == {}


def test_promtool_has_nothing_to_say_of_the_metrics() -> None:
    """Names, units and help of a worker's page keep Prometheus's rules."""
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    metrics.gauges = lambda: WorkerGauges(worker="w", version="1", slots=1)
    metrics.of("mail", "send").ran("ok", 0, 1, 2)
    metrics.of("mail", "send").end("succeeded")
    metrics.noticed("disk-full")
    code, said = promtool("check", "metrics", given=generate_latest(registry).decode())

    assert (code, said) == (0, "")


async def no_client() -> Any:
    """Nobody connects in this test."""
    raise AssertionError


def test_promtool_has_nothing_to_say_of_the_exporter() -> None:
    """The same for what queues and streams hold."""
    registry = CollectorRegistry()
    exporter = Exporter(no_client, registry=registry)
    snapshot = Snapshot(
        queues=[QueueStatus(queue="mail", pending={"low": 1}, limit=1)],
        streams=[StreamSize("MESH_JOBS", 1, 1, 1, 1)],
        enqueued=1,
        delayed=1,
        lag_s=1.0,
        dead={"mail": 1},
        buried=1,
        workers={"healthy": 1},
    )
    exporter._newest = snapshot, exporter._clock.monotonic()
    page = generate_latest(registry).decode()
    code, said = promtool("check", "metrics", given=page)

    assert (code, said) == (0, "")
    told = set(re.findall(r"^(mesh_\w+)[{ ]", page, re.MULTILINE))
    of_workers = {family.name for family in WorkerMetrics(CollectorRegistry()).describe()}
    exported = {
        name
        for instrument in INSTRUMENTS
        if instrument.name not in of_workers
        for name in instrument.series
    }
    assert exported <= told


def test_the_dashboards_are_as_the_code_writes_them() -> None:
    """After a change of build.py its JSON was written anew."""
    module = builder()
    folder: Path = module.FOLDER

    written = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}

    assert written == {f"{board.uid}.json": module.text(board) for board in module.BOARDS}
