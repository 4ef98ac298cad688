"""`[[notify]]` in the configuration: what is taken, and the clear refusal of everything else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backhaul.app.notify import NotifyTrial, list_notify, notify_targets, try_notify
from backhaul.core.errors import BadArgument, ConfigurationError
from backhaul.core.notification import MailTls, NotifyOn
from backhaul.settings.load import load_settings
from backhaul.settings.model import Settings
from backhaul.settings.notify import check_notify, mail_route
from backhaul.settings.sizes import parse_span

PASSWORD = "canaryc0ffeePASSWORD"
MAIL = 'email = { to = ["a@x.org"], from = "b@x.org", smtp = "mail.x.org" }'
COMMAND = 'command = ["/bin/true"]'


def load(directory: Path, text: str) -> Settings:
    path = directory / "backhaul.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def notify(*lines: str, name: str = "oncall") -> str:
    return "\n".join(["[[notify]]", f'name = "{name}"', *lines, ""])


def mail(**other: str) -> str:
    fields = {"to": '["a@x.org"]', "from": '"b@x.org"', "smtp": '"mail.x.org"'} | other
    return f"email = {{ {', '.join(f'{name} = {value}' for name, value in fields.items())} }}"


def refused(directory: Path, text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        notify_targets(load(directory, text).notify, directory / "backhaul.toml")
    return caught.value


# ---------------------------------------------------------------- taken


def test_a_command_is_taken_with_defaults(tmp_path: Path) -> None:
    (target,) = notify_targets(load(tmp_path, notify(COMMAND)).notify, None)
    rules = target.rules
    assert (rules.name, rules.every_s, rules.after_s) == ("oncall", 900, 120)
    assert rules.on == set(NotifyOn)


def test_every_setting_reaches_the_core(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\nsecond line\n")
    secret.chmod(0o600)
    email = mail(
        to='["a@x.org", "c@x.org"]',
        smtp='"[::1]:2525"',
        tls='"tls"',
        user='"me"',
        password_file=f'"{secret}"',
        ca_file=f'"{secret}"',
    )
    text = notify(email, 'on = ["dead"]', 'every = "1h"', "after = 30")
    settings = load(tmp_path, text)
    (target,) = notify_targets(settings.notify, None)
    assert (target.rules.every_s, target.rules.after_s) == (3600, 30)
    assert target.rules.on == {NotifyOn.DEAD}
    assert settings.notify[0].email is not None
    route = mail_route(settings.notify[0].email, PASSWORD, secret)
    assert (route.to, route.sender) == (("a@x.org", "c@x.org"), "b@x.org")
    assert (route.host, route.port, route.tls) == ("::1", 2525, MailTls.TLS)
    assert (route.user, route.password, route.ca_file) == ("me", PASSWORD, secret)
    assert PASSWORD not in repr(route) + repr(target)


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_each_kind_of_encryption_has_its_port(tmp_path: Path, tls: str, port: int) -> None:
    email = load(tmp_path, notify(mail(tls=f'"{tls}"'))).notify[0].email
    assert email is not None
    assert mail_route(email, None, None).port == port


def test_a_password_over_loopback_needs_no_encryption(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    login = {"user": '"me"', "password_file": f'"{secret}"', "tls": '"none"'}
    notify_targets(load(tmp_path, notify(mail(smtp='"localhost:25"', **login))).notify, None)
    error = refused(tmp_path, notify(mail(**login)))
    assert "the password would go to mail.x.org unencrypted" in error.message


def test_a_program_on_the_path_is_found(tmp_path: Path) -> None:
    notify_targets(load(tmp_path, notify('command = ["true"]')).notify, None)


def test_list_needs_no_password_and_no_program(tmp_path: Path) -> None:
    email = mail(user='"me"', password_file='"/none"')
    text = (
        f'ledger = "{tmp_path}/ledger.db"\n'
        + notify(email)
        + notify('command = ["/none", "--token=canaryc0ffee"]', name="hook")
    )
    views, fault = list_notify(load(tmp_path, text), None)
    assert fault is None
    assert [view.how for view in views] == [
        "e-mail to a@x.org by mail.x.org (starttls)",
        "command /none --token=***",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), (" 2 H ", 7200), ("1d", 86_400), ("1.5m", 90), ("0s", 0)],
)
def test_spans_are_read(text: str, seconds: float) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "15 min", "-1m", "1w", "m", "1h30m"])
def test_neighbours_of_spans_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write a time"):
        parse_span(text)


# ---------------------------------------------------------------- refused

WRONG = [
    (notify(), "exactly one of command and email"),
    (notify(COMMAND, MAIL), "exactly one of command and email"),
    (notify(COMMAND) + notify(MAIL), "two [[notify]] are named oncall"),
    (notify('command = [""]'), "empty program"),
    (notify('command = ["/bin/true", "a\\u0000b"]'), "NUL"),
    (notify('command = ["bin/hook"]'), "relative path"),
    (notify('command = ["/no/such/hook"]'), "there is no program /no/such/hook"),
    (notify('command = ["no-such-hook"]'), "there is no program no-such-hook"),
    (notify(mail(to='["On Call <a@x.org>"]')), "email.to On Call <a@x.org> is no e-mail address"),
    (notify(mail(to='["a@x.org\\nBcc: c@x.org"]')), "email.to a@x.org\\nBcc: c@x.org is no"),
    (notify(mail(to='["a"]')), "is no e-mail address"),
    (notify(mail(to='["a@x.org,c@x.org"]')), "is no e-mail address"),
    (notify(mail(to='["a@b@c"]')), "is no e-mail address"),
    (notify(mail(to='["ä@x.org"]')), "is no e-mail address"),
    (notify(mail(to='[""]')), "is no e-mail address"),
    (notify(mail(to='["@x.org"]')), "is no e-mail address"),
    (notify(mail(**{"from": '"-"'})), "email.from - is no e-mail address"),
    (notify(mail(smtp='""')), "there is no host"),
    (notify(mail(smtp='":25"')), "there is no host"),
    (notify(mail(smtp='"mail:port"')), "there is no port after the host"),
    (notify(mail(smtp='"mail.x.org 25"')), "there is no port after the host"),
    (notify(mail(smtp='"smtp://mail.x.org"')), "there is no port after the host"),
    (notify(mail(smtp='"mail:0"')), "a port is from 1 to 65535"),
    (notify(mail(smtp='"mail:65536"')), "a port is from 1 to 65535"),
    (notify(mail(user='"me"')), "one of user and password_file alone"),
    (notify(mail(password_file='"/x"')), "one of user and password_file alone"),
    (notify(mail(tls='"none"', ca_file='"/x"')), "ca_file has no meaning"),
]


@pytest.mark.parametrize(("text", "says"), WRONG, ids=[says for _, says in WRONG])
def test_a_setting_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, says: str) -> None:
    error = refused(tmp_path, text)
    assert error.code == "E_NOTIFY_SETTING"
    assert says in error.message
    assert error.hint
    assert error.message.isprintable()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (notify(COMMAND, "on = []"), "line 4: notify.0.on"),
        (
            notify(COMMAND, 'on = ["death"]'),
            "notify.0.on.0 must be 'health', 'dead', 'expected' or 'forecast'",
        ),
        (notify(COMMAND, 'every = "15 minutes"'), "write a time such as 90s"),
        (notify(COMMAND, "every = 0"), "every must be a number from 1 to 604,800"),
        (notify(COMMAND, 'after = "2d"'), "after must be a number from 0 to 86,400"),
        (notify("command = []"), "notify.0.command"),
        (notify('command = "page me"'), 'must be a list such as ["..."]'),
        (notify(mail(to="[]")), "notify.0.email.to"),
        (notify(mail(tls='"ssl"')), "notify.0.email.tls must be 'starttls', 'tls' or 'none'"),
        (notify('email = { to = ["a@x.org"] }'), "notify.0.email.from is missing"),
        (notify(COMMAND, name="on call"), "notify.0.name"),
    ],
)
def test_a_wrong_type_or_value_is_named_with_its_place(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(ConfigurationError, match="E_CFG_VALUE") as caught:
        load(tmp_path, text)
    assert says in caught.value.message


# ---------------------------------------------------------------- files


def with_password(directory: Path, content: bytes | None, mode: int = 0o600) -> str:
    path = directory / "password"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    return notify(mail(user='"me"', password_file=f'"{path}"'))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory"),
        (b"", "its first line is empty"),
        (b"\nsecret", "its first line is empty"),
        ("päss".encode(), "its first line has other characters than ASCII"),
        (b"x" * 1001, "its first line has more than 1,000 characters"),
        (b"\xff\xfe", "it is not UTF-8 text"),
    ],
)
def test_a_password_file_without_a_password_is_refused(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    error = refused(tmp_path, with_password(tmp_path, content))
    assert error.code == "E_NOTIFY_FILE"
    assert "notify oncall: email.password_file" in error.message
    assert says in error.message
    assert "secret" not in error.message


def test_a_password_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, with_password(tmp_path, PASSWORD.encode(), 0o644))
    assert error.code == "E_CFG_PERMISSIONS"
    assert PASSWORD not in error.message + error.hint
    assert error.hint.startswith("chmod 0600")


def test_an_unreadable_file_is_refused_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(tmp_path, with_password(tmp_path, b"x"))

    def denied(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        notify_targets(settings.notify, None)
    assert caught.value.code == "E_NOTIFY_FILE"


def test_a_missing_file_of_authorities_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, notify(mail(ca_file='"/no/ca.pem"')))
    assert error.code == "E_NOTIFY_FILE"
    assert "email.ca_file /no/ca.pem: No such file or directory" in error.message


def test_a_command_that_others_could_change_is_refused(tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o644)
    text = notify(f'command = ["{hook}"]')
    error = refused(tmp_path, text)
    assert (error.code, error.hint) == ("E_NOTIFY_SETTING", f"chmod +x {hook}")
    hook.chmod(0o777)
    error = refused(tmp_path, text)
    assert error.code == "E_CFG_PERMISSIONS"
    assert "the command of notify oncall" in error.message
    hook.chmod(0o755)
    notify_targets(load(tmp_path, text).notify, None)


def test_a_name_from_the_environment_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKHAUL_NOTIFY", '[{"name": "n", "command": ["/bin/true"]}]')
    assert [one.name for one in load_settings(None).notify] == ["n"]


def test_the_commands_own_variables_are_no_unknown_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that it may run `backhaul show`."""
    for name in ("NAME", "ABOUT", "SUBJECT", "DEAD"):
        monkeypatch.setenv(f"BACKHAUL_NOTIFY_{name}", "x")
    assert load_settings(None).notify == []
    check_notify([], None)
    assert os.environ["BACKHAUL_NOTIFY_NAME"] == "x"


# ---------------------------------------------------------------- backhaul notify test


def tried(directory: Path, text: str, name: str | None = None) -> list[NotifyTrial]:
    return list(try_notify(load(directory, text), directory / "backhaul.toml", name))


def test_each_name_is_tried_and_one_that_fails_stops_none(tmp_path: Path) -> None:
    text = notify('command = ["/bin/false"]', name="bad") + notify(COMMAND, name="good")
    bad, good = tried(tmp_path, text)
    assert (bad.name, bad.error and bad.error.code) == ("bad", "E_NOTIFY_COMMAND")
    assert (good.name, good.error, good.left_out) == ("good", None, "")


def test_a_name_alone_is_tried_alone_whatever_is_wrong_with_others(tmp_path: Path) -> None:
    text = notify('command = ["/no/such/hook"]', name="bad") + notify(COMMAND, name="good")
    assert [one.name for one in tried(tmp_path, text, "good")] == ["good"]


def test_a_name_that_is_none_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="E_NOTIFY_NAME") as caught:
        tried(tmp_path, notify(COMMAND), "on\ncall")
    assert caught.value.hint == "one of oncall"
    assert "on\\ncall" in caught.value.message
    with pytest.raises(ConfigurationError, match="there is no"):
        tried(tmp_path, "", "oncall")
