"""Finds and reads the one configuration file; names each mistake with its line."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError

from backhaul.access import refusal
from backhaul.core.errors import ConfigurationError
from backhaul.core.text import printable, shown
from backhaul.settings.model import ENV_PREFIX, Settings, bounds_of, in_home, part_of_settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SYSTEM_CONFIG = Path("/etc/backhaul/backhaul.toml")

_Model = TypeVar("_Model", bound=BaseSettings)

# Variables of Backhaul that are not settings.
OTHER_ENV = {
    *("BACKHAUL_CONFIG", "BACKHAUL_TESTBED_CACHE"),
    # The commands of notifications and replies have these, and may run `backhaul show`.
    *("BACKHAUL_NOTIFY_NAME", "BACKHAUL_NOTIFY_ABOUT"),
    *("BACKHAUL_NOTIFY_SUBJECT", "BACKHAUL_NOTIFY_DEAD"),
    *("BACKHAUL_REPLY_KEY", "BACKHAUL_REPLY_EVENT", "BACKHAUL_REPLY_NAME"),
}


def find_config(given: Path | None) -> Path | None:
    """`--config`, else BACKHAUL_CONFIG, else the system's file, else the user's; None if none.

    Raises:
        ConfigurationError: E_CFG_FILE: the named file does not exist, or a directory on the way to
            a file is not accessible.
    """
    named = given or (Path(value) if (value := os.environ.get("BACKHAUL_CONFIG")) else None)
    if named is None:
        if _is_file(SYSTEM_CONFIG):
            return SYSTEM_CONFIG
        # Only now: a service may have no home directory.
        home = in_home(Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config"))
        users = home / "backhaul" / "backhaul.toml"
        return users if _is_file(users) else None
    if not _is_file(named):
        origin = "--config" if given else "BACKHAUL_CONFIG"
        raise ConfigurationError(
            "E_CFG_FILE", f"{origin} names {named}, which is not a file", hint="check the path"
        )
    return named


def _is_file(path: Path) -> bool:
    """A directory without access could hold the policy, so it is an error, not an absence."""
    try:
        return path.is_file()
    except PermissionError as exc:
        raise _unreadable(path) from exc
    except OSError as exc:
        raise ConfigurationError(
            "E_CFG_FILE", f"{path}: {exc.strerror}", hint="check the path"
        ) from exc


def _unreadable(path: Path) -> ConfigurationError:
    message, hint = refusal(path)
    return ConfigurationError(
        "E_CFG_FILE", message, hint=f"{hint}; or name another file with --config"
    )


def load_settings(path: Path | None) -> Settings:
    """Read and check one file; defaults where there is none.

    Raises:
        ConfigurationError: E_CFG_FILE, E_CFG_TOML, E_CFG_UNKNOWN, E_CFG_VALUE, E_CFG_ENV.
    """
    _refuse_unknown_environment()
    return _checked(Settings, path)


def load_part(
    path: Path | None, names: Sequence[str]
) -> tuple[Settings, ConfigurationError | None]:
    """The named settings, and the fault in the others; with a fault, the others have defaults.

    Raises:
        ConfigurationError: As `load_settings`, for the named settings. A file that is unreadable
            or is not TOML is such a fault, if any setting is named.
    """
    try:
        return load_settings(path), None
    except ConfigurationError as fault:
        if not names:
            return Settings.model_construct(), fault
        part = _checked(part_of_settings(names), path)
        chosen = {name: getattr(part, name) for name in names}
        return Settings.model_construct(**chosen), fault


def _checked(model: type[_Model], path: Path | None) -> _Model:
    text, values = _read(path)
    try:
        return model(**values)
    except ValidationError as exc:
        raise _explain(exc, path, text) from exc
    except SettingsError as exc:
        raise _no_value(exc) from None  # its cause quotes the value


def _read(path: Path | None) -> tuple[str, dict[str, Any]]:
    """The text of the file, and its tables."""
    text = ""
    try:
        if path is not None:
            text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except PermissionError as exc:
        raise _unreadable(path or SYSTEM_CONFIG) from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(
            "E_CFG_FILE", f"{path}: {exc}", hint="make it a readable UTF-8 file"
        ) from exc
    except RecursionError as exc:
        message = "tables or lists are nested too deeply"
        raise _not_toml(path, message, "no setting is nested more than a few levels") from exc
    except tomllib.TOMLDecodeError as exc:
        raise _not_toml(path, exc, "the file is not valid TOML at that place") from exc
    except ValueError as exc:  # int() limits the digits of a number
        raise _not_toml(path, exc, "the file has a number that is too long") from exc


def _not_toml(path: Path | None, reason: object, hint: str) -> ConfigurationError:
    return ConfigurationError("E_CFG_TOML", f"{path}: {reason}", hint=hint)


def _refuse_unknown_environment() -> None:
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields}
    for name in os.environ:
        if not name.startswith(ENV_PREFIX) or name in OTHER_ENV:
            continue
        head = name.split("__", 1)[0]
        if head not in known:
            raise ConfigurationError(
                "E_CFG_ENV",
                f"environment variable {name} is not a setting of Backhaul",
                hint="unset it, or see the settings reference for the right name",
            )


def _no_value(error: SettingsError) -> ConfigurationError:
    """A variable whose value had to be JSON, such as a section or a list, and is not."""
    field = re.search(r'field "([a-z_]+)"', str(error))
    name = f"{ENV_PREFIX}{field[1]}".upper() if field else f"{ENV_PREFIX}…"
    set_ones = sorted(one for one in os.environ if one.split("__", 1)[0] == name) or [name]
    return ConfigurationError(
        "E_CFG_ENV",
        f"environment variable {printable(', '.join(set_ones), 120)} has a value that is not JSON"
        " (not shown); plain text cannot set a section or a list",
        hint="set single values, such as BACKHAUL_AGENT__SLOTS=8, and write routes and lists into"
        " the configuration file",
    )


def _explain(error: ValidationError, path: Path | None, text: str) -> ConfigurationError:
    """The first mistake, with its line."""
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"] if part != "function-before[parse_size(), int]"]
    line = _line_of(first["loc"], text)
    where = f"{path or 'environment'}{f', line {line}' if line else ''}"
    name = ".".join(location)
    if first["type"] == "extra_forbidden":
        return ConfigurationError(
            "E_CFG_UNKNOWN",
            f"{where}: unknown setting {printable(name)}",
            hint="remove it or correct its spelling; the settings reference lists all",
        )
    variable = _variable_of(first["loc"])
    found = None if _may_be_secret(location, first["input"]) else _quoted(first["input"])
    if variable is not None:  # a value in a wrong variable may be a secret
        where, found = f"environment variable {printable(variable)}", None
    return ConfigurationError(
        "E_CFG_VALUE",
        f"{where}: {printable(name)} {_wanted(first, found)}",
        hint="see the settings reference for what it takes",
    )


def _may_be_secret(location: Sequence[str], value: object) -> bool:
    """Whether it is, or holds, a URL or a command line: path, query, arguments often let one in."""
    if not _OFTEN_SECRET.isdisjoint(location):
        return True
    return isinstance(value, list | dict) and not _WITH_SECRETS.isdisjoint(location[:1])


def _quoted(value: object) -> str:
    try:
        return shown(repr(value), 60)
    except (ValueError, RecursionError):
        return "a value that is too long to be shown"


def _variable_of(location: tuple[int | str, ...]) -> str | None:
    """The variable that sets this setting, or a part or the whole of its table; None: none."""
    names = [str(part).upper() for part in location if isinstance(part, str)]
    for name in sorted(os.environ):
        if name.upper().startswith(ENV_PREFIX):
            parts = name.upper().removeprefix(ENV_PREFIX).split("__")
            if parts[: len(names)] == names[: len(parts)]:
                return name
    return None


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text in quotes",
    "list": 'a list such as ["..."]',
    "model": "a table",
    "dict": "a table",
    "path": "a path in quotes",
}
_OFTEN_SECRET = frozenset({"webhook", "url", "command"})
_WITH_SECRETS = frozenset({"reply", "notify", "hive", "lineage"})  # tables that have such settings


def _wanted(error: ErrorDetails, found: str | None) -> str:
    """Pydantic's error as a sentence: `must be a whole number from 1 to 64, not 'four'`.

    Args:
        found: The wrong value; None: a secret.
    """
    kind, _, rest = error["type"].partition("_")
    message = shown(error["msg"], 300)
    instead = "; its value is not shown" if found is None else f", not {found}"
    given = "is wrong (its value is not shown)" if found is None else f"is {found}"
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "value_error":
        return f"{given}: {message.removeprefix('Value error, ')}"
    bounds = bounds_of(error["loc"])
    is_number = kind in {"greater", "less"} or (kind in {"int", "float"} and rest)
    if is_number and bounds is not None:
        return f"must be {bounds}{instead}"
    if kind in _KINDS and rest in {"type", "parsing", "attributes_type"}:
        return f"must be {_KINDS[kind]}{instead}"
    expected = message.removeprefix("Input should be ")
    if expected != message:
        return f"must be {expected}{instead}"
    return f"{given}: {message.replace('should', 'must')}"


def _line_of(location: tuple[int | str, ...], text: str) -> int | None:
    """The line of a setting: tomllib keeps none, so the text is scanned for tables and keys."""
    in_table = len([part for part in location if isinstance(part, str)]) > 1
    table = location[0] if in_table else None
    index = location[1] if in_table and isinstance(location[1], int) else 0
    key = next((part for part in location[in_table:] if isinstance(part, str)), None)
    current: str | None = None
    seen = -1
    header_line = None
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[?\s*([\w.-]+)", line):
            current = header[1]
            seen += current == table
            if current == (table or key):
                header_line = number if seen in {index, -1} else header_line
        elif current == table and (table is None or seen == index):
            found = re.match(r"\s*[\"']?([\w-]+)", line)
            if found and found[1] == key:
                return number
    return header_line
