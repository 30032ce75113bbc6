"""``mesh doctor``: say what is wrong with the server and the namespace, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mesh.cli.options import connects, duration, prints
from mesh.cli.output import Output, table
from mesh.cli.target import Target
from mesh.worker.exits import Exit

if TYPE_CHECKING:
    from mesh.doctor.findings import Report


@click.command
@click.argument("app", required=False)
@click.option(
    "--watch",
    type=duration,
    default="1s",
    metavar="DURATION",
    help="How long a queue that looks stuck is watched.  [1s]",
)
@connects
@prints
def doctor(*, output: Output, target: Target, app: str | None, watch: float) -> Exit:
    """Say what is wrong, and what to do about it.

    Looks at the server, the streams, the queues and the dead letters, and changes nothing. With
    APP the queues of its tasks are looked at too. Exits with 1 if there is a problem; warnings
    and notes are none.
    """
    import asyncio

    from mesh.cli.logs import set_up_logging
    from mesh.clock import SYSTEM_CLOCK
    from mesh.doctor.examination import examine

    mesh = target.app(app)
    settings = mesh.settings
    set_up_logging(settings)
    queues = mesh.queues() if app is not None else []
    report = asyncio.run(examine(settings, queues, SYSTEM_CLOCK, look_again_s=watch))
    _show(output, report)
    return Exit.OK if report.is_healthy else Exit.FAILED


def _show(output: Output, report: Report) -> None:
    import msgspec

    values = msgspec.structs.asdict(report) | {"is_healthy": report.is_healthy}
    output.show(values, _words(report))


def _words(report: Report) -> str:
    found = report.findings
    parts: list[str] = []
    if found:
        rows = [(one.level, one.kind, one.name, one.what) for one in found]
        parts.append(table(("level", "kind", "what", "seen"), rows))
        parts.append("\n".join(f"{one.kind} {one.name}: {one.remedy}" for one in found))
    problems = sum(one.level == "problem" for one in found)
    verdict = f"{problems} problem(s)" if problems else "no problem"
    others = len(found) - problems
    if others:
        verdict += f", {others} to know of"
    where = f"{report.namespace} at {report.url}"
    parts.append(f"{verdict} in {where} ({report.checks} checks in {report.took_s:.1f} s)")
    return "\n\n".join(parts)
