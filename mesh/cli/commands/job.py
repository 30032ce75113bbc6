"""``mesh job``: act on one job."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from mesh.cli.options import connects, duration, instant, job_id, prints
from mesh.cli.output import Output
from mesh.cli.target import Target

if TYPE_CHECKING:
    from mesh.app import Mesh
    from mesh.client.status import JobStatus

named = click.argument("name", metavar="JOB", type=job_id)


@click.group
def job() -> None:
    """Act on one job."""


@job.command
@named
@connects
@prints
def run_now(*, output: Output, target: Target, name: str) -> None:
    """Have JOB run now instead of waiting for its time.

    It may be delayed, or wait for its next attempt. If its wait was over before, nothing is
    done. Exits with 1 if it has ended.
    """

    async def release(mesh: Mesh) -> bool:
        return await mesh.job(name).run_now()

    is_moved = target.run(release)
    words = "runs now" if is_moved else "did not wait any more: it is ready, or runs"
    output.show({"job_id": name, "moved": is_moved}, f"job {name} {words}")


@job.command
@named
@click.option(
    "--delay", type=duration, metavar="DURATION", help="Run it so much later than now."
)
@click.option("--eta", type=instant, metavar="TIME", help="Run it then: ISO 8601 with offset.")
@connects
@prints
def reschedule(
    *, output: Output, target: Target, name: str, delay: float | None, eta: datetime | None
) -> None:
    """Have JOB run at another time.

    It may be delayed, or wait for its next attempt. Exits with 1 if it does not wait any more.
    """
    from mesh.cli.statuses import moment

    if (delay is None) == (eta is None):
        message = "Give --delay or --eta, and not both."
        raise click.UsageError(message)

    async def move(mesh: Mesh) -> JobStatus:
        handle = mesh.job(name)
        await handle.reschedule(delay=delay, eta=eta)
        return await handle.status()

    status = target.run(move)
    due_ms = status.due_at_ms
    output.show({"job_id": name, "due_at_ms": due_ms}, f"job {name} is due at {moment(due_ms)}")
