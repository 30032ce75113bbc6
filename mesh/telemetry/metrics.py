"""Every Prometheus instrument of mesh, declared once with unit and help.

The names are a promise. None is labelled by a job's id or by what an exception says: labels
come from small closed sets.
The label is called ``task``, for ``job`` is Prometheus's own. How the numbers come about is
told in `mesh.telemetry.tallies` (workers) and `mesh.exporter` (queues and streams).
"""

from __future__ import annotations

from mesh.telemetry.instruments import Counter, Gauge, Histogram, Instrument

BUCKETS_S = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0),
)
"""The bounds of every histogram, in seconds."""

_BY_TASK = ("queue", "task")
_BY_QUEUE = ("queue",)

# --- What each worker process says of itself -------------------------------------------------

JOBS_FINISHED = Counter(
    "mesh_jobs_finished", "Jobs that ended, by outcome.", (*_BY_TASK, "outcome")
)
JOB_ATTEMPTS = Counter(
    "mesh_job_attempts", "Attempts that ended, by result.", (*_BY_TASK, "result")
)
JOB_DURATION = Histogram("mesh_job_duration_seconds", "How long attempts ran.", _BY_TASK)
JOB_QUEUE_WAIT = Histogram(
    "mesh_job_queue_wait_seconds", "How long jobs waited from enqueue to start.", _BY_TASK
)
JOBS_RUNNING = Gauge("mesh_jobs_running", "Jobs that run now.")
RESULTS_FENCED = Counter(
    "mesh_results_fenced",
    "Outcomes refused: the job had ended already, or was another worker's.",
)
JOBS_TAKEN_OVER = Counter(
    "mesh_jobs_taken_over", "Jobs taken over from a worker that died, froze or was cut off."
)
SERVER_TROUBLE = Counter(
    "mesh_server_trouble", "What the worker noticed of the server, by kind.", ("kind",)
)
EVENTS_DROPPED = Counter(
    "mesh_events_dropped", "Events of jobs that found no room on their way to the ledger."
)
WORKER_INFO = Gauge("mesh_worker_info", "A worker process; always 1.", ("worker", "version"))
WORKER_SLOTS = Gauge("mesh_worker_slots", "Jobs the worker may run at once.")
WORKER_SLOTS_USED = Gauge("mesh_worker_slots_used", "Slots that are taken now.")
WORKER_READY = Gauge("mesh_worker_ready", "1 while the worker takes jobs, else 0.")
WORKER_STUCK = Gauge(
    "mesh_worker_stuck_seconds",
    "For how long jobs have waited while the worker had free slots and was given none.",
)
NATS_CONNECTED = Gauge("mesh_nats_connected", "1 while the server can be reached, else 0.")
NATS_RECONNECTS = Counter("mesh_nats_reconnects", "Times the server was lost and found again.")

# --- What the exporter, one for each namespace, says of queues and streams --------------------

QUEUE_DEPTH = Gauge(
    "mesh_queue_depth", "Jobs that no worker was given yet.", ("queue", "priority")
)
QUEUE_IN_FLIGHT = Gauge(
    "mesh_queue_in_flight", "Jobs that workers were given and have not settled.", _BY_QUEUE
)
QUEUE_REDELIVERED = Gauge(
    "mesh_queue_redelivered", "Jobs in flight that were given out more than once.", _BY_QUEUE
)
QUEUE_LIMIT = Gauge(
    "mesh_queue_in_flight_limit",
    "Jobs of one priority that may be in flight at once.",
    _BY_QUEUE,
)
QUEUE_DELIVERED = Counter(
    "mesh_queue_delivered", "Deliveries to workers, redeliveries included.", _BY_QUEUE
)
QUEUE_OLDEST_AGE = Gauge(
    "mesh_queue_oldest_age_seconds",
    "For how long the oldest job that no worker was given has waited; 0: there is none.",
    _BY_QUEUE,
)
QUEUE_PAUSED = Gauge("mesh_queue_paused", "1 while the queue is paused, else 0.", _BY_QUEUE)
JOBS_ENQUEUED = Counter(
    "mesh_jobs_enqueued", "Jobs that the job stream has taken in, delayed ones once due."
)
JOBS_DELAYED = Gauge("mesh_jobs_delayed", "Jobs that the server holds until they are due.")
SCHEDULE_LAG = Gauge(
    "mesh_schedule_lag_seconds",
    "For how long the oldest job that is due has waited to enter its queue; 0: there is none.",
)
DEAD_LETTERS = Gauge("mesh_dead_letters", "Dead letters that are kept.", _BY_QUEUE)
DEAD_LETTERS_ADDED = Counter("mesh_dead_letters_added", "Dead letters that were ever stored.")
STREAM_BYTES = Gauge("mesh_stream_bytes", "Bytes that a stream holds.", ("stream",))
STREAM_MESSAGES = Gauge("mesh_stream_messages", "Messages that a stream holds.", ("stream",))
STREAM_BYTES_LIMIT = Gauge(
    "mesh_stream_limit_bytes", "Bytes that a stream may hold; absent: no limit.", ("stream",)
)
WORKERS = Gauge("mesh_workers", "Worker processes that have a record, by health.", ("health",))
EXPORTER_UP = Gauge(
    "mesh_exporter_up", "1 while the exporter's last look at the server succeeded, else 0."
)
EXPORTER_LOOK_DURATION = Gauge(
    "mesh_exporter_look_duration_seconds", "How long the exporter's last look took."
)

# --- What all of them say ---------------------------------------------------------------------

BUILD_INFO = Gauge("mesh_build_info", "The version of mesh; always 1.", ("version",))

INSTRUMENTS: tuple[Instrument, ...] = (
    *(JOBS_FINISHED, JOB_ATTEMPTS, JOB_DURATION, JOB_QUEUE_WAIT, JOBS_RUNNING),
    *(RESULTS_FENCED, JOBS_TAKEN_OVER, SERVER_TROUBLE, EVENTS_DROPPED),
    *(WORKER_INFO, WORKER_SLOTS, WORKER_SLOTS_USED, WORKER_READY, WORKER_STUCK),
    *(NATS_CONNECTED, NATS_RECONNECTS),
    *(QUEUE_DEPTH, QUEUE_IN_FLIGHT, QUEUE_REDELIVERED, QUEUE_LIMIT, QUEUE_DELIVERED),
    *(QUEUE_OLDEST_AGE, QUEUE_PAUSED, JOBS_ENQUEUED, JOBS_DELAYED, SCHEDULE_LAG),
    *(DEAD_LETTERS, DEAD_LETTERS_ADDED),
    *(STREAM_BYTES, STREAM_MESSAGES, STREAM_BYTES_LIMIT),
    *(WORKERS, EXPORTER_UP, EXPORTER_LOOK_DURATION, BUILD_INFO),
)
"""All of them."""
