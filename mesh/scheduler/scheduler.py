"""The scheduler service: any number of replicas, of which one leads and arms ticks."""

from __future__ import annotations

import asyncio
import logging

import anyio
from anyio.abc import TaskGroup

from mesh.app import Mesh
from mesh.client.client import Client
from mesh.clock import SYSTEM_CLOCK, Clock
from mesh.contract.subjects import kv_stream
from mesh.errors import BrokerError, NotProvisionedError
from mesh.identifiers import new_worker_id
from mesh.policy.arming import Reach
from mesh.scheduler.armer import Armer, NotLeadingError
from mesh.scheduler.bell import Bell
from mesh.scheduler.catalogue import Catalogue
from mesh.scheduler.chronicle import Chronicle
from mesh.scheduler.keeper import Keeper
from mesh.scheduler.lease import Lease

log = logging.getLogger("mesh.scheduler")

SERVICE = "scheduler"
"""The name of its lease."""

_LOOK_EVERY_S = 0.5
_AGAIN_S = 1.0
_LEAVE_LIMIT_S = 2.0


class Scheduler:
    """One replica of the service.

    Args:
        app: The app whose namespace it serves.
        clock: The time.

    Attributes:
        id: The replica's id, as the lease names it.
        is_ready: Whether it has begun to contend for the lease.
    """

    def __init__(self, app: Mesh, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.id = new_worker_id()
        self.is_ready = False
        self._app = app
        self._settings = app.settings.scheduler
        self._clock = clock
        self._lease: Lease | None = None

    @property
    def leads(self) -> bool:
        """Whether this replica leads at this moment."""
        return self._lease is not None and self._lease.is_mine()

    async def run(self, stop: asyncio.Event) -> None:
        """Store the schedules that the app declares, then serve until told to stop.

        A replica that is told to stop lets another one lead at once.

        Args:
            stop: Set to have it return.

        Raises:
            ConnectError: No server was reached.
            NotProvisionedError: The streams and buckets do not exist.
            OptionError: A schedule that the app declares says what cannot be.
            SettingsError: A schedule of the settings file does.
            BrokerError: The server could not be asked when it began.
        """
        client = await self._app.client()
        await self._check_set_up(client)
        await self._app.schedules.sync()
        lease = self._lease = Lease(
            client, SERVICE, self.id, self._settings.lease_s, self._clock
        )
        self.is_ready = True
        log.info("scheduler ready", extra={"scheduler": self.id})
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._contend, client, lease, group)
                await stop.wait()
                group.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(_LEAVE_LIMIT_S, shield=True):
                await self._leave(lease)

    async def _check_set_up(self, client: Client) -> None:
        stream = kv_stream(client.names.schedules_bucket)
        try:
            await client.connection.api(f"STREAM.INFO.{stream}")
        except NotProvisionedError as error:
            msg = (
                f"namespace {self._app.settings.namespace!r} is not set up for schedules on "
                f"{self._app.settings.url}; run `mesh setup`"
            )
            raise NotProvisionedError(msg) from error

    async def _leave(self, lease: Lease) -> None:
        try:
            await lease.release()
        except BrokerError as error:  # It passes by itself.
            log.debug("the lease could not be given back: %s", error)

    async def _contend(self, client: Client, lease: Lease, group: TaskGroup) -> None:
        """Renew the lease, or wait for it; while it is held, let the term run."""
        # Often enough that it is noticed within a sixth of a lease that one has passed.
        pause_s = self._settings.lease_s / 6
        term: anyio.CancelScope | None = None
        with Bell(client.connection.link, lease.subject) as bell:
            while True:
                try:
                    await lease.step()
                except BrokerError as error:
                    log.debug("the lease: %s", error)
                if term is not None and (not lease.is_mine() or term.cancel_called):
                    term.cancel()
                    term = None
                if term is None and lease.is_mine():
                    term = anyio.CancelScope()
                    group.start_soon(self._serve, client, lease, term)
                # A leader hears its own renewals, which are no news.
                await (anyio.sleep(2 * pause_s) if lease.token else bell.wait(pause_s))

    async def _serve(self, client: Client, lease: Lease, term: anyio.CancelScope) -> None:
        """Do what the leader does, until it leads no more."""
        token = lease.token

        def is_leader() -> bool:
            return lease.token == token and lease.is_mine() and not term.cancel_called

        with term:
            async with anyio.create_task_group() as group:
                if self._settings.fsck_every_s:
                    group.start_soon(self._check, self._settings.fsck_every_s)
                await self._keep(client, Armer(client, self._clock, is_leader))
                group.cancel_scope.cancel()
        term.cancel()  # So that it is seen to have ended.

    async def _keep(self, client: Client, armer: Armer) -> None:
        catalogue = Catalogue(client)
        reach = Reach(
            round(self._settings.arm_ahead_s * 1000),
            round(self._settings.misfire_grace_s * 1000),
        )
        keeper = Keeper(catalogue, armer, self._clock, reach)
        chronicle = Chronicle(client, catalogue, self._clock)
        is_loaded = False
        with Bell(client.connection.link, client.names.schedules) as bell:
            while True:
                try:
                    if not is_loaded:
                        await catalogue.load()
                        is_loaded = True
                    await keeper.look()
                    await chronicle.look()
                except NotLeadingError:
                    return
                except BrokerError as error:
                    log.warning("schedules wait: %s", error)
                    # What was written is not known: read it.
                    is_loaded = False
                    await anyio.sleep(_AGAIN_S)
                await bell.wait(_LOOK_EVERY_S)

    async def _check(self, every_s: float) -> None:
        """Check and repair the namespace from time to time."""
        while True:
            await anyio.sleep(every_s)
            try:
                report = await self._app.fsck(repair=True)
            except BrokerError as error:
                log.warning("the namespace could not be checked: %s", error)
                continue
            for one in report.findings:
                state = "repaired" if one.is_repaired else "found"
                log.warning("%s: %s %s: %s", state, one.kind, one.name, one.detail)
