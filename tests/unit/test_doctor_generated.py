"""`doctor` compares what is live with what `init` makes; what may not be read is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backhaul.app.doctor import generated, sqs
from backhaul.app.doctor.context import DoctorContext, read_context
from backhaul.app.doctor.finding import Finding, State
from backhaul.core.errors import NotAllowed, OutageError
from tests.unit.aws_bed import ARN, BUCKET, QUEUE, REGION, AwsBed, Refused

CONFIGURATION = f"""
[[route]]
name = "landing"
queues = ["{QUEUE}"]
source = ["s3://{BUCKET}/click/"]
destination = ["file:///landing/"]
event_destination = "file:///landing/{{rel_dir}}/"

[[route]]
name = "of-another-queue"
queues = ["another"]
source = ["s3://{BUCKET}/view/"]
destination = ["file:///view/"]
event_destination = "file:///view/{{rel_dir}}/"
"""
NOTIFICATION = {
    "QueueConfigurations": [
        {
            "QueueArn": ARN,
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "Prefix", "Value": "click/"}]}},
        }
    ]
}


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsBed]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setattr(generated, "bucket_notifications", lambda *_: NOTIFICATION)
    made = AwsBed()
    with made.serving() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield made


def context(tmp_path: Path, **given: Any) -> DoctorContext:
    file = tmp_path / "backhaul.toml"
    file.write_text(CONFIGURATION)
    file.chmod(0o600)
    return read_context(config=file, **{"queue": QUEUE, "region": REGION, **given})


def found(tmp_path: Path, **given: Any) -> dict[str, Finding]:
    return {one.check: one for one in generated.queue_and_buckets(context(tmp_path, **given))}


def test_bed_as_generated_is_well(bed: AwsBed, tmp_path: Path) -> None:
    assert {name: one.state for name, one in found(tmp_path).items()} == dict.fromkeys(
        ("init.queue", "init.policy", "init.notification"), State.OK
    )
    assert bed.taken == []


def test_differences_are_warnings_with_their_fix(bed: AwsBed, tmp_path: Path) -> None:
    bed.queue["MessageRetentionPeriod"] = "345600"
    bed.dead["MessageRetentionPeriod"] = "700000"
    every = found(tmp_path)
    assert {every[name].state for name in ("init.queue", "init.dead_letter")} == {State.WARNING}
    assert "set-queue-attributes" in every["init.queue"].fix[0]


def test_routes_of_other_queues_are_not_compared(
    bed: AwsBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generated, "bucket_notifications", lambda *_: {})
    every = list(generated.queue_and_buckets(context(tmp_path)))
    assert [one.subject for one in every if one.state is State.WARNING] == [f"s3://{BUCKET}/click/"]
    assert every[-1].route == "landing"


@pytest.mark.parametrize(
    ("error", "has_fix"),
    [
        (NotAllowed("E_SRC_DENIED", "AccessDenied"), True),
        (OutageError.of("s3", "E_S3_UNREACHABLE", "no route"), False),
    ],
)
def test_notification_that_may_not_be_read_is_skipped(
    bed: AwsBed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    *,
    has_fix: bool,
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(generated, "bucket_notifications", refuse)
    one = found(tmp_path)["init.notification"]
    assert one.state is State.SKIPPED
    assert ("s3:GetBucketNotification" in str(one.fix)) is has_fix


def test_each_queue_is_compared_with_the_routes_it_serves(
    bed: AwsBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = ARN.replace(QUEUE, "another").replace(REGION, "eu-west-1")
    bed.queues["eu-west-1", "another"] = {"QueueArn": arn, "MessageRetentionPeriod": "345600"}
    both = f'[[queue]]\nname = "{QUEUE}"\nregion = "{REGION}"\n'
    both += '[[queue]]\nname = "another"\nregion = "eu-west-1"\n'
    monkeypatch.setattr("tests.unit.test_doctor_generated.CONFIGURATION", both + CONFIGURATION)
    read = context(tmp_path, queue=None, region=None)
    every = list(generated.queue_and_buckets(read))
    assert [(one.check, one.subject, one.state, one.route) for one in every] == [
        ("init.queue", QUEUE, State.OK, ""),
        ("init.policy", QUEUE, State.OK, ""),
        ("init.notification", f"s3://{BUCKET}", State.OK, "landing"),
        ("init.queue", "another", State.WARNING, ""),
        ("init.policy", "another", State.OK, ""),
        ("init.notification", f"s3://{BUCKET}/view/", State.WARNING, "of-another-queue"),
    ]
    probed = [one for one in sqs.queue(read) if one.check == "sqs.queue"]
    assert [(one.subject, one.state) for one in probed] == [
        (QUEUE, State.OK),
        ("another", State.OK),
    ]
    # One that is named is probed alone.
    only = generated.queue_and_buckets(context(tmp_path, queue="another", region=None))
    assert {one.route for one in only} == {"", "of-another-queue"}


def test_queue_that_may_not_be_read_has_no_second_finding(bed: AwsBed, tmp_path: Path) -> None:
    bed.refused["sqs:GetQueueAttributes"] = Refused("AccessDenied")
    assert found(tmp_path) == {}


def test_dead_letter_queue_that_may_not_be_read_is_not_compared(
    bed: AwsBed, tmp_path: Path
) -> None:
    bed.dead["MessageRetentionPeriod"] = "60"
    bed.refused["sqs:GetQueueAttributes:dead"] = Refused("AccessDenied")
    assert "init.dead_letter" not in found(tmp_path)


def test_without_a_queue_nothing_is_compared(bed: AwsBed, tmp_path: Path) -> None:
    assert found(tmp_path, queue=None) == {}
