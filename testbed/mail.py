"""A mail server on loopback: STARTTLS or TLS, logins, and every way to misbehave.

The polite one is aiosmtpd. The others are scripts of answers, to the end or to nowhere.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "backhaul", "canaryc0ffeeMAILPASSWORD"


@dataclass
class Mailbox:
    """What a server took.

    Attributes:
        refused: Addresses that it does not know.
        mails: In the order in which they came; `envelopes` likewise.
    """

    refused: set[str] = field(default_factory=set)
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        """One recipient."""
        if address in self.refused:
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """One mail."""
        content = envelope.content
        mail = message_from_bytes(
            content if isinstance(content, bytes) else b"", policy=SMTP_POLICY
        )
        self.mails.append(mail)
        self.envelopes.append(envelope)
        self.sessions.append(session)
        return "250 OK"


@contextlib.contextmanager
def mail_server(
    mailbox: Mailbox,
    *,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    wants_login: bool = False,
) -> Iterator[int]:
    """Its port; a login is `USER` and `PASSWORD`."""

    def authenticate(
        _server: SMTP, _session: Session, _envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        is_right = isinstance(data, LoginPassword) and (data.login, data.password) == (
            USER.encode(),
            PASSWORD.encode(),
        )
        # The answer quotes what was sent, as no server should.
        sent = data.password.decode() if isinstance(data, LoginPassword) else ""
        shown = "" if is_right else f"535 5.7.8 {mechanism} refused: {sent} {_base64(sent)}"
        return AuthResult(success=is_right, handled=is_right, message=shown or None)

    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=free_port(),
        ssl_context=tls,
        tls_context=starttls,
        require_starttls=starttls is not None,
        auth_required=wants_login,
        auth_require_tls=starttls is not None or not wants_login,
        authenticator=authenticate if wants_login else None,
    )
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def free_port() -> int:
    """One that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextlib.contextmanager
def scripted(act: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does just this with each connection; its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return  # closed
            connections.append(connection)
            threading.Thread(target=_quietly, args=(act, connection), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for one in connections:
            one.close()


def _quietly(act: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the client has gone
        act(connection)


def certificate(directory: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate of its own authority for `localhost` and 127.0.0.1, and a server's context."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = directory / "mail.pem", directory / "mail.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context
