"""What `reconcile --send` records, so that nothing is sent twice; and which queue it goes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backhaul.adapters.ledger import SqlLedger, open_ledger, open_reader
from backhaul.adapters.ledger.reconciling.results import (
    SENT_KEPT,
    UNKNOWN_KEPT,
    SentObject,
)
from backhaul.app.queues import ChosenQueue
from backhaul.app.reconcile.sending import send_target
from backhaul.core.agent_report import AgentIdentity, AgentReport
from backhaul.core.errors import BadArgument
from backhaul.core.model import Route, TransferState
from backhaul.core.ports import MessageKey
from backhaul.core.reconciliation.values import ReconcileResult
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer_ids import time_part
from backhaul.settings.queue import QueueSettings

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
QUEUE = "arn:aws:sqs:us-west-2:123456789012:work"


def an_object(name: str = "a", at: datetime = NOW, etag: str = "e1") -> SentObject:
    return SentObject(
        uri=f"hdfs://nn1:8020/landing/{name}",
        route="r",
        bucket="raw",
        key=f"in/{name}",
        etag=etag,
        queue=QUEUE,
        sent_at=at,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqlLedger]:
    opened = open_ledger(path, create=True, host="h")
    yield opened
    opened.close()


def pending(path: Path, at: datetime, route: str = "r") -> list[str]:
    reader = open_reader(path)
    found = [one.key for one in reader.sent_of(route, at)]
    reader.close()
    return found


def test_of_two_commands_at_once_one_sends(ledger: SqlLedger, path: Path) -> None:
    one, other = an_object(), an_object(at=NOW + SECOND)
    assert ledger.reserve_sends([one], NOW, looked_at=NOW - SECOND) == [one]
    assert ledger.reserve_sends([other], NOW + SECOND, looked_at=NOW - SECOND) == []
    ledger.note_sent({one.uri: "m1"})
    assert ledger.reserve_sends([other], NOW + SECOND, looked_at=NOW - SECOND) == []
    assert pending(path, NOW + SECOND) == ["in/a"]
    assert pending(path, NOW, "another") == []


def test_a_later_look_that_found_it_missing_again_sends_again(ledger: SqlLedger) -> None:
    one = an_object()
    ledger.reserve_sends([one], NOW, looked_at=NOW)
    ledger.note_sent({one.uri: "m1"})
    later = an_object(at=NOW + 2 * SECOND)
    assert ledger.reserve_sends([later], NOW + 2 * SECOND, looked_at=NOW + SECOND) == [later]


def test_another_state_of_the_object_is_sent(ledger: SqlLedger) -> None:
    ledger.reserve_sends([an_object()], NOW, looked_at=NOW)
    newer = an_object(etag="e2")
    assert ledger.reserve_sends([newer], NOW, looked_at=NOW - SECOND) == [newer]


def test_a_send_whose_outcome_is_unknown_is_free_after_a_while(
    ledger: SqlLedger, path: Path
) -> None:
    ledger.reserve_sends([an_object()], NOW, looked_at=NOW)
    after = NOW + UNKNOWN_KEPT + SECOND
    assert pending(path, NOW + UNKNOWN_KEPT - SECOND) == ["in/a"]
    assert pending(path, after) == []
    again = an_object(at=after)
    soon = NOW + UNKNOWN_KEPT - SECOND
    assert ledger.reserve_sends([again], soon, looked_at=soon) == []
    assert ledger.reserve_sends([again], after, looked_at=after) == [again]


def test_what_was_not_sent_is_free_at_once(ledger: SqlLedger, path: Path) -> None:
    ledger.reserve_sends([an_object()], NOW, looked_at=NOW)
    ledger.note_sent({an_object().uri: None})
    assert pending(path, NOW) == []


def test_a_message_is_pending_until_its_transfer_has_ended(ledger: SqlLedger, path: Path) -> None:
    one = an_object()
    ledger.reserve_sends([one], NOW, looked_at=NOW)
    ledger.note_sent({one.uri: "m1"})
    assert pending(path, NOW + SENT_KEPT - SECOND) == ["in/a"]
    assert pending(path, NOW + SENT_KEPT + SECOND) == []
    key = MessageKey(queue=QUEUE, message_id="m1", body_digest="0" * 64)
    transfer_id = f"{time_part(NOW)}0000001"
    ledger.begin(key, transfer_id, "s3://raw/in/a", "/landing", NOW)
    assert pending(path, NOW + SENT_KEPT + SECOND) == ["in/a"]
    ledger.fail(transfer_id, TransferState.DEAD, "E_SRC_EMPTY", "gone", NOW)
    assert pending(path, NOW) == []


def test_what_is_older_than_a_queue_keeps_is_forgotten(ledger: SqlLedger, path: Path) -> None:
    ledger.reserve_sends([an_object()], NOW, looked_at=NOW)
    later = NOW + SENT_KEPT + SECOND
    ledger.reserve_sends([an_object("b", at=later)], later, looked_at=later)
    assert pending(path, NOW) == ["in/b"]


def test_the_last_result_of_each_route_is_kept(ledger: SqlLedger, path: Path) -> None:
    first = ReconcileResult(
        route="r", started_at=NOW, finished_at=NOW + SECOND, totals={"same": (3, 12)}
    )
    last = replace(first, started_at=NOW + SECOND, totals={"same": (2, 8), "missing": (1, 4)})
    other = replace(first, route="other")
    for one in (first, other, last):
        ledger.note_reconciled(one)
    reader = open_reader(path)
    assert reader.last_reconciled() == [other, last]
    reader.close()


# ---------------------------------------------------------------- which queue


def a_context(path: Path, *queues: str, settings: Sequence[QueueSettings] = ()) -> Any:
    """As far as `send_target` looks at it."""
    route = Route(
        name="r", sources=None, destinations=None, queues=frozenset(queues) if queues else None
    )
    return SimpleNamespace(
        policy=Policy(routes=(route,)),
        settings=SimpleNamespace(ledger_place=path, queue=list(settings)),
    )


def an_agent(ledger: SqlLedger, queue: str, number: int = 0) -> None:
    identity = AgentIdentity(
        id=f"{number:032x}",
        host="h",
        owner=f"h:b:{number}:1",
        version="1",
        queue=queue,
        region="eu-west-1",
        slots=4,
        started_at=NOW,
    )
    ledger.beat(identity, AgentReport(at=NOW))


def target(path: Path, chosen: str | None, *queues: str) -> tuple[str, str | None]:
    found = send_target(a_context(path, *queues), "r", chosen, "us-west-2").queue
    return found.parsed.name, found.region


def test_the_queue_is_the_chosen_one_or_the_routes_only_one(path: Path) -> None:
    assert target(path, "mine", "a", "b") == ("mine", "us-west-2")
    assert target(path, None, "a") == ("a", "us-west-2")
    assert target(path, None, QUEUE) == ("work", "us-west-2")


def test_without_one_it_is_the_queue_of_the_agents(ledger: SqlLedger, path: Path) -> None:
    an_agent(ledger, "busy")
    assert target(path, None) == ("busy", "eu-west-1")
    an_agent(ledger, "busy", 1)
    assert target(path, None) == ("busy", "eu-west-1")
    an_agent(ledger, "another", 2)
    with pytest.raises(BadArgument, match="no agent, or several") as caught:
        target(path, None)
    assert caught.value.code == "E_RECONCILE_QUEUE"


def test_a_queue_that_is_not_known_is_asked_for(path: Path) -> None:
    with pytest.raises(BadArgument, match="no agent, or several"):
        target(path, None)
    with pytest.raises(BadArgument, match="it serves several"):
        target(path, None, "a", "b")
    with pytest.raises(BadArgument, match="no route 'x'"):
        send_target(a_context(path), "x", None, "us-west-2")


def test_of_several_queues_it_is_the_only_one_of_the_route_with_its_region_and_role(
    path: Path,
) -> None:
    role = "arn:aws:iam::210987654321:role/reader"
    both = [
        QueueSettings(name="events", region="eu-west-1", role_arn=role),
        QueueSettings(name="orders", region="us-west-2"),
    ]

    def found(chosen: str | None, *bound: str) -> ChosenQueue:
        return send_target(a_context(path, *bound, settings=both), "r", chosen, "us-east-1").queue

    for one in (found(None, "events"), found("events"), found("events", "orders")):
        assert (one.text, one.region, one.role_arn) == ("events", "eu-west-1", role)
    assert found("other").region == "us-east-1"
    with pytest.raises(BadArgument, match=r"it serves several \[\[queue]]") as caught:
        found(None)
    assert caught.value.hint == "name it: --queue NAME, with one of events, orders"
    both[1] = QueueSettings(name="events", region="us-west-2")
    with pytest.raises(BadArgument, match="it serves several") as caught:
        found(None, "events")
    assert "events@eu-west-1, events@us-west-2" in caught.value.hint
    assert found("events@us-west-2").region == "us-west-2"
