"""``make chaos``: one seeded run on a server of its own, checked, with a summary."""

from __future__ import annotations

import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path

import click
from chaos.checker import check
from chaos.history import read_history
from chaos.report import render
from chaos.run import make_plan, run_plan
from chaos.story import Story
from rich.console import Console

_SECONDS = 180.0


@click.command()
@click.option("--seed", type=int, help="Repeats a schedule; else one is drawn.")
@click.option("--jobs", type=click.IntRange(1, 1_000_000), default=20_000, show_default=True)
@click.option("--faults", type=click.IntRange(0, 1000), default=20, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    default=_SECONDS,
    show_default=True,
    help="How long jobs are enqueued.",
)
@click.option("--workers", type=click.IntRange(1, 16), default=3, show_default=True)
@click.option("--keep", is_flag=True, help="Keep the history of a good run too.")
def main(
    *, seed: int | None, jobs: int, faults: int, seconds: float, workers: int, keep: bool
) -> None:
    """Run jobs while things go wrong, then check that none was lost and none ran amok."""
    logging.getLogger("mesh").addHandler(logging.NullHandler())
    console = Console()
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    arguments = f"--seed {seed} --jobs {jobs} --faults {faults} --seconds {seconds:g}"
    repeat = f'make chaos CHAOS_ARGS="{arguments} --workers {workers}"'
    console.print(
        f"seed {seed}; to repeat: {repeat}", markup=False, highlight=False, soft_wrap=True
    )
    plan = make_plan(
        seed, jobs=jobs, faults=faults, seconds=seconds, workers=workers, drain_s=60.0
    )
    folder = Path(tempfile.mkdtemp(prefix="mesh-chaos-")) / "history"
    with console.status("starting") as status:
        run_plan(plan, folder, status.update)
        status.update("checking")
        story = Story(read_history(folder))
        violations = check(story)
    console.print(render(story, violations), markup=False, highlight=False, soft_wrap=True)
    if violations or keep:
        console.print(
            f"the history is kept in {folder}", markup=False, highlight=False, soft_wrap=True
        )
    else:
        shutil.rmtree(folder.parent)
    if violations:
        console.print(f"to repeat: {repeat}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
