"""``mesh bench``: measure mesh on this machine, beside the bare NATS client."""

from __future__ import annotations

import sys

import click

from mesh.cli.options import prints
from mesh.cli.output import Output, is_terminal, table


@click.command
@click.option("--jobs", type=click.IntRange(min=1), default=20_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@prints
def bench(*, output: Output, jobs: int, rounds: int) -> None:
    """Measure mesh on this machine, on its own server."""
    import msgspec

    from mesh.bench import main

    def on_step(step: str) -> None:
        if is_terminal(sys.stderr):
            click.echo(f"{step} ...", err=True)

    figures = msgspec.structs.asdict(main.run(jobs=jobs, rounds=rounds, on_step=on_step))
    rows = [(name, _plain(value)) for name, value in figures.items()]
    output.show(figures, table(("figure", "value"), rows))


def _plain(value: object) -> str:
    match value:
        case float() if abs(value) < 100:
            return f"{value:.2f}"
        case int() | float():
            return f"{value:,.0f}"
        case _:
            return str(value)
