"""The least-privilege policy: every action of every call, and nothing else."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from backhaul.core.access_policy import (
    CALLS,
    MANAGED_MAX,
    CalledOn,
    NeededBy,
    QueueAccess,
    ReplyAccess,
    RouteAccess,
    access_policy,
    actions_of,
    in_documents,
    literal,
    operator_policy,
    partition_of,
    policy_size,
    policy_text,
)

ROOT = Path(__file__).resolve().parents[2]
ADAPTERS = ROOT / "src" / "backhaul" / "adapters" / "aws"
QUEUE = QueueAccess(
    name="my-queue", region="us-west-2", account="123456789012", dead_letter="my-queue-dead"
)
ARN = "arn:aws:sqs:us-west-2:123456789012:my-queue"
ROUTE = RouteAccess(name="click.stream", sources=(("acme-raw", "click/"),))
KEY = "arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"

REPLIES = (
    ReplyAccess(name="out", arn=f"{ARN}-replies"),
    ReplyAccess(name="topic", arn="arn:aws:sns:us-west-2:123456789012:arrived", is_topic=True),
    ReplyAccess(name="other", arn=f"{ARN}-other", role="arn:aws:iam::123456789012:role/send"),
)


def statements(policy: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {one["Sid"]: one for one in policy["Statement"]}
    assert len(found) == len(policy["Statement"])
    return found


def test_policy_of_a_queue_and_a_route_is_as_the_manual_has_it() -> None:
    policy = access_policy([QUEUE], [ROUTE])
    assert policy["Version"] == "2012-10-17"
    assert statements(policy) == {
        "WorkMyQueue": {
            "Sid": "WorkMyQueue",
            "Effect": "Allow",
            "Action": [
                "sqs:GetQueueUrl",
                "sqs:GetQueueAttributes",
                "sqs:ReceiveMessage",
                "sqs:ChangeMessageVisibility",
                "sqs:DeleteMessage",
            ],
            "Resource": ARN,
        },
        "SendDeadLettersOfMyQueue": {
            "Sid": "SendDeadLettersOfMyQueue",
            "Effect": "Allow",
            "Action": ["sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:SendMessage"],
            "Resource": f"{ARN}-dead",
        },
        "ListClickStream": {
            "Sid": "ListClickStream",
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": "arn:aws:s3:::acme-raw",
            "Condition": {"StringLike": {"s3:prefix": ["click/*", "click"]}},
        },
        "ReadClickStream": {
            "Sid": "ReadClickStream",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectAttributes"],
            "Resource": "arn:aws:s3:::acme-raw/click/*",
        },
    }


def test_replies_may_be_sent_to_their_queue_and_topic_alone() -> None:
    found = statements(access_policy([], [], REPLIES))
    assert found["ReplyOut"]["Action"] == ["sqs:GetQueueUrl", "sqs:SendMessage"]
    assert found["ReplyOut"]["Resource"] == f"{ARN}-replies"
    assert found["ReplyTopic"]["Action"] == ["sns:Publish"]
    assert found["ReplyTopic"]["Resource"] == "arn:aws:sns:us-west-2:123456789012:arrived"
    assert found["ReplyOther"]["Action"] == ["sts:AssumeRole"]
    assert found["ReplyOther"]["Resource"] == "arn:aws:iam::123456789012:role/send"


def test_route_of_events_reads_versions() -> None:
    route = RouteAccess(name="r", sources=(("b", "p/"),), reads_versions=True)
    assert statements(access_policy([], [route]))["ReadR"]["Action"] == [
        "s3:GetObject",
        "s3:GetObjectAttributes",
        "s3:GetObjectVersion",
        "s3:GetObjectVersionAttributes",
    ]


def test_operator_has_statements_of_his_own() -> None:
    agent = access_policy([QUEUE], [ROUTE])
    both = access_policy([QUEUE], [ROUTE], for_operator=True)
    own = both["Statement"][len(agent["Statement"]) :]
    assert both["Statement"][: len(agent["Statement"])] == agent["Statement"]
    assert own == operator_policy([QUEUE])["Statement"]
    found = statements(operator_policy([QUEUE]))
    assert found["OperateDeadLettersOfMyQueue"]["Resource"] == f"{ARN}-dead"
    assert "sqs:DeleteMessage" in found["OperateDeadLettersOfMyQueue"]["Action"]
    assert found["OperateMyQueue"]["Action"] == [
        "sqs:GetQueueUrl",
        "sqs:GetQueueAttributes",
        "sqs:SendMessage",
    ]


def test_queue_without_dead_letter_queue_has_no_statement_for_one() -> None:
    queue = QueueAccess(name="q", region="us-east-1", account="123456789012")
    assert list(statements(access_policy([queue], [], for_operator=True))) == ["WorkQ", "OperateQ"]


def test_sources_of_one_bucket_share_a_statement_and_others_have_their_own() -> None:
    sources = (("a", "x/"), ("b", ""), ("a", "y/"))
    found = statements(access_policy([], [RouteAccess(name="r", sources=sources)]))
    assert found["ListR"]["Condition"]["StringLike"]["s3:prefix"] == ["x/*", "x", "y/*", "y"]
    assert "Condition" not in found["ListR2"]
    assert found["ReadR"]["Resource"] == [
        "arn:aws:s3:::a/x/*",
        "arn:aws:s3:::b/*",
        "arn:aws:s3:::a/y/*",
    ]


def test_route_for_any_source_reads_every_bucket() -> None:
    found = statements(access_policy([], [RouteAccess(name="r", sources=None)]))
    assert found["ListR"]["Resource"] == "arn:aws:s3:::*"
    assert found["ReadR"]["Resource"] == "arn:aws:s3:::*/*"


def test_keys_are_used_through_their_own_service_and_region_only() -> None:
    china = "arn:aws-cn:kms:cn-north-1:123456789012:key/k"
    queue = QueueAccess(
        name="q",
        region="us-west-2",
        account="123456789012",
        dead_letter="d",
        kms_key=KEY,
        dead_letter_kms_key=KEY,
    )
    route = RouteAccess(name="r", sources=(("b", "p/"),), kms_keys=(KEY, china, KEY))
    found = statements(access_policy([queue], [route], for_operator=True))
    assert found["DecryptMessagesOfQ"]["Action"] == ["kms:Decrypt"]
    assert found["DecryptMessagesOfQ"]["Resource"] == KEY
    assert found["EncryptDeadLettersOfQ"]["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert found["OperateKeysOfQ"]["Resource"] == KEY
    via = {
        sid: one["Condition"]["StringEquals"]["kms:ViaService"]
        for sid, one in found.items()
        if "kms:Decrypt" in one["Action"]
    }
    assert via == {
        "DecryptMessagesOfQ": "sqs.us-west-2.amazonaws.com",
        "EncryptDeadLettersOfQ": "sqs.us-west-2.amazonaws.com",
        "DecryptR": "s3.us-west-2.amazonaws.com",
        "DecryptR2": "s3.cn-north-1.amazonaws.com.cn",
        "OperateKeysOfQ": "sqs.us-west-2.amazonaws.com",
    }


def test_partition_is_in_every_arn() -> None:
    queue = QueueAccess(
        name="q", region="cn-north-1", account="123456789012", partition="aws-cn", dead_letter="d"
    )
    route = RouteAccess(name="r", sources=(("b", "p/"),), partition="aws-cn")
    arns = re.findall(r"arn:[^:]+", policy_text(access_policy([queue], [route])))
    assert set(arns) == {"arn:aws-cn"}


def test_partition_is_known_by_the_region() -> None:
    regions = ("us-west-2", "cn-north-1", "us-gov-east-1")
    assert [partition_of(one) for one in regions] == ["aws", "aws-cn", "aws-us-gov"]


def test_wildcards_and_variables_in_a_key_are_literal() -> None:
    assert literal("a*b?c${aws:username}") == "a${*}b${?}c${$}{aws:username}"
    found = statements(access_policy([], [RouteAccess(name="r", sources=(("b", "d*/"),))]))
    assert found["ReadR"]["Resource"] == "arn:aws:s3:::b/d${*}/*"
    assert found["ListR"]["Condition"]["StringLike"]["s3:prefix"] == ["d${*}/*", "d${*}"]


def test_names_that_differ_in_signs_alone_have_two_sids() -> None:
    routes = [RouteAccess(name=name, sources=(("b", "p/"),)) for name in ("a-b", "a.b", "a_b")]
    found = statements(access_policy([], routes))
    assert list(found) == ["ListAB", "ReadAB", "ListAB2", "ReadAB2", "ListAB3", "ReadAB3"]
    assert all(re.fullmatch("[A-Za-z0-9]+", sid) for sid in found)


def test_text_is_ascii_because_iam_takes_nothing_above_u_00ff() -> None:
    policy = access_policy([], [RouteAccess(name="r", sources=(("b", "день=1/\U0001f600/"),))])
    text = policy_text(policy)
    assert text.isascii()
    assert json.loads(text) == policy


def test_size_is_without_white_space() -> None:
    assert policy_size({"a b": [1, 2]}) == len('{"a b":[1,2]}')


def test_large_policy_becomes_several_documents_that_fit() -> None:
    routes = [RouteAccess(name=f"r{n}", sources=(("b", f"{n:0100}/"),)) for n in range(60)]
    policy = access_policy([QUEUE], routes)
    documents = in_documents(policy)
    assert len(documents) > 1
    assert all(policy_size(one) <= MANAGED_MAX for one in documents)
    assert [one for each in documents for one in each["Statement"]] == policy["Statement"]
    assert in_documents(access_policy([QUEUE], [ROUTE])) == [access_policy([QUEUE], [ROUTE])]


def test_statement_that_fits_nowhere_is_alone() -> None:
    policy = access_policy([QUEUE], [ROUTE])
    assert [len(one["Statement"]) for one in in_documents(policy, most=10)] == [1, 1, 1, 1]


# ---------------------------------------------------------------- the table and the code


def boto3_calls() -> set[str]:
    """Names of the operations that `adapters.aws` calls through a client of boto3."""
    found = set()
    for path in ADAPTERS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = ast.unparse(node.func.value)
            if owner.rsplit(".", 1)[-1].strip("_") in CLIENTS or owner.startswith("self._for("):
                found.add(node.func.attr)
    return found - NO_OPERATIONS


CLIENTS = {"client", "call", "poll"}
ARGS_WITH_QUERY = 5  # method, endpoint, pin, headers, query
# Methods of other things with these names: a session of boto3, a signer.
NO_OPERATIONS = {"client", "register", "register_first"}


def signed_requests() -> set[tuple[str, str]]:
    """Method and sub-resource of each request that `s3_get` signs by itself."""
    found = set()
    for node in ast.walk(ast.parse((ADAPTERS / "s3_get.py").read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        if ast.unparse(node.func) == "self._request":
            last = node.args[-1]
            is_named = len(node.args) == ARGS_WITH_QUERY and isinstance(last, ast.Constant)
            method = ast.literal_eval(node.args[0])
            found.add((method, ast.literal_eval(last) if is_named else ""))
        elif ast.unparse(node.func) == "self._success":
            is_listing = "list-type=2" in ast.unparse(node.args[-1])
            found.add((ast.literal_eval(node.args[0]), "list-type" if is_listing else ""))
    return found


def test_table_has_every_call_that_the_adapters_make() -> None:
    of_boto3 = {"".join(word.title() for word in name.split("_")) for name in boto3_calls()}
    signed = {
        {
            ("GET", ""): "GetObject",
            ("HEAD", ""): "HeadObject",
            ("GET", "attributes"): "GetObjectAttributes",
            ("GET", "list-type"): "ListObjectsV2",
        }[one]
        for one in signed_requests()
    }
    assert signed == {"GetObject", "HeadObject", "GetObjectAttributes", "ListObjectsV2"}
    assert of_boto3 >= {"ReceiveMessage", "ListObjectsV2", "HeadBucket"}
    assert of_boto3 | signed == {one.operation for one in CALLS}


def test_policy_of_everything_has_the_actions_of_the_table_and_no_other() -> None:
    route = RouteAccess(name="r", sources=(("b", "p/"),), reads_versions=True)
    policy = access_policy([QUEUE], [route], REPLIES, for_operator=True)
    granted = {action for one in policy["Statement"] for action in one["Action"]}
    assert granted == {
        action for one in CALLS if one.by is not NeededBy.INSTALLER for action in one.actions
    }
    assert actions_of(NeededBy.INVENTORY, CalledOn.INVENTORY) == ["s3:GetObject"]


@pytest.mark.parametrize("action", sorted({action for one in CALLS for action in one.actions}))
def test_manual_explains_the_action(action: str) -> None:
    page = (ROOT / "docs" / "recipes" / "iam-and-queues.md").read_text(encoding="utf-8")
    assert f"`{action}`" in page


def test_manual_shows_what_is_generated() -> None:
    page = (ROOT / "docs" / "recipes" / "iam-and-queues.md").read_text(encoding="utf-8")
    samples = [json.loads(one) for one in re.findall("```json\n(.*?)```", page, re.DOTALL)]
    route = RouteAccess(name="clickstream", sources=(("acme-raw", "click/"),))
    assert access_policy([QUEUE], [route]) in samples
    assert operator_policy([QUEUE]) in samples
