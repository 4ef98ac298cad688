"""`[[reply]]` in the configuration: what is taken, and the clear refusal of everything else."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backhaul.app.reply_targets import AwsSessions, ReplyTargets, reply_targets
from backhaul.core.errors import ConfigurationError, PermanentError
from backhaul.core.replies.reply import ReplyEvent
from backhaul.core.replies.trial import trial_reply
from backhaul.settings.load import load_settings
from backhaul.settings.model import Settings
from backhaul.settings.routes import make_routes

QUEUE = "https://sqs.us-west-2.amazonaws.com/123456789012/replies"
QUEUE_ARN = "arn:aws:sqs:eu-west-1:123456789012:replies.fifo"
TOPIC = "arn:aws:sns:us-west-2:123456789012:arrivals"
ROLE = "arn:aws:iam::123456789012:role/send"
SQS, SNS = f'sqs = "{QUEUE}"', f'sns = "{TOPIC}"'
WEBHOOK, COMMAND = 'webhook = "https://hooks.example.com/x"', 'command = ["/bin/true"]'
MARKER = 'marker = "_SUCCESS"'
CANARY = "canaryc0ffeeSECRET"


def load(directory: Path, text: str) -> Settings:
    path = directory / "backhaul.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def reply(*lines: str, name: str = "out") -> str:
    return "\n".join(["[[reply]]", f'name = "{name}"', *lines, ""])


def route(names: str) -> str:
    return (
        '[[route]]\nname = "landing"\nsource = ["s3://raw/p/"]\n'
        f'destination = ["hdfs://ns/d/"]\nreplies = {names}\n'
    )


def targets(settings: Settings, path: Path | None = None) -> ReplyTargets:
    return reply_targets(settings.reply, path, AwsSessions(None))


def checked(directory: Path, text: str) -> None:
    """As a start does it: the settings, the routes, then what is not in the file itself."""
    settings = load(directory, text)
    make_routes(settings, directory / "backhaul.toml", None)
    targets(settings, directory / "backhaul.toml")


def refused(directory: Path, text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        checked(directory, text)
    assert caught.value.hint
    return caught.value


def secret(directory: Path, text: str = f"{CANARY}\nsecond line\n", mode: int = 0o600) -> Path:
    path = directory / "secret"
    path.write_text(text)
    path.chmod(mode)
    return path


# ---------------------------------------------------------------- taken


@pytest.mark.parametrize("line", [SQS, f'sqs = "{QUEUE_ARN}"', SNS, WEBHOOK, COMMAND])
def test_each_kind_is_taken_with_defaults(tmp_path: Path, line: str) -> None:
    settings = load(tmp_path, reply(line))
    assert list(targets(settings)) == ["out"]
    wish = settings.reply[0].wish
    assert (wish.target, wish.held_after_s) == ("out", None)
    assert wish.events == {ReplyEvent.DONE, ReplyEvent.DEAD}


def test_a_marker_is_a_setting_and_no_target(tmp_path: Path) -> None:
    settings = load(tmp_path, reply(MARKER) + route('["out"]'))
    assert list(targets(settings)) == []
    assert settings.reply[0].kind == "marker"
    made = make_routes(settings, None, None)[0]
    assert made.reply_wishes == ()
    assert made.completion_marker == "_SUCCESS"


def test_a_route_without_a_marker_leaves_none(tmp_path: Path) -> None:
    settings = load(tmp_path, reply(MARKER) + reply(SQS, name="queue") + route('["queue"]'))
    assert make_routes(settings, None, None)[0].completion_marker is None


def test_a_route_has_one_marker(tmp_path: Path) -> None:
    text = reply(MARKER) + reply('marker = "_DONE"', name="other")
    error = refused(tmp_path, text + route('["out", "other"]'))
    assert error.code == "E_REPLY_SETTING"
    assert "_DONE and _SUCCESS" in error.message


def test_holds_are_reported_after_the_time_that_is_set(tmp_path: Path) -> None:
    text = reply(SQS, 'on = ["held"]', 'held_after = "2h"') + reply(
        SNS, 'on = ["done", "resumed"]', name="other"
    )
    first, second = load(tmp_path, text).reply
    assert first.wish.events == {ReplyEvent.HELD}
    assert first.wish.held_after_s == 7200
    assert second.wish.held_after_s == 3600


def test_a_webhook_is_taken_with_secret_and_authority(tmp_path: Path) -> None:
    pem = Path(__file__).parents[1] / "data"  # any directory: it is no file
    path = secret(tmp_path)
    settings = load(tmp_path, reply(WEBHOOK, f'secret_file = "{path}"', 'timeout = "5s"'))
    assert CANARY not in repr(targets(settings)["out"]) + repr(settings)
    error = refused(tmp_path, reply(WEBHOOK, f'ca_file = "{pem}"'))
    assert error.code == "E_REPLY_FILE"


def test_a_route_names_each_reply_once(tmp_path: Path) -> None:
    text = reply(SQS) + reply(SNS, name="b") + route('["b", "out", "b"]')
    made = make_routes(load(tmp_path, text), None, None)[0]
    assert [one.target for one in made.reply_wishes] == ["b", "out"]


def test_the_region_of_a_queue_is_that_of_its_url() -> None:
    sessions = AwsSessions(None, "ap-south-1")
    made = reply_targets([], None, sessions)
    for address in (QUEUE, QUEUE_ARN, TOPIC, "http://127.0.0.1:9324/000000000000/q"):
        assert made[address] is made[address]
    assert sorted(region for region, _ in sessions._made) == [
        "ap-south-1",
        "eu-west-1",
        "us-west-2",
    ]


@pytest.mark.parametrize("address", ["no", "arn:aws:s3:::b", "https://x.org/", "file:///etc", ""])
def test_what_is_no_address_is_no_target(address: str) -> None:
    assert targets(Settings()).get(address) is None


def test_an_address_that_is_allowed_no_longer_is_given_up_with_its_own_reason() -> None:
    made = targets(Settings())["http://evil.example/123456789012/q"]
    with pytest.raises(PermanentError) as caught:
        made.deliver(trial_reply("x", datetime(2026, 11, 1, tzinfo=UTC), "n"))
    assert caught.value.code == "E_CFG_TLS"
    assert "evil.example is not https" in caught.value.message


def test_addresses_are_forgotten_when_there_are_many() -> None:
    made = targets(Settings())
    first = made[f"{TOPIC}-0"]
    for number in range(1, 200):
        made.get(f"{TOPIC}-{number}")
    assert len(made._by_address) == 64
    assert made[f"{TOPIC}-0"] is not first
    assert made[f"{TOPIC}-199"] is made[f"{TOPIC}-199"]


def test_a_variable_of_a_command_is_no_unknown_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KEY", "EVENT", "NAME"):
        monkeypatch.setenv(f"BACKHAUL_REPLY_{name}", "x")
    load(tmp_path, reply(SQS))
    assert os.environ["BACKHAUL_REPLY_KEY"] == "x"


# ---------------------------------------------------------------- refused


ACCOUNT = QUEUE.rpartition("/")[0]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "*",
        "https://*",
        "https://sqs.us-west-2.amazonaws.com/*",
        f"{ACCOUNT}/*/x",
        f"{ACCOUNT}/",
        f"{QUEUE}?Action=DeleteQueue",
        f"{ACCOUNT}/../987654321098/q",
        QUEUE.replace("https://", "https://user:pw@"),
        "arn:aws:sns:us-west-2:*",
        TOPIC.replace(":sns:", ":s3:"),
        QUEUE_ARN,
        "replies",
        "file:///etc/passwd",
    ],
)
def test_reply_to_is_addresses_down_to_the_account(tmp_path: Path, address: str) -> None:
    settings = load(tmp_path, route("[]") + f'reply_to = ["{QUEUE}", "{address}"]\n')
    with pytest.raises(ConfigurationError) as caught:
        make_routes(settings, None, None)
    assert caught.value.code == "E_CFG_ROUTE"
    assert "route landing: reply_to has " in caught.value.message
    assert "which is no URL of an SQS queue and no ARN of an SNS topic" in caught.value.message
    assert "pw" not in caught.value.message
    assert "replies-*" in caught.value.hint


PLACE = "123456789012/replies-*"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (f"http://evil.example/{PLACE}", "whose host evil.example is none of SQS's"),
        (f"https://evil.example/{PLACE}", "whose host evil.example is none of SQS's"),
        (f"https://sqs.us-west-2.amazonaws.com.evil.example/{PLACE}", "is none of SQS's"),
        (f"https://sqs.us-west-2.amazonaws.com./{PLACE}", "is none of SQS's"),
        (f"https://169.254.169.254/{PLACE}", "whose host 169.254.169.254 is none of SQS's"),
        (f"http://169.254.169.254/{PLACE}", "whose host 169.254.169.254 is none of SQS's"),
        (f"https://10.0.0.7/{PLACE}", "whose host 10.0.0.7 is none of SQS's"),
        (f"http://0.0.0.0/{PLACE}", "whose host 0.0.0.0 is none of SQS's"),
        (f"http://2130706433/{PLACE}", "whose host 2130706433 is none of SQS's"),
        (f"http://0177.0.0.1/{PLACE}", "whose host 0177.0.0.1 is none of SQS's"),
        (f"http://0x7f.0.0.1/{PLACE}", "whose host 0x7f.0.0.1 is none of SQS's"),
        (f"http://127.1/{PLACE}", "whose host 127.1 is none of SQS's"),
        (f"http://localhost./{PLACE}", "whose host localhost. is none of SQS's"),
        (f"https://metadata.google.internal/{PLACE}", "is none of SQS's"),
        (f"{ACCOUNT}/replies".replace("https", "http"), "which is not https"),
        (f"https://sqs.us-west-2.amazonaws.com:22/{PLACE}", "whose port 22 is none of SQS's"),
        (f"https://sqs.us-west-2.amazonaws.com:99999/{PLACE}", "whose port is none"),
        (f"http://127.0.0.1:0/{PLACE}", "whose port is none"),
        (f"{ACCOUNT}/{'q' * 81}", "whose name is longer than 80 characters"),
        (f"https://[::1]/{PLACE}", "which is no URL"),
        (f"https://[fe80::1]/{PLACE}", "which is no URL"),
        (f"https://u@sqs.us-west-2.amazonaws.com/{PLACE}", "which is no URL"),
        (f"https://sqs.us-west-2.amazonaws.com@evil.example/{PLACE}", "which is no URL"),
        (f"HTTPS://sqs.us-west-2.amazonaws.com/{PLACE}", "which is no URL"),
        (f"https://SQS.us-west-2.amazonaws.com/{PLACE}", "which is no URL"),
        (f"https://*.amazonaws.com/{PLACE}", "which is no URL"),
        (f"https://sqs.*.amazonaws.com/{PLACE}", "which is no URL"),
        (f"https:///{PLACE}", "which is no URL"),
        (f"https://sqs.us-west-2.amazonaws.com/*/{PLACE}", "which is no URL"),
        ("arn:aws:sns:-:123456789012:arrivals", "whose region is none"),
    ],
)
def test_reply_to_admits_no_host_but_those_of_sqs_and_this_machine(
    tmp_path: Path, address: str, message: str
) -> None:
    settings = load(tmp_path, route("[]") + f'reply_to = ["{address}"]\n')
    with pytest.raises(ConfigurationError) as caught:
        make_routes(settings, None, None)
    assert caught.value.code == "E_CFG_ROUTE"
    assert "route landing: reply_to has " in caught.value.message
    assert message in caught.value.message
    assert caught.value.hint


STAND_IN = "http://127.0.0.1:9324/000000000000/replies-*"
VPC = "https://vpce-0a-b.sqs.us-west-2.vpce.amazonaws.com/123456789012/replies-*"
TAKEN = (QUEUE, TOPIC, f"{QUEUE}-*", f"{TOPIC}*", f"{ACCOUNT}/*", STAND_IN, VPC)


@pytest.mark.parametrize("address", [*TAKEN, STAND_IN.replace("127.0.0.1", "localhost")])
def test_reply_to_has_addresses_and_their_beginnings(tmp_path: Path, address: str) -> None:
    settings = load(tmp_path, route("[]") + f'reply_to = ["{address}"]\n')
    assert make_routes(settings, None, None)[0].reply_to == (address,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (reply(), "reply out: it has nowhere to go"),
        (reply(SQS, SNS), "reply out: it has sqs and sns"),
        (reply(COMMAND, MARKER, WEBHOOK), "reply out: it has webhook and command and marker"),
        (reply(SQS) + reply(SNS), "two [[reply]] are named out"),
        (reply('sqs = "replies"'), "sqs replies is a name alone"),
        (reply('sqs = "https://x.org/"'), "sqs: https://x.org/ is no URL of an SQS queue"),
        (reply('sqs = "https://u:pw@x.org/1/q"'), "has credentials in it (not shown)"),
        (reply(f'sqs = "{TOPIC}"'), "is no ARN of an SQS queue"),
        (reply(SQS, 'region = "eu-west-1"'), "region is eu-west-1, and its queue is in us-west-2"),
        (reply(SQS, 'region = "a b"'), "region a b is no name of a region"),
        (reply('sqs = "https://2130706433/123456789012/q"'), "sqs has a number for a host"),
        (reply('sqs = "https://127.1/123456789012/q"'), "sqs has a number for a host"),
        (reply('sqs = "https://0177.0.0.1/123456789012/q"'), "sqs has a number for a host"),
        (reply('sns = "arrivals"'), "sns arrivals is no ARN of an SNS topic"),
        (reply(f'sns = "{QUEUE_ARN}"'), "is no ARN of an SNS topic"),
        (reply('webhook = "http://hooks.example.com/"'), "its webhook is not https"),
        (reply('webhook = "ftp://hooks.example.com/"'), "its webhook does not begin with https"),
        (reply('webhook = "https://u:p@hooks.example.com/"'), "its webhook holds a user"),
        (reply('command = ["bin/hook"]'), "command bin/hook is a relative path"),
        (reply('command = [""]'), "command has an empty program"),
        (reply('command = ["/no/such"]'), "there is no program /no/such"),
        (reply('command = ["/etc/passwd"]'), "/etc/passwd cannot be executed"),
        (reply(COMMAND, 'user = "no-such-user"'), "there is no user no-such-user"),
        (reply('marker = "SUCCESS"'), "marker SUCCESS is no name of a completion marker"),
        (reply('marker = "_a/b"'), "marker _a/b is no name of a completion marker"),
        (reply('marker = "_a\\n"'), "is no name of a completion marker"),
        (reply('marker = "_metadata"'), "marker _metadata is no name of a completion marker"),
        (reply('marker = ".."'), "is no name of a completion marker"),
        (reply(SQS, 'user = "nobody"'), "user has no meaning with sqs"),
        (reply(SNS, "timeout = 5"), "timeout has no meaning with sns"),
        (reply(COMMAND, 'secret_file = "/x"'), "secret_file has no meaning with command"),
        (reply(WEBHOOK, f'role_arn = "{ROLE}"'), "role_arn has no meaning with webhook"),
        (reply(SNS, 'region = "us-west-2"'), "region has no meaning with sns"),
        (reply(MARKER, 'on = ["done"]'), "on has no meaning with marker"),
        (reply(SQS) + route('["out", "no"]'), "route landing: replies has no, and no [[reply]]"),
        (route('["no"]'), "route landing: replies has no, and no [[reply]]"),
        (route('["hive"]'), "route landing: replies has hive, which is no [[reply]]"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    error = refused(tmp_path, text)
    assert error.code == "E_REPLY_SETTING"
    assert message in error.message
    assert "pw" not in error.message


@pytest.mark.parametrize(
    "line",
    [
        "on = []",
        'on = ["started"]',
        "timeout = 61",
        "timeout = 0",
        "held_after = 0",
        'x = "y"',
        'role_arn = "send"',
    ],
)
def test_values_out_of_range_are_refused(tmp_path: Path, line: str) -> None:
    assert refused(tmp_path, reply(WEBHOOK, line)).code in {"E_CFG_VALUE", "E_CFG_UNKNOWN"}


@pytest.mark.parametrize(
    "text",
    [
        reply(f'webhook = ["https://hooks.example.com/{CANARY}"]'),
        reply(f'command = "curl https://hooks.example.com/{CANARY}"'),
        reply(f'webhook = "https://h.io/{CANARY}"', name="a").replace("[[reply]]", "[reply]"),
        f'[hive]\ncommand = "beeline -p {CANARY}"',
        f'[lineage]\nurl = ["{CANARY}"]',
    ],
)
def test_a_wrong_value_that_may_be_a_secret_is_not_shown(tmp_path: Path, text: str) -> None:
    error = refused(tmp_path, text)
    assert error.code == "E_CFG_VALUE"
    assert CANARY[:6] not in f"{error.message} {error.hint}"


def test_a_plain_http_queue_is_for_this_machine_alone(tmp_path: Path) -> None:
    error = refused(tmp_path, reply('sqs = "http://mq.example.com:9324/000000000000/q"'))
    assert error.code == "E_CFG_TLS"


@pytest.mark.parametrize(
    ("mode", "text", "code"),
    [
        (0o644, CANARY, "E_CFG_PERMISSIONS"),
        (0o640, CANARY, "E_CFG_PERMISSIONS"),
        (0o602, CANARY, "E_CFG_PERMISSIONS"),
        (0o600, "", "E_REPLY_FILE"),
        (0o600, "\nsecond", "E_REPLY_FILE"),
        (0o600, "a\x07b", "E_REPLY_FILE"),
        (0o600, "x" * 1001, "E_REPLY_FILE"),
    ],
)
def test_a_secret_is_private_and_one_line(tmp_path: Path, mode: int, text: str, code: str) -> None:
    path = secret(tmp_path, text, mode)
    error = refused(tmp_path, reply(WEBHOOK, f'secret_file = "{path}"'))
    assert error.code == code
    assert CANARY not in error.message + error.hint


def test_a_secret_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path, reply(WEBHOOK, f'secret_file = "{tmp_path}/no"'))
    assert (error.code, "No such file" in error.message) == ("E_REPLY_FILE", True)
    (tmp_path / "bin").write_bytes(b"\xff\xfe")
    (tmp_path / "bin").chmod(0o600)
    error = refused(tmp_path, reply(WEBHOOK, f'secret_file = "{tmp_path}/bin"'))
    assert "not UTF-8" in error.message


def test_an_authority_without_a_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("nothing")
    error = refused(tmp_path, reply(WEBHOOK, f'ca_file = "{tmp_path}/ca"'))
    assert (error.code, "holds no certificate" in error.message) == ("E_REPLY_FILE", True)


def test_a_command_that_others_may_change_is_refused(tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o777)
    assert refused(tmp_path, reply(f'command = ["{hook}"]')).code == "E_CFG_PERMISSIONS"


def test_only_root_chooses_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    error = refused(tmp_path, reply(COMMAND, 'user = "root"'))
    assert "cannot run a command as root" in error.message
    assert '["sudo", "-n", "-u", "root", "/bin/true"]' in error.hint
