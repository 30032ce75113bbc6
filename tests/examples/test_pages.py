"""The Python on the pages for users runs as it stands, against a real server and worker."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
from support.running import RunningApp

from mesh.settings.describing import Row, describe
from mesh.settings.model import Settings
from mesh.worker.loading import load_app

ROOT = Path(__file__).parents[2]
PAGES = {
    "docs/how-to/check-and-repair.md": "",
    "docs/how-to/control-queues.md": "QueueStatus(queue='mail'",
    "docs/how-to/dead-letters.md": "order-9-r1",
    "README.md": "a.png at 300 px",
    "docs/start/first-job.md": "a.png at 300 px",
    "docs/start/coming-from.md": (
        "a.png at 300\nTrue sent to ann@example.org\n19\n42\n[3, 7]\nTrue books rebuilt\n"
    ),
    "docs/start/tasks-and-jobs.md": "order 7 confirmed",
    "docs/how-to/delay-jobs.md": "waits no more: True\nAda was reminded\n",
    "docs/how-to/unique-jobs.md": "False True order 9 charged\nTrue\n",
    "docs/how-to/schedules.md": "ZoneInfo(key='Europe/Berlin')",
    "docs/how-to/limit-time.md": "crawled some: True",
    "docs/how-to/cancel-jobs.md": "cancelled: True\ncancelled\n",
    "docs/how-to/follow-jobs.md": "job.started resize\njob.completed resize\n",
    "docs/operate/monitoring.md": "",
    "docs/operate/archive.md": "order-9 charge",
    "docs/how-to/read-logs.md": "warning charging order 9\ninfo the card was accepted\n",
}
"""The pages, and what the code on each of them prints among other things."""

BY_HAND = {"docs/how-to/write-a-client.md"}
"""Pages whose programs are run as programs of their own: see tests/polyglot."""
FRAGMENTS = {
    "docs/how-to/check-and-repair.md": "",
    "docs/how-to/control-queues.md": "",
    "docs/operate/monitoring.md": "",
    "docs/operate/archive.md": """
with contextlib.suppress(JobFailedError):
    await (await charge.options(job_id="order-9", queue="mail").enqueue(9, "USD")).result(20)
options = Options(app.settings.archive.url, "archive", Keep(0, 0), is_once=True)
await Archiver(await app.client(), options).run()
""",
    "docs/how-to/dead-letters.md": """
for number in 9, 10:
    with contextlib.suppress(JobFailedError):
        await (await charge.options(job_id=f"order-{number}").enqueue(number, "USD")).result(20)
""",
}
"""Pages that take an app and its jobs for granted, and what makes those jobs."""
_APP = """
import contextlib

from mesh import JobFailedError, Mesh
from mesh.archive.archiver import Archiver, Options
from mesh.archive.store import Keep

app = Mesh()


@app.task(retry=False)
async def charge(order: int, currency: str) -> None:
    raise ValueError("declined")
"""

_BLOCK = re.compile(
    r"(?P<inside><!-- inside an async function -->\n)?```python\n(?P<code>.*?)```", re.DOTALL
)


def program(page: Path) -> str:
    """Put a page's blocks together: module code first, what stands inside a function after."""
    outside: list[str] = []
    inside: list[str] = []
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        (inside if block["inside"] else outside).append(block["code"])
    if inside and not outside:
        outside.append(_APP)
        inside.insert(0, FRAGMENTS[str(page.relative_to(ROOT))])
    if inside:
        outside.append(
            "async def main() -> None:\n" + textwrap.indent("\n".join(inside), "    ")
        )
    return "\n\n".join(outside)


@pytest.mark.parametrize("name", PAGES)
async def test_the_code_on_a_page_runs(
    mesh: RunningApp, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a reader copies from the page works, prints and all."""
    file = tmp_path / f"{Path(name).stem.replace('-', '_')}_page.py"
    file.write_text(program(ROOT / name), encoding="utf-8")
    app = load_app(f"{file}:app")
    settings = mesh.app.settings
    own = {"archive.url": str(tmp_path / "archive.db"), "worker.queues": ["default", "mail"]}
    if name in FRAGMENTS:
        app.override(own)
    app.override({"url": settings.url, "namespace": settings.namespace})
    page = RunningApp(app)
    main = next(iter(app.tasks)).function.__globals__["main"]
    async with page.worker():
        await main()
        printed = capsys.readouterr().out
    await app.close()

    assert PAGES[name] in printed


def test_no_page_with_python_is_left_out() -> None:
    """A page that shows a program is among those that are run."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = {str(page.relative_to(ROOT)) for page in pages if program(page)}

    assert shown == PAGES.keys() | BY_HAND


def test_every_setting_is_on_the_settings_page() -> None:
    """The reference names each setting with its default."""
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    rows = describe(Settings())

    missing = [row.key for row in rows if f"`{row.key}`" not in page]
    assert not missing, missing
    wrong = [row.key for row in rows if _cells(row) not in page]
    assert not wrong, wrong


def _cells(row: Row) -> str:
    default = f"`{row.value}`" if row.value else "none"
    return f"| `{row.key}` | `{row.variable}` | {default} |"
