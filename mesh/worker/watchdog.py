"""See to it that jobs that lie on the server arrive: missing consumers, lost pulls, dead lines.

A pull that the server refused or never ended is a symptom. The watchdog asks what became of the
consumer, creates it again from the declared topology if it is gone, and has the lane ask anew.
It never creates a stream: one that is gone took its jobs along, which a person must know.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import anyio

from mesh.client.client import Client
from mesh.contract.subjects import consumer_name
from mesh.errors import BrokerError, NotProvisionedError
from mesh.policy.lanes import Lane
from mesh.telemetry.tallies import WorkerMetrics
from mesh.topology import ConsumerPlan
from mesh.transport.puller import PULL_EXPIRES_S
from mesh.worker.attempt import Attempt
from mesh.worker.health import may_be_sent

log = logging.getLogger("mesh.worker")

_AGAIN_S = 1.0
_ONCE_MORE_S = 0.1
_SAY_EVERY_S = 30.0
_REOPEN_AT = 2
_RECONNECT_AT = 4


class Intakes(Protocol):
    """What the watchdog has done to a lane's pulls."""

    def resume(self, lane: Lane[Attempt]) -> None:
        """Forget what was asked for, and ask anew."""

    def distrust(self) -> None:
        """Ask the records about every message that is there, whatever the server counts."""

    async def reopen(self, lane: Lane[Attempt]) -> None:
        """Ask through a new inbox."""


class _Watched(NamedTuple):
    lane: Lane[Attempt]
    plan: ConsumerPlan


class Watchdog:
    """Looks after the lanes of one worker.

    Args:
        client: The worker's connection.
        lanes: Its lanes.
        intakes: Carries out what is to be done to a lane.
        metrics: Where trouble is counted.
        routine_s: How often to look where nothing seems wrong, and how long jobs may wait on
            the server while none is sent.
    """

    def __init__(
        self,
        client: Client,
        lanes: list[Lane[Attempt]],
        intakes: Intakes,
        metrics: WorkerMetrics,
        *,
        routine_s: float = 3 * PULL_EXPIRES_S,
    ) -> None:
        self._routine_s = routine_s
        self._client = client
        self._stream = client.names.jobs_stream
        self._intakes = intakes
        self._metrics = metrics
        plans = client.topology.consumers(dict.fromkeys(lane.queue for lane in lanes))
        by_name = {plan.name: plan for plan in plans}
        names = [consumer_name(lane.queue, lane.priority) for lane in lanes]
        self._watched = {
            name: _Watched(lane, by_name[name]) for name, lane in zip(names, lanes, strict=True)
        }
        self._names = {id(lane): name for name, lane in zip(names, lanes, strict=True)}
        self._suspects: set[str] = set()
        self._deleted: set[str] = set()
        self._losses: dict[str, int] = {}
        self._alarm = asyncio.Event()
        self._next_word_s = 0.0
        self._is_stopped = False
        self._tap: int | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        # Every worker must hear of it, also one that asks for nothing just then.
        subject = f"$JS.EVENT.ADVISORY.CONSUMER.DELETED.{self._stream}.*"
        self._tap = self._client.connection.link.tap(subject, self._on_deleted)
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """Watch no more."""
        if self._tap is not None:
            self._client.connection.link.untap(self._tap)
        self._is_stopped = True
        # Again and again, for nats-py swallows a cancellation that meets it while it flushes.
        while self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=_ONCE_MORE_S)

    def refused(self, lane: Lane[Attempt]) -> None:
        """Note that the server refused to take a pull, or that nobody took it."""
        self._gone(self._names[id(lane)])

    def lost(self, lane: Lane[Attempt]) -> None:
        """Note that a pull was neither answered nor ended in its time."""
        name = self._names[id(lane)]
        self._losses[name] = self._losses.get(name, 0) + 1
        self._metrics.noticed("pull-lost")
        self._suspect(name)

    def _on_deleted(self, subject: bytes, _reply: bytes, data: bytes, _headers: bytes) -> None:
        name = subject.rsplit(b".", 1)[1].decode("utf-8", "replace")
        if data and name in self._watched:  # Without data it is the tap's word of a reconnect.
            self._gone(name)

    def _gone(self, name: str) -> None:
        """Believe nothing of a consumer that may have been made anew meanwhile."""
        self._intakes.distrust()
        self._deleted.add(name)
        self._suspect(name)

    def _suspect(self, name: str) -> None:
        self._suspects.add(name)
        self._alarm.set()

    async def _watch(self) -> None:
        while not self._is_stopped:
            with anyio.move_on_after(self._routine_s):
                await self._alarm.wait()
            self._alarm.clear()
            names = sorted(self._suspects)
            self._suspects.clear()
            if not names:  # The routine: nothing is wrong that we know of.
                names = list(self._watched)
                await self._restored(self._client.topology.feeder)
            for name in names:
                if not await self._examine(name):
                    self._suspect(name)
            await anyio.sleep(_AGAIN_S)

    async def _examine(self, name: str) -> bool:
        """Look after one lane; say whether that could be done."""
        watched = self._watched[name]
        is_restored = await self._restored(watched.plan)
        if is_restored is None:
            return False
        if is_restored:
            self._gone(name)
        try:
            self._resume(name)
            await self._unblock(name, watched)
        except BrokerError as error:
            log.debug("the watchdog was not answered: %s", error)
            return False
        return True

    async def _restored(self, plan: ConsumerPlan) -> bool | None:
        """Create a consumer that is missing; say whether it was, None if nobody knows."""
        try:
            if not await self._client.provisioner.restore(plan):
                return False
        except NotProvisionedError:
            self._metrics.noticed("stream-missing")
            self._say_that_it_is_gone(plan.stream)
            return None
        except BrokerError as error:
            log.debug("the watchdog was not answered: %s", error)
            return None
        self._metrics.noticed("consumer-missing")
        log.warning("a consumer was missing; it is created again: %s", plan.name)
        return True

    def _resume(self, name: str) -> None:
        """Have a lane ask again whose consumer was gone."""
        if name in self._deleted:
            self._deleted.discard(name)
            self._intakes.resume(self._watched[name].lane)

    async def _unblock(self, name: str, watched: _Watched) -> None:
        """Where jobs wait that the server could send us and does not, ask in another way."""
        info = await self._client.connection.api(f"CONSUMER.INFO.{self._stream}.{name}")
        if not watched.lane.asked or not is_stuck(info, self._routine_s):
            self._losses.pop(name, None)
            return
        self._suspect(name)
        losses = self._losses[name] = self._losses.get(name, 0) + 1
        if losses < _REOPEN_AT:
            return
        self._metrics.noticed("lane-stuck")
        log.warning("jobs wait and none arrive; asking anew: %s", name)
        if losses < _RECONNECT_AT:
            await self._intakes.reopen(watched.lane)
        else:
            self._losses.pop(name, None)
            await self._client.connection.reconnect()

    def _say_that_it_is_gone(self, stream: str) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._next_word_s:
            return
        self._next_word_s = now + _SAY_EVERY_S
        log.error(
            "stream %s does not exist any more, and the jobs in it are gone; find out who "
            "deleted it, then run `mesh setup`: this worker goes on by itself",
            stream,
        )


def is_stuck(info: dict[str, Any], patience_s: float) -> bool:
    """Say whether a consumer has jobs that it may send, and has sent none for long.

    Args:
        info: What the server says of the consumer.
        patience_s: How long that is.
    """
    if not may_be_sent(info):
        return False
    last = info["delivered"].get("last_active") or info["created"]
    return _seconds_between(last, info["ts"]) > patience_s


def _seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
