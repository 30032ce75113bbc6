"""Which jobs are asked for, as a condition in SQL; without I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypedDict

from msgspec import Struct

from mesh.errors import OptionError

_ABOVE_ALL_IDS = "\x7f"


class Which(TypedDict, total=False):
    """Which jobs; whatever is left out matches all.

    ``state``, ``task``, ``queue``, ``tag``: exactly this. ``since_ms`` and ``until_ms``:
    enqueued then or later, and before then, in milliseconds since the epoch. ``error``: a part
    of the failure's type or message, in small or capital letters. ``id_prefix``: how the job's
    id begins.
    """

    state: str | None
    task: str | None
    queue: str | None
    tag: str | None
    since_ms: int | None
    until_ms: int | None
    error: str | None
    id_prefix: str | None


class Selection(Struct, frozen=True):
    """Which jobs; see ``Which``."""

    state: str | None = None
    task: str | None = None
    queue: str | None = None
    tag: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    error: str | None = None
    id_prefix: str | None = None


class Condition(NamedTuple):
    """A condition in SQL, with a ``?`` for each value.

    Attributes:
        sql: The condition.
        values: The values.
    """

    sql: str
    values: tuple[object, ...]


def condition(namespace: str, selection: Selection) -> Condition:
    """Say in SQL which jobs of a namespace are meant."""
    parts = [("namespace = ?", namespace), *_parts(selection)]
    values: list[object] = []
    for sql, value in parts:
        values += [value] * sql.count("?")
    return Condition(" AND ".join(sql for sql, _ in parts), tuple(values))


def after(cursor: str) -> Condition:
    """Say in SQL which jobs stand below the last one of a page; newest first.

    Raises:
        OptionError: No page ended so.
    """
    enqueued_ms, dot, job_id = cursor.partition(".")
    if not dot or not enqueued_ms.isdigit():
        option, why = (
            "after",
            f"no page ended with {cursor!r}; give the `next` of the page before",
        )
        raise OptionError(option, why)
    return Condition("(enqueued_ms, id) < (?, ?)", (int(enqueued_ms), job_id))


def cursor_of(enqueued_ms: int, job_id: str) -> str:
    """Name the place of a job, for the page that follows it."""
    return f"{enqueued_ms}.{job_id}"


def _parts(selection: Selection) -> Iterator[tuple[str, object]]:
    for name in ("state", "task", "queue"):
        value = getattr(selection, name)
        if value is not None:
            yield f"{name} = ?", value
    if selection.tag is not None:
        yield "tags LIKE ? ESCAPE '\\'", f"%\n{_literally(selection.tag)}\n%"
    if selection.since_ms is not None:
        yield "enqueued_ms >= ?", selection.since_ms
    if selection.until_ms is not None:
        yield "enqueued_ms < ?", selection.until_ms
    if selection.error is not None:
        part = f"%{_literally(selection.error.lower())}%"
        yield (
            "(LOWER(error_type) LIKE ? ESCAPE '\\' OR LOWER(error_message) LIKE ? ESCAPE '\\')",
            part,
        )
    if selection.id_prefix is not None:
        # Not LIKE: only a range makes use of the index.
        yield "id >= ?", selection.id_prefix
        yield "id < ?", f"{selection.id_prefix}{_ABOVE_ALL_IDS}"


def _literally(text: str) -> str:
    """The text as a pattern that matches nothing else."""
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return text
