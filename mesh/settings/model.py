"""The settings of mesh as frozen structs: their names, types, limits and defaults.

Durations are seconds and end in ``_s``; paths end in ``_file``. Both facts are relied on when
settings are read. Where the values come from is the business of `mesh.settings.loading`.
"""

from __future__ import annotations

from typing import Literal

from mesh.contract.lifecycle import Priority
from mesh.settings.addresses import split_addresses
from mesh.settings.sections import (
    Backoff,
    CapturedLevel,
    Count,
    CountOrZero,
    Duration,
    DurationOrZero,
    EventLevel,
    EventLoop,
    Fraction,
    LogFormat,
    LoggerLevel,
    LogLevel,
    Namespace,
    Port,
    Propagation,
    QueueName,
    Section,
    Storage,
    Text,
)


class CredentialsSettings(Section, frozen=True):
    """How mesh logs in to NATS; at most one of the four ways may be given.

    Attributes:
        user: Name of the user, together with ``password``.
        password: Password of ``user``.
        token: One token instead of user and password.
        credentials_file: A ``.creds`` file with a user JWT and its key.
        nkey_file: A file with an nkey seed.
    """

    user: Text | None = None
    password: Text | None = None
    token: Text | None = None
    credentials_file: Text | None = None
    nkey_file: Text | None = None


class TlsSettings(Section, frozen=True):
    """Which certificates are used when the connection is encrypted.

    Attributes:
        ca_file: Authorities that may have signed the server's certificate; None: the system's.
        cert_file: This client's certificate.
        key_file: The private key of ``cert_file``.
    """

    ca_file: Text | None = None
    cert_file: Text | None = None
    key_file: Text | None = None


class JobDefaults(Section, frozen=True):
    """What holds for a job whose task says nothing else.

    Attributes:
        queue: The queue it goes to.
        priority: Its priority within the queue.
        timeout_s: How long one attempt may run.
        retry_max: How often it is tried again after the first attempt failed.
        retry_delay_s: The wait before the first retry.
        retry_backoff: How the wait grows from retry to retry.
        retry_max_delay_s: The longest wait between two attempts.
        retry_jitter: The part of each wait that is left to chance.
        result_ttl_s: How long the result of a job that succeeded is kept.
        failure_ttl_s: How long the record of a job that did not succeed is kept.
    """

    queue: QueueName = "default"
    priority: Priority = Priority.NORMAL
    timeout_s: Duration = 3600.0
    retry_max: CountOrZero = 3
    retry_delay_s: DurationOrZero = 1.0
    retry_backoff: Backoff = "exponential"
    retry_max_delay_s: DurationOrZero = 600.0
    retry_jitter: Fraction = 0.1
    result_ttl_s: Duration = 604_800.0
    failure_ttl_s: Duration = 604_800.0

    @property
    def max_attempts(self) -> int:
        """How many attempts a job has in all: the first one and its retries."""
        return self.retry_max + 1


class WorkerSettings(Section, frozen=True):
    """How a worker takes and runs jobs.

    Attributes:
        queues: The queues to serve; empty: every queue that the app's tasks name.
        concurrency: How many jobs one process runs at the same time.
        processes: How many worker processes are run.
        process_pool: Size of the pool for CPU-bound tasks; 0: one for each CPU.
        ack_wait_s: After how long without a sign of life a job goes to another worker.
        heartbeat_s: How often a worker gives a sign of life for its running jobs.
        shutdown_grace_s: How long running jobs may finish when the worker is told to stop.
        unknown_task_grace_s: How long a job of an unknown task is handed back before it fails.
        max_crashes: A job whose process has died this often is not tried again.
        strict_priority: Serve lower priorities only when no higher one has jobs.
        loop: The event loop to run on.
    """

    queues: tuple[QueueName, ...] = ()
    concurrency: Count = 100
    processes: Count = 1
    process_pool: CountOrZero = 0
    ack_wait_s: Duration = 10.0
    heartbeat_s: Duration = 2.0
    shutdown_grace_s: DurationOrZero = 30.0
    unknown_task_grace_s: DurationOrZero = 60.0
    max_crashes: Count = 3
    strict_priority: bool = False
    loop: EventLoop = "asyncio"


class LimitsSettings(Section, frozen=True):
    """The bounds of what is stored and of what runs at once.

    Attributes:
        payload_inline_bytes: Larger arguments and results go to the payload bucket.
        max_jobs: How many jobs the job stream holds before it refuses more; 0: no limit.
        max_bytes: How many bytes the job stream holds before it refuses more; 0: no limit.
        max_dead: How many dead letters are kept; the oldest give way to new ones; 0: no limit.
        max_ack_pending: How many jobs of one queue and priority may run at once, everywhere.
    """

    payload_inline_bytes: CountOrZero = 524_288
    max_jobs: CountOrZero = 0
    max_bytes: CountOrZero = 0
    max_dead: CountOrZero = 0
    max_ack_pending: Count = 20_000


class EventsSettings(Section, frozen=True):
    """What the ledger of job events keeps.

    Attributes:
        enabled: Whether events are recorded at all.
        max_age_s: How long an event is kept.
        bodies: Whether the ledger keeps a copy of each job, from which `mesh fsck` can run it
            again if its message vanishes.
        level: What is told besides what the server tells by itself (a job was enqueued, has
            ended): `off` nothing; `error` retries; `info` also what is scheduled, starts and
            progress of jobs that run longer than 0.2 s, and what operators do; `debug` every
            start.
        max_bytes: How many bytes the ledger keeps; the oldest events give way; 0: no limit.
        log_level: The least severe line of a job's log that is kept; `off`: none is.
        log_lines: How many lines of its log are kept of one attempt.
        log_bytes: How many bytes of its log are kept of one attempt.
    """

    enabled: bool = True
    max_age_s: Duration = 604_800.0
    bodies: bool = False
    level: EventLevel = "info"
    max_bytes: CountOrZero = 0
    log_level: CapturedLevel = "info"
    log_lines: CountOrZero = 1000
    log_bytes: CountOrZero = 262_144


class ArchiveSettings(Section, frozen=True):
    """What `mesh archive` writes, and how long that is kept.

    Attributes:
        url: The database: a path, ``sqlite:PATH``, or ``postgresql://user@host/database``.
        consumer: The durable consumer that reads the ledger; each archive has its own.
        keep_s: How long jobs that did not fail are kept after their last event; 0: for ever.
        keep_failed_s: How long jobs that failed are kept; 0: for ever.
    """

    url: Text = "sqlite:.mesh/archive.db"
    consumer: QueueName = "archive"
    keep_s: DurationOrZero = 7_776_000.0
    keep_failed_s: DurationOrZero = 7_776_000.0


class PublishSettings(Section, frozen=True):
    """How jobs are published.

    Attributes:
        deadline_s: How long a publish may take, its retries included.
        window: How many publishes may wait for their acknowledgement at once.
        full_wait_s: How long a publish may wait for room in a full stream; 0: not at all.
    """

    deadline_s: Duration = 5.0
    window: Count = 4096
    full_wait_s: DurationOrZero = 5.0


class SchedulerSettings(Section, frozen=True):
    """How the scheduler service keeps schedules.

    Attributes:
        arm_ahead_s: So far ahead, at least, ticks are handed to the server, which then needs no
            scheduler to fire them; the next tick of a schedule always is.
        misfire_grace_s: A tick that nobody armed in time is simply late by so much; later, the
            schedule's rule for misfires decides.
        lease_s: After so long without a sign of life of the scheduler that leads, another takes
            over.
        fsck_every_s: How often the one that leads checks and repairs the namespace, as
            `mesh fsck --repair` does; 0: never.
    """

    arm_ahead_s: Duration = 3600.0
    misfire_grace_s: DurationOrZero = 10.0
    lease_s: Duration = 6.0
    fsck_every_s: DurationOrZero = 3600.0


class MetricsSettings(Section, frozen=True):
    """Where a process answers Prometheus and the probes of whoever runs it.

    Attributes:
        host: The address to listen on; 0.0.0.0: all of this machine's.
        port: The port; 0: the system chooses; None: nothing is served. The processes of one
            supervisor take the ports from here on, one each.
        stuck_after_s: A worker that has free slots and is given none of the jobs that wait for
            so long is no longer live.
    """

    host: Text = "127.0.0.1"
    port: Port | None = None
    stuck_after_s: Duration = 60.0


class TracingSettings(Section, frozen=True):
    """How jobs appear in traces, if the process has an OpenTelemetry SDK.

    Attributes:
        enabled: Whether spans are made and the trace context travels with jobs.
        propagation: Whether an attempt starts a trace of its own that links to its producer's
            (``link``), or is part of the producer's trace (``parent``).
    """

    enabled: bool = True
    propagation: Propagation = "link"


class Settings(Section, frozen=True):
    """All settings of one mesh app, frozen; `mesh.settings.loading.load` reads and checks them.

    Attributes:
        url: Addresses of the NATS servers, separated by commas.
        credentials: How to log in.
        tls: Certificates for encrypted connections.
        namespace: The prefix of every subject, stream and bucket.
        replicas: How many servers keep a copy of each stream and bucket.
        storage: Where streams and buckets are kept.
        job_defaults: What holds for a job whose task says nothing else.
        worker: How workers take and run jobs.
        limits: Bounds of what is stored and of what runs at once.
        events: What the ledger keeps.
        archive: What `mesh archive` writes.
        publish: How jobs are published.
        scheduler: How the scheduler service keeps schedules.
        metrics: Where metrics and probes are served.
        tracing: How jobs appear in traces.
        connect_timeout_s: How long one attempt to connect may take.
        ping_interval_s: How often a quiet server is asked for a sign of life; it is given up
            when it owes two.
        log_level: The least severe log record that is shown.
        actor: Who operates, as the ledger names them; None: the user and the host.
        log_levels: The same for single loggers and all below them: ``mesh.worker=debug``.
        log_format: Log lines for people, or JSON lines for programs.
        secret_names: Further names whose values are left out of logs, failures and traces.
    """

    url: Text = "nats://127.0.0.1:4222"
    credentials: CredentialsSettings = CredentialsSettings()
    tls: TlsSettings = TlsSettings()
    namespace: Namespace = "mesh"
    replicas: Literal[1, 3, 5] = 1
    storage: Storage = "file"
    job_defaults: JobDefaults = JobDefaults()
    worker: WorkerSettings = WorkerSettings()
    limits: LimitsSettings = LimitsSettings()
    events: EventsSettings = EventsSettings()
    archive: ArchiveSettings = ArchiveSettings()
    publish: PublishSettings = PublishSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()
    connect_timeout_s: Duration = 5.0
    ping_interval_s: Duration = 10.0
    log_level: LogLevel = "info"
    actor: Text | None = None
    log_levels: tuple[LoggerLevel, ...] = ()
    log_format: LogFormat = "console"
    secret_names: tuple[Text, ...] = ()

    @property
    def servers(self) -> tuple[str, ...]:
        """The addresses in `url`, one by one."""
        return split_addresses(self.url)
