"""The first screen, read from a ledger: queue, today, routes, what is under way, what died."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.ledger import Owner, SqlLedger, open_ledger
from backhaul.app.check import judge
from backhaul.app.document import as_text
from backhaul.app.overview import Overview, RouteView, percentile, read_overview
from backhaul.cli.screen import plain, screen
from backhaul.core.agent_report import (
    SILENT_AFTER,
    AgentIdentity,
    AgentReport,
    QueueDepth,
    QueueReport,
    RunningTransfer,
)
from backhaul.core.health import HealthState
from backhaul.core.model import Hold, TransferState
from backhaul.core.objects import ManifestSum
from backhaul.core.ports import Act, MessageKey, MessageOrigin, Operator, OperatorEntry
from tests.contract.test_ledger import claim, planned, proof

NOW = datetime(2026, 11, 22, 12, 2, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


class Site:
    """A ledger that agents and transfers write into."""

    def __init__(self, path: Path, ledger: SqlLedger) -> None:
        self.path = path
        self.ledger = ledger

    def agent(self, name: str = "a", *, queue: str = "q", owner: str = "", **report: Any) -> None:
        identity = AgentIdentity(
            id=name,
            host="edge1",
            owner=owner or Owner.current().text,
            version="1",
            queue=queue,
            region="us-east-1",
            slots=4,
            started_at=NOW - HOUR,
        )
        known = {"at": NOW - SECOND, "last_poll_at": NOW - SECOND, "slot_free_since": NOW - SECOND}
        has_ended = report.pop("has_ended", False)
        self.ledger.beat(identity, AgentReport(**known | report), has_ended=has_ended)

    def begin(self, name: str) -> None:
        origin = MessageOrigin(
            sender="AID", sent_at=NOW - HOUR, traceparent=None, aws_trace_header=None
        )
        key = MessageKey(queue="q", message_id=name)
        self.ledger.begin(key, name, f"s3://raw/{name}/", "/landing", NOW - HOUR, origin=origin)

    def done(self, name: str, at: datetime) -> None:
        self.begin(name)
        found = claim(self.ledger, name, first=[planned(0), planned(1)], is_complete=True)
        assert found is not None
        assert self.ledger.intend(name, found.epoch, [proof(0), proof(1)], at)
        manifest = ManifestSum(
            manifest="ab", objects=2, size_bytes=201, bytes_read=100, copied_bytes=100
        )
        assert self.ledger.finish(
            name, found.epoch, TransferState.DONE, "tree", at, manifest=manifest
        )

    def dead(self, name: str, at: datetime, code: str = "E_SRC_GONE") -> None:
        self.begin(name)
        self.ledger.fail(name, TransferState.DEAD, code, f"{name} is gone", at)

    def overview(self, now: datetime = NOW, **other: Any) -> Overview:
        while self.ledger.sum_activity(most=100):
            pass
        found = read_overview(self.path, now, **other)
        assert found is not None
        return found

    def route(self, name: str, **other: Any) -> RouteView:
        (found,) = [one for one in self.overview(**other).routes if one.name == name]
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    path = tmp_path / "ledger.db"
    with closing(open_ledger(path, create=True)) as ledger:
        yield Site(path, ledger)


def running(name: str, **other: Any) -> RunningTransfer:
    known: dict[str, Any] = {
        "transfer_id": name,
        "message_id": name,
        "route": "clickstream",
        "source": "s3://raw/",
        "destination": "/landing",
        "attempt": 1,
        "started_at": NOW - MINUTE,
    }
    return RunningTransfer(**known | other)


def depth(visible: int, in_flight: int = 0, at: datetime = NOW) -> QueueDepth:
    return QueueDepth(visible=visible, in_flight=in_flight, delayed=0, retention_s=7200, at=at)


# ---------------------------------------------------------------- as a whole


def test_without_a_ledger_there_is_none(tmp_path: Path) -> None:
    assert read_overview(tmp_path / "none.db", NOW) is None


def test_an_empty_ledger_shows_that_no_agent_ran(site: Site) -> None:
    found = site.overview()
    assert found.health.state is HealthState.NOT_RUNNING
    assert (found.agents, found.queues, found.running, found.waiting) == ((), (), (), ())
    assert (found.routes, found.dead, found.bytes_per_s) == ((), (), None)
    assert found.risks_known == frozenset()
    assert found.ledger_bytes > 0


def test_agents_of_the_last_day_are_shown_with_their_health(site: Site) -> None:
    gone = replace(Owner.current(), start=1).text
    site.agent("alive")
    site.agent("silent", at=NOW - SILENT_AFTER)
    site.agent("gone", owner=gone)
    site.agent("ended", has_ended=True)
    site.agent("old", owner=gone, at=NOW - 25 * HOUR)
    found = site.overview()
    shown = {one.record.identity.id: one for one in found.agents}
    assert shown.keys() == {"alive", "silent", "gone", "ended"}
    assert [name for name, one in shown.items() if one.is_alive] == ["alive"]
    states = {name: one.health and one.health.state for name, one in shown.items()}
    assert states == {
        "alive": HealthState.RUNNING,
        "silent": HealthState.SILENT,
        "gone": None,
        "ended": None,
    }


# ---------------------------------------------------------------- queues


def test_a_queue_is_that_of_its_newest_counts_and_oldest_message(site: Site) -> None:
    site.agent("a", depth=depth(7, at=NOW - MINUTE), oldest_sent_at=NOW - HOUR)
    site.agent("b", depth=depth(5, 2), oldest_sent_at=NOW - MINUTE)
    (queue,) = site.overview().queues
    assert (queue.visible, queue.in_flight, queue.at) == (5, 2, NOW)
    assert (queue.oldest_age, queue.retention) == (HOUR, 2 * HOUR)
    assert queue.retention_used == 0.5
    assert queue.last_poll_at == NOW - SECOND


def test_a_queue_without_counts_is_unknown(site: Site) -> None:
    site.agent(last_poll_at=None)
    (queue,) = site.overview().queues
    assert (queue.visible, queue.in_flight, queue.at, queue.oldest_age) == (None,) * 4
    ahead = queue.forecast
    assert (queue.retention_used, ahead.done_by, ahead.size_bytes) == (None,) * 3
    assert ahead.unknown == "SQS has not given its counts yet"


def test_a_backlog_has_an_end_at_the_rate_of_the_last_quarter_of_an_hour(site: Site) -> None:
    site.agent(depth=depth(30, 6))
    for number in range(12):
        site.done(f"t{number}", NOW - 7 * MINUTE)  # in the span that began 7 minutes ago
    (queue,) = site.overview().queues
    ahead = queue.forecast
    # As of the agent's report, a second ago.
    assert ahead.per_minute == pytest.approx(12 / (7 - 1 / 60))
    assert ahead.per_minute is not None
    assert ahead.done_by == NOW + 36 / ahead.per_minute * MINUTE
    assert ahead.size_bytes == 36 * 201


def test_with_two_queues_it_is_not_known_whose_messages_ended(site: Site) -> None:
    site.agent("a", depth=depth(3))
    site.agent("b", queue="other", depth=depth(3))
    site.done("t", NOW - MINUTE)
    assert [(one.name, one.forecast.done_by) for one in site.overview().queues] == [
        ("other", None),
        ("q", None),
    ]


def test_an_agent_of_two_queues_has_a_view_of_each_whose_unknown_end_is_said(site: Site) -> None:
    queues = tuple(
        QueueReport(queue=one, region="us-east-1", last_poll_at=NOW, depth=depth(waiting))
        for one, waiting in (("q", 3), ("other", 0))
    )
    site.agent("a", queue="q, other", queues=queues)
    site.done("t", NOW - MINUTE)
    found = site.overview()
    why = "several queues share this ledger, and its sums are of all of them"
    lines = [plain(one) for one in screen(found, limit="none", width=200, rows=99)]
    of_q = next(number for number, one in enumerate(lines) if "q: 3 waiting" in one)
    assert lines[of_q + 1].endswith(f"end unknown: {why}")
    assert any("other: 0 waiting" in one for one in lines)
    parts = json.loads(as_text(found, judge(found, {}, {})))["queues"]
    assert [(one["name"], one["left_s"], one["unknown"], one["per_minute"]) for one in parts] == [
        ("other", 0, "", None),
        ("q", None, why, None),
    ]


# ---------------------------------------------------------------- today


@pytest.mark.parametrize("hours", [0, 5, 5.5, -3.75])
def test_today_begins_at_midnight_of_the_time_zone(site: Site, hours: float) -> None:
    zone = timezone(timedelta(hours=hours))
    now = NOW.astimezone(zone)
    midnight = now.replace(hour=0, minute=0)
    site.done("before", midnight - SECOND)
    site.done("first", midnight)
    site.dead("second", midnight + 20 * MINUTE)
    site.done("last", now)
    today = site.overview(now).today
    assert (today.since, today.done, today.dead) == (midnight, 2, 1)
    assert (today.objects, today.bytes_done, today.bytes_copied) == (4, 402, 200)


# ---------------------------------------------------------------- routes


def test_a_routes_row_is_of_the_last_day(site: Site) -> None:
    site.agent(running=(running("t9", attempt=2, waits_for="hdfs"),))
    site.done("t1", NOW - 30 * HOUR)
    site.done("t2", NOW - 20 * HOUR)
    site.done("t3", NOW - MINUTE)
    route = site.route("clickstream")
    assert (route.done, route.bytes_done, route.running, route.waiting) == (2, 402, 1, 0)
    assert (route.struggling, route.held_by) == (1, ("hdfs",))
    assert sum(route.sparks) == 201
    assert route.sparks[-1] == 201, "the newest five minutes come last"
    assert route.lag_p95 == HOUR - MINUTE
    assert site.route("quiet", routes=["quiet"]).done == 0, "a configured one is always there"


def test_routes_with_trouble_come_first(site: Site) -> None:
    site.agent(running=(running("t1", route="held", waits_for="s3"), running("t2", route="well")))
    names = [one.name for one in site.overview(routes=["a"]).routes]
    assert names == ["held", "a", "well"]


@pytest.mark.parametrize(
    ("values", "expected"), [([], None), ([5], 5), (range(1, 101), 95), (range(1, 21), 19)]
)
def test_a_percentile_is_one_of_the_values(values: Any, expected: int | None) -> None:
    found = percentile([timedelta(seconds=one) for one in values], 0.95)
    assert found == (None if expected is None else timedelta(seconds=expected))


# ---------------------------------------------------------------- transfers


def test_what_is_under_way_is_not_listed_as_waiting_too(site: Site) -> None:
    site.begin("t1")
    site.begin("t2")
    hold = Hold(dependency="hdfs", since=NOW - HOUR, retry_at=NOW)
    site.ledger.fail("t2", TransferState.HELD, "E_HDFS", "no answer", NOW, refund=True, hold=hold)
    site.agent(
        running=(
            running("t1", is_planned=True, size_bytes=100, size_bytes_total=300, bytes_per_s=10.0),
        ),
        bytes_per_s=10.0,
    )
    found = site.overview()
    (shown,) = found.running
    assert (shown.transfer.transfer_id, shown.left, shown.host) == ("t1", 20 * SECOND, "edge1")
    assert shown.known is not None
    (other,) = found.waiting
    assert (other.id, other.held_by, other.code) == ("t2", "hdfs", "E_HDFS")
    assert found.bytes_per_s == 10.0


@pytest.mark.parametrize(
    "unknown",
    [{"is_planned": False}, {"bytes_per_s": None}, {"bytes_per_s": 0.0}, {"waits_for": "s3"}],
)
def test_the_time_left_is_not_guessed(site: Site, unknown: dict[str, Any]) -> None:
    known = {"is_planned": True, "size_bytes_total": 300, "bytes_per_s": 10.0}
    site.agent(running=(running("t1", **known | unknown),))
    assert site.overview().running[0].left is None


def test_the_dead_of_a_day_are_counted_by_code(site: Site) -> None:
    site.dead("old", NOW - 25 * HOUR)
    for number in range(3):
        site.dead(f"d{number}", NOW - (3 - number) * MINUTE)
    site.dead("other", NOW, "E_DST_DENIED")
    found = site.overview().dead
    assert [(one.code, one.count, one.newest.id) for one in found] == [
        ("E_SRC_GONE", 3, "d2"),
        ("E_DST_DENIED", 1, "other"),
    ]


def test_a_route_whose_deaths_are_settled_is_in_no_trouble(site: Site) -> None:
    for name in ("d1", "d2"):
        site.dead(name, NOW - MINUTE)
    name = site.overview().dead[0].newest.route
    assert site.route(name).dead == 2
    assert site.route(name).trouble
    by = Operator(name="operator@edge1")
    act = OperatorEntry(at=NOW, by=by, act=Act.DELETE, subject="two", outcome="done")
    site.ledger.note_act(act, deleted=["d1", "d2"])
    assert (site.route(name).dead, site.route(name).trouble) == (0, 0)
    assert site.overview().today.dead == 2, "of that day, whatever came of them"


def test_an_open_application_is_there(site: Site) -> None:
    site.begin("t1")
    assert claim(site.ledger, "t1", first=[planned(0)], is_complete=True)
    site.ledger.open_job("t1", 1, "tag-1", NOW)
    (job,) = site.overview().jobs
    assert (job.transfer_id, job.tag, job.application_id) == ("t1", "tag-1", None)
