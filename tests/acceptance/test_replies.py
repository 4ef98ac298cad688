"""Replies by the real agent: from the ledger to the queue, also after kill -9, and by reply_to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import Installation, eventually
from tests.docs.test_schemas import SCHEMAS, _TypeFirst

pytestmark = pytest.mark.integration


def configured(it: Installation, *replies: str, route: str = 'replies = ["out"]') -> str:
    """A configuration of one route and one `[[reply]]` with these lines."""
    path = it.home / "backhaul.toml"
    path.write_text(
        f'[[route]]\nname = "landing"\nsource = ["s3://{it.bucket}/"]\n'
        f'destination = ["{it.landing.uri}/"]\n{route}\n'
        '[[reply]]\nname = "out"\n' + "\n".join(replies) + "\n"
    )
    return str(path)


@pytest.fixture
def reply_url(local: Installation) -> Iterator[str]:
    """A queue that replies go to."""
    url = local.sqs.create_queue(QueueName=f"{local.name}-replies")["QueueUrl"]
    yield url
    local.sqs.delete_queue(QueueUrl=url)


def received(it: Installation, url: str, count: int) -> list[dict[str, Any]]:
    """So many replies, by key."""
    found: list[dict[str, Any]] = []

    def all_came() -> bool:
        answer = it.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, VisibilityTimeout=600
        )
        found.extend(json.loads(one["Body"]) for one in answer.get("Messages", []))
        return len(found) >= count

    eventually(all_came, what=f"{count} replies")
    assert len(found) == count
    return sorted(found, key=lambda one: str(one["key"]))


def test_what_has_arrived_and_what_has_died_is_replied_to(
    local: Installation, reply_url: str
) -> None:
    config = configured(local, f'sqs = "{reply_url}"')
    local.put("a/1", b"one")
    local.put("a/2", b"three")
    message_id = local.ask_for("a/", "there")
    local.ask_for("none/1")
    assert local.drained("--config", config).code == 0
    found = received(local, reply_url, 2)
    schema = json.loads((SCHEMAS / "reply.schema.json").read_text("utf-8"))
    assert all(_TypeFirst(schema).accepts(one) for one in found)
    done, dead = sorted(found, key=lambda one: str(one["event"]), reverse=True)
    shown = local.show(done["transfer"])["transfer"]
    assert done == {
        "v": 1,
        "event": "done",
        "code": None,
        "reason": None,
        "transfer": shown["id"],
        "epoch": 1,
        "key": f"{shown['id']}-1-done",
        "at": done["at"],
        "route": "landing",
        "source": local.uri("a/"),
        "destination": f"{local.landing.uri}/there",
        "objects": 2,
        "bytes": 8,
        "digest": done["digest"],
        "message": message_id,
    }
    assert done["digest"] in local.backhaul("show", shown["id"], "--evidence").out
    assert (dead["event"], dead["code"], dead["digest"]) == ("dead", "E_SRC_EMPTY", None)


def test_a_message_names_its_own_queue_within_the_allow_list(
    local: Installation, reply_url: str
) -> None:
    config = configured(local, 'command = ["/bin/true"]', route=f'reply_to = ["{reply_url[:-3]}*"]')
    local.put("a", b"one")
    request = {"v": 1, "source": local.uri("a"), "destination": local.landing.uri}
    local.leave(json.dumps({**request, "reply_to": reply_url}))
    local.leave(json.dumps({**request, "reply_to": f"{reply_url}/../other"}))
    assert local.drained("--config", config).code == 0
    (found,) = received(local, reply_url, 1)
    assert found["event"] == "done"
    assert local.the_dead_letter()["backhaul.code"] == "E_POLICY_REPLY_TO"


def test_killed_between_record_and_send_it_is_sent_after_the_restart_with_the_same_key(
    local: Installation,
) -> None:
    calls, hangs = local.home / "calls", local.home / "hangs"
    hook = local.home / "hook"
    hook.write_text(
        f'#!/bin/sh\necho "$BACKHAUL_REPLY_KEY" >> {calls}\n'
        f"[ -e {hangs} ] && exec sleep 60\ncat > {local.home}/reply.json\n"
    )
    hook.chmod(0o755)
    config = configured(local, f'command = ["{hook}"]', 'timeout = "60s"')
    hangs.touch()
    local.put("a", b"one")
    local.ask_for("a")
    agent = local.start("--config", config)
    agent.logged("transfer done")
    eventually(calls.exists, what="the command is called")
    eventually(lambda: local.counts() == (0, 0), what="the delete, which would bring it again")
    agent.kill()
    hangs.unlink()
    assert local.drained("--config", config).code == 0
    (transfer,) = local.history()
    assert json.loads((local.home / "reply.json").read_text())["transfer"] == transfer["id"]
    assert calls.read_text().split() == [f"{transfer['id']}-1-done"] * 2


def test_a_target_that_hangs_delays_neither_transfers_nor_the_end(local: Installation) -> None:
    hook = Path(local.home / "hook")
    hook.write_text("#!/bin/sh\nexec sleep 60\n")
    hook.chmod(0o755)
    config = configured(local, f'command = ["{hook}"]', 'timeout = "60s"')
    for number in range(3):
        local.put(f"a/{number}", b"one")
        local.ask_for(f"a/{number}")
    assert local.drained("--config", config, timeout_s=30).code == 0
    assert [row["state"] for row in local.history()] == ["done"] * 3
