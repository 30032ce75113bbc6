"""One connection to NATS: connect, check that the server will do, stay connected, close."""

from __future__ import annotations

import json
import logging
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import nats.errors
from nats.js import JetStreamContext

from mesh.clock import SYSTEM_CLOCK
from mesh.errors import BrokerError, ConnectError, PermissionDeniedError, ServerUnfitError
from mesh.settings.model import Settings
from mesh.transport.faults import from_api, translated
from mesh.transport.link import Link
from mesh.transport.reconnecting import Reconnector

log = logging.getLogger("mesh.transport")

OLDEST_SERVER = (2, 15)
_JETSTREAM_TRIES = 8
_JETSTREAM_WAIT_S = 0.25
_CONNECT_AGAIN_S = 0.25
_MOST_PINGS_OWED = 2
_BUFFER_BYTES = 64 * 1024 * 1024
_CLOSE_LIMIT_S = 5.0
_DENIED = "permissions violation"
_DENIED_PUBLISH = re.compile(r'for publish to "([^"]+)"', re.IGNORECASE)
_MOST_DENIALS = 20


class Connection:
    """A checked connection to a NATS server with JetStream.

    Attributes:
        link: The raw way in and out, for the hot path.
        js: nats-py's JetStream context, for buckets.
        inbox: The prefix of this connection's reply subjects.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._on_denial: list[Callable[[str], None]] = []
        self._on_disconnect: list[Callable[[], None]] = []
        self._on_reconnect: list[Callable[[], None]] = []
        self._last_error = ""
        self._denied: list[str] = []
        self._reconnector = Reconnector(SYSTEM_CLOCK.monotonic)
        self.link = Link()
        self.js: JetStreamContext
        self.inbox = ""

    async def open(self) -> None:
        """Connect and check the server.

        Raises:
            ConnectError: No server was reached in time, or it refused the login.
            ServerUnfitError: The server is too old or has no JetStream.
        """
        self._reconnector.connected()
        limit = self._settings.connect_timeout_s
        try:
            with anyio.fail_after(limit), translated("connecting"):
                await self.link.connect(**self._options())
        except TimeoutError as error:
            await self.close()
            msg = (
                f"no NATS server answered at {self._settings.url} within {limit:g} s"
                f"{f' ({self._last_error})' if self._last_error else ''}; start one with "
                "`mesh server`, or say where it is with --url or MESH_URL"
            )
            raise ConnectError(msg) from error
        except BrokerError as error:
            await self.close()
            msg = f"cannot connect to {self._settings.url}: {error}"
            raise ConnectError(msg) from error
        self.inbox = self.link.new_inbox()
        try:
            await self._check_server()
        except BaseException:
            await self.close()
            raise
        self.js = self.link.jetstream()

    def on_denial(self, action: Callable[[str], None]) -> None:
        """Have a plain function called with each subject to which publishing was denied."""
        self._on_denial.append(action)

    def on_disconnect(self, action: Callable[[], None]) -> None:
        """Have a plain function called whenever the server is lost."""
        self._on_disconnect.append(action)

    def on_reconnect(self, action: Callable[[], None]) -> None:
        """Have a plain function called after each reconnect."""
        self._on_reconnect.append(action)

    async def api(
        self, operation: str, request: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Ask the JetStream API.

        Args:
            operation: What follows ``$JS.API.``, for example ``STREAM.INFO.MESH_JOBS``.
            request: The request's body.

        Raises:
            BrokerError: The server refused, or did not answer in time.
        """
        body = json.dumps(request).encode() if request is not None else b""
        with translated(f"asking for {operation}"):
            reply = await self.link.request(f"$JS.API.{operation}", body, timeout=5)
        answer: dict[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise from_api(answer["error"], operation)
        return answer

    async def flush(self, timeout_s: float = 5.0) -> None:
        """Wait until the server has everything that was posted.

        Raises:
            BrokerError: It did not confirm in time.
        """
        with translated("flushing"):
            await self.link.flush(timeout=max(1, int(timeout_s)))

    async def confirm(self) -> None:
        """Wait until the server has taken in what was asked so far, and see that it allows it.

        A subscription that is denied raises nothing: the server only mentions it.

        Raises:
            PermissionDeniedError: The user may not do something that was asked.
            BrokerError: The server did not answer in time.
        """
        await self.flush()
        if self._denied:
            denied, self._denied = self._denied, []
            msg = (
                f"the NATS user may not do what mesh needs: {'; '.join(denied)}; grant it in "
                "the server's configuration"
            )
            raise PermissionDeniedError(msg)

    async def close(self) -> None:
        """Close the connection; safe to call twice."""
        if self.link.is_closed:
            return
        # What could not be sent any more is lost with the line, whether it is closed or broken.
        with anyio.move_on_after(_CLOSE_LIMIT_S), suppress(OSError):
            await self.link.close()
        self.link.abort()

    async def reconnect(self) -> None:
        """Leave this connection for a new one, as if it had been lost."""
        await self.link.force_reconnect()

    @property
    def is_connected(self) -> bool:
        """Whether the server can be reached right now."""
        return self.link.is_connected

    @property
    def server_id(self) -> str:
        """The id that the server chose when it started; another one after each restart."""
        return self.link.server_id

    async def _check_server(self) -> None:
        version = self.link.connected_server_version
        if (version.major, version.minor) < OLDEST_SERVER:
            found = f"{version.major}.{version.minor}.{version.patch}"
            needed = ".".join(map(str, OLDEST_SERVER))
            msg = (
                f"the NATS server at {self._settings.url} is version {found}; mesh needs "
                f"{needed} or newer"
            )
            raise ServerUnfitError(msg)
        fault: BrokerError | None = None
        with anyio.move_on_after(self._settings.connect_timeout_s):
            for _ in range(_JETSTREAM_TRIES):
                try:
                    await self.api("INFO")
                except BrokerError as error:
                    # A server that was started just now may not have it yet, or be gone again.
                    fault = error
                    await anyio.sleep(_JETSTREAM_WAIT_S)
                else:
                    return
        raise _without_jetstream(self._settings.url) from fault

    def _options(self) -> dict[str, Any]:
        settings = self._settings
        options: dict[str, Any] = {
            "servers": [url.strip() for url in settings.url.split(",")],
            "name": self._name,
            "connect_timeout": max(1, int(settings.connect_timeout_s)),
            "allow_reconnect": True,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": _CONNECT_AGAIN_S,  # Only until the first connection stands.
            "reconnect_to_server_handler": self._reconnector.choose,
            "ping_interval": settings.ping_interval_s,
            "max_outstanding_pings": _MOST_PINGS_OWED,
            "pending_size": _BUFFER_BYTES,
            "error_cb": self._heard_error,
            "reconnected_cb": self._reconnected,
            "disconnected_cb": self._disconnected,
        }
        options |= _credentials(settings)
        return options

    async def _heard_error(self, error: Exception) -> None:
        self._last_error = str(error) or type(error).__name__
        if isinstance(error, nats.errors.Error) and "authorization" in self._last_error.lower():
            log.error("NATS refuses the login", extra={"url": self._settings.url})
        elif _DENIED in self._last_error.lower():
            log.error("NATS denies a permission: %s", self._last_error)
            self._denied = [*self._denied, self._last_error][-_MOST_DENIALS:]
            for subject in _DENIED_PUBLISH.findall(self._last_error):
                for action in self._on_denial:
                    action(subject)
        else:
            log.debug("NATS connection: %s", self._last_error)

    async def _disconnected(self) -> None:
        if not self.link.is_closed:
            self._reconnector.lost()
            self.link.forget_unsent()
            log.warning("lost the NATS server; reconnecting", extra={"url": self._settings.url})
            for action in self._on_disconnect:
                action()

    async def _reconnected(self) -> None:
        self._reconnector.connected()
        log.info("reconnected to NATS", extra={"url": self._settings.url})
        self.link.tap_again()
        for action in self._on_reconnect:
            action()


def _without_jetstream(url: str) -> ServerUnfitError:
    return ServerUnfitError(
        f"the NATS server at {url} has no JetStream for this user; start it with `-js`, or "
        "enable JetStream for the account"
    )


def _credentials(settings: Settings) -> dict[str, Any]:
    """Name the login; never as part of a URL, which nats-py forgets when it reconnects."""
    login = settings.credentials
    options: dict[str, Any] = {
        "user": login.user,
        "password": login.password,
        "token": login.token,
        "user_credentials": login.credentials_file,
        "nkeys_seed": login.nkey_file,
    }
    tls = settings.tls
    if tls.ca_file or tls.cert_file:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
        options["tls"] = context
    return {name: value for name, value in options.items() if value}
