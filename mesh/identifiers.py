"""The grammar of names (namespaces, queues, job ids, tasks) and the making of new ids."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import socket
from collections.abc import Callable

from mesh.clock import SYSTEM_CLOCK
from mesh.errors import InvalidNameError

NAMESPACE_RULE = "1-32 characters: a lower-case letter, then a-z, 0-9, '_' or '-'"
QUEUE_RULE = "1-64 characters: A-Z, a-z, 0-9, '_' or '-'"
SCHEDULE_RULE = "1-64 characters: A-Z, a-z, 0-9, '_' or '-'"
JOB_ID_RULE = "1-128 characters: A-Z, a-z, 0-9, '_', '-' or '='"
TASK_RULE = "1-200 printable characters without spaces"

_is_namespace = re.compile(r"[a-z][a-z0-9_-]*").fullmatch
_is_queue = re.compile(r"[A-Za-z0-9_-]+").fullmatch
_is_job_id = re.compile(r"[A-Za-z0-9_=-]+").fullmatch


def check_namespace(name: str) -> str:
    """Return the namespace, or raise ``InvalidNameError``."""
    return _checked("namespace", name, _is_namespace, 32, NAMESPACE_RULE)


def check_queue(name: str) -> str:
    """Return the queue's name, or raise ``InvalidNameError``."""
    return _checked("queue", name, _is_queue, 64, QUEUE_RULE)


def check_schedule_id(name: str) -> str:
    """Return the schedule's id, or raise ``InvalidNameError``."""
    return _checked("schedule", name, _is_queue, 64, SCHEDULE_RULE)


def check_job_id(name: str) -> str:
    """Return the job id, or raise ``InvalidNameError``."""
    return _checked("job id", name, _is_job_id, 128, JOB_ID_RULE)


def check_task_name(name: str) -> str:
    """Return the task's name, or raise ``InvalidNameError``."""
    return _checked("task", name, _is_task_name, 200, TASK_RULE)


def _is_task_name(name: str) -> bool:
    return name.isprintable() and " " not in name


def _checked(
    kind: str, name: object, grammar: Callable[[str], object], longest: int, rule: str
) -> str:
    if isinstance(name, str) and 0 < len(name) <= longest and grammar(name):
        return name
    text = str(name)
    reason = "empty" if not text else "too-long" if len(text) > longest else "bad-token"
    raise InvalidNameError(kind, text, reason, rule)


class _IdSource:
    """Ids that sort by time and never meet: milliseconds, a random part, a counter."""

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
