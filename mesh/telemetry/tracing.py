"""The spans of jobs, by OpenTelemetry's messaging conventions; none without an SDK."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from typing import NamedTuple
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mesh.contract.records import ErrorInfo
from mesh.policy.retry import type_name
from mesh.settings.model import Settings
from mesh.telemetry.redaction import Redactor

_SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
_NONE = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
# The wire's own, whatever OTEL_PROPAGATORS says: every reader of a job must understand it.
_PROPAGATOR = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
_LONGEST_STATUS = 500
_DEFAULT_PORT = 4222


class Delivered(NamedTuple):
    """An attempt as its spans describe it.

    Attributes:
        job_id: The job.
        task: Its task's name.
        queue: Its queue.
        priority: Its priority.
        attempt: Number of the attempt, from 1.
        worker: The worker's id.
        headers: The headers of its message.
        arrived_ns: When it came, in nanoseconds since the epoch.
    """

    job_id: str
    task: str
    queue: str
    priority: str
    attempt: int
    worker: str
    headers: Mapping[str, str]
    arrived_ns: int


class Trace(NamedTuple):
    """What is remembered of one attempt while it is traced.

    Attributes:
        span: The span that is open.
        context: With that span, and with what the producer's context said.
        about: What all spans of the attempt say.
        links: To the producer's span.
    """

    span: Span
    context: Context
    about: Mapping[str, str | int]
    links: Sequence[Link]

    def close(self) -> None:
        """Close the span that is open, unless it is closed."""
        if self.span.is_recording():
            self.span.end()


class _Batch(NamedTuple):
    """A batch that is being sent: its span, and the context around it."""

    span: Span
    context: Context


_batch: ContextVar[_Batch | None] = ContextVar("mesh_batch", default=None)


class _Spans:
    """What both sides share: the tracer, and attributes that never change."""

    def __init__(
        self, tracer: Tracer, shared: Mapping[str, str | int], redactor: Redactor
    ) -> None:
        self._tracer = tracer
        self._shared = shared
        self._redactor = redactor

    def _about(
        self, operation: str, queue: str, task: str = "", job_id: str = ""
    ) -> dict[str, str | int]:
        about = {
            **self._shared,
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.destination.name": queue,
        }
        if task:
            about["mesh.task.name"] = task
        if job_id:
            about["messaging.message.id"] = job_id
        return about

    def _failed(self, span: Span, kind: str, words: str) -> None:
        span.set_attribute("error.type", kind)
        said = self._redactor.text(words)[:_LONGEST_STATUS]
        span.set_status(Status(StatusCode.ERROR, said))


class ProducerSpans(_Spans):
    """The spans of those who enqueue."""

    @contextmanager
    def sending(self, queue: str, task: str) -> Generator[Span]:
        """Span the enqueueing of one job; its message carries this span's context."""
        about = self._about("send", queue, task)
        span = self._tracer.start_span(
            f"send {queue}", kind=SpanKind.PRODUCER, attributes=about
        )
        with self._current(span, set_span_in_context(span)):
            yield span

    @contextmanager
    def sending_many(self, count: int) -> Generator[Span]:
        """Span the enqueueing of many jobs; each of them gets a ``create`` span of its own."""
        around = get_current()
        about = self._about("send", "jobs") | {"messaging.batch.message_count": count}
        span = self._tracer.start_span("send jobs", kind=SpanKind.CLIENT, attributes=about)
        token = _batch.set(_Batch(span, around))
        try:
            with self._current(span, set_span_in_context(span)):
                yield span
        finally:
            _batch.reset(token)

    def named(self, span: Span, job_id: str) -> None:
        """Say which job it was."""
        span.set_attribute("messaging.message.id", job_id)

    def carried(self, queue: str, task: str, job_id: str) -> list[tuple[str, str]]:
        """The headers with the context of one job's message."""
        batch = _batch.get()
        if batch is None:
            return list(inject().items())
        about = self._about("create", queue, task, job_id)
        span = self._tracer.start_span(
            f"create {queue}", batch.context, kind=SpanKind.PRODUCER, attributes=about
        )
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(span, batch.context))
        batch.span.add_link(span.get_span_context())
        span.end()
        return list(carrier.items())

    @contextmanager
    def _current(self, span: Span, context: Context) -> Generator[None]:
        token = attach(context)
        try:
            yield
        except Exception as error:
            self._failed(span, type_name(type(error)), str(error))
            raise
        finally:
            detach(token)
            span.end()


class WorkerSpans(_Spans):
    """The spans of those who run jobs."""

    def __init__(
        self,
        tracer: Tracer,
        shared: Mapping[str, str | int],
        redactor: Redactor,
        *,
        is_parent: bool,
    ) -> None:
        super().__init__(tracer, shared, redactor)
        self._is_parent = is_parent

    def begin(self, job: Delivered) -> Trace:
        """Span the way from the delivery to the start, and open the span of the attempt."""
        origin = extract(job.headers)
        producer = get_current_span(origin).get_span_context()
        links = [Link(producer)] if producer.is_valid else []
        context = origin if self._is_parent else set_span_in_context(INVALID_SPAN, origin)
        about: dict[str, str | int] = {
            "mesh.job.attempt": job.attempt,
            "mesh.job.priority": job.priority,
            "mesh.worker.id": job.worker,
            "messaging.consumer.group.name": f"{job.queue}-{job.priority}",
        }
        receive = self._tracer.start_span(
            f"receive {job.queue}",
            context,
            SpanKind.CLIENT,
            self._about("receive", job.queue, job.task, job.job_id) | about,
            links,
            start_time=job.arrived_ns,
        )
        receive.end()
        if not receive.get_span_context().trace_flags.sampled:
            # What is below would be dropped as well; its context still goes on.
            return Trace(receive, set_span_in_context(receive, context), about, links)
        if not self._is_parent:
            context = set_span_in_context(receive, context)
        about = self._about("process", job.queue, job.task, job.job_id) | about
        span = self._tracer.start_span(
            f"process {job.queue}", context, SpanKind.CONSUMER, about, links
        )
        return Trace(span, set_span_in_context(span, context), about, links)

    def end(self, opened: Trace, outcome: str, error: ErrorInfo | None = None) -> None:
        """Close the span of the attempt.

        Args:
            opened: The attempt's trace.
            outcome: How the attempt ended.
            error: Why, if it failed.
        """
        if opened.span.is_recording():
            opened.span.set_attribute("mesh.job.outcome", outcome)
            if error is not None:
                self._failed(opened.span, error.type, error.message)
            opened.span.end()

    def settle(self, opened: Trace, queue: str, outcome: str) -> Trace:
        """Open the span of the settlement, below that of the attempt."""
        if not opened.span.get_span_context().trace_flags.sampled:
            return opened
        about = {
            **opened.about,
            "mesh.job.outcome": outcome,
            "messaging.operation.name": "settle",
            "messaging.operation.type": "settle",
        }
        span = self._tracer.start_span(
            f"settle {queue}", opened.context, SpanKind.CLIENT, about, opened.links
        )
        return opened._replace(span=span)


class JobSpans(NamedTuple):
    """The spans of producers and of workers."""

    producer: ProducerSpans
    worker: WorkerSpans


def job_spans(settings: Settings, provider: TracerProvider | None = None) -> JobSpans | None:
    """Make the spans of an app; None: the settings say no, or there is no SDK to take them.

    Args:
        settings: The app's settings.
        provider: Where spans go; None: the process's own, as it is now.
    """
    provider = trace.get_tracer_provider() if provider is None else provider
    if not settings.tracing.enabled or isinstance(provider, _NONE):
        return None
    tracer = provider.get_tracer("mesh", version("natsmesh"), schema_url=_SCHEMA)
    redactor = Redactor.of(settings)
    shared = _shared(settings)
    is_parent = settings.tracing.propagation == "parent"
    return JobSpans(
        ProducerSpans(tracer, shared, redactor),
        WorkerSpans(tracer, shared, redactor, is_parent=is_parent),
    )


def inject() -> dict[str, str]:
    """Say the current trace context as headers."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier


def extract(carrier: Mapping[str, str]) -> Context:
    """Read the trace context that headers carry; an empty one if they carry none."""
    return _PROPAGATOR.extract(carrier, Context())


def _shared(settings: Settings) -> dict[str, str | int]:
    """What every span says: where the server is, as the settings name it."""
    first = settings.servers[0]
    place = urlsplit(first if "://" in first else f"nats://{first}")
    shared: dict[str, str | int] = {"messaging.system": "nats"}
    if place.hostname:
        shared |= {"server.address": place.hostname, "server.port": place.port or _DEFAULT_PORT}
    return shared
