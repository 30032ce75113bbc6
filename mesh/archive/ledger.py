"""The durable consumer through which an archive reads the ledger, and whose it is."""

from __future__ import annotations

import logging
from typing import Any, Final, NamedTuple

from mesh.archive.store import Position
from mesh.client.client import Client
from mesh.errors import ArchiveError, BrokerError, NotProvisionedError
from mesh.transport.faults import CONSUMER_EXISTS, CONSUMER_NOT_FOUND, ApiError

log = logging.getLogger("mesh.archive")

OWNER: Final = "mesh-archive"
"""Names, in the consumer's metadata, the archive that it feeds."""

_MOST_UNACKED = 50_000
_NS = 1_000_000_000


class LedgerGoneError(BrokerError):
    """The ledger or its consumer is not there any more; it must be looked up anew."""


class Progress(NamedTuple):
    """How far the consumer is.

    Attributes:
        complete_to: Everything up to this sequence is acknowledged.
        left: How many events are yet to be delivered or acknowledged.
    """

    complete_to: int
    left: int


class Ledger:
    """The ledger of one namespace, as one archive sees it.

    Args:
        client: A connection.
        consumer: The consumer's name.
    """

    def __init__(self, client: Client, consumer: str) -> None:
        self._connection = client.connection
        self._settings = client.settings
        self.stream = client.names.events_stream
        self.consumer = consumer

    async def created(self) -> str:
        """When the ledger was created; another time means another ledger.

        Raises:
            ArchiveError: Events are not recorded.
            BrokerError: The server could not be asked.
        """
        if not self._settings.events.enabled:
            msg = (
                f"namespace {self._settings.namespace} records no events, so there is nothing "
                "to archive; set events.enabled and run `mesh setup`"
            )
            raise ArchiveError(msg)
        info = await self._connection.api(f"STREAM.INFO.{self.stream}")
        return str(info["created"])

    async def bind(self, archive: str, position: Position, *, again: bool = False) -> None:
        """Make sure that there is a consumer that feeds this archive what it lacks.

        Args:
            archive: The archive's own name.
            position: How far the archive is.
            again: Read everything that the ledger still holds, once more.

        Raises:
            ArchiveError: The consumer feeds another archive.
            BrokerError: The server could not be asked.
        """
        while True:
            found = None if again else await self._info()
            if found is not None:
                self._check_owner(found, archive)
                acked = int(found["ack_floor"]["stream_seq"])
                if acked <= position.highest:
                    return
                # A power cut, or an older copy of the database was restored.
                log.warning(
                    "the archive has lost events and reads them again",
                    extra={"acknowledged": acked, "archived": position.highest},
                )
            if found is not None or again:
                await self._remove()
            if await self._begin(archive, 0 if again else position.complete_to):
                return
            again = False  # See whose it is.

    async def progress(self) -> Progress:
        """Say how far the consumer is.

        Raises:
            LedgerGoneError: It is not there any more.
            BrokerError: The server could not be asked.
        """
        try:
            info = await self._info()
        except NotProvisionedError as error:
            raise LedgerGoneError(str(error)) from error
        if info is None:
            msg = f"consumer {self.consumer} of {self.stream} is gone"
            raise LedgerGoneError(msg)
        left = int(info.get("num_pending", 0)) + int(info.get("num_ack_pending", 0))
        return Progress(int(info["ack_floor"]["stream_seq"]), left)

    async def _info(self) -> dict[str, Any] | None:
        try:
            return await self._connection.api(f"CONSUMER.INFO.{self.stream}.{self.consumer}")
        except ApiError as fault:
            if fault.err_code == CONSUMER_NOT_FOUND:
                return None
            raise

    async def _remove(self) -> None:
        try:
            await self._connection.api(f"CONSUMER.DELETE.{self.stream}.{self.consumer}")
        except ApiError as fault:
            if fault.err_code != CONSUMER_NOT_FOUND:
                raise

    async def _begin(self, archive: str, after: int) -> bool:
        """Create the consumer; say whether it is ours, for somebody may have been quicker."""
        place = f"{self.stream}.{self.consumer}"
        start = {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
        config = {
            "durable_name": self.consumer,
            "name": self.consumer,
            "ack_policy": "explicit",
            "ack_wait": int(self._settings.worker.ack_wait_s * _NS),
            "max_deliver": -1,
            "max_ack_pending": _MOST_UNACKED,
            "num_replicas": self._settings.replicas,
            "metadata": {OWNER: archive},
            **(start if after else {"deliver_policy": "all"}),
        }
        request = {"stream_name": self.stream, "config": config, "action": "create"}
        try:
            await self._connection.api(f"CONSUMER.CREATE.{place}", request)
        except ApiError as fault:
            if fault.err_code != CONSUMER_EXISTS:
                raise
            return False
        return True

    def _check_owner(self, found: dict[str, Any], archive: str) -> None:
        metadata: dict[str, str] = found.get("config", {}).get("metadata") or {}
        owner = metadata.get(OWNER, "nobody known")
        if owner != archive:
            msg = (
                f"consumer {self.consumer} of {self.stream} feeds another archive ({owner}), "
                "and each event goes to one only; give this archive a consumer of its own with "
                "--consumer, or take this one over with --again if the other one is gone"
            )
            raise ArchiveError(msg)
