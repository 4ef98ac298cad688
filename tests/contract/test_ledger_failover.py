"""A primary that dies, a promoted standby that lacks commits, an old primary that returns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backhaul.adapters.ledger import agent_lock, open_ledger, open_reader, standbys_of
from backhaul.adapters.ledger.postgres import outcome
from backhaul.adapters.ledger.postgres.waits import BoundedConnection
from backhaul.core.errors import OutageError
from backhaul.core.ports import MessageKey
from backhaul.core.ports.ledger_place import PostgresUrl
from testbed import PostgreSQL
from testbed.postgres import PostgresStandby
from tests.acceptance.installation import eventually
from tests.contract.test_ledger import KEY, LANDING, begin, claim

pytestmark = pytest.mark.integration
OTHER = MessageKey(queue="work", message_id="m-2")
UNSYNCED = {"fsync": "off"}


@pytest.fixture
def primary(postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgreSQL]:
    """One that a test may kill; after `postgresql`, which skips where there is none."""
    del postgresql
    with PostgreSQL(settings=UNSYNCED) as server:
        monkeypatch.setenv("PGPASSFILE", str(server.pass_file))
        yield server


def test_a_commit_that_waits_for_a_standby_that_is_gone_is_held_and_not_repeated(
    primary: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedConnection, "answer_s", 1.0)
    monkeypatch.setattr(outcome, "LOOK_S", 0.5)
    url = PostgresUrl(primary.url())
    with closing(open_ledger(url, create=True)) as ledger:
        begin(ledger, "t0", MessageKey(queue="work", message_id="m-0"))
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        primary.sql("SELECT pg_reload_conf()")
        eventually(
            lambda: primary.sql("SHOW synchronous_standby_names") == "nobody",
            within_s=10,
            what="the setting is read",
        )
        seen = standbys_of(url)
        assert seen is not None
        assert seen.code == "E_LEDGER_STANDBY"
        with pytest.raises(OutageError, match="E_LEDGER_STANDBY"):
            claim(ledger, "t0")
        with pytest.raises(OutageError, match="E_LEDGER_STANDBY"):
            begin(ledger, "t1", KEY)
        with pytest.raises(OutageError, match="E_LEDGER_STANDBY"):
            begin(ledger, "t2", OTHER)
        # They keep their locks: who has to be alone is told why, not only that it is locked.
        monkeypatch.setattr(BoundedConnection, "answer_s", 20.0)
        with pytest.raises(OutageError, match="E_LEDGER_STANDBY"):
            ledger.interrupted_copies()
        primary.sql("ALTER SYSTEM RESET synchronous_standby_names")
        primary.sql("SELECT pg_reload_conf()")
        again = begin(ledger, "t3", KEY)
        assert (again.transfer_id, again.attempt) == ("t1", 2)
        assert begin(ledger, "t2", OTHER).attempt == 2


def test_a_failover_that_loses_commits_gives_no_epoch_twice_and_the_old_primary_is_refused(
    primary: PostgreSQL, tmp_path: Path
) -> None:
    with PostgresStandby(primary, settings=UNSYNCED) as standby:
        old, new = (f"127.0.0.1:{server.ports[0]}" for server in (primary, standby))
        both = PostgresUrl(f"postgresql://backhaul@{old},{new}/backhaul")
        both = both.with_memory(tmp_path / f"ledger-{both.digest}")
        with agent_lock(both, "edge1") as member:
            ledger = open_ledger(both, create=True, member=member)
            begin(ledger, "t1", KEY)
            first = claim(ledger, "t1")
            assert first is not None
            claims = "SELECT epoch FROM destinations"
            eventually(
                lambda: standby.sql(claims, database="backhaul") == str(first.epoch),
                within_s=20,
                what="the standby has the first claim",
            )
            seen = standbys_of(both)
            assert seen is not None
            assert (seen.code, seen.streaming, seen.hidden) == ("W_LEDGER_ASYNC", 1, 1)
            standby.stop_receiving()
            lost = claim(ledger, "t1")
            assert lost is not None
            primary.kill()
            standby.forget_unreceived()
            standby.promote()
            with pytest.raises(OutageError, match="E_LEDGER_AWAY"):
                claim(ledger, "t1")
            after = claim(ledger, "t1")
            assert after is not None
            assert lost.epoch == first.epoch + 1
            assert [each.epoch >> 40 for each in (first, lost, after)] == [1, 1, 2]
            primary.start()
            # The first of the address takes writes, too; a new connection goes to the other one.
            ledger.close()
            ledger = open_ledger(both, create=True, member=member)
            again = claim(ledger, "t1")
            assert again is not None
            assert again.epoch == after.epoch + 1
            ledger.close()
        # This node has never seen the new primary; what it finds in staging has.
        with closing(open_ledger(PostgresUrl(primary.url()), create=False)) as unknowing:
            apart = LANDING.join("apart")
            begin(unknowing, "t2", OTHER)
            with pytest.raises(OutageError, match=r"E_LEDGER_OLD_PRIMARY.*timeline 1,.*2") as held:
                claim(unknowing, "t2", apart, min_epoch=again.epoch + 1)
            assert primary.sql(claims, database="backhaul") == str(lost.epoch), "nothing is claimed"
            same = claim(unknowing, "t2", apart, min_epoch=lost.epoch + 5)
            assert same is not None
            assert same.epoch == lost.epoch + 5
            assert f"remove {same.staging_root.uri}," in held.value.hint
        alone = PostgresUrl(primary.url()).with_memory(tmp_path / "ledger-of-one-host")
        for opening in (
            lambda: agent_lock(alone, "edge1").__enter__(),
            lambda: open_ledger(alone, create=False),
            lambda: open_reader(alone),
        ):
            with pytest.raises(OutageError, match=r"E_LEDGER_OLD_PRIMARY.*timeline 1.*timeline 2"):
                opening()
        with closing(open_reader(both)) as reader:
            assert reader.size_bytes() > 0


def test_a_ledger_that_gave_epochs_of_a_higher_timeline_takes_them_as_its_own(
    primary: PostgreSQL,
) -> None:
    """A dump was restored on a cluster whose timelines begin at 1, under a running ledger."""
    with closing(open_ledger(PostgresUrl(primary.url()), create=True)) as ledger:
        begin(ledger, "t1", KEY)
        of_later = (3 << 40) + 7
        with pytest.raises(OutageError, match="E_LEDGER_OLD_PRIMARY"):
            claim(ledger, "t1", min_epoch=of_later)
        assert claim(ledger, "t1") is not None
        primary.sql("UPDATE destinations SET epoch = 3::bigint << 40", database="backhaul")
        found = claim(ledger, "t1", min_epoch=of_later)
        assert found is not None
        assert found.epoch == of_later
