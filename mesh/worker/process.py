"""One worker process: run a worker until it is told to stop, and say how that went."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib import import_module

from prometheus_client import REGISTRY

from mesh.app import Mesh
from mesh.errors import SettingsError
from mesh.settings.model import MetricsSettings
from mesh.settings.sections import EventLoop
from mesh.telemetry.serving import MetricsServer
from mesh.worker.exits import Exit
from mesh.worker.serving import Service, run_worker
from mesh.worker.signals import StopSignals
from mesh.worker.worker import Worker

log = logging.getLogger("mesh.worker")

_ORPHAN_MARGIN_S = 15.0
_LEAVE_LIMIT_S = 3.0


def run_process(
    app: Mesh,
    reference: str,
    signals: StopSignals,
    *,
    is_burst: bool = False,
    lifeline: int | None = None,
    beside: Service | None = None,
    place: int = 0,
) -> Exit:
    """Run a worker in this process until a signal, the end of its supervisor or of its queues.

    Args:
        app: The app, with its final settings.
        reference: How child processes find the app.
        signals: Entered already, so that none was missed while the app was loaded.
        is_burst: Stop when the queues are empty.
        lifeline: A descriptor whose end means that the supervisor is gone.
        beside: Another service to run on the same loop, for as long as the worker.
        place: The process's number among those of its supervisor; its metrics are served so
            many ports further on.

    Returns:
        ``OK`` if every running job could finish, else ``FAILED``.

    Raises:
        MeshError: The worker cannot start.
    """
    worker = Worker(app, app_reference=reference)
    if lifeline is not None:
        grace_s = app.settings.worker.shutdown_grace_s
        _watch_lifeline(lifeline, grace_s + _ORPHAN_MARGIN_S)
    pages = _pages(app.settings.metrics, worker, place)
    with asyncio.Runner(loop_factory=loop_factory(app.settings.worker.loop)) as runner:
        try:
            in_time = runner.run(_serve(app, worker, signals, is_burst=is_burst, beside=beside))
        finally:
            if pages is not None:
                pages.stop()
        code = Exit.OK if in_time else Exit.FAILED
        _leave_within(_LEAVE_LIMIT_S, code)
    return code


def loop_factory(name: EventLoop) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop; None: Python's own.

    Raises:
        SettingsError: That loop is not installed.
    """
    if name == "asyncio":
        return None
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = import_module(name).new_event_loop
    except ImportError as error:
        fault = f"worker.loop: {name} is not installed; pip install {name}, or leave it out"
        raise SettingsError([fault]) from error
    return factory


def _pages(settings: MetricsSettings, worker: Worker, place: int) -> MetricsServer | None:
    """Serve metrics and probes if the settings say so."""
    if settings.port is None:
        return None
    health = worker.health
    pages = MetricsServer(
        REGISTRY,
        host=settings.host,
        port=settings.port + place if settings.port else 0,
        checks={"/livez": health.why_not_live, "/readyz": health.why_not_ready},
    )
    pages.start()
    return pages


async def _serve(
    app: Mesh,
    worker: Worker,
    signals: StopSignals,
    *,
    is_burst: bool,
    beside: Service | None,
) -> bool:
    stop = asyncio.Event()

    def on_signal(count: int) -> None:
        if not stop.is_set():
            log.info("stopping: running jobs may finish; a second signal hands them back now")
            stop.set()
        if count >= 2 and worker.is_ready:
            worker.hurry()

    def on_command(is_hurried: bool) -> None:
        on_signal(2 if is_hurried else 1)

    worker.on_stop = on_command
    signals.tell(on_signal)
    try:
        return await run_worker(worker, stop, is_burst=is_burst, beside=beside)
    finally:
        await app.close()


def _watch_lifeline(descriptor: int, limit_s: float) -> None:
    """Drain when the supervisor is gone, however it died; end if that takes too long."""

    def watch() -> None:
        os.read(descriptor, 1)
        log.warning("the supervisor is gone; stopping")
        os.kill(os.getpid(), signal.SIGTERM)
        _leave_within(limit_s, Exit.FAILED)

    threading.Thread(target=watch, name="mesh-lifeline", daemon=True).start()


def _leave_within(limit_s: float, code: Exit) -> None:
    """End the process in any case: threads of tasks left behind would keep it for ever."""

    def leave() -> None:
        threading.Event().wait(limit_s)
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)

    threading.Thread(target=leave, name="mesh-leave", daemon=True).start()
