"""One suite for all reply targets, each at its real other side: what they promise the outbox."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import psutil
import pytest

from backhaul.app.reply_targets import AwsSessions, reply_targets
from backhaul.core.errors import BackhaulError, OutageError, PermanentError, TransientError
from backhaul.core.ports.replies import BatchReplyTarget, ReplyTarget
from backhaul.core.replies.reply import Reply, ReplyEvent, reply_key
from backhaul.settings.reply import ReplySettings
from backhaul.testing.servers import Moto, clients
from testbed import ElasticMQ
from testbed.receiver import Receiver, receiving
from tests.unit.test_reply import a_reply
from tests.world import eventually

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

pytestmark = pytest.mark.integration

DONE = a_reply()
DEAD = replace(
    DONE, event=ReplyEvent.DEAD, key=reply_key("t1", 3, ReplyEvent.DEAD), code="E_SRC_EMPTY"
)
KINDS = ["sqs", "sqs_fifo", "sqs_moto_fifo", "sns", "sns_fifo", "webhook", "command"]


@dataclass
class Side:
    """A target, what has come to its other side, and the target once that side is gone.

    Attributes:
        came: The JSON of each delivery, in order.
    """

    target: ReplyTarget
    came: Callable[[], list[dict[str, Any]]]
    gone: ReplyTarget


def made(**settings: Any) -> ReplyTarget:
    one = ReplySettings(name="out", **settings)
    return reply_targets([one], None, AwsSessions(None))["out"]


def use(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        if name.startswith("AWS_") or name.lower() == "no_proxy":
            monkeypatch.setenv(name, value)


def taken(raw: SQSClient, url: str) -> list[dict[str, Any]]:
    """All messages of a queue, deleted as a receiver does it; with their attributes as `_`."""
    found = []
    while messages := raw.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0, MessageAttributeNames=["All"]
    ).get("Messages"):
        for one in messages:
            raw.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
            attributes = one.get("MessageAttributes", {})
            texts = {name: value["StringValue"] for name, value in attributes.items()}
            found.append({**json.loads(one["Body"]), "_": texts})
    return found


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Side]:
    def make(server: ElasticMQ | Moto, *, fifo: bool) -> Side:
        use(monkeypatch, clients.environment(sqs=server))
        raw = clients.sqs_client(server)
        name = f"r-{uuid.uuid4().hex[:12]}{'.fifo' if fifo else ''}"
        url = raw.create_queue(QueueName=name, Attributes={"FifoQueue": "true"} if fifo else {})[
            "QueueUrl"
        ]
        gone = url.replace(name, f"gone-{name}")
        return Side(made(sqs=url), lambda: taken(raw, url), made(sqs=gone))

    return make


def sns_client(server: Moto) -> Any:
    return boto3.client(
        "sns",
        region_name=clients.REGION,
        endpoint_url=server.endpoint,
        aws_access_key_id="k",
        aws_secret_access_key="s",
    )


@pytest.fixture
def sns(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Side]:
    """A topic, and a queue that subscribes to it with raw delivery."""

    def make(server: Moto, *, fifo: bool) -> Side:
        use(monkeypatch, clients.environment(sqs=server))
        monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", server.endpoint)
        raw, topics = clients.sqs_client(server), sns_client(server)
        name = f"r-{uuid.uuid4().hex[:12]}{'.fifo' if fifo else ''}"
        fifos = {"FifoQueue": "true"} if fifo else {}
        url = raw.create_queue(QueueName=name, Attributes=fifos)["QueueUrl"]  # type: ignore[arg-type]
        of_queue = raw.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        arn = topics.create_topic(Name=name, Attributes={"FifoTopic": "true"} if fifo else {})[
            "TopicArn"
        ]
        topics.subscribe(
            TopicArn=arn,
            Protocol="sqs",
            Endpoint=of_queue["Attributes"]["QueueArn"],
            Attributes={"RawMessageDelivery": "true"},
        )
        return Side(made(sns=arn), lambda: taken(raw, url), made(sns=f"{arn[:40]}gone-{name}"))

    return make


@pytest.fixture(params=KINDS)
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    kind = request.param
    if kind == "webhook":
        with receiving(Receiver()) as receiver:
            gone = receiving(Receiver())
            port = gone.__enter__().port
            gone.__exit__(None, None, None)
            yield Side(
                made(webhook=f"http://127.0.0.1:{receiver.port}/"),
                lambda: [json.loads(one.body) for one in receiver.received],
                made(webhook=f"http://127.0.0.1:{port}/"),
            )
    elif kind == "command":
        script, into = tmp_path / "hook", tmp_path / "came"
        script.write_text(f"#!/bin/sh\ncat >> {shlex.quote(str(into))}\n")
        script.chmod(0o755)
        yield Side(
            made(command=[str(script)]),
            lambda: [json.loads(line) for line in into.read_text().splitlines()],
            made(command=["/bin/false"]),
        )
    else:
        server = request.getfixturevalue("elasticmq" if kind.startswith("sqs_") else "moto_server")
        if kind in {"sqs", "sqs_fifo"}:
            server = request.getfixturevalue("elasticmq")
        if kind == "sqs_moto_fifo":
            server = request.getfixturevalue("moto_server")
        yield request.getfixturevalue(kind[:3])(server, fifo=kind.endswith("fifo"))


# ---------------------------------------------------------------- the suite


def test_the_body_comes_as_it_is(side: Side) -> None:
    side.target.deliver(DONE)
    side.target.deliver(DEAD)
    came = side.came()
    assert [{k: v for k, v in one.items() if k != "_"} for one in came] == [
        DONE.document(),
        DEAD.document(),
    ]


def test_a_second_delivery_has_the_same_key_and_body(side: Side) -> None:
    side.target.deliver(DONE)
    side.target.deliver(DONE)
    came = side.came()
    assert {one["key"] for one in came} == {DONE.key}
    assert len({json.dumps(one, sort_keys=True) for one in came}) == 1


def test_another_side_that_is_gone_is_tried_again(side: Side) -> None:
    with pytest.raises(BackhaulError) as caught:
        side.gone.deliver(DONE)
    assert isinstance(caught.value, TransientError | OutageError)
    assert not isinstance(caught.value, PermanentError)
    assert caught.value.hint
    assert caught.value.message.isprintable()


def test_text_of_others_breaks_nothing(side: Side) -> None:
    hostile = "s3://b/a\r\nX: y\x00'\"$(id)\u202e\U0001f600;--"
    reply = replace(
        DEAD, key=reply_key("t2", 1, ReplyEvent.DEAD), source=hostile, reason=hostile * 20
    )
    side.target.deliver(reply)
    (came,) = side.came()
    assert came["source"] == hostile


# ---------------------------------------------------------------- of SQS and SNS alone


def sent(request: pytest.FixtureRequest, kind: str, reply: Reply, times: int = 1) -> Any:
    server = "moto_server" if kind != "sqs" else "elasticmq"
    one = request.getfixturevalue(kind)(request.getfixturevalue(server), fifo=times > 1)
    for _ in range(times):
        one.target.deliver(reply)
    return one.came()


@pytest.mark.parametrize("kind", ["sqs", "sns"])
def test_attributes_choose_without_reading_the_body(
    kind: str, request: pytest.FixtureRequest
) -> None:
    (came,) = sent(request, kind, DEAD)
    assert came["_"] == {
        "event": "dead",
        "route": "sales",
        "key": DEAD.key,
        "code": "E_SRC_EMPTY",
    }


@pytest.mark.parametrize("kind", ["sqs", "sns"])
def test_fifo_drops_the_second_copy_of_a_key(kind: str, request: pytest.FixtureRequest) -> None:
    assert len(sent(request, kind, DONE, times=3)) == 1


def test_a_topic_that_is_not_there_is_named(sns: Callable[..., Side], moto_server: Moto) -> None:
    with pytest.raises(TransientError, match="E_TOPIC_NOT_FOUND") as caught:
        sns(moto_server, fifo=False).gone.deliver(DONE)
    assert "gone-" in caught.value.message


def test_a_queue_that_is_not_there_is_named(sqs: Callable[..., Side], elasticmq: ElasticMQ) -> None:
    with pytest.raises(OutageError, match="E_QUEUE_NOT_FOUND") as caught:
        sqs(elasticmq, fifo=False).gone.deliver(DONE)
    assert "gone-" in caught.value.message


def test_an_address_of_a_message_is_a_target_too(
    sqs: Callable[..., Side], elasticmq: ElasticMQ
) -> None:
    one = sqs(elasticmq, fifo=False)
    raw = clients.sqs_client(elasticmq)
    url = raw.create_queue(QueueName=f"r-{uuid.uuid4().hex[:12]}")["QueueUrl"]
    targets = reply_targets([], None, AwsSessions(None))
    targets[url].deliver(DONE)
    (came,) = taken(raw, url)
    assert came["key"] == DONE.key
    assert targets[url] is targets[url]
    assert list(targets) == []
    assert one.came() == []


def test_a_role_is_assumed_first(
    moto_server: Moto, sqs: Callable[..., Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs(moto_server, fifo=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto_server.endpoint)
    raw = clients.sqs_client(moto_server)
    url = raw.create_queue(QueueName=f"r-{uuid.uuid4().hex[:12]}")["QueueUrl"]
    sessions, role = AwsSessions(None), "arn:aws:iam::123456789012:role/send"
    one = ReplySettings(name="out", sqs=url, role_arn=role)
    reply_targets([one], None, sessions)["out"].deliver(DONE)
    assert [one["key"] for one in taken(raw, url)] == [DONE.key]
    keys = sessions.of(clients.REGION, role).credentials.get_frozen_credentials()
    assert str(keys.access_key).startswith("ASIA")
    assert keys.token
    assert sessions.of(clients.REGION).credentials.get_frozen_credentials().token is None


# ---------------------------------------------------------------- of the command alone


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., ReplyTarget]:
    def make(lines: str, **settings: Any) -> ReplyTarget:
        path = tmp_path / "hook"
        path.write_text(f"#!/bin/sh\ncd {shlex.quote(str(tmp_path))}\n{lines}\n")
        path.chmod(0o755)
        return made(command=[str(path), "one argument", "$HOME"], **settings)

    return make


def test_a_command_has_key_and_event_and_no_secret(
    script: Callable[..., ReplyTarget], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canaryc0ffee")
    script('env > env; printf "%s|" "$@" > arguments').deliver(DEAD)
    lines = (tmp_path / "env").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    ours = {name: value for name, value in found.items() if name.startswith("BACKHAUL_")}
    assert ours == {
        "BACKHAUL_REPLY_KEY": DEAD.key,
        "BACKHAUL_REPLY_EVENT": "dead",
        "BACKHAUL_REPLY_NAME": "out",
    }
    assert "canaryc0ffee" not in str(found)
    assert (tmp_path / "arguments").read_text() == "one argument|$HOME|"


def test_a_command_that_hangs_is_killed_with_its_children(
    script: Callable[..., ReplyTarget], tmp_path: Path
) -> None:
    with pytest.raises(TransientError, match="E_REPLY_TIMEOUT") as caught:
        script("sleep 3600 & echo $! > child; echo waiting; wait", timeout=1).deliver(DONE)
    assert "ran for 1 s: waiting" in caught.value.message
    child = int((tmp_path / "child").read_text())
    eventually(lambda: not psutil.pid_exists(child) or is_zombie(child))


def test_an_exit_code_is_shown_with_the_last_words(script: Callable[..., ReplyTarget]) -> None:
    with pytest.raises(TransientError, match="E_REPLY_COMMAND") as caught:
        script("echo no such table >&2; exit 3").deliver(DONE)
    assert caught.value.message.endswith("ended with 3: no such table")


def is_zombie(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may choose another user")
def test_a_command_runs_as_its_own_user() -> None:
    who = made(command=["/bin/sh", "-c", "id -un; id -Gn; echo $HOME $USER; exit 3"], user="nobody")
    with pytest.raises(TransientError, match="E_REPLY_COMMAND") as caught:
        who.deliver(DONE)
    assert caught.value.message.endswith(": nobody nogroup /nonexistent nobody")


@pytest.mark.parametrize("fifo", [False, True])
def test_a_batch_arrives_whole_and_of_a_fifo_queue_one_by_one(
    elasticmq: ElasticMQ, sqs: Callable[..., Side], *, fifo: bool
) -> None:
    side = sqs(elasticmq, fifo=fifo)
    replies = [replace(DONE, key=f"t{number}-1-done") for number in range(10)]
    assert isinstance(side.target, BatchReplyTarget)
    taken = side.target.deliver_batch(replies)
    assert taken == (frozenset() if fifo else {one.key for one in replies})
    assert {one["key"] for one in side.came()} == taken
    if not fifo:
        assert isinstance(side.gone, BatchReplyTarget)
        with pytest.raises(OutageError) as caught:
            side.gone.deliver_batch(replies)
        assert caught.value.code == "E_QUEUE_NOT_FOUND"


def test_a_batch_that_is_too_large_is_refused_as_a_whole(
    moto_server: Moto, sqs: Callable[..., Side]
) -> None:
    side = sqs(moto_server, fifo=False)
    large = replace(DONE, source="s3://b/" + "x" * 120_000)
    assert isinstance(side.target, BatchReplyTarget)
    with pytest.raises(PermanentError) as caught:
        side.target.deliver_batch([replace(large, key=f"{number}") for number in range(10)])
    assert caught.value.code == "E_REPLY_REFUSED"
    assert side.came() == []
