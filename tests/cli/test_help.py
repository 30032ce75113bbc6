"""Help, versions, completion, and that none of them loads what it does not need."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import mesh
from mesh.cli.main import COMMANDS, run
from mesh.worker.exits import Exit

PAGE = Path(__file__).parents[2] / "docs/reference/cli.md"
SLOW = {"anyio", "asyncio", "msgspec", "nats", "opentelemetry", "prometheus_client", "rich"}


def commands() -> dict[str, click.Command]:
    """Every command by the words that call it."""
    found: dict[str, click.Command] = {}
    for command in COMMANDS:
        name = str(command.name)
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": one for sub, one in command.commands.items()}
        else:
            found[name] = command
    return found


def options(command: click.Command) -> set[str]:
    """The options of a command."""
    return {option for parameter in command.params for option in parameter.opts}


def test_help_loads_nothing_that_is_slow() -> None:
    """`mesh --help` imports neither the NATS client nor rich, metrics, tracing or asyncio."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mesh", "--help"],
        capture_output=True,
        text=True,
        check=True,
        # The measuring of coverage would load modules of its own.
        env={k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")},
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}

    assert "click" in loaded
    assert {name.partition(".")[0] for name in loaded} & SLOW == set()


@pytest.mark.parametrize("name", commands())
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """-h prints what the command is for, and its first line is short enough for the list."""
    assert run([*name.split(), "-h"]) == 0

    assert f"Usage: mesh {name}" in capsys.readouterr().out
    assert not commands()[name].get_short_help_str(limit=60).endswith("...")


@pytest.mark.parametrize(
    "name", ["setup", "worker", "dev", "enqueue", "status", "result", "watch"]
)
def test_every_command_that_connects_can_be_told_where(name: str) -> None:
    """The server, namespace, settings file and log level can be given."""
    assert options(commands()[name]) >= {"--url", "--namespace", "--config", "--log-level"}


@pytest.mark.parametrize("name", sorted(commands().keys() - {"completion", "demo"}))
def test_every_command_that_prints_can_print_json(name: str) -> None:
    """--json and --output json are there; in enqueue, --json carries the arguments."""
    assert options(commands()[name]) >= {"--json", "--output"}


def test_the_manual_names_every_command_and_exit_code() -> None:
    """docs/reference/cli.md has a section for each command and a row for each code."""
    page = PAGE.read_text(encoding="utf-8")

    sections = set(re.findall(r"^### `mesh (.+?)`$", page, re.MULTILINE))
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}

    assert sections == set(commands())
    assert codes == set(Exit)


def test_the_manual_names_every_option() -> None:
    """An option that a command has is in the manual."""
    page = PAGE.read_text(encoding="utf-8")
    seen = {
        parameter.opts[-1]
        for command in commands().values()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
    }

    assert {option for option in seen if f"`{option}" not in page} == set()


def test_the_versions_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Mesh, Python, the client and the server that was found are named."""
    assert run(["version"]) == 0
    words = capsys.readouterr().out

    assert mesh.__version__ in words
    assert "nats-py      2." in words
    assert re.search(r"nats-server  2\.\d+\.\d+ \(.+\)", words)


def test_a_missing_server_program_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without nats-server the other versions are still told."""
    monkeypatch.setattr("mesh.server.binary._from_wheel", lambda: None)
    monkeypatch.setattr("mesh.server.binary._from_path", lambda: None)

    assert run(["version", "--json"]) == 0
    assert '"nats_server":null' in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The script asks mesh itself what fits."""
    assert run(["completion", shell]) == 0
    assert f"_MESH_COMPLETE={shell}_complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "number", "expected"),
    [
        ("mesh wor", "1", {"worker", "workers"}),
        ("mesh contract ", "2", {"write", "check"}),
        ("mesh enqueue t --prio", "3", {"--priority"}),
        ("mesh enqueue t --priority h", "4", {"high"}),
    ],
)
def test_a_shell_is_told_what_fits(
    words: str,
    number: str,
    expected: set[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Commands, options and choices are completed by the protocol of the bash script."""
    monkeypatch.setenv("_MESH_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", number)

    with pytest.raises(SystemExit):
        run([])

    said = capsys.readouterr().out
    assert {line.partition(",")[2] for line in said.splitlines()} == expected
