"""Say what ``mesh setup`` would do, as findings."""

from __future__ import annotations

from collections.abc import Iterable

from mesh.client.client import Client
from mesh.client.findings import Finding, Kind
from mesh.errors import NotProvisionedError, TopologyConflictError
from mesh.transport.provisioner import Action, Step


async def missing_streams(client: Client) -> set[str]:
    """Name the streams and buckets that should exist and do not.

    Raises:
        BrokerError: The server could not be asked.
    """
    missing: set[str] = set()
    for plan in client.topology.streams:
        try:
            await client.connection.api(f"STREAM.INFO.{plan['name']}")
        except NotProvisionedError:
            missing.add(plan["name"])
    return missing


async def drift(client: Client, queues: Iterable[str]) -> list[Finding]:
    """Compare the streams and the consumers of some queues with the settings.

    Raises:
        BrokerError: The server could not be asked.
    """
    try:
        steps = await client.provisioner.plan(sorted(queues))
    except TopologyConflictError as error:
        return [Finding(kind=Kind.DRIFT, name=client.names.namespace, detail=str(error))]
    return [
        Finding(kind=Kind.DRIFT, name=step.name, detail=_words(step))
        for step in steps
        if step.action is not Action.KEEP
    ]


def _words(step: Step) -> str:
    if step.action is Action.CREATE:
        return f"the {step.kind} does not exist"
    return ", ".join(f"{key}: {found} -> {want}" for key, (found, want) in step.changes.items())
