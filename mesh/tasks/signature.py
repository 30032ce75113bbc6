"""A task's parameters as decoders: arguments are checked when enqueued and again when run."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection
from inspect import Parameter
from types import UnionType
from typing import Annotated, Any, Never, NoReturn, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.json import Decoder
from msgspec.structs import asdict, astuple

from mesh.contract.envelope import EMPTY_LIST, EMPTY_MAP
from mesh.errors import (
    ArgumentsError,
    NotSerializableError,
    ResultTypeError,
    TaskDefinitionError,
)
from mesh.tasks import codec
from mesh.tasks.context import JobContext

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_UNRESOLVED = (NameError, TypeError, AttributeError)

_read_list = Decoder(list[Raw]).decode
_read_map = Decoder(dict[str, Raw]).decode


class Signature:
    """The parameters of one task function, compiled once.

    Most calls give all arguments by position, or all by name; one decoder reads those in one
    step. Others, and all that are wrong, are read one by one, which tells what is wrong.

    Attributes:
        takes_context: Whether the first parameter receives the ``JobContext``.
    """

    takes_context: bool

    def __init__(self, task: str, function: Callable[..., Any]) -> None:
        self._task = task
        parameters = list(inspect.signature(function).parameters.values())
        hints = _resolve(task, function, parameters)
        self.takes_context = _has_context(task, parameters, hints)
        if self.takes_context:
            del parameters[0]
        self._compile(parameters, hints)

    def _compile(self, parameters: list[Parameter], hints: dict[str, Any]) -> None:
        decoders = {
            p.name: _decoder(self._task, f"parameter {p.name!r}", hints[p.name])
            for p in parameters
        }
        positional = [p for p in parameters if p.kind in _POSITIONAL]
        required = [
            p for p in parameters if p.default is p.empty and p.kind in (*_POSITIONAL, *_NAMED)
        ]
        self._positional = [(p.name, decoders[p.name]) for p in positional]
        self._named = {p.name: decoders[p.name] for p in parameters if p.kind in _NAMED}
        self._required = [p.name for p in required]
        self._spread = _of_kind(parameters, Parameter.VAR_POSITIONAL, decoders)
        self._extra = _of_kind(parameters, Parameter.VAR_KEYWORD, decoders)
        self._result = _decoder(self._task, "its return type", hints["return"])
        self._has_defaults = any(p.default is not p.empty for p in parameters)
        self._by_place: Decoder[Any] | None = None
        if self._spread is None and not any(p.kind is p.KEYWORD_ONLY for p in required):
            self._by_place = _at_once(positional, hints, array_like=True)
        self._by_name: Decoder[Any] | None = None
        if self._extra is None and not any(p.kind is p.POSITIONAL_ONLY for p in required):
            named = [p for p in parameters if p.kind in _NAMED]
            self._by_name = _at_once(named, hints, array_like=False)

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes]:
        """Encode arguments as JSON and check that the task would accept them.

        Raises:
            ArgumentsError: They do not fit the signature or the annotations.
            NotSerializableError: One of them has no JSON form.
        """
        try:
            encoded = codec.encode(args) if args else EMPTY_LIST
            named = codec.encode(kwargs) if kwargs else EMPTY_MAP
        except NotSerializableError as error:
            self._refuse_untravelled(args, kwargs)
            raise error from None
        self.decode(encoded, named)
        return encoded, named

    def decode(self, args: Raw | bytes, kwargs: Raw | bytes) -> Arguments:
        """Read arguments into the annotated types.

        Raises:
            ArgumentsError: They do not fit the signature or the annotations.
        """
        try:
            if self._by_place is not None and bytes(kwargs) == EMPTY_MAP:
                values = astuple(self._by_place.decode(args))
                return (_given(values) if self._has_defaults else values), {}
            if self._by_name is not None and bytes(args) == EMPTY_LIST:
                named = asdict(self._by_name.decode(kwargs))
                return (), (_present(named) if self._has_defaults else named)
        except Exception as error:
            raise self._fault(args, kwargs, error) from error
        return self._decode_each(args, kwargs)

    def decode_result(self, result: Raw) -> Any:
        """Read a result into the task's return type.

        Raises:
            ResultTypeError: It does not fit the return annotation.
        """
        try:
            return self._result.decode(result)
        except Exception as error:
            raise ResultTypeError(self._task, str(error)) from error

    def _fault(
        self, args: Raw | bytes, kwargs: Raw | bytes, error: Exception
    ) -> ArgumentsError:
        """Say what is wrong with arguments that could not be read in one step."""
        try:
            self._decode_each(args, kwargs)
        except ArgumentsError as fault:
            return fault
        return ArgumentsError(self._task, str(error))

    def _decode_each(self, args: Raw | bytes, kwargs: Raw | bytes) -> Arguments:
        values = self._read("args", _read_list, args)
        named = self._read("kwargs", _read_map, kwargs)
        self._check_shape(len(values), named)
        positional = [
            self._read(name, decoder.decode, value)
            for (name, decoder), value in zip(self._positional, values, strict=False)
        ]
        if self._spread is not None:
            name, decoder = self._spread
            positional += [
                self._read(f"{name}[{number}]", decoder.decode, value)
                for number, value in enumerate(values[len(positional) :])
            ]
        return tuple(positional), {
            name: self._read(name, self._decoder_of(name).decode, value)
            for name, value in named.items()
        }

    def _decoder_of(self, name: str) -> Decoder[Any]:
        if name in self._named or self._extra is None:
            return self._named[name]
        return self._extra[1]

    def _check_shape(self, count: int, names: Collection[str]) -> None:
        """Bind arguments to parameters as a call would, and refuse what it would refuse."""
        if self._extra is None:
            for name in names:
                if name not in self._named:
                    near = difflib.get_close_matches(name, self._named, n=1)
                    hint = f"; did you mean {near[0]!r}?" if near else ""
                    raise ArgumentsError(self._task, f"it has no parameter {name!r}{hint}")
        most = len(self._positional)
        if count > most and self._spread is None:
            many = "argument" if most == 1 else "arguments"
            raise ArgumentsError(
                self._task, f"it takes {most} positional {many}, {count} given"
            )
        given = [name for name, _ in self._positional[:count]]
        named = [name for name in names if name in self._named]
        for name in named:
            if name in given:
                raise ArgumentsError(self._task, f"argument {name!r} is given twice")
        given += named
        if missing := [repr(name) for name in self._required if name not in given]:
            many = "argument {} is" if len(missing) == 1 else "arguments {} are"
            raise ArgumentsError(self._task, f"{many.format(', '.join(missing))} missing")

    def _read(self, name: str, decode: Callable[[Raw | bytes], Any], value: Raw | bytes) -> Any:
        try:
            return decode(value)
        except Exception as error:
            # msgspec calls the whole value `$`.
            why = str(error).replace("`$", f"`{name}", 1)
            raise ArgumentsError(self._task, f"argument {name!r}: {why}") from error

    def _refuse_untravelled(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Name the argument that has no JSON form."""
        names = [name for name, _ in self._positional]
        names += [str(number + 1) for number in range(len(names), len(args))]
        for name, value in [*zip(names, args, strict=False), *kwargs.items()]:
            try:
                codec.encode(value)
            except NotSerializableError as error:
                message = f"argument {name!r} of task {self._task!r}: {error}"
                raise NotSerializableError(message) from error.__cause__


def _has_context(task: str, parameters: list[Parameter], hints: dict[str, Any]) -> bool:
    """Whether the first parameter is for the context; no other one may be."""
    contexts = [p for p in parameters if _is_context(hints[p.name])]
    has_it = contexts[:1] == parameters[:1] and any(p.kind in _POSITIONAL for p in contexts[:1])
    for parameter in contexts[has_it:]:
        message = (
            f"parameter {parameter.name!r} of task {task!r} is a JobContext, which only the "
            "first positional parameter can be"
        )
        raise TaskDefinitionError(message)
    return has_it


def _is_context(hint: Any) -> bool:
    if hint is JobContext:
        return True
    return get_origin(hint) in (Annotated, Union, UnionType) and JobContext in get_args(hint)


def _resolve(
    task: str, function: Callable[..., Any], parameters: list[Parameter]
) -> dict[str, Any]:
    """Read the annotations; a missing one is ``Any``, and so is a return type never seen."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except _UNRESOLVED as error:
        # A return type that exists for type checkers only is no reason to refuse a task.
        hints = _resolve_parameters(task, function, parameters, error)
    result = hints.get("return", Any)
    if result is Never or result is NoReturn:
        result = Any
    return {p.name: hints.get(p.name, Any) for p in parameters} | {"return": result}


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
            except _UNRESOLVED:
                message = (
                    f"parameter {parameter.name!r} of task {task!r}: its annotation cannot be "
                    f"resolved at run time ({error}); define or import the type at the top of "
                    "the module, outside of TYPE_CHECKING"
                )
                raise TaskDefinitionError(message) from error
    return hints


def _decoder(task: str, what: str, hint: Any) -> Decoder[Any]:
    try:
        return codec.decoder(hint)
    except TypeError as error:
        message = f"task {task!r} cannot be enqueued: {what} cannot be read from JSON: {error}"
        raise TaskDefinitionError(message) from error


def _of_kind(
    parameters: list[Parameter], kind: Any, decoders: dict[str, Decoder[Any]]
) -> tuple[str, Decoder[Any]] | None:
    """The name and decoder of ``*args`` or ``**kwargs``, or None where there is none."""
    return next(((p.name, decoders[p.name]) for p in parameters if p.kind is kind), None)


def _at_once(
    parameters: list[Parameter], hints: dict[str, Any], *, array_like: bool
) -> Decoder[Any]:
    """Read all arguments in one step; what is left to its default is ``UNSET``."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for p in parameters:
        hint = hints[p.name]
        if p.default is p.empty:
            fields.append((p.name, hint))
        else:
            fields.append((p.name, hint if hint is Any else hint | UnsetType, UNSET))
    shape = msgspec.defstruct(
        "Arguments", fields, array_like=array_like, forbid_unknown_fields=True, kw_only=True
    )
    return codec.decoder(shape)


def _given(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Drop trailing parameters that were left to their defaults."""
    end = len(values)
    while end and values[end - 1] is UNSET:
        end -= 1
    return values[:end]


def _present(named: dict[str, Any]) -> dict[str, Any]:
    """Drop parameters that were left to their defaults."""
    return {name: value for name, value in named.items() if value is not UNSET}
