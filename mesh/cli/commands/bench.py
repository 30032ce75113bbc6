"""``mesh bench``: measure mesh on this machine, beside the bare NATS client."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from mesh.cli.options import prints
from mesh.cli.output import Output, is_terminal, table

if TYPE_CHECKING:
    from msgspec import Struct


@click.command
@click.option("--jobs", type=click.IntRange(min=1), default=20_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--crash", is_flag=True, help="Kill a worker; measure how its jobs come back.")
@click.option("--archive", is_flag=True, help="Measure the archive of a full ledger.")
@click.option("--database", metavar="URL", help="With --archive: PostgreSQL, not SQLite.")
@prints
def bench(
    *,
    output: Output,
    jobs: int,
    rounds: int,
    crash: bool,
    archive: bool,
    database: str | None,
) -> None:
    """Measure mesh on this machine, on its own server."""
    import msgspec

    from mesh.bench import archive as archiving
    from mesh.bench import crash as crashing
    from mesh.bench import main

    if crash and archive:
        msg = "--crash and --archive are two measurements: give one of them"
        raise click.UsageError(msg)
    if database is not None and not archive:
        msg = "--database is for --archive"
        raise click.UsageError(msg)
    if crash and any(map(_is_given, ("jobs", "rounds"))):
        msg = "--crash has its own jobs and one round: leave --jobs and --rounds out"
        raise click.UsageError(msg)

    def on_step(step: str) -> None:
        if is_terminal(sys.stderr):
            click.echo(f"{step} ...", err=True)

    if crash:
        report: Struct = crashing.run(on_step=on_step)
    elif archive:
        report = archiving.run(jobs=jobs, rounds=rounds, url=database, on_step=on_step)
    else:
        report = main.run(jobs=jobs, rounds=rounds, on_step=on_step)
    figures = msgspec.structs.asdict(report)
    rows = [(name, _plain(value)) for name, value in figures.items()]
    output.show(figures, table(("figure", "value"), rows))


def _is_given(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source is ParameterSource.COMMANDLINE


def _plain(value: object) -> str:
    match value:
        case float() if abs(value) < 100:
            return f"{value:.2f}"
        case int() | float():
            return f"{value:,.0f}"
        case _:
            return str(value)
