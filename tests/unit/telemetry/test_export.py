"""When spans are exported: only if the standard variables ask for it."""

from __future__ import annotations

import logging
import sys

import pytest
from opentelemetry import trace
from support.otlp import Memory, sdk_in_use

from mesh.telemetry.export import exporting, is_wanted

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "shop"}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_the_variables_decide(environ: dict[str, str], wanted: bool) -> None:
    """As OpenTelemetry defines them."""
    assert is_wanted(environ) is wanted


def test_without_the_extra_a_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker runs all the same."""
    for name in [name for name in sys.modules if name.startswith("opentelemetry.exporter")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)

    with caplog.at_level(logging.WARNING), exporting("mesh", ENDPOINT):
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)

    assert 'pip install "natsmesh[otel]"' in caplog.text


def test_the_sdk_of_the_program_is_left_alone() -> None:
    """Whoever sets it up keeps it."""
    memory = Memory()

    with sdk_in_use(memory), exporting("mesh", ENDPOINT):
        assert trace.get_tracer_provider() is memory.provider
