"""``mesh setup``: create the streams, consumers and buckets that a namespace needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mesh.cli.options import connects, prints, queue
from mesh.cli.output import Output, table
from mesh.cli.target import Target

if TYPE_CHECKING:
    from mesh.app import Mesh
    from mesh.transport.provisioner import Step


@click.command
@click.argument("app", required=False)
@click.option(
    "-q",
    "--queue",
    "queues",
    multiple=True,
    type=queue,
    metavar="NAME",
    help="A further queue; may be repeated.",
)
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be done; do nothing.")
@connects
@prints
def setup(
    *,
    output: Output,
    target: Target,
    app: str | None,
    queues: tuple[str, ...],
    only_plan: bool,
) -> None:
    """Create or update what a namespace needs.

    Safe to repeat. With APP (module:name or file.py:name) the queues of its tasks are created
    too.
    """

    async def steps(mesh: Mesh) -> list[Step]:
        if not only_plan:
            return await mesh.setup(queues)
        client = await mesh.client()
        return await client.provisioner.plan(sorted({*mesh.queues(), *queues}))

    done = target.run(steps, app)
    values = {"is_plan": only_plan, "steps": [_as_values(step) for step in done]}
    rows = [(step.action, step.kind, step.name, _changes(step)) for step in done]
    output.show(values, table(("action", "kind", "name", "changes"), rows))


def _as_values(step: Step) -> dict[str, object]:
    changes = {key: {"from": old, "to": new} for key, (old, new) in step.changes.items()}
    return {"action": step.action, "kind": step.kind, "name": step.name, "changes": changes}


def _changes(step: Step) -> str:
    return ", ".join(f"{key}: {old} -> {new}" for key, (old, new) in step.changes.items())
