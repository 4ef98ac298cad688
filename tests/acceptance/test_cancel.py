"""`backhaul status` and `backhaul cancel`, beside an agent at work."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.acceptance.installation import Installation, eventually

pytestmark = pytest.mark.integration
DATA = random.Random(9).randbytes(17 << 20)


def status(it: Installation) -> list[dict[str, Any]]:
    told = it.backhaul("status", "--json")
    assert told.code == 0, told
    return [json.loads(line) for line in told.out.splitlines()]


def test_a_running_transfer_is_seen_cancelled_and_dead_lettered(local: Installation) -> None:
    it = local
    it.put("large", DATA)
    assert it.backhaul("limit", "64KiB/s").code == 0  # 272 s of it
    it.ask_for("large")
    agent = it.start()
    eventually(it.landing.everything)  # its bytes are on their way
    (running,) = status(it)
    transfer = running["transfer"]
    assert (transfer["state"], transfer["objects_planned"]) == ("staging", 1)
    eventually(lambda: "0 of 1 objects" in it.backhaul("status").out)  # the agent has reported it
    shown = it.backhaul("status")
    assert transfer["id"] in shown.out
    assert "Running: 1 transfer under way" in shown.out

    cancelled = it.backhaul("cancel", transfer["id"][:12])

    assert cancelled.code == 0, cancelled
    (dead,) = agent.logged("message dead-lettered", within_s=90)
    assert dead["code"] == "E_CANCELLED"
    agent.terminate()
    assert agent.wait().code == 0
    assert status(it) == []
    ended = it.backhaul("status").out
    assert "Not running: the agent of" in ended
    assert "\nnothing is under way\n" in ended
    published = [name for name in it.landing.files() if not name.startswith(".backhaul/")]
    assert published == []  # what is staged goes by the sweep
    assert it.the_dead_letter()["backhaul.code"] == "E_CANCELLED"
    assert it.backhaul("cancel", transfer["id"]).code == 65


def test_a_transfer_that_nobody_knows_cannot_be_cancelled(local: Installation) -> None:
    it = local
    it.put("small", b"x")
    it.ask_for("small")
    it.drained()

    ended = it.backhaul("cancel", "0nobody")

    assert ended.code == 65
    assert "E_NO_SUCH_TRANSFER" in ended.err
