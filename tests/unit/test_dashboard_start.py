"""Where the dashboard listens, its link and its token; each bad start has one clear error."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import stat
import subprocess
from pathlib import Path

import pytest

from backhaul.core.errors import BackhaulError, ExitCode
from backhaul.dashboard.login import (
    LinkToken,
    forget_address,
    load_login,
    note_address,
    noted_address,
    token_file,
)
from backhaul.dashboard.run import (
    Listening,
    address_of,
    bind,
    is_journal,
    link_of,
    names_of,
    parse_listen,
    parse_name,
    printed_link,
    tls_context,
)
from backhaul.settings.model import Settings
from scripts.make_error_texts import TARGET, texts
from scripts.vendor_web import faults

LOGIN = LinkToken("t" * 43)
EVERYWHERE = "0.0.0.0"  # noqa: S104 - one test binds it, for a moment


def at(host: str = "127.0.0.1", port: int = 0, **more: object) -> Listening:
    return Listening(host=host, port=port, **more)  # type: ignore[arg-type]


# ---------------------------------------------------------------- where it listens


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8787", "127.0.0.1", 8787),
        ("localhost:0", "localhost", 0),
        ("[::1]:65535", "::1", 65535),
        ("edge1.example.com:80", "edge1.example.com", 80),
    ],
)
def test_an_address_is_host_and_port(text: str, host: str, port: int) -> None:
    assert parse_listen(text) == (host, port)
    assert at(host, port).address == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", ":80", "8787", "localhost", "localhost:", "localhost:x", "localhost:65536"),
        *("localhost:-1", "::1:80", "a b:80", "http://localhost:80", "localhost:٣", "u@h:80"),
        *("localhost:80/x", "[::1:80", "\x1b[2J:80"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BackhaulError, match="E_DASHBOARD_PORT") as caught:
        parse_listen(text)
    assert caught.value.exit_code is ExitCode.USAGE
    assert "\x1b" not in str(caught.value)


def test_a_port_that_is_taken_is_named_with_the_way_to_its_owner() -> None:
    with bind(at()) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BackhaulError, match=f"E_DASHBOARD_PORT: 127.0.0.1:{port}") as caught:
            bind(at(port=port))
    assert caught.value.exit_code is ExitCode.UNAVAILABLE
    assert f":{port}" in caught.value.hint


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a" * 64 + ".b", "x..y"])
def test_an_address_of_no_card_of_this_machine_is_refused(host: str) -> None:
    with pytest.raises(BackhaulError, match="E_DASHBOARD_PORT") as caught:
        bind(at(host, is_behind_proxy=True))
    assert caught.value.exit_code is ExitCode.CONFIGURATION


def test_a_port_for_root_alone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "socket", type("Refusing", (socket.socket,), {"bind": refuse}))
    with pytest.raises(BackhaulError, match="below 1024"):
        bind(at(port=80))


@pytest.mark.parametrize("host", [EVERYWHERE, "::", ""])
def test_other_machines_reach_it_only_with_tls_or_a_proxy(host: str) -> None:
    if host == "::" and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with pytest.raises(BackhaulError, match="E_DASHBOARD_OPEN") as caught:
        bind(at(host or EVERYWHERE))
    assert caught.value.exit_code is ExitCode.CONFIGURATION
    assert "ssh -L" in caught.value.hint
    bind(at(EVERYWHERE, is_behind_proxy=True)).close()
    bind(at(EVERYWHERE, tls_cert=Path("cert.pem"))).close()


# ---------------------------------------------------------------- its link and names


def test_the_link_leads_to_where_it_listens() -> None:
    assert link_of("http://127.0.0.1:8787/", LOGIN) == (
        f"http://127.0.0.1:8787/?token={LOGIN.token}"
    )
    assert address_of(at(), 8787) == "http://127.0.0.1:8787/"
    assert address_of(at("::1"), 8787) == "http://[::1]:8787/"
    secure = at(EVERYWHERE, tls_cert=Path("c"))
    assert address_of(secure, 1) == f"https://{socket.gethostname()}:1/"
    named = at(EVERYWHERE, names=("a.example", "b.example"), tls_cert=Path("c"))
    assert address_of(named, 1) == "https://a.example:1/"
    assert address_of(at(names=("2001:db8::1",)), 1) == "http://[2001:db8::1]:1/"
    proxied = at(names=("a.example",), is_behind_proxy=True)
    assert address_of(proxied, 1) == "https://a.example/"


@pytest.mark.parametrize("name", ["edge1", "a.example.com", "10.0.0.1", "2001:db8::1", "xn--a"])
def test_a_further_name_is_a_host(name: str) -> None:
    assert parse_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "a b", "https://a.example", "a.example:8443", "a.example/x", "[::1]", "\x1b[2J"]
)
def test_a_name_that_no_browser_sends_is_refused(name: str) -> None:
    with pytest.raises(BackhaulError, match="E_DASHBOARD_PORT: --host") as caught:
        parse_name(name)
    assert caught.value.exit_code is ExitCode.USAGE
    assert "without scheme" in caught.value.hint
    assert "\x1b" not in str(caught.value)


def test_the_link_that_is_printed_again_leads_to_the_dashboard_that_began_last(
    tmp_path: Path,
) -> None:
    settings = Settings(ledger=tmp_path / "ledger.db")
    token = token_file(settings.ledger_path)
    login = load_login(token)

    def printed(listening: Listening | None = None) -> str:
        return printed_link(settings, listening).removesuffix(f"?token={login.token}")

    assert printed() == "http://127.0.0.1:8787/"
    for address in ("http://[::1]:1/", "https://edge1.example.com:8443/"):
        note_address(token, address)
        assert printed() == address
    assert printed(at(port=99)) == "http://127.0.0.1:99/", "as it was given"
    forget_address(token, "http://[::1]:1/")
    assert printed() == "https://edge1.example.com:8443/", "another one runs"
    forget_address(token, "https://edge1.example.com:8443/")
    assert printed() == "http://127.0.0.1:8787/"
    assert [one.name for one in tmp_path.iterdir()] == ["ledger.db.dashboard"]
    forget_address(token, "https://edge1.example.com:8443/")


@pytest.mark.parametrize("content", ["", "javascript:x/", "http://a/b/", "http://a b/", "http://a"])
def test_an_address_that_is_none_is_not_printed(tmp_path: Path, content: str) -> None:
    settings = Settings(ledger=tmp_path / "ledger.db")
    note_address(token_file(settings.ledger_path), content)
    assert printed_link(settings, None).startswith("http://127.0.0.1:8787/?token=")


def test_an_address_that_others_could_have_written_is_refused(tmp_path: Path) -> None:
    """They would be sent the token."""
    settings = Settings(ledger=tmp_path / "ledger.db")
    note_address(token_file(settings.ledger_path), "http://evil.example/")
    (tmp_path / "ledger.db.dashboard.at").chmod(0o622)
    with pytest.raises(BackhaulError, match="E_CFG_PERMISSIONS"):
        printed_link(settings, None)


def test_a_place_that_takes_no_address_stops_no_dashboard(tmp_path: Path) -> None:
    token = tmp_path / "none" / "token"
    note_address(token, "http://[::1]:1/")
    assert noted_address(token) is None


def test_it_answers_under_its_own_names() -> None:
    assert names_of(at("10.1.2.3")) == {"10.1.2.3", "localhost", "127.0.0.1", "::1"}
    assert "edge1.example" in names_of(at(names=("Edge1.Example.",)))
    assert socket.gethostname().lower() in names_of(at(EVERYWHERE))


def test_the_journal_is_known_by_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    assert not is_journal(writing)
    found = os.fstat(writing)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    assert is_journal(writing)
    os.close(writing)
    assert not is_journal(writing)
    os.close(reading)


# ---------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `cert.pem`, `key.pem`, `both.pem` and `locked.pem`."""
    place = tmp_path_factory.mktemp("tls")

    def openssl(*words: str) -> None:
        done = subprocess.run(["openssl", *words], cwd=place, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"),
    )
    openssl("rsa", "-aes256", "-passout", "pass:x", "-in", "key.pem", "-out", "locked.pem")
    both = (place / "key.pem").read_text() + (place / "cert.pem").read_text()
    (place / "both.pem").write_text(both)
    for path in place.iterdir():
        path.chmod(0o600)
    return place


def test_tls_takes_two_files_or_one(pem: Path) -> None:
    assert tls_context(at()) is None
    two = tls_context(at(tls_cert=pem / "cert.pem", tls_key=pem / "key.pem"))
    one = tls_context(at(tls_cert=pem / "both.pem"))
    for found in (one, two):
        assert found is not None
        assert found.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("cert", "key"),
    [("cert.pem", "locked.pem"), ("cert.pem", None), ("no.pem", "key.pem"), ("key.pem", "key.pem")],
)
def test_files_that_are_no_certificate_and_key_are_refused(
    pem: Path, cert: str, key: str | None
) -> None:
    with pytest.raises(BackhaulError, match="E_DASHBOARD_TLS") as caught:
        tls_context(at(tls_cert=pem / cert, tls_key=None if key is None else pem / key))
    assert caught.value.exit_code is ExitCode.CONFIGURATION


def test_a_key_that_everybody_may_read_is_refused(pem: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes((pem / "key.pem").read_bytes())
    key.chmod(0o644)
    with pytest.raises(BackhaulError, match="E_CFG_PERMISSIONS: the TLS key"):
        tls_context(at(tls_cert=pem / "cert.pem", tls_key=key))


# ---------------------------------------------------------------- its token


def test_a_token_is_drawn_once_and_is_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "token"
    first = load_login(path)
    assert len(first.token) == 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_login(path) == first
    assert load_login(path, is_new=True) != first
    assert [one.name for one in path.parent.iterdir()] == ["token"]


def test_cookie_and_form_token_follow_from_the_token_and_are_not_it() -> None:
    other = LinkToken("u" * 43)
    values = {LOGIN.token, LOGIN.cookie, LOGIN.form_token, other.cookie, other.form_token}
    assert len(values) == 5
    assert LOGIN.cookie_name != other.cookie_name
    assert LOGIN.has_token(LOGIN.token)
    assert LOGIN.has_cookie(LOGIN.cookie)
    assert LOGIN.has_form_token(LOGIN.form_token)
    assert not LOGIN.has_form_token(LOGIN.cookie)
    assert not LOGIN.has_cookie("\ud800")


@pytest.mark.parametrize("content", ["", "short", "x" * 44, "t" * 42 + "!", "\xff" * 43])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content, "latin-1")
    path.chmod(0o600)
    with pytest.raises(BackhaulError, match="E_DASHBOARD_TOKEN") as caught:
        load_login(path)
    assert "--new-token" in caught.value.hint
    load_login(path, is_new=True)


def test_a_token_that_others_could_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    load_login(path)
    path.chmod(0o640)
    with pytest.raises(BackhaulError, match="E_CFG_PERMISSIONS"):
        load_login(path)


@pytest.mark.parametrize("kind", ["link", "directory", "dangling", "below a file"])
def test_a_token_file_that_is_none_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "token"
    if kind == "directory":
        path.mkdir()
    elif kind == "below a file":
        path.write_text("x")
        path = path / "token"
    else:
        other = tmp_path / "other"
        path.symlink_to(other)
        if kind == "link":
            load_login(other)
    with pytest.raises(BackhaulError, match=r"E_DASHBOARD_TOKEN|E_CFG_PERMISSIONS"):
        load_login(path)


def test_the_token_is_beside_the_ledger_or_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger.db"
    beside = tmp_path / "ledger.db.dashboard"
    assert token_file(ledger) == beside
    link = tmp_path / "link"
    link.symlink_to(ledger)
    assert token_file(link) == beside
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("backhaul.dashboard.login.may_write", lambda path: False)
    mine = token_file(ledger)
    assert mine.parent == tmp_path / "state" / "backhaul"
    assert mine != token_file(tmp_path / "other.db")


# ---------------------------------------------------------------- what it is made of


def test_vendored_files_are_those_that_were_published() -> None:
    """`python scripts/vendor_web.py` fetches them."""
    assert faults() == []


def test_the_texts_of_errors_are_the_manuals() -> None:
    """Where it fails: `python scripts/make_error_texts.py`."""
    assert TARGET.read_text("utf-8") == texts()
