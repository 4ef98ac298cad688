"""Foreign text on its way into one line of an error, a log or a table.

Everything a stranger wrote passes through `printable` before a person sees it, and through
`redacted` where it may carry credentials. What the text means is decided in `message` and `paths`.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_RUN = re.compile(r"[^\s\"',]+")
_SIGNED = re.compile(
    r"((?:x-amz-|[?&])(?:signature|security-token|credential)=)[^&\s\"',]+", re.IGNORECASE
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def printable(text: str, limit: int = 200) -> str:
    r"""`text` on one line: what a terminal would act on becomes `\n`, `\x1b`, `\u202e`.

    A backslash is doubled, so that the escapes cannot be forged. At most `limit` characters
    come back; a cut is marked by `…`.
    """
    shown = "".join(_escaped(char) for char in text[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def _escaped(char: str) -> str:
    if char.isprintable() and char != "\\":
        return char
    return char.encode("unicode_escape").decode("ascii")


def redacted(text: str) -> str:
    """`text` without the secrets that URIs carry: `user:secret@` and presigned signatures.

    Rather hides too much: in `s3://bucket/a:b@c` the part before the `@` goes too. Linear in the
    length of the text, so it may be used on a whole message body.
    """
    return _SIGNED.sub(r"\1***", _RUN.sub(_without_userinfo, text))


def _without_userinfo(run: re.Match[str]) -> str:
    head, at, tail = run[0].rpartition("@")
    scheme = _SCHEME.match(head)
    start = scheme.end() if scheme else 0
    return f"{head[:start]}***@{tail}" if at and ":" in head[start:] else run[0]


def find_control(text: str) -> int | None:
    """Character index of the first C0, DEL or C1 control character."""
    match = _CONTROL.search(text)
    return match.start() if match else None


def find_surrogate(text: str) -> int | None:
    """Character index of the first surrogate: such text has no UTF-8 form."""
    match = _SURROGATE.search(text)
    return match.start() if match else None


def byte_offset(text: str, index: int) -> int:
    """Where character `index` starts in the UTF-8 form, from 0."""
    return len(text[:index].encode("utf-8", "surrogatepass"))
