"""What one attempt copies: listed page by page, frozen in the ledger ahead of every copy.

A frozen plan is never listed again: each later attempt copies the same versions of the same
objects, until the source changes under one of them. `proof_records` has what is proven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from backhaul.core.facts import TableRecognised
from backhaul.core.model import Assignment, Location, Source
from backhaul.core.objects import Pin, PlannedObject, Totals
from backhaul.core.ports import AttemptStart, Claimed, ListPage, Ports, Published
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer.egress.reservation import EgressReservation
from backhaul.core.transfer.overtaken import (
    claims_to_be_old,
    is_overtaken,
    state_of_event,
    target_of_event,
)
from backhaul.core.transfer.planning import Planner, resolve


class Plan:
    """The objects of one attempt, and where they go.

    Args:
        policy: Called again at each check, so that a route removed meanwhile counts (S5).

    Attributes:
        directory: Names of the plan are relative to it.
        totals: Of what is listed so far.
        is_frozen: The ledger has it whole, so it is not listed again.
        may_be_published: An earlier attempt recorded its intent: files of this plan may be at
            their final paths.
        is_overtaken: An event whose object is published already, as new as S3 has it or newer:
            nothing is copied.
        is_counted: `totals` are those of the whole plan.
        reservation: In the budgets, of the whole plan: made as soon as that is known.
        published: What the ledger published below the destination, where the plan is one page; it
            cannot change while this transfer owns the destination. None: query the ledger.
    """

    def __init__(
        self,
        *,
        ports: Ports,
        policy: Callable[[], Policy],
        job: Assignment,
        begun: AttemptStart,
    ) -> None:
        self._ports = ports
        self._policy = policy
        self._job = job
        self._begun = begun
        self._id = begun.transfer_id
        self.directory = job.request.destination
        self._destination: Location | None = None
        self.is_frozen = False
        if begun.has_plan and begun.directory is not None and begun.destination is not None:
            self.directory, self._destination = begun.directory, begun.destination
            self.is_frozen = True
        self.may_be_published = self.is_frozen and begun.was_publishing
        self.is_overtaken = False
        self.is_counted = False
        self.reservation = EgressReservation(ports, self._id, job)
        self.reservation.is_forced = self.may_be_published
        self.totals = Totals()
        self.published: Mapping[Location, Published] | None = None
        self._planner: Planner | None = None
        self._pages: Iterator[ListPage] = iter(())
        self._first: Sequence[PlannedObject] = ()
        self._ahead: Sequence[PlannedObject] = ()
        self._tables = 0  # kinds that were noted

    # ------------------------------------------------------------ resolve

    def resolve(self) -> None:
        """List the source as far as needed to know what it is and so what the transfer owns.

        Raises:
            BackhaulError: As `planning.resolve`, `Planner`, `Policy.check_resolved` and
                `EgressReservation.make`.
        """
        if self.is_frozen:
            self._reserve_frozen()
            return
        job = self._job
        target = target_of_event(job)
        if target is not None and self._is_overtaken(target):
            self.is_overtaken = True
            self._destination = target
            return
        found = resolve(
            self._ports.store, job.request.source, owner=job.source_owner, event=job.request.event
        )
        self._policy().check_resolved(job, found.source)
        self._planner = Planner(
            source=found.source,
            is_object=found.is_object,
            directory=self.directory,
            name_map=job.name_map,
            limits=job.limits,
        )
        self._pages = found.pages
        self._first = self._next_page()
        # One page ahead, so that a plan of one page is frozen whole together with the claim.
        self._ahead = () if found.is_object else self._next_page()
        self._destination = self.directory
        if found.is_object:
            self._destination = self.directory.join(self._first[0].relative)
        if not self._ahead:
            self.reservation.make(self._listing.totals.size_bytes)

    def _reserve_frozen(self) -> None:
        ledger = self._ports.ledger
        # What an application on YARN is copying already may have to be followed.
        if self.reservation.is_needed and not ledger.jobs(self._id):
            self.reservation.make(ledger.planned_totals(self._id).size_bytes)

    def check_overtaken(self) -> None:
        """The same check once the destination is owned, when no other transfer publishes there."""
        # Nothing goes back at the target: what was overtaken before the claim still is.
        if self.is_overtaken or self._is_overtaken(self.destination):
            self.is_overtaken = True
            self._first = ()  # nothing is copied, so there is nothing to prove

    def _is_overtaken(self, target: Location) -> bool:
        ports, job = self._ports, self._job
        if self._begun.was_publishing or not claims_to_be_old(ports.ledger, job, target):
            return False
        if not job.request.source.is_prefix and self._first:
            now: Pin | None = self._first[0].pin
        else:
            now = state_of_event(ports.store, job)
        return is_overtaken(ports.ledger, ports.store, job, target, now)

    def _next_page(self) -> Sequence[PlannedObject]:
        """The next non-empty page of the plan; empty at its end, after checking the totals."""
        planner = self._listing
        for page in self._pages:
            planned = planner.add(page.pins)
            if planned:
                return planned
        planner.finish()
        return ()

    # ------------------------------------------------------------ what it is

    @property
    def destination(self) -> Location:
        """What the transfer owns: the directory, or the file of a single object."""
        if self._destination is None:
            raise AssertionError("the destination is known only after resolution")
        return self._destination

    @property
    def is_tree(self) -> bool:
        """A directory is copied, not a single object."""
        return self._destination == self.directory

    @property
    def source(self) -> Source:
        """What the source turned out to be: a prefix ends in `/`."""
        source = self._job.request.source
        if source.is_prefix or not self.is_tree:
            return source
        return Source(bucket=source.bucket, key=f"{source.key}/")

    @property
    def is_one_page(self) -> bool:
        """It is in memory whole, with its proofs, so that publishing need not read it back."""
        return (
            self._planner is not None
            and not self._ahead
            and len(self._first) == self._planner.objects
        )

    @property
    def _listing(self) -> Planner:
        if self._planner is None:
            raise AssertionError("a frozen plan is not listed again")
        return self._planner

    @property
    def _placeholders(self) -> int:
        return 0 if self._planner is None else self._planner.markers

    # ------------------------------------------------------------ policy

    def check_target(self) -> None:
        """Raise NotAllowed where the policy as it is now refuses the destination."""
        self._policy().check_target(self._job, self.destination)

    def check_policy(self) -> None:
        """Raise NotAllowed where the policy as it is now refuses source or destination."""
        policy = self._policy()
        policy.check_resolved(self._job, self.source)
        policy.check_target(self._job, self.destination)

    # ------------------------------------------------------------ claim and freeze

    def claim(self, anchor: Location, min_epoch: int) -> Claimed | None:
        """Own the destination, and freeze the first page in the same transaction.

        Args:
            anchor: The directory to hold `.backhaul`.

        Returns:
            None while another live transfer owns it, or one above or below it.
        """
        return self._ports.ledger.claim(
            self._id,
            self._job,
            self.destination,
            anchor,
            directory=self.directory,
            first=self._first,
            is_complete=not self._ahead,
            markers=self._placeholders,
            min_epoch=min_epoch,
            now=self._ports.clock.now(),
        )

    def pages(self) -> Iterator[Sequence[PlannedObject]]:
        """What has no proof in this epoch; a new plan is frozen one page ahead of what is given.

        Raises:
            BackhaulError: Also as `EgressReservation.make`, before the first page.
        """
        for page in self._pages_to_copy():
            self.reservation.make(self.totals.size_bytes)
            yield page

    def _pages_to_copy(self) -> Iterator[Sequence[PlannedObject]]:
        limits = self._job.limits
        is_limited = limits.objects is not None or limits.size_bytes is not None
        if self.is_frozen:
            self.totals = self._ports.ledger.planned_totals(self._id)
        elif (is_limited or self.reservation.is_needed) and self._ahead:
            for _ in self._freezing():  # the whole plan is counted before the first byte is copied
                pass
        else:
            yield from self._freezing()
            return
        self.is_counted = True
        yield from self._ports.ledger.plan(self._id, only_unstaged=True)

    def _freezing(self) -> Iterator[Sequence[PlannedObject]]:
        page = self._first  # the claim froze it
        while page:
            self._note_tables()
            self.totals = self._listing.totals
            self.is_counted = not self._ahead
            yield page
            page, self._ahead = self._ahead, self._next_page() if self._ahead else ()
            if page:
                self._ports.ledger.freeze(
                    self._id, page, is_complete=not self._ahead, markers=self._placeholders
                )

    def _note_tables(self) -> None:
        """What readers of a table must know of its copy."""
        tables = self._listing.tables
        if len(tables) == self._tables:
            return
        self._tables = len(tables)
        self._ports.ledger.note_tables(self._id, sorted(tables))
        self._ports.emit(TableRecognised(transfer_id=self._id, tables=", ".join(sorted(tables))))

    def whole(self) -> Totals:
        """The totals of all pages; a plan that is not frozen has been listed to its end."""
        if self.is_frozen:
            self.totals = self._ports.ledger.planned_totals(self._id)
        else:
            self.totals = self._listing.totals
        return self.totals

    @property
    def first(self) -> Sequence[PlannedObject]:
        """The first page; empty where nothing is copied."""
        return self._first

    def unstaged(self) -> Iterator[Sequence[PlannedObject]]:
        """The frozen plan without what has a proof in this epoch."""
        return self._ports.ledger.plan(self._id, only_unstaged=True)

    def names(self) -> Iterator[str]:
        """Of the whole frozen plan, relative to the directory."""
        for planned in self._ports.ledger.plan(self._id):
            yield from (one.relative for one in planned)
