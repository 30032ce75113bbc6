"""``mesh workers``: see the live workers, tell them to drain, to stop, to run more at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from mesh.cli.options import connects, prints
from mesh.cli.output import Output, table
from mesh.cli.target import Target

if TYPE_CHECKING:
    from mesh.app import Mesh
    from mesh.client.workers import WorkerStatus

_HEAD = ("worker", "health", "queues", "running", "slots", "memory", "version")
_MIB = 1024 * 1024

named = click.argument("worker", metavar="WORKER")


@click.group
def workers() -> None:
    """See the live workers and tell them what to do."""


@workers.command(name="list")
@connects
@prints
def list_(*, output: Output, target: Target) -> None:
    """List the workers of the last five minutes."""

    async def ask(mesh: Mesh) -> list[WorkerStatus]:
        return await mesh.workers.list()

    found = target.run(ask)
    output.show({"workers": found}, table(_HEAD, [_row(status) for status in found]))


@workers.command
@named
@connects
@prints
def show(*, output: Output, target: Target, worker: str) -> None:
    """Say what WORKER is and what it runs."""

    async def ask(mesh: Mesh) -> WorkerStatus:
        return await mesh.workers.get(worker)

    import msgspec

    status = target.run(ask)
    output.show(msgspec.structs.asdict(status), _text(status))


@workers.command
@named
@connects
@prints
def drain(*, output: Output, target: Target, worker: str) -> None:
    """Have WORKER finish its jobs and end.

    It takes no more of them. Whoever keeps it running, such as a supervisor, may start another
    in its place.
    """

    async def tell(mesh: Mesh) -> None:
        await mesh.workers.drain(worker)

    target.run(tell)
    output.show({"worker": worker, "told": "drain"}, f"{worker} drains, and ends then")


@workers.command
@named
@connects
@prints
def stop(*, output: Output, target: Target, worker: str) -> None:
    """Have WORKER hand its jobs back and end.

    They use up no attempt.
    """

    async def tell(mesh: Mesh) -> None:
        await mesh.workers.stop(worker)

    target.run(tell)
    output.show({"worker": worker, "told": "stop"}, f"{worker} hands its jobs back and ends")


@workers.command(name="set")
@named
@click.argument("change", metavar="concurrency=N")
@connects
@prints
def set_(*, output: Output, target: Target, worker: str, change: str) -> None:
    """Have WORKER run N jobs at once, until it ends."""
    name, _, number = change.partition("=")
    if name != "concurrency" or not number.isdecimal():
        message = f"{change!r} cannot be set; write concurrency=N, such as concurrency=50"
        raise click.BadParameter(message)

    async def tell(mesh: Mesh) -> None:
        await mesh.workers.set(worker, concurrency=int(number))

    target.run(tell)
    values = {"worker": worker, "told": "set", "concurrency": int(number)}
    output.show(values, f"{worker} runs {int(number):,} jobs at once from now on")


def _row(status: WorkerStatus) -> tuple[object, ...]:
    return (
        status.worker,
        _health(status),
        ",".join(status.queues),
        f"{status.running:,}",
        f"{status.slots:,}",
        f"{status.rss_bytes / _MIB:,.0f} MiB",
        status.version,
    )


def _health(status: WorkerStatus) -> str:
    if not status.is_healthy:
        return f"unheard for {status.heard_s:.0f} s"
    return "drains" if status.is_draining else "healthy"


def _text(status: WorkerStatus) -> str:
    started = datetime.fromtimestamp(status.started_at_ms / 1000, UTC).astimezone()
    rows = [
        ("worker", status.worker),
        ("health", _health(status)),
        ("where", f"{status.host}, pid {status.pid}"),
        ("version", status.version),
        ("queues", ", ".join(status.queues)),
        ("running", f"{status.running:,} of {status.slots:,} slots"),
        ("memory", f"{status.rss_bytes / _MIB:,.0f} MiB"),
        ("cpu", f"{status.cpu_s:,.1f} s"),
        ("started", started.isoformat(timespec="seconds")),
    ]
    rows += [("", f"{job.job_id}  {job.task}  {job.queue}") for job in status.jobs]
    return "\n".join(f"{key:12} {value}".rstrip() for key, value in rows)
