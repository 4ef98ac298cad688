"""What `core.ports.replies.ReplyLedger` promises, on every implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backhaul.adapters.ledger import Owner, open_ledger
from backhaul.core.model import (
    Assignment,
    Hold,
    Location,
    Request,
    Source,
    TransferState,
)
from backhaul.core.objects import ManifestSum, Pin, PlannedObject
from backhaul.core.ports import Ledger, MessageKey
from backhaul.core.ports.replies import DueReply
from backhaul.core.replies.reply import Reply, ReplyEvent, ReplyWish
from backhaul.testing.fakes import MemoryFile, MemoryLedger
from tests.ledger_places import EVERY_LEDGER, ledger_place

T0 = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
LATER = T0 + timedelta(days=1)
DAY = Location(scheme="hdfs", authority="ns1", path="/landing/day=01")
SOURCE = "s3://raw/click/day=01/"
JOB = Assignment(
    request=Request(source=Source(bucket="raw", key="click/day=01/"), destination=DAY),
    route="clickstream",
    anchor=DAY.parent,
)
OUT = ReplyWish(target="out")
ALL = ReplyWish(target="all", events=frozenset(ReplyEvent), held_after_s=60)
MANIFEST = ManifestSum(manifest="ab" * 32, objects=1, size_bytes=7, bytes_read=7)
Reopen = Callable[[str], Ledger]


@pytest.fixture(params=EVERY_LEDGER)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """`reopen("me")`, `reopen("alive elsewhere")`: who writes."""
    place = ledger_place(request.param, request, tmp_path)
    if request.param == "memory":
        file = MemoryFile()
        yield lambda who: MemoryLedger(file, who)
        return
    me = Owner.current("edge1")
    owners = {"me": me, "alive elsewhere": replace(me, host="edge2")}
    opened = []

    def open_as(who: str) -> Ledger:
        ledger = open_ledger(place, create=True, owner=owners[who])
        opened.append(ledger)
        return ledger

    yield open_as
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(reopen: Reopen) -> Ledger:
    return reopen("me")


def begin(ledger: Ledger, wishes: Sequence[ReplyWish] | None = (OUT,), new_id: str = "t1") -> None:
    key = MessageKey(queue="work", message_id=f"m-{new_id}")
    ledger.begin(key, new_id, SOURCE, DAY.uri, T0, route="clickstream", replies=wishes)


def claim(ledger: Ledger, transfer_id: str = "t1", *, now: datetime = T0) -> int:
    pin = Pin(bucket="raw", key="click/day=01/a", size_bytes=7, etag="e", last_modified=T0)
    claimed = ledger.claim(
        transfer_id,
        JOB,
        DAY,
        DAY.parent,
        directory=DAY,
        first=[PlannedObject(seq=0, pin=pin, relative="a")],
        is_complete=True,
        min_epoch=1,
        now=now,
    )
    assert claimed is not None
    return claimed.epoch


def finish(ledger: Ledger, epoch: int, state: TransferState = TransferState.DONE) -> bool:
    at = T0 + SECOND
    return ledger.finish("t1", epoch, state, "renamed", at, manifest=MANIFEST, is_intended=False)


def fail(ledger: Ledger, state: TransferState, **other: object) -> None:
    ledger.fail("t1", state, "E_X", "it broke", T0 + SECOND, **other)  # type: ignore[arg-type]


def held(ledger: Ledger, since: datetime = T0) -> None:
    fail(ledger, TransferState.HELD, refund=True, hold=Hold(dependency="s3", since=since))


def waiting(ledger: Ledger, at: datetime = LATER) -> list[Reply]:
    return [
        one.reply
        for target in ledger.due_reply_targets(at)
        for one in ledger.due_replies(target, at, most=100)
    ]


def keys(ledger: Ledger, target: str) -> list[str]:
    return sorted(one.reply.key for one in ledger.due_replies(target, LATER, most=100))


# ---------------------------------------------------------------- written with the end


def test_done_leaves_a_reply_with_what_was_published(ledger: Ledger) -> None:
    begin(ledger)
    epoch = claim(ledger)
    assert waiting(ledger) == []
    assert finish(ledger, epoch)
    assert waiting(ledger) == [
        Reply(
            key=f"t1-{epoch}-done",
            target="out",
            event=ReplyEvent.DONE,
            at=T0 + SECOND,
            transfer_id="t1",
            epoch=epoch,
            code=None,
            reason=None,
            route="clickstream",
            source=SOURCE,
            destination=DAY.uri,
            objects=1,
            size_bytes=7,
            digest=MANIFEST.manifest,
            message_id="m-t1",
        )
    ]


def test_the_end_recorded_twice_leaves_one_reply(ledger: Ledger) -> None:
    begin(ledger)
    epoch = claim(ledger)
    assert finish(ledger, epoch)
    assert finish(ledger, epoch)
    assert len(waiting(ledger)) == 1


def test_superseded_is_done_with_a_code_and_without_a_digest(ledger: Ledger) -> None:
    begin(ledger)
    finish(ledger, claim(ledger), TransferState.SUPERSEDED)
    (reply,) = waiting(ledger)
    assert (reply.event, reply.code, reply.digest) == (ReplyEvent.DONE, "superseded", None)
    assert reply.reason


def test_dead_before_a_claim_has_epoch_0_and_no_totals(ledger: Ledger) -> None:
    begin(ledger)
    fail(ledger, TransferState.DEAD)
    (reply,) = waiting(ledger)
    assert (reply.key, reply.event, reply.epoch) == ("t1-0-dead", ReplyEvent.DEAD, 0)
    assert (reply.code, reply.reason) == ("E_X", "it broke")
    assert (reply.objects, reply.size_bytes, reply.digest) == (None, None, None)


def test_a_failure_that_another_attempt_follows_leaves_none(ledger: Ledger) -> None:
    begin(ledger, [ALL])
    fail(ledger, TransferState.WAITING)
    assert waiting(ledger) == []


def test_the_failure_of_another_process_leaves_none(reopen: Reopen) -> None:
    begin(reopen("alive elsewhere"))
    mine = reopen("me")
    fail(mine, TransferState.DEAD)
    assert waiting(mine) == []


def test_a_claim_that_was_lost_leaves_none(ledger: Ledger) -> None:
    begin(ledger)
    assert not finish(ledger, claim(ledger) + 1)
    assert waiting(ledger) == []


def test_who_wants_nothing_gets_nothing(ledger: Ledger) -> None:
    begin(ledger, None)
    finish(ledger, claim(ledger))
    assert waiting(ledger) == []
    assert ledger.due_reply_targets(LATER) == []


def test_each_target_gets_what_it_wants(ledger: Ledger) -> None:
    only_dead = ReplyWish(target="dead", events=frozenset({ReplyEvent.DEAD}))
    begin(ledger, [OUT, ALL, only_dead])
    finish(ledger, claim(ledger))
    assert [(one.target, one.event.value) for one in waiting(ledger)] == [
        ("all", "started"),
        ("all", "done"),
        ("out", "done"),
    ]


def test_only_the_first_claim_is_the_start(ledger: Ledger) -> None:
    begin(ledger, [ALL])
    first = claim(ledger)
    fail(ledger, TransferState.WAITING)
    begin(ledger, [ALL])
    claim(ledger)
    assert keys(ledger, "all") == [f"t1-{first}-started"]


def test_a_later_attempt_may_want_others_and_keeps_them_where_it_does_not_say(
    ledger: Ledger,
) -> None:
    begin(ledger)
    fail(ledger, TransferState.WAITING)
    begin(ledger, [ReplyWish(target="other")])
    fail(ledger, TransferState.WAITING)
    begin(ledger, None)
    fail(ledger, TransferState.DEAD)
    assert ledger.due_reply_targets(LATER) == ["other"]


# ---------------------------------------------------------------- holds


def test_a_hold_is_reported_once_and_only_when_it_lasts(ledger: Ledger) -> None:
    begin(ledger, [OUT, ALL])
    held(ledger)
    assert ledger.report_holds(T0 + MINUTE - SECOND) == 0
    assert ledger.report_holds(T0 + MINUTE) == 1
    assert ledger.report_holds(T0 + 2 * MINUTE) == 0
    (reply,) = waiting(ledger)
    assert (reply.key, reply.target, reply.code) == ("t1-0-held", "all", "E_X")


def test_each_target_waits_as_long_as_it_wants(ledger: Ledger) -> None:
    patient = ReplyWish(target="patient", events=frozenset(ReplyEvent), held_after_s=3600)
    begin(ledger, [ALL, patient])
    held(ledger)
    assert ledger.report_holds(T0 + MINUTE) == 1
    assert ledger.report_holds(T0 + 60 * MINUTE) == 1
    assert ledger.due_reply_targets(LATER) == ["all", "patient"]


def test_a_running_attempt_that_was_held_before_is_not_held(ledger: Ledger) -> None:
    begin(ledger, [ALL])
    held(ledger)
    begin(ledger, [ALL])
    claim(ledger)
    assert ledger.report_holds(T0 + 5 * MINUTE) == 0


def test_a_worker_that_waits_by_itself_is_held(ledger: Ledger) -> None:
    begin(ledger, [ALL])
    epoch = claim(ledger)
    ledger.note_wait("t1", Hold(dependency="hdfs", since=T0), "E_HDFS", "no answer")
    assert ledger.report_holds(T0 + MINUTE) == 1
    assert f"t1-{epoch}-held" in keys(ledger, "all")


def test_it_is_resumed_once_an_attempt_works_for_a_while(ledger: Ledger) -> None:
    begin(ledger, [ALL])
    held(ledger)
    ledger.report_holds(T0 + MINUTE)
    begin(ledger, [ALL])
    epoch = claim(ledger, now=T0 + 2 * MINUTE)
    assert ledger.report_holds(T0 + 3 * MINUTE - SECOND) == 0
    assert ledger.report_holds(T0 + 3 * MINUTE) == 1
    assert ledger.report_holds(T0 + 4 * MINUTE) == 0
    resumed, started = (f"t1-{epoch}-{event}" for event in ("resumed", "started"))
    assert keys(ledger, "all") == ["t1-0-held", resumed, started]


def test_another_failure_ends_the_hold(ledger: Ledger) -> None:
    begin(ledger, [ALL])
    held(ledger)
    ledger.report_holds(T0 + MINUTE)
    begin(ledger, [ALL])
    fail(ledger, TransferState.WAITING)
    assert keys(ledger, "all") == ["t1-0-held", "t1-0-resumed"]


def test_what_is_unspent_does_not_end_it(ledger: Ledger) -> None:
    begin(ledger, [ALL])
    held(ledger)
    ledger.report_holds(T0 + MINUTE)
    begin(ledger, [ALL])
    fail(ledger, TransferState.WAITING, refund=True)
    assert keys(ledger, "all") == ["t1-0-held"]


def test_nothing_is_resumed_that_was_not_reported(ledger: Ledger) -> None:
    begin(ledger, [ALL])
    held(ledger)
    begin(ledger, [ALL])
    fail(ledger, TransferState.WAITING)
    assert waiting(ledger) == []


def test_a_second_hold_has_keys_of_its_own(ledger: Ledger) -> None:
    for number in (0, 1):
        begin(ledger, [ALL])
        held(ledger, T0 + number * 5 * MINUTE)
        ledger.report_holds(T0 + number * 5 * MINUTE + MINUTE)
        begin(ledger, [ALL])
        fail(ledger, TransferState.WAITING)
    assert keys(ledger, "all") == [
        "t1-0-held",
        "t1-0-held-2",
        "t1-0-resumed",
        "t1-0-resumed-2",
    ]


def test_the_end_ends_the_hold_for_who_is_sent_the_end(ledger: Ledger) -> None:
    events = frozenset({ReplyEvent.HELD, ReplyEvent.RESUMED})
    begin(ledger, [ALL, ReplyWish(target="holds", events=events, held_after_s=60)])
    held(ledger)
    ledger.report_holds(T0 + MINUTE)
    begin(ledger, None)
    fail(ledger, TransferState.DEAD)
    assert keys(ledger, "all") == ["t1-0-dead", "t1-0-held"]
    assert keys(ledger, "holds") == ["t1-0-held", "t1-0-resumed"]


def test_whoever_was_told_of_the_hold_is_told_how_it_ended(ledger: Ledger) -> None:
    begin(ledger, [ALL])
    held(ledger)
    ledger.report_holds(T0 + MINUTE)
    begin(ledger, [OUT])  # the route names another target by now
    fail(ledger, TransferState.DEAD)
    assert keys(ledger, "all") == ["t1-0-dead", "t1-0-held"]
    assert keys(ledger, OUT.target) == ["t1-0-dead"]


def test_who_was_told_of_no_hold_is_forgotten_with_the_route(ledger: Ledger) -> None:
    begin(ledger, [ALL])
    held(ledger)
    begin(ledger, [])
    fail(ledger, TransferState.DEAD)
    assert waiting(ledger) == []


def test_no_hold_of_what_has_ended_is_reported(ledger: Ledger) -> None:
    begin(ledger, [ALL])
    held(ledger)
    begin(ledger, None)
    fail(ledger, TransferState.DEAD)
    assert ledger.report_holds(LATER) == 0


# ---------------------------------------------------------------- delivered


def test_who_observes_gets_each_before_it_is_due_as_it_is_read_later(ledger: Ledger) -> None:
    offered: list[DueReply] = []
    ledger.observe_replies(offered.append)
    begin(ledger, [OUT, ReplyWish(target="other")])
    assert offered == []
    assert finish(ledger, claim(ledger))
    found = [
        one for target in ("other", "out") for one in ledger.due_replies(target, LATER, most=9)
    ]
    offered.sort(key=lambda one: one.reply.target)
    assert [one.reply.target for one in offered] == ["other", "out"]
    assert [one.reply.body() for one in offered] == [one.reply.body() for one in found]
    assert [(one.tries, one.tried_since) for one in offered] == [
        (one.tries, one.tried_since) for one in found
    ]


def test_one_that_was_sent_is_not_due_again(ledger: Ledger) -> None:
    begin(ledger, [OUT, ReplyWish(target="other")])
    fail(ledger, TransferState.DEAD)
    ledger.note_replies_sent("out", {"t1-0-dead": T0 + SECOND}, LATER)
    ledger.note_replies_sent("out", {"t1-0-dead": T0 + SECOND}, LATER)
    assert ledger.due_reply_targets(LATER) == ["other"]


def test_one_that_is_to_be_sent_again_meanwhile_stays_due(ledger: Ledger) -> None:
    begin(ledger)
    fail(ledger, TransferState.DEAD)
    ledger.note_replies_sent("out", {"t1-0-dead": T0}, LATER)
    assert ledger.due_reply_targets(LATER) == ["out"]


def test_one_that_failed_is_due_when_it_says(ledger: Ledger) -> None:
    begin(ledger)
    fail(ledger, TransferState.DEAD)
    due_at = T0 + MINUTE
    ledger.note_reply_failed("out", "t1-0-dead", "E_R", "no", T0, due_at=due_at)
    assert ledger.due_reply_targets(due_at - SECOND) == []
    (due,) = ledger.due_replies("out", due_at, most=9)
    assert (due.tries, due.tried_since) == (1, T0 + SECOND)


def test_one_that_was_given_up_is_not_due(ledger: Ledger) -> None:
    begin(ledger)
    fail(ledger, TransferState.DEAD)
    ledger.note_reply_failed("out", "t1-0-dead", "E_R", "no", T0, due_at=None)
    assert waiting(ledger) == []


def test_a_late_failure_does_not_change_what_was_sent(ledger: Ledger) -> None:
    begin(ledger)
    fail(ledger, TransferState.DEAD)
    ledger.note_replies_sent("out", {"t1-0-dead": T0 + SECOND}, LATER)
    ledger.note_reply_failed("out", "t1-0-dead", "E_R", "no", T0, due_at=T0)
    assert waiting(ledger) == []


def test_they_come_as_they_are_due_and_not_more_than_wanted(ledger: Ledger) -> None:
    for new_id in ("t1", "t2", "t3"):
        begin(ledger, new_id=new_id)
        ledger.fail(new_id, TransferState.DEAD, "E_X", "it broke", T0)
    ledger.note_reply_failed("out", "t1-0-dead", "E_R", "no", T0, due_at=T0 + SECOND)
    found = ledger.due_replies("out", LATER, most=2)
    assert [one.reply.transfer_id for one in found] == ["t2", "t3"]
    assert [one.reply.transfer_id for one in ledger.due_replies("out", LATER, most=9)][2] == "t1"
