"""The secrets that a program or a URL was given: hidden in whatever comes back.

`core.text.redacted` knows secrets by their shape alone. A password that a program repeats in a
sentence has none; its value is known, though, by the argument that it was given as.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice, pairwise
from urllib.parse import quote, unquote

from backhaul.core.text import SECRET_NAME

_HIDDEN = "***"
_NAMED = re.compile(rf"[\w.-]*(?:{SECRET_NAME}|bearer)[\w.-]*", re.IGNORECASE)
# Where a secret is, not what it is.
_WHERE = re.compile(r"(?:file|path|dir|env|cmd|command|store|alias|provider|type)$", re.IGNORECASE)
_OPTION = re.compile(r"--?([A-Za-z][\w.-]*)")
_JOINED = re.compile(r"--?([A-Za-z][\w.-]*)=(.*)", re.DOTALL)
_GLUED = re.compile(r"-([uUHp])(.+)", re.DOTALL)
_ASSIGNED = re.compile(r"(?:^|[;?&#,\s=\"'{(-])([A-Za-z][\w.-]*)[\"']?\s*[=:]\s*")
_PIECE_ENDS = re.compile(r"[;&?#,\s\"']")  # any of them may also be within a password
_PIECES_MOST = 16
_HEADER = re.compile(r"^(?:proxy-)?authorization:\s*(?:\w+\s+)?((\S+).*)", re.IGNORECASE)
_USERINFO = re.compile(r"//[^/@\s:]*:([^/\s]+)@")
_URL = re.compile(r"https?://[^/?#\s]+(/[^#\s]*)", re.IGNORECASE)
_WAREHOUSE_SHORT = "p"  # of beeline; a port or a priority of other programs
_LOGIN = frozenset({"u", "user", "U", "proxy-user"})  # of curl: NAME:PASSWORD
_SCRIPT_OPTION = re.compile(r"-[A-Za-z]*c")  # of a shell
_NEXT_OPTION = re.compile(r"-[A-Za-z]|--[A-Za-z].*", re.DOTALL)
_PASSWORD_FILE = re.compile(r"-w|--?[\w.-]*password-?file", re.IGNORECASE)
_SEGMENT_LEAST = 8  # characters of a part of a path that may be a token
_TOKEN = re.compile(r"[A-Z]|[0-9].*[0-9]")  # no name of a path, such as /api/v1/lineage
_INSIDE_LEAST = 6  # a shorter one is in too many other words: hidden as a word of its own alone
_CUT_LEAST = 4  # characters of one that stand at an end where the text was cut


@dataclass(frozen=True)
class SecretValues:
    """Values that no error, log, ledger, reply or bundle may have.

    Found are those that an option, header, variable or parameter of a URL with the name of a
    secret has, `NAME:PASSWORD` of curl, and long parts of the path and query of a URL; also in a
    script that is an argument. Not found is what has no such name: an argument by its place alone,
    what a script prints or computes.
    """

    values: frozenset[str]

    @classmethod
    def of_program(
        cls,
        command: Sequence[str],
        variables: Mapping[str, str] | None = None,
        *,
        is_warehouse: bool = False,
    ) -> SecretValues:
        """Those in a program's arguments, and in its variables with the name of a secret.

        Args:
            is_warehouse: It is beeline or alike: `-p` is followed by a password.
        """
        found = {value for name, value in (variables or {}).items() if _is_secret(name)}
        found.update(_of_arguments(command[1:], is_warehouse=is_warehouse))
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


def _of_arguments(arguments: Sequence[str], *, is_warehouse: bool) -> Iterator[str]:
    for before, argument in pairwise(["", *arguments]):
        option = _OPTION.fullmatch(before)
        if option is not None:
            yield from _of_option(option[1], argument, is_warehouse=is_warehouse)
        has_blanks = any(one.isspace() for one in argument)
        if has_blanks:
            yield from _of_arguments(_words(argument), is_warehouse=is_warehouse)
        is_script = _SCRIPT_OPTION.fullmatch(before) is not None and not argument.startswith("-")
        if has_blanks and is_script:
            continue  # its words were looked at; what follows a name up to its end is no secret
        yield from _of_text(argument)
        joined = _JOINED.fullmatch(argument) or _GLUED.fullmatch(argument)
        if joined is not None and not _is_option_name(argument):
            yield from _of_option(joined[1], joined[2], is_warehouse=is_warehouse, is_joined=True)
            yield from _of_text(joined[2])


def _words(script: str) -> list[str]:
    """As a shell has them, `;` and `|` apart; where a quote is left open, what blanks part."""
    lexer = shlex.shlex(script, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        return [word.strip("\"'") for word in script.split()]


def _is_option_name(argument: str) -> bool:
    """Whether it is `-password` or the like, and not `-p` with the password `assword`."""
    return re.fullmatch(rf"-(?:{SECRET_NAME})", argument, re.IGNORECASE) is not None


def _of_option(
    name: str, value: str, *, is_warehouse: bool, is_joined: bool = False
) -> Iterator[str]:
    is_short = is_warehouse and name == _WAREHOUSE_SHORT
    # impala-shell's own -p has no value: what follows is the next option.
    if is_short and not is_joined and _NEXT_OPTION.fullmatch(value):
        return
    if (is_short or _is_secret(name)) and value.strip("-"):
        yield value
    if name in _LOGIN and "://" not in value:
        yield value.partition(":")[2]


def _of_text(text: str) -> Iterator[str]:
    for assigned in _ASSIGNED.finditer(text):
        if _is_secret(assigned[1]):
            yield from _pieces(text[assigned.end() :])
    for pattern in (_HEADER, _USERINFO):
        yield from (value for one in pattern.finditer(text) for value in one.groups())
    for url in _URL.finditer(text):
        yield from _of_target(url[1])


def _pieces(text: str) -> Iterator[str]:
    """All that the secret at the beginning of this may be: only its program knows where it ends."""
    for one in {text, text.lstrip("\"'")}:
        yield one
        for end in islice(_PIECE_ENDS.finditer(one), _PIECES_MOST):
            if any(character.isalnum() for character in one[: end.start()]):
                yield one[: end.start()]


def _of_target(target: str) -> Iterator[str]:
    path, _, query = target.partition("?")
    parts = [target, path, *path.split("/")]
    parts += [pair.partition("=")[2] or pair for pair in query.split("&")]
    return (one for one in parts if len(one) >= _SEGMENT_LEAST and _TOKEN.search(one))


def _forms(values: Iterable[str]) -> frozenset[str]:
    """As they are, and as a URL, JSON and HTML have them."""
    return frozenset(
        form
        for one in values
        for form in (one, unquote(one), quote(one, safe=""), json.dumps(one)[1:-1], escape(one))
        if form.strip()
    )
