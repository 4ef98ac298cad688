"""One `*-site.xml` and the files it includes, as a list of properties, read as Hadoop reads it.

As in Hadoop's own streaming parser, elements count by their local name wherever they are,
attributes of `<property>` come before its children, the last `<value>` counts, and an empty
`<value>` is none. Stricter than Hadoop: a DOCTYPE is refused (never needed, and the way in for
entity expansion), and so is an include from another machine. `properties` makes values of them.

expat is used without ElementTree, which gives no line numbers.

Source: Apache Hadoop 3.4, `org.apache.hadoop.conf.Configuration.Parser`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit
from xml.parsers import expat

from backhaul.access import refusal
from backhaul.core.errors import ConfigurationError

_MAX_BYTES = 4 * 1024**2  # of one file
_MAX_FILES = 100  # of one `SiteReader`, included ones too
_MAX_DEPTH = 20  # of nested includes
BLANKS = "".join(map(chr, range(0x21)))  # what Java's `String.trim` removes
_TEXTS = frozenset({"name", "value", "final"})


@dataclass(frozen=True, kw_only=True)
class Property:
    """One `<property>`, in the order of the files.

    Attributes:
        value: As written, neither trimmed nor expanded; None: missing, or an empty element.
        origin: File and line, such as `/etc/hadoop/conf/core-site.xml, line 12`.
    """

    name: str
    value: str | None
    is_final: bool
    origin: str


@dataclass
class SiteReader:
    """Reads site files of one configuration directory.

    Args:
        directory: Included files are searched here first, as on Hadoop's class path.
    """

    directory: Path
    _files: int = field(default=0, init=False)

    def read(self, path: Path) -> list[Property]:
        """The properties of this file; empty where there is no such file.

        Raises:
            ConfigurationError: E_CFG_CORE_SITE: a file is unreadable, too large, not XML, has a
                DOCTYPE, or includes a missing file. The message has file and line, and nothing of
                the content.
        """
        return self._read(path, ()) if _is_file(path) else []

    def _read(self, path: Path, above: tuple[Path, ...]) -> list[Property]:
        self._files += 1
        if self._files > _MAX_FILES:
            raise _refused(path, 0, f"more than {_MAX_FILES} files are included")
        parser = _Parser(self, path, (*above, path.resolve()))
        return parser.parse(_content(path))

    def include(self, href: str, path: Path, above: tuple[Path, ...]) -> list[Property] | None:
        """The properties of an included file; None where it is missing.

        Raises:
            ConfigurationError: E_CFG_CORE_SITE.
            ValueError: Why the include is refused.
        """
        found = self._find(href, path)
        if found is None:
            return None
        if found.resolve() in above:
            raise ValueError(f"includes {found.name}, which is being read already")
        if len(above) >= _MAX_DEPTH:
            raise ValueError(f"includes are nested more than {_MAX_DEPTH} deep")
        return self._read(found, above)

    def _find(self, href: str, path: Path) -> Path | None:
        parts = urlsplit(href)
        if parts.scheme not in {"", "file"} or parts.netloc not in {"", "localhost"}:
            raise ValueError("includes a file of another machine, which is not read")
        name = unquote(parts.path) if parts.scheme else href
        candidates = (self.directory / name, path.parent / name)
        return next((one for one in candidates if _is_file(one)), None)


class _Parser:
    """The state while one file is parsed."""

    def __init__(self, reader: SiteReader, path: Path, above: tuple[Path, ...]) -> None:
        self._reader = reader
        self._path = path
        self._above = above
        self._found: list[Property] = []
        self._text: list[str] | None = None
        self._name: str | None = None
        self._value: str | None = None
        self._is_final = False
        self._line = 0
        # Of the open `<include>`: whether its file is missing, and whether it has a fallback.
        self._is_missing = self._has_fallback = False
        self._expat = expat.ParserCreate()
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._characters
        self._expat.StartDoctypeDeclHandler = self._doctype

    def parse(self, data: bytes) -> list[Property]:
        try:
            self._expat.Parse(data, True)  # noqa: FBT003 - expat takes "is final" by position only
        except expat.ExpatError as error:
            # The parser's own text for the kind of fault, which quotes nothing.
            raise _refused(
                self._path, error.lineno, f"not XML: {expat.ErrorString(error.code)}"
            ) from None
        except (ValueError, LookupError) as error:
            is_ours = type(error) is ValueError
            reason = str(error) if is_ours else f"not XML ({type(error).__name__})"
            raise _refused(self._path, self._expat.CurrentLineNumber, reason) from None
        return self._found

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        local = _local(tag)
        if local == "property":
            given = {_local(name): value for name, value in attributes.items()}
            self._name, self._value = given.get("name"), given.get("value")
            self._is_final = given.get("final") == "true"
            self._line = self._expat.CurrentLineNumber
        elif local in _TEXTS:
            self._text = []
        elif local == "include":
            self._include(attributes)
        elif local == "fallback":
            self._has_fallback = True

    def _include(self, attributes: dict[str, str]) -> None:
        href = next((v for name, v in attributes.items() if _local(name) == "href"), None)
        if href is None:
            return
        items = self._reader.include(href, self._path, self._above)
        if items is None:
            self._is_missing = True
        else:
            self._found += items

    def _end(self, tag: str) -> None:
        local = _local(tag)
        if local in _TEXTS and self._text is not None:
            self._take(local, "".join(self._text))
        elif local == "property":
            # Properties of a fallback count only where the included file is missing.
            if self._name is not None and (self._is_missing or not self._has_fallback):
                self._found.append(
                    Property(
                        name=self._name,
                        value=self._value,
                        is_final=self._is_final,
                        origin=f"{self._path}, line {self._line}",
                    )
                )
        elif local == "include":
            if self._is_missing and not self._has_fallback:
                raise ValueError("includes a file that is not there, and has no fallback")
            self._is_missing = self._has_fallback = False

    def _take(self, local: str, text: str) -> None:
        if local == "name":
            self._name = text.strip(BLANKS) if text else self._name
        elif local == "value":
            self._value = text or self._value
        else:
            self._is_final = text == "true"

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def _doctype(self, *_: object) -> NoReturn:
        raise ValueError("has a DOCTYPE")


def _is_file(path: Path) -> bool:
    """False where nothing is there. No access is an error, so that no file is silently skipped."""
    try:
        return path.is_file()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    message, hint = unreadable(path, error)
    return ConfigurationError("E_CFG_CORE_SITE", f"Hadoop's configuration: {message}", hint=hint)


def unreadable(path: Path, error: OSError) -> tuple[str, str]:
    """Message and hint for a path that cannot be accessed; names the directory that denies it."""
    if isinstance(error, PermissionError):
        with suppress(OSError):
            return refusal(path)
    reason = error.strerror or type(error).__name__
    return f"{path} cannot be read: {reason}", "check that path, its disk and its permissions"


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) > _MAX_BYTES:
        raise _refused(path, 0, f"larger than {_MAX_BYTES} B")
    return data


def _local(tag: str) -> str:
    return tag.rpartition(":")[2]


def _refused(path: Path, line: int, reason: str) -> ConfigurationError:
    where = f"{path}, line {line}" if line else f"{path}"
    return ConfigurationError(
        "E_CFG_CORE_SITE",
        f"{where}: cannot be read as Hadoop configuration: {reason}",
        hint="check its permissions, that it is XML without a DOCTYPE, and the files it includes",
    )
