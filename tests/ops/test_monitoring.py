"""A real Prometheus scrapes a real mesh: every query has an answer, and an alert fires."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from support.command_line import CommandLine, Program
from support.dashboards import queries
from support.prometheus import LIMIT_S, OPS, Prometheus, find, running
from support.waiting import until_sync

APP = f"{Path(__file__).parents[1] / 'apps/monitored.py'}:app"


def asked(query: str) -> str:
    """A query as Grafana would ask it, of every queue."""
    return query.replace("$__rate_interval", "20s").replace("$queue", ".*")


def target(program: Program) -> str:
    """Where a program serves its metrics."""
    program.says("serving metrics")
    found = re.search(r"address=http://(\S+)", program.log)
    assert found is not None
    return found[1]


@contextmanager
def watched(cli: CommandLine) -> Generator[Prometheus]:
    """A worker and an exporter, scraped by Prometheus."""
    cli("setup", APP)
    with (
        cli.start("worker", APP, "--metrics-port", "0") as worker,
        cli.start("exporter", "--port", "0", "--every", "500ms") as exporter,
    ):
        worker.says("worker ready")
        targets = {"mesh-worker": [target(worker)], "mesh-exporter": [target(exporter)]}
        with running(targets, cli.folder) as prometheus:
            until_sync(
                lambda: len(prometheus.query("up == 1")) == 2, "both are scraped", LIMIT_S
            )
            yield prometheus
        assert (worker.stop(), exporter.stop()) == (0, 0)


@pytest.mark.timeout(180)
def test_every_query_has_an_answer_and_a_dead_letter_raises_an_alert(
    cli: CommandLine,
) -> None:
    """While jobs succeed, fail and are tried again, each panel of each dashboard has data."""
    find("prometheus")
    wanted = queries()
    wanted["keda"] = yaml.safe_load((OPS / "keda/by-depth.yaml").read_text())["spec"][
        "triggers"
    ][0]["metadata"]["query"].replace('"mail"', '"default"')

    with watched(cli) as prometheus:
        # Counters must have been seen before they grow.
        until_sync(
            lambda: bool(prometheus.query("mesh_dead_letters_added_total == 0")),
            "the exporter was scraped before anything failed",
            LIMIT_S,
        )
        missing = dict(wanted)

        def is_answered() -> bool:
            for task, arguments in (("add", "[1, 2]"), ("fail", "[]"), ("again", "[]")):
                cli("enqueue", task, "--json", arguments)
            for where, query in list(missing.items()):
                if prometheus.query(asked(query)):
                    del missing[where]
            return not missing

        try:
            until_sync(is_answered, "every query has an answer", LIMIT_S)
        except AssertionError as error:
            raise AssertionError(f"without an answer: {missing}") from error
        firing = 'ALERTS{alertname="MeshDeadLetters", alertstate="firing"}'
        until_sync(lambda: bool(prometheus.query(firing)), "the alert fires", LIMIT_S)
        others = prometheus.query('ALERTS{alertname!="MeshDeadLetters", alertstate="firing"}')

    assert others == []
