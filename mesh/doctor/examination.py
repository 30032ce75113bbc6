"""Examine a server and a namespace: ask, then judge; changes nothing."""

from __future__ import annotations

import base64
import math
from collections.abc import Awaitable, Callable, Iterable

import anyio
import msgspec
from msgspec.structs import replace

from mesh.client.client import Client
from mesh.client.lanes import LaneState, every_lane, read_time
from mesh.client.queues import queue_statuses
from mesh.clock import Clock
from mesh.contract.leases import read_leadership
from mesh.contract.subjects import kv_stream
from mesh.doctor.facts import Account, Facts, StreamInfo
from mesh.doctor.findings import Finding, Report, problem
from mesh.doctor.rules import RULES, is_suspicious, judge
from mesh.errors import (
    BrokerError,
    ConnectError,
    NotProvisionedError,
    PermissionDeniedError,
    ServerUnfitError,
    TopologyConflictError,
)
from mesh.settings.addresses import redact_login
from mesh.settings.model import Settings
from mesh.transport.faults import MESSAGE_NOT_FOUND, ApiError

LOOK_AGAIN_S = 1.0
"""How long a lane that looks stuck is watched, in seconds."""

_OTHER_CHECKS = 4  # The connection, its login, the server's version, and permissions.


async def examine(
    settings: Settings,
    queues: Iterable[str],
    clock: Clock,
    *,
    look_again_s: float = LOOK_AGAIN_S,
) -> Report:
    """Look for what is wrong with a namespace and its server; raises nothing of the broker's.

    Args:
        settings: The settings that should hold.
        queues: The queues that should be set up.
        clock: This machine's time.
        look_again_s: How long a lane that looks stuck is watched.
    """
    started_s = clock.monotonic()
    client = Client(settings, "mesh-doctor", clock)
    try:
        await client.open()
    except (ConnectError, ServerUnfitError, PermissionDeniedError) as error:
        findings = [_no_way_in(settings, error)]
    else:
        try:
            examination = _Examination(client, clock, look_again_s)
            findings = await examination.run(queues)
        finally:
            await client.close()
    return Report(
        url=redact_login(settings.url),
        namespace=settings.namespace,
        findings=tuple(findings),
        checks=len(RULES) + _OTHER_CHECKS,
        took_s=clock.monotonic() - started_s,
    )


def _no_way_in(settings: Settings, error: BrokerError) -> Finding:
    url = redact_login(settings.url)
    if isinstance(error, ServerUnfitError):
        remedy = "install nats-server 2.15 or newer, and run it with JetStream"
        return problem("server-unfit", url, str(error), remedy)
    if isinstance(error, PermissionDeniedError):
        return problem("permission", url, str(error), "grant it in the server's configuration")
    if "authorization" in str(error).lower():
        remedy = "give the right login: settings credentials.*, or in MESH_URL"
        return problem("login-refused", url, str(error), remedy)
    remedy = "start one with `mesh server`, or say where it is with --url or MESH_URL"
    return problem("server-unreachable", url, str(error), remedy)


class _Examination:
    """Asks one server about one namespace."""

    def __init__(self, client: Client, clock: Clock, look_again_s: float) -> None:
        self._client = client
        self._clock = clock
        self._look_again_s = look_again_s
        self._scope: anyio.CancelScope | None = None
        self._denied = ""
        client.connection.on_denial(self._on_denial)

    async def run(self, queues: Iterable[str]) -> list[Finding]:
        """Gather the facts, as far as the server tells them, and judge them."""
        faults: list[Finding] = []
        facts = Facts(settings=self._client.settings, now_ms=self._clock.now_ms())
        for gather in (
            self._server,
            self._streams,
            self._drift(queues),
            self._queues,
            self._leader,
        ):
            outcome = await self._as_far_as_allowed(gather, facts)
            if isinstance(outcome, Finding):
                faults.append(outcome)
            else:
                facts = outcome
        return [*faults, *judge(facts)]

    async def _as_far_as_allowed(
        self, gather: Callable[[Facts], Awaitable[Facts]], facts: Facts
    ) -> Facts | Finding:
        """Gather more; a question that is denied gets no answer, and is not waited for."""
        self._denied = ""
        with anyio.CancelScope() as self._scope:
            try:
                return await gather(facts)
            except NotProvisionedError:
                return facts  # The streams that are missing are a finding already.
            except BrokerError as error:
                url = redact_login(self._client.settings.url)
                remedy = "look at the server's log and load, and run this again"
                return problem("no-answer", url, str(error), remedy)
        return problem(
            "permission",
            self._client.settings.credentials.user or "this user",
            f"it may not ask {self._denied}: not everything could be looked at",
            "run this as a user who may, or grant it in the server's configuration",
        )

    def _on_denial(self, subject: str) -> None:
        self._denied = subject
        if self._scope is not None:
            self._scope.cancel()

    async def _server(self, facts: Facts) -> Facts:
        account = msgspec.convert(
            await self._client.connection.api("INFO"), Account, strict=False
        )
        times = [await self._timed() for _ in range(3)]
        return replace(facts, account=account, round_trip_ms=min(times))

    async def _timed(self) -> float:
        before_s = self._clock.monotonic()
        await self._client.connection.flush()
        return (self._clock.monotonic() - before_s) * 1000

    async def _streams(self, facts: Facts) -> Facts:
        streams: dict[str, StreamInfo | None] = {}
        skew_ms = 0.0
        for plan in self._client.topology.streams:
            name = str(plan["name"])
            before_ms = self._clock.now_ms()
            streams[name] = info = await self._stream(name)
            if info is not None and info.ts:
                skew_ms = _skew(before_ms, self._clock.now_ms(), read_time(info.ts))
        return replace(facts, streams=streams, skew_ms=skew_ms)

    async def _stream(self, name: str) -> StreamInfo | None:
        try:
            answer = await self._client.connection.api(f"STREAM.INFO.{name}")
        except NotProvisionedError:
            return None
        return msgspec.convert(answer, StreamInfo, strict=False)

    def _drift(self, queues: Iterable[str]) -> Callable[[Facts], Awaitable[Facts]]:
        async def compare(facts: Facts) -> Facts:
            try:
                steps = await self._client.provisioner.plan(sorted(queues))
            except TopologyConflictError as error:
                return replace(facts, conflict=str(error))
            return replace(facts, steps=tuple(steps))

        return compare

    async def _queues(self, facts: Facts) -> Facts:
        queues = tuple(await queue_statuses(self._client))
        lanes = await self._lanes()
        again: tuple[LaneState, ...] = ()
        if any(map(is_suspicious, lanes)):
            await anyio.sleep(self._look_again_s)
            again = await self._lanes()
        return replace(facts, queues=queues, lanes=lanes, again=again)

    async def _leader(self, facts: Facts) -> Facts:
        """See how long the scheduler has been silent, where there are schedules."""
        names = self._client.names
        info = facts.streams.get(kv_stream(names.schedules_bucket))
        if info is None or not info.state.messages:
            return facts
        try:
            answer = await self._client.connection.api(
                f"STREAM.MSG.GET.{kv_stream(names.locks_bucket)}",
                {"last_by_subj": names.leadership("scheduler")},
            )
        except ApiError as fault:
            if fault.err_code != MESSAGE_NOT_FOUND:
                raise
            return replace(facts, leaderless_ms=math.inf)
        message = answer["message"]
        try:
            has_leader = read_leadership(base64.b64decode(message.get("data", ""))).owner != ""
        except msgspec.DecodeError:
            has_leader = False
        silent_ms = self._clock.now_ms() - facts.skew_ms - read_time(message["time"])
        return replace(facts, leaderless_ms=silent_ms if has_leader else math.inf)

    async def _lanes(self) -> tuple[LaneState, ...]:
        return tuple([lane async for lane in every_lane(self._client)])


def _skew(before_ms: int, after_ms: int, server_ms: int) -> float:
    """How far the clock here is surely ahead; below zero: behind.

    The server's time lies somewhere between question and answer.
    """
    if server_ms < before_ms:
        return before_ms - server_ms
    return min(0, after_ms - server_ms)
