"""A client for each event loop, opened when that loop first needs it."""

from __future__ import annotations

import asyncio
import os
import weakref

from mesh.client.client import Client
from mesh.settings.model import Settings


class ClientsOfLoops:
    """The clients of one app; safe from any thread, for each uses its own loop's."""

    __slots__ = ("_slots",)

    def __init__(self) -> None:
        self._slots: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Slot] = (
            weakref.WeakKeyDictionary()
        )

    def current(self) -> Client | None:
        """The running loop's client, if it is open."""
        slot = self._slots.get(asyncio.get_running_loop())
        return None if slot is None else slot.client

    async def open(self, settings: Settings) -> Client:
        """Open the running loop's client, unless it is open.

        Raises:
            ConnectError: No server was reached, or it refused the login.
            ServerUnfitError: The server is too old or has no JetStream.
        """
        slot = self._slots.setdefault(asyncio.get_running_loop(), _Slot())
        async with slot.lock:
            if slot.client is None:
                client = Client(settings, f"mesh-{os.getpid()}")
                await client.open()
                slot.client = client
        return slot.client

    async def close(self) -> None:
        """Close the running loop's client; the next use opens another."""
        slot = self._slots.pop(asyncio.get_running_loop(), None)
        if slot is not None and slot.client is not None:
            await slot.client.close()


class _Slot:
    """The client of one loop, or the promise of one."""

    __slots__ = ("__weakref__", "client", "lock")

    def __init__(self) -> None:
        self.client: Client | None = None
        self.lock = asyncio.Lock()
