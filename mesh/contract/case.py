"""One case of the contract as data: what is given, and what comes of it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

ERRORS: Final[dict[str, str]] = {
    "empty": "a name has no characters",
    "too-long": "a name has more characters than its kind may have",
    "bad-token": "a name or a subject holds what its kind may not hold",
    "unknown": "not one of a closed list",
    "not-json": "the body cannot be read as JSON",
    "not-msgpack": "the body cannot be read as msgpack",
    "bad-shape": "the body can be read and is not what it should be",
    "unknown-version": "`v` is a version that the reader does not know",
    "unknown-content-type": "Mesh-Content-Type is neither `json` nor `msgpack`",
}
"""Every code of an error, and what it says; the list is closed."""


class Case(NamedTuple):
    """A case.

    Attributes:
        name: A sentence.
        given: What is given.
        expect: What comes of it.
        error: The code of the error, if it is refused instead.
    """

    name: str
    given: Mapping[str, Any]
    expect: Any = None
    error: str = ""

    def as_data(self) -> dict[str, Any]:
        """Show it as the files of vectors do."""
        shown: dict[str, Any] = {"name": self.name, "given": self.given}
        if self.error:
            return shown | {"error": self.error}
        return shown | {"expect": self.expect}


def base64_of(value: bytes) -> str:
    """Show bytes that are no text."""
    return base64.b64encode(value).decode()
