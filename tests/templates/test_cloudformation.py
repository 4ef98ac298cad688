"""The CloudFormation template of `backhaul init`: by cfn-lint, and applied to moto.

moto proves little of it: it makes queues, managed policies and users, each checked here by its own
API, and silently leaves out queue policies, notifications of buckets and the policies of a user.
The first two are put by their own APIs, with the template's own values, and an object then has to
bring a message.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.config import Config
from cfnlint import api as cfn_lint

from backhaul.app.doctor import generated
from backhaul.app.doctor.context import read_context
from backhaul.app.doctor.finding import State
from backhaul.app.init.cloudformation import cloudformation
from backhaul.app.init.configuration import configuration_text
from backhaul.app.init.infrastructure import event_filter, infrastructure
from backhaul.core.model import Source
from backhaul.testing.servers import Moto
from tests.templates.answers import VARIANTS, but, hostile

pytestmark = pytest.mark.integration

REGION = "us-west-2"
ACCOUNT = "123456789012"
QUEUE_ARN = f"arn:aws:sqs:{REGION}:{ACCOUNT}:"
# Wishes of cfn-lint that are no faults: a key of its own for every resource; Fn::Sub, which would
# read `${...}` in what a person typed.
WISHES = {"I4010", "I1022"}
LINTED = ("events-of-two-buckets", "senders-and-keys", "role", "fifo", "many-prefixes")


def template_of(name: str) -> str:
    return cloudformation(infrastructure(VARIANTS[name]))


def faults(text: str) -> list[str]:
    return [str(one) for one in cfn_lint.lint_all(text) if one.rule.id not in WISHES]


def resolved(value: Any) -> Any:
    """References replaced as CloudFormation would, for the queues of the plain answers."""
    if isinstance(value, dict):
        if value == {"Fn::GetAtt": ["Queue", "Arn"]}:
            return f"{QUEUE_ARN}my-queue"
        if value == {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}:
            return f"{QUEUE_ARN}my-queue-dead"
        if value == {"Ref": "AWS::AccountId"}:
            return ACCOUNT
        if set(value) == {"Fn::Join"}:
            separator, parts = value["Fn::Join"]
            return separator.join(resolved(parts))
        return {name: resolved(each) for name, each in value.items()}
    return [resolved(each) for each in value] if isinstance(value, list) else value


# ---------------------------------------------------------------- cfn-lint


@pytest.mark.parametrize("name", LINTED)
def test_cfn_lint_finds_nothing(name: str) -> None:
    assert faults(template_of(name)) == []


def test_cfn_lint_finds_a_fault() -> None:
    text = template_of("plain")
    assert faults(text.replace("604800", "9999999"))
    assert faults(text.replace('"Queue",\n', '"Quueue",\n'))
    assert faults(text.replace("sqs:ReceiveMessage", "sqs:RecieveMessage"))


def test_no_text_of_a_person_becomes_anything_else() -> None:
    plain = json.loads(template_of("events"))
    every = hostile(1, 100)
    for number, answers in enumerate(every):
        made = infrastructure(answers)
        text = cloudformation(made)
        found = json.loads(text)
        assert set(found["Resources"]) == set(plain["Resources"])
        (policy,) = made.agent_policies
        written = resolved(found["Resources"]["AgentPolicy"]["Properties"]["PolicyDocument"])
        assert written["Statement"][2:] == policy["Statement"][2:]
        merged = json.loads(resolved(found["Outputs"]["BucketNotification"]["Value"]))
        assert rules(merged, "Key", "FilterRules") == filters_of(answers.sources[0].key)
        bucket = found["Resources"]["Bucket"]["Properties"]["NotificationConfiguration"]
        assert rules(bucket, "S3Key", "Rules") == filters_of(answers.sources[0].key)
        assert yaml.safe_load(text) == found
        if number < 2:
            assert faults(text) == []


def rules(configuration: dict[str, Any], kind: str, name: str) -> list[str]:
    found = []
    for one in configuration["QueueConfigurations"]:
        found += [rule["Value"] for rule in one.get("Filter", {kind: {name: []}})[kind][name]]
    return found


def filters_of(key: str) -> list[str]:
    return [event_filter(key)] if key else []


def test_stack_in_another_region_is_refused_by_the_template() -> None:
    (rule,) = json.loads(template_of("plain"))["Rules"].values()
    (assertion,) = rule["Assertions"]
    assert assertion["Assert"] == {"Fn::Equals": [{"Ref": "AWS::Region"}, REGION]}


# ---------------------------------------------------------------- moto


class Aws:
    """Clients of moto in the stack's region, and the stack's template."""

    def __init__(self, server: Moto, template: dict[str, Any]) -> None:
        self.endpoint = server.endpoint
        self.template = template

    def client(self, service: str) -> Any:
        return boto3.client(  # type: ignore[call-overload] # by a variable
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id="a",
            aws_secret_access_key="b",
            config=Config(proxies={}, s3={"addressing_style": "path"}),
        )


ANSWERS = but(takes_events=True, sources=(Source(bucket="init-events", key="click/"),))


@pytest.fixture(scope="module")
def aws(moto_server: Moto) -> Aws:
    text = cloudformation(infrastructure(ANSWERS))
    found = Aws(moto_server, json.loads(text))
    parameters = [{"ParameterKey": "CreateBuckets", "ParameterValue": "true"}]
    cloud = found.client("cloudformation")
    cloud.create_stack(StackName="init", TemplateBody=text, Parameters=parameters)
    (stack,) = cloud.describe_stacks(StackName="init")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return found


def test_queues_are_made_with_their_attributes(aws: Aws) -> None:
    sqs = aws.client("sqs")
    attributes = {
        name: sqs.get_queue_attributes(
            QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"], AttributeNames=["All"]
        )["Attributes"]
        for name in ("my-queue", "my-queue-dead")
    }
    assert attributes["my-queue"]["MessageRetentionPeriod"] == "604800"
    assert attributes["my-queue"]["VisibilityTimeout"] == "120"
    assert attributes["my-queue"]["ReceiveMessageWaitTimeSeconds"] == "20"
    assert attributes["my-queue-dead"]["MessageRetentionPeriod"] == "1209600"
    redrive = json.loads(attributes["my-queue"]["RedrivePolicy"])
    assert redrive == {
        "deadLetterTargetArn": attributes["my-queue-dead"]["QueueArn"],
        "maxReceiveCount": 20,
    }


def test_policy_of_the_agent_is_made_as_it_was_decided(aws: Aws) -> None:
    iam = aws.client("iam")
    assert iam.get_user(UserName="backhaul-my-queue")["User"]["UserName"] == "backhaul-my-queue"
    arn = f"arn:aws:iam::{ACCOUNT}:policy/backhaul-my-queue"
    policy = iam.get_policy(PolicyArn=arn)["Policy"]
    version = iam.get_policy_version(PolicyArn=arn, VersionId=policy["DefaultVersionId"])
    document = version["PolicyVersion"]["Document"]
    (expected,) = infrastructure(ANSWERS).agent_policies
    assert [one["Sid"] for one in document["Statement"]] == [
        one["Sid"] for one in expected["Statement"]
    ]
    assert document["Statement"][0]["Resource"] == f"{QUEUE_ARN}my-queue"
    assert document["Statement"][2:] == expected["Statement"][2:]


def test_object_in_the_bucket_brings_a_message_and_doctor_compares_what_is_live(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moto's CloudFormation makes neither policy nor notification: both by their own APIs."""
    sqs, s3 = aws.client("sqs"), aws.client("s3")
    url = sqs.get_queue_url(QueueName="my-queue")["QueueUrl"]
    resources = resolved(aws.template["Resources"])
    policy = resources["QueuePolicy"]["Properties"]["PolicyDocument"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    held = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]
    assert json.loads(held["Policy"]) == policy
    stack = aws.client("cloudformation").describe_stacks(StackName="init")["Stacks"][0]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
    merged = json.loads(outputs["BucketNotification"])
    s3.put_bucket_notification_configuration(Bucket="init-events", NotificationConfiguration=merged)
    for key in ("click/day/a.csv", "other/b.csv"):
        s3.put_object(Bucket="init-events", Key=key, Body=b"1")
    answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    keys = [
        record["s3"]["object"]["key"]
        for one in answer["Messages"]
        for record in json.loads(one["Body"]).get("Records", [])
    ]
    assert [key.replace("%2F", "/") for key in keys] == ["click/day/a.csv"]
    compared(aws, url, tmp_path, monkeypatch)


def compared(aws: Aws, url: str, at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor` finds no difference to what was generated, and each that is then planted."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    file = at / "backhaul.toml"
    file.write_text(configuration_text(replace(ANSWERS, destination="file:///landing/")))
    file.chmod(0o600)
    context = read_context(config=file, queue=ANSWERS.queue, region=REGION)
    assert context.fault is None
    found = list(generated.queue_and_buckets(context))
    assert {one.check: one.state for one in found} == dict.fromkeys(
        ("init.queue", "init.policy", "init.notification"), State.OK
    )
    aws.client("sqs").set_queue_attributes(
        QueueUrl=url, Attributes={"MessageRetentionPeriod": "3600", "Policy": ""}
    )
    aws.client("s3").put_bucket_notification_configuration(
        Bucket="init-events", NotificationConfiguration={}
    )
    found = [one for one in generated.queue_and_buckets(context) if one.state is State.WARNING]
    assert {one.check for one in found} == {"init.queue", "init.notification"}
    assert all(one.fix for one in found)
