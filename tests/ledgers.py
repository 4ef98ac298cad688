"""Ledgers whose evidence is as the agent seals it, for tests of what keeps them in order."""

from __future__ import annotations

from datetime import datetime, timedelta

from backhaul.adapters.ledger import SqlLedger
from backhaul.core.model import Location, TransferState
from backhaul.core.ports import MessageKey
from backhaul.core.transfer.evidence import Manifest, object_line
from tests.contract.test_ledger import JOB, LANDING, planned, proof

QUEUE = "arn:aws:sqs:us-west-2:123456789012:work"
MINUTE = timedelta(minutes=1)


def bring(
    ledger: SqlLedger,
    transfer_id: str,
    at: datetime,
    *,
    place: str | None = None,
    keys: str | None = None,
    objects: int = 3,
    state: TransferState = TransferState.DONE,
) -> Location:
    """A whole transfer, sealed; returns its directory.

    Args:
        keys: What the keys of its objects begin with; its id.
    """
    directory = LANDING.join(place or transfer_id)
    key = MessageKey(queue=QUEUE, message_id=transfer_id)
    ledger.begin(key, transfer_id, f"s3://raw/{transfer_id}/", directory.path, at, route="click")
    plan = [
        planned(seq, key=f"{keys or transfer_id}/part-{seq:05}", last_modified=at)
        for seq in range(objects)
    ]
    claimed = ledger.claim(
        transfer_id,
        JOB,
        directory,
        LANDING,
        directory=directory,
        first=plan,
        is_complete=True,
        markers=0,
        min_epoch=1,
        now=at,
    )
    assert claimed is not None
    staged = [proof(seq, f"{seq:08x}") for seq in range(objects)]
    manifest = Manifest()
    for one, its in zip(plan, staged, strict=True):
        manifest.add(object_line(transfer_id, one, its, directory.join(one.relative)))
    assert ledger.intend(transfer_id, claimed.epoch, staged, at)
    ended = ledger.finish(
        transfer_id, claimed.epoch, state, "tree", at + MINUTE, manifest=manifest.sum
    )
    assert ended
    return directory


def bring_dead(ledger: SqlLedger, transfer_id: str, at: datetime) -> None:
    """One that died before it claimed anything."""
    key = MessageKey(queue=QUEUE, message_id=transfer_id)
    ledger.begin(key, transfer_id, f"s3://raw/{transfer_id}/", f"/landing/{transfer_id}", at)
    ledger.fail(transfer_id, TransferState.DEAD, "E_SRC_EMPTY", "nothing is there", at + MINUTE)
