"""E-mail by real servers: encrypted, with a login, and servers that refuse, lie, hang and drip."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.adapters.notify.mail import MailSender
from backhaul.adapters.notify.rendering import subject, text
from backhaul.core.agent.notifying.plan import sample
from backhaul.core.errors import BackhaulError
from backhaul.core.notification import MailRoute, MailTls
from testbed.mail import PASSWORD, USER, Mailbox, certificate, free_port, mail_server, scripted
from tests.unit.test_notification_plan import IDENTITY, START
from tests.unit.test_notify_rendering import HOSTILE, hostile

FULL = sample("oncall", IDENTITY, 900, START)


def route(port: int, **other: object) -> MailRoute:
    return replace(
        MailRoute(
            to=("one@example.com", "two@example.com"),
            sender="backhaul@example.com",
            host="127.0.0.1",
            port=port,
            tls=MailTls.NONE,
        ),
        **other,  # type: ignore[arg-type]
    )


def send(to: MailRoute, limit_s: float = 20) -> str:
    return MailSender(to, limit_s).send(FULL, threading.Event())


def refused(to: MailRoute, limit_s: float = 20) -> BackhaulError:
    with pytest.raises(BackhaulError) as caught:
        send(to, limit_s)
    return caught.value


@pytest.fixture
def box() -> Mailbox:
    return Mailbox()


@pytest.fixture
def tls(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    return certificate(tmp_path)


# ---------------------------------------------------------------- delivered


def test_everyone_gets_the_mail(box: Mailbox) -> None:
    with mail_server(box) as port:
        assert send(route(port)) == ""
    (mail,), (envelope,) = box.mails, box.envelopes
    assert mail["Subject"] == subject(FULL)
    assert mail.get_content().replace("\r\n", "\n") == text(FULL)
    assert envelope.rcpt_tos == ["one@example.com", "two@example.com"]
    assert envelope.mail_from == "backhaul@example.com"


def test_starttls_with_a_login(box: Mailbox, tls: tuple[Path, ssl.SSLContext]) -> None:
    ca_file, context = tls
    login = {"user": USER, "password": PASSWORD, "ca_file": ca_file, "tls": MailTls.STARTTLS}
    with mail_server(box, starttls=context, wants_login=True) as port:
        assert send(route(port, **login)) == ""
    assert box.sessions[0].ssl is not None
    assert box.sessions[0].authenticated


def test_tls_from_the_first_byte(box: Mailbox, tls: tuple[Path, ssl.SSLContext]) -> None:
    ca_file, context = tls
    with mail_server(box, tls=context) as port:
        assert send(route(port, ca_file=ca_file, tls=MailTls.TLS)) == ""
    assert len(box.mails) == 1


@pytest.mark.parametrize("foreign", HOSTILE, ids=ascii)
def test_no_foreign_text_reaches_another_address_or_header(box: Mailbox, foreign: str) -> None:
    with mail_server(box) as port:
        MailSender(route(port)).send(hostile(foreign), threading.Event())
        MailSender(route(port)).send(hostile("plain"), threading.Event())
    mail, plain = box.mails
    assert mail.keys() == plain.keys()
    assert [one.rcpt_tos for one in box.envelopes] == [["one@example.com", "two@example.com"]] * 2
    assert mail.get_content().count("\n") == plain.get_content().count("\n")


def test_who_of_several_is_refused_is_named_and_the_mail_is_delivered(box: Mailbox) -> None:
    box.refused.add("two@example.com")
    with mail_server(box) as port:
        left_out = send(route(port))
    assert left_out == "refused two@example.com: 550 5.1.1 no such user"
    assert box.envelopes[0].rcpt_tos == ["one@example.com"]


def test_a_server_that_fails_after_the_mail_was_accepted_has_it(box: Mailbox) -> None:
    """Otherwise the same mail would be sent again."""

    def drop_at_quit(connection: socket.socket) -> None:
        _talk(connection, b"220 hi\r\n", *[b"250 ok\r\n"] * 4, b"354 go\r\n")
        while b"\r\n.\r\n" not in connection.recv(65_536):
            pass
        connection.sendall(b"250 queued\r\n")
        connection.close()

    with scripted(drop_at_quit) as port:
        assert send(route(port)) == ""


# ---------------------------------------------------------------- refused


def test_a_wrong_password_is_an_error_that_shows_none(
    box: Mailbox, tls: tuple[Path, ssl.SSLContext]
) -> None:
    """Even where the server's answer quotes it."""
    ca_file, context = tls
    wrong = {"user": USER, "password": "canaryc0ffeeWRONG", "ca_file": ca_file}
    with mail_server(box, starttls=context, wants_login=True) as port:
        error = refused(route(port, tls=MailTls.STARTTLS, **wrong))
        assert "canaryc0ffeeWRONG" not in repr(error) + str(error.__cause__) + error.hint
        assert "canaryc0ffeeWRONG" not in repr(route(port, **wrong))
    assert error.code == "E_NOTIFY_SMTP"
    assert "refuses the login: 535" in error.message
    assert box.mails == []


def test_everyone_refused_is_an_error(box: Mailbox) -> None:
    box.refused |= {"one@example.com", "two@example.com"}
    with mail_server(box) as port:
        error = refused(route(port))
    assert error.code == "E_NOTIFY_SMTP"
    assert "it refuses every address: one@example.com: 550" in error.message


def test_a_certificate_of_an_unknown_authority_is_refused(
    box: Mailbox, tls: tuple[Path, ssl.SSLContext]
) -> None:
    _, context = tls
    with mail_server(box, tls=context) as port:
        error = refused(route(port, tls=MailTls.TLS))
    assert "its certificate is not trusted" in error.message
    assert "email.ca_file" in error.hint


def test_a_server_without_starttls_gets_no_mail(box: Mailbox) -> None:
    with mail_server(box) as port:
        error = refused(route(port, tls=MailTls.STARTTLS))
    assert "STARTTLS" in error.message
    assert box.mails == []


def test_a_server_without_logins_gets_no_password(box: Mailbox) -> None:
    with mail_server(box) as port:
        error = refused(route(port, user=USER, password=PASSWORD))
    assert "it lacks what the settings need" in error.message
    assert box.mails == []


def test_a_server_that_is_not_there_is_an_error() -> None:
    error = refused(route(free_port()))
    assert (error.code, error.message.rpartition(": ")[2]) == (
        "E_NOTIFY_SMTP",
        "Connection refused",
    )


def test_a_host_without_an_address_is_an_error() -> None:
    assert refused(route(25, host="no-such-host.invalid")).code in {
        "E_NOTIFY_SMTP",
        "E_NOTIFY_TIMEOUT",
    }


def test_a_file_of_authorities_that_is_gone_is_named(tmp_path: Path) -> None:
    error = refused(route(25, tls=MailTls.TLS, ca_file=tmp_path / "gone.pem"))
    assert "No such file or directory" in error.message


def _talk(connection: socket.socket, greeting: bytes, *answers: bytes) -> None:
    """The greeting, then an answer for each line that comes."""
    connection.sendall(greeting)
    for answer in answers:
        if not connection.recv(65_536):
            return
        connection.sendall(answer)


def _http(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def _plain_tls(connection: socket.socket) -> None:
    connection.recv(1024)
    connection.sendall(b"220 hello, I speak no TLS\r\n")


def _closes(connection: socket.socket) -> None:
    connection.close()


def _refuses_sender(connection: socket.socket) -> None:
    _talk(connection, b"220 hi\r\n", b"250 hi\r\n", b"553 5.7.1 not you\r\n", b"221 bye\r\n")


def _busy(connection: socket.socket) -> None:
    connection.sendall(b"421 4.3.2 \x1b[2Jtoo busy\r\n")


def _floods(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"220-hello\r\n" * 1000)


def _floods_one_line(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x" * 65_536)


@pytest.mark.parametrize(
    ("act", "tls_mode", "wanted"),
    [
        (_http, MailTls.NONE, "answer"),
        (_closes, MailTls.NONE, "closed"),
        (_plain_tls, MailTls.TLS, "TLS failed"),
        (_refuses_sender, MailTls.NONE, "refuses the sender: 553 5.7.1 not you"),
        (_busy, MailTls.NONE, "421 4.3.2 \\x1b[2Jtoo busy"),
        (_floods, MailTls.NONE, "without end"),
        (_floods_one_line, MailTls.NONE, ""),
    ],
)
def test_what_is_no_polite_server_is_an_error(
    act: Callable[[socket.socket], None], tls_mode: MailTls, wanted: str
) -> None:
    with scripted(act) as port:
        error = refused(route(port, tls=tls_mode))
    assert error.code == "E_NOTIFY_SMTP"
    assert wanted in error.message
    assert error.message.isprintable()


# ---------------------------------------------------------------- hanging


def _silent(connection: socket.socket) -> None:
    while connection.recv(65_536):
        pass


def _drips(connection: socket.socket) -> None:
    """A byte now and then: no single wait is ever long."""
    connection.sendall(b"220 ")
    for _ in itertools.count():
        connection.sendall(b"x")
        time.sleep(0.02)


def _hangs_after_mail(connection: socket.socket) -> None:
    _talk(connection, b"220 hi\r\n", *[b"250 ok\r\n"] * 4, b"354 go\r\n")
    _silent(connection)


def _never_reads(connection: socket.socket) -> None:
    connection.sendall(b"220 hi\r\n")
    connection.recv(1)
    time.sleep(20)


@contextlib.contextmanager
def never_accepting() -> Iterator[int]:
    """A backlog that is full: connecting hangs."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = listening.getsockname()[1]
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            one.connect(("127.0.0.1", port))
    yield port
    for one in (listening, *waiting):
        one.close()


@pytest.mark.parametrize(
    ("act", "tls_mode"),
    [
        *((act, MailTls.NONE) for act in (_silent, _drips, _hangs_after_mail, _never_reads)),
        (_silent, MailTls.TLS),
    ],
)
def test_a_server_that_hangs_costs_the_limit_and_no_more(
    act: Callable[[socket.socket], None], tls_mode: MailTls
) -> None:
    began_s = time.monotonic()
    with scripted(act) as port:
        error = refused(route(port, tls=tls_mode), limit_s=0.5)
    assert error.code == "E_NOTIFY_TIMEOUT"
    assert "no end within 0.5 s" in error.message
    assert time.monotonic() - began_s < 15


def test_a_server_that_drips_inside_tls_costs_the_limit(tls: tuple[Path, ssl.SSLContext]) -> None:
    ca_file, context = tls
    began_s = time.monotonic()

    def drip(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as inside:
            _drips(inside)

    with scripted(drip) as port:
        error = refused(route(port, tls=MailTls.TLS, ca_file=ca_file), limit_s=1.0)
    assert error.code == "E_NOTIFY_TIMEOUT"
    assert time.monotonic() - began_s < 15


def test_a_server_that_does_not_accept_costs_the_limit() -> None:
    with never_accepting() as port:
        error = refused(route(port), limit_s=0.5)
    assert error.code == "E_NOTIFY_TIMEOUT"
