"""Planted faults of replies: which check of `backhaul doctor` finds each, with which fix."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backhaul.app.doctor import replies
from backhaul.app.doctor.context import read_context
from backhaul.app.doctor.finding import Finding, State, exit_code_of
from backhaul.app.doctor.probes import SECTIONS, Section
from backhaul.app.doctor.run import examine
from testbed.mail import certificate, free_port, scripted
from testbed.receiver import Receiver, receiving
from tests.unit.aws_bed import ACCOUNT, QUEUE, REGION, AwsBed, Refused

REPLIES = f"arn:aws:sqs:{REGION}:{ACCOUNT}:replies"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:arrived"
SQS = f'sqs = "https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/replies"'
SNS = f'sns = "{TOPIC}"'
SECRET = "canaryc0ffeeSECRET"


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsBed]:
    """All is well, until a test plants a fault."""
    made = AwsBed()
    made.queues[REGION, "replies"] = {"QueueArn": REPLIES}
    for name in ("HTTPS_PROXY", "https_proxy", "AWS_CA_BUNDLE", "AWS_PROFILE", "HADOOP_CONF_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIACANARYC0FFEE0000")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with made.serving() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield made


def examined(
    directory: Path, *lines: str, is_offline: bool = False, used: bool = True
) -> list[Finding]:
    file = directory / "backhaul.toml"
    names = '["out"]' if used else "[]"
    file.write_text(
        "\n".join(['[[reply]]\nname = "out"', *lines])
        + '\n[[route]]\nname = "landing"\nsource = ["s3://acme-raw/p/"]\n'
        + f'destination = ["file://{directory}/landing/"]\nreplies = {names}\n'
    )
    context = read_context(config=file, queue=QUEUE, region=REGION, is_offline=is_offline)
    found = [one for _, one in examine(context, [Section("replies", replies.PROBES)])]
    assert SECRET not in str(found)
    return found


def one(findings: list[Finding]) -> tuple[str, State, str]:
    (found,) = findings
    assert found.state is not State.FAILED or found.fix
    return found.check, found.state, "\n".join([found.text, *found.fix])


def secret(directory: Path, mode: int = 0o600) -> str:
    (directory / "secret").write_text(SECRET)
    (directory / "secret").chmod(mode)
    return f'secret_file = "{directory}/secret"'


def test_it_is_one_of_the_sections() -> None:
    assert replies.PROBES in [section.probes for section in SECTIONS]


def test_queue_and_topic_are_well_and_nothing_is_sent(bed: AwsBed, tmp_path: Path) -> None:
    assert one(examined(tmp_path, SQS))[:2] == ("replies.sqs", State.OK)
    assert one(examined(tmp_path, f'sqs = "{REPLIES}"'))[:2] == ("replies.sqs", State.OK)
    assert one(examined(tmp_path, SNS))[:2] == ("replies.sns", State.OK)
    assert bed.taken == []


def test_closed_attributes_are_no_fault(bed: AwsBed, tmp_path: Path) -> None:
    bed.refused["sqs:GetQueueAttributes"] = Refused("AccessDenied")
    bed.refused["sns:GetTopicAttributes"] = Refused("AuthorizationError")
    assert one(examined(tmp_path, SQS))[1] is State.OK
    assert one(examined(tmp_path, SNS))[1] is State.OK


@pytest.mark.parametrize(
    ("line", "action", "code", "status", "words"),
    [
        (SQS, "sqs:SendMessage", "AccessDenied", 403, ("sqs:SendMessage", REPLIES)),
        (SQS, "sqs:GetQueueAttributes", "QueueDoesNotExist", 400, ("no such queue",)),
        (SNS, "sns:Publish", "AuthorizationError", 403, ("sns:Publish", TOPIC)),
        (SNS, "sns:GetTopicAttributes", "NotFound", 404, ("no such topic", "correct its ARN")),
        (SNS, "sns:Publish", "KMSDisabled", 400, ("KMSDisabled", "kms:GenerateDataKey")),
    ],
)
def test_a_planted_fault_is_found_with_its_fix(
    bed: AwsBed, tmp_path: Path, line: str, action: str, code: str, status: int, words: tuple[str]
) -> None:
    bed.refused[action] = Refused(code, status=status)
    findings = examined(tmp_path, line)
    check, state, text = one(findings)
    assert (check, state) == (f"replies.{line[:3]}", State.FAILED)
    assert [word for word in words if word not in text] == []
    assert exit_code_of(findings)
    assert bed.taken == []


def test_a_role_that_may_not_be_assumed_is_found_with_both_policies(
    bed: AwsBed, tmp_path: Path
) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/send"
    bed.refused["sts:AssumeRole"] = Refused("AccessDenied")
    findings = examined(tmp_path, SQS, f'role_arn = "{role}"')
    check, state, text = one(findings)
    assert (check, state, int(exit_code_of(findings))) == ("replies.sqs", State.FAILED, 77)
    for word in ("sts:AssumeRole", role, "trust policy", "sqs:SendMessage", REPLIES):
        assert word in text


def test_a_webhook_is_reached_and_nothing_is_sent(bed: AwsBed, tmp_path: Path) -> None:
    public, context = certificate(tmp_path)
    line = 'webhook = "https://localhost:{}/x"'
    with receiving(Receiver(), context) as receiver:
        line = line.format(receiver.port)
        trusted = examined(tmp_path, line, f'ca_file = "{public}"', secret(tmp_path))
        check, state, text = one(examined(tmp_path, line, secret(tmp_path)))
    assert one(trusted)[:2] == ("replies.webhook", State.OK)
    assert (check, state) == ("replies.webhook", State.FAILED)
    assert "ca_file" in text
    assert receiver.received == []


def test_a_webhook_that_is_down_or_not_signed_is_named(bed: AwsBed, tmp_path: Path) -> None:
    line = f'webhook = "http://127.0.0.1:{free_port()}/"'
    assert one(examined(tmp_path, line, secret(tmp_path)))[:2] == (
        "replies.webhook",
        State.FAILED,
    )
    unsigned, skipped = examined(tmp_path, line, is_offline=True)
    assert (unsigned.check, unsigned.state) == ("replies.secret", State.WARNING)
    assert "openssl rand" in unsigned.fix[0]
    assert (skipped.check, skipped.state) == ("replies.webhook", State.SKIPPED)


@pytest.mark.parametrize(
    ("lines", "check", "words"),
    [
        (['webhook = "https://x.org/"', 'secret_file = "/no/such"'], "replies.webhook", "/no/such"),
        (['command = ["/no/such"]'], "replies.command", "there is no program"),
        (['command = ["/bin/true"]', 'user = "no-such"'], "replies.command", "useradd"),
    ],
)
def test_files_are_looked_at_offline_too(
    bed: AwsBed, tmp_path: Path, lines: list[str], check: str, words: str
) -> None:
    findings = examined(tmp_path, *lines, is_offline=True)
    found, state, text = one(findings)
    assert (found, state) == (check, State.FAILED)
    assert words in text
    assert int(exit_code_of(findings)) == 78


def of_lineage(directory: Path, url: str, *lines: str, is_offline: bool = False) -> list[Finding]:
    file = directory / "backhaul.toml"
    file.write_text(
        "\n".join([f'[lineage]\nurl = "{url}"', *lines])
        + '\n[[route]]\nname = "landing"\nsource = ["s3://acme-raw/p/"]\n'
        + f'destination = ["file://{directory}/landing/"]\n'
    )
    context = read_context(config=file, queue=QUEUE, region=REGION, is_offline=is_offline)
    found = [one for _, one in examine(context, [Section("replies", replies.PROBES)])]
    assert SECRET not in str(found)
    return found


def api_key(directory: Path, mode: int = 0o600) -> str:
    return secret(directory, mode).replace("secret_file", "api_key_file")


@pytest.mark.parametrize(
    ("status", "headers", "state", "words"),
    [
        (200, {}, State.OK, "does not refuse the key (GET answered 200); no event was sent"),
        (405, {}, State.OK, "does not refuse the key (GET answered 405); no event was sent"),
        (400, {}, State.OK, "does not refuse the key (GET answered 400); no event was sent"),
        (404, {}, State.WARNING, "GET answered 404: is the path right?"),
        (404, {}, State.WARNING, "backhaul replies test lineage"),
        (410, {}, State.WARNING, "GET answered 410: is the path right?"),
        (401, {}, State.FAILED, "check api_key_file"),
        (403, {}, State.FAILED, "check api_key_file"),
        (302, {"Location": "https://elsewhere.example/?k=1"}, State.FAILED, "not followed"),
        (503, {}, State.FAILED, "503"),
    ],
)
def test_the_server_of_lineage_by_a_get(
    tmp_path: Path, status: int, headers: dict[str, str], state: State, words: str
) -> None:
    receiver = Receiver(get_status=status, headers=headers, body=f"key {SECRET}".encode())
    with receiving(receiver):
        found = of_lineage(tmp_path, f"http://127.0.0.1:{receiver.port}", api_key(tmp_path))
    assert one(found)[:2] == ("replies.lineage", state)
    assert words in one(found)[2]
    (query,) = receiver.received
    assert (query.path, query.body) == ("/api/v1/lineage", b"")
    assert query.headers["Authorization"] == f"Bearer {SECRET}"


def test_without_a_key_the_server_of_lineage_is_no_proof_of_one(tmp_path: Path) -> None:
    with receiving(Receiver(get_status=400)) as receiver:
        found = of_lineage(tmp_path, f"http://127.0.0.1:{receiver.port}")
    assert one(found)[1] is State.OK
    assert "is reached (GET answered 400), and no key is configured" in one(found)[2]
    with receiving(Receiver(get_status=401)) as receiver:
        found = of_lineage(tmp_path, f"http://127.0.0.1:{receiver.port}")
    assert one(found)[1] is State.FAILED
    assert "[lineage] api_key_file" in one(found)[2]
    assert "secret_file" not in one(found)[2]


def test_planted_faults_of_lineage(tmp_path: Path) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    assert "E_REPLY_UNREACHABLE" in of_lineage(tmp_path, gone)[0].code
    (skipped,) = of_lineage(tmp_path, gone, is_offline=True)
    assert skipped.state is State.SKIPPED
    _, context = certificate(tmp_path)
    with receiving(Receiver(), context) as receiver:
        (found,) = of_lineage(tmp_path, f"https://localhost:{receiver.port}", api_key(tmp_path))
    assert (found.code, found.state) == ("E_REPLY_TLS", State.FAILED)
    assert "ca_file" in found.fix[0]
    (found,) = of_lineage(tmp_path, gone, api_key(tmp_path, 0o644))
    assert "chmod 0600" in "\n".join(found.fix)
    (found,) = of_lineage(tmp_path, "http://lineage.example.org/", is_offline=True)
    assert (found.code, int(exit_code_of([found]))) == ("E_LINEAGE_SETTING", 78)


def test_a_server_of_lineage_that_hangs_costs_the_limit(tmp_path: Path) -> None:
    def hang(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.recv(1)

    began_s = time.monotonic()
    with scripted(hang) as port:
        (found,) = of_lineage(tmp_path, f"http://127.0.0.1:{port}", 'timeout = "1s"')
        assert time.monotonic() - began_s < 10
    assert (found.code, found.state) == ("E_REPLY_TIMEOUT", State.FAILED)


def test_a_secret_that_others_may_read_is_refused(bed: AwsBed, tmp_path: Path) -> None:
    lines = ['webhook = "https://x.org/"', secret(tmp_path, 0o644)]
    assert "chmod 0600" in one(examined(tmp_path, *lines))[2]


def test_a_command_is_there_and_an_unused_reply_is_named(bed: AwsBed, tmp_path: Path) -> None:
    command = 'command = ["/bin/true"]'
    assert one(examined(tmp_path, command))[:2] == ("replies.command", State.OK)
    assert one(examined(tmp_path, command, used=False))[:2] == ("replies.unused", State.WARNING)
    assert examined(tmp_path, 'marker = "_SUCCESS"') == []
    assert one(examined(tmp_path, SQS, is_offline=True))[1] is State.SKIPPED
    assert bed.calls == []
