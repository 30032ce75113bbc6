"""Asking an address whether a NATS server answers there."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Generator

import pytest

from mesh.server.probe import ServerInfo, server_answers
from mesh.server.process import EmbeddedServer


@contextlib.contextmanager
def listener(*parts: bytes, hangs: bool = False) -> Generator[str]:
    """Something that is not NATS: it says these parts to one caller, then closes or hangs."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            with contextlib.suppress(OSError), door.accept()[0] as caller:
                for part in parts:
                    caller.sendall(part)
                done.wait(5 if hangs else 0)

        speaker = threading.Thread(target=serve)
        speaker.start()
        try:
            yield f"nats://127.0.0.1:{door.getsockname()[1]}"
        finally:
            done.set()
            with contextlib.suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
            speaker.join()


def test_a_server_tells_its_version_and_that_jetstream_is_on() -> None:
    """The first line of a server is read and understood."""
    with EmbeddedServer() as server:
        info = server_answers(server.url)

    assert info is not None
    assert (info.jetstream, info.auth_required, info.tls_required) == (True, False, False)
    assert info.server_id


def test_the_first_answer_of_a_list_counts() -> None:
    """Servers that are down are passed over."""
    with EmbeddedServer() as server:
        assert server_answers(f"nats://127.0.0.1:1, {server.url}") is not None


def test_a_greeting_in_pieces_is_put_together() -> None:
    """The line may come in several packets."""
    with listener(b'INFO {"version":"2.', b'15.1","unknown":1}', b"\r\n") as url:
        assert server_answers(url) == ServerInfo(version="2.15.1")


@pytest.mark.parametrize(
    "said",
    [b"HTTP/1.1 400 Bad Request\r\n", b"INFO not json\r\n", b"INFO {", b"", b"x" * 70_000],
)
def test_what_is_not_nats_gives_no_answer(said: bytes) -> None:
    """Other programs on the port are told apart by their first line."""
    with listener(said) as url:
        assert server_answers(url) is None


def test_a_silent_listener_costs_no_more_than_the_time_given() -> None:
    """The timeout holds for the whole question."""
    with listener(b"INF", hangs=True) as url:
        assert server_answers(url, timeout_s=0.05) is None


@pytest.mark.parametrize("url", ["", "nats://", "nats://host:port", "nats://127.0.0.1:1", "::"])
def test_a_wrong_or_dead_address_gives_no_answer(url: str) -> None:
    """Nothing is raised for an address at which nobody can answer."""
    assert server_answers(url, timeout_s=0.5) is None
