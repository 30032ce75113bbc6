"""What the server sends is split into messages, however it is cut and whatever it holds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from mesh.transport.incoming import FrameParser

Message = tuple[int, bytes, bytes, bytes, bytes | None]


class Heard:
    """Stands for a connection and notes what it is told.

    Attributes:
        messages: Every message.
        others: Everything else, by what nats-py calls it.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.others: list[Any] = []

    def hand_over(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> bool:
        """Take the messages of every other subscription, as if somebody listened to them."""
        if sid % 2:
            return False
        self.messages.append((sid, subject, reply, data, headers or None))
        return True

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        self.messages.append((sid, subject, reply, data, headers))

    async def _process_ping(self) -> None:
        self.others.append("ping")

    async def _process_pong(self) -> None:
        self.others.append("pong")

    async def _process_err(self, words: str) -> None:
        self.others.append(words)

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.others.append(info)


def frame(message: Message) -> bytes:
    """Encode a message as the server sends it."""
    sid, subject, reply, data, headers = message
    middle = b" %b" % reply if reply else b""
    if headers is None:
        return b"MSG %b %d%b %d\r\n%b\r\n" % (subject, sid, middle, len(data), data)
    size, total = len(headers), len(headers) + len(data)
    head = b"HMSG %b %d%b %d %d\r\n" % (subject, sid, middle, size, total)
    return head + headers + data + b"\r\n"


SEPARATORS = b" \t\r\n"
SUBJECTS = st.binary(min_size=1, max_size=20).filter(lambda s: not set(s) & set(SEPARATORS))
PLAIN = st.text("abc.$*-_0", min_size=1, max_size=20).map(str.encode)
BODIES = st.binary(max_size=40) | st.just(b"MSG a 1 5\r\nhello\r\n")
BLOCKS = st.none() | st.binary(max_size=20).map(lambda rest: b"NATS/1.0\r\n%b\r\n\r\n" % rest)


def messages(subjects: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[Message]]:
    """Lists of messages with such subjects."""
    one = st.tuples(st.integers(1, 999), subjects, subjects | st.just(b""), BODIES, BLOCKS)
    return st.lists(one, max_size=5)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes in pieces at these places."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@settings(deadline=None)
@given(sent=messages(SUBJECTS), places=st.lists(st.integers(0, 10_000), max_size=8))
async def test_messages_arrive_whole_however_they_are_cut(
    sent: list[Message], places: list[int]
) -> None:
    """Whatever bytes subjects and bodies hold, each message comes once, in order."""
    heard = Heard()
    parser = FrameParser(heard)

    for piece in cut(b"".join(map(frame, sent)), places):
        await parser.parse(piece)

    assert heard.messages == sent


@settings(deadline=None)
@given(sent=messages(PLAIN), places=st.lists(st.integers(0, 10_000), max_size=8))
async def test_plain_messages_are_split_as_nats_py_does(
    sent: list[Message], places: list[int]
) -> None:
    """Where nats-py's own parser works, this one says the same."""
    ours, theirs = Heard(), Heard()
    data = b"PING\r\n".join([*map(frame, sent), b"+OK\r\n-ERR 'Some Error'\r\nPONG\r\n"])

    for heard, parser in ((ours, FrameParser(ours)), (theirs, Parser(theirs))):
        for piece in cut(data, places):
            await parser.parse(piece)
        assert heard.others[-2:] == ["'some error'", "pong"]

    assert (ours.messages, ours.others) == (theirs.messages, theirs.others)


@pytest.mark.parametrize("odd", [b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xa0", b"\x00"])
async def test_a_subject_may_hold_what_python_takes_for_white_space(odd: bytes) -> None:
    """Only spaces part the words of a line."""
    heard = Heard()
    message = (7, b"a.b%bc" % odd, b"$JS.ACK.x%b1" % odd, b"body", None)

    await FrameParser(heard).parse(frame(message))

    assert heard.messages == [message]


async def test_what_is_unfinished_is_forgotten_with_its_connection() -> None:
    """After a reset the next connection begins with a clean slate."""
    heard = Heard()
    parser = FrameParser(heard)
    whole = frame((1, b"a", b"", b"body", None))

    await parser.parse(whole[:-4])
    parser.reset()
    await parser.parse(whole)

    assert heard.messages == [(1, b"a", b"", b"body", None)]


async def test_a_connection_that_is_lost_between_two_messages_leaves_nothing_behind() -> None:
    """A reset while a message is handed over drops the piece that came behind it."""
    heard = Heard()
    parser = FrameParser(heard)
    whole = frame((1, b"a", b"", b"body", None))
    take = heard._process_msg

    async def take_and_lose(*message: Any) -> None:
        await take(*message)
        parser.reset()

    parser._deliver = take_and_lose
    await parser.parse(whole + whole[:-4])
    parser._deliver = take
    await parser.parse(whole)

    assert len(heard.messages) == 2


async def test_a_large_message_is_joined_once() -> None:
    """A message of many pieces is whole, and nothing is parsed before it is."""
    heard = Heard()
    parser = FrameParser(heard)
    body = b"x" * 1_000_000
    data = frame((1, b"a", b"", body, None))

    for start in range(0, len(data), 32_768):
        await parser.parse(data[start : start + 32_768])

    assert heard.messages == [(1, b"a", b"", body, None)]


@pytest.mark.parametrize(
    "line", [b"MSG a 1 x\r\n", b"HMSG a 1 x 5\r\n", b"WHAT\r\n", b"MSG\r\n"]
)
async def test_what_is_no_protocol_is_refused(line: bytes) -> None:
    """A line that no NATS server sends ends the connection, and does not hang it."""
    with pytest.raises(ProtocolError):
        await FrameParser(Heard()).parse(line + b"hello\r\n" * 2)
