"""Every fact that a metric counts, and every gauge that a scrape reads."""

from __future__ import annotations

import ast
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backhaul.adapters.metrics.catalogue import CATALOGUE, MetricKind
from backhaul.adapters.metrics.collector import CODES_MOST, DEAD_MOST, VERIFY_CODES, AgentMetrics
from backhaul.adapters.metrics.figures import LedgerFigures, Scraped
from backhaul.core import facts
from backhaul.core.agent.observer import Observer
from backhaul.core.agent_report import AgentReport, DependencyHold, QueueDepth, RunningTransfer
from backhaul.core.cost.budget import (
    USD,
    BudgetPer,
    BudgetState,
    BudgetUnit,
    EgressBudget,
    period_at,
)
from backhaul.core.cost.egress import Egress, EgressRecorded
from backhaul.core.cost.prices import GB, month_of
from backhaul.core.errors import DEPENDENCIES, IntegrityError
from backhaul.core.health import Health, HealthState
from backhaul.core.outlook.forecast import Forecast
from backhaul.core.ports.replies import ReplyCounts
from backhaul.core.reconciliation.values import ReconcileResult
from backhaul.core.replies.delivery import ReplySent
from backhaul.testing.fakes.clock import FakeClock
from tests.docs.test_reference import _trees, classes_in_source
from tests.unit.test_status_screen import RISK, expected

NOW = datetime(2026, 12, 1, 8, tzinfo=UTC)
AHEAD = Forecast(
    queue="q",
    at=NOW,
    messages=9,
    size_bytes=700,
    left=timedelta(minutes=1),
    retention_share=0.5,
)
WELL = Health(state=HealthState.RUNNING, sentence="Running: waiting for messages")
BUDGETS = tuple(
    BudgetState(
        budget=EgressBudget(route=route, unit=unit, amount=amount, per=BudgetPer.DAY),
        period=period_at(BudgetPer.DAY, NOW),
        spent=spent,
        raised=raised,
    )
    for route, unit, amount, spent, raised in (
        ("", BudgetUnit.USD, 2 * USD, 5 * USD // 2, 0),
        ("click", BudgetUnit.BYTES, 100, 150, 100),
    )
)


class Bed:
    """An observer and the metrics before it, as the agent has them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.observer = Observer(self.clock, slots=4)
        self.metrics = AgentMetrics(
            clock=self.clock, observer=self.observer, version="1.2.3", routes=("click", "orders")
        )

    def emit(self, *happened: object) -> None:
        for fact in happened:
            self.metrics(fact)
            self.observer(fact)

    def start(
        self, transfer_id: str = "t1", *, route: str = "click", takeover: bool = False
    ) -> None:
        self.emit(
            facts.MessageReceived(
                message_id=f"m-{transfer_id}",
                receive_count=1,
                body_excerpt="",
                sent_at=self.clock.now() - timedelta(seconds=100),
            ),
            facts.AttemptStarted(
                transfer_id=transfer_id,
                message_id=f"m-{transfer_id}",
                attempt=1,
                source="s3://raw/a",
                destination="/a",
                route=route,
                is_takeover=takeover,
            ),
        )

    def scrape(self, **changes: object) -> dict[str, float]:
        """Value by series, such as `transfers_total{code="",route="click",state="done"}`."""
        found = {}
        for family in text_string_to_metric_families(self.text(**changes)):
            for sample in family.samples:
                pairs = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
                name = sample.name.removeprefix("backhaul_")
                found[f"{name}{{{pairs}}}" if pairs else name] = sample.value
        return found

    def text(self, **changes: object) -> str:
        scraped = Scraped(
            at=self.clock.now(),
            health=WELL,
            report=self.observer.report(),
            queue="",
            rate_limit_bytes=None,
            figures=None,
        )
        return self.metrics.render(replace(scraped, **changes)).decode()  # type: ignore[arg-type]


def done(transfer_id: str = "t1", **changes: object) -> facts.TransferDone:
    fact = facts.TransferDone(
        transfer_id=transfer_id,
        message_id=f"m-{transfer_id}",
        source="s3://raw/a",
        destination="/a",
        objects=3,
        size_bytes=300,
        copied_bytes=200,
        read_bytes=200,
        placeholders=0,
        adopted=1,
        publish="renamed",
        is_superseded=False,
        duration_s=2.0,
        proof_levels=(("direct", 2), ("adopted", 1)),
    )
    return replace(fact, **changes)  # type: ignore[arg-type]


REPLY_SENT = ReplySent(target="out", key="t1-1-done", about="done", transfer_id="t1", seconds=1.0)
READ = EgressRecorded(transfer_id="t1", route="click", native=Egress(copy=200), distcp=Egress())


def dead(transfer_id: str = "t1", code: str = "E_SRC_EMPTY") -> facts.MessageDead:
    return facts.MessageDead(
        transfer_id=transfer_id,
        message_id=f"m-{transfer_id}",
        code=code,
        reason="",
        hint="",
        attempts=1,
        dead_letter_queue=None,
    )


def failed(code: str) -> facts.AttemptFailed:
    return facts.AttemptFailed(
        transfer_id="t1",
        message_id="m-t1",
        attempt=1,
        code=code,
        reason="",
        hint="",
        retry_in_s=1.0,
    )


@pytest.fixture
def bed() -> Bed:
    return Bed()


def test_counters_of_configured_routes_begin_at_0(bed: Bed) -> None:
    found = bed.scrape()
    for route in ("click", "orders"):
        assert found[f'transfers_total{{code="",route="{route}",state="done"}}'] == 0
    for name in ("takeovers_total", "verify_failures_total", "visibility_lost_total"):
        assert found[name] == 0


def test_a_transfer_that_is_done(bed: Bed) -> None:
    bed.start()
    bed.clock.advance(5)
    bed.emit(done())
    found = bed.scrape()
    assert found['transfers_total{code="",route="click",state="done"}'] == 1
    assert found['objects_total{proof="direct",route="click"}'] == 2
    assert found['objects_total{proof="adopted",route="click"}'] == 1
    assert found["transfer_duration_seconds_sum"] == 2
    assert found["transfer_duration_seconds_count"] == 1
    assert found["arrival_lag_seconds_sum"] == 105
    assert found['arrival_lag_seconds_bucket{le="60.0"}'] == 0
    assert found['arrival_lag_seconds_bucket{le="300.0"}'] == 1
    assert found['last_done_timestamp_seconds{route="click"}'] == bed.clock.now().timestamp()


def test_a_second_record_of_a_message_has_its_lag_too(bed: Bed) -> None:
    bed.start()
    bed.emit(done(), done("t2", message_id="m-t1"))
    assert bed.scrape()["arrival_lag_seconds_count"] == 2


def test_a_superseded_one_is_no_done_one(bed: Bed) -> None:
    bed.start()
    bed.emit(done(is_superseded=True, copied_bytes=0, read_bytes=0, proof_levels=()))
    found = bed.scrape()
    assert found['transfers_total{code="",route="click",state="superseded"}'] == 1
    assert found['transfers_total{code="",route="click",state="done"}'] == 0


def test_without_a_time_of_sending_there_is_no_lag(bed: Bed) -> None:
    bed.start()
    bed.emit(done(message_id=None), done("t2"))
    assert bed.scrape()["arrival_lag_seconds_count"] == 0


def test_bytes_are_those_that_the_ledger_has_counted(bed: Bed) -> None:
    bed.start()
    bed.emit(
        EgressRecorded(
            transfer_id="t1",
            route="click",
            native=Egress(copy=200, retry=30),
            distcp=Egress(retry=50),
        ),
        EgressRecorded(
            transfer_id="t1", route="click", native=Egress(copy=1, verify=7), distcp=Egress()
        ),
        done(),  # what it says of bytes is counted already
    )
    found = bed.scrape()
    of_route = 'bytes_total{{engine="{}",purpose="{}",route="click"}}'
    assert found[of_route.format("native", "copy")] == 201
    assert found[of_route.format("native", "retry")] == 30
    assert found[of_route.format("native", "verify")] == 7
    assert found[of_route.format("distcp", "copy")] == 0
    assert found[of_route.format("distcp", "retry")] == 50


def test_dollars_follow_the_tiers_of_the_month(bed: Bed) -> None:
    month = month_of(bed.clock.now())
    bed.metrics.month_began_with(month, 100 * GB)  # those that are free
    gb = EgressRecorded(transfer_id="t", route="click", native=Egress(copy=GB), distcp=Egress())
    bed.emit(gb, replace(gb, native=Egress(), distcp=Egress(retry=GB)))
    assert bed.scrape()['cost_usd_total{route="click"}'] == pytest.approx(0.18)
    bed.clock.advance(32 * 86_400)
    bed.emit(gb)  # the first of another month
    assert bed.scrape()['cost_usd_total{route="click"}'] == pytest.approx(0.18)


def test_a_late_fact_of_the_month_before_does_not_begin_a_month_anew(bed: Bed) -> None:
    """Two threads report around midnight: the later one may have looked at the clock before."""
    gb = EgressRecorded(
        transfer_id="t", route="click", native=Egress(copy=100 * GB), distcp=Egress()
    )
    bed.emit(gb)  # what is free of this month
    bed.clock.advance(32 * 86_400)
    bed.emit(gb)  # and of the next one
    before = bed.scrape()['cost_usd_total{route="click"}']
    bed.clock.advance(-32 * 86_400)
    bed.emit(replace(gb, native=Egress(copy=GB)))
    bed.clock.advance(32 * 86_400)
    bed.emit(replace(gb, native=Egress(copy=GB)))
    after = bed.scrape()['cost_usd_total{route="click"}']
    assert before == 0
    assert after == pytest.approx(0.18)


def test_a_death_counts_once_however_often_its_message_returns(bed: Bed) -> None:
    bed.start()
    bed.emit(dead(), dead())
    assert bed.scrape()['transfers_total{code="E_SRC_EMPTY",route="click",state="dead"}'] == 1


def test_a_death_before_any_route_has_none(bed: Bed) -> None:
    bed.emit(dead())
    assert bed.scrape()['transfers_total{code="E_SRC_EMPTY",route="",state="dead"}'] == 1


def test_deaths_are_remembered_within_a_limit(bed: Bed) -> None:
    for number in range(DEAD_MOST + 1):
        bed.metrics(dead(f"t{number}"))
    bed.metrics(dead("t1"))
    series = 'transfers_total{code="E_SRC_EMPTY",route="",state="dead"}'
    assert bed.scrape()[series] == DEAD_MOST + 1
    bed.metrics(dead("t0"))  # forgotten as the oldest
    assert bed.scrape()[series] == DEAD_MOST + 2


@pytest.mark.parametrize("code", ["", "no code", 'E_"x', "E_" + "X" * 100, "W_CLOCK", "E_a\n"])
def test_what_is_no_code_is_no_label(bed: Bed, code: str) -> None:
    bed.emit(dead(code=code))
    assert bed.scrape()['transfers_total{code="other",route="",state="dead"}'] == 1


def test_codes_are_a_closed_set_whatever_comes(bed: Bed) -> None:
    for number in range(CODES_MOST + 5):
        bed.emit(dead(f"t{number}", code=f"E_{number}"))
    found = bed.scrape()
    assert found['transfers_total{code="other",route="",state="dead"}'] == 5
    assert found['transfers_total{code="E_0",route="",state="dead"}'] == 1


@pytest.mark.parametrize("code", sorted(VERIFY_CODES))
def test_a_failed_verification_counts_whether_it_is_tried_again_or_not(bed: Bed, code: str) -> None:
    bed.start()
    bed.emit(failed(code), dead(code=code), failed("E_S3_UNREACHABLE"))
    assert bed.scrape()["verify_failures_total"] == 2


def test_the_codes_of_failed_verifications_are_those_of_the_source() -> None:
    found = {name for name, kinds in classes_in_source().items() if IntegrityError in kinds}
    assert found == VERIFY_CODES


def test_single_facts(bed: Bed) -> None:
    bed.start(takeover=True)
    bed.start("t2")
    lost = facts.TransferTakenOver(
        message_id="m-t1",
        transfer_id="t1",
        code="E_TAKEN_OVER",
        reason="",
        is_cancelled=False,
        owner=None,
    )
    bed.emit(
        lost,
        replace(lost, is_cancelled=True),
        facts.VisibilityWasLost(message_id="m-t1", reason=""),
        facts.WorkerReplaced(pid=1, why="died"),
        facts.LogReopened(file=None),
    )
    bed.metrics.committed(0.004)
    found = bed.scrape()
    assert found["takeovers_total"] == 1
    assert found["fenced_writes_total"] == 1
    assert found["visibility_lost_total"] == 1
    assert found["worker_restarts_total"] == 1
    assert found['ledger_commit_seconds_bucket{le="0.0025"}'] == 0
    assert found['ledger_commit_seconds_bucket{le="0.005"}'] == 1


# ---------------------------------------------------------------- gauges


def test_health_and_holds(bed: Bed) -> None:
    hold = DependencyHold(dependency="hdfs", since=NOW, code="E_X", reason="", hint="", transfers=1)
    held = Health(state=HealthState.HELD, sentence="Held by hdfs")
    found = bed.scrape(health=held, report=AgentReport(at=NOW, holds=(hold,)))
    assert found["ready"] == 0
    assert {state: found[f'health{{state="{state}"}}'] for state in HealthState} == {
        state: float(state is HealthState.HELD) for state in HealthState
    }
    assert {one: found[f'hold{{dependency="{one}"}}'] for one in DEPENDENCIES} == {
        one: float(one == "hdfs") for one in DEPENDENCIES
    }
    assert bed.scrape()["ready"] == 1
    assert bed.scrape()['build_info{version="1.2.3"}'] == 1
    assert bed.scrape()["leader"] == 1


def test_running_transfers_by_route_engine_and_phase(bed: Bed) -> None:
    one = RunningTransfer(
        transfer_id="a",
        message_id=None,
        route="click",
        source="",
        destination="",
        attempt=1,
        started_at=NOW,
    )
    copying = replace(one, engine="distcp", phase="copying")
    found = bed.scrape(report=AgentReport(at=NOW, running=(one, copying, copying)))
    assert found['transfers_running{engine="native",phase="starting",route="click"}'] == 1
    assert found['transfers_running{engine="distcp",phase="copying",route="click"}'] == 2


def test_the_queue(bed: Bed) -> None:
    depth = QueueDepth(visible=7, in_flight=2, delayed=0, retention_s=1000, at=NOW, dead_letters=3)
    report = AgentReport(
        at=NOW,
        depth=depth,
        oldest_sent_at=NOW - timedelta(seconds=250),
        last_poll_at=NOW - timedelta(seconds=5),
    )
    figures = LedgerFigures(agents_alive=2, forecasts=(AHEAD, replace(AHEAD, queue="other")))
    found = bed.scrape(at=NOW, queue="q", report=report, figures=figures, rate_limit_bytes=5_000)
    of_queue = {name: found[f'{name}{{queue="q"}}'] for name in (
        "queue_visible",
        "queue_in_flight",
        "queue_oldest_age_seconds",
        "queue_retention_used_ratio",
        "backlog_bytes",
        "backlog_left_seconds",
        "retention_forecast_ratio",
        "dead_letters",
        "last_poll_success_timestamp_seconds",
    )}  # fmt: skip
    assert list(of_queue.values()) == [7, 2, 250, 0.25, 700, 60, 0.5, 3, NOW.timestamp() - 5]
    assert found["agents_alive"] == 2
    assert 'backlog_bytes{queue="other"}' not in found
    assert found["rate_limit_bytes"] == 5_000
    assert bed.scrape()["rate_limit_bytes"] == float("inf")


def test_expected_data(bed: Bed) -> None:
    new = replace(expected("new"), last=None)
    figures = LedgerFigures(
        agents_alive=1,
        forecasts=(AHEAD,),
        expectations=(expected("a"), expected("b", missed=True), new),
        risks=(RISK,),
    )
    found = bed.scrape(figures=figures)
    met = {name: value for name, value in found.items() if name.startswith("expectation_met")}
    assert met == {
        'expectation_met{name="a",route="clicks"}': 1,
        'expectation_met{name="b",route="clicks"}': 0,
    }
    of_a = '{name="a",route="clicks"}'
    deadline = expected("a").next.deadline.timestamp()
    assert found[f"expectation_deadline_timestamp_seconds{of_a}"] == deadline
    assert found[f"expectation_objects{of_a}"] == 3
    assert (found['at_risk{kind="retention"}'], found['at_risk{kind="deadline"}']) == (1, 0)


def test_while_the_forecast_is_unknown_nothing_is_shown_as_not_at_risk(bed: Bed) -> None:
    unknown = Forecast(queue="work", at=NOW, unknown="held")
    figures = LedgerFigures(agents_alive=1, forecasts=(unknown,), risks=(RISK,))
    found = bed.scrape(figures=figures)
    assert {name for name in found if name.startswith("at_risk")} == {'at_risk{kind="retention"}'}
    without = replace(AHEAD, left=timedelta(hours=1), retention_share=None)
    of_one = bed.scrape(figures=LedgerFigures(agents_alive=1, forecasts=(without,)))
    assert {name for name in of_one if name.startswith("at_risk")} == {'at_risk{kind="deadline"}'}
    none = bed.scrape(figures=LedgerFigures(agents_alive=0))
    assert not [name for name in none if name.startswith("at_risk")], "no forecast at all"


RECONCILED = ReconcileResult(
    route="clicks", started_at=NOW, finished_at=NOW, totals={"same": (7, 70), "in flight": (1, 2)}
)


def test_the_last_reconciliation(bed: Bed) -> None:
    found = bed.scrape(figures=LedgerFigures(agents_alive=1, reconciled=(RECONCILED,)))
    assert found['reconcile_objects{class="same",route="clicks"}'] == 7
    assert found['reconcile_objects{class="in flight",route="clicks"}'] == 1
    assert found['reconcile_last_timestamp_seconds{route="clicks"}'] == NOW.timestamp()


def test_a_forecast_that_is_unknown_is_not_there(bed: Bed) -> None:
    unknown = Forecast(queue="q", at=NOW, messages=7, unknown="no rate yet")
    depth = QueueDepth(visible=7, in_flight=2, delayed=0, retention_s=9, at=NOW)
    report = AgentReport(at=NOW, depth=depth)
    figures = LedgerFigures(agents_alive=1, forecasts=(unknown,))
    names = " ".join(bed.scrape(queue="q", report=report, figures=figures))
    assert "queue_visible" in names
    for absent in ("backlog", "retention_forecast"):
        assert absent not in names


def test_what_is_not_known_is_not_there(bed: Bed) -> None:
    assert not [name for name in bed.scrape() if "queue=" in name or "agents_alive" in name]
    found = bed.scrape(queue="q")
    assert not [name for name in found if "queue=" in name]
    depth = QueueDepth(visible=7, in_flight=2, delayed=0, retention_s=9, at=NOW)
    waits = bed.scrape(queue="q", report=AgentReport(at=NOW, depth=depth))
    assert not [name for name in waits if "oldest" in name or "retention" in name]
    empty = AgentReport(at=NOW, depth=replace(depth, visible=0))
    nothing = bed.scrape(queue="q", report=empty)
    for name in ("queue_oldest_age_seconds", "queue_retention_used_ratio"):
        assert nothing[f'{name}{{queue="q"}}'] == 0
    depth = replace(depth, retention_s=None)
    names = " ".join(bed.scrape(queue="q", report=AgentReport(at=NOW, depth=depth)))
    assert "queue_visible" in names
    for absent in ("dead_letters", "retention_used", "backlog", "last_poll"):
        assert absent not in names


def test_the_last_success_before_the_start_is_of_the_ledger_and_then_counted(bed: Bed) -> None:
    figures = LedgerFigures(agents_alive=1, last_done={"click": NOW, "old": NOW})
    bed.start()
    bed.emit(done())
    found = bed.scrape(figures=figures)
    assert found['last_done_timestamp_seconds{route="click"}'] == bed.clock.now().timestamp()
    assert found['last_done_timestamp_seconds{route="old"}'] == NOW.timestamp()


def test_budgets_are_in_their_units_with_what_was_added(bed: Bed) -> None:
    found = bed.scrape(figures=LedgerFigures(agents_alive=1, budgets=BUDGETS))
    shown = {name: value for name, value in found.items() if name.startswith("budget_")}
    assert shown == {
        'budget_used_ratio{route=""}': 1.25,
        'budget_usd{route=""}': 2,
        'budget_spent_usd{route=""}': 2.5,
        'budget_used_ratio{route="click"}': 0.75,
        'budget_bytes{route="click"}': 200,
        'budget_spent_bytes{route="click"}': 150,
    }


# ---------------------------------------------------------------- the text


def test_every_metric_of_the_catalogue_is_scraped_as_it_is_described(bed: Bed) -> None:
    bed.start()
    bed.emit(done(), READ, dead("t2"), failed("E_X"), REPLY_SENT)
    bed.start("t3")
    depth = QueueDepth(visible=7, in_flight=2, delayed=0, retention_s=9, at=NOW, dead_letters=3)
    report = replace(bed.observer.report(), depth=depth, last_poll_at=NOW)
    figures = LedgerFigures(
        agents_alive=1,
        forecasts=(AHEAD,),
        expectations=(expected("a"),),
        risks=(RISK,),
        budgets=BUDGETS,
        reconciled=(RECONCILED,),
        replies=(ReplyCounts(target="out", waiting=1, dead=2),),
    )
    text = bed.text(queue="q", report=report, figures=figures)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for one in CATALOGUE:
        family = families.pop(one.full_name.removesuffix("_total"))
        assert (family.type, family.documentation) == (one.kind.value, one.meaning)
        assert family.samples, one.name
        extra = {"le"} if one.kind is MetricKind.HISTOGRAM else set()
        labels = {name for sample in family.samples for name in sample.labels}
        assert labels == {*one.labels, *extra}, one.name
    assert not families


def test_addresses_of_messages_are_one_target(bed: Bed) -> None:
    counts = [ReplyCounts(target=f"arn:aws:sns:r:1:{one}", waiting=1, dead=2) for one in "ab"]
    bed.emit(REPLY_SENT, replace(REPLY_SENT, target="https://sqs/1/q"))
    text = bed.text(figures=LedgerFigures(agents_alive=1, replies=tuple(counts)))
    assert 'backhaul_replies_waiting{target="reply_to"} 2' in text
    assert 'backhaul_replies_dead{target="reply_to"} 4' in text
    assert 'backhaul_replies_sent_total{target="reply_to"} 1' in text
    assert 'backhaul_replies_sent_total{target="out"} 1' in text


def test_a_label_is_escaped(bed: Bed) -> None:
    bed.start(route='a"b\\c\nd')
    bed.emit(done())
    assert r'route="a\"b\\c\nd"' in bed.text()
    assert 'transfers_total{code="",route="a"b\\c\nd",state="done"}' in bed.scrape()


def test_every_dependency_that_may_be_down_has_a_series() -> None:
    found = {
        node.args[0].value
        for tree in _trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "OutageError.of"
        and isinstance(node.args[0], ast.Constant)
    }
    assert found - {"demo"} <= set(DEPENDENCIES)  # a demo has no agent's metrics
    assert {"s3", "ledger"} <= found
