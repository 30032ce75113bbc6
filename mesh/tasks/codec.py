"""Turn arguments and results into JSON and back, by their annotations."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from mesh.errors import NotSerializableError


def encode(value: object) -> bytes:
    """Encode a value as JSON.

    Builtins, dataclasses, attrs, msgspec structs, enums, dates, UUIDs, Decimals, bytes (base64) and
    Pydantic models travel.

    Raises:
        NotSerializableError: The value, or something in it, has no JSON form.
    """
    try:
        return _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise NotSerializableError(f"{_name(value)} cannot travel: {error}") from error


def decoder(annotation: Any) -> msgspec.json.Decoder[Any]:
    """Make a decoder that reads JSON into the annotated type.

    Raises:
        TypeError: msgspec cannot tell the members of the annotation apart.
    """
    return msgspec.json.Decoder(annotation, dec_hook=_from_json)


def convert(value: object, annotation: Any) -> Any:
    """Convert decoded JSON into the annotated type.

    Raises:
        msgspec.ValidationError: It does not fit.
    """
    return msgspec.convert(value, annotation, dec_hook=_from_json)


def _to_json(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is not None and _is_pydantic(type(value)):
        return dump(mode="json")
    raise TypeError(f"a value of type {_name(value)} has no JSON form")


def _from_json(annotation: type[Any], value: object) -> object:
    if _is_pydantic(annotation):
        try:
            return annotation.model_validate(value)
        except ValueError as error:  # pydantic.ValidationError is one
            raise msgspec.ValidationError(str(error)) from error
    if isinstance(value, annotation):
        return value
    raise TypeError(f"JSON cannot be read as {annotation.__module__}.{annotation.__qualname__}")


def _is_pydantic(kind: type[Any]) -> bool:
    # Only a process that imported Pydantic can hold one of its models: no import of our own.
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def _name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


_encode = msgspec.json.Encoder(enc_hook=_to_json).encode
