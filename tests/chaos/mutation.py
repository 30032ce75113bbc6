"""Put a mutant in the place of a part of mesh: one that does its work in the wrong order."""

from __future__ import annotations

import importlib
from typing import Any

from mesh.contract import headers
from mesh.transport import frames
from mesh.transport.publisher import Publisher
from mesh.transport.waiting import Done


def apply(name: str) -> None:
    """Apply a mutant of ``chaos.mutants`` to this process; an empty name: none."""
    if name:
        importlib.import_module(f"chaos.mutants.{name}").mutate()


def forget_expectations(part: str) -> None:
    """Have writes to subjects with this part say no longer which revision they replace."""
    post = Publisher.post

    def post_unguarded(
        self: Publisher,
        subject: str,
        block: bytes,
        payload: bytes,
        done: Done,
        context: Any,
        *,
        once: bool = False,
    ) -> None:
        if part in subject:
            kept = frames.read_headers(block)
            kept.pop(headers.EXPECTED_LAST, None)
            block = frames.header_block(kept.items())
        post(self, subject, block, payload, done, context, once=once)

    Publisher.post = post_unguarded
