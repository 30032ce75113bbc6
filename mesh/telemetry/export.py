"""Send spans to a collector by OTLP, if the standard OTEL_* variables ask for it."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from opentelemetry import trace

log = logging.getLogger("mesh.telemetry")

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP = "http/protobuf"
_FLUSH_LIMIT_MS = 2000


@contextmanager
def exporting(service: str, environ: Mapping[str, str] | None = None) -> Generator[None]:
    """Export the process's spans while entered; does nothing if nobody asked for it.

    An SDK that the program has set up itself is left alone.

    Args:
        service: The service's name, if OTEL_SERVICE_NAME says none.
        environ: The environment; None: that of this process.
    """
    provider = _provider(service, os.environ if environ is None else environ)
    if provider is None:
        yield
        return
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.force_flush(_FLUSH_LIMIT_MS)
        provider.shutdown()


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the variables ask for traces by OTLP."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporters:
        return "otlp" in [name.strip() for name in exporters.split(",")]
    return any(environ.get(name, "").strip() for name in _ENDPOINTS)


def _provider(service: str, environ: Mapping[str, str]) -> Any:
    """Make the SDK's provider, or None."""
    if not is_wanted(environ):
        return None
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), _HTTP)
    if protocol != _HTTP:
        log.warning("traces are exported by %s, not by %s as asked", _HTTP, protocol)
    try:
        sdk = import_module("opentelemetry.sdk.trace")
        resources = import_module("opentelemetry.sdk.resources")
        processors = import_module("opentelemetry.sdk.trace.export")
        otlp = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError:
        log.warning('OTEL_* asks for traces; pip install "natsmesh[otel]" to have them')
        return None
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    resource = resources.Resource.create({} if named else {"service.name": service})
    provider = sdk.TracerProvider(resource=resource)
    provider.add_span_processor(processors.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    return provider
