"""The embedded server as a process: ready, stopped, killed, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import anyio
import nats
import psutil
import pytest
from anyio import to_thread
from support.waiting import until_sync

import mesh.server.process
from mesh.errors import ServerStartError
from mesh.server.config import ServerConfig
from mesh.server.probe import server_answers
from mesh.server.process import EmbeddedServer

IMPORT_ROOT = Path(mesh.server.process.__file__).parents[2]
PARENT = """
import sys, threading
from pathlib import Path
from mesh.server.config import ServerConfig
from mesh.server.process import EmbeddedServer

server = EmbeddedServer(ServerConfig(store_dir=Path(sys.argv[1]) if sys.argv[1:] else None))
starter = threading.Thread(target=server.start)
starter.start()
starter.join()  # The thread that started the server is gone; the server must not mind.
sys.stdout.write(f"{server.pid} {server.url} {server.store_dir}\\n")
sys.stdout.flush()
sys.stdin.read()
"""
FORKING = """
import os, sys
from mesh.server.process import EmbeddedServer

with EmbeddedServer() as server:
    child = os.fork()
    if child == 0:
        server.stop()
        os._exit(0)
    os.waitpid(child, 0)
    sys.stdout.write(f"running {server.is_running} {server.store_dir.is_dir()}")
"""


@contextlib.contextmanager
def parent_with_server(*arguments: str) -> Generator[tuple[subprocess.Popen[str], list[str]]]:
    """Run another Python that starts a server; give its process and what it says of it."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *arguments],
        env={**os.environ, "PYTHONPATH": str(IMPORT_ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        try:
            yield parent, parent.stdout.readline().split()
        finally:
            parent.kill()


def is_gone(pid: int) -> bool:
    """Whether the process has ended, even if nobody has collected it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_started_server_answers_with_jetstream() -> None:
    """When start returns, JetStream is ready at the url."""
    with EmbeddedServer() as server:
        info = server_answers(server.url)

    assert info is not None
    assert info.jetstream
    assert info.version.startswith("2.")


def test_nothing_is_left_of_a_stopped_server() -> None:
    """After stop the process, its watchdog and the temporary store are gone."""
    mine = psutil.Process()
    before = set(mine.children(recursive=True))
    with EmbeddedServer() as server:
        pid, store, url = server.pid, server.store_dir, server.url
        assert len(set(mine.children(recursive=True)) - before) == 2

    assert is_gone(pid)
    assert set(mine.children(recursive=True)) == before
    assert not store.exists()
    assert server_answers(url) is None


def test_two_servers_get_different_ports() -> None:
    """The system chooses each port, so that servers never meet."""
    with EmbeddedServer() as one, EmbeddedServer() as other:
        assert one.port != other.port
        assert one.store_dir != other.store_dir


def test_start_and_stop_may_be_called_at_any_time() -> None:
    """Starting twice changes nothing; stopping before a start or twice does no harm."""
    server = EmbeddedServer()
    server.stop()
    assert repr(server) == "EmbeddedServer(not running)"

    server.start()
    pid = server.pid
    server.start()
    assert server.pid == pid
    assert repr(server) == f"EmbeddedServer(pid={pid}, {server.url})"

    server.stop()
    server.stop()
    assert not server.is_running


def test_a_server_that_was_never_started_has_no_address() -> None:
    """Asking for what is not there is answered with what to do."""
    server = EmbeddedServer()

    with pytest.raises(ServerStartError, match="has not been started"):
        _ = server.url
    with pytest.raises(ServerStartError, match="not running; start it first"):
        _ = server.pid
    with pytest.raises(ServerStartError, match="no store yet"):
        _ = server.log_path


async def test_a_killed_server_comes_back_with_its_data_and_port() -> None:
    """Kill and start keep what was stored, as a crash and a return would."""
    async with EmbeddedServer() as server:
        client = await nats.connect(server.url, allow_reconnect=False)
        stream = client.jetstream()
        await stream.add_stream(name="KEPT", subjects=["kept"])
        await stream.publish("kept", b"still here")
        await client.close()
        url, pid = server.url, server.pid

        await to_thread.run_sync(server.kill)
        assert is_gone(pid)
        assert not server.is_running
        await server.start_async()

        assert server.url == url
        assert server.pid != pid
        client = await nats.connect(server.url, allow_reconnect=False)
        message = await client.jetstream().get_msg("KEPT", 1)
        assert message.data == b"still here"
        await client.close()


def test_a_crash_is_noticed_and_mended_by_start() -> None:
    """A server that dies by itself is not running, and start brings it back."""
    with EmbeddedServer() as server:
        os.kill(server.pid, signal.SIGKILL)
        until_sync(lambda: not server.is_running, "the crash is noticed")

        server.start()

        assert server_answers(server.url) is not None


async def test_a_restart_keeps_store_and_port() -> None:
    """A clean restart is the same server with another pid."""
    async with EmbeddedServer() as server:
        before = (server.url, server.store_dir, server.pid)

        await server.restart_async()

        assert (server.url, server.store_dir) == before[:2]
        assert server.pid != before[2]


def test_a_named_store_outlives_the_server(tmp_path: Path) -> None:
    """Data, log and configuration stay in a store directory that was given."""
    config = ServerConfig(store_dir=tmp_path / "deep" / "store")

    with EmbeddedServer(config) as server:
        assert server.store_dir == config.store_dir

    assert "Server is ready" in server_log(tmp_path / "deep" / "store")
    assert (tmp_path / "deep" / "store" / "jetstream").is_dir()


def server_log(store: Path) -> str:
    """The text of a server's log."""
    return (store / "server.log").read_text()


def test_a_store_belongs_to_one_server_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second server on the same store is refused, and the first one is not disturbed."""
    monkeypatch.setattr("mesh.server.process._LOCK_WAIT_S", 0.05)
    config = ServerConfig(store_dir=tmp_path)

    with EmbeddedServer(config) as first:
        with pytest.raises(ServerStartError, match="in use by another nats-server"):
            EmbeddedServer(config).start()

        assert server_answers(first.url) is not None


def test_a_port_that_is_taken_is_told_in_the_servers_words() -> None:
    """A fixed port that another program holds is a fault that names it."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        server = EmbeddedServer(ServerConfig(port=port))

        with pytest.raises(ServerStartError, match=f"127.0.0.1:{port}.*address already in use"):
            server.start()

    assert not server.is_running


def test_a_lent_port_is_waited_for() -> None:
    """A chosen port that someone holds for a moment is tried again until it is free."""
    with EmbeddedServer() as server:
        server.kill()
        holder = socket.create_server(("127.0.0.1", server.port))
        log = server.log_path

        def release() -> None:
            with holder:
                until_sync(lambda: "already in use" in log.read_text(), "one start fails")

        releaser = threading.Thread(target=release)
        releaser.start()
        server.start()
        releaser.join()

        assert server_answers(server.url) is not None


def test_a_fixed_port_is_used() -> None:
    """The port that the config names is the port of the url."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    with EmbeddedServer(ServerConfig(port=port)) as server:
        assert server.url == f"nats://127.0.0.1:{port}"


def test_a_server_that_is_not_ready_in_time_is_ended() -> None:
    """Too little time is a fault, and no process stays behind."""
    before = set(psutil.Process().children(recursive=True))

    with pytest.raises(ServerStartError, match="not ready after 0 s"):
        EmbeddedServer(start_timeout_s=0).start()

    assert set(psutil.Process().children(recursive=True)) == before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_dies_with_its_parent(how: signal.Signals) -> None:
    """A parent that is killed leaves neither a server nor a temporary store."""
    with parent_with_server() as (parent, (pid, url, store)):
        assert server_answers(url) is not None

        parent.send_signal(how)

        until_sync(lambda: is_gone(int(pid)), "the server has ended")
        until_sync(lambda: not Path(store).exists(), "its temporary store is removed")


def test_a_new_server_takes_over_the_store_of_a_dead_parent(tmp_path: Path) -> None:
    """After a crash of the program the next run gets the store as soon as it is free."""
    with parent_with_server(str(tmp_path)) as (parent, (pid, _, _)):
        parent.kill()

        with EmbeddedServer(ServerConfig(store_dir=tmp_path)) as server:
            assert is_gone(int(pid))
            assert server_answers(server.url) is not None


def test_ctrl_c_in_the_terminal_reaches_only_the_parent() -> None:
    """The server has a session of its own, so that its parent decides when it stops."""
    with EmbeddedServer() as server:
        assert os.getsid(server.pid) != os.getsid(0)


def test_a_forked_process_leaves_the_server_alone() -> None:
    """A copy of the object in a child process cannot stop its parent's server."""
    answer = subprocess.run(
        [sys.executable, "-c", FORKING],
        env={**os.environ, "PYTHONPATH": str(IMPORT_ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert answer.stdout == "running True True"


async def test_a_cancelled_start_leaves_no_server() -> None:
    """Whoever gives up while the server starts need not clean up."""
    before = set(psutil.Process().children(recursive=True))

    with anyio.move_on_after(0.001):
        async with EmbeddedServer():
            await anyio.sleep_forever()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.001), EmbeddedServer():
            await anyio.sleep_forever()

    assert set(psutil.Process().children(recursive=True)) == before


def test_a_stubborn_server_is_killed() -> None:
    """A server that does not react to SIGTERM is killed when its time is up."""
    server = EmbeddedServer(stop_timeout_s=0.05)
    server.start()
    pid = server.pid
    os.kill(pid, signal.SIGSTOP)

    server.stop()

    assert is_gone(pid)
