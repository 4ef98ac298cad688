"""A claim in one round trip leaves the rows of the ordinary one, or it is left to that one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.ledger import SqlLedger, open_ledger
from backhaul.adapters.ledger.dialects.database import DirectClaim, LedgerTurn, PreparedClaim
from backhaul.adapters.ledger.postgres import direct_claim, moment
from backhaul.adapters.ledger.postgres.faults import PostgresDatabase
from backhaul.adapters.ledger.postgres.moment import ServerMoment
from backhaul.adapters.ledger.schema import metadata, micros
from backhaul.core.errors import BackhaulError, FencedOff, LedgerDamaged
from backhaul.core.model import EventFacts, Limits, TransferState
from backhaul.core.ports import Claimed, MessageKey
from backhaul.core.ports.ledger_place import PostgresUrl
from tests.contract import test_ledger_replies as replying
from tests.contract.test_ledger import (
    DAY,
    JOB,
    LANDING,
    T0,
    begin,
    claim,
    fail,
    finished,
    planned,
)
from tests.ledger_places import ledger_place, statement

pytestmark = pytest.mark.integration
ODD = DAY.join('it\'s 100%% \\ {x,"y"} NULL é\U0001f600')


@dataclass
class Scene:
    """A ledger, and what became of each claim that it was to make in one round trip.

    Attributes:
        epochs: None: it was left to the ordinary way.
    """

    place: PostgresUrl
    ledger: SqlLedger
    epochs: list[int | None] = field(default_factory=list)

    def run(self, sql: str) -> list[Any]:
        return statement(self.place, sql)

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """All of the ledger but what differs each time: ids of processes, the server's clock."""
        found: dict[str, list[dict[str, Any]]] = {}
        for table in metadata.sorted_tables:
            if table.name in {"meta", "members"}:
                continue
            names = [one.name for one in table.columns if one.name != "claimed_at"]
            listed = ", ".join(f'"{name}"' for name in names)
            rows = self.run(f"SELECT {listed} FROM {table.name} ORDER BY {listed}")  # noqa: S608
            found[table.name] = [
                {name: _nameless(value) for name, value in zip(names, row, strict=True)}
                for row in rows
            ]
        return found


def _nameless(value: Any) -> Any:
    return re.sub(r":[0-9a-f]{32}$", ":process", value) if isinstance(value, str) else value


Act = Callable[[Scene], object]
Open = Callable[..., Scene]


@pytest.fixture
def scene_of(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """A new ledger, where claims are made in one round trip, or in the ordinary way."""
    opened: list[Scene] = []
    directly = PostgresDatabase.claim_directly

    def open_scene(*, is_direct: bool) -> Scene:
        for one in opened:
            one.ledger.close()
        place = ledger_place("postgres", request, tmp_path)
        assert isinstance(place, PostgresUrl)
        scene = Scene(place, open_ledger(place, create=True))

        def spied(self: PostgresDatabase, connection: Any, claim: PreparedClaim) -> int | None:
            epoch = directly(self, connection, claim) if is_direct else None
            scene.epochs.append(epoch)
            return epoch

        monkeypatch.setattr(PostgresDatabase, "claim_directly", spied)
        opened.append(scene)
        return scene

    yield open_scene
    for one in opened:
        one.ledger.close()


def _begin(scene: Scene, name: str = "t1") -> None:
    begin(scene.ledger, name, MessageKey(queue="work", message_id=name))


def with_a_plan(scene: Scene) -> Claimed | None:
    _begin(scene)
    page = [planned(0), planned(1, version_id="v'1"), planned(2, ODD.path, etag='"%s"')]
    return claim(scene.ledger, first=page, is_complete=True, markers=3)


def with_a_page(scene: Scene) -> Claimed | None:
    _begin(scene)
    return claim(scene.ledger, first=[planned(0)], markers=1)


def without_a_plan(scene: Scene) -> Claimed | None:
    _begin(scene)
    return claim(scene.ledger, is_complete=True, markers=7)


def of_an_odd_name(scene: Scene) -> Claimed | None:
    _begin(scene)
    return claim(scene.ledger, destination=ODD, directory=ODD.parent, first=[planned(0)])


def of_a_known_destination(scene: Scene) -> Claimed | None:
    finished(scene.ledger, "t0", planned(0))
    _begin(scene)
    return claim(scene.ledger, first=[planned(0)], is_complete=True)


def beside_others(scene: Scene) -> Claimed | None:
    for name, place in (("t2", "day=010"), ("t3", "day=0"), ("t4", "day=00/hour=1")):
        _begin(scene, name)
        found = claim(scene.ledger, name, LANDING.join(place), first=[planned(0)])
        assert found
        assert scene.ledger.open_job(name, found.epoch, "tag", T0)
    scene.run("UPDATE transfers SET renames_possible = true WHERE id = 't2'")
    _begin(scene)
    return claim(scene.ledger)


def again_after_a_failure(scene: Scene) -> Claimed | None:
    with_a_plan(scene)
    fail(scene.ledger)
    _begin(scene)
    return claim(scene.ledger)


def of_an_event(scene: Scene) -> Claimed | None:
    _begin(scene)
    event = EventFacts(key="click/day=01/x", sequencer="00A'")
    request = replace(JOB.request, event=event)
    return claim(scene.ledger, assignment=replace(JOB, request=request, policy_digest="beef"))


def within_the_limit_of_its_route(scene: Scene) -> Claimed | None:
    job = replace(JOB, limits=Limits(in_flight=2))
    _begin(scene, "t2")
    assert claim(scene.ledger, "t2", LANDING.join("day=02"), assignment=job)
    _begin(scene)
    return claim(scene.ledger, assignment=job)


def above_what_is_staged(scene: Scene) -> Claimed | None:
    _begin(scene)
    return claim(scene.ledger, min_epoch=(1 << 40) + 77)


def with_replies_after_the_first(scene: Scene) -> int:
    replying.begin(scene.ledger)
    replying.claim(scene.ledger)
    replying.fail(scene.ledger, TransferState.WAITING)
    replying.begin(scene.ledger)
    scene.run("UPDATE transfers SET objects_planned = 0, bytes_planned = 0, plan_complete = false")
    scene.run("DELETE FROM objects")
    return replying.claim(scene.ledger)


@pytest.mark.parametrize(
    "act",
    [
        *(with_a_plan, with_a_page, without_a_plan, of_an_odd_name, of_a_known_destination),
        *(beside_others, again_after_a_failure, of_an_event, within_the_limit_of_its_route),
        *(above_what_is_staged, with_replies_after_the_first),
    ],
)
def test_it_leaves_what_the_ordinary_way_leaves(scene_of: Open, act: Act) -> None:
    ordinary = scene_of(is_direct=False)
    wanted, rows = act(ordinary), ordinary.rows()
    direct = scene_of(is_direct=True)
    assert act(direct) == wanted
    assert direct.epochs[-1] is not None
    assert direct.rows() == rows
    assert wanted


def of_an_owner(scene: Scene, theirs: str) -> Claimed | None:
    _begin(scene, "t2")
    assert claim(scene.ledger, "t2", replace(DAY, path=theirs))
    _begin(scene)
    return claim(scene.ledger)


def owned(scene: Scene) -> Claimed | None:
    return of_an_owner(scene, DAY.path)


def owned_above(scene: Scene) -> Claimed | None:
    return of_an_owner(scene, "/")


def owned_below(scene: Scene) -> Claimed | None:
    return of_an_owner(scene, f"{DAY.path}/hour=1")


def owned_beside_and_long(scene: Scene) -> Claimed | None:
    places = [LANDING.join(f"{'x' * 300}/hour={hour:02}") for hour in range(2)]
    _begin(scene, "t2")
    assert claim(scene.ledger, "t2", places[0])
    _begin(scene)
    return claim(scene.ledger, "t1", places[1])


def of_a_full_route(scene: Scene) -> Claimed | None:
    job = replace(JOB, limits=Limits(in_flight=1))
    _begin(scene, "t2")
    assert claim(scene.ledger, "t2", LANDING.join("day=02"), assignment=job)
    _begin(scene)
    return claim(scene.ledger, assignment=job)


def of_its_own_job(scene: Scene) -> Claimed | None:
    _begin(scene)
    found = claim(scene.ledger)
    assert found
    assert scene.ledger.open_job("t1", found.epoch, "tag", T0)
    fail(scene.ledger)
    _begin(scene)
    return claim(scene.ledger, destination=LANDING.join("day=09"))


def of_a_job(scene: Scene, theirs: str) -> Claimed | None:
    _begin(scene, "t2")
    found = claim(scene.ledger, "t2", replace(DAY, path=theirs))
    assert found
    assert scene.ledger.open_job("t2", found.epoch, "tag", T0)
    fail(scene.ledger, "t2")
    scene.run("DELETE FROM litter")
    _begin(scene)
    return claim(scene.ledger)


def of_a_job_above(scene: Scene) -> Claimed | None:
    return of_a_job(scene, "/")


def of_a_job_below(scene: Scene) -> Claimed | None:
    return of_a_job(scene, f"{DAY.path}/hour=1")


def stale(scene: Scene, theirs: str) -> Claimed | None:
    _begin(scene, "t2")
    assert claim(scene.ledger, "t2", replace(DAY, path=theirs))
    fail(scene.ledger, "t2")
    _begin(scene)
    return claim(scene.ledger)


def stale_above(scene: Scene) -> Claimed | None:
    return stale(scene, "/landing")


def stale_below(scene: Scene) -> Claimed | None:
    return stale(scene, f"{DAY.path}/hour=1")


def of_a_rival(scene: Scene, theirs: str) -> Claimed | None:
    found = stale(scene, theirs)
    fail(scene.ledger)
    scene.run("UPDATE transfers SET renames_possible = true WHERE id = 't2'")
    scene.run("DELETE FROM litter")
    _begin(scene)
    found = claim(scene.ledger)
    assert found
    assert found.has_rivals
    return found


def of_a_rival_here(scene: Scene) -> Claimed | None:
    return of_a_rival(scene, DAY.path)


def of_a_rival_above(scene: Scene) -> Claimed | None:
    return of_a_rival(scene, "/")


def of_a_rival_below(scene: Scene) -> Claimed | None:
    return of_a_rival(scene, f"{DAY.path}/hour=1")


def with_replies(scene: Scene) -> int:
    replying.begin(scene.ledger)
    return replying.claim(scene.ledger)


def with_a_page_of_a_plan_that_is_frozen(scene: Scene) -> Claimed | None:
    with_a_plan(scene)
    fail(scene.ledger)
    _begin(scene)
    return claim(scene.ledger, first=[planned(0, "other")], markers=9)


def with_the_first_page_of_a_plan_that_was_begun(scene: Scene) -> Claimed | None:
    with_a_page(scene)
    fail(scene.ledger)
    _begin(scene)
    return claim(scene.ledger, first=[planned(0, "other"), planned(1)], is_complete=True)


def with_another_claim_left_by_a_crash(scene: Scene) -> Claimed | None:
    _begin(scene)
    assert claim(scene.ledger, destination=LANDING.join("day=09"))
    scene.run("UPDATE transfers SET state = 'received'")
    _as_after_a_crash(scene)
    return claim(scene.ledger)


def after_a_claim_in_the_same_attempt(scene: Scene) -> Claimed | None:
    _begin(scene)
    assert claim(scene.ledger)
    _as_after_a_crash(scene)
    return claim(scene.ledger)


def _as_after_a_crash(scene: Scene) -> None:
    """This process knows of no claim of the attempt; the ledger does."""
    written = scene.ledger._working["t1"]
    scene.ledger._working["t1"] = replace(written, epoch=None)


def on_another_timeline_than_before(scene: Scene) -> Claimed | None:
    return _on_another(scene, timeline=2)


def of_another_system_than_before(scene: Scene) -> Claimed | None:
    return _on_another(scene, system=1)


def _on_another(scene: Scene, **changes: Any) -> Claimed | None:
    _begin(scene)

    def before(connection: Any) -> ServerMoment:
        return replace(moment.current(connection), **changes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct_claim, "last_moment", before)
        return claim(scene.ledger)


def refused_by_the_database_alone(scene: Scene) -> Claimed | None:
    """Its own second defence, should a condition be missing."""
    _begin(scene, "t2")
    assert claim(scene.ledger, "t2")
    _begin(scene)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct_claim, "span_of", lambda _: ("x", "y"))
        return claim(scene.ledger, destination=DAY.join("hour=1"))


@pytest.mark.parametrize(
    "act",
    [
        *(owned, owned_above, owned_below, owned_beside_and_long, of_a_full_route),
        *(of_its_own_job, of_a_job_above, of_a_job_below, stale_above, stale_below),
        *(of_a_rival_here, of_a_rival_above, of_a_rival_below, with_replies),
        with_a_page_of_a_plan_that_is_frozen,
        with_the_first_page_of_a_plan_that_was_begun,
        *(with_another_claim_left_by_a_crash, after_a_claim_in_the_same_attempt),
        *(on_another_timeline_than_before, of_another_system_than_before),
        refused_by_the_database_alone,
    ],
)
def test_what_has_to_be_considered_is_left_to_the_ordinary_way(scene_of: Open, act: Act) -> None:
    ordinary = scene_of(is_direct=False)
    wanted, rows = act(ordinary), ordinary.rows()
    direct = scene_of(is_direct=True)
    assert act(direct) == wanted
    assert direct.epochs[-1] is None
    assert direct.rows() == rows


def test_a_second_claim_in_one_attempt_is_left_to_the_ordinary_way(scene_of: Open) -> None:
    scene = scene_of(is_direct=True)
    _begin(scene)
    first, second = claim(scene.ledger), claim(scene.ledger)
    assert first
    assert second
    assert second.epoch == first.epoch + 1
    assert len(scene.epochs) == 1


def test_one_that_others_took_for_gone_claims_nothing(scene_of: Open) -> None:
    scene = scene_of(is_direct=True)
    _begin(scene)
    scene.run("UPDATE members SET judged_at = 1 WHERE ended_at IS NULL")
    with pytest.raises(FencedOff):
        claim(scene.ledger)
    assert scene.epochs == [None]
    assert scene.run("SELECT * FROM destinations") == []


@pytest.mark.parametrize("turn", list(LedgerTurn))
def test_without_a_row_to_take_turns_by_nothing_is_claimed(
    scene_of: Open, turn: LedgerTurn
) -> None:
    scene = scene_of(is_direct=True)
    _begin(scene)
    scene.run(f"DELETE FROM meta WHERE name = '{turn}'")  # noqa: S608 - of constants
    with pytest.raises(LedgerDamaged):
        claim(scene.ledger)
    assert scene.epochs == [None]
    assert scene.run("SELECT * FROM destinations") == []
    scene.run(f"INSERT INTO meta VALUES ('{turn}', '')")  # noqa: S608 - of constants


@pytest.mark.parametrize("seqs", [(0, 0), (1, 2), (1, 0)])
def test_a_page_out_of_order_is_refused_as_ever(scene_of: Open, seqs: tuple[int, int]) -> None:
    scene = scene_of(is_direct=True)
    _begin(scene)
    with pytest.raises(BackhaulError, match="E_LEDGER_ORDER"):
        claim(scene.ledger, first=[planned(seq) for seq in seqs], is_complete=True)
    assert scene.run("SELECT * FROM destinations") == []


def test_what_a_constraint_refuses_is_undone_and_found_by_the_ordinary_way(scene_of: Open) -> None:
    scene = scene_of(is_direct=True)
    _begin(scene)
    values = "'t1', 0, 'raw', 'k', 'e', 1, 1, 'r'"
    columns = "transfer_id, seq, bucket, key, etag, size_bytes, last_modified, relative"
    scene.run(f"INSERT INTO objects ({columns}) VALUES ({values})")  # noqa: S608 - of constants
    with pytest.raises(BackhaulError, match="duplicate key"):
        claim(scene.ledger, first=[planned(0)], is_complete=True)
    assert scene.epochs == [None]
    assert scene.run("SELECT * FROM destinations") == []
    scene.run("DELETE FROM objects")
    assert claim(scene.ledger, first=[planned(0)], is_complete=True)


def test_an_error_of_the_server_is_raised_and_nothing_is_kept(scene_of: Open) -> None:
    scene = scene_of(is_direct=True)
    _begin(scene)
    text = direct_claim._AFTER.replace("\nCOMMIT", "\nSELECT 1 / 0; COMMIT")
    assert text != direct_claim._AFTER
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct_claim, "_AFTER", text)
        with pytest.raises(BackhaulError, match="division by zero"):
            claim(scene.ledger, first=[planned(0)])
    assert scene.run("SELECT * FROM destinations") == []
    assert claim(scene.ledger, first=[planned(0)])
    assert scene.epochs[-1] is not None


@pytest.mark.parametrize(
    "meanwhile",
    [
        "SELECT",  # the claim was made on another connection
        "UPDATE destinations SET owner_transfer = NULL, owner = NULL",
        "UPDATE transfers SET state = 'waiting', owner = NULL",
        "UPDATE transfers SET state = 'received', owner = 'edge2:other'; DELETE FROM destinations",
        # Another attempt of this process has begun.
        "UPDATE transfers SET state = 'received', updated_at = 1; DELETE FROM destinations",
    ],
)
def test_a_text_that_arrives_late_claims_nothing(scene_of: Open, meanwhile: str) -> None:
    scene = scene_of(is_direct=True)
    _begin(scene)
    found = claim(scene.ledger)
    assert found
    scene.run(f"UPDATE transfers SET updated_at = {micros(T0)}")  # noqa: S608 - of constants
    scene.run(meanwhile)
    rows = scene.rows()
    late = DirectClaim(
        transfer_id="t1",
        owner=scene.ledger.owner.text,
        destination=LANDING.join("late"),
        directory=DAY,
        staging_root=found.staging_root,
        route="clickstream",
        most_of_route=None,
        first=(),
        is_complete=False,
        markers=0,
        event={"policy": None, "event_bucket": None, "event_key": None, "sequencer": None},
        min_epoch=1,
        begun_at=T0,
        now=T0,
    )
    scene.run("DELETE FROM litter")
    rows["litter"] = []
    database, commits = scene.ledger._database, scene.ledger._commits
    sent = database.prepare_claim(late)
    assert sent is not None
    assert commits.by_itself(lambda connection: database.claim_directly(connection, sent)) is None
    assert scene.rows() == rows
