"""A real Prometheus in a test: find its programs, run it, ask it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml
from support.waiting import until_sync

ROOT = Path(__file__).parents[2]
OPS = ROOT / "ops"
LIMIT_S = 40.0
_FETCHED = ROOT / "build" / "prometheus" / "usr" / "bin"
_INSTALL = (
    "mkdir -p build/prometheus && cd build/prometheus && apt-get download prometheus && "
    "dpkg -x prometheus_*.deb ."
)


def find(name: str) -> str:
    """The path of ``prometheus`` or ``promtool``; without it the test is skipped."""
    found = shutil.which(name) or shutil.which(name, path=str(_FETCHED))
    if found:
        return found
    why = f"missing: {name}; {_INSTALL}"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def promtool(*words: str | Path, given: str | None = None) -> tuple[int, str]:
    """Run promtool; its exit code and all that it said."""
    done = subprocess.run(
        [find("promtool"), *map(str, words)],
        input=given,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


class Prometheus:
    """A running Prometheus.

    Attributes:
        url: Where it answers.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now; the samples."""
        answer = self._get("/api/v1/query", query=expression)
        found: list[dict[str, Any]] = answer["result"]
        return found

    def is_up(self) -> bool:
        """Whether it answers already."""
        try:
            with urlopen(f"{self.url}/-/ready", timeout=LIMIT_S):
                return True
        except (URLError, ConnectionError):
            return False

    def _get(self, path: str, **values: str) -> Any:
        with urlopen(f"{self.url}{path}?{urlencode(values)}", timeout=LIMIT_S) as answer:
            return json.load(answer)["data"]


@contextmanager
def running(targets: dict[str, list[str]], folder: Path) -> Generator[Prometheus]:
    """Run ops/prometheus/prometheus.yml, every second and with these targets for its jobs."""
    config: dict[str, Any] = yaml.safe_load((OPS / "prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(OPS / "prometheus" / path) for path in config["rule_files"]]
    config["scrape_configs"] = [
        {"job_name": job["job_name"], "static_configs": [{"targets": targets[job["job_name"]]}]}
        for job in config["scrape_configs"]
    ]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    port = _free_port()
    command = [
        find("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'prometheus-data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]
    log = folder / "prometheus.log"
    with log.open("wb") as output, subprocess.Popen(command, stderr=output) as process:
        try:
            prometheus = Prometheus(f"http://127.0.0.1:{port}")
            until_sync(
                lambda: prometheus.is_up() or process.poll() is not None,
                "Prometheus answers",
                LIMIT_S,
            )
            assert process.poll() is None, log.read_text()
            yield prometheus
        finally:
            process.kill()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
