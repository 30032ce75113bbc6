"""``mesh job``: list jobs, show all of one, read its life; cancel, move, retry or delete it."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from mesh.cli.commands import jobs
from mesh.cli.options import arguments, connects, duration, instant, job_id, prints
from mesh.cli.options import queue as queue_name
from mesh.cli.options import reason as with_reason
from mesh.cli.output import Output, as_json, is_terminal
from mesh.cli.target import Target

if TYPE_CHECKING:
    from mesh.app import Mesh
    from mesh.client.happenings import LedgerEvent
    from mesh.client.status import JobStatus

_STATES = (
    *("scheduled", "awaiting", "pending", "running", "retrying"),
    *("succeeded", "failed", "cancelled", "expired"),
)
_PRIORITIES = ("critical", "high", "normal", "low")
_REDRAW_S = 1.0

_one = click.argument("job", metavar="JOB", type=job_id)


@click.group
def job() -> None:
    """Look at jobs, cancel, move, retry and delete them."""


@job.command("list")
@click.option("--state", type=click.Choice(_STATES), help="Only jobs in this state.")
@click.option("-q", "--queue", type=queue_name, metavar="NAME", help="Only this queue.")
@click.option("--task", metavar="NAME", help="Only jobs of this task.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=50, help="At most so many; 0: all.  [50]"
)
@click.option("--watch", is_flag=True, help="Draw the list again and again, until Ctrl-C.")
@connects
@prints
def list_(
    *,
    output: Output,
    target: Target,
    state: str | None,
    queue: str | None,
    task: str | None,
    limit: int,
    watch: bool,
) -> None:
    """List jobs, those that something happened to last first."""
    from mesh.cli.listings import listed
    from mesh.cli.statuses import values

    async def ask(mesh: Mesh) -> list[JobStatus]:
        found = mesh.find_jobs(state=state, queue=queue, task=task, limit=limit)
        async with aclosing(found):
            return [status async for status in found]

    async def watch_them(mesh: Mesh) -> None:
        import anyio

        while True:
            if is_terminal():
                click.clear()
            show(await ask(mesh))
            await anyio.sleep(_REDRAW_S)

    def show(found: list[JobStatus]) -> None:
        if not output.is_json:
            click.echo(listed(found))
            return
        for status in found:
            click.echo(as_json(values(status)))

    if watch:
        target.run(watch_them)
    else:
        show(target.run(ask))


@job.command
@_one
@connects
@prints
def show(*, output: Output, target: Target, job: str) -> None:
    """Print all that is known of JOB.

    Where it is, its result, what happened to it.
    """
    from mesh.cli.listings import as_values, everything

    async def ask(mesh: Mesh) -> tuple[JobStatus, list[LedgerEvent], Any]:
        handle = mesh.job(job)
        status = await handle.status()
        result = await handle.result() if status.state == "succeeded" else None
        has_ledger = mesh.settings.events.enabled
        return status, await handle.history() if has_ledger else [], result

    status, life, result = target.run(ask)
    shown = None if status.state != "succeeded" else as_json(result)
    output.show(as_values(status, life, result), everything(status, life, shown))


@job.command
@_one
@connects
@prints
def history(*, output: Output, target: Target, job: str) -> None:
    """Print what happened to JOB, in order."""
    from mesh.cli.happenings import show_event

    async def ask(mesh: Mesh) -> list[LedgerEvent]:
        return await mesh.job(job).history()

    for event in target.run(ask):
        show_event(output, event)


job.add_command(jobs.cancel)


@job.command
@_one
@with_reason
@connects
@prints
def retry(*, output: Output, target: Target, job: str, reason: str) -> None:
    """Run JOB, which failed for good, again under a new id."""

    async def again(mesh: Mesh) -> str:
        return (await mesh.job(job).retry(reason)).id

    new_id = target.run(again)
    output.show(
        {"job_id": job, "new_job_id": new_id}, f"job {job} is enqueued again as {new_id}"
    )


@job.command
@_one
@with_reason
@connects
@prints
def delete(*, output: Output, target: Target, job: str, reason: str) -> None:
    """Remove what is kept of a JOB that has ended.

    Its record, its result, its dead letter, its arguments. Its events stay for their time.
    """

    async def remove(mesh: Mesh) -> None:
        await mesh.job(job).delete(reason)

    target.run(remove)
    output.show({"job_id": job, "deleted": True}, f"job {job} is deleted")


@job.command
@_one
@click.option("--args", "given", metavar="JSON", help="New arguments: array or object.")
@click.option("--to-queue", type=queue_name, metavar="NAME", help="Into this queue.")
@click.option("--to-priority", type=click.Choice(_PRIORITIES), help="With this priority.")
@with_reason
@connects
@prints
def edit(
    *,
    output: Output,
    target: Target,
    job: str,
    given: str | None,
    to_queue: str | None,
    to_priority: str | None,
    reason: str,
) -> None:
    """Change JOB before a worker is given it.

    Its arguments are replaced as a whole. Exits with 1 if it runs or has ended.
    """
    if given is None and to_queue is None and to_priority is None:
        message = "Give --args, --to-queue or --to-priority."
        raise click.UsageError(message)
    args, kwargs = (None, None) if given is None else arguments(given, "--args")

    async def change(mesh: Mesh) -> JobStatus:
        handle = mesh.job(job)
        await handle.edit(
            args=args, kwargs=kwargs, queue=to_queue, priority=to_priority, reason=reason
        )
        return await handle.status()

    status = target.run(change)
    found = {"job_id": job, "queue": status.queue, "priority": status.priority}
    output.show(
        found, f"job {job} is changed: queue {status.queue}, priority {status.priority}"
    )


@job.command
@_one
@connects
@prints
def run_now(*, output: Output, target: Target, job: str) -> None:
    """Have JOB run now instead of waiting for its time.

    It may be delayed, or wait for its next attempt. If its wait was over before, nothing is
    done. Exits with 1 if it has ended.
    """

    async def release(mesh: Mesh) -> bool:
        return await mesh.job(job).run_now()

    is_moved = target.run(release)
    words = "runs now" if is_moved else "did not wait any more: it is ready, or runs"
    output.show({"job_id": job, "moved": is_moved}, f"job {job} {words}")


@job.command
@_one
@click.option(
    "--delay", type=duration, metavar="DURATION", help="Run it so much later than now."
)
@click.option("--eta", type=instant, metavar="TIME", help="Run it then: ISO 8601 with offset.")
@connects
@prints
def reschedule(
    *, output: Output, target: Target, job: str, delay: float | None, eta: datetime | None
) -> None:
    """Have JOB run at another time.

    It may be delayed, or wait for its next attempt. Exits with 1 if it does not wait any more.
    """
    from mesh.cli.statuses import moment

    if (delay is None) == (eta is None):
        message = "Give --delay or --eta, and not both."
        raise click.UsageError(message)

    async def move(mesh: Mesh) -> JobStatus:
        handle = mesh.job(job)
        await handle.reschedule(delay=delay, eta=eta)
        return await handle.status()

    status = target.run(move)
    due_ms = status.due_at_ms
    output.show({"job_id": job, "due_at_ms": due_ms}, f"job {job} is due at {moment(due_ms)}")
