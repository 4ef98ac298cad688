"""The node's Hadoop configuration: its values, resolved by Hadoop's rules.

`HadoopConfiguration.load` applies all that Hadoop does to the site files: order of the files,
includes, `final`, old names of properties, variables. The result is plain text that can be pickled
and given to any client or process: nothing else reads these files.

Source: Apache Hadoop 3.4, `org.apache.hadoop.conf.Configuration`, `HdfsConfiguration`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from backhaul.adapters.hadoop.configuration.property_names import (
    DEPRECATED,
    HDFS_DEFAULTS,
    OTHER_DEFAULTS,
    VARIABLE_DEFAULTS,
    is_secret,
)
from backhaul.adapters.hadoop.configuration.site_files import (
    BLANKS,
    Property,
    SiteReader,
)
from backhaul.core.errors import ConfigurationError

_MAX_SUBSTITUTIONS = 20
_MAX_TEXT = 1 << 20  # characters of one value; Hadoop has no limit
_VARIABLE = re.compile(r"\$\{([^} $]+)\}")
_WITH_DEFAULT = re.compile(r"(?P<name>.*?)(?P<kind>:-|-)(?P<value>.*)", re.DOTALL)
_MAX_INTEGER, _MAX_LONG = 2**31 - 1, 2**63 - 1  # of Java
# No more digits than the largest number has: Python refuses numbers of some thousand digits.
_INTEGER = re.compile(
    r"(?P<sign>[+-]?)(?:0[xX]0*(?P<hexadecimal>[0-9a-fA-F]{1,16})|0*(?P<decimal>[0-9]{1,19}))"
)
_SIZE = re.compile(r"([+-]?)0*([0-9]{1,19})([kmgtpe]?)", re.IGNORECASE | re.ASCII)
_SIZE_UNITS = "kmgtpe"
_OCTAL = re.compile(r"0*([0-7]{3})", re.ASCII)
_SYMBOLIC = re.compile(r"\s*([ugoa]*)([+=-]+)([rwx]*)([,\s]*)\s*", re.ASCII)
_BITS = {"r": 4, "w": 2, "x": 1}


@dataclass(frozen=True, kw_only=True)
class HadoopConfiguration:
    """Resolved properties of one configuration directory; may be pickled.

    Attributes:
        directory: Where they were read; None where the node has no such directory.
        values: Of the properties that the site files set, trimmed and expanded, without those in
            `unresolved`. A value of blanks alone is an empty text.
        unresolved: Properties whose variables could not be resolved, with the reason.
        origins: File and line of each property, for messages.
        environment_names: Variables of the environment that the files use.
    """

    directory: Path | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    unresolved: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    environment_names: frozenset[str] = frozenset()

    @classmethod
    def load(
        cls, directory: Path | None, *, environment: Mapping[str, str] | None = None
    ) -> HadoopConfiguration:
        """What an HDFS client reads: core-site.xml, then hdfs-site.xml.

        Args:
            directory: From `hadoop_conf_dir`; None: an empty configuration.
            environment: For `${env.NAME}`; default: this process's own.

        Raises:
            ConfigurationError: E_CFG_CORE_SITE: a file cannot be read.
        """
        return _load(directory, ("core", "hdfs"), environment)

    @classmethod
    def load_for_jobs(
        cls, directory: Path | None, *, environment: Mapping[str, str] | None = None
    ) -> HadoopConfiguration:
        """What a client of YARN reads: also mapred-site.xml and yarn-site.xml. Like `load`."""
        return _load(directory, ("core", "hdfs", "mapred", "yarn"), environment)

    @classmethod
    def of(cls, given: HadoopConfiguration | str | Path | None) -> HadoopConfiguration:
        """The configuration itself, or `load` of a directory."""
        if isinstance(given, HadoopConfiguration):
            return given
        return cls.load(None if given is None else Path(given))

    def without_secrets(self, *, keep_names: bool = False) -> HadoopConfiguration:
        """Without keys, tokens and passwords, for a process that needs none of them.

        Args:
            keep_names: Secrets become empty texts instead, so that `is_set` still finds them.
        """
        kept = {name: "" if is_secret(name) else text for name, text in self.values.items()}
        if not keep_names:
            kept = {name: text for name, text in kept.items() if not is_secret(name)}
        return replace(self, values=kept)

    def secret_names(self) -> tuple[str, ...]:
        """The properties whose values must not be shown."""
        return tuple(sorted(name for name in self.values if is_secret(name)))

    # ------------------------------------------------------------ one property

    def is_set(self, name: str) -> bool:
        """Whether a site file sets it, under its current name."""
        return name in self.values or name in self.unresolved

    def located(self, name: str) -> str:
        """The property's name after its file and line, for messages."""
        origin = self.origins.get(name)
        return f"{origin}: {name}" if origin else name

    def get(self, name: str) -> str | None:
        """The value, else Hadoop's own default, else None. An old name reads the new one.

        Raises:
            ConfigurationError: E_CFG_HADOOP_VARIABLE: it holds a variable that is not set.
        """
        (name,) = DEPRECATED.get(name, (name,))
        if name in self.unresolved:
            raise ConfigurationError(
                "E_CFG_HADOOP_VARIABLE",
                f"{self.located(name)} {self.unresolved[name]}",
                hint="set the variable in the agent's environment or as a property, or write the "
                "value in full",
            )
        value = self.values.get(name)
        return value if value is not None else _default(name)

    def get_list(self, name: str) -> list[str]:
        """A comma-separated list, each part trimmed, empty ones left out."""
        parts = (part.strip(BLANKS) for part in (self.get(name) or "").split(","))
        return [part for part in parts if part]

    def get_boolean(self, name: str, *, default: bool = False) -> bool:
        """`true` or `false` in any case; else the default, as in Hadoop."""
        text = (self.get(name) or "").lower()
        return text == "true" if text in {"true", "false"} else default

    def get_integer(self, name: str) -> int | None:
        """A whole number, decimal or `0x` hexadecimal.

        Raises:
            ConfigurationError: E_CFG_HADOOP_VALUE.
        """
        text = self.get(name)
        if text is None:
            return None
        match = _INTEGER.fullmatch(text)
        if match is None:
            self._refuse(name, "a whole number")
        size = int(match["decimal"] or match["hexadecimal"], 10 if match["decimal"] else 16)
        if size > _MAX_INTEGER:
            self._refuse(name, f"a whole number up to {_MAX_INTEGER}")
        return -size if match["sign"] == "-" else size

    def get_size(self, name: str) -> int | None:
        """Bytes; suffixes k, m, g, t, p, e are powers of 1024. Raises as `get_integer`."""
        text = self.get(name)
        if text is None:
            return None
        match = _SIZE.fullmatch(text)
        if match is None:
            self._refuse(name, f"a number of bytes such as 134217728 or 128m, up to {_MAX_LONG}")
        power = _SIZE_UNITS.index(match[3].lower()) + 1 if match[3] else 0
        size_bytes = int(match[2]) * int(1024**power)
        if size_bytes > _MAX_LONG:
            self._refuse(name, f"a number of bytes up to {_MAX_LONG}")
        return -size_bytes if match[1] == "-" else size_bytes

    def get_umask(self, name: str = "fs.permissions.umask-mode") -> int:
        """Permission bits that new files lack: octal, or symbolic such as `u=rwx,g=rx,o=`.

        Raises:
            ConfigurationError: E_CFG_HADOOP_VALUE.
        """
        text = self.get(name) or "022"
        if match := _OCTAL.fullmatch(text):
            return int(match[1], 8)
        allowed = _allowed(text)
        if allowed is None:
            self._refuse(name, "an umask such as 027 or u=rwx,g=rx,o=")
        return ~allowed & 0o777

    def _refuse(self, name: str, wanted: str) -> NoReturn:
        raise ConfigurationError(
            "E_CFG_HADOOP_VALUE",
            f"{self.origins.get(name, 'the Hadoop configuration')}: {name} is not {wanted}",
            hint="correct it there; `hdfs getconf -confKey` shows the value that Hadoop uses",
        )


# ---------------------------------------------------------------- from the files


def _load(
    directory: Path | None, sites: tuple[str, ...], environment: Mapping[str, str] | None
) -> HadoopConfiguration:
    if directory is None:
        return HadoopConfiguration()
    reader = SiteReader(directory)
    raw: dict[str, str] = {}
    origins: dict[str, str] = {}
    finals: set[str] = set()
    for site in sites:
        if site == "hdfs":
            # Hadoop's own hdfs-default.xml comes after core-site.xml and wins over it.
            for name in HDFS_DEFAULTS.keys() - finals:
                raw.pop(name, None)
        for one in reader.read(directory / f"{site}-site.xml"):
            _set(one, raw, origins, finals)
    expand = _Expansion(raw, os.environ if environment is None else environment)
    values, unresolved = {}, {}
    for name, written in raw.items():
        text, fault = expand(written)
        if fault:
            unresolved[name] = fault
        else:
            values[name] = text.strip(BLANKS)
    return HadoopConfiguration(
        directory=directory,
        values=values,
        unresolved=unresolved,
        origins=origins,
        environment_names=frozenset(expand.names),
    )


def _set(one: Property, raw: dict[str, str], origins: dict[str, str], finals: set[str]) -> None:
    """The first final value wins, else the last; a property without a value changes nothing."""
    for name in DEPRECATED.get(one.name, (one.name,)):
        if one.value is not None and name not in finals:
            raw[name] = one.value
            origins[name] = one.origin
        if one.is_final:
            finals.add(name)


class _Expansion:
    """Replaces `${variables}`: environment, Java's system properties, other properties."""

    def __init__(self, raw: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self._raw = raw
        self._environment = environment
        self._system = dict(_system_properties(environment))
        self.names: set[str] = set()

    def __call__(self, text: str) -> tuple[str, str]:
        """The expanded text, and its fault: empty, or words that follow the property's name."""
        expanded = text
        for _ in range(_MAX_SUBSTITUTIONS):
            match = _VARIABLE.search(expanded)
            if match is None:
                return expanded, ""
            value = self._value(match[1])
            if value is None:
                return text, f"holds a variable that is not set: {match[0]}"
            if match[0] in value:
                return text, f"holds a variable that refers to itself: {match[0]}"
            expanded = expanded[: match.start()] + value + expanded[match.end() :]
            if len(expanded) > _MAX_TEXT:
                return text, f"is longer than {_MAX_TEXT} characters with its variables"
        if _VARIABLE.search(expanded) is None:
            return expanded, ""
        return text, f"needs more than {_MAX_SUBSTITUTIONS} substitutions of variables"

    def _value(self, variable: str) -> str | None:
        if variable.startswith("env.") and len(variable) > len("env."):
            found = self._environment_value(variable.removeprefix("env."))
        else:
            found = self._system.get(variable)
        if found is None:
            (name,) = DEPRECATED.get(variable, (variable,))
            found = self._raw.get(name)
            if found is None:
                found = VARIABLE_DEFAULTS.get(name) or _default(name)
        return found

    def _environment_value(self, text: str) -> str | None:
        match = _WITH_DEFAULT.fullmatch(text)
        self.names.add(text if match is None else match["name"])
        if match is None:
            return self._environment.get(text)
        found = self._environment.get(match["name"])
        is_missing = found is None or (match["kind"] == ":-" and not found)
        return match["value"] if is_missing else found


def _default(name: str) -> str | None:
    return HDFS_DEFAULTS.get(name) or OTHER_DEFAULTS.get(name)


def _system_properties(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Java's system properties, as far as configurations use them."""
    try:
        user = pwd.getpwuid(os.geteuid())
    except KeyError:  # a user without a name, as in a container
        yield "user.name", str(os.geteuid())
    else:
        yield "user.name", user.pw_name
        yield "user.home", user.pw_dir
    with contextlib.suppress(OSError):  # the directory may have been removed
        yield "user.dir", os.getcwd()  # noqa: PTH109
    yield "java.io.tmpdir", "/tmp"  # noqa: S108 - Java's value on Linux
    yield "os.name", "Linux"
    yield "file.separator", "/"
    yield "path.separator", ":"
    yield "line.separator", "\n"
    if home := environment.get("HADOOP_HOME"):
        yield "hadoop.home.dir", home


def _allowed(text: str) -> int | None:
    """The permission bits that a symbolic umask allows; None: it is malformed.

    The last clause for each of user, group and others counts; without a clause nothing is allowed.
    Source: Hadoop's `UmaskParser`, whose results are the rows of the unit test.
    """
    modes = dict.fromkeys("ugo", 0)
    position = 0
    is_separated = True
    while position < len(text):
        match = _SYMBOLIC.match(text, position)
        if match is None or not is_separated:
            return None
        who, operators, letters, after = match.groups()
        bits = sum(_BITS[letter] for letter in set(letters))
        chosen = "ugo" if not who or set(who) == {"a"} else who.replace("a", "")
        modes |= dict.fromkeys(chosen, 0 if operators[-1] == "-" else bits)
        is_separated = "," in after
        position = match.end()
    return modes["u"] << 6 | modes["g"] << 3 | modes["o"]
