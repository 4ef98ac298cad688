"""Finding and reading the one configuration file; every mistake is named with its line."""

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

# Read by other parts of Backhaul, so no setting of the agent.
OTHER_ENV = {"BACKHAUL_CONFIG", "BACKHAUL_TESTBED_CACHE"}


def find_config(given: Path | None) -> Path | None:
    """`--config`, else BACKHAUL_CONFIG, else the system's file, else the user's; None if none.

    Raises:
        ConfigurationError: E_CFG_FILE: a file was named and is not there, or may not be looked for.
    """
    named = given or (Path(value) if (value := os.environ.get("BACKHAUL_CONFIG")) else None)
    if named is not None:
        if not _is_file(named):
            origin = "--config" if given else "BACKHAUL_CONFIG"
            raise ConfigurationError(
                "E_CFG_FILE", f"{origin} names {named}, which is no file", hint="check the path"
            )
        return named
    if _is_file(SYSTEM_CONFIG):
        return SYSTEM_CONFIG
    user = in_home(Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config"))
    path = user / "backhaul" / "backhaul.toml"
    return path if _is_file(path) else None


def _is_file(path: Path) -> bool:
    """A directory that may not be entered could hold the policy: never pass it over."""
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
    """Settings of which only those named are needed, and what is wrong with the rest.

    Where something is wrong, all that is not named has its default.

    Raises:
        ConfigurationError: As `load_settings`, about what is named. A file that cannot be read, or
            is not TOML, matters wherever anything is needed.
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
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(
            "E_CFG_TOML", f"{path}: {exc}", hint="the file is not valid TOML at that place"
        ) from exc
    except RecursionError as exc:
        raise ConfigurationError(
            "E_CFG_TOML",
            f"{path}: tables or lists are nested too deeply",
            hint="no setting is nested more than a few levels",
        ) from exc
    except PermissionError as exc:
        raise _unreadable(path or SYSTEM_CONFIG) from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(
            "E_CFG_FILE", f"{path}: {exc}", hint="make it a readable UTF-8 file"
        ) from exc
    except ValueError as exc:  # of int(), for which a number has too many digits
        raise ConfigurationError(
            "E_CFG_TOML", f"{path}: {exc}", hint="the file has a number that is too long"
        ) from exc


def _refuse_unknown_environment() -> None:
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields}
    for name in os.environ:
        if not name.startswith(ENV_PREFIX) or name in OTHER_ENV:
            continue
        head = name.split("__", 1)[0]
        if head not in known:
            raise ConfigurationError(
                "E_CFG_ENV",
                f"environment variable {name} is no setting of Backhaul",
                hint="unset it, or see the settings reference for the right name",
            )


def _no_value(error: SettingsError) -> ConfigurationError:
    """A variable whose value had to be JSON, such as a section or a list, and is not."""
    field = re.search(r'field "([a-z_]+)"', str(error))
    name = f"{ENV_PREFIX}{field[1]}".upper() if field else f"{ENV_PREFIX}…"
    set_ones = sorted(one for one in os.environ if one.split("__", 1)[0] == name) or [name]
    return ConfigurationError(
        "E_CFG_ENV",
        f"environment variable {printable(', '.join(set_ones), 120)} has a value that is no JSON"
        " (not shown); a section or a list cannot be set by plain text",
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
    found: str | None = _quoted(first["input"])
    if variable is not None:  # a value in a wrong variable may be a secret
        where, found = f"environment variable {printable(variable)}", None
    return ConfigurationError(
        "E_CFG_VALUE",
        f"{where}: {printable(name)} {_wanted(first, found)}",
        hint="see the settings reference for what it takes",
    )


def _quoted(value: object) -> str:
    try:
        return shown(repr(value), 60)
    except (ValueError, RecursionError):
        return "a value that is too long to be shown"


def _variable_of(location: tuple[int | str, ...]) -> str | None:
    """The variable that sets this setting or something around or below it; None: none does."""
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


def _wanted(error: ErrorDetails, found: str | None) -> str:
    """What pydantic wants, in a sentence: `must be a whole number from 1 to 64, not 'four'`.

    Args:
        found: What was found instead; None: it is not to be shown.
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
    """The line of a setting: tomllib keeps none, so the tables are walked again by eye."""
    in_table = len([part for part in location if isinstance(part, str)]) > 1
    table = location[0] if in_table else None
    turn = location[1] if in_table and isinstance(location[1], int) else 0
    key = next((part for part in location[in_table:] if isinstance(part, str)), None)
    current: str | None = None
    turns = -1
    header_line = None
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[?\s*([\w-]+)", line):
            current = header[1]
            turns += current == table
            if current == (table or key):
                header_line = number if turns in {turn, -1} else header_line
        elif current == table and (table is None or turns == turn):
            found = re.match(r"\s*[\"']?([\w-]+)", line)
            if found and found[1] == key:
                return number
    return header_line
