"""Take in spans: over OTLP/HTTP as a collector would, or in this process."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Seen(NamedTuple):
    """One span as it arrived.

    Attributes:
        name: Its name.
        service: Who made it.
        trace_id: Its trace.
        span_id: Its own id.
        parent: Its parent's id; empty if it has none.
        links: The spans it links to.
        attributes: Its attributes, as texts.
        is_error: Whether its status is an error.
        words: The whole span as text.
    """

    name: str
    service: str
    trace_id: str
    span_id: str
    parent: str
    links: tuple[str, ...]
    attributes: dict[str, str]
    is_error: bool
    words: str


class Collector:
    """What arrived so far.

    Attributes:
        url: Where to send to.
        spans: The spans.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[Seen] = []

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make a process send its spans here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def named(self, name: str) -> list[Seen]:
        """The spans of that name."""
        return [span for span in self.spans if span.name == name]

    def take(self, body: bytes) -> None:
        """Read a request."""
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            service = _texts(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_seen(span, service) for span in scope.spans]


@contextmanager
def collecting() -> Generator[Collector]:
    """Run a collector on a port that the system chooses."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


class Memory:
    """Spans that are kept in this process."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._kept))

    @property
    def spans(self) -> list[ReadableSpan]:
        """All that have ended."""
        return list(self._kept.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of that name."""
        return [span for span in self.spans if span.name == name]


def id_of(span: ReadableSpan) -> int:
    """The span's own id."""
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def trace_of(span: ReadableSpan) -> int:
    """The id of the span's trace."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id


def parent_of(span: ReadableSpan) -> int:
    """The id of the span's parent; 0: it has none."""
    return span.parent.span_id if span.parent is not None else 0


def links_of(span: ReadableSpan) -> list[int]:
    """The ids of the spans it links to."""
    return [link.context.span_id for link in span.links]


@contextmanager
def sdk_in_use(memory: Memory) -> Generator[None]:
    """Make this the process's SDK for a while; OpenTelemetry itself allows it only once."""
    before = trace._TRACER_PROVIDER
    trace._TRACER_PROVIDER = memory.provider
    try:
        yield
    finally:
        trace._TRACER_PROVIDER = before
        memory.provider.shutdown()


def _texts(attributes: Any) -> dict[str, str]:
    return {
        pair.key: str(getattr(pair.value, pair.value.WhichOneof("value")))
        for pair in attributes
    }


def _seen(span: Any, service: str) -> Seen:
    return Seen(
        name=span.name,
        service=service,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        links=tuple(link.span_id.hex() for link in span.links),
        attributes=_texts(span.attributes),
        is_error=span.status.code == 2,
        words=str(span),
    )
