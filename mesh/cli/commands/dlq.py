"""``mesh dlq``: look at the jobs that failed for good, run them again, or remove them."""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from mesh.cli.options import connects, duration, instant, job_id, prints, queue
from mesh.cli.options import reason as with_reason
from mesh.cli.output import Output, as_json
from mesh.cli.target import Target
from mesh.worker.exits import Exit

if TYPE_CHECKING:
    from mesh.app import Mesh
    from mesh.client.letters import Changes, Filters, Letter, Replayed

R = TypeVar("R")

_PRIORITIES = ("critical", "high", "normal", "low")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def _moment(text: str) -> Any:
    """Read a duration ago, or a point in time."""
    return instant(text) if text[4:5] == "-" else duration(text)


def _rate(text: str) -> float:
    """Read jobs per time: ``50/s``, ``600/m``, ``1000/h``."""
    number, _, unit = text.partition("/")
    if number.isdecimal() and int(number) and unit in _SECONDS:
        return int(number) / _SECONDS[unit]
    message = f"{text!r} is no rate; write it like 50/s, 600/m or 1000/h"
    raise click.BadParameter(message)


def _filters(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that choose dead letters; it receives ``filters``."""

    @click.option("--task", metavar="NAME", help="Only jobs of this task.")
    @click.option("-q", "--queue", type=queue, metavar="NAME", help="Only this queue.")
    @click.option("--error", metavar="TEXT", help="Only errors with this in type or text.")
    @click.option("--since", type=_moment, metavar="WHEN", help="Died then or later.")
    @click.option(
        "--until",
        type=_moment,
        metavar="WHEN",
        help="Died then or before. WHEN is a time, or a duration ago.",
    )
    @click.option("--limit", type=click.IntRange(min=0), help="At most so many; 0: all.")
    @functools.wraps(command)
    def with_filters(
        *,
        task: str | None,
        queue: str | None,
        error: str | None,
        since: Any,
        until: Any,
        limit: int | None,
        **others: Any,
    ) -> R:
        named = {"task": task, "queue": queue, "error": error, "since": since, "until": until}
        named["limit"] = limit
        filters = {name: value for name, value in named.items() if value is not None}
        return command(filters=filters, **others)

    return with_filters


_every = click.option("--all", "is_all", is_flag=True, help="All of them, without a filter.")
_jobs = click.argument("jobs", metavar="[JOB]...", nargs=-1, type=job_id)


@click.group
def dlq() -> None:
    """Look after the jobs that failed for good."""


@dlq.command("list")
@_filters
@click.option("--oldest-first", is_flag=True, help="Not the newest first.")
@connects
@prints
def show_list(
    *, output: Output, target: Target, filters: dict[str, Any], oldest_first: bool
) -> None:
    """List dead letters, the newest 50 first."""
    from mesh.cli.letters import listed, values

    async def ask(mesh: Mesh) -> list[Letter]:
        chosen = _asked({"limit": 50, "newest_first": not oldest_first} | filters)
        found: list[Letter] = []
        async for letter in mesh.dead_letters.find(**chosen):
            if output.is_json:
                click.echo(as_json(values(letter)))
            else:
                found.append(letter)
        return found

    found = target.run(ask)
    if not output.is_json:
        click.echo(listed(found))


@dlq.command
@click.argument("job", metavar="JOB", type=job_id)
@connects
@prints
def show(*, output: Output, target: Target, job: str) -> None:
    """Print all that is known of a dead job."""
    from mesh.cli.letters import details, full

    async def ask(mesh: Mesh) -> tuple[Letter, object]:
        letter = await mesh.dead_letters.get(job)
        return letter, await _body(mesh, letter)

    letter, body = target.run(ask)
    output.show(full(letter, body), details(letter, body))


@dlq.command
@_jobs
@_filters
@_every
@click.option("--rate", type=_rate, metavar="N/s", help="Not faster than this.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--args", "arguments", metavar="JSON", help="New arguments: array or object.")
@click.option("--to-task", metavar="NAME", help="Run this task instead.")
@click.option("--to-queue", type=queue, metavar="NAME", help="Into this queue.")
@click.option("--to-priority", type=click.Choice(_PRIORITIES), help="With this priority.")
@with_reason
@connects
@prints
def replay(
    *,
    output: Output,
    target: Target,
    jobs: tuple[str, ...],
    filters: dict[str, Any],
    is_all: bool,
    rate: float | None,
    dry_run: bool,
    arguments: str | None,
    to_task: str | None,
    to_queue: str | None,
    to_priority: str | None,
    reason: str,
) -> int:
    """Enqueue dead jobs again under new ids.

    Give JOBs, or filters, or --all. A letter is removed when its new job is stored. Exits with
    1 if a letter had to be skipped.
    """
    from mesh.cli.letters import replayed
    from mesh.client.letters import Changes

    _check_choice(jobs, filters, is_all=is_all)
    args, kwargs = _read(arguments)
    changes = Changes(
        task=to_task, args=args, kwargs=kwargs, queue=to_queue, priority=to_priority
    )

    async def act(mesh: Mesh) -> dict[str, int]:
        counts: dict[str, int] = {}
        how = {"dry_run": dry_run, "reason": reason}
        async for one in _replays(mesh, jobs, filters, changes, rate, **how):
            counts[one.outcome] = counts.get(one.outcome, 0) + 1
            click.echo(as_json(one) if output.is_json else replayed(one))
        return counts

    counts = target.run(act)
    if not output.is_json:
        click.echo(_sum(counts))
    return Exit.FAILED if "skipped" in counts else Exit.OK


@dlq.command
@_jobs
@_filters
@_every
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and do nothing.")
@click.option("-y", "--yes", "is_sure", is_flag=True, help="Do not ask.")
@with_reason
@connects
@prints
def purge(
    *,
    output: Output,
    target: Target,
    jobs: tuple[str, ...],
    filters: dict[str, Any],
    is_all: bool,
    dry_run: bool,
    is_sure: bool,
    reason: str,
) -> None:
    """Remove dead letters and their stored arguments.

    Give JOBs, or filters, or --all. On a terminal it asks first; elsewhere it needs --yes.
    """
    _check_choice(jobs, filters, is_all=is_all)

    async def act(mesh: Mesh, *, is_trial: bool) -> int:
        count = 0
        for job in jobs:
            letters = mesh.dead_letters
            await (letters.get(job) if is_trial else letters.purge(job, reason=reason))
            count += 1
        if not jobs:
            found = mesh.dead_letters.purge_all(
                dry_run=is_trial, reason=reason, **_asked(filters)
            )
            async for _ in found:
                count += 1
        return count

    if not dry_run and not is_sure:
        _confirm(target.run(functools.partial(act, is_trial=True)))
    count = target.run(functools.partial(act, is_trial=dry_run))
    words = "would be removed" if dry_run else "removed"
    output.show({"purged": 0 if dry_run else count, "matched": count}, f"{count} {words}")


@dlq.command
@click.option(
    "--file",
    "path",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write there instead of to stdout.",
)
@_filters
@connects
@prints
def export(
    *, output: Output, target: Target, filters: dict[str, Any], path: Path | None
) -> None:
    """Write dead letters as JSON lines, the oldest first."""
    from mesh.cli.letters import full

    async def act(mesh: Mesh, write: Callable[[str], object]) -> int:
        count = 0
        chosen = _asked({"newest_first": False} | filters)
        async for letter in mesh.dead_letters.find(**chosen):
            write(as_json(full(letter, await _body(mesh, letter))) + "\n")
            count += 1
        return count

    if path is None:
        target.run(lambda mesh: act(mesh, lambda line: click.echo(line, nl=False)))
        return
    with path.open("w", encoding="utf-8") as file:
        count = target.run(lambda mesh: act(mesh, file.write))
    output.show({"exported": count, "file": str(path)}, f"{count} written to {path}")


async def _replays(
    mesh: Mesh,
    jobs: tuple[str, ...],
    filters: dict[str, Any],
    changes: Changes,
    rate: float | None,
    **how: Any,
) -> AsyncIterator[Replayed]:
    letters = mesh.dead_letters
    for job in jobs:
        yield await letters.replay(job, changes, **how)
    if not jobs:
        chosen = _asked(filters)
        async for one in letters.replay_all(changes, rate=rate, **how, **chosen):
            yield one


async def _body(mesh: Mesh, letter: Letter) -> object:
    from mesh.client.letters import shown_body
    from mesh.errors import PayloadMissingError

    try:
        return shown_body(letter, await mesh.dead_letters.body(letter))
    except PayloadMissingError as error:
        return str(error)


def _asked(filters: dict[str, Any]) -> Filters:
    """The filters as the API has them, where no limit is None."""
    return cast("Filters", filters | {"limit": filters.get("limit") or None})


def _check_choice(jobs: tuple[str, ...], filters: dict[str, Any], *, is_all: bool) -> None:
    if sum((bool(jobs), bool(filters), is_all)) != 1:
        message = "Give jobs, or filters, or --all: one of the three."
        raise click.UsageError(message)


def _confirm(count: int) -> None:
    if not count:
        return
    if not sys.stdin.isatty():
        message = f"This would remove {count} dead letters for good; say --yes if you are sure."
        raise click.UsageError(message)
    click.confirm(f"Remove {count} dead letters for good?", abort=True, err=True)


def _read(text: str | None) -> tuple[list[Any] | None, dict[str, Any] | None]:
    import msgspec

    if text is None:
        return None, None
    value: list[Any] | dict[str, Any]
    try:
        value = msgspec.json.decode(text, type=list[Any] | dict[str, Any])
    except ValueError as error:
        message = f"give a JSON array (by position) or object (by name): {error}"
        raise click.BadParameter(message, param_hint="--args") from error
    return (None, value) if isinstance(value, dict) else (value, None)


def _sum(counts: dict[str, int]) -> str:
    if not counts:
        return "no dead letters"
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
