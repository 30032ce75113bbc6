"""Turn arguments and results into JSON and back, by their annotations."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from mesh.errors import NotSerializableError


def encode(value: object) -> bytes:
    """Encode a value as JSON.

    Builtins, dataclasses, attrs, msgspec structs, enums, dates, UUIDs, Decimals, bytes (base64)
    and Pydantic models travel.

    Raises:
        NotSerializableError: The value, or something in it, has no JSON form.
    """
    try:
        return _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        message = f"{_name(value)} cannot travel: {error}"
        raise NotSerializableError(message) from error


def decoder(annotation: Any) -> msgspec.json.Decoder[Any]:
    """Make a decoder that reads JSON into the annotated type.

    Raises:
        TypeError: msgspec cannot tell the members of the annotation apart.
    """
    return msgspec.json.Decoder(annotation, dec_hook=_from_json)


def _to_json(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is not None and _is_pydantic(type(value)):
        # By alias, as its own schema says; without what is computed and cannot be read back.
        return dump(mode="json", by_alias=True, round_trip=True)
    message = f"a value of type {_name(value)} has no JSON form"
    raise TypeError(message)


def _from_json(annotation: type[Any], value: object) -> object:
    if _is_pydantic(annotation):
        try:
            # As JSON: a strict model takes no text for a date in Python.
            return annotation.model_validate_json(_encode(value))
        except ValueError as error:  # pydantic.ValidationError is one
            raise ValueError(_summary(error)) from error
    if isinstance(value, annotation):
        return value
    message = f"JSON cannot be read as {annotation.__module__}.{annotation.__qualname__}"
    raise TypeError(message)


def _is_pydantic(kind: object) -> bool:
    # Only a process that imported Pydantic can hold one of its models: no import of our own.
    pydantic = sys.modules.get("pydantic")
    return (
        pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)
    )


def _summary(error: ValueError) -> str:
    """Say what Pydantic found in one line, and without the values: they may be secret."""
    faults: list[dict[str, Any]] = getattr(error, "errors", list)()
    return "; ".join(
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ")
        for fault in faults
    )


def _name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


_encode = msgspec.json.Encoder(enc_hook=_to_json).encode
