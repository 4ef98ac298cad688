"""Planted faults of AWS: which check of `backhaul doctor` finds each, with which fix."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config

from backhaul.adapters.aws import s3 as s3_client
from backhaul.app.doctor import aws, s3, sqs
from backhaul.app.doctor.context import DoctorContext, read_context
from backhaul.app.doctor.finding import Finding, State
from backhaul.app.doctor.probes import Section
from backhaul.app.doctor.run import examine
from backhaul.core.errors import BadArgument
from tests.unit.aws_bed import ACCOUNT, ARN, BUCKET, KEY, QUEUE, REGION, AwsBed, Refused

SECTIONS = (
    Section("aws", aws.PROBES),
    Section("sqs", sqs.PROBES),
    Section("s3", s3.PROBES),
    Section("clock", aws.AT_THE_END),
)
CONFIGURATION = f"""
ledger = "DIR/ledger.db"
[[route]]
name = "landing"
source = ["s3://{BUCKET}/click/"]
destination = ["file://DIR/landing/"]
event_destination = "file://DIR/landing/{{rel_dir}}/"
"""
EVENTS = json.dumps(
    {
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "s3.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": ARN,
                "Condition": {"ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{BUCKET}"}},
            }
        ]
    }
)
SECRET = "canaryc0ffeeSECRETwJalrXUtnFEMIK7MDENG00"


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsBed]:
    """All is well, until a test plants a fault."""
    made = AwsBed()
    made.queue["Policy"] = EVENTS
    for name in ("HTTPS_PROXY", "https_proxy", "AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIACANARYC0FFEE0000")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    once = s3_client._CONFIG.merge(Config(retries={"total_max_attempts": 1}))
    monkeypatch.setattr(s3_client, "_CONFIG", once)
    with made.serving() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield made


def context(tmp_path: Path, **given: Any) -> DoctorContext:
    file = tmp_path / "backhaul.toml"
    file.write_text(CONFIGURATION.replace("DIR", str(tmp_path)))
    return read_context(config=file, **{"queue": QUEUE, "region": REGION, **given})


def examined(tmp_path: Path, names: Iterable[str] = ("aws", "sqs", "s3", "clock")) -> list[Finding]:
    sections = [one for one in SECTIONS if one.name in names]
    found = [one for _, one in examine(context(tmp_path), sections)]
    assert SECRET not in str(found)
    assert "AKIACANARYC0FFEE0000" not in str(found)
    assert "canaryc0ffee@" not in str([one.as_json for one in found])
    return found


def not_well(findings: list[Finding]) -> list[Finding]:
    return [one for one in findings if one.state in {State.WARNING, State.FAILED}]


def test_all_is_well_and_nothing_false_is_found(bed: AwsBed, tmp_path: Path) -> None:
    findings = examined(tmp_path)
    assert not_well(findings) == []
    assert {one.check for one in findings if one.state is State.OK} == {
        *("aws.proxy", "aws.certificates", "aws.credentials", "aws.identity", "clock"),
        *("sqs.queue", "sqs.receive", "sqs.change_visibility", "sqs.delete", "sqs.retention"),
        *("sqs.events", "sqs.dead_letter", "sqs.dead_letter_send"),
        *("s3.list", "s3.read", "s3.checksum"),
    }
    assert bed.taken == [], "no call of a probe was carried out"
    assert f"arn:aws:iam::{ACCOUNT}:user/edge" in str(findings)


@dataclass(frozen=True)
class Planted:
    """A fault.

    Attributes:
        check: Which must not be well.
        words: Which its fix must have.
        state: And how it is.
    """

    name: str
    plant: Callable[[AwsBed, pytest.MonkeyPatch], None]
    check: str
    words: tuple[str, ...]
    state: State = State.FAILED
    exit_code: int = 0


def refusing(
    action: str, code: str = "AccessDenied", message: str = "no", status: int = 403
) -> Any:
    def plant(bed: AwsBed, _patch: pytest.MonkeyPatch) -> None:
        bed.refused[action] = Refused(code, message, status)

    return plant


def setting(**attributes: str) -> Any:
    def plant(bed: AwsBed, _patch: pytest.MonkeyPatch) -> None:
        bed.queue.update(attributes)

    return plant


def environment(**values: str) -> Any:
    def plant(_bed: AwsBed, patch: pytest.MonkeyPatch) -> None:
        for name, value in values.items():
            patch.setenv(name, value)

    return plant


def without_keys(_bed: AwsBed, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("AWS_ACCESS_KEY_ID")
    patch.delenv("AWS_SECRET_ACCESS_KEY")


def without_dead_letter_queue(bed: AwsBed, _patch: pytest.MonkeyPatch) -> None:
    del bed.queue["RedrivePolicy"]


def deleted_dead_letter_queue(bed: AwsBed, _patch: pytest.MonkeyPatch) -> None:
    del bed.queues[REGION, f"{QUEUE}-dead"]


def few_receives(bed: AwsBed, _patch: pytest.MonkeyPatch) -> None:
    bed.queue["RedrivePolicy"] = bed.queue["RedrivePolicy"].replace('"20"', '"1"')


def in_another_region(bed: AwsBed, _patch: pytest.MonkeyPatch) -> None:
    bed.queues["eu-west-1", QUEUE] = bed.queues.pop((REGION, QUEUE))


def gone(bed: AwsBed, _patch: pytest.MonkeyPatch) -> None:
    del bed.queues[REGION, QUEUE]


def open_to_everyone(bed: AwsBed, _patch: pytest.MonkeyPatch) -> None:
    bed.queue["Policy"] = json.dumps(
        {"Statement": {"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": "*"}}
    )


def without_events(bed: AwsBed, _patch: pytest.MonkeyPatch) -> None:
    del bed.queue["Policy"]


def short_dead_letters(bed: AwsBed, _patch: pytest.MonkeyPatch) -> None:
    bed.dead["MessageRetentionPeriod"] = "345600"


def clock(seconds: float) -> Any:
    def plant(bed: AwsBed, _patch: pytest.MonkeyPatch) -> None:
        bed.clock_ahead_s = seconds

    return plant


def no_parts(bed: AwsBed, _patch: pytest.MonkeyPatch) -> None:
    bed.is_composite = True
    bed.refused["s3:GetObjectAttributes"] = Refused("AccessDenied")


def empty_and_unreadable(bed: AwsBed, _patch: pytest.MonkeyPatch) -> None:
    bed.objects.clear()
    bed.refused["s3:GetObject"] = Refused("AccessDenied")


def proxy_page(bed: AwsBed, _patch: pytest.MonkeyPatch) -> None:
    bed.is_proxy_page = True


def of_tls(_bed: AwsBed, patch: pytest.MonkeyPatch) -> None:
    """The port answers, and not in TLS."""
    patch.setenv("AWS_ENDPOINT_URL_S3", _bed.url.replace("http://", "https://"))


def of_s3a(bed: AwsBed, patch: pytest.MonkeyPatch) -> None:
    """Hadoop's keys and endpoint, without path.style.access."""
    without_keys(bed, patch)
    patch.delenv("AWS_ENDPOINT_URL")
    properties = {
        "fs.s3a.endpoint": "https://store.invalid",
        "fs.s3a.access.key": "key-of-hadoop",
        "fs.s3a.secret.key": SECRET,
    }
    directory = Path(os.environ["HOME"]) / "conf"
    directory.mkdir()
    text = "".join(
        f"<property><name>{name}</name><value>{value}</value></property>"
        for name, value in properties.items()
    )
    (directory / "core-site.xml").write_text(f"<configuration>{text}</configuration>")
    patch.setenv("HADOOP_CONF_DIR", str(directory))


def nowhere(_bed: AwsBed, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9")


KMS = f"User is not authorized to perform: kms:Decrypt on resource: {KEY}"
PLANTED = [
    Planted(
        "no keys",
        without_keys,
        "aws.credentials",
        ("/.aws/credentials, mode 0600", "AWS_PROFILE", "agent.env"),
        exit_code=78,
    ),
    Planted(
        "unknown key",
        refusing("sts:GetCallerIdentity", "InvalidClientTokenId"),
        "aws.identity",
        ("aws sts get-caller-identity",),
        exit_code=77,
    ),
    Planted(
        "expired session",
        refusing("sts:GetCallerIdentity", "ExpiredToken"),
        "aws.identity",
        ("renew", "aws sso login"),
    ),
    Planted(
        "proxy that is no URL",
        environment(HTTPS_PROXY="proxy.example.com:3128"),
        "aws.proxy",
        ("HTTPS_PROXY=http://",),
        exit_code=78,
    ),
    Planted(
        "no such bundle",
        environment(AWS_CA_BUNDLE="/nonexistent/bundle.pem"),
        "aws.certificates",
        ("AWS_CA_BUNDLE",),
        exit_code=78,
    ),
    Planted("clock 5 min ahead", clock(300), "clock", ("timedatectl",), State.WARNING),
    Planted("clock 20 min behind", clock(-1200), "clock", ("timedatectl",)),
    Planted(
        "queue refuses a clock",
        refusing("sqs:GetQueueUrl", "RequestTimeTooSkewed"),
        "sqs.queue",
        ("timedatectl",),
    ),
    Planted("no queue", gone, "sqs.queue", ("aws sqs create-queue", QUEUE), exit_code=78),
    Planted(
        "queue of another region",
        in_another_region,
        "sqs.queue",
        (f"backhaul doctor {QUEUE} eu-west-1",),
        exit_code=78,
    ),
    Planted(
        "GetQueueUrl denied",
        refusing("sqs:GetQueueUrl"),
        "sqs.queue",
        ("sqs:GetQueueUrl",),
        exit_code=77,
    ),
    Planted(
        "GetQueueAttributes denied",
        refusing("sqs:GetQueueAttributes"),
        "sqs.attributes",
        ("sqs:GetQueueAttributes", ARN),
        exit_code=77,
    ),
    Planted(
        "ReceiveMessage denied",
        refusing("sqs:ReceiveMessage"),
        "sqs.receive",
        ('"Effect": "Allow"', "sqs:ReceiveMessage", ARN),
        exit_code=77,
    ),
    Planted(
        "ChangeMessageVisibility denied",
        refusing("sqs:ChangeMessageVisibility"),
        "sqs.change_visibility",
        ("sqs:ChangeMessageVisibility", ARN),
        exit_code=77,
    ),
    Planted(
        "DeleteMessage denied",
        refusing("sqs:DeleteMessage"),
        "sqs.delete",
        ("sqs:DeleteMessage", ARN),
        exit_code=77,
    ),
    Planted(
        "SendMessage to dead letters denied",
        refusing("sqs:SendMessage:dead"),
        "sqs.dead_letter_send",
        ("sqs:SendMessage", f"{ARN}-dead"),
        exit_code=77,
    ),
    Planted(
        "attributes of dead letters denied",
        refusing("sqs:GetQueueAttributes:dead"),
        "sqs.dead_letter_attributes",
        ("sqs:GetQueueAttributes", f"{ARN}-dead"),
        State.WARNING,
    ),
    Planted(
        "KMS refuses dead letters",
        refusing("sqs:SendMessage:dead", "KmsAccessDenied", KMS, 400),
        "sqs.dead_letter_send",
        ("kms:Decrypt", "kms:GenerateDataKey", KEY, "get-key-policy"),
    ),
    Planted(
        "disabled key of the queue",
        refusing("sqs:ReceiveMessage", "KmsDisabled", f"{KEY} is disabled", 400),
        "sqs.receive",
        ("aws kms", KEY),
    ),
    Planted(
        "no dead-letter queue",
        without_dead_letter_queue,
        "sqs.dead_letter",
        ("aws sqs create-queue", f"{QUEUE}-dead", "RedrivePolicy"),
        State.WARNING,
    ),
    Planted(
        "deleted dead-letter queue",
        deleted_dead_letter_queue,
        "sqs.dead_letter",
        ("aws sqs create-queue", f"{QUEUE}-dead"),
        exit_code=78,
    ),
    Planted(
        "one receive",
        few_receives,
        "sqs.receives",
        ("set-queue-attributes", "maxReceiveCount", "20"),
        State.WARNING,
    ),
    Planted(
        "short retention",
        setting(MessageRetentionPeriod="3600"),
        "sqs.retention",
        ("set-queue-attributes", "MessageRetentionPeriod", "604800"),
        State.WARNING,
    ),
    Planted(
        "dead letters go first",
        short_dead_letters,
        "sqs.dead_letter_retention",
        ("set-queue-attributes", "1209600", f"{QUEUE}-dead"),
        State.WARNING,
    ),
    Planted(
        "S3 may not send events",
        without_events,
        "sqs.events",
        ("s3.amazonaws.com", "aws:SourceArn", f"arn:aws:s3:::{BUCKET}"),
        State.WARNING,
    ),
    Planted(
        "everyone may send",
        open_to_everyone,
        "sqs.policy",
        ("Principal", "Condition"),
        State.WARNING,
    ),
    Planted(
        "events and AWS's own key",
        setting(KmsMasterKeyId="alias/aws/sqs"),
        "sqs.encryption",
        ("SqsManagedSseEnabled",),
        State.WARNING,
    ),
    Planted("SQS away", nowhere, "sqs.queue", ("curl", "HTTPS_PROXY")),
    Planted("a proxy's page", proxy_page, "sqs.queue", ("HTTPS_PROXY",)),
    Planted(
        "ListBucket denied",
        refusing("s3:ListBucket"),
        "s3.list",
        ("s3:ListBucket", f"arn:aws:s3:::{BUCKET}", '"s3:prefix": ["click/*"]', "bucket policy"),
    ),
    Planted(
        "GetObject denied",
        refusing("s3:GetObject"),
        "s3.read",
        ("s3:GetObject", f"arn:aws:s3:::{BUCKET}/click/*"),
    ),
    Planted(
        "GetObject denied, and nothing there",
        empty_and_unreadable,
        "s3.read",
        ("s3:GetObject", f"arn:aws:s3:::{BUCKET}/click/*"),
    ),
    Planted(
        "KMS denied on GET",
        refusing("s3:GetObject", "AccessDenied", KMS),
        "s3.read",
        ("kms:Decrypt", KEY, "get-key-policy"),
    ),
    Planted(
        "disabled key of the object",
        refusing("s3:GetObject", "KMS.DisabledException", f"{KEY} is disabled.", 400),
        "s3.read",
        (KEY, "aws kms"),
    ),
    Planted(
        "archived",
        refusing("s3:GetObject", "InvalidObjectState", "archived"),
        "s3.read",
        ("aws s3api restore-object", BUCKET, "click/a.parquet"),
        State.WARNING,
    ),
    Planted(
        "requester pays",
        refusing("s3:GetObject", "InvalidPayer", "requester pays"),
        "s3.read",
        ("Requester Pays", "put-bucket-request-payment", BUCKET),
    ),
    Planted(
        "GetObjectAttributes denied",
        no_parts,
        "s3.checksum",
        ("s3:GetObjectAttributes", f"arn:aws:s3:::{BUCKET}/click/*"),
        State.WARNING,
    ),
    Planted(
        "no such bucket",
        refusing("s3:ListBucket", "NoSuchBucket", "no", 404),
        "s3.list",
        ("route landing", "aws s3 ls"),
    ),
    Planted(
        "buckets in the path alone",
        of_s3a,
        "s3.list",
        ("addressing_style = path", "fs.s3a.path.style.access"),
    ),
    Planted(
        "proxy that is away",
        environment(
            HTTPS_PROXY="http://user:canaryc0ffee@127.0.0.1:9",
            AWS_ENDPOINT_URL_S3="https://s3.us-west-2.amazonaws.com",
        ),
        "s3.list",
        ("HTTPS_PROXY", "NO_PROXY", "amazonaws.com"),
    ),
    Planted("TLS that is not trusted", of_tls, "s3.list", ("AWS_CA_BUNDLE", "openssl s_client")),
]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: one.name)
def test_a_planted_fault_is_found_with_its_fix(
    bed: AwsBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: Planted
) -> None:
    planted.plant(bed, monkeypatch)
    section = planted.check.partition(".")[0]
    findings = examined(tmp_path, {section, "sqs"} if section == "clock" else {section})
    found = [one for one in not_well(findings) if one.check == planted.check]
    assert len(found) == 1, findings
    assert found[0].state is planted.state
    for words in planted.words:
        assert words in "\n".join(found[0].fix), found[0]
    if planted.exit_code:
        assert found[0].exit_code == planted.exit_code
    assert "E_BUG" not in {one.code for one in findings}
    assert bed.taken == []


def test_a_route_that_is_named_is_the_only_one_probed(bed: AwsBed, tmp_path: Path) -> None:
    del bed.queue["Policy"]
    other = f"""
[[route]]
name = "other"
source = ["s3://{BUCKET}/other/", "s3://{BUCKET}/more/"]
destination = ["file://{tmp_path}/other/"]
"""
    file = tmp_path / "backhaul.toml"
    file.write_text(CONFIGURATION.replace("DIR", str(tmp_path)) + other)
    chosen = read_context(config=file, queue=QUEUE, region=REGION, route="other")
    findings = [one for _, one in examine(chosen, SECTIONS)]
    assert {one.route for one in findings} == {"", "other"}
    assert [one.subject for one in findings if one.check == "s3.list"] == [
        f"s3://{BUCKET}/other/",
        f"s3://{BUCKET}/more/",
    ]
    assert not [one for one in findings if one.check == "sqs.events"], "it takes no events"
    with pytest.raises(BadArgument, match="E_ROUTE_UNKNOWN"):
        read_context(config=file, queue=QUEUE, region=REGION, route="othre")


def test_where_s3_is_away_the_other_sources_are_not_waited_for(
    bed: AwsBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    file = tmp_path / "backhaul.toml"
    text = CONFIGURATION.replace("DIR", str(tmp_path))
    file.write_text(text.replace("click/", 'click/", "s3://acme-raw/a/", "s3://acme-raw/b/', 1))
    chosen = read_context(config=file, queue=QUEUE, region=REGION)
    states = [one.state for _, one in examine(chosen, [Section("s3", s3.PROBES)])]
    assert states == [State.FAILED, State.SKIPPED]
    assert "s3:ListBucket" not in bed.calls


def test_what_was_denied_is_fixed_by_the_partition_of_the_region(
    bed: AwsBed, tmp_path: Path
) -> None:
    bed.refused["sqs:ReceiveMessage"] = Refused("AccessDenied")
    bed.queues = {("cn-north-1", name): found for (_, name), found in bed.queues.items()}
    chosen = context(tmp_path, region="cn-north-1")
    findings = [one for _, one in examine(chosen, [Section("sqs", sqs.PROBES)])]
    denied = next(one for one in findings if one.check == "sqs.receive")
    assert "arn:aws-cn:sqs:cn-north-1:" in "\n".join(denied.fix)


def test_a_fifo_queue_is_probed_and_its_fix_names_fifo_queues(bed: AwsBed, tmp_path: Path) -> None:
    bed.queues[REGION, "orders.fifo"] = {"QueueArn": f"{ARN}.fifo"}
    chosen = context(tmp_path, queue="orders.fifo")
    findings = [one for _, one in examine(chosen, [Section("sqs", sqs.PROBES)])]
    missing = next(one for one in findings if one.check == "sqs.dead_letter")
    assert "orders-dead.fifo" in "\n".join(missing.fix)
    assert "FifoQueue" in "\n".join(missing.fix)
    assert bed.taken == []
