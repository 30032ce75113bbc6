"""The watchdog's own ways, where the tests of the process do not reach."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from mesh.server import child, watchdog
from mesh.server.process import EmbeddedServer


def sleeper() -> subprocess.Popen[bytes]:
    """A process that waits until it is ended."""
    return subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])


@pytest.mark.parametrize("watch", [watchdog.end_with_parent, watchdog._watch_by_looking])
def test_a_parent_that_is_gone_takes_the_server_with_it(
    watch: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways to watch end the server when the pid of the parent is no longer ours."""
    monkeypatch.setattr(watchdog, "_GRACE_MS", 200)
    server = sleeper()

    watch(os.getpid(), server.pid)

    assert server.wait(5) in {-signal.SIGTERM, -signal.SIGKILL}


def test_the_watchdog_leaves_when_the_server_ends_first() -> None:
    """A watchdog with nothing to watch ends, and kills nobody."""
    server = sleeper()
    server.kill()

    watchdog.end_with_parent(os.getppid(), server.pid)

    assert server.wait(5) == -signal.SIGKILL


def test_without_a_python_there_is_a_warning_instead_of_a_watchdog(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A frozen program cannot run a script; its server works all the same."""
    monkeypatch.setattr(child.sys, "executable", "")

    with EmbeddedServer() as server:
        assert server.is_running

    assert "no Python to run a watchdog with" in caplog.text
