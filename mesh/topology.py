"""Which streams, consumers and buckets should exist for given settings; creates nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from mesh.contract.lifecycle import PRIORITIES
from mesh.contract.subjects import (
    Names,
    consumer_name,
    kv_stream,
    object_stream,
    object_subjects,
)
from mesh.settings.model import Settings

_NS = 1_000_000_000
_DUPLICATE_WINDOW_S = 120
_MOST_HISTORY = 64  # What a key-value bucket may have.
_PROGRESS_AGE_S = 7 * 86400
_DEAD_AGE_S = 90 * 86400
_WORKERS_AGE_S = 300

StreamPlan = dict[str, Any]
"""A stream's configuration as the JetStream API spells it; what is left out is the server's."""


class ConsumerPlan(NamedTuple):
    """A durable consumer that should exist on a stream."""

    name: str
    config: dict[str, Any]
    stream: str


class Topology:
    """What should exist in one namespace.

    Attributes:
        names: Every name in it.
        streams: The streams, those that others are sourced from first.
        feeder: The consumer through which the job stream takes the jobs that are due.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.names = Names(settings.namespace)
        self.streams: list[StreamPlan] = [
            self._events(),
            self._delayed(),
            self._jobs(),
            self._dead(),
            self._results(),
            self._progress(),
            self._bucket(self.names.control_bucket),
            self._locks(),
            self._bucket(self.names.schedules_bucket),
            self._workers(),
            self._objects(self.names.payloads_bucket, 0),
            self._objects(self.names.outputs_bucket, longest_ttl_s(settings)),
        ]
        if not settings.events.enabled:
            del self.streams[0]
        self.feeder = self._feeder()

    def consumers(self, queues: Iterable[str]) -> list[ConsumerPlan]:
        """Plan the lanes of some queues: one consumer per queue and priority."""
        return [self._lane(queue, priority) for queue in queues for priority in PRIORITIES]

    def _stream(self, name: str, subjects: list[str], **more: Any) -> StreamPlan:
        return {
            "name": name,
            "subjects": subjects,
            "retention": "limits",
            "storage": self._settings.storage,
            "num_replicas": self._settings.replicas,
            "discard": "old",
            "duplicate_window": _DUPLICATE_WINDOW_S * _NS,
            "allow_direct": True,
        } | more

    def _jobs(self) -> StreamPlan:
        names = self.names
        limits = self._settings.limits
        return self._stream(
            names.jobs_stream,
            # One subject per priority: the server itself refuses an unknown one.
            [names.jobs_of_priority(priority) for priority in PRIORITIES],
            retention="workqueue",
            discard="new",
            max_msgs=limits.max_jobs or -1,
            max_bytes=limits.max_bytes or -1,
            allow_atomic=True,
            # Off, or a fired job would vanish with the TTL of the schedule it came from.
            allow_msg_ttl=False,
            sources=[
                {
                    "name": names.delayed_stream,
                    "consumer": {
                        "name": names.due_consumer,
                        "deliver_subject": names.due_feed,
                    },
                    "subject_transforms": [
                        {"src": names.due("*", "*", "*"), "dest": names.job(*_tokens(3))}
                    ],
                }
            ],
            republish=self._announced(names.job("*", "*", "*")),
        )

    def _delayed(self) -> StreamPlan:
        names = self.names
        return self._stream(
            names.delayed_stream,
            # Here too the server refuses an unknown priority, as the target of a schedule.
            [names.delayed("*"), *(names.due("*", priority, "*") for priority in PRIORITIES)],
            # A job that is due leaves when the job stream has confirmed it, and not before.
            retention="workqueue",
            allow_msg_schedules=True,
            allow_msg_ttl=True,
            # The copy that the job stream sources may not be stored again, so fired jobs are
            # announced from here.
            republish=self._announced(names.due("*", "*", "*")),
        )

    def _announced(self, source: str) -> dict[str, Any]:
        """Have the ledger told of each job; of the whole job, if it keeps bodies."""
        copy = _copy(source, self.names.event("enqueued", _tokens(3)[2]))
        return copy | {"headers_only": not self._settings.events.bodies}

    def _dead(self) -> StreamPlan:
        return self._stream(
            self.names.dead_stream,
            [self.names.dead("*", "*")],
            max_age=_DEAD_AGE_S * _NS,
            max_msgs=self._settings.limits.max_dead or -1,
        )

    def _events(self) -> StreamPlan:
        return self._stream(
            self.names.events_stream,
            [self.names.event("*", "*")],
            max_age=int(self._settings.events.max_age_s * _NS),
            max_bytes=self._settings.events.max_bytes or -1,
            # Republished copies bear the headers of what they copy.
            allow_msg_ttl=True,
            allow_msg_schedules=True,
        )

    def _results(self) -> StreamPlan:
        names = self.names
        return self._bucket(
            names.results_bucket,
            # A record's own TTL can only shorten the bucket's age, never lengthen it.
            max_age=int(longest_ttl_s(self._settings) * _NS),
            republish=_copy(names.result("*"), names.event("finished", "{{wildcard(1)}}")),
        )

    def _progress(self) -> StreamPlan:
        # Each record rolls the one before it up. A limit of one would do the same, but a server
        # that is killed brings back whatever was replaced by a limit and removed thereafter.
        return self._bucket(
            self.names.progress_bucket,
            max_age=_PROGRESS_AGE_S * _NS,
            max_msgs_per_subject=_MOST_HISTORY,
        )

    def _locks(self) -> StreamPlan:
        # No limit markers: an expired key must be as free as one that never was.
        return self._bucket(self.names.locks_bucket)

    def _workers(self) -> StreamPlan:
        # What a worker that died left is seen for a while, and then gone by itself.
        return self._bucket(self.names.workers_bucket, max_age=_WORKERS_AGE_S * _NS)

    def _bucket(self, bucket: str, **more: Any) -> StreamPlan:
        return self._stream(
            kv_stream(bucket),
            [f"$KV.{bucket}.>"],
            **{
                "max_msgs_per_subject": 1,
                "discard": "new",
                "allow_rollup_hdrs": True,
                "allow_msg_ttl": True,
            }
            | more,
        )

    def _objects(self, bucket: str, age_s: float) -> StreamPlan:
        return self._stream(
            object_stream(bucket),
            object_subjects(bucket),
            discard="new",
            allow_rollup_hdrs=True,
            max_age=int(age_s * _NS),
        )

    def _lane(self, queue: str, priority: str) -> ConsumerPlan:
        worker = self._settings.worker
        name = consumer_name(queue, priority)
        config = {
            "durable_name": name,
            "name": name,
            "ack_policy": "explicit",
            "deliver_policy": "all",
            "ack_wait": int(worker.ack_wait_s * _NS),
            "max_deliver": -1,
            "max_ack_pending": self._settings.limits.max_ack_pending,
            "max_waiting": 8192,
            "filter_subject": self.names.lane(queue, priority),
            "num_replicas": self._settings.replicas,
        }
        return ConsumerPlan(name, config, self.names.jobs_stream)

    def _feeder(self) -> ConsumerPlan:
        """Plan what hands the jobs that are due to the job stream, each until it is stored."""
        names = self.names
        config = {
            "durable_name": names.due_consumer,
            "name": names.due_consumer,
            "ack_policy": "flow_control",
            "deliver_policy": "all",
            "deliver_subject": names.due_feed,
            "flow_control": True,
            "idle_heartbeat": _NS,
            "filter_subject": names.due("*", "*", "*"),
            "num_replicas": self._settings.replicas,
        }
        return ConsumerPlan(names.due_consumer, config, names.delayed_stream)


def longest_ttl_s(settings: Settings) -> float:
    """How long the results bucket keeps a record that has no TTL of its own, in seconds."""
    return max(settings.job_defaults.result_ttl_s, settings.job_defaults.failure_ttl_s)


def _copy(source: str, destination: str) -> dict[str, Any]:
    """Have the server announce each stored message as an event: its headers, not its body."""
    return {"src": source, "dest": destination, "headers_only": True}


def _tokens(count: int) -> list[str]:
    return ["{{wildcard(" + str(index + 1) + ")}}" for index in range(count)]
