"""Every name mesh gives to something on the server: who uses it, where it lies, what builds it.

One row for each builder in `mesh.contract.subjects`; ``subjects/subjects.toml`` is made of it.
Words in angle brackets are filled in; ``<NS>`` is the namespace in capitals.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["subject", "filter", "stream", "bucket", "consumer"]

_JOBS = "<NS>_JOBS"
_DELAYED = "<NS>_DELAYED"
_EVENTS = "<NS>_EVENTS"
_DEAD = "<NS>_DEAD"
_RESULTS = "KV_<ns>-results"
_PROGRESS = "KV_<ns>-progress"
_CONTROL = "KV_<ns>-control"
_LOCKS = "KV_<ns>-locks"
_OBJECTS = "OBJ_<bucket>"
_UNTIL_DONE = "work queue: each job stays until it has ended"


class Row(NamedTuple):
    """One name.

    Attributes:
        kind: ``subject`` (messages are published to it), ``filter`` (matches subjects),
            ``stream``, ``bucket`` or ``consumer``.
        pattern: How it reads.
        published_by: Who publishes or writes there.
        listened_by: Who listens, reads or asks.
        stream: The stream that keeps it; ``-``: nobody keeps it.
        retention: How long it is kept.
        rule: Its rule in ``grammar.abnf``.
        builder: What builds it, in `mesh.contract.subjects`.
    """

    kind: Kind
    pattern: str
    published_by: str
    listened_by: str
    stream: str
    retention: str
    rule: str
    builder: str


def _filter(pattern: str, used_by: str, stream: str, rule: str, builder: str) -> Row:
    return Row("filter", pattern, "nobody", used_by, stream, "as its subjects", rule, builder)


TABLE: tuple[Row, ...] = (
    Row(
        "subject",
        "<ns>.jobs.<queue>.<priority>.<job_id>",
        "producers; the server, for delayed jobs that are due",
        "workers, through the consumer <queue>-<priority>",
        _JOBS,
        _UNTIL_DONE,
        "job-subject",
        "Names.job",
    ),
    Row(
        "subject",
        "<ns>.delayed.<job_id>",
        "producers of delayed jobs; workers, for long waits before a retry",
        "the server, which holds the job until it is due",
        _DELAYED,
        "work queue: until it fires or is cancelled",
        "delayed-subject",
        "Names.delayed",
    ),
    Row(
        "subject",
        "<ns>.due.<queue>.<priority>.<job_id>",
        "the server, when a delayed job is due",
        "the stream <NS>_JOBS, which takes it over as a job",
        _DELAYED,
        "work queue: until the job stream has it",
        "due-subject",
        "Names.due",
    ),
    Row(
        "subject",
        "<ns>.feed.due",
        "the server, with each job that is due",
        "the stream <NS>_JOBS",
        "-",
        "not kept: the way from one stream to the other",
        "due-feed-subject",
        "Names.due_feed",
    ),
    Row(
        "subject",
        "<ns>.dead.<queue>.<job_id>",
        "workers, when a job has failed for good",
        "people and tools",
        _DEAD,
        "limits: 90 days",
        "dead-subject",
        "Names.dead",
    ),
    Row(
        "subject",
        "<ns>.events.<kind>.<job_id>",
        "the server (enqueued, finished) and workers (retrying, dead, expiring)",
        "whoever waits for a job; dashboards",
        _EVENTS,
        "limits: 7 days (events.max_age)",
        "event-subject",
        "Names.event",
    ),
    Row(
        "subject",
        "<ns>.control.cancel.<job_id>",
        "whoever cancels a job, after its terminal record is written",
        "workers",
        "-",
        "not kept: core NATS",
        "cancel-subject",
        "Names.cancel_signal",
    ),
    Row(
        "subject",
        "$KV.<ns>-results.<job_id>",
        "workers; whoever cancels a job",
        "whoever wants the result",
        _RESULTS,
        "limits: 7 days, or Nats-TTL if that is shorter",
        "result-subject",
        "Names.result",
    ),
    Row(
        "subject",
        "$KV.<ns>-progress.<job_id>",
        "the worker that has the job",
        "whoever follows the job",
        _PROGRESS,
        "limits: until the job has ended, at most 7 days",
        "progress-subject",
        "Names.progress",
    ),
    Row(
        "subject",
        "$KV.<ns>-control.trust.<queue>-<priority>",
        "workers, when they begin to pull and when the server has changed",
        "workers",
        _CONTROL,
        "limits: as the bucket",
        "lane-trust-subject",
        "Names.lane_trust",
    ),
    Row(
        "subject",
        "$KV.<ns>-locks.unique.<digest>",
        "producers of unique jobs, before the job; the worker that starts or ends it",
        "producers of unique jobs, and the worker that is about to run one",
        _LOCKS,
        "limits: until the job has ended or started, or Nats-TTL",
        "unique-key-subject",
        "Names.unique_key",
    ),
    Row(
        "subject",
        "$O.<bucket>.C.<chunks_id>",
        "producers and workers, with values too large for a message",
        "workers; whoever wants the result",
        _OBJECTS,
        "limits: as the bucket",
        "object-chunks-subject",
        "object_chunks",
    ),
    Row(
        "subject",
        "$O.<bucket>.M.<base64url of the name>",
        "producers and workers, with values too large for a message",
        "workers; whoever wants the result",
        _OBJECTS,
        "limits: as the bucket",
        "object-meta-subject",
        "object_meta",
    ),
    _filter(
        "<ns>.jobs.*.*.<job_id>",
        "whoever looks for a job, or cancels it",
        _JOBS,
        "job-anywhere-filter",
        "Names.job_anywhere",
    ),
    _filter(
        "<ns>.due.*.*.<job_id>",
        "whoever looks for a job, or cancels it",
        _DELAYED,
        "due-anywhere-filter",
        "Names.due_anywhere",
    ),
    _filter(
        "<ns>.jobs.*.<priority>.*",
        "the stream <NS>_JOBS, which takes these four and refuses every other priority",
        _JOBS,
        "jobs-of-priority-filter",
        "Names.jobs_of_priority",
    ),
    _filter(
        "<ns>.jobs.<queue>.<priority>.*",
        "the consumer <queue>-<priority>",
        _JOBS,
        "lane-filter",
        "Names.lane",
    ),
    _filter("<ns>.control.cancel.*", "workers", "-", "cancel-filter", "Names.cancel_signals"),
    _filter(
        "$JS.EVENT.ADVISORY.CONSUMER.LEADER_ELECTED.<NS>_JOBS.*",
        "workers",
        "-",
        "elections-filter",
        "Names.elections",
    ),
    _filter(
        "$KV.<ns>-results.",
        "workers: what stands before the job id",
        _RESULTS,
        "results-prefix",
        "Names.results_prefix",
    ),
    _filter(
        "$KV.<ns>-progress.",
        "workers: what stands before the job id",
        _PROGRESS,
        "progress-prefix",
        "Names.progress_prefix",
    ),
    _filter(
        "$O.<bucket>.C.> and $O.<bucket>.M.>",
        "the stream of the object bucket",
        _OBJECTS,
        "object-filter",
        "object_subjects",
    ),
    Row(
        "stream",
        _JOBS,
        "producers; sources <NS>_DELAYED",
        "workers",
        _JOBS,
        _UNTIL_DONE,
        "jobs-stream",
        "Names.jobs_stream",
    ),
    Row(
        "stream",
        _DELAYED,
        "producers and workers",
        "<NS>_JOBS",
        _DELAYED,
        "work queue: until each job fires or is cancelled",
        "delayed-stream",
        "Names.delayed_stream",
    ),
    Row(
        "stream",
        _EVENTS,
        "the server and workers",
        "dashboards",
        _EVENTS,
        "limits: 7 days (events.max_age)",
        "events-stream",
        "Names.events_stream",
    ),
    Row(
        "stream",
        _DEAD,
        "workers",
        "people and tools",
        _DEAD,
        "limits: 90 days",
        "dead-stream",
        "Names.dead_stream",
    ),
    Row(
        "stream",
        "KV_<bucket>",
        "as its bucket",
        "as its bucket",
        "KV_<bucket>",
        "limits: as the bucket",
        "kv-stream",
        "kv_stream",
    ),
    Row(
        "stream",
        _OBJECTS,
        "as its bucket",
        "as its bucket",
        _OBJECTS,
        "limits: as the bucket",
        "object-stream",
        "object_stream",
    ),
    Row(
        "bucket",
        "<ns>-results",
        "workers; whoever cancels a job",
        "whoever wants a result",
        _RESULTS,
        "limits: 7 days (job_defaults.result_ttl and failure_ttl, the longer one)",
        "results-bucket",
        "Names.results_bucket",
    ),
    Row(
        "bucket",
        "<ns>-progress",
        "workers",
        "whoever follows a job",
        _PROGRESS,
        "limits: 7 days",
        "progress-bucket",
        "Names.progress_bucket",
    ),
    Row(
        "bucket",
        "<ns>-control",
        "workers",
        "workers",
        _CONTROL,
        "limits: no age",
        "control-bucket",
        "Names.control_bucket",
    ),
    Row(
        "bucket",
        "<ns>-locks",
        "producers of unique jobs; workers",
        "producers of unique jobs; workers",
        _LOCKS,
        "limits: as its subjects",
        "locks-bucket",
        "Names.locks_bucket",
    ),
    Row(
        "bucket",
        "<ns>-payloads",
        "producers; workers, with dead letters",
        "workers",
        "OBJ_<ns>-payloads",
        "limits: until the job has ended; those of jobs that failed stay",
        "payloads-bucket",
        "Names.payloads_bucket",
    ),
    Row(
        "bucket",
        "<ns>-outputs",
        "workers",
        "whoever wants a result",
        "OBJ_<ns>-outputs",
        "limits: 7 days, as the results",
        "outputs-bucket",
        "Names.outputs_bucket",
    ),
    Row(
        "consumer",
        "due-to-jobs",
        "nobody",
        "the stream <NS>_JOBS, which takes each job that is due and confirms it",
        _DELAYED,
        "durable",
        "due-consumer",
        "Names.due_consumer",
    ),
    Row(
        "consumer",
        "<queue>-<priority>",
        "nobody",
        "workers, with $JS.API.CONSUMER.MSG.NEXT.<NS>_JOBS.<queue>-<priority>",
        _JOBS,
        "durable",
        "consumer",
        "consumer_name",
    ),
)
