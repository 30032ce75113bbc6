"""What the server is told, and what it says when it does not like it."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import msgspec
import pytest

from mesh.errors import ServerStartError
from mesh.server.binary import find_binary
from mesh.server.config import ServerConfig, check_config, config_text
from mesh.server.home import ServerHome
from mesh.server.probe import server_answers
from mesh.server.process import EmbeddedServer


def monitored(server: EmbeddedServer, page: str) -> dict[str, object]:
    """What the HTTP monitor says on a page."""
    with urllib.request.urlopen(f"{server.monitor_url}/{page}", timeout=5) as answer:
        return msgspec.json.decode(answer.read(), type=dict[str, object])


def test_every_option_reaches_the_server(tmp_path: Path) -> None:
    """The running server reports the limits, the name and the durability it was given."""
    config = ServerConfig(
        store_dir=tmp_path / 'odd "näme"',
        durable=True,
        monitor_port=0,
        max_memory_bytes=10_000_000,
        max_store_bytes=20_000_000,
        server_name="laptop",
    )

    with EmbeddedServer(config) as server:
        reported = msgspec.convert(monitored(server, "jsz")["config"], dict[str, object])
        name = monitored(server, "varz")["server_name"]

    assert name == "laptop"
    assert reported["max_memory"] == 10_000_000
    assert reported["max_storage"] == 20_000_000
    assert reported["sync_always"] is True
    assert str(reported["store_dir"]).startswith(str(config.store_dir))


def test_a_laptop_server_is_not_told_to_sync_each_message(tmp_path: Path) -> None:
    """Durability against power loss costs much and is asked for by name."""
    home = ServerHome.open(tmp_path)

    assert "sync_interval: always" not in config_text(ServerConfig(), home, port=0)
    assert "sync_interval: always" in config_text(ServerConfig(durable=True), home, port=0)


def test_there_is_no_monitor_unless_asked_for() -> None:
    """The HTTP monitor opens a port only on demand."""
    with EmbeddedServer() as server, pytest.raises(ServerStartError, match="set monitor_port"):
        _ = server.monitor_url


def test_a_server_can_live_at_an_ipv6_address() -> None:
    """Host and monitor work where addresses hold colons."""
    with EmbeddedServer(ServerConfig(host="::1", monitor_port=0)) as server:
        assert server.url.startswith("nats://[::1]:")
        assert monitored(server, "varz")["jetstream"]
        assert server_answers(server.url) is not None


def test_an_extra_file_is_included_and_our_options_win(tmp_path: Path) -> None:
    """Accounts or clusters come from a file of the user's own, wherever it lies."""
    extra = tmp_path / "my extra.conf"
    extra.write_text("max_payload: 2MB\nport: 1\n")

    with EmbeddedServer(ServerConfig(extra_file=extra)) as server:
        info = server_answers(server.url)

    assert info is not None
    assert info.max_payload == 2 * 1024 * 1024
    assert server.port != 1


def test_a_broken_extra_file_is_answered_in_the_servers_own_words(tmp_path: Path) -> None:
    """nats-server names the file, the line and the fault, and the user reads just that."""
    extra = tmp_path / "extra.conf"
    extra.write_text('max_payload: 2MB\njetsteam { store_dir: "x" }\n')

    with pytest.raises(ServerStartError, match=r'extra.conf:2:\d+: unknown field "jetsteam"'):
        EmbeddedServer(ServerConfig(extra_file=extra)).start()


def test_a_fault_that_only_a_start_shows_is_answered_in_the_servers_own_words(
    tmp_path: Path,
) -> None:
    """A well-written configuration may still not work; the telling lines of the log say why."""
    extra = tmp_path / "extra.conf"
    extra.write_text('cluster { name: "c", port: -1 }\n')

    with pytest.raises(ServerStartError, match="jetstream cluster requires `server_name`"):
        EmbeddedServer(ServerConfig(extra_file=extra)).start()


def test_a_sound_configuration_passes_the_check(tmp_path: Path) -> None:
    """The check starts nothing and says nothing."""
    home = ServerHome.open(tmp_path)
    home.prepare(config_text(ServerConfig(monitor_port=8222), home, port=4222))

    check_config(find_binary(), home.config_path)


def test_a_store_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file in the way of the store directory is told, not a stack of system errors."""
    (tmp_path / "file").touch()

    with pytest.raises(ServerStartError, match="file/store cannot be made: Not a directory"):
        EmbeddedServer(ServerConfig(store_dir=tmp_path / "file" / "store")).start()


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A directory where the configuration should go is told too."""
    (tmp_path / "nats.conf").mkdir()

    with pytest.raises(ServerStartError, match="cannot be written: Is a directory"):
        EmbeddedServer(ServerConfig(store_dir=tmp_path)).start()
