"""``mesh schedule``: look at schedules, add, change, run and remove them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mesh.cli import options, schedules
from mesh.cli.options import connects, duration, instant, prints
from mesh.cli.output import Output
from mesh.cli.target import Target
from mesh.cli.timetables import with_rules, with_timetable

if TYPE_CHECKING:
    from mesh.app import Mesh
    from mesh.client.schedule_views import Backfilled, ScheduleRun, ScheduleView, SyncReport
    from mesh.client.schedules import Schedules
    from mesh.contract.schedules import Schedule

T = TypeVar("T")

_PRIORITIES = ("critical", "high", "normal", "low")

named = click.argument("name", metavar="ID", type=options.schedule)


@click.group
def schedule() -> None:
    """Look at schedules, add, change, run and remove them."""


@schedule.command(name="list")
@connects
@prints
def list_(*, output: Output, target: Target) -> None:
    """List the schedules with their next and last ticks."""
    schedules.show_all(output, _run(target, lambda them: them.list()))


@schedule.command
@named
@connects
@prints
def show(*, output: Output, target: Target, name: str) -> None:
    """Show what schedule ID says and how far it is."""
    schedules.show(output, _run(target, lambda them: them.get(name)))


@schedule.command
@named
@click.argument("task")
@with_timetable
@with_rules
@click.option("--args", "arguments", metavar="JSON", default="[]", help="An array or object.")
@click.option("-q", "--queue", type=options.queue, metavar="NAME", help="The queue.")
@click.option("--priority", type=click.Choice(_PRIORITIES), help="The priority.")
@click.option("--timeout", type=duration, metavar="DURATION", help="Limit of one attempt.")
@click.option("--retry", type=click.IntRange(min=0), help="How often to retry.")
@click.option("--expires", type=duration, metavar="DURATION", help="Drop it if not started.")
@connects
@prints
def add(
    *,
    output: Output,
    target: Target,
    name: str,
    task: str,
    arguments: str,
    times: dict[str, Any],
    rules: dict[str, Any],
    **job: Any,
) -> None:
    """Add schedule ID, which runs TASK, or change it.

    Say when with one of --cron, --every and --at. What is not said is as in a new schedule; a
    pause stays.
    """
    from mesh.tasks.definition import call_by_name
    from mesh.tasks.options import call_options

    args, kwargs = options.arguments(arguments, "--args")
    given: Any = {word: value for word, value in job.items() if value is not None}
    call = call_by_name(task, args, kwargs, call_options(given))
    view = _run(target, lambda them: them.upsert(name, call, **times, **rules))
    schedules.show(output, view)


@schedule.command
@named
@click.option("--note", default="", metavar="TEXT", help="Why, for people.")
@click.option("--by", default="", metavar="NAME", help="Who does it, for people.")
@click.option("--until", type=instant, metavar="TIME", help="ISO 8601 with offset.")
@click.option("--for", "length", type=duration, metavar="DURATION", help="End it by itself.")
@connects
@prints
def pause(
    *,
    output: Output,
    target: Target,
    name: str,
    note: str,
    by: str,
    until: datetime | None,
    length: float | None,
) -> None:
    """Let schedule ID rest.

    It has no ticks then, and none of them is made up for.
    """
    if until is not None and length is not None:
        message = "Give --until or --for, not both."
        raise click.UsageError(message)
    end = until if length is None else length
    view = _run(target, lambda them: them.pause(name, note=note, until=end, by=by))
    schedules.show(output, view)


@schedule.command
@named
@connects
@prints
def resume(*, output: Output, target: Target, name: str) -> None:
    """Let schedule ID go on."""
    schedules.show(output, _run(target, lambda them: them.resume(name)))


@schedule.command
@named
@connects
@prints
def trigger(*, output: Output, target: Target, name: str) -> None:
    """Run the job of schedule ID now; print the job's id.

    Also while it rests.
    """
    job = _run(target, lambda them: them.trigger(name))
    output.show({"job_id": job.id}, job.id)


@schedule.command
@named
@connects
@prints
def remove(*, output: Output, target: Target, name: str) -> None:
    """Remove schedule ID; its jobs that are running go on."""
    _run(target, lambda them: them.remove(name))
    output.show({"removed": name}, f"Schedule {name} is removed.")


@schedule.command
@click.argument("name", metavar="[ID]", type=options.schedule, required=False)
@click.option("-n", "count", type=click.IntRange(min=1, max=1000), default=10, help="How many.")
@click.option("--after", type=instant, metavar="TIME", help="From then on, not from now.")
@with_timetable
@connects
@prints
def preview(
    *,
    output: Output,
    target: Target,
    name: str | None,
    count: int,
    after: datetime | None,
    times: dict[str, Any],
) -> None:
    """Print the next ticks of schedule ID, or of a timetable.

    A timetable is said with --cron, --every or --at, and needs no server.
    """
    if (name is None) == (not times):
        message = "Give the ID of a schedule, or a timetable such as --cron '0 8 * * *'."
        raise click.UsageError(message)

    def ask(them: Schedules) -> Awaitable[list[datetime]]:
        return them.preview(name, n=count, after=after, **times)

    if name is not None:
        ticks = _run(target, ask)
    else:
        import asyncio

        ticks = asyncio.run(_awaited(ask(target.app().schedules)))
    schedules.show_ticks(output, ticks)


@schedule.command
@named
@click.option("--start", type=instant, required=True, metavar="TIME", help="From then on.")
@click.option("--end", type=instant, required=True, metavar="TIME", help="Up to then.")
@connects
@prints
def backfill(
    *, output: Output, target: Target, name: str, start: datetime, end: datetime
) -> None:
    """Enqueue the past ticks of schedule ID.

    Those whose jobs are there already are left out.
    """

    def fill(them: Schedules) -> Awaitable[Backfilled]:
        return them.backfill(name, start, end)

    done = _run(target, fill)
    lines = [*done.enqueued, f"{len(done.enqueued):,} enqueued, {len(done.skipped):,} there"]
    output.show({"enqueued": done.enqueued, "skipped": done.skipped}, "\n".join(lines))


@schedule.command
@named
@click.option("--limit", type=click.IntRange(min=1, max=1000), default=20, help="How many.")
@connects
@prints
def history(*, output: Output, target: Target, name: str, limit: int) -> None:
    """Show the jobs of the last ticks of schedule ID."""

    async def ask(them: Schedules) -> tuple[Schedule, list[ScheduleRun]]:
        view: ScheduleView = await them.get(name)
        return view.schedule, await them.history(name, limit=limit)

    what, runs = _run(target, ask)
    schedules.show_runs(output, what, runs)


@schedule.command
@click.argument("app", required=False)
@click.option("--prune", is_flag=True, help="Remove those that are not declared any more.")
@connects
@prints
def sync(*, output: Output, target: Target, app: str | None, prune: bool) -> None:
    """Store the schedules that file and code declare.

    Those of the settings file, and those of APP's code if it is given.

    With --prune those are removed that code or file declared once and do not any more; give
    APP then, or those of its code are taken for forgotten.
    """

    def bring(them: Schedules) -> Awaitable[SyncReport]:
        return them.sync(prune=prune)

    report = _run(target, bring, app)
    lists = {
        "created": report.created,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "removed": report.removed,
    }
    lines = [f"{word:10} {', '.join(ids)}" for word, ids in lists.items() if ids]
    output.show(lists, "\n".join(lines) if lines else "No schedules are declared.")


def _run(
    target: Target, action: Callable[[Schedules], Awaitable[T]], reference: str | None = None
) -> T:
    async def act(mesh: Mesh) -> T:
        return await action(mesh.schedules)

    return target.run(act, reference)


async def _awaited(value: Awaitable[T]) -> T:
    return await value
