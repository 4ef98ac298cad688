"""A budget beside an agent at work on real servers: held, raised, killed while held."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation, Running, eventually

pytestmark = pytest.mark.integration

SIZE = 100_000
BUDGET = f'budget = {{ bytes = {SIZE * 5 // 2}, per = "day" }}\n'


@pytest.fixture
def config(local: Installation) -> Path:
    """Two and a half objects of `a/` may leave S3 today; of `b/` all."""
    path = local.home / "backhaul.toml"
    routes = "".join(
        f'[[route]]\nname = "route-{name}"\nsource = ["s3://{local.bucket}/{name}/"]\n'
        f'destination = ["{local.landing.uri}/{name}/"]\n{more}'
        for name, more in (("a", BUDGET), ("b", ""))
    )
    path.write_text(routes, "utf-8")
    for name in "ab":
        local.put(f"{name}/data", name.encode() * SIZE)
    return path


@pytest.fixture(autouse=True)
def _not_over_midnight() -> None:
    """The period turns at midnight of UTC."""
    now = datetime.now(UTC)
    left = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0) - now
    if left < timedelta(minutes=3):
        time.sleep(left.total_seconds() + 1)


def spent(it: Installation, config: Path) -> int:
    shown = it.backhaul("budget", "show", "--json", "--config", str(config))
    return int(json.loads(shown.out)["spent"])


def held(agent: Running, times: int) -> None:
    agent.logged("transfer waiting: its route is paused", times=times)


def test_what_does_not_fit_waits_until_the_budget_is_raised(
    local: Installation, config: Path
) -> None:
    it, where = local, ("--config", str(config))
    agent = it.start(*where)
    agent.logged("agent started")
    for number in range(5):
        it.ask_for("a/data", f"a/{number}")
    it.ask_for("b/data", "b/x")
    agent.logged("transfer done", times=3)
    held(agent, 3)
    assert spent(it, config) == 2 * SIZE
    rows = [row for row in it.history() if row["state"] == "waiting"]
    assert {(row["code"], row["attempt"], row["failures"]) for row in rows} == {
        ("E_BUDGET_USED", 0, 0)
    }
    (nearly,) = agent.logged("budget nearly used up")
    assert nearly["route"] == "route-a"
    assert datetime.fromisoformat(nearly["ends_at"]) > datetime.now(UTC)

    def status() -> str:
        out = it.backhaul("status", *where).out
        return out if "backhaul budget raise route-a" in out else ""

    assert "the budget of route route-a" in eventually(status, what="a status with the fix")
    shown = it.backhaul("budget", "show", *where).out
    assert "3 transfers held" in shown
    checked = it.backhaul("check", *where)
    assert checked.code == 1, checked
    assert "does not fit into the budget" in checked.out

    began_s = time.monotonic()
    raised = it.backhaul("budget", "raise", "route-a", "1MB", "--reason", "backfill", *where)
    assert raised.code == 0, raised
    agent.logged("transfer done", times=6)
    assert time.monotonic() - began_s < 30
    assert {line["receive_count"] for line in agent.of("message received")} == {1}
    agent.terminate()
    assert agent.wait().code == 0
    assert set(it.landing.files()) == {"b/x/data", *(f"a/{n}/data" for n in range(5))}
    assert it.counts() == (0, 0)
    assert spent(it, config) == 5 * SIZE, "nothing was read twice"
    (line,) = map(json.loads, it.backhaul("journal", "--json", *where).out.splitlines())
    assert (line["action"], line["outcome"]) == ("budget", "done")


def test_an_agent_that_is_killed_while_it_holds_loses_and_spends_nothing(
    local: Installation, config: Path
) -> None:
    it, where = local, ("--config", str(config))
    agent = it.start(*where)
    for number in range(3):
        it.ask_for("a/data", f"a/{number}")
    agent.logged("transfer done", times=2)
    held(agent, 1)
    eventually(lambda: it.counts() == (0, 1), what="the deletes of both that are done")
    agent.kill()
    assert spent(it, config) == 2 * SIZE
    again = it.start(*where)
    it.ask_for("a/data", "a/more")
    held(again, 1)  # what was spent is known
    assert it.backhaul("budget", "raise", "route-a", "1MB", *where).code == 0
    again.logged("transfer done")
    again.terminate()
    assert again.wait().code == 0
    assert it.counts() == (0, 1), "what was parked reappears within 15 minutes"
    rows = it.history()
    assert sorted(row["state"] for row in rows) == ["done", "done", "done", "waiting"]
    assert {row["failures"] for row in rows} == {0}
    assert spent(it, config) == 3 * SIZE
