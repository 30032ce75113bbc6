"""Index a folder of Python files: one job counts what is in a file, a last job adds it all up.

Run `mesh dev workers/codebase.py:app`, and beside it `python workers/codebase.py [FOLDER]`.
"""

from __future__ import annotations

import ast
import asyncio
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import nlargest
from pathlib import Path

from mesh import Job, Mesh

app = Mesh()
SKIPPED = {"__pycache__", "node_modules", "site-packages"}
AT_ONCE = 50  # results waited for at the same time
TOP = 10


@dataclass(frozen=True)
class Function:
    """A function and where it stands."""

    name: str
    file: str
    line: int
    lines: int


@dataclass(frozen=True)
class FileCounts:
    """What is in one file, or what the problem is if it cannot be read as Python."""

    file: str
    lines: int = 0
    functions: int = 0
    classes: int = 0
    imports: int = 0
    longest: list[Function] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True)
class Summary:
    """What is in all files together, and the largest of what was found."""

    files: int
    lines: int
    functions: int
    classes: int
    imports: int
    largest_files: list[FileCounts]
    longest_functions: list[Function]
    unreadable: list[FileCounts]


@app.task(queue="codebase", pool="process")
def analyse(file: str) -> FileCounts:
    """Count what is in a file. It only reads, so it may run twice, as every task may."""
    try:
        source = Path(file).read_bytes()
        with warnings.catch_warnings(action="ignore"):
            nodes = list(_statements(ast.parse(source, file)))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # What is wrong with a file is a finding, not a failure of the job.
        return FileCounts(file, problem=f"{type(error).__name__}: {error}")
    functions = [
        Function(node.name, file, node.lineno, (node.end_lineno or 0) - node.lineno + 1)
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return FileCounts(
        file,
        lines=len(source.splitlines()),
        functions=len(functions),
        classes=sum(isinstance(n, ast.ClassDef) for n in nodes),
        imports=sum(isinstance(n, ast.Import | ast.ImportFrom) for n in nodes),
        longest=nlargest(TOP, functions, key=lambda function: function.lines),
    )


@app.task
def merge(files: list[FileCounts]) -> Summary:
    """Add up the counts of all files."""
    longest = [function for file in files for function in file.longest]
    return Summary(
        files=len(files),
        lines=sum(file.lines for file in files),
        functions=sum(file.functions for file in files),
        classes=sum(file.classes for file in files),
        imports=sum(file.imports for file in files),
        largest_files=nlargest(TOP, files, key=lambda file: file.lines),
        longest_functions=nlargest(TOP, longest, key=lambda function: function.lines),
        unreadable=[file for file in files if file.problem],
    )


async def index(folder: Path, on_progress: Callable[[int, int], None]) -> Summary:
    """Have workers, who see the same files, index a folder; tell how many of them are done."""
    jobs = await app.enqueue_many([analyse.s(file) for file in python_files(folder)])
    window, done = asyncio.Semaphore(AT_ONCE), 0

    async def counts_of(job: Job[FileCounts]) -> FileCounts:
        nonlocal done
        async with window:
            counts = await job.result(timeout="2m")
        done += 1
        on_progress(done, len(jobs))
        return counts

    counts = await asyncio.gather(*map(counts_of, jobs))
    return await (await merge.enqueue(counts)).result(timeout="2m")


def python_files(folder: Path) -> Iterator[str]:
    """Find the Python files of a folder, without installed packages and caches."""
    for path in sorted(folder.rglob("*.py")):
        if path.is_file() and not SKIPPED.intersection(path.relative_to(folder).parts):
            yield str(path.absolute())


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk over statements alone: they are few beside the expressions in them."""
    inside = [tree]
    while inside:
        for node in ast.iter_child_nodes(inside.pop()):
            if isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
                inside.append(node)
                yield node


async def main() -> None:
    """Index the folder that is named on the command line, or Python's own library."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("stdlib"))
    async with app:
        summary = await index(folder, lambda done, of: print(done, "of", of, end="\r"))
    print(f"{summary.files:,} files with {summary.lines:,} lines in {folder}")
    for function in summary.longest_functions:
        print(f"{function.lines:6} lines  {function.name}  {function.file}:{function.line}")


if __name__ == "__main__":
    asyncio.run(main())
