"""The codec: what has a JSON form and what has not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from mesh.errors import NotSerializableError
from mesh.tasks import codec


@dataclass
class Size:
    width: int


class Account(BaseModel):
    owner: str


class Custom:
    """Something that only its own program understands."""


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (None, b"null"),
        ([1, "a", 1.5, True], b'[1,"a",1.5,true]'),
        ({"a": (1, 2)}, b'{"a":[1,2]}'),
        (b"\x00\xff", b'"AP8="'),
        (datetime(2030, 1, 31, tzinfo=UTC), b'"2030-01-31T00:00:00Z"'),
        (Size(3), b'{"width":3}'),
        ([Account(owner="Ada")], b'[{"owner":"Ada"}]'),
        (2**64 - 1, b"18446744073709551615"),
    ],
)
def test_values_have_one_json_form(value: object, encoded: bytes) -> None:
    """Compact, and the same in every process."""
    assert codec.encode(value) == encoded


def circle() -> list[Any]:
    """A list that holds itself."""
    ring: list[Any] = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Custom(), r"Custom cannot travel: a value of type \S+Custom has no JSON form"),
        ([Custom()], r"^list cannot travel: a value of type \S+Custom has no JSON form"),
        (lambda: None, "function cannot travel"),
        (Custom, "type cannot travel"),
        (1j, "complex cannot travel"),
        ({(1, 2): 3}, "dict cannot travel"),
        ("\ud800", "str cannot travel"),
        (circle(), "list cannot travel"),
    ],
)
def test_a_value_without_json_form_is_refused(value: object, words: str) -> None:
    """The message names the type at fault; the value may be secret."""
    with pytest.raises(NotSerializableError, match=words):
        codec.encode(value)


def test_an_unknown_type_cannot_be_read() -> None:
    """A type that mesh does not know is refused when something arrives for it."""
    with pytest.raises(ValueError, match=r"JSON cannot be read as \S+Custom"):
        codec.decoder(Custom).decode(b'"x"')


def test_a_type_that_json_has_anyway_needs_no_reading() -> None:
    """An abstract type, such as ``object``, takes what JSON gives."""
    assert codec.decoder(list[object]).decode(b"[1,null]") == [1, None]


def test_pydantic_is_not_imported_for_programs_that_do_not_use_it() -> None:
    """It is slow to import, and an extra."""
    program = (
        "import sys; from mesh.tasks import codec\n"
        "try: codec.encode(object())\n"
        "except TypeError: sys.exit('pydantic' in sys.modules)\n"
    )

    assert (
        subprocess.run([sys.executable, "-c", program], check=False, timeout=30).returncode == 0
    )
