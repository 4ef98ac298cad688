"""Expected data beside a real agent: missing at its deadline, reported once, and come late."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.ledger import open_reader
from backhaul.core.outlook.expectation import ExpectationState
from tests.acceptance.expecting import expecting, ledger_of, passed_without_an_agent
from tests.acceptance.installation import Installation, eventually
from tests.acceptance.test_metrics import Endpoint
from tests.acceptance.test_notify import KEEP, hook, notified

pytestmark = pytest.mark.integration


def check(it: Installation, config: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(it.backhaul("check", "--json", "--config", str(config)).out)
    return found


def test_what_is_missing_raises_every_alarm_once_and_its_arrival_ends_them(
    local: Installation,
) -> None:
    it, metrics = local, Endpoint()
    notify = f'[[notify]]\nname = "oncall"\n{hook(it, *KEEP)}\nevery = "1s"\n'
    config = expecting(it, datetime.now(UTC) - timedelta(minutes=2), notify)
    day = f"day={passed_without_an_agent(it, config):%Y-%m-%d}"
    it.put("a", b"first")
    it.put("b", b"second")
    it.ask_for("a", day)
    agent = it.start("--config", str(config), **metrics.setting)
    (missed,) = agent.logged("expected data is missing: W_EXPECTED_MISSING")
    assert (missed["route"], missed["name"]) == ("landing", "data")
    eventually(lambda: notified(it), within_s=30, what="a notification")
    (told,) = notified(it)
    assert told["about"] == ["expected"]
    assert told["data"]["notices"][0]["code"] == "W_EXPECTED_MISSING"

    found = check(it, config)
    assert (found["level"], found["health"]["state"]) == ("CRITICAL", "running")
    assert "missing since" in found["reasons"][0]
    assert "data    landing/data due" in it.backhaul("status", "--config", str(config)).out
    listed = it.backhaul("expectations", "--config", str(config))
    assert (listed.code, listed.out.splitlines()[0]) == (65, "landing/data: MISSING")
    series = 'backhaul_expectation_met{route="landing",name="data"} 0.0'
    eventually(lambda: series in metrics.get("/metrics")[1], within_s=60, what="the metric")
    assert metrics.get("/readyz")[0] == 200, "the agent is well"

    it.ask_for("b", day)
    agent.logged("expected data has come late", within_s=60)
    eventually(lambda: len(notified(it)) == 2, within_s=30, what="another notification")
    assert it.backhaul("expectations", "--config", str(config)).code == 0
    assert check(it, config)["level"] == "OK"
    agent.terminate()
    assert agent.wait().code == 0
    assert len(agent.of("expected data is missing: W_EXPECTED_MISSING")) == 1

    again = it.start("--config", str(config))
    again.logged("agent started")
    eventually(
        lambda: check(it, config)["health"]["state"] == "running", within_s=30, what="it runs"
    )
    again.terminate()
    assert again.wait().code == 0
    assert not again.of("expected data is missing: W_EXPECTED_MISSING")
    assert not again.of("expected data has come late")
    with closing(open_reader(ledger_of(it))) as reader:
        states = {one.state for one in reader.expectations()}
    assert states == {ExpectationState.LATE, ExpectationState.DUE}
