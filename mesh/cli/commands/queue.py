"""``mesh queue``: look at queues, pause, resume, limit, purge and move them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from mesh.cli import options
from mesh.cli.options import connects, duration, instant, prints
from mesh.cli.output import Output, is_terminal, table
from mesh.cli.target import Target

if TYPE_CHECKING:
    from mesh.app import Mesh
    from mesh.client.queues import QueueStatus

_PRIORITIES = ("critical", "high", "normal", "low")
_HEAD = ("queue", "pending", "running", "oldest", "limit", "paused")

named = click.argument("name", metavar="QUEUE", type=options.queue)


@click.group
def queue() -> None:
    """Look at queues, pause, resume, limit, purge and move them."""


@queue.command(name="list")
@connects
@prints
def list_(*, output: Output, target: Target) -> None:
    """List every queue that has been set up or holds jobs."""

    async def ask(mesh: Mesh) -> list[QueueStatus]:
        return await mesh.queue_statuses()

    found = target.run(ask)
    output.show({"queues": found}, table(_HEAD, [_row(status) for status in found]))


@queue.command
@named
@connects
@prints
def show(*, output: Output, target: Target, name: str) -> None:
    """Say what QUEUE holds and how it is controlled."""

    async def ask(mesh: Mesh) -> QueueStatus:
        return await mesh.queue(name).status()

    _show(output, target.run(ask))


@queue.command
@named
@click.option("--until", type=instant, metavar="TIME", help="ISO 8601 with offset.")
@click.option("--for", "length", type=duration, metavar="DURATION", help="End it by itself.")
@connects
@prints
def pause(
    *, output: Output, target: Target, name: str, until: datetime | None, length: float | None
) -> None:
    """Give out no more jobs of QUEUE.

    Jobs that workers already have are run, and producers go on. A pause outlives every restart.
    """
    if until is not None and length is not None:
        message = "Give --until or --for, not both."
        raise click.UsageError(message)

    async def stop(mesh: Mesh) -> QueueStatus:
        handle = mesh.queue(name)
        await handle.pause(until if length is None else length)
        return await handle.status()

    _show(output, target.run(stop))


@queue.command
@named
@connects
@prints
def resume(*, output: Output, target: Target, name: str) -> None:
    """Give out jobs of QUEUE again."""

    async def go_on(mesh: Mesh) -> QueueStatus:
        handle = mesh.queue(name)
        await handle.resume()
        return await handle.status()

    _show(output, target.run(go_on))


@queue.command
@named
@click.argument("most", metavar="[N]", type=click.IntRange(min=1), required=False)
@click.option("--reset", is_flag=True, help="Go back to the limit of the settings.")
@connects
@prints
def limit(*, output: Output, target: Target, name: str, most: int | None, reset: bool) -> None:
    """Let workers have at most N jobs of QUEUE at once.

    It holds for each priority and for all workers together, from now on. ``mesh setup`` leaves
    it alone.
    """
    if (most is None) != reset:
        message = "Give a limit or --reset."
        raise click.UsageError(message)

    async def restrict(mesh: Mesh) -> QueueStatus:
        handle = mesh.queue(name)
        await handle.limit(most)
        return await handle.status()

    _show(output, target.run(restrict))


@queue.command
@named
@click.option("--priority", type=click.Choice(_PRIORITIES), help="Only this priority.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connects
@prints
def purge(
    *, output: Output, target: Target, name: str, priority: str | None, yes: bool
) -> None:
    """Cancel every job of QUEUE that no worker has been given yet."""
    if not yes:
        _confirm(name, priority, target)

    async def empty(mesh: Mesh) -> int:
        pending = await _pending(mesh, name, priority)
        with _progress(output, pending, "cancelling") as advance:
            return await mesh.queue(name).purge(priority, advance)

    cancelled = target.run(empty)
    output.show(
        {"queue": name, "cancelled": cancelled},
        f"cancelled {cancelled:,} pending jobs of queue {name}",
    )


@queue.command
@named
@click.argument("to", metavar="[TO]", type=options.queue, required=False)
@click.option("--to-priority", type=click.Choice(_PRIORITIES), help="With this priority.")
@click.option("--priority", type=click.Choice(_PRIORITIES), help="Only this priority.")
@connects
@prints
def move(
    *,
    output: Output,
    target: Target,
    name: str,
    to: str | None,
    to_priority: str | None,
    priority: str | None,
) -> None:
    """Move pending jobs to another queue or priority.

    They stay the same jobs, with their ids. What workers were given already stays where it is.
    """
    if to is None and to_priority is None:
        message = "Give a queue to move to, --to-priority, or both."
        raise click.UsageError(message)

    async def carry(mesh: Mesh) -> int:
        pending = await _pending(mesh, name, priority)
        with _progress(output, pending, "moving") as advance:
            return await mesh.queue(name).move(
                to, to_priority=to_priority, priority=priority, on_progress=advance
            )

    moved = target.run(carry)
    where = f"queue {to or name}" + (f", priority {to_priority}" if to_priority else "")
    output.show(
        {"queue": name, "to_queue": to or name, "to_priority": to_priority, "moved": moved},
        f"moved {moved:,} pending jobs of queue {name} to {where}",
    )


def _confirm(name: str, priority: str | None, target: Target) -> None:
    """Have a person type the queue's name; a script must say ``--yes``."""
    if not sys.stdin.isatty():
        message = "nobody is here to confirm; give --yes to cancel the pending jobs"
        raise click.UsageError(message)

    async def count(mesh: Mesh) -> int:
        return await _pending(mesh, name, priority)

    pending = target.run(count)
    click.echo(f"This cancels {pending:,} pending jobs of queue {name}, for good.", err=True)
    typed = click.prompt("Type the queue's name to go on", err=True)
    if typed != name:
        message = f"{typed!r} is not {name!r}; nothing was cancelled"
        raise click.UsageError(message)


async def _pending(mesh: Mesh, name: str, priority: str | None) -> int:
    status = await mesh.queue(name).status()
    return sum(status.pending.values()) if priority is None else status.pending[priority]


def _progress(
    output: Output, pending: int, label: str
) -> AbstractContextManager[Callable[[int], None] | None]:
    """Draw a bar on a terminal, and nothing elsewhere."""
    if output.is_json or not pending or not is_terminal(sys.stderr):
        return nullcontext()
    return _Bar(pending, label)


class _Bar:
    """A progress bar on stderr."""

    def __init__(self, length: int, label: str) -> None:
        self._bar = click.progressbar(length=length, label=label, file=sys.stderr)

    def __enter__(self) -> Callable[[int], None]:
        return self._bar.__enter__().update

    def __exit__(self, *error: object) -> None:
        self._bar.render_finish()


def _show(output: Output, status: QueueStatus) -> None:
    import msgspec

    lanes = ", ".join(f"{count:,} {name}" for name, count in status.pending.items() if count)
    rows = [
        ("queue", status.queue),
        ("pending", lanes or "0"),
        ("running", f"{status.running:,}"),
        ("redelivered", f"{status.redelivered:,}"),
        ("oldest", _age(status)),
        ("limit", _limit(status)),
        ("paused", _paused(status)),
    ]
    text = "\n".join(f"{key:12} {value}".rstrip() for key, value in rows)
    output.show(msgspec.structs.asdict(status), text)


def _row(status: QueueStatus) -> tuple[object, ...]:
    pending = f"{sum(status.pending.values()):,}"
    running = f"{status.running:,}"
    return status.queue, pending, running, _age(status), _limit(status), _paused(status)


def _age(status: QueueStatus) -> str:
    age_s = status.oldest_pending_age_s
    return "-" if age_s is None else f"{age_s:,.1f} s"


def _limit(status: QueueStatus) -> str:
    if not status.limit:
        return "-"
    origin = "set live" if status.has_live_limit else "settings"
    return f"{status.limit:,} a priority ({origin})"


def _paused(status: QueueStatus) -> str:
    if not status.is_paused:
        return "no"
    if not status.paused_until_ms:
        return "until it is resumed"
    end = datetime.fromtimestamp(status.paused_until_ms / 1000, UTC).astimezone()
    return f"until {end.isoformat(timespec='seconds')}"
