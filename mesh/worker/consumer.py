"""Keep the executor fed: pull for the free slots, start jobs in order, return the rest."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from functools import partial

import anyio

from mesh.client.client import Client
from mesh.contract.subjects import consumer_name
from mesh.errors import BrokerError
from mesh.policy.lanes import UNTRUSTED, Feed, Lane
from mesh.transport import frames
from mesh.transport.puller import NAK, PULL_EXPIRES_S, Delivery, Puller, nak_after
from mesh.worker.attempt import Attempt
from mesh.worker.cancellations import Cancellations
from mesh.worker.executor import Executor
from mesh.worker.intake import Intake
from mesh.worker.limits import TimeKeeper
from mesh.worker.settlement import Settlement
from mesh.worker.tracing import TracedExecutor, TracedSettlement
from mesh.worker.trust import Trust
from mesh.worker.watchdog import Watchdog

log = logging.getLogger("mesh.worker")

TICK_S = 0.1
_PULL_SOON_S = 0.002
_LONGEST_WAIT_FOR_SLOT_S = 1.0
_PULL_GRACE_S = 1.0
_TWIN_WAIT_S = 2.0
_NO_CONSUMER = (409, 503)
_REFUSED_WAIT_S = 1.0
_MOST_SETTLING = 1000


class Consumer:
    """Feeds jobs from the lanes of some queues to the executor.

    Each feed has lanes and slots of its own: CPU-bound queues take no more jobs than there are
    child processes, whatever the worker's concurrency.

    Attributes:
        in_hand: Every attempt from its delivery until it is settled, by its job's id.
    """

    def __init__(
        self,
        client: Client,
        *,
        feeds: Sequence[Feed[Attempt]],
        intake: Intake,
        executor: Executor | TracedExecutor,
        timekeeper: TimeKeeper,
    ) -> None:
        self.in_hand: dict[str, Attempt] = {}
        self._client = client
        self._names = client.names
        self._link = client.connection.link
        self._feeds = feeds
        self._most_in_hand = sum(feed.slots for feed in feeds) + _MOST_SETTLING
        self._intake = intake
        self._executor = executor
        self._timekeeper = timekeeper
        lanes = [lane for feed in feeds for lane in feed.lanes]
        self._trust = Trust(
            client.connection, client.publisher, self._names, lanes, self._on_doubt
        )
        self._loop = asyncio.get_running_loop()
        # Far below the ack wait: whatever is older may be another worker's already.
        self._silence_s = client.settings.worker.ack_wait_s / 2
        self._beat_s = min(self._silence_s / 3, PULL_EXPIRES_S / 2)
        self._pullers: dict[int, Puller] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._is_draining = False
        self._cancellations = Cancellations(client, self.in_hand)
        self._idle = asyncio.Event()
        self._idle.set()
        self._refused: dict[int, float] = {}  # Lanes that are not asked, and until when.
        self.settlement: Settlement | TracedSettlement
        self.watchdog: Watchdog

    async def start(self) -> None:
        """Open the lanes and ask for the first jobs.

        Raises:
            NotProvisionedError: A bucket does not exist.
        """
        await self._trust.start()
        await self._cancellations.listen()
        for feed in self._feeds:
            for lane in feed.lanes:
                self._pullers[id(lane)] = puller = Puller(
                    self._client.connection,
                    self._names.jobs_stream,
                    consumer_name(lane.queue, lane.priority),
                    on_delivery=partial(self._on_delivery, feed, lane),
                    on_end=partial(self._on_pull_end, lane),
                    on_beat=partial(self._on_beat, lane),
                    beat_s=self._beat_s,
                )
                await puller.start()
        self._client.connection.on_reconnect(self._on_reconnect)
        await self._client.connection.confirm()
        self.watchdog.start()
        self._pull()
        self._tick()

    async def drain(self, grace_s: float) -> list[Attempt]:
        """Stop pulling, hand back what has not started, let the rest finish.

        Returns:
            The attempts that were stopped because they did not finish in time.
        """
        self._is_draining = True
        await self.watchdog.stop()
        for puller in self._pullers.values():
            await puller.stop()
        for feed in self._feeds:
            for attempt in feed.drain():
                self._return(attempt)
        with anyio.move_on_after(grace_s):
            await self._idle.wait()
        left = list(self.in_hand.values())
        for attempt in left:
            attempt.stop("shutdown")
        with anyio.move_on_after(_PULL_GRACE_S):
            await self._idle.wait()
        for timer in (self._timer, self._ticker):
            if timer is not None:
                timer.cancel()
        await self._trust.stop()
        await self._cancellations.close()
        return left

    def attempts(self) -> list[Attempt]:
        """Every attempt in hand; safe to call from another thread."""
        return list(self.in_hand.values())

    @property
    def is_idle(self) -> bool:
        """Whether no job is in hand."""
        return not self.in_hand

    @property
    def running(self) -> int:
        """How many slots are taken."""
        return sum(feed.running for feed in self._feeds)

    def resume(self, lane: Lane[Attempt]) -> None:
        """Forget what was asked of a lane, and ask anew."""
        lane.forget()
        self._refused.pop(id(lane), None)
        self._pull_soon()

    def distrust(self) -> None:
        """Ask the records about every job that is there, whatever the server counts."""
        self._trust.doubt()

    async def reopen(self, lane: Lane[Attempt]) -> None:
        """Ask for a lane's jobs through a new inbox."""
        await self._pullers[id(lane)].restart()
        self.resume(lane)

    def settled(self, attempt: Attempt) -> None:
        """Forget an attempt for which nothing is left to do."""
        if self.in_hand.pop(attempt.job_id, None) is None:
            return
        # Its task's context refers back to it: cut here, the collector need not find the ring.
        attempt.coroutine = None
        if attempt.trace is not None:
            attempt.trace.close()
        if attempt.holds_slot:
            self._free_slot(attempt)
        if not self.in_hand:
            self._idle.set()

    def _free_slot(self, attempt: Attempt) -> None:
        attempt.holds_slot = False
        following = attempt.feed.finished()
        if following is not None:
            self._begin(following)
        self._replenish(attempt)

    def _on_delivery(
        self, feed: Feed[Attempt], lane: Lane[Attempt], delivery: Delivery
    ) -> None:
        subject = delivery.subject
        job_id = subject[subject.rfind(b".") + 1 :].decode("utf-8", "replace")
        if self._is_draining:
            self._link.post(frames.signal(delivery.reply, NAK))
            return
        now = self._loop.time()
        if now - lane.heard_s > self._silence_s:
            self._on_silence(lane)
        lane.heard_s = now
        known = self.in_hand.get(job_id)
        if known is not None:
            lane.came(now)
            self._came_again(known, delivery)
            return
        if lane.untrusted_until and not lane.is_past_doubt(delivery.sequence):
            delivery.is_first = False
        self.in_hand[job_id] = attempt = Attempt(delivery, feed, lane, job_id, now)
        if len(self.in_hand) == 1:
            self._idle.clear()
        if delivery.reply.endswith(b".0"):
            lane.backlog = 0
        elif lane.asked <= 1:  # Reading it from every delivery would tell no more.
            lane.backlog = delivery.backlog
        if feed.arrived(lane, attempt, attempt.arrived_s):
            self._begin(attempt)

    def _on_beat(self, lane: Lane[Attempt]) -> None:
        now = self._loop.time()
        if now - lane.heard_s > self._silence_s:
            self._on_silence(lane)
        lane.heard_s = now

    def _on_silence(self, lane: Lane[Attempt]) -> None:
        """Doubt what comes now: it may have lain on its way for longer than the ack wait.

        The answer to the question that is asked now comes after it, over the same line.
        """
        if lane.untrusted_until != UNTRUSTED:  # Once for all lanes.
            log.warning("the server was not heard for a while; asking the records")
        self._trust.doubt()

    def _came_again(self, known: Attempt, delivery: Delivery) -> None:
        """Run a job once, though it was delivered while it is in hand."""
        if delivery.sequence == known.delivery.sequence:
            # The server forgot that it gave us this message, as after a crash of its own: it is
            # acknowledged where it was delivered last.
            known.delivery = delivery
        else:
            # A second message with the same id waits until the records say what became of it.
            self._link.post(frames.signal(delivery.reply, nak_after(_TWIN_WAIT_S)))

    def _begin(self, attempt: Attempt) -> None:
        attempt.holds_slot = True
        attempt.coroutine = self._loop.create_task(self._live(attempt))

    async def _live(self, attempt: Attempt) -> None:
        """Carry one attempt from its delivery to its settlement."""
        try:
            if self._loop.time() - attempt.arrived_s > self._silence_s:
                attempt.delivery.is_first = False  # The process was frozen meanwhile.
            if self._cancellations.was_heard(attempt.job_id):
                attempt.stop("cancelled")
            intake = self._intake
            outcome = intake.read(attempt) if intake.is_plain(attempt) else None
            if outcome is None and not attempt.is_read:
                outcome = await intake.take(attempt)
            if outcome is None:
                outcome = await self._executor.execute(attempt)
            self.settlement.settle(attempt, outcome)
            if attempt.holds_slot and len(self.in_hand) < self._most_in_hand:
                # Settling needs no slot: the next job may start while the record travels.
                self._free_slot(attempt)
        except BrokerError as error:
            # Nothing is said to the server: the job comes back when its ack wait is over.
            log.warning("a job could not be read: %s", error, extra={"job": attempt.job_id})
            self.settled(attempt)
        except BaseException:
            log.exception("an attempt could not be settled", extra={"job": attempt.job_id})
            self.settled(attempt)
            raise

    def _on_pull_end(self, lane: Lane[Attempt], missing: int, status: int) -> None:
        lane.close_pull(missing)
        if status in _NO_CONSUMER:
            # A tick asks again: at once would be a hot loop.
            self._refused[id(lane)] = self._loop.time() + _REFUSED_WAIT_S
            self.watchdog.refused(lane)
            return
        self._pull_soon()

    def _on_doubt(self) -> None:
        """Have what is in hand ask the records: before it starts, or before it ends its job."""
        for attempt in self.in_hand.values():
            if not attempt.has_record:
                attempt.confirmed_s = -math.inf
            if not attempt.started_ms:
                attempt.delivery.is_first = False

    def _on_reconnect(self) -> None:
        for feed in self._feeds:
            for lane in feed.lanes:
                lane.forget()
        self._pull_soon()

    def _replenish(self, attempt: Attempt) -> None:
        """Ask for more when a slot is freed: at once if the lane runs dry, else soon."""
        if attempt.feed.is_running_dry(attempt.lane):
            self._pull()
        else:  # Few slots are free: in a moment there are more, and short jobs share a request.
            self._pull_soon()

    def _pull_soon(self) -> None:
        if self._timer is None and not self._is_draining:
            self._timer = self._loop.call_later(_PULL_SOON_S, self._pull)

    def _pull(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_draining or not self._client.connection.is_connected:
            return
        now = self._loop.time()
        for feed in self._feeds:
            for lane, batch in feed.plan(now):
                if self._refused and self._is_refused(lane, now):
                    continue
                lane.ask(batch, now, now + PULL_EXPIRES_S + _PULL_GRACE_S)
                self._pullers[id(lane)].ask(batch)

    def _is_refused(self, lane: Lane[Attempt], now: float) -> bool:
        if self._refused.get(id(lane), 0.0) > now:
            return True
        self._refused.pop(id(lane), None)
        return False

    def _tick(self) -> None:
        """Look after timeouts, lost pulls and jobs that wait too long for a slot."""
        now = self._loop.time()
        self._timekeeper.tick(self.in_hand.values())
        self._cancellations.tick()
        for feed in self._feeds:
            for lane in feed.lanes:
                if lane.expire(now):
                    self.watchdog.lost(lane)
            for attempt in feed.overdue(now, _LONGEST_WAIT_FOR_SLOT_S):
                self._return(attempt)
        if not self._is_draining:
            self._pull()
        self._ticker = self._loop.call_later(TICK_S, self._tick)

    def _return(self, attempt: Attempt) -> None:
        """Hand back a job that never started."""
        self.in_hand.pop(attempt.job_id, None)
        self._link.post(frames.signal(attempt.delivery.reply, NAK))
        if not self.in_hand:
            self._idle.set()
