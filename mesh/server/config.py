"""What an embedded server is told: the options, the configuration text, and its check."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from mesh.errors import ServerStartError
from mesh.server.home import ServerHome

_CHECK_TIMEOUT_S = 10.0
_LOG_LIMIT_BYTES = 64 * 1024 * 1024
_CHOSEN_BY_SYSTEM = -1


class ServerConfig(Struct, frozen=True, kw_only=True):
    """How an embedded server is run.

    Attributes:
        host: The address it listens on.
        port: Its port; 0: one that the system chooses, kept for every later start.
        store_dir: Where its data, log and configuration are kept; None: a temporary directory
            that is removed when the server is stopped.
        durable: Write each message to the disk before it is acknowledged, so that it outlives a
            loss of power; without it, it outlives a crash of the server alone.
        monitor_port: The port of the HTTP monitor; 0: chosen by the system; None: no monitor.
        max_memory_bytes: Upper bound of what streams in memory hold; None: the server's choice.
        max_store_bytes: Upper bound of what streams on disk hold; None: the server's choice.
        server_name: The server's name; a server of a cluster needs one.
        extra_file: A configuration file of nats-server that is included first, for example with
            accounts or a cluster; where both say something, these options win.
    """

    host: str = "127.0.0.1"
    port: int = 0
    store_dir: Path | None = None
    durable: bool = False
    monitor_port: int | None = None
    max_memory_bytes: int | None = None
    max_store_bytes: int | None = None
    server_name: str | None = None
    extra_file: Path | None = None


def config_text(config: ServerConfig, home: ServerHome, *, port: int) -> str:
    """Write the configuration, one setting per line.

    Args:
        config: The options.
        home: The directory the server works in.
        port: The port to listen on; 0: one that the system chooses.
    """
    return "\n".join((*_settings(config, home, port), *_jetstream(config, home), ""))


def check_config(binary: Path, file: Path) -> None:
    """Let nats-server itself check a configuration file; nothing is started.

    Raises:
        ServerStartError: It refuses the file; its own words are in the message.
    """
    try:
        answer = subprocess.run(
            [binary, "-t", "-c", file],
            capture_output=True,
            text=True,
            timeout=_CHECK_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        message = f"{binary} could not check the configuration {file}: {fault}"
        raise ServerStartError(message) from fault
    if answer.returncode != 0:
        said = (answer.stderr or answer.stdout).strip()
        message = (
            f"nats-server refuses the configuration {file}; correct what it names:\n{said}"
        )
        raise ServerStartError(message)


def _settings(config: ServerConfig, home: ServerHome, port: int) -> Iterator[str]:
    if config.extra_file is not None:
        # nats-server reads an included path relative to the file that includes it, always.
        extra = os.path.relpath(config.extra_file.resolve(), home.path.resolve())
        yield f"include {_quoted(extra)}"
    yield f"host: {_quoted(config.host)}"
    yield f"port: {port or _CHOSEN_BY_SYSTEM}"
    if config.server_name is not None:
        yield f"server_name: {_quoted(config.server_name)}"
    if config.monitor_port is not None:
        host = f"[{config.host}]" if ":" in config.host else config.host
        yield f"http: {_quoted(f'{host}:{config.monitor_port or _CHOSEN_BY_SYSTEM}')}"
    yield f"ports_file_dir: {_quoted(home.ports_dir)}"
    yield f"log_file: {_quoted(home.log_path)}"
    yield f"logfile_size_limit: {_LOG_LIMIT_BYTES}"
    yield "logfile_max_num: 2"


def _jetstream(config: ServerConfig, home: ServerHome) -> Iterator[str]:
    yield "jetstream {"
    yield f"  store_dir: {_quoted(home.path)}"
    if config.durable:
        yield "  sync_interval: always"
    if config.max_memory_bytes is not None:
        yield f"  max_memory_store: {config.max_memory_bytes}"
    if config.max_store_bytes is not None:
        yield f"  max_file_store: {config.max_store_bytes}"
    yield "}"


def _quoted(value: str | Path) -> str:
    return json.dumps(str(value), ensure_ascii=False)
