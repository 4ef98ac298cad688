"""A place as a person names it: a path on a target, or an object or prefix in S3."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from backhaul.app.search import SearchedFor, is_within, kind_of_text, split_path
from backhaul.core.errors import BadArgument
from backhaul.core.requests.authorities import folded
from backhaul.core.text import printable, redacted

KEY_MAX_BYTES = 1024  # S3's
PATH_MAX_BYTES = 32_000  # HDFS takes 8,000 characters
_FORMS = "write hdfs://nameservice/path, file:///path, /path or s3://bucket/key"
_SOURCE = re.compile(r"s3a?://([^/]*)(?:/(.*))?", re.DOTALL)
_TARGET = re.compile(r"(hdfs://[^/]*|file:(?://)?)?(/.*)", re.DOTALL)
_SLASHES = re.compile(r"/{2,}")


@dataclass(frozen=True, kw_only=True)
class TargetPlace:
    """A file or directory.

    Attributes:
        filesystem: `hdfs://authority` or `file://`; `hdfs://`: any HDFS; empty: any at all.
        path: Absolute, without a slash at its end.
    """

    filesystem: str
    path: str

    @property
    def text(self) -> str:
        return f"{self.filesystem}{self.path}"

    @property
    def stem(self) -> str:
        """What everything below it begins with, without the slash."""
        return "" if self.path == "/" else self.path

    @property
    def above(self) -> tuple[str, ...]:
        """The paths of the directories above it, the nearest first, without the root."""
        return tuple(_above(self.stem))

    def is_on(self, filesystem: str) -> bool:
        """Whether that one is meant; `hdfs://NN1` is `hdfs://nn1:8020`."""
        if self.filesystem in {"", "hdfs://"}:
            return filesystem.startswith(self.filesystem)
        return folded(self.filesystem) == folded(filesystem)

    def is_near(self, text: str) -> bool:
        """Whether the destination of a request is this place, above it or below it.

        Args:
            text: As it was requested: it may be a path alone, or anything that was in a message.
        """
        filesystem, path = split_path(text)
        if not path.startswith("/") or path == "/":
            return False  # no destination, or none that may be
        is_meant = not filesystem or self.is_on(filesystem)
        return is_meant and (is_within(path, self.path) or is_within(self.path, path))


@dataclass(frozen=True, kw_only=True)
class SourcePlace:
    """An object, or all whose keys begin with `key` and a slash.

    Attributes:
        key: As written; empty: the whole bucket.
    """

    bucket: str
    key: str

    @property
    def text(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def is_prefix(self) -> bool:
        """No object: it ends in a slash, or is a bucket."""
        return self.key == "" or self.key.endswith("/")

    @property
    def stem(self) -> str:
        """The key without a slash at its end."""
        return self.key.removesuffix("/")

    @property
    def inside(self) -> str:
        """What the keys of everything below it begin with."""
        return f"{self.stem}/" if self.stem else ""

    def texts(self) -> list[str]:
        """Sources of requests that may bring it: the object, and every prefix above it."""
        keys = [self.key] if not self.is_prefix else []
        keys.append(self.inside)
        for key in _above(self.stem):
            keys += [f"{key}/", key]
        if self.stem:
            keys.append("")
        if self.is_prefix and self.stem:
            keys.append(self.stem)  # a request without the slash
        return _as_recorded(f"{scheme}{self.bucket}/{key}" for key in keys for scheme in _SCHEMES)

    def prefixes(self) -> list[str]:
        """What the sources of requests for a part of it begin with."""
        return _as_recorded(f"{scheme}{self.bucket}/{self.inside}" for scheme in _SCHEMES)


# The second one is in the records of messages that could not be read, alone.
_SCHEMES = ("s3://", "s3a://")


def parse_place(text: str) -> TargetPlace | SourcePlace:
    """What is meant; nothing is looked up.

    Raises:
        BadArgument: E_WHERE: it is no place.
    """
    if (source := _SOURCE.fullmatch(text)) is not None:
        if not source[1]:
            raise _refused(text, "names no bucket")
        _check_length(text, source[2] or "", KEY_MAX_BYTES)
        return SourcePlace(bucket=source[1], key=source[2] or "")
    target = _TARGET.fullmatch(text)
    if target is None:
        raise _no_place(text)
    _check_length(text, target[2], PATH_MAX_BYTES)
    filesystem, path = target[1] or "", _SLASHES.sub("/", target[2])
    if filesystem.startswith("file:"):
        filesystem = "file://"
    if {".", ".."} & set(path.split("/")):
        raise _refused(text, "has the name . or .., which no path of a target has")
    return TargetPlace(filesystem=filesystem, path=path.rstrip("/") or "/")


def _check_length(text: str, name: str, most: int) -> None:
    if len(name.encode("utf-8", "surrogateescape")) > most:
        raise _refused(text, f"has a name of more than {most:,} bytes, which nothing has")


def _no_place(text: str) -> BadArgument:
    shown = printable(redacted(text), 120)
    match kind_of_text(text):
        case SearchedFor.ID:
            return BadArgument(
                "E_WHERE",
                f"{shown} looks like the id of a transfer and is no place",
                hint=f"backhaul show {shown}",
            )
        case SearchedFor.MESSAGE | SearchedFor.DIGEST:
            return BadArgument(
                "E_WHERE",
                f"{shown} looks like the id of a message, or a digest, and is no place",
                hint="the search of `backhaul dashboard` finds those",
            )
        case _:
            return _refused(text, "is neither a path nor a URI that Backhaul knows")


def _refused(text: str, why: str) -> BadArgument:
    return BadArgument("E_WHERE", f"{printable(redacted(text), 120)!r} {why}", hint=_FORMS)


def _above(stem: str) -> Iterator[str]:
    """`/a/b` and `/a` of `/a/b/c`."""
    while "/" in stem:
        stem = stem.rpartition("/")[0]
        if stem:
            yield stem


def _as_recorded(texts: Iterator[str]) -> list[str]:
    """In the ledger, what may hold a secret is hidden in the text of a source."""
    return list(dict.fromkeys(one for text in texts for one in (text, redacted(text))))
