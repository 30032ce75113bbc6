"""The pages for Prometheus and for probes are answered from threads of their own."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from support.scraping import OPEN_METRICS, fetch, sample

from mesh.errors import SettingsError
from mesh.telemetry.serving import Check, MetricsServer
from mesh.telemetry.tallies import WorkerMetrics


@contextmanager
def serving(host: str = "127.0.0.1", **checks: Check) -> Generator[str]:
    """Serve one worker's metrics and some checks; the address."""
    registry = CollectorRegistry()
    WorkerMetrics(registry).of("mail", "send").end("succeeded")
    pages = {f"/{name}": check for name, check in checks.items()}
    server = MetricsServer(registry, host=host, port=0, checks=pages)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()
        server.stop()


def test_metrics_are_served_in_both_forms() -> None:
    """Prometheus gets its text form, or OpenMetrics if it asks for that."""
    with serving() as address:
        _, text = fetch(f"{address}/metrics")
        _, opened = fetch(f"{address}/metrics", OPEN_METRICS)

    assert sample(text, "mesh_jobs_finished_total", queue="mail", task="send") == 1
    assert list(text_string_to_metric_families(text))
    assert opened.endswith("# EOF\n")
    assert not text.endswith("# EOF\n")


def test_a_check_that_fails_says_why() -> None:
    """A probe is answered 200, or 503 with the reason."""
    with serving(livez=lambda: "", readyz=lambda: "it is draining") as address:
        assert fetch(f"{address}/livez") == (200, "ok\n")
        assert fetch(f"{address}/readyz") == (503, "it is draining\n")


def test_a_check_that_is_broken_does_not_look_well(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in a check is answered with 500 and logged."""
    with serving(livez=lambda: str(1 // 0)) as address:
        assert fetch(f"{address}/livez")[0] == 500

    assert "ZeroDivisionError" in caplog.text


def test_an_unknown_page_names_those_there_are() -> None:
    """Whoever mistypes an address is told the right ones."""
    with serving(livez=lambda: "") as address:
        assert fetch(address) == (404, "not found; there are /metrics, /livez\n")


def test_a_port_that_is_taken_is_named() -> None:
    """The message says which port, and what to set."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = int(other.getsockname()[1])
        server = MetricsServer(CollectorRegistry(), host="127.0.0.1", port=port, checks={})

        with pytest.raises(SettingsError, match=f"port {port} cannot .* metrics.port"):
            server.start()
