"""An app whose only task notes which job it ran: a line in the file named by EFFECTS."""

from __future__ import annotations

import os
from pathlib import Path

from mesh import JobContext, Mesh

app = Mesh()


@app.task
async def tick(ctx: JobContext) -> None:
    """Note that this job ran."""
    note(ctx.job_id)


def note(job_id: str) -> None:
    """Write a line."""
    with Path(os.environ["EFFECTS"]).open("a", encoding="utf-8") as file:
        file.write(f"{job_id}\n")
