"""Provisioning: explicit, idempotent, compared with the server, applied."""

from __future__ import annotations

import pytest
from support.running import RunningApp

from mesh.errors import TopologyConflictError
from mesh.transport.provisioner import Action


async def test_setup_creates_everything_once(mesh: RunningApp) -> None:
    """The first run creates, the second finds nothing to do."""
    first = await mesh.app.setup(["mail"])
    second = await mesh.app.setup(["mail"])

    assert {step.action for step in first} == {Action.CREATE}
    assert {step.action for step in second} == {Action.KEEP}
    consumers = {step.name for step in first if step.kind == "consumer"}
    lanes = {
        f"{queue}-{priority}"
        for queue in ("default", "mail")
        for priority in ("critical", "high", "normal", "low")
    }
    assert consumers == {"due-to-jobs", *lanes}


async def test_a_changed_setting_is_applied_and_named(mesh: RunningApp) -> None:
    """A difference is planned with what is and what should be, then changed in place."""
    await mesh.app.setup()
    await mesh.app.close()
    mesh.app.override({"limits.max_jobs": 1000, "worker.ack_wait_s": 20.0})
    client = await mesh.client()

    plan = {step.name: step for step in await client.provisioner.plan(["default"])}
    await mesh.app.setup()

    jobs = plan[client.names.jobs_stream]
    assert (jobs.action, jobs.changes) == (Action.UPDATE, {"max_msgs": (-1, 1000)})
    assert plan["default-low"].changes == {"ack_wait": (10_000_000_000, 20_000_000_000)}
    assert {step.action for step in await mesh.app.setup()} == {Action.KEEP}


async def test_what_an_operator_set_besides_stays(mesh: RunningApp) -> None:
    """An update changes what mesh speaks of and nothing else."""
    await mesh.app.setup()
    client = await mesh.client()
    name = client.names.jobs_stream
    config = (await client.connection.api(f"STREAM.INFO.{name}"))["config"]
    config["description"] = "ours"
    await client.connection.api(f"STREAM.UPDATE.{name}", config)
    await mesh.app.close()
    mesh.app.override({"limits.max_jobs": 77})

    await mesh.app.setup()

    client = await mesh.client()
    config = (await client.connection.api(f"STREAM.INFO.{name}"))["config"]
    assert (config["description"], config["max_msgs"]) == ("ours", 77)


async def test_what_cannot_be_changed_in_place_is_a_conflict(mesh: RunningApp) -> None:
    """The error names the stream, the setting, and both values."""
    await mesh.app.setup()
    await mesh.app.close()
    mesh.app.override({"storage": "memory"})

    with pytest.raises(TopologyConflictError, match="has storage 'file', should"):
        await mesh.app.setup()


async def test_a_namespace_is_of_its_own(mesh: RunningApp) -> None:
    """Jobs of one namespace are unknown in another on the same server."""
    from mesh import JobNotFoundError, Mesh

    await mesh.app.setup()
    other = Mesh(mesh.app.settings.url, namespace=f"{mesh.app.settings.namespace}-b")
    job = await mesh.app.send("noop")
    await other.setup()
    try:
        with pytest.raises(JobNotFoundError):
            await other.job(job.id).status()
    finally:
        await (await other.client()).provisioner.tear_down()
        await other.close()
