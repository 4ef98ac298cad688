"""Notifies by e-mail, through one mail server; whatever that does, it takes a limited time.

Source: RFC 5321 (SMTP), RFC 3207 (STARTTLS), RFC 3834 (Auto-Submitted).
"""

from __future__ import annotations

import base64
import contextlib
import smtplib
import socket
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from threading import Event
from typing import Any

from backhaul.adapters.notify.rendering import subject, text
from backhaul.core.errors import TransientError
from backhaul.core.notification import DELIVERY_S, MailRoute, MailTls, Notification
from backhaul.core.text import shown
from backhaul.deadline import Deadline

_REPLIES_MOST_BYTES = 65_536  # of all answers of one conversation
_POLICY = SMTP.clone(max_line_length=900)  # 998 are allowed; folded subjects are hard to read
_CHECK_TO = "check the addresses in email.to"
_FAILURES = (smtplib.SMTPException, OSError, ssl.SSLError, UnicodeError, ValueError)


class MailSender:
    """Implements `core.ports.notify.NotificationSender`.

    Args:
        route: With the password.
        limit_s: Of the whole conversation.
    """

    def __init__(self, route: MailRoute, limit_s: float = DELIVERY_S) -> None:
        self._route = route
        self._limit_s = limit_s

    def send(self, notification: Notification, abandon: Event) -> str:  # noqa: ARG002
        """See the port; a conversation under way ends with the process.

        Raises:
            TransientError: E_NOTIFY_SMTP, E_NOTIFY_TIMEOUT.
        """
        message = make_mail(notification, self._route)
        deadline = Deadline(self._limit_s)
        try:
            server = _connect(self._route, deadline)
            try:
                if self._route.user is not None:
                    server.login(self._route.user, self._route.password or "")
                refused = server.send_message(message)
                with contextlib.suppress(*_FAILURES):  # the mail is accepted already
                    server.quit()
            finally:
                server.close()
        except _FAILURES as exc:
            raise self._failed(exc, deadline) from None  # its chain may quote the password
        return self._clean(f"refused {_refusals(refused)}") if refused else ""

    def _failed(self, exc: Exception, deadline: Deadline) -> TransientError:
        if deadline.is_over or isinstance(exc, TimeoutError):
            return TransientError(
                "E_NOTIFY_TIMEOUT",
                f"mail server {self._where}: no end within {self._limit_s:g} s",
                hint="check host, port, tls and the firewall",
            )
        reason, hint = _explained(exc)
        return self._error(reason, hint)

    def _error(self, reason: str, hint: str) -> TransientError:
        return TransientError(
            "E_NOTIFY_SMTP", f"mail server {self._where}: {self._clean(reason)}", hint=hint
        )

    def _clean(self, reason: str) -> str:
        """One line, without the password in any form in which it was sent to the server."""
        user, password = self._route.user or "", self._route.password or ""
        for secret in (password, _base64(f"\0{user}\0{password}"), _base64(password)):
            if password:
                reason = reason.replace(secret, "***")
        return shown(reason, 400)

    @property
    def _where(self) -> str:
        return f"{shown(self._route.host)}:{self._route.port}"


def make_mail(notification: Notification, route: MailRoute) -> EmailMessage:
    """The mail; each header is one line, whatever is in the notification."""
    mail = EmailMessage(policy=_POLICY)
    mail["Subject"] = subject(notification)
    mail["From"] = route.sender
    mail["To"] = ", ".join(route.to)
    mail["Date"] = format_datetime(notification.at)
    mail["Message-ID"] = (
        f"<{notification.id}.{notification.name}@{route.sender.rpartition('@')[2]}>"
    )
    mail["Auto-Submitted"] = "auto-generated"  # no vacation notice answers it
    mail.set_content(text(notification))
    return mail


class _Answers:
    """Lines of the server, in place of a file: bounded in time and bytes altogether."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._buffer = b""
        self._bytes = 0

    def readline(self, most: int) -> bytes:
        """Up to a line feed, or `most` bytes; empty at the end of the connection."""
        while b"\n" not in self._buffer and len(self._buffer) < most:
            if self._deadline.is_over:
                raise TimeoutError("timed out")
            self._connection.settimeout(self._deadline.left_s)
            found = self._connection.recv(4096)
            self._bytes += len(found)
            if self._bytes > _REPLIES_MOST_BYTES:
                raise OSError("the server answers without end")
            if not found:
                break
            self._buffer += found
        line, feed, _ = self._buffer[:most].partition(b"\n")
        line += feed
        self._buffer = self._buffer[len(line) :]
        return line

    def close(self) -> None:
        """The connection is closed by itself."""


class _Conversation:
    """Mixed into smtplib's classes: one deadline for all calls."""

    deadline: Deadline
    sock: Any
    file: Any

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:
            self.file = _Answers(self.sock, self.deadline)
        return super().getreply()  # type: ignore[misc,no-any-return]

    def send(self, data: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(self.deadline.left_s)
        super().send(data)  # type: ignore[misc]


class _Plain(_Conversation, smtplib.SMTP):
    """Without encryption, or with STARTTLS."""

    def __init__(self, host: str, port: int, deadline: Deadline) -> None:
        self.deadline = deadline
        super().__init__(host, port, local_hostname=_own_name(), timeout=deadline.left_s)


class _Encrypted(_Conversation, smtplib.SMTP_SSL):
    """With TLS from the first byte."""

    def __init__(self, host: str, port: int, deadline: Deadline, context: ssl.SSLContext) -> None:
        self.deadline = deadline
        super().__init__(
            host, port, local_hostname=_own_name(), timeout=deadline.left_s, context=context
        )


def _connect(route: MailRoute, deadline: Deadline) -> smtplib.SMTP:
    if route.tls is MailTls.NONE:
        return _Plain(route.host, route.port, deadline)
    context = ssl.create_default_context(cafile=route.ca_file and str(route.ca_file))
    if route.tls is MailTls.TLS:
        return _Encrypted(route.host, route.port, deadline, context)
    server = _Plain(route.host, route.port, deadline)
    try:
        server.starttls(context=context)
    except BaseException:
        server.close()
        raise
    return server


def _own_name() -> str:
    """For EHLO; smtplib would resolve the full name, which may hang in DNS."""
    name = socket.gethostname()
    return (
        name if name.isascii() and name.replace("-", "").replace(".", "").isalnum() else "localhost"
    )


def _explained(exc: Exception) -> tuple[str, str]:
    """What happened, and the fix."""
    match exc:
        case smtplib.SMTPAuthenticationError():
            return f"it refuses the login: {_answer(exc)}", "check user and password_file"
        case smtplib.SMTPRecipientsRefused():
            return f"it refuses every address: {_refusals(exc.recipients)}", _CHECK_TO
        case smtplib.SMTPSenderRefused():
            return f"it refuses the sender: {_answer(exc)}", "check email.from"
        case smtplib.SMTPNotSupportedError():
            hint = "check email.tls and the port; a server without logins wants no user"
            return f"it lacks what the settings need: {exc}", hint
        case smtplib.SMTPResponseException():
            return f"it answers {_answer(exc)}", "look at its log"
        case smtplib.SMTPException():
            return str(exc), "check that host and port are a mail server's, and its log"
        case ssl.SSLCertVerificationError():
            hint = "set email.ca_file, or install its authority on this machine"
            return f"its certificate is not trusted: {exc.verify_message}", hint
        case ssl.SSLError():
            return f"TLS failed: {exc.reason or exc}", "check email.tls and the port"
        case OSError():
            place = f"{exc.filename}: " if exc.filename else ""
            return f"{place}{exc.strerror or exc}", "check host, port and the firewall"
    return f"{type(exc).__name__}: {exc}", "check the settings of this notify"


def _answer(exc: smtplib.SMTPResponseException) -> str:
    """The server's own words."""
    return f"{exc.smtp_code} {_decoded(exc.smtp_error)}"


def _refusals(addresses: Mapping[str, tuple[int, bytes]]) -> str:
    return ", ".join(
        f"{address}: {code} {_decoded(reply)}"
        for address, (code, reply) in sorted(addresses.items())
    )


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decoded(answer: bytes | str) -> str:
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
