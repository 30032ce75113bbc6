"""``mesh archive``: keep what happens to jobs in a database, when results have expired too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mesh.cli.archives import app_of, database, keeps
from mesh.cli.commands import archived
from mesh.cli.options import connects, prints
from mesh.cli.output import Output
from mesh.cli.stores import prepare_store
from mesh.cli.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.archive.archiver import Options
    from mesh.archive.store import Keep
    from mesh.settings.model import ArchiveSettings


def _runs(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what ``mesh archive run`` takes."""
    again = click.option(
        "--again", is_flag=True, help="Read all that the ledger still has, once more."
    )
    once = click.option("--once", is_flag=True, help="End when the ledger has been read.")
    consumer = click.option(
        "--consumer", metavar="NAME", help="The durable consumer; one for each archive."
    )
    return database(consumer(keeps(once(again(connects(prints(command)))))))


@click.group(invoke_without_command=True)
@_runs
@click.pass_context
def archive(context: click.Context, /, **options: Any) -> None:
    """Keep what happens to jobs in a database.

    It can be asked long after their results have expired. Without a command it does what
    `mesh archive run` does.
    """
    if context.invoked_subcommand is None:
        _run(**options)
        return
    given = [
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        place = f"mesh archive {context.invoked_subcommand}"
        message = f"Options go behind the command: {place} --{given[0].replace('_', '-')} ..."
        raise click.UsageError(message)


@archive.command
@_runs
def run(**options: Any) -> None:
    """Read the ledger and write it down, until told to stop.

    Exits with 1 if the database fails; it is safe to start it again, and to run two of them.
    """
    _run(**options)


@archive.command
@database
@connects
@prints
def migrate(*, output: Output, target: Target, database: str | None) -> None:
    """Bring the tables up to date.

    `mesh archive run` does it by itself.
    """
    import msgspec

    from mesh.archive.opening import open_database
    from mesh.archive.schema import migrate as bring_up_to_date

    opened = open_database(app_of(target, database).settings.archive.url)
    try:
        done = bring_up_to_date(opened)
    finally:
        opened.close()
    same = f"the archive is up to date (version {done.after})"
    new = f"the archive was brought from version {done.before} to {done.after}"
    output.show(msgspec.structs.asdict(done), same if done.before == done.after else new)


@archive.command
@database
@keeps
@connects
@prints
def prune(
    *,
    output: Output,
    target: Target,
    database: str | None,
    keep: float | None,
    keep_failed: float | None,
) -> None:
    """Remove what has been kept long enough.

    `mesh archive run` does it every hour.
    """
    import msgspec

    from mesh.archive.store import Store
    from mesh.clock import SYSTEM_CLOCK

    settings = app_of(target, database, None, keep, keep_failed).settings.archive
    store = Store(settings.url)
    try:
        pruned = store.prune(_keep(settings), SYSTEM_CLOCK.now_ms())
    finally:
        store.close()
    words = f"removed {pruned.jobs:,} jobs and {pruned.events:,} events"
    output.show(msgspec.structs.asdict(pruned), words)


for command in (archived.query, archived.show, archived.stats, archived.export):
    archive.add_command(command)


def _run(
    *,
    output: Output,
    target: Target,
    database: str | None,
    consumer: str | None,
    keep: float | None,
    keep_failed: float | None,
    again: bool,
    once: bool,
) -> None:
    import asyncio

    from mesh.archive.archiver import Archiver, Options
    from mesh.cli.logs import set_up_logging
    from mesh.worker.signals import StopSignals

    app = app_of(target, database, consumer, keep, keep_failed)
    settings = app.settings.archive
    set_up_logging(app.settings, is_json=output.is_json)
    prepare_store(Path(settings.url.removeprefix("sqlite:")))
    options = Options(settings.url, settings.consumer, _keep(settings), again, once)

    async def serve(signals: StopSignals, options: Options) -> int:
        async with app:
            archiver = Archiver(await app.client(), options)
            signals.tell(lambda _count: archiver.stop())
            return await archiver.run()

    with StopSignals(exit_at=3) as signals:
        events = asyncio.run(serve(signals, options))
    output.show({"events": events}, f"archived {events:,} events")


def _keep(settings: ArchiveSettings) -> Keep:
    from mesh.archive.store import Keep

    return Keep(int(settings.keep_s * 1000), int(settings.keep_failed_s * 1000))
