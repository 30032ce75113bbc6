"""The smallest app: one task that greets.

Serve it:    mesh dev workers/hello.py:app
Ask it:      python workers/hello.py
"""

from __future__ import annotations

import asyncio

from mesh import Mesh

app = Mesh()


@app.task
async def greet(name: str) -> str:
    """Say hello; safe to run twice, as every task should be."""
    return f"Hello, {name}!"


async def main() -> None:
    """Enqueue one job and print its result."""
    async with app:
        job = await greet.enqueue("Ada")
        print(await job.result(timeout=10))


if __name__ == "__main__":
    asyncio.run(main())
