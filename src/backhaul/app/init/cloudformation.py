"""Writes an `Infrastructure` as a CloudFormation template in JSON, which is in YAML's grammar, too.

Texts of a person are plain strings of JSON. None of them is in a `Fn::Sub`, the one function that
would read `${...}` in them. JSON escapes a character above U+FFFF as two, which readers of YAML
refuse: such a character is written as it is.

A stack cannot give an existing bucket a notification. So the buckets that send events are made only
where the stack is created with `CreateBuckets=true`; otherwise the output `BucketNotification…` has
the configuration to merge into the bucket's own.

Source: AWS CloudFormation user guide and template reference, `AWS::SQS::Queue`,
`AWS::SQS::QueuePolicy`, `AWS::S3::Bucket`, `AWS::IAM::ManagedPolicy`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from backhaul.app.init.infrastructure import (
    DEAD_LETTER_ATTRIBUTES,
    MAX_RECEIVE_COUNT,
    OBJECT_EVENTS,
    QUEUE_ATTRIBUTES,
    EventSource,
    Infrastructure,
    Known,
    event_filter,
)

_DESCRIPTION = (
    "Queue, dead-letter queue and permissions for Backhaul, as `backhaul init --cloudformation`"
    " wrote them. Create the stack in the queue's region."
)
_CREATE = "CreateBuckets"
_ESCAPE = re.compile(r"\\(?:(ud[89ab]..\\ud[c-f]..)|.)")  # each escape as a whole
_KEPT = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
_NOTES = {
    "Queue": "How long it keeps messages is how long the cluster may be down. The visibility"
    " timeout is for other readers. maxReceiveCount is above agent.max_attempts: Backhaul"
    " dead-letters a message itself, with its reason, before SQS does it without.",
    "DeadLetterQueue": "Messages stay longer than in the queue, because one that SQS itself moves"
    " keeps its age.",
    "Agent": "No access key is made: it would be in the stack's outputs. Make it once with"
    " `aws iam create-access-key`, or let the agent assume a role.",
    "Bucket": "A bucket has one notification configuration. For a bucket that exists, merge the"
    " output into what `aws s3api get-bucket-notification-configuration` prints, and put both with"
    " `put-bucket-notification-configuration`, which replaces all of it.",
}


def cloudformation(made: Infrastructure) -> str:
    """The template."""
    resources = {
        "DeadLetterQueue": _dead_letter_queue(made),
        "Queue": _queue(made),
        **_policies(made),
        "Agent": _agent(made),
    }
    outputs: dict[str, Any] = {
        "QueueUrl": {"Value": {"Ref": "Queue"}},
        "DeadLetterQueueUrl": {"Value": {"Ref": "DeadLetterQueue"}},
        "SendPolicyArn": {
            "Description": "For whoever leaves messages: attach it to the sender's role or user.",
            "Value": {"Ref": "SendPolicy"},
        },
    }
    template: dict[str, Any] = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": _DESCRIPTION,
        "Rules": {
            "Region": {
                "Assertions": [
                    {
                        "Assert": {"Fn::Equals": [{"Ref": "AWS::Region"}, made.region]},
                        "AssertDescription": f"Create this stack in {made.region}.",
                    }
                ]
            }
        },
    }
    if made.events:
        template["Parameters"] = {
            _CREATE: {
                "Type": "String",
                "AllowedValues": ["true", "false"],
                "Default": "false",
                "Description": "true: the buckets do not exist yet, and this stack makes them.",
            }
        }
        template["Conditions"] = {_CREATE: {"Fn::Equals": [{"Ref": _CREATE}, "true"]}}
    for number, one in enumerate(made.events, 1):
        name = "" if number == 1 else str(number)
        resources[f"Bucket{name}"] = _bucket(one)
        outputs[f"BucketNotification{name}"] = _notification_to_merge(one)
    return _text({**template, "Resources": resources, "Outputs": outputs})


def _text(template: dict[str, Any]) -> str:
    text = json.dumps(template, indent=2)
    return (
        _ESCAPE.sub(lambda match: json.loads(f'"{match[0]}"') if match[1] else match[0], text)
        + "\n"
    )


def _dead_letter_queue(made: Infrastructure) -> dict[str, Any]:
    return {
        "Type": "AWS::SQS::Queue",
        **_kept("DeadLetterQueue"),
        "Properties": {
            "QueueName": made.dead_letter_queue,
            **_fifo(made),
            **DEAD_LETTER_ATTRIBUTES,
            "SqsManagedSseEnabled": True,
        },
    }


def _queue(made: Infrastructure) -> dict[str, Any]:
    return {
        "Type": "AWS::SQS::Queue",
        **_kept("Queue"),
        "Properties": {
            "QueueName": made.queue,
            **_fifo(made),
            **QUEUE_ATTRIBUTES,
            "SqsManagedSseEnabled": True,
            "RedrivePolicy": {
                "deadLetterTargetArn": _known(Known.DEAD_LETTER_ARN),
                "maxReceiveCount": MAX_RECEIVE_COUNT,
            },
        },
    }


def _kept(name: str) -> dict[str, Any]:
    """A stack that is deleted leaves the messages where they are."""
    return {"Metadata": {"Note": _NOTES[name]}, **_KEPT}


def _fifo(made: Infrastructure) -> dict[str, Any]:
    return {"FifoQueue": True} if made.is_fifo else {}


def _policies(made: Infrastructure) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if made.queue_policy is not None:
        found["QueuePolicy"] = {
            "Type": "AWS::SQS::QueuePolicy",
            "Properties": {
                "Queues": [{"Ref": "Queue"}],
                "PolicyDocument": _with_references(made.queue_policy),
            },
        }
    for number, policy in enumerate(made.agent_policies):
        found[_policy_id(number)] = _managed_policy(made.policy_name(number), policy)
    found["SendPolicy"] = _managed_policy(made.send_name, made.send_policy)
    return found


def _policy_id(number: int) -> str:
    return f"AgentPolicy{'' if number == 0 else number + 1}"


def _managed_policy(name: str, policy: dict[str, Any]) -> dict[str, Any]:
    return {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {"ManagedPolicyName": name, "PolicyDocument": _with_references(policy)},
    }


def _agent(made: Infrastructure) -> dict[str, Any]:
    attached = [{"Ref": _policy_id(number)} for number in range(len(made.agent_policies))]
    note = {"Metadata": {"Note": _NOTES["Agent"]}}
    if made.trust is None:
        return {
            "Type": "AWS::IAM::User",
            **note,
            "Properties": {"UserName": made.agent_name, "ManagedPolicyArns": attached},
        }
    return {
        "Type": "AWS::IAM::Role",
        **note,
        "Properties": {
            "RoleName": made.agent_name,
            "AssumeRolePolicyDocument": made.trust,
            "ManagedPolicyArns": attached,
        },
    }


def _bucket(one: EventSource) -> dict[str, Any]:
    return {
        "Type": "AWS::S3::Bucket",
        "Condition": _CREATE,
        "DependsOn": "QueuePolicy",  # S3 checks at once whether it may send
        "Metadata": {"Note": _NOTES["Bucket"]},
        **_KEPT,
        "Properties": {
            "BucketName": one.bucket,
            "NotificationConfiguration": {
                "QueueConfigurations": [
                    {
                        "Event": OBJECT_EVENTS,
                        "Queue": _known(Known.QUEUE_ARN),
                        **(_filter("S3Key", "Rules", prefix) if prefix else {}),
                    }
                    for prefix in one.prefixes
                ]
            },
        },
    }


def _notification_to_merge(one: EventSource) -> dict[str, Any]:
    """As `put-bucket-notification-configuration` takes it, in one text."""
    configurations = [
        {
            "QueueArn": "",
            "Events": [OBJECT_EVENTS],
            **(_filter("Key", "FilterRules", prefix) if prefix else {}),
        }
        for prefix in one.prefixes
    ]
    text = json.dumps({"QueueConfigurations": configurations})
    first, *others = text.split('"QueueArn": ""')
    joined: list[Any] = [first]
    for each in others:
        joined += ['"QueueArn": "', _known(Known.QUEUE_ARN), '"' + each]
    return {
        "Description": "To be merged into the notification configuration of the bucket "
        f"{one.bucket}; putting it replaces what is there.",
        "Value": {"Fn::Join": ["", joined]},
    }


def _filter(kind: str, rules: str, prefix: str) -> dict[str, Any]:
    name = "prefix"
    return {"Filter": {kind: {rules: [{"Name": name, "Value": event_filter(prefix)}]}}}


def _with_references(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_references(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_references(each) for each in value]
    return _known(value) if isinstance(value, Known) else value


def _known(value: Known) -> dict[str, Any]:
    references: dict[Known, dict[str, Any]] = {
        Known.QUEUE_ARN: {"Fn::GetAtt": ["Queue", "Arn"]},
        Known.DEAD_LETTER_ARN: {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]},
        Known.ACCOUNT: {"Ref": "AWS::AccountId"},
    }
    return references[value]
