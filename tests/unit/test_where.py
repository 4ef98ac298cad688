"""From a path to what brought it, and from a source to where it went."""

from __future__ import annotations

import json
import random
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backhaul.adapters.ledger import SqlLedger, open_ledger, open_reader
from backhaul.adapters.ledger.reading import locating, plan_search
from backhaul.app import where
from backhaul.app.places import SourcePlace, TargetPlace, parse_place
from backhaul.app.where import find_where
from backhaul.app.where_document import where_as_text
from backhaul.app.whereabouts import Presence, Relation, Whereabouts
from backhaul.cli import cli
from backhaul.core.checksums import Checksum
from backhaul.core.errors import BackhaulError, BadArgument, PermanentError
from backhaul.core.model import Assignment, Hold, Location, NameMap, Request, Source, TransferState
from backhaul.core.objects import Pin, PlannedObject, Proof, StagedObject
from backhaul.core.ports import MessageKey, MessageOrigin
from backhaul.core.requests.paths import map_name
from tests.docs.test_schemas import Checker, _schema

pytestmark = pytest.mark.slow  # ledgers of many transfers

T0 = datetime(2026, 11, 1, 3, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
QUEUE = "arn:aws:sqs:us-west-2:123456789012:work"
NS = "hdfs://nameservice"


def at(uri: str) -> Location:
    scheme, _, rest = uri.partition("://")
    authority, _, path = rest.partition("/")
    return Location(scheme=scheme, authority=authority, path=f"/{path}")


@dataclass(kw_only=True)
class World:
    """Fills a ledger; each transfer is a minute younger than the one before."""

    ledger: SqlLedger
    path: Path
    count: int = 0
    now: datetime = T0
    names: dict[str, str] = field(default_factory=dict)

    def begin(self, source: str, target: str) -> str:
        self.count += 1
        self.now += MINUTE
        new_id = f"0mh{self.count:05}"
        key = MessageKey(queue=QUEUE, message_id=f"message-{self.count}")
        origin = MessageOrigin(sender="AROAEXAMPLE:emr", sent_at=self.now - MINUTE)
        self.ledger.begin(key, new_id, source, target, self.now, origin=origin, route="click")
        return new_id

    def stage(
        self,
        source: str,
        target: str,
        relatives: Sequence[str],
        *,
        is_single: bool = False,
        is_complete: bool = True,
        keys: Sequence[str] | None = None,
    ) -> str:
        """Claimed and proven."""
        new_id = self.begin(source, target)
        bucket, _, prefix = source.removeprefix("s3://").partition("/")
        directory = at(target)
        if is_single:
            prefix, directory = prefix.rpartition("/")[0] + "/", directory.parent
            relatives = [at(target).path.rpartition("/")[2]]
        elif prefix and not prefix.endswith("/"):
            prefix += "/"
        plan = [
            PlannedObject(
                seq=seq,
                pin=Pin(
                    bucket=bucket,
                    key=keys[seq] if keys else f"{prefix}{relative}",
                    size_bytes=100 + seq,
                    etag=f"etag-{self.count}-{seq}",
                    last_modified=self.now,
                    version_id=f"v{self.count}",
                ),
                relative=relative,
            )
            for seq, relative in enumerate(relatives)
        ]
        claimed = self.ledger.claim(
            new_id,
            Assignment(
                request=Request(source=Source(bucket=bucket, key=prefix), destination=directory),
                route="click",
                anchor=directory,
            ),
            at(target),
            directory,
            directory=directory,
            first=plan,
            is_complete=is_complete,
            markers=0,
            min_epoch=1,
            now=self.now,
        )
        assert claimed is not None
        self.epoch = claimed.epoch
        self.ledger.record_staged(
            new_id,
            [
                StagedObject(
                    seq=one.seq,
                    size_bytes=one.pin.size_bytes,
                    content=Checksum("CRC32C", f"{self.count:08x}"),
                    proof=Proof.DIRECT,
                    algorithm="CRC32C",
                    checksum="C63K/g==",
                    target_checksum=Checksum("CRC32C", f"{self.count:08x}"),
                    checksum_source="datanode",
                    bytes_read=77,
                    proven_at=self.now,
                )
                for one in plan
            ],
        )
        return new_id

    def done(
        self,
        source: str,
        target: str,
        relatives: Sequence[str] = (),
        marker: str | None = None,
        **about: Any,
    ) -> str:
        new_id = self.stage(source, target, relatives, **about)
        self.ledger.intend(new_id, self.epoch, [], self.now)
        state, left = TransferState.DONE, at(marker) if marker else None
        assert self.ledger.finish(new_id, self.epoch, state, "tree", self.now, marker=left)
        return new_id

    def failed(self, transfer_id: str, state: TransferState, code: str) -> str:
        hold = Hold(dependency="hdfs", since=self.now) if state is TransferState.HELD else None
        self.ledger.fail(transfer_id, state, code, "the reason", self.now, hold=hold)
        return transfer_id


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    path = tmp_path / "ledger.db"
    with closing(open_ledger(path, create=True)) as ledger:
        yield World(ledger=ledger, path=path)


def look(world: World, text: str, **about: Any) -> Whereabouts:
    with closing(open_reader(world.path)) as reader:
        return find_where(reader, parse_place(text), **about)


def ids(found: Whereabouts) -> list[str]:
    return [one.transfer.id for one in found.passages]


def facts(found: Whereabouts) -> list[tuple[str, Relation, Presence]]:
    return [(one.transfer.id, one.relation, one.presence) for one in found.passages]


# ---------------------------------------------------------------- places


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/landing/a", TargetPlace(filesystem="", path="/landing/a")),
        ("/landing/a/", TargetPlace(filesystem="", path="/landing/a")),
        ("//landing///a//", TargetPlace(filesystem="", path="/landing/a")),
        ("/", TargetPlace(filesystem="", path="/")),
        ("hdfs://ns/a", TargetPlace(filesystem="hdfs://ns", path="/a")),
        ("hdfs://nn1:8020/a/", TargetPlace(filesystem="hdfs://nn1:8020", path="/a")),
        ("hdfs:///a", TargetPlace(filesystem="hdfs://", path="/a")),
        ("file:///mnt/a", TargetPlace(filesystem="file://", path="/mnt/a")),
        ("file:/mnt/a", TargetPlace(filesystem="file://", path="/mnt/a")),
        ("/odd name/é%3A*?\n", TargetPlace(filesystem="", path="/odd name/é%3A*?\n")),
        ("s3://b/k", SourcePlace(bucket="b", key="k")),
        ("s3a://b/k//x/", SourcePlace(bucket="b", key="k//x/")),
        ("s3://b", SourcePlace(bucket="b", key="")),
        ("s3://b/", SourcePlace(bucket="b", key="")),
    ],
)
def test_a_place_is_read_as_it_is_written(text: str, place: TargetPlace | SourcePlace) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("0mh3k2v1x", "backhaul show 0mh3k2v1x"),
        ("11111111-1111-4222-8333-444455556666", "dashboard"),
        ("landing/click", "s3://bucket/key"),
        ("", "s3://bucket/key"),
        ("s3://", "s3://bucket/key"),
        ("s3:///key", "s3://bucket/key"),
        ("webhdfs://nn1:9870/a", "s3://bucket/key"),
        ("https://b.s3.amazonaws.com/k", "s3://bucket/key"),
        ("hdfs://ns", "s3://bucket/key"),
        ("/landing/../etc", "s3://bucket/key"),
        ("/landing/./a", "s3://bucket/key"),
        ("/a" * 20_000, "s3://bucket/key"),
        ("s3://raw/" + "é" * 513, "s3://bucket/key"),
    ],
)
def test_what_is_no_place_is_refused_with_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(BadArgument, match="E_WHERE") as caught:
        parse_place(text)
    assert hint in caught.value.hint


def test_a_secret_in_what_is_no_place_is_not_repeated() -> None:
    with pytest.raises(BadArgument) as caught:
        parse_place("https://user:c4n4ry@host/x")
    assert "c4n4ry" not in caught.value.message


# ---------------------------------------------------------------- files


def test_a_file_leads_to_its_source_its_message_and_its_proof(world: World) -> None:
    name = world.done("s3://raw/click/day=01/", f"{NS}/landing/day=01", ["a", "b"])
    found = look(world, "/landing/day=01/b")
    (now,) = found.now
    assert now.published.location.uri == f"{NS}/landing/day=01/b"
    assert (now.published.pin.key, now.published.pin.version_id) == ("click/day=01/b", "v1")
    (passage,) = found.passages
    assert now.passage == passage
    assert (passage.relation, passage.presence) == (Relation.FILE, Presence.NOW)
    row = passage.transfer
    assert (row.id, row.message_id, row.sender) == (name, "message-1", "AROAEXAMPLE:emr")
    assert passage.evidence is not None
    assert passage.evidence.staged is not None
    assert passage.evidence.staged.proof is Proof.DIRECT
    assert passage.target == f"{NS}/landing/day=01/b"


def test_earlier_contents_of_a_path_are_its_history_newest_first(world: World) -> None:
    tree = ["a", "b"]
    first = world.done("s3://raw/x/", f"{NS}/landing/x", tree)
    second = world.done("s3://raw/x/", f"{NS}/landing/x", tree)
    world.done("s3://raw/other/", f"{NS}/landing/other", tree)
    single = world.done("s3://raw/fix/b", f"{NS}/landing/x/b", is_single=True)
    found = look(world, f"{NS}/landing/x/b")
    assert facts(found) == [
        (single, Relation.FILE, Presence.NOW),
        (second, Relation.FILE, Presence.REPLACED),
        (first, Relation.FILE, Presence.REPLACED),
    ]
    assert [one.published.transfer_id for one in found.now] == [single]
    assert [one.evidence and one.evidence.planned.pin.version_id for one in found.passages] == [
        *("v4", "v2", "v1")
    ]
    found = look(world, f"{NS}/landing/x")
    assert facts(found) == [
        (single, Relation.WHOLE, Presence.NOW),
        (second, Relation.WHOLE, Presence.PARTLY),
        (first, Relation.WHOLE, Presence.REPLACED),
    ]
    assert not found.now, "a directory is no file"


def test_only_the_newest_are_given_and_the_file_there_now_all_the_same(world: World) -> None:
    there = world.done("s3://raw/x/a", f"{NS}/landing/a", is_single=True)
    dead = [
        world.failed(
            world.stage("s3://raw/x/a", f"{NS}/landing/a", (), is_single=True),
            TransferState.DEAD,
            "E_X",
        )
        for _ in range(3)
    ]
    found = look(world, "/landing/a", most=2)
    assert ids(found) == dead[:0:-1]
    assert found.has_more
    assert found.now[0].passage is not None
    assert found.now[0].passage.transfer.id == there
    assert not look(world, "/landing/a", most=4).has_more


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_a_file_is_found_at_every_position_of_its_plan(
    world: World, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """By halving, and the neighbours of each name are not."""
    monkeypatch.setattr(plan_search, "OBJECTS_AT_ONCE", 1)
    names = sorted(f"d{number % 3}/p-{number:03}" for number in range(0, 2 * count, 2))
    name = world.done("s3://raw/x/", f"{NS}/landing/x", names)
    for seq, relative in enumerate(names):
        (passage,) = look(world, f"/landing/x/{relative}").passages
        assert (passage.transfer.id, passage.relation) == (name, Relation.FILE)
        assert passage.evidence is not None
        assert passage.evidence.planned.seq == seq
        for other in (relative[:-1], f"{relative}0", f"{relative}/x"):
            assert not look(world, f"/landing/x/{other}").is_known
    below = [one for one in names if one.startswith("d0/")]
    (passage,) = look(world, "/landing/x/d0").passages
    assert passage.relation is Relation.PART
    assert passage.span is not None
    assert passage.span.objects == len(below)


def test_a_plan_out_of_order_is_searched_through(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_search, "OBJECTS_AT_ONCE", 3)
    names = [f"d{number % 2}/{number:02}" for number in range(17)]
    random.Random(3).shuffle(names)
    world.done("s3://raw/x/", f"{NS}/landing/x", names)
    for seq, relative in enumerate(names):
        (passage,) = look(world, f"/landing/x/{relative}").passages
        assert passage.evidence is not None
        assert passage.evidence.planned.seq == seq
    (passage,) = look(world, "/landing/x/d1").passages
    assert passage.span is not None
    assert (passage.span.objects, passage.relation) == (8, Relation.PART)
    assert not look(world, "/landing/x/d1/99").is_known


ODD = [
    "a",
    "a-b",
    "a.b",
    "a/b",
    "a b",
    "a+b",
    "é/ü",
    "日本",
    "%41",
    "x=1/y=%2F",
    "~",
    "Z",
    "_SUCCESS",
]


@pytest.mark.parametrize("name_map", list(NameMap))
def test_odd_names_are_found_as_they_are(world: World, name_map: NameMap) -> None:
    clashing = sorted(set(ODD) - {"a"}) + (["c:d"] if name_map is NameMap.PERCENT else [])
    keys = sorted(clashing)
    relatives = [map_name(key, name_map) for key in keys]
    world.done("s3://raw/p/", f"{NS}/landing/p", relatives, keys=[f"p/{key}" for key in keys])
    for key, relative in zip(keys, relatives, strict=True):
        (passage,) = look(world, f"{NS}/landing/p/{relative}").passages
        assert (passage.relation, passage.presence) == (Relation.FILE, Presence.NOW), relative
        (passage,) = look(world, f"s3://raw/p/{key}").passages
        assert (passage.relation, passage.target) == (
            Relation.FILE,
            f"{NS}/landing/p/{relative}",
        ), key


def test_a_name_with_its_escapes_written_out_is_another_name(world: World) -> None:
    world.done("s3://raw/p/", f"{NS}/landing/p", ["_SUCCESS", "d/a"])
    for other in ("%5fSUCCESS", "%64", "%64/a", "d%2fa"):
        assert not look(world, f"{NS}/landing/p/{other}").is_known, other


def test_a_request_for_the_root_is_listed_once(world: World) -> None:
    dead = world.failed(world.begin("s3://raw/x/", "/"), TransferState.DEAD, "E_POLICY_DEST")
    assert ids(look(world, "/")) == [dead]


def test_half_a_name_is_no_directory(world: World) -> None:
    world.done("s3://raw/day=1/", f"{NS}/landing/day=1", ["a"])
    world.done("s3://raw/day=10/", f"{NS}/landing/day=10", ["a"])
    assert len(look(world, "/landing/day=1").passages) == 1
    assert len(look(world, "s3://raw/day=1").passages) == 1
    assert len(look(world, "s3://raw/day=1/").passages) == 1
    assert not look(world, "/landing/day").is_known
    assert not look(world, "s3://raw/day").is_known


# ---------------------------------------------------------------- file systems


def test_a_bare_path_is_looked_for_on_every_file_system(world: World) -> None:
    one = world.done("s3://raw/x/", f"{NS}/landing/x", ["a"])
    two = world.done("s3://raw/x/", "file:///landing/x", ["a"])
    found = look(world, "/landing/x/a")
    assert ids(found) == [two, one]
    assert {now.published.location.uri for now in found.now} == {
        *(f"{NS}/landing/x/a", "file:///landing/x/a")
    }
    assert ids(look(world, "hdfs:///landing/x/a")) == [one]
    assert ids(look(world, "file:///landing/x/a")) == [two]


def test_a_file_system_under_another_name_is_named(world: World) -> None:
    world.done("s3://raw/x/", "hdfs://nn1:8020/landing/x", ["a"])
    assert look(world, "hdfs://NN1/landing/x/a").is_known
    found = look(world, f"{NS}/landing/x/a")
    assert not found.is_known
    assert found.elsewhere == ("hdfs://nn1:8020",)
    assert look(world, f"{NS}/landing/none").elsewhere == ()


# ---------------------------------------------------------------- directories


def test_a_directory_has_what_was_brought_there_below_it_and_from_above(world: World) -> None:
    above = world.done("s3://raw/", f"{NS}/landing", ["click/day=1/a", "other/b"])
    there = world.done("s3://raw/click/day=1/", f"{NS}/landing/click/day=1", ["c"])
    below = world.done("s3://raw/z", f"{NS}/landing/click/day=1/z", is_single=True)
    world.done("s3://raw/else/", f"{NS}/landing/else", ["a"])
    found = look(world, "/landing/click/day=1/")
    assert facts(found) == [
        (below, Relation.WHOLE, Presence.NOW),
        (there, Relation.WHOLE, Presence.NOW),
        (above, Relation.PART, Presence.NOW),
    ]
    assert len(look(world, "/landing").passages) == 4
    assert len(look(world, "/").passages) == 4
    assert len(look(world, f"{NS}/").passages) == 4


def test_the_newest_of_very_many_below_a_directory_are_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By either way, and equal to looking at all."""
    made: dict[str, list[str]] = {"old": [], "new": [], "mixed": []}
    chance = random.Random(5)
    for number in range(60):
        group = "old" if number < 20 else "new" if number > 45 else chance.choice(["mixed", "new"])
        name = world.stage("s3://raw/x/", f"{NS}/{group}/{chance.random():.9f}", ["a"])
        made[group].insert(0, name)
    monkeypatch.setattr(where, "PIECE", 4)
    for walked in (1, 10, 1000):
        monkeypatch.setattr(where, "WALKED", walked)
        for group, every in made.items():
            for most in (1, 3, 100):
                found = look(world, f"/{group}", most=most)
                assert ids(found) == every[:most], (walked, group, most)
                assert found.has_more is (len(every) > most)


def test_when_its_time_is_used_up_it_reports_how_far_it_came(world: World) -> None:
    for _ in range(5):
        world.done("s3://raw/x/", f"{NS}/landing/x", ["a"])
    ticks = iter(range(0, 1000, 4))
    found = look(world, "/landing/x/a", monotonic=lambda: float(next(ticks)))
    assert 1 <= len(found.passages) < 5
    assert found.searched_to == found.passages[-1].transfer.first_seen_at
    assert found.now, "the file there now needs no search"


# ---------------------------------------------------------------- on its way, and dead


def test_what_is_on_its_way_to_a_path_is_found_before_it_claims(world: World) -> None:
    target = f"{NS}/landing/x"
    received = world.begin("s3://raw/x/", target)
    held = world.failed(world.begin("s3://raw/x/", target), TransferState.HELD, "E_S3_UNREACHABLE")
    dead = world.failed(world.begin("s3://raw/x/", target), TransferState.DEAD, "E_SRC_EMPTY")
    for other in ("", "/", "landing/x", "/landing/x2", "hdfs:/landing/x"):
        world.failed(world.begin("no message", other), TransferState.DEAD, "E_MSG_FORMAT")
    world.begin("s3://raw/y/", f"{NS}/landing/y")
    world.failed(world.begin("s3://raw/y/", f"{NS}/landing/y"), TransferState.DEAD, "E_SRC_EMPTY")
    unlisted = Relation.UNLISTED
    expected = [
        (dead, unlisted, Presence.DEAD),
        (held, unlisted, Presence.PENDING),
        (received, unlisted, Presence.PENDING),
    ]
    for text in ("/landing/x", f"{NS}/landing/x/", "/landing/x/part-0", "s3://raw/x/part-0"):
        assert facts(look(world, text)) == expected, text


def test_a_plan_that_is_not_listed_to_its_end_may_still_have_it(world: World) -> None:
    staging = world.stage("s3://raw/x/", f"{NS}/landing/x", ["a", "b"], is_complete=False)
    for text in ("/landing/x/c", "s3://raw/x/c"):
        assert facts(look(world, text)) == [(staging, Relation.UNLISTED, Presence.PENDING)]
    assert facts(look(world, "/landing/x/a")) == [(staging, Relation.FILE, Presence.PENDING)]
    world.failed(staging, TransferState.DEAD, "E_X")
    for text in ("/landing/x/c", "s3://raw/x/c"):
        assert facts(look(world, text)) == [(staging, Relation.UNLISTED, Presence.DEAD)]


def test_an_overtaken_event_replaced_nothing(world: World) -> None:
    first = world.done("s3://raw/a", f"{NS}/landing/a", is_single=True)
    late = world.stage("s3://raw/a", f"{NS}/landing/a", (), is_single=True)
    with closing(sqlite3.connect(world.path)) as connection, connection:
        connection.execute("DELETE FROM objects WHERE transfer_id = ?", (late,))
        connection.execute("UPDATE transfers SET objects_planned = 0 WHERE id = ?", (late,))
    state = TransferState.SUPERSEDED
    assert world.ledger.finish(late, world.epoch, state, "superseded", world.now, is_intended=False)
    expected = [
        (late, Relation.UNLISTED, Presence.NEWER_THERE),
        (first, Relation.FILE, Presence.NOW),
    ]
    assert facts(look(world, "/landing/a")) == expected
    assert facts(look(world, "s3://raw/a")) == expected


# ---------------------------------------------------------------- sources


def test_an_object_leads_to_every_destination(world: World) -> None:
    tree = world.done("s3://raw/click/", f"{NS}/landing/click", ["day=1/a", "day=2/a"])
    single = world.done("s3://raw/click/day=1/a", f"{NS}/audit/a", is_single=True)
    moving = world.stage("s3://raw/click/day=1/", "file:///mnt/day=1", ["a", "b"])
    world.done("s3://raw/click/day=2/", f"{NS}/else", ["a"])
    world.done("s3://other/click/day=1/", f"{NS}/foreign", ["a"])
    for scheme in ("s3", "s3a"):
        found = look(world, f"{scheme}://raw/click/day=1/a")
        assert [(one.transfer.id, one.presence, one.target) for one in found.passages] == [
            (moving, Presence.PENDING, "file:///mnt/day=1/a"),
            (single, Presence.NOW, f"{NS}/audit/a"),
            (tree, Presence.NOW, f"{NS}/landing/click/day=1/a"),
        ]
        assert {one.relation for one in found.passages} == {Relation.FILE}


def test_a_prefix_leads_to_every_destination_of_what_is_below_it(world: World) -> None:
    tree = world.done("s3://raw/", f"{NS}/all", ["click/day=1/h=1/a", "click/day=2/a"])
    whole = world.done("s3://raw/click/day=1", f"{NS}/one", ["h=1/a"])
    below = world.done("s3://raw/click/day=1/h=1/a", f"{NS}/deep/a", is_single=True)
    # An object of the same name as the prefix, which no listing has beside what is below it.
    obj = world.done("s3://raw/click/day=1", f"{NS}/obj/day=1", is_single=True)
    expected = [
        (below, Relation.WHOLE, f"{NS}/deep/a"),
        (whole, Relation.WHOLE, f"{NS}/one"),
        (tree, Relation.PART, f"{NS}/all/click/day=1"),
    ]
    found = look(world, "s3://raw/click/day=1/")
    assert [(one.transfer.id, one.relation, one.target) for one in found.passages] == expected
    found = look(world, "s3://raw/click/day=1")
    assert [(one.transfer.id, one.relation, one.target) for one in found.passages] == [
        (obj, Relation.FILE, f"{NS}/obj/day=1"),
        *expected,
    ]
    assert len(look(world, "s3://raw").passages) == 4
    assert len(look(world, "s3://raw/").passages) == 4


def test_a_source_with_what_looks_like_a_secret_is_found(world: World) -> None:
    name = world.done("s3://raw/x/user:pass@y/", f"{NS}/landing/y", ["a"])
    with closing(open_reader(world.path)) as reader:
        assert "pass" not in reader.transfer(name).source
    assert ids(look(world, "s3://raw/x/user:pass@y/a")) == [name]
    assert ids(look(world, "s3://raw/x/user:pass@y/")) == [name]


# ---------------------------------------------------------------- nothing


def test_of_what_is_not_known_the_nearest_place_is_named(world: World) -> None:
    world.done("s3://raw/click/day=1/", f"{NS}/landing/click/day=1", ["a"])
    assert look(world, "/landing/click/day=9/h=1/x").nearest == f"{NS}/landing/click"
    assert look(world, "/landing/click/day=1/x").nearest == f"{NS}/landing/click/day=1"
    assert look(world, "s3://raw/click/day=9/h=1/x").nearest == "s3://raw/click/"
    assert look(world, "s3://raw/none").nearest == "s3://raw/"
    assert look(world, "s3://none/x").nearest is None
    assert look(world, "/none/x").nearest is None


# ---------------------------------------------------------------- any world, by an oracle


def test_any_world_is_as_looking_at_every_object_has_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trees and single objects at overlapping paths, against sets in memory."""
    monkeypatch.setattr(plan_search, "OBJECTS_AT_ONCE", 2)
    monkeypatch.setattr(where, "PIECE", 3)
    monkeypatch.setattr(where, "WALKED", 2)
    chance = random.Random(11)
    parts = ["a", "b", "a.b", "a-b"]
    brought: dict[str, dict[str, str]] = {}  # transfer to path, to key
    there: dict[str, str] = {}
    for _ in range(40):
        depth = chance.randrange(1, 3)
        top = "/".join(chance.choice(parts) for _ in range(depth))
        if chance.random() < 0.3:
            name = world.done(f"s3://raw/{top}/f", f"{NS}/d/{top}/f", is_single=True)
            brought[name] = {f"/d/{top}/f": f"{top}/f"}
        else:
            files = sorted({f"{chance.choice(parts)}/f{chance.randrange(3)}" for _ in range(4)})
            name = world.done(f"s3://raw/{top}/", f"{NS}/d/{top}", files)
            brought[name] = {f"/d/{top}/{one}": f"{top}/{one}" for one in files}
        there |= dict.fromkeys(brought[name], name)
    places = {path for files in brought.values() for path in files}
    places |= {path.rpartition("/")[0] for path in places} | {"/d/a/a/a/a", "/d/b/f9"}
    for path in sorted(places):
        for text, side in ((path, 0), (f"s3://raw/{path.removeprefix('/d/')}", 1)):
            wanted = path if side == 0 else path.removeprefix("/d/")
            expected = [
                name
                for name, files in sorted(brought.items(), reverse=True)
                if any(
                    one[side] == wanted or one[side].startswith(f"{wanted}/")
                    for one in files.items()
                )
            ]
            found = look(world, text, most=100)
            assert ids(found) == expected, text
            for one in found.passages:
                mine_of = brought[one.transfer.id]
                mine = [
                    file
                    for file, key in mine_of.items()
                    if (file, key)[side] == wanted or (file, key)[side].startswith(f"{wanted}/")
                ]
                assert one.span is not None
                assert one.span.objects == len(mine)
                assert one.files is not None
                assert one.files.there == sum(there[file] == one.transfer.id for file in mine)


# ---------------------------------------------------------------- transactions


def test_every_query_goes_by_an_index_and_sorts_nothing_large(world: World) -> None:
    from sqlalchemy import event

    world.done("s3://raw/x/", f"{NS}/landing/x", ["a"])
    world.begin("s3://raw/x/", f"{NS}/landing/x")
    seen: list[tuple[str, Any]] = []
    with closing(open_reader(world.path)) as reader:

        def note(_: object, __: object, text: str, values: object, *___: object) -> None:
            seen.append((text, values))

        event.listen(reader._engine, "before_cursor_execute", note)
        for text in ("/landing/x/a", "/landing", "s3://raw/x/a", "s3://raw/", "/none"):
            find_where(reader, parse_place(text))
        reader.in_key_order("s3://raw/", after=("s3://raw/x", "0"))
        for end in locating.TransferEnd:
            reader.below(end, f"{NS}/", after=(f"{NS}/a", "0"), scan=5, most=5)
    with closing(sqlite3.connect(world.path)) as connection:
        for text, values in seen:
            if text.startswith(("BEGIN", "PRAGMA")):
                continue
            plan = connection.execute(f"EXPLAIN QUERY PLAN {text}", values).fetchall()
            for row in plan:
                assert not re.match(
                    r"SCAN (TABLE )?(transfers|objects|published)(?! USING)", row[3]
                ), (
                    text,
                    plan,
                )


def test_transfers_of_a_source_come_in_key_order_piece_by_piece(world: World) -> None:
    made = [
        (f"s3://raw/{key}", world.begin(f"s3://raw/{key}", f"{NS}/x"))
        for key in ("b/", "a/", "a/1", "a-1", "b/", "c/")
    ]
    world.begin("s3://raw2/a/", f"{NS}/x")
    with closing(open_reader(world.path)) as reader:
        for scan in (1, 2, 100):
            found: list[tuple[str, str]] = []
            after: tuple[str, str] | None = None
            while True:
                page, after = reader.in_key_order("s3://raw/", after=after, scan=scan)
                found += [(one.source, one.id) for one in page]
                if after is None:
                    break
            assert found == sorted(made)
        assert reader.in_key_order("s3://raw/", route="other") == ([], None)
        assert len(reader.in_key_order("s3://raw/", route="click")[0]) == len(made)
        page, _ = reader.in_key_order("s3://raw/b")
        assert [one.source for one in page] == ["s3://raw/b/"] * 2


# ---------------------------------------------------------------- the command


def run(world: World, *arguments: str) -> Result:
    done = CliRunner().invoke(
        cli, ["where", *arguments, "--ledger", str(world.path)], standalone_mode=False
    )
    assert done.exception is None or isinstance(done.exception, BackhaulError), done.exc_info
    return done


def test_the_command_shows_a_file_with_its_history(world: World) -> None:
    first = world.done("s3://raw/x/", f"{NS}/landing/x", ["a"])
    second = world.done("s3://raw/x/", f"{NS}/landing/x", ["a"])
    out = run(world, "/landing/x/a").stdout
    head, _, rest = out.partition("other transfers, newest first")
    for fact in (
        *(f"now at {NS}/landing/x/a", "s3://raw/x/a", "version    v2", "etag-2-0", "100 B"),
        *(
            "CRC32C     00000002",
            "direct: S3's CRC32C C63K/g==",
            "from datanode",
            "read       77 B from S3",
            second,
        ),
        *("route click", f"message-2 on {QUEUE}", "AROAEXAMPLE:emr"),
    ):
        assert fact in head, fact
    assert second not in rest
    for fact in (first, "replaced since", "version v1", "message-1"):
        assert fact in rest, fact


def test_the_command_shows_where_an_object_went_in_honest_words(world: World) -> None:
    target = f"{NS}/landing/x"
    world.done("s3://raw/x/", target, ["a"])
    world.failed(world.stage("s3://raw/x/", target, ["a"]), TransferState.DEAD, "E_DST_DENIED")
    world.failed(world.begin("s3://raw/x/", target), TransferState.HELD, "E_S3_UNREACHABLE")
    world.stage("s3://raw/x/", f"{NS}/two", ["a", "b"])
    out = run(world, "s3://raw/x/a").stdout
    for fact in (
        *("there now", f"{target}/a", "brought nothing: dead, E_DST_DENIED: the reason"),
        *(
            "on its way: held by hdfs, not listed to its end, E_S3_UNREACHABLE",
            "on its way: staging",
        ),
    ):
        assert fact in out, fact
    out = run(world, "s3://raw/x/").stdout
    assert "there now, 1 object, 100 B" in out
    assert "on its way: staging, 2 objects, 201 B" in out


def test_the_command_counts_what_it_leaves_out(world: World) -> None:
    for _ in range(3):
        world.done("s3://raw/x/", f"{NS}/landing/x", ["a"])
    done = run(world, "/landing/x", "--limit", "2")
    assert "the newest 2 are shown; --limit shows more" in done.stderr
    assert not run(world, "/landing/x", "--limit", "3").stderr


def test_what_the_ledger_does_not_know_is_one_sentence_and_65(world: World) -> None:
    name = world.done("s3://raw/x/", f"{NS}/landing/x", ["a"])
    for place, message, hint in (
        ("/landing/x/b", "brought anything to /landing/x/b", f"backhaul where {NS}/landing/x"),
        ("s3://raw/x/b", "taken anything from s3://raw/x/b", "backhaul where s3://raw/x/"),
        ("hdfs://nn9/landing/x/a", "brought anything to hdfs://nn9/landing/x/a", NS),
        ("s3://none/x", "taken anything from s3://none/x", "byte for byte"),
        (
            f"/landing/x/.backhaul-{name}.jsonl",
            "brought anything",
            f"backhaul show {name} --evidence",
        ),
    ):
        error = run(world, place).exception
        assert isinstance(error, PermanentError)
        assert (error.code, error.exit_code) == ("E_WHERE_NOTHING", 65)
        assert message in error.message
        assert hint in error.hint, place


def test_what_is_no_place_is_64_without_a_ledger(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        cli, ["where", "0mh3k2v1x", "--ledger", str(tmp_path / "none")], standalone_mode=False
    )
    assert isinstance(done.exception, BackhaulError)
    assert (done.exception.code, done.exception.exit_code) == ("E_WHERE", 64)


def test_a_directory_that_was_partly_replaced_is_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"f{number}" for number in range(6)]
    world.done("s3://raw/x/", f"{NS}/landing/x", names)
    assert "there now, 6 objects, 615 B" in run(world, "/landing/x").stdout
    world.done("s3://raw/x/f1", f"{NS}/landing/x/f1", is_single=True)
    assert "partly replaced: 5 of 6 files there now" in run(world, "/landing/x").stdout
    monkeypatch.setattr(where, "FILES_CHECKED", 3)
    assert "partly replaced: 2 of the first 3 files there now" in run(world, "/landing/x").stdout
    monkeypatch.setattr(where, "FILES_CHECKED", 1)
    assert "there now, judging by the first 1 file" in run(world, "/landing/x").stdout


def test_what_is_not_in_the_ledger_is_not_called_replaced(world: World) -> None:
    world.done("s3://raw/x/", f"{NS}/landing/x", ["a"])
    with closing(sqlite3.connect(world.path)) as connection, connection:
        connection.execute("DELETE FROM published")
    found = look(world, "/landing/x/a")
    assert [one.presence for one in found.passages] == [Presence.UNKNOWN]
    assert "brought; what is there now is not known" in run(world, "s3://raw/x/a").stdout


def test_a_terminal_gets_no_control_characters(world: World) -> None:
    world.done("s3://raw/x/", f"{NS}/landing/x", ["a\x1b[31m\nb"])
    for place in ("/landing/x/a\x1b[31m\nb", "s3://raw/x/a\x1b[31m\nb", "/landing/y\x1b[31m"):
        done = run(world, place)
        text = done.stdout + (
            done.exception.message if isinstance(done.exception, BackhaulError) else ""
        )
        assert "\x1b" not in text


# ---------------------------------------------------------------- programs


def documents(world: World) -> Iterator[dict[str, Any]]:
    for place in ("/landing/x/a", "/landing", "s3://raw/x/a", "s3://raw/", "/none", "s3://b/n"):
        done = run(world, place, "--json")
        (line,) = done.stdout.splitlines()
        yield json.loads(line)


def test_programs_get_one_document_of_the_published_form(world: World) -> None:
    world.done("s3://raw/x/", f"{NS}/landing/x", ["a"])
    world.done("s3://raw/x/a", f"{NS}/landing/x/a", is_single=True)
    world.failed(world.begin("s3://raw/x/", f"{NS}/landing/x"), TransferState.HELD, "E_S3")
    checker = Checker(_schema("where"))
    every = list(documents(world))
    for one in every:
        assert checker.accepts(one), one
        assert not checker.accepts({**one, "v": 2})
        for name in one:
            assert not checker.accepts({k: v for k, v in one.items() if k != name}), name
    file, directory, source = every[:3]
    assert (file["kind"], file["v"]) == ("path", 1)
    assert file["now"][0]["passage"] == file["transfers"][1]
    assert file["now"][0]["target"] == f"{NS}/landing/x/a"
    assert file["transfers"][1]["evidence"]["checksum"] == "C63K/g=="
    assert file["transfers"][1]["message_id"] == "message-2"
    assert [one["presence"] for one in directory["transfers"]] == ["pending", "now", "replaced"]
    assert (source["kind"], len(source["transfers"])) == ("source", 3)
    assert every[4]["transfers"] == []


def test_the_row_of_a_transfer_may_be_gone(world: World) -> None:
    name = world.done("s3://raw/x/", f"{NS}/landing/x", ["a"])
    with closing(sqlite3.connect(world.path)) as connection, connection:
        for table in ("objects", "journal", "seals"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours
        connection.execute("UPDATE destinations SET owner_transfer = NULL")
        connection.execute("DELETE FROM transfers")
    found = look(world, f"{NS}/landing/x/a")
    (now,) = found.now
    assert (now.passage, now.published.transfer_id) == (None, name)
    assert json.loads(where_as_text(found))["now"][0]["passage"] is None
    assert "the ledger has no more of it" in run(world, f"{NS}/landing/x/a").stdout


# ---------------------------------------------------------------- completion markers


def test_completion_marker_leads_to_its_transfer(world: World) -> None:
    left = f"{NS}/landing/x/_SUCCESS"
    first = world.done("s3://raw/x/", f"{NS}/landing/x", ["a"], marker=left)
    found = look(world, "/landing/x/_SUCCESS")
    assert found.is_known
    assert [(one.uri, one.transfer_id) for one in found.markers] == [(left, first)]
    second = world.done("s3://raw/x/", f"{NS}/landing/x", ["a"], marker=left)
    assert [one.transfer_id for one in look(world, left).markers] == [second]
    assert look(world, "/landing/x/a").markers == ()


def test_file_of_the_source_published_since_is_no_completion_marker(world: World) -> None:
    left = f"{NS}/landing/x/_SUCCESS"
    world.done("s3://raw/x/", f"{NS}/landing/x", ["a"], marker=left)
    world.done("s3://raw/x/", f"{NS}/landing/x", ["_SUCCESS"])
    found = look(world, left)
    assert found.markers == ()
    assert len(found.now) == 1
