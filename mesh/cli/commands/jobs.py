"""``mesh status``, ``result``, ``watch`` and ``cancel``: ask about one job, or end it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mesh.cli.options import connects, duration, job_id, prints
from mesh.cli.output import Output, as_json, is_terminal
from mesh.cli.target import Target
from mesh.worker.exits import Exit

if TYPE_CHECKING:
    from msgspec import Raw

    from mesh.app import Mesh
    from mesh.client.status import JobStatus


@click.command
@click.argument("job", metavar="JOB", type=job_id)
@connects
@prints
def status(*, output: Output, target: Target, job: str) -> None:
    """Say where JOB is."""
    from mesh.cli.statuses import details, values

    async def ask(mesh: Mesh) -> JobStatus:
        return await mesh.job(job).status()

    found = target.run(ask)
    output.show(values(found), details(found))


@click.command
@click.argument("job", metavar="JOB", type=job_id)
@click.option("--timeout", type=duration, metavar="DURATION", help="Wait only so long.")
@connects
@prints
def result(*, output: Output, target: Target, job: str, timeout: float | None) -> None:
    """Wait for JOB to end and print its result.

    Exits with 1 if the job failed, was cancelled or expired.
    """

    async def ask(mesh: Mesh) -> Raw:
        client = await mesh.client()
        return await client.result(job, timeout, is_known=False)

    value = target.run(ask)
    output.show({"job_id": job, "result": value}, as_json(value))


@click.command
@click.argument("job", metavar="JOB", type=job_id)
@connects
@prints
def watch(*, output: Output, target: Target, job: str) -> int:
    """Follow JOB until it has ended.

    Draws a progress bar on a terminal, else prints a line for each change. Exits with 1 if the
    job failed, was cancelled or expired.
    """
    from mesh.cli.statuses import Bar, Lines
    from mesh.contract.lifecycle import State

    async def follow(mesh: Mesh) -> JobStatus | None:
        last: JobStatus | None = None
        with Bar() if is_terminal() and not output.is_json else Lines(output) as view:
            async for last in mesh.job(job).watch():
                view.show(last)
        return last

    last = target.run(follow)
    return Exit.OK if last is not None and last.state is State.SUCCEEDED else Exit.FAILED


@click.command
@click.argument("job", metavar="JOB", type=job_id)
@click.option("--reason", default="", help="Kept in the job's record.")
@connects
@prints
def cancel(*, output: Output, target: Target, job: str, reason: str) -> int:
    """Cancel JOB wherever it is.

    Exits with 1 if it had ended in another way before.
    """

    async def end(mesh: Mesh) -> tuple[bool, str]:
        handle = mesh.job(job)
        is_cancelled = await handle.cancel(reason)
        return is_cancelled, "cancelled" if is_cancelled else (await handle.status()).state

    is_cancelled, state = target.run(end)
    values = {"job_id": job, "cancelled": is_cancelled, "state": state}
    words = "is cancelled" if is_cancelled else f"had ended before: it is {state}"
    output.show(values, f"job {job} {words}")
    return Exit.OK if is_cancelled else Exit.FAILED
