"""`[[notify]]`: who is notified of what, and by which command or mail server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.errors import MessageError
from email.headerregistry import Address
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from backhaul.core.errors import ConfigurationError
from backhaul.core.notification import MailRoute, MailTls, NotifyOn, NotifyRules
from backhaul.core.text import printable
from backhaul.settings.base import NamedPath, StrictModel, command_fault
from backhaul.settings.sizes import parse_span

_Span = BeforeValidator(parse_span)
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{1,253}))")
_PORT = re.compile(r"[0-9]{1,5}")
_LOOPBACK = re.compile(r"localhost|127\.[0-9.]+|::1")
_HIGHEST_PORT = 65_535


class EmailSettings(StrictModel):
    """A mail server, and who gets mail."""

    to: list[str] = Field(min_length=1, description="addresses")
    sender: str = Field(alias="from", description="the address that it comes from")
    smtp: str = Field(description="HOST or HOST:PORT of the mail server")
    tls: MailTls = MailRoute.tls
    user: str | None = Field(None, min_length=1, description="wants password_file")
    password_file: NamedPath | None = Field(
        None, description="the password, on its first line; no one else may read the file"
    )
    ca_file: NamedPath | None = Field(
        None, description="certificates for the server's, instead of the system's"
    )


class NotifySettings(StrictModel):
    """One name that is notified, by a command or by e-mail."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    on: list[NotifyOn] | None = Field(None, min_length=1, description="all of them if unset")
    command: list[str] | None = Field(
        None, min_length=1, description="program and arguments; no shell"
    )
    email: EmailSettings | None = None
    every: Annotated[float, _Span] = Field(
        NotifyRules.every_s, ge=1, le=604_800, description="least time between two, such as 15m"
    )
    after: Annotated[float, _Span] = Field(
        NotifyRules.after_s,
        ge=0,
        le=86_400,
        description="health is reported once it has been as it is for so long",
    )

    @property
    def rules(self) -> NotifyRules:
        """As the core decides by them."""
        return NotifyRules(
            name=self.name,
            on=frozenset(self.on or NotifyOn),
            every_s=self.every,
            after_s=self.after,
        )


def check_notify(settings: Sequence[NotifySettings], path: Path | None) -> None:
    """Refuse names that are there twice, and ones with not exactly one way to be notified.

    Raises:
        ConfigurationError: E_NOTIFY_SETTING.
    """
    names: set[str] = set()
    for one in settings:
        if one.name in names:
            raise _refused(
                path, f"two [[notify]] are named {one.name}", "give each a name of its own"
            )
        names.add(one.name)
        where = f"notify {one.name}"
        if (one.command is None) == (one.email is None):
            raise _refused(
                path,
                f"{where}: it needs exactly one of command and email",
                'write command = ["/usr/local/bin/page"], or email = { to = [...], ... }',
            )
        if one.command is not None:
            _check_command(one.command, where, path)
        if one.email is not None:
            _check_email(one.email, where, path)


def mail_route(email: EmailSettings, password: str | None, ca_file: Path | None) -> MailRoute:
    """The core's form; `check_notify` has accepted these settings."""
    host, port = _server(email)
    return email.into(
        MailRoute, to=tuple(email.to), host=host, port=port, password=password, ca_file=ca_file
    )


def _check_command(command: Sequence[str], where: str, path: Path | None) -> None:
    if fault := command_fault(command):
        raise _refused(path, f"{where}: {fault[0]}", fault[1])


def _check_email(email: EmailSettings, where: str, path: Path | None) -> None:
    for name, text in (*(("to", one) for one in email.to), ("from", email.sender)):
        if not _is_address(text):
            raise _refused(
                path,
                f"{where}: email.{name} {printable(text, 80)} is no e-mail address",
                "write one such as oncall@example.com, without a name before it",
            )
    try:
        host, _ = _server(email)
    except ValueError as exc:
        raise _refused(
            path,
            f"{where}: email.smtp {printable(email.smtp, 80)}: {exc}",
            "write HOST:PORT, such as mail.example.com:587",
        ) from exc
    if (email.user is None) != (email.password_file is None):
        raise _refused(
            path,
            f"{where}: email has one of user and password_file alone",
            "write both, or neither where the server wants none",
        )
    if email.user and email.tls is MailTls.NONE and not _LOOPBACK.fullmatch(host):
        raise _refused(
            path,
            f"{where}: the password would go to {host} unencrypted",
            'write tls = "starttls" or tls = "tls"',
        )
    if email.ca_file and email.tls is MailTls.NONE:
        raise _refused(
            path,
            f"{where}: ca_file has no meaning with tls = none",
            'write tls = "starttls" or tls = "tls", or leave ca_file out',
        )


def _is_address(text: str) -> bool:
    """ASCII, one address and nothing around it: it goes into a header and into a command."""
    if not text.isascii() or not text.isprintable() or set(text) & set(" <>,;\"'()"):
        return False
    try:
        found = Address(addr_spec=text)
    except (ValueError, IndexError, MessageError):  # the standard library raises all three
        return False
    return bool(found.username and found.domain)


def _server(email: EmailSettings) -> tuple[str, int]:
    match = _HOST.match(email.smtp)
    if match is None:
        raise ValueError("there is no host")
    rest = email.smtp[match.end() :]
    if not rest:
        port = email.tls.port
    elif rest.startswith(":") and _PORT.fullmatch(rest[1:]):
        port = int(rest[1:])
    else:
        raise ValueError("there is no port after the host")
    if not 1 <= port <= _HIGHEST_PORT:
        raise ValueError("a port is from 1 to 65535")
    return match["v6"] or match["name"], port


def _refused(path: Path | None, message: str, hint: str) -> ConfigurationError:
    where = f"{path}: " if path else ""
    return ConfigurationError("E_NOTIFY_SETTING", f"{where}{message}", hint=hint)
