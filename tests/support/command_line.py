"""Run ``mesh`` in a test: in this process where that will do, else as a program."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import msgspec
import psutil
from support.waiting import until_sync

from mesh import Mesh
from mesh.cli.main import run

LIMIT_S = 40.0


class Program:
    """A ``mesh`` command as a program of its own; killed with its children at the end.

    Args:
        words: The command line.
        folder: Where it runs, and where its output is kept.
        environment: Variables to add.
        log: The file for its output.
    """

    def __init__(
        self, words: tuple[str, ...], folder: Path, environment: dict[str, str], log: Path
    ) -> None:
        self._log = log
        self._orphans: list[psutil.Process] = []
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "mesh", *words],
                cwd=folder,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        left = self.kill() if self.is_running else self._orphans
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(LIMIT_S)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def log(self) -> str:
        """What it wrote so far, to stdout and stderr."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def says(self, words: str, times: int = 1) -> None:
        """Wait until it has written these words."""
        until_sync(
            lambda: self.log.count(words) >= times or not self.is_running,
            f"the program says {words!r}",
            LIMIT_S,
        )
        assert self.log.count(words) >= times, self.log

    def children(self) -> list[psutil.Process]:
        """Every process below it."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        """The worker processes that it supervises."""
        return [child for child in self.children() if "--lifeline" in child.cmdline()]

    def kill(self) -> list[psutil.Process]:
        """Kill it alone, as a crash would; return the processes that were below it."""
        self._orphans = self.children()
        self.process.kill()
        return self._orphans

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, and only it."""
        self.process.send_signal(number)

    def ends(self) -> int:
        """Wait for its end and return its exit code."""
        try:
            return self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the program goes on; it said:\n{self.log}") from None

    def stop(self) -> int:
        """Ask it to stop and return its exit code."""
        self.send(signal.SIGTERM)
        return self.ends()


class CommandLine:
    """Runs ``mesh`` in one namespace and one folder.

    Args:
        url: The server; None: what the program finds by itself.
        namespace: The namespace.
        folder: Where programs run.
        capture: pytest's capture of stdout and stderr; None: what is printed does not matter.
    """

    def __init__(self, url: str | None, namespace: str, folder: Path, capture: Any) -> None:
        self.folder = folder
        self._capture = capture
        # A server that is there is found by a busy machine too; nobody waits for another long.
        limit = "1s" if url is None else "10s"
        self.environment = {"MESH_NAMESPACE": namespace, "MESH_CONNECT_TIMEOUT": limit}
        if url is not None:
            self.environment["MESH_URL"] = url
        self._programs = 0

    def start(self, *words: str, **environment: str) -> Program:
        """Start a program; use it in a ``with`` statement."""
        self._programs += 1
        log = self.folder / f"program-{self._programs}.log"
        return Program(words, self.folder, self.environment | environment, log)

    def __call__(self, *words: str, code: int = 0) -> str:
        """Run a command here and return what it printed; fail unless it exits with the code."""
        if self._capture is None:
            with _environment(self.environment):
                assert run(words) == code, words
            return ""
        self._capture.readouterr()
        with _environment(self.environment):
            ended = run(words)
        said = self._capture.readouterr()
        assert ended == code, f"{words} exited with {ended}:\n{said.out}\n{said.err}"
        return str(said.out if code == 0 else said.out + said.err)

    def json(self, *words: str, code: int = 0) -> Any:
        """Run a command that prints one JSON object, and read it."""
        return msgspec.json.decode(self(*words, code=code))

    def state_of(self, job_id: str) -> str:
        """Ask for a job's state."""
        return str(self.json("status", job_id, "--json")["state"])


async def tear_down(url: str, namespace: str) -> None:
    """Remove all streams and buckets of a namespace."""
    async with Mesh(url, namespace=namespace) as mesh:
        client = await mesh.client()
        await client.provisioner.tear_down()


class _environment:  # noqa: N801 - reads as a function
    """Lay variables over the environment for a while."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables
        self._before: dict[str, str] = {}

    def __enter__(self) -> None:
        self._before = dict(os.environ)
        os.environ.update(self._variables)

    def __exit__(self, *_error: object) -> None:
        os.environ.clear()
        os.environ.update(self._before)
