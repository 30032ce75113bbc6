"""Write archived jobs to files that other tools read: JSON lines, and Parquet for DuckDB."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from mesh.archive.answers import COLUMNS, ArchivedJob
from mesh.errors import ArchiveError

ROWS_AT_ONCE: Final = 50_000
"""How many jobs one row group of a Parquet file has, and so how many are in memory."""

_encode = msgspec.json.Encoder().encode


def write_jsonl(jobs: Iterable[ArchivedJob], target: IO[bytes]) -> int:
    """Write one JSON object on a line for each job; say how many there were."""
    count = 0
    for job in jobs:
        target.write(_encode(job) + b"\n")
        count += 1
    return count


def write_parquet(jobs: Iterable[ArchivedJob], path: Path) -> int:
    """Write a Parquet file; say how many jobs there were.

    Raises:
        ArchiveError: pyarrow is not installed.
    """
    try:
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        msg = "Parquet needs pyarrow: pip install 'natsmesh[parquet]', or export JSON lines"
        raise ArchiveError(msg) from error
    schema = _schema(arrow)
    rows, count = iter(jobs), 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(islice(rows, ROWS_AT_ONCE)):
            columns = {name: [getattr(job, name) for job in group] for name in COLUMNS}
            for name in _times():
                columns[name] = [value or None for value in columns[name]]
            writer.write_table(arrow.Table.from_pydict(columns, schema=schema))
            count += len(group)
    return count


def _times() -> list[str]:
    return [name for name in COLUMNS if name.endswith("_ms") and name != "duration_ms"]


def _schema(arrow: Any) -> Any:
    kinds: dict[str, Any] = {name: arrow.string() for name in COLUMNS}
    kinds |= {name: arrow.timestamp("ms", tz="UTC") for name in _times()}
    kinds |= {"tags": arrow.list_(arrow.string())}
    kinds |= {"duration_ms": arrow.int64(), "attempts": arrow.int32()}
    return arrow.schema([(name, kinds[name]) for name in COLUMNS])
