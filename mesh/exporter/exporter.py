"""Tell Prometheus what a namespace's queues and streams hold; one exporter is enough for all.

Workers do not say this of themselves: sums over workers would count each job many times.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator

import anyio
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from mesh import __version__
from mesh.client.client import Client
from mesh.clock import SYSTEM_CLOCK, Clock
from mesh.errors import MeshError
from mesh.exporter.looking import Look
from mesh.exporter.snapshot import Snapshot, samples
from mesh.telemetry import metrics
from mesh.telemetry.serving import Check, MetricsServer

log = logging.getLogger("mesh.exporter")

DEFAULT_PORT = 9465
EVERY_S = 5.0
_OLD_AFTER = 3


class Exporter(Collector):
    """Looks at a namespace now and then, and has the newest look ready for Prometheus.

    It can stand alone or be a part of another service: give it a registry that is served
    already, and no port.

    Args:
        client: Returns the connection of the running loop.
        registry: Where to collect; None: one of its own.
        host: The address to serve on.
        port: The port to serve on; 0: the system chooses; None: the registry is served by
            somebody else.
        every_s: How often to look, in seconds.
        clock: The time.

    Attributes:
        pages: What it serves.
    """

    def __init__(
        self,
        client: Callable[[], Awaitable[Client]],
        *,
        registry: CollectorRegistry | None = None,
        host: str = "127.0.0.1",
        port: int | None = None,
        every_s: float = EVERY_S,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._client = client
        self._every_s = every_s
        self._clock = clock
        self._look = Look()
        self._newest: tuple[Snapshot, float] | None = None
        self._why_not = "it has not looked yet"
        self._has_said_why = False
        self._took_s = 0.0
        registry = CollectorRegistry() if registry is None else registry
        registry.register(self)
        self.pages: MetricsServer | None = None
        if port is not None:
            checks: dict[str, Check] = {"/livez": str, "/readyz": lambda: self._why_not}
            self.pages = MetricsServer(registry, host=host, port=port, checks=checks)

    async def run(self) -> None:
        """Serve and look again and again, until cancelled; a server that is away is awaited.

        Raises:
            SettingsError: The port cannot be listened on.
        """
        if self.pages is not None:
            self.pages.start()
        try:
            while True:
                await self.look()
                await anyio.sleep(self._every_s)
        finally:
            if self.pages is not None:
                self.pages.stop()

    async def look(self) -> bool:
        """Look once; say whether that could be done."""
        began_s = self._clock.monotonic()
        try:
            snapshot = await self._look.take(await self._client())
        except MeshError as error:
            if not self._has_said_why:  # Once, not at every look.
                log.warning("the queues cannot be looked at: %s", error)
            self._has_said_why = True
            self._why_not = str(error)
            return False
        now_s = self._clock.monotonic()
        self._took_s = now_s - began_s
        self._newest = snapshot, now_s
        self._why_not = ""
        self._has_said_why = False
        return True

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: what is collected depends on the server."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Turn the newest look into samples; one that is too old says nothing any more."""
        build = metrics.BUILD_INFO.family()
        build.add_metric((__version__,), 1)
        up = metrics.EXPORTER_UP.family()
        up.add_metric((), not self._why_not)
        took = metrics.EXPORTER_LOOK_DURATION.family()
        took.add_metric((), self._took_s)
        yield from (build, up, took)
        if self._newest is not None:
            snapshot, looked_s = self._newest
            if self._clock.monotonic() - looked_s <= _OLD_AFTER * max(self._every_s, 1.0):
                yield from samples(snapshot)
