"""Ask the server what a namespace holds; only questions, nothing is changed."""

from __future__ import annotations

from typing import Any

from mesh.client.client import Client
from mesh.client.lanes import read_time
from mesh.client.queues import queue_statuses
from mesh.client.workers import all_workers
from mesh.exporter.snapshot import Snapshot, StreamSize
from mesh.transport.faults import MESSAGE_NOT_FOUND, ApiError
from mesh.transport.reading import StreamReader


class Look:
    """Looks at one namespace; keeps what is dear to ask for while it has not changed."""

    def __init__(self) -> None:
        self._dead: dict[str, int] = {}
        self._dead_as_of: tuple[int, ...] = ()

    async def take(self, client: Client) -> Snapshot:
        """Ask for all of it.

        Raises:
            NotProvisionedError: The namespace is not set up.
            BrokerError: The server could not be asked.
        """
        names = client.names
        infos: dict[str, dict[str, Any]] = {}
        for plan in client.topology.streams:
            name = str(plan["name"])
            infos[name] = await client.connection.api(f"STREAM.INFO.{name}")
        dead = infos[names.dead_stream]["state"]
        delayed = infos[names.delayed_stream]
        lag_s = 0.0
        if delayed["state"]["messages"]:
            lag_s = await _lag_s(client, str(delayed["ts"]))
        return Snapshot(
            queues=await queue_statuses(client),
            streams=[_size(name, info) for name, info in infos.items()],
            enqueued=infos[names.jobs_stream]["state"]["last_seq"],
            delayed=delayed["state"]["messages"],
            lag_s=lag_s,
            dead=await self._dead_letters(client, dead),
            buried=dead["last_seq"],
            workers=await _workers(client),
        )

    async def _dead_letters(self, client: Client, state: dict[str, Any]) -> dict[str, int]:
        """Count the dead letters by queue: that names each of them, so only after a change."""
        as_of = (state["messages"], state["first_seq"], state["last_seq"])
        if as_of != self._dead_as_of:
            names = client.names
            # A queue that had some must show that it has none.
            counts = dict.fromkeys(self._dead, 0)
            reader = StreamReader(client.connection, names.dead_stream)
            async for subject, count in reader.subjects(names.dead("*", "*")):
                queue = subject.split(".")[-2]
                counts[queue] = counts.get(queue, 0) + count
            self._dead, self._dead_as_of = counts, as_of
        return self._dead


def _size(name: str, info: dict[str, Any]) -> StreamSize:
    state = info["state"]
    most = max(0, info["config"].get("max_bytes", 0))
    return StreamSize(name, state["messages"], state["bytes"], most, state["last_seq"])


async def _workers(client: Client) -> dict[str, int]:
    """Count the workers by their health; a number that is nought is told, too."""
    counts = {"healthy": 0, "unhealthy": 0}
    for worker in await all_workers(client):
        counts["healthy" if worker.is_healthy else "unhealthy"] += 1
    return counts


async def _lag_s(client: Client, now: str) -> float:
    """For how long the oldest job that has fired waits for the job stream to take it."""
    names = client.names
    try:
        answer = await client.connection.api(
            f"STREAM.MSG.GET.{names.delayed_stream}",
            {"seq": 1, "next_by_subj": names.due("*", "*", "*")},
        )
    except ApiError as fault:
        if fault.err_code == MESSAGE_NOT_FOUND:
            return 0.0
        raise
    return max(0, read_time(now) - read_time(answer["message"]["time"])) / 1000
