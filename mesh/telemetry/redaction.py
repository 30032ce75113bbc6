"""Leave secrets out of what people read: log lines, failures, spans.

Three things are taken for secrets: what the settings and the environment name as one, wherever
it stands; logins in addresses; and what follows a telling name, such as ``password=``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Self, cast

from msgspec.structs import replace

from mesh.contract.records import ErrorInfo
from mesh.settings.addresses import REDACTED
from mesh.settings.model import Settings

_NAMES = (
    *("password", "passwd", "passphrase", "secret", "token", "api_key", "apikey"),
    *("access_key", "private_key", "authorization", "cookie", "otlp_headers"),
)
_NAMES_VARIABLE = "MESH_SECRET_NAMES"
# Shorter ones stand in too many innocent words.
_SHORTEST_SECRET = 6
_MOST_DEPTH = 8
# All repeats that may fail are bounded: a long text must not take quadratic time.
_LOGIN = re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://)[^\s/@'\"]+@", re.IGNORECASE)
_AUTHORIZATION = re.compile(
    r"\b(bearer|basic|digest)\s{1,3}[A-Za-z0-9+/._~=-]{6,}", re.IGNORECASE
)


class Redactor:
    """Leaves secrets out of texts and values.

    Args:
        secrets: Texts that are secret wherever they stand; those shorter than six characters
            are left alone.
        names: Further names whose values are secret; ``_`` and ``-`` are the same.
    """

    def __init__(self, secrets: Iterable[str] = (), names: Iterable[str] = ()) -> None:
        telling = "|".join(
            re.escape(name).replace(r"\-", "_").replace("_", "[_-]?")
            for name in (*_NAMES, *names)
        )
        self._name = re.compile(telling, re.IGNORECASE)
        self._pair = re.compile(
            rf"((?:{telling})[\w.-]{{0,40}}[\"']?\s{{0,3}}[=:]\s{{0,3}})(?!\[redacted\])"
            r"(\"[^\"\r\n]*\"|'[^'\r\n]*'|(?:(?:bearer|basic)\s{1,3})?[^\s,;&\"'()\[\]{}]+)",
            re.IGNORECASE,
        )
        known = {text for text in secrets if len(text) >= _SHORTEST_SECRET}
        longest_first = sorted(known, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if known else None

    @classmethod
    def of(cls, settings: Settings, environ: Mapping[str, str] | None = None) -> Self:
        """Make the one that knows the secrets of an app.

        Args:
            settings: Their login is secret, and what they name as such.
            environ: The environment, whose variables with a telling name are secret; None: that
                of this process.
        """
        names = cls(names=settings.secret_names)
        login = settings.credentials
        secrets = [text for text in (login.password, login.token) if text]
        variables = os.environ if environ is None else environ
        secrets += [
            value
            for name, value in variables.items()
            if name != _NAMES_VARIABLE and names.is_secret(name)
        ]
        return cls(secrets, settings.secret_names)

    def is_secret(self, name: str) -> bool:
        """Whether the value of that name must not be shown."""
        return self._name.search(name) is not None

    def text(self, text: str) -> str:
        """The text without the secrets in it."""
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        text = _LOGIN.sub(rf"\1{REDACTED}@", text)
        text = self._pair.sub(rf"\1{REDACTED}", text)
        return _AUTHORIZATION.sub(rf"\1 {REDACTED}", text)

    def value(self, name: str, value: object) -> object:
        """A named value to be shown: nothing of it if its name says that it is secret."""
        return REDACTED if self.is_secret(name) else self._inside(value, _MOST_DEPTH)

    def error(self, error: ErrorInfo) -> ErrorInfo:
        """A failure without the secrets in its texts."""
        return replace(
            error,
            message=self.text(error.message),
            traceback=self.text(error.traceback),
            notes=tuple(map(self.text, error.notes)),
            cause=None if error.cause is None else self.error(error.cause),
        )

    def _inside(self, value: object, depth: int) -> object:
        """Look into texts, lists and mappings; anything else is shown as its text says."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str) or not depth:
            return self.text(str(value))
        if isinstance(value, Mapping):
            items = cast("Mapping[object, object]", value).items()
            return {
                str(key): REDACTED
                if self.is_secret(str(key))
                else self._inside(item, depth - 1)
                for key, item in items
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self._inside(item, depth - 1) for item in cast("Iterable[object]", value)]
        return self.text(str(value))
