"""What a worker counts becomes samples of declared instruments, with examples where known."""

from __future__ import annotations

import re

import pytest
from opentelemetry.context import attach, detach
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from support.scraping import OPEN_METRICS

from mesh.telemetry.exemplars import current_trace_id
from mesh.telemetry.instruments import Counter, Instrument
from mesh.telemetry.metrics import INSTRUMENTS
from mesh.telemetry.tallies import WorkerGauges, WorkerMetrics

TRACE = "0af7651916cd43dd8448eb211c80319c"


def counted() -> tuple[WorkerMetrics, CollectorRegistry]:
    """Metrics in a registry of their own, with one attempt."""
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    tally = metrics.of("mail", "send")
    tally.ran("ok", 1000, 3000, 3040, TRACE)
    tally.ran("retry", 1000, 3000, 3040)
    tally.end("succeeded")
    return metrics, registry


def test_an_attempt_is_counted_with_its_times() -> None:
    """Result, duration and wait of an attempt are there under its queue and task."""
    _, registry = counted()
    labels = {"queue": "mail", "task": "send"}
    value = registry.get_sample_value

    assert value("mesh_job_attempts_total", labels | {"result": "retry"}) == 1
    assert value("mesh_jobs_finished_total", labels | {"outcome": "succeeded"}) == 1
    assert value("mesh_job_duration_seconds_sum", labels) == pytest.approx(0.08)
    assert value("mesh_job_queue_wait_seconds_bucket", labels | {"le": "2.5"}) == 2
    assert value("mesh_job_queue_wait_seconds_bucket", labels | {"le": "1.0"}) == 0


def test_a_duration_names_the_trace_it_belongs_to() -> None:
    """In the OpenMetrics form its bucket bears the trace's id, and no other does."""
    _, registry = counted()

    encode, _ = choose_encoder(OPEN_METRICS)
    page = encode(registry).decode()

    bearing = [line for line in page.splitlines() if TRACE in line]
    assert len(bearing) == 2
    assert re.match(r'mesh_job_duration_seconds_bucket\{le="0.05".* # \{trace_id=', bearing[0])


def test_the_worker_says_what_it_is_just_now() -> None:
    """The gauges are asked for when Prometheus asks, so they are never old."""
    metrics, registry = counted()
    metrics.gauges = lambda: WorkerGauges(worker="w-1", version="9", slots=7, running=3)
    metrics.noticed("disk-full")

    assert registry.get_sample_value("mesh_worker_slots") == 7
    assert registry.get_sample_value("mesh_worker_slots_used") == 3
    assert registry.get_sample_value("mesh_worker_info", {"worker": "w-1", "version": "9"}) == 1
    assert registry.get_sample_value("mesh_server_trouble_total", {"kind": "disk-full"}) == 1


def test_what_is_described_is_what_is_collected() -> None:
    """The registry learns every name beforehand, so that two sets cannot clash unseen."""
    metrics, _ = counted()

    assert {f.name for f in metrics.describe()} == {f.name for f in metrics.collect()}


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)
def test_an_instrument_keeps_the_rules(instrument: Instrument) -> None:
    """Its name says whose it is, its help is a sentence, no label is a job or its id."""
    assert instrument.name.startswith("mesh_")
    assert instrument.help.endswith(".")
    assert not isinstance(instrument, Counter) or not instrument.name.endswith("_total")
    assert {"job", "job_id", "id", "error", "message"}.isdisjoint(instrument.labels)


def test_no_name_is_used_twice() -> None:
    """Each series belongs to one instrument."""
    series = [name for instrument in INSTRUMENTS for name in instrument.series]

    assert len(series) == len(set(series))


@pytest.mark.parametrize(("flags", "expected"), [(1, TRACE), (0, "")])
def test_only_a_sampled_trace_is_an_example(flags: int, expected: str) -> None:
    """A trace that nobody stored would lead nowhere."""
    span = NonRecordingSpan(
        SpanContext(int(TRACE, 16), 1, is_remote=False, trace_flags=TraceFlags(flags))
    )
    token = attach(set_span_in_context(span))
    try:
        assert current_trace_id() == expected
    finally:
        detach(token)


def test_without_tracing_there_is_no_trace() -> None:
    """The API alone, without a provider, has none."""
    assert current_trace_id() == ""
