"""Transfers of one route take hours: a message of one that keeps a slot begins at once."""

from __future__ import annotations

import pytest

from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import eventually
from tests.acceptance.proxy import Answer, Proxy

pytestmark = pytest.mark.integration

SLOTS = 3
FLOOD = 8


def test_a_route_that_keeps_a_slot_does_not_wait_for_transfers_of_another_one(
    install: Install, elasticmq: ElasticMQ, s3_proxy: Proxy, s3proxy: S3Proxy
) -> None:
    it = install(elasticmq, s3_proxy, s3_direct=s3proxy)
    config = it.home / "routes.toml"
    config.write_text(
        "".join(
            f'[[route]]\nname = "{name}"\nsource = ["s3://{it.bucket}/{name}/"]\n'
            f'destination = ["{it.landing.uri}/{name}/"]\n{more}'
            for name, more in (("long", ""), ("kept", "min_slots = 1\n"))
        ),
        "utf-8",
    )
    config.chmod(0o600)

    def stall(answer: Answer) -> None:
        answer.stall_after = 0

    s3_proxy.lie(stall, to=lambda seen: seen.is_object_get and "/long/" in seen.path)
    for name in ("long", "kept"):
        it.put(f"{name}/a", b"content")
    for number in range(FLOOD):
        it.ask_for("long/a", f"long/{number}")
    agent = it.start("--config", str(config), BACKHAUL_AGENT__SLOTS=str(SLOTS))
    agent.logged("message received", times=SLOTS - 1)
    # Those behind are in hand, hidden and without a slot.
    eventually(lambda: it.counts() == (0, FLOOD), within_s=60, what="all of them received")
    for number in range(2):
        it.ask_for("kept/a", f"kept/{number}")
    agent.logged("transfer done", times=2, within_s=60)
    assert it.landing.files() == {f"kept/{number}/a": b"content" for number in range(2)}
    assert len(agent.of("message received")) == SLOTS - 1 + 2
    s3_proxy.be_honest()
    agent.logged("transfer done", times=2 + FLOOD, within_s=90)
    agent.terminate()
    ended = agent.wait()
    assert ended.code == 0, ended
    assert it.counts() == (0, 0)
    assert {line["receive_count"] for line in ended.of("message received")} == {1}
