"""Who may see a page: the token in the link, the cookie made of it, and the token of each form.

The token is drawn once and kept in a file that only its user can read, so a restart keeps the
link and the cookies of all browsers; a new token ends them.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from backhaul.access import distrust_of, may_write
from backhaul.core.errors import ConfigurationError
from backhaul.settings.model import in_home

TOKEN_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_ADDRESS = re.compile(r"https?://[A-Za-z0-9._:\[\]%-]+/")
_READ_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class LinkToken:
    """All that follows from one token."""

    token: str

    @property
    def cookie_name(self) -> str:
        """Of this token alone: cookies know no port, and one host may have several dashboards."""
        return f"backhaul_{self._derived('name')[:8]}"

    @property
    def cookie(self) -> str:
        """What the browser keeps instead of the token."""
        return self._derived("cookie")

    @property
    def form_token(self) -> str:
        """What each form sends along: another site can make a browser send a form, not read it."""
        return self._derived("form")

    def has_token(self, given: str) -> bool:
        """Compared in constant time, as the others."""
        return _same(given, self.token)

    def has_cookie(self, given: str) -> bool:
        return _same(given, self.cookie)

    def has_form_token(self, given: str) -> bool:
        return _same(given, self.form_token)

    def _derived(self, purpose: str) -> str:
        return hmac.new(self.token.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())


def token_file(ledger: Path) -> Path:
    """`LEDGER.dashboard`, or a file of this user where the ledger's directory is not theirs.

    Raises:
        ConfigurationError: E_CFG_HOME.
    """
    real = Path(os.path.realpath(ledger))
    beside = real.with_name(f"{real.name}.dashboard")
    if may_write(real.parent) and (not beside.exists() or beside.stat().st_uid == os.geteuid()):
        return beside
    state = in_home(Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state"))
    digest = hashlib.sha256(os.fsencode(real)).hexdigest()[:16]
    return state / "backhaul" / f"dashboard-{digest}.token"


def load_login(path: Path, *, is_new: bool = False) -> LinkToken:
    """From the token in this file, which is made where there is none.

    Args:
        is_new: Draw a new token: links and cookies of the old one end.

    Raises:
        ConfigurationError: E_DASHBOARD_TOKEN: the file cannot be read or written, or is none.
            E_CFG_PERMISSIONS: another user can read it or could have written it.
    """
    try:
        if is_new or not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, f"{secrets.token_urlsafe(TOKEN_BYTES)}\n", is_new=is_new)
        return LinkToken(_read(path))
    except OSError as error:
        raise ConfigurationError(
            "E_DASHBOARD_TOKEN",
            f"the dashboard's token in {path}: {error.strerror}",
            hint="run it as a user who may write there, such as the agent's",
        ) from error


def note_address(token: Path, address: str) -> None:
    """Leave beside the token where the dashboard answers, for `--link`; the last one counts."""
    with contextlib.suppress(OSError):  # then --link has to be given the address
        _write(_address_file(token), f"{address}\n", is_new=True)


def forget_address(token: Path, address: str) -> None:
    """At the end, unless another dashboard has left its own since."""
    with contextlib.suppress(OSError):
        if noted_address(token) == address:
            _address_file(token).unlink()


def noted_address(token: Path) -> str | None:
    """Where the dashboard that began last answers; None where none has left it.

    Raises:
        ConfigurationError: E_CFG_PERMISSIONS: another user could have written it.
    """
    try:
        text = _content(_address_file(token))
    except OSError:
        return None
    return text if _ADDRESS.fullmatch(text) else None


def _address_file(token: Path) -> Path:
    return token.with_name(f"{token.name}.at")


def _read(path: Path) -> str:
    token = _content(path)
    if not _TOKEN.fullmatch(token):
        raise ConfigurationError(
            "E_DASHBOARD_TOKEN",
            f"{path} holds no token of a dashboard",
            hint="backhaul dashboard --new-token draws a new one",
        )
    return token


def _content(path: Path) -> str:
    """Of a file that no other user can read or could have written."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, encoding="ascii", errors="replace") as file:  # noqa: PTH123
        found = os.fstat(descriptor)
        refused = distrust_of(found, path, {os.geteuid()})
        if refused is None and found.st_mode & _READ_BY_OTHERS:
            refused = (
                f"{path} can be read by others (mode {stat.S_IMODE(found.st_mode):04o})",
                "they may know it, so draw a new one: backhaul dashboard --new-token",
            )
        if refused is not None:
            message, hint = refused
            raise ConfigurationError(
                "E_CFG_PERMISSIONS", f"the dashboard's token: {message}", hint=hint
            )
        return file.read(1000).strip()


def _write(path: Path, text: str, *, is_new: bool) -> None:
    """A whole file at once; of two processes that start together one makes it, both read it."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(fresh, flags, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            fresh.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(fresh)
    finally:
        fresh.unlink(missing_ok=True)
