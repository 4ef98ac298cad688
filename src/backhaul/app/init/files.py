"""New files, all or none: what exists is never touched."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backhaul.core.errors import TargetExists
from backhaul.settings.load import SYSTEM_CONFIG, find_config
from backhaul.settings.model import in_home

_PUBLIC = 0o644  # as packaging/systemd/tmpfiles.d; it names the files of secrets, and holds none


@dataclass(frozen=True, kw_only=True)
class NewFile:
    """A file to be made.

    Attributes:
        directory_mode: Of its directory, which is made where it is missing; None: it is not made.
    """

    path: Path
    text: str
    mode: int = 0o600
    directory_mode: int | None = None


def default_config_path() -> Path:
    """Where every command looks: BACKHAUL_CONFIG; for root the system's file, else the user's.

    A file that commands find already is returned, too: a second one would never be read, so it is
    refused as any file that exists.

    Raises:
        ConfigurationError: E_CFG_HOME, E_CFG_FILE.
    """
    named = os.environ.get("BACKHAUL_CONFIG")
    if named:
        return Path(named)
    found = find_config(None)
    if found is not None:
        return found
    if os.geteuid() == 0:
        return SYSTEM_CONFIG
    home = in_home(Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config"))
    return home / "backhaul" / "backhaul.toml"


def config_file(path: Path, text: str, *, is_default: bool) -> NewFile:
    """Readable for everyone below /etc, so that anyone's `backhaul copy` may use it; else private.

    Args:
        is_default: The path was not typed: its directory is made, too.
    """
    if not path.is_relative_to(SYSTEM_CONFIG.parent):
        return NewFile(path=path, text=text, directory_mode=0o700 if is_default else None)
    directory = 0o755 if is_default else None
    return NewFile(path=path, text=text, mode=_PUBLIC, directory_mode=directory)


def exists(path: Path) -> TargetExists:
    """The refusal to replace a file."""
    return TargetExists(
        "E_INIT_EXISTS",
        f"{path} exists, and init replaces no file; nothing was written",
        hint=f"edit {path}, or write another file and compare: backhaul init NEW.toml;"
        " `backhaul init -` prints the configuration",
    )


def check_new(paths: Sequence[Path]) -> None:
    """Refuse paths that exist, dangling links too, before anything is asked or written.

    Raises:
        TargetExists: E_INIT_EXISTS.
    """
    for path in paths:
        if os.path.lexists(path):
            raise exists(path)


def write_all(files: Sequence[NewFile]) -> None:
    """Make every file; when one cannot be made, those before it are removed again.

    Raises:
        TargetExists: E_INIT_EXISTS.
        OSError: A directory does not exist, or may not be written.
    """
    made: list[Path] = []
    try:
        for one in files:
            _write(one, made)
    except BaseException:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        raise


def _write(one: NewFile, made: list[Path]) -> None:
    if one.directory_mode is not None:
        for above in reversed([one.path.parent, *one.path.parent.parents]):
            if not above.is_dir():
                above.mkdir(mode=one.directory_mode)
                made.append(above)
    try:
        handle = os.open(one.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, one.mode)
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise exists(one.path) from error
        raise
    made.append(one.path)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchmod(handle, one.mode)
        file.write(one.text)
        file.flush()
        os.fsync(handle)
