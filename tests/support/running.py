"""Run an app in a test: set up its namespace, run workers here, tear all down again."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from mesh import Mesh
from mesh.client.client import Client
from mesh.transport.buckets import Shelf
from mesh.worker.worker import Worker


class RunningApp:
    """An app with a namespace of its own.

    Attributes:
        app: The app under test.
    """

    def __init__(self, app: Mesh) -> None:
        self.app = app

    async def client(self) -> Client:
        """The connection of the test's loop."""
        return await self.app.client()

    @asynccontextmanager
    async def worker(self, **overrides: Any) -> AsyncGenerator[Worker]:
        """Run a worker in this process; settings as dotted keys with ``__`` for the dot."""
        if overrides:
            await self.app.close()
            self.app.override(
                {key.replace("__", "."): value for key, value in overrides.items()}
            )
        await self.app.setup()
        async with Worker(self.app, registry=CollectorRegistry()) as worker:
            yield worker

    async def count(self, stream: str) -> int:
        """Count the messages of a stream, named as in ``Names``, such as ``jobs_stream``."""
        client = await self.client()
        return await Shelf(client.connection, getattr(client.names, stream)).count()

    async def purge(self, stream: str) -> None:
        """Remove every message of a stream, named as in ``Names``."""
        client = await self.client()
        await client.connection.api(f"STREAM.PURGE.{getattr(client.names, stream)}")

    async def publish(self, subject: str, body: bytes) -> None:
        """Publish raw bytes, as a foreign producer would."""
        client = await self.client()
        await client.connection.link.request(subject, body, timeout=20)

    async def tear_down(self) -> None:
        """Remove everything of the namespace and disconnect."""
        self.app.sync.close()
        client = await self.app.client()
        await client.provisioner.tear_down()
        await self.app.close()
