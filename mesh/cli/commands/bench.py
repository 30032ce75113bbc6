"""``mesh bench``: measure mesh on this machine, beside the bare NATS client."""

from __future__ import annotations

import sys

import click
from click.core import ParameterSource

from mesh.cli.options import prints
from mesh.cli.output import Output, is_terminal, table


@click.command
@click.option("--jobs", type=click.IntRange(min=1), default=20_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--crash", is_flag=True, help="Kill a worker; measure how its jobs come back.")
@prints
def bench(*, output: Output, jobs: int, rounds: int, crash: bool) -> None:
    """Measure mesh on this machine, on its own server."""
    import msgspec

    from mesh.bench import crash as crashing
    from mesh.bench import main

    if crash and any(map(_is_given, ("jobs", "rounds"))):
        msg = "--crash has its own jobs and one round: leave --jobs and --rounds out"
        raise click.UsageError(msg)

    def on_step(step: str) -> None:
        if is_terminal(sys.stderr):
            click.echo(f"{step} ...", err=True)

    report = (
        crashing.run(on_step=on_step)
        if crash
        else main.run(jobs=jobs, rounds=rounds, on_step=on_step)
    )
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
