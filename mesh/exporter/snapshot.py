"""What a namespace held when the exporter last looked, and the samples that say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from prometheus_client.core import Metric

from mesh.client.queues import QueueStatus
from mesh.telemetry import metrics
from mesh.telemetry.instruments import Gauge


class StreamSize(Struct, frozen=True):
    """What a stream holds.

    Attributes:
        name: The stream.
        messages: How many messages.
        bytes: How many bytes.
        most_bytes: How many bytes it may hold; 0: no limit.
        last_sequence: How many messages it ever took in.
    """

    name: str
    messages: int
    bytes: int
    most_bytes: int
    last_sequence: int


class Snapshot(Struct, frozen=True, kw_only=True):
    """What a namespace held at one moment.

    Attributes:
        queues: Its queues.
        streams: Its streams and buckets.
        enqueued: How many jobs the job stream ever took in.
        delayed: How many jobs are held until they are due.
        lag_s: For how long the oldest job that is due has waited to enter its queue.
        dead: How many dead letters are kept, by queue.
        buried: How many dead letters were ever stored.
        workers: How many workers have a record, by health.
    """

    queues: Sequence[QueueStatus]
    streams: Sequence[StreamSize]
    enqueued: int
    delayed: int
    lag_s: float
    dead: Mapping[str, int]
    buried: int
    workers: Mapping[str, int]


def samples(snapshot: Snapshot) -> Iterator[Metric]:
    """Turn a snapshot into families of samples."""
    yield from _of_queues(snapshot.queues)
    yield from _of_streams(snapshot.streams)
    yield _gauge(metrics.DEAD_LETTERS, (((queue,), n) for queue, n in snapshot.dead.items()))
    yield _gauge(metrics.WORKERS, (((health,), n) for health, n in snapshot.workers.items()))
    yield _gauge(metrics.JOBS_DELAYED, [((), snapshot.delayed)])
    yield _gauge(metrics.SCHEDULE_LAG, [((), snapshot.lag_s)])
    for instrument, count in (
        (metrics.JOBS_ENQUEUED, snapshot.enqueued),
        (metrics.DEAD_LETTERS_ADDED, snapshot.buried),
    ):
        family = instrument.family()
        family.add_metric((), count)
        yield family


def _of_queues(queues: Sequence[QueueStatus]) -> Iterator[Metric]:
    depth, delivered = metrics.QUEUE_DEPTH.family(), metrics.QUEUE_DELIVERED.family()
    for status in queues:
        delivered.add_metric((status.queue,), status.deliveries)
        for priority, count in status.pending.items():
            depth.add_metric((status.queue, priority), count)
    yield from (depth, delivered)
    yield _gauge(metrics.QUEUE_IN_FLIGHT, (((q.queue,), q.running) for q in queues))
    yield _gauge(metrics.QUEUE_REDELIVERED, (((q.queue,), q.redelivered) for q in queues))
    yield _gauge(metrics.QUEUE_LIMIT, (((q.queue,), q.limit) for q in queues if q.limit))
    yield _gauge(metrics.QUEUE_PAUSED, (((q.queue,), q.is_paused) for q in queues))
    ages = (((q.queue,), q.oldest_pending_age_s or 0.0) for q in queues)
    yield _gauge(metrics.QUEUE_OLDEST_AGE, ages)


def _of_streams(streams: Sequence[StreamSize]) -> Iterator[Metric]:
    yield _gauge(metrics.STREAM_BYTES, (((s.name,), s.bytes) for s in streams))
    yield _gauge(metrics.STREAM_MESSAGES, (((s.name,), s.messages) for s in streams))
    limits = (((s.name,), s.most_bytes) for s in streams if s.most_bytes)
    yield _gauge(metrics.STREAM_BYTES_LIMIT, limits)


def _gauge(instrument: Gauge, values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = instrument.family()
    for labels, value in values:
        family.add_metric(labels, value)
    return family
