"""A task's parameters as decoders: check arguments when a job is enqueued and again when it runs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from inspect import Parameter
from typing import Any, get_type_hints

import msgspec
from msgspec import UNSET, Raw, Struct
from msgspec.structs import astuple

from mesh.contract.envelope import EMPTY_LIST, EMPTY_MAP
from mesh.errors import ArgumentsError, TaskDefinitionError
from mesh.tasks import codec
from mesh.tasks.context import JobContext

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_PLACE = re.compile(r" - at `\$\[(\d+)\](.*)`$")
_KEY = re.compile(r" - at `\$\.(\w+)(.*)`$")

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Signature:
    """The parameters of one task function, compiled once.

    Attributes:
        takes_context: Whether the first parameter receives the ``JobContext``.
    """

    def __init__(self, task: str, function: Callable[..., Any]) -> None:
        self._task = task
        parameters = list(inspect.signature(function).parameters.values())
        hints = _resolve(task, function, parameters)
        self.takes_context = bool(parameters) and hints[parameters[0].name] is JobContext
        if self.takes_context:
            del parameters[0]
        self._positional = [p for p in parameters if p.kind in _POSITIONAL]
        self._named = [p for p in parameters if p.kind in _NAMED]
        self._required = {p.name for p in parameters if p.default is p.empty and p.kind in (*_POSITIONAL, *_NAMED)}
        self._spread = _kind_of(parameters, Parameter.VAR_POSITIONAL, hints)
        self._extra = _kind_of(parameters, Parameter.VAR_KEYWORD, hints)
        self._result = codec.decoder(hints.get("return", Any))
        try:
            self._compile(hints)
        except TypeError as error:
            raise TaskDefinitionError(f"task {task!r} cannot be enqueued: {error}") from error

    def _compile(self, hints: dict[str, Any]) -> None:
        exact = [_field(p, hints, optional=p.name not in self._required) for p in self._positional]
        loose = [_field(p, hints, optional=True) for p in self._positional]
        named = [_field(p, hints, optional=True) for p in self._named]
        strict = {"array_like": True, "forbid_unknown_fields": True}
        needs_names = {p.name for p in self._named if p.kind is p.KEYWORD_ONLY} & self._required
        self._exact = None if needs_names or self._spread else _struct(exact, strict)
        self._loose = _struct(loose, strict)
        self._by_name = _struct(named, {"forbid_unknown_fields": True})
        self._optional = len(self._required) < len(self._positional)

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes]:
        """Encode arguments as JSON and check that the task would accept them.

        Raises:
            ArgumentsError: They do not fit the signature or the annotations.
            NotSerializableError: One of them has no JSON form.
        """
        encoded = codec.encode(args) if args else EMPTY_LIST
        named = codec.encode(kwargs) if kwargs else EMPTY_MAP
        self.decode(Raw(encoded), Raw(named))
        return encoded, named

    def decode(self, args: Raw, kwargs: Raw) -> Arguments:
        """Read arguments into the annotated types.

        Raises:
            ArgumentsError: They do not fit the signature or the annotations.
        """
        try:
            if self._exact is not None and bytes(kwargs) == EMPTY_MAP:
                values = astuple(self._exact.decode(args))
                return (_given(values) if self._optional else values), {}
            return self._decode_slowly(args, kwargs)
        except msgspec.DecodeError as error:
            raise ArgumentsError(self._task, self._explain(str(error))) from error
        except (TypeError, ValueError, RecursionError) as error:
            raise ArgumentsError(self._task, str(error)) from error

    def _decode_slowly(self, args: Raw, kwargs: Raw) -> Arguments:
        values = msgspec.json.decode(args, type=list[Raw])
        fixed, rest = values[: len(self._positional)], values[len(self._positional) :]
        if rest and self._spread is None:
            raise TypeError(f"takes {len(self._positional)} positional arguments, {len(values)} given")
        positional = _given(astuple(self._loose.decode(msgspec.json.encode(fixed))))
        spread = tuple(codec.convert(msgspec.json.decode(v), self._spread) for v in rest)
        named = self._decode_names(kwargs)
        taken = {p.name for p in self._positional[: len(positional)]}
        if twice := taken & named.keys():
            raise TypeError(f"argument {sorted(twice)[0]!r} is given twice")
        if missing := self._required - taken - named.keys():
            raise TypeError(f"argument {sorted(missing)[0]!r} is missing")
        return positional + spread, named

    def _decode_names(self, kwargs: Raw) -> dict[str, Any]:
        if self._extra is None:
            record = self._by_name.decode(kwargs)
            return {f: v for f in record.__struct_fields__ if (v := getattr(record, f)) is not UNSET}
        values = msgspec.json.decode(kwargs, type=dict[str, Raw])
        own = {p.name for p in self._named}
        known = self._by_name.decode(msgspec.json.encode({k: v for k, v in values.items() if k in own}))
        named = {f: v for f in known.__struct_fields__ if (v := getattr(known, f)) is not UNSET}
        for name, value in values.items():
            if name not in own:
                named[name] = codec.convert(msgspec.json.decode(value), self._extra)
        return named

    def decode_result(self, result: Raw) -> Any:
        """Read a result into the task's return type."""
        return self._result.decode(result)

    def _explain(self, message: str) -> str:
        """Say the parameter's name where msgspec says its place."""
        if place := _PLACE.search(message):
            index = int(place[1])
            name = self._positional[index].name if index < len(self._positional) else f"*{index}"
            return f"{message[: place.start()]} - argument {name!r}{place[2]}"
        if key := _KEY.search(message):
            return f"{message[: key.start()]} - argument {key[1]!r}{key[2]}"
        return message


def _resolve(task: str, function: Callable[..., Any], parameters: list[Parameter]) -> dict[str, Any]:
    """Read the annotations; those of parameters must resolve at run time, a missing one is ``Any``."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        # A return type that exists for type checkers only is no reason to refuse a task.
        hints = _resolve_parameters(task, function, parameters, error)
    return {p.name: hints.get(p.name, Any) for p in parameters} | {"return": hints.get("return", Any)}


def _resolve_parameters(
    task: str, function: Callable[..., Any], parameters: list[Parameter], error: Exception
) -> dict[str, Any]:
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    hints: dict[str, Any] = {}
    for parameter in parameters:
        stub = type("stub", (), {"__annotations__": {"it": parameter.annotation}})
        if parameter.annotation is not parameter.empty:
            try:
                hints[parameter.name] = get_type_hints(stub, scope, include_extras=True)["it"]
            except (NameError, TypeError, AttributeError):
                raise TaskDefinitionError(
                    f"parameter {parameter.name!r} of task {task!r}: its annotation cannot be resolved "
                    f"at run time ({error}); import the type outside of TYPE_CHECKING"
                ) from error
    return hints


def _kind_of(parameters: list[Parameter], kind: Any, hints: dict[str, Any]) -> Any:
    """The annotation of ``*args`` or ``**kwargs``, or None where the function takes none."""
    return next((hints[p.name] for p in parameters if p.kind is kind), None)


def _field(parameter: Parameter, hints: dict[str, Any], *, optional: bool) -> tuple[Any, ...]:
    hint = hints[parameter.name]
    if not optional:
        return (parameter.name, hint)
    return (parameter.name, hint | msgspec.UnsetType if hint is not Any else Any, UNSET)


def _struct(fields: list[tuple[Any, ...]], options: dict[str, bool]) -> msgspec.json.Decoder[Any]:
    shape: type[Struct] = msgspec.defstruct("Arguments", fields, **options)
    return codec.decoder(shape)


def _given(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Drop trailing parameters that were left to their defaults."""
    end = len(values)
    while end and values[end - 1] is UNSET:
        end -= 1
    return values[:end]
