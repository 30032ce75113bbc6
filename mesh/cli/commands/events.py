"""``mesh events`` and ``mesh logs``: what happens to jobs and queues, and what jobs log."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from mesh.cli.options import connects, duration_or_instant, job_id, prints
from mesh.cli.options import queue as queue_name
from mesh.cli.output import Output
from mesh.cli.target import Target

if TYPE_CHECKING:
    from mesh.app import Mesh


@click.group
def events() -> None:
    """See what happens to jobs and queues."""


@events.command
@click.argument("patterns", metavar="[EVENT]...", nargs=-1)
@click.option("-q", "--queue", type=queue_name, metavar="NAME", help="Only of this queue.")
@click.option("--task", metavar="NAME", help="Only of this task.")
@click.option("--job", type=job_id, metavar="JOB", help="Only of this job.")
@click.option(
    "--since",
    type=duration_or_instant,
    metavar="WHEN",
    help="Begin then: a time, or a duration ago.",
)
@click.option("--no-follow", is_flag=True, help="End with what has happened.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after N events.")
@connects
@prints
def tail(
    *,
    output: Output,
    target: Target,
    patterns: tuple[str, ...],
    queue: str | None,
    task: str | None,
    job: str | None,
    since: float | datetime | None,
    no_follow: bool,
    limit: int | None,
) -> None:
    """Print events as they happen, until Ctrl-C.

    EVENT is a name such as job.failed, or a pattern such as 'queue.*'; none: all but the logs
    of jobs.
    """
    from contextlib import aclosing

    from mesh.cli.happenings import show_event

    async def follow(mesh: Mesh) -> None:
        found = mesh.events(
            *patterns, queue=queue, task=task, job=job, since=since, follow=not no_follow
        )
        count = 0
        async with aclosing(found):
            async for event in found:
                show_event(output, event)
                count += 1
                if count == limit:
                    return

    target.run(follow)


@click.command
@click.argument("job", metavar="JOB", type=job_id)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Only this attempt.")
@connects
@prints
def logs(
    *, output: Output, target: Target, job: str, follow: bool, attempt: int | None
) -> None:
    """Print what JOB has logged."""
    from mesh.cli.happenings import show_line

    async def read(mesh: Mesh) -> None:
        async for line in mesh.job(job).logs(attempt=attempt, follow=follow):
            show_line(output, line)

    target.run(read)
