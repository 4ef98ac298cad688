"""`backhaul replies test`, the JSON of a reply, and the manual's receiver that checks it."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backhaul.adapters.reply.webhook import signature
from backhaul.cli import cli
from backhaul.core.errors import BackhaulError
from backhaul.core.replies.reply import Reply, ReplyEvent
from backhaul.core.replies.trial import trial_reply
from testbed.receiver import Receiver, receiving
from tests.docs.manual import DOCS, fences
from tests.docs.test_schemas import SCHEMAS, Checker
from tests.unit.test_reply import AT, a_reply

SECRET = "canaryc0ffeeSECRET0123456789"
PAGE = DOCS / "replies.md"
ROUTE = '[[route]]\nname = "r"\nsource = ["s3://raw/p/"]\ndestination = ["hdfs://ns/d/"]\n'


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return ["--config", str(tmp_path / "backhaul.toml"), "--ledger", str(tmp_path / "ledger.db")]


def configure(directory: Path, port: int = 9) -> None:
    secret = directory / "secret"
    secret.write_text(f"{SECRET}\n")
    secret.chmod(0o600)
    (directory / "backhaul.toml").write_text(
        f'[[reply]]\nname = "hook"\nwebhook = "http://127.0.0.1:{port}/in?token=abc"\n'
        f'secret_file = "{secret}"\n'
        '[[reply]]\nname = "marker"\nmarker = "_SUCCESS"\n'
        '[[reply]]\nname = "queue"\nsqs = "https://sqs.us-west-2.amazonaws.com/123456789012/q"\n'
    )


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["replies", "test", *words], standalone_mode=False)


def fields(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    schema = json.loads((SCHEMAS / "replies-test.schema.json").read_text())
    assert Checker(schema).accepts(found)
    return found


def accepts(document: dict[str, Any]) -> bool:
    return Checker(json.loads((SCHEMAS / "reply.schema.json").read_text())).accepts(document)


# ---------------------------------------------------------------- replies test


def test_a_test_is_delivered_marked_and_signed(tmp_path: Path, files: list[str]) -> None:
    with receiving(Receiver()) as receiver:
        configure(tmp_path, receiver.port)
        result = run("hook", *files)
    assert (result.return_value, result.output.split(" in ")[0]) == (0, "hook: delivered")
    (got,) = receiver.received
    body = json.loads(got.body)
    assert (body["event"], body["test"]) == ("done", True)
    assert body["transfer"].startswith("test-")
    assert body["key"] == got.headers["Backhaul-Key"]
    assert is_genuine(SECRET, dict(got.headers.items()), got.body)


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(400, "E_REPLY_REFUSED", 65), (302, "E_REPLY_REDIRECT", 65), (500, "E_REPLY_SERVER", 69)],
)
def test_a_refusal_has_its_code_and_fix(
    tmp_path: Path, files: list[str], status: int, code: str, exit_code: int
) -> None:
    with receiving(Receiver(status=status)) as receiver:
        configure(tmp_path, receiver.port)
        plain, as_json = run("hook", *files), run("hook", "--json", *files)
    assert plain.return_value == as_json.return_value == exit_code
    assert plain.output.startswith(f"hook: {code}: ")
    assert "\n  hint: " in plain.output
    found = fields(as_json)
    assert (found["code"], found["is_sent"], found["is_delivered"]) == (code, True, False)
    assert found["hint"]
    for output in (plain.output, as_json.output):
        assert SECRET not in output
        assert "token" not in output


def test_a_dry_run_sends_nothing_and_shows_what_a_receiver_would_get(
    tmp_path: Path, files: list[str]
) -> None:
    with receiving(Receiver()) as receiver:
        configure(tmp_path, receiver.port)
        result, as_json = (
            run("hook", "--dry-run", *files),
            run("hook", "--dry-run", "--json", *files),
        )
    assert receiver.received == []
    head, _, body = result.output.rstrip("\n").partition("\n\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines())
    assert is_genuine(SECRET, headers, body.encode())
    assert SECRET not in result.output + as_json.output
    found = fields(as_json)
    assert (found["is_sent"], found["seconds"]) == (False, None)
    assert accepts(found["reply"])


def test_a_dry_run_of_a_queue_needs_no_aws(tmp_path: Path, files: list[str]) -> None:
    configure(tmp_path)
    result = run("queue", "--dry-run", *files)
    assert result.return_value == 0
    assert accepts(json.loads(result.output))


@pytest.mark.parametrize("name", ["no", "marker"])
def test_a_name_that_cannot_be_tried_is_refused_with_those_that_can(
    tmp_path: Path, files: list[str], name: str
) -> None:
    configure(tmp_path)
    error = run(name, *files).exception
    assert isinstance(error, BackhaulError)
    assert (error.code, error.hint, error.exit_code) == ("E_REPLY_NAME", "one of hook, queue", 64)


def test_without_any_reply_it_shows_how_to_write_one(tmp_path: Path, files: list[str]) -> None:
    (tmp_path / "backhaul.toml").write_text("")
    error = run("out", *files).exception
    assert isinstance(error, BackhaulError)
    assert (error.code, error.exit_code) == ("E_REPLY_SETTING", 78)
    assert "[[reply]]" in error.hint


def test_the_secret_is_in_no_output_even_where_the_receiver_repeats_it(
    tmp_path: Path, files: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with receiving(Receiver(status=500, body=SECRET.encode())) as receiver:
        configure(tmp_path, receiver.port)
        result = run("hook", *files)
    assert result.return_value == 69
    assert SECRET not in caplog.text + result.output


# ---------------------------------------------------------------- what a reply says


@pytest.mark.parametrize(
    "reply",
    [
        a_reply(),
        replace(a_reply(), event=ReplyEvent.DEAD, code="E_X", reason="r", objects=None),
        replace(a_reply(), event=ReplyEvent.HELD, digest=None, size_bytes=None, message_id=None),
        replace(a_reply(), event=ReplyEvent.RESUMED, epoch=0),
        trial_reply("out", AT, "0a"),
    ],
)
def test_every_reply_is_as_its_schema_has_it(reply: Reply) -> None:
    assert accepts(json.loads(reply.body()))


@pytest.mark.parametrize(
    "change",
    [{"v": 2}, {"event": "started"}, {"epoch": -1}, {"transfer": None}, {"objects": "2"}],
)
def test_the_schema_refuses_what_is_no_reply(change: dict[str, Any]) -> None:
    assert not accepts({**a_reply().document(), **change})


def test_the_sample_of_the_manual_is_a_reply() -> None:
    samples = [json.loads(one) for one in fences(PAGE, "json")]
    replies = [one for one in samples if "key" in one]
    assert replies
    assert all(accepts(one) and set(one) == set(a_reply().document()) for one in replies)


# ---------------------------------------------------------------- the manual's receiver


def is_genuine(
    secret: str, headers: dict[str, str], body: bytes, now_s: float | None = None
) -> bool:
    """As the manual has it."""
    (source,) = fences(PAGE, "python")
    names: dict[str, Any] = {}
    exec(compile(source, str(PAGE), "exec"), names)  # noqa: S102 - the manual is ours
    found: bool = names["is_genuine"](secret, headers, body, now_s)
    return found


def test_the_receiver_of_the_manual_refuses_what_is_forged_or_old() -> None:
    body, stamp = b'{"v":1}', "1772350200"
    headers = {
        "Backhaul-Timestamp": stamp,
        "Backhaul-Signature": f"v1={signature(SECRET.encode(), stamp, body)}",
    }
    now_s = float(stamp)
    assert is_genuine(SECRET, headers, body, now_s)
    assert not is_genuine("another", headers, body, now_s)
    assert not is_genuine(SECRET, headers, body + b" ", now_s)
    assert not is_genuine(SECRET, headers, body, now_s + 301)
    assert not is_genuine(SECRET, headers, body, now_s - 301)
    assert not is_genuine(SECRET, {**headers, "Backhaul-Timestamp": "1772350201"}, body, now_s)
    assert not is_genuine(SECRET, {**headers, "Backhaul-Signature": "v1=ü"}, body, now_s)
    assert not is_genuine(SECRET, {}, body, now_s)


# ---------------------------------------------------------------- config check


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ('[[reply]]\nname = "a"\nwebhook = "http://x.org/"\n', "E_REPLY_SETTING"),
        ('[[reply]]\nname = "a"\ncommand = ["/no/such"]\n', "E_REPLY_SETTING"),
        (
            '[[reply]]\nname = "a"\nwebhook = "https://x.org/"\nsecret_file = "/no/such"\n',
            "E_REPLY_FILE",
        ),
        (f'{ROUTE}replies = ["no"]\n', "E_REPLY_SETTING"),
    ],
)
def test_config_check_finds_a_reply_that_cannot_be_used(
    tmp_path: Path, lines: str, code: str
) -> None:
    file = tmp_path / "backhaul.toml"
    file.write_text(lines)
    allow = ("--allow", "s3://acme-raw/click/ -> hdfs://ns/landing/")
    error = CliRunner().invoke(cli, ["config", "check", "--config", str(file), *allow]).exception
    assert isinstance(error, BackhaulError)
    assert (error.code, error.exit_code) == (code, 78)
    assert error.hint
