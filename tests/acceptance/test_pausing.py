"""`backhaul pause`, `resume` and `journal`, beside an agent at work on real servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import Installation, eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def config(local: Installation) -> Path:
    """Two routes of one queue: below `a/` and below `b/`."""
    path = local.home / "backhaul.toml"
    routes = "".join(
        f'[[route]]\nname = "route-{name}"\nsource = ["s3://{local.bucket}/{name}/"]\n'
        f'destination = ["{local.landing.uri}/{name}/"]\n'
        for name in "ab"
    )
    path.write_text(routes, "utf-8")
    for name in "ab":
        local.put(f"{name}/data", name.encode())
    return path


def row_of(it: Installation, name: str) -> dict[str, Any]:
    found = [row for row in it.history() if row["source"] == it.uri(f"{name}/data")]
    return found[0] if found else {}


def test_a_paused_route_waits_while_another_goes_on(local: Installation, config: Path) -> None:
    it = local
    where = ("--config", str(config))
    agent = it.start(*where)
    agent.logged("agent started")
    paused = it.backhaul("pause", "route-a", "--reason", "upgrade", *where)
    assert paused.code == 0, paused
    (change,) = agent.logged("paused routes changed")
    assert (change["routes"], change["is_everything"]) == (["route-a"], False)
    for number in range(6):  # more than there are slots
        it.ask_for("a/data", f"a/{number}")
    it.ask_for("b/data", "b/x")
    agent.logged("transfer done")
    agent.logged("transfer waiting: its route is paused", times=6)
    assert it.landing.files() == {"b/x/data": b"b"}
    row = row_of(it, "a")
    assert (row["state"], row["code"], row["attempt"]) == ("waiting", "E_ROUTE_PAUSED", 0)
    assert "route-a is paused by " in row["reason"]
    assert "E_ROUTE_PAUSED" in it.backhaul("status", *where).out

    resumed = it.backhaul("resume", "route-a", *where)

    assert resumed.code == 0, resumed
    agent.logged("transfer done", times=7)
    received = agent.of("message received")
    assert {line["receive_count"] for line in received} == {1}
    assert len(received) == 7
    agent.terminate()
    assert agent.wait().code == 0
    assert set(it.landing.files()) == {"b/x/data", *(f"a/{n}/data" for n in range(6))}
    assert it.counts() == (0, 0)
    lines = [json.loads(line) for line in it.backhaul("journal", "--json", *where).out.splitlines()]
    assert [(line["action"], line["outcome"]) for line in lines] == [
        ("resume", "done"),
        ("pause", "done"),
    ]
    assert lines[1]["subject"] == "route-a: upgrade"
    assert "@" in lines[1]["operator"]


def test_a_pause_outlives_the_agent_and_a_stop_hands_its_messages_back(
    local: Installation, config: Path
) -> None:
    it = local
    where = ("--config", str(config))
    it.drained(*where)  # makes the ledger
    assert it.backhaul("pause", "route-a", *where).code == 0
    it.ask_for("a/data", "a/x")
    agent = it.start(*where)
    agent.logged("transfer waiting: its route is paused")
    assert it.counts() == (0, 1)
    agent.terminate()
    ended = agent.wait()
    assert ended.code == 0, ended
    assert it.counts() == (1, 0)
    drained = it.drain(*where)
    assert drained.code == 69, drained
    assert it.counts() == (1, 0)
    assert it.backhaul("resume", "route-a", *where).code == 0
    it.drained(*where)
    assert it.landing.files() == {"a/x/data": b"a"}


def test_while_everything_is_paused_messages_stay_on_the_queue(
    local: Installation, config: Path
) -> None:
    it = local
    where = ("--config", str(config))
    it.drained(*where)
    for name in ("route-a", "route-b"):
        assert it.backhaul("pause", name, "--for", "3h", *where).code == 0
    agent = it.start(*where)
    (change,) = agent.logged("paused routes changed")
    assert change["is_everything"]
    # A poll that was under way then may bring as many as there are slots; they are parked.
    for number in range(9):
        it.ask_for("a/data", f"a/{number}")
    eventually(lambda: it.counts()[0] >= 5)
    assert it.backhaul("resume", "route-a", *where).code == 0
    agent.logged("transfer done", times=9)
    assert {line["receive_count"] for line in agent.of("message received")} == {1}
    agent.terminate()
    assert agent.wait().code == 0


def test_a_timed_pause_ends_by_itself(local: Installation, config: Path) -> None:
    """Its end is put forward in the ledger, as a minute is long."""
    import sqlite3
    from contextlib import closing

    it = local
    where = ("--config", str(config))
    it.drained(*where)
    assert it.backhaul("pause", "route-a", "--for", "1m", *where).code == 0
    agent = it.start(*where)
    agent.logged("paused routes changed")
    it.ask_for("a/data", "a/x")
    agent.logged("transfer waiting: its route is paused")
    ledger = it.home / ".local" / "state" / "backhaul" / "ledger.db"
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute("UPDATE paused_routes SET until = since + 1")
    agent.logged("transfer done")
    agent.terminate()
    assert agent.wait().code == 0


def test_a_typo_is_answered_with_the_right_name(local: Installation, config: Path) -> None:
    it = local
    where = ("--config", str(config))
    it.drained(*where)
    refused = it.backhaul("pause", "rout-a", *where)
    assert refused.code == 64, refused
    assert refused.err.startswith("backhaul: E_ROUTE_UNKNOWN: ")
    assert "did you mean 'route-a'?" in refused.err


def test_a_route_pauses_itself_after_deaths_of_one_cause(local: Installation) -> None:
    config = local.home / "backhaul.toml"
    config.write_text(
        f'[[route]]\nname = "orders"\nsource = ["s3://{local.bucket}/"]\n'
        f'destination = ["{local.landing.uri}/"]\npause_after = 2\n'
    )
    agent = local.start("--config", str(config), BACKHAUL_AGENT__SLOTS="1")
    for name in ("x", "y"):
        local.ask_for(f"missing-{name}/", name)
    (fact,) = agent.logged("route paused itself")
    assert (fact["route"], fact["code"], fact["deaths"]) == ("orders", "E_SRC_EMPTY", 2)
    assert fact["hint"].endswith("; then: backhaul resume orders")
    agent.logged("paused routes changed")
    local.put("p/a", b"1")
    local.ask_for("p/", "p")
    agent.logged("transfer waiting: its route is paused")
    shown = local.backhaul("journal", "--json")
    assert '"backhaul"' in shown.out
    assert local.backhaul("resume", "orders", "--config", str(config)).code == 0
    agent.logged("transfer done")
    agent.terminate()
    assert agent.wait().code == 0
