"""Starts the dashboard: where it listens, under which names, and the link that opens it."""

from __future__ import annotations

import errno
import gc
import ipaddress
import logging
import os
import re
import resource
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backhaul.access import may_write, refusal
from backhaul.adapters.system.clock import host_name
from backhaul.adapters.system.systemd import Systemd
from backhaul.adapters.system.trusted_files import check_trusted
from backhaul.core.errors import BadArgument, ConfigurationError, TransientError
from backhaul.core.text import printable, redacted
from backhaul.dashboard.login import (
    LinkToken,
    forget_address,
    load_login,
    note_address,
    noted_address,
    token_file,
)
from backhaul.settings.model import Settings

if TYPE_CHECKING:
    from backhaul.app.context import Context

DEFAULT_LISTEN = "127.0.0.1:8787"
HIGHEST_PORT = 65_535
_FILES_WANTED = 4096
_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")


@dataclass(frozen=True, kw_only=True)
class Listening:
    """What the command line chose.

    Attributes:
        names: Further host names under which browsers come, such as the proxy's.
    """

    host: str
    port: int
    names: tuple[str, ...] = ()
    is_behind_proxy: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def address(self) -> str:
        """`127.0.0.1:8787`, `[::1]:8787`."""
        return f"{bracketed(self.host)}:{self.port}"


def bracketed(host: str) -> str:
    """As it is written in a URL."""
    return f"[{host}]" if ":" in host else host


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        BadArgument: E_DASHBOARD_PORT.
    """
    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if is_bracketed else host
    is_number = port.isascii() and port.isdigit() and int(port) <= HIGHEST_PORT
    is_name = bool(host) and not any(char.isspace() or char in "/@[]" for char in host)
    is_bare_v6 = ":" in host and not is_bracketed
    if not is_number or not is_name or is_bare_v6:
        raise BadArgument(
            "E_DASHBOARD_PORT",
            f"--listen {printable(text)!r} is not HOST:PORT",
            hint=f"write {DEFAULT_LISTEN}, [::1]:8787, or another port up to {HIGHEST_PORT}",
        )
    return host, int(port)


def bind(listening: Listening) -> socket.socket:
    """A listening socket.

    Raises:
        TransientError: E_DASHBOARD_PORT: the port is taken.
        ConfigurationError: E_DASHBOARD_PORT: no such address, or not for this user.
            E_DASHBOARD_OPEN: others could reach it, and would see the token on the wire.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listening.host, listening.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _bad_address(listening, reason) from error
    is_safe = listening.is_behind_proxy or listening.tls_cert is not None
    if not is_safe and not ipaddress.ip_address(address[0]).is_loopback:
        raise ConfigurationError(
            "E_DASHBOARD_OPEN",
            f"{listening.address} is reachable from other machines, and without TLS whoever sees "
            "the network sees the link",
            hint=f"listen on {DEFAULT_LISTEN} and use ssh -L 8787:127.0.0.1:8787 HOST; or give "
            "--tls-cert and --tls-key; or --behind-proxy, if a proxy there adds TLS",
        )
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        found.bind(address)
        found.listen()
    except OSError as error:
        found.close()
        raise _no_port(listening, error) from error
    return found


def _no_port(listening: Listening, error: OSError) -> TransientError | ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        return TransientError(
            "E_DASHBOARD_PORT",
            f"{listening.address} is taken by another process",
            hint="is a dashboard running already? backhaul dashboard --link prints its link; "
            f"ss -ltnp 'sport = :{listening.port}' names the process; or --listen another port",
        )
    if error.errno == errno.EACCES:
        return ConfigurationError(
            "E_DASHBOARD_PORT",
            f"{listening.address}: a port below 1024 is for root",
            hint="--listen a port from 1024 on",
        )
    return _bad_address(listening, error.strerror or str(error))


def _bad_address(listening: Listening, reason: str) -> ConfigurationError:
    return ConfigurationError(
        "E_DASHBOARD_PORT",
        f"{printable(listening.address)}: {reason}",
        hint="--listen an address of this machine: ip -brief address",
    )


def tls_context(listening: Listening) -> ssl.SSLContext | None:
    """For https; None without a certificate.

    Raises:
        ConfigurationError: E_DASHBOARD_TLS: they do not fit or cannot be read.
            E_CFG_PERMISSIONS: everybody may read the key.
    """
    if listening.tls_cert is None:
        return None
    key = listening.tls_key or listening.tls_cert
    check_trusted(key, "the TLS key", is_secret=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An empty password: OpenSSL would otherwise wait for one on the terminal.
        context.load_cert_chain(listening.tls_cert, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            "E_DASHBOARD_TLS",
            f"{listening.tls_cert} and {key}: {reason}",
            hint="--tls-cert is the certificate with its chain, --tls-key its key without a "
            "password, both as PEM and readable for this user",
        ) from error
    return context


def link_of(address: str, login: LinkToken) -> str:
    """What opens the dashboard in a browser."""
    return f"{address}?token={login.token}"


def address_of(listening: Listening, port: int) -> str:
    """`https://edge1.example.com:8787/`: where browsers come."""
    is_https = listening.tls_cert is not None or listening.is_behind_proxy
    host = listening.host if not _is_any(listening.host) else host_name()
    where = f"{bracketed(host)}:{port}"
    if listening.names:
        is_proxy = listening.is_behind_proxy
        where = bracketed(listening.names[0]) + ("" if is_proxy else f":{port}")
    return f"http{'s' if is_https else ''}://{where}/"


def printed_link(settings: Settings, listening: Listening | None) -> str:
    """Of the dashboard that runs.

    Args:
        listening: As it was started; None: where it has left that it answers.

    Raises:
        ConfigurationError: As `dashboard_login`.
    """
    login = dashboard_login(settings)
    if listening is not None:
        return link_of(address_of(listening, listening.port), login)
    noted = noted_address(token_file(settings.ledger_path))
    return link_of(noted or f"http://{DEFAULT_LISTEN}/", login)


def parse_name(text: str) -> str:
    """A name of `--host`.

    Raises:
        BadArgument: E_DASHBOARD_PORT.
    """
    if not _NAME.fullmatch(text) and not _is_v6(text):
        raise BadArgument(
            "E_DASHBOARD_PORT",
            f"--host {printable(text)!r} is no name of a host",
            hint="write it without scheme, port and path: backhaul.example.com",
        )
    return text


def _is_v6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6  # noqa: PLR2004 - IPv6
    except ValueError:
        return False


def names_of(listening: Listening) -> frozenset[str]:
    """Under which browsers come."""
    own = {"localhost", "127.0.0.1", "::1", listening.host}
    if _is_any(listening.host):
        own |= {host_name(), socket.getfqdn()}
    return frozenset(one.lower().removesuffix(".") for one in {*own, *listening.names})


def _is_any(host: str) -> bool:
    return host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not listened on


def dashboard_login(settings: Settings, *, is_new: bool = False) -> LinkToken:
    """The token of this ledger's dashboard.

    Raises:
        ConfigurationError: E_DASHBOARD_TOKEN, E_CFG_PERMISSIONS, E_CFG_HOME.
    """
    return load_login(token_file(settings.ledger_path), is_new=is_new)


def serve(
    settings: Settings,
    listening: Listening,
    *,
    is_new_token: bool,
    context: Context | None,
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        context: For acts on pages; None: they only show.
        announce: Called once with the link, when it works.

    Raises:
        ConfigurationError, TransientError: As `bind`, `tls_context` and `dashboard_login`.
    """
    from backhaul.dashboard.application import application
    from backhaul.dashboard.guard import Admission
    from backhaul.dashboard.server import server_of
    from backhaul.dashboard.website import Site

    if context is not None and settings.ledger_path.exists():
        _require_writable(settings.ledger_path)
    systemd = Systemd()
    tls = tls_context(listening)
    with bind(listening) as sock:
        # Only now: a start that fails must not end the links of the dashboard that runs.
        login = dashboard_login(settings, is_new=is_new_token)
        port = sock.getsockname()[1]
        _allow_many_files()
        _log_only_errors()
        site = Site(settings=settings, login=login, context=context)
        admission = Admission(
            login=login,
            names=names_of(listening),
            is_any_address=_is_any(listening.host),
            is_behind_proxy=listening.is_behind_proxy,
        )

        site.warm_up()
        # The garbage collector skips what was imported: it may run while a query holds up a commit.
        gc.freeze()

        token, address = token_file(settings.ledger_path), address_of(listening, port)

        def started() -> None:
            note_address(token, address)
            systemd.ready()
            announce(link_of(address, login))

        try:
            app, turn = application(site, admission), site.readers.turn
            server_of(app, tls=tls, started=started, turn=turn).run(sockets=[sock])
        finally:
            forget_address(token, address)
            site.close()


def _require_writable(ledger: Path) -> None:
    """Now, and not only when somebody presses a button."""
    if not may_write(ledger):
        message, hint = refusal(ledger, "written")
        raise ConfigurationError("E_LEDGER_DENIED", message, hint=hint)


def _allow_many_files() -> None:
    """Connections that are still in their TLS handshake count, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(_FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a sandbox may refuse it; then fewer must do
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Redacting(logging.Formatter):
    """Defects of ours, with a traceback that holds no secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return f"backhaul: E_BUG: {redacted(super().format(record))}"


def _log_only_errors() -> None:
    """What strangers send is no news; an exception that no page expected is."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Redacting())
    logger = logging.getLogger("uvicorn.error")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.ERROR)


def is_journal(descriptor: int) -> bool:
    """Whether output goes to systemd's journal, which others may read.

    Source: systemd.exec(5), JOURNAL_STREAM.
    """
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
