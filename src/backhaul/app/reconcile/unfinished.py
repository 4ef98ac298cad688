"""Transfers of a route that are open or died, as the comparison needs them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from backhaul.adapters.ledger import LedgerReader, UnfinishedTransfer
from backhaul.adapters.ledger.reconciling.results import SentObject
from backhaul.core.errors import BackhaulError
from backhaul.core.file_systems import DefaultFs
from backhaul.core.model import Location, Source, TransferState
from backhaul.core.reconciliation.covers import Covers
from backhaul.core.reconciliation.places import Brought
from backhaul.core.reconciliation.values import Cover
from backhaul.core.requests.paths import parse_destination, parse_source

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Unfinished:
    """The open and dead transfers of a route; `fresh` reads again what can have changed.

    Safe to use from several threads.
    """

    def __init__(
        self,
        reader: LedgerReader | None,
        route: str,
        default_fs: DefaultFs,
        now: Callable[[], datetime],
    ) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._reader = reader
        self._route = route
        self._default_fs = default_fs
        self._dead: dict[str, UnfinishedTransfer] = {}
        self._newest: datetime | None = None

    def fresh(self) -> Covers:
        """As the ledger has them now."""
        if self._reader is None:
            return Covers(())
        with self._lock:
            return self._fresh(self._reader)

    def _fresh(self, reader: LedgerReader) -> Covers:
        # In this order: a message that is received in between is an open transfer.
        sent = reader.sent_of(self._route, self._now())
        still_open = reader.open_of(self._route)
        dead = reader.dead_of(self._route, self._newest)
        self._dead.update((one.id, one) for one in dead)
        ends = [one.finished_at for one in dead if one.finished_at is not None]
        self._newest = max(ends, default=self._newest)
        every = [*still_open, *self._dead.values()]
        return Covers([*_covers(every, self._default_fs), *map(_sent, sent)])


def _sent(one: SentObject) -> Cover:
    by = f"message {one.message_id}" if one.message_id else "a message"
    return Cover(
        transfer_id="",
        bucket=one.bucket,
        key=one.key,
        directory=Location.from_uri(one.uri).parent.path,
        state=TransferState.RECEIVED,
        note=f"reconcile sent {by} at {one.sent_at:%Y-%m-%d %H:%M:%S} UTC",
    )


def _covers(every: Iterable[UnfinishedTransfer], default_fs: DefaultFs) -> Iterator[Cover]:
    for one in every:
        try:
            source = parse_source(one.source)
            directory = _directory(one, default_fs)
        except BackhaulError:
            continue  # dead for its form: it names no object or no place
        yield Cover(
            transfer_id=one.id,
            bucket=source.bucket,
            key=source.key,
            directory=directory,
            state=one.state,
            code=one.code or "",
            ended_us=None if one.finished_at is None else since_epoch_us(one.finished_at),
        )


def _directory(one: UnfinishedTransfer, default_fs: DefaultFs) -> str:
    if one.directory is not None:
        return Location.from_uri(one.directory).path
    return parse_destination(one.destination, default_fs=default_fs).path


@dataclass(frozen=True)
class BroughtPrefixes:
    """What transfers of a route brought where, by prefix; the ledger is read each time."""

    reader: LedgerReader | None
    route: str

    def __iter__(self) -> Iterator[Brought]:
        reader = self.reader
        for text, directory in reader.brought_by(self.route) if reader is not None else ():
            try:
                source = parse_source(text)
            except BackhaulError:
                continue  # an edited row: it cannot have been carried out
            if source.key and not source.key.endswith("/"):
                source = Source(bucket=source.bucket, key=f"{source.key}/")
            yield Brought(source=source, directory=Location.from_uri(directory))


def since_epoch_us(moment: datetime) -> int:
    """Whole microseconds since 1970 UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(since_us: int) -> datetime:
    """The reverse of `since_epoch_us`."""
    return _EPOCH + since_us * _MICROSECOND
