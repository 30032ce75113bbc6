"""Which calls are the same job: what the user says about it, and the key that follows."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from mesh.contract.envelope import Until
from mesh.durations import Duration, seconds
from mesh.errors import InvalidDurationError, OptionError
from mesh.tasks import codec

OnConflict = Literal["return", "reject", "replace"]

_CONFLICTS: tuple[OnConflict, ...] = ("return", "reject", "replace")
_SHORTEST_S = 1.0
_LONGEST_S = 3650 * 86400.0
_BY_JOB = {"done": Until.DONE, "started": Until.STARTED}


class Unique(Struct, frozen=True):
    """Let no two jobs with the same key wait or run at once.

    Attributes:
        key: What makes jobs the same, within their task: a text, or a function that is given
            the call's arguments and returns something with a JSON form. None: all arguments.
        until: How long the key belongs to a job: to its end (``"done"``), to its start
            (``"started"``), or for a time from its enqueueing, at least a second.
        on_conflict: What becomes of a call whose key belongs to another job: it gets that job's
            handle (``"return"``), raises ``JobConflictError`` (``"reject"``), or cancels that
            job and takes its place (``"replace"``).
    """

    key: Callable[..., object] | str | None = None
    until: Literal["done", "started"] | Duration = "done"
    on_conflict: OnConflict = "return"

    def __post_init__(self) -> None:
        """Refuse at once what cannot be.

        Raises:
            OptionError: A value cannot be.
        """
        key: object = self.key
        if not (key is None or isinstance(key, str) or callable(key)):
            option = "unique.key"
            raise OptionError(option, f"{key!r} is neither a text nor a function")
        if self.on_conflict not in _CONFLICTS:
            option = "unique.on_conflict"
            why = f"{self.on_conflict!r} is not one of {', '.join(_CONFLICTS)}"
            raise OptionError(option, why)
        if self.ends is Until.TIME and not _SHORTEST_S <= self.period_s <= _LONGEST_S:
            option = "unique.until"
            raise OptionError(option, f"{self.until!r} is not between 1 s and ten years")

    @property
    def ends(self) -> Until:
        """By what the key's time is measured."""
        return _BY_JOB.get(str(self.until), Until.TIME)

    @property
    def period_s(self) -> float:
        """How long the key belongs to a job, in seconds; 0 if the job says so itself."""
        if self.ends is not Until.TIME:
            return 0.0
        try:
            return seconds(self.until)
        except InvalidDurationError as error:
            option = "unique.until"
            why = f"{self.until!r} is neither 'done' nor 'started' nor a duration"
            raise OptionError(option, why) from error


class Uniqueness(NamedTuple):
    """What makes one call unique.

    Attributes:
        digest: The key as it travels: 64 hex digits.
        rule: What the user said.
    """

    digest: str
    rule: Unique


def uniqueness(
    rule: Unique,
    task: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    names: Sequence[str] = (),
) -> Uniqueness:
    """Work out the key of a call.

    Args:
        rule: What the user said.
        task: The task's name; keys of different tasks never meet.
        args: The positional arguments.
        kwargs: The named arguments.
        names: The parameters that take positional arguments, if the task is known: an argument
            is the same by place and by name.

    Raises:
        NotSerializableError: What the key function returned has no JSON form.
    """
    match rule.key:
        case None:
            named = dict(zip(names, args, strict=False)) | dict(kwargs)
            key: object = [list(args[len(names) :]), named]
        case str():
            key = rule.key
        case _:
            key = rule.key(*args, **kwargs)
    digest = hashlib.sha256(task.encode() + b"\0" + _sorted(key)).hexdigest()
    return Uniqueness(digest, rule)


def positional_names(function: Callable[..., Any], *, takes_context: bool) -> list[str]:
    """Name the parameters of a task that take positional arguments, its context left out."""
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds][int(takes_context) :]


def read_unique(value: object) -> Unique | Literal[False]:
    """Read the option ``unique``: ``True``, ``False`` or a ``Unique``.

    Raises:
        ValueError: It is none of these.
    """
    if value is True:
        return Unique()
    if value is False or isinstance(value, Unique):
        return value
    message = f"{value!r} is neither True nor False nor a Unique"
    raise ValueError(message)


def _sorted(value: object) -> bytes:
    """Encode a value so that equal ones look the same, whatever the order of their keys."""
    plain = msgspec.json.decode(codec.encode(value))
    return msgspec.json.encode(plain, order="sorted")
