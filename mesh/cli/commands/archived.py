"""``mesh archive query``, ``show``, ``stats`` and ``export``: read what was archived."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mesh.cli.archives import database, opened, selects
from mesh.cli.options import connects, job_id, prints
from mesh.cli.output import Output, table
from mesh.cli.target import Target

if TYPE_CHECKING:
    from mesh.archive.answers import ArchivedJob, Statistics
    from mesh.archive.selection import Which

_HEAD = ("id", "state", "task", "queue", "enqueued", "ran", "attempts", "error")
_LONGEST_ERROR = 60


@click.command
@database
@selects
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--after", metavar="NEXT", help="Go on where the page before ended.")
@connects
@prints
def query(
    *,
    output: Output,
    target: Target,
    database: str | None,
    which: Which,
    limit: int,
    after: str | None,
) -> None:
    """List jobs, the newest first."""
    with opened(target, database) as archive:
        page = archive.jobs(limit=limit, after=after, **which)
    text = table(_HEAD, [_row(job) for job in page.jobs])
    if page.next is not None:
        text += f"\n\nThere are more: --after {page.next}"
    output.show({"jobs": page.jobs, "next": page.next}, text)


@click.command
@database
@click.argument("job", metavar="JOB", type=job_id)
@connects
@prints
def show(*, output: Output, target: Target, database: str | None, job: str) -> None:
    """Say all that is known of JOB."""
    import msgspec

    with opened(target, database) as archive:
        found, events = archive.job(job), archive.events(job)
    facts = msgspec.structs.asdict(found)
    shown = {
        name.removesuffix("_ms"): _time(value) if name.endswith("ed_ms") else value
        for name, value in facts.items()
    }
    shown |= {"tags": ", ".join(found.tags), "duration": f"{found.duration_ms:,} ms"}
    lines = [f"{name:14} {value}".rstrip() for name, value in shown.items()]
    rows = [(_time(one.at_ms), one.kind, one.state, one.detail or "") for one in events]
    text = "\n".join([*lines, "", table(("when", "event", "state", "detail"), rows)])
    output.show(facts | {"events": events}, text)


@click.command
@database
@selects
@connects
@prints
def stats(*, output: Output, target: Target, database: str | None, which: Which) -> None:
    """Count jobs, and rank how long they ran and why they failed."""
    import msgspec

    with opened(target, database) as archive:
        found = archive.statistics(**which)
    output.show(msgspec.structs.asdict(found), _words(found))


@click.command
@database
@selects
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--format",
    "file_format",
    type=click.Choice(("jsonl", "parquet")),
    help="By default as FILE ends, else jsonl.",
)
@connects
@prints
def export(
    *,
    output: Output,
    target: Target,
    database: str | None,
    which: Which,
    file: Path,
    file_format: str | None,
) -> None:
    """Write jobs to FILE, as JSON lines or Parquet; - is stdout."""
    from mesh.archive.export import write_jsonl, write_parquet

    form = file_format or ("parquet" if file.suffix == ".parquet" else "jsonl")
    is_stdout = str(file) == "-"
    if is_stdout and form == "parquet":
        message = "Parquet cannot be written to stdout; name a file."
        raise click.UsageError(message)
    with opened(target, database) as archive:
        jobs = archive.each(**which)
        if form == "parquet":
            count = write_parquet(jobs, file)
        elif is_stdout:
            write_jsonl(jobs, sys.stdout.buffer)
            return
        else:
            with file.open("wb") as lines:
                count = write_jsonl(jobs, lines)
    output.show({"file": str(file), "jobs": count}, f"wrote {count:,} jobs to {file}")


def _row(job: ArchivedJob) -> tuple[object, ...]:
    error = f"{job.error_type}: {job.error_message}" if job.error_type else job.reason
    error = " ".join(error.split())
    if len(error) > _LONGEST_ERROR:
        error = f"{error[: _LONGEST_ERROR - 3]}..."
    ran = f"{job.duration_ms:,} ms" if job.started_ms and job.finished_ms else "-"
    when = _time(job.enqueued_ms)
    return job.id, job.state, job.task, job.queue, when, ran, job.attempts, error


def _words(found: Statistics) -> str:
    parts = [f"{found.jobs:,} jobs"]
    counts = {
        "state": found.by_state,
        "task": found.by_task,
        "queue": found.by_queue,
        "failed with": found.failures,
    }
    parts += [_counted(name, values) for name, values in counts.items() if values]
    if found.durations:
        rows = [
            (one.task, f"{one.jobs:,}", f"{one.p50_ms:,}", f"{one.p95_ms:,}", f"{one.p99_ms:,}")
            for one in found.durations
        ]
        parts.append(table(("task", "ran", "p50 ms", "p95 ms", "p99 ms"), rows))
    if found.hours:
        hours = [
            (_time(hour.begins_ms), hour.succeeded, hour.failed, hour.others)
            for hour in found.hours[-24:]
        ]
        parts.append(table(("hour", "succeeded", "failed", "others"), hours))
    ledgers = [
        (one.stream, one.created[:19], f"{one.highest:,}", f"{one.complete_to:,}")
        for one in found.ledgers
    ]
    parts.append(table(("ledger", "created", "archived to", "complete to"), ledgers))
    return "\n\n".join(parts)


def _counted(name: str, values: Mapping[str, int]) -> str:
    return table((name, "jobs"), [(key or "-", f"{count:,}") for key, count in values.items()])


def _time(at_ms: int) -> str:
    if not at_ms:
        return "-"
    when = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone()
    return when.isoformat(sep=" ", timespec="seconds")
