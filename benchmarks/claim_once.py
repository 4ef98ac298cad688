"""Transfers through the ledger alone, as an agent's threads do: a process of its own.

`python -m benchmarks.claim_once LEDGER TRANSFERS THREADS [KNOWN]` prints a JSON object. Every call
is one that a message of one small object makes: begin, claim, intend, finish. Transfers go to new
destinations and to those of the file KNOWN in turn, which has a URI in each line.

First all threads do their transfers without a pause. Then they claim at the same moment, again and
again, one claim each, and only these claims are timed: begun before it, ended after it.
"""

from __future__ import annotations

import inspect
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from backhaul.adapters.ledger import SqlLedger, agent_lock, open_ledger
from backhaul.adapters.system.clock import SystemRandomness
from backhaul.core.checksums import Checksum
from backhaul.core.model import Assignment, Location, Request, Source, TransferState
from backhaul.core.objects import ManifestSum, Pin, PlannedObject, Proof, StagedObject
from backhaul.core.ports import MessageKey

BYTES = 16 * 1024
QUEUE = "arn:aws:sqs:us-east-1:123456789012:landing"
_LANDING = Location(scheme="hdfs", authority="nameservice", path="/landing")


class Transfers:
    """Of one small object each, by one ledger, for several threads.

    Args:
        known: Destinations that it has.
    """

    def __init__(self, ledger: SqlLedger, known: Sequence[Location]) -> None:
        self._ledger = ledger
        self._chance = SystemRandomness()
        self._taking = threading.Lock()
        self._destinations = _destinations(known, self._chance.transfer_id())
        self._epochs: dict[str, int] = {}

    def begin(self) -> tuple[str, Location]:
        """The next one."""
        with self._taking:
            new_id, destination = self._chance.transfer_id(), next(self._destinations)
        key = MessageKey(queue=QUEUE, message_id=new_id)
        source = f"s3://acme-raw{destination.path}/part-00000.parquet"
        self._ledger.begin(key, new_id, source, destination.uri, datetime.now(UTC))
        return new_id, destination

    def claim(self, transfer: tuple[str, Location]) -> None:
        """Take its destination, with its plan."""
        name, destination = transfer
        claimed = self._ledger.claim(
            name,
            _assignment(destination),
            destination,
            _LANDING,
            directory=destination,
            first=[_planned(destination)],
            is_complete=True,
            min_epoch=1,
            now=datetime.now(UTC),
        )
        assert claimed is not None, f"{destination} is owned"
        self._epochs[name] = claimed.epoch

    def end(self, transfer: tuple[str, Location]) -> None:
        """Record its proof, that it is published, and its end."""
        name, _ = transfer
        epoch = self._epochs.pop(name)
        assert self._ledger.intend(name, epoch, [_PROOF], datetime.now(UTC))
        assert self._ledger.finish(
            name, epoch, TransferState.DONE, "per-file", datetime.now(UTC), manifest=_MANIFEST
        )

    def whole(self, _: object) -> None:
        """One from its begin to its end."""
        transfer = self.begin()
        self.claim(transfer)
        self.end(transfer)


_PROOF = StagedObject(
    seq=0,
    size_bytes=BYTES,
    content=Checksum("CRC32C", "0badcafe"),
    proof=Proof.STREAM,
    algorithm="CRC32C",
    checksum="C63K/g==",
    bytes_read=BYTES,
)
_MANIFEST = ManifestSum(
    manifest="0" * 64, objects=1, size_bytes=BYTES, bytes_read=BYTES, copied_bytes=BYTES
)


def _destinations(known: Sequence[Location], run: str) -> Iterator[Location]:
    """A new one and a known one in turn, then new ones; none twice."""
    new = (_LANDING.join(f"{run}/{number:07}") for number in count())
    mixed = random.sample(known, len(known))
    return chain(chain.from_iterable(zip(new, mixed, strict=False)), new)


def _assignment(destination: Location) -> Assignment:
    source = Source(bucket="acme-raw", key=destination.path.removeprefix("/landing/") + "/")
    request = Request(source=source, destination=destination)
    return Assignment(request=request, route="feed", anchor=_LANDING)


def _planned(destination: Location) -> PlannedObject:
    name = "part-00000.parquet"
    pin = Pin(
        bucket="acme-raw",
        key=f"{destination.path}/{name}",
        size_bytes=BYTES,
        etag="0123456789abcdef0123456789abcdef",
        last_modified=datetime.now(UTC),
    )
    return PlannedObject(seq=0, pin=pin, relative=name)


@contextmanager
def _opened(place: str) -> Iterator[SqlLedger]:
    """As the agent opens it, by this Backhaul or by an earlier one that knew files alone."""
    where: Any = Path(place)
    if place.startswith("postgresql://"):
        from backhaul.core.ports.ledger_place import PostgresUrl  # noqa: PLC0415 - newer

        where = PostgresUrl(place)
    with agent_lock(where) as member:
        more: dict[str, Any] = (
            {"member": member} if "member" in inspect.signature(open_ledger).parameters else {}
        )
        ledger = open_ledger(where, create=True, **more)
        try:
            yield ledger
        finally:
            ledger.close()


def main(place: str, transfers: int, threads: int, known: Path | None) -> None:
    """Measure, and print what it took."""
    lines = known.read_text("utf-8").splitlines() if known else []
    paths = [
        Location(scheme="hdfs", authority="nameservice", path=urlsplit(line).path) for line in lines
    ]
    with _opened(place) as ledger, ThreadPoolExecutor(threads) as pool:
        work = Transfers(ledger, paths)
        _timed(pool, work.whole, range(threads * 4))  # statements are compiled, pages read
        cpu_s = time.process_time()
        whole_s = _timed(pool, work.whole, range(transfers))
        cpu_s = time.process_time() - cpu_s
        claims_s = 0.0
        turns = max(1, transfers // threads)
        for _ in range(turns):
            begun = [work.begin() for _ in range(threads)]
            claims_s += _timed(pool, work.claim, begun)
            _timed(pool, work.end, begun)
    found = {
        "transfers_per_s": transfers / whole_s,
        "cpu_ms": 1000 * cpu_s / transfers,
        "claims_per_s": turns * threads / claims_s,
    }
    print(json.dumps(found))


def _timed(pool: ThreadPoolExecutor, call: Callable[[Any], None], on: Iterable[Any]) -> float:
    """Seconds until the last of these calls has returned."""
    began_s = time.perf_counter()
    for _ in pool.map(call, on):
        pass
    return time.perf_counter() - began_s


if __name__ == "__main__":
    main(
        sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]) if sys.argv[4:] else None
    )
