"""``mesh demo``: see mesh at work."""

from __future__ import annotations

from pathlib import Path

import click


@click.command
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
def demo(*, folder: Path | None) -> int:
    """Show mesh at work on the Python files in FOLDER.

    Without FOLDER: on those of Python itself.
    """
    from mesh.demo import main

    return main.run(folder)
