"""Show queues again and again, with their rates: what ``mesh queue top`` does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio
import click
from msgspec import Struct

from mesh.cli.output import Output, is_terminal, table
from mesh.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from mesh.app import Mesh
    from mesh.client.queues import QueueStatus

_HEAD = ("queue", "pending", "in flight", "given out", "growing", "oldest")
_CLEAR = "\x1b[H\x1b[2J"


class QueueRate(Struct, frozen=True, kw_only=True):
    """A queue and how it moves.

    Attributes:
        queue: Its name.
        pending: Jobs that no worker was given yet.
        in_flight: Jobs that workers were given and have not settled.
        delivered_per_s: How many were given out each second since the last look.
        growth_per_s: How many more were pending each second since the last look.
        oldest_pending_age_s: For how long the oldest pending job has waited; None: there is
            none.
    """

    queue: str
    pending: int
    in_flight: int
    delivered_per_s: float
    growth_per_s: float
    oldest_pending_age_s: float | None


def rates(
    before: Sequence[QueueStatus], after: Sequence[QueueStatus], lasted_s: float
) -> list[QueueRate]:
    """Compare two looks; the fullest queue stands first.

    Args:
        before: The look before.
        after: The look now.
        lasted_s: The time between them, in seconds.
    """
    known = {status.queue: status for status in before}
    found: list[QueueRate] = []
    for status in after:
        old = known.get(status.queue, status)
        pending = sum(status.pending.values())
        found.append(
            QueueRate(
                queue=status.queue,
                pending=pending,
                in_flight=status.running,
                # A consumer that was made anew counts from nought.
                delivered_per_s=max(0, status.deliveries - old.deliveries) / lasted_s,
                growth_per_s=(pending - sum(old.pending.values())) / lasted_s,
                oldest_pending_age_s=status.oldest_pending_age_s,
            )
        )
    return sorted(found, key=lambda one: (-one.pending, -one.in_flight, one.queue))


async def show_rates(mesh: Mesh, output: Output, every_s: float, times: int) -> None:
    """Look, wait and print; on a terminal each time in the same place.

    Args:
        mesh: The app.
        output: Where to print.
        every_s: How long to wait between two looks.
        times: How often to print; 0: until Ctrl-C.
    """
    before, began_s = await mesh.queue_statuses(), SYSTEM_CLOCK.monotonic()
    printed = 0
    while not times or printed < times:
        await anyio.sleep(every_s)
        after, now_s = await mesh.queue_statuses(), SYSTEM_CLOCK.monotonic()
        found = rates(before, after, now_s - began_s)
        if is_terminal(sys.stdout) and not output.is_json:
            click.echo(_CLEAR, nl=False)
        output.show({"queues": found}, table(_HEAD, [_row(one) for one in found]))
        before, began_s = after, now_s
        printed += 1


def _row(one: QueueRate) -> tuple[object, ...]:
    age_s = one.oldest_pending_age_s
    return (
        one.queue,
        f"{one.pending:,}",
        f"{one.in_flight:,}",
        f"{one.delivered_per_s:,.1f}/s",
        f"{one.growth_per_s:+,.1f}/s",
        "-" if age_s is None else f"{age_s:,.1f} s",
    )
