"""``mesh completion``: the script that lets a shell complete mesh's commands."""

from __future__ import annotations

import click


@click.command
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script by which SHELL completes commands.

    In bash: eval "$(mesh completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:  # Never None: click knows the shells named above.
        click.echo(kind(ctx.find_root().command, {}, "mesh", "_MESH_COMPLETE").source())
