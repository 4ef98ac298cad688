"""The secrets that a program or a URL was given: hidden in whatever comes back.

`core.text.redacted` knows secrets by their shape alone. A password that a program repeats in a
sentence has none; its value is known, though, by the argument that it was given as.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import quote, unquote

from backhaul.core.text import SECRET_NAME

_HIDDEN = "***"
_NAMED = re.compile(rf"[\w.-]*(?:{SECRET_NAME})[\w.-]*", re.IGNORECASE)
# Where a secret is, not what it is.
_WHERE = re.compile(r"(?:file|path|dir|env|cmd|command|store|alias|provider|type)$", re.IGNORECASE)
_OPTION = re.compile(r"--?([A-Za-z][\w.-]*)")
_ASSIGNED = re.compile(r"(?:^|[;?&#,\s-])([A-Za-z][\w.-]*)\s*[=:]\s*([^;&?#\s,\"']+)")
_HEADER = re.compile(r"^(?:proxy-)?authorization:\s*(?:\w+\s+)?(\S+)", re.IGNORECASE)
_USERINFO = re.compile(r"//[^/@\s:]*:([^/@\s]+)@")
_URL = re.compile(r"https?://[^/?#\s]+(/[^#\s]*)", re.IGNORECASE)
_SHORT = frozenset({"p"})  # -p of beeline, mysql and their like: a password
_LOGIN = frozenset({"u", "user"})  # of curl: NAME:PASSWORD
_PASSWORD_FILE = re.compile(r"-w|--?[\w.-]*password-?file", re.IGNORECASE)
_SEGMENT_LEAST = 8  # characters of a part of a path that may be a token
_TOKEN = re.compile(r"[A-Z]|[0-9].*[0-9]")  # no name of a path, such as /api/v1/lineage
_INSIDE_LEAST = 6  # a shorter one is in too many other words: hidden as a word of its own alone
_CUT_LEAST = 4  # characters of one that stand at an end where the text was cut


@dataclass(frozen=True)
class SecretValues:
    """Values that no error, log, ledger, reply or bundle may have."""

    values: frozenset[str]

    @classmethod
    def of_program(
        cls, command: Sequence[str], variables: Mapping[str, str] | None = None
    ) -> SecretValues:
        """Those in a program's arguments, and in its variables with the name of a secret."""
        found = {value for name, value in (variables or {}).items() if _is_secret(name)}
        found.update(_of_arguments(command[1:]))
        return cls(_forms(found))

    @classmethod
    def of_target(cls, target: str) -> SecretValues:
        """Those in path and query of a URL, which are often what lets one in."""
        return cls(_forms(_of_target(target)))

    def and_values(self, more: Iterable[str]) -> SecretValues:
        """These and those."""
        return SecretValues(self.values | _forms(set(more)))

    def hidden_in(self, text: str) -> str:
        """The text without them; it may be cut in the middle of one at either end."""
        for value in sorted(self.values, key=len, reverse=True):
            if len(value) < _INSIDE_LEAST:
                text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", _HIDDEN, text)
                continue
            text = text.replace(value, _HIDDEN)
            for length in range(len(value) - 1, _CUT_LEAST - 1, -1):
                if text.startswith(value[-length:]):
                    text = _HIDDEN + text[length:]
                if text.endswith(value[:length]):
                    text = text[:-length] + _HIDDEN
        return text


def password_files(command: Sequence[str]) -> list[str]:
    """The files whose first line is a password, as `-w FILE` of beeline names them."""
    found = []
    for before, argument in pairwise(command):
        name, is_assigned, value = argument.partition("=")
        if is_assigned and _PASSWORD_FILE.fullmatch(name):
            found.append(value)
        elif _PASSWORD_FILE.fullmatch(before):
            found.append(argument)
    return found


def _is_secret(name: str) -> bool:
    return _NAMED.fullmatch(name) is not None and _WHERE.search(name) is None


def _of_arguments(arguments: Sequence[str]) -> Iterator[str]:
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option = _OPTION.fullmatch(before)
        name = option[1] if option is not None else ""
        if (name in _SHORT or _is_secret(name)) and not argument.startswith("-"):
            yield argument
        if name in _LOGIN and "//" not in argument and ":" in argument:
            yield argument.partition(":")[2]
        for assigned in _ASSIGNED.finditer(argument):
            if _is_secret(assigned[1]):
                yield assigned[2]
        for pattern in (_HEADER, _USERINFO):
            yield from (one[1] for one in pattern.finditer(argument))
        for url in _URL.finditer(argument):
            yield from _of_target(url[1])


def _of_target(target: str) -> Iterator[str]:
    path, _, query = target.partition("?")
    parts = [target, path, *path.split("/")]
    parts += [pair.partition("=")[2] or pair for pair in query.split("&")]
    return (one for one in parts if len(one) >= _SEGMENT_LEAST and _TOKEN.search(one))


def _forms(values: Iterable[str]) -> frozenset[str]:
    """As they are, and as a URL has them."""
    return frozenset(
        form for one in values for form in (one, unquote(one), quote(one, safe="")) if form.strip()
    )
