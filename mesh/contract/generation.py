"""Write the generated part of ``subjects/`` and say how a folder differs from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct

from mesh.contract import pages, schemas, vectors


def write(folder: Path) -> list[Path]:
    """Write every generated file and return their paths; files made by hand are left alone.

    Args:
        folder: The folder of the contract, ``subjects/`` in the repository.
    """
    written: list[Path] = []
    for name, make in _files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make().encode())
        written.append(path)
    return written


def check(folder: Path) -> list[str]:
    """Say how the folder differs from what would be written; nothing: it does not.

    Args:
        folder: The folder of the contract.
    """
    files = _files()
    found = {name: _difference(folder / name, make()) for name, make in files.items()}
    differences = [
        f"{kind}: {name}; run `mesh contract write {folder}`"
        for name, kind in found.items()
        if kind
    ]
    extra = set(_present(folder)) - files.keys()
    differences += [
        f"extra: {name}; it is no part of the contract, delete it" for name in extra
    ]
    return sorted(differences)


def _files() -> dict[str, Callable[[], str]]:
    """What is generated: the path in the folder, and what makes the text."""
    made: dict[str, Callable[[], str]] = {
        "subjects.toml": pages.names_toml,
        "headers.md": pages.headers_md,
        "lifecycle.md": pages.lifecycle_md,
    }
    for name, struct in schemas.STRUCTS.items():
        made[f"schema/{name}.v1.json"] = partial(_schema, struct)
    for name in vectors.FILES:
        made[f"vectors/{name}.json"] = partial(_vectors, name)
    return made


def _difference(path: Path, wanted: str) -> str:
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return "missing"
    return "" if found == wanted.encode() else "stale"


def _present(folder: Path) -> Iterator[str]:
    """Name the files that stand in the folders where all is generated."""
    for generated in ("schema", "vectors"):
        for path in (folder / generated).rglob("*"):
            if path.is_file():
                yield path.relative_to(folder).as_posix()


def _schema(struct: type[Struct]) -> str:
    return _json(schemas.schema(struct))


def _vectors(name: str) -> str:
    return _json(vectors.document(name))


def _json(value: object) -> str:
    # Not left to the order of dicts: the text is the same wherever it is made.
    text = msgspec.json.encode(value, order="sorted")
    return msgspec.json.format(text, indent=2).decode() + "\n"
