"""What a failed command prints, and where: one message on stderr, or one JSON object."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from mesh.cli import failures
from mesh.cli.main import run
from mesh.errors import BrokerError, JobNotFoundError, ResultTimeoutError
from mesh.worker.exits import Exit


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address where no server answers, given by the environment."""
    monkeypatch.setenv("MESH_CONNECT_TIMEOUT", "200ms")
    with socket.socket() as taken:  # Bound but not listening: nobody else can get the port.
        taken.bind(("127.0.0.1", 0))
        url = f"nats://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("MESH_URL", url)
        yield url


@pytest.mark.parametrize(
    "words", ["status j", "result j", "watch j", "cancel j", "enqueue t", "setup"]
)
def test_a_server_that_is_not_there_exits_with_4(
    words: str, nowhere: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The address that was tried is named, and what to do."""
    assert run([*words.split(), "--output", "json"]) == Exit.NO_CONNECTION

    said = capsys.readouterr()
    error = msgspec.json.decode(said.err)
    assert said.out == ""
    assert error["error"] == "ConnectError"
    assert nowhere in error["message"]
    assert "mesh server" in error["message"]


def test_a_worker_without_a_server_exits_with_4(nowhere: str) -> None:
    """The worker says it once, in words, without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "mesh", "worker", "workers/hello.py"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )

    assert done.returncode == Exit.NO_CONNECTION
    assert nowhere in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["status"], "MissingParameter"),
        (["worker", "app.py", "--nosuch"], "NoSuchOption"),
        (["worker", "app.py", "-c", "0"], "BadParameter"),
        (["status", "j", "--namespace", "No Good"], "SettingsError"),
        (["status", "a.b"], "BadParameter"),
        (["setup", "-q", "a.b"], "BadParameter"),
        (["status", "j", "--config", "absent.toml"], "BadParameter"),
    ],
)
def test_a_command_that_was_asked_wrongly_exits_with_2(
    words: list[str], kind: str, capsys: pytest.CaptureFixture[str], nowhere: str
) -> None:
    """In JSON even a wrong option is one object; in words it is one message."""
    assert run([*words, "--json"]) == Exit.USAGE
    error = msgspec.json.decode(capsys.readouterr().err)
    assert run(words) == Exit.USAGE
    said = capsys.readouterr()

    assert error["error"] == kind
    assert "Error: " in said.err
    assert said.out == ""


def test_an_error_alone_in_a_group_is_told_as_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Task groups wrap errors up; people see what happened."""
    error = ExceptionGroup("all", [ExceptionGroup("inner", [JobNotFoundError("j")])])

    assert failures.report(error, as_json=False) is Exit.NOT_FOUND
    assert "job 'j' is not known" in capsys.readouterr().err


def test_codes_tell_what_kind_of_failure_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    """A timeout is 5, other faults of the server are 1, Ctrl-C is 130, a bug has no code."""
    assert failures.report(ResultTimeoutError("j", 1), as_json=False) is Exit.TIMED_OUT
    assert failures.report(BrokerError("full"), as_json=False) is Exit.FAILED
    assert failures.report(KeyboardInterrupt(), as_json=False) is Exit.INTERRUPTED
    assert failures.report(KeyError("bug"), as_json=False) is None
    assert "Error: full" in capsys.readouterr().err


def test_a_reader_that_has_enough_is_not_complained_about() -> None:
    """`mesh ... | head` ends without a word when head has gone."""
    with subprocess.Popen(
        [sys.executable, "-m", "mesh", "completion", "bash"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        said = program.stderr.read()

    assert (program.returncode, said) == (1, b"")
