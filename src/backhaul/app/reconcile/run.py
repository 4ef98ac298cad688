"""Puts a reconciliation together: places, streams, merge, classes and the second look."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

from backhaul import __version__
from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3 import S3Store
from backhaul.adapters.hadoop.configuration.s3a import S3aConfiguration
from backhaul.adapters.ledger import LedgerReader, find_reader
from backhaul.app.context import Context
from backhaul.app.inventory import OpenInventory, open_inventory
from backhaul.app.ports import make_pool, open_ports
from backhaul.app.reconcile.adopting import Adopter, not_noted, noted_adoptions
from backhaul.app.reconcile.markers import completion_markers
from backhaul.app.reconcile.noting import ClassTotals, note_result
from backhaul.app.reconcile.parts import (
    PartFiles,
    PartsPlan,
    PathRange,
    Warn,
    ends,
    part_files,
    parts_of,
)
from backhaul.app.reconcile.proving_again import DeepProof, DeepTotals, proving_again
from backhaul.app.reconcile.resuming import begun, configuration_of, planned_places
from backhaul.app.reconcile.second_look import SecondLook
from backhaul.app.reconcile.streams import (
    S3Listing,
    boundaries,
    files_from,
    objects_from,
    proofs_from,
)
from backhaul.app.reconcile.unfinished import (
    BroughtPrefixes,
    Unfinished,
    moment,
    since_epoch_us,
)
from backhaul.app.sweep import sweep
from backhaul.app.unknown_route import unknown_route
from backhaul.core.errors import BackhaulError, ExitCode, TransientError
from backhaul.core.file_systems import DefaultFs
from backhaul.core.model import Location, Route
from backhaul.core.ports import Emit, ObjectStore, TargetPool
from backhaul.core.reconciliation.checks import checked, is_unproved, sample_of
from backhaul.core.reconciliation.classes import Judge
from backhaul.core.reconciliation.covers import Covers
from backhaul.core.reconciliation.merge import merged
from backhaul.core.reconciliation.places import Area, areas_of
from backhaul.core.reconciliation.values import (
    FINDINGS,
    ComparedPath,
    ObjectClass,
    ObjectSource,
    Row,
)
from backhaul.engines.pool import WorkerPool
from backhaul.spool import spool_directory

SETTLE = timedelta(seconds=10)
_US_PER_MS = 1000

Report = Callable[[ComparedPath, Location], None]
"""Called for each path, with the directory that is compared."""


@dataclass(frozen=True, kw_only=True)
class ReconcileOptions:
    """What is compared.

    Attributes:
        since: Only objects written, and files changed, at or after it; None: all.
        since_text: As it was typed: `1d` is another time whenever it is typed.
        settle: Objects younger than this are too young to be missing.
        inventory: Path or address of the manifest of an inventory, in place of a listing.
        state: A directory from which a comparison that was ended goes on; None: none.
        jobs: So many parts at once.
        deep: Share of what is the same to be proven again, 0 to 1; None: nothing.
        is_adopting: What is unproved is adopted where checksums prove it.
    """

    since: datetime | None = None
    since_text: str = ""
    settle: timedelta = SETTLE
    inventory: str | None = None
    state: Path | None = None
    jobs: int = 1
    deep: float | None = None
    is_adopting: bool = False


@dataclass(kw_only=True)
class Reconciled:
    """What a reconciliation found, so far.

    Attributes:
        places: What was compared, for people.
        inventory: From which the objects are, for people; empty: from a listing.
        adopted: Of the same, those that were adopted by this very command.
        deep: What was proven again; None: that was not wanted.
    """

    route: str
    started_at: datetime
    places: tuple[str, ...] = ()
    inventory: str = ""
    adopted: int = 0
    deep: DeepTotals | None = None
    totals: dict[ObjectClass, ClassTotals] = field(
        default_factory=lambda: {each: ClassTotals() for each in ObjectClass}
    )

    @property
    def findings(self) -> int:
        return sum(self.totals[each].objects for each in FINDINGS)

    def add(self, one: ComparedPath) -> None:
        """Count it."""
        totals = self.totals[one.found]
        totals.objects += 1
        row = one.row
        if row.source is not None:
            totals.size_bytes += row.source.size_bytes
        elif row.target is not None:
            totals.size_bytes += row.target.size_bytes


def run_reconcile(
    context: Context,
    route_name: str,
    options: ReconcileOptions,
    *,
    region: str,
    emit: Emit,
    report: Report,
    warn: Callable[[BackhaulError], None],
) -> Reconciled:
    """Compare everything of a route; each path is reported in order, once it is certain.

    Args:
        warn: Gets what does not end it.

    Raises:
        BadArgument: E_ROUTE_UNKNOWN, E_RECONCILE_PLACE, E_INVENTORY_*.
        ConfigurationError: The ledger or the configuration.
        TransientError, OutageError: S3, the ledger or the target could not be read to the end;
            what was reported so far is right.
    """
    route = find_route(context, route_name)
    path = context.settings.ledger_place
    with ExitStack() as opened:
        # The last to end, when the ledger is free again.
        note = opened.enter_context(
            noted_adoptions(context, route, warn) if options.is_adopting else nullcontext(not_noted)
        )
        pool, aws, adopter = _parts(opened, context, route, options, region, emit, note)
        store = S3Store(aws)
        reader = find_reader(path, turn=threading.Lock())
        if reader is not None:
            opened.enter_context(closing(reader))
        with unreachable():
            now = datetime.now(UTC)
            listed: ObjectStore = store
            inventory = None
            if options.inventory is not None:
                inventory = opened.enter_context(
                    open_inventory(
                        options.inventory, aws, store, sources=route.sources or (), now=now
                    )
                )
                listed = inventory.store
                if inventory.is_old:
                    warn(inventory.warning)
            deep = None
            if options.deep is not None and reader is not None:
                proofs = proving_again(aws, store, route=route, reader=reader, pool=pool)
                deep = opened.enter_context(proofs)
            comparison = Comparison(
                route=route,
                options=options,
                inventory=inventory,
                objects=S3Listing(store=listed, owner=route.source_owner),
                adopter=adopter,
                deep=deep,
                store=store,
                reader=reader,
                pool=pool,
                default_fs=context.default_fs,
                now=lambda: datetime.now(UTC),
                warn=warn,
            )
            found = comparison.run(report)
    if reader is not None:
        totals = found.totals if options.since is None else None
        received_bytes = 0 if inventory is None else inventory.received_bytes
        try:
            note_result(path, route.name, found.started_at, totals, received_bytes)
        except BackhaulError as error:
            warn(type(error)(error.code, f"the result is not kept: {error.message}"))
    return found


def _parts(
    opened: ExitStack,
    context: Context,
    route: Route,
    options: ReconcileOptions,
    region: str,
    emit: Emit,
    note: Callable[[int, int], None],
) -> tuple[WorkerPool, AwsSession, Adopter | None]:
    """Workers and clients; for adopting with a ledger that is open for writing."""
    workers = options.jobs + 1
    if not options.is_adopting:
        pool = opened.enter_context(closing(make_pool(context, emit, workers)))
        pool.warm_up()
        return pool, AwsSession(region, S3aConfiguration.loader(context.conf_dir)), None
    found = opened.enter_context(open_ports(context, region, emit, workers, is_warm=True))
    sweep(found.ports, found.ledger, context.policy)
    adopter = Adopter(
        ports=found.ports,
        policy=context.policy,
        route=route,
        retry=context.settings.agent.retry,
        note=note,
    )
    return found.pool, found.aws, adopter


def find_route(context: Context, name: str) -> Route:
    """The route of that name.

    Raises:
        BadArgument: E_ROUTE_UNKNOWN, with what it may have meant.
    """
    known = {route.name: route for route in context.policy.routes}
    if name not in known:
        raise unknown_route(name, known, where="in the configuration")
    return known[name]


@contextmanager
def unreachable() -> Iterator[None]:
    """What cannot be read ends with 69: another exit code has a meaning of its own here."""
    kept = {ExitCode.USAGE, ExitCode.CONFIGURATION, ExitCode.UNAVAILABLE}
    try:
        yield
    except BackhaulError as error:
        if error.exit_code in kept:
            raise
        raise TransientError(error.code, error.message, hint=error.hint) from error


@dataclass(kw_only=True)
class Comparison:
    """One route, compared from beginning to end.

    Attributes:
        objects: Where the objects come from.
        store: Where a missing object is looked up again; None: nowhere.
        warn: Gets what was kept with `--state` and cannot be used; the default ends it.
        inventory: What `objects` lists; None: S3 itself.
    """

    route: Route
    options: ReconcileOptions
    objects: ObjectSource
    store: ObjectStore | None
    reader: LedgerReader | None
    pool: TargetPool
    default_fs: DefaultFs
    now: Callable[[], datetime]
    warn: Warn = ends
    inventory: OpenInventory | None = None
    adopter: Adopter | None = None
    deep: DeepProof | None = None

    def __post_init__(self) -> None:
        """A comparison that goes on takes `since` from its plan: a span ago is another time now."""
        since = self.options.since
        self._since_us = None if since is None else since_epoch_us(since)

    def run(self, report: Report) -> Reconciled:
        """Compare all areas; see `run_reconcile`."""
        found = self._run(report)
        found.adopted = 0 if self.adopter is None else self.adopter.adopted
        found.deep = None if self.deep is None else self.deep.totals
        return found

    def areas(self) -> tuple[Area, ...]:
        """Where the route's objects belong, as far as the ledger knows now."""
        brought = BroughtPrefixes(self.reader, self.route.name)
        return areas_of(self.route, brought, default_fs=self.default_fs)

    def _run(self, report: Report) -> Reconciled:
        with ExitStack() as opened:
            state, jobs = self.options.state, self.options.jobs
            if state is None and jobs == 1:
                areas = self.areas()
                found, count = self._counting(areas, self.now(), report)
                for number, area in enumerate(areas):
                    with closing(self.proven(area)) as compared:
                        for one in compared:
                            count(one, number)
                return found
            if state is None:
                spool = TemporaryDirectory(prefix="backhaul-", dir=spool_directory())
                state = Path(opened.enter_context(spool))
            files = opened.enter_context(part_files(state, self.warn))
            kept = begun(files, self._about, self.route, self.default_fs, self.now())
            plan, areas = kept or self._begin(files)
            self._since_us = plan.since_us
            found, count = self._counting(areas, moment(plan.started_us), report)
            files.run(plan, lambda part: self.proven(areas[part.area], part), count, jobs)
            files.remove()
            return found

    def _counting(
        self, areas: Sequence[Area], started_at: datetime, report: Report
    ) -> tuple[Reconciled, Callable[[ComparedPath, int], None]]:
        found = Reconciled(
            route=self.route.name,
            started_at=started_at,
            places=tuple(place.text for area in areas for place in area.places),
            inventory="" if self.inventory is None else self.inventory.text,
        )

        def count(one: ComparedPath, area: int) -> None:
            found.add(one)
            report(one, areas[area].root)

        return found, count

    def _begin(self, files: PartFiles) -> tuple[PartsPlan, tuple[Area, ...]]:
        areas = self.areas()
        plan = PartsPlan(
            about=self._about,
            started_us=since_epoch_us(self.now()),
            since_us=self._since_us,
            places=planned_places(areas),
            parts=parts_of(
                [one.root for one in areas],
                [boundaries(one, self.reader, self.pool, self.route.run_as) for one in areas],
            ),
        )
        files.begin(plan)
        return plan, areas

    @property
    def _about(self) -> dict[str, str]:
        """What a command that goes on must agree in, in the words of the warning."""
        options, taken_at = self.options, self.inventory and self.inventory.taken_at
        return {
            "version of Backhaul": __version__,
            "route": self.route.name,
            "configuration of the route": configuration_of(self.route),
            "--since": options.since_text or str(options.since or ""),
            "--settle": str(options.settle),
            "--inventory": f"{self.inventory.name} {taken_at}" if self.inventory else "",
            "--deep": str(options.deep),
            "--adopt": str(options.is_adopting),
        }

    def proven(
        self, area: Area, part: PathRange | None = None
    ) -> Generator[ComparedPath, None, None]:
        """As `compared`, after what `--deep` and `--adopt` do."""

        def location(path: str) -> Location:
            return replace(area.root, path=path)

        with closing(self.compared(area, part)) as compared:
            every: Iterator[ComparedPath] = compared
            if self.deep is not None:
                every = checked(every, self.deep.of(location), sample_of(self.options.deep or 0.0))
            if self.adopter is not None:
                every = checked(every, self.adopter.of(location), is_unproved)
            yield from every

    def compared(
        self, area: Area, part: PathRange | None = None
    ) -> Generator[ComparedPath, None, None]:
        """Every path of an area, or of a part of it, with its class, in order."""
        after, until = ("", "") if part is None else (part.after, part.until)
        taken_at = None if self.inventory is None else self.inventory.taken_at
        judge = self._judge(self._unfinished.fresh(), taken_at)
        look_again = self.second_look(area)
        root, user = area.root, self.route.run_as
        # Closed in any case: a thread of theirs may be reading the ledger.
        with (
            closing(objects_from(self.objects, area, self.default_fs, after)) as sources,
            closing(proofs_from(self.reader, root, after)) as proven,
            closing(files_from(self.pool, root, user, after)) as targets,
        ):
            rows = merged(sources, proven, targets)
            if until:
                rows = takewhile(lambda row: row.path <= until, rows)
            yield from checked(map(judge.compare, filter(self._is_wanted, rows)), look_again)

    def second_look(self, area: Area) -> SecondLook:
        """At findings of the area."""
        return SecondLook(
            route=self.route,
            area=area,
            store=self.store,
            reader=self.reader,
            pool=self.pool,
            default_fs=self.default_fs,
            judge=lambda: self._judge(self._unfinished.fresh()),
            is_listed=self.inventory is None,
        )

    @cached_property
    def _unfinished(self) -> Unfinished:
        return Unfinished(self.reader, self.route.name, self.default_fs, self.now)

    def _judge(self, covers: Covers, taken_at: datetime | None = None) -> Judge:
        return Judge(
            now_us=lambda: since_epoch_us(self.now()),
            settle_us=self.options.settle // timedelta(microseconds=1),
            cover=covers.of,
            route=self.route.name,
            listed_us=None if taken_at is None else since_epoch_us(taken_at),
            is_marker=completion_markers(self.reader, self.route),
        )

    def _is_wanted(self, row: Row) -> bool:
        """By `since`: an object by S3's clock, a file alone by the target's."""
        since_us = self._since_us
        if since_us is None:
            return True
        if row.source is not None:
            return row.source.modified_us >= since_us
        if row.target is not None:
            return row.target.modified_ms * _US_PER_MS >= since_us
        return False
