"""One sentence about the agents: what is degraded, since when, and what clears it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backhaul.core.agent_report import (
    SILENT_AFTER,
    AgentIdentity,
    AgentRecord,
    AgentReport,
    DependencyHold,
    RunningTransfer,
)
from backhaul.core.cost.budget import BudgetHold
from backhaul.core.health import (
    CLOCKS_DIFFER,
    FAILED_POLLS,
    GONE_MOST,
    HELD_AFTER,
    POLL_OVERDUE,
    Health,
    HealthState,
    ObservedAgent,
    agent_health,
    health,
)

NOW = datetime(2026, 11, 30, 10, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
RUNNING = HealthState.RUNNING


def transfer(number: int = 1, **other: Any) -> RunningTransfer:
    known: dict[str, Any] = {
        "transfer_id": f"t{number}",
        "message_id": f"m{number}",
        "route": "r",
        "source": "s3://raw/p/",
        "destination": "hdfs://ns1/land",
        "attempt": 1,
        "started_at": NOW,
    }
    return RunningTransfer(**known | other)


def hold(dependency: str = "hdfs", *, since: timedelta = MINUTE, **other: Any) -> DependencyHold:
    known: dict[str, Any] = {
        "code": "E_HDFS_UNREACHABLE",
        "reason": "nn1: connection refused",
        "hint": "start it",
        "transfers": 1,
    }
    return DependencyHold(dependency=dependency, since=NOW - since, **known | other)


def record(
    *, queue: str = "q", host: str = "edge1", started: timedelta = HOUR, **report: Any
) -> AgentRecord:
    ended_at = report.pop("ended_at", None)
    known: dict[str, Any] = {
        "at": NOW - SECOND,
        "last_poll_at": NOW - 5 * SECOND,
        "slot_free_since": NOW - HOUR,
    }
    return AgentRecord(
        identity=AgentIdentity(
            id=f"{queue}{host}{started}",
            host=host,
            owner=f"{host}:boot:1:1",
            version="1",
            queue=queue,
            region="us-east-1",
            slots=4,
            started_at=NOW - started,
        ),
        report=AgentReport(**known | report),
        beats=3,
        ended_at=ended_at,
    )


def seen(**other: Any) -> ObservedAgent:
    flags = {name: other.pop(name) for name in ("is_gone", "is_there") if name in other}
    return ObservedAgent(record=record(**other), **flags)


def judge(*agents: ObservedAgent) -> Health:
    return health(agents, NOW)


# ---------------------------------------------------------------- one agent that is alive


def test_an_agent_without_work_waits_for_messages() -> None:
    found = judge(seen())
    assert (found.state, found.sentence) == (RUNNING, "Running: waiting for messages")
    assert (found.code, found.hint, found.since) == ("", "", None)
    assert found.is_healthy


@pytest.mark.parametrize(
    ("count", "words"), [(1, "1 transfer under way"), (3, "3 transfers under way")]
)
def test_transfers_under_way_are_counted(count: int, words: str) -> None:
    running = tuple(transfer(number) for number in range(count))
    found = agent_health(record(running=running), NOW)
    assert (found.state, found.sentence) == (RUNNING, f"Running: {words}")


def test_failed_polls_count_only_in_a_row_of_three() -> None:
    failing: dict[str, Any] = {
        "failing_since": NOW - 2 * MINUTE,
        "last_poll_at": NOW - HOUR,
        "poll_code": "E_SQS_UNREACHABLE",
        "poll_reason": "no route to host",
    }
    for fewer in range(1, FAILED_POLLS):
        assert agent_health(record(failed_polls=fewer, **failing), NOW).is_healthy
    found = agent_health(record(failed_polls=FAILED_POLLS, **failing), NOW)
    assert found.state is HealthState.NOT_POLLING
    assert found.sentence == "Not polling q for 2 min: E_SQS_UNREACHABLE: no route to host"
    assert found.since == NOW - 2 * MINUTE
    assert not found.is_healthy
    assert "check the network" in found.hint
    hinted = agent_health(record(failed_polls=3, poll_hint="allow sqs:X", **failing), NOW)
    assert hinted.hint == "allow sqs:X", "the error's own fix is the better one"


def test_failed_polls_of_an_older_agent_without_their_beginning_count_too() -> None:
    found = agent_health(record(failed_polls=3, poll_code="E", poll_reason="r"), NOW)
    assert (found.state, found.since) == (HealthState.NOT_POLLING, NOW - SECOND)


def test_a_poll_without_answer_is_overdue_after_two_minutes() -> None:
    late = record(at=NOW, last_poll_at=NOW - POLL_OVERDUE - SECOND)
    found = agent_health(late, NOW)
    assert (found.state, found.code) == (HealthState.NOT_POLLING, "E_POLL_STUCK")
    assert "no answer and no error" in found.sentence
    assert found.since == NOW - POLL_OVERDUE - SECOND
    assert agent_health(record(at=NOW, last_poll_at=NOW - POLL_OVERDUE), NOW).is_healthy


def test_an_agent_whose_slots_are_all_busy_need_not_poll() -> None:
    busy = record(at=NOW, last_poll_at=NOW - HOUR, slot_free_since=None)
    assert agent_health(busy, NOW).is_healthy


def test_a_slot_that_has_just_got_free_gives_the_poll_its_time() -> None:
    free = record(at=NOW, last_poll_at=NOW - HOUR, slot_free_since=NOW - 10 * SECOND)
    assert agent_health(free, NOW).is_healthy
    none = record(at=NOW, last_poll_at=None, slot_free_since=NOW - POLL_OVERDUE - SECOND)
    assert agent_health(none, NOW).state is HealthState.NOT_POLLING


def test_a_hold_counts_once_it_lasts() -> None:
    short = record(at=NOW, holds=(hold(since=HELD_AFTER - SECOND),))
    assert agent_health(short, NOW).is_healthy
    found = agent_health(record(at=NOW, holds=(hold(since=HELD_AFTER),)), NOW)
    assert found.state is HealthState.HELD
    assert found.sentence == (
        "Held by hdfs for 10 s, 1 transfer waits: E_HDFS_UNREACHABLE: nn1: connection refused"
    )
    assert (found.code, found.hint) == ("E_HDFS_UNREACHABLE", "start it")
    assert found.since == NOW - HELD_AFTER


def test_of_two_holds_the_longest_is_named_with_what_goes_on_beside_it() -> None:
    running = (transfer(1, waits_for="hdfs"), transfer(2), transfer(3))
    holds = (hold("hdfs", transfers=2), hold("s3", since=HOUR, transfers=0))
    found = agent_health(record(holds=holds, running=running), NOW)
    assert found.sentence.startswith("Held by s3 for 60 min, 2 under way: ")
    found = agent_health(record(holds=holds[:1], running=running[:1]), NOW)
    assert found.sentence.startswith("Held by hdfs for 60 s, 2 transfers wait: ")


@pytest.mark.parametrize(
    ("running", "words"),
    [((), "nothing left"), ((transfer(),), "1 transfer to finish")],
)
def test_stopping_is_no_trouble_of_the_queue(
    running: tuple[RunningTransfer, ...], words: str
) -> None:
    found = agent_health(record(is_stopping=True, failed_polls=9, running=running), NOW)
    assert (found.state, found.sentence) == (HealthState.STOPPING, f"Stopping: {words}")


# ---------------------------------------------------------------- agents that are not alive


def test_a_ledger_without_agents_names_the_command_that_starts_one() -> None:
    found = judge()
    assert found.state is HealthState.NOT_RUNNING
    assert "no agent has worked on this ledger yet" in found.sentence
    assert "backhaul run" in found.hint


def test_an_agent_that_was_stopped_is_to_be_started() -> None:
    found = judge(seen(ended_at=NOW - 5 * MINUTE))
    assert found.state is HealthState.NOT_RUNNING
    assert found.sentence == "Not running: the agent of q on edge1 stopped 5 min ago"
    assert (found.code, found.since) == ("", NOW - 5 * MINUTE)
    assert "systemctl start" in found.hint


def test_an_agent_that_ended_with_an_error_names_it() -> None:
    found = judge(seen(ended_at=NOW - MINUTE, failure="E_POLL_STUCK"))
    assert found.sentence == "Not running: the agent of q on edge1 ended with E_POLL_STUCK 60 s ago"
    assert found.code == "E_POLL_STUCK"
    assert "journalctl" in found.hint


def test_an_agent_whose_process_is_gone_is_not_running_at_once() -> None:
    found = judge(seen(is_gone=True))
    assert (found.state, found.code) == (HealthState.NOT_RUNNING, "E_AGENT_GONE")
    assert found.sentence == (
        "Not running: the agent of q on edge1 was last seen 1 s ago "
        "and did not stop in an orderly way"
    )


def test_an_agent_elsewhere_that_reports_no_more_is_not_running() -> None:
    assert judge(seen(at=NOW - SILENT_AFTER + SECOND)).is_healthy
    found = judge(seen(at=NOW - SILENT_AFTER))
    assert (found.state, found.code) == (HealthState.NOT_RUNNING, "E_AGENT_GONE")


def test_an_agent_whose_process_is_there_and_reports_no_more_is_silent() -> None:
    assert judge(seen(at=NOW - SILENT_AFTER + SECOND, is_there=True)).is_healthy
    found = judge(seen(at=NOW - 3 * MINUTE, is_there=True))
    assert (found.state, found.code) == (HealthState.SILENT, "E_AGENT_SILENT")
    assert found.sentence == ("Silent: the agent on edge1 runs, and has reported nothing for 3 min")
    assert "df -h" in found.hint


# ---------------------------------------------------------------- several agents


def test_agents_that_are_well_are_summed_up() -> None:
    found = judge(seen(running=(transfer(),)), seen(host="edge2", running=(transfer(2),)))
    assert found.sentence == "Running: 2 transfers under way on 2 agents"


def test_the_most_urgent_of_several_agents_counts() -> None:
    stopping, held = seen(is_stopping=True), seen(host="edge2", holds=(hold(),))
    assert judge(stopping, seen(host="edge2")).state is HealthState.STOPPING
    assert judge(stopping, held).state is HealthState.HELD
    assert judge(held, stopping).state is HealthState.HELD


def test_an_agent_that_was_killed_is_not_missed_once_another_works_its_queue() -> None:
    killed = seen(is_gone=True, at=NOW - MINUTE)
    assert judge(seen(started=MINUTE), killed).is_healthy
    assert judge(seen(host="edge2", started=2 * HOUR), killed).is_healthy
    silent = seen(host="edge2", at=NOW - HOUR, is_there=True)
    assert judge(silent, killed).state is HealthState.SILENT


def test_an_agent_that_was_killed_is_missed_while_another_queue_is_worked() -> None:
    killed = seen(queue="other", is_gone=True, at=NOW - MINUTE)
    found = judge(seen(running=(transfer(),)), killed)
    assert found.state is HealthState.NOT_RUNNING
    assert "the agent of other on edge1" in found.sentence


def test_an_agent_that_was_killed_and_then_run_and_stopped_is_not_missed() -> None:
    killed = seen(queue="other", is_gone=True, at=NOW - HOUR, started=3 * HOUR)
    stopped = seen(queue="other", ended_at=NOW - MINUTE, started=2 * MINUTE)
    assert judge(seen(), stopped, killed).is_healthy
    assert judge(stopped, killed).sentence.endswith("stopped 60 s ago")


def test_an_agent_that_was_killed_is_missed_for_a_day() -> None:
    killed = seen(queue="other", is_gone=True, at=NOW - GONE_MOST + SECOND)
    assert not judge(seen(), killed).is_healthy
    older = replace(killed, record=record(queue="other", at=NOW - GONE_MOST))
    assert judge(seen(), older).is_healthy
    assert judge(older).code == "E_AGENT_GONE", "where nothing runs it is still the last that ran"


def test_a_queue_that_was_stopped_on_purpose_is_no_trouble_beside_one_that_is_worked() -> None:
    assert judge(seen(), seen(queue="other", ended_at=NOW - MINUTE)).is_healthy


# ---------------------------------------------------------------- clocks


def test_a_report_from_the_future_is_named_and_its_agent_alive() -> None:
    found = judge(seen(at=NOW + HOUR, last_poll_at=NOW + HOUR))
    assert found.state is RUNNING
    assert found.sentence == (
        "Running: waiting for messages; the agent's clock is 60 min ahead of this one: check NTP"
    )
    alone = record(at=NOW + HOUR, last_poll_at=NOW + HOUR)
    assert agent_health(alone, NOW).sentence == found.sentence
    assert "NTP" not in judge(seen(at=NOW + CLOCKS_DIFFER - SECOND)).sentence


def test_a_process_that_is_gone_is_gone_whatever_its_clock_showed() -> None:
    assert judge(seen(at=NOW + HOUR, is_gone=True)).code == "E_AGENT_GONE"


def test_spans_into_the_future_are_none() -> None:
    assert judge(seen(ended_at=NOW + HOUR)).sentence.endswith("stopped 0 s ago")


def test_paused_routes_are_no_trouble_and_are_named() -> None:
    found = judge(seen(paused_routes=("landing",)))
    assert (found.state, found.sentence) == (
        RUNNING,
        "Running: waiting for messages; paused: landing",
    )
    assert found.is_healthy
    several = agent_health(record(paused_routes=("d", "c", "b", "a", "e")), NOW)
    assert several.sentence.endswith("; paused: a, b, c and 2 more")


def test_routes_that_several_agents_know_as_paused_are_named_once() -> None:
    agents = [seen(host=host, paused_routes=("a", host)) for host in ("edge1", "edge2")]
    assert judge(*agents).sentence.endswith(" on 2 agents; paused: a, edge1, edge2")


def test_an_agent_that_does_not_poll_because_everything_is_paused_is_not_overdue() -> None:
    silent = {"last_poll_at": NOW - HOUR, "slot_free_since": NOW - HOUR}
    assert judge(seen(**silent)).state is HealthState.NOT_POLLING
    paused = judge(seen(**silent, paused_routes=("a",), is_everything_paused=True))
    assert paused.state is RUNNING


def test_a_route_held_by_its_budget_is_named_with_what_can_be_done() -> None:
    holds = tuple(
        BudgetHold(
            route=route,
            sentence=f"the budget of route {route} is used up until 2026-12-01 00:00 UTC",
            hint=f"wait, or backhaul budget raise {route} AMOUNT",
            since=NOW - HOUR,
            until=NOW + HOUR,
        )
        for route in ("a", "b")
    )
    found = judge(seen(budget_holds=holds[:1]))
    assert (found.state, found.code) == (HealthState.BUDGET, "E_BUDGET_USED")
    assert found.sentence == "The budget of route a is used up until 2026-12-01 00:00 UTC"
    assert found.hint == "wait, or backhaul budget raise a AMOUNT"
    assert found.since == NOW - HOUR
    assert not found.is_healthy
    assert judge(seen(budget_holds=holds)).sentence.endswith("; 1 more route held")
