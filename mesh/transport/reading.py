"""Read a stream page by page, oldest or newest first; needs no consumer and changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import anyio

from mesh.errors import BrokerError, NotProvisionedError
from mesh.transport import frames
from mesh.transport.buckets import Entry
from mesh.transport.connection import Connection

_PAGE = 100
_PAGE_BYTES = 4 * 1024 * 1024
_WIDEST = 1 << 20
_LIMIT_S = 10.0
_END_OF_BATCH = 204
_NOT_FOUND = 404
_NO_LISTENER = 503


class Page(NamedTuple):
    """Some messages of a stream in their order.

    Attributes:
        entries: The messages.
        is_last: Whether none follows them.
    """

    entries: list[Entry]
    is_last: bool


class StreamReader:
    """Pages through one stream, up to the message that was its last when the reading began.

    What is removed meanwhile is left out; what is added meanwhile is not seen.
    """

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._stream = stream

    async def oldest_first(
        self, subject: str, after: int = 0, *, at_once: int = _PAGE
    ) -> AsyncGenerator[Entry]:
        """Yield the messages of a subject, which may hold wildcards, in their order.

        Args:
            subject: Which messages.
            after: Begin after this sequence.
            at_once: How many to ask of the server at a time; more where they are small.

        Raises:
            BrokerError: The stream could not be read.
        """
        start, last = await self._bounds()
        start = max(start, after + 1)
        while start <= last:
            page = await self._page(subject, start, at_once)
            for entry in page.entries:
                if entry.revision > last:
                    return
                yield entry
            if page.is_last or not page.entries:
                return
            start = page.entries[-1].revision + 1

    async def newest_first(self, subject: str) -> AsyncGenerator[Entry]:
        """Yield the messages of a subject, which may hold wildcards, the last one first.

        The server reads forward only, so windows of sequences are read from the end; they grow
        where messages are few and shrink where one holds more than a page.

        Raises:
            BrokerError: The stream could not be read.
        """
        first, last = await self._bounds()
        width = _PAGE
        while last >= first:
            start = max(first, last - width + 1)
            page = await self._page(subject, start, min(width, _PAGE))
            if not _covers(page, last):  # Too many messages, or too heavy ones.
                width = max(1, width // 4)  # A window of one is always covered.
                continue
            inside = [entry for entry in page.entries if entry.revision <= last]
            for entry in reversed(inside):
                yield entry
            weight = sum(len(entry.value) for entry in inside)
            if len(inside) < _PAGE // 4 and weight < _PAGE_BYTES // 8:
                width = min(_WIDEST, width * 4)
            last = start - 1

    async def last_sequence(self) -> int:
        """The place of the stream's last message.

        Raises:
            BrokerError: The stream could not be read.
        """
        return (await self._bounds())[1]

    async def sequence_before(self, subject: str, moment: datetime) -> int:
        """The place before the first message of a subject that was stored at a moment or later.

        Raises:
            BrokerError: The stream could not be read.
        """
        _, last = await self._bounds()
        question = {
            "start_time": moment.astimezone(UTC).isoformat(),
            "next_by_subj": subject,
            "batch": 1,
        }
        found = (await self._ask(question)).entries
        return found[0].revision - 1 if found else last

    async def span(
        self, subject: str, first: int, last: int, *, at_once: int = _PAGE
    ) -> AsyncGenerator[Entry]:
        """Yield what is left of some messages in a row.

        Any server that has a copy may answer, and it may be a little behind.

        Args:
            subject: Which messages; may hold wildcards.
            first: The first sequence.
            last: The last sequence.
            at_once: How many to ask of the server at a time.

        Raises:
            BrokerError: The stream could not be read.
        """
        while first <= last:
            page = await self._page(subject, first, min(at_once, last - first + 1))
            for entry in page.entries:
                if entry.revision > last:
                    return
                yield entry
            if page.is_last or not page.entries:
                return
            first = page.entries[-1].revision + 1

    async def last_of(self, subjects: Sequence[str]) -> list[Entry]:
        """Read the last message of each of some subjects; those without one are left out.

        Any server that has a copy may answer, and it may be a little behind.

        Args:
            subjects: At most 1,000, without wildcards.

        Raises:
            BrokerError: The stream could not be read.
        """
        if not subjects:
            return []
        return (await self._ask({"multi_last": list(subjects)})).entries

    async def subjects(self, subject: str) -> AsyncGenerator[tuple[str, int]]:
        """Yield each subject that matches one with wildcards, and how many messages it has.

        Nothing but names travels. What is added or removed meanwhile may be seen or not.

        Raises:
            BrokerError: The stream could not be read.
        """
        seen = 0
        while True:
            answer = await self._connection.api(
                f"STREAM.INFO.{self._stream}", {"subjects_filter": subject, "offset": seen}
            )
            page: dict[str, int] = answer["state"].get("subjects") or {}
            for name, count in page.items():
                yield name, count
            seen += len(page)
            if not page or seen >= answer.get("total", 0):
                return

    async def _bounds(self) -> tuple[int, int]:
        state = (await self._connection.api(f"STREAM.INFO.{self._stream}"))["state"]
        return int(state["first_seq"]), int(state["last_seq"])

    async def _page(self, subject: str, start: int, most: int = _PAGE) -> Page:
        return await self._ask(
            {
                "seq": max(1, start),
                "next_by_subj": subject,
                "batch": most,
                "max_bytes": _PAGE_BYTES,
            }
        )

    async def _ask(self, question: dict[str, Any]) -> Page:
        link = self._connection.link
        address = f"$JS.API.DIRECT.GET.{self._stream}"
        try:
            with anyio.fail_after(_LIMIT_S):
                while True:
                    # A fresh inbox each time: a late answer must not get into the next page.
                    inbox, answers = link.new_inbox(), _Answers()
                    tap = link.tap(inbox, answers.take)
                    body = json.dumps(question).encode()
                    link.post(frames.publish(address, inbox, b"", body))
                    try:
                        status = await answers.end
                    finally:
                        link.untap(tap)
                    if status:
                        return self._checked(status, answers)
        except TimeoutError as error:
            msg = f"the NATS server did not answer in time while reading {self._stream}"
            raise BrokerError(msg) from error

    def _checked(self, status: int, answers: _Answers) -> Page:
        if status == _NO_LISTENER:
            msg = f"stream {self._stream} does not exist; run `mesh setup`"
            raise NotProvisionedError(msg)
        if status not in (_END_OF_BATCH, _NOT_FOUND):
            msg = f"stream {self._stream} cannot be read: the server answered {status}"
            raise BrokerError(msg)
        return Page(answers.entries, is_last=not answers.pending)


class _Answers:
    """The answers to one question: messages, then a status that ends them.

    Attributes:
        entries: The messages.
        pending: How many follow them in the stream.
        end: The status; 0 after a reconnect: the question must be asked again.
    """

    __slots__ = ("end", "entries", "pending")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.pending = 0
        self.end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def take(self, _subject: bytes, _reply: bytes, data: bytes, block: bytes) -> None:
        status = frames.status_code(block)
        if block and not status:
            # The last ones: an event bears those of the message it announces above its own.
            subject = frames.last_header(block, "Nats-Subject")
            sequence = int(frames.last_header(block, "Nats-Sequence"))
            self.entries.append(Entry(subject, data, sequence, block))
        elif not self.end.done():
            pending = frames.read_headers(block).get("Nats-Num-Pending", "0")
            self.pending = int(pending) if status == _END_OF_BATCH else 0
            self.end.set_result(status)


def _covers(page: Page, last: int) -> bool:
    """Whether a page holds all there is up to a sequence."""
    return page.is_last or not page.entries or page.entries[-1].revision >= last
