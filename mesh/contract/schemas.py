"""JSON Schemas of everything that travels, made from the structs and their docstrings."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec
from msgspec import Struct

from mesh.contract import leases, records, schedules, workers
from mesh.contract.envelope import Envelope
from mesh.contract.events import Event

DIALECT = "https://json-schema.org/draft/2020-12/schema"

STRUCTS: dict[str, type[Struct]] = {
    "envelope": Envelope,
    "result": records.ResultRecord,
    "progress": records.ProgressRecord,
    "event": Event,
    "dead_letter": records.DeadLetter,
    "lane_trust": records.LaneTrust,
    "unique_key": records.UniqueKey,
    "leadership": leases.Leadership,
    "turn": leases.Turn,
    "schedule": schedules.Schedule,
    "schedule_status": schedules.ScheduleStatus,
    "worker": workers.WorkerRecord,
    "worker_command": workers.WorkerCommand,
    "worker_answer": workers.WorkerAnswer,
}
"""The structs that stand alone on the wire, by the name of their schema."""

_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)

Schema = dict[str, Any]


def schema(struct: type[Struct]) -> Schema:
    """Make the schema of a struct, with what the docstrings say of it and of each field."""
    (made,), parts = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    for part in parts.values():
        _describe(part)
    top = parts.pop(struct.__name__, made)
    return {"$schema": DIALECT, **top} | ({"$defs": parts} if parts else {})


def _describe(part: Schema) -> None:
    """Move the descriptions of fields from the docstring to the fields."""
    text = inspect.cleandoc(part.pop("description", ""))
    about, _, listed = text.partition("\n\nAttributes:\n")
    if about:
        part["description"] = _flat(about)
    fields = part.get("properties", {})
    for name, words in _ATTRIBUTE.findall(listed):
        fields[name]["description"] = _flat(words)


def _flat(text: str) -> str:
    return " ".join(text.replace("``", "`").split())
