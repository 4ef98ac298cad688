"""A queue of another account: its role is assumed, with the external id, and may be refused."""

from __future__ import annotations

import boto3
import pytest

from backhaul.app.queues import AgentQueues, ChosenQueue
from backhaul.core.errors import BackhaulError
from backhaul.testing.servers import Moto, clients
from tests.acceptance.proxy import Answer, Proxy

pytestmark = pytest.mark.integration

ACCOUNT = "210987654321"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/reader"
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


def test_the_role_of_a_queue_is_assumed_or_its_refusal_explained(
    moto_server: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(moto_server) as proxy:
        for service in ("SQS", "STS"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", proxy.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto_server.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto_server.secret_key)
        sts = boto3.client("sts", region_name=clients.REGION)
        keys = sts.assume_role(RoleArn=ROLE, RoleSessionName="test")["Credentials"]
        theirs = boto3.client(
            "sqs",
            region_name=clients.REGION,
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["SessionToken"],
        )
        theirs.create_queue(QueueName=QUEUE.text)
        proxy.forget()

        proxy.lie(refuse, to=lambda seen: b"AssumeRole" in seen.body, before=True)
        with pytest.raises(BackhaulError) as caught:
            AgentQueues([QUEUE], lambda one: one.session(None), lambda _fact: None).open()
        assert caught.value.code == "E_AWS_DENIED"
        assert "allow sts:AssumeRole, and this agent in the role's trust policy" in str(
            caught.value.hint
        )
        proxy.be_honest()

        found = AgentQueues([QUEUE], lambda one: one.session(None), lambda _fact: None)
        found.open()
        assert found.queues[0].facts.arn == f"arn:aws:sqs:{clients.REGION}:{ACCOUNT}:roles"
        assumed = [one for one in proxy.seen if b"AssumeRole" in one.body]
        assert all(b"ExternalId=for-us" in one.body for one in assumed)
        assert assumed
