"""``mesh enqueue``: have a job run, by its task's name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import click

from mesh.cli.options import arguments as read_arguments
from mesh.cli.options import (
    connects,
    duration,
    duration_or_instant,
    instant,
    job_id,
    queue,
    with_output,
)
from mesh.cli.output import Output, as_json
from mesh.cli.target import Target

if TYPE_CHECKING:
    from msgspec import Raw

    from mesh.app import Mesh
    from mesh.client.job import Job
    from mesh.tasks.options import CallKeywords

_PRIORITIES = ("critical", "high", "normal", "low")


@click.command
@click.argument("task")
@click.option(
    "--json",
    "arguments",
    metavar="ARGUMENTS",
    default="[]",
    help="The arguments as JSON: an array by position, an object by name; - reads stdin.",
)
@click.option("-q", "--queue", type=queue, metavar="NAME", help="The queue.")
@click.option("--priority", type=click.Choice(_PRIORITIES), help="The priority.")
@click.option("--delay", type=duration, metavar="DURATION", help="Run it so much later.")
@click.option("--eta", type=instant, metavar="TIME", help="Run it then: ISO 8601 with offset.")
@click.option(
    "--id",
    "--job-id",
    "job_id",
    type=job_id,
    metavar="ID",
    help="The job's id, as an idempotency key: enqueued twice, it runs once.",
)
@click.option(
    "--unique", is_flag=True, default=None, help="Not while one with the same arguments is."
)
@click.option("--timeout", type=duration, metavar="DURATION", help="Limit of one attempt.")
@click.option(
    "--soft-timeout", type=duration, metavar="DURATION", help="When the task is told to stop."
)
@click.option(
    "--deadline",
    type=duration_or_instant,
    metavar="DURATION|TIME",
    help="When the whole job must have ended, retries included.",
)
@click.option("--retry", type=click.IntRange(min=0), help="How often to retry.")
@click.option("--expires", type=duration, metavar="DURATION", help="Drop it if not started.")
@click.option("--wait", "waits", is_flag=True, help="Wait for the result and print it.")
@click.option("--wait-timeout", type=duration, metavar="DURATION", help="Wait only so long.")
@connects
@with_output
def enqueue(
    *,
    output: Output,
    target: Target,
    task: str,
    arguments: str,
    waits: bool,
    wait_timeout: float | None,
    **options: Any,
) -> None:
    """Enqueue a job for TASK and print its id.

    The task need not be known here: a worker that has it runs the job. If the job is there
    already, its id is printed, and stderr says so.
    """
    text = sys.stdin.read() if arguments == "-" else arguments
    args, kwargs = read_arguments(text, "--json")
    keywords = cast(
        "CallKeywords", {name: value for name, value in options.items() if value is not None}
    )
    if "delay" in keywords and "eta" in keywords:
        message = "Give --delay or --eta, not both."
        raise click.UsageError(message)

    async def send(mesh: Mesh) -> tuple[Job[Any], Raw | None]:
        job = await mesh.send(task, args, kwargs, **keywords)
        if not waits and wait_timeout is None:
            return job, None
        client = await mesh.client()
        return job, await client.result(job.id, wait_timeout, is_known=True)

    job, value = target.run(send)
    told = {"job_id": job.id, "is_duplicate": job.is_duplicate}
    if job.is_duplicate and not output.is_json:
        click.echo(f"Job {job.id} was there already; nothing was enqueued.", err=True)
    if value is None:
        output.show(told, job.id)
    else:
        output.show(told | {"result": value}, as_json(value))
