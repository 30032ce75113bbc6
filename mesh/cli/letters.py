"""How dead letters and their replays look: as rows, in full, as values for programs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from mesh.cli.output import as_json, table
from mesh.client.letters import Letter, Replayed, ReplayOutcome
from mesh.contract.records import ErrorInfo

HEAD = ("DIED", "JOB", "TASK", "QUEUE", "ATTEMPT", "ERROR")
_LONGEST_ERROR = 80


def listed(letters: list[Letter]) -> str:
    """The letters as a table."""
    if not letters:
        return "no dead letters"
    return table(HEAD, [_row(letter) for letter in letters])


def values(letter: Letter) -> dict[str, Any]:
    """What the letter says, without the job's body."""
    record = letter.record
    return {
        name: getattr(record, name)
        for name in record.__struct_fields__
        if name not in ("v", "body_ref")
    }


def full(letter: Letter, body: object) -> dict[str, Any]:
    """What the letter says, with the job's body."""
    return values(letter) | {"content_type": letter.content_type, "body": body}


def details(letter: Letter, body: object) -> str:
    """All of the letter for people: a line for each fact, the errors, then the body."""
    record = letter.record
    facts = {
        "job_id": record.job_id,
        "task": record.task,
        "queue": record.queue,
        "priority": record.priority,
        "attempt": record.attempt,
        "worker": record.worker,
        "enqueued_at": _instant(record.enqueued_at_ms),
        "died_at": _instant(record.died_at_ms),
    }
    lines = [f"{name:13}{value}" for name, value in facts.items() if value != ""]
    lines += ["", *_failures(record.error), "", "body"]
    shown = body if isinstance(body, str) else msgspec.json.format(as_json(body), indent=2)
    return "\n".join([*lines, _indented(shown)])


def replayed(replay: Replayed) -> str:
    """What became of one letter, on one line."""
    match replay.outcome:
        case ReplayOutcome.SKIPPED:
            return f"{replay.job_id} is skipped: {replay.reason}"
        case ReplayOutcome.REPLAYED_BEFORE:
            return f"{replay.job_id} had been replayed before as {replay.new_job_id}"
        case ReplayOutcome.WOULD_REPLAY:
            return f"{replay.job_id} would be replayed as {replay.new_job_id}"
        case ReplayOutcome.REPLAYED:
            return f"{replay.job_id} is replayed as {replay.new_job_id}"


def _row(letter: Letter) -> tuple[object, ...]:
    record = letter.record
    error = " ".join(f"{record.error.type}: {record.error.message}".split())
    if len(error) > _LONGEST_ERROR:
        error = error[: _LONGEST_ERROR - 3] + "..."
    died = _instant(record.died_at_ms)
    return (died, record.job_id, record.task or "-", record.queue, record.attempt, error)


def _failures(error: ErrorInfo | None) -> Iterator[str]:
    """The error, its traceback and notes, then what caused it."""
    word = "error"
    while error is not None:
        yield f"{word:13}{error.type}: {error.message}"
        yield from (_indented(note) for note in error.notes)
        if error.traceback:
            yield _indented(error.traceback.rstrip())
        word, error = "caused by", error.cause


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _instant(at_ms: int) -> str:
    if not at_ms:
        return ""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
