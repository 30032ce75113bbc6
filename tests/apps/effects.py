"""An app whose tasks leave a line outside NATS: a test need not trust mesh's own books."""

from __future__ import annotations

import os
from pathlib import Path

import anyio

from mesh import Mesh

app = Mesh()


def leave(line: str) -> None:
    """Append a line to the file named by ``EFFECTS``; whole, whoever else writes."""
    file = os.open(Path(os.environ["EFFECTS"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


@app.task(queue="effects")
async def work(number: int, seconds: float) -> int:
    """Say that it starts, take its time, say that it is done."""
    leave(f"start {number}")
    await anyio.sleep(seconds)
    leave(f"end {number}")
    return number
