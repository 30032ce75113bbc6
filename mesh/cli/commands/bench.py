"""``mesh bench``: measure mesh on this machine, beside the bare NATS client."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from mesh.cli.options import prints
from mesh.cli.output import Output, is_terminal, table

if TYPE_CHECKING:
    pass


@click.command
@click.option("--jobs", type=click.IntRange(min=1), default=20_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--crash", is_flag=True, help="Kill a worker; measure how its jobs come back.")
@click.option("--delayed", is_flag=True, help="Measure how late delayed jobs start.")
@click.option("--archive", is_flag=True, help="Measure the archive of a full ledger.")
@click.option("--database", metavar="URL", help="With --archive: PostgreSQL, not SQLite.")
@click.option("--outage", is_flag=True, help="Kill the server while delayed jobs come due.")
@prints
def bench(
    *, output: Output, jobs: int, rounds: int, database: str | None, **flags: bool
) -> None:
    """Measure mesh on this machine, on its own server."""
    import msgspec

    from mesh.bench import archive, crash, delayed, main

    chosen = [flag for flag, is_set in sorted(flags.items()) if is_set]
    if len(chosen) > 1:
        msg = f"give one of {', '.join(f'--{flag}' for flag in chosen)}"
        raise click.UsageError(msg)
    if database is not None and chosen != ["archive"]:
        msg = "--database is for --archive"
        raise click.UsageError(msg)
    if chosen and chosen != ["archive"] and any(map(_is_given, ("jobs", "rounds"))):
        msg = f"--{chosen[0]} has its own jobs and one round: leave --jobs and --rounds out"
        raise click.UsageError(msg)

    def on_step(step: str) -> None:
        if is_terminal(sys.stderr):
            click.echo(f"{step} ...", err=True)

    report: msgspec.Struct
    match chosen:
        case ["crash"]:
            report = crash.run(on_step=on_step)
        case ["archive"]:
            report = archive.run(jobs=jobs, rounds=rounds, url=database, on_step=on_step)
        case ["delayed"]:
            report = delayed.run(on_step=on_step)
        case ["outage"]:
            report = delayed.run_outage(on_step=on_step)
        case _:
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
