"""Read what each source gives: a mapping, the environment or a file; report unknown names."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import cast

from msgspec import Struct

from mesh.errors import SettingsError
from mesh.settings.keys import (
    PREFIX,
    nearest_key,
    nearest_variable,
    sections,
    spellings,
    variables,
)
from mesh.settings.values import Given

CONFIG_VARIABLE = "MESH_CONFIG"
SCHEDULES = "schedules"
"""The one table of a settings file that holds no settings; see `mesh.settings.schedules`."""

_RESERVED = re.compile(r"MESH_(CONFIG|FAILPOINT|TEST_.*)")
_FILE_NAMES = ("mesh.toml", "pyproject.toml", "mesh.yaml", "mesh.yml")
# A Kubernetes service or a linked container named "mesh..." puts such variables into every pod.
_SERVICE_LINK = re.compile(
    r"MESH_(.*_)?(SERVICE_(HOST|PORT(_.+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_.+)?)?)"
)


class Reading(Struct, frozen=True):
    """What one source gave, and what was wrong with it."""

    given: tuple[Given, ...] = ()
    faults: tuple[str, ...] = ()


def read_mapping(
    mapping: Mapping[str, object], origin: str, *, is_text: bool = False
) -> Reading:
    """Read nested mappings or dotted keys; None counts as not given, as in every source."""
    return _collect(_leaves(mapping, ""), origin, is_text=is_text)


def read_environment(environ: Mapping[str, str]) -> Reading:
    """Read the ``MESH_*`` variables; an empty one counts as not given."""
    given: dict[str, Given] = {}
    faults: list[str] = []
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or not value.strip() or _is_foreign(name):
            continue
        key = variables().get(name)
        if key is None:
            faults.append(f"{name} is not a setting{_hint(nearest_variable(name))}")
        elif key.name in given and given[key.name].value != value:
            faults.append(f"{given[key.name].origin} and {name} both give {key.name}; keep one")
        else:
            given[key.name] = Given(key, value, name, name, is_text=True)
    return Reading(tuple(given.values()), tuple(faults))


def find_file(directory: Path) -> Path | None:
    """The settings file of a directory; a pyproject.toml counts if it has [tool.mesh]."""
    for name in _FILE_NAMES:
        path = directory / name
        if path.is_file() and (name != "pyproject.toml" or _project_table(path) is not None):
            return path
    return None


def read_file(path: Path, label: str) -> Reading:
    """Read one settings file.

    Args:
        path: The file; its ending says whether it is TOML or YAML.
        label: How faults name the file.

    Raises:
        SettingsError: It cannot be read, or is not what its ending says.
    """
    settings = {
        key: value for key, value in read_content(path, label).items() if key != SCHEDULES
    }
    return _collect(_leaves(settings, ""), label, directory=path.absolute().parent)


def read_content(path: Path, label: str) -> Mapping[str, object]:
    """Read what one settings file holds, not yet checked.

    Args:
        path: The file; its ending says whether it is TOML or YAML.
        label: How faults name the file.

    Raises:
        SettingsError: It cannot be read, or is not what its ending says.
    """
    if path.suffix in {".yaml", ".yml"}:
        content = _yaml(path, label)
    elif path.name == "pyproject.toml":
        content = _project_table(path)
        if content is None:
            message = f"{label} has no table [tool.mesh]; add it, or name another file"
            raise SettingsError([message])
    else:
        content = _toml(path, label)
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        message = f"{label} holds no settings; write them as keys with values"
        raise SettingsError([message])
    return cast("Mapping[str, object]", content)


def _leaves(mapping: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    """Each key with its value; a mapping goes on under its key if that is a section."""
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name in sections():
            yield from _leaves(cast("Mapping[str, object]", value), f"{name}.")
        else:
            yield name, value


def _collect(
    leaves: Iterator[tuple[str, object]],
    origin: str,
    *,
    is_text: bool = False,
    directory: Path | None = None,
) -> Reading:
    given: dict[str, Given] = {}
    faults: list[str] = []
    for name, value in leaves:
        key = spellings().get(name)
        if key is None and (value is not None or name not in sections()):
            faults.append(f"{origin}: {_unknown(name)}")
        elif key is None or value is None:
            continue
        elif key.name in given:
            faults.append(f"{origin}: {key.name} is given twice; keep one")
        else:
            place = f"{origin}: {name}"
            given[key.name] = Given(
                key, value, origin, place, is_text=is_text, directory=directory
            )
    return Reading(tuple(given.values()), tuple(faults))


def _unknown(name: str) -> str:
    if name in sections():
        return f"{name} is a section, not a value; give its keys with their values"
    return f"{name} is not a setting{_hint(nearest_key(name))}"


def _hint(nearest: str | None) -> str:
    return f"; did you mean {nearest}?" if nearest else ""


def _is_foreign(name: str) -> bool:
    is_ours = name in variables()
    return not is_ours and bool(_RESERVED.fullmatch(name) or _SERVICE_LINK.fullmatch(name))


def _project_table(path: Path) -> object:
    """The table [tool.mesh] of a pyproject.toml, or None."""
    tool = _toml(path, path.name).get("tool")
    return cast("dict[str, object]", tool).get("mesh") if isinstance(tool, dict) else None


def _toml(path: Path, label: str) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        message = f"{label} cannot be read: {fault.strerror}"
        raise SettingsError([message]) from fault
    except ValueError as fault:
        message = f"{label} is not valid TOML: {fault}"
        raise SettingsError([message]) from fault


def _yaml(path: Path, label: str) -> object:
    try:
        yaml = import_module("yaml")
    except ImportError as fault:
        message = (
            f'{label} needs PyYAML; install it with pip install "natsmesh[yaml]", or write TOML'
        )
        raise SettingsError([message]) from fault
    try:
        return cast("object", yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as fault:
        message = f"{label} cannot be read: {fault.strerror}"
        raise SettingsError([message]) from fault
    except (ValueError, yaml.YAMLError) as fault:
        # The error's own text quotes the line, which may hold a password.
        mark = getattr(fault, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        message = f"{label} is not valid YAML{line}: {getattr(fault, 'problem', 'not UTF-8')}"
        raise SettingsError([message]) from fault
