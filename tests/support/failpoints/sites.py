"""List every place in mesh that may talk to the server, from the source itself.

A *site* is an ``await`` (``async for`` and ``async with`` included), or a call of one of the
few functions that send without waiting. What surely waits for something inside the process
alone is left out by a short rule; all the rest counts, so a new await is a new site by itself.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import mesh

ROOT = Path(inspect.getfile(mesh)).parent

WALKED = ("app.py", "archive", "client", "exporter", "worker", "scheduler", "transport")
"""Where jobs are handled. The doctor is left out as a whole: it asks, and changes nothing."""

NOT_WALKED = {
    "transport/link.py": "the primitives themselves",
    "transport/connection.py": "the primitives themselves",
    "transport/publisher.py": "the primitives themselves",
    "transport/incoming.py": "takes in what the server sends, and sends nothing",
    "archive/queries.py": "asks a database and knows no server",
    "worker/supervisor.py": "watches processes and knows no server",
    "worker/reloading.py": "watches files and knows no server",
    "worker/pools.py": "talks to child processes only",
    "worker/childprocess.py": "talks to child processes only",
    "worker/child.py": "is a child process, without a connection",
    "worker/executor.py": "decides, and never talks to the server",
}
"""Modules left out, each with the reason."""

SENDERS = frozenset({"post", "tap", "untap", "ask"})
"""Functions that send and do not wait."""

LOCAL = {
    "anyio": "waits in this process",
    "asyncio": "waits in this process",
    "wait": "waits for an event of this process",
    "lock": "waits for others in this process",
    "limiter": "waits for others in this process",
    "places": "waits for others in this process",
    "patience.pause": "waits for a time to pass",
    "attempt.written": "waits for the heartbeat's thread, whose own awaits are sites",
    "_each": "waits for tasks whose own awaits are sites",
    "_check_new": "waits for tasks whose own awaits are sites",
    "admit_many": "waits for tasks whose own awaits are sites",
    "at_once": "waits for tasks whose own awaits are sites",
    "backfill": "waits for tasks whose own awaits are sites",
    "last_runs": "waits for tasks whose own awaits are sites",
    "_over": "waits for tasks whose own awaits are sites",
    "keeper.close": "waits for tasks whose own awaits are sites",
    "_cancellations.close": "waits for a task whose own awaits are sites",
    "_trust.stop": "waits for a task whose own awaits are sites",
    "lane.ask": "only remembers what is asked for",
    "client": "the loop's connection; it is opened once, at the site app:Mesh.client/open",
    "_client": "the same",
    "aclosing": "ends a generator, which has nothing to say to the server",
    "anext": "steps a generator whose own awaits are sites",
    "aclose": "ends a generator, or stops threads and processes",
    "settlement.close": "waits for tasks whose own awaits are sites",
    "_in_thread": "waits for the database",
    "_rest": "waits for the database",
    "_until_written": "waits for the database, and what it posts then is a site",
    "execute": "runs the user's function",
    "duty": "goes on beside the heartbeat; its own awaits are sites",
    "self.look": "looks, whose own awaits are sites",
}
"""What an await may name without being a site - a module, or a function - and why."""

_TRACED = "the same call as the one above it, with a span around it: recipes are not traced"

UNREACHED = {
    "client.client:Client.enqueue/_enqueue#2": _TRACED,
    "client.client:Client.enqueue_many/_enqueue_many#2": _TRACED,
    "client.reconciler:Reconciler._compare/_wait": "waits for a time to pass",
    "transport.buckets:Bucket.count/count": "only benchmarks and tests count a bucket",
    "transport.buckets:Shelf.count/api": "only benchmarks and tests count a bucket",
}
"""Sites that no recipe reaches, each with the reason."""


class Site(NamedTuple):
    """One place.

    Attributes:
        name: Such as ``worker.settlement:Settlement._finish/publish``.
        path: The file, below the package.
        start: First line and column.
        end: Last line and column.
    """

    name: str
    path: str
    start: tuple[int, int]
    end: tuple[int, int]


@cache
def every_site() -> dict[str, list[Site]]:
    """All sites, by file."""
    return {str(path): list(_sites_of(path)) for path in sorted(_files())}


def site_of(frame: FrameType) -> Site | None:
    """The site at which a frame stands; None if it stands at none."""
    sites = every_site().get(frame.f_code.co_filename)
    return _at(frame.f_code, frame.f_lasti) if sites else None


@cache
def _at(code: CodeType, instruction: int) -> Site | None:
    line, _, column, _ = list(code.co_positions())[instruction // 2]
    if line is None or column is None:
        return None
    inside = [
        site
        for site in every_site()[code.co_filename]
        if site.start <= (line, column) < site.end
    ]
    return min(inside, key=_size, default=None)


def _size(site: Site) -> tuple[int, int]:
    lines = site.end[0] - site.start[0]
    return lines, site.end[1] - (site.start[1] if not lines else 0)


def _files() -> Iterator[Path]:
    for name in WALKED:
        place = ROOT / name
        for path in [place] if place.is_file() else place.rglob("*.py"):
            if str(path.relative_to(ROOT)) not in NOT_WALKED:
                yield path


def _sites_of(path: Path) -> Iterator[Site]:
    where = str(path.relative_to(ROOT))
    module = where.removesuffix(".py").replace("/", ".")
    seen: dict[str, int] = {}
    for scope, node in _walk(ast.parse(path.read_text()), ()):
        what = _what(node)
        if what is None:
            continue
        name = f"{module}:{'.'.join(scope)}/{what}"
        seen[name] = seen.get(name, 0) + 1
        number = f"#{seen[name]}" if seen[name] > 1 else ""
        yield Site(name + number, where, *_span(node))


def _walk(node: ast.AST, scope: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], ast.AST]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child, (*scope, child.name))
        else:
            yield scope, child
            # The call of an await is the await itself.
            inner = child.value if isinstance(child, ast.Await) else child
            yield from _walk(inner, scope)


def _what(node: ast.AST) -> str | None:
    """Say what a node calls, if it is a site."""
    match node:
        case ast.Await(ast.Call() as call):
            return None if _is_local(call) else _called(call)
        case ast.AsyncFor():
            return f"for {_called(node.iter)}"
        case ast.AsyncWith():
            items = [item.context_expr for item in node.items]
            far = [item for item in items if not _is_local(item)]
            return f"with {_called(far[0])}" if far else None
        case ast.Call(ast.Attribute(attr=name)) if name in SENDERS:
            return None if _is_local(node) else name
        case _:
            return None


def _is_local(node: ast.expr) -> bool:
    """Whether it waits for something of this process only."""
    words = ast.unparse(node.func if isinstance(node, ast.Call) else node).split(".")
    return not {words[0], words[-1], ".".join(words[-2:])}.isdisjoint(LOCAL)


def _called(node: ast.expr) -> str:
    func = node.func if isinstance(node, ast.Call) else node
    return func.attr if isinstance(func, ast.Attribute) else ast.unparse(func)


def _span(node: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    start = (node.lineno, node.col_offset)
    if isinstance(node, ast.AsyncFor | ast.AsyncWith):  # Its head alone.
        return start, (node.body[0].lineno, node.body[0].col_offset)
    return start, (node.end_lineno or node.lineno, node.end_col_offset or 0)
