"""Where the servers that the command line starts keep their jobs."""

from __future__ import annotations

from pathlib import Path

DEFAULT_STORE = Path(".mesh/nats")


def prepare_store(store: Path) -> None:
    """Keep the default store out of the user's git; any other is the user's own matter."""
    if store == DEFAULT_STORE:
        store.parent.mkdir(exist_ok=True)
        (store.parent / ".gitignore").write_text("*\n", encoding="utf-8")
