"""`--adopt`: what is on the target with the right length is proven by checksums, and recorded.

First the checksums are compared: S3's, by HEAD, and the target's own. What they prove is then
adopted by a transfer like any other, which may not copy: it claims its destination, compares again
while it owns it, and records the proofs (`core.transfer.reuse`). So there is no second way by which
the ledger learns of a file. The objects of one directory share a transfer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby

from backhaul.app.actions import Warn, noted_act, person
from backhaul.app.context import Context
from backhaul.app.copy import run_transfer
from backhaul.app.reconcile.unfinished import moment
from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import (
    BackhaulError,
    IntegrityError,
    LedgerLocked,
    OutageError,
    PermanentError,
    TransientError,
)
from backhaul.core.model import (
    Assignment,
    EngineName,
    Limits,
    Location,
    OnExists,
    Request,
    Route,
    Source,
)
from backhaul.core.objects import Pin, PlannedObject, StagedObject
from backhaul.core.ports import Act, Ports, StageTask
from backhaul.core.reconciliation.values import ComparedPath, ObjectClass, SourceObject
from backhaul.core.requests.policy import Policy
from backhaul.core.text import printable
from backhaul.core.transfer.chosen_objects import ChosenObjects

NO_CHECKSUM = "S3's checksum is another one, or S3 has none that compares with the file"
# Of one transfer, or of one object; the others go on.
_OF_ONE = (TransientError, PermanentError, IntegrityError, LedgerLocked)


@dataclass(frozen=True, kw_only=True)
class Unproved:
    """A path of the right length, and its object.

    Attributes:
        number: Its place in the batch.
        directory: On the target.
    """

    number: int
    path: ComparedPath
    pin: Pin
    directory: Location

    @property
    def prefix(self) -> str:
        """Of the key, up to its last slash."""
        return self.pin.key[: self.pin.key.rfind("/") + 1]

    @property
    def name(self) -> str:
        """On the target."""
        return self.path.row.path.rpartition("/")[2]


def not_noted(_transfers: int, _size_bytes: int) -> None:
    """Where nothing is adopted."""


@contextmanager
def noted_adoptions(
    context: Context, route: Route, warn: Warn
) -> Iterator[Callable[[int, int], None]]:
    """One line of the operators' journal for all that is adopted, also where it is broken off.

    Yields:
        To be called with how many transfers and bytes were adopted so far.
    """
    path, subject = context.settings.ledger_place, f"{route.name}: adopt"
    with noted_act(path, person(), Act.RECONCILE, subject, warn) as note:
        yield note


class Adopter:
    """Adopts unproved paths; `core.reconciliation.checks` calls it with a batch of them.

    Args:
        ports: S3, the ledger open for writing, and the workers.
        retry: How long a transfer waits before it is repeated.
        note: Gets how many transfers and bytes were adopted so far.

    Attributes:
        adopted: How many objects were.
    """

    def __init__(
        self,
        *,
        ports: Ports,
        policy: Policy,
        route: Route,
        retry: RetryPolicy,
        note: Callable[[int, int], None] = not_noted,
    ) -> None:
        self._ports = ports
        self._policy = policy
        self._route = route
        self._retry = retry
        self._lock = threading.Lock()
        self._note = note
        self._transfers = self._size_bytes = 0
        self.adopted = 0

    def of(
        self, filesystem: Callable[[str], Location]
    ) -> Callable[[Sequence[ComparedPath]], list[ComparedPath]]:
        """For the paths of one file system.

        Args:
            filesystem: A path of it to its location.
        """

        def adopt(found: Sequence[ComparedPath]) -> list[ComparedPath]:
            results = list(found)
            every = list(_unproved(found, filesystem))
            for one, why in self._refused(every):
                results[one.number] = one.path._replace(why=why)
            proven = [one for one in every if results[one.number] is one.path]
            for group in _groups(proven):
                for one, result in zip(group, self._adopted(group), strict=True):
                    results[one.number] = result
            return results

        return adopt

    # ------------------------------------------------------------ what can be proven

    def _refused(self, every: Sequence[Unproved]) -> Iterator[tuple[Unproved, str]]:
        """Those that S3's checksum does not prove, and why."""
        if not every:
            return
        matched = self._matched(every)
        for one, result in zip(every, matched, strict=True):
            if isinstance(result, BackhaulError):
                yield one, printable(str(result))
            elif result is None:
                yield one, NO_CHECKSUM

    def _matched(self, every: Sequence[Unproved]) -> list[StagedObject | BackhaulError | None]:
        """One result for each; what fails for one object is no end of the others."""
        try:
            with self._ports.pool.session(
                every[0].directory.filesystem, self._route.run_as
            ) as session:
                tasks = [self._task(one) for one in every]
                finals = [one.directory.join(one.name) for one in every]
                return list(session.match_existing(tasks, finals))
        except OutageError:
            raise
        except BackhaulError as error:
            if len(every) == 1:
                return [error]
            half = len(every) // 2
            return [*self._matched(every[:half]), *self._matched(every[half:])]

    def _task(self, one: Unproved) -> StageTask:
        endpoint = self._ports.store.endpoint(one.pin.bucket, owner=self._route.source_owner)
        planned = PlannedObject(seq=one.number, pin=one.pin, relative=one.name)
        return StageTask(planned=planned, endpoint=endpoint)

    # ------------------------------------------------------------ the transfer

    def _adopted(self, group: Sequence[Unproved]) -> list[ComparedPath]:
        """The objects of one directory by one transfer."""
        try:
            job = self._job(group)
            store = ChosenObjects(self._ports.store, [one.pin for one in group])
            transfer_id = run_transfer(
                replace(self._ports, store=store, cluster=None),
                self._policy,
                job,
                retry=self._retry,
                attempts=1,
            )
        except _OF_ONE as error:
            why = f"not adopted: {printable(str(error))}"
            return [one.path._replace(why=why) for one in group]
        with self._lock:
            self.adopted += len(group)
            self._transfers += 1
            self._size_bytes += sum(one.pin.size_bytes for one in group)
            self._note(self._transfers, self._size_bytes)
        why = f"adopted by transfer {transfer_id}"
        return [
            one.path._replace(found=ObjectClass.SAME, why=why, transfer_id=transfer_id)
            for one in group
        ]

    def _job(self, group: Sequence[Unproved]) -> Assignment:
        """As a message would have it decided; it may only find what is there.

        Raises:
            NotAllowed: The policy does not have it.
            PermanentError: E_ADOPT_UNPROVEN: it belongs to another route.
        """
        first = group[0]
        # A single object claims its own file and no other.
        key = first.pin.key if len(group) == 1 else first.prefix
        source = Source(bucket=first.pin.bucket, key=key)
        request = Request(source=source, destination=first.directory, form="cli")
        job = self._policy.decide(request, sender_id=None)
        if job.route != self._route.name:
            raise PermanentError(
                "E_ADOPT_UNPROVEN",
                f"route {printable(job.route, 80)} has {printable(source.uri)}, too, and comes"
                " before this one",
                hint="reconcile that route",
            )
        # What differs all the same is never replaced: it is refused before a byte is read.
        return replace(
            job,
            adopts_only=True,
            on_exists=OnExists.SAME_OK,
            engine=EngineName.NATIVE,
            limits=Limits(),
        )


def _unproved(
    found: Sequence[ComparedPath], filesystem: Callable[[str], Location]
) -> Iterator[Unproved]:
    for number, one in enumerate(found):
        source = one.row.source
        if source is not None:
            directory = filesystem(one.row.path).parent
            yield Unproved(number=number, path=one, pin=pin_of(source), directory=directory)


def pin_of(source: SourceObject) -> Pin:
    """The object in the state in which it was listed."""
    return Pin(
        bucket=source.bucket,
        key=source.key,
        size_bytes=source.size_bytes,
        etag=source.etag,
        last_modified=moment(source.modified_us),
    )


def _groups(every: Sequence[Unproved]) -> Iterator[list[Unproved]]:
    """The objects of each directory, in the order of their keys."""

    def place(one: Unproved) -> tuple[Location, str, str]:
        return one.directory, one.pin.bucket, one.prefix

    in_order = sorted(every, key=lambda one: (*place(one), one.pin.key))
    for _, group in groupby(in_order, place):
        yield list(group)
