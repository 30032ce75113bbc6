"""Load the settings once, at the door: all sources in their order, all faults together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from mesh.errors import SettingsError
from mesh.settings.addresses import take_login
from mesh.settings.keys import all_keys, value_of
from mesh.settings.model import Settings
from mesh.settings.rules import breaches, describe_breach
from mesh.settings.sources import (
    CONFIG_VARIABLE,
    Reading,
    find_file,
    read_environment,
    read_file,
    read_mapping,
)
from mesh.settings.values import Given, read_value


class Loaded(Struct, frozen=True):
    """Settings together with where each value came from.

    Attributes:
        settings: The settings.
        origins: The source of each dotted key that a source gave: the file, the variable,
            ``arguments`` or ``command line``. What is missing here has its default.
    """

    settings: Settings
    origins: Mapping[str, str]


def load(
    *,
    cli: Mapping[str, object] | None = None,
    arguments: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    file: Path | None = None,
) -> Settings:
    """Read and check the settings; command line beats arguments, environment, file, defaults.

    Args:
        cli: What the command line gives, nested or with dotted keys; texts stand for any type.
        arguments: What the program gives, nested or with dotted keys; None means not given.
        environ: The environment; None: that of this process.
        directory: Where the file is looked for; None: the working directory.
        file: The file itself, else ``MESH_CONFIG``, else the first found of ``mesh.toml``,
            ``pyproject.toml`` with [tool.mesh], ``mesh.yaml`` and ``mesh.yml``.

    Raises:
        SettingsError: Anything is wrong; every fault of every source is in it.
    """
    return load_with_origins(
        cli=cli, arguments=arguments, environ=environ, directory=directory, file=file
    ).settings


def load_with_origins(
    *,
    cli: Mapping[str, object] | None = None,
    arguments: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    file: Path | None = None,
) -> Loaded:
    """Do what `load` does, and keep where each value came from."""
    variables = os.environ if environ is None else environ
    weakest_first = (
        _read_file(file, variables, directory or Path.cwd()),
        read_environment(variables),
        read_mapping(arguments or {}, "arguments"),
        read_mapping(cli or {}, "command line", is_text=True),
    )
    faults = [fault for reading in weakest_first for fault in reading.faults]
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    doubtful: set[str] = set()
    for given in (given for reading in weakest_first for given in reading.given):
        name = given.key.name
        try:
            values[name] = read_value(given)
        except ValueError as fault:
            faults.append(str(fault))
            doubtful.add(name)
        origins[name] = given.origin
    faults += _take_login_out(values, origins)
    settings = _build(values)
    faults += _broken_rules(settings, origins, doubtful)
    if faults:
        raise SettingsError(faults)
    return Loaded(settings, origins)


def check(settings: Settings) -> Settings:
    """Return settings that a program built itself, or raise if they break a rule.

    Raises:
        SettingsError: Anything is wrong with them; every fault is in it.
    """
    faults: list[str] = []
    values: dict[str, object] = {}
    for key in all_keys().values():
        value = msgspec.to_builtins(value_of(settings, key))
        try:
            values[key.name] = read_value(
                Given(key, value, "settings", f"settings: {key.name}")
            )
        except ValueError as fault:
            faults.append(str(fault))
    faults += _take_login_out(values, {})
    checked = _build(values)
    faults += _broken_rules(checked, {}, set(all_keys()) - set(values))
    if faults:
        raise SettingsError(faults)
    return checked


def _read_file(file: Path | None, environ: Mapping[str, str], directory: Path) -> Reading:
    named = environ.get(CONFIG_VARIABLE, "").strip()
    try:
        if file is not None:
            return read_file(file, str(file))
        if named:
            return read_file(Path(named).expanduser(), f"{CONFIG_VARIABLE}={named}")
        found = find_file(directory)
        return read_file(found, found.name) if found else Reading()
    except SettingsError as error:
        return Reading(faults=error.faults)


def _take_login_out(values: dict[str, object], origins: dict[str, str]) -> list[str]:
    """Move a login from ``url`` to ``credentials``.

    NATS clients lose a login inside an address when they reconnect to a server of the cluster
    that they learned of only later.
    """
    url, place = values.get("url"), origins.get("url", "settings")
    if not isinstance(url, str):
        return []
    try:
        bare_url, login = take_login(url)
    except ValueError as fault:
        return [f"{place}: url {fault}"]
    if login is None:
        return []
    if any(values.get(name) is not None for name in values if name.startswith("credentials.")):
        return [f"{place}: url carries a login, but credentials are given too; keep one"]
    values["url"] = bare_url
    for name, value in msgspec.structs.asdict(login).items():
        values[f"credentials.{name}"] = value or None
        origins[f"credentials.{name}"] = place
    return []


def _build(values: Mapping[str, object]) -> Settings:
    """Settings of checked values; what is missing keeps its default."""
    nested: dict[str, object] = {}
    sections: dict[str, dict[str, object]] = {}
    for name, value in values.items():
        section, dot, own_name = name.rpartition(".")
        if dot:
            sections.setdefault(section, {})[own_name] = value
        else:
            nested[own_name] = value
    for section, content in sections.items():
        nested[section] = msgspec.structs.replace(getattr(Settings(), section), **content)
    return msgspec.structs.replace(Settings(), **nested)


def _broken_rules(
    settings: Settings, origins: Mapping[str, str], doubtful: Iterable[str]
) -> list[str]:
    """The faults between settings, without those that rest on a value already refused."""
    refused = frozenset(doubtful)
    return [
        describe_breach(breach, origins)
        for breach in breaches(settings)
        if refused.isdisjoint(breach.keys)
    ]
