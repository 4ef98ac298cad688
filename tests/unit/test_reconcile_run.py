"""A route is compared from S3, a real ledger and a target, with what happens under way."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.digests import new_digest
from backhaul.adapters.ledger import SqlLedger, open_ledger, open_reader
from backhaul.adapters.ledger.reading import reconciling
from backhaul.app.reconcile.parts import PartFiles
from backhaul.app.reconcile.report import as_json, combined
from backhaul.app.reconcile.run import Comparison, Reconciled, ReconcileOptions
from backhaul.app.reconcile.streams import S3Listing
from backhaul.core.checksums import Checksum
from backhaul.core.errors import BackhaulError, BadArgument, TransientError
from backhaul.core.model import (
    Assignment,
    Location,
    NameMap,
    Request,
    Route,
    Source,
    TransferState,
)
from backhaul.core.objects import Pin, PlannedObject, Proof, StagedObject
from backhaul.core.ports import ListedPage, MessageKey
from backhaul.core.reconciliation.values import ComparedPath, ObjectClass
from backhaul.core.transfer.evidence import Manifest
from backhaul.core.transfer_ids import time_part
from backhaul.engines.tuning import Tuning
from backhaul.testing.fakes import FakeClock, FakeStore, FakeTarget, Faults, InlinePool
from tests.docs.test_schemas import SCHEMAS, Checker

pytestmark = pytest.mark.slow  # a world of S3, ledger and target each

FS = "hdfs://nn1:8020"
LANDING = Location(scheme="hdfs", authority="nn1:8020", path="/landing")
HOUR = timedelta(hours=1)


class World:
    """One route, `raw/in/` to `/landing/`, with what transfers brought."""

    def __init__(self, ledger: SqlLedger, path: Path) -> None:
        self.clock = FakeClock()
        self.store = FakeStore(self.clock, new_digest)
        self.target = FakeTarget(self.clock)
        self.target.mkdirs("/landing")
        self.ledger = ledger
        self.path = path
        self.number = 0
        self.route = Route(name="r", sources=(("raw", "in/"),), destinations=(LANDING,))
        self.options = ReconcileOptions()
        self.warnings: list[BackhaulError] = []

    def begin(self, source: str, destination: str, route: str | None = None) -> str:
        """A message that was received."""
        self.number += 1
        now = self.clock.now()
        transfer_id = f"{time_part(now)}{self.number:07}"
        key = MessageKey(queue="q", message_id=f"m{self.number}", body_digest=f"{self.number:064x}")
        self.ledger.begin(key, transfer_id, source, destination, now, route=route)
        return transfer_id

    def claim(self, source: str, place: str, names: list[str], *, route: str = "r") -> str:
        transfer_id = self.begin(f"s3://raw/{source}", f"/landing/{place}".rstrip("/"))
        now = self.clock.now()
        is_object = not source.endswith("/")
        directory = LANDING.join(place) if place else LANDING
        pins = [self.pin(source if is_object else source + name) for name in names]
        planned = [
            PlannedObject(seq=seq, pin=pin, relative=name)
            for seq, (pin, name) in enumerate(zip(pins, names, strict=True))
        ]
        job = Assignment(
            request=Request(source=Source(bucket="raw", key=source), destination=directory),
            route=route,
            anchor=LANDING,
        )
        claimed = self.ledger.claim(
            transfer_id,
            job,
            directory.join(names[0]) if is_object else directory,
            LANDING,
            directory=directory,
            first=planned,
            is_complete=True,
            markers=0,
            min_epoch=1,
            now=now,
        )
        assert claimed is not None
        self.epoch = claimed.epoch
        self.planned, self.directory = planned, directory
        return transfer_id

    def bring(self, source: str, place: str, names: list[str], **about: Any) -> str:
        """A transfer that is done."""
        transfer_id = self.claim(source, place, names, **about)
        proofs = []
        for one in self.planned:
            path = self.directory.join(one.relative).path
            self.target.put(path, self.store.below("raw", one.pin.key)[one.pin.key])
            status = self.target.status(path)
            assert status is not None
            proofs.append(
                StagedObject(
                    seq=one.seq,
                    size_bytes=one.pin.size_bytes,
                    content=Checksum(algorithm="CRC32C", hex="00000000"),
                    proof=Proof.DIRECT,
                    modified_ms=status.modified_ms,
                    proven_at=self.clock.now(),
                )
            )
        self.ledger.intend(transfer_id, self.epoch, proofs, self.clock.now())
        self.ledger.finish(
            transfer_id,
            self.epoch,
            TransferState.DONE,
            "tree",
            self.clock.now(),
            manifest=Manifest().sum,
        )
        return transfer_id

    def die(self, transfer_id: str, code: str = "E_DST_DENIED") -> None:
        self.ledger.fail(transfer_id, TransferState.DEAD, code, "no", self.clock.now())

    def put(self, *keys: str, data: bytes = b"data") -> None:
        for key in keys:
            self.store.put(key, data)

    def pin(self, key: str) -> Pin:
        page = self.store.list_page("raw", key, page_size=1)
        (one,) = page.objects
        assert one.key == key
        return Pin(
            bucket="raw",
            key=key,
            size_bytes=int(one.size or 0),
            etag=(one.etag or "").strip('"'),
            last_modified=datetime.fromisoformat(one.last_modified or ""),
        )

    def later(self, span: timedelta = HOUR) -> None:
        self.clock.advance(span.total_seconds())

    def pool(self) -> InlinePool:
        return InlinePool(
            targets={FS: self.target},
            reader=self.store,
            new_digest=new_digest,
            faults=Faults(),
            tuning=Tuning(),
        )

    def reconcile(self) -> tuple[Reconciled, dict[str, ComparedPath]]:
        """By the path below the route's directory."""
        reader = open_reader(self.path, turn=threading.Lock())
        found: dict[str, ComparedPath] = {}

        def report(one: ComparedPath, root: Location) -> None:
            assert root.filesystem == FS
            found[one.row.path.removeprefix("/landing/")] = one

        try:
            comparison = Comparison(
                route=self.route,
                options=self.options,
                objects=S3Listing(store=self.store),
                store=self.store,
                reader=reader,
                pool=self.pool(),
                default_fs=FS,
                now=self.clock.now,
                warn=self.warnings.append,
            )
            return comparison.run(report), found
        finally:
            reader.close()

    def classes(self) -> dict[str, str]:
        return {name: one.found.value for name, one in self.reconcile()[1].items()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(path, create=True, host="h")
    yield World(ledger, path)
    ledger.close()


def test_what_arrived_is_the_same_and_what_did_not_has_its_class(world: World) -> None:
    world.put("in/d/a", "in/d/b", "in/d/c", "in/d/e")
    world.bring("in/d/", "d", ["a", "b", "c", "e"])
    world.later()
    world.put("in/d/new")
    world.put("in/d/b", data=b"newer")
    world.put("in/never/x")
    world.target.put("/landing/d/stray", b"?")
    world.target.put("/landing/d/c", b"changed by someone")
    world.target.remove("/landing/d/e")
    world.later()
    world.put("in/d/young")
    totals, found = world.reconcile()
    assert {name: one.found.value for name, one in found.items()} == {
        "d/a": "same",
        "d/b": "superseded",
        "d/c": "differs",
        "d/e": "missing",
        "d/new": "missing",
        "d/stray": "extra",
        "d/young": "too young",
        "never/x": "missing",
    }
    assert totals.findings == 6
    assert totals.totals[ObjectClass.SAME].size_bytes == 4
    assert totals.totals[ObjectClass.EXTRA].size_bytes == 1
    assert totals.places == ("s3://raw/in/ → hdfs://nn1:8020/landing",)


def test_open_and_dead_transfers_explain_what_is_missing(world: World) -> None:
    world.put("in/d/a", "in/d/b", "in/x")
    world.bring("in/x", "", ["x"])
    world.claim("in/d/a", "d", ["a"])
    dead = world.claim("in/d/b", "d", ["b"])
    world.later()
    world.die(dead)
    _, found = world.reconcile()
    assert found["d/a"].found is ObjectClass.IN_FLIGHT
    assert (found["d/b"].found, found["d/b"].transfer_id) == (ObjectClass.DEAD, dead)
    assert found["x"].found is ObjectClass.SAME


def test_a_message_that_waits_for_its_first_claim_counts(world: World) -> None:
    world.put("in/d/a", "in/d/b", "in/d/c")
    world.bring("in/d/a", "d", ["a"])
    world.begin("raw/in/d/b", "/landing/d", route="r")
    world.begin("raw/in/d/c", "/landing/d", route="other")
    world.begin("no source, at all", "/landing/d", route="r")
    world.later()
    assert world.classes() == {"d/a": "same", "d/b": "in flight", "d/c": "missing"}


def test_a_file_of_another_route_is_not_extra(world: World) -> None:
    world.put("in/d/a", "other/z")
    world.bring("in/d/", "d", ["a"])
    world.bring("other/", "d", ["z"], route="other")
    assert world.classes() == {"d/a": "same", "d/z": "excluded"}


def test_evidence_beside_the_data_and_staging_are_backhauls_own(world: World) -> None:
    world.put("in/d/a")
    world.bring("in/d/", "d", ["a"])
    world.target.put("/landing/d/.backhaul-1.jsonl", b"{}")
    world.target.put("/landing/.backhaul/0123/1/a", b"")
    assert world.classes() == {"d/a": "same", "d/.backhaul-1.jsonl": "excluded"}


def test_placeholders_impossible_names_and_archived_objects_are_excluded(world: World) -> None:
    world.put("in/d/a", "in/d/q:r")
    world.store.put("in/d/", b"")
    world.store.put("in/d/e_$folder$", b"")
    world.bring("in/d/a", "d", ["a"])
    world.store.spoil_listing(_archive("in/d/z"))
    world.put("in/d/z")
    _, found = world.reconcile()
    whys = {name: one.why for name, one in found.items() if one.found is ObjectClass.EXCLUDED}
    assert whys.keys() == {"d/", "d/e_$folder$", "d/q:r", "d/z"}
    assert whys["d/"] == "a directory placeholder"
    assert whys["d/q:r"].startswith("E_DST_COLON: ")
    assert whys["d/z"] == "archived in storage class GLACIER"


def _archive(key: str) -> Callable[[ListedPage], ListedPage]:
    def change(page: ListedPage) -> ListedPage:
        return replace(
            page,
            objects=tuple(
                replace(one, storage_class="GLACIER") if one.key == key else one
                for one in page.objects
            ),
        )

    return change


# ---------------------------------------------------------------- where objects belong


def test_a_template_says_where_objects_belong_before_anything_arrived(world: World) -> None:
    world.route = replace(world.route, event_destination="/landing/x/{rel_dir}/")
    world.put("in/d/a", "in/b")
    world.later()
    assert world.classes() == {"x/d/a": "missing", "x/b": "missing"}


def test_a_template_with_the_whole_key(world: World) -> None:
    world.route = replace(world.route, event_destination="/landing/{bucket}/{key_dir}")
    world.put("in/d/a")
    world.later()
    assert world.classes() == {"raw/in/d/a": "missing"}


def test_a_template_that_changes_the_order_is_sorted(world: World) -> None:
    world.route = replace(world.route, event_destination="/landing/{rel_dir}/in/")
    world.put("in/j/x", "in/k", "in/a/y")
    world.later()
    assert list(world.classes()) == ["a/in/y", "in/k", "j/in/x"]


def test_objects_of_one_path_are_reported_once_each(world: World) -> None:
    world.route = replace(world.route, event_destination="/landing/flat/")
    world.put("in/j/x", "in/k/x")
    world.later()
    totals, found = world.reconcile()
    assert found["flat/x"].found is ObjectClass.MISSING
    assert totals.totals[ObjectClass.EXCLUDED].objects == 1


def test_escaped_names_are_compared(world: World) -> None:
    world.route = replace(world.route, name_map=NameMap.PERCENT)
    world.put("in/d/a:b", "in/d/a-b", "in/d/a")
    world.bring("in/d/a", "d", ["a"])
    world.later()
    world.target.put("/landing/d/a%3Ac", b"1")
    assert world.classes() == {
        "d/a": "same",
        "d/a%3Ab": "missing",
        "d/a%3Ac": "extra",
        "d/a-b": "missing",
    }


def test_transfers_that_have_nothing_in_common_keep_their_own_places(world: World) -> None:
    world.put("in/d/a", "in/e/b", "in/f/c")
    world.bring("in/d/", "one", ["a"])
    world.bring("in/e/", "two", ["b"])
    world.later()
    totals, found = world.reconcile()
    assert set(found) == {"one/a", "two/b"}
    assert len(totals.places) == 2


@pytest.mark.parametrize("template", ["/landing/{rel_dir}/", "/landing/{rel_dir}/now/"])
def test_a_copy_of_an_object_somewhere_else_is_extra(world: World, template: str) -> None:
    world.route = replace(world.route, event_destination=template)
    world.put("in/d/x")
    transfer_id = world.bring("in/d/x", "tests", ["x"])
    world.later()
    _, found = world.reconcile()
    place = "d/now/x" if "now" in template else "d/x"
    assert {name: one.found.value for name, one in found.items()} == {
        place: "missing",
        "tests/x": "extra",
    }
    assert found["tests/x"].row.source is None
    why = f"transfer {transfer_id} brought it; S3 has no object that belongs here"
    assert found["tests/x"].why == why


def test_an_object_that_belongs_where_a_copy_of_another_is_is_looked_up(world: World) -> None:
    world.route = replace(world.route, event_destination="/landing/{rel_dir}/")
    world.put("in/d/x")
    world.bring("in/d/x", "tests", ["x"])
    world.later()
    world.put("in/tests/x")
    world.store.spoil_listing(_without("in/tests/x"))
    _, found = world.reconcile()
    assert found["tests/x"].row.source is not None
    assert found["tests/x"].found is ObjectClass.TOO_YOUNG


@pytest.mark.parametrize("is_dead", [False, True])
def test_what_a_transfer_only_claimed_somewhere_else_is_no_place(
    world: World, *, is_dead: bool
) -> None:
    world.put("in/a/x", "in/b/x", "in/c/x")
    world.bring("in/a/", "a", ["x"])
    elsewhere = world.claim("in/b/x", "elsewhere", ["x"])
    world.later()
    if is_dead:
        world.die(elsewhere)
    totals, found = world.reconcile()
    assert {name: one.found.value for name, one in found.items()} == {
        "a/x": "same",
        "b/x": "missing",
        "c/x": "missing",
    }
    assert totals.findings == 2


def test_an_unknown_place_is_one_clear_answer(world: World) -> None:
    world.put("in/d/a")
    with pytest.raises(BadArgument, match="belong is not known") as caught:
        world.reconcile()
    assert caught.value.code == "E_RECONCILE_PLACE"


# ---------------------------------------------------------------- what changes under way


def test_a_listing_that_misses_a_new_object_does_not_make_its_file_extra(world: World) -> None:
    """The transfer ends between the listing of S3 and the walk of the target."""
    world.put("in/d/a", "in/d/b")
    world.bring("in/d/", "d", ["a", "b"])
    world.store.spoil_listing(_without("in/d/b"))
    assert world.classes() == {"d/a": "same", "d/b": "same"}


def _without(key: str) -> Callable[[ListedPage], ListedPage]:
    def change(page: ListedPage) -> ListedPage:
        kept = tuple(one for one in page.objects if one.key != key)
        return replace(page, objects=kept, key_count=str(len(kept)))

    return change


def test_an_object_that_is_removed_under_way_is_not_missing(world: World) -> None:
    world.put("in/d/a")
    world.bring("in/d/", "d", ["a"])
    ghost = world.pin("in/d/a")
    world.later()

    def add(page: ListedPage) -> ListedPage:
        more = replace(page.objects[0], key="in/d/gone")
        every = (*page.objects, more)
        return replace(page, objects=every, key_count=str(len(every)))

    world.store.spoil_listing(add)
    assert ghost.key == "in/d/a"
    assert world.classes() == {"d/a": "same"}


def test_since_leaves_out_what_is_older(world: World) -> None:
    world.put("in/d/a")
    world.bring("in/d/", "d", ["a"])
    world.target.put("/landing/d/old", b"")
    world.later()
    world.options = ReconcileOptions(since=world.clock.now())
    world.put("in/d/b")
    world.target.put("/landing/d/stray", b"")
    world.later()
    assert world.classes() == {"d/b": "missing", "d/stray": "extra"}


@pytest.mark.parametrize("is_spread", [False, True])
def test_many_findings_are_looked_up_together(world: World, *, is_spread: bool) -> None:
    world.put("in/d/a")
    world.bring("in/d/", "d", ["a"])
    names = [f"m{number:03}" for number in range(50)]
    world.put(*(f"in/d/{name}" for name in names))
    if is_spread:
        world.put(*(f"in/d/m{number:03}/x{n}" for number in range(50) for n in range(70)))
        world.target.mkdirs("/landing/d")
        world.bring("in/d/", "d", [f"m{number:03}/x{n}" for number in range(50) for n in range(70)])
    world.later()

    def without(page: ListedPage) -> ListedPage:
        return _without("in/d/m007")(page)

    listed = world.store.list_page
    calls = []

    def counted(*args: Any, **named: Any) -> ListedPage:
        calls.append(named.get("page_size"))
        page = listed(*args, **named)
        return without(page) if len(calls) > (4 if is_spread else 1) else page

    world.store.list_page = counted  # type: ignore[method-assign]
    found = {name: kind for name, kind in world.classes().items() if kind != "same"}
    assert found == {f"d/{name}": "missing" for name in names if name != "m007"}
    assert len(calls) < (60 if is_spread else 5)


# ---------------------------------------------------------------- in parts


def a_route_with_marks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "MARK_EVERY", 7)
    names = [f"d{number % 4}/f{number:02}" for number in range(40)]
    world.put(*(f"in/d/{name}" for name in names))
    world.bring("in/d/", "d", names)
    world.later()
    world.put("in/d/d1/new", "in/d/d3/new", "in/z")
    world.target.put("/landing/d/d2/stray", b"1")
    world.target.put("/landing/d/d0/f00", b"12345")
    world.later()


@pytest.mark.parametrize("jobs", [1, 3])
def test_in_parts_the_report_is_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, jobs: int
) -> None:
    a_route_with_marks(world, monkeypatch)
    whole = world.reconcile()[1]
    state = tmp_path / "state"
    world.options = ReconcileOptions(state=state, jobs=jobs)
    totals, found = world.reconcile()
    assert list(found.items()) == list(whole.items())
    assert (len(found), totals.findings) == (44, 5)
    assert list(state.iterdir()) == []
    world.options = ReconcileOptions(jobs=jobs)
    assert world.reconcile()[1] == whole


def test_a_comparison_that_was_ended_goes_on_and_reports_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    a_route_with_marks(world, monkeypatch)
    whole = world.reconcile()[1]
    state = tmp_path / "state"
    world.options = ReconcileOptions(state=state)
    walk, walked = FakeTarget.statuses, []

    def ends(target: FakeTarget, path: str) -> Any:
        walked.append(path)
        if len(walked) > 12:
            raise TransientError("E_WORKER_DIED", "killed")
        return walk(target, path)

    with monkeypatch.context() as patched:
        patched.setattr(FakeTarget, "statuses", ends)
        with pytest.raises(TransientError):
            world.reconcile()
    parts = sorted(one.name for one in state.glob("part-*.jsonl"))
    assert 0 < len(parts) < 6
    kept = {name: (state / name).stat().st_mtime_ns for name in parts}
    (state / f"part-{len(parts):06}.partial").write_text("[half a li")
    world.put("in/d/d0/f00", data=b"what is new in a part that is complete is not looked at again")
    with monkeypatch.context() as patched:
        patched.setattr(PartFiles, "remove", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            world.reconcile()
    assert {name: (state / name).stat().st_mtime_ns for name in parts} == kept
    assert world.reconcile()[1] == whole
    world.options = ReconcileOptions(state=state, settle=timedelta(0))
    assert world.reconcile()[1] != whole


def test_parts_that_are_compared_later_are_judged_by_the_time_then(
    world: World, tmp_path: Path
) -> None:
    """Ages from the first start hid a day of missing objects, and blamed S3's clock for it."""
    world.put("in/a/x", "in/b/x")
    world.bring("in/", "", ["a/x", "b/x"])
    world.later()
    world.options = ReconcileOptions(state=tmp_path / "state")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PartFiles, "run", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            world.reconcile()
    world.later()
    world.put("in/b/missing")
    world.later(20 * HOUR)
    world.put("in/b/young")
    _, found = world.reconcile()
    assert found["b/missing"].found is ObjectClass.MISSING
    assert (found["b/young"].found, found["b/young"].why) == (
        ObjectClass.TOO_YOUNG,
        "written 0 s ago",
    )


def test_a_long_comparison_does_not_take_its_own_length_for_a_wrong_clock(world: World) -> None:
    world.put("in/d/a")
    world.bring("in/d/", "d", ["a"])
    listed = world.store.list_page

    def hours_later(*args: Any, **named: Any) -> ListedPage:
        world.later()
        world.put("in/d/written")
        return listed(*args, **named)

    world.store.list_page = hours_later  # type: ignore[method-assign]
    _, found = world.reconcile()
    assert found["d/written"].found is ObjectClass.TOO_YOUNG
    assert found["d/written"].why == "written 0 s ago"


def _interrupted(*_any: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"other": "1"}, "no plan of a comparison"),
        ({"plan.json": '{"terraform_version": "1.5"}'}, "no plan of a comparison"),
        ({"part-000000.jsonl": "", "notes": ""}, "no plan of a comparison"),
    ],
)
def test_a_directory_with_something_else_is_refused(
    world: World, tmp_path: Path, content: dict[str, str], why: str
) -> None:
    world.put("in/d/a")
    world.bring("in/d/", "d", ["a"])
    for name, text in content.items():
        (tmp_path / "state").mkdir(exist_ok=True)
        (tmp_path / "state" / name).write_text(text)
    world.options = ReconcileOptions(state=tmp_path / "state")
    with pytest.raises(BadArgument, match=why) as caught:
        world.reconcile()
    assert caught.value.code == "E_RECONCILE_STATE"


def test_without_proofs_the_targets_first_directories_are_the_parts(
    world: World, tmp_path: Path
) -> None:
    world.route = replace(world.route, event_destination="/landing/{rel_dir}/")
    for number in range(9):
        world.put(f"in/d{number % 3}/f{number}")
        world.target.put(f"/landing/d{number % 3}/f{number}", b"data")
    world.target.put("/landing/d1.x", b"data")
    world.later()
    whole = world.reconcile()[1]
    state = tmp_path / "state"
    world.options = ReconcileOptions(state=state, jobs=2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PartFiles, "remove", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            world.reconcile()
    assert len(list(state.glob("part-*.jsonl"))) == 4
    assert world.reconcile()[1] == whole
    assert len(whole) == 10


# ---------------------------------------------------------------- the report


def test_lines_for_programs_and_in_rclones_form(world: World) -> None:
    world.put("in/d/a", "in/d/b")
    world.bring("in/d/", "d", ["a", "b"])
    world.later()
    world.put("in/d/c")
    world.target.put("/landing/d/x\ny", b"1")
    world.target.put("/landing/d/b", b"1234")
    world.later()
    _, found = world.reconcile()
    lines = [combined(one, LANDING) for one in found.values()]
    assert lines == ["= d/a", "! d/b", "+ d/c", "- d/x\\ny"]
    assert as_json(found["d/c"], FS) == (
        '{"v": 1, "class": "missing", "source": "s3://raw/in/d/c",'
        ' "target": "hdfs://nn1:8020/landing/d/c", "size": 4,'
        ' "why": "no transfer brought it", "transfer": null}'
    )
    checker = Checker(json.loads((SCHEMAS / "reconcile.schema.json").read_text("utf-8")))
    for one in found.values():
        assert checker.accepts(json.loads(as_json(one, FS)))
