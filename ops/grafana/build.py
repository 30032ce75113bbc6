"""Write the Grafana dashboards: ``python ops/grafana/build.py``.

They are code, so that a change of a metric's name is found by reading, and JSON beside it, so
that Grafana needs no code. A test writes them anew, compares, and asks every query of a real
Prometheus.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).with_name("dashboards")
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH = 24
HEIGHT = 8
SECONDS, BYTES, RATIO, COUNT, PER_SECOND = "s", "bytes", "percentunit", "short", "ops"


class Panel(NamedTuple):
    """A panel: its title, its unit, and for each query a legend."""

    title: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"
    width: int = 8
    description: str = ""


class Board(NamedTuple):
    """A dashboard: its file, its title, and its panels from left to right, from the top."""

    uid: str
    title: str
    panels: list[Panel]
    queue_from: str = ""


OF_QUEUE = '{queue=~"$queue"}'
RATE = "[$__rate_interval]"

QUEUES = Board(
    "mesh-queues",
    "mesh: queues",
    [
        Panel(
            "Pending jobs",
            COUNT,
            {"{{queue}}": f"sum by (queue) (mesh_queue_depth{OF_QUEUE})"},
            description="Jobs that no worker was given yet.",
        ),
        Panel(
            "Oldest pending job",
            SECONDS,
            {"{{queue}}": f"max by (queue) (mesh_queue_oldest_age_seconds{OF_QUEUE})"},
        ),
        Panel(
            "In flight",
            COUNT,
            {"{{queue}}": f"sum by (queue) (mesh_queue_in_flight{OF_QUEUE})"},
            description="Jobs that workers were given and have not settled.",
        ),
        Panel(
            "Given out",
            PER_SECOND,
            {"{{queue}}": f"sum by (queue) (rate(mesh_queue_delivered_total{OF_QUEUE}{RATE}))"},
        ),
        Panel("Enqueued", PER_SECOND, {"jobs": f"rate(mesh_jobs_enqueued_total{RATE})"}),
        Panel(
            "Pending by priority",
            COUNT,
            {"{{priority}}": f"sum by (priority) (mesh_queue_depth{OF_QUEUE})"},
        ),
        Panel("Delayed jobs", COUNT, {"delayed": "mesh_jobs_delayed"}),
        Panel(
            "Schedule lag",
            SECONDS,
            {"oldest that is due": "mesh_schedule_lag_seconds"},
            description="For how long a job that is due has waited to enter its queue.",
        ),
        Panel(
            "Dead letters",
            COUNT,
            {"{{queue}}": "sum by (queue) (mesh_dead_letters)"},
            description="See `mesh dlq list`.",
        ),
        Panel("Stream size", BYTES, {"{{stream}}": "mesh_stream_bytes"}, width=12),
        Panel(
            "Paused queues",
            COUNT,
            {"{{queue}}": f"mesh_queue_paused{OF_QUEUE}"},
            kind="stat",
            width=12,
        ),
    ],
    queue_from="mesh_queue_depth",
)

TASKS = Board(
    "mesh-tasks",
    "mesh: tasks",
    [
        Panel(
            "Jobs that ended",
            PER_SECOND,
            {
                "{{task}} {{outcome}}": (
                    f"sum by (task, outcome) (rate(mesh_jobs_finished_total{OF_QUEUE}{RATE}))"
                )
            },
            width=12,
        ),
        Panel(
            "Attempts that did not succeed",
            PER_SECOND,
            {
                "{{task}} {{result}}": (
                    "sum by (task, result) (rate(mesh_job_attempts_total"
                    f'{{queue=~"$queue", result!="ok"}}{RATE}))'
                )
            },
            width=12,
        ),
        Panel(
            "How long attempts run",
            SECONDS,
            {
                f"{{{{task}}}} p{percent}": (
                    f"histogram_quantile(0.{percent}, sum by (task, le) "
                    f"(rate(mesh_job_duration_seconds_bucket{OF_QUEUE}{RATE})))"
                )
                for percent in (50, 95)
            },
            width=12,
            description="With tracing on, the dots are examples that lead to their trace.",
        ),
        Panel(
            "How long jobs wait from enqueue to start",
            SECONDS,
            {
                "{{queue}} p95": (
                    "histogram_quantile(0.95, sum by (queue, le) "
                    f"(rate(mesh_job_queue_wait_seconds_bucket{OF_QUEUE}{RATE})))"
                )
            },
            width=12,
        ),
        Panel(
            "Part of the attempts that fail",
            RATIO,
            {"{{task}}": f"queue_task:mesh_job_attempts_failed:ratio_rate5m{OF_QUEUE}"},
            width=24,
        ),
    ],
    queue_from="mesh_queue_depth",
)

WORKERS = Board(
    "mesh-workers",
    "mesh: workers",
    [
        Panel("Ready", COUNT, {"processes": "sum(mesh_worker_ready)"}, kind="stat", width=6),
        Panel(
            "Slots taken",
            RATIO,
            {"of all": ":mesh_worker_slots_used:ratio"},
            kind="stat",
            width=6,
        ),
        Panel(
            "Connected", COUNT, {"processes": "sum(mesh_nats_connected)"}, kind="stat", width=6
        ),
        Panel("Exporter", COUNT, {"up": "mesh_exporter_up"}, kind="stat", width=6),
        Panel("Running jobs", COUNT, {"{{instance}}": "mesh_jobs_running"}, width=12),
        Panel("Stuck for", SECONDS, {"{{instance}}": "mesh_worker_stuck_seconds"}, width=12),
        Panel(
            "Memory",
            BYTES,
            {"{{instance}}": 'process_resident_memory_bytes{job="mesh-worker"}'},
        ),
        Panel(
            "CPU",
            RATIO,
            {"{{instance}}": (f'rate(process_cpu_seconds_total{{job="mesh-worker"}}{RATE})')},
        ),
        Panel(
            "Reconnects",
            PER_SECOND,
            {"{{instance}}": f"rate(mesh_nats_reconnects_total{RATE})"},
        ),
        Panel(
            "Refused outcomes and jobs taken over",
            PER_SECOND,
            {
                "refused {{instance}}": f"rate(mesh_results_fenced_total{RATE})",
                "taken over {{instance}}": f"rate(mesh_jobs_taken_over_total{RATE})",
            },
            width=12,
            description="Work that was done twice, and jobs saved from workers that died.",
        ),
        Panel(
            "Versions",
            COUNT,
            {"{{version}}": "count by (version) (mesh_build_info)"},
            kind="stat",
            width=12,
        ),
    ],
)

BOARDS = (QUEUES, TASKS, WORKERS)


def dashboard(board: Board) -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    return {
        "uid": board.uid,
        "title": board.title,
        "tags": ["mesh"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables(board)},
        "panels": _placed(board.panels),
    }


def _variables(board: Board) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    ]
    if board.queue_from:
        found.append(
            {
                "name": "queue",
                "label": "Queue",
                "type": "query",
                "datasource": SOURCE,
                "query": f"label_values({board.queue_from}, queue)",
                "includeAll": True,
                "multi": True,
                "allValue": ".*",
                "refresh": 2,
            }
        )
    return found


def _placed(panels: list[Panel]) -> list[dict[str, Any]]:
    placed: list[dict[str, Any]] = []
    x = y = 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > WIDTH:
            x, y = 0, y + HEIGHT
        targets = [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": expression,
                "legendFormat": legend,
                "exemplar": "_bucket" in expression,
            }
            for index, (legend, expression) in enumerate(panel.queries.items())
        ]
        placed.append(
            {
                "id": number,
                "type": panel.kind,
                "title": panel.title,
                "description": panel.description,
                "datasource": SOURCE,
                "gridPos": {"x": x, "y": y, "w": panel.width, "h": HEIGHT},
                "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
                "targets": targets,
            }
        )
        x += panel.width
    return placed


def text(board: Board) -> str:
    """The dashboard as the file holds it."""
    return json.dumps(dashboard(board), indent=2) + "\n"


def main() -> None:
    """Write every dashboard."""
    for board in BOARDS:
        (FOLDER / f"{board.uid}.json").write_text(text(board), encoding="utf-8")


if __name__ == "__main__":
    main()
