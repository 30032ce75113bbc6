"""The table of every setting: its dotted key, type, default, variable; and the nearest name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType

import msgspec
from msgspec import Struct

from mesh.settings.model import Settings
from mesh.settings.sections import SECRET_NAMES

PREFIX = "MESH_"
_DURATION_SUFFIX = "_s"
_SHORT_VARIABLES = {
    "MESH_NATS_URL": "url",
    "MESH_WORKER_COUNT": "worker.processes",
    "MESH_TASK_TIMEOUT": "job_defaults.timeout_s",
    "MESH_RESULT_TTL": "job_defaults.result_ttl_s",
}


class Key(Struct, frozen=True):
    """One setting.

    Attributes:
        name: The dotted key, for example ``worker.ack_wait_s``.
        type: The type of its value, with its limits.
        default: Its value when no source gives one.
    """

    name: str
    type: object
    default: object

    @property
    def own_name(self) -> str:
        """The name without its section."""
        return self.name.rpartition(".")[2]

    @property
    def variable(self) -> str:
        """The environment variable that gives it."""
        return PREFIX + self.name.upper().replace(".", "_")

    @property
    def is_duration(self) -> bool:
        """Whether its value is a duration in seconds."""
        return self.name.endswith(_DURATION_SUFFIX)

    @property
    def is_file(self) -> bool:
        """Whether its value is the path of a file."""
        return self.name.endswith("_file")

    @property
    def is_secret(self) -> bool:
        """Whether its value must never be shown."""
        return self.own_name in SECRET_NAMES


@cache
def all_keys() -> Mapping[str, Key]:
    """Every setting by its dotted key, in the order of the structs."""
    return MappingProxyType({key.name: key for key in _keys_of(Settings, "")})


@cache
def sections() -> frozenset[str]:
    """The names of the sections."""
    return frozenset(name.partition(".")[0] for name in all_keys() if "." in name)


@cache
def spellings() -> Mapping[str, Key]:
    """Every accepted spelling of a dotted key: durations may leave out ``_s``."""
    return MappingProxyType(_with_short_forms(all_keys(), _DURATION_SUFFIX))


@cache
def variables() -> Mapping[str, Key]:
    """Every environment variable that gives a setting, short forms included."""
    named = {key.variable: key for key in all_keys().values()}
    short = {variable: all_keys()[name] for variable, name in _SHORT_VARIABLES.items()}
    return MappingProxyType(_with_short_forms(named, _DURATION_SUFFIX.upper()) | short)


def value_of(settings: Settings, key: Key) -> object:
    """The value that these settings have for a key."""
    section, _, own_name = key.name.rpartition(".")
    holder: object = getattr(settings, section) if section else settings
    return getattr(holder, own_name)


def nearest_key(name: str) -> str | None:
    """The dotted key that an unknown one was most likely meant to be, or None."""
    section, dot, own_name = name.rpartition(".")
    siblings = {key.own_name: key.name for key in all_keys().values()}
    if dot and section in sections():
        siblings = {
            key.own_name: key.name
            for key in all_keys().values()
            if key.name.startswith(f"{section}.")
        }
    return (
        siblings.get(own_name)
        or _lookup(own_name, siblings)
        or _closest(name, [*all_keys(), *sections()])
    )


def nearest_variable(name: str) -> str | None:
    """The environment variable that an unknown one was most likely meant to be, or None."""
    return _closest(name, variables())


def _keys_of(struct: type[Struct], section: str) -> Iterator[Key]:
    for field in msgspec.structs.fields(struct):
        nested = _as_struct(field.type)
        if nested:
            yield from _keys_of(nested, f"{field.name}.")
        else:
            yield Key(section + field.name, field.type, field.default)


def _as_struct(kind: object) -> type[Struct] | None:
    return kind if isinstance(kind, type) and issubclass(kind, Struct) else None


def _with_short_forms(named: Mapping[str, Key], suffix: str) -> dict[str, Key]:
    short = {name.removesuffix(suffix): key for name, key in named.items() if key.is_duration}
    return {**short, **named}


def _lookup(name: str, siblings: Mapping[str, str]) -> str | None:
    match = _closest(name, siblings)
    return siblings[match] if match else None


def _closest(name: str, known: Iterable[str]) -> str | None:
    matches = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None
