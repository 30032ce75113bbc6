"""Bodies that are no jobs: made at random from a seed, each of them wrong for sure."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec

Message = tuple[bytes, tuple[tuple[str, str], ...]]
"""A body and its headers."""

_MSGPACK = (("Mesh-Content-Type", "msgpack"),)
_NESTED = (900, 2_000, 50_000)


def bad_messages(seed: int, count: int) -> list[Message]:
    """Make messages of every kind, none of which a worker that knows ``echo(int)`` can run."""
    chance = random.Random(seed)
    return [_KINDS[number % len(_KINDS)](chance) for number in range(count)]


def _cut_short(chance: random.Random) -> Message:
    body = _good(chance)
    return body[: chance.randrange(len(body))], ()


def _with_a_byte_too_many(chance: random.Random) -> Message:
    body = bytearray(_good(chance))
    # Behind the body, where no byte but white space may stand.
    body += bytes([chance.choice([b for b in range(256) if b not in b" \t\r\n"])])
    return bytes(body), ()


def _noise(chance: random.Random) -> Message:
    # No JSON object begins with such a byte, and neither does a map in msgpack.
    start = bytes([chance.choice(b"\x00\x01\x1f!#xyz\xc1\xf5\xff")])
    return start + chance.randbytes(chance.randrange(200)), chance.choice([(), _MSGPACK])


def _wrong_shape(chance: random.Random) -> Message:
    shapes: list[Any] = [
        None,
        7,
        "echo",
        [],
        ["echo", [1]],
        {},
        {"args": [1]},
        {"task": None},
        {"task": chance.random(), "args": [1]},
        {"task": ""},
        {"task": ["echo"]},
        {"task": "x" * chance.randrange(201, 100_000)},
        {"task": "echo", "args": chance.choice([1, "1", {"value": 1}, None])},
        {"task": "echo", "kwargs": chance.choice([1, [1], None])},
        {"task": "echo", "args": [1], "tags": "a"},
        {"task": "echo", "args": [1], "meta": {"a": chance.random()}},
        {"task": "echo", "args": [1], "v": chance.choice([0, 2, "1", 10**25])},
        {"task": "echo", "args_ref": {"bucket": "b"}},
    ]
    return json.dumps(chance.choice(shapes)).encode(), ()


def _wrong_arguments(chance: random.Random) -> Message:
    args: list[Any] = [[], [1, 2], ["one"], [None], [[1]], [1.5], [{"value": 1}], [True, False]]
    named: list[Any] = [{}, {"other": 1}, {"value": "x"}, {"value": 1, "more": 2}, {"": 1}]
    if chance.random() < 0.5:
        return json.dumps({"task": "echo", "args": chance.choice(args)}).encode(), ()
    return json.dumps({"task": "echo", "kwargs": chance.choice(named)}).encode(), ()


def _wrong_options(chance: random.Random) -> Message:
    options: list[dict[str, Any]] = [
        {"timeout_s": chance.choice([-1, "soon", 1e300])},
        {"result_ttl_s": -chance.random() - 0.1},
        {"expires_at_ms": chance.choice([-1, 10**30, "2030"])},
        {"enqueued_at_ms": chance.choice([-5, 10**18, 1.5])},
        {"retry": chance.choice([3, "often", {"jitter": 9}, {"backoff": "odd"}])},
        {"retry": {"max_retries": -chance.randrange(1, 9)}},
        {"retry": {"delay_s": chance.choice([-1, 1e300])}},
        {"retry": {"delays_s": [1, -1]}},
    ]
    return json.dumps({"task": "echo", "args": [1]} | chance.choice(options)).encode(), ()


def _wrong_reference(chance: random.Random) -> Message:
    ref = {
        "bucket": chance.choice(["", "nowhere", "a b", "*", "mesh-outputs", "../x", "\u0000"]),
        "name": chance.choice(["", "x", "*", ">", "\u0000"]),
        "size": chance.choice([0, 1, -1, 10**9]),
    }
    return json.dumps({"task": "echo", "args_ref": ref}).encode(), ()


def _huge_number(chance: random.Random) -> Message:
    number = chance.choice(["9" * 5000, "1e999", "-1e999", "9" * 30, "NaN", "Infinity"])
    place = chance.choice(["timeout_s", "expires_at_ms", "v", "enqueued_at_ms"])
    return f'{{"task":"echo","args":[1],"{place}":{number}}}'.encode(), ()


def _nested(chance: random.Random) -> Message:
    depth = chance.choice(_NESTED)
    opening, closing = chance.choice([("[", "]"), ('{"a":', "}")])
    inner = opening * depth + ("1" if opening != "[" else "") + closing * depth
    body = chance.choice(
        [
            inner,
            opening * depth,
            f'{{"task":"echo","args":[{inner}]}}',
            f'{{"task":"echo","args":{inner}}}',
            f'{{"task":"echo","kwargs":{{"value":{inner}}}}}',
        ]
    )
    return body.encode(), ()


def _no_utf8(chance: random.Random) -> Message:
    bad = chance.choice([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88", b"\x80\x80"])
    body = chance.choice(
        [
            b'{"task":"ec%bho","args":[1]}',
            b'{"task":"echo","args":["%b"]}',
            b'{"task":"echo","kwargs":{"%b":1}}',
            b'{"task":"echo","args":[1],"tags":["%b"]}',
            b'{"task":"echo","args":[1],"meta":{"%b":"x"}}',
        ]
    )
    return body % bad, ()


def _unknown_task(chance: random.Random) -> Message:
    name = chance.choice(["ecko", "os.system", "echo\n", "a b", "\u0000", "../echo", "größe"])
    return json.dumps({"task": name, "args": [1]}).encode(), ()


def _broken_msgpack(chance: random.Random) -> Message:
    body = msgspec.msgpack.encode({"task": "echo", "args": [chance.randrange(9)]})
    bodies = [
        body[: chance.randrange(len(body))],
        body + b"\x00",
        msgspec.msgpack.encode([1, 2, 3]),
        msgspec.msgpack.encode({"task": "echo", "args": [b"\xff"]}),
        msgspec.msgpack.encode({"task": "echo", "args": [float("nan")]}),
        msgspec.msgpack.encode({1: "echo"}),
        b"\x81\x91\x01\x02",
        b"\x81\xa4task\xd4\x05x",
        b"\x82\xa4task\xa4echo\xa4args" + b"\x91" * 50_000 + b"\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xffabc",
        b"\x81\xa4task\xa2\xff\xfe",
        _good(chance),
    ]
    return chance.choice(bodies), _MSGPACK


def _wrong_headers(chance: random.Random) -> Message:
    kinds = ["xml", "JSON", "application/json", "", "a\nb", "a\rb", "x" * 60_000, "ÿ\u0000"]
    return _good(chance), (("Mesh-Content-Type", chance.choice(kinds)),)


def _good(chance: random.Random) -> bytes:
    return json.dumps({"task": "echo", "args": [chance.randrange(1000)]}).encode()


_KINDS: tuple[Callable[[random.Random], Message], ...] = (
    _cut_short,
    _with_a_byte_too_many,
    _noise,
    _wrong_shape,
    _wrong_arguments,
    _wrong_options,
    _wrong_reference,
    _huge_number,
    _nested,
    _no_utf8,
    _unknown_task,
    _broken_msgpack,
    _wrong_headers,
)
