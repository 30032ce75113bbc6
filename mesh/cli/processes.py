"""The worker processes that commands start: their command line and their supervisor."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from mesh.cli.target import Target

if TYPE_CHECKING:
    from mesh.worker.supervisor import Supervisor


class WorkerOptions(Struct, frozen=True, kw_only=True):
    """What is asked of the workers, beside where they work; None: what the settings say.

    Attributes:
        queues: The queues to serve.
        concurrency: How many jobs one process runs at once.
        drain_timeout_s: How long running jobs may finish.
        loop: The event loop.
        metrics_host: The address on which metrics are served.
        metrics_port: The first port on which metrics are served.
        is_burst: End when the queues are empty.
        is_json: Log JSON lines.
        has_scheduler: Keep schedules in each process, too.
    """

    queues: tuple[str, ...] = ()
    concurrency: int | None = None
    drain_timeout_s: float | None = None
    loop: str | None = None
    metrics_host: str | None = None
    metrics_port: int | None = None
    is_burst: bool = False
    is_json: bool = False
    has_scheduler: bool = False

    def settings(self) -> dict[str, object]:
        """The same as settings of an app, as ``Target.app`` takes them."""
        return {
            "worker__queues": ",".join(self.queues) or None,
            "worker__concurrency": self.concurrency,
            "worker__shutdown_grace_s": self.drain_timeout_s,
            "worker__loop": self.loop,
            "metrics__host": self.metrics_host,
            "metrics__port": self.metrics_port,
        }

    def arguments(self) -> list[str]:
        """The same for the command line of a process."""
        drain_s = self.drain_timeout_s
        given = {
            "--concurrency": self.concurrency,
            # Never as 1e-05, which is no duration.
            "--drain-timeout": None if drain_s is None else f"{drain_s:f}",
            "--loop": self.loop,
            "--metrics-host": self.metrics_host,
            "--metrics-port": self.metrics_port,
        }
        words = [word for queue in self.queues for word in ("--queue", queue)]
        words += [
            w for name, value in given.items() if value is not None for w in (name, str(value))
        ]
        words += ["--burst"] * self.is_burst + ["--json"] * self.is_json
        return words + ["--with-scheduler"] * self.has_scheduler


def supervisor(
    reference: str,
    target: Target,
    options: WorkerOptions,
    *,
    count: int = 1,
    grace_s: float = 30.0,
    reloads: bool = False,
) -> Supervisor:
    """Make the supervisor of some workers.

    Args:
        reference: The app.
        target: Where it works.
        options: What is asked of the workers.
        count: How many processes.
        grace_s: How long they may drain.
        reloads: Start anew when a Python file changes.

    Raises:
        SettingsError: Reloading is asked for, and watchfiles is not installed.
    """
    from mesh.worker import reloading
    from mesh.worker.supervisor import Supervisor

    watch = None
    if reloads:
        reloading.check_reload()
        watch = partial(reloading.changes, reloading.watched_folders(reference))
    return Supervisor(
        _command(reference, target, options),
        count=count,
        is_burst=options.is_burst,
        watch=watch,
        grace_s=grace_s,
    )


def _command(
    reference: str, target: Target, options: WorkerOptions
) -> Callable[[int, int], list[str]]:
    # Safe path: a folder here that is called like a library must not hide it.
    start = [sys.executable, "-P", "-m", "mesh", "worker"]
    rest = [*target.arguments(), *options.arguments(), reference]

    def command(lifeline: int, place: int) -> list[str]:
        return [*start, "--lifeline", str(lifeline), "--place", str(place), *rest]

    return command
