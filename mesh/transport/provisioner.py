"""Compare the wanted topology with the server and apply the difference."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple, cast

from mesh.errors import NotProvisionedError, TopologyConflictError
from mesh.topology import ConsumerPlan, StreamPlan, Topology
from mesh.transport.connection import Connection
from mesh.transport.faults import CONSUMER_NOT_FOUND, ApiError

LIVE_LIMIT = "mesh-live-limit"
"""Marks, in a consumer's metadata, that its limit was set live and is no drift."""

_FIXED = ("retention", "storage")


class Action(StrEnum):
    """What is to be done about one stream or consumer."""

    KEEP = "keep"
    CREATE = "create"
    UPDATE = "update"


class Step(NamedTuple):
    """One line of a plan.

    Attributes:
        action: What is to be done.
        kind: ``stream`` or ``consumer``.
        name: Its name.
        changes: For an update, each differing setting with what is and what should be.
    """

    action: Action
    kind: str
    name: str
    changes: dict[str, tuple[Any, Any]]


class Provisioner:
    """Creates and updates what a namespace needs; idempotent; removes only on ``tear_down``."""

    def __init__(self, connection: Connection, topology: Topology) -> None:
        self._connection = connection
        self._topology = topology

    async def plan(self, queues: Iterable[str]) -> list[Step]:
        """Compare and change nothing.

        Raises:
            TopologyConflictError: A difference cannot be changed in place.
            BrokerError: The server could not be asked.
        """
        steps: list[Step] = []
        feeder = self._topology.feeder
        for plan in self._topology.streams:
            steps.append(_compare_stream(plan, await self._stream(plan)))
            if plan["name"] == feeder.stream:  # It must be there before the job stream is.
                steps.append(await self._compare_consumer(feeder, steps))
        for consumer in self._topology.consumers(queues):
            steps.append(await self._compare_consumer(consumer, steps))
        return steps

    async def _compare_consumer(self, consumer: ConsumerPlan, steps: list[Step]) -> Step:
        is_new = any(s.name == consumer.stream and s.action is Action.CREATE for s in steps)
        found = None if is_new else await self._consumer(consumer)
        wanted = _with_live_limit(consumer.config, found)
        return _compare("consumer", consumer.name, wanted, found)

    async def apply(self, queues: Iterable[str]) -> list[Step]:
        """Make the server match; return what was done.

        Raises:
            TopologyConflictError: A difference cannot be changed in place.
            BrokerError: The server refused.
        """
        queues = list(queues)
        steps = await self.plan(queues)
        plans: dict[tuple[str, str], Any] = {
            ("stream", p["name"]): p for p in self._topology.streams
        }
        consumers = [self._topology.feeder, *self._topology.consumers(queues)]
        plans |= {("consumer", plan.name): plan for plan in consumers}
        for step in steps:
            if step.action is Action.KEEP:
                continue
            if step.kind == "stream":
                await self._apply_stream(step, plans[step.kind, step.name])
            else:
                await self._apply_consumer(plans[step.kind, step.name])
        return steps

    async def ensure_lanes(self, queues: Iterable[str]) -> None:
        """Create the consumers of some queues where they are missing.

        Raises:
            NotProvisionedError: The job stream does not exist.
            BrokerError: The server refused.
        """
        existing = await self._consumer_names()
        for consumer in self._topology.consumers(queues):
            if consumer.name not in existing:
                await self._apply_consumer(consumer)

    async def restore(self, plan: ConsumerPlan) -> bool:
        """Create a consumer that is missing, or give it back the jobs it is there for.

        Returns:
            Whether there was anything to do.

        Raises:
            NotProvisionedError: The job stream does not exist; it is not made here.
            BrokerError: The server refused.
        """
        found = await self._consumer(plan)
        if found is not None and found.get("filter_subject") == plan.config["filter_subject"]:
            return False
        await self._apply_consumer(plan)
        return True

    async def tear_down(self) -> list[str]:
        """Delete every stream and bucket of the namespace with all it holds; name them."""
        removed: list[str] = []
        for plan in reversed(self._topology.streams):
            try:
                await self._connection.api(f"STREAM.DELETE.{plan['name']}")
            except NotProvisionedError:
                continue
            removed.append(str(plan["name"]))
        return removed

    async def _stream(self, plan: StreamPlan) -> dict[str, Any] | None:
        try:
            answer = await self._connection.api(f"STREAM.INFO.{plan['name']}")
        except NotProvisionedError:
            return None
        config: dict[str, Any] = answer["config"]
        return config

    async def _consumer(self, plan: ConsumerPlan) -> dict[str, Any] | None:
        try:
            answer = await self._connection.api(f"CONSUMER.INFO.{plan.stream}.{plan.name}")
        except ApiError as fault:
            if fault.err_code == CONSUMER_NOT_FOUND:
                return None
            raise
        config: dict[str, Any] = answer["config"]
        return config

    async def _consumer_names(self) -> set[str]:
        stream = self._topology.names.jobs_stream
        names: set[str] = set()
        while True:
            answer = await self._connection.api(
                f"CONSUMER.NAMES.{stream}", {"offset": len(names)}
            )
            page: list[str] = answer.get("consumers") or []
            names |= set(page)
            if not page or len(names) >= answer.get("total", 0):
                return names

    async def _apply_stream(self, step: Step, plan: StreamPlan) -> None:
        if step.action is Action.CREATE:
            await self._connection.api(f"STREAM.CREATE.{step.name}", plan)
            return
        # Settings we do not speak of stay as the operator set them.
        current = await self._stream(plan) or {}
        await self._connection.api(f"STREAM.UPDATE.{step.name}", current | plan)

    async def _apply_consumer(self, plan: ConsumerPlan) -> None:
        # What we do not speak of stays, as a pause and a live limit do.
        current = await self._consumer(plan) or {}
        config = current | _with_live_limit(plan.config, current)
        await self._connection.api(
            f"CONSUMER.CREATE.{plan.stream}.{plan.name}.{plan.config['filter_subject']}",
            {"stream_name": plan.stream, "config": config},
        )


def _compare_stream(plan: StreamPlan, found: dict[str, Any] | None) -> Step:
    step = _compare("stream", plan["name"], plan, found)
    for key in _FIXED:
        if key in step.changes:
            is_now, wanted = step.changes[key]
            msg = (
                f"stream {plan['name']} has {key} {is_now!r}, should have {wanted!r}, and the "
                "server cannot change that in place; move its jobs and delete it, or choose "
                "the setting it has"
            )
            raise TopologyConflictError(msg)
    return step


def _with_live_limit(plan: dict[str, Any], found: dict[str, Any] | None) -> dict[str, Any]:
    """Want the limit that was set live, where there is one."""
    if found is None or LIVE_LIMIT not in (found.get("metadata") or {}):
        return plan
    return plan | {"max_ack_pending": found["max_ack_pending"]}


def _compare(kind: str, name: str, plan: dict[str, Any], found: dict[str, Any] | None) -> Step:
    if found is None:
        return Step(Action.CREATE, kind, name, {})
    changes = {
        key: (found.get(key), wanted)
        for key, wanted in plan.items()
        if not _same(found.get(key), wanted)
    }
    return Step(Action.UPDATE if changes else Action.KEEP, kind, name, changes)


def _same(found: Any, wanted: Any) -> bool:
    """Compare as the server means it: it leaves out zeroes and adds what it filled in."""
    if isinstance(wanted, dict):
        there = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        parts = cast("dict[str, Any]", wanted)
        return all(_same(there.get(key), value) for key, value in parts.items())
    if isinstance(wanted, list):
        has = _as_list(found)
        wants = _as_list(wanted)
        return len(has) == len(wants) and all(map(_same, has, wants))
    return found == wanted or (not found and not wanted)


def _as_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return []
    return value  # pyright: ignore[reportUnknownVariableType] - JSON is of any type
