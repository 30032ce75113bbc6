"""Addresses of NATS servers as text: check them, show them, and take a login out of them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

from msgspec import Struct

REDACTED = "[redacted]"
_SCHEMES = ("nats", "tls", "ws", "wss")
# Greedy up to the last @ before the next address: a login may itself hold commas and @.
_LOGIN = re.compile(r"((?:^|,)\s*(?:\w+://)?)(?:(?!,\s*\w+://).)+@", re.ASCII | re.DOTALL)


class Login(Struct, frozen=True):
    """A login that stood in an address: a user with a password, or a token alone."""

    user: str | None = None
    password: str | None = None
    token: str | None = None

    def __repr__(self) -> str:
        return f"Login({REDACTED})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("login", REDACTED)]


def split_addresses(url: str) -> tuple[str, ...]:
    """The addresses of a comma-separated list, one by one."""
    return tuple(part for address in url.split(",") if (part := address.strip()))


def redact_login(url: str) -> str:
    """The list of addresses with every login in it left out, for people to see."""
    return _LOGIN.sub(rf"\1{REDACTED}@", url)


def take_login(url: str) -> tuple[str, Login | None]:
    """Part a list of addresses from the login in it.

    Returns:
        The addresses without logins, and the login, or None when there is none.

    Raises:
        ValueError: The addresses carry different logins, or a login with a comma in it.
    """
    addresses = split_addresses(url)
    logins = {login for address in addresses if (login := _login_of(address))}
    if not logins:
        return url, None
    if len(logins) > 1:
        message = "carries different logins; mesh uses one login for all servers"
        raise ValueError(message)
    bare = [_bare(address) for address in addresses]
    if any(address_fault(address) for address in bare):
        message = "carries a login, but not only valid addresses; in a login, write , as %2C"
        raise ValueError(message)
    return ",".join(bare), logins.pop()


def address_fault(address: str) -> str | None:
    """What is wrong with one address, or None."""
    shown = repr(redact_login(address))
    if any(character.isspace() for character in address):
        return f"{shown} contains a space"
    try:
        parts = urlsplit(address if "://" in address else f"nats://{address}")
        port = parts.port
    except ValueError:
        return f"{shown} has no valid host and port; write it like nats://host:4222"
    if parts.scheme not in _SCHEMES:
        return f"{shown} starts with {parts.scheme}://; use one of {', '.join(_SCHEMES)}"
    if not parts.hostname or port == 0:
        return f"{shown} has no valid host and port; write it like nats://host:4222"
    return None


def _login_of(address: str) -> Login | None:
    _, login, _ = _parts(address)
    if not login:
        return None
    user, colon, password = login.partition(":")
    if not colon:
        return Login(token=unquote(user))
    return Login(user=unquote(user), password=unquote(password))


def _bare(address: str) -> str:
    scheme, _, place = _parts(address)
    return scheme + place


def _parts(address: str) -> tuple[str, str, str]:
    """The scheme with its slashes, the login, and the rest; the first two may be empty."""
    scheme, mark, rest = address.partition("://")
    login, _, place = (rest if mark else address).rpartition("@")
    return scheme + mark if mark else "", login, place
