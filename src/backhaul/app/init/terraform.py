r"""Writes an `Infrastructure` as Terraform (HCL), which OpenTofu reads as well.

Texts of a person are in quoted strings and in the JSON of policies alone, never in comments, names
of resources or expressions. There `$` and `%` are written as `\u0024` and `\u0025`, so that none of
them begins an interpolation or a directive of a template. Policies are JSON in a here-document and
not `jsonencode`, which would write characters that IAM refuses; see `core.access_policy`.

Source: Terraform language, "Strings and Templates"; AWS provider 5, `aws_sqs_queue`,
`aws_s3_bucket_notification`.
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

_NOT_IN_LABEL = re.compile(r"[^a-z0-9_]+")
_PLAIN = re.compile(r"[ !#&-\[\]-~]")  # in a quoted string: ASCII but for " $ % \

_HEAD = """\
# Queue, dead-letter queue and permissions for Backhaul, as `backhaul init --terraform` wrote them.
#
# It uses the "aws" provider of the directory that it is in, which has to be set up for the region
# below: by AWS_REGION, or by a provider block of yours. No secret is in it or comes into a state:
# make the agent's access key by hand, or let it assume a role.

terraform {
  required_version = ">= 1.2"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}
"""
_DEAD = """
# Dead letters: messages that can never succeed, with the reason. They are kept longer than the
# queue keeps its messages, because one that SQS itself moves keeps its age.
"""
_QUEUE = """
# How long the queue keeps messages is how long the cluster may be down. The visibility timeout is
# for other readers: Backhaul sets its own. maxReceiveCount is above agent.max_attempts, so that
# Backhaul dead-letters a message itself, with its reason, before SQS does it without.
"""
_SENDERS = """
# Who may send, beside the users and roles of this account whose own policies allow it.
"""
_NOTIFICATION = """
# CAUTION: a bucket has one notification configuration, and these resources replace all of it. What
# the bucket reports now: aws s3api get-bucket-notification-configuration --bucket NAME
# If that prints anything, put it into the resource as well (blocks lambda_function, topic, queue,
# eventbridge = true), or answer false, and add this queue where the bucket's notifications are
# managed already. Prefixes are percent-encoded, as S3 wants them here.
"""
_AGENT_POLICY = """
# What the agent calls, and nothing else: `backhaul doctor --policy` prints the same.
"""
_USER = """
# An edge node has no role of its own. Its access key, once:
# aws iam create-access-key --user-name NAME
"""
_ROLE = """
# The role that the agent assumes, through the profile of AWS_PROFILE.
"""
_SEND_POLICY = """
# For a sender: attach it to the role of the EMR cluster or the Lambda function, or to the user.
"""


def terraform(made: Infrastructure) -> str:
    """One file, with comments."""
    label = _label(made.queue)
    parts = [
        _HEAD,
        '\ndata "aws_caller_identity" "current" {}\n\ndata "aws_region" "current" {}\n',
        _DEAD + _dead_letter_queue(made, label),
        _QUEUE + _queue(made, label),
    ]
    if made.queue_policy is not None:
        parts.append(_SENDERS + _queue_policy(made.queue_policy, label))
    if made.events:
        parts.append(_NOTIFICATION + _replacing(label))
        parts += [_notification(one, label, number) for number, one in enumerate(made.events, 1)]
    parts += [_AGENT_POLICY, *_agent_policies(made, label)]
    parts += [_identity(made, label), _SEND_POLICY, _send_policy(made, label), _outputs(label)]
    return "".join(parts)


def _label(queue: str) -> str:
    """A name in Terraform, of a queue's."""
    name = _NOT_IN_LABEL.sub("_", queue.lower())
    return name if name[0].isalpha() else f"queue_{name}"


def quoted(text: str) -> str:
    """A quoted string of HCL that means exactly this text."""
    return f'"{"".join(_character(one) for one in text)}"'


def _character(one: str) -> str:
    if _PLAIN.fullmatch(one):
        return one
    code = ord(one)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - four digits


def _dead_letter_queue(made: Infrastructure, label: str) -> str:
    fifo = "  fifo_queue                = true\n" if made.is_fifo else ""
    return (
        f'resource "aws_sqs_queue" "{label}_dead" {{\n'
        f"  name                      = {quoted(made.dead_letter_queue)}\n"
        f"{fifo}"
        f"  message_retention_seconds = {DEAD_LETTER_ATTRIBUTES['MessageRetentionPeriod']}\n"
        "  sqs_managed_sse_enabled   = true\n"
        "}\n"
    )


def _queue(made: Infrastructure, label: str) -> str:
    fifo = "  fifo_queue                 = true\n" if made.is_fifo else ""
    return (
        f'resource "aws_sqs_queue" "{label}" {{\n'
        f"  name                       = {quoted(made.queue)}\n"
        f"{fifo}"
        f"  message_retention_seconds  = {QUEUE_ATTRIBUTES['MessageRetentionPeriod']}\n"
        f"  visibility_timeout_seconds = {QUEUE_ATTRIBUTES['VisibilityTimeout']}\n"
        f"  receive_wait_time_seconds  = {QUEUE_ATTRIBUTES['ReceiveMessageWaitTimeSeconds']}\n"
        "  sqs_managed_sse_enabled    = true\n"
        "  redrive_policy = jsonencode({\n"
        f"    deadLetterTargetArn = aws_sqs_queue.{label}_dead.arn\n"
        f"    maxReceiveCount     = {MAX_RECEIVE_COUNT}\n"
        "  })\n"
        "\n"
        "  lifecycle {\n"
        "    precondition {\n"
        f"      condition     = data.aws_region.current.id == {quoted(made.region)}\n"
        f"      error_message = {quoted(f'The provider has to be set up for {made.region}.')}\n"
        "    }\n"
        "  }\n"
        "}\n"
    )


def _queue_policy(policy: dict[str, Any], label: str) -> str:
    return (
        f'resource "aws_sqs_queue_policy" "{label}" {{\n'
        f"  queue_url = aws_sqs_queue.{label}.id\n"
        f"  policy    = {_here(policy, label)}"
        "}\n"
    )


def _replacing(label: str) -> str:
    """A variable without a default: `terraform apply` asks for it."""
    question = (
        "true: the buckets have no other notifications, or this file has them all. false: leave"
        " the buckets' notifications as they are."
    )
    return (
        f'variable "{label}_replaces_bucket_notifications" {{\n'
        "  type        = bool\n"
        f"  description = {quoted(question)}\n"
        "}\n"
    )


def _notification(one: EventSource, label: str, number: int) -> str:
    blocks = "".join(
        "\n  queue {\n"
        f"    queue_arn     = aws_sqs_queue.{label}.arn\n"
        f"    events        = [{quoted(OBJECT_EVENTS)}]\n"
        + (f"    filter_prefix = {quoted(event_filter(prefix))}\n" if prefix else "")
        + "  }\n"
        for prefix in one.prefixes
    )
    suffix = "" if number == 1 else f"_{number}"
    return (
        f'\nresource "aws_s3_bucket_notification" "{label}{suffix}" {{\n'
        f"  count  = var.{label}_replaces_bucket_notifications ? 1 : 0\n"
        f"  bucket = {quoted(one.bucket)}\n"
        f"{blocks}\n"
        "  # S3 checks at once whether it may send to the queue.\n"
        f"  depends_on = [aws_sqs_queue_policy.{label}]\n"
        "}\n"
    )


def _agent_policies(made: Infrastructure, label: str) -> list[str]:
    return [
        f'resource "aws_iam_policy" "{label}{_nth(number)}" {{\n'
        f"  name   = {quoted(made.policy_name(number))}\n"
        f"  policy = {_here(policy, label)}"
        "}\n"
        for number, policy in enumerate(made.agent_policies)
    ]


def _nth(number: int) -> str:
    return "" if number == 0 else f"_{number + 1}"


def _identity(made: Infrastructure, label: str) -> str:
    kind = "user" if made.trust is None else "role"
    trust = "" if made.trust is None else f"  assume_role_policy = {_here(made.trust, label)}"
    text = (
        f"{_USER if made.trust is None else _ROLE}"
        f'resource "aws_iam_{kind}" "{label}" {{\n'
        f"  name = {quoted(made.agent_name)}\n"
        f"{trust}"
        "}\n"
    )
    for number in range(len(made.agent_policies)):
        text += (
            f'\nresource "aws_iam_{kind}_policy_attachment" "{label}{_nth(number)}" {{\n'
            f"  {kind}       = aws_iam_{kind}.{label}.name\n"
            f"  policy_arn = aws_iam_policy.{label}{_nth(number)}.arn\n"
            "}\n"
        )
    return text


def _send_policy(made: Infrastructure, label: str) -> str:
    return (
        f'resource "aws_iam_policy" "{label}_send" {{\n'
        f"  name   = {quoted(made.send_name)}\n"
        f"  policy = {_here(made.send_policy, label)}"
        "}\n"
    )


def _outputs(label: str) -> str:
    values = {
        "queue_url": f"aws_sqs_queue.{label}.url",
        "dead_letter_queue_url": f"aws_sqs_queue.{label}_dead.url",
        "send_policy_arn": f"aws_iam_policy.{label}_send.arn",
    }
    return "".join(
        f'\noutput "{label}_{name}" {{\n  value = {value}\n}}\n' for name, value in values.items()
    )


def _here(policy: dict[str, Any], label: str) -> str:
    """The document in a here-document, with its last line's end."""
    return f"<<-POLICY\n{_json(policy, label, '    ')}\n  POLICY\n"


def _json(value: Any, label: str, indent: str) -> str:
    """JSON in ASCII, in which a member of `Known` is an interpolation and nothing else is."""
    deeper = f"{indent}  "
    if isinstance(value, dict):
        inner = ",\n".join(
            f"{deeper}{_json_text(name)}: {_json(each, label, deeper).lstrip()}"
            for name, each in value.items()
        )
        return f"{indent}{{\n{inner}\n{indent}}}"
    if isinstance(value, list):
        inner = ",\n".join(f"{deeper}{_json(each, label, deeper).lstrip()}" for each in value)
        return f"{indent}[\n{inner}\n{indent}]"
    return indent + (_known(value, label) if isinstance(value, Known) else _json_text(value))


def _json_text(text: str) -> str:
    return json.dumps(text).replace("$", r"\u0024").replace("%", r"\u0025")


def _known(value: Known, label: str) -> str:
    expression = {
        Known.QUEUE_ARN: f"aws_sqs_queue.{label}.arn",
        Known.DEAD_LETTER_ARN: f"aws_sqs_queue.{label}_dead.arn",
        Known.ACCOUNT: "data.aws_caller_identity.current.account_id",
    }[value]
    return f'"${{{expression}}}"'
