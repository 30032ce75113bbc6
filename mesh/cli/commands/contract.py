"""``mesh contract``: write the wire contract from the code, or compare the two."""

from __future__ import annotations

from pathlib import Path

import click

from mesh.cli.options import prints
from mesh.cli.output import Output
from mesh.worker.exits import Exit

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group
def contract() -> None:
    """The wire contract: what travels between programs."""


@contract.command
@click.argument("folder", type=_FOLDER, default=Path("subjects"))
@prints
def write(*, output: Output, folder: Path) -> None:
    """Write the contract into FOLDER (subjects)."""
    from mesh.contract import generation

    written = [str(path) for path in generation.write(folder)]
    output.show({"written": written}, "\n".join(written) or f"{folder} is up to date")


@contract.command
@click.argument("folder", type=_FOLDER, default=Path("subjects"))
@prints
def check(*, output: Output, folder: Path) -> int:
    """Compare FOLDER (subjects) with the code.

    Exits with 1 if they differ.
    """
    from mesh.contract import generation

    differences = generation.check(folder)
    hint = f"the code and {folder} differ; run `mesh contract write {folder}`"
    text = "\n".join([*differences, hint]) if differences else f"{folder} fits the code"
    output.show({"differences": differences}, text)
    return Exit.FAILED if differences else Exit.OK
