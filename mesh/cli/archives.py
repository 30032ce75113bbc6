"""Options of the commands that read an archive: which one, and which of its jobs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mesh.cli.options import duration, duration_or_instant
from mesh.cli.target import Target
from mesh.contract.lifecycle import State

if TYPE_CHECKING:
    from mesh.app import Mesh
    from mesh.archive.queries import BlockingArchive
    from mesh.archive.selection import Which

R = TypeVar("R")

_STATES = (*map(str, State), "ended")

database = click.option(
    "--database",
    metavar="URL",
    help="A file, sqlite:FILE or postgresql://user@host/name.  [MESH_ARCHIVE_URL]",
)


def keeps(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that say how long jobs are kept."""
    keep = click.option(
        "--keep", type=duration, metavar="DURATION", help="How long, such as 90d; 0: for ever."
    )
    keep_failed = click.option(
        "--keep-failed", type=duration, metavar="DURATION", help="The same for failed jobs."
    )
    return keep(keep_failed(command))


def selects(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that say which jobs; it receives them as ``which``."""

    @click.option("--state", type=click.Choice(_STATES), help="In this state.")
    @click.option("--task", metavar="NAME", help="Of this task.")
    @click.option("--queue", metavar="NAME", help="Of this queue.")
    @click.option("--tag", metavar="WORD", help="With this tag.")
    @click.option(
        "--since",
        type=duration_or_instant,
        metavar="WHEN",
        help="Enqueued since: 2h, or ISO 8601 with offset.",
    )
    @click.option(
        "--until",
        type=duration_or_instant,
        metavar="WHEN",
        help="Enqueued before: 1h, or ISO 8601 with offset.",
    )
    @click.option(
        "--error", metavar="TEXT", help="With this in the type or words of its error."
    )
    @click.option("--id", "id_prefix", metavar="PREFIX", help="Whose id begins like this.")
    @functools.wraps(command)
    def with_which(
        *,
        state: str | None,
        task: str | None,
        queue: str | None,
        tag: str | None,
        since: float | datetime | None,
        until: float | datetime | None,
        error: str | None,
        id_prefix: str | None,
        **others: Any,
    ) -> R:
        which: Which = {
            "state": state,
            "task": task,
            "queue": queue,
            "tag": tag,
            "since_ms": _moment_ms(since),
            "until_ms": _moment_ms(until),
            "error": error,
            "id_prefix": id_prefix,
        }
        return command(which=which, **others)

    return with_which


def app_of(
    target: Target,
    url: str | None,
    consumer: str | None = None,
    keep: float | None = None,
    keep_failed: float | None = None,
) -> Mesh:
    """An app without tasks whose settings say where the archive is and how long it keeps."""
    return target.app(
        None,
        archive__url=url,
        archive__consumer=consumer,
        archive__keep_s=keep,
        archive__keep_failed_s=keep_failed,
    )


def opened(target: Target, url: str | None) -> BlockingArchive:
    """The archive that is meant, to be read.

    Raises:
        ArchiveError: There is none, or it is of another version.
    """
    return app_of(target, url).sync.archive()


def _moment_ms(when: float | datetime | None) -> int | None:
    from mesh.clock import SYSTEM_CLOCK

    if when is None:
        return None
    if isinstance(when, datetime):
        return int(when.timestamp() * 1000)
    return SYSTEM_CLOCK.now_ms() - int(when * 1000)
