"""``mesh worker``: run the jobs of an app."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mesh.cli.options import connects, duration, prints, queue
from mesh.cli.output import Output
from mesh.cli.target import Target

if TYPE_CHECKING:
    from mesh.cli.processes import WorkerOptions


@click.command
@click.argument("reference", metavar="APP")
@click.option(
    "-q",
    "--queue",
    "queues",
    multiple=True,
    type=queue,
    metavar="NAME",
    help="Serve this queue; may be repeated.",
)
@click.option(
    "-c", "--concurrency", type=click.IntRange(min=1), help="Jobs at once in each process."
)
@click.option("--processes", type=click.IntRange(min=1), help="How many processes to run.")
@click.option("--burst", "is_burst", is_flag=True, help="End when the queues are empty.")
@click.option("--reload", "reloads", is_flag=True, help="Start anew when a .py file changes.")
@click.option(
    "--drain-timeout",
    type=duration,
    metavar="DURATION",
    help="How long running jobs may finish when told to stop, such as 30s.",
)
@click.option("--loop", type=click.Choice(("asyncio", "uvloop")), help="The event loop.")
@click.option("--lifeline", type=int, hidden=True)
@connects
@prints
def worker(
    *,
    output: Output,
    target: Target,
    reference: str,
    queues: tuple[str, ...],
    concurrency: int | None,
    processes: int | None,
    is_burst: bool,
    reloads: bool,
    drain_timeout: float | None,
    loop: str | None,
    lifeline: int | None,
) -> int:
    """Run the jobs of APP.

    APP is module:name or file.py:name. The first SIGTERM or Ctrl-C lets running jobs finish,
    the second hands them back at once. Exits with 0 if all could finish, with 1 if some were
    cut short.
    """
    from mesh.cli.logs import debug_on_signal
    from mesh.cli.processes import WorkerOptions

    options = WorkerOptions(
        queues=queues,
        concurrency=concurrency,
        drain_timeout_s=drain_timeout,
        loop=loop,
        is_burst=is_burst,
        is_json=output.is_json,
    )
    with debug_on_signal():
        if reloads:
            return _reload(reference, target, options, processes or 1)
        return _run(reference, target, options, processes, lifeline)


def _reload(reference: str, target: Target, options: WorkerOptions, count: int) -> int:
    """Supervise workers that load the app themselves: it may be broken now and whole soon."""
    import asyncio

    from mesh.cli.logs import set_up_logging
    from mesh.cli.processes import supervisor
    from mesh.worker.signals import StopSignals

    set_up_logging(target.app().settings, is_json=options.is_json)
    grace_s = 30.0 if options.drain_timeout_s is None else options.drain_timeout_s
    kept = supervisor(reference, target, options, count=count, grace_s=grace_s, reloads=True)
    with StopSignals() as signals:
        return asyncio.run(kept.run(signals))


def _run(
    reference: str,
    target: Target,
    options: WorkerOptions,
    processes: int | None,
    lifeline: int | None,
) -> int:
    """Run one worker here, or supervise several."""
    import asyncio

    from mesh.cli.logs import set_up_logging
    from mesh.cli.processes import supervisor
    from mesh.telemetry.export import exporting
    from mesh.worker.process import run_process
    from mesh.worker.signals import StopSignals

    app = target.app(reference, **options.settings(), worker__processes=processes)
    set_up_logging(app.settings, is_json=options.is_json)
    wanted = app.settings.worker
    if lifeline is None and wanted.processes > 1:
        kept = supervisor(
            reference,
            target,
            options,
            count=wanted.processes,
            grace_s=wanted.shutdown_grace_s,
        )
        with StopSignals() as signals:
            return asyncio.run(kept.run(signals))
    with StopSignals(exit_at=3) as signals, exporting("mesh-worker"):
        return run_process(
            app, reference, signals, is_burst=options.is_burst, lifeline=lifeline
        )
