"""Where what the command line starts keeps its files, if nobody says where."""

from __future__ import annotations

from pathlib import Path

DEFAULT_STORE = Path(".mesh/nats")
DEFAULT_ARCHIVE = Path(".mesh/archive.db")


def prepare_store(store: Path) -> None:
    """Keep the default store out of the user's git; any other is the user's own matter."""
    if store in {DEFAULT_STORE, DEFAULT_ARCHIVE}:
        store.parent.mkdir(exist_ok=True)
        (store.parent / ".gitignore").write_text("*\n", encoding="utf-8")
