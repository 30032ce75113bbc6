"""Serve ``/metrics``, ``/livez`` and ``/readyz`` over HTTP, from threads of their own.

A blocked event loop must not keep a probe from hearing that it is blocked.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from mesh.errors import SettingsError

log = logging.getLogger("mesh.telemetry")

Check = Callable[[], str]
"""Says why something is not well; empty: all is well. Called by any thread."""

_TEXT = "text/plain; charset=utf-8"
_ANSWER_WITHIN_S = 10.0


class MetricsServer:
    """Answers Prometheus and probes; ``/metrics`` beside one page for each check.

    Args:
        registry: What ``/metrics`` shows.
        host: The address to listen on.
        port: The port; 0: the system chooses.
        checks: What each further page answers: 200 and ``ok``, or 503 and why not.

    Attributes:
        port: The port it listens on, once it is started.
    """

    def __init__(
        self, registry: CollectorRegistry, *, host: str, port: int, checks: Mapping[str, Check]
    ) -> None:
        self.port = port
        self._host = host
        self._handler = partial(_Handler, registry, checks)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Where it answers, as ``http://host:port``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Begin to answer.

        Raises:
            SettingsError: The address cannot be listened on.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        kind = type("_Server", (_Server,), {"address_family": family})
        try:
            server = kind((self._host, self.port), self._handler)
        except OSError as error:
            fault = (
                f"metrics: {self._host} port {self.port} cannot be listened on "
                f"({error.strerror or error}); choose another with metrics.port, or 0 for any "
                "free one"
            )
            raise SettingsError([fault]) from error
        self._server = server
        self.port = server.server_address[1]
        self._thread = threading.Thread(
            target=server.serve_forever, args=(0.1,), name="mesh-metrics", daemon=True
        )
        self._thread.start()
        log.info("serving metrics", extra={"address": self.address})

    def stop(self) -> None:
        """Answer no more; safe to call twice."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            server.server_close()
            self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A probe that hangs must not keep the process from ending.
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has gone: that is no news."""
        log.debug("a request for metrics was not answered")


class _Handler(BaseHTTPRequestHandler):
    timeout = _ANSWER_WITHIN_S

    def __init__(
        self, registry: CollectorRegistry, checks: Mapping[str, Check], *rest: Any
    ) -> None:
        self._registry = registry
        self._checks = checks
        super().__init__(*rest)

    def do_GET(self) -> None:
        """Answer with a page."""
        status, kind, body = self._page()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name is http.server's

    def _page(self) -> tuple[HTTPStatus, str, bytes]:
        path = self.path.partition("?")[0]
        try:
            if path == "/metrics":
                encode, kind = choose_encoder(self.headers.get("Accept", ""))
                return HTTPStatus.OK, kind, encode(self._registry)
            check = self._checks.get(path)
            why = None if check is None else check()
        except Exception:
            log.exception("a page could not be made: %s", path)
            return HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, b"internal error\n"
        if why is None:
            known = ", ".join(["/metrics", *self._checks])
            return HTTPStatus.NOT_FOUND, _TEXT, f"not found; there are {known}\n".encode()
        status = HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK
        return status, _TEXT, f"{why or 'ok'}\n".encode()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Log requests as details."""
        log.debug(format, *args)
