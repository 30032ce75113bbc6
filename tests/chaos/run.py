"""One chaos run: a server, workers, producers, a nemesis; its history is left in a folder."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
from anyio import to_thread
from chaos.final import left_over, read_final
from chaos.history import Journal
from chaos.load import MIX, Order, plan_load
from chaos.nemesis import Nemesis
from chaos.producers import Producers
from chaos.proxy import Proxy
from chaos.schedule import LEASE_S, PRODUCERS, Fault, plan_faults
from chaos.workers import Place
from msgspec import Struct
from support.waiting import until

from mesh import Mesh
from mesh.clock import SYSTEM_CLOCK
from mesh.errors import MeshError
from mesh.server.config import ServerConfig
from mesh.server.process import EmbeddedServer

_NAMESPACE = "chaos"
_PRODUCERS = 3
_READY_S = 60.0
_POLL_S = 0.1
_LOOK_AFTER_S = 0.5
_FORGOTTEN_S = 3 * LEASE_S


class Plan(Struct, frozen=True):
    """What a run does, all of it decided before it starts.

    Attributes:
        orders: What is enqueued and when.
        faults: What goes wrong and when.
        workers: How many worker processes there are.
        drain_s: How long everything may take to come to rest when the last fault is mended.
        mutant: Which mutant of mesh the workers run; empty: none.
    """

    orders: tuple[Order, ...]
    faults: tuple[Fault, ...]
    workers: int
    drain_s: float
    mutant: str = ""


def make_plan(
    seed: int,
    *,
    jobs: int,
    faults: int,
    seconds: float,
    workers: int = 3,
    drain_s: float = 30.0,
    mix: Mapping[str, float] = MIX,
) -> Plan:
    """Plan a run from a seed; the same arguments give the same plan."""
    return Plan(
        tuple(plan_load(seed, jobs, seconds, mix)),
        tuple(plan_faults(seed, faults, seconds, workers)),
        workers,
        drain_s,
    )


class Stage:
    """What a run takes place on; ready when ``open_stage`` yields it.

    Attributes:
        direct: A fresh connection past every proxy.
        journal: The history of those who are no workers.
    """

    def __init__(self, plan: Plan, folder: Path, server: EmbeddedServer) -> None:
        self.server = server
        self.journal = Journal(folder, "chaos")
        self.proxies: dict[str, Proxy] = {}
        self.places: dict[str, Place] = {}
        self.direct = _app(server.url)
        self._plan = plan
        self._folder = folder

    async def open(self, stack: AsyncExitStack) -> None:
        """Start everything but the load and the faults."""
        stack.callback(self.journal.close)
        await stack.enter_async_context(self.direct)
        await self.direct.setup(["default"])
        names = [f"w{number}" for number in range(self._plan.workers)]
        for name in (PRODUCERS, *names):
            proxy = Proxy(lambda: self.server.port)
            self.proxies[name] = await stack.enter_async_context(proxy.listening())
        stack.push_async_callback(self._end_workers)
        for name in names:
            url = f"nats://127.0.0.1:{self.proxies[name].port}"
            self.places[name] = place = Place(
                name, self._folder, self.journal, url, _NAMESPACE, self._plan.mutant
            )
            place.start()
        self.apps = [
            await stack.enter_async_context(
                _app(f"nats://127.0.0.1:{self.proxies[PRODUCERS].port}")
            )
            for _ in range(_PRODUCERS)
        ]
        for place in self.places.values():
            await until(place.is_ready, f"worker {place.proc} is ready", _READY_S)

    async def _end_workers(self) -> None:
        for place in self.places.values():
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(place.kill)


@asynccontextmanager
async def open_stage(plan: Plan, folder: Path) -> AsyncGenerator[Stage]:
    """Start everything but the load and the faults; nothing is left when this is left."""
    (folder / "seen").mkdir(parents=True)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EmbeddedServer(ServerConfig()))
        stage = Stage(plan, folder, server)
        await stage.open(stack)
        yield stage


async def carry_out(
    plan: Plan, folder: Path, on_progress: Callable[[str], None] = lambda _words: None
) -> None:
    """Carry out a plan and leave its history in a folder, which must not exist yet.

    Args:
        plan: What to do.
        folder: Where the history and the logs of the workers are left.
        on_progress: Told a few words now and then.
    """
    on_progress("starting a server and workers")
    async with open_stage(plan, folder) as stage:
        await _load(plan, stage, on_progress)
        stage.journal.write("healed", "ok")
        on_progress("all is mended; waiting until everything has come to rest")
        is_drained = await _drain(plan, stage)
        stage.journal.write("drained", "ok" if is_drained else "fail")
        on_progress("reading what is stored")
        async with _app(stage.server.url) as fresh:
            await read_final(fresh, stage.journal)
        for place in stage.places.values():
            await to_thread.run_sync(place.stop)


async def _load(plan: Plan, stage: Stage, on_progress: Callable[[str], None]) -> None:
    start = SYSTEM_CLOCK.monotonic()

    def left(at_s: float) -> float:
        return start + at_s - SYSTEM_CLOCK.monotonic()

    nemesis = Nemesis(stage.server, stage.places, stage.proxies, stage.journal)
    producers = Producers(stage.apps, stage.journal, left, await_s=plan.drain_s)

    def tell() -> None:
        jobs, faults = producers.enqueued, nemesis.done
        on_progress(f"{jobs} of {len(plan.orders)} jobs, {faults} of {len(plan.faults)} faults")

    async with anyio.create_task_group() as helpers:
        helpers.start_soon(_look_after, stage, tell)
        async with anyio.create_task_group() as group:
            group.start_soon(nemesis.run, plan.faults, left)
            group.start_soon(producers.run, plan.orders)
        helpers.cancel_scope.cancel()


async def _look_after(stage: Stage, tell: Callable[[], None]) -> None:
    """Start workers anew that ended by themselves, as whatever runs them would."""
    while True:
        await anyio.sleep(_LOOK_AFTER_S)
        for place in stage.places.values():
            place.look_after()
        tell()


async def _drain(plan: Plan, stage: Stage) -> bool:
    """Wait until no job and no running record is left; say whether that was in time.

    Records that nobody removes though every job has ended are not waited for so long.
    """
    deadline = SYSTEM_CLOCK.monotonic() + plan.drain_s
    hopeless = deadline
    left = {"jobs": [""]}
    async with anyio.create_task_group() as helpers:
        helpers.start_soon(_look_after, stage, lambda: None)
        while any(left.values()) and SYSTEM_CLOCK.monotonic() < min(deadline, hopeless):
            await anyio.sleep(_POLL_S)
            with contextlib.suppress(MeshError):  # It has not yet reconnected.
                left = await left_over(stage.direct)
            if left["jobs"] or left.get("delayed") or left.get("due"):
                hopeless = SYSTEM_CLOCK.monotonic() + _FORGOTTEN_S
        helpers.cancel_scope.cancel()
    return not any(left.values())


def _app(url: str) -> Mesh:
    return Mesh(
        url,
        namespace=_NAMESPACE,
        worker={"ack_wait_s": LEASE_S, "heartbeat_s": 0.4},
        limits={"payload_inline_bytes": 16_384},
    )


def run_plan(
    plan: Plan, folder: Path, on_progress: Callable[[str], None] = lambda _words: None
) -> None:
    """Do what `carry_out` does, from a program without an event loop."""
    asyncio.run(carry_out(plan, folder, on_progress))
