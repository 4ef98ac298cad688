"""Answers to `backhaul init`, plain and hostile."""

from __future__ import annotations

import random

from backhaul.app.init.answers import UNKNOWN_FS, InitAnswers, read_destination, read_source
from backhaul.core.errors import BackhaulError
from backhaul.core.model import Source

KEY = "arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ANCHOR = "arn:aws:rolesanywhere:us-west-2:123456789012:trust-anchor/1234abcd-12ab"
ROLE = "arn:aws:iam::123456789012:role/emr"

PLAIN = InitAnswers(
    queue="my-queue",
    region="us-west-2",
    name="click",
    sources=(Source(bucket="acme-raw", key="click/"),),
    destination="/landing/click/",
)


def but(**changes: object) -> InitAnswers:
    """The plain ones with these changed."""
    return InitAnswers(**{**vars(PLAIN), **changes})


VARIANTS = {
    "plain": PLAIN,
    "events": but(takes_events=True),
    "events-of-two-buckets": but(
        takes_events=True,
        sources=(
            Source(bucket="acme-raw", key="click/day=1/"),
            Source(bucket="acme-raw", key="view/"),
            Source(bucket="acme-other", key=""),
        ),
        source_owner="210987654321",
    ),
    "senders-and-keys": but(principals=(ROLE,), kms_keys=(KEY,), sender_ids=("AIDAEXAMPLE",)),
    "role": but(trusted_by=ANCHOR),
    "role-for-a-role": but(trusted_by=ROLE),
    "fifo": but(queue="my-queue.fifo"),
    "queue-with-a-number-first": but(queue="1_Queue-x"),
    "long-names": but(queue="q" * 75, name="n" * 64),
    "many-prefixes": but(
        takes_events=True,
        sources=tuple(Source(bucket="acme-raw", key=f"{n:0200}/") for n in range(40)),
    ),
}

# What means something in HCL, JSON, YAML, a here-document, CloudFormation or IAM.
PIECES = [
    *('"', "'", "\\", "${", "$${", "%{", "%%{", "}", "{", "$", "%", "~}", "#", "//", "/*", "*/"),
    *("POLICY", "EOF", "${aws_sqs_queue.my_queue.arn}", "%{ if true }", "{{x}}", "<<EOF", "[", "]"),
    *("!Ref", "&a", "*a", "- ", ": ", "|", ">", "`", "${AWS::AccountId}", "*", "?", "é", "день"),
    *("\U0001f600", "\u2028", "a", "b=1", " ", "+", "\\u0022", "\\n", "${*}", "\x7f", "\n", "\t"),
]


def hostile(seed: int, count: int) -> list[InitAnswers]:
    """Answers whose texts are made of those pieces, as far as they are accepted."""
    chance = random.Random(seed)
    found: list[InitAnswers] = []
    while len(found) < count:
        key = "".join(chance.choices(PIECES, k=chance.randint(1, 6)))
        directory = "".join(chance.choices(PIECES, k=chance.randint(1, 4)))
        try:
            source = read_source(f"s3://acme-raw/{key}")
            destination = read_destination(f"/landing/{directory}", UNKNOWN_FS)
        except BackhaulError:
            continue
        found.append(but(sources=(source,), destination=destination, takes_events=True))
    return found
