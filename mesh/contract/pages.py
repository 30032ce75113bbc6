"""What people read of the contract: the table of names, the headers, the life of a job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from mesh.contract import headers, lifecycle
from mesh.contract.rows import Kind, Row
from mesh.contract.table import TABLE

_MADE = "made by `mesh contract write subjects`; do not edit"

_KINDS: dict[Kind, str] = {
    "subject": "Subjects: messages are published to them.",
    "filter": "Filters and prefixes: they match subjects; nothing is published to them.",
    "stream": "Streams.",
    "bucket": "Buckets: key-value (results, progress, control, locks) and object (the others).",
    "consumer": "Durable consumers of the job stream.",
}


def names_toml() -> str:
    """Write the table of names as TOML."""
    parts = [
        f"# {_MADE.capitalize()}.",
        "# Every name mesh gives to something on a NATS server:",
        "# <ns> is the namespace, <NS> the same in capitals. `rule` is one of grammar.abnf,",
        "# `builder` says what builds the name in mesh/contract/subjects.py.",
    ]
    for kind, about in _KINDS.items():
        parts += ["", f"# {about}"]
        for row in TABLE:
            if row.kind == kind:
                parts += ["", f"[[{kind}]]", *_fields(row)]
    return "\n".join(parts) + "\n"


def headers_md() -> str:
    """Write the table of headers."""
    rows = [(f"`{row.name}`", *row[1:]) for row in headers.TABLE]
    return "\n".join(
        [
            "# Headers",
            "",
            f"<!-- {_MADE} -->",
            "",
            "Each header mesh sets or reads; others are left alone. Names are compared byte by",
            "byte, the first of two with one name counts, and a value has no line breaks.",
            "",
            *_grid(("header", "on", "value", "set by", "when it is absent"), rows),
            "",
        ]
    )


def lifecycle_md() -> str:
    """Write the states of a job and the moves between them."""
    priorities = ", ".join(f"`{priority}`" for priority in lifecycle.PRIORITIES)
    return "\n".join(
        [
            "# The life of a job",
            "",
            f"<!-- {_MADE} -->",
            "",
            "```mermaid",
            "stateDiagram-v2",
            *_diagram(),
            "```",
            "",
            *_grid(("state", "what it says", "the job may move to"), _states()),
            "",
            "A job ends once: whoever writes its terminal record first decides how.",
            "",
            f"A queue runs its jobs by priority, the most urgent first: {priorities}.",
            "",
        ]
    )


def _fields(row: Row) -> Iterable[str]:
    for name, value in row._asdict().items():
        if name != "kind":
            # A JSON string is a TOML string.
            yield f"{name} = {msgspec.json.encode(value).decode()}"


def _diagram() -> Iterable[str]:
    for state in lifecycle.STARTS:
        yield f"    [*] --> {state}"
    for state, ends in lifecycle.MOVES.items():
        for end in ends:
            yield f"    {state} --> {end}"
    for state in lifecycle.State:
        if state.is_terminal:
            yield f"    {state} --> [*]"


def _states() -> Iterable[tuple[str, ...]]:
    for state, ends in lifecycle.MOVES.items():
        moves = ", ".join(f"`{end}`" for end in ends) or "nothing: it is final"
        yield f"`{state}`", lifecycle.MEANING[state], moves


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield _line(head)
    yield _line(["---"] * len(head))
    for row in rows:
        yield _line(row)


def _line(cells: Sequence[str]) -> str:
    shown = [cell.replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(shown)} |"
