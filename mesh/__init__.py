"""mesh: background jobs for Python programs on NATS JetStream."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesh.app import Mesh
    from mesh.client.conflicts import JobConflictError
    from mesh.client.delays import JobNotDelayedError
    from mesh.client.editing import JobNotEditableError
    from mesh.client.happenings import LedgerEvent
    from mesh.client.job import Job
    from mesh.client.status import JobStatus
    from mesh.client.task import Task
    from mesh.contract.envelope import Retry
    from mesh.contract.events import LogLine
    from mesh.contract.lifecycle import Priority, State
    from mesh.contract.records import ErrorInfo
    from mesh.errors import (
        JobCancelledError,
        JobDeadlineError,
        JobExpiredError,
        JobFailedError,
        JobNotFoundError,
        MeshError,
        ResultTimeoutError,
        SoftTimeoutError,
    )
    from mesh.tasks.context import JobContext, current_job
    from mesh.tasks.unique import Unique

__version__ = "0.1.0"

__all__ = [
    "ErrorInfo",
    "Job",
    "JobCancelledError",
    "JobConflictError",
    "JobContext",
    "JobDeadlineError",
    "JobExpiredError",
    "JobFailedError",
    "JobNotDelayedError",
    "JobNotEditableError",
    "JobNotFoundError",
    "JobStatus",
    "LedgerEvent",
    "LogLine",
    "Mesh",
    "MeshError",
    "Priority",
    "ResultTimeoutError",
    "Retry",
    "SoftTimeoutError",
    "State",
    "Task",
    "Unique",
    "current_job",
]

_HOMES = {
    "ErrorInfo": "mesh.contract.records",
    "Job": "mesh.client.job",
    "JobConflictError": "mesh.client.conflicts",
    "JobContext": "mesh.tasks.context",
    "JobNotDelayedError": "mesh.client.delays",
    "JobNotEditableError": "mesh.client.editing",
    "JobStatus": "mesh.client.status",
    "LedgerEvent": "mesh.client.happenings",
    "LogLine": "mesh.contract.events",
    "Mesh": "mesh.app",
    "Priority": "mesh.contract.lifecycle",
    "Retry": "mesh.contract.envelope",
    "State": "mesh.contract.lifecycle",
    "Task": "mesh.client.task",
    "Unique": "mesh.tasks.unique",
    "current_job": "mesh.tasks.context",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: `mesh --help` and a child process need not wait for the NATS client.
    if name not in __all__:
        message = f"module 'mesh' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES.get(name, "mesh.errors")), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
