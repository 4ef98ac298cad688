"""`[lineage]` by a real server: one POST for each event; refused, unavailable, absent, hanging."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backhaul.app.lineage import lineage_target, lineage_url
from backhaul.core.errors import BackhaulError, ConfigurationError, PermanentError, TransientError
from backhaul.core.ports import MessageKey, MessageOrigin
from backhaul.core.ports.replies import ReplyTarget
from backhaul.settings.lineage import LineageSection
from backhaul.settings.model import Settings
from testbed.mail import free_port, scripted
from testbed.receiver import Receiver, receiving
from tests.unit.test_lineage_events import PARENT, check
from tests.unit.test_reply import a_reply
from tests.world import World

KEY = "canaryc0ffeeSECRET"
REPLY = a_reply()


def target(world: World, url: str, **section: Any) -> ReplyTarget:
    lineage = LineageSection(url=url, **section)
    made = lineage_target(Settings(ledger=world.path, lineage=lineage))
    assert made is not None
    return made


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The ledger has the reply's transfer, whose message names its parent run."""
    world = World(tmp_path)
    with world.process() as ports:
        ports.ledger.begin(
            MessageKey(queue="q", message_id="m1"),
            REPLY.transfer_id,
            REPLY.source,
            REPLY.destination,
            ports.clock.now(),
            origin=MessageOrigin(openlineage_parent=PARENT),
        )
    return world


def refused(to: ReplyTarget) -> BackhaulError:
    with pytest.raises(BackhaulError) as caught:
        to.deliver(REPLY)
    assert KEY not in repr(caught.value) + caught.value.hint
    return caught.value


def test_it_is_one_post_with_the_parent_run_and_the_key(world: World, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(f"{KEY}\n")
    key.chmod(0o600)
    with receiving(Receiver(status=201)) as receiver:
        url = f"http://127.0.0.1:{receiver.port}"
        target(world, url, api_key_file=key).deliver(REPLY)
    (one,) = receiver.received
    assert one.path == "/api/v1/lineage"
    assert one.headers["Authorization"] == f"Bearer {KEY}"
    assert one.headers["Content-Type"] == "application/json"
    event = json.loads(one.body)
    check(event)
    assert event["eventType"] == "COMPLETE"
    assert event["run"]["facets"]["parent"]["job"]["name"] == "daily.export"


def test_a_transfer_that_the_ledger_does_not_know_has_no_parent(world: World) -> None:
    with receiving(Receiver()) as receiver:
        to = target(world, f"http://127.0.0.1:{receiver.port}/")
        to.deliver(replace(REPLY, transfer_id="elsewhere"))
    assert "parent" not in json.loads(receiver.received[0].body)["run"]["facets"]


@pytest.mark.parametrize(("status", "kind"), [(503, TransientError), (422, PermanentError)])
def test_a_server_that_refuses_is_called_once(world: World, status: int, kind: type) -> None:
    with receiving(Receiver(status=status)) as receiver:
        assert type(refused(target(world, f"http://127.0.0.1:{receiver.port}"))) is kind
    assert len(receiver.received) == 1


def test_a_wrong_key_is_named(world: World, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    key.chmod(0o600)
    with receiving(Receiver(status=401, body=f"no such key {KEY}".encode())) as receiver:
        to = target(world, f"http://127.0.0.1:{receiver.port}", api_key_file=key)
        assert "api_key_file" in refused(to).hint


def test_where_nobody_listens_it_ends_at_once(world: World) -> None:
    to = target(world, f"http://127.0.0.1:{free_port()}")
    began_s = time.monotonic()
    error = refused(to)
    assert (type(error), error.code) == (TransientError, "E_REPLY_UNREACHABLE")
    assert time.monotonic() - began_s < 5


def test_a_server_that_hangs_costs_the_limit(world: World) -> None:
    def hang(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.recv(1)

    with scripted(hang) as port:
        began_s = time.monotonic()
        error = refused(target(world, f"http://127.0.0.1:{port}", timeout="1s"))
        assert time.monotonic() - began_s < 10
    assert error.code == "E_REPLY_TIMEOUT"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("https://m.example.com", "/api/v1/lineage"),
        ("https://m.example.com/", "/api/v1/lineage"),
        ("https://m.example.com/proxy/", "/proxy/api/v1/lineage"),
        ("https://m.example.com/api/v1/lineage", "/api/v1/lineage"),
        ("https://m.example.com/?tenant=a", "/api/v1/lineage?tenant=a"),
    ],
)
def test_the_endpoint_is_known(text: str, path: str) -> None:
    assert lineage_url(text).target == path


def test_a_plain_url_of_another_machine_is_refused(world: World) -> None:
    with pytest.raises(ConfigurationError) as caught:
        target(world, "http://marquez:5000")
    assert caught.value.code == "E_LINEAGE_SETTING"
    assert "https" in caught.value.message


def test_nothing_is_made_without_a_url(world: World) -> None:
    assert lineage_target(Settings(ledger=world.path)) is None
    assert Settings(ledger=world.path).lineage.wishes == ()
