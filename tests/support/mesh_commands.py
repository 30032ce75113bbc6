"""Command lines of mesh that stand in files: would mesh take them as they are?"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import click

from mesh.cli.main import cli


def accept(words: Sequence[str]) -> None:
    """Read a command line, without the word ``mesh``; fail if an option or value is unknown."""
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group) and rest:
        found = command.commands.get(rest[0])
        assert found is not None, f"mesh has no command {rest[0]!r}"
        command, rest = found, rest[1:]
    # A copy: a command remembers the help option of its first context.
    copy(command).make_context(str(command.name), rest)
