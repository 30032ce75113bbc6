"""The schedules that a settings file declares: ``[schedules.<id>]``, one table for each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from mesh.errors import SettingsError
from mesh.settings.sources import CONFIG_VARIABLE, SCHEDULES, find_file, read_content

Tables = Mapping[str, Mapping[str, object]]
"""By the id of a schedule, what its table says; not yet checked."""


def read_schedule_tables(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Tables:
    """Read the schedules of the settings file; the same file that the settings come from.

    Args:
        file: The file; None: ``MESH_CONFIG``, else what lies in the directory.
        environ: The environment; None: that of this process.
        directory: Where the file is looked for; None: the working directory.

    Raises:
        SettingsError: The file cannot be read, or its schedules are no tables.
    """
    path = file or _named(os.environ if environ is None else environ)
    path = path or find_file(directory or Path.cwd())
    if path is None:
        return {}
    tables = read_content(path, str(path)).get(SCHEDULES, {})
    if not isinstance(tables, Mapping):
        raise SettingsError([_no_table(path, SCHEDULES)])
    named = cast("Mapping[str, object]", tables)
    faults = [
        _no_table(path, f"{SCHEDULES}.{name}")
        for name, table in named.items()
        if not isinstance(table, Mapping)
    ]
    if faults:
        raise SettingsError(faults)
    return cast("Tables", named)


def _named(environ: Mapping[str, str]) -> Path | None:
    name = environ.get(CONFIG_VARIABLE, "").strip()
    return Path(name).expanduser() if name else None


def _no_table(path: Path, key: str) -> str:
    return f"{path}: {key} is no table; write each schedule as [{SCHEDULES}.<id>]"
