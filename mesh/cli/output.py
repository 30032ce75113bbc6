"""What commands print to stdout: words for people, or JSON for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

import click


class Output:
    """Where a command prints to.

    Attributes:
        is_json: Whether a program reads it.
    """

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json

    def show(self, values: Mapping[str, Any], text: str) -> None:
        """Print one JSON object, or the text."""
        click.echo(as_json(values) if self.is_json else text)


def as_json(value: object) -> str:
    """Encode structs, raw JSON and plain values on one line."""
    import msgspec

    return msgspec.json.encode(value, enc_hook=str).decode()


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out rows in columns; never cut, so that a pipe gets all of it."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def is_terminal(stream: IO[Any] | None = None) -> bool:
    """Whether a person looks at the stream (stdout), at a terminal that can redraw a line."""
    return (stream or sys.stdout).isatty() and os.environ.get("TERM") != "dumb"


def has_colour(stream: IO[Any]) -> bool:
    """Whether to print colours there; NO_COLOR switches them off."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")
