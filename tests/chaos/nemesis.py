"""Make things go wrong as planned, and mend them; every step is noted in the history."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence

import anyio
from anyio import to_thread
from chaos.history import Journal, Line
from chaos.proxy import Proxy
from chaos.schedule import PROCESS_FAULTS, SERVER, SERVER_FAULTS, Fault, FaultKind
from chaos.workers import Place
from support.waiting import until

from mesh.clock import SYSTEM_CLOCK
from mesh.server.process import EmbeddedServer

_AMBUSH_S = 30.0


class Nemesis:
    """Carries out the faults of one run.

    Args:
        server: The server; nobody else ends it.
        places: The workers by the name of their place.
        proxies: The proxies by the name of those who connect through them.
        journal: Where each fault is noted when it begins and when it is mended.
    """

    def __init__(
        self,
        server: EmbeddedServer,
        places: Mapping[str, Place],
        proxies: Mapping[str, Proxy],
        journal: Journal,
    ) -> None:
        self._server = server
        self._places = places
        self._proxies = proxies
        self._journal = journal
        self._locks: dict[tuple[str, str], anyio.Lock] = {}
        self.done = 0

    async def run(self, faults: Sequence[Fault], left: Callable[[float], float]) -> None:
        """Do every fault at its time; returns when the last is mended.

        Args:
            faults: What to do.
            left: Says how many seconds are left until a time of the load.
        """
        async with anyio.create_task_group() as group:
            for number, fault in enumerate(faults):
                group.start_soon(self._do, number, fault, left)

    async def _do(self, number: int, fault: Fault, left: Callable[[float], float]) -> None:
        await anyio.sleep(max(0.0, left(fault.at_s)))
        layer = "network"
        if fault.kind in PROCESS_FAULTS | SERVER_FAULTS:
            layer = "process"
        # Two faults of one place take turns: the second finds it mended.
        async with self._locks.setdefault((fault.target, layer), anyio.Lock()):
            struck_s = await self._lie_in_wait(fault)
            about = {"kind": str(fault.kind), "target": self._names(fault)}
            proc, op = self._journal.proc, str(number)
            self._journal.add(Line(struck_s, proc, "fault", "invoke", op=op, value=about))
            try:
                await self._strike(fault)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._mend(fault)
                self._journal.write("fault", "ok", op=str(number))
        self.done += 1

    async def _lie_in_wait(self, fault: Fault) -> float:
        """Wait until a worker has stopped itself, if it is to be hit so; return since when."""
        if not fault.before:
            return SYSTEM_CLOCK.monotonic()
        ambush = self._places[fault.target].ambush
        ambush.lay(fault.before)
        words = f"{fault.target} is about to publish to {fault.before}…"
        await until(ambush.has_struck, words, _AMBUSH_S)
        return ambush.struck_at()

    def _names(self, fault: Fault) -> str:
        """Who is hit; what happens to a process says nothing about its successor."""
        if fault.kind in PROCESS_FAULTS:
            return self._places[fault.target].proc
        return fault.target

    async def _strike(self, fault: Fault) -> None:
        if fault.kind in SERVER_FAULTS:
            await self._strike_server(fault.kind)
        elif fault.kind in PROCESS_FAULTS:
            await self._strike_worker(fault.kind, self._places[fault.target])
        else:
            _strike_network(fault.kind, self._proxies[fault.target])
            if fault.before:  # It stopped itself, and was to be caught there, not kept there.
                self._places[fault.target].signal(signal.SIGCONT)
        await anyio.sleep(fault.lasts_s)

    async def _strike_server(self, kind: FaultKind) -> None:
        match kind:
            case FaultKind.KILL_SERVER:
                await to_thread.run_sync(self._server.kill)
            case FaultKind.FREEZE_SERVER:
                os.kill(self._server.pid, signal.SIGSTOP)
            case _:
                await to_thread.run_sync(self._server.restart)

    async def _strike_worker(self, kind: FaultKind, place: Place) -> None:
        match kind:
            case FaultKind.KILL_WORKER:
                await to_thread.run_sync(place.kill)
            case FaultKind.STOP_WORKER:
                await to_thread.run_sync(place.stop)
            case FaultKind.FREEZE_WORKER:
                place.signal(signal.SIGSTOP)
            case _:
                place.kill_child()

    async def _mend(self, fault: Fault) -> None:
        if fault.kind is FaultKind.FREEZE_SERVER:
            os.kill(self._server.pid, signal.SIGCONT)
        elif fault.target == SERVER:
            await self._server.start_async()
        elif fault.kind is FaultKind.FREEZE_WORKER:
            self._places[fault.target].signal(signal.SIGCONT)
        elif fault.kind in PROCESS_FAULTS:
            self._places[fault.target].start()
        else:
            _mend_network(fault.kind, self._proxies[fault.target])


def _strike_network(kind: FaultKind, proxy: Proxy) -> None:
    match kind:
        case FaultKind.CUT:
            proxy.refuse(refuses=True)
            proxy.cut()
        case FaultKind.HOLD:
            proxy.up.hold()
            proxy.down.hold()
        case FaultKind.MUTE:
            proxy.up.hold()
        case FaultKind.DEAFEN:
            proxy.down.hold()
        case FaultKind.HALF_OPEN:
            proxy.half_open()
        case FaultKind.SLOW:
            proxy.delay(is_late=True)
        case _:
            proxy.loses_acks = True


def _mend_network(kind: FaultKind, proxy: Proxy) -> None:
    match kind:
        case FaultKind.CUT:
            proxy.refuse(refuses=False)
        case FaultKind.HOLD | FaultKind.MUTE | FaultKind.DEAFEN:
            proxy.up.release()
            proxy.down.release()
        case FaultKind.HALF_OPEN:
            proxy.forget_half_open()
        case FaultKind.SLOW:
            proxy.delay(is_late=False)
        case _:
            proxy.loses_acks = False
