"""What is live against what `backhaul init` would make: only what is worse, each with its fix."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from backhaul.app.init.comparison import (
    LiveQueue,
    notification_differences,
    policy_differences,
    queue_differences,
)
from backhaul.app.init.infrastructure import EventSource, Known, queue_policy

ARN = "arn:aws:sqs:us-west-2:123456789012:my-queue"
URL = "https://sqs.us-west-2.amazonaws.com/123456789012/my-queue"
SOURCE = EventSource(bucket="acme-raw", prefixes=("click/",))
GENERATED = {
    "QueueArn": ARN,
    "MessageRetentionPeriod": "604800",
    "RedrivePolicy": json.dumps({"deadLetterTargetArn": f"{ARN}-dead", "maxReceiveCount": 20}),
    "SqsManagedSseEnabled": "true",
}
DEAD = {
    "QueueArn": f"{ARN}-dead",
    "MessageRetentionPeriod": "1209600",
    "SqsManagedSseEnabled": "true",
}


def live(queue: dict[str, str] | None = None, dead: dict[str, str] | None = None) -> LiveQueue:
    return LiveQueue(
        url=URL,
        attributes={**GENERATED, **(queue or {})},
        dead_letter_url=f"{URL}-dead",
        dead_letter={**DEAD, **(dead or {})},
    )


def generated_policy() -> dict[str, Any]:
    policy = queue_policy([SOURCE], [], "aws")
    assert policy is not None
    text = json.dumps(policy, default=lambda one: ARN if one is Known.QUEUE_ARN else "123456789012")
    found: dict[str, Any] = json.loads(text)
    return found


def with_policy(policy: object) -> LiveQueue:
    return live({"Policy": policy if isinstance(policy, str) else json.dumps(policy)})


def test_generated_queue_has_no_difference_to_itself() -> None:
    assert not list(queue_differences(live()))
    assert not list(policy_differences(with_policy(generated_policy()), [SOURCE], "aws"))
    assert not list(notification_differences(ARN, SOURCE, notification("click/")))


def test_what_is_better_is_no_difference() -> None:
    longer = {"MessageRetentionPeriod": "1209600", "VisibilityTimeout": "30"}
    many = {"RedrivePolicy": json.dumps({"maxReceiveCount": "1000"})}
    key = {"KmsMasterKeyId": "alias/x", "SqsManagedSseEnabled": "false"}
    assert not list(queue_differences(live({**longer, **many, **key})))


def test_what_was_not_read_is_not_compared() -> None:
    unread = LiveQueue(url=URL, attributes={"QueueArn": ARN})
    assert not list(queue_differences(unread))
    assert not list(policy_differences(unread, [SOURCE], "aws"))


@pytest.mark.parametrize(
    ("queue", "dead", "what", "said", "fixed"),
    [
        (
            {"MessageRetentionPeriod": "345600"},
            {},
            "queue",
            "the queue keeps messages for 4 days, and the generated one for 7 days",
            {"MessageRetentionPeriod": "604800"},
        ),
        (
            {"RedrivePolicy": json.dumps({"deadLetterTargetArn": "d", "maxReceiveCount": "5"})},
            {},
            "queue",
            "maxReceiveCount is 5, and that of the generated queue is 20",
            {"RedrivePolicy": '{"deadLetterTargetArn": "d", "maxReceiveCount": 20}'},
        ),
        (
            {"SqsManagedSseEnabled": "false"},
            {},
            "queue",
            "not encrypted at rest",
            {"SqsManagedSseEnabled": "true"},
        ),
        (
            {},
            {"MessageRetentionPeriod": "700000"},
            "dead_letter",
            "the dead-letter queue keeps messages for 8 days",
            {"MessageRetentionPeriod": "1209600"},
        ),
        (
            {},
            {"SqsManagedSseEnabled": "false"},
            "dead_letter",
            "not encrypted at rest",
            {"SqsManagedSseEnabled": "true"},
        ),
    ],
)
def test_attribute_that_is_worse_is_named_with_the_command_that_sets_it(
    queue: dict[str, str], dead: dict[str, str], what: str, said: str, fixed: dict[str, str]
) -> None:
    (one,) = queue_differences(live(queue, dead))
    assert one.what == what
    assert said in one.text
    words = shlex.split(one.fix[0])
    assert words[:5] == ["aws", "sqs", "set-queue-attributes", "--queue-url", words[4]]
    assert words[4] == (URL if what == "queue" else f"{URL}-dead")
    assert json.loads(words[-1]) == fixed


def test_broken_redrive_policy_is_not_compared() -> None:
    for policy in ("no json", "[]", '{"maxReceiveCount": "many"}'):
        assert not list(queue_differences(live({"RedrivePolicy": policy})))


# ---------------------------------------------------------------- the queue's policy


def changed(condition: dict[str, Any], **more: Any) -> LiveQueue:
    policy = generated_policy()
    policy["Statement"][0] = {**policy["Statement"][0], "Condition": condition, **more}
    return with_policy(policy)


def test_policy_without_the_bucket_lets_every_bucket_send() -> None:
    account = {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    (one,) = policy_differences(changed(account), [SOURCE], "aws")
    assert "any bucket of any account" in one.text
    assert "get-queue-attributes" in one.fix[1]


def test_policy_of_another_bucket_does_not_let_this_one_send() -> None:
    other = {
        "ArnLike": {"AWS:SourceArn": ["arn:aws:s3:::other", "arn:aws:s3:::acme-ra"]},
        "StringEquals": {"aws:SourceAccount": "123456789012"},
    }
    (one,) = policy_differences(changed(other), [SOURCE], "aws")
    assert "not events of bucket acme-raw" in one.text


def test_pattern_may_cover_the_bucket() -> None:
    pattern = {
        "ArnLike": {"aws:SourceArn": "arn:aws:s3:::acme-*"},
        "StringEquals": {"aws:SourceAccount": "123456789012"},
    }
    assert not list(policy_differences(changed(pattern), [SOURCE], "aws"))


def test_policy_without_an_account_is_named() -> None:
    bucket = {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::acme-raw"}}
    (one,) = policy_differences(changed(bucket), [SOURCE], "aws")
    assert "names no account" in one.text


@pytest.mark.parametrize(
    "policy",
    [
        "no json",
        "[]",
        '{"Statement": "x"}',
        json.dumps({"Statement": {"Effect": "Deny", "Principal": {"Service": "s3.amazonaws.com"}}}),
        json.dumps({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sqs:*"}]}),
    ],
)
def test_policy_that_lets_no_s3_send_is_not_compared(policy: str) -> None:
    """Events may come through a topic or EventBridge; `sqs.events` has the missing statement."""
    assert not list(policy_differences(with_policy(policy), [SOURCE], "aws"))


# ---------------------------------------------------------------- the bucket's notification


def notification(
    prefix: str, *, events: str = "s3:ObjectCreated:*", suffix: str = "", queue: str = ARN
) -> dict[str, Any]:
    rules = [{"Name": "Prefix", "Value": prefix}] if prefix else []
    rules += [{"Name": "Suffix", "Value": suffix}] if suffix else []
    one = {"QueueArn": queue, "Events": [events], "Filter": {"Key": {"FilterRules": rules}}}
    return {"QueueConfigurations": [one]}


def faults(found: dict[str, Any], prefix: str = "click/") -> list[str]:
    source = EventSource(bucket="acme-raw", prefixes=(prefix,))
    return [one.text for one in notification_differences(ARN, source, found)]


def test_bucket_without_a_notification_is_named_with_the_entry_to_merge() -> None:
    (one,) = notification_differences(ARN, SOURCE, {})
    assert "reports nothing to this queue" in one.text
    assert one.subject == "s3://acme-raw/click/"
    assert json.loads(one.fix[1]) == {
        "QueueArn": ARN,
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "click/"}]}},
    }
    assert one.fix[2].startswith("aws s3api get-bucket-notification-configuration")
    whole = EventSource(bucket="acme-raw", prefixes=("",))
    (one,) = notification_differences(ARN, whole, {})
    assert "Filter" not in json.loads(one.fix[1])


def test_notification_of_another_queue_does_not_count() -> None:
    assert "reports nothing" in faults(notification("click/", queue=f"{ARN}2"))[0]


def test_wider_filter_is_no_difference() -> None:
    assert faults(notification("")) == []
    assert faults(notification("cli")) == []


def test_narrower_filter_is_named() -> None:
    assert (
        "only objects that begin with click/day%3D1/" in faults(notification("click/day%3D1/"))[0]
    )


def test_plain_text_in_a_filter_is_named_with_what_s3_matches() -> None:
    (said,) = faults(notification("click/day=1/"), "click/day=1/")
    assert "plain text click/day=1/" in said
    assert said.endswith("click/day%3D1/")
    assert faults(notification("click/day%3d1/"), "click/day=1/") == []


def test_part_of_the_events_is_named() -> None:
    (said,) = faults(notification("click/", events="s3:ObjectCreated:Put"))
    assert said == "the bucket reports s3:ObjectCreated:Put, and not all of s3:ObjectCreated:*"


def test_suffix_is_named() -> None:
    assert "only objects that end with .csv" in faults(notification("click/", suffix=".csv"))[0]


def test_suffix_of_the_marker_that_the_route_waits_for_is_no_difference() -> None:
    found = notification("click/", suffix="_SUCCESS")
    assert not list(notification_differences(ARN, SOURCE, found, marker="_SUCCESS"))
    assert list(notification_differences(ARN, SOURCE, found, marker="done"))


@pytest.mark.parametrize("name", ["EventBridgeConfiguration", "TopicConfigurations"])
def test_events_by_another_way_are_not_compared(name: str) -> None:
    assert faults({name: [{}]}) == []
