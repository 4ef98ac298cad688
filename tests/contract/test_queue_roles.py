"""A queue of another account: its role is assumed, with the external id, and may be refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from click.testing import CliRunner, Result

from backhaul.adapters.ledger import open_ledger
from backhaul.app import dlq
from backhaul.app.queues import AgentQueues, ChosenQueue
from backhaul.cli import cli
from backhaul.core.errors import BackhaulError
from backhaul.core.model import TransferState
from backhaul.core.ports import MessageKey
from backhaul.testing.servers import Moto, clients
from tests.acceptance.proxy import Answer, Proxy

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

pytestmark = pytest.mark.integration

ACCOUNT = "210987654321"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/reader"
ARN = f"arn:aws:sqs:{clients.REGION}:{ACCOUNT}:roles"
QUEUE = ChosenQueue(
    text="roles",
    region=clients.REGION,
    label="roles",
    role_arn=ROLE,
    external_id="for-us",
    owner=ACCOUNT,
)


def refuse(answer: Answer) -> None:
    answer.status = 403
    answer.headers = [("Content-Type", "text/xml")]
    answer.body = (
        b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"
        b"<Message>not authorized to perform sts:AssumeRole</Message></Error>"
        b"<RequestId>r</RequestId></ErrorResponse>"
    )


@dataclass(frozen=True, kw_only=True)
class Theirs:
    """The queue of the other account, as that account sees it."""

    proxy: Proxy
    sqs: SQSClient
    url: str
    dead_url: str

    def assumed(self) -> list[bytes]:
        return [one.body for one in self.proxy.seen if b"AssumeRole" in one.body]

    def dead_letter(self, body: str, transfer_id: str) -> None:
        of = {"backhaul.transfer": {"DataType": "String", "StringValue": transfer_id}}
        self.sqs.send_message(QueueUrl=self.dead_url, MessageBody=body, MessageAttributes=of)  # type: ignore[arg-type]

    def bodies(self) -> list[str]:
        """Received, and deleted."""
        found = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)
        for one in found.get("Messages", []):
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=one["ReceiptHandle"])
        return sorted(one["Body"] for one in found.get("Messages", []))


@pytest.fixture
def theirs(moto_server: Moto, monkeypatch: pytest.MonkeyPatch) -> Iterator[Theirs]:
    with Proxy(moto_server) as proxy:
        for service in ("SQS", "STS"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", proxy.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto_server.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto_server.secret_key)
        sts = boto3.client("sts", region_name=clients.REGION)
        keys = sts.assume_role(RoleArn=ROLE, RoleSessionName="test")["Credentials"]
        sqs = boto3.client(
            "sqs",
            region_name=clients.REGION,
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["SessionToken"],
        )
        dead_url = sqs.create_queue(QueueName=f"{QUEUE.text}-dead")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
        redrive = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": 20}
        made = sqs.create_queue(
            QueueName=QUEUE.text, Attributes={"RedrivePolicy": json.dumps(redrive)}
        )
        proxy.forget()
        yield Theirs(proxy=proxy, sqs=sqs, url=made["QueueUrl"], dead_url=dead_url)
        for url in (made["QueueUrl"], dead_url):
            sqs.delete_queue(QueueUrl=url)


def test_the_role_of_a_queue_is_assumed_or_its_refusal_explained(theirs: Theirs) -> None:
    theirs.proxy.lie(refuse, to=lambda seen: b"AssumeRole" in seen.body, before=True)
    with pytest.raises(BackhaulError) as caught:
        AgentQueues([QUEUE], lambda one: one.session(None), lambda _fact: None).open()
    assert caught.value.code == "E_AWS_DENIED"
    assert "allow sts:AssumeRole, and this agent in the role's trust policy" in str(
        caught.value.hint
    )
    theirs.proxy.be_honest()

    found = AgentQueues([QUEUE], lambda one: one.session(None), lambda _fact: None)
    found.open()
    assert found.queues[0].facts.arn == ARN
    assert theirs.assumed()
    assert all(b"ExternalId=for-us" in one for one in theirs.assumed())


def backhaul(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, standalone_mode=False)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No command finds it by itself."""
    (tmp_path / "none.toml").write_text("", "utf-8")
    monkeypatch.setenv("BACKHAUL_CONFIG", str(tmp_path / "none.toml"))
    path = tmp_path / "roles.toml"
    path.write_text(
        f'ledger = "{tmp_path / "ledger.db"}"\n[[queue]]\nname = "{QUEUE.text}"\n'
        f'region = "{QUEUE.region}"\nrole_arn = "{ROLE}"\nexternal_id = "for-us"\n',
        "utf-8",
    )
    path.chmod(0o600)
    return path


def test_commands_reach_the_queue_by_the_role_of_the_configuration_they_are_given(
    theirs: Theirs, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dlq, "POLL_WAIT_S", 0)
    place = (QUEUE.text, QUEUE.region)
    given = ("--config", str(config))
    with closing(open_ledger(config.parent / "ledger.db", create=True)) as ledger:
        now = datetime.now(UTC)
        ledger.begin(MessageKey(queue=ARN, message_id="m"), "t2", "s3://raw/b", "/land", now)
        dead = TransferState.DEAD
        ledger.fail("t2", dead, "E_X", "why", now, has_dead_letter=True)
    theirs.dead_letter("raw/a, /land", "t1")
    theirs.dead_letter("raw/b, /land", "t2")

    # Without the role the own account has no such queue.
    for words in (("dlq", "list", *place), ("send", *place, "s3://raw/c", "/land")):
        missing = backhaul(*words).exception
        assert isinstance(missing, BackhaulError)
        assert missing.code == "E_QUEUE_NOT_FOUND"
    assert theirs.assumed() == []

    listed = backhaul("dlq", "list", *place, "--output", "json", *given)
    assert listed.exit_code == 0, listed
    letters = {
        one["transfer_id"]: one["message_id"] for one in map(json.loads, listed.stdout.splitlines())
    }
    assert set(letters) == {"t1", "t2"}
    shown = backhaul("dlq", "show", *place, letters["t1"], *given)
    assert "raw/a, /land" in shown.stdout
    again = backhaul("dlq", "redrive", *place, letters["t1"], *given)
    assert again.exit_code == 0, again
    assert theirs.bodies() == ["raw/a, /land"]
    retried = backhaul("retry", "t2", "--yes", *given)
    assert retried.exit_code == 0, retried
    assert theirs.bodies() == ["raw/b, /land"]
    theirs.dead_letter("raw/c, /land", "t3")
    deleted = backhaul("dlq", "delete", *place, "--all", "--yes", *given)
    assert deleted.stderr.endswith("1 deleted\n")

    monkeypatch.setenv("BACKHAUL_CONFIG", str(config))
    sent = backhaul("send", *place, "s3://raw/d", "/land")
    assert sent.exit_code == 0, sent
    assert theirs.bodies() == ["s3://raw/d, /land"]
    assert all(b"ExternalId=for-us" in one for one in theirs.assumed())
