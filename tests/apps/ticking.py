"""An app whose only task notes which job it ran: a line in the file named by EFFECTS."""

from __future__ import annotations

import os
from pathlib import Path

from mesh import JobContext, Mesh

app = Mesh()


@app.task
async def tick(ctx: JobContext) -> None:
    """Note that this job ran."""
    with Path(os.environ["EFFECTS"]).open("a", encoding="utf-8") as file:
        file.write(f"{ctx.job_id}\n")
