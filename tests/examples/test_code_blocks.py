"""What the pages show besides Python: command lines that exist, files that can be read."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import yaml

from mesh.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "workers").glob("*.md")),
    *sorted((ROOT / "ops").rglob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
READERS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
    "py": ast.parse,  # Programs for other job systems.
}
RUN_ELSEWHERE = {"python", "js"}  # test_pages.py and tests/polyglot
ONLY_SHOWN = {"cs", "text", "promql", "ini", "sql"}
SHELLS = {"sh", "bash", "console"}

_FENCE = re.compile(r"^```(?P<kind>\w+)[^\n]*\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A block of code on a page."""

    page: str
    kind: str
    code: str


def blocks() -> Iterator[Block]:
    """Find every block that says its language."""
    for page in PAGES:
        for found in _FENCE.finditer(page.read_text(encoding="utf-8")):
            yield Block(str(page.relative_to(ROOT)), found["kind"], found["code"])


BLOCKS = list(blocks())


def command_lines(block: Block) -> Iterator[str]:
    """The calls of mesh in a shell block; in a console, what stands behind the prompt."""
    for line in block.code.replace("\\\n", " ").splitlines():
        typed = line
        if block.kind == "console":
            if not line.startswith("$ "):
                continue
            typed = line.removeprefix("$ ")
        if typed.startswith("mesh "):
            yield typed


CALLS = [
    pytest.param(line, id=f"{block.page}: {line}")
    for block in BLOCKS
    if block.kind in SHELLS
    for line in command_lines(block)
]


def understood(words: list[str]) -> None:
    """Have click read a command line down to its last command, without running anything.

    Raises:
        click.UsageError: There is no such command or option.
    """
    command: click.Command = cli
    context = click.Context(cli, info_name="mesh", **cli.context_settings)
    while isinstance(command, click.Group):
        name, command_found, words = command.resolve_command(context, words)
        assert command_found is not None
        context = click.Context(command_found, info_name=name, parent=context)
        command = command_found
        if not words and isinstance(command, click.Group):
            return
    command.make_parser(context).parse_args(words)


@pytest.mark.parametrize("line", CALLS)
def test_a_command_line_on_a_page_exists(line: str) -> None:
    """Its command is there, and knows each of its options."""
    words = shlex.split(line, comments=True)
    for end in ("|", ">", "&&", "&", ">>"):
        if end in words:
            words = words[: words.index(end)]

    understood(words[1:])


@pytest.mark.parametrize(
    "block",
    [pytest.param(one, id=f"{one.page}: {one.kind}") for one in BLOCKS if one.kind in READERS],
)
def test_a_file_on_a_page_can_be_read(block: Block) -> None:
    """What stands there as JSON, TOML, YAML or foreign Python is just that."""
    assert READERS[block.kind](block.code)


def test_no_block_escapes() -> None:
    """Every language on the pages is run, read, or known as one that is only shown."""
    known = READERS.keys() | RUN_ELSEWHERE | ONLY_SHOWN | SHELLS

    assert [block for block in BLOCKS if block.kind not in known] == []
    assert len(CALLS) > 20
