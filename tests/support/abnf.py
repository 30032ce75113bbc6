"""Read the part of ABNF that ``subjects/grammar.abnf`` uses, as regular expressions."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

_TOKEN = re.compile(
    r"""\s* (?: %s"(?P<exact>[^"]*)"
              | "(?P<text>[^"]*)"
              | %x(?P<low>[0-9A-F]{2})-(?P<high>[0-9A-F]{2})
              | (?P<least>\d*)\*(?P<most>\d*)
              | (?P<name>[A-Za-z][A-Za-z0-9-]*)
              | (?P<mark>[()/]) ) \s*""",
    re.VERBOSE,
)


class Grammar:
    """The rules of a file.

    Attributes:
        rules: Each rule's name and its right side, as written.
    """

    def __init__(self, path: Path) -> None:
        lines = [line.split(";")[0] for line in path.read_text(encoding="utf-8").splitlines()]
        pairs = [line.partition("=") for line in lines if line.strip()]
        self.rules = {name.strip(): body.strip() for name, _, body in pairs}
        if len({name.lower() for name in self.rules}) < len(pairs):
            raise ValueError("a rule is given twice; ABNF does not heed case in their names")

    def matches(self, rule: str, text: str) -> bool:
        """Whether the whole text follows the rule."""
        return re.fullmatch(self.expression(rule), text) is not None

    def expression(self, rule: str) -> str:
        """Translate a rule, with all it refers to."""
        tokens = self._tokens(self.rules[rule])
        translated = self._choice(tokens)
        if tokens:
            raise ValueError(f"rule {rule} goes on after its end: {tokens[0].group()!r}")
        return translated

    @staticmethod
    def _tokens(body: str) -> deque[re.Match[str]]:
        tokens: deque[re.Match[str]] = deque()
        at = 0
        while at < len(body):
            token = _TOKEN.match(body, at)
            if token is None:
                raise ValueError(f"cannot read {body[at:]!r}")
            tokens.append(token)
            at = token.end()
        return tokens

    def _choice(self, tokens: deque[re.Match[str]]) -> str:
        choices = [self._row(tokens)]
        while tokens and tokens[0]["mark"] == "/":
            tokens.popleft()
            choices.append(self._row(tokens))
        return f"(?:{'|'.join(choices)})"

    def _row(self, tokens: deque[re.Match[str]]) -> str:
        row = ""
        while tokens and tokens[0]["mark"] not in {"/", ")"}:
            row += self._repeated(tokens)
        return row

    def _repeated(self, tokens: deque[re.Match[str]]) -> str:
        if tokens[0]["least"] is None:
            return self._one(tokens)
        count = tokens.popleft()
        return f"{self._one(tokens)}{{{count['least'] or 0},{count['most']}}}"

    def _one(self, tokens: deque[re.Match[str]]) -> str:
        token = tokens.popleft()
        if token["mark"] == "(":
            inner = self._choice(tokens)
            tokens.popleft()
            return inner
        if token["name"]:
            return self.expression(token["name"])
        if token["low"]:
            return rf"[\x{token['low']}-\x{token['high']}]"
        if token["exact"] is not None:
            return f"(?:{re.escape(token['exact'])})"
        if re.search("[A-Za-z]", token["text"]):
            raise ValueError(f'"{token["text"]}" does not heed case; write %s"..."')
        return f"(?:{re.escape(token['text'])})"
