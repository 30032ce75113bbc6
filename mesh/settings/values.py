"""Turn one given value, a text or what a file or a program holds, into a setting's value."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal, cast, get_args, get_origin

import msgspec
from msgspec import Struct, inspect

from mesh.durations import seconds
from mesh.settings.keys import Key
from mesh.settings.sections import shown_value

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class Given(Struct, frozen=True):
    """One value as a source gives it.

    Attributes:
        key: The setting it is for.
        value: The value, not yet checked.
        origin: The source, as `describe` shows it.
        place: The source and key, as faults show them.
        is_text: Whether a text stands for every type, as in the environment.
        directory: What a relative path is relative to; None: the working directory.
    """

    key: Key
    value: object
    origin: str
    place: str
    is_text: bool = False
    directory: Path | None = None


def read_value(given: Given) -> object:
    """Check a given value and turn it into the setting's own type.

    Raises:
        ValueError: The value is refused; the message is a whole fault.
    """
    key = given.key
    try:
        value = msgspec.convert(_prepared(given), key.type, strict=not given.is_text)
    except ValueError as fault:
        shown = "refused" if key.is_secret else repr(shown_value(key.own_name, given.value))
        message = f"{given.place} is {shown}; it must be {rule_of(key)}"
        raise ValueError(message) from fault
    return _found_file(given, value) if key.is_file and isinstance(value, str) else value


def rule_of(key: Key) -> str:
    """What a value of this setting must be, to be read after "it must be"."""
    if get_origin(key.type) is Literal:
        return f"one of {', '.join(str(value) for value in get_args(key.type))}"
    return _rule(inspect.type_info(key.type))


def _prepared(given: Given) -> object:
    value = given.value
    if given.key.is_duration and isinstance(value, int | float | str | timedelta):
        return seconds(value)
    if isinstance(value, Path):
        return str(value)
    if not isinstance(value, str):
        return value
    kind = inspect.type_info(given.key.type)
    if isinstance(kind, inspect.LiteralType | inspect.EnumType):
        return value.strip().lower()
    return _from_text(value.strip(), kind) if given.is_text else value


def _from_text(text: str, kind: inspect.Type) -> object:
    if isinstance(kind, inspect.BoolType):
        word = text.lower()
        return True if word in _TRUE else False if word in _FALSE else text
    if isinstance(kind, inspect.VarTupleType):
        return [part for item in text.split(",") if (part := item.strip())]
    return text


def _rule(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata():
            schema = cast("dict[str, str]", kind.extra_json_schema or {})
            return schema.get("description") or _rule(kind.type)
        case inspect.UnionType(types=types):
            return _rule(next(item for item in types if not isinstance(item, inspect.NoneType)))
        case inspect.VarTupleType(item_type=item):
            return f"a list, each entry {_rule(item)}"
        case inspect.EnumType(cls=choices):
            return f"one of {', '.join(str(choice.value) for choice in choices)}"
        case _:
            # Every type but this one carries its own description in the model.
            return "true or false"


def _found_file(given: Given, text: str) -> str:
    path = Path(text).expanduser()
    path = given.directory / path if given.directory else path
    if not path.is_file():
        message = f"{given.place} names {str(path)!r}, but there is no such file"
        raise ValueError(message)
    return str(path)
