"""What `core.ports.Ledger` promises about submissions to YARN."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backhaul.adapters.ledger import Owner, open_ledger, open_reader
from backhaul.core.model import (
    Assignment,
    EngineName,
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
from backhaul.core.ports import Claimed, ClusterJob, Ledger, MessageKey
from backhaul.core.ports.cluster import Application, AppState, JobCounters, JobProgress
from backhaul.core.ports.ledger_place import LedgerPlace
from tests.ledger_places import EVERY_LEDGER, ledger_place

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LANDING = Location(scheme="hdfs", authority="ns1", path="/landing")
DAY = LANDING.join("day=01")
RUNNING = Application(id="application_1_0001", state=AppState.RUNNING, tracking_url="http://rm/1")
ME = Owner.current("edge1")


@pytest.fixture(params=[one for one in EVERY_LEDGER if one != "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> LedgerPlace:
    return ledger_place(request.param, request, tmp_path)


@pytest.fixture
def ledger(path: LedgerPlace) -> Iterator[Ledger]:
    opened = open_ledger(path, create=True, owner=ME)
    yield opened
    opened.close()


def claim(
    ledger: Ledger,
    transfer_id: str,
    destination: Location = DAY,
    anchor: Location = LANDING,
) -> Claimed | None:
    key = MessageKey(queue="work", message_id=transfer_id)
    ledger.begin(key, transfer_id, "raw/p/", destination.path, NOW)
    job = Assignment(
        request=Request(source=Source(bucket="raw", key="p/"), destination=destination),
        route="r",
        anchor=LANDING,
        on_exists=OnExists.REPLACE,
        publish=PublishMode.AUTO,
        engine=EngineName.DISTCP,
        verify=VerifyLevel.STORED,
        name_map=NameMap.STRICT,
        limits=Limits(),
    )
    return ledger.claim(
        transfer_id, job, destination, anchor, directory=destination, min_epoch=1, now=NOW
    )


def opened(ledger: Ledger, transfer_id: str = "t1", destination: Location = DAY) -> int:
    claimed = claim(ledger, transfer_id, destination)
    assert claimed is not None
    assert ledger.open_job(transfer_id, claimed.epoch, f"tag-{claimed.epoch}", NOW)
    return claimed.epoch


def test_an_epoch_submits_once(ledger: Ledger) -> None:
    epoch = opened(ledger)
    assert not ledger.open_job("t1", epoch, "again", NOW)
    ledger.close_job("t1", epoch, "failed", "why", NOW)
    assert not ledger.open_job("t1", epoch, "again", NOW)


def test_nothing_is_submitted_for_a_destination_of_another_transfer(ledger: Ledger) -> None:
    epoch = opened(ledger)
    assert not ledger.open_job("t1", epoch + 1, "tag", NOW)
    assert not ledger.open_job("t2", epoch, "tag", NOW)


def test_the_next_claim_lists_the_open_job(ledger: Ledger) -> None:
    epoch = opened(ledger)
    assert ledger.note_job("t1", epoch, epoch, RUNNING, None, NOW)
    ledger.fail("t1", TransferState.WAITING, "E_X", "x", NOW)
    again = claim(ledger, "t1")
    assert again is not None
    assert again.jobs == (
        ClusterJob(transfer_id="t1", epoch=epoch, application_id="application_1_0001"),
    )
    assert ledger.jobs("t1") == list(again.jobs)


def test_staging_stays_where_an_application_fills_it(ledger: Ledger) -> None:
    epoch = opened(ledger)
    ledger.fail("t1", TransferState.WAITING, "E_X", "x", NOW)
    again = claim(ledger, "t1", anchor=DAY)
    assert again is not None
    assert again.staging_root == LANDING.join(f".backhaul/{DAY.digest}")
    ledger.close_job("t1", epoch, "killed", "why", NOW)
    moved = claim(ledger, "t1", anchor=DAY)
    assert moved is not None
    assert moved.staging_root == DAY.join(f".backhaul/{DAY.digest}")
    assert [left.staging_root for left in moved.stale] == [again.staging_root]


def test_of_another_transfer_s_application_staging_is_stale(ledger: Ledger) -> None:
    opened(ledger)
    ledger.fail("t1", TransferState.WAITING, "E_X", "x", NOW)
    other = claim(ledger, "t2", anchor=DAY)
    assert other is not None
    assert other.staging_root == DAY.join(f".backhaul/{DAY.digest}")
    assert [left.transfer_id for left in other.stale] == ["t1"]


@pytest.mark.parametrize("place", [DAY, DAY.join("h=1"), LANDING])
def test_a_claim_at_above_or_below_lists_the_others_job(ledger: Ledger, place: Location) -> None:
    epoch = opened(ledger)
    ledger.fail("t1", TransferState.WAITING, "E_X", "x", NOW)
    other = claim(ledger, "t2", place)
    assert other is not None
    assert [(job.transfer_id, job.epoch) for job in other.jobs] == [("t1", epoch)]
    assert ledger.jobs("t2") == []


def test_a_claim_beside_does_not(ledger: Ledger) -> None:
    opened(ledger)
    other = claim(ledger, "t2", LANDING.join("day=02"))
    assert other is not None
    assert other.jobs == ()


def test_progress_is_refused_once_the_destination_is_lost(ledger: Ledger) -> None:
    epoch = opened(ledger)
    progress = JobProgress(maps_done=1, maps=4, size_bytes=10)
    assert ledger.note_job("t1", epoch, epoch, RUNNING, progress, NOW)
    ledger.fail("t1", TransferState.WAITING, "E_X", "x", NOW)
    assert claim(ledger, "t2") is not None
    assert not ledger.note_job("t1", epoch, epoch, RUNNING, progress, NOW)


def test_the_end_of_a_transfer_closes_its_jobs(ledger: Ledger, path: LedgerPlace) -> None:
    epoch = opened(ledger)
    progress = JobProgress(maps_done=1, maps=4, size_bytes=10)
    ledger.note_job("t1", epoch, epoch, RUNNING, progress, NOW)
    counters = JobCounters(copied=3, skipped=0, failed=0, size_bytes=10)
    last = JobProgress(maps_done=4, maps=4, size_bytes=10, counters=counters)
    ledger.note_job("t1", epoch, epoch, RUNNING, last, NOW)
    ledger.note_engine("t1", "distcp", "large")
    assert ledger.intend("t1", epoch, [], NOW)
    assert ledger.finish("t1", epoch, TransferState.DONE, "tree", NOW)
    assert ledger.jobs("t1") == []
    reader = open_reader(path)
    details = reader.show("t1")
    reader.close()
    (job,) = details.jobs
    assert (job.state, job.maps_done, job.maps, job.tracking_url) == (
        "succeeded",
        4,
        4,
        "http://rm/1",
    )
    assert job.counters == "COPY 3, SKIP 0, FAIL 0, BYTESCOPIED 10"
    assert (details.transfer.engine, details.transfer.engine_reason) == ("distcp", "large")


def test_jobs_of_a_killed_process_are_still_open(ledger: Ledger, path: LedgerPlace) -> None:
    epoch = opened(ledger)
    other = open_ledger(path, create=False, owner=replace(ME, start=ME.start + 1))
    assert [job.epoch for job in other.jobs("t1")] == [epoch]
    other.close()


def test_staging_that_an_application_may_fill_is_not_abandoned(ledger: Ledger) -> None:
    epoch = opened(ledger)
    ledger.fail("t1", TransferState.WAITING, "E_X", "x", NOW)
    later = NOW + timedelta(days=1)
    assert ledger.abandoned_staging(later, age=timedelta(0), most=10) == []
    ledger.close_job("t1", epoch, "killed", "why", NOW)
    assert [left.epoch for left in ledger.abandoned_staging(later, age=timedelta(0), most=10)] == [
        epoch
    ]
