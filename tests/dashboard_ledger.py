"""A ledger with something of everything that the dashboard shows, hostile names among it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from backhaul.adapters.ledger import Owner, SqlLedger, open_ledger
from backhaul.core.agent_report import (
    AgentIdentity,
    AgentReport,
    DependencyHold,
    QueueDepth,
    RunningTransfer,
)
from backhaul.core.checksums import Checksum
from backhaul.core.model import (
    Assignment,
    EngineName,
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
from backhaul.core.objects import Pin, PlannedObject, Proof, StagedObject
from backhaul.core.outlook.expectation import (
    Arrived,
    ExpectationRecord,
    ExpectationState,
    Wanted,
)
from backhaul.core.ports import Act, MessageKey, MessageOrigin, Operator, OperatorEntry, PausedRoute
from backhaul.core.transfer.evidence import Manifest
from backhaul.core.transfer_ids import time_part

QUEUE = "arn:aws:sqs:us-west-2:123456789012:work"
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
LANDING = Location(scheme="hdfs", authority="nn1:8020", path="/landing")
# What a key may hold, and what must never reach a page as it is.
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;{{7*7}}"
BIDI = "abc\u202egpj.exe\u2066x\u200b"
LINES = "two\nlines\rand\x1b[31mred"
LONG = "d/" + "x" * 1000 + "/tail-of-a-long-key.parquet"
DEEP = "a-long-name-of-a-directory/" * 6
HOSTILE = {"script": SCRIPT, "bidi": BIDI, "lines": LINES, "long": LONG}
CANARY = "AKIAIOSFODNN7EXAMPLE"
SECRETS = {
    f"s3://user:c4n4ryP4ssword@raw/{CANARY}": "c4n4ryP4ssword",
    "raw/x?X-Amz-Signature=c4n4rySignature&X-Amz-Security-Token=c4n4ryToken": "c4n4ry",
}


@dataclass(kw_only=True)
class Filler:
    """Fills a ledger, backwards from `now`.

    Attributes:
        ids: Of the transfers, by a name that a test can use.
    """

    ledger: SqlLedger
    now: datetime
    ids: dict[str, str]

    def transfer(
        self,
        name: str,
        ago: timedelta,
        *,
        route: str = "click",
        source: str = "",
        place: str = "",
        objects: int = 3,
        is_copy: bool = False,
    ) -> str:
        """One that is being staged, with proofs of all objects but the last."""
        at = self.now - ago
        number = len(self.ids)
        transfer_id = f"{time_part(at)}{number:07}"
        self.ids[name] = transfer_id
        key = MessageKey(
            queue="copy" if is_copy else QUEUE,
            message_id=transfer_id if is_copy else f"{number:08x}-1111-4222-8333-444455556666",
            body_digest=f"{number:064x}",
        )
        origin = MessageOrigin(
            sender="AROAEXAMPLEID:emr-step",
            sent_at=at - 5 * SECOND,
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            aws_trace_header="Root=1-5759e988-bd862e3fe1be46a994272793",
        )
        where = source or f"raw/{route}/day={name}/"
        place = place or f"{route}/day={name}"
        self.ledger.begin(key, transfer_id, where, f"/landing/{place}", at, origin=origin)
        destination = LANDING.join(place)
        job = Assignment(
            request=Request(source=Source(bucket="raw", key=where[4:]), destination=destination),
            route=route,
            anchor=LANDING,
            on_exists=OnExists.REPLACE,
            publish=PublishMode.AUTO,
            engine=EngineName.AUTO,
            verify=VerifyLevel.STREAM,
            name_map=NameMap.STRICT,
            limits=Limits(),
        )
        claimed = self.ledger.claim(
            transfer_id,
            job,
            destination,
            LANDING,
            directory=destination,
            first=[_planned(seq, route, name, at) for seq in range(objects)],
            is_complete=True,
            markers=0,
            min_epoch=1,
            now=at + SECOND,
        )
        assert claimed is not None
        self.epoch = claimed.epoch
        self.ledger.record_staged(transfer_id, [_proof(seq, at) for seq in range(objects - 1)])
        return transfer_id

    def done(self, name: str, ago: timedelta, **about: object) -> str:
        transfer_id = self.transfer(name, ago, **about)  # type: ignore[arg-type]
        last = int(str(about.get("objects", 3))) - 1
        at = self.now - ago + MINUTE
        self.ledger.intend(transfer_id, self.epoch, [_proof(last, at)], at)
        manifest = Manifest().sum
        state = TransferState.DONE
        self.ledger.finish(transfer_id, self.epoch, state, "tree", at, manifest=manifest)
        return transfer_id

    def dead(self, name: str, ago: timedelta, code: str, reason: str, **about: object) -> str:
        transfer_id = self.transfer(name, ago, **about)  # type: ignore[arg-type]
        at = self.now - ago + MINUTE
        self.ledger.fail(transfer_id, TransferState.DEAD, code, reason, at)
        self.ledger.note_dead_letter(transfer_id)
        return transfer_id


def _planned(seq: int, route: str, name: str, at: datetime) -> PlannedObject:
    relative = f"part-{seq:05}.parquet"
    pin = Pin(
        bucket="raw",
        key=f"{route}/day={name}/{relative}",
        size_bytes=1_048_576 * (seq + 1),
        etag=f'"{seq:032x}"',
        last_modified=at - HOUR,
        version_id="3HL4kqtJlcpXroDTDmJ",
    )
    return PlannedObject(seq=seq, pin=pin, relative=relative)


def _proof(seq: int, at: datetime) -> StagedObject:
    return StagedObject(
        seq=seq,
        size_bytes=1_048_576 * (seq + 1),
        content=Checksum("CRC32C", "0badcafe"),
        proof=Proof.DIRECT,
        algorithm="CRC32C",
        checksum="C63K/g==",
        checksum_type="FULL_OBJECT",
        version_id="3HL4kqtJlcpXroDTDmJ",
        modified_ms=1_700_000_000_000,
        target_checksum=Checksum("COMPOSITE-CRC32C", "0badcafe"),
        checksum_source="datanode",
        proven_at=at,
    )


def identity(now: datetime, host: str = "edge1", **other: object) -> AgentIdentity:
    """Of an agent on another host, whose process nobody here can look for."""
    facts: dict[str, object] = {
        "id": f"{abs(hash(host)) % 16**8:032x}",
        "host": host,
        "owner": f"{host}:0b00:1:1",
        "version": "0.1.0",
        "queue": "work",
        "region": "us-west-2",
        "slots": 4,
        "started_at": now - 26 * HOUR,
    }
    return AgentIdentity(**facts | other)  # type: ignore[arg-type]


def report(now: datetime, **other: object) -> AgentReport:
    """Of an agent that is well and has nothing to do."""
    facts: dict[str, object] = {
        "at": now,
        "last_poll_at": now - 2 * SECOND,
        "depth": QueueDepth(
            visible=1234, in_flight=3, delayed=0, retention_s=345_600, at=now - 10 * SECOND
        ),
        "oldest_sent_at": now - 3 * HOUR,
    }
    return AgentReport(**facts | other)  # type: ignore[arg-type]


def fill(ledger: SqlLedger, now: datetime) -> Filler:
    """Something of everything; its agent is alive at `now`."""
    filler = Filler(ledger=ledger, now=now, ids={})
    for number in range(24):
        filler.done(f"{number:02}", (24 - number) * HOUR + 5 * MINUTE, objects=2 + number % 3)
    for number in range(11):
        ago = (58 - 5 * number) * MINUTE
        filler.done(f"h{number}", ago, route="events" if number % 2 else "click", objects=8)
    filler.done("copied", 3 * HOUR, is_copy=True)
    filler.dead("empty", 2 * HOUR, "E_SRC_EMPTY", "no object below s3://raw/click/day=empty/")
    filler.dead("denied", HOUR, "E_SRC_DENIED", "s3:GetObject on raw is refused", route="events")
    filler.dead("empty2", 30 * MINUTE, "E_SRC_EMPTY", "no object below s3://raw/click/day=x/")
    for name, text in HOSTILE.items():
        filler.dead(
            f"hostile-{name}",
            20 * MINUTE,
            "E_KEY_CONTROL",
            f"{text}: has a control character",
            route="events",
            source=f"raw/{text}",
            place=f"events/{name}",
        )
    for number, source in enumerate(SECRETS):
        filler.dead(
            f"secret-{number}",
            15 * MINUTE,
            "E_SRC_URI",
            f"credentials in {source}",
            source=source,
            place=f"events/secret-{number}",
        )
    held = filler.transfer("held", 14 * MINUTE, route="events")
    hold = Hold(dependency="hdfs", since=now - 12 * MINUTE)
    reason = "nn1:8020 does not answer: connection refused"
    ledger.fail(
        held, TransferState.HELD, "E_HDFS_UNREACHABLE", reason, now - 12 * MINUTE, hold=hold
    )
    waiting = filler.transfer("waiting", 10 * MINUTE)
    ledger.fail(waiting, TransferState.WAITING, "E_CHECKSUM", "part-00001: bytes differ", now)
    running = [
        RunningTransfer(
            transfer_id=filler.transfer("running", 6 * MINUTE, objects=40),
            message_id="11111111-1111-4222-8333-444455556666",
            route="click",
            source="s3://raw/click/day=running/",
            destination="hdfs://nn1:8020/landing/click/day=running",
            attempt=2,
            started_at=now - 6 * MINUTE,
            phase="copying",
            engine="native",
            engine_reason="820.0 MiB in 40 objects: below distcp.auto_min_bytes",
            objects=30,
            objects_total=40,
            size_bytes=530_000_000,
            size_bytes_total=859_832_320,
            is_planned=True,
            bytes_per_s=41_000_000.0,
        ),
        RunningTransfer(
            transfer_id=filler.transfer("cluster", 50 * MINUTE, route="models"),
            message_id=None,
            route="models",
            source="s3://raw/models/"
            + "a-long-name-of-a-directory/" * 6
            + "weights-00001-of-00099.bin",
            destination="hdfs://nn1:8020/landing/models/" + "a-long-name-of-a-directory/" * 6,
            attempt=1,
            started_at=now - 50 * MINUTE,
            phase="cluster",
            engine="distcp",
            engine_reason="3.1 TiB in 99 objects: over distcp.auto_min_bytes",
            objects=12,
            objects_total=99,
            size_bytes=420_000_000_000,
            size_bytes_total=3_400_000_000_000,
            is_planned=True,
            bytes_per_s=310_000_000.0,
            application="application_1764547200000_0042",
            tracking_url="http://rm1:8088/proxy/application_1764547200000_0042/",
        ),
    ]
    while ledger.sum_activity(most=1000):
        pass
    ledger.beat(identity(now), report(now, running=tuple(running), bytes_per_s=351_000_000.0))
    for name, state in (("daily", ExpectationState.MISSED), ("weekly", ExpectationState.MET)):
        due = ExpectationRecord(
            route="click",
            name=name,
            deadline=now + 3 * HOUR,
            due=f"{now + 3 * HOUR:%Y-%m-%d %H:%M} UTC",
            place="hdfs://nn1:8020/landing/click/" + "a-long-name-of-a-directory/" * 6,
            state=ExpectationState.DUE,
            wanted=Wanted(objects=24, size_bytes=5 << 30),
            found=Arrived(objects=3),
        )
        last = now - 21 * HOUR
        words = f"{last:%Y-%m-%d %H:%M} UTC"
        ledger.note_expectation(due)
        ledger.note_expectation(replace(due, deadline=last, due=words, state=state))
    ledger.pause_route(
        PausedRoute(
            route="models",
            since=now - HOUR,
            until=now + HOUR,
            operator="ann@edge1",
            reason="maintenance of nn1",
        ),
        Operator(name="ann@edge1"),
    )
    for number, act in enumerate((Act.CANCEL, Act.LIMIT)):
        ledger.note_act(
            OperatorEntry(
                at=now - (number + 1) * HOUR,
                by=Operator(name="ben@edge1"),
                act=act,
                subject=filler.ids["denied"] if act is Act.CANCEL else "50.000 MB/s",
                transfers=1,
                size_bytes=6_291_456,
            )
        )
    return filler


def held_report(now: datetime) -> AgentReport:
    """Of an agent that waits for HDFS."""
    hold = DependencyHold(
        dependency="hdfs",
        since=now - 12 * MINUTE,
        code="E_HDFS_UNREACHABLE",
        reason="nn1:8020 does not answer",
        hint="is the NameNode up? hdfs dfsadmin -report",
        transfers=1,
    )
    return report(now, holds=(hold,))


def filled(path: Path, now: datetime) -> Filler:
    """A new ledger at this path, filled and closed."""
    owner = replace(Owner.current("edge1"), start=1)  # of a process that is gone
    with closing(open_ledger(path, create=True, owner=owner)) as ledger:
        return fill(ledger, now)


def hostile_texts() -> Iterator[str]:
    """Each must be on no page as it is."""
    yield from ("<script>alert", "<img src=x", "\u202e", "\u2066", "\u200b", "\x1b", "\r")
