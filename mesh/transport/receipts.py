"""What comes of a publish: the server's receipt, or the fault; alone or for a whole batch."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import msgspec

from mesh.errors import BrokerError, QueueFullError
from mesh.transport.holding import group_of


class NoAnswerError(BrokerError):
    """The server never acknowledged a publish; it may be stored or not."""


class Receipt(NamedTuple):
    """The server's acknowledgement.

    Attributes:
        sequence: The message's sequence in the stream.
        is_duplicate: The same message id was stored before; this one was not stored again.
    """

    sequence: int
    is_duplicate: bool


class Ack(msgspec.Struct):
    """The server's answer to a publish, as it travels."""

    seq: int = 0
    duplicate: bool = False
    error: dict[str, Any] | None = None


read_ack = msgspec.json.Decoder(Ack).decode


class Batch:
    """The receipts of many publishes, filled in as they come.

    Attributes:
        receipts: For each its receipt or its fault, in order.
        complete: Set when the last one has come.
        refusals: For each group of subjects that was refused as full, how.
        silence: The fault of a publish that nobody confirmed, if there was one.
    """

    __slots__ = ("complete", "missing", "receipts", "refusals", "silence")

    def __init__(self, size: int) -> None:
        self.missing = size
        self.receipts: list[Receipt | BrokerError] = [_PLAIN] * size
        self.complete = asyncio.Event()
        self.refusals: dict[str, QueueFullError] = {}
        self.silence: NoAnswerError | None = None
        if not size:
            self.complete.set()

    def hopeless(self, subject: str, *, is_away: bool) -> BrokerError | None:
        """Say why another one need not be tried, if one before it had no chance.

        Args:
            subject: Where it is to go.
            is_away: Whether the server cannot be reached just now.
        """
        if self.refusals:
            return self.refusals.get(group_of(subject))
        if self.silence is not None and is_away:
            return no_answer(subject, "it was not sent, for the server cannot be reached")
        return None

    def done(self, index: int, fault: BrokerError | None, ack: bytes) -> None:
        """Take in what became of one publish."""
        if fault is not None:
            self.receipts[index] = fault
            if isinstance(fault, NoAnswerError):
                self.silence = fault
            elif isinstance(fault, QueueFullError):
                self.refusals[group_of(fault.subject)] = fault
        elif b'"duplicate"' in ack:
            self.receipts[index] = receipt_of(ack)
        self.missing -= 1
        if not self.missing:
            self.complete.set()


_PLAIN = Receipt(0, is_duplicate=False)


def resolve(future: asyncio.Future[bytes], fault: BrokerError | None, ack: bytes) -> None:
    """Hand the end of a publish to whoever awaits it."""
    if future.done():  # The caller was cancelled.
        return
    if fault is None:
        future.set_result(ack)
    else:
        future.set_exception(fault)


def receipt_of(ack: bytes) -> Receipt:
    """Read an acknowledgement."""
    read = read_ack(ack)
    return Receipt(read.seq, read.duplicate)


def no_answer(subject: str, why: str) -> NoAnswerError:
    """Make the error for a publish that nobody confirmed."""
    return NoAnswerError(f"the publish to {subject} was not confirmed: {why}")
