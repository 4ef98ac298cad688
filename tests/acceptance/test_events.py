"""Events and signed messages through the real agent, on real servers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from backhaul.testing.servers import Hdfs, Moto
from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import REGION, Installation
from tests.acceptance.landing import landing_on
from tests.acceptance.proxy import Proxy
from tests.acceptance.test_killing import show_again

pytestmark = pytest.mark.integration
KEYS = "5d0f3c9be1a74f7fb1f4b1d6a3a9c2e7\n"


def configure(it: Installation, more: str = "") -> tuple[str, str]:
    """`--config FILE` of one route that takes events; `more` are its further lines."""
    path = it.home / "backhaul.toml"
    path.write_text(
        f'[[route]]\nname = "events"\nsource = ["s3://{it.bucket}/"]\n'
        f'destination = ["{it.landing.uri}/"]\n'
        f'event_destination = "{it.landing.uri}/{{key_dir}}/"\n{more}',
        encoding="utf-8",
    )
    return ("--config", str(path))


def notify(it: Installation) -> None:
    """Let S3 itself tell the queue of every object."""
    arn = it.sqs.get_queue_attributes(QueueUrl=it.queue_url, AttributeNames=["QueueArn"])
    queue: Any = {"QueueArn": arn["Attributes"]["QueueArn"], "Events": ["s3:ObjectCreated:*"]}
    it.s3.put_bucket_notification_configuration(
        Bucket=it.bucket, NotificationConfiguration={"QueueConfigurations": [queue]}
    )


def record(bucket: str, key: str, **about: Any) -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key} | about},
    }


def test_objects_arrive_by_nothing_but_s3s_own_notifications(on_moto: Installation) -> None:
    config = configure(on_moto)
    notify(on_moto)
    data = {
        "click/day=01/part-0": b"one",
        "click/day=01/red flower+100%.jpg": b"two",
        "click/été/€": b"three",
        "top": b"four",
    }
    for key, body in data.items():
        on_moto.put(key, body)
    on_moto.drained(*config)

    assert on_moto.landing.files() == data
    assert on_moto.dead_letters() == []
    assert {row["state"] for row in on_moto.history()} == {"done"}
    assert len({row["policy"] for row in on_moto.history()}) == 1


@pytest.mark.hdfs
def test_marker_brings_its_directory_onto_hdfs_in_one_rename(
    install: Install, moto_server: Moto, hdfs: Hdfs
) -> None:
    it = install(moto_server, moto_server, hdfs)
    it.landing = landing_on(hdfs.uri, it.name)
    config = configure(it, 'marker = "_SUCCESS"\n')
    notify(it)
    data = {f"click/day=01/part-{number}": b"x" * number for number in range(1, 4)}
    for key, body in data.items():
        it.put(key, body)
    ended = it.drained(*config)
    reasons = sorted(line["reason"] for line in ended.of("event ignored"))
    assert reasons == [*["EVENT_NOT_MARKER"] * 3, "S3_TEST_EVENT"]
    assert it.landing.files() == {}

    it.put("click/day=01/_SUCCESS", b"")
    ended = it.drained(*config)
    (done,) = ended.of("transfer done")
    assert (done["objects"], done["publish"]) == (4, "tree")
    assert it.landing.files() == {**data, "click/day=01/_SUCCESS": b""}


def test_version_of_the_event_is_copied_though_a_newer_one_is_there(on_moto: Installation) -> None:
    config = configure(on_moto)
    on_moto.s3.put_bucket_versioning(
        Bucket=on_moto.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    version = on_moto.s3.put_object(Bucket=on_moto.bucket, Key="d/a", Body=b"first")["VersionId"]
    on_moto.put("d/a", b"second")
    event = {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "time": "2026-11-22T12:00:00Z",
        "detail": {
            "bucket": {"name": on_moto.bucket},
            "object": {"key": "d/a", "version-id": version, "sequencer": "617f08299329d189"},
        },
    }
    on_moto.leave(json.dumps(event))
    on_moto.drained(*config)

    assert on_moto.landing.files() == {"d/a": b"first"}
    (row,) = on_moto.history()
    (line,) = on_moto.evidence(row["id"])
    assert line["version_id"] == version

    on_moto.leave(json.dumps(event))  # once more, as S3 may
    on_moto.drained(*config)
    assert [row["state"] for row in on_moto.history()] == ["superseded", "done"]


def test_forged_sequencer_hides_no_later_object(on_moto: Installation) -> None:
    config = configure(on_moto)
    for data, sequencer in ((b"first", "F" * 18), (b"second", "01"), (b"third", "02")):
        on_moto.put("d/a", data)
        time.sleep(1)  # S3's times have whole seconds
        on_moto.leave(json.dumps({"Records": [record(on_moto.bucket, "d/a", sequencer=sequencer)]}))
        on_moto.drained(*config)
        assert on_moto.landing.files() == {"d/a": data}
    assert {row["state"] for row in on_moto.history()} == {"done"}


def test_records_of_one_message_are_done_dead_or_ignored_each_by_itself(
    local: Installation,
) -> None:
    config = configure(local, 'event_other = "ignore"\n')
    local.put("d/a", b"aa")
    local.put("d/c", b"cc")
    removed = record(local.bucket, "d/x") | {"eventName": "ObjectRemoved:Delete"}
    records = [
        record(local.bucket, "d/a"),
        record(local.bucket, "d/missing"),
        removed,
        record(local.bucket, "d/c"),
    ]
    inner = json.dumps({"Records": records})
    envelope = {"Type": "Notification", "TopicArn": "arn:aws:sns:x:1:t", "Message": inner}
    message_id = local.leave(json.dumps(envelope))
    ended = local.drained(*config)

    assert local.landing.files() == {"d/a": b"aa", "d/c": b"cc"}
    letter = local.the_dead_letter()
    assert letter["backhaul.code"] == "E_SRC_EMPTY"
    assert letter["backhaul.reason"].startswith("record 2 of 4: ")
    assert json.loads(letter["body"]) == {"Records": [records[1]]}  # which can be redriven alone
    (ignored,) = ended.of("event ignored")
    assert (ignored["reason"], ignored["message_id"]) == ("EVENT_TYPE", message_id)
    found = {row["message_id"]: row["state"] for row in local.history()}
    assert found == {
        message_id: "done",
        f"{message_id}#2": "dead",
        f"{message_id}#4": "done",
    }


def test_killed_agent_goes_on_with_the_records_that_are_left(
    install: Install, sqs_proxy: Proxy, elasticmq: ElasticMQ, s3proxy: S3Proxy
) -> None:
    it = install(sqs_proxy, s3proxy, sqs_direct=elasticmq)
    config = configure(it)
    keys = [f"d/{number:02}" for number in range(12)]
    for key in keys:
        it.put(key, key.encode())
    it.leave(json.dumps({"Records": [record(it.bucket, key) for key in keys]}))
    running = it.start(*config)
    running.logged("transfer done", times=3)
    running.kill()
    before = {row["id"]: row["updated_at"] for row in it.history() if row["state"] == "done"}
    assert len(before) >= 3
    show_again(it, sqs_proxy)
    it.drained(*config)

    rows = {row["id"]: row for row in it.history()}
    assert it.landing.files() == {key: key.encode() for key in keys}
    assert [row["state"] for row in rows.values()] == ["done"] * len(keys)
    assert {name: rows[name]["updated_at"] for name in before} == before


# ---------------------------------------------------------------- signatures


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "signing.key"
    path.write_text(KEYS)
    path.chmod(0o600)
    return path


def test_signed_message_is_carried_out_and_its_copy_is_not(
    local: Installation, key_file: Path
) -> None:
    config = configure(local, f'signature = {{ key_file = "{key_file}" }}\n')
    local.put("d/a", b"aa")
    place = (local.queue, REGION, local.uri("d/a"), local.landing.uri)
    sent = local.backhaul("send", "--sign", str(key_file), *place)
    assert sent.code == 0, sent
    answer = local.sqs.receive_message(
        QueueUrl=local.queue_url, MessageAttributeNames=["All"], VisibilityTimeout=0
    )
    (message,) = answer["Messages"]
    local.sqs.send_message(
        QueueUrl=local.queue_url,
        MessageBody=message["Body"],
        MessageAttributes=message["MessageAttributes"],
    )
    local.backhaul("send", *place)
    ended = local.drained(*config, BACKHAUL_AGENT__SLOTS="1")

    codes = sorted(letter["backhaul.code"] for letter in local.dead_letters())
    assert codes == ["E_SIG_MISSING", "E_SIG_REPLAY"]
    assert local.landing.files() == {"a": b"aa"}
    for text in (ended.out, ended.err, (local.home / "backhaul.toml").read_text()):
        assert KEYS.strip() not in text


def test_signed_message_that_died_comes_back_by_redrive_and_only_once(
    local: Installation, key_file: Path
) -> None:
    config = configure(local, f'signature = {{ key_file = "{key_file}" }}\n')
    place = (local.queue, REGION, local.uri("d/a"), local.landing.uri)
    sent = local.backhaul("send", "--sign", str(key_file), "--valid", "600", *place)
    assert sent.code == 0, sent
    local.drained(*config)
    assert "E_SRC_EMPTY" in local.backhaul("dlq", "list", local.queue, REGION).out

    local.put("d/a", b"aa")
    ended = local.backhaul("dlq", "redrive", local.queue, REGION, "--all")
    assert ended.code == 0, ended
    answer = local.sqs.receive_message(
        QueueUrl=local.queue_url, MessageAttributeNames=["All"], VisibilityTimeout=0
    )
    (message,) = answer["Messages"]
    assert set(message["MessageAttributes"]) == {"backhaul-signature", "backhaul.redrive"}
    # A stranger who saw the message on the queue sends it a second time.
    local.sqs.send_message(
        QueueUrl=local.queue_url,
        MessageBody=message["Body"],
        MessageAttributes=message["MessageAttributes"],
    )
    local.drained(*config, BACKHAUL_AGENT__SLOTS="1")
    assert local.landing.files() == {"a": b"aa"}
    (letter,) = local.dead_letters()
    assert letter["backhaul.code"] == "E_SIG_REPLAY"


def test_key_that_others_may_read_is_refused(local: Installation, key_file: Path) -> None:
    key_file.chmod(0o640)
    config = configure(local, f'signature = {{ key_file = "{key_file}" }}\n')
    for ended in (
        local.drain(*config),
        local.backhaul("send", "--sign", str(key_file), "q", REGION, "s3://b-1/k", "/d"),
    ):
        assert ended.code == 78, ended
        assert "E_CFG_KEY" in ended.err
        assert "chmod 600" in ended.err


# ---------------------------------------------------------------- explain


def explained(it: Installation, body: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    path = it.home / "body"
    path.write_text(body, encoding="utf-8")
    ended = it.backhaul("explain", "--json", *configure(it), *arguments, str(path))
    assert "Traceback" not in ended.err, ended
    shown: dict[str, Any] = json.loads(ended.out)
    return ended.code, shown


def test_explain_shows_each_record_its_route_and_its_decision(local: Installation) -> None:
    local.put("d/a", b"aa")
    records = [record(local.bucket, "d/a", sequencer="05"), record("other-bucket", "d/a")]
    code, shown = explained(local, json.dumps({"Records": records}))
    assert code == 77
    assert shown["form"] == "s3"
    first, second = shown["records"]
    assert (first["route"], first["decision"], first["objects"]) == ("events", "accepted", 1)
    assert first["destination"] == f"{local.landing.uri}/d"
    assert first["targets"] == [f"{local.landing.uri}/d/a"]
    assert "sequencer 05" in first["event"]
    assert (second["decision"], second["code"]) == ("refused", "E_POLICY_SOURCE")


def test_explain_of_what_is_ignored_ends_well(local: Installation) -> None:
    code, shown = explained(local, '{"Service":"Amazon S3","Event":"s3:TestEvent"}')
    assert (code, shown["decision"], shown["ignored"]) == (0, "ignored", "S3_TEST_EVENT")


def test_explain_of_a_gibibyte_ends_at_once_with_65(local: Installation) -> None:
    path = local.home / "huge"
    with path.open("wb") as stream:
        stream.truncate(1 << 30)
    ended = local.backhaul("explain", "--no-list", *configure(local), str(path))
    assert ended.code == 65, ended
    assert "E_MSG_TOO_LARGE" in ended.out
