"""What `core.ports.Ledger` promises, checked on every implementation."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backhaul.adapters.ledger import Owner, SqlLedger, open_ledger, open_reader
from backhaul.core.checksums import Checksum
from backhaul.core.errors import BackhaulError, PermanentError, TakenOver
from backhaul.core.model import (
    Assignment,
    EngineName,
    EventFacts,
    Hold,
    Limits,
    Location,
    NameMap,
    OnExists,
    PublishMode,
    Request,
    Source,
    TransferState,
    VerifyLevel,
)
from backhaul.core.objects import Pin, PlannedObject, Proof, StagedObject, Totals
from backhaul.core.ports import AbandonedStaging, AttemptStart, Claimed, Ledger, MessageKey
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.testing.fakes import MemoryFile, MemoryLedger
from tests.ledger_places import BEHIND_POOLER, EVERY_LEDGER, SERVERS, ledger_place, statement

T0 = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
ANY_AGE = timedelta(0)
LANDING = Location(scheme="hdfs", authority="ns1", path="/landing")
DAY = LANDING.join("day=01")
KEY = MessageKey(queue="work", message_id="m-1")
JOB = Assignment(
    request=Request(source=Source(bucket="raw", key="click/day=01/"), destination=DAY),
    route="clickstream",
    anchor=LANDING,
    on_exists=OnExists.REPLACE,
    publish=PublishMode.AUTO,
    engine=EngineName.AUTO,
    verify=VerifyLevel.STREAM,
    name_map=NameMap.STRICT,
    limits=Limits(),
)

# Opens the same ledger again as another process: its owner is alive, or was killed.
Reopen = Callable[[str], Ledger]


KINDS = ["packed", *EVERY_LEDGER]
behind_a_pooler_too = pytest.mark.parametrize("kind", [*KINDS, BEHIND_POOLER], indirect=True)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def place(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> LedgerPlace:
    """Of the ledger that a test has; that in memory has none."""
    return ledger_place(kind, request, tmp_path)


@pytest.fixture
def reopen(kind: str, place: LedgerPlace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reopen]:
    """`reopen("me")`, `reopen("alive elsewhere")`, `reopen("killed")`: who writes.

    On PostgreSQL the killed one counts as dead and is in force: what rows alone refuse is shown.
    """
    if kind == "memory":
        file = MemoryFile()
        yield lambda who: MemoryLedger(file, who, is_alive=lambda owner: owner != "killed")
        return
    me = Owner.current("edge1")
    owners = {
        "me": me,
        "alive elsewhere": replace(me, host="edge2"),
        "killed": replace(me, start=me.start - 1),
    }
    opened = []
    if kind in SERVERS:
        from backhaul.adapters.ledger.postgres.members.member import Member
        from backhaul.adapters.ledger.postgres.members.pulse import Pulse

        is_in_force = Member.is_alive

        def is_alive(member: Member, text: str) -> bool:
            where = member._in_force.get(text.rpartition(":")[2], "")
            return is_in_force(member, text) and not member._sees_gone(where)

        monkeypatch.setattr(Pulse, "judge", lambda *_: None)
        monkeypatch.setattr(Member, "is_alive", is_alive)

    def open_as(who: str) -> Ledger:
        ledger = open_ledger(place, create=True, owner=owners[who])
        if kind == "packed":
            always_pack(ledger)
        opened.append(ledger)
        return ledger

    yield open_as
    for ledger in opened:
        ledger.close()


def always_pack(ledger: SqlLedger) -> None:
    """From now on all that was published is packed when it is read or replaced."""
    for name in ("published", "note_published", "finish"):
        method = getattr(ledger, name)

        def packed(*args: object, method: Callable[..., object] = method, **more: object) -> object:
            ledger.pack_paths(T0 + timedelta(days=9999), most=500)
            return method(*args, **more)

        setattr(ledger, name, packed)


@pytest.fixture
def ledger(reopen: Reopen) -> Ledger:
    return reopen("me")


def planned(seq: int, relative: str | None = None, **pin: object) -> PlannedObject:
    name = relative or f"part-{seq:05d}.parquet"
    facts: dict[str, object] = {
        "bucket": "raw",
        "key": f"click/day=01/{name}",
        "size_bytes": 100 + seq,
        "etag": f"etag{seq}",
        "last_modified": T0 - SECOND,
    }
    return PlannedObject(seq=seq, pin=Pin(**facts | pin), relative=name)  # type: ignore[arg-type]


def proof(seq: int, crc32c: str = "0badcafe", **other: object) -> StagedObject:
    facts: dict[str, object] = {
        "size_bytes": 100 + seq,
        "proof": Proof.STREAM,
        "algorithm": "CRC32C",
        "checksum": "C63K/g==",
        "version_id": "v1",
        "modified_ms": 1_700_000_000_000 + seq,
    }
    return StagedObject(seq=seq, content=Checksum("CRC32C", crc32c), **facts | other)  # type: ignore[arg-type]


def begin(ledger: Ledger, new_id: str = "t1", key: MessageKey | None = KEY) -> AttemptStart:
    return ledger.begin(key, new_id, "raw/click/day=01/", "/landing/day=01", T0)


def claim(
    ledger: Ledger,
    transfer_id: str = "t1",
    destination: Location = DAY,
    *,
    directory: Location | None = None,
    first: Sequence[PlannedObject] = (),
    is_complete: bool = False,
    markers: int = 0,
    min_epoch: int = 1,
    assignment: Assignment = JOB,
) -> Claimed | None:
    return ledger.claim(
        transfer_id,
        assignment,
        destination,
        LANDING,
        directory=directory or destination,
        first=first,
        is_complete=is_complete,
        markers=markers,
        min_epoch=min_epoch,
        now=T0 + SECOND,
    )


def claimed(ledger: Ledger, transfer_id: str = "t1", destination: Location = DAY) -> Claimed:
    """A new transfer with a claim and a plan of three objects."""
    begin(ledger, transfer_id, MessageKey(queue="work", message_id=transfer_id))
    found = claim(
        ledger,
        transfer_id,
        destination,
        first=[planned(seq) for seq in range(3)],
        is_complete=True,
    )
    assert found is not None
    return found


def finished(
    ledger: Ledger, transfer_id: str, *objects: PlannedObject, destination: Location = DAY
) -> Claimed:
    """A whole transfer."""
    begin(ledger, transfer_id, None)
    found = claim(ledger, transfer_id, destination, first=objects, is_complete=True)
    assert found is not None
    staged = [proof(one.seq, size_bytes=one.pin.size_bytes) for one in objects]
    assert ledger.intend(transfer_id, found.epoch, staged, T0)
    assert ledger.finish(transfer_id, found.epoch, TransferState.DONE, "per-file", T0)
    return found


def fail(
    ledger: Ledger, transfer_id: str = "t1", state: TransferState = TransferState.WAITING
) -> None:
    ledger.fail(transfer_id, state, "E_X", "it broke", T0 + SECOND)


# ---------------------------------------------------------------- begin


def test_first_delivery_counts_attempt_one(ledger: Ledger) -> None:
    begun = begin(ledger)
    assert begun == AttemptStart(
        transfer_id="t1",
        state=TransferState.RECEIVED,
        attempt=1,
        is_live=False,
        has_plan=False,
        was_publishing=False,
        first_seen_at=T0,
    )


def test_redelivery_after_failure_is_the_same_transfer_and_the_next_attempt(
    ledger: Ledger,
) -> None:
    begin(ledger)
    fail(ledger)
    again = begin(ledger, "t2")
    assert (again.transfer_id, again.attempt, again.failures) == ("t1", 2, 1)
    assert (again.code, again.reason, again.first_seen_at) == ("E_X", "it broke", T0)
    assert not again.is_live


@pytest.mark.parametrize("kind", ["sqlite", EVERY_LEDGER[-1]], indirect=True)
def test_a_transfer_that_a_failover_has_lost_is_begun_anew(
    place: LedgerPlace, ledger: Ledger
) -> None:
    """The promoted standby lacks the commit that began it; its agent goes on."""
    begin(ledger)
    statement(place, "DELETE FROM journal")
    statement(place, "DELETE FROM transfers")
    with pytest.raises(TakenOver, match=r"E_TAKEN_OVER.*t1 is in the ledger no more"):
        claim(ledger)
    with pytest.raises(TakenOver):
        ledger.note_wait("t1", None, "", "")
    with pytest.raises(TakenOver):
        ledger.finish("t1", 1, TransferState.DONE, "per-file", T0)
    assert ledger.holder("t1").owner is None
    fail(ledger, state=TransferState.DEAD)
    fail(ledger)
    ledger.note_dead_letter("t1")
    assert ledger.staging_of("t1") is None
    assert not ledger.is_mine("t1")
    again = begin(ledger, "t2")
    assert (again.transfer_id, again.attempt, again.is_live) == ("t2", 1, False)
    assert claim(ledger, "t2") is not None


def test_redelivery_of_a_running_transfer_counts_nothing(ledger: Ledger) -> None:
    begin(ledger)
    again = begin(ledger, "t2")
    assert (again.transfer_id, again.attempt, again.is_live) == ("t1", 1, True)


def test_redelivery_while_another_process_works_counts_nothing(reopen: Reopen) -> None:
    begin(reopen("alive elsewhere"))
    again = begin(reopen("me"))
    assert (again.attempt, again.is_live) == (1, True)


def test_redelivery_after_the_owner_was_killed_is_an_attempt(reopen: Reopen) -> None:
    assert not begin(reopen("killed")).is_takeover
    again = begin(reopen("me"))
    assert (again.attempt, again.failures, again.is_live) == (2, 0, False)
    assert again.is_takeover


def test_what_another_process_settled_is_not_taken_over(reopen: Reopen) -> None:
    other = reopen("killed")
    begin(other)
    fail(other)
    assert not begin(reopen("me")).is_takeover


def test_an_attempt_after_an_own_one_is_not_taken_over(ledger: Ledger) -> None:
    begin(ledger)
    fail(ledger)
    assert not begin(ledger).is_takeover


def test_other_queue_or_message_is_another_transfer(ledger: Ledger) -> None:
    begin(ledger)
    assert begin(ledger, "t2", replace(KEY, queue="other")).transfer_id == "t2"
    assert begin(ledger, "t3", replace(KEY, message_id="m-2")).transfer_id == "t3"


def test_without_a_message_every_call_is_a_new_transfer(ledger: Ledger) -> None:
    assert begin(ledger, "t1", None).transfer_id == "t1"
    assert begin(ledger, "t2", None).transfer_id == "t2"


@pytest.mark.parametrize("state", [TransferState.DONE, TransferState.SUPERSEDED])
def test_redelivery_after_the_end_counts_nothing(ledger: Ledger, state: TransferState) -> None:
    found = claimed(ledger)
    ledger.intend("t1", found.epoch, [proof(seq) for seq in range(3)], T0)
    assert ledger.finish("t1", found.epoch, state, "tree", T0)
    again = begin(ledger, "t2", MessageKey(queue="work", message_id="t1"))
    assert (again.transfer_id, again.state, again.attempt) == ("t1", state, 1)
    assert not again.is_live
    assert not again.was_publishing


def test_redelivery_after_death_has_the_reason(ledger: Ledger) -> None:
    begin(ledger)
    fail(ledger, state=TransferState.DEAD)
    again = begin(ledger, "t2")
    assert (again.state, again.code, again.attempt) == (TransferState.DEAD, "E_X", 1)


def test_begin_returns_what_was_claimed_and_planned(ledger: Ledger) -> None:
    begin(ledger)
    file = DAY.join("a.parquet")
    claim(ledger, "t1", file, directory=DAY, first=[planned(0, "a.parquet")], is_complete=True)
    fail(ledger)
    again = begin(ledger)
    assert (again.destination, again.directory, again.has_plan) == (file, DAY, True)


@behind_a_pooler_too
def test_only_one_of_many_threads_gets_the_attempt(ledger: Ledger) -> None:
    answers: list[AttemptStart] = []
    start = threading.Barrier(8)

    def deliver(number: int) -> None:
        start.wait()
        answers.append(begin(ledger, f"t{number}"))

    threads = [threading.Thread(target=deliver, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(begun.is_live for begun in answers) == [False] + [True] * 7
    assert len({begun.transfer_id for begun in answers}) == 1


@behind_a_pooler_too
def test_any_unicode_is_kept_and_what_utf8_cannot_hold_is_replaced(ledger: Ledger) -> None:
    ledger.begin(KEY, "t1", "gr\u00fc\u00df\x00\U0001f980", "bad \ud800", T0)
    name = "a'%_\u202e\U0001f980"  # the core refuses control characters in paths
    claim(ledger, first=[planned(0, name)], is_complete=True)
    (page,) = ledger.plan("t1")
    assert page == [planned(0, name)]


# ---------------------------------------------------------------- claim


def test_first_claim_is_the_first_of_its_timeline_with_staging_below_the_anchor(
    ledger: Ledger,
) -> None:
    found = claimed(ledger)
    root = LANDING.join(f".backhaul/{DAY.digest}")
    assert found == Claimed(epoch=found.epoch, staging_root=root)
    timeline, number = divmod(found.epoch, 1 << 40)  # a file has no timeline
    assert number == 1
    assert timeline < 2


def test_epochs_of_a_destination_only_grow(ledger: Ledger) -> None:
    epochs = []
    for number in range(4):
        epochs.append(claimed(ledger, f"t{number}").epoch)
        fail(ledger, f"t{number}")
    epochs.append(finished(ledger, "t8", planned(0)).epoch)
    epochs.append(claimed(ledger, "t9").epoch)
    assert epochs == sorted(set(epochs))


def test_claim_goes_above_the_least_epoch(ledger: Ledger) -> None:
    least = claimed(ledger).epoch + 39
    again = claim(ledger, min_epoch=least)
    assert again is not None
    assert again.epoch == least
    once_more = claim(ledger, min_epoch=7)
    assert once_more is not None
    assert once_more.epoch == least + 1


@pytest.mark.parametrize(
    ("held", "wanted", "is_free"),
    [
        ("/landing/day=01", "/landing/day=01", False),
        ("/landing/day=01", "/landing/day=01/hour=2", False),
        ("/landing/day=01/hour=2", "/landing/day=01", False),
        ("/landing/day=01", "/landing/day=010", True),
        ("/landing/day=01", "/landing/day=0", True),
        ("/landing/day=01/a", "/landing/day=01/b", True),
        ("/", "/landing/day=01", False),
        ("/landing/day=01", "/", False),
    ],
)
def test_claim_is_refused_on_above_and_below_a_held_destination(
    ledger: Ledger, held: str, wanted: str, *, is_free: bool
) -> None:
    claimed(ledger, "t1", replace(LANDING, path=held))
    begin(ledger, "t2", None)
    assert (claim(ledger, "t2", replace(LANDING, path=wanted)) is not None) is is_free


def test_same_path_on_another_file_system_is_free(ledger: Ledger) -> None:
    claimed(ledger)
    begin(ledger, "t2", None)
    assert claim(ledger, "t2", replace(DAY, authority="ns2")) is not None
    begin(ledger, "t3", None)
    assert claim(ledger, "t3", replace(DAY, scheme="file", authority="")) is not None


def test_refused_claim_changes_nothing(ledger: Ledger) -> None:
    first = claimed(ledger)
    begin(ledger, "t2", None)
    assert claim(ledger, "t2", first=[planned(0)], is_complete=True) is None
    assert ledger.planned_totals("t2") == Totals()
    assert ledger.intend("t1", first.epoch, [], T0)


def test_destination_of_a_failed_transfer_is_free(ledger: Ledger) -> None:
    claimed(ledger)
    fail(ledger)
    begin(ledger, "t2", None)
    assert claim(ledger, "t2") is not None


def test_destination_of_a_killed_owner_is_free(reopen: Reopen) -> None:
    first = claimed(reopen("killed"))
    me = reopen("me")
    begin(me, "t2", None)
    second = claim(me, "t2")
    assert second is not None
    assert second.epoch > first.epoch


def test_destination_of_a_live_owner_elsewhere_is_taken(reopen: Reopen) -> None:
    claimed(reopen("alive elsewhere"))
    me = reopen("me")
    begin(me, "t2", None)
    assert claim(me, "t2") is None


def test_staging_root_is_below_the_anchor_of_each_claim_and_the_old_one_is_stale(
    ledger: Ledger,
) -> None:
    first = claimed(ledger)
    fail(ledger)
    begin(ledger, "t2", None)
    anchor = LANDING.join("other")
    again = ledger.claim("t2", JOB, DAY, anchor, directory=DAY, min_epoch=1, now=T0)
    assert again is not None
    assert again.staging_root == anchor.join(f".backhaul/{DAY.digest}")
    assert again.epoch == first.epoch + 1
    left = AbandonedStaging(
        transfer_id="t1",
        staging_root=first.staging_root,
        epoch=first.epoch,
        route=JOB.route,
    )
    assert again.stale == (left,)
    fail(ledger, "t2")
    found = {
        one.staging_root for one in ledger.abandoned_staging(T0 + 2 * SECOND, age=ANY_AGE, most=9)
    }
    assert found == {first.staging_root, again.staging_root}


def test_claiming_elsewhere_lets_go_of_the_old_destination(ledger: Ledger) -> None:
    claimed(ledger)
    assert claim(ledger, "t1", LANDING.join("day=02")) is not None
    begin(ledger, "t2", None)
    assert claim(ledger, "t2", DAY) is not None


def test_claim_needs_a_begun_attempt(ledger: Ledger) -> None:
    begin(ledger)
    fail(ledger)
    with pytest.raises(TakenOver):
        claim(ledger)
    with pytest.raises(BackhaulError, match="E_LEDGER_ORDER"):
        claim(ledger, "no-such")


# ---------------------------------------------------------------- the plan


def pages(ledger: Ledger, **how: int) -> list[int]:
    return [one.seq for page in ledger.plan("t1", **how) for one in page]  # type: ignore[arg-type]


def test_plan_comes_back_in_order_in_batches(ledger: Ledger) -> None:
    begin(ledger)
    claim(ledger, first=[planned(0), planned(1)])
    ledger.freeze("t1", [planned(2), planned(3)], is_complete=False, markers=0)
    ledger.freeze("t1", [planned(4, version_id="v9")], is_complete=True, markers=2)
    batches = list(ledger.plan("t1", batch=2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    expected = [planned(0), planned(1), planned(2), planned(3), planned(4, version_id="v9")]
    assert [one for batch in batches for one in batch] == expected
    assert ledger.planned_totals("t1") == Totals(objects=5, size_bytes=510, markers=2)


def test_plan_is_known_as_complete_only_after_its_last_page(ledger: Ledger) -> None:
    begin(ledger)
    claim(ledger, first=[planned(0)])
    fail(ledger)
    assert not begin(ledger).has_plan
    claim(ledger, first=[planned(0)])
    ledger.freeze("t1", [planned(1)], is_complete=True, markers=0)
    fail(ledger)
    assert begin(ledger).has_plan


def test_new_first_page_replaces_an_incomplete_plan(ledger: Ledger) -> None:
    begin(ledger)
    claim(ledger, first=[planned(0), planned(1)], markers=5)
    fail(ledger)
    begin(ledger)
    claim(ledger, first=[planned(0, etag="new")], is_complete=True, markers=1)
    assert list(ledger.plan("t1")) == [[planned(0, etag="new")]]
    assert ledger.planned_totals("t1") == Totals(objects=1, size_bytes=100, markers=1)


def test_first_page_never_changes_a_complete_plan(ledger: Ledger) -> None:
    claimed(ledger)
    claim(ledger, first=[planned(0, etag="new")], is_complete=True)
    assert list(ledger.plan("t1")) == [[planned(seq) for seq in range(3)]]


def test_claim_without_a_page_keeps_an_incomplete_plan(ledger: Ledger) -> None:
    begin(ledger)
    claim(ledger, first=[planned(0)])
    claim(ledger)
    assert pages(ledger) == [0]


def test_page_frozen_twice_counts_once(ledger: Ledger) -> None:
    begin(ledger)
    claim(ledger, first=[planned(0)])
    for _ in range(2):
        ledger.freeze("t1", [planned(1), planned(2)], is_complete=False, markers=3)
    ledger.freeze("t1", [planned(2, etag="new"), planned(3)], is_complete=True, markers=3)
    ledger.freeze("t1", [planned(4)], is_complete=True, markers=9)
    (page,) = ledger.plan("t1")
    assert page == [planned(seq) for seq in range(4)]
    assert ledger.planned_totals("t1") == Totals(objects=4, size_bytes=406, markers=3)


def test_page_with_a_gap_is_refused(ledger: Ledger) -> None:
    begin(ledger)
    claim(ledger, first=[planned(0)])
    with pytest.raises(BackhaulError, match="E_LEDGER_ORDER"):
        ledger.freeze("t1", [planned(2)], is_complete=True, markers=0)
    assert pages(ledger) == [0]


def test_forgotten_plan_is_gone_and_counted(ledger: Ledger) -> None:
    claimed(ledger)
    ledger.forget_plan("t1")
    assert pages(ledger) == []
    assert ledger.planned_totals("t1") == Totals()
    fail(ledger)
    again = begin(ledger, key=MessageKey(queue="work", message_id="t1"))
    assert (again.has_plan, again.source_changes) == (False, 1)
    assert claim(ledger, first=[planned(0, etag="new")], is_complete=True) is not None
    assert list(ledger.plan("t1")) == [[planned(0, etag="new")]]


def test_what_was_found_renamed_is_published_before_the_end(ledger: Ledger) -> None:
    claimed(ledger)
    ledger.record_staged("t1", [proof(1)])
    for _ in range(2):
        ledger.note_published("t1")
    ledger.forget_plan("t1")

    finals = [DAY.join(planned(seq).relative) for seq in range(3)]
    known = ledger.published(finals)
    assert list(known) == [finals[1]]
    assert (known[finals[1]].transfer_id, known[finals[1]].pin) == ("t1", planned(1).pin)


def test_transfers_do_not_see_each_others_plans(ledger: Ledger) -> None:
    claimed(ledger, "t1")
    claimed(ledger, "t2", LANDING.join("day=02"))
    ledger.forget_plan("t2")
    assert pages(ledger) == [0, 1, 2]


# ---------------------------------------------------------------- the proofs


def proofs(batches: Iterator[Sequence[tuple[PlannedObject, StagedObject]]]) -> list[StagedObject]:
    return [staged for batch in batches for _, staged in batch]


def test_proofs_come_back_with_their_objects(ledger: Ledger) -> None:
    claimed(ledger)
    bare = proof(2, algorithm=None, checksum=None, version_id=None, proof=Proof.SIZE)
    ledger.record_staged("t1", [bare, proof(0)])
    assert list(ledger.staged("t1", batch=1)) == [
        [(planned(0), proof(0))],
        [(planned(2), bare)],
    ]
    assert pages(ledger, only_unstaged=True) == [1]


def test_proofs_of_an_earlier_epoch_are_separate(ledger: Ledger) -> None:
    claimed(ledger)
    ledger.record_staged("t1", [proof(0), proof(1)])
    claim(ledger)
    assert list(ledger.staged("t1")) == []
    assert proofs(ledger.earlier_proofs("t1", batch=1)) == [proof(0), proof(1)]
    assert pages(ledger, only_unstaged=True) == [0, 1, 2]
    ledger.record_staged("t1", [proof(1, crc32c="00000001")])
    assert proofs(ledger.staged("t1")) == [proof(1, crc32c="00000001")]
    assert proofs(ledger.earlier_proofs("t1")) == [proof(0)]


@behind_a_pooler_too
def test_earlier_proofs_may_be_renewed_while_they_are_read(ledger: Ledger) -> None:
    claimed(ledger)
    ledger.record_staged("t1", [proof(seq) for seq in range(3)])
    claim(ledger)
    seen = []
    for batch in ledger.earlier_proofs("t1", batch=1):
        seen += [staged.seq for _, staged in batch]
        ledger.record_staged("t1", [replace(staged, proof=Proof.ADOPTED) for _, staged in batch])
    assert seen == [0, 1, 2]
    assert pages(ledger, only_unstaged=True) == []


@behind_a_pooler_too
def test_proof_of_another_size_is_refused_with_its_whole_batch(ledger: Ledger) -> None:
    claimed(ledger)
    with pytest.raises(BackhaulError, match="E_LEDGER_ORDER"):
        ledger.record_staged("t1", [proof(0), proof(1, size_bytes=1)])
    with pytest.raises(BackhaulError, match="E_LEDGER_ORDER"):
        ledger.record_staged("t1", [proof(3)])
    assert list(ledger.staged("t1")) == []


def test_proof_needs_a_claim(ledger: Ledger) -> None:
    begin(ledger)
    with pytest.raises(BackhaulError, match="E_LEDGER_ORDER"):
        ledger.record_staged("t1", [proof(0)])


# ---------------------------------------------------------------- intent and end


def test_intent_records_the_last_proofs(ledger: Ledger) -> None:
    found = claimed(ledger)
    ledger.record_staged("t1", [proof(0), proof(1)])
    assert ledger.intend("t1", found.epoch, [proof(2)], T0)
    assert proofs(ledger.staged("t1")) == [proof(0), proof(1), proof(2)]
    assert ledger.intend("t1", found.epoch, [], T0)


@behind_a_pooler_too
def test_intent_of_an_older_epoch_is_refused_and_records_nothing(ledger: Ledger) -> None:
    found = claimed(ledger)
    claim(ledger)
    assert not ledger.intend("t1", found.epoch, [proof(0)], T0)
    assert list(ledger.staged("t1")) == []
    fail(ledger)
    assert not begin(ledger, key=MessageKey(queue="work", message_id="t1")).was_publishing


def test_intent_after_failure_is_refused(ledger: Ledger) -> None:
    found = claimed(ledger)
    fail(ledger)
    assert not ledger.intend("t1", found.epoch, [], T0)


@behind_a_pooler_too
def test_killed_owner_comes_back_and_neither_intends_nor_finishes(reopen: Reopen) -> None:
    zombie, me = reopen("killed"), reopen("me")
    found = claimed(zombie)
    assert zombie.intend("t1", found.epoch, [proof(seq) for seq in range(3)], T0)
    begin(me, "t2", None)
    assert claim(me, "t2") is not None
    assert not zombie.intend("t1", found.epoch, [], T0)
    assert not zombie.finish("t1", found.epoch, TransferState.DONE, "tree", T0)
    assert zombie.published([DAY.join("part-00000.parquet")]) == {}


def test_recorded_intent_is_remembered_through_crash_failure_and_claim(reopen: Reopen) -> None:
    key = MessageKey(queue="work", message_id="t1")
    killed, me = reopen("killed"), reopen("me")
    found = claimed(killed)
    assert killed.intend("t1", found.epoch, [proof(seq) for seq in range(3)], T0)
    again = begin(me, key=key)
    assert (again.was_publishing, again.attempt) == (True, 2)
    claim(me)
    assert proofs(me.earlier_proofs("t1")) == [proof(seq) for seq in range(3)]
    fail(me)
    third = begin(me, key=key)
    assert (third.was_publishing, third.attempt) == (True, 3)


def test_finish_makes_proofs_the_published_truth(ledger: Ledger) -> None:
    found = claimed(ledger)
    assert ledger.intend("t1", found.epoch, [proof(seq) for seq in range(3)], T0)
    assert ledger.finish("t1", found.epoch, TransferState.DONE, "tree", T0)
    paths = [DAY.join(planned(seq).relative) for seq in range(3)]
    known = ledger.published([*paths, DAY.join("other"), DAY])
    assert sorted(known) == paths
    one = known[paths[1]]
    assert (one.location, one.transfer_id, one.pin) == (paths[1], "t1", planned(1).pin)
    assert (one.content.hex, one.modified_ms) == ("0badcafe", proof(1).modified_ms)


def test_finish_records_where_the_completion_marker_is(ledger: Ledger) -> None:
    marker = DAY.join("_SUCCESS")
    for number in (1, 2):
        found = claimed(ledger, f"t{number}")
        assert ledger.marker_at(marker) == (None if number == 1 else "t1")
        assert ledger.intend(f"t{number}", found.epoch, [proof(seq) for seq in range(3)], T0)
        assert ledger.finish(
            f"t{number}", found.epoch, TransferState.DONE, "tree", T0, marker=marker
        )
    assert ledger.marker_at(marker) == "t2"
    assert ledger.marker_at(DAY) is None


def test_finish_of_a_single_object_publishes_below_the_directory(ledger: Ledger) -> None:
    begin(ledger)
    file = DAY.join("a.parquet")
    found = claim(
        ledger, "t1", file, directory=DAY, first=[planned(0, "a.parquet")], is_complete=True
    )
    assert found is not None
    assert ledger.intend("t1", found.epoch, [proof(0)], T0)
    assert ledger.finish("t1", found.epoch, TransferState.DONE, "per-file", T0)
    assert list(ledger.published([file])) == [file]


def test_paths_at_the_root_are_published_without_a_double_slash(ledger: Ledger) -> None:
    root = replace(LANDING, path="/")
    finished(ledger, "t1", planned(0, "a"), destination=root)
    assert list(ledger.published([root.join("a")])) == [root.join("a")]


def test_finish_leaves_unproven_objects_out(ledger: Ledger) -> None:
    claimed(ledger)
    ledger.record_staged("t1", [proof(0)])
    found = claim(ledger)
    assert found is not None
    assert ledger.intend("t1", found.epoch, [proof(1)], T0)
    assert ledger.finish("t1", found.epoch, TransferState.SUPERSEDED, "per-file", T0)
    paths = [DAY.join(planned(seq).relative) for seq in range(3)]
    assert list(ledger.published(paths)) == [paths[1]]


def test_finish_by_a_stranger_epoch_is_refused(ledger: Ledger) -> None:
    found = claimed(ledger)
    assert not ledger.finish("t1", found.epoch + 1, TransferState.DONE, "tree", T0)
    claim(ledger)
    assert not ledger.finish("t1", found.epoch, TransferState.DONE, "tree", T0)
    assert begin(ledger, key=MessageKey(queue="work", message_id="t1")).is_live


def test_what_was_published_is_not_done_without_its_intent(ledger: Ledger) -> None:
    """A failover of the database may lose it, and what was proven, and keep the claim."""
    found = claimed(ledger)
    done = TransferState.DONE
    assert not ledger.finish("t1", found.epoch, done, "tree", T0)
    assert ledger.is_mine("t1")
    assert ledger.intend("t1", found.epoch, [proof(0)], T0)
    assert ledger.finish("t1", found.epoch, done, "tree", T0)


def test_what_was_there_already_needs_no_intent(ledger: Ledger) -> None:
    found = claimed(ledger)
    assert ledger.finish("t1", found.epoch, TransferState.DONE, "adopted", T0, is_intended=False)


def test_finish_repeated_after_a_lost_answer_is_true(ledger: Ledger) -> None:
    found = claimed(ledger)
    assert ledger.intend("t1", found.epoch, [proof(0)], T0)
    assert ledger.finish("t1", found.epoch, TransferState.DONE, "tree", T0)
    assert ledger.finish("t1", found.epoch, TransferState.DONE, "tree", T0)
    assert not ledger.finish("t1", found.epoch, TransferState.SUPERSEDED, "tree", T0)


def test_published_is_replaced_by_newer_content(ledger: Ledger) -> None:
    path = DAY.join("a")
    finished(ledger, "t1", planned(0, "a"))
    finished(ledger, "t2", planned(0, "a", etag="new", last_modified=T0))
    assert ledger.published([path])[path].pin.etag == "new"
    assert ledger.published([path])[path].transfer_id == "t2"


def test_older_content_of_the_same_key_never_replaces_newer(ledger: Ledger) -> None:
    path = DAY.join("a")
    finished(ledger, "t1", planned(0, "a", last_modified=T0))
    finished(ledger, "t2", planned(0, "a", etag="old"), planned(1, "b"))
    assert ledger.published([path])[path].transfer_id == "t1"
    assert ledger.published([DAY.join("b")])[DAY.join("b")].transfer_id == "t2"


def test_older_content_of_another_key_replaces(ledger: Ledger) -> None:
    path = DAY.join("a")
    finished(ledger, "t1", planned(0, "a", last_modified=T0))
    finished(ledger, "t2", planned(0, "a", key="elsewhere/a"))
    assert ledger.published([path])[path].transfer_id == "t2"


NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before_ms", "after_ms", "stays"),
    [
        (800, 200, True),
        (200, 800, False),
        (800, 0, False),  # HEAD: some moment of that second
        (0, 800, False),
        (1_000, 800, True),
        (1_200, 0, True),
        (800, 1_000, False),
        (0, 0, False),
    ],
)
def test_within_one_second_only_two_fractions_are_compared(
    ledger: Ledger, before_ms: int, after_ms: int, *, stays: bool
) -> None:
    path = DAY.join("a")
    for transfer_id, ms in (("t1", before_ms), ("t2", after_ms)):
        at = NOON + timedelta(milliseconds=ms)
        finished(ledger, transfer_id, planned(0, "a", last_modified=at))
    assert ledger.published([path])[path].transfer_id == ("t1" if stays else "t2")


@behind_a_pooler_too
def test_published_answers_for_many_paths(ledger: Ledger) -> None:
    objects = [planned(seq) for seq in range(1203)]
    finished(ledger, "t1", *objects)
    paths = [DAY.join(one.relative) for one in objects]
    known = ledger.published(paths)
    assert sorted(known) == paths
    assert ledger.published([]) == {}


# ---------------------------------------------------------------- failure


def test_refunded_attempt_is_not_spent(ledger: Ledger) -> None:
    begin(ledger)
    ledger.fail("t1", TransferState.HELD, "E_S3_DOWN", "no answer", T0, refund=True)
    again = begin(ledger)
    assert (again.attempt, again.failures, again.code) == (1, 0, "E_S3_DOWN")


def held_row(ledger: Ledger, place: LedgerPlace) -> tuple[str | None, Hold | None]:
    """The code of `t1` and what it waits for, as the ledger has them."""
    if isinstance(ledger, MemoryLedger):
        kept = ledger._file.transfers["t1"]
        return kept.code, kept.hold
    reader = open_reader(place)
    row = reader.show("t1").transfer
    reader.close()
    if row.held_by is None or row.held_since is None:
        return row.code, None
    return row.code, Hold(dependency=row.held_by, since=row.held_since, retry_at=row.retry_at)


def test_hold_by_the_same_dependency_goes_on_since_its_beginning(
    ledger: Ledger, place: LedgerPlace
) -> None:
    first = Hold(dependency="hdfs", since=T0, retry_at=T0 + timedelta(seconds=9))
    second = replace(first, since=T0 + timedelta(60), retry_at=None)
    begin(ledger)
    ledger.note_wait("t1", first, "E_HDFS_UNREACHABLE", "no answer")
    assert held_row(ledger, place) == ("E_HDFS_UNREACHABLE", first)
    ledger.fail("t1", TransferState.HELD, "E_X", "y", T0, refund=True, hold=second)
    assert held_row(ledger, place) == ("E_X", replace(first, retry_at=None))
    begin(ledger)
    soon = replace(second, since=T0 + timedelta(seconds=60))
    ledger.fail("t1", TransferState.HELD, "E_X", "y", T0, refund=True, hold=soon)
    assert held_row(ledger, place) == ("E_X", replace(first, retry_at=None))
    begin(ledger)  # and copied for a long time
    ledger.fail("t1", TransferState.HELD, "E_X", "y", T0, refund=True, hold=second)
    assert held_row(ledger, place) == ("E_X", second)
    begin(ledger)
    ledger.fail("t1", TransferState.HELD, "E_Y", "y", T0, hold=replace(second, dependency="s3"))
    assert held_row(ledger, place) == ("E_Y", replace(second, dependency="s3"))


def test_hold_is_over_when_the_transfer_moves_or_fails(ledger: Ledger, place: LedgerPlace) -> None:
    hold = Hold(dependency="hdfs", since=T0)
    begin(ledger)
    ledger.note_wait("t1", hold, "E_X", "y")
    ledger.note_wait("t1", None, "", "")
    assert held_row(ledger, place) == (None, None)
    ledger.note_wait("t1", hold, "E_X", "y")
    fail(ledger)
    assert held_row(ledger, place)[1] is None
    ledger.note_wait("t1", hold, "E_X", "y")  # it belongs to no process any more
    assert held_row(ledger, place)[1] is None


@pytest.mark.parametrize("is_attempt_over", [True, False])
def test_no_reason_keeps_a_secret(ledger: Ledger, *, is_attempt_over: bool) -> None:
    begin(ledger)
    hold = Hold(dependency="s3", since=T0)
    reason = "S3 answered password=hunter2 https://u:hunter2@h"
    if is_attempt_over:
        ledger.fail("t1", TransferState.HELD, "E_X", reason, T0, refund=True, hold=hold)
    else:
        ledger.note_wait("t1", hold, "E_X", reason)
    assert begin(ledger).reason == "S3 answered password=*** https://***@h"


def test_failure_repeated_is_counted_once(ledger: Ledger) -> None:
    begin(ledger)
    fail(ledger)
    ledger.fail("t1", TransferState.HELD, "E_Y", "again", T0, refund=True)
    again = begin(ledger)
    assert (again.attempt, again.failures, again.code) == (2, 1, "E_X")


def test_final_states_are_never_left(ledger: Ledger) -> None:
    finished(ledger, "t1", planned(0))
    fail(ledger, "t1", TransferState.DEAD)
    with pytest.raises(TakenOver):
        claim(ledger, "t1")
    begin(ledger, "t2")
    fail(ledger, "t2", TransferState.DEAD)
    fail(ledger, "t2")
    assert begin(ledger, "t3").state is TransferState.DEAD


def test_failure_keeps_the_plan_and_its_pins(ledger: Ledger) -> None:
    claimed(ledger)
    fail(ledger)
    assert begin(ledger, key=MessageKey(queue="work", message_id="t1")).has_plan
    assert pages(ledger) == [0, 1, 2]


@behind_a_pooler_too
def test_everything_survives_reopening(reopen: Reopen) -> None:
    found = claimed(reopen("killed"))
    me = reopen("me")
    assert list(me.plan("t1")) == [[planned(seq) for seq in range(3)]]
    begin(me, key=MessageKey(queue="work", message_id="t1"))
    again = claim(me)
    assert again == Claimed(epoch=found.epoch + 1, staging_root=found.staging_root)


# ---------------------------------------------------------------- who was here before


PARENT_AND_CHILD = [(DAY, DAY.join("hour=2")), (DAY.join("hour=2"), DAY)]


@pytest.mark.parametrize(("theirs", "ours"), PARENT_AND_CHILD)
def test_claim_names_staging_of_a_dead_owner_above_or_below(
    reopen: Reopen, theirs: Location, ours: Location
) -> None:
    first = claimed(reopen("killed"), "t1", theirs)
    me = reopen("me")
    begin(me, "t2", None)
    found = claim(me, "t2", ours)
    assert found is not None
    left = AbandonedStaging(
        transfer_id="t1",
        staging_root=first.staging_root,
        epoch=first.epoch,
        route=JOB.route,
    )
    assert found.stale == (left,)


@behind_a_pooler_too
@pytest.mark.parametrize(("theirs", "ours"), PARENT_AND_CHILD)
def test_dead_owner_above_or_below_cannot_record_its_intent_any_more(
    reopen: Reopen, theirs: Location, ours: Location
) -> None:
    killed = reopen("killed")
    first = claimed(killed, "t1", theirs)
    me = reopen("me")
    begin(me, "t2", None)
    assert claim(me, "t2", ours) is not None
    assert not killed.intend("t1", first.epoch, [], T0)


def test_claim_of_a_neighbour_names_nothing_stale(ledger: Ledger) -> None:
    claimed(ledger, "t1", DAY)
    begin(ledger, "t2", None)
    found = claim(ledger, "t2", LANDING.join("day=02"))
    assert found is not None
    assert (found.stale, found.has_rivals) == ((), False)


@behind_a_pooler_too
def test_claim_lists_renames_that_were_not_recorded(reopen: Reopen) -> None:
    killed = reopen("killed")
    first = claimed(killed)
    assert killed.intend("t1", first.epoch, [proof(seq) for seq in range(3)], T0)
    me = reopen("me")
    begin(me, "t2", None)
    found = claim(me, "t2", DAY)
    assert found is not None
    assert found.has_rivals
    wanted = [DAY.join(planned(1).relative), DAY.join("other")]
    (rival,) = me.rivals("t2", wanted)
    assert (rival.location, rival.transfer_id, rival.content.hex) == (wanted[0], "t1", "0badcafe")
    assert rival.pin == planned(1).pin
    assert killed.rivals("t1", wanted) == []  # none is a rival of itself


def test_recorded_end_is_no_rival(ledger: Ledger) -> None:
    finished(ledger, "t1", planned(0))
    begin(ledger, "t2", None)
    found = claim(ledger, "t2")
    assert found is not None
    assert not found.has_rivals
    assert ledger.rivals("t2", [DAY.join(planned(0).relative)]) == []


def test_staging_is_abandoned_once_its_owner_is_gone_and_until_it_is_forgotten(
    reopen: Reopen,
) -> None:
    first = claimed(reopen("killed"))
    me = reopen("me")
    left = AbandonedStaging(
        transfer_id="t1",
        staging_root=first.staging_root,
        epoch=first.epoch,
        route=JOB.route,
    )
    assert me.abandoned_staging(T0 + 2 * SECOND, age=HOUR, most=9) == []
    assert me.abandoned_staging(T0 + 2 * SECOND, age=ANY_AGE, most=9) == [left]
    me.forget_staging([left])
    assert me.abandoned_staging(T0 + 2 * SECOND, age=ANY_AGE, most=9) == []


def test_one_clock_decides_how_old_staging_is(kind: str, reopen: Reopen) -> None:
    """On PostgreSQL the database's: those of two machines may be hours apart."""
    claimed(reopen("killed"))
    me, later = reopen("me"), T0 + 24 * HOUR
    assert len(me.abandoned_staging(later, age=ANY_AGE, most=9)) == 1
    assert bool(me.abandoned_staging(later, age=HOUR, most=9)) is (kind not in SERVERS)


def test_staging_of_a_live_owner_is_not_abandoned(reopen: Reopen) -> None:
    claimed(reopen("alive elsewhere"))
    assert reopen("me").abandoned_staging(T0 + 2 * SECOND, age=ANY_AGE, most=9) == []


def test_finished_transfer_is_looked_at_once_more(ledger: Ledger) -> None:
    finished(ledger, "t1", planned(0))
    (left,) = ledger.abandoned_staging(T0 + 2 * SECOND, age=ANY_AGE, most=9)
    assert left.transfer_id == "t1"


def test_root_that_was_claimed_again_is_not_forgotten(ledger: Ledger) -> None:
    claimed(ledger)
    fail(ledger)
    (left,) = ledger.abandoned_staging(T0 + 2 * SECOND, age=ANY_AGE, most=9)
    claimed(ledger, "t2")
    ledger.forget_staging([left])
    fail(ledger, "t2")
    (again,) = ledger.abandoned_staging(T0 + 2 * SECOND, age=ANY_AGE, most=9)
    assert again.epoch == left.epoch + 1


def test_attempt_is_mine_until_it_ends_or_another_process_takes_it(reopen: Reopen) -> None:
    killed = reopen("killed")
    begin(killed)
    assert killed.is_mine("t1")
    me = reopen("me")
    begin(me)
    assert (me.is_mine("t1"), killed.is_mine("t1")) == (True, False)
    fail(me)
    assert not me.is_mine("t1")


def test_the_holder_is_the_process_at_work(reopen: Reopen) -> None:
    killed = reopen("killed")
    begin(killed)
    first = killed.holder("t1")
    assert first.owner is not None
    assert not first.is_cancelled
    me = reopen("me")
    begin(me)
    assert me.holder("t1").owner not in {None, first.owner}
    me.fail("t1", TransferState.DEAD, "E_X", "it broke", T0)
    assert (killed.holder("t1").owner, killed.holder("t1").is_cancelled) == (None, False)


def test_process_that_lost_a_transfer_changes_nothing_of_it(reopen: Reopen) -> None:
    killed = reopen("killed")
    begin(killed)
    claim(killed, first=[planned(0)])
    me = reopen("me")
    begin(me)
    claim(me, first=[planned(0), planned(1)])
    too_late: list[Callable[[], object]] = [
        lambda: killed.forget_plan("t1"),
        lambda: killed.freeze("t1", [planned(2)], is_complete=True, markers=0),
        lambda: killed.record_staged("t1", [proof(0)]),
        lambda: killed.note_published("t1"),
        lambda: claim(killed),
    ]
    for call in too_late:
        with pytest.raises(TakenOver) as caught:
            call()
        assert caught.value.code == "E_TAKEN_OVER"
    assert pages(me) == [0, 1]
    assert pages(me, only_unstaged=True) == [0, 1]
    fail(me)
    assert begin(me).source_changes == 0


# ---------------------------------------------------------------- records, events, signatures


def test_records_of_one_message_are_transfers_of_their_own(ledger: Ledger) -> None:
    keys = [MessageKey(queue="work", message_id="m-1", part=part) for part in range(3)]
    made = [begin(ledger, f"t{number}", key).transfer_id for number, key in enumerate(keys)]
    assert made == ["t0", "t1", "t2"]
    fail(ledger, "t1")
    again = begin(ledger, "t9", keys[1])
    assert (again.transfer_id, again.attempt) == ("t1", 2)


def of_body(digest: str | None, part: int = 0) -> MessageKey:
    return replace(KEY, body_digest=digest, part=part)


def test_another_body_under_a_message_id_is_a_transfer_of_its_own(ledger: Ledger) -> None:
    def begun(digest: str | None, new_id: str) -> AttemptStart:
        return ledger.begin(of_body(digest), new_id, "s", "d", T0)

    assert not begun("a" * 64, "t1").was_changed
    changed = begun("b" * 64, "t2")
    assert (changed.transfer_id, changed.was_changed) == ("t2", True)
    ledger.fail("t2", TransferState.DEAD, "E_MSG_CHANGED", "x", T0, has_dead_letter=True)
    again = begun("b" * 64, "t3")
    assert (again.transfer_id, again.was_changed, again.has_dead_letter) == ("t2", True, True)
    for digest in ("a" * 64, None):
        same = begun(digest, "t4")
        assert (same.transfer_id, same.was_changed) == ("t1", False)


def test_a_letter_is_remembered_with_the_death(ledger: Ledger) -> None:
    for number, has_dead_letter in enumerate((False, True)):
        key = replace(KEY, message_id=f"m{number}")
        ledger.begin(key, f"t{number}", "s", "d", T0)
        ledger.fail(
            f"t{number}", TransferState.DEAD, "E_X", "x", T0, has_dead_letter=has_dead_letter
        )
        assert ledger.begin(key, "new", "s", "d", T0).has_dead_letter is has_dead_letter


def test_a_letter_sent_after_the_death_is_remembered(ledger: Ledger) -> None:
    ledger.begin(KEY, "t1", "s", "d", T0)
    ledger.note_dead_letter("t1")  # not dead: no change
    ledger.fail("t1", TransferState.WAITING, "E_X", "x", T0)
    assert not ledger.begin(KEY, "new", "s", "d", T0).has_dead_letter
    ledger.fail("t1", TransferState.DEAD, "E_X", "x", T0)
    assert not ledger.begin(KEY, "new", "s", "d", T0).has_dead_letter
    for _ in range(2):
        ledger.note_dead_letter("t1")
        again = ledger.begin(KEY, "new", "s", "d", T0)
        assert (again.state, again.code, again.has_dead_letter) == (TransferState.DEAD, "E_X", True)


def test_a_nonce_passes_on_from_a_dead_message_only(ledger: Ledger) -> None:
    until = T0 + 1000 * SECOND
    first, second, third = (replace(KEY, message_id=f"m{number}") for number in range(3))
    ledger.begin(first, "t1", "s", "d", T0)
    ledger.begin(replace(first, part=1), "t2", "s", "d", T0)
    assert ledger.claim_nonce("n", first, until, T0)
    assert not ledger.claim_nonce("n", second, until, T0, redriven_from="t1"), "it lives"
    ledger.fail("t2", TransferState.DEAD, "E_X", "x", T0)
    assert not ledger.claim_nonce("n", second, until, T0)
    assert not ledger.claim_nonce("n", second, until, T0, redriven_from="no such")
    assert ledger.claim_nonce("n", second, until, T0, redriven_from="t2")
    assert ledger.claim_nonce("n", second, until, T0, redriven_from="t2"), "a redelivery"
    assert not ledger.claim_nonce("n", third, until, T0, redriven_from="t2"), "only once"
    assert ledger.claim_nonce("n2", third, until, T0, redriven_from="t2"), "not known: new"


def event_job(sequencer: str | None, key: str = "click/day=01/a") -> Assignment:
    source = Source(bucket="raw", key=key)
    event = EventFacts(key=key, sequencer=sequencer)
    request = Request(source=source, destination=DAY, event=event)
    return replace(JOB, request=request, policy_digest="0123456789abcdef")


def published_event(
    ledger: Ledger,
    transfer_id: str,
    sequencer: str | None,
    state: TransferState = TransferState.DONE,
    destination: Location = DAY,
) -> None:
    begin(ledger, transfer_id, None)
    found = ledger.claim(
        transfer_id,
        event_job(sequencer),
        destination,
        LANDING,
        directory=destination,
        first=[planned(0)],
        is_complete=True,
        min_epoch=1,
        now=T0,
    )
    assert found is not None
    assert ledger.intend(transfer_id, found.epoch, [proof(0)], T0)
    assert ledger.finish(transfer_id, found.epoch, state, "file", T0)


def test_sequencer_published_last_is_remembered(ledger: Ledger) -> None:
    def newest() -> str | None:
        return ledger.published_sequencer(DAY, "raw", "click/day=01/a")

    assert newest() is None
    published_event(ledger, "t1", "05")
    assert newest() == "05"
    published_event(ledger, "t2", "07")
    assert newest() == "07"
    published_event(ledger, "t3", "06")
    assert newest() == "06", "S3 allowed it: the 07 was not the newest, whatever it claimed"
    published_event(ledger, "t4", None)
    published_event(ledger, "t5", "09", TransferState.SUPERSEDED)
    assert newest() == "06"


def test_sequencer_counts_for_its_object_and_destination_only(ledger: Ledger) -> None:
    published_event(ledger, "t1", "05")
    assert ledger.published_sequencer(DAY, "raw", "click/day=01/b") is None
    assert ledger.published_sequencer(DAY, "raw2", "click/day=01/a") is None
    assert ledger.published_sequencer(LANDING.join("x"), "raw", "click/day=01/a") is None


def test_sequencer_of_a_transfer_that_is_not_published_does_not_count(ledger: Ledger) -> None:
    begin(ledger, "t1", None)
    ledger.claim(
        "t1", event_job("05"), DAY, LANDING, directory=DAY, first=[planned(0)], min_epoch=1, now=T0
    )
    fail(ledger, "t1", TransferState.DEAD)
    assert ledger.published_sequencer(DAY, "raw", "click/day=01/a") is None


def test_nonce_belongs_to_the_first_message_that_had_it(ledger: Ledger) -> None:
    other = MessageKey(queue="work", message_id="m-2")
    elsewhere = MessageKey(queue="other", message_id="m-1")
    keep_until = T0 + 10 * SECOND
    assert ledger.claim_nonce("n", KEY, keep_until, T0)
    assert ledger.claim_nonce("n", KEY, keep_until, T0)
    assert not ledger.claim_nonce("n", other, keep_until, T0)
    assert not ledger.claim_nonce("n", elsewhere, keep_until, T0)
    assert ledger.claim_nonce("n2", other, keep_until, T0)


def test_nonce_is_forgotten_when_its_messages_can_no_longer_come(ledger: Ledger) -> None:
    other = MessageKey(queue="work", message_id="m-2")
    assert ledger.claim_nonce("n", KEY, T0 + 10 * SECOND, T0)
    assert not ledger.claim_nonce("n", other, T0 + 20 * SECOND, T0 + 10 * SECOND)
    assert ledger.claim_nonce("n", other, T0 + 20 * SECOND, T0 + 11 * SECOND)


# ---------------------------------------------------------------- roots further down


def test_further_roots_are_abandoned_with_the_claim_and_never_stale(reopen: Reopen) -> None:
    killed = reopen("killed")
    first = claimed(killed)
    made = DAY.join(f"hour=2/.backhaul/{DAY.digest}")
    killed.note_staging("t1", first.epoch, [made], T0)
    me = reopen("me")
    left = AbandonedStaging(transfer_id="t1", staging_root=made, epoch=first.epoch, route=JOB.route)
    assert left in me.abandoned_staging(T0 + 2 * SECOND, age=ANY_AGE, most=9)
    begin(me, "t2", None)
    again = claim(me, "t2")
    assert again is not None
    assert again.stale == ()
    assert me.abandoned_staging(T0 + 2 * SECOND, age=ANY_AGE, most=9) == [], (
        "its destination has a live owner"
    )


def test_further_roots_are_refused_after_a_takeover(reopen: Reopen) -> None:
    killed = reopen("killed")
    first = claimed(killed)
    begin(reopen("me"), key=MessageKey(queue="work", message_id="t1"))
    with pytest.raises(TakenOver):
        killed.note_staging("t1", first.epoch, [DAY.join("x/.backhaul/0")], T0)


def test_a_path_that_a_database_cannot_look_for_is_refused_before_anything_is_copied(
    ledger: Ledger, kind: str
) -> None:
    begin(ledger)
    deep = planned(0, "/".join(["d" * 250] * 9))
    if kind not in SERVERS:
        assert claim(ledger, first=[deep], is_complete=True)
        return
    with pytest.raises(PermanentError, match="E_LEDGER_KEY"):
        claim(ledger, first=[deep], is_complete=True)
    far = DAY.join("/".join(["d" * 250] * 9))
    with pytest.raises(PermanentError, match="E_LEDGER_KEY"):
        ledger.claim("t1", JOB, far, LANDING, directory=far, min_epoch=1, now=T0)


def test_a_request_of_any_length_is_recorded_as_dead(ledger: Ledger) -> None:
    long = "hdfs://ns1/" + "/".join(["\U0001f980" * 60] * 30)
    ledger.begin(KEY, "t1", long, long, T0)
    fail(ledger, "t1", TransferState.DEAD)
    assert ledger.begin(KEY, "t2", long, long, T0).state is TransferState.DEAD
