"""Encode NATS protocol frames: header blocks and publish commands as bytes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from mesh.errors import InvalidNameError

_HEADER_LINE = b"NATS/1.0\r\n"


def header_block(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Encode headers.

    Raises:
        InvalidNameError: A value holds a line break, which would forge another header.
    """
    lines = [_HEADER_LINE]
    for name, value in pairs:
        if "\r" in value or "\n" in value:
            kind = "header"
            raise InvalidNameError(kind, f"{name}: {value}", "bad-token", "no line breaks")
        lines.append(f"{name}: {value}\r\n".encode())
    lines.append(b"\r\n")
    return b"".join(lines)


def publish(subject: str, reply: str, block: bytes, payload: bytes) -> bytes:
    """Encode a publish; without headers if there are none."""
    if not block:
        head = f"PUB {subject} {reply} {len(payload)}\r\n".encode()
        return b"%b%b\r\n" % (head, payload)
    size = len(block)
    head = f"HPUB {subject} {reply} {size} {size + len(payload)}\r\n".encode()
    return b"%b%b%b\r\n" % (head, block, payload)


def with_header(frame: bytes, name: str, value: str) -> bytes:
    """Add a header to an encoded publish; name and value hold no line break."""
    head, _, rest = frame.partition(b"\r\n")
    line = f"{name}: {value}\r\n".encode()
    kind, subject, reply, *sizes = head.split(b" ")
    if kind == b"PUB":
        block, total = _HEADER_LINE + line + b"\r\n", int(sizes[0])
        size = added = len(block)
        payload = rest
    else:
        old, total = int(sizes[0]), int(sizes[1])
        block, payload = rest[: old - 2] + line + b"\r\n", rest[old:]
        size, added = len(block), len(line)
    again = b"HPUB %b %b %d %d\r\n" % (subject, reply, size, total + added)
    return b"%b%b%b" % (again, block, payload)


def extended(block: bytes, pairs: Iterable[tuple[str, str]]) -> bytes:
    """Add headers to an encoded block.

    Raises:
        InvalidNameError: A value holds a line break, which would forge another header.
    """
    return block[:-2] + header_block(pairs)[len(_HEADER_LINE) :]


def signal(subject: bytes, payload: bytes) -> bytes:
    """Encode a publish without headers and reply, such as an acknowledgement."""
    return b"PUB %b %d\r\n%b\r\n" % (subject, len(payload), payload)


def read_headers(block: bytes | None) -> dict[str, str]:
    """Read a header block; a name given twice keeps its first value, bad bytes are replaced."""
    found: dict[str, str] = {}
    if not block:
        return found
    for line in block.decode("utf-8", "replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def last_header(block: bytes, name: str) -> str:
    """Read the last value of a header; empty if it is missing.

    The server adds its own below those that a message came with, which may have the same names.
    """
    mark = _mark(name)
    start = block.rfind(mark)
    if start < 0:
        return ""
    end = block.find(b"\r\n", start + len(mark))
    return block[start + len(mark) : end].decode("utf-8", "replace").strip()


@cache
def _mark(name: str) -> bytes:
    return f"\r\n{name}:".encode()


def status_code(block: bytes | None) -> int:
    """Read the status of a control message such as ``NATS/1.0 408 Timeout``; 0 if none."""
    if not block or block[8:9] != b" ":
        return 0
    digits = block[9:12]
    return int(digits) if digits.isdigit() else 0
