"""What every section of the settings is made of: its base, and the kinds of values in it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from mesh.identifiers import NAMESPACE_RULE, QUEUE_RULE
from mesh.settings.addresses import REDACTED, redact_login

SECRET_NAMES = frozenset({"password", "token"})

Text = Annotated[str, Meta(min_length=1, description="a text that is not empty")]
Count = Annotated[int, Meta(ge=1, description="a whole number of at least 1")]
CountOrZero = Annotated[int, Meta(ge=0, description="a whole number, 0 or more")]
Port = Annotated[int, Meta(ge=0, le=65535, description="a port from 0 to 65535")]
Fraction = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Duration = Annotated[
    float,
    Meta(gt=0, description='a duration above zero: seconds, or a text like "30s" or "1h30m"'),
]
DurationOrZero = Annotated[
    float, Meta(ge=0, description='a duration: seconds, or a text like "30s" or "1h30m"')
]
Namespace = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}\Z", description=NAMESPACE_RULE)
]
QueueName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z", description=QUEUE_RULE)]
Storage = Literal["file", "memory"]
Backoff = Literal["exponential", "fixed", "linear"]
EventLoop = Literal["asyncio", "uvloop"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
CapturedLevel = Literal["debug", "info", "warning", "error", "critical", "off"]
EventLevel = Literal["off", "error", "info", "debug"]
LogFormat = Literal["console", "json"]
LoggerLevel = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_.-]+=(debug|info|warning|error|critical)\Z",
        description="a logger and its level, like mesh.worker=debug",
    ),
]
Propagation = Literal["link", "parent"]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all sections have in common: frozen, named fields only, secrets never shown."""

    def __repr__(self) -> str:
        """The section as code, with every secret and every password in an address left out."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The same for rich, which would otherwise ask the fields themselves."""
        return [
            (name, shown_value(name, getattr(self, name))) for name in self.__struct_fields__
        ]


def shown_value(name: str, value: object) -> object:
    """The value as people may see it: secrets and logins inside addresses are left out.

    Args:
        name: The setting's own name, without its section.
        value: Its value.
    """
    if name in SECRET_NAMES and value is not None:
        return REDACTED
    if name == "url":
        return redact_login(value) if isinstance(value, str) else type(value).__name__
    return value
