"""Finding and reading the one configuration file; every mistake is named with its line."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from pydantic import ValidationError

from backhaul.core.errors import ConfigurationError
from backhaul.core.text import printable
from backhaul.settings.model import ENV_PREFIX, Settings

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
    user = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    candidates = (Path("/etc/backhaul/backhaul.toml"), user / "backhaul" / "backhaul.toml")
    return next((path for path in candidates if _is_file(path)), None)


def _is_file(path: Path) -> bool:
    """A directory that may not be entered could hold the policy: never pass it over."""
    try:
        return path.is_file()
    except PermissionError as exc:
        raise ConfigurationError(
            "E_CFG_FILE",
            f"{path}: may not be looked for: {exc.strerror}",
            hint="let this user enter the directory, or name another file with --config",
        ) from exc


def load_settings(path: Path | None) -> Settings:
    """Read and check one file; defaults where there is none.

    Raises:
        ConfigurationError: E_CFG_FILE, E_CFG_TOML, E_CFG_UNKNOWN, E_CFG_VALUE, E_CFG_ENV.
    """
    _refuse_unknown_environment()
    text = ""
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigurationError(
                "E_CFG_FILE", f"{path}: {exc}", hint="make it a readable UTF-8 file"
            ) from exc
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(
            "E_CFG_TOML", f"{path}: {exc}", hint="the file is not valid TOML at that place"
        ) from exc
    try:
        return Settings(**values)
    except ValidationError as exc:
        raise _explain(exc, path, text) from exc


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
    return ConfigurationError(
        "E_CFG_VALUE",
        f"{where}: {printable(name)}: {first['msg']} (found {printable(repr(first['input']), 60)})",
        hint="see the settings reference for what it takes",
    )


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
