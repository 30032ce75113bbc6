"""The ``mesh`` command: its subcommands, and how errors become messages and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from mesh import __version__
from mesh.cli import failures
from mesh.cli.commands import (
    archive,
    bench,
    completion,
    contract,
    demo,
    dev,
    dlq,
    doctor,
    enqueue,
    events,
    exporter,
    fsck,
    job,
    jobs,
    queue,
    schedule,
    scheduler,
    server,
    setup,
    version,
    worker,
    workers,
)
from mesh.worker.exits import Exit


class InOrder(click.Group):
    """Lists its commands in the order in which they were added, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands."""
        return list(self.commands)


@click.group(
    name="mesh",
    cls=InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 no server, 5 timed out.",
)
@click.version_option(__version__, prog_name="mesh")
def cli() -> None:
    """Background jobs on NATS JetStream."""


COMMANDS: tuple[click.Command, ...] = (
    dev.dev,
    server.server,
    setup.setup,
    worker.worker,
    scheduler.scheduler,
    exporter.exporter,
    enqueue.enqueue,
    jobs.status,
    jobs.result,
    jobs.watch,
    jobs.cancel,
    job.job,
    events.events,
    events.logs,
    dlq.dlq,
    queue.queue,
    schedule.schedule,
    workers.workers,
    doctor.doctor,
    fsck.fsck,
    archive.archive,
    contract.contract,
    bench.bench,
    demo.demo,
    version.version,
    completion.completion,
)

for command in COMMANDS:
    cli.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; errors are printed, not raised."""
    try:
        code: int | None = cli.main(list(arguments), prog_name="mesh", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        code = failures.report(error, as_json=failures.asks_json(arguments))
        if code is None:
            raise
    return code or Exit.OK


def main() -> NoReturn:
    """Run this process's command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))
