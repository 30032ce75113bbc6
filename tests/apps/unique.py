"""An app with a unique task whose runs leave lines in a file."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from mesh import JobContext, Mesh, Unique

app = Mesh()


@app.task(queue="unique", unique=Unique(key="one"), retry=0)
def sync(ctx: JobContext, number: int) -> int:
    """Say that it starts, wait until a file is there, say that it is done."""
    leave(f"start {ctx.job_id} {number}")
    pause = threading.Event()
    while not Path(os.environ["GO_ON"]).exists():
        pause.wait(0.02)
    leave(f"end {ctx.job_id} {number}")
    return number


def leave(line: str) -> None:
    """Append a line to the file named by ``EFFECTS``."""
    with Path(os.environ["EFFECTS"]).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
