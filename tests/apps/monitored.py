"""An app whose jobs succeed, fail, and are tried again, for those who watch it."""

from __future__ import annotations

from mesh import Mesh

app = Mesh()


@app.task
async def add(left: int, right: int) -> int:
    """Succeed."""
    return left + right


@app.task(retry=0)
async def fail() -> None:
    """Fail for good."""
    raise ValueError("no")


@app.task(retry=2)
async def again() -> None:
    """Fail, and be tried again."""
    raise OSError("not now")
