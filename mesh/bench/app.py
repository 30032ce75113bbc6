"""The app that is measured: one task that does nothing, with default settings."""

from __future__ import annotations

from mesh.app import Mesh

app = Mesh()


@app.task
async def noop(number: int) -> int:
    """Return the number."""
    return number
