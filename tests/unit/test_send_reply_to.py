"""`backhaul send --reply-to`: the message that is sent, and what is refused before it is."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from backhaul.app.send import ELSEWHERE_FS, body_of
from backhaul.cli import cli
from backhaul.core.errors import BadMessage
from backhaul.core.model import Options
from backhaul.core.requests.body import parse_message

QUEUE = "https://sqs.us-west-2.amazonaws.com/123456789012/replies"
TOPIC = "arn:aws:sns:us-west-2:123456789012:arrivals"
PLACE = ("s3://raw/p/", "/landing/p")


@pytest.mark.parametrize("address", [QUEUE, TOPIC])
def test_it_is_in_the_message_as_the_agent_reads_it(address: str) -> None:
    body = body_of(*PLACE, Options(), address)
    assert json.loads(body)["reply_to"] == address
    assert parse_message(body, default_fs=ELSEWHERE_FS).reply_to == address
    assert body_of(*PLACE, Options()) == "s3://raw/p/, /landing/p"


@pytest.mark.parametrize(
    "address",
    ["", "replies", "https://hooks.example.com/x", f"{QUEUE}?a=b", f"{QUEUE}\n", f"{QUEUE}*"],
)
def test_what_is_no_address_is_refused_before_anything_is_sent(address: str) -> None:
    with pytest.raises(BadMessage) as caught:
        body_of(*PLACE, Options(), address)
    assert caught.value.code == "E_MSG_RANGE"
    assert caught.value.message.isprintable()
    assert caught.value.hint


def test_the_option_reaches_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    def sent(*_: object, **named: object) -> str:
        given.update(named)
        return "5fb1-a"

    monkeypatch.setattr("backhaul.app.send.send_message", sent)
    words = ["send", "q", "us-west-2", *PLACE, "--reply-to", QUEUE]
    assert CliRunner().invoke(cli, words).output == "5fb1-a\n"
    assert given["reply_to"] == QUEUE
