"""`backhaul doctor`, the real command on real servers: nothing false where all is well."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import REGION, Ended, Installation
from tests.acceptance.test_secrets import SECRET_KEY, SESSION_TOKEN, Canaries

pytestmark = pytest.mark.integration
NOT_WELL = {"warning", "failed"}
OF_A_TESTBED = {"ledger.place"}  # its files may be in memory


def findings(ended: Ended) -> list[dict[str, Any]]:
    report: dict[str, Any] = json.loads(ended.out)
    assert report["v"] == 1
    assert report["exit_code"] == ended.code
    found: list[dict[str, Any]] = report["findings"]
    return found


def doctor(it: Installation, *arguments: str, **settings: str) -> Ended:
    return it.backhaul("doctor", *arguments, "--allow", it.allow, timeout_s=90, **settings)


def assert_all_is_well(it: Installation) -> None:
    it.put("p/a", b"1")
    it.sqs.set_queue_attributes(
        QueueUrl=it.dead_url, Attributes={"MessageRetentionPeriod": "1209600"}
    )
    it.sqs.set_queue_attributes(
        QueueUrl=it.queue_url, Attributes={"MessageRetentionPeriod": "604800"}
    )
    (it.home / "landing").mkdir()
    it.leave("a message that must be left alone")
    ended = doctor(it, it.queue, REGION, "--json")
    assert ended.code == 0, ended
    assert ended.err == ""
    checks = {one["check"]: one for one in findings(ended) if one["check"] not in OF_A_TESTBED}
    assert [one for one in checks.values() if one["state"] in NOT_WELL] == []
    assert {"sqs.receive", "sqs.dead_letter_send", "s3.list", "s3.read", "s3.checksum"} <= {
        name for name, one in checks.items() if one["state"] == "ok"
    }
    assert it.counts() == (1, 0), "no message was taken"
    first = it.sqs.receive_message(QueueUrl=it.queue_url, MessageSystemAttributeNames=["All"])
    assert first["Messages"][0]["Attributes"]["ApproximateReceiveCount"] == "1"
    assert it.dead_letters() == [], "and none was left"


def test_all_is_well_on_moto(on_moto: Installation) -> None:
    assert_all_is_well(on_moto)


def test_all_is_well_on_elasticmq_and_s3proxy(local: Installation) -> None:
    assert_all_is_well(local)


def test_faults_of_queue_and_bucket_are_found_with_their_fix(on_moto: Installation) -> None:
    it = on_moto
    it.sqs.set_queue_attributes(
        QueueUrl=it.queue_url, Attributes={"RedrivePolicy": "", "MessageRetentionPeriod": "3600"}
    )
    route = f"s3://{it.bucket}-gone/ -> {it.landing.uri}/"
    ended = it.backhaul("doctor", it.queue, REGION, "--json", "--allow", route)
    found = {one["check"]: one for one in findings(ended)}
    assert ended.code == 78
    assert (found["s3.list"]["state"], found["s3.list"]["code"]) == ("failed", "E_SRC_NO_BUCKET")
    assert found["sqs.retention"]["state"] == "warning"
    assert "RedrivePolicy" in str(found["sqs.dead_letter"]["fix"])
    assert "aws sqs create-queue" in str(found["sqs.dead_letter"]["fix"])


def test_a_queue_of_another_region_is_named(on_moto: Installation) -> None:
    ended = doctor(on_moto, on_moto.queue, "eu-west-3")
    assert ended.code == 78
    assert f"there is one in {REGION}" in ended.out
    assert f"fix: backhaul doctor {on_moto.queue} {REGION}" in ended.out


def test_a_bundle_has_the_worst_transfers_and_no_secret(
    on_moto: Installation, tmp_path: Path
) -> None:
    it = on_moto
    it.environment |= {"AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_SESSION_TOKEN": SESSION_TOKEN}
    log = tmp_path / "backhaul.log"
    it.environment["BACKHAUL_LOG__FILE"] = str(log)
    it.leave(f"elsewhere/x, {it.landing.uri}/out")
    it.drained()
    file = tmp_path / "for-support.tar.gz"
    ended = doctor(it, it.queue, REGION, "--offline", "--bundle", str(file))
    assert ended.code == 0, ended
    canaries = Canaries(SECRET_KEY, SESSION_TOKEN)
    canaries.assert_not_in(ended, "doctor")
    with tarfile.open(file) as archive:
        for entry in archive.getmembers():
            stream = archive.extractfile(entry)
            assert stream is not None
            content = stream.read()
            canaries.assert_absent(entry.name, content)
            if entry.name.endswith("worst-transfers.json"):
                (dead,) = json.loads(content)
                assert dead["transfer"]["code"] == "E_POLICY_SOURCE"
            if entry.name.endswith("log.txt"):
                assert b"E_POLICY_SOURCE" in content
