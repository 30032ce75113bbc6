"""The grammar of names (namespaces, queues, job ids, tasks) and the making of new ids."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import socket

from mesh.clock import SYSTEM_CLOCK
from mesh.errors import InvalidNameError

NAMESPACE_RULE = "1-32 characters: a lower-case letter, then a-z, 0-9, '_' or '-'"
QUEUE_RULE = "1-64 characters: A-Z, a-z, 0-9, '_' or '-'"
JOB_ID_RULE = "1-128 characters: A-Z, a-z, 0-9, '_', '-' or '='"
TASK_RULE = "1-200 printable characters without spaces"

_NAMESPACE = re.compile(r"[a-z][a-z0-9_-]*", re.ASCII)
_QUEUE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_JOB_ID = re.compile(r"[A-Za-z0-9_=-]+", re.ASCII)


def check_namespace(name: str) -> str:
    """Return the namespace, or raise ``InvalidNameError``."""
    return _checked("namespace", name, _NAMESPACE, 32, NAMESPACE_RULE)


def check_queue(name: str) -> str:
    """Return the queue's name, or raise ``InvalidNameError``."""
    return _checked("queue", name, _QUEUE, 64, QUEUE_RULE)


def check_job_id(name: str) -> str:
    """Return the job id, or raise ``InvalidNameError``."""
    return _checked("job id", name, _JOB_ID, 128, JOB_ID_RULE)


def check_task_name(name: str) -> str:
    """Return the task's name, or raise ``InvalidNameError``."""
    if not name:
        raise InvalidNameError("task", name, "empty", TASK_RULE)
    if len(name) > 200:
        raise InvalidNameError("task", name, "too-long", TASK_RULE)
    if not name.isprintable() or " " in name:
        raise InvalidNameError("task", name, "bad-token", TASK_RULE)
    return name


def _checked(kind: str, name: str, pattern: re.Pattern[str], longest: int, rule: str) -> str:
    if not name:
        raise InvalidNameError(kind, name, "empty", rule)
    if len(name) > longest:
        raise InvalidNameError(kind, name, "too-long", rule)
    if pattern.fullmatch(name) is None:
        raise InvalidNameError(kind, name, "bad-token", rule)
    return name


class _IdSource:
    """Ids that sort by time and never meet: milliseconds, a random part per process, a counter."""

    __slots__ = ("_count", "_process")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._process = secrets.token_hex(6)
        self._count = itertools.count()

    def next(self) -> str:
        return f"{SYSTEM_CLOCK.now_ms():011x}{self._process}{next(self._count):05x}"


_ids = _IdSource()
if hasattr(os, "register_at_fork"):  # A forked child must not go on with its parent's sequence.
    os.register_at_fork(after_in_child=_ids.renew)


def new_job_id() -> str:
    """Make an id of 28 or more characters that sorts by time of making."""
    return _ids.next()


def new_worker_id() -> str:
    """Make a worker id that names the host and process, for people who read it in a record."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:40] or "host"
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"
